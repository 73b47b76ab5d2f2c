#include "etcd/alive_keys.h"

#include <boost/json.hpp>

namespace mainstay::etcd {

namespace json = boost::json;

std::string encode_alive(const Alive& alive) {
  return json::serialize(json::object{{"format", 1},
                                      {"node", alive.node},
                                      {"incarnation", alive.incarnation},
                                      {"role", alive.role},
                                      {"epoch", alive.epoch},
                                      {"at_ms", alive.at.ms}});
}

std::optional<Alive> decode_alive(std::string_view text) {
  boost::system::error_code not_json;
  const json::value value = json::parse(text, not_json);
  if (not_json || !value.is_object()) return std::nullopt;
  const json::object& object = value.as_object();
  const json::value* format = object.if_contains("format");
  const json::value* epoch = object.if_contains("epoch");
  const json::value* at = object.if_contains("at_ms");
  if (format == nullptr || !format->is_int64() || format->as_int64() != 1) return std::nullopt;
  if (epoch == nullptr || at == nullptr || !at->is_int64()) return std::nullopt;
  Alive alive;
  alive.node = text_at(value, "node");
  alive.incarnation = text_at(value, "incarnation");
  alive.role = text_at(value, "role");
  alive.at = {at->as_int64()};
  boost::system::error_code no_number;
  alive.epoch = epoch->to_number<std::uint64_t>(no_number);
  if (no_number || alive.node.empty() || alive.role.empty()) return std::nullopt;
  return alive;
}

std::optional<AliveKeys> AliveKeys::of(const RegisterPlace& place, const std::string& region, Clock& clock) {
  if (!place.etcd) return std::nullopt;
  EtcdOptions options = *place.etcd;
  const std::string prefix = place.prefix + "/" + place.group + "/alive/" + region + "/";
  options.key = prefix;
  options.follow_restored = true;  // nothing is decided by it
  options.tell = nullptr;
  return AliveKeys(std::move(options), prefix, clock);
}

AliveKeys::AliveKeys(EtcdOptions options, std::string prefix, Clock& clock)
    : prefix_(std::move(prefix)), client_(std::move(options), clock) {}

Result<json::value, coordination::RegisterError> AliveKeys::ask(const std::string& path,
                                                                const std::string& body) {
  auto answer = client_.ask(path, body, EtcdClient::Repeat::safe, client_.deadline());
  if (!answer) return answer.error();
  return std::move(answer->body);
}

Result<void, coordination::RegisterError> AliveKeys::say(const Alive& alive) {
  bool same = !lease_.empty() && said_.role == alive.role && said_.epoch == alive.epoch &&
              said_.incarnation == alive.incarnation;
  if (!lease_.empty()) {
    const auto kept = ask("/v3/lease/keepalive", json::serialize(json::object{{"ID", lease_}}));
    if (!kept) return kept.error();
    if (number_at(*kept, "TTL") == 0) {  // the voters have let it run out, or are others
      lease_.clear();
      same = false;
    }
  }
  if (same) return {};
  if (lease_.empty()) {
    const auto granted =
        ask("/v3/lease/grant", json::serialize(json::object{{"TTL", kTimeToLive.ns / seconds(1).ns}}));
    if (!granted) return granted.error();
    lease_ = text_at(*granted, "ID");
    if (lease_.empty()) return client_.problem("an answer that cannot be read: " + json::serialize(*granted));
  }
  const auto put = ask("/v3/kv/put", json::serialize(json::object{{"key", base64_of(prefix_ + alive.node)},
                                                                  {"value", base64_of(encode_alive(alive))},
                                                                  {"lease", lease_}}));
  if (!put) {
    lease_.clear();  // it may be the lease that is gone
    return put.error();
  }
  said_ = alive;
  return {};
}

Result<void, coordination::RegisterError> AliveKeys::leave() {
  if (lease_.empty()) return {};
  const auto revoked = ask("/v3/lease/revoke", json::serialize(json::object{{"ID", lease_}}));
  lease_.clear();
  if (!revoked) return revoked.error();
  return {};
}

Result<std::map<std::string, Alive>, coordination::RegisterError> AliveKeys::read() {
  std::string end = prefix_;
  end.back() = static_cast<char>(end.back() + 1);  // what follows every key that begins with the prefix
  const auto answer =
      ask("/v3/kv/range",
          json::serialize(json::object{{"key", base64_of(prefix_)}, {"range_end", base64_of(end)}}));
  if (!answer) return answer.error();
  std::map<std::string, Alive> all;
  const json::value* kvs = answer->is_object() ? answer->as_object().if_contains("kvs") : nullptr;
  if (kvs == nullptr || !kvs->is_array()) return all;
  for (const json::value& kv : kvs->as_array()) {
    const auto value = from_base64(text_at(kv, "value"));
    if (!value) continue;
    if (const auto alive = decode_alive(*value)) all[alive->node] = *alive;
  }
  return all;
}

}  // namespace mainstay::etcd
