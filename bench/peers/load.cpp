#include "peers/load.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "io/system_clock.h"

namespace mainstay::bench {
namespace {

constexpr Duration kTurn = milliseconds(200);  // of one poll: how soon a stop is seen
constexpr Duration kPatience = seconds(60);    // without any progress

class Message {
 public:
  Message() : bytes_(kMessageBytes, std::byte{'x'}) {}
  BytesView stamped(std::uint64_t value) {
    const Stamp stamp = to_stamp(value);
    std::memcpy(bytes_.data(), stamp.data(), stamp.size());
    return bytes_;
  }

 private:
  Buffer bytes_;
};

/// Threads of one measurement: the first trouble of any ends all.
class Crew {
 public:
  void add(std::function<void()> work) { work_.push_back(std::move(work)); }
  [[nodiscard]] bool failed() const { return failed_.load(std::memory_order_relaxed); }
  void run() {
    std::vector<std::thread> threads;
    threads.reserve(work_.size());
    for (auto& work : work_) {
      threads.emplace_back([this, &work] {
        try {
          work();
        } catch (const Trouble& trouble) {
          const std::lock_guard lock(mutex_);
          if (!trouble_) trouble_ = trouble;
          failed_ = true;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    if (trouble_) throw *trouble_;
  }

 private:
  std::vector<std::function<void()>> work_;
  std::mutex mutex_;
  std::optional<Trouble> trouble_;
  std::atomic<bool> failed_ = false;
};

/// Throws when nothing has moved for kPatience.
class Watchdog {
 public:
  explicit Watchdog(const char* what) : what_(what), last_(clock_.now()) {}
  void progress(std::uint64_t now_at) {
    if (now_at != at_) {
      at_ = now_at;
      last_ = clock_.now();
    } else if (clock_.now() - last_ > kPatience) {
      throw Trouble{std::string("no ") + what_ + " for 60 s"};
    }
  }

 private:
  io::SystemClock clock_;
  const char* what_;
  std::uint64_t at_ = 0;
  Instant last_;
};

/// Publishes while `more(sent)`; waits for every confirm. @return how many.
std::uint64_t press(Publisher& publisher, std::uint64_t window,
                    const std::function<bool(std::uint64_t)>& more, const Crew& crew) {
  Message message;
  Watchdog watchdog("confirm");
  std::uint64_t sent = 0, confirmed = 0;
  bool going = true;
  while ((going || confirmed < sent) && !crew.failed()) {
    while (going && sent - confirmed < window) {
      going = more(sent);
      if (!going || !publisher.send(message.stamped(sent))) break;
      ++sent;
    }
    confirmed += publisher.poll(kTurn);
    watchdog.progress(confirmed);
  }
  return confirmed;
}

void connect_publishers(Peer& peer, std::size_t count, std::vector<std::unique_ptr<Publisher>>& into) {
  for (std::size_t i = 0; i < count; ++i) into.push_back(peer.publisher(Eagerness::batches));
}

double quantile(std::vector<double>& of, double q) {
  if (of.empty()) return 0;
  const auto at = of.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(of.size() - 1));
  std::nth_element(of.begin(), at, of.end());
  return *at;
}

Latency latency_of(std::vector<double>& microseconds) {
  const double p50 = quantile(microseconds, 0.5);
  return {p50, quantile(microseconds, 0.99)};
}

/// Publishers only; `more` is asked by each with its own count.
Throughput publish(Peer& peer, Shape shape, const std::function<bool(std::uint64_t)>& more) {
  io::SystemClock clock;
  std::vector<std::unique_ptr<Publisher>> publishers;
  connect_publishers(peer, shape.connections, publishers);
  std::atomic<std::uint64_t> total = 0;
  Crew crew;
  for (auto& publisher : publishers) {
    crew.add([&] { total += press(*publisher, shape.window / shape.connections, more, crew); });
  }
  const Instant start = clock.now();
  crew.run();
  return {static_cast<double>(total) / (clock.now() - start).seconds(), total};
}

}  // namespace

Throughput publish_for(Peer& peer, Shape shape, Duration time) {
  io::SystemClock clock;
  const Instant until = clock.now() + time;
  return publish(peer, shape, [&](std::uint64_t) { return clock.now() < until; });
}

void publish_count(Peer& peer, Shape shape, std::uint64_t count) {
  const std::uint64_t each = count / shape.connections;
  static_cast<void>(publish(peer, shape, [&](std::uint64_t sent) { return sent < each; }));
}

Throughput publish_and_consume_for(Peer& peer, Shape shape, Duration time) {
  io::SystemClock clock;
  std::vector<std::unique_ptr<Publisher>> publishers;
  connect_publishers(peer, shape.connections, publishers);
  std::vector<std::unique_ptr<Consumer>> consumers;
  for (std::size_t i = 0; i < shape.connections; ++i) consumers.push_back(peer.consumer());
  std::atomic<std::uint64_t> published = 0, acknowledged = 0;
  std::atomic<std::size_t> publishing = publishers.size();
  Crew crew;
  const Instant start = clock.now(), until = start + time;
  for (auto& publisher : publishers) {
    crew.add([&] {
      published += press(
          *publisher, shape.window / shape.connections, [&](std::uint64_t) { return clock.now() < until; },
          crew);
      --publishing;
    });
  }
  for (auto& consumer : consumers) {
    crew.add([&] {
      Watchdog watchdog("acknowledgement");
      std::vector<std::uint64_t> stamps;
      std::uint64_t mine = 0;
      while ((publishing > 0 || acknowledged < published) && !crew.failed()) {
        stamps.clear();
        consumer->poll(milliseconds(10), stamps);
        if (!stamps.empty()) consumer->acknowledge();
        acknowledged += consumer->acknowledged() - mine;
        mine = consumer->acknowledged();
        watchdog.progress(acknowledged);
      }
    });
  }
  crew.run();
  const std::uint64_t total = published;
  return {static_cast<double>(total) / (clock.now() - start).seconds(), total};
}

void consume_count(Peer& peer, std::uint64_t count) {
  const auto consumer = peer.consumer();
  Watchdog watchdog("acknowledgement");
  std::vector<std::uint64_t> stamps;
  while (consumer->acknowledged() < count) {
    stamps.clear();
    consumer->poll(milliseconds(10), stamps);
    if (!stamps.empty()) consumer->acknowledge();
    watchdog.progress(consumer->acknowledged());
  }
}

Latency one_in_flight(Peer& peer, std::uint64_t count, std::uint64_t first_stamp) {
  io::SystemClock clock;
  Message message;
  const auto publisher = peer.publisher(Eagerness::at_once);
  std::vector<double> took;
  took.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    Watchdog watchdog("confirm");
    const Instant start = clock.now();
    while (!publisher->send(message.stamped(first_stamp + i))) {
      publisher->poll(kTurn);
      watchdog.progress(0);
    }
    while (publisher->poll(kTurn) == 0) watchdog.progress(0);
    took.push_back(static_cast<double>((clock.now() - start).ns) / 1e3);
  }
  return latency_of(took);
}

Latency end_to_end(Peer& peer, double per_second, Duration time) {
  io::SystemClock clock;
  const auto publisher = peer.publisher(Eagerness::at_once);
  const auto consumer = peer.consumer();
  const auto count = static_cast<std::uint64_t>(std::llround(per_second * time.seconds()));
  const Duration step{static_cast<std::int64_t>(1e9 / per_second)};
  std::vector<double> took;
  took.reserve(count);
  Crew crew;
  crew.add([&] {
    Message message;
    std::uint64_t confirmed = 0, sent = 0;
    const Instant start = clock.now() + milliseconds(100);
    Watchdog watchdog("confirm");
    while (sent < count && !crew.failed()) {
      const Instant due{start.ns + static_cast<std::int64_t>(sent) * step.ns};
      std::this_thread::sleep_until(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(due.ns)));
      // The confirm of the message before is read only now: reading must not delay the next one.
      while (!publisher->send(message.stamped(static_cast<std::uint64_t>(clock.now().ns)))) {
        confirmed += publisher->poll(kTurn);
        watchdog.progress(confirmed);
      }
      ++sent;
      confirmed += publisher->poll({0});
    }
    while (confirmed < sent && !crew.failed()) {
      confirmed += publisher->poll(kTurn);
      watchdog.progress(confirmed);
    }
  });
  crew.add([&] {
    Watchdog watchdog("message");
    std::vector<std::uint64_t> stamps;
    while (took.size() < count && !crew.failed()) {
      stamps.clear();
      consumer->poll(kTurn, stamps);
      const Instant now = clock.now();
      for (const std::uint64_t stamp : stamps)
        took.push_back(static_cast<double>(now.ns - static_cast<std::int64_t>(stamp)) / 1e3);
      if (!stamps.empty()) {
        consumer->acknowledge();
        stamps.clear();
        consumer->poll({0}, stamps);  // sends the acknowledgement now; what came meanwhile counts as well
        const Instant later = clock.now();
        for (const std::uint64_t stamp : stamps)
          took.push_back(static_cast<double>(later.ns - static_cast<std::int64_t>(stamp)) / 1e3);
        if (!stamps.empty()) consumer->acknowledge();
      }
      watchdog.progress(took.size());
    }
    while (consumer->acknowledged() < count && !crew.failed()) {
      stamps.clear();
      consumer->poll(kTurn, stamps);
      watchdog.progress(took.size() + consumer->acknowledged());
    }
  });
  crew.run();
  return latency_of(took);
}

}  // namespace mainstay::bench
