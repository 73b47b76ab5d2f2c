#include "http/control_api.h"

#include <boost/json.hpp>
#include <cmath>

namespace mainstay::http {
namespace {

namespace json = boost::json;

Response error(int status, const std::string& what) {
  return {status, "application/json", json::serialize(json::object{{"error", what}}) + "\n"};
}

// Compares without telling by timing how much of the token was right.
bool same_secret(const std::string& a, const std::string& b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^
                                        static_cast<unsigned char>(b.empty() ? 0 : b[i % b.size()]));
  }
  return difference == 0;
}

std::optional<json::object> read_object(const std::string& body) {
  boost::system::error_code failed;
  json::value value = json::parse(body.empty() ? "{}" : body, failed);
  if (failed || !value.is_object()) return std::nullopt;
  return value.as_object();
}

/// A command's body, field by field. What is missing or of another type is kept: a command does nothing when
/// something of it was not understood.
class Body {
 public:
  explicit Body(const json::object& fields) : fields_(fields) {}

  /// A text that may be absent.
  std::string text(std::string_view key) {
    const json::value* value = fields_.if_contains(key);
    if (value == nullptr) return {};
    if (value->is_string()) return std::string(value->as_string());
    complain(key, "must be a string");
    return {};
  }
  /// A name without which the command cannot be carried out.
  std::string name(std::string_view key, const char* of) {
    std::string given = text(key);
    if (given.empty()) complain(key, std::string("must be given: the name of ") + of);
    return given;
  }
  /// true or false; absent: false.
  bool flag(std::string_view key) {
    const json::value* value = fields_.if_contains(key);
    if (value == nullptr) return false;
    if (value->is_bool()) return value->as_bool();
    complain(key, "must be true or false");
    return false;
  }
  std::vector<std::string> texts(std::string_view key, const char* of) {
    std::vector<std::string> out;
    const json::value* value = fields_.if_contains(key);
    if (value == nullptr || !value->is_array()) {
      complain(key, std::string("must be an array of ") + of);
      return out;
    }
    for (const json::value& each : value->as_array()) {
      if (!each.is_string()) {
        complain(key, "must hold strings only");
        return out;
      }
      out.emplace_back(each.as_string());
    }
    return out;
  }
  /// Whether all that was asked for is there; answers 400 with the first field that is not.
  [[nodiscard]] bool understood(const Respond& respond) const {
    if (!wrong_.empty()) respond(error(400, wrong_));
    return wrong_.empty();
  }

 private:
  void complain(std::string_view key, const std::string& what) {
    if (wrong_.empty()) wrong_ = "\"" + std::string(key) + "\" in the request body " + what;
  }

  const json::object& fields_;
  std::string wrong_;
};

void respond_with(const CommandResult& result, const Respond& respond) {
  if (result.status != 200) return respond(error(result.status, result.error));
  respond({200, "application/json",
           json::serialize(json::object{
               {"term", result.term}, {"lsn", result.lsn}, {"hash", result.hash}, {"note", result.note}}) +
               "\n"});
}

void region_command(Body body, RegionCommand::What what, ControlBackend& backend, const Respond& respond) {
  RegionCommand command;
  command.what = what;
  command.by = body.text("by");
  command.reason = body.text("reason");
  command.force = body.flag("force");
  if (!body.understood(respond)) return;
  backend.region_command(command, [respond](const CommandResult& result) { respond_with(result, respond); });
}

void known_messages(Body body, ControlBackend& backend, const Respond& respond) {
  const std::string queue = body.name("queue", "a queue");
  const std::vector<std::string> texts = body.texts("ids", "message ids");
  if (!body.understood(respond)) return;
  const auto known = backend.known_messages(queue, texts);
  if (!known) return respond(error(409, known.error().what));
  json::array answer;
  for (const bool one : *known) answer.push_back(json::value(one));
  respond({200, "application/json", json::serialize(json::object{{"known", answer}}) + "\n"});
}

/// @return whether `path` is one of them
bool group_command(const std::string& path, Body body, ControlBackend& backend, const Respond& respond) {
  const CommandDone done = [respond](const CommandResult& result) { respond_with(result, respond); };
  const std::string by = body.text("by");
  if (path == "/group/switch") {
    const std::string to = body.name("to", "the node that is to lead");
    const std::string reason = body.text("reason");
    if (body.understood(respond)) backend.group_switch(to, by, reason, done);
  } else if (path == "/group/promote") {
    const std::string reason = body.text("reason");
    if (body.understood(respond)) backend.group_promote(by, reason, done);
  } else if (path == "/group/reload") {
    const bool force = body.flag("force");
    if (body.understood(respond)) backend.group_reload(by, force, done);
  } else if (path == "/group/remove") {
    const std::string node = body.name("node", "the node that goes");
    const std::string reason = body.text("reason");
    const bool force = body.flag("force");
    if (body.understood(respond)) backend.group_remove(node, by, reason, force, done);
  } else {
    return false;
  }
  return true;
}

}  // namespace

