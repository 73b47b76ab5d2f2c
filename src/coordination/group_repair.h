// The register of a group was lost, or put back to an older copy, and no node decides anything from it: what
// an operator may put in its place. Pure: what is there and what the nodes remember in, one record or a
// refusal out. docs/groups.md#repairing-the-register has the operator's side.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordination/group_record.h"
#include "coordination/store.h"

namespace mainstay::coordination {

/// What one node's disk remembers of its group.
struct MemberReport {
  Member member;
  Uuid cluster;
  Epoch promised;  ///< nothing is acknowledged in an epoch below
  Epoch seen;      ///< highest that the register or a leader has shown
  /// The register's last record as the node believed it. A leader stores it before it acts on another in-sync
  /// set, so the highest one among all disks says whose copies count.
  std::optional<GroupRecord> record;
  WallTime at;       ///< when it was read from the disk
  std::string from;  ///< where it comes from, for messages; not encoded
  friend bool operator==(const MemberReport&, const MemberReport&) = default;
};

/// One JSON object (docs/formats/register.md), to be carried from the node's machine to the operator's.
[[nodiscard]] std::string encode_member_report(const MemberReport& report);
/// Takes exactly what encode_member_report() may write, white space and order of keys aside.
[[nodiscard]] Result<MemberReport, Failure> decode_member_report(std::string_view text);

/// Why nodes decide nothing from the register. For one that is well, `what` is empty.
struct RegisterHealth {
  Epoch there;       ///< of the record; 0 = none, or not readable
  Epoch seen;        ///< the highest that any report tells
  std::string what;  ///< a sentence
  /// The register is at least as new as every report, and only written by nodes.
  [[nodiscard]] bool well() const { return what.empty(); }
};
/// @param group  name, for messages
[[nodiscard]] RegisterHealth register_health(const Stored& there, const std::string& group,
                                             const std::vector<MemberReport>& reports);

struct RepairRequest {
  std::string group;  ///< its name, for messages
  Stored there;       ///< the register, as it is
  std::vector<MemberReport> reports;
  /// Shared-store mode: the nodes have one disk, and what it remembers speaks for all of them. `nodes`,
  /// `without` and `leader` are not needed.
  bool one_store = false;
  std::set<std::string> nodes;    ///< all nodes of the group, by configuration
  std::set<std::string> without;  ///< by the operator's word: the disk that these nodes had is gone for good
  std::string leader;             ///< who shall lead; empty = whoever the last record names
  std::string by, reason;
  WallTime now;
};
/// The epoch of a repair with a disk gone by the operator's word. That disk may have used epochs that nobody
/// else has heard of, and come back: one epoch must not have two leaderships. And another repair may have
/// been made of which no disk that is looked at has heard.
///
/// It is the time of the repair, in units of 1/1024 ms since 1970 (exact in a double, in which tools read
/// JSON, until 2248): so a later repair is beyond an earlier one whatever it knows of it, as long as the
/// clocks of the two operators are right. Each change of the register waits for the one before (R4: it is the
/// next epoch) and for a durable promise; a hundred in a second, without a pause, use up a ten thousandth of
/// that.
constexpr std::uint64_t kEpochsPerMs = 1024;
/// Where what was found is from a repair itself, the time must be so far beyond it (a quarter of a second).
constexpr std::uint64_t kEpochsBehindRepair = std::uint64_t{1} << 18;
/// Below: counted one by one, or from clocks that were not set. The time must be kEpochsPassedOver beyond it.
constexpr std::uint64_t kEpochsOfRepairs = std::uint64_t{1} << 40;
/// Where the time is not far enough beyond what was found, 1 to 2 times so many are passed over instead: more
/// than changes use up in 16 months. How far within that range says the time, too, so that the later of two
/// repairs is beyond the other one there as well, but for one wrap in 70 minutes. A repair with a right clock
/// that does not know of one like that stays below it: then a disk that saw that one refuses the register
/// until it is repaired again.
constexpr std::uint64_t kEpochsPassedOver = std::uint64_t{1} << 32;

struct RepairPlan {
  std::uint64_t revision{};  ///< of what was there: GroupRegister::repair() replaces nothing else
  GroupRecord next;
  /// Of everything that was found. next.epoch is the one after; with a disk gone what the time says, to
  /// within a millisecond, in which the record's words decide: two repairs that do not know of each other,
  /// each from another half of the disks, do not meet either.
  Epoch highest;
  std::vector<std::string> findings;  ///< what is wrong, and what the record is made from
  std::vector<std::string> warnings;  ///< what may be lost by it; read before saying yes
};

/// The record to put there. Its in-sync set is that of the newest record that is left, as long as that one is
/// certainly the last that anybody acted on; else it is one node, which the operator names. With one store it
/// is that store, whoever led on it last.
///
/// Refused: a register that is not behind; nodes nobody has looked at; disks of two clusters; a leader who
/// may lack what was acknowledged while somebody is there who has it.
[[nodiscard]] Result<RepairPlan, Failure> plan_repair(const RepairRequest& request);

}  // namespace mainstay::coordination
