#include "coordination/group_register.h"

#include <utility>

#include "base/assert.h"

namespace mainstay::coordination {
namespace {

std::string number(Epoch epoch) {
  return std::to_string(epoch.value);
}

GroupError refused(const std::string& group, const std::string& why) {
  return {GroupProblem::refused, "the record of group " + group + " must not be changed so: " + why};
}

/// Why `next` must not take the place of `there`.
std::string problem_of_change(const GroupState& there, const GroupRecord& next) {
  // The first record may begin above 1: its log may have had leaderships before it had a register.
  if (there.record && next.epoch != there.epoch().next()) {
    return "its epoch is " + number(next.epoch) + ", and the one after " + number(there.epoch()) + " is due";
  }
  return there.record ? forbidden(*there.record, next) : std::string();
}

}  // namespace

void throw_exception_from_error(const GroupError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

Result<GroupState, GroupError> view_of(const Stored& stored, const std::string& group, const Seen& seen) {
  GroupState state{stored.revision, std::nullopt};
  if (stored.revision != 0) {
    auto record = decode_group_record(stored.value);
    if (!record) {
      return GroupError{GroupProblem::unreadable,
                        "the register holds something that is no record of group " + group + ": " +
                            record.error().why +
                            ". Nothing is decided from it; put the record back, or run `mainstay group "
                            "repair-register`"};
    }
    if (!seen.cluster.is_nil() && record->cluster != seen.cluster) {
      return GroupError{
          GroupProblem::other_cluster,
          "the register's record of group " + group + " is about cluster " + record->cluster.text() +
              ", the disk of this node belongs to cluster " + seen.cluster.text() +
              ": check the register's place and the group's name in the configuration, and that "
              "the right disk is mounted"};
    }
    state.record = std::move(*record);
  }
  if (state.epoch() < seen.epoch) {
    return GroupError{GroupProblem::register_behind,
                      (state.record ? "the register holds epoch " + number(state.epoch())
                                    : std::string("the register has no record")) +
                          " of group " + group + ", and this node has seen epoch " + number(seen.epoch) +
                          ": the register was restored from an older copy, replaced or removed. Nothing is "
                          "decided from it; "
                          "find out which, then put it back or run `mainstay group repair-register`"};
  }
  return state;
}

Result<GroupState, GroupError> GroupRegister::read(const Seen& seen) {
  const auto stored = read_raw();
  if (!stored) return stored.error();
  return view_of(*stored, group_, seen);
}

Result<Stored, GroupError> GroupRegister::read_raw() {
  auto stored = store_->read();
  if (!stored) return GroupError{GroupProblem::unavailable, stored.error().what};
  return std::move(*stored);
}

Result<GroupSwap, GroupError> GroupRegister::compare_and_swap(const GroupState& expected,
                                                              const GroupRecord& next, const Seen& seen) {
  if (const std::string wrong = invalid(next); !wrong.empty()) return refused(group_, wrong);
  if (!seen.cluster.is_nil() && next.cluster != seen.cluster)
    return refused(group_, "it is about another cluster than the disk of this node");
  std::optional<GroupError> why;
  std::optional<GroupState> lost_to;
  const Store::Rule rule = [&](const Stored& stored) -> std::optional<RegisterError> {
    auto there = view_of(stored, group_, seen);
    if (!there) {
      why = there.error();
    } else if (there->epoch() != expected.epoch()) {
      // Revisions are the store's own, and one that was restored or made anew may count the same again.
      lost_to = std::move(*there);
      return RegisterError{"another epoch"};
    } else if (const std::string wrong = problem_of_change(*there, next); !wrong.empty()) {
      why = refused(group_, wrong);
    }
    if (!why) return std::nullopt;
    return RegisterError{why->what};
  };
  const auto swapped = store_->compare_and_swap(expected.revision, encode_group_record(next), rule);
  if (!swapped) {
    if (lost_to) return GroupSwap{CasOutcome::lost, std::move(*lost_to)};
    return why ? std::move(*why) : GroupError{GroupProblem::unavailable, swapped.error().what};
  }
  if (swapped->outcome == CasOutcome::unknown) return GroupSwap{CasOutcome::unknown, {}};
  auto current = view_of(swapped->current, group_, seen);
  if (!current) return current.error();
  return GroupSwap{swapped->outcome, std::move(*current)};
}

Result<CasOutcome, GroupError> GroupRegister::repair(std::uint64_t revision, const GroupRecord& next) {
  if (const std::string wrong = invalid(next); !wrong.empty()) return refused(group_, wrong);
  std::optional<GroupError> why;
  const auto swapped = store_->compare_and_swap(
      revision, encode_group_record(next), [&](const Stored& there) -> std::optional<RegisterError> {
        const auto state = view_of(there, group_, {});
        if (!state || next.epoch > state->epoch()) return std::nullopt;
        why = refused(group_, "its epoch is " + number(next.epoch) + ", and the register holds epoch " +
                                  number(state->epoch()) + " already");
        return RegisterError{why->what};
      });
  if (!swapped) return why ? std::move(*why) : GroupError{GroupProblem::unavailable, swapped.error().what};
  return swapped->outcome;
}

}  // namespace mainstay::coordination
