// Question: does a deep queue cost memory or speed? Resident memory with 1 M and 10 M messages waiting,
// publishing on top of them and draining them against a queue that is fresh, and what producers notice while
// an old backlog is drained.
//
// Two brokers with default limits run on the same disk, a deep one and a fresh one, and are measured in
// turns, so that a noisy machine hits both.
#include <algorithm>
#include <future>
#include <optional>
#include <thread>

#include "disk_floor.h"
#include "load.h"

namespace mainstay::bench {
namespace {

constexpr double kShallowMiB = 64, kDeepMiB = 256;
constexpr double kPublishRatio = 0.7, kDrainRatio = 0.6, kStallMs = 50;
constexpr std::uint64_t kTargetShallow = 1'000'000, kTargetDeep = 10'000'000;
constexpr std::uint64_t kBytesEach = 1200;  ///< on disk, with indexes
constexpr std::uint32_t kWindow = 1000;
constexpr double kNewPerSecond = 500;  ///< publishes meanwhile: enough to notice a stall of 2 ms

void settle_down() {
  std::this_thread::sleep_for(std::chrono::seconds(2));
}

/// The longest of these latencies whose message did not wait while a slow bare sync ran. They are in the
/// order of the messages, which were due one after the other from `first_due` on.
double longest_outside(const std::vector<float>& latencies_us, double first_due,
                       const std::vector<SyncProbe::Span>& slow) {
  double longest = 0;
  for (std::size_t i = 0; i < latencies_us.size(); ++i) {
    const double due = first_due + static_cast<double>(i) / kNewPerSecond;
    const double answered = due + static_cast<double>(latencies_us[i]) / 1e6;
    const bool beside = std::any_of(slow.begin(), slow.end(), [&](const SyncProbe::Span& span) {
      return span.from <= answered && due <= span.to;
    });
    if (!beside) longest = std::max(longest, static_cast<double>(latencies_us[i]));
  }
  return longest;
}

}  // namespace

int run_backlog_bench(const Arguments& arguments) {
  std::uint64_t shallow = kTargetShallow, deep = kTargetDeep, slice = 100'000;
  return run_benchmark(
      {"backlog",
       "Memory and throughput of a queue with 1 M and 10 M messages of 1 KiB: published to, drained, and "
       "published to while it is drained.",
       "  ./dev bench backlog --shallow 100000 --deep 1000000     for trying out\n"
       "  ./dev bench backlog --directory /mnt/nvme               the whole: 12 GB of disk, some ten "
       "minutes\n"},
      arguments,
      [&](CLI::App& app) {
        app.add_option("--shallow", shallow, "messages at the first look at memory")
            ->capture_default_str()
            ->check(CLI::Range(1000ULL, 1'000'000'000ULL));
        app.add_option("--deep", deep, "messages in the deep queue")
            ->capture_default_str()
            ->check(CLI::Range(10'000ULL, 1'000'000'000ULL));
        app.add_option("--slice", slice, "messages per round of a comparison")
            ->capture_default_str()
            ->check(CLI::Range(1000ULL, 10'000'000ULL));
      },
      [&](const Common& common, Record& record) {
        std::string note;
        deep = messages_that_fit(common.directory, deep, kBytesEach, note);
        shallow = std::min(shallow, deep);
        const auto slices = static_cast<std::uint64_t>(common.rounds);
        slice = std::min(slice, deep / (4 * slices));
        const Buffer message = load_message(1024);
        Broker fresh(common, {.name = "fresh", .more_config = "", .declare_bench_queue = true});
        Broker broker(common, {.name = "deep", .more_config = "", .declare_bench_queue = true});
        settle_down();
        const double idle = static_cast<double>(broker.rss_bytes());
        Publisher publisher(broker);
        std::optional<Publisher> to_fresh(std::in_place, fresh);
        std::optional<Consumer> from_fresh(std::in_place, fresh);
        to_fresh->publish(20'000, kWindow, message);
        from_fresh->consume(20'000);

        Figure first = at_most(
            figure("backlog.memory_1m_mib",
                   "memory above idle, " + readable(static_cast<double>(shallow)) + " waiting", "MiB"),
            kShallowMiB);
        Figure peak = at_most(
            figure("backlog.rss_10m_mib",
                   "most resident memory, up to " + readable(static_cast<double>(deep)) + " waiting", "MiB"),
            kDeepMiB);
        Figure idle_mib = figure("backlog.idle_mib", "  resident memory of the idle broker", "MiB");
        idle_mib.samples.values = {idle / kMiB};
        {
          Progress progress("filling the queue");
          publisher.publish(shallow, kWindow, message, nullptr, &progress);
          settle_down();
          first.samples.values = {(static_cast<double>(broker.rss_bytes()) - idle) / kMiB};
          const std::uint64_t held_back = slices * slice;
          if (deep > shallow + held_back)
            publisher.publish(deep - held_back - shallow, kWindow, message, nullptr, &progress);
        }
        Figure on_top = at_least(
            figure("backlog.publish_ratio", "publishing on top of that, over an empty queue", "ratio"),
            kPublishRatio);
        Figure on_top_rate = figure("backlog.publish_rate", "  publishing on top of that", "messages/s");
        for (std::uint64_t round = 0; round < slices; ++round) {
          const double ours = publisher.publish(slice, kWindow, message);
          const double theirs = to_fresh->publish(slice, kWindow, message);
          from_fresh->consume(slice);
          on_top.samples.values.push_back(theirs / ours);
          on_top_rate.samples.values.push_back(static_cast<double>(slice) / ours);
        }
        settle_down();
        const Broker::Sample full = broker.sample();
        peak.samples.values = {static_cast<double>(full.rss_peak_bytes) / kMiB};
        std::uint64_t waiting = full.active;
        Consumer consumer(broker);
        Figure draining =
            at_least(figure("backlog.drain_ratio", "draining the old backlog, over a fresh queue", "ratio"),
                     kDrainRatio);
        Figure drain_rate = figure("backlog.drain_rate", "  draining the old backlog", "messages/s");
        for (std::uint64_t round = 0; round < slices; ++round) {
          const double ours = consumer.consume(slice);
          to_fresh->publish(slice, kWindow, message);
          const double theirs = from_fresh->consume(slice);
          draining.samples.values.push_back(theirs / ours);
          drain_rate.samples.values.push_back(static_cast<double>(slice) / ours);
          waiting -= slice;
        }
        Figure stall = at_most(
            figure("backlog.publish_stall_ms", "longest wait of a new publish while it is drained", "ms"),
            kStallMs);
        Figure whole_drain =
            figure("backlog.drain_whole_rate", "  draining the rest, new ones coming in", "messages/s");
        Figure reads =
            figure("backlog.read_bytes_per_message", "  read from files for each drained message", "B");
        // It has done its part, and would give its space back to the same disk now.
        to_fresh.reset();
        from_fresh.reset();
        fresh.stop();
        // The backlog is an old one: what filling it has left to do for the disk is done by then.
        Figure settled =
            figure("backlog.settled_sync_ms", "  longest bare sync in the ten seconds before", "ms");
        settled.samples.values = {settle_disk(common.directory)};
        Figure floor = figure("backlog.bare_sync_ms", "  longest bare sync of 4 KiB beside it", "ms");
        floor.note =
            "a thread of the benchmark that writes and syncs a file of its own on the same disk, each 10 ms: "
            "the "
            "longest wait cannot be much shorter where this is long, whoever causes it";
        std::optional<SyncProbe> probe(std::in_place, common.directory);
        const std::uint64_t read_before = broker.sample().read_bytes;
        std::atomic<bool> drained{false};
        std::vector<float> latencies;
        double first_due = 0;
        auto new_ones = std::async(std::launch::async, [&] {
          first_due = seconds_now();
          return publisher.publish_paced(
              kNewPerSecond, ~std::uint64_t{0}, drained, [&] { return BytesView(message); }, latencies);
        });
        try {
          Progress progress("draining");
          const double took = consumer.consume(waiting, &progress);
          whole_drain.samples.values = {static_cast<double>(waiting) / took};
        } catch (...) {
          drained = true;
          throw;
        }
        drained = true;
        floor.samples.values = {probe->take_longest_ms()};
        const std::vector<SyncProbe::Span> slow_syncs = probe->slow();
        probe.reset();
        reads.samples.values = {static_cast<double>(broker.sample().read_bytes - read_before) /
                                static_cast<double>(waiting)};
        const std::uint64_t added = new_ones.get();
        expect_active(broker, added);
        if (latencies.empty()) throw CouldNotRun("the backlog was drained before one message could be sent");
        stall.samples.values = {static_cast<double>(*std::max_element(latencies.begin(), latencies.end())) /
                                1e3};
        Figure own =
            figure("backlog.own_stall_ms", "  longest wait with no bare sync above 10 ms beside it", "ms");
        own.samples.values = {longest_outside(latencies, first_due, slow_syncs) / 1e3};
        Figure after = figure("backlog.rss_drained_mib", "  resident memory after draining", "MiB");
        after.samples.values = {static_cast<double>(broker.rss_bytes()) / kMiB};
        if (deep < kTargetDeep || shallow < kTargetShallow) {
          if (note.empty()) note = "smaller than the target's 1 M and 10 M messages";
          for (Figure* f : {&first, &peak, &on_top, &draining, &stall}) f->note = note;
        }
        // What the capacity planner must know of the two looks at memory (mainstay capacity).
        Figure first_at = figure("backlog.shallow_messages", "messages at the first look at memory", "");
        first_at.samples.values = {static_cast<double>(shallow)};
        Figure peak_at = figure("backlog.deep_messages", "messages in the deep queue", "");
        peak_at.samples.values = {static_cast<double>(deep)};
        record.figures = {first_at,   peak_at, first, idle_mib, peak,    on_top,      on_top_rate, draining,
                          drain_rate, stall,   own,   floor,    settled, whole_drain, reads,       after};
      });
}

}  // namespace mainstay::bench
