#include "io/io_thread.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/assert.h"

namespace mainstay::io {
namespace {

using std::chrono::steady_clock;

// One read gives at most this, so that a socket that has more does not keep the others waiting.
constexpr std::size_t kReadMost = 64U << 10;
// With less room than this a read waits for more: short reads cost a call each.
constexpr std::size_t kReadLeast = 4U << 10;
// What one socket may have in the ring: a quarter, so that one whose bytes take long leaves room for others.
constexpr std::size_t kInRingMost = IoThread::kRingBytes / 4;
// Commands are looked at between reads at least this often.
constexpr std::size_t kCommandBytesPerTurn = 256U << 10;
constexpr int kReadsPerTurn = 64;
// A stream that the protocol is done with is kept for a peer that does not take the last of it.
constexpr auto kLinger = std::chrono::seconds(10);

}  // namespace

IoThread::IoThread(std::function<void()> wake_strand, Duration spin)
    : wake_strand_(std::move(wake_strand)),
      spin_(spin),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  MS_ASSERT(epoll_ >= 0 && bell_ >= 0,
            "two descriptors for an I/O thread: the limit of open files is too low");
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;  // each ring is an edge: it need not be read
  event.data.ptr = nullptr;
  MS_ASSERT(epoll_ctl(epoll_, EPOLL_CTL_ADD, bell_, &event) == 0, "an eventfd can be waited for");
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "mainstay-io");
}

IoThread::~IoThread() {
  stop_.store(true, std::memory_order_release);
  wake();
  thread_.join();
  ::close(bell_);
  ::close(epoll_);
}

void IoThread::wake() {
  if (!sleep_flag_.must_wake()) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto rung = ::write(bell_, &one, sizeof one);
}

void IoThread::run() {
  for (;;) {
    bool more = take_commands();
    more = read_ready() || more;
    more = send_owed() || more;
    wake_strand_when_told();
    if (stop_.load(std::memory_order_acquire)) break;
    if (more) {
      poll(0);
    } else {
      sleep();
    }
    if (!lingering_.empty()) end_late_ones();
  }
  while (take_commands()) {
  }
  for (ThreadedSocket* socket : sockets_) {
    ::shutdown(socket->fd, SHUT_RDWR);
    ::close(socket->fd);
  }
}

void IoThread::sleep() {
  if (spin_.ns > 0 && ready_.empty() && owed_.empty() && spin_policy_.worthwhile()) {
    const auto until = steady_clock::now() + std::chrono::nanoseconds(spin_.ns);
    bool found = false;
    do {
      found = poll(0) || !to_thread.empty();
    } while (!found && steady_clock::now() < until);
    spin_policy_.spun(found);
    if (found) return;
  }
  sleep_flag_.about_to_sleep();
  // From here on who gives work or makes room rings the bell. What came before did not: look once more.
  bool work = !to_thread.empty() || stop_.load(std::memory_order_acquire);
  if (!ready_.empty() || !owed_.empty()) {
    to_strand.wait_for_room();
    work = read_ready() || work;
    work = send_owed() || work;
    wake_strand_when_told();
  }
  poll(work ? 0 : lingering_.empty() ? -1 : 1000);
  sleep_flag_.awake();
}

/// @return whether anything had happened.
bool IoThread::poll(int timeout_ms) {
  std::array<epoll_event, 128> events;
  const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.ptr == nullptr) continue;  // the bell: what it rang for is looked at in any case
    auto& socket = *static_cast<ThreadedSocket*>(event.data.ptr);
    if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket.io.hung_up = true;
    if ((event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 && !socket.io.readable &&
        !socket.io.over && !socket.io.closing) {
      socket.io.readable = true;
      ready_.push_back(&socket);
    }
    // Last: it may be the end of the socket.
    if ((event.events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0 && !socket.io.unsent.empty()) {
      write_unsent(socket);
    }
  }
  return count > 0;
}

/// @return whether there are more.
bool IoThread::take_commands() {
  std::size_t bytes = 0;
  bool any = false;
  while (const auto record = to_thread.front()) {
    if (bytes > kCommandBytesPerTurn) return true;
    any = true;
    auto& socket = *static_cast<ThreadedSocket*>(record->about);
    switch (static_cast<Command>(record->kind)) {
      case add: {
        sockets_.insert(&socket);
        epoll_event event{};
        // Edges: a socket is asked until it has no more, and told of once per change; nothing is ever
        // re-armed.
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        event.data.ptr = &socket;
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, socket.fd, &event) != 0) over(socket);
        break;
      }
      case send:
        bytes += record->bytes.size();
        write(socket, record->bytes);
        break;
      case close_now:
        finish(socket);
        break;
      case close_after_output:
        socket.io.closing = true;
        if (socket.io.unsent.empty()) {
          finish(socket);
        } else {
          socket.io.deadline = steady_clock::now() + kLinger;
          lingering_.push_back(&socket);
        }
        break;
    }
    to_thread.pop(*record);
  }
  if (any && to_thread.take_waiting()) told_ = true;
  return false;
}

