// The strand's side of streams whose sockets are on I/O threads (io_thread.h).
#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "base/assert.h"
#include "io/io_thread.h"
#include "io/listen.h"
#include "io/loop_impl.h"
#include "io/stream_hub.h"

namespace mainstay::io {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

// Given to a thread and not yet the kernel's, of one stream: enough that the socket does not run dry while
// the loop is busy. With much unsent already, only what says that a stream is still there.
constexpr std::uint64_t kWindowBytes = 256U << 10, kWindowBytesWhenShort = 4U << 10;
constexpr std::uint64_t kUnsentBytesMax = 8U << 20;
constexpr std::size_t kSendMost = 64U << 10;
// Of each thread per turn of the loop: timers and what other threads have done come in between.
constexpr std::size_t kReceivedBytesPerTurn = 512U << 10;
constexpr int kNoticesPerTurn = 256;

/// One I/O thread and what the strand keeps for it.
struct Side {
  Side(std::function<void()> wake_strand, Duration spin) : thread(std::move(wake_strand), spin) {}
  std::vector<std::pair<IoThread::Command, ThreadedSocket*>> owed;  // the ring had no room; before all else
  std::vector<StreamId> waiting;                                    // have output, the ring was full
  std::size_t streams = 0;
  bool must_wake = false;  // the thread has something to do that it was not told of
  IoThread thread;         // first to go
};

struct Stream : ThreadedSocket {
  Stream(StreamId id_, int fd_, Side& of) : ThreadedSocket(id_, fd_), side(of) {}
  Side& side;
};

/// Shared with handlers still queued in the loop.
struct ThreadedStreams : std::enable_shared_from_this<ThreadedStreams> {
  ThreadedStreams(Loop& of, StreamEvents& handler)
      : loop(of),
        events(handler),
        sockets(of, [this](tcp::socket socket, const std::string& remote, bool outgoing) {
          opened(std::move(socket), remote, outgoing);
        }) {}

  Loop& loop;
  StreamEvents& events;
  SocketSource sockets;
  // Open ones by id; those that ended stay until their thread does not name them any more.
  std::unordered_map<StreamId, std::unique_ptr<Stream>> open, leaving;
  std::vector<std::unique_ptr<Side>> sides;
  std::atomic<bool> due{false};  // take_notices() is in the loop's queue
  bool taking = false;           // it runs: threads are woken at its end
  bool stopped = false;

  void start(unsigned threads, Duration spin) {
    for (unsigned i = 0; i < threads; ++i) {
      sides.push_back(std::make_unique<Side>([this] { come_back(); }, spin));
    }
  }

  /// Any thread, while the threads run: one post per burst.
  void come_back() {
    if (due.exchange(true, std::memory_order_acq_rel)) return;
    loop.post([self = shared_from_this()] { self->take_notices(); });
  }

  void opened(tcp::socket socket, const std::string& remote, bool outgoing) {
    const StreamId id = events.on_open(remote, outgoing);
    if (id == 0) return;
    Side& side = **std::min_element(sides.begin(), sides.end(),
                                    [](const auto& a, const auto& b) { return a->streams < b->streams; });
    error_code error;
    const int fd = socket.release(error);
    if (error) return events.on_end(id);
    auto& stream = *open.emplace(id, std::make_unique<Stream>(id, fd, side)).first->second;
    ++side.streams;
    command(IoThread::add, stream);
    hand_over(stream);
    wake(side);
  }

  void command(IoThread::Command what, Stream& stream) {
    Side& side = stream.side;
    side.must_wake = true;
    ThreadedSocket* const named = &stream;  // what the rings carry, on either side
    if (side.owed.empty() && side.thread.to_thread.push(what, named)) return;
    side.owed.emplace_back(what, named);
    side.thread.to_thread.wait_for_room();
    send_owed(side);
  }

  void send_owed(Side& side) {
    std::size_t sent = 0;
    while (sent < side.owed.size() &&
           side.thread.to_thread.push(side.owed[sent].first, side.owed[sent].second)) {
      ++sent;
    }
    if (sent == 0) return;
    side.must_wake = true;
    side.owed.erase(side.owed.begin(), side.owed.begin() + static_cast<std::ptrdiff_t>(sent));
  }

  void wake(Side& side) {
    if (!taking && std::exchange(side.must_wake, false)) side.thread.wake();
  }

  /// Copies what the protocol has for the stream to its thread, as far as window and ring have room.
  void hand_over(Stream& stream) {
    IoThread& thread = stream.side.thread;
    while (!stream.ended) {
      const BytesView out = events.pending(stream.id);
      if (out.empty()) {
        if (events.wants_close(stream.id)) end(stream, IoThread::close_after_output);
        return;
      }
      std::uint64_t room = window(stream);
      if (room == 0) {
        stream.wants_room.exchange(true, std::memory_order_acq_rel);
        room = window(stream);  // what was written before the flag stood is not told
        if (room == 0) return;
      }
      const auto most = static_cast<std::size_t>(std::min<std::uint64_t>({out.size(), room, kSendMost}));
      const auto into = reserve(stream.side, most);
      if (into.empty()) {
        if (!std::exchange(stream.waits_for_ring, true)) stream.side.waiting.push_back(stream.id);
        return;
      }
      std::memcpy(into.data(), out.data(), into.size());
      thread.to_thread.commit(IoThread::send, static_cast<ThreadedSocket*>(&stream), into.size());
      stream.handed_out += into.size();
      stream.side.must_wake = true;
      events.on_written(stream.id, into.size());
    }
  }

