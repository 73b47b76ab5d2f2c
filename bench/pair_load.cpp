// `bench pair`: one confirm alone, and throughput over a longer way between the nodes.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <iostream>

#include "disk_floor.h"
#include "io/posix_disk.h"
#include "journal/record.h"
#include "pair_parts.h"

namespace mainstay::bench {
namespace {

constexpr double kTimesFloor = 1.5, kBesideFloorUs = 100;
constexpr std::uint64_t kFileBytes = 64ULL << 20;
constexpr std::uint64_t kBlock = 50;
constexpr std::size_t kAckBytes = 150;  // an acknowledgement between nodes, about
constexpr std::uint32_t kWindow = 1000;

void transfer(int socket, std::byte* bytes, std::size_t count, bool send) {
  for (std::size_t done = 0; done < count;) {
    const ssize_t some = send ? ::send(socket, bytes + done, count - done, MSG_NOSIGNAL)
                              : ::recv(socket, bytes + done, count - done, 0);
    if (some <= 0) throw CouldNotRun("the bare round trip's connection ended");
    done += static_cast<std::size_t>(some);
  }
}

/// The least a round trip between two nodes can take: a record there, an acknowledgement back, between two
/// threads that sleep in recv().
class RoundTrip {
 public:
  explicit RoundTrip(std::size_t record_bytes) : there_(record_bytes), back_(kAckBytes) {
    const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    here_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::bind(listening, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listening, 1) != 0 ||
        ::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
        ::connect(here_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw CouldNotRun("no loopback connection for the bare round trip");
    peer_ = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
    ::close(listening);
    const int on = 1;
    for (const int socket : {here_, peer_}) setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    thread_ = std::thread([this, record_bytes] {
      Buffer in(record_bytes), out(kAckBytes);
      try {
        for (;;) {
          transfer(peer_, in.data(), in.size(), false);
          transfer(peer_, out.data(), out.size(), true);
        }
      } catch (const CouldNotRun&) {  // the end of it
      }
    });
  }
  ~RoundTrip() {
    ::shutdown(here_, SHUT_RDWR);
    thread_.join();
    ::close(here_);
    ::close(peer_);
  }
  RoundTrip(const RoundTrip&) = delete;
  RoundTrip& operator=(const RoundTrip&) = delete;
  double turn_us() {
    const double start = seconds_now();
    transfer(here_, there_.data(), there_.size(), true);
    transfer(here_, back_.data(), back_.size(), false);
    return (seconds_now() - start) * 1e6;
  }

 private:
  Buffer there_, back_;
  int here_ = -1, peer_ = -1;
  std::thread thread_;
};

}  // namespace

Crowd::Crowd(const Broker& broker, int connections) : message_(load_message(1024)) {
  for (int i = 0; i < connections; ++i) publishers_.push_back(std::make_unique<Publisher>(broker));
}

double Crowd::publish(std::uint64_t count) {
  const std::uint64_t each = count / publishers_.size();
  const double start = seconds_now();
  std::vector<std::future<double>> running;
  for (const auto& publisher : publishers_)
    running.push_back(
        std::async(std::launch::async, [&, each] { return publisher->publish(each, kWindow, message_); }));
  for (auto& one : running) one.get();
  return static_cast<double>(each * publishers_.size()) / (seconds_now() - start);
}

void pair_latency(const Common& common, const PairSizes& sizes, Record& record) {
  Figure p50 = figure("pair.confirm_p50_us", "a pair, one in flight, publish → confirm, 1 KiB, median", "µs");
  Figure p99 = figure("pair.confirm_p99_us", "  the same, 99th percentile", "µs");
  Figure sync =
      figure("pair.slower_sync_us", "  floor: the slower of two writes + syncs at once, median", "µs");
  Figure one_sync = figure("pair.one_sync_us", "    one write + sync alone, median", "µs");
  Figure trip =
      figure("pair.round_trip_us", "  floor: bare round trip of a record and an answer, median", "µs");
  Figure over = at_most(figure("pair.confirm_over_floor",
                               "one in flight, over 1.5 × (slower sync + round trip) + 100 µs", "ratio"),
                        1);
  over.note =
      "both nodes, the client and one disk on one machine: their syncs meet on it, in the figure and in the "
      "floor";
  const Buffer message = load_message(1024);
  Buffer bytes(journal::record_bytes(message.size()), std::byte{0x5a});
  const auto disk = need(io::PosixDisk::open(common.directory));
  BareFile first(*disk, "bare1", kFileBytes), second(*disk, "bare2", kFileBytes);
  RoundTrip bare_trip(bytes.size());
  PairNodes pair(common, {});
  Single publishing(pair.leader().amqp_port);
  std::vector<float> publishes, slower, alone, trips;
  for (int i = 0; i < 300; ++i) publishing.turn(message, publishes);  // warm-up
  Progress progress("one in flight through a pair");
  for (int round = 0; round < common.rounds; ++round) {
    publishes.clear();
    slower.clear();
    alone.clear();
    trips.clear();
    Samples ratios;
    for (std::uint64_t done = 0; done < sizes.singles; done += kBlock) {
      for (std::uint64_t i = 0; i < kBlock; ++i) publishing.turn(message, publishes);
      for (std::uint64_t i = 0; i < kBlock; ++i) {
        auto other = std::async(std::launch::async, [&] { return second.write_and_sync(bytes); });
        const double one = first.write_and_sync(bytes);
        slower.push_back(static_cast<float>(std::max(one, other.get()) * 1e6));
      }
      for (std::uint64_t i = 0; i < kBlock; ++i)
        alone.push_back(static_cast<float>(first.write_and_sync(bytes) * 1e6));
      for (std::uint64_t i = 0; i < kBlock; ++i) trips.push_back(static_cast<float>(bare_trip.turn_us()));
      publishing.watch();
      ratios.values.push_back(
          median_of_last(publishes, kBlock) /
          (kTimesFloor * (median_of_last(slower, kBlock) + median_of_last(trips, kBlock)) + kBesideFloorUs));
      progress.at(static_cast<std::uint64_t>(round) * sizes.singles + done,
                  static_cast<std::uint64_t>(common.rounds) * sizes.singles);
    }
    p50.samples.values.push_back(quantile(publishes, 0.50));
    p99.samples.values.push_back(quantile(publishes, 0.99));
    sync.samples.values.push_back(quantile(slower, 0.50));
    one_sync.samples.values.push_back(quantile(alone, 0.50));
    trip.samples.values.push_back(quantile(trips, 0.50));
    over.samples.values.push_back(ratios.median());
  }
  record.figures.insert(record.figures.end(), {p50, p99, sync, one_sync, trip, over});
}

void pair_delay(const Common& common, const PairSizes& sizes, Record& record) {
  struct Step {
    const char* id;
    Duration more;
    std::optional<double> target;
    Figure rate, kept;
  };
  std::vector<Step> steps{
      {"0", {}, {}, {}, {}}, {"2", milliseconds(2), 0.8, {}, {}}, {"5", milliseconds(5), 0.6, {}, {}}};
  for (Step& step : steps) {
    const std::string with = "+" + std::string(step.id) + " ms round trip between the nodes";
    step.rate = figure(std::string("pair.delay") + step.id + ".rate",
                       "publish with confirm through a pair, 1 KiB, " + with, "messages/s");
    step.kept = figure(std::string("pair.delay") + step.id + ".kept", "throughput kept at " + with, "ratio");
    step.kept.at_least = step.target;
  }
  steps[0].rate.note = std::to_string(sizes.connections) + " connections, " + std::to_string(kWindow) +
                       " in flight on each; the way goes through a relay of the benchmark in all of them";
  Figure relay_cpu = figure("pair.relay_cpu_us", "  CPU of that relay per message", "µs");
  Figure direct =
      figure("pair.direct.rate", "publish with confirm through a pair, 1 KiB, no relay", "messages/s");
  Figure relay_cost =
      figure("pair.relay_over_direct", "  throughput with the relay at +0 over no relay", "ratio");
  relay_cost.note = "two pairs, one after the other: not in turns";
  Figure cpu[2] = {figure("pair.leader_cpu_us", "  CPU of the leader per message", "µs"),
                   figure("pair.backup_cpu_us", "  CPU of the backup per message", "µs")};
  Figure syncs[2] = {figure("pair.leader_syncs", "  syncs of the leader per message", ""),
                     figure("pair.backup_syncs", "  syncs of the backup per message", "")};
  {
    PairNodes pair(common, {});
    Broker& leader = pair.leader();
    Broker& backup = pair.other(leader);
    Crowd crowd(leader, sizes.connections);
    crowd.publish(20'000);
    for (int round = 0; round < common.rounds; ++round) {
      const Broker::Sample before[2] = {leader.sample(), backup.sample()};
      direct.samples.values.push_back(crowd.publish(sizes.messages));
      const Broker::Sample after[2] = {leader.sample(), backup.sample()};
      for (int i = 0; i < 2; ++i) {
        const auto n = static_cast<double>(sizes.messages);
        cpu[i].samples.values.push_back((after[i].cpu_seconds - before[i].cpu_seconds) / n * 1e6);
        syncs[i].samples.values.push_back(static_cast<double>(after[i].syncs - before[i].syncs) / n);
      }
    }
  }
  PairNodes::Setup relayed;
  relayed.relayed = true;
  PairNodes pair(common, relayed);
  Crowd crowd(pair.leader(), sizes.connections);
  crowd.publish(20'000);
  Progress progress("throughput over a longer way, rounds");
  for (int round = 0; round < common.rounds; ++round) {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      Step& step = steps[(i + static_cast<std::size_t>(round)) % steps.size()];
      pair.relay().set_round_trip(step.more);
      crowd.publish(5'000);
      const double relay_before = pair.relay().cpu_seconds();
      step.rate.samples.values.push_back(crowd.publish(sizes.messages));
      if (step.more == Duration{})
        relay_cpu.samples.values.push_back((pair.relay().cpu_seconds() - relay_before) /
                                           static_cast<double>(sizes.messages) * 1e6);
    }
    for (Step& step : steps)
      step.kept.samples.values.push_back(step.rate.samples.values.back() /
                                         steps[0].rate.samples.values.back());
    progress.at(static_cast<std::uint64_t>(round) + 1, static_cast<std::uint64_t>(common.rounds));
  }
  pair.relay().set_round_trip({});
  pair.wait_in_sync();  // it was a pair to the end
  relay_cost.samples.values.push_back(steps[0].rate.samples.median() / direct.samples.median());
  record.figures.insert(record.figures.end(),
                        {direct, cpu[0], cpu[1], syncs[0], syncs[1], steps[0].rate, relay_cpu, relay_cost,
                         steps[1].rate, steps[2].rate, steps[1].kept, steps[2].kept});
}

}  // namespace mainstay::bench
