// Two logs of one cluster side by side: how far they are the same, where they part, and what that means.
// Pure: what was read of each log in, a comparison and sentences out. compare_directories.h reads.
//
// A record's checksum covers that of the record before it, so one equal hash makes everything up to it equal,
// and behind the first LSN that differs nothing is equal again.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "coordination/group_record.h"
#include "journal/record.h"

namespace mainstay::replica {

/// What is kept of a log that was read once, however long it is: its ends, and hashes at LSNs in even
/// distances.
class LogSummary {
 public:
  /// @param before  what the log's oldest record follows
  /// @param positions_max  hashes kept at most, at least 2; 16 bytes each
  explicit LogSummary(journal::LogPosition before = {}, std::size_t positions_max = std::size_t{1} << 16)
      : before_(before), end_(before), positions_max_(positions_max) {}

  /// In LSN order. A gap (what is there is damaged) is passed over: what follows it says which hash it had.
  void note(const journal::RecordHeader& header);
  /// One more position, looked up. @pre it is of this log
  void know(journal::LogPosition position);

  [[nodiscard]] journal::LogPosition before() const { return before_; }
  [[nodiscard]] journal::LogPosition end() const { return end_; }
  [[nodiscard]] Epoch epoch() const { return epoch_; }  ///< of the last record
  [[nodiscard]] std::optional<std::uint64_t> hash_at(Lsn lsn) const;
  /// All that are known, ascending, `before` and `end` among them.
  [[nodiscard]] std::vector<journal::LogPosition> known() const;

 private:
  void keep(journal::LogPosition position);

  journal::LogPosition before_, end_;
  Epoch epoch_{};
  std::size_t positions_max_;
  std::uint64_t distance_ = 1;
  std::vector<journal::LogPosition> positions_;  // LSNs that are multiples of distance_
  std::vector<journal::LogPosition> looked_up_;
};

/// A record as far as people need it to tell two apart.
struct RecordSight {
  Lsn lsn{};
  Epoch epoch{};
  journal::RecordType type{};
  std::uint64_t hash{};
};

struct LogComparison {
  enum class Verdict : std::uint8_t { equal, differ, nothing_in_common };
  Verdict verdict = Verdict::nothing_in_common;
  /// Both logs can be compared from here to there, except when nothing is in common.
  Lsn from{}, to{};
  std::uint64_t hash{};  ///< at `to`, when equal
  /// The last LSN up to which both are known to be equal; nothing when they differ from the first LSN on that
  /// both know.
  std::optional<Lsn> equal_to;
  /// When they differ: the first LSN that does, or, before narrow() was told the records, one that does.
  Lsn differ_at{};
  /// The two records there, when they were told.
  std::optional<RecordSight> first, second;
  /// differ_at is the first LSN that differs.
  [[nodiscard]] bool exact() const { return equal_to && differ_at == equal_to->next(); }
};

/// From what both know. The hashes at the lower of the two ends decide, so have both know that LSN
/// (LogSummary::know); else it is about the highest LSN that both know.
[[nodiscard]] LogComparison compare_logs(const LogSummary& first, const LogSummary& second);

/// The records of (equal_to, differ_at] in both logs, ascending: makes differ_at the first one that differs.
void narrow(LogComparison& comparison, std::span<const RecordSight> first,
            std::span<const RecordSight> second);

/// One side, for explain().
struct ComparedSide {
  std::string name;  ///< as a reader tells it from the other
  coordination::Member member;
  Lsn first{};  ///< oldest record; after `end` when there is none
  Lsn end{};
  Epoch epoch{};  ///< of the last record
  /// What its superblock says, when it is of a group.
  struct Group {
    Lsn committed{};  ///< at least
    std::optional<coordination::GroupRecord> record;
  };
  std::optional<Group> group;
};

struct Meaning {
  /// Whose records count where the two part: `neither` when they do not part, or nobody can tell.
  enum class Counts : std::uint8_t { neither, first, second };
  Counts counts = Counts::neither;
  /// What is there must never be, whatever failed: not what a crash, a cut or a late node leaves.
  bool impossible = false;
  std::vector<std::string> sentences;
};

/// What the comparison means to those who run these nodes: who lacks what, what is a tail that goes to
/// quarantine, what must never happen.
[[nodiscard]] Meaning explain(const LogComparison& comparison, const ComparedSide& first,
                              const ComparedSide& second);

}  // namespace mainstay::replica