  [[nodiscard]] static std::uint64_t window(const Stream& stream) {
    const std::uint64_t under_way = stream.handed_out - stream.written.load(std::memory_order_acquire);
    const std::uint64_t most =
        stream.side.thread.unsent_bytes() < kUnsentBytesMax ? kWindowBytes : kWindowBytesWhenShort;
    return most - std::min(most, under_way);
  }

  static std::span<std::byte> reserve(Side& side, std::size_t most) {
    if (!side.owed.empty()) return {};  // its socket may be among them
    ByteRing& ring = side.thread.to_thread;
    const std::size_t least = std::min<std::size_t>(most, 4096);
    auto into = ring.reserve(least, most);
    if (!into.empty()) return into;
    side.must_wake = true;
    ring.wait_for_room();
    return ring.reserve(least, most);
  }

  void take_notices() {
    due.exchange(false, std::memory_order_acq_rel);
    if (stopped) return;
    const auto self = shared_from_this();
    taking = true;
    bool more = false;
    for (const auto& side : sides) {
      send_owed(*side);
      for (const StreamId id : std::exchange(side->waiting, {})) {
        const auto found = open.find(id);
        if (found == open.end()) continue;
        found->second->waits_for_ring = false;
        hand_over(*found->second);
      }
      more = take_notices(*side) || more;
      if (side->thread.to_strand.take_waiting()) side->must_wake = true;
    }
    taking = false;
    for (const auto& side : sides) wake(*side);
    if (more) come_back();
  }

  /// @return whether there are more.
  bool take_notices(Side& side) {
    ByteRing& ring = side.thread.to_strand;
    std::size_t bytes = 0;
    for (int count = 0; const auto notice = ring.front(); ++count) {
      if (count == kNoticesPerTurn || bytes > kReceivedBytesPerTurn) return true;
      Stream& stream = *static_cast<Stream*>(static_cast<ThreadedSocket*>(notice->about));
      switch (static_cast<IoThread::Notice>(notice->kind)) {
        case IoThread::received:
          bytes += notice->bytes.size();
          if (!stream.ended) events.on_bytes(stream.id, notice->bytes);
          [[fallthrough]];
        case IoThread::room:
          hand_over(stream);
          break;
        case IoThread::ended:
          end(stream, IoThread::close_now);
          break;
        case IoThread::gone:
          --side.streams;
          leaving.erase(stream.id);
          break;
      }
      ring.pop(*notice);
    }
    return false;
  }

  void end(Stream& stream, IoThread::Command how) {
    if (stream.ended) return;
    stream.ended = true;
    leaving.insert(open.extract(stream.id));
    command(how, stream);
    events.on_end(stream.id);
  }
};

class ThreadedStreamHub final : public StreamHub {
 public:
  ThreadedStreamHub(Loop& loop, StreamEvents& events, unsigned threads, Duration spin)
      : impl_(std::make_shared<ThreadedStreams>(loop, events)) {
    MS_ASSERT(threads > 0, "a hub without a thread of its own is make_stream_hub()");
    impl_->start(threads, spin);
  }
  ~ThreadedStreamHub() override {
    impl_->stopped = true;
    impl_->sockets.stop();
    impl_->sides.clear();  // ends the threads: nobody names a socket any more
    impl_->open.clear();
    impl_->leaving.clear();
  }

  [[nodiscard]] Result<std::uint16_t, Failure> listen(const std::string& host, std::uint16_t port) override {
    return impl_->sockets.listen(host, port);
  }
  void connect(const std::string& host, std::uint16_t port,
               std::function<void(const std::string& why)> failed) override {
    impl_->sockets.connect(host, port, std::move(failed));
  }

  void flush(StreamId stream) override { flush(std::span(&stream, 1)); }

  void flush(std::span<const StreamId> streams) override {
    for (const StreamId id : streams) {
      const auto found = impl_->open.find(id);
      if (found != impl_->open.end()) impl_->hand_over(*found->second);
    }
    for (const auto& side : impl_->sides) impl_->wake(*side);
  }

  void read_arrived() override {}
  void close(StreamId stream) override {
    const auto found = impl_->open.find(stream);
    if (found == impl_->open.end()) return;
    Side& side = found->second->side;
    impl_->end(*found->second, IoThread::close_now);
    impl_->wake(side);
  }

  void stop_listening() override { impl_->sockets.stop_listening(); }

 private:
  std::shared_ptr<ThreadedStreams> impl_;
};

}  // namespace

std::unique_ptr<StreamHub> make_threaded_stream_hub(Loop& loop, StreamEvents& events, unsigned threads,
                                                    Duration spin) {
  return std::make_unique<ThreadedStreamHub>(loop, events, threads, spin);
}

}  // namespace mainstay::io
