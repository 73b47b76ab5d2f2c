// Asks the voters: etcd v3 through the JSON gateway that every member serves beside gRPC. One request at a
// time goes to one member after the other until one answers.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
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

/// What the voters said.
struct EtcdAnswer {
  bool known = true;  ///< false: the request went out and nobody said what became of it
  boost::json::value body;
  std::string why_unknown;
};

/// Not thread-safe.
///
/// A change whose answer did not come is not known and not tried again at another member: it may still
/// happen. An answer of another cluster than the first one counts for nothing; the other members are asked.
class EtcdClient {
 public:
  EtcdClient(EtcdOptions options, Clock& clock);

  enum class Repeat : std::uint8_t { safe, only_unsent };
  /// @param path  of the gateway, "/v3/kv/range"
  /// An error: nobody answered; with only_unsent also: certainly not done.
  Result<EtcdAnswer, coordination::RegisterError> ask(const std::string& path, const std::string& body,
                                                      Repeat repeat, Instant deadline);
  /// An error that names key and members.
  [[nodiscard]] coordination::RegisterError problem(const std::string& what) const;
  [[nodiscard]] const EtcdOptions& options() const { return options_; }
  [[nodiscard]] Instant deadline() const { return clock_.now() + options_.most; }

 private:
  struct Stranger;
  Result<void, coordination::RegisterError> authenticate(std::size_t endpoint, Instant deadline);
  Result<EtcdAnswer, coordination::RegisterError> judge(std::map<std::string, Stranger>& strangers);
  [[nodiscard]] io::HttpCall request(std::size_t endpoint, const std::string& path, const std::string& body,
                                     Duration most) const;

  const EtcdOptions options_;
  Clock& clock_;
  std::size_t first_ = 0;  ///< the endpoint to ask first
  std::string token_;
  std::string cluster_id_;  ///< of the first answer, or of the cluster that took its place
};

/// A text of the object, empty when there is none; a 64-bit number, which the gateway writes as text, 0 when
/// there is none.
[[nodiscard]] std::string text_at(const boost::json::value& object, std::string_view key);
[[nodiscard]] std::uint64_t number_at(const boost::json::value& object, std::string_view key);

/// Standard alphabet with padding.
[[nodiscard]] std::string base64_of(std::string_view bytes);
/// Nothing when it is not that.
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);

}  // namespace mainstay::etcd
