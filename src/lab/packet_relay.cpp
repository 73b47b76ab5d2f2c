#include "lab/packet_relay.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace mainstay::lab {

PacketRelay::PacketRelay(std::size_t hosts, std::uint64_t seed)
    : hosts_(hosts), links_(hosts * hosts), random_(seed) {}

std::size_t PacketRelay::index(std::size_t from, std::size_t to) const {
  MS_ASSERT(from < hosts_ && to < hosts_ && from != to, "a link joins two different hosts of this network");
  return from * hosts_ + to;
}

void PacketRelay::set_rules(std::size_t from, std::size_t to, const LinkRules& rules) {
  MS_ASSERT(rules.loss >= 0 && rules.loss <= 1, "a loss is a share");
  MS_ASSERT(rules.delay.ns >= 0 && rules.jitter.ns >= 0, "no packet arrives before it is sent");
  links_[index(from, to)].rules = rules;
}

const LinkRules& PacketRelay::rules(std::size_t from, std::size_t to) const {
  return links_[index(from, to)].rules;
}

const LinkCounts& PacketRelay::counts(std::size_t from, std::size_t to) const {
  return links_[index(from, to)].counts;
}

PacketRelay::Fate PacketRelay::enter(std::size_t from, std::size_t to, BytesView packet, Instant now) {
  const std::size_t at = index(from, to);
  Link& link = links_[at];
  if (link.rules.cut) {
    ++link.counts.cut;
    return Fate::drop;
  }
  if ((link.rules.loss > 0 && random_.unit() < link.rules.loss) || link.waiting >= waiting_max) {
    ++link.counts.lost;
    return Fate::drop;
  }
  Instant due = now + link.rules.delay;
  if (link.rules.jitter.ns > 0)
    due.ns += static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(link.rules.jitter.ns) + 1));
  if (!link.rules.reorders) due = std::max(due, link.last_due);
  link.last_due = due;
  if (due <= now && link.waiting == 0) {
    ++link.counts.carried;
    return Fate::hand_over;
  }
  ++link.waiting;
  waiting_.push({due, next_number_++, at, to, Buffer(packet.begin(), packet.end())});
  return Fate::keep;
}

std::optional<PacketRelay::Delivery> PacketRelay::take_due(Instant now) {
  if (waiting_.empty() || waiting_.top().due > now) return std::nullopt;
  // The queue's order does not look at the packet.
  Waiting& top = const_cast<Waiting&>(waiting_.top());
  Delivery delivery{top.to, std::move(top.packet)};
  Link& link = links_[top.link];
  waiting_.pop();
  --link.waiting;
  ++link.counts.carried;
  return delivery;
}

std::optional<Instant> PacketRelay::next_due() const {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.top().due;
}

}  // namespace mainstay::lab
