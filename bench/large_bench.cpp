// Question: how near does publishing messages of 1 MiB come to writing the same bytes to the disk, one
// write + sync per message's size, one behind the other?
#include "disk_floor.h"
#include "io/posix_disk.h"
#include "load.h"

namespace mainstay::bench {
namespace {

constexpr double kRatio = 0.6;
constexpr std::uint64_t kFileBytes = 256ULL << 20;

}  // namespace

int run_large_bench(const Arguments& arguments) {
  std::uint64_t messages = 500;
  std::size_t bytes = (std::size_t{1} << 20) - 512;  // with its sections it fits the default limit of 1 MiB
  std::uint32_t window = 16;
  return run_benchmark(
      {"large",
       "Messages of 1 MiB, published with confirm, against bare sequential write + sync of the same size.",
       "  ./dev bench large\n"
       "  ./dev bench large --bytes 262144 --messages 2000\n"},
      arguments,
      [&](CLI::App& app) {
        app.add_option("--messages", messages, "per round")
            ->capture_default_str()
            ->check(CLI::Range(10ULL, 1'000'000ULL));
        app.add_option("--bytes", bytes, "body bytes")
            ->capture_default_str()
            ->check(CLI::Range(std::size_t{1}, std::size_t{31} << 20));
        app.add_option("--window", window, "unconfirmed messages in flight")
            ->capture_default_str()
            ->check(CLI::Range(1U, 1000U));
      },
      [&](const Common& common, Record& record) {
        const std::string size = readable(static_cast<double>(bytes) / kMiB) + " MiB";
        Figure rate = figure("large.rate", "publish with confirm, " + size, "MiB/s");
        Figure bare_rate = figure("large.bare_rate", "  bare write + sync of that size", "MiB/s");
        Figure ratio =
            at_least(figure("large.ratio", size + " published, over bare write + sync", "ratio"), kRatio);
        Figure body = figure("large.message_bytes", "body of a message", "B");
        body.samples.values = {static_cast<double>(bytes)};
        const Buffer message = load_message(bytes);
        Broker::Setup setup;
        if (message.size() > 1U << 20) setup.more_config = "[journal]\nsegment_bytes = \"128MiB\"\n";
        const auto disk = need(io::PosixDisk::open(common.directory));
        BareFile bare(*disk, "bare", kFileBytes);
        Broker broker(common, setup);
        Publisher publisher(broker);
        Consumer consumer(broker, "bench", window);
        publisher.publish(50, window, message);
        consumer.consume(50);
        Progress progress("large messages");
        const double mib = static_cast<double>(messages) * static_cast<double>(bytes) / kMiB;
        for (int round = 0; round < common.rounds; ++round) {
          progress.at(static_cast<std::uint64_t>(round) * messages,
                      static_cast<std::uint64_t>(common.rounds) * messages);
          double bare_seconds = 0;
          for (std::uint64_t i = 0; i < messages; ++i) bare_seconds += bare.write_and_sync(message);
          bare_rate.samples.values.push_back(mib / bare_seconds);
          rate.samples.values.push_back(mib / publisher.publish(messages, window, message));
          ratio.samples.values.push_back(rate.samples.values.back() / bare_rate.samples.values.back());
          consumer.consume(messages);
        }
        expect_active(broker, 0);
        record.figures = {rate, bare_rate, ratio, body};
      });
}

}  // namespace mainstay::bench
