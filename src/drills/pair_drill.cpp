#include "drills/pair_drill.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>

#include "base/random.h"
#include "drills/figures.h"
#include "drills/pair_clients.h"
#include "drills/pair_group.h"
#include "drills/tsv.h"

namespace mainstay::drills {
namespace {

constexpr std::int64_t whole_timeout_s = 60, flow_timeout_s = 30, drain_timeout_s = 90;
/// A node that was stopped and goes on has so long to see that it leads no more. It has answered nobody
/// meanwhile, which what clients saw must show.
constexpr std::int64_t wake_up_us = 500'000;
constexpr int power_losses = 3;
/// On a link that loses 30 % of all packets: epochs a minute, begun minutes included. A backup that is
/// dropped and taken in again makes two.
constexpr std::uint64_t unsettled_per_minute = 4;

class PairDrill;
using Fault = Result<void, Failure> (PairDrill::*)();
using Cuts = std::vector<std::pair<std::string_view, std::string_view>>;

/// What a scenario does and what must be so.
struct Course {
  Fault fault;
  int leaderships_max = 0;  ///< in all of it, the first one included; 0 = any
  int leaderships_min = 1;
  double gap_max_s = 0;  ///< the longest time without a confirm; 0 = any
  unsigned copies_min = 1;
  PairGroupOptions::Store store = PairGroupOptions::Store::own;
  bool faulty_disks = false;
  Cuts cuts = {};  ///< between "leader", "backup", "voters", "clients"
  bool cuts_may_meet_nothing = false;
};
const Course& course_of(std::string_view scenario);

class PairDrill {
 public:
  PairDrill(const PartitionOptions& options, const PartitionScenario& scenario, const DrillPlace& place)
      : options_(options),
        scenario_(scenario),
        course_(course_of(scenario.name)),
        place_(place),
        clock_(place.clock),
        random_(place.seed ^ 0x70616972ULL) {}
  ~PairDrill() {
    if (shared_) shared_->give_up = true;
    clients_.clear();  // before the network that they are in
  }

  DrillReport run() {
    start_ = clock_.now();
    report_.drill = "partition: " + std::string(scenario_.name);
    report_.seed = place_.seed;
    report_.started_wall_ms = clock_.wall().ms;
    report_.region_lost = false;
    report_.command = fmt::format("mainstay drill partition --scenario {} --fault {} --rate {:g} --seed {}",
                                  scenario_.name, options_.fault_s, options_.rate_per_s, place_.seed);
    if (const auto done = drill(); !done) report_.failure = done.error().what;
    end();
    report_.environment = describe_environment(place_.directory, options_.version);
    report_.summary = fmt::format(
        "{} messages through a group of two nodes{} under three voters of this machine, each node, voter and "
        "client on a host of its own. In mid-flow: {}. Then everything was mended, drained and compared.",
        grouped(report_.audit.in), one_store() ? " that share one directory" : "", scenario_.about);
    std::ranges::sort(report_.marks, {}, &Mark::at_s);
    return std::move(report_);
  }

  // The faults

  Result<void, Failure> leader_killed() {
    begins("kill -9 of the leader, " + lead_);
    if (auto killed = kill(lead_); !killed) return killed;
    if (auto held = hold(options_.fault_s); !held) return held;
    return group_->start(lead_);
  }
  Result<void, Failure> backup_killed() {
    begins("kill -9 of the backup, " + backup_);
    if (auto killed = kill(backup_); !killed) return killed;
    if (auto held = hold(options_.fault_s); !held) return held;
    return group_->start(backup_);
  }
  Result<void, Failure> backup_killed_two_copies() {
    begins("kill -9 of the backup, " + backup_ + ", where a confirm needs two copies");
    if (auto killed = kill(backup_); !killed) return killed;
    if (auto alone = wait("alone", seconds(20), [&] { return group_->view(lead_).in_sync.size() == 1; });
        !alone)
      return alone;
    if (auto settled = hold(1); !settled) return settled;  // answers on their way arrive
    const std::uint64_t before = shared_->confirmed;
    if (auto held = hold(options_.fault_s); !held) return held;
    if (const std::uint64_t more = shared_->confirmed - before; more > 0)
      report_.broken.push_back(
          fmt::format("{} publishes were confirmed with one copy; two are asked for", grouped(more)));
    return group_->start(backup_);
  }
  Result<void, Failure> zone_outage() {
    const std::string voter = std::string("voter-") + lead_.back();
    begins(fmt::format("the zone of the leader is lost: {} and {}", lead_, voter));
    group_->voters().kill(voter);
    if (auto killed = kill(lead_); !killed) return killed;
    if (auto held = hold(options_.fault_s); !held) return held;
    if (auto back = group_->voters().restart(voter); !back) return back;
    return group_->start(lead_);
  }
  Result<void, Failure> voters_in_turn() {
    begins("one voter after the other is killed and comes back");
    for (const char* voter : pair_voters) {
      step(fmt::format("kill -9 of {}", voter));
      group_->voters().kill(voter);
      if (auto held = hold(options_.fault_s); !held) return held;
      if (auto back = group_->voters().restart(voter); !back) return back;
      if (auto serving = group_->voters().wait_until_serving(seconds(30)); !serving) return serving;
    }
    return {};
  }
  Result<void, Failure> two_voters_killed() {
    begins("kill -9 of two voters: the register decides nothing more");
    group_->voters().kill(pair_voters[0]);
    group_->voters().kill(pair_voters[2]);
    if (auto held = hold(options_.fault_s); !held) return held;
    return voters_back();
  }
  Result<void, Failure> all_voters_killed() {
    begins("kill -9 of all voters");
    group_->voters().kill_all();
    if (auto held = hold(options_.fault_s); !held) return held;
    return voters_back();
  }
  Result<void, Failure> leader_killed_without_voters() {
    begins("kill -9 of all voters, then of the leader, " + lead_);
    group_->voters().kill_all();
    if (auto held = hold(1); !held) return held;
    if (auto killed = kill(lead_); !killed) return killed;
    if (auto held = hold(options_.fault_s); !held) return held;
    if (group_->leader()) report_.broken.push_back("a backup took the lead though no register could give it");
    step("the voters come back");
    begun_us_ = group_->now_us();
    if (auto back = voters_back(); !back) return back;
    if (auto led = wait_for_leader_but(lead_); !led) return led;
    return group_->start(lead_);
  }

