// Question: what does one message alone cost, from handing it over to its confirm, over what cannot be
// avoided: one write + sync of its record and one turn of AMQP over loopback?
//
// All three are measured in turns in one run. The turn has the same client at one end and at the other our
// engine in a thread that accepts at once and looks for the next message as long as a broker does ([threads]
// spin_us); the write goes into a file allocated and written with zeros. It is made by a thread of its own
// while the client's thread watches its socket, as it does while the broker syncs: a sync is quicker on the
// core that takes the disk's interrupts, and both must get the core that the client leaves.
#include <chrono>
#include <future>

#include "disk_floor.h"
#include "echo_server.h"
#include "io/posix_disk.h"
#include "journal/record.h"
#include "load.h"

namespace mainstay::bench {
namespace {

constexpr double kRatio = 1.4;
constexpr std::uint64_t kFileBytes = 64ULL << 20;  // as the journal's segments

}  // namespace

int run_latency_bench(const Arguments& arguments) {
  std::uint64_t messages = 5'000;
  return run_benchmark(
      {"latency",
       "One message in flight, publish to confirm, against the floor: one write + sync of its record plus "
       "one "
       "loopback AMQP turn.",
       "  ./dev bench latency\n"
       "  ./dev bench latency --messages 20000 --directory /mnt/nvme\n",
       7},
      arguments,
      [&](CLI::App& app) {
        app.add_option("--messages", messages, "per round")
            ->capture_default_str()
            ->check(CLI::Range(100ULL, 100'000'000ULL));
      },
      [&](const Common& common, Record& record) {
        Figure p50 = figure("latency.p50_us", "one in flight, publish → confirm, 1 KiB, median", "µs");
        Figure p99 = figure("latency.p99_us", "  the same, 99th percentile", "µs");
        Figure disk_p50 = figure("latency.sync_p50_us", "  floor: write + sync of the record, median", "µs");
        Figure turn_p50 = figure("latency.turn_p50_us", "  floor: one loopback AMQP turn, median", "µs");
        Figure floor_p99 = figure("latency.floor_p99_us", "  floor: both, 99th percentiles added", "µs");
        Figure ratio =
            at_most(figure("latency.ratio", "one in flight, over the floor's sync + turn", "ratio"), kRatio);
        const Buffer message = load_message(1024);
        const Buffer bytes(journal::record_bytes(message.size()), std::byte{0x5a});
        const auto disk = need(io::PosixDisk::open(common.directory));
        BareFile bare(*disk, "bare", kFileBytes);
        EchoServer echo;
        Single turning(echo.port);
        Broker broker(common, {});
        Single publishing(broker.amqp_port);
        std::vector<float> publishes, syncs, turns;
        for (int i = 0; i < 500; ++i) publishing.turn(message, publishes);  // warm-up
        for (int i = 0; i < 500; ++i) turning.turn(message, turns);
        Progress progress("one in flight");
        for (int round = 0; round < common.rounds; ++round) {
          publishes.clear();
          syncs.clear();
          turns.clear();
          Samples of_blocks;
          std::uint64_t blocks = 0;
          // Blocks of 100 in turns, and a ratio for each: noise that lasts longer than a block meets all
          // three.
          for (std::uint64_t done = 0; done < messages;) {
            const std::uint64_t block = std::min<std::uint64_t>(100, messages - done);
            for (std::uint64_t i = 0; i < block; ++i) publishing.turn(message, publishes);
            auto syncing = std::async(std::launch::async, [&] {
              for (std::uint64_t i = 0; i < block; ++i)
                syncs.push_back(static_cast<float>(bare.write_and_sync(bytes) * 1e6));
            });
            while (syncing.wait_for(std::chrono::seconds(0)) != std::future_status::ready) publishing.watch();
            syncing.get();
            for (std::uint64_t i = 0; i < block; ++i) turning.turn(message, turns);
            done += block;
            ++blocks;
            const double confirm = median_of_last(publishes, block),
                         floor = median_of_last(syncs, block) + median_of_last(turns, block);
            // A confirm cannot come sooner than its own sync and turn take: where it does, the machine was
            // busy with something else while the floor was measured, and the ratio would flatter.
            if (confirm > floor) of_blocks.values.push_back(confirm / floor);
            progress.at(static_cast<std::uint64_t>(round) * messages + done,
                        static_cast<std::uint64_t>(common.rounds) * messages);
          }
          p50.samples.values.push_back(quantile(publishes, 0.50));
          p99.samples.values.push_back(quantile(publishes, 0.99));
          disk_p50.samples.values.push_back(quantile(syncs, 0.50));
          turn_p50.samples.values.push_back(quantile(turns, 0.50));
          floor_p99.samples.values.push_back(quantile(syncs, 0.99) + quantile(turns, 0.99));
          if (of_blocks.values.size() * 2 > blocks) ratio.samples.values.push_back(of_blocks.median());
        }
        const auto lost = static_cast<std::size_t>(common.rounds) - ratio.samples.values.size();
        if (lost > 0)
          ratio.note =
              std::to_string(lost) + " of " + std::to_string(common.rounds) +
              " rounds left out: their floor was mostly above the figure itself, the machine was busy";
        if (lost * 2 > static_cast<std::size_t>(common.rounds)) ratio.samples.values.clear();
        record.figures = {p50, p99, disk_p50, turn_p50, floor_p99, ratio};
      });
}

}  // namespace mainstay::bench
