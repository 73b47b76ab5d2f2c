// How many messages a second does the deciding core alone carry on one core, without disk and wire?
// Records are encoded and chained as in production; batches are dropped, every 64 calls are one commit.
//   publish               store, no consumer; ends with the whole backlog resident
//   publish+deliver+settle  one receiver with credit 1000, each message completed
// Prints medians over runs; payload 1 KiB. Argument: messages per run.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "broker/leader.h"

using namespace mainstay;
using namespace mainstay::broker;

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
long rss_kib() {
  long pages = 0, resident = 0;
  if (std::FILE* f = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(f, "%ld %ld", &pages, &resident) != 2) resident = 0;
    std::fclose(f);
  }
  return resident * 4;
}

struct Bench {
  State state;
  journal::LogBuilder log{{}, Epoch{1}};
  SeededRandom random{1};
  Leader leader{state, log, random};
  journal::Batch batch;
  QueueId queue{};
  std::vector<Output> out;
  Instant now{1};
  WallTime wall{1'700'000'000'000};

  explicit Bench(const QueueOptions& options) {
    queue = leader.declare_queue("q", options, wall).value();
    out.reserve(4096);
  }
  void commit() {
    batch = log.take(std::move(batch));
    leader.committed(log.end().lsn, now, wall, out);
  }
};

const Buffer kPayload(1024, std::byte{'x'});

void publish_one(Bench& b, std::uint64_t i, bool ids, unsigned sessions) {
  char id[48], session[24];
  Publish p;
  p.queue = b.queue;
  p.payload = kPayload;
  if (ids) {
    const int n =
        std::snprintf(id, sizeof id, "3f2504e0-4f89-11d3-9a0c-%012llu", static_cast<unsigned long long>(i));
    p.message_id = {id, static_cast<std::size_t>(n)};
  }
  if (sessions > 0) {
    const int n =
        std::snprintf(session, sizeof session, "account-%llu", static_cast<unsigned long long>(i % sessions));
    p.session_id = {session, static_cast<std::size_t>(n)};
    p.has_session = true;
  }
  b.leader.publish(p, b.wall, b.out);
}

double publish_rate(std::uint64_t n, const QueueOptions& options, bool ids, double& bytes_each) {
  const long before = rss_kib();
  Bench b(options);
  const double start = seconds_now();
  for (std::uint64_t i = 0; i < n; ++i) {
    publish_one(b, i, ids, 0);
    if (i % 64 == 63) {
      b.commit();
      b.out.clear();
    }
  }
  const double took = seconds_now() - start;
  bytes_each = static_cast<double>(rss_kib() - before) * 1024 / static_cast<double>(n);
  return static_cast<double>(n) / took;
}

double full_rate(std::uint64_t n, const QueueOptions& options, bool ids, unsigned sessions) {
  Bench b(options);
  for (unsigned c = 0; c < std::max(sessions, 1U); ++c) {
    Subscribe s;
    s.consumer = c + 1;
    s.queue = b.queue;
    if (sessions > 0) {
      s.session = Subscribe::Session::named;
      s.session_id = "account-" + std::to_string(c);
    }
    b.leader.subscribe(s, b.now, b.wall, b.out);
    b.leader.set_credit(c + 1, 1'000'000'000, false, b.now, b.wall, b.out);
  }
  std::vector<LockToken> tokens;
  std::uint64_t settled = 0;
  const double start = seconds_now();
  for (std::uint64_t i = 0; i < n; ++i) {
    publish_one(b, i, ids, sessions);
    if (i % 64 != 63) continue;
    b.out.clear();
    b.commit();
    tokens.clear();
    for (const Output& o : b.out) {
      if (const auto* d = std::get_if<Deliver>(&o)) tokens.push_back(d->delivery.token);
    }
    b.out.clear();
    for (const LockToken& token : tokens) {
      b.leader.settle({++settled, token, Settlement::complete, {}, {}, {}}, b.now, b.wall, b.out);
    }
    b.out.clear();
  }
  const double took = seconds_now() - start;
  if (settled + 64 < n) std::printf("only %llu settled\n", static_cast<unsigned long long>(settled));
  return static_cast<double>(n) / took;
}

template <class F>
double median_of_5(const F& run) {
  std::vector<double> rates;
  for (int i = 0; i < 5; ++i) rates.push_back(run());
  std::sort(rates.begin(), rates.end());
  return rates[2];
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t n = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  QueueOptions plain, detecting, sessions;
  detecting.duplicate_detection = true;
  sessions.duplicate_detection = sessions.requires_session = true;
  double bytes = 0;
  std::printf("%llu messages of 1 KiB per run, median of 5\n", static_cast<unsigned long long>(n));
  std::printf("publish                        %8.0f/s",
              median_of_5([&] { return publish_rate(n, plain, false, bytes); }));
  std::printf("   (last run: %.0f bytes resident per message)\n", bytes);
  std::printf("publish, ids + dup detection   %8.0f/s",
              median_of_5([&] { return publish_rate(n, detecting, true, bytes); }));
  std::printf("\n");
  std::printf("publish+deliver+complete       %8.0f/s\n",
              median_of_5([&] { return full_rate(n, plain, false, 0); }));
  std::printf("  with ids + dup detection     %8.0f/s\n",
              median_of_5([&] { return full_rate(n, detecting, true, 0); }));
  std::printf("  and 100 sessions             %8.0f/s\n",
              median_of_5([&] { return full_rate(n, sessions, true, 100); }));
}
