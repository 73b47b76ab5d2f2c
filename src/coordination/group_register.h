// The register of who leads a group of nodes: GroupRecord in a Store, changed by compare-and-swap on revision
// and epoch. A register that contradicts what the asking node knows for certain decides nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "coordination/group_record.h"
#include "coordination/store.h"

namespace mainstay::coordination {

/// What the register says. Epoch 0: nobody has written it.
struct GroupState {
  std::uint64_t revision{};           ///< 0 = the record does not exist yet
  std::optional<GroupRecord> record;  ///< nothing = it does not exist yet
  [[nodiscard]] Epoch epoch() const { return record ? record->epoch : Epoch{}; }
};

enum class GroupProblem : std::uint8_t {
  unavailable,      ///< nobody answered; a change certainly did not happen
  unreadable,       ///< something that is no record of a group is there
  register_behind,  ///< it is older than what this node has seen: restored, replaced or removed
  other_cluster,    ///< it is about another cluster than this node's disk
  refused,          ///< the change breaks a rule of the record: our own broken promise. Nothing was written
};

struct GroupError {
  GroupProblem kind{};
  std::string what;  ///< for an alarm: what happened to what, and what to do
};
[[noreturn]] void throw_exception_from_error(const GroupError& error, const boost::source_location& where);

/// What the asking node knows for certain, from its superblock.
struct Seen {
  Uuid cluster;  ///< nil = none yet
  /// The highest that a register or a leader has ever shown it. Not one it has only promised: the register
  /// need not have got there.
  Epoch epoch;
};

struct GroupSwap {
  CasOutcome outcome{};
  GroupState current;  ///< won: as stored; lost: what is there; unknown: empty
};

/// Thread-safe. Each call is linearizable and as bounded in time as its store's.
class GroupRegister {
 public:
  /// @param group  name, for messages
  GroupRegister(std::shared_ptr<Store> store, std::string group)
      : store_(std::move(store)), group_(std::move(group)) {}

  [[nodiscard]] Result<GroupState, GroupError> read(const Seen& seen);

  /// Stores `next` if what is there is still `expected`, by revision and by epoch. `next.epoch` is the one
  /// after expected.epoch(); any when there is no record yet. An error: certainly not stored; after `unknown`
  /// it may be, or may still become so.
  [[nodiscard]] Result<GroupSwap, GroupError> compare_and_swap(const GroupState& expected,
                                                               const GroupRecord& next, const Seen& seen);

  /// An operator's repair: puts a record of any higher epoch in the place of whatever is there, also of what
  /// cannot be read or is behind. The caller has asked every node for the highest epoch it has seen and takes
  /// a higher one. @param revision  of what the operator was shown
  [[nodiscard]] Result<CasOutcome, GroupError> repair(std::uint64_t revision, const GroupRecord& next);

  /// What is there, as it is, for an operator to look at.
  [[nodiscard]] Result<Stored, GroupError> read_raw();

 private:
  const std::shared_ptr<Store> store_;
  const std::string group_;
};

/// What a store's answer means to a node that has seen `seen`.
[[nodiscard]] Result<GroupState, GroupError> view_of(const Stored& stored, const std::string& group,
                                                     const Seen& seen);

}  // namespace mainstay::coordination
