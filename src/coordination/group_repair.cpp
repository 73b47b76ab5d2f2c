#include "coordination/group_repair.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/bytes.h"
#include "base/checksum.h"
#include "coordination/group_register.h"
#include "coordination/json_fields.h"

namespace mainstay::coordination {

namespace json = boost::json;

namespace {

constexpr std::uint64_t kReportFormat = 1;
constexpr std::size_t kReportBytesMax = std::size_t{1} << 20;
// Far above what a group reaches, far below where adding to it would begin anew.
constexpr std::uint64_t kEpochMax = std::uint64_t{1} << 62;

std::string number(Epoch epoch) {
  return std::to_string(epoch.value);
}

std::string list(const std::set<Member>& members) {
  std::string out;
  for (const Member& member : members) out += (out.empty() ? "" : ", ") + member.text();
  return out;
}

Epoch seen_by(const MemberReport& report) {
  return std::max(report.seen, report.record ? report.record->epoch : Epoch{});
}

/// One report per node: of two that a disk has given the newer one.
Result<std::vector<MemberReport>, Failure> one_each(const std::vector<MemberReport>& reports) {
  std::vector<MemberReport> out;
  for (const MemberReport& report : reports) {
    if (report.cluster != reports.front().cluster)
      return Failure{report.from + " belongs to cluster " + report.cluster.text() + " and " +
                     reports.front().from + " to cluster " + reports.front().cluster.text() +
                     ": they are no nodes of one group; give the directories that the group's nodes use"};
    if (report.record && report.record->cluster != report.cluster)
      return Failure{report.from +
                     " remembers a record of another cluster than its own: it cannot be trusted"};
    const auto same = std::find_if(
        out.begin(), out.end(), [&](const MemberReport& it) { return it.member.node == report.member.node; });
    if (same == out.end()) {
      out.push_back(report);
    } else if (same->member != report.member) {
      return Failure{"node " + report.member.node + " is given with two disks, " + same->from + " and " +
                     report.from + ": give the one that it runs with"};
    } else if (std::pair(std::max(report.promised, seen_by(report)), report.at) >
               std::pair(std::max(same->promised, seen_by(*same)), same->at)) {
      *same = report;
    }
  }
  return out;
}

struct There {
  std::optional<GroupRecord> record;
  std::string wrong;  ///< it cannot be read
};
There read(const Stored& stored) {
  if (stored.revision == 0) return {};
  auto record = decode_group_record(stored.value);
  if (!record) return {std::nullopt, record.error().why};
  return {std::move(*record), {}};
}

class Planner {
 public:
  explicit Planner(const RepairRequest& request) : request_(request) {}

  Result<RepairPlan, Failure> plan() {
    if (request_.reports.empty())
      return Failure{
          "no node's disk was given: its highest epoch says what the register must go beyond; name data "
          "directories of the group's nodes, or their reports"};
    auto reports = one_each(request_.reports);
    if (!reports) return reports.error();
    reports_ = std::move(*reports);
    there_ = read(request_.there);
    if (auto refused = request_.one_store ? is_one_store() : everybody_was_looked_at()) return *refused;
    if (auto refused = is_broken()) return *refused;
    find_base();
    if (auto refused = request_.one_store ? choose_store() : choose()) return *refused;
    return std::move(plan_);
  }

 private:
  using Refusal = std::optional<Failure>;

  [[nodiscard]] const MemberReport* of(const std::string& node) const {
    for (const MemberReport& report : reports_)
      if (report.member.node == node) return &report;
    return nullptr;
  }
  [[nodiscard]] bool has(const Member& member) const {
    const MemberReport* report = of(member.node);
    return report != nullptr && report->member == member;
  }
  [[nodiscard]] bool gone(const std::string& node) const { return request_.without.contains(node); }

  Refusal everybody_was_looked_at() const {
    for (const std::string& node : request_.without)
      if (!request_.nodes.contains(node))
        return Failure{"node " + node +
                       ", which is said to be gone, is no node of this group's configuration"};
    for (const MemberReport& report : reports_)
      if (!request_.nodes.contains(report.member.node))
        return Failure{report.from + " is the disk of node " + report.member.node +
                       ", which is no node of this group's configuration"};
    for (const std::string& node : request_.nodes)
      if (of(node) == nullptr && !gone(node))
        return Failure{
            "nobody has looked at node " + node +
            ": it may have seen a higher epoch, and have led alone. Give its data directory or its report; "
            "only when its disk is gone for good, say --without " +
            node};
    return {};
  }

