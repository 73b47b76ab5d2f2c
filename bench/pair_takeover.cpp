// `bench pair`: takeover after kill -9, and the return of a node that was away.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <future>
#include <iomanip>
#include <iostream>
#include <optional>
#include <sstream>
#include <thread>

#include "amqp/message.h"
#include "base/random.h"
#include "client/publisher.h"
#include "pair_parts.h"
#include "voters.h"

namespace mainstay::bench {
namespace {

constexpr double kDefaultSeconds = 3, kFastSeconds = 1;
constexpr int kTargetRuns = 50, kTargetAway = 60;
constexpr std::uint64_t kTargetResident = 5'000'000;
constexpr double kCatchUpSeconds = 20, kFrontKept = 0.7;
constexpr std::uint64_t kBytesEach = 2 * 1200;  // on two nodes of one disk

const char* const kProbeQueue = "[[queue]]\nname = \"probe\"\nduplicate_detection = true\n";

constexpr std::size_t kSlowestLogBytes = 8000;

std::string utc_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::time_t whole = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  std::tm parts{};
  gmtime_r(&whole, &parts);
  std::ostringstream text;
  text << std::put_time(&parts, "%H:%M:%S.") << std::setw(3) << std::setfill('0')
       << std::chrono::duration_cast<std::chrono::milliseconds>(now).count() % 1000 << " UTC";
  return text.str();
}

/// The product's own client with its default waits, one message in flight, each with an id of its own.
class Prober {
 public:
  /// @param ids  what its messages' ids begin with.
  Prober(std::uint16_t one, std::uint16_t other, std::string ids) : ids_(std::move(ids)), random_(1) {
    client::PublisherOptions options;
    options.client.endpoints = {{"127.0.0.1", one}, {"127.0.0.1", other}};
    options.address = "probe";
    publisher_ = std::make_unique<client::Publisher>(options, clock_, random_, [](const std::string&) {});
  }
  /// Goes on until so many more are confirmed.
  void confirm(std::uint64_t more) {
    for (const std::uint64_t wanted = confirmed_ + more; confirmed_ < wanted;) step();
  }
  /// Goes on until its connection has served for as long as its client asks of one before it takes the loss
  /// of it for a new one: what is lost sooner it comes back to more slowly.
  void confirm_until_settled() {
    const double settled =
        static_cast<double>(client::ReconnectOptions{}.served_long.milliseconds()) / 1e3 + 0.2;
    for (const double begin = seconds_now(); seconds_now() - begin < settled;) {
      confirm(1);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  /// @return when the first message was confirmed by another endpoint than `dead`.
  double first_from_another(std::uint16_t dead) {
    const std::string gone = "127.0.0.1:" + std::to_string(dead);
    for (const double begin = seconds_now();;) {
      const std::uint64_t before = confirmed_;
      step();
      if (confirmed_ > before && publisher_->endpoint() != gone) return seconds_now();
      if (seconds_now() - begin > 120)
        throw CouldNotRun("no publish was confirmed for 120 s after the leader was killed");
    }
  }
  [[nodiscard]] std::uint64_t confirmed() const { return confirmed_; }

 private:
  void step() {
    if (publisher_->over()) throw CouldNotRun("the client gave up: " + publisher_->over()->description);
    if (publisher_->size() == 0) {
      const Buffer body(256, std::byte{'x'});
      const std::string id = ids_ + std::to_string(next_);
      amqp::SimpleMessage simple;
      simple.message_id = id;
      simple.body = body;
      publisher_->publish(next_++, amqp::encode_message(simple));
    }
    for (const client::PublishResult& result : publisher_->poll(milliseconds(100))) {
      if (result.kind != client::PublishResult::Kind::confirmed)
        throw CouldNotRun("a message was not accepted: " + result.error.description);
      ++confirmed_;
    }
  }
  const std::string ids_;
  io::SystemClock clock_;
  SeededRandom random_;
  std::unique_ptr<client::Publisher> publisher_;
  std::uint64_t next_ = 0, confirmed_ = 0;
};

struct Takeover {
  double confirmed{}, ready{};  ///< seconds after the kill
  int dropped = 0;              ///< so often its backup was found out of sync just before
  double suspect_after{};       ///< that the one that takes over had in force just before
  std::string killed_at;        ///< UTC, as the nodes' logs have it
};

Takeover take_over(PairNodes& pair, Prober& prober) {
  Broker& dying = pair.leader();
  Broker& taking = pair.other(dying);
  Takeover took;
  prober.confirm_until_settled();
  // Alone, it would be followed by nobody until it is back (R4): that is not what is measured.
  while (dying.in_sync() != 2) {
    std::cerr << "the backup was dropped before the kill:" << pair.told() << "\n";
    ++took.dropped;
    pair.wait_in_sync();
  }
  took.suspect_after = taking.suspect_after_s();
  took.killed_at = utc_now();
  const double killed = seconds_now();
  dying.kill();
  auto ready = std::async(std::launch::async, [&] {
    while (!taking.ready() && seconds_now() - killed < 120)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return seconds_now() - killed;
  });
  try {
    took.confirmed = prober.first_from_another(dying.amqp_port) - killed;
  } catch (const CouldNotRun& error) {
    throw CouldNotRun(error.what() + pair.told());
  }
  took.ready = ready.get();
  dying.spawn();
  pair.wait_in_sync();
  return took;
}

/// Publishes at a rate, or as fast as it goes, until destroyed; tells how much.
class Load {
 public:
  /// @param per_second  of all connections together; 0: as fast as it goes.
  Load(const Broker& broker, int connections, double per_second) {
    for (int i = 0; i < connections; ++i)
      running_.push_back(std::async(
          std::launch::async, [this, &broker, rate = per_second / connections] { press(broker, rate); }));
  }
  ~Load() {
    stop_ = true;
    for (auto& one : running_) {
      if (one.valid()) one.wait();
    }
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  [[nodiscard]] std::uint64_t confirmed() const { return confirmed_; }
  /// Throws what a publisher found.
  void end() {
    stop_ = true;
    for (auto& one : running_) one.get();
  }

 private:
  void press(const Broker& broker, double rate) {
    Publisher publisher(broker);
    const Buffer message = load_message(1024);
    const double begin = seconds_now();
    for (std::uint64_t done = 0; !stop_;) {
      std::uint64_t count = 2000;
      if (rate > 0) {
        const auto due = static_cast<std::uint64_t>((seconds_now() - begin) * rate);
        if (due < done + 20) {
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
          continue;
        }
        count = std::min<std::uint64_t>(due - done, 2000);
      }
      publisher.publish(count, 1000, message);
      done += count;
      confirmed_ += count;
    }
  }
  std::atomic<std::uint64_t> confirmed_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::future<void>> running_;
};

double rate_for(const Load& load, double time) {
  const std::uint64_t before = load.confirmed();
  const double begin = seconds_now();
  std::this_thread::sleep_for(std::chrono::duration<double>(time));
  return static_cast<double>(load.confirmed() - before) / (seconds_now() - begin);
}

/// What the queue holds once nothing is under way any more.
std::uint64_t settled_active(PairNodes& pair) {
  for (std::uint64_t before = pair.leader().active("bench");;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    const std::uint64_t now = pair.leader().active("bench");
    if (now == before) return now;
    before = now;
  }
}

/// Nodes, voters and the filling share one disk. When it stands still for longer than a lease the leader
/// sends its clients away, and what was under way may be there or not: it is looked what is, and gone on from
/// there.
/// @return how many there are, not fewer than `wanted`.
std::uint64_t fill(PairNodes& pair, std::uint64_t wanted, int connections, std::string& note) {
  constexpr int kSentAwayMost = 20;
  const auto each = static_cast<std::uint64_t>(connections);
  Progress progress("filling the pair");
  int sent_away = 0;
  for (std::uint64_t done = 0; done < wanted;) {
    try {
      Crowd crowd(pair.leader(), connections);
      while (done < wanted) {
        const std::uint64_t some = std::min(100'000 * each, (wanted - done + each - 1) / each * each);
        crowd.publish(some);
        done += some;
        progress.at(done, wanted);
      }
    } catch (const std::exception& error) {
      if (++sent_away > kSentAwayMost) throw;
      std::cerr << "filling the pair: " << error.what() << "\n";
      done = settled_active(pair);
    }
  }
  if (sent_away > 0)
    note += (note.empty() ? "" : "; ") + std::string("clients were sent away ") + std::to_string(sent_away) +
            " time(s) while it was filled";
  return settled_active(pair);
}

}  // namespace

void pair_failover(const Common& common, const PairSizes& sizes, Record& record) {
  std::string note;
  std::uint64_t resident = sizes.resident;
  if (resident > 0) resident = messages_that_fit(common.directory, resident, kBytesEach, note);
  if (note.empty() && (resident < kTargetResident || sizes.runs < kTargetRuns))
    note = "smaller than the target's " + std::to_string(kTargetRuns) + " runs with 5 M messages";
  PairNodes::Setup setup;
  setup.name = "takeover";
  setup.more_config = kProbeQueue;
  std::optional<Voters> voters;
  if (sizes.voters > 0) setup.in_register = voters.emplace(common, sizes.voters).table();
  PairNodes pair(common, setup);
  if (resident > 0) resident = fill(pair, resident, sizes.connections, note);
  const std::string with = readable(static_cast<double>(resident)) + " messages resident";
  const std::string in_register =
      voters ? std::to_string(sizes.voters) + " etcd members on this machine" : "a file on this machine";
  std::uint64_t confirmed = 0;
  for (const bool fast : {false, true}) {
    if (!sizes.settings.empty() && sizes.settings != (fast ? "fast" : "default")) continue;
    const std::string id = fast ? "fast" : "default";
    pair.restart_with(fast ? "profile = \"fast\"\n" : "");
    const std::uint16_t one = pair.leader().amqp_port, other = pair.other(pair.leader()).amqp_port;
    Prober prober(one, other, id + "-");
    Progress progress("takeovers, " + id + " settings");
    std::vector<float> took, ready, waits;
    int dropped = 0;
    std::string slowest;
    for (int run = 0; run < sizes.runs; ++run) {
      const Takeover each = take_over(pair, prober);
      if (took.empty() || each.confirmed > *std::max_element(took.begin(), took.end()))
        slowest = "killed at " + each.killed_at + ", confirmed after " + readable(each.confirmed) +
                  " s, ready after " + readable(each.ready) + " s, suspect_after " +
                  readable(each.suspect_after) + " s" + pair.told(kSlowestLogBytes);
      if (voters) voters->check_alive();
      dropped += each.dropped;
      took.push_back(static_cast<float>(each.confirmed));
      ready.push_back(static_cast<float>(each.ready));
      waits.push_back(static_cast<float>(each.suspect_after));
      progress.at(static_cast<std::uint64_t>(run) + 1, static_cast<std::uint64_t>(sizes.runs));
    }
    std::cerr << "the slowest takeover, " << id << " settings: " << slowest << "\n";
    confirmed += prober.confirmed();
    // The greatest of few: of fewer than a hundred the 99th percentile is the last one.
    const auto worst = static_cast<double>(*std::max_element(took.begin(), took.end()));
    const double p99 = took.size() < 100 ? worst : quantile(took, 0.99);
    Figure figure_p99 =
        at_most(figure("pair.takeover_" + id + "_s",
                       "kill -9 of the leader → first publish confirmed by the other, p99 of " +
                           std::to_string(sizes.runs) + ", " + id + " settings, " + with,
                       "s"),
                fast ? kFastSeconds : kDefaultSeconds);
    figure_p99.samples.values = {p99};
    figure_p99.note = (note.empty() ? "" : note + "; ") + "min_copies = 1; the register is " + in_register +
                      "; the product's client" +
                      (dropped == 0 ? ""
                                    : "; its backup was out of sync before " + std::to_string(dropped) +
                                          " of the kills, which waited for it");
    Figure all = figure("pair.takeover_" + id + "_each_s", "  each of them", "s");
    all.samples.values.assign(took.begin(), took.end());
    Figure of_ready =
        figure("pair.takeover_" + id + "_ready_s", "  kill -9 → the other one's /readyz says 200", "s");
    of_ready.samples.values.assign(ready.begin(), ready.end());
    Figure of_waits = figure("pair.takeover_" + id + "_suspect_after_s",
                             "  suspect_after in force at the backup before each", "s");
    of_waits.samples.values.assign(waits.begin(), waits.end());
    record.figures.insert(record.figures.end(), {figure_p99, all, of_ready, of_waits});
  }
  expect_active(pair.leader(), resident);
  const std::uint64_t probes = pair.leader().active("probe");
  if (probes < confirmed)
    throw CouldNotRun(std::to_string(confirmed) + " publishes were confirmed over the takeovers, and " +
                      std::to_string(probes) + " are there");
}

void pair_rejoin(const Common& common, const PairSizes& sizes, Record& record) {
  struct Way {
    const char* id;
    const char* what;
    double share;  ///< of the saturated rate; 0: saturated
    int away_seconds;
    double most_seconds;  ///< to catch up
  };
  Figure base = figure("pair.rejoin.saturated_rate",
                       "publish with confirm through a pair, saturated, before a node goes", "messages/s");
  PairNodes::Setup setup;
  setup.name = "rejoin";
  {
    PairNodes pair(common, setup);
    Load load(pair.leader(), sizes.connections, 0);
    rate_for(load, 1);
    base.samples.values.push_back(rate_for(load, 5));
    load.end();
  }
  record.figures.push_back(base);
  // Saturated, both nodes share what the machine has and the one that is back may never catch up: shorter, or
  // the log fills the disk.
  for (const Way& way : {Way{"half", "half of that load", 0.5, sizes.away_seconds, 10 * kCatchUpSeconds},
                         Way{"full", "saturated", 0, std::max(2, sizes.away_seconds / 3), 30}}) {
    const std::string id = std::string("pair.rejoin.") + way.id;
    const std::string what = std::to_string(way.away_seconds) + " s away, " + way.what;
    const double rate = (way.share > 0 ? way.share : 1) * base.samples.median();
    const double catch_up = std::min(way.most_seconds, 2 * kCatchUpSeconds);
    std::string too_many;
    const auto wanted = static_cast<std::uint64_t>(rate * (way.away_seconds + 10 + catch_up));
    if (messages_that_fit(common.directory, wanted, kBytesEach, too_many) < wanted) {
      record.trouble += (record.trouble.empty() ? "" : "; ") + ("rejoin, " + what + ": " + too_many);
      continue;
    }
    PairNodes pair(common, setup);  // the files of the one before are gone
    Figure took = figure(id + "_s", "back after " + what + ": from its start until it counts again", "s");
    Figure front = figure(id + "_front", "  front throughput meanwhile over before", "ratio");
    Figure backlog = figure(id + "_backlog", "  messages it had missed", "messages");
    if (way.share > 0) {
      took.at_most = kCatchUpSeconds;
      front.at_least = kFrontKept;
    }
    if (way.share > 0 && way.away_seconds < kTargetAway)
      took.note = "away for less than the target's " + std::to_string(kTargetAway) + " s";
    Broker& leader = pair.leader();
    Broker& backup = pair.other(leader);
    Load load(leader, sizes.connections, way.share * base.samples.median());
    rate_for(load, 1);
    const double before = rate_for(load, 5);
    const std::uint64_t at_kill = load.confirmed();
    backup.kill();
    std::this_thread::sleep_for(std::chrono::seconds(way.away_seconds));
    const std::uint64_t at_start = load.confirmed();
    const double begin = seconds_now();
    backup.spawn();
    bool counts = false;
    Progress progress("catching up, seconds");
    while (!counts && seconds_now() - begin < way.most_seconds) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      counts = leader.in_sync() == 2;
      progress.at(static_cast<std::uint64_t>(seconds_now() - begin), 0);
    }
    const double seconds = seconds_now() - begin;
    if (!counts) took.note = "it had not caught up when this ended";
    took.samples.values.push_back(seconds);
    front.samples.values.push_back(static_cast<double>(load.confirmed() - at_start) / seconds / before);
    backlog.samples.values.push_back(static_cast<double>(at_start - at_kill));
    load.end();
    if (counts) pair.wait_in_sync();
    record.figures.insert(record.figures.end(), {took, front, backlog});
  }
}

}  // namespace mainstay::bench
