#include "drills/soak.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <list>

#include "base/assert.h"
#include "drills/control_client.h"
#include "drills/figures.h"
#include "drills/progress_line.h"
#include "drills/soak_clients.h"
#include "drills/tsv.h"
#include "io/system_clock.h"
#include "lab/faulty_disk.h"
#include "lab/processes.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MAINSTAY_SANITIZED 1
#else
#define MAINSTAY_SANITIZED 0
#endif

namespace mainstay::drills {
namespace {

namespace fs = std::filesystem;

constexpr const char* user = "soak";
constexpr const char* password = "soak-on-loopback";
constexpr std::uint64_t mib = 1U << 20;
// Small, so that what large installations meet once a day is met every second here.
constexpr std::uint64_t segment_mib = 8, limits_mib = 32, body_cache_mib = 8, index_mib = 1;
// A process without any message, its code included, and what the allocator holds back.
constexpr std::uint64_t rss_margin_mib = 64;
constexpr std::uint64_t disk_limit_mib = 1024;
constexpr std::int64_t hurry_ms = 150, ready_timeout_s = 60, drain_timeout_s = 120, stop_timeout_s = 30;

/// What is declared and who works on it. Every manner of queue, each alone enough to find a fault of its
/// kind.
std::vector<SoakQueue> soak_queues() {
  std::vector<SoakQueue> queues;
  SoakQueue plain{.name = "plain", .share = 0.15, .consumers = 2};
  plain.deliveries_max = 20;
  SoakQueue orders{.name = "orders",
                   .duplicate_detection = true,
                   .lock_s = 2,
                   .deliveries_max = 3,
                   .share = 0.2,
                   .producers = 2,
                   .consumers = 3};
  SoakQueue sessions{.name = "sessions",
                     .requires_session = true,
                     .duplicate_detection = true,
                     .lock_s = 4,
                     .share = 0.2,
                     .producers = 2,
                     .sessions = 150,
                     .consumers = 4};
  SoakQueue fleeting{
      .name = "fleeting", .duplicate_detection = true, .share = 0.1, .ttl_percent = 60, .consumers = 1};
  SoakQueue deadlines{.name = "deadlines",
                      .requires_session = true,
                      .duplicate_detection = true,
                      .lock_s = 3,
                      .default_ttl_s = 15,
                      .dead_letter_on_expiry = true,
                      .share = 0.1,
                      .sessions = 40,
                      .ttl_percent = 40,
                      .consumers = 2};
  SoakQueue backlog{.name = "backlog",
                    .duplicate_detection = true,
                    .lock_s = 10,
                    .share = 0.15,
                    .bytes_max = 2000,
                    .consumers = 1,
                    .in_waves = true};
  SoakQueue aside{.name = "aside",
                  .duplicate_detection = true,
                  .lock_s = 3,
                  .deliveries_max = 1000,
                  .share = 0.1,
                  .consumers = 2,
                  .defer_percent = 30};
  for (SoakQueue* queue : {&plain, &orders, &sessions, &fleeting, &deadlines, &backlog, &aside})
    queues.push_back(*queue);
  return queues;
}

std::string broker_config(const std::vector<SoakQueue>& queues, const std::string& data, std::uint16_t amqp,
                          std::uint16_t control, const std::string& register_file) {
  std::string text = fmt::format(
      R"([node]
name = "soak-1"
region = "soak"
data = "{}"

[amqp]
listen = "127.0.0.1:{}"
max_message_bytes = "2MiB"

[control]
listen = "127.0.0.1:{}"

[register]
file = "{}"
initial_region = "soak"

[journal]
segment_bytes = "{}MiB"
checkpoint_every_records = 5000
body_cache_bytes = "{}MiB"

[memory]
index_bytes = "{}MiB"
index_hot_bytes = "{}MiB"

[limits]
memory_bytes = "{}MiB"

[[user]]
name = "{}"
password = "{}"
)",
      data, amqp, control, register_file, segment_mib, body_cache_mib, index_mib, index_mib, limits_mib, user,
      password);
  for (const SoakQueue& queue : queues)
    text += fmt::format(R"(
[[queue]]
name = "{}"
requires_session = {}
duplicate_detection = {}
duplicate_window_s = {}
lock_duration_s = {}
max_delivery_count = {}
default_ttl_s = {}
dead_letter_on_expiry = {}
)",
                        queue.name, queue.requires_session, queue.duplicate_detection, duplicate_window_s,
                        queue.lock_s, queue.deliveries_max, queue.default_ttl_s, queue.dead_letter_on_expiry);
  return text;
}

