#include "etcd/etcd_store.h"

#include <boost/json.hpp>

namespace mainstay::etcd {

namespace json = boost::json;

/// What a range says about one key.
struct EtcdStore::Entry {
  coordination::Stored stored;
  std::uint64_t mod_revision{};  ///< 0 = the key does not exist

  static std::optional<Entry> of(const json::value& range) {
    Entry entry;
    const json::value* kvs = range.is_object() ? range.as_object().if_contains("kvs") : nullptr;
    if (kvs == nullptr || !kvs->is_array() || kvs->as_array().empty()) return entry;
    const json::value& kv = kvs->as_array().front();
    entry.stored.revision = number_at(kv, "version");
    entry.mod_revision = number_at(kv, "mod_revision");
    const auto value = from_base64(text_at(kv, "value"));
    if (!value || entry.stored.revision == 0 || entry.mod_revision == 0) return std::nullopt;
    entry.stored.value = *value;
    return entry;
  }
};

EtcdStore::EtcdStore(EtcdOptions options, Clock& clock)
    : key_(base64_of(options.key)), client_(std::move(options), clock) {}

Result<EtcdStore::Entry, coordination::RegisterError> EtcdStore::load(Instant deadline) {
  const auto answer = client_.ask("/v3/kv/range", json::serialize(json::object{{"key", key_}}),
                                  EtcdClient::Repeat::safe, deadline);
  if (!answer) return answer.error();
  const auto entry = Entry::of(answer->body);
  if (!entry) return client_.problem("an answer that cannot be read: " + json::serialize(answer->body));
  return *entry;
}

Result<coordination::Stored, coordination::RegisterError> EtcdStore::read() {
  const std::lock_guard lock(mutex_);
  auto entry = load(client_.deadline());
  if (!entry) return entry.error();
  return std::move(entry->stored);
}

Result<coordination::StoreSwap, coordination::RegisterError> EtcdStore::compare_and_swap(
    std::uint64_t expected_revision, const std::string& value, const Rule& rule) {
  const std::lock_guard lock(mutex_);
  const Instant deadline = client_.deadline();
  auto there = load(deadline);
  if (!there) return there.error();
  if (there->stored.revision != expected_revision)
    return coordination::StoreSwap{coordination::CasOutcome::lost, std::move(there->stored)};
  if (auto why = rule(there->stored)) return std::move(*why);
  // The rule looked at exactly this change of the key: nothing came between when it is still the last one.
  // Revisions have gone back in etcd before, after crashes: what the key holds is compared as well.
  json::array compare{json::object{{"key", key_},
                                   {"target", "MOD"},
                                   {"result", "EQUAL"},
                                   {"mod_revision", std::to_string(there->mod_revision)}}};
  if (there->mod_revision != 0) {
    compare.push_back(json::object{
        {"key", key_}, {"target", "VALUE"}, {"result", "EQUAL"}, {"value", base64_of(there->stored.value)}});
  }
  const json::object transaction{
      {"compare", std::move(compare)},
      {"success",
       json::array{json::object{{"request_put", json::object{{"key", key_}, {"value", base64_of(value)}}}}}},
      {"failure", json::array{json::object{{"request_range", json::object{{"key", key_}}}}}}};
  const auto answer =
      client_.ask("/v3/kv/txn", json::serialize(transaction), EtcdClient::Repeat::only_unsent, deadline);
  if (!answer) return answer.error();
  if (!answer->known) return coordination::StoreSwap{coordination::CasOutcome::unknown, {}};
  const json::object& said = answer->body.as_object();
  const json::value* succeeded = said.if_contains("succeeded");
  if (succeeded != nullptr && succeeded->is_bool() && succeeded->as_bool())
    return coordination::StoreSwap{coordination::CasOutcome::won, {expected_revision + 1, value}};
  const json::value* responses = said.if_contains("responses");
  if (responses != nullptr && responses->is_array() && responses->as_array().size() == 1) {
    const json::value& first = responses->as_array().front();
    const json::value* range = first.is_object() ? first.as_object().if_contains("response_range") : nullptr;
    if (range != nullptr) {
      if (auto entry = Entry::of(*range))
        return coordination::StoreSwap{coordination::CasOutcome::lost, std::move(entry->stored)};
    }
  }
  return coordination::StoreSwap{coordination::CasOutcome::unknown, {}};  // an answer that cannot be read
}

}  // namespace mainstay::etcd
