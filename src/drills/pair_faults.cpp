// What the scenarios break, and how it is mended.
#include <fmt/format.h>

#include <algorithm>

#include "drills/figures.h"
#include "drills/pair_drill_impl.h"

namespace mainstay::drills {
namespace {

constexpr int power_losses = 3;

}  // namespace

Result<void, Failure> PairDrill::leader_killed() {
  begins("kill -9 of the leader, " + lead_);
  if (auto killed = kill(lead_); !killed) return killed;
  if (auto held = hold(options_.fault_s); !held) return held;
  return group_->start(lead_);
}

Result<void, Failure> PairDrill::backup_killed() {
  begins("kill -9 of the backup, " + backup_);
  if (auto killed = kill(backup_); !killed) return killed;
  if (auto held = hold(options_.fault_s); !held) return held;
  return group_->start(backup_);
}

Result<void, Failure> PairDrill::backup_killed_two_copies() {
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

Result<void, Failure> PairDrill::zone_outage() {
  const std::string voter = std::string("voter-") + lead_.back();
  begins(fmt::format("the zone of the leader is lost: {} and {}", lead_, voter));
  group_->voters().kill(voter);
  if (auto killed = kill(lead_); !killed) return killed;
  if (auto held = hold(options_.fault_s); !held) return held;
  if (auto back = group_->voters().restart(voter); !back) return back;
  return group_->start(lead_);
}

Result<void, Failure> PairDrill::voters_in_turn() {
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

Result<void, Failure> PairDrill::two_voters_killed() {
  begins("kill -9 of two voters: the register decides nothing more");
  group_->voters().kill(pair_voters[0]);
  group_->voters().kill(pair_voters[2]);
  if (auto held = hold(options_.fault_s); !held) return held;
  return voters_back();
}

Result<void, Failure> PairDrill::all_voters_killed() {
  begins("kill -9 of all voters");
  group_->voters().kill_all();
  if (auto held = hold(options_.fault_s); !held) return held;
  return voters_back();
}

Result<void, Failure> PairDrill::leader_killed_without_voters() {
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

Result<void, Failure> PairDrill::cut() {
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

Result<void, Failure> PairDrill::loss_and_jitter() {
  return disturb({.loss = 0.3, .jitter = milliseconds(200)}, "30 % of packets lost, up to 200 ms jitter");
}

Result<void, Failure> PairDrill::loss_between_nodes() {
  return disturb({.loss = 0.3, .jitter = milliseconds(200)}, "30 % of packets lost, up to 200 ms jitter",
                 {"leader", "backup"});
}

Result<void, Failure> PairDrill::delay_5ms() {
  return disturb({.delay = milliseconds(5)}, "5 ms delay");
}

Result<void, Failure> PairDrill::delay_100ms() {
  return disturb({.delay = milliseconds(100)}, "100 ms delay");
}

Result<void, Failure> PairDrill::zombie() {
  begins(fmt::format("SIGSTOP to the leader, {}, for longer than its lease", lead_));
  mark(MarkKind::other, lead_ + " stopped");
  group_->pause(lead_);
  if (auto held = hold(std::max<std::int64_t>(options_.fault_s, 3)); !held) return held;
  group_->resume(lead_);
  step(lead_ + " wakes up");
  return {};
}

Result<void, Failure> PairDrill::short_sleeps() {
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

Result<void, Failure> PairDrill::disk_stall() {
  return stall_disk("leader", lead_);
}

Result<void, Failure> PairDrill::backup_disk_stall() {
  return stall_disk("backup", backup_);
}

std::uint64_t PairDrill::epochs_since(std::uint64_t before) {
  std::uint64_t epoch = before;
  for (const char* node : pair_nodes) epoch = std::max(epoch, group_->view(node).epoch);
  return epoch - before;
}

/// As where both nodes stand on one disk: longer than a backup may be silent, shorter than a lease.
Result<void, Failure> PairDrill::both_disks_stall() {
  begins("both disks stall at once, for 0.65 s, again and again");
  const std::uint64_t epoch_before = group_->view(lead_).epoch;
  const Instant until = clock_.now() + seconds(options_.fault_s);
  std::uint64_t stalled = 0;
  while (clock_.now() < until) {
    for (const char* node : pair_nodes) group_->disk(node).stall_syncs(true);
    sleep_ms(650);
    for (const std::string& node : {lead_, backup_}) {
      stalled += group_->disk(node).counts().stalled;
      group_->disk(node).repair();
    }
    if (auto on = hold_ms(static_cast<std::int64_t>(random_.between(200, 1'500))); !on) return on;
  }
  reached("threads that waited", stalled);
  epochs_disturbed_ = epochs_since(epoch_before);
  return {};
}

Result<void, Failure> PairDrill::stall_disk(const std::string& whose, const std::string& node) {
  begins("the " + whose + "'s disk stalls: no sync of " + node + " returns");
  group_->disk(node).stall_syncs(true);
  if (auto held = hold(std::max<std::int64_t>(options_.fault_s, 5)); !held) return held;
  reached("threads that waited", group_->disk(node).counts().stalled);
  group_->disk(node).repair();
  return {};
}

Result<void, Failure> PairDrill::disk_full() {
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

Result<void, Failure> PairDrill::power_loss() {
  begins("the leader loses its power, and what it had not synced, again and again");
  return lose_power_often(false);
}

Result<void, Failure> PairDrill::power_loss_both() {
  begins("both nodes lose their power at once, and what they had not synced, again and again");
  return lose_power_often(true);
}

Result<void, Failure> PairDrill::register_restored() {
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
    return std::ranges::all_of(
        pair_nodes, [&](const char* node) { return group_->log(node).find("ALARM: ") != std::string::npos; });
  };
  static_cast<void>(wait("alarm", seconds(10), alarmed));
  for (const char* node : pair_nodes)
    if (group_->log(node).find("ALARM: ") == std::string::npos)
      report_.broken.push_back(std::string(node) + " raised no alarm over the old register");
  if (auto held = hold(options_.fault_s); !held) return held;
  if (shared_->confirmed == before) report_.broken.push_back("nothing was confirmed beside an old register");
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

Result<void, Failure> PairDrill::disturb(const lab::LinkRules& rules, const std::string& text,
                                         const std::vector<std::string>& between) {
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
  if (rules.loss > 0) epochs_disturbed_ = epochs_since(epoch_before);
  reached("packets carried meanwhile", carried - before);
  if (rules.loss > 0) reached("packets lost", lost);
  return {};
}

Result<void, Failure> PairDrill::lose_power_often(bool both) {
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

}  // namespace mainstay::drills
