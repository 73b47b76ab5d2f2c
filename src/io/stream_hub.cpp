#include "io/stream_hub.h"

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <charconv>
#include <unordered_map>
#include <vector>

#include "io/listen.h"
#include "io/loop_impl.h"

namespace mainstay::io {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kReadBytes = 256U << 10;
// Data already in the socket when the peer's end or an error is noticed is still read: this bounds one turn.
constexpr int kWritesPerTurn = 16;
constexpr int kReadsAtOnce = 64;

struct Stream {
  explicit Stream(tcp::socket taken) : socket(std::move(taken)) {}
  tcp::socket socket;
  StreamId id{};
  bool waiting_to_write = false;
  bool ended = false;
};

/// Shared with handlers still queued in the loop.
struct LoopStreams : std::enable_shared_from_this<LoopStreams> {
  LoopStreams(Loop& loop, StreamEvents& handler)
      : events(handler),
        sockets(loop, [this](tcp::socket socket, const std::string& remote,
                             bool outgoing) { opened(std::move(socket), remote, outgoing); }),
        read_buffer(kReadBytes) {}

  StreamEvents& events;
  SocketSource sockets;
  std::unordered_map<StreamId, std::shared_ptr<Stream>> streams;
  std::vector<std::byte> read_buffer;
  bool stopped = false;

  void opened(tcp::socket socket, const std::string& remote, bool outgoing) {
    error_code ignored;
    socket.non_blocking(true, ignored);
    auto stream = std::make_shared<Stream>(std::move(socket));
    stream->id = events.on_open(remote, outgoing);
    if (stream->id == 0) return;
    streams.emplace(stream->id, stream);
    read(stream);
    flush(stream);
  }

  void read(const std::shared_ptr<Stream>& stream) {
    stream->socket.async_wait(tcp::socket::wait_read,
                              [self = shared_from_this(), stream](const error_code& error) {
                                if (stream->ended || self->stopped) return;
                                if (error) return self->end(stream);
                                static_cast<void>(self->read_some(stream));
                                if (!stream->ended) self->read(stream);
                              });
  }

  /// @return there may be more
  bool read_some(const std::shared_ptr<Stream>& stream) {
    error_code failed;
    const std::size_t got = stream->socket.read_some(boost::asio::buffer(read_buffer), failed);
    if (failed == boost::asio::error::would_block || failed == boost::asio::error::interrupted) return false;
    if (failed || got == 0) {
      end(stream);
      return false;
    }
    events.on_bytes(stream->id, BytesView(read_buffer.data(), got));
    if (stream->ended) return false;
    flush(stream);
    return !stream->ended && got == read_buffer.size();
  }

  void read_arrived() {
    std::vector<std::shared_ptr<Stream>> all;
    for (const auto& [id, stream] : streams) all.push_back(stream);
    std::ranges::sort(all, {}, &Stream::id);
    for (const auto& stream : all)
      for (int turn = 0; turn < kReadsAtOnce && !stream->ended && read_some(stream); ++turn) {
      }
  }

  void flush(const std::shared_ptr<Stream>& stream) {
    if (stream->ended || stream->waiting_to_write) return;
    for (int turn = 0; turn < kWritesPerTurn; ++turn) {
      const BytesView out = events.pending(stream->id);
      if (out.empty()) {
        if (events.wants_close(stream->id)) end(stream);
        return;
      }
      error_code error;
      const std::size_t wrote = stream->socket.write_some(boost::asio::buffer(out.data(), out.size()), error);
      if (error == boost::asio::error::would_block) break;
      if (error == boost::asio::error::interrupted) continue;
      if (error) return end(stream);
      events.on_written(stream->id, wrote);
      if (stream->ended) return;
    }
    stream->waiting_to_write = true;
    stream->socket.async_wait(tcp::socket::wait_write,
                              [self = shared_from_this(), stream](const error_code& error) {
                                stream->waiting_to_write = false;
                                if (stream->ended || self->stopped) return;
                                if (error) return self->end(stream);
                                self->flush(stream);
                              });
  }

  void end(const std::shared_ptr<Stream>& stream) {
    if (stream->ended) return;
    stream->ended = true;
    error_code ignored;
    stream->socket.shutdown(tcp::socket::shutdown_both, ignored);
    stream->socket.close(ignored);
    streams.erase(stream->id);
    events.on_end(stream->id);
  }
};

class LoopStreamHub final : public StreamHub {
 public:
  LoopStreamHub(Loop& loop, StreamEvents& events) : impl_(std::make_shared<LoopStreams>(loop, events)) {}
  ~LoopStreamHub() override;
  [[nodiscard]] Result<std::uint16_t, Failure> listen(const std::string& host, std::uint16_t port) override {
    return impl_->sockets.listen(host, port);
  }
  void connect(const std::string& host, std::uint16_t port,
               std::function<void(const std::string& why)> failed) override {
    impl_->sockets.connect(host, port, std::move(failed));
  }
  using StreamHub::flush;
  void flush(StreamId stream) override;
  void read_arrived() override { impl_->read_arrived(); }
  void close(StreamId stream) override;
  void stop_listening() override { impl_->sockets.stop_listening(); }

 private:
  std::shared_ptr<LoopStreams> impl_;
};

LoopStreamHub::~LoopStreamHub() {
  impl_->stopped = true;
  impl_->sockets.stop();
  error_code ignored;
  for (auto& [id, stream] : impl_->streams) {
    stream->ended = true;
    stream->socket.close(ignored);
  }
  impl_->streams.clear();
}

void LoopStreamHub::flush(StreamId stream) {
  const auto found = impl_->streams.find(stream);
  if (found == impl_->streams.end()) return;
  const auto kept = found->second;
  impl_->flush(kept);
}

void LoopStreamHub::close(StreamId stream) {
  const auto found = impl_->streams.find(stream);
  if (found == impl_->streams.end()) return;
  const auto kept = found->second;
  impl_->end(kept);
}

}  // namespace

std::unique_ptr<StreamHub> make_stream_hub(Loop& loop, StreamEvents& events) {
  return std::make_unique<LoopStreamHub>(loop, events);
}

Result<HostPort, Failure> parse_host_port(const std::string& text) {
  const auto colon = text.rfind(':');
  HostPort out;
  if (colon != std::string::npos) {
    const char* first = text.data() + colon + 1;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(first, last, out.port);
    if (error == std::errc() && end == last && first != last) {
      out.host = text.substr(0, colon);
      if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']') {
        out.host = out.host.substr(1, out.host.size() - 2);
      }
      if (!out.host.empty()) return out;
    }
  }
  return Failure{"'" + text + "' is not HOST:PORT, for example 127.0.0.1:5672"};
}

}  // namespace mainstay::io