  Refusal is_one_store() const {
    if (!request_.without.empty() || !request_.leader.empty())
      return Failure{
          "in shared-store mode no node has a disk of its own: leave --without and --leader away. Whoever "
          "takes "
          "the store next leads"};
    for (const MemberReport& report : reports_)
      if (report.member.incarnation != reports_.front().member.incarnation)
        return Failure{report.from + " and " + reports_.front().from +
                       " are two stores: give the directory that the group's nodes share"};
    return {};
  }

  Refusal is_broken() {
    if (there_.record && there_.record->cluster != reports_.front().cluster)
      return Failure{
          "the register's record is about cluster " + there_.record->cluster.text() +
          ", and the disks belong to cluster " + reports_.front().cluster.text() +
          ": check the register's place and the group's name in the configuration. Another group's record "
          "is never replaced"};
    const RegisterHealth health = register_health(request_.there, request_.group, reports_);
    if (health.well()) {
      if (!there_.record)
        return Failure{
            "the register has no record of group " + request_.group +
            ", and no node has ever seen one: there is nothing to repair. A node whose configuration says "
            "create = true writes the first record"};
      if (health.there > health.seen)
        return Failure{
            "the register holds epoch " + number(health.there) + ", newer than everything seen here (" +
            number(health.seen) +
            "): it is not the register that is old. Nothing was changed. If a node refuses it all the same, "
            "its disk is not among those that were given"};
      return Failure{
          "the register holds epoch " + number(health.there) +
          ", the highest that any node has seen: it is not behind, and there is nothing to repair"};
    }
    plan_.findings.push_back(health.what);
    return {};
  }

  /// The newest record that is left, and whether it is certainly the last that anybody acted on.
  void find_base() {
    Epoch highest = there_.record ? there_.record->epoch : Epoch{};
    std::map<Epoch, std::pair<GroupRecord, std::string>> by_epoch;
    const auto newer = [&](const GroupRecord& record, const std::string& from) {
      const auto [first, is_new] = by_epoch.emplace(record.epoch, std::pair{record, from});
      if (!is_new && first->second.first != record)
        conflict_ = first->second.second + " and " + from + " hold two different records of epoch " +
                    number(record.epoch) + ": nodes have acted on the older register after it was put back";
      if (base_ && base_->epoch >= record.epoch) return;
      base_ = record;
      base_from_ = from;
    };
    if (there_.record) newer(*there_.record, "the register");
    for (const MemberReport& report : reports_) {
      highest = std::max({highest, report.promised, seen_by(report)});
      if (report.record) newer(*report.record, report.from);
    }
    plan_.highest = highest;
    // With every disk at hand the last leader's is among them, and it stored its record before it acted on
    // the set. With a disk missing, a later record than all that are left may have been acted on, unless
    // nobody has even heard of a later epoch.
    certain_ = base_ && conflict_.empty() && (request_.without.empty() || base_->epoch == highest);
  }

  /// Why the disks of the base record's set do not do, or nothing.
  Refusal set_is_accounted_for() const {
    for (const Member& member : base_->isr) {
      if (has(member) || gone(member.node)) continue;
      const MemberReport* other = of(member.node);
      return Failure{
          "the last record (" + base_from_ + ", epoch " + number(base_->epoch) + ") counts on " +
          member.text() + ", and " +
          (other == nullptr ? std::string("that node is not in this group's configuration")
                            : other->from + " is another disk of that node") +
          ". Give the disk that it names; only when that one is gone for good, " +
          (other == nullptr ? "add the node to the configuration and say --without " : "say --without ") +
          member.node};
    }
    return {};
  }

