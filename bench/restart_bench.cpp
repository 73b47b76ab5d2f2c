// Question: how long does a broker with a deep queue take from its start to ready, after an orderly stop and
// after kill -9 in the middle of its work? Ready means /readyz says so; afterwards every message that was
// confirmed must be there, none more.
#include "load.h"

namespace mainstay::bench {
namespace {

constexpr double kShallowSeconds = 1, kDeepSeconds = 3;
constexpr std::uint64_t kTargetShallow = 1'000'000, kTargetDeep = 10'000'000;
constexpr std::uint64_t kBytesEach = 1200;
/// Published just before each kill: the tail that no checkpoint holds.
constexpr std::uint64_t kTail = 50'000;

struct Size {
  const char* id;
  std::uint64_t messages;
  double target;
};

}  // namespace

int run_restart_bench(const Arguments& arguments) {
  std::uint64_t shallow = kTargetShallow, deep = kTargetDeep;
  return run_benchmark(
      {"restart",
       "From start to ready with 1 M and with 10 M messages in the queue, after kill -9 and after a stop.",
       "  ./dev bench restart --shallow 100000 --deep 500000    for trying out\n"
       "  ./dev bench restart                                   the whole: 12 GB of disk\n",
       3},
      arguments,
      [&](CLI::App& app) {
        app.add_option("--shallow", shallow, "messages in the queue, first")
            ->capture_default_str()
            ->check(CLI::Range(1000ULL, 1'000'000'000ULL));
        app.add_option("--deep", deep, "messages in the queue, then; 0: leave this out")
            ->capture_default_str()
            ->check(CLI::Range(0ULL, 1'000'000'000ULL));
      },
      [&](const Common& common, Record& record) {
        std::string note;
        if (deep > 0) deep = messages_that_fit(common.directory, deep, kBytesEach, note);
        const Buffer message = load_message(1024);
        Broker broker(common, {});
        std::uint64_t held = 0;
        const auto publish = [&](std::uint64_t count) {
          Progress progress("filling the queue");
          Publisher(broker).publish(count, 1000, message, nullptr, &progress);
          held += count;
        };
        for (const Size& size :
             {Size{"1m", shallow, kShallowSeconds}, Size{"10m", std::max(deep, held), kDeepSeconds}}) {
          if (size.messages <= held) continue;
          publish(size.messages - held);
          const std::string with = " with " + readable(static_cast<double>(size.messages)) + " waiting";
          Figure killed = at_most(
              figure(std::string("restart.kill_") + size.id + "_s", "ready after kill -9" + with, "s"),
              size.target);
          Figure stopped = at_most(figure(std::string("restart.stop_") + size.id + "_s",
                                          "ready after an orderly stop" + with, "s"),
                                   size.target);
          Figure stopping =
              figure(std::string("restart.stopping_") + size.id + "_s", "  the stop itself" + with, "s");
          for (int round = 0; round < common.rounds; ++round) {
            publish(kTail);
            broker.kill();
            killed.samples.values.push_back(broker.start());
            expect_active(broker, held);
            const double begin = seconds_now();
            broker.stop();
            stopping.samples.values.push_back(seconds_now() - begin);
            stopped.samples.values.push_back(broker.start());
            expect_active(broker, held);
          }
          const bool scaled = size.messages < (size.id[1] == 'm' ? kTargetShallow : kTargetDeep);
          if (scaled) {
            if (note.empty()) note = "smaller than the target's 1 M and 10 M messages";
            killed.note = stopped.note = note;
          }
          record.figures.insert(record.figures.end(), {killed, stopped, stopping});
        }
      });
}

}  // namespace mainstay::bench
