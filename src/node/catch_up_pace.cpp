#include "node/catch_up_pace.h"

#include <algorithm>
#include <cmath>

namespace mainstay::node {
namespace {

constexpr double kForgetsIn = 4;  // seconds: before_ follows the load
// Slower than this part of what the node takes in, publishers are not what holds it up.
constexpr double kInTheWay = 1.0 / 8;
// Once a sample. A load that has grown since is let through by and by, while the node comes nearer at half of
// its best speed at least.
constexpr double kLetMore = 1.005, kLetLess = 0.98;
constexpr double kPressed = 0.9;  // of the pace: publishers would send more

double as_double(std::uint64_t n) {
  return static_cast<double>(n);
}

}  // namespace

void CatchUpPace::review(Instant now, std::optional<std::uint64_t> lag) {
  refill(now);
  if (!lag) {
    if (catching_up_since_) last_ = {now, messages_, bytes_, lag};
    catching_up_since_.reset();
    pace_.reset();
    gave_up_ = false;
    left_alone_until_ = {};
  } else if (!catching_up_since_ && *lag >= options_.lag_min) {
    catching_up_since_ = now;
    last_ = {now, messages_, bytes_, lag};
  }
  if (now - last_.at >= options_.sample) take_sample(now, lag);
  next_ = catching_up_since_ ? last_.at + options_.sample : kNever;
  if (!pace_) return;
  // A quarter of a burst is worth telling publishers of.
  const double wanted = std::max(1.0, *pace_ * options_.burst.seconds() / 4);
  if (tokens_ < wanted) {
    const auto wait = static_cast<std::int64_t>((wanted - tokens_) / *pace_ * 1e9);
    next_ = std::min(next_, now + Duration{wait});
  }
}

void CatchUpPace::take_sample(Instant now, std::optional<std::uint64_t> lag) {
  const double took = (now - last_.at).seconds();
  const double published = as_double(messages_ - last_.messages) / took;
  if (messages_ > last_.messages)
    message_bytes_ = std::max(1.0, as_double(bytes_ - last_.bytes) / as_double(messages_ - last_.messages));
  if (!catching_up_since_) {
    before_ += (published - before_) * (1 - std::exp(-took / kForgetsIn));
  } else if (last_.lag) {
    const double nearer = (as_double(*last_.lag) - as_double(*lag)) / took;
    if (pace_) {
      adapt(now, *lag, published, nearer);
    } else {
      begin_if_needed(now, *lag, published, nearer);
    }
  }
  last_ = {now, messages_, bytes_, lag};
}

void CatchUpPace::begin_if_needed(Instant now, std::uint64_t lag, double published, double nearer) {
  if (options_.publish_percent >= 100 || lag < options_.lag_min || now < left_alone_until_) return;
  const double elapsed = (now - *catching_up_since_).seconds();
  if (nearer > 0 && elapsed + as_double(lag) / nearer <= options_.within.seconds()) return;
  const double least = std::max(std::max(before_, published) * options_.publish_percent / 100,
                                (nearer + published) * kInTheWay);
  if (published <= least) return;
  gave_up_ = false;
  pace_ = pace_least_ = std::max(least, 1.0);
  looked_at_ = {now, lag};
  nearer_best_ = 0;
  tokens_ = 0;
  refilled_at_ = now;
}

void CatchUpPace::adapt(Instant now, std::uint64_t lag, double published, double nearer) {
  if (now - looked_at_.at >= options_.fruitless) {
    if (lag >= looked_at_.lag) {
      pace_.reset();
      gave_up_ = true;
      left_alone_until_ = now + options_.leave_alone;
      return;
    }
    looked_at_ = {now, lag};
  }
  nearer_best_ = std::max(nearer_best_, nearer);
  double pace = *pace_;
  if (nearer <= nearer_best_ / 4) {
    pace *= kLetLess;
  } else if (nearer >= nearer_best_ / 2 && published >= kPressed * pace) {
    pace *= kLetMore;
  }
  pace_ = std::max({pace, pace_least_, (nearer + published) * kInTheWay});
}

void CatchUpPace::refill(Instant now) {
  if (!pace_) return;
  tokens_ = std::min(tokens_ + *pace_ * (now - refilled_at_).seconds(), burst());
  refilled_at_ = now;
}

double CatchUpPace::burst() const {
  return std::max(1.0, *pace_ * options_.burst.seconds());
}

std::optional<CatchUpPace::Room> CatchUpPace::room() const {
  if (!pace_) return std::nullopt;
  return Room{static_cast<std::uint64_t>(std::max(0.0, tokens_) * message_bytes_),
              static_cast<std::uint64_t>(burst() * message_bytes_)};
}

}  // namespace mainstay::node
