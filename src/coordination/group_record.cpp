#include "coordination/group_record.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <optional>
#include <stdexcept>

#include "base/assert.h"
#include "coordination/json_fields.h"

namespace mainstay::coordination {

namespace json = boost::json;

namespace {

constexpr std::uint64_t kFormat = 2;  // 1: without removed nodes; still written when there are none
constexpr std::size_t kRemovedMax = 64;
constexpr std::size_t kTextMax = 1024;          // of `by` and `reason`
constexpr std::size_t kRecordBytesMax = 65536;  // far more than the longest valid record
constexpr std::array<std::string_view, 2> kModes = {"serving", "draining"};

bool is_name(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kNodeNameMax && std::all_of(name.begin(), name.end(), fits);
}

/// JSON is UTF-8; anything else would leave a record that nobody can read.
bool is_utf8(const std::string& text) {
  boost::system::error_code wrong;
  json::parse(json::serialize(json::string(text)), wrong);
  return !wrong;
}

json::object member_object(const Member& member) {
  return {{"node", member.node}, {"incarnation", member.incarnation.text()}};
}

Member member_of(const json::value& value) {
  const Fields fields(value, "a member", 2);
  return {fields.text("node"), fields.uuid("incarnation")};
}

GroupRecord record_of(std::string_view text) {
  const json::value value = json::parse(text);
  if (value.is_object()) {
    // Before the keys: a newer format may have others.
    const json::value* format = value.get_object().if_contains("format");
    if (format != nullptr && format->is_int64() && format->get_int64() > static_cast<std::int64_t>(kFormat)) {
      throw std::runtime_error("format " + std::to_string(format->get_int64()) +
                               ", this program knows up to " + std::to_string(kFormat) +
                               "; use the newer program");
    }
  }
  const json::value* told = value.is_object() ? value.get_object().if_contains("format") : nullptr;
  const bool newest =
      told != nullptr && told->is_int64() && told->get_int64() == static_cast<std::int64_t>(kFormat);
  const Fields fields(value, "the record", newest ? 11 : 10);
  const std::uint64_t format = fields.number("format");
  if (format != 1 && format != kFormat) throw fields.problem("format", "is not 1 or 2");
  GroupRecord record;
  record.cluster = fields.uuid("cluster");
  record.epoch = Epoch{fields.number("epoch")};
  record.leader = member_of(fields.at("leader"));
  const json::value& isr = fields.at("isr");
  if (!isr.is_array()) throw fields.problem("isr", "is no list");
  for (const json::value& member : isr.get_array()) {
    if (!record.isr.insert(member_of(member)).second) throw fields.problem("isr", "names a member twice");
  }
  const std::string mode = fields.text("mode");
  const auto known = std::find(kModes.begin(), kModes.end(), mode);
  if (known == kModes.end()) throw fields.problem("mode", "is '" + mode + "', which is not known");
  record.mode = static_cast<GroupMode>(known - kModes.begin());
  record.region_term = RegionTerm{fields.number("region_term")};
  record.by = fields.text("by");
  record.reason = fields.text("reason");
  record.at = WallTime{fields.signed_number("at_ms")};
  if (format == 1) return record;
  const json::value& removed = fields.at("removed");
  if (!removed.is_array() || removed.get_array().empty())
    throw fields.problem("removed", "is no list of nodes");
  for (const json::value& node : removed.get_array()) {
    if (!node.is_string() || !record.removed.emplace(node.get_string()).second)
      throw fields.problem("removed", "holds something else than nodes, each once");
  }
  return record;
}

}  // namespace

void throw_exception_from_error(const NotAGroupRecord& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.why.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

std::string invalid(const GroupRecord& record) {
  if (record.cluster.is_nil()) return "it names no cluster";
  if (record.epoch == Epoch{}) return "its epoch is 0";
  if (record.isr.empty()) return "its in-sync set is empty";
  if (record.isr.size() > kMembersMax)
    return "its in-sync set has more than " + std::to_string(kMembersMax) + " members";
  std::string_view before;
  for (const Member& member : record.isr) {
    if (!is_name(member.node)) return "'" + member.node + "' is no name of a node";
    if (member.incarnation.is_nil()) return "node " + member.node + " has no disk";
    if (member.node == before)
      return "node " + member.node + " is in the in-sync set with two disks";  // the set is in order of nodes
    before = member.node;
  }
  if (!record.isr.contains(record.leader))
    return "its leader " + record.leader.text() + " is not in its in-sync set";
  if (record.removed.size() > kRemovedMax)
    return "it names more than " + std::to_string(kRemovedMax) + " removed nodes";
  for (const std::string& node : record.removed) {
    if (!is_name(node)) return "'" + node + "' is no name of a node";
    for (const Member& member : record.isr)
      if (member.node == node) return "node " + node + " is removed and in the in-sync set";
  }
  if (record.by.size() > kTextMax || record.reason.size() > kTextMax)
    return "\"by\" or \"reason\" is longer than " + std::to_string(kTextMax) + " bytes";
  if (!is_utf8(record.by) || !is_utf8(record.reason)) return "\"by\" or \"reason\" is not UTF-8";
  return {};
}

namespace {

std::set<Uuid> disks_of(const GroupRecord& record) {
  std::set<Uuid> disks;
  for (const Member& member : record.isr) disks.insert(member.incarnation);
  return disks;
}

}  // namespace

std::string forbidden(const GroupRecord& from, const GroupRecord& to) {
  if (to.cluster != from.cluster)
    return "it is about cluster " + to.cluster.text() + ", the record there about " + from.cluster.text();
  if (to.region_term < from.region_term) {
    return "its region term " + std::to_string(to.region_term.value) + " is lower than the one there, " +
           std::to_string(from.region_term.value);
  }
  if (to.leader == from.leader) return {};
  // Another node on the same disk, which nodes share: it has what that disk has.
  if (disks_of(to) == disks_of(from) && from.isr.size() == 1 && to.isr.size() == 1) return {};
  if (!from.isr.contains(to.leader))
    return to.leader.text() + " is not in the in-sync set and may miss what was acknowledged";
  if (to.isr != from.isr)
    return "a new leader leaves the in-sync set as it is; changing it is another change, under its own epoch";
  if (to.removed != from.removed)
    return "a new leader leaves the removed nodes as they are; changing them is another change, under its "
           "own "
           "epoch";
  return {};
}

std::string encode_group_record(const GroupRecord& record) {
  const std::string wrong = invalid(record);
  MS_ASSERT(wrong.empty(), "a record that is stored is valid");
  json::array isr;
  for (const Member& member : record.isr) isr.push_back(member_object(member));
  json::object out{{"format", record.removed.empty() ? 1 : kFormat},
                   {"cluster", record.cluster.text()},
                   {"epoch", record.epoch.value},
                   {"leader", member_object(record.leader)},
                   {"isr", std::move(isr)},
                   {"mode", kModes.at(static_cast<std::size_t>(record.mode))},
                   {"region_term", record.region_term.value},
                   {"by", record.by},
                   {"reason", record.reason},
                   {"at_ms", record.at.ms}};
  if (!record.removed.empty()) {
    json::array removed;
    for (const std::string& node : record.removed) removed.push_back(json::value(node));
    out["removed"] = std::move(removed);
  }
  return json::serialize(out);
}

Result<GroupRecord, NotAGroupRecord> decode_group_record(std::string_view text) {
  if (text.size() > kRecordBytesMax)
    return NotAGroupRecord{"it is longer than " + std::to_string(kRecordBytesMax) + " bytes"};
  // Somebody else's words may be anything; what is thrown about them ends here.
  try {
    GroupRecord record = record_of(text);
    if (std::string wrong = invalid(record); !wrong.empty()) return NotAGroupRecord{std::move(wrong)};
    return record;
  } catch (const std::exception& problem) {
    return NotAGroupRecord{problem.what()};
  }
}

}  // namespace mainstay::coordination
