#include "etcd/etcd_client.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <set>

#include "base/assert.h"

namespace mainstay::etcd {

namespace json = boost::json;

namespace {

// gRPC's codes, as the gateway tells them in "code".
enum class Code : int {
  invalid_argument = 3,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  unimplemented = 12,
  unavailable = 14,
  unauthenticated = 16,
};

/// No proposal was made: what was asked for has not happened and will not.
bool nothing_happened(int code) {
  switch (static_cast<Code>(code)) {
    case Code::invalid_argument:
    case Code::permission_denied:
    case Code::resource_exhausted:
    case Code::failed_precondition:
    case Code::unimplemented:
    case Code::unauthenticated:
      return true;
    case Code::unavailable:
      break;
  }
  return false;
}

/// What went out under a token that has run out, or was given before users or roles changed.
bool token_is_old(int code, std::string_view error) {
  return static_cast<Code>(code) == Code::unauthenticated ||
         error.find("revision of auth store is old") != std::string_view::npos;
}

}  // namespace

std::string text_at(const json::value& object, std::string_view key) {
  const json::value* found = object.is_object() ? object.as_object().if_contains(key) : nullptr;
  return found != nullptr && found->is_string() ? std::string(found->as_string()) : std::string();
}

/// The gateway writes 64-bit numbers as text.
std::uint64_t number_at(const json::value& object, std::string_view key) {
  const std::string text = text_at(object, key);
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// A cluster that is not the known one, as it answered within one call.
struct EtcdClient::Stranger {
  std::set<std::string> members;  ///< by their own ids: one member behind two endpoints is one
  std::size_t endpoint{};         ///< the first that answered
  json::value body;               ///< what it said
};

EtcdClient::EtcdClient(EtcdOptions options, Clock& clock) : options_(std::move(options)), clock_(clock) {
  MS_ASSERT(!options_.endpoints.empty() && !options_.key.empty(), "a store of voters has members and a key");
}

coordination::RegisterError EtcdClient::problem(const std::string& what) const {
  std::string members;
  for (const auto& endpoint : options_.endpoints)
    members += (members.empty() ? "" : ", ") + endpoint.host + ":" + std::to_string(endpoint.port);
  return {"register " + options_.key + " in etcd (" + members + "): " + what};
}

io::HttpCall EtcdClient::request(std::size_t endpoint, const std::string& path, const std::string& body,
                                 Duration most) const {
  io::HttpCall made;
  made.to = options_.endpoints[endpoint];
  made.method = "POST";
  made.target = path;
  made.body = body;
  made.authorization = token_;
  made.tls = options_.tls;
  made.most = most;
  return made;
}

Result<void, coordination::RegisterError> EtcdClient::authenticate(std::size_t endpoint, Instant deadline) {
  token_.clear();
  const std::string body =
      json::serialize(json::object{{"name", options_.user}, {"password", options_.password}});
  const auto answer =
      io::http_exchange(request(endpoint, "/v3/auth/authenticate", body, deadline - clock_.now()));
  if (!answer) return problem(answer.error().what);
  boost::system::error_code not_json;
  const json::value said = json::parse(answer->body, not_json);
  token_ = not_json ? std::string() : text_at(said, "token");
  if (answer->status == 200 && !token_.empty()) return {};
  return problem("user '" + options_.user + "' is not let in: " +
                 (not_json ? "HTTP status " + std::to_string(answer->status) : text_at(said, "error")) +
                 "; check user and password under [register]");
}

Result<EtcdAnswer, coordination::RegisterError> EtcdClient::ask(const std::string& path,
                                                                const std::string& body, Repeat repeat,
                                                                Instant deadline) {
  std::string troubles;
  const auto trouble = [&](const std::string& what) { troubles += (troubles.empty() ? "" : "; ") + what; };
  std::map<std::string, Stranger> strangers;
  const std::size_t members = options_.endpoints.size();
  for (std::size_t i = 0; i < members; ++i) {
    const std::size_t endpoint = (first_ + i) % members;
    bool fresh_token = false;
    for (;;) {
      const Duration left = deadline - clock_.now();
      if (left.ns <= 0) break;
      // One member that is silent must not use up the time of the others.
      const Duration most{left.ns / static_cast<std::int64_t>(members - i)};
      if (!options_.user.empty() && token_.empty()) {
        if (const auto in = authenticate(endpoint, clock_.now() + most); !in) {
          trouble(in.error().what);
          break;
        }
        fresh_token = true;
      }
      const auto answer = io::http_exchange(request(endpoint, path, body, most));
      if (!answer) {
        if (answer.error().sent && repeat == Repeat::only_unsent)
          return EtcdAnswer{false, {}, answer.error().what};
        trouble(answer.error().what);
        break;
      }
      // An answer that says neither "done" nor "refused" to a change leaves open whether it happened.
      const auto unclear = [&](std::string what) -> std::optional<EtcdAnswer> {
        if (repeat == Repeat::only_unsent) return EtcdAnswer{false, {}, std::move(what)};
        trouble(what);
        return std::nullopt;
      };
      boost::system::error_code not_json;
      json::value said = json::parse(answer->body, not_json);
      if (not_json || !said.is_object()) {
        if (auto open = unclear("HTTP status " + std::to_string(answer->status) +
                                " and no JSON: is it etcd's client port?")) {
          return std::move(*open);
        }
        break;
      }
      if (answer->status != 200) {
        const json::value* code = said.as_object().if_contains("code");
        const int number = code != nullptr && code->is_int64() ? static_cast<int>(code->as_int64()) : 0;
        const std::string error = text_at(said, "error");
        if (!options_.user.empty() && !fresh_token && token_is_old(number, error)) {
          token_.clear();
          continue;
        }
        if (nothing_happened(number)) {
          trouble(error);
          break;
        }
        if (auto open = unclear(error)) return std::move(*open);
        break;
      }
      // What the gateway streams is wrapped.
      const json::value* streamed = said.as_object().if_contains("result");
      if (streamed != nullptr && streamed->is_object()) said = json::value(*streamed);
      const json::value* header = said.as_object().if_contains("header");
      const std::string cluster = header == nullptr ? std::string() : text_at(*header, "cluster_id");
      if (cluster.empty()) {
        if (auto open = unclear("an answer that names no cluster: is it etcd?")) return std::move(*open);
        break;
      }
      if (cluster_id_.empty()) cluster_id_ = cluster;
      if (cluster != cluster_id_) {
        if (repeat == Repeat::only_unsent) return EtcdAnswer{false, {}, "cluster " + cluster + " answered"};
        Stranger& stranger = strangers[cluster];
        if (stranger.members.empty()) {
          stranger.endpoint = endpoint;
          stranger.body = said;
        }
        stranger.members.insert(text_at(*header, "member_id"));
        break;
      }
      first_ = endpoint;
      return EtcdAnswer{true, std::move(said), {}};
    }
  }
  if (!strangers.empty()) return judge(strangers);
  return problem(troubles.empty() ? "no answer in time" : troubles);
}

/// Every endpoint was asked, and none answered as the known cluster.
Result<EtcdAnswer, coordination::RegisterError> EtcdClient::judge(
    std::map<std::string, Stranger>& strangers) {
  for (auto& [id, stranger] : strangers) {
    if (!options_.follow_restored || 2 * stranger.members.size() <= options_.endpoints.size()) continue;
    const auto change =
        problem("the voters are another cluster now, " + id + " instead of " + cluster_id_ + ": " +
                std::to_string(stranger.members.size()) + " of " + std::to_string(options_.endpoints.size()) +
                " endpoints answer as members of it and none as before. They were restored from a snapshot "
                "or made anew; their answers count from now on");
    cluster_id_ = id;
    first_ = stranger.endpoint;
    if (options_.tell) options_.tell(change.what);
    return EtcdAnswer{true, std::move(stranger.body), {}};
  }
  std::string ids;
  for (const auto& [id, stranger] : strangers) ids += (ids.empty() ? "" : ", ") + id;
  return problem("cluster " + ids + " answers, and before cluster " + cluster_id_ +
                 " did: these are not members of one cluster, or it was made anew. Nothing is done; see "
                 "`etcdctl endpoint status` for each, and mend the list of endpoints");
}

}  // namespace mainstay::etcd
