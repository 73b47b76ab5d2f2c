// Questions about locks, for those who settle and renew without the link a message came on.
#include "broker/leader_impl.h"

namespace mainstay::broker {

std::optional<Leader::Locked> Leader::locked(const LockToken& token) const {
  const std::uint32_t index = impl_->find_lock(token);
  if (index == kNone) return std::nullopt;
  const Lock& lock = impl_->locks[index];
  return Locked{QueueId{lock.queue}, lock.sub, lock.in_session ? lock.consumer : ConsumerId{}};
}

}  // namespace mainstay::broker
