// Real packets through real namespaces, each rule measured at the receiving socket. Skipped where namespaces
// are not allowed.
#include "lab/network.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "io/system_clock.h"
#include "lab/processes.h"
#include "lab/test_directory.h"

namespace mainstay::lab {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// A datagram socket that belongs to a host of the network, whatever thread uses it.
class Station {
 public:
  static constexpr std::uint16_t port = 4000;
  Station(const Network& network, const std::string& host) {
    const Network::Visit visit(network, host);
    socket_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const int bytes = 1 << 22;
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    const sockaddr_in here = address("0.0.0.0");
    MS_ASSERT(::bind(socket_, reinterpret_cast<const sockaddr*>(&here), sizeof here) == 0,
              "the port is free");
  }
  ~Station() { ::close(socket_); }
  Station(const Station&) = delete;
  Station& operator=(const Station&) = delete;

  void send(const std::string& to, const std::string& text) const {
    const sockaddr_in there = address(to);
    static_cast<void>(::sendto(socket_, text.data(), text.size(), 0,
                               reinterpret_cast<const sockaddr*>(&there), sizeof there));
  }
  /// Empty: nothing came within the time.
  [[nodiscard]] std::string receive(int wait_ms) const {
    pollfd waiting{socket_, POLLIN, 0};
    if (::poll(&waiting, 1, wait_ms) != 1) return {};
    char text[2000];
    const ssize_t bytes = ::recv(socket_, text, sizeof text, 0);
    return {text, bytes > 0 ? static_cast<std::size_t>(bytes) : 0};
  }

 private:
  static sockaddr_in address(const std::string& host) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
    return address;
  }
  int socket_;
};

class NetworkOfHosts : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = Network::why_impossible(); !why.empty()) GTEST_SKIP() << why;
    auto made = Network::create({"east", "west", "client"}, 7);
    ASSERT_TRUE(made.has_value()) << made.error().what;
    network = std::move(*made);
    east_station = std::make_unique<Station>(*network, "east");
    west_station = std::make_unique<Station>(*network, "west");
    east = network->address_of("east");
    west = network->address_of("west");
  }
  std::unique_ptr<Network> network;
  std::unique_ptr<Station> east_station, west_station;
  std::string east, west;
  io::SystemClock clock;
};

TEST_F(NetworkOfHosts, CarriesBetweenItsHostsBothWays) {
  east_station->send(west, "there");
  EXPECT_EQ(west_station->receive(5'000), "there");
  west_station->send(east, "back");
  EXPECT_EQ(east_station->receive(5'000), "back");
}

TEST_F(NetworkOfHosts, ACutStopsOneDirectionOnlyUntilItIsHealed) {
  network->cut("east", "west");
  east_station->send(west, "into the cut");
  west_station->send(east, "against it");
  EXPECT_EQ(east_station->receive(5'000), "against it");
  EXPECT_EQ(west_station->receive(50), "");
  EXPECT_EQ(network->counts("east", "west").cut, 1u);
  network->heal("east", "west");
  east_station->send(west, "healed");
  EXPECT_EQ(west_station->receive(5'000), "healed");
}

TEST_F(NetworkOfHosts, AnIsolatedHostIsCutFromAllInBothDirections) {
  const Station client_station(*network, "client");
  network->isolate("west");
  east_station->send(west, "1");
  client_station.send(west, "2");
  west_station->send(east, "3");
  EXPECT_EQ(west_station->receive(50), "");
  EXPECT_EQ(east_station->receive(10), "");
  client_station.send(east, "others talk on");
  EXPECT_EQ(east_station->receive(5'000), "others talk on");
  network->rejoin("west");
  client_station.send(west, "4");
  EXPECT_EQ(west_station->receive(5'000), "4");
}

TEST_F(NetworkOfHosts, DelayIsWhatARoundTripTakesAtLeast) {
  for (const std::int64_t delay_ms : {5, 100}) {
    network->set("east", "west", {.delay = milliseconds(delay_ms)});
    const Instant sent = clock.now();
    east_station->send(west, "ping");
    ASSERT_EQ(west_station->receive(5'000), "ping");
    west_station->send(east, "pong");
    ASSERT_EQ(east_station->receive(5'000), "pong");
    const Duration took = clock.now() - sent;
    EXPECT_GE(took, milliseconds(delay_ms));
    EXPECT_LT(took, milliseconds(delay_ms + 1'000))
        << "a busy machine, or the other direction is delayed too";
    RecordProperty("round_trip_us_at_" + std::to_string(delay_ms) + "_ms", static_cast<int>(took.ns / 1'000));
  }
}

TEST_F(NetworkOfHosts, LossAndJitterReachTheirShareOfPackets) {
  network->set("east", "west", {.loss = 0.3, .jitter = milliseconds(200)});
  for (int i = 0; i < 1'000; ++i) east_station->send(west, std::to_string(i));
  int arrived = 0, last = -1;
  for (std::string text; !(text = west_station->receive(400)).empty(); ++arrived) {
    EXPECT_GT(std::stoi(text), last) << "in order, unless told otherwise";
    last = std::stoi(text);
  }
  EXPECT_NEAR(arrived, 700, 80);
  const LinkCounts counts = network->counts("east", "west");
  EXPECT_EQ(counts.carried, static_cast<std::uint64_t>(arrived));
  EXPECT_EQ(counts.lost + counts.carried, 1'000u);
}

TEST_F(NetworkOfHosts, AProcessRunsOnItsHostAndSeesNothingElse) {
  const TestDirectory directory;
  const auto finished = run_to_end({.name = "a shell",
                                    .arguments = {"/bin/sh", "-c", "cat /proc/net/dev"},
                                    .log = directory.path() + "/log",
                                    .network_namespace = network->namespace_of("client")},
                                   seconds(20));
  ASSERT_TRUE(finished.has_value()) << finished.error().what;
  EXPECT_THAT(finished->output, HasSubstr(" link:"));
  EXPECT_THAT(finished->output, Not(HasSubstr("eth")));
}

TEST_F(NetworkOfHosts, ATransferGoesThroughADelayedLossyLinkWhole) {
  network->set_both("east", "west", {.loss = 0.05, .delay = milliseconds(5)});
  const int listener = [&] {
    const Network::Visit visit(*network, "west");
    return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  }();
  sockaddr_in there{};
  there.sin_family = AF_INET;
  there.sin_port = htons(5000);
  ::inet_pton(AF_INET, west.c_str(), &there.sin_addr);
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&there), sizeof there), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  const std::string sent(200'000, 'x');
  std::thread sender([&] {
    const Network::Visit visit(*network, "east");
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&there), sizeof there) == 0)
      for (std::size_t done = 0; done < sent.size();) {
        const ssize_t put = ::send(socket, sent.data() + done, sent.size() - done, MSG_NOSIGNAL);
        if (put <= 0) break;
        done += static_cast<std::size_t>(put);
      }
    ::close(socket);
  });
  const int stream = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  std::size_t got = 0;
  char block[65536];
  for (ssize_t bytes; (bytes = ::recv(stream, block, sizeof block, 0)) > 0;)
    got += static_cast<std::size_t>(bytes);
  sender.join();
  ::close(stream);
  ::close(listener);
  EXPECT_EQ(got, sent.size());
  EXPECT_GT(network->counts("east", "west").lost, 0u);
}

}  // namespace
}  // namespace mainstay::lab
