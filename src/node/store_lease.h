// What a node that leads on a store has taken of it, for as long as it leads (shared-store mode).
#pragma once

#include <memory>
#include <string>

#include "base/disk.h"
#include "group/shared_store.h"
#include "group/store_watch.h"
#include "journal/journal.h"

namespace mainstay::node {

struct StoreLease {
  std::string root;  ///< the store's directory
  std::string path;  ///< the claim's
  group::StoreIdentity store;
  group::StoreClaim claim;
  group::TakenStore taken;
  std::string why;                           ///< this node leads
  std::shared_ptr<Disk> disk;                ///< at `root`
  std::unique_ptr<DiskLock> lock;            ///< null: it leads without
  std::shared_ptr<group::StoreFence> fence;  ///< the claim's
  std::string left;                          ///< why the lead was given up, when it was
};

/// What came of asking for the store's lock: `what` names its holder, or says why it could not be asked for.
struct LockTold {
  group::StoreWatch::Lock outcome{};
  std::string what;
};
[[nodiscard]] LockTold told_of(const Result<std::unique_ptr<DiskLock>, DiskError>& lock);

/// The status that Node's `fatal` gets when it has given the store up: the process goes on as a standby.
inline constexpr int kStoreLeft = -1;

/// The journal of a store belongs to no node, and shares its finished files with the claims before and after.
inline void shared_store_options(journal::JournalOptions& options, const StoreLease& lease) {
  options.node = group::kStoreNode;
  options.incarnation = lease.store.incarnation;
  options.reuse_segments = false;
  options.release_step_bytes = 0;
}

}  // namespace mainstay::node
