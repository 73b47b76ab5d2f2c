#include "client/publish_queue.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "client/advice.h"
#include "client/backoff.h"

namespace mainstay::client {

bool PublishQueue::add(std::uint64_t tag, Buffer message) {
  if (!has_room()) return false;
  bytes_ += message.size();
  Item item;
  item.tag = tag;
  item.message = std::move(message);
  items_.emplace(next_place_++, std::move(item));
  return true;
}

Result<void, ClientError> PublishQueue::link_opened(std::optional<Duration> duplicate_window) {
  MS_ASSERT(on_its_way_ == 0, "the link before is over");
  const bool detects = !duplicate_window || duplicate_window->ns > 0;
  if (!detects && options_.on_unknown == UnknownOutcome::resend) {
    return ClientError{
        condition::no_duplicate_detection,
        "the queue does not detect duplicates, so a message whose outcome is unknown cannot be "
        "sent again without being stored twice: declare the queue with duplicate_detection, or "
        "choose report (at most once) or resend-anyway (at least once)"};
  }
  window_ = detects && options_.on_unknown == UnknownOutcome::resend ? duplicate_window : std::nullopt;
  link_open_ = true;
  refused_ = false;
  cursor_ = 0;
  return {};
}

const PublishQueue::Item* PublishQueue::next(Instant now) {
  if (!link_open_ || refused_ || now < not_before_) return nullptr;
  for (auto at = items_.lower_bound(cursor_); at != items_.end();) {
    const auto here = at++;
    if (!forgotten(here->second, now)) return &here->second;
    finish(
        here, PublishResult::Kind::unknown,
        {condition::window_passed, "the queue remembers ids for " + std::to_string(window_->milliseconds()) +
                                       " ms, and the attempt without answer is older than that"});
  }
  return nullptr;
}

void PublishQueue::sent(Instant now) {
  const auto at = items_.lower_bound(cursor_);
  MS_ASSERT(link_open_ && at != items_.end(), "what next() gave is sent");
  Item& item = at->second;
  if (item.attempts++ > 0) ++resent_;
  if (!item.earlier_unknown) item.first_sent = now;
  item.on_its_way = true;
  ++on_its_way_;
  const bool fresh = places_.emplace(item.tag, at->first).second;
  MS_ASSERT(fresh, "tags on their way differ");
  cursor_ = at->first + 1;
}

void PublishQueue::outcome(const SendOutcome& outcome, Instant now, Random& random) {
  if (outcome.kind == SendOutcome::Kind::unknown) return;
  const auto place = places_.find(outcome.tag);
  if (place == places_.end()) return;
  const auto at = items_.find(place->second);
  places_.erase(place);
  --on_its_way_;
  at->second.on_its_way = false;
  if (outcome.kind == SendOutcome::Kind::accepted) {
    refusals_ = 0;
    finish(at, PublishResult::Kind::confirmed, {});
  } else if (outcome.kind == SendOutcome::Kind::rejected && message_at_fault(outcome.error.condition)) {
    finish(at, PublishResult::Kind::rejected, outcome.error);
  } else {
    if (!std::exchange(refused_, true)) {
      const Duration wait = full_jitter({options_.retry_floor, options_.retry_ceiling}, ++refusals_, random);
      not_before_ = now + wait;
    }
  }
  // A link that stays open may go on once it is known what of those behind was taken.
  if (refused_ && on_its_way_ == 0 && link_open_) {
    refused_ = false;
    cursor_ = 0;
  }
}

void PublishQueue::link_lost(const ClientError& why) {
  link_open_ = false;
  refused_ = false;
  for (auto at = items_.begin(); at != items_.end();) {
    const auto here = at++;
    if (!std::exchange(here->second.on_its_way, false)) continue;
    here->second.earlier_unknown = true;
    if (options_.on_unknown == UnknownOutcome::report) finish(here, PublishResult::Kind::unknown, why);
  }
  places_.clear();
  on_its_way_ = 0;
}

void PublishQueue::give_up(const ClientError& why) {
  link_lost(why);
  while (!items_.empty()) {
    const bool maybe = items_.begin()->second.earlier_unknown;
    finish(items_.begin(), maybe ? PublishResult::Kind::unknown : PublishResult::Kind::rejected, why);
  }
}

void PublishQueue::finish(Items::iterator at, PublishResult::Kind kind, const ClientError& error) {
  const Item& item = at->second;
  results_.push_back({item.tag, kind, item.attempts, item.earlier_unknown, error});
  bytes_ -= item.message.size();
  items_.erase(at);
}

std::vector<PublishResult> PublishQueue::take_results() {
  return std::exchange(results_, {});
}

std::optional<Instant> PublishQueue::next_retry() const {
  if (!link_open_ || refused_ || items_.lower_bound(cursor_) == items_.end()) return std::nullopt;
  return not_before_;
}

}  // namespace mainstay::client
