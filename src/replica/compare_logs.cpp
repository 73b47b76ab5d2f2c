#include "replica/compare_logs.h"

#include <algorithm>

#include "base/assert.h"

namespace mainstay::replica {
namespace {

using journal::LogPosition;
using Verdict = LogComparison::Verdict;

std::string text(Lsn lsn) {
  return std::to_string(lsn.value);
}

/// "LSN 7, 1 record" or "LSN 7 to 9, 3 records".
std::string stretch(Lsn first, Lsn last) {
  if (first == last) return "LSN " + text(first) + ", 1 record";
  return "LSN " + text(first) + " to " + text(last) + ", " + std::to_string(last.value - first.value + 1) +
         " records";
}

}  // namespace

void LogSummary::note(const journal::RecordHeader& header) {
  if (header.lsn <= end_.lsn) return;
  if (const Lsn before{header.lsn.value - 1}; before > end_.lsn) keep({before, header.previous});
  end_ = {header.lsn, header.checksum};
  epoch_ = header.epoch;
  keep(end_);
}

void LogSummary::keep(LogPosition position) {
  if (position.lsn.value % distance_ != 0) return;
  positions_.push_back(position);
  while (positions_.size() > positions_max_) {
    distance_ *= 2;
    std::erase_if(positions_, [&](const LogPosition& it) { return it.lsn.value % distance_ != 0; });
  }
}

void LogSummary::know(LogPosition position) {
  looked_up_.push_back(position);
}

std::vector<LogPosition> LogSummary::known() const {
  std::vector<LogPosition> out = positions_;
  out.insert(out.end(), looked_up_.begin(), looked_up_.end());
  out.push_back(before_);
  out.push_back(end_);
  std::sort(out.begin(), out.end(), [](const LogPosition& a, const LogPosition& b) { return a.lsn < b.lsn; });
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::optional<std::uint64_t> LogSummary::hash_at(Lsn lsn) const {
  for (const LogPosition& position : known()) {
    if (position.lsn == lsn) return position.hash;
  }
  return std::nullopt;
}

LogComparison compare_logs(const LogSummary& first, const LogSummary& second) {
  LogComparison out;
  out.from = std::max(first.before().lsn, second.before().lsn);
  const Lsn to = std::min(first.end().lsn, second.end().lsn);
  // At LSN 0 every log has the same hash, which says nothing.
  if (to < out.from || to == Lsn{}) return out;
  const auto ours = first.known(), theirs = second.known();
  auto other = theirs.begin();
  for (const LogPosition& one : ours) {
    while (other != theirs.end() && other->lsn < one.lsn) ++other;
    if (other == theirs.end()) break;
    if (other->lsn != one.lsn || one.lsn < out.from || one.lsn > to) continue;
    out.to = one.lsn;
    if (one.hash != other->hash) {
      out.verdict = Verdict::differ;
      out.differ_at = one.lsn;
      out.to = to;
      return out;
    }
    out.equal_to = one.lsn;
    out.hash = one.hash;
  }
  if (out.equal_to && *out.equal_to > Lsn{}) out.verdict = Verdict::equal;
  return out;
}

void narrow(LogComparison& comparison, std::span<const RecordSight> first,
            std::span<const RecordSight> second) {
  MS_ASSERT(comparison.verdict == Verdict::differ, "only logs that differ do so from some LSN on");
  for (std::size_t i = 0; i < std::min(first.size(), second.size()); ++i) {
    MS_ASSERT(first[i].lsn == second[i].lsn, "both logs' records are told in order, without a gap");
    if (first[i].hash == second[i].hash) {
      comparison.equal_to = first[i].lsn;
      continue;
    }
    comparison.differ_at = first[i].lsn;
    comparison.first = first[i];
    comparison.second = second[i];
    return;
  }
}

namespace {

/// Joins what two disks say into whose records count.
class Explanation {
 public:
  Explanation(const LogComparison& comparison, const ComparedSide& first, const ComparedSide& second)
      : it_(comparison), first_(first), second_(second) {}

  Meaning run() {
    switch (it_.verdict) {
      case Verdict::nothing_in_common:
        nothing_in_common();
        break;
      case Verdict::equal:
        equal();
        break;
      case Verdict::differ:
        differ();
        break;
    }
    return std::move(out_);
  }

 private:
  void say(std::string sentence) { out_.sentences.push_back(std::move(sentence)); }
  [[nodiscard]] bool of_a_group() const { return first_.group || second_.group; }

  /// The newest record of the register that either disk remembers.
  [[nodiscard]] const coordination::GroupRecord* newest_record() const {
    const coordination::GroupRecord* newest = nullptr;
    for (const ComparedSide* side : {&first_, &second_}) {
      if (!side->group || !side->group->record) continue;
      if (newest == nullptr || newest->epoch < side->group->record->epoch) newest = &*side->group->record;
    }
    return newest;
  }

  static std::string range_of(const ComparedSide& side) {
    return side.end < side.first ? side.name + " has no record"
                                 : side.name + " has " + stretch(side.first, side.end);
  }

  void nothing_in_common() {
    say(range_of(first_) + "; " + range_of(second_) +
        ". There is no LSN at which both can be compared, so nothing is known of whether they are of one "
        "history");
    const ComparedSide& early = first_.end < second_.end ? first_ : second_;
    const ComparedSide& late = first_.end < second_.end ? second_ : first_;
    if (early.end < late.first && late.first > Lsn{1}) {
      say(late.name + " no longer has the records before LSN " + text(late.first) +
          (of_a_group() ? ", so in its group " + early.name + " would get a full copy from whoever leads"
                        : "; compare it with an older copy of its directory, or with a node that has them"));
    }
  }

  void equal() {
    if (first_.end == second_.end) {
      say("Both logs end at LSN " + text(first_.end) +
          " with the same hash: they are the same up to their ends");
      return;
    }
    const ComparedSide& early = first_.end < second_.end ? first_ : second_;
    const ComparedSide& late = first_.end < second_.end ? second_ : first_;
    say("The log of " + early.name + " ends at LSN " + text(early.end) + " and is the same as that of " +
        late.name + " up to there; " + late.name + " goes on with " + stretch(early.end.next(), late.end) +
        ", to epoch " + std::to_string(late.epoch.value) + ". " + early.name +
        " gets them when it follows: nothing of it goes to quarantine");
    const Lsn committed = late.group ? late.group->committed : Lsn{};
    if (committed <= early.end) return;
    const auto* record = newest_record();
    if (record != nullptr && record->isr.contains(early.member)) {
      out_.impossible = true;
      say("WRONG: LSN " + text(committed) +
          " is committed, and by the newest record of the register (epoch " +
          std::to_string(record->epoch.value) + ") the copy of " + early.name +
          " counts, which lacks it. A node that counts has everything that is committed: this directory is "
          "an older copy of the node's, or its disk lost what it had synced. Don't let " +
          early.name + " lead");
    } else {
      say("LSN " + text(committed) + " is committed at least, so " + early.name +
          " lacks what clients were told: it was not in the in-sync set then, and can't lead before it has "
          "caught up");
    }
  }

  void differ() {
    const Lsn at = it_.differ_at;
    if (it_.exact()) {
      say("Both logs are the same up to LSN " + text(*it_.equal_to) + " and part at LSN " + text(at));
    } else if (it_.equal_to) {
      say("Both logs are the same up to LSN " + text(*it_.equal_to) + " and differ at LSN " + text(at) +
          "; where in between they part can't be read");
    } else {
      say("The logs differ at LSN " + text(at) +
          " already, the first LSN at which both can be compared: they parted there or before");
    }
    const bool one_committed = committed(first_) >= at, other_committed = committed(second_) >= at;
    if (one_committed && other_committed) {
      never("Both directories call LSN " + text(at) +
            " committed, and have different records there: two nodes led at one time, or one directory was "
            "changed by hand");
      return;
    }
    if (it_.first && it_.second && it_.first->epoch == it_.second->epoch) {
      never("Both records of LSN " + text(at) + " are of epoch " + std::to_string(it_.first->epoch.value) +
            ". An epoch has one leader, who gives an LSN to one record: two nodes led at one time, or a "
            "directory was changed by hand");
      return;
    }
    if (!of_a_group()) {
      not_of_a_group();
      return;
    }
    std::string why;
    decide(one_committed, other_committed, why);
    if (out_.counts == Meaning::Counts::neither) {
      say("Which of the two the group goes on with can't be told from these directories: compare each with "
          "the node that leads");
      return;
    }
    const bool first_counts = out_.counts == Meaning::Counts::first;
    const ComparedSide& kept = first_counts ? first_ : second_;
    const ComparedSide& cut = first_counts ? second_ : first_;
    if (committed(cut) >= at) {
      out_.counts = Meaning::Counts::neither;
      never(cut.name + " knows that LSN " + text(at) +
            " of its own log is committed, and yet the group went on " + "without it: " + why);
      return;
    }
    const Lsn from = it_.exact() || !it_.equal_to ? at : it_.equal_to->next();
    say("The group goes on with the log of " + kept.name + ": " + why);
    say((it_.exact() ? "" : "At most ") + stretch(from, cut.end) + ", of " + cut.name +
        " are a tail that was never committed. When " + cut.name +
        " follows, it puts them into quarantine/ of its directory (cut-" + text(from) +
        "…) and takes what the leader has in their place; " + stretch(from, kept.end) + ", of " + kept.name +
        " stay");
  }

  static Lsn committed(const ComparedSide& side) { return side.group ? side.group->committed : Lsn{}; }

  void never(const std::string& what) {
    out_.impossible = true;
    say("WRONG: " + what +
        ". This must never happen. Keep both directories as they are, start neither node, and find out what "
        "became of each");
  }

  void decide(bool one_committed, bool other_committed, std::string& why) {
    const auto choose = [&](bool first, std::string reason) {
      out_.counts = first ? Meaning::Counts::first : Meaning::Counts::second;
      why = std::move(reason);
    };
    const auto* record = newest_record();
    // Of a leadership that both logs have left behind it decides nothing.
    if (record != nullptr && record->epoch >= first_.epoch && record->epoch >= second_.epoch) {
      const bool one = record->isr.contains(first_.member), other = record->isr.contains(second_.member);
      const std::string of = "the newest record of the register that they remember (epoch " +
                             std::to_string(record->epoch.value) + ")";
      if (record->leader == first_.member || record->leader == second_.member)
        return choose(record->leader == first_.member, "by " + of + " it leads");
      if (one != other) return choose(one, "by " + of + " its copy counts, and the other's does not");
    }
    if (it_.first && it_.second) {
      const bool first = it_.first->epoch > it_.second->epoch;
      const RecordSight& later = first ? *it_.first : *it_.second;
      const RecordSight& earlier = first ? *it_.second : *it_.first;
      return choose(first, "its record there is of epoch " + std::to_string(later.epoch.value) +
                               ", the other's of epoch " + std::to_string(earlier.epoch.value) +
                               ", and whoever led later had everything that was committed before");
    }
    if (one_committed != other_committed) {
      choose(one_committed, "its superblock knows LSN " + text(committed(one_committed ? first_ : second_)) +
                                " as committed");
    }
  }

  void not_of_a_group() {
    for (const bool first : {true, false}) {
      const auto& record = first ? it_.first : it_.second;
      const ComparedSide& taken = first ? first_ : second_;
      const ComparedSide& left = first ? second_ : first_;
      if (!record || record->type != journal::RecordType::forked) continue;
      out_.counts = first ? Meaning::Counts::first : Meaning::Counts::second;
      say("LSN " + text(it_.differ_at) + " of " + taken.name +
          " is a forced promotion: the other region was given up there. " + stretch(it_.differ_at, left.end) +
          ", of " + left.name +
          " never reached it: what the archive has of them is sent in again after the promotion. Keep " +
          left.name + "'s directory until all of them are accounted for");
      return;
    }
    if (it_.first && it_.second) {
      const bool first = it_.first->epoch > it_.second->epoch;
      out_.counts = first ? Meaning::Counts::first : Meaning::Counts::second;
      const ComparedSide& later = first ? first_ : second_;
      const ComparedSide& earlier = first ? second_ : first_;
      say(later.name + " went on in a later leadership. " + stretch(it_.differ_at, earlier.end) + ", of " +
          earlier.name +
          " are in its own log only: as a standby it is refused as diverged and seals itself. "
          "Keep its directory until it is known what they were");
      return;
    }
    say("Neither directory is of a group's node: a standby's log is the beginning of the live's, or it is "
        "refused as diverged and seals itself");
  }

  const LogComparison& it_;
  const ComparedSide& first_;
  const ComparedSide& second_;
  Meaning out_;
};

}  // namespace

Meaning explain(const LogComparison& comparison, const ComparedSide& first, const ComparedSide& second) {
  return Explanation(comparison, first, second).run();
}

}  // namespace mainstay::replica