/// What the broker says its queues hold.
struct Depths {
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>>
      queues;  ///< active and put aside, dead-lettered
  [[nodiscard]] std::uint64_t total() const {
    std::uint64_t sum = 0;
    for (const auto& [name, depth] : queues) sum += depth.first + depth.second;
    return sum;
  }
};

std::optional<Depths> ask_depths(const std::string& endpoint) {
  const auto answer = http_request("GET", endpoint, "/status", "", "", seconds(2));
  if (!answer || answer->status != 200) return std::nullopt;
  // Another process's words may be anything; Boost.JSON's throwing access ends here.
  try {
    Depths depths;
    const boost::json::value status = boost::json::parse(answer->body);
    for (const auto& queue : status.at("queues").as_array())
      depths.queues[std::string(queue.at("name").as_string())] = {
          queue.at("active").to_number<std::uint64_t>() + queue.at("deferred").to_number<std::uint64_t>(),
          queue.at("dead_letter").to_number<std::uint64_t>()};
    return depths;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::uint64_t rss_bytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
  return 0;
}

std::uint64_t disk_bytes(const std::string& directory) {
  std::uint64_t sum = 0;
  std::error_code error;
  fs::recursive_directory_iterator at(directory, error), end;
  for (; !error && at != end; at.increment(error)) {
    struct stat status {};  // files come and go: what has gone takes no space
    if (::stat(at->path().c_str(), &status) == 0 && S_ISREG(status.st_mode))
      sum += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return sum;
}

class Soak {
 public:
  Soak(const SoakOptions& options, std::string directory)
      : options_(options),
        directory_(std::move(directory)),
        queues_(soak_queues()),
        random_(options.seed ^ 0x736f616bULL),
        progress_(clock_) {
    report_.seed = options.seed;
    report_.directory = directory_;
    report_.rss_limit_bytes = (limits_mib + body_cache_mib + 2 * index_mib + rss_margin_mib) * mib;
    report_.rss_judged = MAINSTAY_SANITIZED == 0;
    report_.disk_limit_bytes = disk_limit_mib * mib;
    report_.environment = describe_environment(directory_, options.version);
  }

  SoakReport run() {
    const Instant start = clock_.now();
    if (const auto prepared = prepare(); !prepared)
      report_.failure = prepared.error().what;
    else
      run_prepared();
    clients_.clear();
    broker_.reset();
    journal_.reset();
    if (report_.failure.empty()) judge();
    report_.duration_s = (clock_.now() - start).seconds();
    return report_;
  }

 private:
  Result<void, Failure> prepare() {
    const auto ports = lab::free_loopback_ports(2);
    if (!ports) return ports.error();
    shared_.port = (*ports)[0];
    control_ = fmt::format("127.0.0.1:{}", (*ports)[1]);
    shared_.user = user;
    shared_.password = password;
    shared_.directory = directory_;
    shared_.seed = options_.seed;
    shared_.rate_per_s = options_.rate_per_s;
    const double load_s =
        options_.kills == 0
            ? options_.minutes * 60
            : std::min(options_.minutes * 60, options_.kill_every_s * static_cast<double>(options_.kills));
    shared_.wave =
        milliseconds(std::clamp<std::int64_t>(static_cast<std::int64_t>(load_s * 1000 / 3), 5'000, 120'000));
    std::error_code error;
    fs::create_directories(data(), error);
    if (error) return Failure{"cannot create " + data() + ": " + error.message()};
    if (options_.power_loss || options_.lying_disk) {
      auto disk = lab::FaultyDisk::create(data(), directory_ + "/disk-notes",
                                          lab::FaultyDisk::layer_beside_this_program());
      if (!disk) return disk.error();
      disk_ = std::move(*disk);
      disk_->lie(options_.lying_disk);
    }
    if (auto written = write_text_file(
            directory_ + "/broker.toml",
            broker_config(queues_, data(), shared_.port, (*ports)[1], directory_ + "/register.db"));
        !written)
      return written.error();
    auto journal = FactJournal::create(directory_ + "/facts-0-soak.tsv");
    if (!journal) return journal.error();
    journal_.emplace(std::move(*journal));
    for (const SoakQueue& queue : queues_) {
      Fact rules;
      rules.kind = Fact::Kind::queue;
      rules.queue = queue.name;
      rules.lock_ms = queue.lock_s * 1000;
      rules.deliveries_max = queue.deliveries_max;
      rules.dead_letter_on_expiry = queue.dead_letter_on_expiry;
      rules.duplicate_detection = queue.duplicate_detection;
      rules.requires_session = queue.requires_session;
      journal_->add(rules);
    }
    journal_->flush();
    return {};
  }

  [[nodiscard]] std::string data() const { return directory_ + "/data"; }

  void violated(const std::string& what) {
    progress_.say(what);
    Fact fact;
    fact.kind = Fact::Kind::violated;
    fact.note = what;
    journal_->add(fact);
    journal_->flush();
  }

  void run_prepared() {
    // A broker that never came up was not tested; one that does not come back is broken.
    if (!start_broker()) {
      report_.failure = "the broker did not start:\n" + (broker_ ? broker_->log_tail() : launch_failure_);
      return;
    }
    for (const SoakQueue& queue : queues_) {
      for (unsigned i = 0; i < queue.producers; ++i) clients_.push_back(start_producer(shared_, queue, i));
      for (unsigned i = 0; i < queue.consumers; ++i)
        clients_.push_back(start_consumer(shared_, queue, false, i));
      clients_.push_back(start_consumer(shared_, queue, true, 0));
    }
    load();
    shared_.stop = true;
    if (!shared_.give_up) drain();
    shared_.drained = true;
    shared_.give_up = true;
    for (SoakClient& client : clients_) client.join();
    report_.messages = shared_.confirmed;
    report_.connections_lost = shared_.lost_connections;
    report_.vanished = shared_.vanished;
    report_.silent = shared_.silent;
    report_.slow = shared_.slow;
    report_.deferred = shared_.deferred;
    report_.received_by_number = shared_.by_number;
    report_.publishes_unknown = shared_.uncertain;
    report_.duplicates_sent = shared_.duplicates;
    end_broker();
    verify();
    if (report_.rss_judged && report_.rss_peak_bytes > report_.rss_limit_bytes)
      violated(fmt::format("the broker took {} MiB of memory; its limits and {} MiB allow {} MiB",
                           report_.rss_peak_bytes / mib, rss_margin_mib, report_.rss_limit_bytes / mib));
    if (report_.disk_peak_bytes > report_.disk_limit_bytes)
      violated(fmt::format("the broker's directory took {} MiB of disk; {} MiB are allowed",
                           report_.disk_peak_bytes / mib, report_.disk_limit_bytes / mib));
  }

  bool start_broker() {
    broker_.reset();
    const Instant start = clock_.now();
    auto started = lab::Process::start(
        {.name = "broker",
         .arguments = {options_.program, "serve", "--config", directory_ + "/broker.toml"},
         .log = directory_ + "/broker.log",
         .environment = disk_ ? disk_->environment() : std::vector<std::string>()});
    if (!started) {
      launch_failure_ = started.error().what;
      return false;
    }
    broker_ = std::move(*started);
    while (clock_.now() < start + seconds(ready_timeout_s) && !broker_->end()) {
      const auto answer = http_request("GET", control_, "/readyz", "", "", seconds(1));
      if (answer && answer->status == 200) {
        report_.restart_max_s = std::max(report_.restart_max_s, (clock_.now() - start).seconds());
        return true;
      }
      ::poll(nullptr, 0, 5);
    }
    return false;
  }

  /// What the killed broker had not synced goes. @return false when it cannot be done: the soak is over.
  bool lose_power() {
    lab::Loss loss{.everything = random_.chance(1, 3),
                   .block_bytes = random_.chance(1, 2) ? 512U : 4096U,
                   .seed = random_.next()};
    const auto lost = disk_->take_back(loss);
    if (!lost) {
      report_.failure = lost.error().what;
      shared_.give_up = true;
      return false;
    }
    ++report_.power_losses;
    report_.bytes_lost += lost->bytes_lost;
    report_.names_lost += lost->names_lost;
    return true;
  }

  /// Starts it again after it was ended or ended by itself. On failure the soak is over.
  void restart() {
    if (start_broker()) return;
    violated("the broker did not come back after " + last_blow_ + ":\n" +
             (broker_ ? broker_->log_tail() : launch_failure_));
    shared_.give_up = true;
  }

  void sample() {
    if (const std::uint64_t rss = rss_bytes(broker_->pid()); rss > report_.rss_peak_bytes)
      report_.rss_peak_bytes = rss;
    if (clock_.now() < next_slow_sample_) return;
    next_slow_sample_ = clock_.now() + seconds(1);
    report_.disk_peak_bytes = std::max(report_.disk_peak_bytes, disk_bytes(data()));
    if (const auto depths = ask_depths(control_)) {
      depth_ = depths->total();
      report_.depth_peak = std::max(report_.depth_peak, depth_);
    }
  }

  /// What went wrong by itself counts, and the soak goes on.
  void check_alive() {
    const auto end = broker_->end();
    if (!end) return;
    last_blow_ = "it ended by itself";
    violated("the broker ended by itself with " + end->text() + ":\n" + broker_->log_tail());
    restart();
  }

  void load() {
    const Instant start = clock_.now();
    const Instant until = start + milliseconds(static_cast<std::int64_t>(options_.minutes * 60'000));
    Instant next_blow = start + pause_before_blow();
    while (clock_.now() < until && !shared_.give_up &&
           (options_.kills == 0 || report_.kills < options_.kills)) {
      ::poll(nullptr, 0, 50);
      check_alive();
      if (shared_.give_up) break;
      sample();
      progress_.show(
          fmt::format("{:.0f} s of {:.0f} s: {} messages confirmed, {} completed, {} waiting, {} kills",
                      (clock_.now() - start).seconds(), options_.minutes * 60, grouped(shared_.confirmed),
                      grouped(shared_.completed), grouped(depth_), report_.kills));
      if (clock_.now() < next_blow) continue;
      // A kill tells most while batches are under way: then a confirmation that came too early is one too
      // many.
      shared_.hurry = true;
      ::poll(nullptr, 0, static_cast<int>(random_.between(hurry_ms / 2, hurry_ms)));
      shared_.hurry = false;
      if (random_.chance(1, 6)) {
        last_blow_ = "an orderly stop";
        end_broker();
        ++report_.stops;
      } else {
        last_blow_ = "SIGKILL";
        broker_->signal(SIGKILL);
        static_cast<void>(broker_->wait(seconds(stop_timeout_s)));
        ++report_.kills;
        if (disk_ && !lose_power()) break;
      }
      restart();
      next_blow = clock_.now() + pause_before_blow();
    }
    report_.load_s = (clock_.now() - start).seconds();
  }

  /// Between a tenth of and nearly twice the average; now and then at once, into the recovery of the last.
  Duration pause_before_blow() {
    if (random_.chance(1, 10)) return milliseconds(static_cast<std::int64_t>(random_.below(200)));
    return milliseconds(
        static_cast<std::int64_t>(options_.kill_every_s * 1000 * (0.1 + 1.9 * random_.unit())));
  }

  /// Everything that is stored is taken out, so that what is missing then is missing.
  void drain() {
    for (SoakClient& client : clients_) {
      while (!client.ended()) {
        check_alive();
        sample();
        progress_.show(fmt::format("clients end: {} of {} messages confirmed", grouped(shared_.confirmed),
                                   grouped(shared_.sent)));
        ::poll(nullptr, 0, 50);
      }
      client.join();
    }
    std::list<SoakClient> drains;
    for (const SoakQueue& queue : queues_) {
      for (unsigned i = 0; i < (queue.requires_session ? 4U : 1U); ++i)
        drains.push_back(start_drain(shared_, queue, false, i));
      drains.push_back(start_drain(shared_, queue, true, 0));
    }
    const Instant until = clock_.now() + seconds(drain_timeout_s);
    std::optional<Depths> depths;
    while (clock_.now() < until && !shared_.give_up) {
      check_alive();
      sample();
      if (const auto told = ask_depths(control_)) depths = told;
      if (depths && depths->total() == 0) break;
      progress_.show(fmt::format("draining: {} messages left", grouped(depths ? depths->total() : 0)));
      ::poll(nullptr, 0, 100);
    }
    shared_.drained = true;
    for (SoakClient& client : drains) client.join();
    if (const auto told = ask_depths(control_)) depths = told;
    for (const SoakQueue& queue : queues_)
      for (const bool dead : {false, true}) {
        if (!depths || !depths->queues.contains(queue.name)) continue;
        Fact left;
        left.kind = Fact::Kind::left;
        left.queue = queue.name;
        left.dead_letter = dead;
        left.bytes = dead ? depths->queues[queue.name].second : depths->queues[queue.name].first;
        journal_->add(left);
      }
    journal_->flush();
  }

  void end_broker() {
    if (!broker_ || broker_->end()) return;
    broker_->signal(SIGTERM);
    const auto end = broker_->wait(seconds(stop_timeout_s));
    if (!end)
      violated(fmt::format("the broker did not stop within {} s of SIGTERM", stop_timeout_s));
    else if (!end->ok())
      violated("the broker stopped with " + end->text() + ":\n" + broker_->log_tail());
    if (!end) broker_->signal(SIGKILL);
  }

  void verify() {
    progress_.show("verifying the journal");
    const auto verified = lab::run_to_end({.name = "mainstay verify",
                                           .arguments = {options_.program, "verify", data()},
                                           .log = directory_ + "/verify.log"},
                                          seconds(300));
    report_.verified = verified && verified->end.ok();
    if (!report_.verified)
      violated("mainstay verify " + data() + ": " +
               (verified ? verified->end.text() + "\n" + verified->output : verified.error().what));
  }

  void judge() {
    progress_.show("auditing");
    SoakAuditor auditor;
    const auto read = read_history(directory_, [&](const Fact& fact) { auditor.add(fact); });
    if (!read)
      report_.failure = read.error().what;
    else
      report_.audit = auditor.judge();
  }

  const SoakOptions& options_;
  const std::string directory_;
  const std::vector<SoakQueue> queues_;
  SeededRandom random_;
  io::SystemClock clock_;
  ProgressLine progress_;
  SoakShared shared_;
  SoakReport report_;
  std::string control_, launch_failure_, last_blow_;
  std::optional<FactJournal> journal_;
  std::unique_ptr<lab::FaultyDisk> disk_;  // before the broker, which must be gone when it goes
  std::unique_ptr<lab::Process> broker_;
  std::list<SoakClient> clients_;
  Instant next_slow_sample_{};
  std::uint64_t depth_ = 0;
};

Result<std::string, Failure> make_directory(const SoakOptions& options) {
  std::error_code error;
  const std::string base =
      fmt::format("{}/soak-seed-{}", fs::absolute(options.report, error).string(), options.seed);
  std::string directory = base;
  for (int again = 2; fs::exists(directory, error); ++again) directory = fmt::format("{}-{}", base, again);
  fs::create_directories(directory, error);
  if (error) return Failure{"cannot create " + directory + ": " + error.message()};
  return {boost::system::in_place_value, std::move(directory)};
}

int status_of(const SoakReport& report) {
  return !report.failure.empty() ? 2 : report.audit.clean() ? 0 : 1;
}

}  // namespace

int run_soak(const SoakOptions& options) {
  const auto directory = make_directory(options);
  if (!directory) {
    fmt::print(stderr, "mainstay drill soak: {}\n", directory.error().what);
    return 2;
  }
  const SoakReport report = Soak(options, *directory).run();
  const auto written = write_text_file(*directory + "/report.json", json_of(report) + "\n");
  fmt::print("{}\n", options.json ? json_of(report) : "\n" + text_of(report));
  std::fflush(stdout);
  if (report.clean() && !options.keep) {
    std::error_code ignored;
    fs::remove_all(*directory + "/data", ignored);
    for (const auto& entry : fs::directory_iterator(*directory, ignored))
      if (entry.path().filename().string().starts_with("facts-")) fs::remove(entry.path(), ignored);
  } else if (!options.json) {
    fmt::print("  history, data and logs: {}\n  judge again: mainstay drill soak --history {}\n", *directory,
               *directory);
  }
  if (!written) {
    fmt::print(stderr, "mainstay drill soak: {}\n", written.error().what);
    return 2;
  }
  return status_of(report);
}

int run_soak_audit(const std::string& directory, bool json) {
  SoakAuditor auditor;
  if (const auto read = read_history(directory, [&](const Fact& fact) { auditor.add(fact); }); !read) {
    fmt::print(stderr, "mainstay drill soak: {}\n", read.error().what);
    return 2;
  }
  const SoakAudit audit = auditor.judge();
  fmt::print("{}\n", json ? json_of(audit) : "\n" + text_of(audit));
  return audit.clean() ? 0 : 1;
}

}  // namespace mainstay::drills
