#include "drills/pair_drill.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>

#include "drills/figures.h"
#include "drills/pair_drill_impl.h"

namespace mainstay::drills {
namespace {

constexpr std::int64_t whole_timeout_s = 60, flow_timeout_s = 30, drain_timeout_s = 90;

}  // namespace

PairDrill::PairDrill(const PartitionOptions& options, const PartitionScenario& scenario,
                     const DrillPlace& place)
    : options_(options),
      scenario_(scenario),
      course_(pair_course(scenario.name)),
      place_(place),
      clock_(place.clock),
      random_(place.seed ^ 0x70616972ULL) {}

PairDrill::~PairDrill() {
  if (shared_) shared_->give_up = true;
  clients_.clear();  // before the network that they are in
}

DrillReport PairDrill::run() {
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

Result<void, Failure> PairDrill::drill() {
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
  if (auto flowing =
          wait("the flow goes on", seconds(flow_timeout_s), [&] { return shared_->confirmed > before + 50; });
      !flowing)
    return flowing;
  if (auto held = hold(1); !held) return held;
  return drain();
}

void PairDrill::start_clients() {
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

Result<void, Failure> PairDrill::drain() {
  shared_->stop = true;
  const auto ended = [&](PairClient::Kind kind) {
    return std::ranges::all_of(clients_,
                               [&](const auto& client) { return client->kind() != kind || client->ended(); });
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

std::vector<std::string> PairDrill::hosts(std::string_view role) const {
  if (role == "leader") return {lead_};
  if (role == "backup") return {backup_};
  if (role == "voters") return {pair_voters.begin(), pair_voters.end()};
  return {pair_clients.begin(), pair_clients.end()};
}

Result<void, Failure> PairDrill::voters_back() {
  if (auto back = group_->voters().restart_all(); !back) return back;
  return group_->voters().wait_until_serving(seconds(30));
}

Result<void, Failure> PairDrill::kill(const std::string& node) {
  mark(MarkKind::process_kill, node);
  return group_->kill(node);
}

Result<void, Failure> PairDrill::wait_for_leader_but(const std::string& node) {
  return wait("a takeover", seconds(whole_timeout_s), [&] {
    const auto leader = group_->leader();
    return leader && *leader != node;
  });
}

Result<void, Failure> PairDrill::wait_until_whole() {
  return wait("both nodes get in sync", seconds(whole_timeout_s), [&] {
    const auto leader = group_->leader();
    if (!leader) return false;
    if (one_store()) return group_->view(PairGroup::other(*leader)).leader == *leader;
    return group_->view(*leader).in_sync.size() == pair_nodes.size();
  });
}

void PairDrill::begins(std::string text) {
  place_.progress.say(fmt::format("{:7.1f} s  {}", now_s(), text));
  mark(MarkKind::other, std::string(scenario_.name));
  step(std::move(text));
  begun_us_ = group_->now_us();
}

Result<void, Failure> PairDrill::hold_ms(std::int64_t for_ms) {
  const Instant until = clock_.now() + milliseconds(for_ms);
  return wait(std::string(scenario_.name), milliseconds(for_ms + 1000),
              [&] { return clock_.now() >= until; });
}

Result<void, Failure> PairDrill::wait(const std::string& phase, Duration most,
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
        told +=
            fmt::format("\n{}: {}", node,
                        view.answered ? fmt::format("{}{}, leader '{}', epoch {}, {} in sync, durable {}{}{}",
                                                    view.role, view.ready ? " (serves)" : "", view.leader,
                                                    view.epoch, view.in_sync.size(), view.durable_lsn,
                                                    view.problem.empty() ? "" : "; " + view.problem,
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

void PairDrill::sleep_ms(std::int64_t ms) {
  ::poll(nullptr, 0, static_cast<int>(ms));
}

void PairDrill::reached(const std::string& what, std::uint64_t count) {
  report_.figures.push_back({what, grouped(count), "by the fault", {}});
  if (count == 0) report_.broken.push_back("the fault had no effect: no " + what);
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