  Result<void, Failure> cut() {
    std::vector<std::pair<std::string, std::string>> links;
    std::string text = "cut:";
    for (const auto& [from, to] : course_.cuts) {
      text += fmt::format(" {} to {},", from, to);
      for (const std::string& one : hosts(from))
        for (const std::string& other : hosts(to)) links.emplace_back(one, other);
    }
    text.back() = ';';
    begins(fmt::format("{} the leader is {}", text, lead_));
    for (const auto& [from, to] : links) group_->network().cut(from, to);
    if (auto held = hold(options_.fault_s); !held) return held;
    std::uint64_t met = 0;
    for (const auto& [from, to] : links) met += group_->network().counts(from, to).cut;
    if (course_.cuts_may_meet_nothing)
      report_.figures.push_back({"packets cut off", grouped(met), "by the fault", {}});
    else
      reached("packets cut off", met);
    group_->network().heal_all();
    return {};
  }

  Result<void, Failure> loss_and_jitter() {
    return disturb({.loss = 0.3, .jitter = milliseconds(200)}, "30 % of packets lost, up to 200 ms jitter");
  }
  Result<void, Failure> loss_between_nodes() {
    return disturb({.loss = 0.3, .jitter = milliseconds(200)}, "30 % of packets lost, up to 200 ms jitter",
                   {"leader", "backup"});
  }
  Result<void, Failure> delay_5ms() { return disturb({.delay = milliseconds(5)}, "5 ms delay"); }
  Result<void, Failure> delay_100ms() { return disturb({.delay = milliseconds(100)}, "100 ms delay"); }

