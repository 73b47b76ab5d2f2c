#include "config/broker_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "config/common.h"
#include "config/exposed.h"
#include "config/group_reader.h"

namespace mainstay::config {
namespace {

using Need = TableReader::Need;

/// Clients, control, the other region and the group never meet at one address.
void check_apart(TableReader& t, const char* here, const Endpoint& at, const char* there,
                 const Endpoint& other) {
  if (at.port != 0 && at == other)
    t.problem(
        "listen",
        fmt::format("\"listen\" in [{}] and in [{}] are both {}: clients, control, the other region and the "
                    "group each have a listener of their own; give it another port",
                    here, there, at.text()));
}

/// Who reaches these listeners can stop the node, read its messages or write its log.
std::string read_exposed(TableReader& t, const std::optional<Endpoint>& listen, std::string_view what) {
  std::string because = t.text("allow_exposed", Need::optional);
  const std::string_view where = listen ? exposed(listen->host) : std::string_view();
  if (!where.empty() && because.empty())
    t.problem("listen", fmt::format("{} listens at {}, {}: it belongs on a private network; name a private "
                                    "address, or say why not: allow_exposed = \"why\"",
                                    what, listen->text(), where));
  if (where.empty() && !because.empty())
    t.problem("allow_exposed",
              "\"allow_exposed\" allows nothing here, \"listen\" is no public address: take it away");
  return because;
}

/// Names that must differ, with the line that had each first.
class Names {
 public:
  void add(TableReader& table, std::string_view what, const std::string& name, const std::string& compared) {
    if (name.empty()) return;
    const auto [at, is_new] = seen_.emplace(compared, table.place("name").line);
    if (!is_new)
      table.problem("name",
                    fmt::format("{} \"{}\" is given twice, first in line {}", what, name, at->second));
  }

