// The group's register in virtual time, with everything a quorum store may do to its callers: slow, away,
// an answer lost after the change was stored, before it was, or with the change still to land.
#pragma once

#include <functional>

#include "coordination/store.h"
#include "group/member.h"
#include "sim/group_world.h"

namespace mainstay::sim {

class GroupRegister {
 public:
  explicit GroupRegister(GroupWorld& world) : world_(world) {}
  using Answer = std::function<void(group::RegisterOutcome, const coordination::GroupState&)>;

  /// Each is linearizable at some instant between the call and the answer.
  void read(Answer answer);
  void change(const coordination::GroupState& expected, coordination::GroupRecord next, Answer answer);

  void away(Duration time);
  [[nodiscard]] Duration away_until() const { return away_until_; }
  void slow(Duration time) { slow_until_ = world_.queue.now() + time; }
  void next_outcome_unknown() { next_unknown_ = true; }
  /// An older state takes the place of what is there, revision and all, as when a backup is restored: the one
  /// `back` changes ago, if there is one that `notices` says the nodes will notice.
  bool put_back(std::uint64_t back, const std::function<bool(const coordination::GroupRecord&)>& notices);
  /// The operator's `repair-register`, made for what was there at `revision`. @return it was still there
  bool repair(std::uint64_t revision, coordination::GroupRecord next);
  [[nodiscard]] coordination::Stored stored() const;
  void heal();
  /// Nothing: no node has begun the group yet.
  [[nodiscard]] const std::optional<coordination::GroupRecord>& record() const { return state_.record; }
  /// This disk is in the in-sync set.
  [[nodiscard]] bool names(const std::string& node, const Uuid& incarnation) const {
    return state_.record && state_.record->isr.contains({node, incarnation});
  }
  /// Changes that may still be stored.
  [[nodiscard]] std::uint64_t under_way() const { return under_way_; }

 private:
  [[nodiscard]] Duration latency();
  [[nodiscard]] bool is_away() const { return world_.queue.now() < away_until_; }
  bool store(const coordination::GroupState& expected, const coordination::GroupRecord& next);

  GroupWorld& world_;
  coordination::GroupState state_;
  std::vector<coordination::GroupState> history_;
  Duration away_until_{}, slow_until_{};
  bool next_unknown_ = false;
  std::uint64_t under_way_ = 0;
};

}  // namespace mainstay::sim