void handle(const Request& request, ControlBackend& backend, const std::string& token,
            const Respond& respond) {
  const std::string path = request.target.substr(0, request.target.find('?'));
  if (request.method == "GET" || request.method == "HEAD") {
    if (path == "/livez") return respond({200, "text/plain", "ok\n"});
    if (path == "/readyz") {
      const NodeStatus status = backend.status();
      if (status.ready) return respond({200, "text/plain", "ready\n"});
      return respond({503, "text/plain", "not ready: " + status.why + "\n"});
    }
    if (path == "/metrics")
      return respond({200, "text/plain; version=0.0.4", metrics_text(backend.status())});
    if (path == "/status") return respond({200, "application/json", status_json(backend.status()) + "\n"});
    return respond(error(404, "no such page; there are /livez /readyz /metrics /status"));
  }
  if (request.method != "POST") return respond(error(405, "GET and POST only"));
  if (token.empty()) {
    return respond(error(403, "this node takes no commands: its configuration has no token under [control]"));
  }
  static constexpr std::string_view kBearer = "Bearer ";
  if (request.authorization.rfind(kBearer, 0) != 0 ||
      !same_secret(token, request.authorization.substr(kBearer.size()))) {
    return respond(
        error(401, "wrong or missing token: send 'Authorization: Bearer …' with the token of [control]"));
  }
  const auto body = read_object(request.body);
  if (!body) return respond(error(400, "the request body is not a JSON object"));
  using What = RegionCommand::What;
  const Body fields(*body);
  if (path == "/region/switch") return region_command(fields, What::switch_away, backend, respond);
  if (path == "/region/promote") return region_command(fields, What::promote, backend, respond);
  if (path == "/region/admit-producers")
    return region_command(fields, What::admit_producers, backend, respond);
  if (path == "/messages/known") return known_messages(fields, backend, respond);
  if (group_command(path, fields, backend, respond)) return;
  respond(
      error(404,
            "no such command; there are /region/switch /region/promote /region/admit-producers /group/switch "
            "/group/promote /group/reload /group/remove /messages/known"));
}

namespace {

json::value copy_json(const NodeStatus::Group::Copy& copy) {
  if (copy.way.empty()) return nullptr;
  return json::object{{"way", copy.way},
                      {"node", copy.node},
                      {"phase", copy.phase},
                      {"bytes_done", copy.bytes_done},
                      {"bytes_total", copy.bytes_total}};
}

json::value store_json(const std::optional<NodeStatus::Group::Store>& store) {
  if (!store) return nullptr;
  return json::object{{"lock_held", store->lock_held}, {"lock_holder", store->lock_holder}};
}

}  // namespace

