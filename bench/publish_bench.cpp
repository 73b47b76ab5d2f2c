// Question: how many 1 KiB messages a second does a broker take with confirm (each synced before its
// accepted), and how many go all the way (publish, peek-lock, complete, at once), over AMQP on loopback,
// client and server on this machine? What does each cost the server?
//
// The ratios to other brokers are measured by `./dev bench peers`, in turns with them.
#include <future>
#include <thread>

#include "load.h"

namespace mainstay::bench {
namespace {

constexpr double kSyncsPerMessage = 0.02;
constexpr double kServerMicroseconds = 3;

struct Cost {
  double per_second{}, syncs{}, cpu_us{};
};

template <class Work>
Cost cost(const Broker& broker, std::uint64_t count, Work work) {
  const auto before = broker.sample();
  const double took = work();
  const auto after = broker.sample();
  const auto n = static_cast<double>(count);
  return {n / took, static_cast<double>(after.syncs - before.syncs) / n,
          (after.cpu_seconds - before.cpu_seconds) / n * 1e6};
}

}  // namespace

int run_publish_bench(const Arguments& arguments) {
  std::uint64_t messages = 300'000;
  std::size_t bytes = 1024;
  std::uint32_t window = 1000;
  double floor = 0;
  return run_benchmark(
      {"publish",
       "AMQP publish with confirm, and publish + receive + complete at once: messages a second, syncs and "
       "server CPU for each.",
       "  ./dev bench publish\n"
       "  ./dev bench publish --bytes 4096 --window 200 --json publish.json\n"},
      arguments,
      [&](CLI::App& app) {
        app.add_option("--messages", messages, "per round")
            ->capture_default_str()
            ->check(CLI::Range(1000ULL, 1'000'000'000ULL));
        app.add_option("--bytes", bytes, "body bytes")
            ->capture_default_str()
            ->check(CLI::Range(std::size_t{1}, std::size_t{1000} << 10));
        app.add_option("--window", window, "unconfirmed messages in flight")
            ->capture_default_str()
            ->check(CLI::Range(1U, 100'000U));
        app.add_option("--floor", floor, "a target of your own: confirmed publishes/s");
      },
      [&](const Common& common, Record& record) {
        const std::string size = readable(static_cast<double>(bytes)) + " B";
        Figure rate = figure("publish.rate", "publish with confirm, " + size + ", saturated", "messages/s");
        if (floor > 0) rate.at_least = floor;
        Figure p50 = figure("publish.p50_us", "  publish to confirm under that load, median", "µs");
        Figure p99 = figure("publish.p99_us", "  the same, 99th percentile", "µs");
        Figure syncs = at_most(figure("publish.syncs_per_message", "syncs per message, saturated", ""),
                               kSyncsPerMessage);
        Figure cpu = at_most(figure("publish.server_cpu_us", "server CPU per published message", "µs"),
                             kServerMicroseconds);
        Figure both = figure("both.rate", "publish + peek-lock + complete at once, " + size, "messages/s");
        Figure both_syncs = figure("both.syncs_per_message", "  syncs per message", "");
        Figure both_cpu = figure("both.server_cpu_us", "  server CPU per message", "µs");
        // What the capacity planner must know of the load (mainstay capacity).
        Figure body = figure("publish.message_bytes", "body of a message", "B");
        body.samples.values = {static_cast<double>(bytes)};
        Figure cores = figure("publish.cores", "cores, shared with the clients", "");
        cores.samples.values = {static_cast<double>(std::thread::hardware_concurrency())};
        // Targets are for 1 KiB; other sizes are only shown.
        if (bytes != 1024) syncs.at_most = cpu.at_most = std::nullopt;

        const Buffer message = load_message(bytes);
        Broker broker(common, {});
        Publisher publisher(broker);
        Progress progress("publish and consume");
        publisher.publish(20'000, window, message);  // warm-up
        Consumer(broker).consume(20'000);
        std::vector<float> latencies;
        for (int round = 0; round < common.rounds; ++round) {
          progress.at(static_cast<std::uint64_t>(round) * messages,
                      static_cast<std::uint64_t>(common.rounds) * messages);
          latencies.clear();
          const Cost p = cost(broker, messages,
                              [&] { return publisher.publish(messages, window, message, &latencies); });
          rate.samples.values.push_back(p.per_second);
          syncs.samples.values.push_back(p.syncs);
          cpu.samples.values.push_back(p.cpu_us);
          p50.samples.values.push_back(quantile(latencies, 0.50));
          p99.samples.values.push_back(quantile(latencies, 0.99));
          Consumer(broker).consume(messages);  // the next measurement starts with an empty queue
          const Cost b = cost(broker, messages, [&] {
            const double start = seconds_now();
            auto consumer = std::async(std::launch::async, [&] { Consumer(broker).consume(messages); });
            publisher.publish(messages, window, message);
            consumer.get();
            return seconds_now() - start;
          });
          both.samples.values.push_back(b.per_second);
          both_syncs.samples.values.push_back(b.syncs);
          both_cpu.samples.values.push_back(b.cpu_us);
        }
        expect_active(broker, 0);
        record.figures = {rate, p50, p99, syncs, cpu, both, both_syncs, both_cpu, body, cores};
      });
}

}  // namespace mainstay::bench