  Refusal choose() {
    const std::string& asked = request_.leader;
    if (!asked.empty() && of(asked) == nullptr)
      return Failure{"node " + asked + " cannot lead: its disk was not given"};
    if (certain_)
      if (auto refused = set_is_accounted_for()) return refused;

    std::set<Member> present;
    if (certain_)
      for (const Member& member : base_->isr)
        if (has(member)) present.insert(member);
    if (!present.empty()) {
      if (!asked.empty() && !present.contains(of(asked)->member))
        return Failure{
            "node " + asked +
            " may lack what was acknowledged: the last record does not count on its disk. It counts on " +
            list(present) + "; let one of them lead"};
      GroupRecord next = *base_;
      if (!asked.empty()) next.leader = of(asked)->member;
      // Whoever is gone cannot lead. A member that is there has all it needs to.
      if (!has(next.leader)) next.leader = *present.begin();
      if (auto refused = finish(std::move(next))) return refused;
      for (const Member& member : base_->isr)
        if (!present.contains(member))
          plan_.warnings.push_back(
              member.text() +
              " is gone, by your word: if it had gone on alone without the others hearing of it, "
              "what it acknowledged alone is lost with it");
      return {};
    }

    const std::string why =
        !base_               ? "no record of this group is left anywhere"
        : !conflict_.empty() ? conflict_
        : certain_
            ? "every disk that the last record counts on is gone"
            : "the newest record left (" + base_from_ + ") is of epoch " + number(base_->epoch) + ", epoch " +
                  number(plan_.highest) +
                  " was heard of, and not every disk is here: a later record may have counted on fewer disks";
    if (asked.empty())
      return Failure{
          why +
          ", so nobody can say whose copy has everything. Compare the logs (`mainstay verify` shows the last "
          "LSN of each) and name the node whose log goes furthest with --leader; the others follow it"};
    GroupRecord next;
    if (base_) next = *base_;
    next.cluster = reports_.front().cluster;
    next.leader = of(asked)->member;
    next.isr = {next.leader};
    next.removed.erase(asked);
    if (auto refused = finish(std::move(next))) return refused;
    plan_.findings.push_back(why + "; node " + asked +
                             " leads because you say so, and only its copy counts at first");
    plan_.warnings.push_back(
        "what was acknowledged and is not in the log of node " + asked +
        " is lost; what other nodes have beyond it goes to their quarantine when they follow");
    return {};
  }

  /// Nobody else has a copy, and each leader fences the one before in the store: which node is named does not
  /// decide anything.
  Refusal choose_store() {
    GroupRecord next;
    if (base_) next = *base_;
    const MemberReport& last = *std::ranges::max_element(reports_, {}, &MemberReport::seen);
    if (base_ && base_->leader.incarnation != last.member.incarnation)
      plan_.findings.push_back("the newest record left is about another disk (" + base_->leader.text() +
                               "); the store of this configuration, " + last.from + ", takes its place");
    next.cluster = last.cluster;
    next.leader = last.member;
    next.isr = {next.leader};
    next.removed.clear();
    return finish(std::move(next));
  }

