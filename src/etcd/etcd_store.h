// A quorum of voters as store: etcd v3. Only linearizable reads and transactions that compare are used; no
// lease, no watch decides anything.
#pragma once

#include <mutex>
#include <string>

#include "etcd/etcd_client.h"

namespace mainstay::etcd {

/// Thread-safe (one call at a time). A swap whose answer did not come is `unknown` and is not tried again at
/// another member: it may still happen.
class EtcdStore final : public coordination::Store {
 public:
  EtcdStore(EtcdOptions options, Clock& clock);

  [[nodiscard]] Result<coordination::Stored, coordination::RegisterError> read() override;
  [[nodiscard]] Result<coordination::StoreSwap, coordination::RegisterError> compare_and_swap(
      std::uint64_t expected_revision, const std::string& value, const Rule& rule) override;

 private:
  struct Entry;
  Result<Entry, coordination::RegisterError> load(Instant deadline);

  const std::string key_;  ///< as the gateway wants it
  std::mutex mutex_;
  EtcdClient client_;  ///< guarded by mutex_
};

}  // namespace mainstay::etcd
