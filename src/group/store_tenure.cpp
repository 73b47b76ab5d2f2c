#include "group/store_tenure.h"

#include <utility>

#include "base/assert.h"

namespace mainstay::group {

StoreTenure::StoreTenure(TenureOptions options, bool locked, Instant now)
    : options_(options), locked_(locked), begun_(now), look_at_(now), lock_at_(now) {}

void StoreTenure::leave(const std::string& why) {
  if (std::exchange(over_, true)) return;
  out_.emplace_back(LeaveStore{why});
}

void StoreTenure::tick(bool leads, Instant now) {
  if (over_) return;
  if (leads && !led_since_) led_since_ = now;
  if (!led_since_ && now - begun_ > options_.lead_within) {
    // With the lock in its hands it would keep everybody from leading.
    return leave("its lead was not entered in the register within " +
                 std::to_string(options_.lead_within.milliseconds()) +
                 " ms; another node may reach the register");
  }
  if (!checking_ && now >= look_at_) {
    checking_ = true;
    look_at_ = now + options_.look_every;
    out_.emplace_back(CheckFence{});
  }
  if (!locked_ && !locking_ && now >= lock_at_) {
    locking_ = true;
    out_.emplace_back(TryLock{});
  }
  if (led_since_ && !removed_ && now - *led_since_ >= options_.remove_old_after) {
    removed_ = true;
    out_.emplace_back(RemoveOldClaims{});
  }
}

void StoreTenure::fence_checked(const std::string& lost) {
  checking_ = false;
  if (!lost.empty()) leave(lost);
}

void StoreTenure::lock_tried(StoreWatch::Lock outcome, const std::string& what, Instant now) {
  MS_ASSERT(locking_, "an answer follows its question");
  locking_ = false;
  locked_ = outcome == StoreWatch::Lock::taken;
  holder_ = locked_ ? "" : what;
  lock_at_ = now + options_.lock_retry;
}

void StoreTenure::outputs(std::vector<TenureOutput>& into) {
  for (TenureOutput& each : out_) into.push_back(std::move(each));
  out_.clear();
}

}  // namespace mainstay::group