  Result<void, Failure> zombie() {
    begins(fmt::format("SIGSTOP to the leader, {}, for longer than its lease", lead_));
    mark(MarkKind::other, lead_ + " stopped");
    group_->pause(lead_);
    if (auto held = hold(std::max<std::int64_t>(options_.fault_s, 3)); !held) return held;
    group_->resume(lead_);
    step(lead_ + " wakes up");
    return {};
  }
  Result<void, Failure> short_sleeps() {
    begins("SIGSTOP to the leader for about its lease, again and again");
    const Instant until = clock_.now() + seconds(options_.fault_s);
    while (clock_.now() < until) {
      const std::string sleeper = group_->leader().value_or(lead_);
      group_->pause(sleeper);
      sleep_ms(static_cast<std::int64_t>(random_.between(400, 1'600)));
      group_->resume(sleeper);
      if (auto on = hold_ms(static_cast<std::int64_t>(random_.between(200, 1'500))); !on) return on;
    }
    return {};
  }

  Result<void, Failure> disk_stall() {
    begins("the leader's disk stalls: no sync of " + lead_ + " returns");
    group_->disk(lead_).stall_syncs(true);
    if (auto held = hold(std::max<std::int64_t>(options_.fault_s, 5)); !held) return held;
    reached("threads that waited", group_->disk(lead_).counts().stalled);
    group_->disk(lead_).repair();
    return {};
  }
  Result<void, Failure> disk_full() {
    begins("the disk of the leader, " + lead_ + ", is full");
    group_->disk(lead_).fill(true);
    if (auto held = hold(options_.fault_s); !held) return held;
    // What was reserved before lasts for a while.
    static_cast<void>(wait("the reserve lasts", seconds(20),
                           [&] { return group_->disk(lead_).counts().refused_writes > 0; }));
    if (auto held = hold(2); !held) return held;
    reached("writes that met the full disk", group_->disk(lead_).counts().refused_writes);
    group_->disk(lead_).repair();
    return {};
  }
  Result<void, Failure> power_loss() {
    begins("the leader loses its power, and what it had not synced, again and again");
    return lose_power_often(false);
  }
  Result<void, Failure> power_loss_both() {
    begins("both nodes lose their power at once, and what they had not synced, again and again");
    return lose_power_often(true);
  }

  Result<void, Failure> register_restored() {
    const std::string snapshot = place_.directory + "/work/old-register.db";
    if (auto saved = group_->voters().save_snapshot(pair_voters[0], snapshot); !saved) return saved;
    begins("the voters are put back to a snapshot from before the last takeover");
    if (auto killed = kill(lead_); !killed) return killed;
    if (auto led = wait_for_leader_but(lead_); !led) return led;
    if (auto back = group_->start(lead_); !back) return back;
    if (auto whole = wait_until_whole(); !whole) return whole;
    if (auto restored = group_->voters().restore_snapshot(snapshot); !restored) return restored;
    step("the register is old now");
    const std::uint64_t before = shared_->confirmed;
    const auto alarmed = [&] {
      return std::ranges::all_of(pair_nodes, [&](const char* node) {
        return group_->log(node).find("ALARM: ") != std::string::npos;
      });
    };
    static_cast<void>(wait("alarm", seconds(10), alarmed));
    for (const char* node : pair_nodes)
      if (group_->log(node).find("ALARM: ") == std::string::npos)
        report_.broken.push_back(std::string(node) + " raised no alarm over the old register");
    if (auto held = hold(options_.fault_s); !held) return held;
    if (shared_->confirmed == before)
      report_.broken.push_back("nothing was confirmed beside an old register");
    std::vector<std::string> words{"group",    "repair-register",
                                   "--config", group_->config(pair_nodes[0]),
                                   "--reason", "drill: etcd restored from an old snapshot",
                                   "--by",     "drill",
                                   "--yes"};
    for (const char* node : pair_nodes)
      if (!one_store()) words.insert(words.end(), {"--data", group_->data(node)});
    const auto mended = group_->command(words);
    if (!mended) return mended.error();
    if (!mended->end.ok())
      return Failure{"mainstay group repair-register: " + mended->end.text() + ": " + mended->output};
    step("`mainstay group repair-register` has mended it");
    if (auto whole = wait_until_whole(); !whole) return whole;
    if (auto held = hold(2); !held) return held;
    const std::string second = group_->leader().value_or(lead_);
    step("kill -9 of the leader, " + second + ": a takeover must work again");
    if (auto killed = kill(second); !killed) return killed;
    if (auto led = wait_for_leader_but(second); !led) return led;
    return group_->start(second);
  }

 private:
  // The course

  Result<void, Failure> drill() {
    place_.progress.say("starting three voters and two nodes, each on a host of its own");
    auto group = PairGroup::create({.program = options_.program,
                                    .directory = place_.directory + "/work",
                                    .copies_min = course_.copies_min,
                                    .store = course_.store,
                                    .faulty_disks = course_.faulty_disks,
                                    .seed = place_.seed},
                                   clock_);
    if (!group) return group.error();
    group_ = std::move(*group);
    for (const char* node : pair_nodes)
      if (auto started = group_->start(node); !started) return started;
    if (auto whole = wait_until_whole(); !whole) return whole;
    start_clients();
    if (auto flowing = wait("the flow begins", seconds(flow_timeout_s),
                            [&] { return shared_->confirmed > 100 && shared_->settled > 50; });
        !flowing)
      return flowing;
    if (auto held = hold(1); !held) return held;
    const auto leader = group_->leader();
    if (!leader) return Failure{"nobody leads before the fault"};
    lead_ = *leader;
    backup_ = PairGroup::other(lead_);
    if (auto done = (this->*course_.fault)(); !done) return done;
    step(fmt::format("mended; {} messages are confirmed, {} settled", grouped(shared_->confirmed),
                     grouped(shared_->settled)));
    if (auto whole = wait_until_whole(); !whole) return whole;
    step(one_store() ? "one node leads, and the other one hears it" : "both nodes are in sync");
    const std::uint64_t before = shared_->confirmed;
    if (auto flowing = wait("the flow goes on", seconds(flow_timeout_s),
                            [&] { return shared_->confirmed > before + 50; });
        !flowing)
      return flowing;
    if (auto held = hold(1); !held) return held;
    return drain();
  }

  void start_clients() {
    std::vector<client::Endpoint> endpoints;
    for (const char* node : pair_nodes)
      endpoints.push_back({group_->network().address_of(node), pair_amqp_port});
    shared_.reset(new PairShared{.network = group_->network(),
                                 .endpoints = std::move(endpoints),
                                 .nodes = {pair_nodes.begin(), pair_nodes.end()},
                                 .user = "drill",
                                 .password = "drill-in-the-lab",
                                 .seed = place_.seed,
                                 .wall_offset_us = group_->wall_offset_us()});
    const auto add = [&](PairClient::Kind kind, PairClientPlace place) {
      clients_.push_back(std::make_unique<PairClient>(*shared_, kind, std::move(place)));
    };
    using Kind = PairClient::Kind;
    const double rate = options_.rate_per_s / 2;
    add(Kind::publisher, {"payer-1", pair_clients[0], pair_session_queue, 2, rate, true});
    add(Kind::publisher, {"payer-2", pair_clients[1], pair_plain_queue, 1, rate});
    add(Kind::subscriber, {"payee-1", pair_clients[2], pair_session_queue, 1, 0, true});
    add(Kind::subscriber, {"payee-2", pair_clients[0], pair_session_queue, 1, 0, true});
    add(Kind::subscriber, {"payee-3", pair_clients[2], pair_plain_queue});
    step(fmt::format("two publishers begin, at {:g} messages per second each, and three subscribers", rate));
  }

  Result<void, Failure> drain() {
    shared_->stop = true;
    const auto ended = [&](PairClient::Kind kind) {
      return std::ranges::all_of(
          clients_, [&](const auto& client) { return client->kind() != kind || client->ended(); });
    };
    if (auto done = wait("every publish gets its answer", seconds(100),
                         [&] { return ended(PairClient::Kind::publisher); });
        !done)
      return done;
    std::uint64_t left = 0;
    int empty = 0;
    const auto drained = wait("draining", seconds(drain_timeout_s), [&] {
      const auto leader = group_->leader();
      if (!leader) return false;
      left = group_->view(*leader).in_queues;
      empty = left == 0 ? empty + 1 : 0;
      return empty >= 3;
    });
    if (!drained)
      return Failure{fmt::format("{} messages are left in the queues: {}", left, drained.error().what)};
    sleep_ms(500);  // a late repetition has to show
    shared_->drained = true;
    if (auto done =
            wait("the subscribers end", seconds(30), [&] { return ended(PairClient::Kind::subscriber); });
        !done)
      return done;
    if (one_store()) return {};  // there is one log, and `mainstay verify` reads it
    PairNodeView one, other;
    const auto equal = wait("comparing", seconds(20), [&] {
      one = group_->view(pair_nodes[0]);
      other = group_->view(pair_nodes[1]);
      return one.answered && other.answered && one.durable_lsn == other.durable_lsn &&
             one.applied_lsn == other.applied_lsn && one.log_hash == other.log_hash &&
             one.state_hash == other.state_hash;
    });
    if (!equal)
      report_.broken.push_back(
          fmt::format("the nodes are not equal: {} at LSN {} log {} state {}, {} at LSN {} log {} state {}",
                      pair_nodes[0], one.durable_lsn, one.log_hash, one.state_hash, pair_nodes[1],
                      other.durable_lsn, other.log_hash, other.state_hash));
    else
      report_.figures.push_back(
          {"both nodes", "equal",
           fmt::format("log {} and state {} at LSN {}", one.log_hash, one.state_hash, one.durable_lsn),
           ResultRow::Tone::good});
    return {};
  }

  /// What the nodes said of themselves, once more from their disks. A drill that was not mended has nothing
  /// to compare, nor have nodes that share one directory.
  void compare() {
    if (!report_.failure.empty() || group_->one_store()) return;
    const auto compared =
        group_->command({"verify", group_->data(pair_nodes[0]), "--compare", group_->data(pair_nodes[1])});
    if (!compared || !compared->end.ok())
      report_.broken.push_back(
          fmt::format("mainstay verify --compare: {}",
                      compared ? compared->end.text() + ": " + compared->output : compared.error().what));
  }

  /// Whatever became of the drill: what can be judged is.
  void end() {
    report_.duration_s = now_s();
    if (!group_) return;
    if (shared_) shared_->give_up = true;
    std::vector<PairClientHistory> histories;
    for (const auto& client : clients_) histories.push_back(client->take_history());
    clients_.clear();
    const std::vector<Service> services = group_->services();
    for (const std::string& node : group_->stop())
      report_.broken.push_back(node + " did not end when it was asked to");
    place_.progress.say(fmt::format("{:7.1f} s  auditing", now_s()));
    for (const char* node : pair_nodes) {
      if (one_store() && node != pair_nodes[0]) break;
      const auto verified = group_->command({"verify", group_->data(node)});
      if (!verified || !verified->end.ok())
        report_.broken.push_back(
            fmt::format("mainstay verify of {}: {}", node,
                        verified ? verified->end.text() + ": " + verified->output : verified.error().what));
    }
    compare();
    report_.audit = audit_pair(histories);
    for (const PairClientHistory& history : histories) {
      if (!history.failure.empty()) report_.broken.push_back(history.client + " gave up: " + history.failure);
      std::uint64_t unknown = 0;
      for (const PairPublish& published : history.published)
        if (published.outcome != PairPublish::Outcome::confirmed) ++unknown;
      if (unknown > 0 && report_.failure.empty())
        report_.broken.push_back(
            fmt::format("{} never learned what became of {} publishes", history.client, unknown));
    }
    for (std::string& what : leaders_at_once(services, group_->absences(), wake_up_us))
      report_.broken.push_back(std::move(what));
    for (std::string& what : confirmed_by_others(histories, services))
      report_.broken.push_back(std::move(what));
    measure(histories, services);
    keep_evidence(histories, services);
  }

  void measure(const std::vector<PairClientHistory>& histories, const std::vector<Service>& services) {
    double longest = 0;
    std::uint64_t operations = 0;
    std::string whose;
    for (const PairClientHistory& history : histories) {
      operations += history.operations.size();
      std::int64_t last = 0;
      for (const PairOperation& operation : history.operations) {
        if (operation.settlement) continue;
        const double gap = last == 0 ? 0 : static_cast<double>(operation.answered_us - last) / 1e6;
        if (gap > longest) {
          longest = gap;
          whose = history.client;
        }
        last = operation.answered_us;
      }
    }
    int leaderships = 0, fenced = 0;
    std::optional<double> took;
    std::int64_t woken_us = 0;
    for (const Service& service : services) {
      if (service.begins_leadership) ++leaderships;
      if (service.end_why == "fenced") ++fenced;
      if (service.begins_leadership && !took && begun_us_ > 0 && service.begin_us >= begun_us_ - 1000)
        took = static_cast<double>(service.begin_us - begun_us_) / 1e6;
      for (const Absence& absence : group_->absences())
        if (!absence.killed && absence.node == service.node && service.after_sleep &&
            service.begin_us < absence.until_us && service.end_why != "the drill's end")
          woken_us = std::max(woken_us, service.end_us - absence.until_us);
    }
    using Tone = ResultRow::Tone;
    auto& figures = report_.figures;
    const bool gap_well = course_.gap_max_s == 0 || longest <= course_.gap_max_s;
    figures.push_back({"longest publish gap", readable_seconds(longest),
                       course_.gap_max_s == 0 ? "without a confirm, of " + whose
                                              : fmt::format("of {}; at most {} are allowed", whose,
                                                            readable_seconds(course_.gap_max_s)),
                       course_.gap_max_s == 0 ? Tone::plain
                       : gap_well             ? Tone::good
                                              : Tone::bad});
    if (!gap_well && report_.failure.empty())
      report_.broken.push_back(fmt::format("no publish was confirmed for {}; {} are allowed",
                                           readable_seconds(longest), readable_seconds(course_.gap_max_s)));
    figures.push_back({"new leader", took ? "after " + readable_seconds(*took) : "none",
                       "from the fault to its own word", Tone::plain});
    const bool few = course_.leaderships_max == 0 || leaderships <= course_.leaderships_max;
    const bool enough = leaderships >= course_.leaderships_min;
    figures.push_back({"leaderships", std::to_string(leaderships),
                       fmt::format("fenced {} times in between", fenced),
                       few && enough ? Tone::good : Tone::bad});
    if (epochs_disturbed_) {
      const std::uint64_t most =
          unsettled_per_minute * (static_cast<std::uint64_t>(options_.fault_s) / 60 + 1);
      const bool settled = *epochs_disturbed_ <= most;
      figures.push_back(
          {"epochs meanwhile", std::to_string(*epochs_disturbed_),
           fmt::format("takeovers, and the backup dropped or taken in again; at most {} are allowed", most),
           settled ? Tone::good : Tone::bad});
      if (report_.failure.empty() && !settled)
        report_.broken.push_back(fmt::format("the group flapped: {} epochs in {} s, {} are allowed",
                                             *epochs_disturbed_, options_.fault_s, most));
    }
    if (report_.failure.empty() && !few)
      report_.broken.push_back(fmt::format("there were {} leaderships, {} at most were to be", leaderships,
                                           course_.leaderships_max));
    if (report_.failure.empty() && !enough)
      report_.broken.push_back(
          fmt::format("there were {} leaderships, {} at least were to be: the fault had no effect",
                      leaderships, course_.leaderships_min));
    if (woken_us > 0)
      figures.push_back({"the woken leader stopped",
                         "after " + readable_seconds(static_cast<double>(woken_us) / 1e6),
                         "it confirmed nothing meanwhile", Tone::plain});
    figures.push_back({"operations judged", grouped(operations),
                       "each confirmed by the node that led, under a growing epoch", Tone::plain});
    if (shared_)
      figures.push_back({"reconnects", grouped(shared_->reconnects),
                         grouped(shared_->resent) + " publishes were sent again", Tone::plain});
    if (power_lost_ > 0)
      figures.push_back(
          {"lost with the power", fmt::format("{} KiB", grouped(lost_.bytes_lost >> 10)),
           fmt::format("of {} KiB not synced, in {} losses", grouped(lost_.bytes >> 10), power_lost_),
           Tone::plain});
  }

  void keep_evidence(const std::vector<PairClientHistory>& histories,
                     const std::vector<Service>& services) const {
    std::string text = "node\tepoch\tbegin_us\tend_us\tleadership\tend\n";
    for (const Service& service : services)
      append_tsv_line(text, {service.node, std::to_string(service.epoch), std::to_string(service.begin_us),
                             std::to_string(service.end_us), service.begins_leadership ? "begins" : "goes on",
                             service.end_why});
    static_cast<void>(write_text_file(place_.directory + "/leaderships.tsv", text));
    text = "client\twhat\tid\tnode\tasked_us\tanswered_us\n";
    for (const PairClientHistory& history : histories)
      for (const PairOperation& operation : history.operations)
        append_tsv_line(
            text, {history.client, operation.settlement ? "settle" : "publish", operation.id, operation.node,
                   std::to_string(operation.asked_us), std::to_string(operation.answered_us)});
    static_cast<void>(write_text_file(place_.directory + "/operations.tsv", text));
  }

  // Pieces

  [[nodiscard]] bool one_store() const { return course_.store != PairGroupOptions::Store::own; }

  [[nodiscard]] std::vector<std::string> hosts(std::string_view role) const {
    if (role == "leader") return {lead_};
    if (role == "backup") return {backup_};
    if (role == "voters") return {pair_voters.begin(), pair_voters.end()};
    return {pair_clients.begin(), pair_clients.end()};
  }

  Result<void, Failure> disturb(const lab::LinkRules& rules, const std::string& text,
                                const std::vector<std::string>& between = {"leader", "backup", "voters",
                                                                           "clients"}) {
    std::vector<std::string> all;
    for (const std::string& role : between)
      for (const std::string& host : hosts(role)) all.push_back(host);
    begins(fmt::format(
        "{}: {}", between.size() == 4 ? "every link" : "between " + between[0] + " and " + between[1], text));
    const std::uint64_t epoch_before = group_->view(lead_).epoch;
    std::uint64_t before = 0, carried = 0, lost = 0;
    const auto each = [&](const std::function<void(const std::string&, const std::string&)>& act) {
      for (const std::string& from : all)
        for (const std::string& to : all)
          if (from != to) act(from, to);
    };
    lab::Network& network = group_->network();
    each([&](const auto& from, const auto& to) {
      before += network.counts(from, to).carried;
      network.set(from, to, rules);
    });
    if (auto held = hold(options_.fault_s); !held) return held;
    each([&](const auto& from, const auto& to) {
      carried += network.counts(from, to).carried;
      lost += network.counts(from, to).lost;
      network.set(from, to, {});
    });
    if (rules.loss > 0) {
      std::uint64_t epoch = epoch_before;
      for (const char* node : pair_nodes) epoch = std::max(epoch, group_->view(node).epoch);
      epochs_disturbed_ = epoch - epoch_before;
    }
    reached("packets carried meanwhile", carried - before);
    if (rules.loss > 0) reached("packets lost", lost);
    return {};
  }

  Result<void, Failure> lose_power_often(bool both) {
    for (int i = 0; i < power_losses; ++i) {
      const auto leader = group_->leader();
      if (!leader) return Failure{"nobody leads before a power loss"};
      const std::vector<std::string> who =
          both ? std::vector<std::string>{pair_nodes[0], pair_nodes[1]} : std::vector<std::string>{*leader};
      if (auto lost = group_->lose_power(who, random_, lost_); !lost) return lost;
      ++power_lost_;
      mark(MarkKind::process_kill, "power lost");
      step(fmt::format("POWER LOST: {}{}", who.front(), both ? " and " + who.back() : ""));
      sleep_ms(static_cast<std::int64_t>(random_.between(0, 2'500)));
      for (const std::string& node : who)
        if (auto back = group_->start(node); !back) return back;
      if (auto whole = wait_until_whole(); !whole) return whole;
      if (auto on = hold_ms(static_cast<std::int64_t>(random_.between(300, 1'000))); !on) return on;
    }
    if (lost_.bytes == 0) report_.broken.push_back("the fault had no effect: everything had been synced");
    return {};
  }

  Result<void, Failure> voters_back() {
    if (auto back = group_->voters().restart_all(); !back) return back;
    return group_->voters().wait_until_serving(seconds(30));
  }

  Result<void, Failure> kill(const std::string& node) {
    mark(MarkKind::process_kill, node);
    return group_->kill(node);
  }

  Result<void, Failure> wait_for_leader_but(const std::string& node) {
    return wait("a takeover", seconds(whole_timeout_s), [&] {
      const auto leader = group_->leader();
      return leader && *leader != node;
    });
  }

  Result<void, Failure> wait_until_whole() {
    return wait("both nodes get in sync", seconds(whole_timeout_s), [&] {
      const auto leader = group_->leader();
      if (!leader) return false;
      if (one_store()) return group_->view(PairGroup::other(*leader)).leader == *leader;
      return group_->view(*leader).in_sync.size() == pair_nodes.size();
    });
  }

  void begins(std::string text) {
    place_.progress.say(fmt::format("{:7.1f} s  {}", now_s(), text));
    mark(MarkKind::other, std::string(scenario_.name));
    step(std::move(text));
    begun_us_ = group_->now_us();
  }
  Result<void, Failure> hold(std::int64_t for_s) { return hold_ms(for_s * 1000); }
  Result<void, Failure> hold_ms(std::int64_t for_ms) {
    const Instant until = clock_.now() + milliseconds(for_ms);
    return wait(std::string(scenario_.name), milliseconds(for_ms + 1000),
                [&] { return clock_.now() >= until; });
  }

  Result<void, Failure> wait(const std::string& phase, Duration most,
                             const std::function<bool()>& condition) {
    const Instant until = clock_.now() + most;
    while (!condition()) {
      if (const auto ended = group_->ended_by_itself()) return Failure{*ended};
      if (shared_ && clock_.now() >= next_sample_) {
        next_sample_ = clock_.now() + milliseconds(100);
        report_.samples.push_back({now_s(), shared_->sent, shared_->settled, {}, {}});
      }
      if (clock_.now() >= until) {
        std::string told;
        for (const char* node : pair_nodes) {
          const PairNodeView view = group_->view(node);
          told += fmt::format(
              "\n{}: {}", node,
              view.answered
                  ? fmt::format("{}{}, leader '{}', epoch {}, {} in sync, durable {}{}{}", view.role,
                                view.ready ? " (serves)" : "", view.leader, view.epoch, view.in_sync.size(),
                                view.durable_lsn, view.problem.empty() ? "" : "; " + view.problem,
                                view.fenced.empty() ? "" : "; fenced: " + view.fenced)
                  : "does not answer");
        }
        return Failure{fmt::format("not within {} s: {}{}", most.milliseconds() / 1000, phase, told)};
      }
      if (shared_)
        place_.progress.show(fmt::format("{:7.1f} s  confirmed {:>7}   settled {:>7}   {}", now_s(),
                                         grouped(shared_->confirmed), grouped(shared_->settled), phase));
      sleep_ms(5);
    }
    return {};
  }

  static void sleep_ms(std::int64_t ms) { ::poll(nullptr, 0, static_cast<int>(ms)); }
  [[nodiscard]] double now_s() const { return (clock_.now() - start_).seconds(); }
  void mark(MarkKind kind, std::string text) { report_.marks.push_back({now_s(), kind, std::move(text)}); }
  void step(std::string text) { report_.steps.push_back({now_s(), std::move(text)}); }
  /// A fault that met nothing proves nothing.
  void reached(const std::string& what, std::uint64_t count) {
    report_.figures.push_back({what, grouped(count), "by the fault", {}});
    if (count == 0) report_.broken.push_back("the fault had no effect: no " + what);
  }

  const PartitionOptions& options_;
  const PartitionScenario& scenario_;
  const Course& course_;
  const DrillPlace& place_;
  Clock& clock_;
  SeededRandom random_;
  DrillReport report_;
  Instant start_{}, next_sample_{};
  std::int64_t begun_us_ = 0;
  std::string lead_, backup_;
  lab::TakenBack lost_;
  int power_lost_ = 0;
  std::optional<std::uint64_t> epochs_disturbed_;  ///< how many began on a bad link
  std::unique_ptr<PairGroup> group_;
  std::unique_ptr<PairShared> shared_;
  std::vector<std::unique_ptr<PairClient>> clients_;
};

struct Entry {
  PartitionScenario scenario;
  Course course;
};

const std::vector<Entry>& entries() {
  using D = PairDrill;
  // A takeover takes one to three seconds, and clients notice a silent node after two.
  constexpr double takeover_s = 6, unnoticed_s = 1.5;
  constexpr auto locked = PairGroupOptions::Store::lock_required;
  constexpr auto preferred = PairGroupOptions::Store::lock_preferred;
  const Cuts isolated{{"leader", "backup"}, {"backup", "leader"},  {"leader", "voters"},
                      {"voters", "leader"}, {"leader", "clients"}, {"clients", "leader"}};
  static const std::vector<Entry> all{
      {{"pair-leader-killed", "the leader was killed with kill -9 and came back"},
       {.fault = &D::leader_killed, .leaderships_max = 2, .leaderships_min = 2, .gap_max_s = takeover_s}},
      {{"pair-backup-killed", "the backup was killed with kill -9 and came back"},
       {.fault = &D::backup_killed, .leaderships_max = 1, .gap_max_s = 3}},
      {{"pair-backup-killed-two-copies", "the backup was killed where each confirm needs two copies"},
       {.fault = &D::backup_killed_two_copies, .leaderships_max = 1, .copies_min = 2}},
      {{"pair-zone-outage", "the leader and the voter in its zone were killed and came back"},
       {.fault = &D::zone_outage, .leaderships_max = 2, .leaderships_min = 2, .gap_max_s = takeover_s}},
      {{"pair-voters-in-turn", "each voter was killed in turn and came back"},
       {.fault = &D::voters_in_turn, .leaderships_max = 1, .gap_max_s = unnoticed_s}},
      {{"pair-two-voters-killed", "two of three voters were killed and came back"},
       {.fault = &D::two_voters_killed, .leaderships_max = 1, .gap_max_s = unnoticed_s}},
      {{"pair-all-voters-killed", "all voters were killed and came back"},
       {.fault = &D::all_voters_killed, .leaderships_max = 1, .gap_max_s = unnoticed_s}},
      {{"pair-leader-killed-without-voters", "all voters were killed, then the leader; then they came back"},
       {.fault = &D::leader_killed_without_voters, .leaderships_max = 2, .leaderships_min = 2}},
      {{"pair-cut-leader-to-backup", "nothing from the leader reached the backup"},
       {.fault = &D::cut, .leaderships_max = 1, .gap_max_s = 3, .cuts = {{"leader", "backup"}}}},
      {{"pair-cut-backup-to-leader", "nothing from the backup reached the leader"},
       {.fault = &D::cut, .leaderships_max = 1, .gap_max_s = 3, .cuts = {{"backup", "leader"}}}},
      {{"pair-cut-leader-and-backup", "leader and backup could not reach each other"},
       {.fault = &D::cut,
        .leaderships_max = 1,
        .gap_max_s = 3,
        .cuts = {{"leader", "backup"}, {"backup", "leader"}}}},
      {{"pair-cut-leader-to-voters", "nothing from the leader reached the voters"},
       {.fault = &D::cut, .leaderships_max = 1, .gap_max_s = unnoticed_s, .cuts = {{"leader", "voters"}}}},
      {{"pair-cut-voters-to-leader", "nothing from the voters reached the leader"},
       {.fault = &D::cut, .leaderships_max = 1, .gap_max_s = unnoticed_s, .cuts = {{"voters", "leader"}}}},
      {{"pair-cut-backup-to-voters", "nothing from the backup reached the voters"},
       {.fault = &D::cut,
        .leaderships_max = 1,
        .gap_max_s = unnoticed_s,
        .cuts = {{"backup", "voters"}},
        .cuts_may_meet_nothing = true}},
      {{"pair-cut-voters-to-backup", "nothing from the voters reached the backup"},
       {.fault = &D::cut,
        .leaderships_max = 1,
        .gap_max_s = unnoticed_s,
        .cuts = {{"voters", "backup"}},
        .cuts_may_meet_nothing = true}},
      {{"pair-cut-leader-to-clients", "nothing from the leader reached the clients: confirms were lost"},
       {.fault = &D::cut, .leaderships_max = 1, .cuts = {{"leader", "clients"}}}},
      {{"pair-cut-clients-to-leader", "nothing from the clients reached the leader"},
       {.fault = &D::cut, .leaderships_max = 1, .cuts = {{"clients", "leader"}}}},
      {{"pair-cut-backup-to-clients", "nothing from the backup reached the clients"},
       {.fault = &D::cut,
        .leaderships_max = 1,
        .gap_max_s = unnoticed_s,
        .cuts = {{"backup", "clients"}},
        .cuts_may_meet_nothing = true}},
      {{"pair-cut-clients-to-backup", "nothing from the clients reached the backup"},
       {.fault = &D::cut,
        .leaderships_max = 1,
        .gap_max_s = unnoticed_s,
        .cuts = {{"clients", "backup"}},
        .cuts_may_meet_nothing = true}},
      {{"pair-leader-isolated", "nobody could reach the leader, and it nobody"},
       {.fault = &D::cut,
        .leaderships_max = 2,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .cuts = isolated}},
      {{"pair-leader-isolated-with-clients", "the leader could reach the clients, and nobody else"},
       {.fault = &D::cut,
        .leaderships_max = 2,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .cuts = {{"leader", "backup"}, {"backup", "leader"}, {"leader", "voters"}, {"voters", "leader"}}}},
      {{"pair-leader-mute", "the leader heard backup and voters, and nothing from it reached them"},
       {.fault = &D::cut,
        .leaderships_max = 2,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .cuts = {{"leader", "backup"}, {"leader", "voters"}}}},
      {{"pair-leader-deaf", "nothing from backup and voters reached the leader, and they heard it"},
       {.fault = &D::cut, .cuts = {{"backup", "leader"}, {"voters", "leader"}}}},
      {{"pair-backup-isolated", "nobody could reach the backup, and it nobody"},
       {.fault = &D::cut,
        .leaderships_max = 1,
        .gap_max_s = 3,
        .cuts = {{"backup", "leader"}, {"leader", "backup"}, {"backup", "voters"}, {"voters", "backup"}}}},
      {{"pair-delay-5ms", "every packet took 5 ms"},
       {.fault = &D::delay_5ms, .leaderships_max = 1, .gap_max_s = unnoticed_s}},
      {{"pair-delay-100ms", "every packet took 100 ms"}, {.fault = &D::delay_100ms, .leaderships_max = 1}},
      {{"pair-loss-and-jitter", "30 % of all packets were lost, the others took up to 200 ms"},
       {.fault = &D::loss_and_jitter}},
      {{"pair-loss-between-nodes",
        "30 % of all packets between the nodes were lost, the others took up to 200 ms"},
       {.fault = &D::loss_between_nodes, .leaderships_max = 2}},
      {{"pair-zombie", "the leader was stopped (SIGSTOP) for longer than its lease, and woke up"},
       {.fault = &D::zombie, .leaderships_max = 2, .leaderships_min = 2, .gap_max_s = takeover_s}},
      {{"pair-short-sleeps", "whoever led was stopped (SIGSTOP) for about its lease, again and again"},
       {.fault = &D::short_sleeps}},
      {{"pair-disk-stall", "no sync of the leader returned"},
       {.fault = &D::disk_stall,
        .leaderships_max = 2,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .faulty_disks = true}},
      {{"pair-disk-full", "the leader's disk was full"}, {.fault = &D::disk_full, .faulty_disks = true}},
      {{"pair-power-loss", "the leader lost its power, and what it had not synced, again and again"},
       {.fault = &D::power_loss, .leaderships_min = 2, .faulty_disks = true}},
      {{"pair-power-loss-both",
        "both nodes lost their power at once, and what they had not synced, again and again"},
       {.fault = &D::power_loss_both, .leaderships_min = 2, .faulty_disks = true}},
      {{"pair-register-restored", "the voters were put back to an old snapshot, which a repair mended"},
       {.fault = &D::register_restored, .leaderships_min = 3}},

      {{"store-leader-killed", "the leader was killed with kill -9 and came back"},
       {.fault = &D::leader_killed,
        .leaderships_max = 2,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .store = locked}},
      {{"store-standby-killed", "the standby was killed with kill -9 and came back"},
       {.fault = &D::backup_killed, .leaderships_max = 1, .gap_max_s = unnoticed_s, .store = locked}},
      {{"store-zone-outage", "the leader and the voter in its zone were killed and came back"},
       {.fault = &D::zone_outage,
        .leaderships_max = 2,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .store = locked}},
      {{"store-all-voters-killed", "all voters were killed and came back"},
       {.fault = &D::all_voters_killed, .leaderships_max = 1, .gap_max_s = unnoticed_s, .store = locked}},
      {{"store-leader-killed-without-voters", "all voters were killed, then the leader; then they came back"},
       {.fault = &D::leader_killed_without_voters,
        .leaderships_max = 2,
        .leaderships_min = 2,
        .store = locked}},
      {{"store-leader-isolated", "nobody could reach the leader but its storage, and it nobody"},
       {.fault = &D::cut,
        .leaderships_max = 2,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .store = preferred,
        .cuts = isolated}},
      {{"store-leader-isolated-locked", "the same where nobody leads without the lock"},
       {.fault = &D::cut, .leaderships_max = 1, .store = locked, .cuts = isolated}},
      {{"store-leader-isolated-with-clients",
        "the leader could reach the clients and its storage, and nobody else"},
       {.fault = &D::cut,
        .leaderships_max = 3,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .store = preferred,
        .cuts = {{"leader", "backup"}, {"backup", "leader"}, {"leader", "voters"}, {"voters", "leader"}}}},
      {{"store-nodes-cut", "leader and standby could not reach each other; nobody leads without the lock"},
       {.fault = &D::cut,
        .leaderships_max = 1,
        .gap_max_s = unnoticed_s,
        .store = locked,
        .cuts = {{"leader", "backup"}, {"backup", "leader"}}}},
      {{"store-nodes-cut-preferred", "the same where whoever hears nothing leads without the lock"},
       {.fault = &D::cut,
        .leaderships_max = 4,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .store = preferred,
        .cuts = {{"leader", "backup"}, {"backup", "leader"}}}},
      {{"store-loss-and-jitter", "30 % of all packets were lost, the others took up to 200 ms"},
       {.fault = &D::loss_and_jitter, .leaderships_max = 1, .store = locked}},
      {{"store-zombie", "the leader was stopped (SIGSTOP) for longer than its lease, and woke up"},
       {.fault = &D::zombie,
        .leaderships_max = 2,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .store = preferred}},
      {{"store-sleeper", "the same where nobody leads without the lock, which it keeps in its sleep"},
       {.fault = &D::zombie, .leaderships_max = 1, .store = locked}},
      {{"store-short-sleeps", "whoever led was stopped (SIGSTOP) for about its lease, again and again"},
       {.fault = &D::short_sleeps, .store = preferred}},
      {{"store-disk-stall", "no sync of the leader returned"},
       {.fault = &D::disk_stall,
        .leaderships_max = 2,
        .leaderships_min = 2,
        .gap_max_s = takeover_s,
        .store = preferred,
        .faulty_disks = true}},
      {{"store-disk-stall-locked", "the same where the lock is let go of when the disk has answered"},
       {.fault = &D::disk_stall,
        .leaderships_max = 3,
        .leaderships_min = 2,
        .store = locked,
        .faulty_disks = true}},
      {{"store-power-loss", "the leader lost its power, and what it had not synced, again and again"},
       {.fault = &D::power_loss, .leaderships_min = 2, .store = locked, .faulty_disks = true}},
      {{"store-power-loss-both",
        "both nodes lost their power at once, and what they had not synced, again and again"},
       {.fault = &D::power_loss_both, .leaderships_min = 2, .store = locked, .faulty_disks = true}},
      {{"store-register-restored", "the voters were put back to an old snapshot, which a repair mended"},
       {.fault = &D::register_restored, .leaderships_min = 3, .store = locked}}};
  return all;
}

const Course& course_of(std::string_view scenario) {
  return std::ranges::find_if(entries(), [&](const Entry& entry) { return entry.scenario.name == scenario; })
      ->course;
}

}  // namespace

const std::vector<PartitionScenario>& pair_scenarios() {
  static const std::vector<PartitionScenario> all = [] {
    std::vector<PartitionScenario> scenarios;
    for (const Entry& entry : entries()) scenarios.push_back(entry.scenario);
    return scenarios;
  }();
  return all;
}

int run_pair(const PartitionOptions& options, const PartitionScenario& scenario) {
  const auto figure = [](std::string name) {
    return [name = std::move(name)](const DrillReport& report) {
      const auto row = std::ranges::find(report.figures, name, &ResultRow::name);
      return row == report.figures.end() ? std::string("?") : row->value;
    };
  };
  return run_series("partition-" + std::string(scenario.name), options,
                    {{"longest gap", figure("longest publish gap")},
                     {"new leader", figure("new leader")},
                     {"leaderships", figure("leaderships")}},
                    [&](const DrillPlace& place) { return PairDrill(options, scenario, place).run(); });
}

}  // namespace mainstay::drills