 private:
  std::map<std::string, std::uint32_t> seen_;
};

BrokerConfig::Queue read_queue(TableReader& t) {
  constexpr std::int64_t kHundredYears = 100LL * 366 * 86'400;
  BrokerConfig::Queue q;
  q.name = read_queue_name(t, "name");
  q.requires_session = t.flag("requires_session", q.requires_session);
  q.duplicate_detection = t.flag("duplicate_detection", q.duplicate_detection);
  q.duplicate_window_ms =
      1000 * t.integer("duplicate_window_s", 20, 7 * 86'400, q.duplicate_window_ms / 1000);
  q.lock_duration_ms = 1000 * t.integer("lock_duration_s", 1, 300, q.lock_duration_ms / 1000);
  q.max_delivery_count =
      static_cast<std::uint32_t>(t.integer("max_delivery_count", 1, 2000, q.max_delivery_count));
  q.default_ttl_ms = 1000 * t.integer("default_ttl_s", 0, kHundredYears, q.default_ttl_ms / 1000);
  q.dead_letter_on_expiry = t.flag("dead_letter_on_expiry", q.dead_letter_on_expiry);
  q.durability = t.choice("durability", {"journal", "region", "global"}, q.durability);
  q.producers_choose_durability = t.flag("producers_choose_durability", q.producers_choose_durability);
  return q;
}

BrokerConfig read(const Node* root, const std::string& directory, Report& report) {
  BrokerConfig c;
  TableReader top(report, root, "", {});
  bool cluster_given = false;
  {
    TableReader t = top.table("node");
    cluster_given = t.has("cluster");
    c.node.name = read_name(t, "name", Need::required);
    c.node.region = read_name(t, "region", Need::required);
    c.node.data = read_path(t, "data", Need::required, directory);
    c.node.cluster = t.uuid("cluster");
  }
  Place amqp_at;
  {
    TableReader t = top.table("amqp");
    amqp_at = t.place();
    c.amqp.listen = t.endpoint("listen", Need::optional, c.amqp.listen.text()).value_or(c.amqp.listen);
    c.amqp.anonymous = t.flag("anonymous", c.amqp.anonymous);
    c.amqp.max_message_bytes = t.size("max_message_bytes", 1024, 32ULL << 20, c.amqp.max_message_bytes);
    c.amqp.max_frame_bytes =
        static_cast<std::uint32_t>(t.size("max_frame_bytes", 512, 16ULL << 20, c.amqp.max_frame_bytes));
    c.amqp.idle_timeout_s = t.integer("idle_timeout_s", 1, 86'400, c.amqp.idle_timeout_s);
    c.amqp.connections_max =
        static_cast<std::uint32_t>(t.integer("connections_max", 1, 1'000'000, c.amqp.connections_max));
  }
  {
    TableReader t = top.table("control");
    c.control.listen =
        t.endpoint("listen", Need::optional, c.control.listen.text()).value_or(c.control.listen);
    c.control.token = t.secret("token");
    check_apart(t, "control", c.control.listen, "amqp", c.amqp.listen);
    c.control.exposed_because = read_exposed(t, c.control.listen, "the control listener");
  }
  {
    TableReader t = top.table("replication");
    c.replication.listen = t.endpoint("listen");
    if (c.replication.listen) {
      check_apart(t, "replication", *c.replication.listen, "amqp", c.amqp.listen);
      check_apart(t, "replication", *c.replication.listen, "control", c.control.listen);
    }
    c.replication.exposed_because = read_exposed(t, c.replication.listen, "replication between regions");
    c.replication.peers = t.endpoints("peers", 0);
    constexpr std::int64_t kMost = 1'000'000'000'000;
    auto& r = c.replication;
    r.soft_lag_records = static_cast<std::uint64_t>(t.integer("soft_lag_records", 0, kMost, 0));
    r.hard_lag_records = static_cast<std::uint64_t>(t.integer("hard_lag_records", 0, kMost, 0));
    if (r.hard_lag_records != 0 && r.soft_lag_records > r.hard_lag_records)
      t.problem(
          "soft_lag_records",
          fmt::format("\"soft_lag_records\" ({}) must not be greater than \"hard_lag_records\" ({}): the "
                      "soft limit slows publishers before the hard one refuses them",
                      r.soft_lag_records, r.hard_lag_records));
  }
  std::vector<Place> voter_places;
  Place initial_region_at;
  {
    TableReader t = top.table("register");
    initial_region_at = t.place("initial_region");
    static_cast<RegisterPlace&>(c.region_register) = read_register(t, directory, voter_places);
    if (const std::string region = read_name(t, "initial_region", Need::optional); !region.empty())
      c.region_register.initial_region = region;
  }
  {
    TableReader t = top.table("group");
    c.group = read_group(t, report, c.node.name, c.node.region, c.region_register, voter_places);
    if (c.group) {
      check_apart(t, "group", c.group->listen, "amqp", c.amqp.listen);
      check_apart(t, "group", c.group->listen, "control", c.control.listen);
      if (c.replication.listen)
        check_apart(t, "group", c.group->listen, "replication", *c.replication.listen);
    }
    const bool shared = c.group && c.group->mode == GroupMode::shared_store;
    if (c.group && !cluster_given)
      t.problem(
          "mode",
          fmt::format("[group] needs \"cluster\" under [node], the same UUID in every node's file: by it "
                      "{}; `uuidgen` makes one",
                      shared ? "a node tells its group's store from another's"
                             : "the nodes know that their logs are of one cluster"));
    if (shared && (c.replication.listen || !c.replication.peers.empty()))
      t.problem("mode",
                "mode \"shared-store\" and [replication] are both given: this version does not ship a "
                "shared store "
                "to another region; take [replication] away");
    if (const auto& first = c.region_register.initial_region;
        c.group && first && !c.node.region.empty() && *first != c.node.region)
      report.add(
          initial_region_at,
          fmt::format("\"initial_region\" in [register] is \"{}\", and a group leads in its nodes' own "
                      "region, \"{}\", and in no other: take it away (\"create\" in [group] decides who "
                      "writes a new group's first record)",
                      *first, c.node.region));
    if (c.group && c.group->others.empty() && c.group->min_copies > 1 && !c.replication.listen)
      t.problem("min_copies",
                "\"min_copies\" is 2, this group has one node, and no other region can follow ([replication] "
                "listen "
                "is missing): no publish could ever be confirmed; list the other nodes as [[group.node]], or "
                "set it "
                "to 1");
  }
  {
    TableReader t = top.table("journal");
    auto& j = c.journal;
    j.segment_bytes = t.size("segment_bytes", 64ULL << 10, 4ULL << 30, j.segment_bytes);
    // With a smaller segment, the reserve that nobody chose shrinks with it.
    if (!t.has("reserve_bytes")) j.reserve_bytes = std::min(j.reserve_bytes, j.segment_bytes / 4);
    const std::uint64_t reserve = t.size("reserve_bytes", 16ULL << 10, 1ULL << 30, 4ULL << 20);
    if (t.has("reserve_bytes")) j.reserve_bytes = reserve;
    if (j.reserve_bytes >= j.segment_bytes)
      t.problem("reserve_bytes",
                fmt::format("\"reserve_bytes\" ({}) must be smaller than \"segment_bytes\" ({}): "
                            "the reserve is part of a prepared segment",
                            j.reserve_bytes, j.segment_bytes));
    j.checkpoint_every_records =
        static_cast<std::uint64_t>(t.integer("checkpoint_every_records", 100, 1'000'000'000,
                                             static_cast<std::int64_t>(j.checkpoint_every_records)));
    j.body_cache_bytes = t.size("body_cache_bytes", 0, 1ULL << 40, j.body_cache_bytes);
  }
  {
    TableReader t = top.table("limits");
    auto& l = c.limits;
    l.memory_bytes = t.size("memory_bytes", 8ULL << 20, 1ULL << 40, l.memory_bytes);
    const std::uint64_t least = 8 * c.amqp.max_message_bytes;
    if (l.memory_bytes < least)
      t.problem("memory_bytes",
                fmt::format("\"memory_bytes\" ({}) must be at least 8 times \"max_message_bytes\" "
                            "in [amqp] ({}): else one large message could not come in",
                            l.memory_bytes, c.amqp.max_message_bytes));
    // With less memory, the parts of it that nobody chose shrink with it.
    const auto part = [&](const char* key, std::uint64_t fallback, std::uint64_t most) {
      return t.size(key, 64ULL << 10, 1ULL << 40, t.has(key) ? fallback : std::min(fallback, most));
    };
    l.connection_bytes = part("connection_bytes", l.connection_bytes, l.memory_bytes / 4);
    l.queue_bytes = part("queue_bytes", l.queue_bytes, l.memory_bytes / 2);
    l.journal_bytes = part("journal_bytes", l.journal_bytes, l.memory_bytes / 8);
    l.link_credit = static_cast<std::uint32_t>(t.integer("link_credit", 1, 100'000, l.link_credit));
    l.delivery_window =
        static_cast<std::uint32_t>(t.integer("delivery_window", 1, 100'000, l.delivery_window));
  }
  {
    TableReader t = top.table("memory");
    c.memory.index_bytes = t.size("index_bytes", 1ULL << 20, 1ULL << 40, c.memory.index_bytes);
    c.memory.index_hot_bytes = t.size("index_hot_bytes", 0, 1ULL << 40, c.memory.index_hot_bytes);
  }
  {
    TableReader t = top.table("threads");
    c.threads.io = static_cast<std::uint32_t>(t.integer("io", 0, 64, c.threads.io));
    c.threads.spin_us = t.integer("spin_us", 0, 1000, c.threads.spin_us);
  }
  Names users;
  top.each_table("user", [&](TableReader& t) {
    BrokerConfig::User user;
    user.name = read_name(t, "name", Need::required);
    user.password = read_password(t, directory, true);
    users.add(t, "user", user.name, user.name);
    c.users.push_back(std::move(user));
  });
  Names queues;
  top.each_table("queue", [&](TableReader& t) {
    BrokerConfig::Queue queue = read_queue(t);
    if (c.group && c.group->mode == GroupMode::shared_store && queue.durability == "region")
      t.problem(
          "durability",
          "\"durability\" is \"region\", and in mode \"shared-store\" there is no second disk in the region: "
          "use \"journal\"");
    queues.add(t, "queue", queue.name, lower(queue.name));
    c.queues.push_back(std::move(queue));
  });
  {
    TableReader t = top.table("log");
    c.log.level = t.choice("level", {"debug", "info", "warn", "error"}, c.log.level);
  }
  if (root != nullptr && !c.amqp.anonymous && c.users.empty() && !top.has("user"))
    report.add(
        amqp_at,
        "no client could connect: add a [[user]] with name and password, or set anonymous = true in [amqp]");
  return c;
}

}  // namespace

Result<BrokerConfig, Failure> parse_broker_config(std::string_view text, const std::string& file,
                                                  const std::string& directory) {
  const auto document = parse_document(text, file);
  if (!document) return document.error();
  Report report(file);
  BrokerConfig config = read(&*document, directory, report);
  if (!report.empty()) return report.failure();
  return config;
}

std::vector<std::string> exposed_listeners(const BrokerConfig& config) {
  std::vector<std::string> lines;
  const auto tell = [&lines](const char* table, const Endpoint& at, const std::string& because) {
    if (!because.empty())
      lines.push_back(
          fmt::format("[{}] allow_exposed (\"{}\"): {} can be reached by more than a private network", table,
                      because, at.text()));
  };
  tell("control", config.control.listen, config.control.exposed_because);
  if (config.replication.listen)
    tell("replication", *config.replication.listen, config.replication.exposed_because);
  return lines;
}

Result<BrokerConfig, Failure> load_broker_config(const std::string& path) {
  const auto text = read_text_file(path, kConfigBytesMax);
  if (!text)
    return Failure{
        text.error().what +
        "\nname the broker's configuration with --config FILE; docs/configuration.md has an example"};
  return parse_broker_config(*text, path, directory_of(path));
}

std::vector<KeyInfo> broker_config_keys() {
  Report report("");
  (void)read(nullptr, "", report);
  return report.keys();
}

}  // namespace mainstay::config
