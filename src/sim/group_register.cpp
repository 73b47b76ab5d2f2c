#include "sim/group_register.h"

#include <utility>

namespace mainstay::sim {
namespace {

constexpr Duration kGivesUp = milliseconds(1'000);

}  // namespace

Duration GroupRegister::latency() {
  if (world_.queue.now() < slow_until_) return world_.between(milliseconds(20), milliseconds(700));
  return world_.between(microseconds(300), milliseconds(4));
}

void GroupRegister::away(Duration time) {
  away_until_ = std::max(away_until_, world_.queue.now() + time);
}

void GroupRegister::heal() {
  away_until_ = slow_until_ = Duration{};
  next_unknown_ = false;
}

void GroupRegister::read(Answer answer) {
  const Duration there = latency(), back = latency();
  world_.queue.after(there, [this, answer = std::move(answer), back] {
    if (is_away()) {
      world_.queue.after(kGivesUp, [answer] { answer(group::RegisterOutcome::unavailable, {}); });
      return;
    }
    world_.queue.after(back, [answer, state = state_] { answer(group::RegisterOutcome::done, state); });
  });
}

bool GroupRegister::store(const coordination::GroupState& expected, const coordination::GroupRecord& next) {
  if (state_.revision != expected.revision || state_.epoch() != expected.epoch()) return false;
  if (!world_.bug.any()) {
    // What the real register refuses (coordination/group_register.h) must not be asked for.
    std::string wrong = coordination::invalid(next);
    if (wrong.empty() && state_.record) wrong = coordination::forbidden(*state_.record, next);
    if (!wrong.empty())
      world_.report.violated("the register was asked for a change it would refuse: " + wrong);
  }
  if (state_.record) history_.push_back(state_);
  ++state_.revision;
  state_.record = next;
  std::string set;
  for (const auto& member : next.isr) set += " " + member.node;
  world_.trace("register: epoch " + std::to_string(next.epoch.value) + ", leader " + next.leader.node +
               ", in sync" + set + " (" + next.reason + ")");
  if (next.reason.starts_with("promoted by")) world_.reached("an operator promoted a backup");
  if (next.reason.starts_with("planned move")) world_.reached("planned move done");
  world_.checker.registered(next);
  return true;
}

bool GroupRegister::put_back(std::uint64_t back,
                             const std::function<bool(const coordination::GroupRecord&)>& notices) {
  if (under_way_ != 0 || history_.size() < back) return false;
  const coordination::GroupState older = history_[history_.size() - back];
  if (!notices(*older.record)) return false;
  world_.trace("register: put back to epoch " + std::to_string(older.epoch().value));
  state_ = older;
  return true;
}

bool GroupRegister::repair(std::uint64_t revision, coordination::GroupRecord next) {
  // As coordination::GroupRegister::repair() refuses it.
  const bool fits = state_.revision == revision && next.epoch > state_.epoch();
  if (!fits && !resurrected(StandInBug::operator_retry_applied)) return false;
  world_.trace("register: repaired, epoch " + std::to_string(next.epoch.value));
  ++state_.revision;
  world_.checker.registered(next);
  state_.record = std::move(next);
  return true;
}

coordination::Stored GroupRegister::stored() const {
  if (!state_.record) return {};
  return {state_.revision, coordination::encode_group_record(*state_.record)};
}

void GroupRegister::change(const coordination::GroupState& expected, coordination::GroupRecord next,
                           Answer answer) {
  const Duration there = latency(), back = latency();
  if (is_away() && world_.random.chance(1, 2)) {
    // Certain, because it was never sent.
    world_.queue.after(there, [answer] { answer(group::RegisterOutcome::unavailable, {}); });
    return;
  }
  if (std::exchange(next_unknown_, false) || is_away()) {
    world_.fault("register answer unknown");
    world_.queue.after(kGivesUp, [answer] { answer(group::RegisterOutcome::unknown, {}); });
    switch (world_.random.below(3)) {
      case 0:  // it never happens
        return;
      case 1:
        ++under_way_;
        world_.queue.after(there, [this, expected, next] {
          --under_way_;
          (void)store(expected, next);
        });
        return;
      default:  // when the sender has long done something else
        ++under_way_;
        world_.queue.after(world_.between(milliseconds(900), milliseconds(6'000)), [this, expected, next] {
          --under_way_;
          if (store(expected, next)) world_.reached("change of the register landed late");
        });
        return;
    }
  }
  ++under_way_;
  world_.queue.after(there, [this, expected, next = std::move(next), answer, back] {
    --under_way_;
    const bool won = store(expected, next);
    world_.queue.after(back, [answer, won, state = state_] {
      answer(won ? group::RegisterOutcome::done : group::RegisterOutcome::lost, state);
    });
  });
}

}  // namespace mainstay::sim
