#include "config/group_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/group_reader.h"

namespace mainstay::config {
namespace {

using Need = TableReader::Need;

constexpr std::size_t kNodesMax = 16;  // as coordination::kMembersMax

/// For a quiet link within a metropolitan area: a takeover well within a second.
GroupTimeouts fast() {
  GroupTimeouts t;
  t.beacon_interval = milliseconds(25);
  t.drop_after = milliseconds(150);
  t.lease = milliseconds(250);
  t.suspect_after = milliseconds(400);
  t.register_interval = milliseconds(150);
  t.register_retry = milliseconds(50);
  t.rejoin_after = milliseconds(100);
  t.suspect_after_max = milliseconds(3'000);
  return t;
}

std::string in_ms(Duration d) {
  return fmt::format("{} ms", d.milliseconds());
}

struct Value {
  const char* key;
  Duration value;
};
/// `lower` must be below `upper`, or equal to it when `may_equal`.
struct Relation {
  Value lower, upper;
  int times = 1;  ///< of the lower one
  bool may_equal = false;
  const char* why;
};

std::vector<Relation> relations(const GroupTimeouts& t) {
  const Value beacon{"beacon_interval_ms", t.beacon_interval}, drop{"drop_after_ms", t.drop_after},
      lease{"lease_ms", t.lease}, suspect{"suspect_after_ms", t.suspect_after},
      most{"suspect_after_max_ms", t.suspect_after_max}, look{"register_interval_ms", t.register_interval},
      retry{"register_retry_ms", t.register_retry};
  return {
      {beacon, drop, 3, true, "else one or two lost packets count as a dead node"},
      {drop, lease, 1, false,
       "else a leader whose backup died stops delivering before it goes on without it"},
      {lease, suspect, 1, false, "else an isolated leader still delivers when its backup takes over"},
      {suspect, most, 1, true, "the one is the floor, the other the ceiling"},
      {look, lease, 1, false,
       "else a leader without a backup loses its lease between two looks into the register"},
      {retry, look, 1, true, "a question that was not answered is asked again no later than the next one"},
  };
}

/// drop_after < suspect_after follows from the relations, and is what src/group asserts.
void check_relations(TableReader& t, const GroupTimeouts& timeouts, const std::string& profile) {
  for (const Relation& r : relations(timeouts)) {
    const Duration lower{r.lower.value.ns * r.times};
    if (lower < r.upper.value || (r.may_equal && lower == r.upper.value)) continue;
    const auto shown = [&](const Value& it) {
      return fmt::format("\"{}\" ({}{})", it.key, in_ms(it.value),
                         t.has(it.key) ? "" : fmt::format(", from the profile \"{}\"", profile));
    };
    t.problem(t.has(r.lower.key) ? r.lower.key : r.upper.key,
              fmt::format("{}{} must be {} than {}: {}; raise the second or lower the first",
                          r.times == 1 ? "" : fmt::format("{} times ", r.times), shown(r.lower),
                          r.may_equal ? "not longer" : "shorter", shown(r.upper), r.why));
  }
}

GroupTimeouts read_timeouts(TableReader& t) {
  const std::string profile = t.choice("profile", {"default", "fast"}, "default");
  GroupTimeouts all = profile == "fast" ? fast() : GroupTimeouts();
  const auto ms = [&](const char* key, std::int64_t min, std::int64_t max, Duration& value) {
    value = milliseconds(t.integer(key, min, max, value.milliseconds()));
  };
  ms("beacon_interval_ms", 5, 60'000, all.beacon_interval);
  ms("drop_after_ms", 15, 600'000, all.drop_after);
  ms("lease_ms", 20, 600'000, all.lease);
  ms("suspect_after_ms", 25, 600'000, all.suspect_after);
  if (!t.has("suspect_after_max_ms"))
    all.suspect_after_max = std::max(all.suspect_after_max, all.suspect_after);
  ms("suspect_after_max_ms", 25, 3'000'000, all.suspect_after_max);
  ms("register_interval_ms", 10, 600'000, all.register_interval);
  ms("register_retry_ms", 5, 60'000, all.register_retry);
  ms("rejoin_after_ms", 0, 600'000, all.rejoin_after);
  check_relations(t, all, profile);
  return all;
}

Layout layout_of(const GroupConfig& group, const std::string& name, const std::string& region,
                 const RegisterPlace& place) {
  Layout layout;
  layout.nodes.push_back({name, group.listen, {group.zone, group.site, region}});
  for (const GroupConfig::Node& other : group.others)
    layout.nodes.push_back({other.name, other.address, {other.zone, other.site, region}});
  layout.kind = place.etcd.empty() ? RegisterKind::file : RegisterKind::voters;
  layout.voters = place.voters;
  return layout;
}

}  // namespace

std::optional<GroupConfig> read_group(TableReader& t, Report& report, const std::string& name,
                                      const std::string& region, const RegisterPlace& place,
                                      const std::vector<Place>& voter_places) {
  GroupConfig group;
  const bool shared = t.choice("mode", {"replicated", "shared-store"}, "replicated") == "shared-store";
  if (shared) group.mode = GroupMode::shared_store;
  if (t.choice("lock", {"required", "preferred"}, "required") == "preferred")
    group.lock = StoreLockPolicy::preferred;
  group.listen = t.endpoint("listen", t.present() ? Need::required : Need::optional).value_or(Endpoint{});
  group.zone = read_name(t, "zone", Need::optional);
  group.site = read_name(t, "site", Need::optional);
  std::vector<Place> node_places = {t.place()};
  t.each_table("node", [&](TableReader& node) {
    GroupConfig::Node it;
    it.name = read_name(node, "name", Need::required);
    it.address = node.endpoint("address", Need::required).value_or(Endpoint{});
    if (!it.address.host.empty() && it.address.port == 0)
      node.problem("address",
                   fmt::format("\"{}\" has port 0: name the port of that node's \"listen\" in [group]",
                               it.address.text()));
    it.zone = read_name(node, "zone", Need::optional);
    it.site = read_name(node, "site", Need::optional);
    if (!node.present()) return;  // keys are being listed
    group.others.push_back(std::move(it));
    node_places.push_back(node.place());
  });
  const bool alone = t.present() && group.others.empty();
  group.create = t.flag("create", group.create);
  if (t.choice("promotion", {"automatic", "operator"}, "automatic") == "operator")
    group.promotion = Promotion::by_operator;
  group.min_copies = static_cast<std::uint32_t>(t.integer("min_copies", 1, 2, alone || shared ? 1 : 2));
  group.alone_without_register_max = seconds(t.integer("alone_without_register_max_s", 1, 86'400,
                                                       group.alone_without_register_max.ns / seconds(1).ns));
  group.keep_log_bytes = t.size("keep_log_bytes", 1ULL << 20, 1ULL << 44, group.keep_log_bytes);
  group.copy_bytes_per_second =
      t.size("copy_bytes_per_second", 1ULL << 20, 1ULL << 34, group.copy_bytes_per_second);
  group.catch_up_publish_percent =
      static_cast<unsigned>(t.integer("catch_up_publish_percent", 10, 100, group.catch_up_publish_percent));
  group.catch_up_within =
      seconds(t.integer("catch_up_within_s", 1, 86'400, group.catch_up_within.ns / seconds(1).ns));
  group.timeouts = read_timeouts(t);
  group.unsafe_layout_reason = t.text("allow_unsafe_layout", Need::optional);
  if (!t.present()) return std::nullopt;

  if (!shared && t.has("lock"))
    t.problem(
        "lock",
        "\"lock\" is about the one directory of mode = \"shared-store\": take it away, or add the mode");
  if (shared && group.promotion == Promotion::by_operator)
    t.problem(
        "promotion",
        "\"promotion\" is \"operator\", and in mode \"shared-store\" the standby that finds the store free "
        "leads by itself: take it away, or use mode = \"replicated\"");
  if (shared && group.min_copies > 1)
    t.problem(
        "min_copies",
        "\"min_copies\" is 2, and in mode \"shared-store\" all nodes have one copy: take it away; for two "
        "copies use mode = \"replicated\"");
  if (shared && group.others.empty())
    t.problem("mode",
              "mode \"shared-store\" is for several nodes with one directory: list the others as "
              "[[group.node]], or "
              "take the mode away");
  if (!alone && !group.listen.host.empty() && group.listen.port == 0)
    t.problem("listen",
              fmt::format("\"{}\" has port 0: the other nodes must know the port", group.listen.text()));
  if (group.others.size() + 1 > kNodesMax)
    t.problem("node", fmt::format("a group has at most {} nodes, found {} with this one", kNodesMax,
                                  group.others.size() + 1));
  for (LayoutProblem& problem : check_layout(layout_of(group, name, region, place))) {
    if (may_be_allowed(problem.rule) && !group.unsafe_layout_reason.empty()) {
      group.unsafe_layout.push_back(std::move(problem));
      continue;
    }
    const Place at = problem.where == LayoutProblem::Where::node    ? node_places[problem.index]
                     : problem.where == LayoutProblem::Where::voter ? voter_places[problem.index]
                                                                    : t.place();
    report.add(at, fmt::format("{} ({}{})", problem.what, name_of(problem.rule),
                               may_be_allowed(problem.rule)
                                   ? "; to run without that safety: allow_unsafe_layout = \"why\" in [group]"
                                   : ""));
  }
  return group;
}

std::vector<std::string> layout_warnings(const GroupConfig& group) {
  std::vector<std::string> lines;
  for (const LayoutProblem& problem : group.unsafe_layout)
    lines.push_back(fmt::format("the group's layout is unsafe and was allowed (\"{}\"): {}: {}",
                                group.unsafe_layout_reason, name_of(problem.rule), problem.what));
  if (lines.empty() && !group.unsafe_layout_reason.empty())
    lines.push_back(fmt::format(
        "allow_unsafe_layout (\"{}\") allows nothing, the group's layout is sound: take it away, or a "
        "later mistake is allowed as well",
        group.unsafe_layout_reason));
  return lines;
}

}  // namespace mainstay::config
