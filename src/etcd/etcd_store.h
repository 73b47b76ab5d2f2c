// A quorum of voters as store: etcd v3 through the JSON gateway that every member serves beside gRPC
// (`/v3/kv/range`, `/v3/kv/txn`). Only linearizable reads and transactions that compare are used; no lease,
// no watch decides anything.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "coordination/store.h"
#include "io/http_client.h"

namespace mainstay::etcd {

struct EtcdOptions {
  std::vector<io::HostPort> endpoints;  ///< members, at least one; the one that answered last is asked first
  std::string user, password;           ///< empty: etcd's authentication is off
  std::optional<io::TlsFiles> tls;      ///< nothing: plain HTTP
  std::string key;                      ///< of the record, e.g. "/mainstay/payments/region"
  Duration most = seconds(2);           ///< for one call, all members tried
  /// Voters restored from a snapshot are another cluster. True: that cluster becomes this store's when in one
  /// call more than half of `endpoints` answer as members of it, each as another one, and none as the cluster
  /// before: that one has no majority any more. Only for a record whose readers know themselves what is older
  /// than they have seen.
  bool follow_restored = false;
  /// Told of such a change, on the thread that asked; may be empty.
  std::function<void(const std::string& what)> tell;
};

/// Thread-safe (one call at a time).
///
/// A swap whose answer did not come is `unknown` and is not tried again at another member: it may still
/// happen. An answer of another cluster than the first one counts for nothing; the other members are asked.
class EtcdStore final : public coordination::Store {
 public:
  EtcdStore(EtcdOptions options, Clock& clock);

  [[nodiscard]] Result<coordination::Stored, coordination::RegisterError> read() override;
  [[nodiscard]] Result<coordination::StoreSwap, coordination::RegisterError> compare_and_swap(
      std::uint64_t expected_revision, const std::string& value, const Rule& rule) override;

 private:
  struct Answer;
  struct Entry;
  struct Stranger;
  enum class Repeat : std::uint8_t { safe, only_unsent };
  Result<Answer, coordination::RegisterError> ask(const std::string& path, const std::string& body,
                                                  Repeat repeat, Instant deadline);
  Result<void, coordination::RegisterError> authenticate(std::size_t endpoint, Instant deadline);
  Result<Answer, coordination::RegisterError> judge(std::map<std::string, Stranger>& strangers);
  Result<Entry, coordination::RegisterError> load(Instant deadline);
  [[nodiscard]] io::HttpCall request(std::size_t endpoint, const std::string& path, const std::string& body,
                                     Duration most) const;
  [[nodiscard]] coordination::RegisterError problem(const std::string& what) const;

  const EtcdOptions options_;
  Clock& clock_;
  const std::string key_;  ///< as the gateway wants it
  std::mutex mutex_;       ///< guards what follows
  std::size_t first_ = 0;  ///< the endpoint to ask first
  std::string token_;
  std::string cluster_id_;  ///< of the first answer, or of the cluster that took its place
};

/// Standard alphabet with padding.
[[nodiscard]] std::string base64_of(std::string_view bytes);
/// Nothing when it is not that.
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);

}  // namespace mainstay::etcd