std::string status_json(const NodeStatus& s) {
  json::array queues;
  for (const QueueStatus& q : s.queues) {
    queues.push_back(json::object{{"name", q.name},
                                  {"active", q.active},
                                  {"dead_letter", q.dead_letter},
                                  {"deferred", q.deferred},
                                  {"scheduled", q.scheduled},
                                  {"locked", q.locked},
                                  {"sessions", q.sessions},
                                  {"bytes", q.bytes},
                                  {"duplicates_dropped", q.duplicates_dropped},
                                  {"oldest_seconds", q.oldest_seconds}});
  }
  json::array stalls;
  for (const NodeStatus::Flow::Stall& stall : s.flow.stalls) {
    stalls.push_back(
        json::object{{"reason", stall.reason}, {"links", stall.links}, {"seconds", stall.seconds}});
  }
  json::object used;
  for (const LimitUsed& each : limits_used(s)) used[each.limit] = each.part;
  json::object out{{"version", s.version},
                   {"node", s.node},
                   {"region", s.region},
                   {"role", s.role},
                   {"ready", s.ready},
                   {"why", s.why},
                   {"term", s.term},
                   {"epoch", s.epoch},
                   {"last_lsn", s.last_lsn},
                   {"durable_lsn", s.durable_lsn},
                   {"committed_lsn", s.committed_lsn},
                   {"applied_lsn", s.applied_lsn},
                   {"log_hash", s.log_hash},
                   {"state_hash", s.state_hash},
                   {"recovery_seconds", s.recovery_seconds},
                   {"queues", queues},
                   {"replication", json::object{{"connected", s.replication.connected},
                                                {"peer_region", s.replication.peer_region},
                                                {"peer_node", s.replication.peer_node},
                                                {"peer_durable_lsn", s.replication.peer_durable_lsn},
                                                {"lag_records", s.replication.lag_records},
                                                {"lag_bytes", s.replication.lag_bytes},
                                                {"lag_seconds", s.replication.lag_seconds},
                                                {"refusals", s.replication.refusals},
                                                {"last_problem", s.replication.last_problem}}},
                   {"journal", json::object{{"record_bytes", s.journal.record_bytes},
                                            {"disk_bytes", s.journal.disk_bytes},
                                            {"room_bytes", s.journal.room_bytes},
                                            {"syncs", s.journal.syncs},
                                            {"batches", s.journal.batches},
                                            {"records", s.journal.records},
                                            {"disk_full", s.journal.disk_full},
                                            {"cleaned_bytes", s.journal.cleaned_bytes},
                                            {"cleaned_messages", s.journal.cleaned_messages},
                                            {"set_aside_bytes", s.journal.set_aside_bytes}}},
                   {"memory", json::object{{"page_bytes", s.memory.page_bytes},
                                           {"directory_bytes", s.memory.directory_bytes},
                                           {"index_bytes", s.memory.index_bytes},
                                           {"pages", s.memory.pages},
                                           {"pages_resident", s.memory.pages_resident},
                                           {"page_loads", s.memory.page_loads},
                                           {"page_stores", s.memory.page_stores},
                                           {"page_disk_bytes", s.memory.page_disk_bytes}}},
                   {"active_region", json::object{{"region", s.active_region.active},
                                                  {"term", s.active_region.term},
                                                  {"phase", s.active_region.phase},
                                                  {"problem", s.active_region.problem}}},
                   {"amqp", json::object{{"connections", s.amqp.connections},
                                         {"published", s.amqp.published},
                                         {"publish_refused", s.amqp.publish_refused},
                                         {"delivered", s.amqp.delivered},
                                         {"settled", s.amqp.settled},
                                         {"authentication_failures", s.amqp.authentication_failures},
                                         {"credit_stalls", s.amqp.credit_stalls},
                                         {"held_publishes", s.amqp.held_publishes}}},
                   {"flow", json::object{{"sending_links", s.flow.sending_links},
                                         {"throttled_links", s.flow.throttled_links},
                                         {"credit_granted", s.flow.credit_granted},
                                         {"budget_bytes", s.flow.budget_bytes},
                                         {"memory_bytes", s.flow.memory_bytes},
                                         {"memory_limit_bytes", s.flow.memory_limit_bytes},
                                         {"held_bytes", s.flow.held_bytes},
                                         {"unfinished_bytes", s.flow.unfinished_bytes},
                                         {"output_bytes", s.flow.output_bytes},
                                         {"journal_backlog_bytes", s.flow.journal_backlog_bytes},
                                         {"confirms_waiting", s.flow.confirms_waiting},
                                         {"limits_used", used},
                                         {"links_cut", s.flow.links_cut},
                                         {"stalls", stalls}}},
                   {"uptime_seconds", s.uptime_seconds}};
  if (s.group) {
    const auto names = [](const std::vector<std::string>& of) {
      json::array all;
      for (const std::string& name : of) all.emplace_back(name);
      return all;
    };
    const auto in_ms = [](double seconds) { return std::llround(seconds * 1e3); };
    json::array others;
    for (const NodeStatus::Group::Other& other : s.group->others) {
      others.push_back(json::object{{"node", other.node},
                                    {"connected", other.connected},
                                    {"in_sync", other.in_sync},
                                    {"packet_version", other.packet_version},
                                    {"lag_records", other.lag_records}});
    }
    json::array nodes;
    for (const NodeStatus::Group::Node& node : s.group->nodes)
      nodes.push_back(json::object{{"name", node.name}, {"state", node.state}, {"lsn", node.lsn}});
    out["group"] = json::object{{"mode", s.group->mode},
                                {"role", s.group->role},
                                {"leader", s.group->leader},
                                {"epoch", s.group->epoch},
                                {"promised_epoch", s.group->promised},
                                {"in_sync", names(s.group->in_sync)},
                                {"need", names(s.group->need)},
                                {"min_copies", s.group->copies_min},
                                {"second_copy_lsn", s.group->second_copy_lsn},
                                {"publish_pace_per_s", s.group->publish_pace},
                                {"fenced", s.group->fenced},
                                {"problem", s.group->problem},
                                {"drop_after_ms", in_ms(s.group->drop_after_seconds)},
                                {"lease_ms", in_ms(s.group->lease_seconds)},
                                {"suspect_after_ms", in_ms(s.group->suspect_after_seconds)},
                                {"round_trip_ms", s.group->round_trip_seconds * 1e3},
                                {"others", std::move(others)},
                                {"register_refused", s.group->register_refused},
                                {"waits_for_operator", s.group->waits_for_operator},
                                {"damage", s.group->damage},
                                {"logs_set_aside", s.group->logs_set_aside},
                                {"alarms", s.group->alarms},
                                {"disk_probe_ms", s.group->disk_probe_seconds * 1e3},
                                {"layout_warnings", names(s.group->layout_warnings)},
                                {"nodes", std::move(nodes)},
                                {"store", store_json(s.group->store)},
                                {"copy", copy_json(s.group->copy)}};
  }
  return json::serialize(out);
}

}  // namespace mainstay::http
