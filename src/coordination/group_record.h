// Who leads a group of nodes and whose copies count: one record per group, kept in a register and changed
// only by compare-and-swap (group_register.h). Plain data, its meaning and its text.
#pragma once

#include <compare>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace mainstay::coordination {

/// A node on one disk. The same node on another disk is another member: it knows nothing of what the first
/// one promised.
struct Member {
  std::string node;  ///< its configured name: 1 to kNodeNameMax letters, digits, '.', '_', '-'
  Uuid incarnation;  ///< drawn when the disk was formatted; not nil
  friend auto operator<=>(const Member&, const Member&) = default;
  [[nodiscard]] std::string text() const { return node + " (disk " + incarnation.text() + ")"; }
};
constexpr std::size_t kNodeNameMax = 64;
constexpr std::size_t kMembersMax = 16;

/// Stored by name: docs/formats/register.md.
enum class GroupMode : std::uint8_t {
  serving = 0,   ///< the leader accepts and delivers
  draining = 1,  ///< the leader gives leadership away: it finishes what it has begun and accepts nothing new
};

struct GroupRecord {
  Uuid cluster;          ///< the cluster whose log this is about; never changes
  Epoch epoch;           ///< number of this record; every change of it is the next one, whoever leads
  Member leader;         ///< one of `isr`
  std::set<Member> isr;  ///< whose durable copies a commit needs; a node at most once
  GroupMode mode = GroupMode::serving;
  RegionTerm region_term;  ///< never goes back
  /// Nodes that an operator took out of the group: no leader takes them in, until one is told to (format 2).
  std::set<std::string> removed;
  std::string by;  ///< who changed it ("node east-1", "operator alice")
  std::string reason;
  WallTime at;

  friend bool operator==(const GroupRecord&, const GroupRecord&) = default;
};

/// What is wrong with a record on its own; empty when nothing is.
[[nodiscard]] std::string invalid(const GroupRecord& record);

/// What is wrong with this change, although the record itself is a valid one of the next epoch; empty when
/// nothing is. A new leader comes from the set before and leaves the set as it is; only a leader that stays
/// takes members in or drops them. Where the set is one disk that nodes share (shared-store mode), any of
/// them may lead on it: the set's disk is what stays.
[[nodiscard]] std::string forbidden(const GroupRecord& from, const GroupRecord& to);

/// The record as it is stored (docs/formats/register.md): one JSON object. @pre invalid(record) is empty
[[nodiscard]] std::string encode_group_record(const GroupRecord& record);

struct NotAGroupRecord {
  std::string why;
};
[[noreturn]] void throw_exception_from_error(const NotAGroupRecord& error,
                                             const boost::source_location& where);
/// Takes exactly what encode_group_record() may write, white space and order of keys aside.
[[nodiscard]] Result<GroupRecord, NotAGroupRecord> decode_group_record(std::string_view text);

}  // namespace mainstay::coordination
