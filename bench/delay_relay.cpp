#include "delay_relay.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "harness.h"

namespace mainstay::bench {
namespace {

constexpr std::size_t kReadBytes = 256U << 10;
/// More than that on its way in one direction: nothing more is read. Far above what a group ships ahead.
constexpr std::size_t kWaitingBytesMax = 128U << 20;

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void prepare(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/// One direction.
struct Way {
  struct Chunk {
    std::int64_t due_ns{};
    Buffer bytes;
    std::size_t done = 0;
  };
  int from = -1, to = -1;
  std::deque<Chunk> waiting;
  std::size_t waiting_bytes = 0;
  bool full = false;  ///< the socket takes no more for now

  /// @return false: over
  bool read(Buffer& room, std::int64_t delay_ns) {
    const ssize_t got = ::read(from, room.data(), room.size());
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    const auto count = static_cast<std::size_t>(got);
    const std::int64_t before = waiting.empty() ? 0 : waiting.back().due_ns;
    waiting.push_back({std::max(before, now_ns() + delay_ns),
                       Buffer(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(count))});
    waiting_bytes += count;
    return true;
  }
  /// Writes what is due. @return false: over
  bool write() {
    const std::int64_t now = now_ns();
    while (!full && !waiting.empty() && waiting.front().due_ns <= now) {
      Chunk& first = waiting.front();
      const ssize_t put =
          ::send(to, first.bytes.data() + first.done, first.bytes.size() - first.done, MSG_NOSIGNAL);
      if (put < 0) {
        if (errno == EINTR) continue;
        full = errno == EAGAIN;
        return full;
      }
      first.done += static_cast<std::size_t>(put);
      waiting_bytes -= static_cast<std::size_t>(put);
      if (first.done == first.bytes.size()) waiting.pop_front();
    }
    return true;
  }
};

struct Line {
  Way ways[2];
  bool over = false;
  Line(int one, int other) {
    ways[0].from = ways[1].to = one;
    ways[1].from = ways[0].to = other;
  }
  ~Line() {
    ::close(ways[0].from);
    ::close(ways[1].from);
  }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
};

}  // namespace

DelayRelay::DelayRelay(std::uint16_t to) : to_(to) {
  listening_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  wake_up_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof address;
  if (::bind(listening_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listening_, 8) != 0 ||
      ::getsockname(listening_, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    throw CouldNotRun("no port for the relay between the nodes");
  port = ntohs(address.sin_port);
  thread_ = std::thread([this] { run(); });
}

DelayRelay::~DelayRelay() {
  stop_ = true;
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_up_, &one, sizeof one));
  thread_.join();
  ::close(listening_);
  ::close(wake_up_);
}

double DelayRelay::cpu_seconds() const {
  clockid_t clock{};
  timespec used{};
  if (pthread_getcpuclockid(const_cast<std::thread&>(thread_).native_handle(), &clock) != 0 ||
      clock_gettime(clock, &used) != 0)
    return 0;
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

void DelayRelay::run() {
  prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);  // else each wait is up to 50 µs longer
  std::list<std::unique_ptr<Line>> lines;
  std::vector<pollfd> watched;
  Buffer room(kReadBytes);
  while (!stop_) {
    watched.clear();
    watched.push_back({wake_up_, POLLIN, 0});
    watched.push_back({listening_, POLLIN, 0});
    std::optional<std::int64_t> due;
    for (const auto& line : lines) {
      for (int i = 0; i < 2; ++i) {  // the socket that way i reads, and the other way writes
        const Way &in = line->ways[i], &out = line->ways[1 - i];
        short events = in.waiting_bytes < kWaitingBytesMax ? POLLIN : 0;
        if (out.full) events |= POLLOUT;
        watched.push_back({in.from, events, 0});
        if (!in.full && !in.waiting.empty())
          due = std::min(due.value_or(INT64_MAX), in.waiting.front().due_ns);
      }
    }
    timespec wait{};
    if (due) {
      const std::int64_t left = std::max<std::int64_t>(0, *due - now_ns());
      wait = {left / 1'000'000'000, left % 1'000'000'000};
    }
    if (::ppoll(watched.data(), watched.size(), due ? &wait : nullptr, nullptr) < 0) continue;
    const std::int64_t delay = each_way_ns_;
    std::size_t at = 2;
    for (const auto& line : lines) {
      for (int i = 0; i < 2; ++i, ++at) {
        if ((watched[at].revents & POLLOUT) != 0) line->ways[1 - i].full = false;
        if ((watched[at].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !line->ways[i].read(room, delay))
          line->over = true;
      }
      for (Way& way : line->ways) line->over = !way.write() || line->over;
    }
    // A node that is gone is gone at once for the other, whatever was on its way.
    std::erase_if(lines, [](const auto& line) { return line->over; });
    if ((watched[1].revents & POLLIN) != 0) {
      const int in = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
      const int out = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in address = loopback(to_);
      if (in < 0 || ::connect(out, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        if (in >= 0) ::close(in);
        ::close(out);
        continue;
      }
      prepare(in);
      prepare(out);
      lines.push_back(std::make_unique<Line>(in, out));
    }
  }
}

}  // namespace mainstay::bench
