// The frontend's side of flow control: what is in memory, who gets credit, who waits for what.
#include <algorithm>
#include <map>

#include "frontend/connection.h"

namespace mainstay::frontend {
namespace {

constexpr Duration kActiveFor = seconds(5);
// Sharing looks at every link, which takes about a microsecond each: a tenth of the time at most.
constexpr Duration kShareIntervalPerLink = microseconds(10);
constexpr std::size_t kFewLinks = 64;
// A connection may always have this much output on its way, else small clients would wait for large ones.
constexpr std::uint64_t kOutputBytesMin = 64U << 10;
constexpr Duration kUnreadFor = seconds(10);

}  // namespace

// ---- what is in memory
// ---------------------------------------------------------------------------------

void Frontend::account(Connection& connection) {
  const amqp::Engine::Buffered is = connection.engine_->buffered();
  amqp::Engine::Buffered& was = connection.buffered_;
  output_bytes_ = output_bytes_ - was.output + is.output;
  unfinished_bytes_ = unfinished_bytes_ - was.unfinished + is.unfinished;
  if (was.output == 0 && is.output > 0) {
    ++connections_with_output_;
    connection.output_moved_ = connection.now_;
  } else if (was.output > 0 && is.output == 0) {
    --connections_with_output_;
  }
  was = is;
}

void Frontend::forget_account(Connection& connection) {
  output_bytes_ -= connection.buffered_.output;
  unfinished_bytes_ -= connection.buffered_.unfinished;
  if (connection.buffered_.output > 0) --connections_with_output_;
  connection.buffered_ = {};
}

bool Frontend::may_hold(const Connection& connection, std::size_t bytes) const {
  const std::uint64_t half = options_.held_publish_bytes_max / 2;
  if (held_bytes_ + bytes <= half) return true;
  return connection.held_bytes_ + bytes <= half / std::max<std::size_t>(connections_.size(), 1);
}

bool Frontend::may_output(const Connection& connection) const {
  const std::uint64_t own = connection.buffered_.output;
  if (output_bytes_ < options_.output_bytes_max / 2) return true;
  if (output_bytes_ >= options_.output_bytes_max)
    return own == 0 && output_bytes_ < 2 * options_.output_bytes_max;
  return own < std::max(kOutputBytesMin,
                        options_.output_bytes_max / (2 * std::max<std::size_t>(connections_with_output_, 1)));
}

void Frontend::cut_unfinished() {
  // Whoever has most of it: a producer with one message under way is not ended by others that stand still.
  while (unfinished_bytes_ > options_.unfinished_bytes_max) {
    Connection* most = nullptr;
    for (auto& [id, connection] : connections_) {
      if (most == nullptr || connection->buffered_.unfinished > most->buffered_.unfinished)
        most = connection.get();
    }
    if (most == nullptr || most->buffered_.unfinished == 0) return;
    const amqp::Condition why{"amqp:resource-limit-exceeded",
                              "messages that have begun to arrive and are not complete take more than " +
                                  std::to_string(options_.unfinished_bytes_max) +
                                  " bytes together, most of it from this connection: send it again, fewer "
                                  "large messages at a time"};
    std::size_t cut = 0;
    for (auto at = most->links_.begin(); at != most->links_.end();) {
      const auto [id, link] = std::pair(at->first, &at->second);
      if (most->engine_->unfinished_bytes(id) == 0) {
        ++at;
        continue;
      }
      most->drop_link(id, *link);
      at = most->links_.erase(at);
      most->engine_->detach(id, why);
      ++cut;
    }
    if (most->management_) cut += most->management_->cut_unfinished(why);
    counters_.links_cut += cut;
    account(*most);
    mark_dirty(*most);
    if (cut == 0) return;  // what is left belongs to links that are ended already
  }
}

void Frontend::close_unread(Instant now) {
  if (output_bytes_ < options_.output_bytes_max) return;
  for (auto& [id, connection] : connections_) {
    if (connection->buffered_.output == 0 || now - connection->output_moved_ < kUnreadFor) continue;
    if (connection->closing_) continue;
    connection->closing_ = true;
    ++counters_.links_cut;
    connection->close({"amqp:resource-limit-exceeded",
                       "this client has not read for " + std::to_string(kUnreadFor.milliseconds() / 1000) +
                           " s while the memory for messages to clients is used up"});
    mark_dirty(*connection);
  }
}

// ---- credit
// --------------------------------------------------------------------------------------------

CreditFigures Frontend::figures() const {
  CreditFigures f = backend_.flow();
  // What is ordered is in memory as well, until it is written.
  f.memory_bytes += f.journal_bytes + held_bytes_ + unfinished_bytes_ + output_bytes_ + response_bytes_;
  return f;
}

void Frontend::review_credit(Instant now) {
  const CreditFigures is = figures();
  const bool moved = is != figures_;
  if (!moved && !share_due_ && !credit_due_) return;
  const StallReason bound_before = budget_.bound_by;
  const std::uint32_t window_before = budget_.link_credit;
  figures_ = is;
  budget_ = credit_budget(options_.limits, is);
  if (budget_.link_credit != window_before) credit_due_ = true;
  const std::uint64_t off =
      budget_.bytes > shared_budget_ ? budget_.bytes - shared_budget_ : shared_budget_ - budget_.bytes;
  // Shares that all fit are left alone as long as they do; else they follow the budget in steps.
  const bool off_far = shared_short_ ? off > budget_.capacity / 16 : budget_.bytes < shared_bytes_;
  const bool turned = (budget_.bytes == 0) != (shared_budget_ == 0) || bound_before != budget_.bound_by;
  if (share_due_ || off_far || (shared_short_ && turned)) {
    const Duration interval{kShareIntervalPerLink.ns * static_cast<std::int64_t>(sending_links_)};
    // That there is next to nothing left is told at once, and once.
    if (now - shared_at_ >= interval || sending_links_ <= kFewLinks ||
        (nearly_used_up() && !shared_nearly_used_up_)) {
      share_anew(now);
    } else {
      next_deadline_ = std::min(next_deadline_, shared_at_ + interval);
    }
  } else if (credit_due_) {
    for (auto& [id, connection] : connections_) {
      for (auto& [link_id, link] : connection->links_) {
        if (link.role == amqp::Role::sender) connection->top_up(link_id, link);
      }
      mark_dirty(*connection);
    }
  }
  credit_due_ = false;
}

void Frontend::share_anew(Instant now) {
  share_due_ = false;
  shared_at_ = now;
  shared_budget_ = budget_.bytes;
  shared_nearly_used_up_ = nearly_used_up();
  std::vector<CreditLink> asking;
  asking.reserve(sending_links_);
  std::uint64_t wanted = 0;
  for (auto& [id, connection] : connections_) {
    const std::uint64_t used =
        connection->held_bytes_ + connection->buffered_.output + connection->buffered_.unfinished;
    for (auto& [link_id, link] : connection->links_) {
      if (link.role != amqp::Role::sender || link.left) continue;
      link.active = link.published && now - link.last_publish < kActiveFor;
      asking.push_back({id, link.queue.value, link.size.expected(), used, link.active});
      wanted += options_.limits.link_credit * link.size.expected();
    }
  }
  const std::vector<std::uint64_t> shares = share_credit(options_.limits, budget_.bytes, asking);
  std::size_t next = 0;
  shared_bytes_ = 0;
  for (auto& [id, connection] : connections_) {
    bool any = false;
    for (auto& [link_id, link] : connection->links_) {
      if (link.role != amqp::Role::sender || link.left) continue;
      link.share_bytes = shares[next++];
      shared_bytes_ += link.share_bytes;
      connection->top_up(link_id, link);
      any = true;
    }
    if (any) mark_dirty(*connection);
  }
  shared_short_ = shared_bytes_ < wanted;
  if (budget_.bytes < budget_.capacity / 4) note_stalls(now, false);
}

// ---- who waits
// -----------------------------------------------------------------------------------------

void Frontend::note_stalls(Instant now, bool consumers_too) {
  std::uint64_t waiting = 0, no_credit = 0;
  std::map<broker::QueueId, bool> has_more;
  broker::Leader* leader = backend_.leader();
  for (auto& [id, connection] : connections_) {
    for (auto& [link_id, link] : connection->links_) {
      if (link.left) continue;
      const bool none = connection->engine_->credit_left(link_id) == 0;
      if (link.role == amqp::Role::sender) {
        if (none) ++waiting;
      } else if (consumers_too && none && leader != nullptr && link.attached && !link.session &&
                 link.held.empty() && link.sub == broker::SubQueue::active) {
        const auto [at, is_new] = has_more.emplace(link.queue, false);
        if (is_new) {
          const broker::QueueStats stats = leader->stats(link.queue);
          at->second = stats.active > stats.locked;
        }
        if (at->second) ++no_credit;
      }
    }
  }
  if (waiting == 0 && !held_.empty()) waiting = 1;
  if (figures_.disk_full) waiting = std::max<std::uint64_t>(waiting, sending_links_);
  const StallReason because = figures_.disk_full ? StallReason::disk_full
                              : budget_.bytes > budget_.capacity / 2 && !held_.empty() ? StallReason::journal
                                                                                       : budget_.bound_by;
  for (const StallReason reason : {StallReason::memory, StallReason::journal, StallReason::disk_full,
                                   StallReason::replication, StallReason::catch_up}) {
    stalls_.set(reason, reason == because ? waiting : 0, now);
  }
  // Who waits for the journal to be read is not slow.
  const std::size_t reading = std::min(awaiting_.size(), blocked_links_);
  stalls_.set(StallReason::consumer_window, blocked_links_ - reading, now);
  if (consumers_too) stalls_.set(StallReason::link_credit, no_credit, now);
}

FlowStatus Frontend::flow_status(Instant now) const {
  FlowStatus s;
  const CreditFigures is = figures();
  s.sending_links = sending_links_;
  for (const auto& [id, connection] : connections_) {
    for (const auto& [link_id, link] : connection->links_) {
      if (link.role != amqp::Role::sender || link.left) continue;
      s.credit_granted += connection->engine_->credit_left(link_id);
      if (credit_of(budget_, link.share_bytes, link.size.expected()) < options_.limits.link_credit) {
        ++s.throttled_links;
      }
    }
  }
  s.budget_bytes = credit_budget(options_.limits, is).bytes;
  s.memory_bytes = is.memory_bytes;
  s.memory_limit_bytes = options_.limits.memory_bytes;
  s.held_bytes = held_bytes_;
  s.unfinished_bytes = unfinished_bytes_;
  s.output_bytes = output_bytes_;
  s.journal_backlog_bytes = is.journal_bytes;
  for (std::size_t i = 0; i < kStallReasons; ++i) {
    const auto reason = static_cast<StallReason>(i);
    s.stalls.push_back(
        {stall_reason_name(reason), stalls_.waiting(reason), stalls_.total(reason, now).seconds()});
  }
  return s;
}

}  // namespace mainstay::frontend
