// Private to the io room: a thread that owns sockets. It reads what they have, writes what they are to send,
// and knows nothing of what it means. The strand (the loop's thread) and it speak through two rings.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "io/byte_ring.h"
#include "io/spin_policy.h"

namespace mainstay::io {

/// One socket. The strand makes it, hands it over with Command::add and frees it when Notice::gone has come
/// back, the last record that names it. Each field has one writer.
struct ThreadedSocket {
  ThreadedSocket(std::uint64_t id_, int fd_) : id(id_), fd(fd_) {}
  const std::uint64_t id;
  const int fd;  ///< the I/O thread's to close

  // the strand's
  bool ended = false;            ///< on_end() was called
  bool waits_for_ring = false;   ///< has output and the ring was full
  std::uint64_t handed_out = 0;  ///< bytes given to the thread

  // both: how much of handed_out is the kernel's; the strand waits until there is less that is not
  std::atomic<std::uint64_t> written{0};
  std::atomic<bool> wants_room{false};

  // the I/O thread's; a line apart, so that the strand's stores do not take it away
  struct alignas(64) {
    bool readable = false;    ///< in the list of those to read
    bool hung_up = false;     ///< the peer's end was seen: read until it comes
    bool over = false;        ///< nothing is read or written any more
    bool closing = false;     ///< closed once nothing is unsent, or at the deadline
    std::uint64_t until = 0;  ///< place in the ring after its last record
    std::size_t in_ring = 0;  ///< bytes put there since the strand had taken all
    Buffer unsent;            ///< what the socket did not take
    std::size_t unsent_at = 0;
    std::chrono::steady_clock::time_point deadline;
  } io;
};

class IoThread {
 public:
  enum Command : std::uint32_t { add, send, close_now, close_after_output };
  enum Notice : std::uint32_t {
    received,  ///< its bytes are what the socket gave
    room,      ///< wants_room was set, and there is some
    ended,     ///< by the peer or an error: nothing is received any more
    gone,      ///< after a close: closed, not named again
  };

  /// @param wake_strand  called on the I/O thread once after it has put notices into to_strand, or has made
  /// the room in to_thread that the strand waits for.
  /// @param spin  how long it looks for work before it sleeps, when that finds something often enough.
  IoThread(std::function<void()> wake_strand, Duration spin);
  /// Sends what it was given, as far as sockets take it at once, closes them and joins.
  ~IoThread();
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  ByteRing to_thread{kRingBytes};  ///< commands; the strand produces
  ByteRing to_strand{kRingBytes};  ///< notices; the strand consumes
  /// The strand: after it has put commands into to_thread or has made the room that the thread waits for.
  void wake();
  /// Bytes that sockets did not take and that are kept here, of all of them.
  [[nodiscard]] std::uint64_t unsent_bytes() const { return unsent_bytes_.load(std::memory_order_relaxed); }

  static constexpr std::size_t kRingBytes = 1U << 20;

 private:
  void run();
  bool poll(int timeout_ms);
  bool take_commands();
  bool read_ready();
  void read(ThreadedSocket& socket);
  void write(ThreadedSocket& socket, BytesView bytes);
  void write_unsent(ThreadedSocket& socket);
  /// @return how many the kernel took; the rest waits for the socket to be writable.
  std::size_t give_to_kernel(ThreadedSocket& socket, BytesView bytes);
  void drop_unsent(ThreadedSocket& socket);
  void over(ThreadedSocket& socket);
  void finish(ThreadedSocket& socket);
  void end_late_ones();
  void notify(Notice notice, ThreadedSocket& socket);
  bool send_owed();
  void wake_strand_when_told();
  void sleep();

  const std::function<void()> wake_strand_;
  const Duration spin_;
  SpinPolicy spin_policy_;
  int epoll_ = -1, bell_ = -1;
  SleepFlag sleep_flag_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> unsent_bytes_{0};

  std::unordered_set<ThreadedSocket*> sockets_;
  std::deque<ThreadedSocket*> ready_;                    // each at most once: those with io.readable
  std::vector<ThreadedSocket*> lingering_;               // closing, with something unsent
  std::deque<std::pair<Notice, ThreadedSocket*>> owed_;  // the ring had no room
  bool told_ = false;                                    // the strand must be woken
  std::thread thread_;                                   // last: starts when the rest is there
};

}  // namespace mainstay::io
