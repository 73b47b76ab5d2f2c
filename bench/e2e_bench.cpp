// Question: how long does a message take from its producer to its consumer, at a rate that leaves the
// machine idle most of the time? And what does the same way carry when it is saturated?
//
// Paced: each message bears its time of departure; the consumer, already waiting with credit, compares with
// its own arrival (one process, one clock). Every message is synced before it is delivered.
#include <cstring>
#include <future>

#include "amqp/message.h"
#include "load.h"

namespace mainstay::bench {
namespace {

constexpr double kP99Microseconds = 1000;
constexpr std::size_t kStampAt = 8;  // from the end: the body is the last section

void stamp(Buffer& message, std::int64_t ns) {
  std::memcpy(message.data() + message.size() - kStampAt, &ns, sizeof ns);
}
std::int64_t stamp_of(BytesView message) {
  std::int64_t ns = 0;
  std::memcpy(&ns, message.data() + message.size() - kStampAt, sizeof ns);
  return ns;
}

}  // namespace

int run_e2e_bench(const Arguments& arguments) {
  double per_second = 200;
  double paced_seconds = 10;
  std::uint64_t messages = 300'000;
  return run_benchmark(
      {"e2e",
       "End to end: publish to delivered at a steady rate (p50, p99), and publish + receive + complete when "
       "saturated.",
       "  ./dev bench e2e\n"
       "  ./dev bench e2e --rate 1000 --seconds 30\n"},
      arguments,
      [&](CLI::App& app) {
        app.add_option("--rate", per_second, "messages a second when paced")
            ->capture_default_str()
            ->check(CLI::Range(1.0, 1e6));
        app.add_option("--seconds", paced_seconds, "per round, when paced")
            ->capture_default_str()
            ->check(CLI::Range(0.1, 36'000.0));
        app.add_option("--messages", messages, "per round, when saturated")
            ->capture_default_str()
            ->check(CLI::Range(1000ULL, 1'000'000'000ULL));
      },
      [&](const Common& common, Record& record) {
        const std::string at = " at " + readable(per_second) + "/s";
        Figure p50 = figure("e2e.p50_us", "publish → delivered" + at + ", 1 KiB, median", "µs");
        Figure p99 = at_most(figure("e2e.p99_us", "publish → delivered" + at + ", 99th percentile", "µs"),
                             kP99Microseconds);
        Figure confirm = figure("e2e.confirm_p50_us", "  publish → confirm" + at + ", median", "µs");
        Figure rate = figure("e2e.rate", "publish + receive + complete at once, saturated", "messages/s");
        Broker broker(common, {});
        Publisher publisher(broker);
        Consumer consumer(broker);
        Buffer message = load_message(1024);
        publisher.publish(2'000, 100, message);
        consumer.consume(2'000);
        io::SystemClock clock;
        const auto count = static_cast<std::uint64_t>(per_second * paced_seconds);
        std::vector<float> confirms, deliveries;
        Progress progress("end to end");
        for (int round = 0; round < common.rounds; ++round) {
          confirms.clear();
          deliveries.clear();
          progress.at(static_cast<std::uint64_t>(round), static_cast<std::uint64_t>(common.rounds));
          auto receiving = std::async(std::launch::async, [&] {
            consumer.consume(count, nullptr, [&](const client::Received& got) {
              deliveries.push_back(static_cast<float>(clock.now().ns - stamp_of(got.message)) / 1e3F);
            });
          });
          const std::atomic<bool> go_on{false};
          publisher.publish_paced(
              per_second, count, go_on,
              [&] {
                stamp(message, clock.now().ns);
                return BytesView(message);
              },
              confirms);
          receiving.get();
          p50.samples.values.push_back(quantile(deliveries, 0.50));
          p99.samples.values.push_back(quantile(deliveries, 0.99));
          confirm.samples.values.push_back(quantile(confirms, 0.50));
          const double start = seconds_now();
          auto completing = std::async(std::launch::async, [&] { consumer.consume(messages); });
          publisher.publish(messages, 1000, message);
          completing.get();
          rate.samples.values.push_back(static_cast<double>(messages) / (seconds_now() - start));
        }
        expect_active(broker, 0);
        record.figures = {p50, p99, confirm, rate};
      });
}

}  // namespace mainstay::bench
