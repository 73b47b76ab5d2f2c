// Question: does a broker that runs for long stay as it began? Many small messages pass through a queue that
// is never deep; disk, memory and throughput are watched all the way.
//
// The queue holds at most 1,000: the producer sends only what was not completed before. Samples of disk and
// memory are taken every half second from /proc and the file system.
#include <algorithm>
#include <future>
#include <thread>

#include "load.h"

namespace mainstay::bench {
namespace {

constexpr std::uint64_t kInQueueMax = 1000;
constexpr std::uint64_t kSegmentBytes = 64ULL << 20;
constexpr double kSegments = 4;
constexpr double kGrowthMiB = 4;  // what the allocator's own noise comes to
constexpr double kLastOverFirst = 0.95;

struct Watched {
  double at{};
  std::uint64_t done{}, rss{};
};

/// Median of the tenth's own rates, so that one slow moment of the machine does not decide.
double rate_of(const std::vector<Watched>& samples, std::uint64_t from, std::uint64_t to) {
  Samples rates;
  const Watched* before = nullptr;
  for (const Watched& now : samples) {
    if (now.done < from || now.done > to) continue;
    if (before != nullptr && now.at > before->at)
      rates.values.push_back(static_cast<double>(now.done - before->done) / (now.at - before->at));
    before = &now;
  }
  return rates.median();
}

}  // namespace

int run_longrun_bench(const Arguments& arguments) {
  std::uint64_t messages = 200'000'000;
  std::size_t bytes = 100;
  return run_benchmark(
      {"longrun",
       "200 M small messages through a queue that never holds more than 1,000: disk, memory and throughput "
       "from the first to the last tenth.",
       "  ./dev bench longrun --messages 2000000      a minute, for trying out\n"
       "  ./dev bench longrun                         the whole run: half an hour and more\n",
       0},
      arguments,
      [&](CLI::App& app) {
        app.add_option("--messages", messages)
            ->capture_default_str()
            ->check(CLI::Range(100'000ULL, 100'000'000'000ULL));
        app.add_option("--bytes", bytes, "body bytes")
            ->capture_default_str()
            ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20));
      },
      [&](const Common& common, Record& record) {
        const Buffer message = load_message(bytes);
        Broker broker(common, {});
        Publisher publisher(broker);
        std::atomic<std::uint64_t> completed{0};
        std::atomic<bool> broken{false};
        std::atomic<bool> finished{false};
        auto consuming = std::async(std::launch::async, [&] {
          try {
            Consumer(broker, "bench", 500).consume(messages, nullptr, nullptr, &completed);
          } catch (...) {
            broken = true;
            throw;
          }
        });
        std::vector<Watched> samples;
        double segments_max = 0, space_max = 0;
        auto watching = std::async(std::launch::async, [&] {
          while (!finished) {
            const Broker::Space space = broker.space();
            segments_max = std::max(segments_max, static_cast<double>(space.segments_bytes) / kSegmentBytes);
            space_max = std::max(space_max, static_cast<double>(space.segments_bytes + space.other_bytes +
                                                                space.checkpoints_bytes) /
                                                kMiB);
            samples.push_back({seconds_now(), completed.load(), broker.rss_bytes()});
            std::this_thread::sleep_for(std::chrono::milliseconds(500));
          }
        });
        Progress progress("long run");
        const NotAhead not_ahead{&completed, kInQueueMax, &broken};
        try {
          publisher.publish(messages, kInQueueMax, message, nullptr, &progress, &not_ahead);
        } catch (...) {
          finished = true;
          watching.wait();
          throw;  // ~future waits for the consumer, which gives up by itself
        }
        consuming.get();
        finished = true;
        watching.get();
        expect_active(broker, 0);
        Figure rate = figure("longrun.rate", "long run, 100 B, at most 1,000 in the queue", "messages/s");
        Figure ratio = at_least(
            figure("longrun.last_over_first", "throughput of the last tenth over the first", "ratio"),
            kLastOverFirst);
        Figure disk =
            at_most(figure("longrun.segments", "most disk the log took, in segments of 64 MiB", "segments"),
                    kSegments);
        Figure all = figure("longrun.disk_mib", "  with checkpoints and everything else", "MiB");
        Figure growth = at_most(
            figure("longrun.memory_growth_mib", "growth of memory from the first tenth to the last", "MiB"),
            kGrowthMiB);
        if (samples.size() < 20) throw CouldNotRun("too short to compare tenths: more --messages");
        const std::uint64_t tenth = messages / 10;
        Samples first_rss, last_rss;
        for (const Watched& sample : samples) {
          if (sample.done > 0 && sample.done <= tenth)
            first_rss.values.push_back(static_cast<double>(sample.rss));
          if (sample.done >= messages - tenth) last_rss.values.push_back(static_cast<double>(sample.rss));
        }
        rate.samples.values = {static_cast<double>(messages) / (samples.back().at - samples.front().at)};
        ratio.samples.values = {rate_of(samples, messages - tenth, messages) / rate_of(samples, 0, tenth)};
        disk.samples.values = {segments_max};
        all.samples.values = {space_max};
        // The end of the first tenth: caches and buffers have their size by then.
        growth.samples.values = {(last_rss.median() - first_rss.high()) / kMiB};
        if (messages < 200'000'000)
          for (Figure* f : {&ratio, &disk, &growth})
            f->note = "measured with " + readable(static_cast<double>(messages)) +
                      " messages; the target is for 200,000,000";
        record.figures = {rate, ratio, disk, all, growth};
      });
}

}  // namespace mainstay::bench
