// How long a transfer takes in and out of the engine, in memory. Off by default; in a release build run
//   amqp_test --gtest_also_run_disabled_tests --gtest_filter='*Throughput*'
#include <gtest/gtest.h>

#include <chrono>

#include "amqp/client_frames.h"
#include "amqp/test_server.h"

namespace mainstay::amqp {
namespace {

constexpr int kRounds = 1000;
constexpr std::uint32_t kPerRound = 64;  // about one read of 64 KiB

class Counting final : public TestServer {
 public:
  using TestServer::TestServer;
  void on_transfer(const IncomingTransfer& transfer) override {
    bytes += transfer.payload.size();
    engine->settle_incoming(transfer.delivery, accepted);
  }
  Outcome accepted = outcome_of(Outcome::Type::accepted);
  std::uint64_t bytes = 0;
};

template <class F>
double nanoseconds_each(F&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
  return taken.count() / (double{kRounds} * kPerRound);
}

TEST(DISABLED_Throughput, OfTransfers) {
  for (const std::size_t size : {100U, 1024U}) {
    const Instant now{1'000'000'000};
    Counting server;
    server.credit = 0x7fffffff;
    ClientFrames f;
    f.header().open(1U << 20).begin(0, 0x7fffffff).attach(0, 0, false, "q").attach(0, 1, true, "q");
    f.flow(0, 0, 0x7fffffff, 0, 1, 0, 0x7fffffff);
    server.engine->input(f.bytes, now);
    const LinkId out_link = server.order.at(1);
    const std::string payload(size, 'x');
    std::vector<ClientFrames> input(kRounds);
    for (std::uint32_t i = 0; i < kRounds * kPerRound; ++i) {
      input[i / kPerRound].transfer(0, 0, i, payload);
    }
    const double in = nanoseconds_each([&] {
      for (const auto& round : input) {
        server.engine->input(round.bytes, now);
        server.engine->consumed(server.engine->output().size());
      }
    });
    ASSERT_EQ(server.bytes, std::uint64_t{kRounds} * kPerRound * size);
    const std::array<std::byte, 16> tag{};
    const BytesView parts[] = {as_bytes(payload).first(60), as_bytes(payload).subspan(60)};
    const double out = nanoseconds_each([&] {
      for (int round = 0; round < kRounds; ++round) {
        for (std::uint32_t i = 0; i < kPerRound; ++i) {
          (void)server.engine->can_send(out_link);
          server.engine->send(out_link, tag, 0, true, parts);
        }
        server.engine->consumed(server.engine->output().size());
      }
    });
    std::printf("%zu bytes: in %.0f ns (settled by range), out %.0f ns per transfer\n", size, in, out);
  }
}

}  // namespace
}  // namespace mainstay::amqp
