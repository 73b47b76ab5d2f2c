#include "drills/destination_observer.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/checksum.h"
#include "drills/arrivals.h"
#include "drills/tsv.h"
#include "payments/message.h"

namespace mainstay::drills {
namespace {

Failure system_failure(const std::string& doing) {
  return {doing + ": " + std::strerror(errno)};
}

}  // namespace

bool is_unfinished_name(std::string_view name) {
  return name.starts_with('.') || name.ends_with(".tmp");
}

class DestinationObserver::Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

Result<std::unique_ptr<DestinationObserver>, Failure> DestinationObserver::open(const std::string& directory,
                                                                                const std::string& record,
                                                                                Clock& clock) {
  const int inotify_fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (inotify_fd < 0) return system_failure("cannot watch " + directory + " (inotify)");
  auto inotify = std::make_unique<Descriptor>(inotify_fd);
  if (::inotify_add_watch(inotify_fd, directory.c_str(), IN_MOVED_TO | IN_CREATE | IN_ONLYDIR) < 0)
    return system_failure("cannot watch " + directory);
  const int wake_fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_fd < 0) return system_failure("cannot make an eventfd");
  auto wake = std::make_unique<Descriptor>(wake_fd);
  if (const auto written = write_text_file(record, arrivals_header()); !written) return written.error();
  std::unique_ptr<DestinationObserver> observer(
      new DestinationObserver(directory, record, clock, std::move(inotify), std::move(wake)));
  observer->thread_ = std::thread([watching = observer.get()] { watching->run(); });
  return observer;
}

DestinationObserver::DestinationObserver(std::string directory, std::string record, Clock& clock,
                                         std::unique_ptr<Descriptor> inotify,
                                         std::unique_ptr<Descriptor> wake)
    : directory_(std::move(directory)),
      record_(std::move(record)),
      clock_(clock),
      inotify_(std::move(inotify)),
      wake_(std::move(wake)) {}

DestinationObserver::~DestinationObserver() {
  static_cast<void>(stop());
}

std::optional<Instant> DestinationObserver::first_at_or_after(Instant from) const {
  const std::lock_guard lock(mutex_);
  const auto at = std::ranges::lower_bound(arrivals_.list, from.ns, {}, &Arrival::monotonic_ns);
  if (at == arrivals_.list.end()) return std::nullopt;
  return Instant{at->monotonic_ns};
}

Result<void, Failure> DestinationObserver::stop() {
  if (stopped_) return {};
  stopped_ = true;
  const std::uint64_t one = 1;
  static_cast<void>(::write(wake_->get(), &one, sizeof one));
  thread_.join();
  std::string text(arrivals_header());
  for (const Arrival& arrival : arrivals_.list) append_line(text, arrival);
  if (!arrivals_.incomplete.empty()) append_incomplete_line(text, arrivals_.incomplete);
  return write_text_file(record_, text);
}

// The kernel's queue is bounded, so reading events comes before reading files: a file is digested only while
// no event waits.
void DestinationObserver::run() {
  for (;;) {
    const bool behind = digested_ < arrivals_.list.size();
    pollfd waiting[2] = {{inotify_->get(), POLLIN, 0}, {wake_->get(), POLLIN, 0}};
    if (::poll(waiting, 2, behind ? 0 : -1) < 0 && errno != EINTR) {
      note_incomplete(std::string("the witness could not wait for events: ") + std::strerror(errno));
      return;
    }
    const bool asked_to_stop = (waiting[1].revents & POLLIN) != 0;
    if (take_events()) continue;
    if (behind)
      digest_next();
    else if (asked_to_stop)
      return;
  }
}

bool DestinationObserver::take_events() {
  alignas(inotify_event) char buffer[65536];
  const ssize_t length = ::read(inotify_->get(), buffer, sizeof buffer);
  if (length <= 0) {
    if (length < 0 && errno != EAGAIN && errno != EINTR)
      note_incomplete(std::string("the witness could not read events: ") + std::strerror(errno));
    return false;
  }
  const Instant now = clock_.now();
  const WallTime wall = clock_.wall();
  const std::lock_guard lock(mutex_);
  for (const char* at = buffer; at < buffer + length;) {
    inotify_event event;
    std::memcpy(&event, at, sizeof event);
    const char* name = at + sizeof event;
    at += sizeof event + event.len;
    if ((event.mask & IN_Q_OVERFLOW) != 0) {
      arrivals_.incomplete = "the kernel's event queue overflowed: arrivals were missed";
    } else if ((event.mask & IN_IGNORED) != 0) {
      arrivals_.incomplete = "the destination directory was removed while it was watched";
    } else if (event.len > 0 && (event.mask & IN_ISDIR) == 0 && !is_unfinished_name(name)) {
      arrivals_.list.push_back({.order = arrivals_.list.size() + 1,
                                .wall_ms = wall.ms,
                                .monotonic_ns = now.ns,
                                .name = name,
                                .bytes_digest = {}});
    }
  }
  count_.store(arrivals_.list.size(), std::memory_order_release);
  return true;
}

void DestinationObserver::digest_next() {
  // Only this thread changes the list, so it may read it unlocked.
  const std::string path = directory_ + "/" + arrivals_.list[digested_].name;
  const auto content = read_text_file(path);
  std::string digest = content ? digest128(as_bytes(*content)) : std::string{};
  const std::lock_guard lock(mutex_);
  arrivals_.list[digested_++].bytes_digest = std::move(digest);
}

void DestinationObserver::note_incomplete(const std::string& why) {
  const std::lock_guard lock(mutex_);
  arrivals_.incomplete = why;
}

Result<std::vector<DestinationFile>, Failure> list_destination(const std::string& directory) {
  namespace fs = std::filesystem;
  std::vector<DestinationFile> files;
  std::error_code error;
  fs::directory_iterator at(directory, error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (is_unfinished_name(name) || !at->is_regular_file(error) || error) continue;
    const auto content = read_text_file(at->path().string());
    if (!content) return content.error();
    DestinationFile& file = files.emplace_back();
    file.name = name;
    file.bytes_digest = digest128(as_bytes(*content));
    const auto messages = payments::read_messages(as_bytes(*content));
    if (messages.size() == 1 && messages.front().valid) {
      file.key = messages.front().idempotency_key;
      file.content_digest = messages.front().content_digest;
    }
  }
  if (error) return Failure{"cannot list " + directory + ": " + error.message()};
  std::ranges::sort(files, {}, &DestinationFile::name);
  return files;
}

}  // namespace mainstay::drills