/// Reads once from each that has something. @return whether to come back at once: some were read, some are
/// left.
bool IoThread::read_ready() {
  bool any = false;
  for (std::size_t left = std::min<std::size_t>(ready_.size(), kReadsPerTurn); left > 0; --left) {
    ThreadedSocket& socket = *ready_.front();
    if (!owed_.empty()) break;  // notices wait for room: they first
    if (socket.io.in_ring >= kInRingMost) {
      if (to_strand.taken() < socket.io.until) {
        ready_.pop_front();
        ready_.push_back(&socket);
        continue;
      }
      socket.io.in_ring = 0;
    }
    const auto into = to_strand.reserve(kReadLeast, kReadMost);
    if (into.empty()) break;  // it stays in front: the first when there is room
    ready_.pop_front();
    any = true;
    const auto got = ::recv(socket.fd, into.data(), into.size(), MSG_DONTWAIT);
    if (got > 0) {
      to_strand.commit(received, &socket, static_cast<std::size_t>(got));
      if (to_strand.taken() >= socket.io.until) socket.io.in_ring = 0;
      socket.io.in_ring += static_cast<std::size_t>(got);
      socket.io.until = to_strand.end();
      told_ = true;
      if (static_cast<std::size_t>(got) == into.size() || socket.io.hung_up) {
        ready_.push_back(&socket);
      } else {
        socket.io.readable = false;  // a short read took all; what comes later is another edge
      }
    } else if (got < 0 && errno == EINTR) {
      ready_.push_back(&socket);
    } else {
      socket.io.readable = false;
      if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) over(socket);
    }
  }
  return any && !ready_.empty();
}

void IoThread::write(ThreadedSocket& socket, BytesView bytes) {
  if (socket.io.over) return;  // the strand will hear, or has heard, that it ended
  std::size_t done = 0;
  if (socket.io.unsent.empty()) {
    done = give_to_kernel(socket, bytes);
    if (socket.io.over) return;
  }
  if (done == bytes.size()) {
    if (socket.wants_room.exchange(false, std::memory_order_acq_rel)) notify(room, socket);
    return;
  }
  socket.io.unsent.insert(socket.io.unsent.end(), bytes.begin() + static_cast<std::ptrdiff_t>(done),
                          bytes.end());
  unsent_bytes_.fetch_add(bytes.size() - done, std::memory_order_relaxed);
}

void IoThread::write_unsent(ThreadedSocket& socket) {
  if (socket.io.over) return;
  const std::size_t done = give_to_kernel(socket, BytesView(socket.io.unsent).subspan(socket.io.unsent_at));
  if (socket.io.over) return;
  socket.io.unsent_at += done;
  unsent_bytes_.fetch_sub(done, std::memory_order_relaxed);
  if (socket.io.unsent_at < socket.io.unsent.size()) return;
  socket.io.unsent = {};  // the memory goes, too: most sockets always take all
  socket.io.unsent_at = 0;
  if (socket.io.closing) {
    lingering_.erase(std::find(lingering_.begin(), lingering_.end(), &socket));
    finish(socket);
  } else if (socket.wants_room.exchange(false, std::memory_order_acq_rel)) {
    notify(room, socket);
  }
}

std::size_t IoThread::give_to_kernel(ThreadedSocket& socket, BytesView bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {  // until it says that it is full: only then is there an edge when it is not
    const auto sent =
        ::send(socket.fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      done += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      break;
    } else if (errno != EINTR) {
      over(socket);
      return done;
    }
  }
  socket.written.fetch_add(done, std::memory_order_release);
  return done;
}

void IoThread::drop_unsent(ThreadedSocket& socket) {
  unsent_bytes_.fetch_sub(socket.io.unsent.size() - socket.io.unsent_at, std::memory_order_relaxed);
  socket.io.unsent = {};
  socket.io.unsent_at = 0;
}

/// Told by the peer or an error.
void IoThread::over(ThreadedSocket& socket) {
  if (socket.io.over) return;
  socket.io.over = true;
  drop_unsent(socket);
  if (!socket.io.closing) return notify(ended, socket);
  const auto at = std::find(lingering_.begin(), lingering_.end(), &socket);
  if (at == lingering_.end()) return;
  lingering_.erase(at);
  finish(socket);
}

void IoThread::finish(ThreadedSocket& socket) {
  socket.io.over = true;
  drop_unsent(socket);
  if (socket.io.readable) ready_.erase(std::find(ready_.begin(), ready_.end(), &socket));
  ::shutdown(socket.fd, SHUT_RDWR);
  ::close(socket.fd);
  sockets_.erase(&socket);
  notify(gone, socket);
}

void IoThread::end_late_ones() {
  const auto now = steady_clock::now();
  for (std::size_t i = 0; i < lingering_.size();) {
    ThreadedSocket& socket = *lingering_[i];
    if (socket.io.deadline > now) {
      ++i;
      continue;
    }
    lingering_.erase(lingering_.begin() + static_cast<std::ptrdiff_t>(i));
    finish(socket);
  }
}

void IoThread::notify(Notice notice, ThreadedSocket& socket) {
  told_ = true;
  if (owed_.empty() && to_strand.push(notice, &socket)) return;
  owed_.emplace_back(notice, &socket);
}

/// @return whether some went.
bool IoThread::send_owed() {
  bool any = false;
  while (!owed_.empty() && to_strand.push(owed_.front().first, owed_.front().second)) {
    owed_.pop_front();
    any = told_ = true;
  }
  return any;
}

void IoThread::wake_strand_when_told() {
  if (std::exchange(told_, false)) wake_strand_();
}

}  // namespace mainstay::io