  Refusal finish(GroupRecord next) {
    if (base_)
      plan_.findings.push_back("the newest record left is of epoch " + number(base_->epoch) + " (" +
                               base_from_ + "): " + base_->leader.text() + " led, in-sync set " +
                               list(base_->isr));
    if (there_.record) next.region_term = std::max(next.region_term, there_.record->region_term);
    next.epoch = plan_.highest.next();
    next.mode = GroupMode::serving;
    next.by = request_.by;
    next.reason = request_.reason;
    next.at = request_.now;
    if (plan_.highest.value > kEpochMax)
      return Failure{"epoch " + number(plan_.highest) +
                     " was found, which no group can have reached: a disk or a report is damaged"};
    if (!request_.without.empty() && invalid(next).empty()) {
      const std::string words = encode_group_record(next);
      const std::uint64_t somewhere = checksum64(as_bytes(words));
      const auto ms = static_cast<std::uint64_t>(std::max<std::int64_t>(request_.now.ms, 0));
      const std::uint64_t at = ms * kEpochsPerMs;
      const std::uint64_t first = next.epoch.value;
      const bool of_a_repair = first >= kEpochsOfRepairs;
      if (at >= first + (of_a_repair ? kEpochsBehindRepair : kEpochsPassedOver)) {
        next.epoch.value = at + somewhere % kEpochsPerMs;
      } else {
        const std::uint64_t within_a_second = at + somewhere % (1'000 * kEpochsPerMs);
        next.epoch.value = first + kEpochsPassedOver + within_a_second % kEpochsPassedOver;
      }
      plan_.findings.push_back(
          "the epochs between " + number(plan_.highest) + " and " + number(next.epoch) +
          " are passed over: a disk that is gone may have used some that nobody else has "
          "heard of, and may come back");
    }
    plan_.revision = request_.there.revision;
    plan_.next = std::move(next);
    return {};
  }

  const RepairRequest& request_;
  std::vector<MemberReport> reports_;
  There there_;
  std::optional<GroupRecord> base_;
  std::string base_from_;
  std::string conflict_;
  bool certain_ = false;
  RepairPlan plan_;
};

MemberReport report_of(std::string_view text) {
  const json::value value = json::parse(text);
  const Fields fields(value, "the report", 8);
  if (fields.number("format") != kReportFormat)
    throw fields.problem("format", "is not 1; use the newer program");
  MemberReport report;
  report.member = {fields.text("node"), fields.uuid("incarnation")};
  if (report.member.node.empty() || report.member.node.size() > kNodeNameMax)
    throw fields.problem("node", "is no name of a node");
  if (report.member.incarnation.is_nil()) throw fields.problem("incarnation", "is nil");
  report.cluster = fields.uuid("cluster");
  report.promised = Epoch{fields.number("promised_epoch")};
  report.seen = Epoch{fields.number("seen_epoch")};
  if (const json::value& record = fields.at("record"); !record.is_null()) {
    auto decoded = decode_group_record(json::serialize(record));
    if (!decoded) throw fields.problem("record", "is no record of a group: " + decoded.error().why);
    report.record = std::move(*decoded);
  }
  report.at = WallTime{fields.signed_number("at_ms")};
  return report;
}

}  // namespace

std::string encode_member_report(const MemberReport& report) {
  return json::serialize(json::object{
      {"format", kReportFormat},
      {"node", report.member.node},
      {"incarnation", report.member.incarnation.text()},
      {"cluster", report.cluster.text()},
      {"promised_epoch", report.promised.value},
      {"seen_epoch", report.seen.value},
      {"record", report.record ? json::parse(encode_group_record(*report.record)) : json::value()},
      {"at_ms", report.at.ms}});
}

Result<MemberReport, Failure> decode_member_report(std::string_view text) {
  if (text.size() > kReportBytesMax) return Failure{"it is longer than a report can be"};
  // Somebody else's words may be anything; what is thrown about them ends here.
  try {
    return report_of(text);
  } catch (const std::exception& problem) {
    return Failure{problem.what()};
  }
}

RegisterHealth register_health(const Stored& stored, const std::string& group,
                               const std::vector<MemberReport>& reports) {
  RegisterHealth health;
  const MemberReport* highest = nullptr;
  for (const MemberReport& report : reports)
    if (highest == nullptr || seen_by(report) > health.seen) {
      health.seen = seen_by(report);
      highest = &report;
    }
  const There there = read(stored);
  if (there.record) health.there = there.record->epoch;
  if (!there.wrong.empty()) {
    health.what = "the register holds something that is no record of group " + group + ": " + there.wrong;
  } else if (there.record && highest != nullptr && there.record->cluster != highest->cluster) {
    health.what = "the register's record of group " + group + " is about cluster " +
                  there.record->cluster.text() + ", and " + highest->from + " belongs to cluster " +
                  highest->cluster.text();
  } else if (health.there < health.seen) {
    health.what = (there.record ? "the register holds epoch " + number(health.there)
                                : std::string("the register has no record")) +
                  " of group " + group + ", and " + highest->from + " has seen epoch " + number(health.seen) +
                  ": the register was restored from an older copy, replaced or removed";
  }
  return health;
}

Result<RepairPlan, Failure> plan_repair(const RepairRequest& request) {
  auto plan = Planner(request).plan();
  if (!plan) return plan;
  if (const std::string wrong = invalid(plan->next); !wrong.empty())
    return Failure{"the record that would be written is not valid: " + wrong};
  return plan;
}

}  // namespace mainstay::coordination
