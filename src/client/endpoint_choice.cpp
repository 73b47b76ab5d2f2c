#include "client/endpoint_choice.h"

#include <algorithm>

#include "base/assert.h"
#include "client/backoff.h"

namespace mainstay::client {
namespace {

constexpr std::int64_t kWaitShareOfOutage = 4;

}  // namespace

EndpointChoice::EndpointChoice(std::size_t count, const ReconnectOptions& options, Random& random,
                               std::size_t first)
    : options_(options), random_(random), endpoints_(count), current_(count == 0 ? 0 : first % count) {
  MS_ASSERT(count > 0, "a client needs an endpoint");
  MS_ASSERT(options.floor.ns > 0 && options.ceiling >= options.floor,
            "waits have a floor and a ceiling above it");
}

Duration EndpointChoice::jittered(unsigned step, Advice why, Instant now) {
  const bool soft = why == Advice::not_live || why == Advice::busy;
  const Duration ceiling = soft                         ? options_.not_live_ceiling
                           : why == Advice::unreachable ? options_.unreachable_ceiling
                                                        : options_.ceiling;
  Duration most = std::min(ceiling, options_.ceiling);
  if (soft && search_since_) {
    const Duration outage = now - *search_since_;
    most = std::max(options_.floor, std::min(most, Duration{outage.ns / kWaitShareOfOutage}));
  }
  return full_jitter({options_.floor, most}, step, random_);
}

EndpointChoice::Next EndpointChoice::next(Instant now) {
  MS_ASSERT(!active_, "one endpoint at a time");
  if (!without_since_) without_since_ = now;
  if (!search_since_) search_since_ = now;
  if (now < round_not_before_) return {std::nullopt, round_not_before_ - now};
  const std::size_t candidates = stay_ ? 1 : endpoints_.size();
  std::optional<Instant> soonest;
  for (std::size_t i = 0; i < candidates; ++i) {
    const std::size_t at = (current_ + i) % endpoints_.size();
    const Instant due = endpoints_[at].not_before;
    if (due <= now) {
      current_ = at;
      active_ = true;
      stay_ = false;
      return {at, {}};
    }
    if (!soonest || due < *soonest) soonest = due;
  }
  return {std::nullopt, *soonest - now};
}

void EndpointChoice::served(Instant now) {
  if (served_since_ || !active_) return;
  served_since_ = now;
  without_since_.reset();
  credentials_refused_ = request_refused_ = 0;
}

void EndpointChoice::left() {
  active_ = false;
  served_since_.reset();
}

void EndpointChoice::failed(Advice why, Instant now) {
  if (!active_) return;
  active_ = false;
  if (!without_since_) without_since_ = now;
  Endpoint& endpoint = endpoints_[current_];
  const bool served_long = served_since_ && now - *served_since_ >= options_.served_long;
  const bool served = served_since_.has_value();
  served_since_.reset();
  if (served_long) {
    search_since_ = now;
    for (Endpoint& each : endpoints_) each.failures = 0;
    rounds_ = tries_ = 0;
    hope_ = Advice::silent;
  }
  if (served) tried_in_round_ = 0;  // what is tried from here on is a new search
  if (why == Advice::credentials) ++credentials_refused_;
  if (why == Advice::request) ++request_refused_;
  ++tries_;
  ++endpoint.failures;
  ++tried_in_round_;
  if (why == Advice::not_live || why == Advice::busy) hope_ = Advice::not_live;
  if (why == Advice::unreachable && hope_ == Advice::silent) hope_ = Advice::unreachable;
  endpoint.not_before = now + jittered(endpoint.failures, why, now);
  stay_ = why == Advice::busy;
  if (!stay_) current_ = (current_ + 1) % endpoints_.size();
  round_not_before_ = now;
  if (served_long && !stay_) {
    // All clients of a node that died lose it in the same moment.
    round_not_before_ =
        now +
        Duration{static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(options_.floor.ns)))};
  } else if (tried_in_round_ >= endpoints_.size()) {
    tried_in_round_ = 0;
    ++rounds_;
    // Of one endpoint alone the rounds are its tries: one wait is enough.
    if (endpoints_.size() > 1) {
      round_not_before_ = now + jittered(rounds_, hope_, now);
    }
    hope_ = Advice::silent;
  }
}

EndpointChoice::Over EndpointChoice::over(Instant now) const {
  if (options_.credentials_refused_max > 0 && credentials_refused_ >= options_.credentials_refused_max)
    return Over::credentials;
  if (options_.request_refused_max > 0 && request_refused_ >= options_.request_refused_max)
    return Over::request;
  if (options_.give_up_after && !served_since_ && without_since_ &&
      now - *without_since_ >= *options_.give_up_after)
    return Over::outage;
  return Over::no;
}

}  // namespace mainstay::client
