// Messages both ways, credit and windows (part 2 of the standard, sections 2.5.6, 2.6.7 and 2.6.12).
#include <algorithm>
#include <cstring>

#include "amqp/engine_impl.h"
#include "base/assert.h"

namespace mainstay::amqp {
namespace {

constexpr std::uint32_t kOutgoingWindow = 0x7fffffff;

/// Reads parts one after another as if they were one range.
class Parts {
 public:
  explicit Parts(std::span<const BytesView> parts) : parts_(parts) {
    for (const auto part : parts) left_ += part.size();
  }
  [[nodiscard]] std::size_t left() const { return left_; }
  void take(std::byte* to, std::size_t bytes) {
    left_ -= bytes;
    while (bytes > 0) {
      const BytesView part = parts_[part_].subspan(at_);
      const std::size_t n = std::min(part.size(), bytes);
      if (n > 0) std::memcpy(to, part.data(), n);
      to += n;
      bytes -= n;
      at_ += n;
      if (at_ == parts_[part_].size()) {
        ++part_;
        at_ = 0;
      }
    }
  }

 private:
  std::span<const BytesView> parts_;
  std::size_t part_ = 0, at_ = 0, left_ = 0;
};

}  // namespace

// ---- credit and windows -------------------------------------------------------------------------------

void EngineImpl::mark_dirty(Session& session) {
  if (session.dirty) return;
  session.dirty = true;
  dirty_sessions_.push_back(session.channel);
}

void EngineImpl::mark_dirty(Session& session, Link& link) {
  mark_dirty(session);
  if (link.dirty) return;
  link.dirty = true;
  session.dirty_links.push_back(link.id);
}

/// Unsettled deliveries take from the window, so that it bounds what the session makes us remember.
std::uint32_t EngineImpl::incoming_room(const Session& session) const {
  const std::uint32_t window = options_.limits.incoming_window;
  return window - std::min(window, session.incoming.live());
}

void EngineImpl::send_flow(Session& session, const Link* link, bool drain) {
  session.incoming_left = std::max(session.incoming_left, incoming_room(session));
  session.flow_due = false;
  FlowOut flow{session.next_incoming_id, session.incoming_left, session.next_outgoing_id, kOutgoingWindow};
  if (link != nullptr) {
    flow.has_link = true;
    flow.handle = link->handle;
    flow.delivery_count = link->delivery_count;
    flow.link_credit = link->credit;
    flow.drain = drain;
  }
  std::byte* to = output_.reserve(kFrameHeaderBytes + kHotFrameBytes);
  send_hot(session.channel, encode_flow(to + kFrameHeaderBytes, flow));
}

void EngineImpl::flush_session(Session& session) {
  session.dirty = false;
  if (session.end_sent) {
    session.dirty_links.clear();
    return;
  }
  flush_disposition(session, true);
  flush_disposition(session, false);
  for (const LinkId id : session.dirty_links) {
    Link* link = find_link(id);
    if (link == nullptr) continue;
    link->dirty = false;
    if (link->state == Link::State::attached) send_flow(session, link, link->drain);
  }
  session.dirty_links.clear();
  if (session.flow_due) send_flow(session, nullptr, false);
}

void EngineImpl::handle_flow(Session& session, const FrameBody& body) {
  FlowFrame flow;
  std::string problem;
  if (!decode(body.fields, flow, problem)) {
    malformed(std::move(problem));
    return;
  }
  // Without next-incoming-id the client has not seen our begin: it counts from the first transfer, 0.
  const std::int32_t room =
      ahead(flow.next_incoming_id.value_or(0) + flow.incoming_window, session.next_outgoing_id);
  session.outgoing_left = room > 0 ? static_cast<std::uint32_t>(room) : 0;
  session.next_incoming_id = flow.next_outgoing_id;
  Link* link = nullptr;
  if (flow.handle) {
    link = link_at(session, *flow.handle);
    if (link == nullptr) return;
  }
  if (session.rest) send_rest(session);
  if (session.starved && session.outgoing_left > 0 && !session.rest) announce_credit(session);
  if (phase_ != Phase::open || session.end_sent) return;
  if (link != nullptr) {
    handle_link_flow(session, *link, flow);
  } else if (flow.echo) {
    session.flow_due = true;
    mark_dirty(session);
  }
}

void EngineImpl::handle_link_flow(Session& session, Link& link, const FlowFrame& flow) {
  if (link.state == Link::State::detach_sent) return;
  if (link.client_role == Role::sender) {
    // A sender that skips deliveries (an answered drain) uses credit up.
    if (flow.delivery_count) {
      const std::int32_t skipped = ahead(*flow.delivery_count, link.delivery_count);
      if (skipped > 0 && static_cast<std::uint32_t>(skipped) <= link.credit_tolerated) {
        const auto n = static_cast<std::uint32_t>(skipped);
        link.delivery_count += n;
        link.credit -= std::min(link.credit, n);
        link.credit_tolerated -= n;
      }
    }
    if (flow.echo) mark_dirty(session, link);
    return;
  }
  if (flow.link_credit) {
    // Transfers under way when the client wrote this are part of its grant.
    const std::int32_t credit =
        ahead(flow.delivery_count.value_or(0) + *flow.link_credit, link.delivery_count);
    const bool absurd = *flow.link_credit > 0x7fffffffU;  // some ask for everything there is
    link.credit = absurd ? 0x7fffffffU : static_cast<std::uint32_t>(std::max(credit, 0));
    link.drain = flow.drain;
  }
  if (flow.echo) mark_dirty(session, link);
  if (flow.link_credit) {
    if (link.credit > 0 && (session.outgoing_left == 0 || session.rest)) session.starved = true;
    handler_.on_credit(link.id, link.credit, link.drain);
  }
}

/// The session's window opened: links that had credit all the time may send on.
void EngineImpl::announce_credit(Session& session) {
  session.starved = false;
  for (std::size_t i = 0; i < session.links.size(); ++i) {
    Link* link = session.links[i];
    if (link == nullptr || link->client_role != Role::receiver || link->state != Link::State::attached)
      continue;
    if (link->credit > 0) handler_.on_credit(link->id, link->credit, link->drain);
    if (phase_ != Phase::open || session.end_sent) return;
  }
}

void EngineImpl::grant_credit(LinkId id, std::uint32_t credit) {
  Link* link = find_link(id);
  if (link == nullptr || phase_ != Phase::open || link->state != Link::State::attached ||
      link->client_role != Role::sender || link->credit == credit) {
    return;
  }
  link->credit = credit;
  link->credit_tolerated = std::max(link->credit_tolerated, credit);
  mark_dirty(*session_on(link->channel), *link);
}

std::uint32_t EngineImpl::credit_left(LinkId id) const {
  const Link* link = find_link(id);
  return link != nullptr && phase_ == Phase::open && link->state != Link::State::detach_sent ? link->credit
                                                                                             : 0;
}

// ---- messages from the client -------------------------------------------------------------------------

void EngineImpl::handle_transfer(Session& session, const FrameBody& body) {
  TransferFrame frame;
  std::string problem;
  if (!decode(body.fields, frame, problem)) {
    malformed(std::move(problem));
    return;
  }
  if (session.incoming_left == 0) {
    end_session(session, condition::window_violation,
                "a transfer came beyond the session's incoming-window of " +
                    std::to_string(options_.limits.incoming_window));
    return;
  }
  --session.incoming_left;
  ++session.next_incoming_id;
  if (session.incoming_left < options_.limits.incoming_window / 2 &&
      incoming_room(session) > session.incoming_left) {
    session.flow_due = true;
    mark_dirty(session);
  }
  Link* link = link_at(session, frame.handle);
  if (link == nullptr) return;
  if (link->client_role != Role::sender) {
    end_session(
        session, condition::not_allowed,
        "a transfer came on handle " + std::to_string(frame.handle) + ", on which the client receives");
    return;
  }
  const bool dead = link->state == Link::State::detach_sent;
  DeliveryRef delivery{};
  if (!link->partial) {
    if (!frame.delivery_id || !frame.delivery_tag || frame.delivery_tag->size() > 32) {
      end_session(
          session, condition::invalid_field,
          "the first transfer of a delivery needs a delivery-id and a delivery-tag of at most 32 bytes");
      return;
    }
    if (session.first_delivery_seen && *frame.delivery_id != session.next_incoming_delivery_id) {
      end_session(session, condition::invalid_field,
                  "delivery-id " + std::to_string(*frame.delivery_id) + " came where " +
                      std::to_string(session.next_incoming_delivery_id) + " had to follow");
      return;
    }
    session.first_delivery_seen = true;
    session.next_incoming_delivery_id = *frame.delivery_id + 1;
    ++link->delivery_count;
    link->credit -= std::min(link->credit, 1U);
    if (!dead) {
      if (link->credit_tolerated == 0) {
        session.incoming.push({});
        const Condition error{std::string(condition::transfer_limit_exceeded),
                              "a message came without credit on handle " + std::to_string(frame.handle)};
        if (link->state == Link::State::requested) {
          refuse(link->id, error);
        } else {
          send_detach(*link, true, &error);
        }
        link->partial = frame.more ? std::make_unique<PartialMessage>() : nullptr;
        if (link->partial) {
          link->partial->delivery_id = *frame.delivery_id;
          link->partial->discarding = true;
        }
        handler_.on_detach(link->id, true);
        return;
      }
      --link->credit_tolerated;
    }
    const bool second = frame.receiver_settle_mode ? *frame.receiver_settle_mode == 1
                                                   : link->receiver_settle_mode == ReceiverSettleMode::second;
    const bool keep = !dead && !frame.aborted && !frame.settled;
    delivery = session.incoming.push({link->id, keep, second, false});
    if (frame.aborted) return;
    if (!frame.more && !dead && body.payload.size() <= link->message_bytes_max) {
      complete(session, *link, delivery, frame.message_format.value_or(0), frame.settled, unit_stays_,
               body.payload);
      return;
    }
    link->partial = std::make_unique<PartialMessage>();
    link->partial->delivery = delivery;
    link->partial->delivery_id = *frame.delivery_id;
    link->partial->message_format = frame.message_format.value_or(0);
    link->partial->discarding = dead;
  } else if (frame.delivery_id && *frame.delivery_id != link->partial->delivery_id) {
    end_session(session, condition::invalid_field,
                "delivery-id " + std::to_string(*frame.delivery_id) + " came before delivery " +
                    std::to_string(link->partial->delivery_id) + " of the same link was complete");
    return;
  }

  PartialMessage& partial = *link->partial;
  delivery = partial.delivery;
  partial.settled = partial.settled || frame.settled;
  if (frame.aborted) {
    if (session.incoming.find(delivery) != nullptr) session.incoming.erase(delivery);
    drop_partial(*link);
    return;
  }
  partial.bytes_seen += body.payload.size();
  if (!partial.discarding && partial.bytes_seen > link->message_bytes_max) {
    partial_bytes_ -= partial.bytes.size();
    partial.bytes = Buffer();
    partial.discarding = true;
  }
  if (!partial.discarding) {
    partial_bytes_ += body.payload.size();
    if (partial.bytes.empty() && frame.more) partial.bytes.reserve(link->last_partial_bytes);
    partial.bytes.insert(partial.bytes.end(), body.payload.begin(), body.payload.end());
    if (partial_bytes_ > options_.limits.partial_bytes_max) {
      fail(condition::resource_limit_exceeded, "unfinished messages on this connection exceed " +
                                                   std::to_string(options_.limits.partial_bytes_max) +
                                                   " bytes");
      return;
    }
  }
  if (frame.more) return;

  const auto whole = std::move(link->partial);
  partial_bytes_ -= whole->bytes.size();
  link->last_partial_bytes = whole->bytes.size();
  if (whole->settled && session.incoming.find(delivery) != nullptr) session.incoming.erase(delivery);
  if (dead) return;
  if (whole->discarding) {
    oversize(session, *link, delivery, whole->settled, whole->bytes_seen);
  } else {
    complete(session, *link, delivery, whole->message_format, whole->settled, false, whole->bytes);
  }
}

void EngineImpl::complete(Session&, Link& link, DeliveryRef delivery, std::uint32_t message_format,
                          bool settled, bool stays, BytesView payload) {
  ++counters_.transfers_in;
  handler_.on_transfer({link.id, delivery, message_format, settled, stays, payload});
}

void EngineImpl::oversize(Session&, Link& link, DeliveryRef delivery, bool settled, std::uint64_t bytes) {
  if (!settled) {
    Outcome outcome;
    outcome.type = Outcome::Type::rejected;
    outcome.error = Condition{std::string(condition::message_size_exceeded),
                              "the message has " + std::to_string(bytes) + " bytes, the limit is " +
                                  std::to_string(link.message_bytes_max) + " bytes"};
    settle_incoming(delivery, outcome);
  }
  handler_.on_oversize(link.id, bytes);
}

void EngineImpl::settle_incoming(DeliveryRef delivery, const Outcome& outcome) {
  if (phase_ != Phase::open) return;
  Session* session = session_of(delivery);
  if (session == nullptr || session->end_sent) return;
  IncomingDelivery* entry = session->incoming.find(delivery);
  if (entry == nullptr || entry->told) return;
  const std::uint32_t delivery_id =
      session->next_incoming_delivery_id - static_cast<std::uint32_t>(session->incoming.next() - delivery);
  const bool settled = !entry->second;
  if (settled) {
    session->incoming.erase(delivery);
    if (session->incoming_left < options_.limits.incoming_window / 2 && !session->flow_due &&
        incoming_room(*session) >= options_.limits.incoming_window / 2) {
      session->flow_due = true;
    }
  } else {
    entry->told = true;
  }
  tell(*session, true, delivery_id, settled, outcome);
}

// ---- messages to the client ---------------------------------------------------------------------------

bool EngineImpl::can_send(LinkId id) const {
  const Link* link = find_link(id);
  if (link == nullptr || phase_ != Phase::open || link->state != Link::State::attached ||
      link->client_role != Role::receiver || link->credit == 0) {
    return false;
  }
  const Session& session = *session_on(link->channel);
  return session.outgoing_left > 0 && !session.rest && !session.end_sent &&
         session.outgoing.live() < options_.limits.unsettled_max &&
         output_.size() < options_.limits.output_bytes_max && rest_bytes_ < options_.limits.output_bytes_hard;
}

DeliveryRef EngineImpl::send(LinkId id, BytesView tag, std::uint32_t message_format, bool settled,
                             std::span<const BytesView> payload_parts) {
  MS_ASSERT(can_send(id), "send() needs can_send()");
  MS_ASSERT(!tag.empty() && tag.size() <= 32, "a delivery-tag has 1 to 32 bytes");
  Link& link = *find_link(id);
  Session& session = *session_on(link.channel);
  ++counters_.transfers_out;
  ++link.delivery_count;
  --link.credit;
  const std::uint32_t delivery_id = session.next_outgoing_delivery_id++;
  const DeliveryRef delivery = session.outgoing.push({link.id, !settled, false});

  Parts parts(payload_parts);
  while (true) {
    const std::size_t room_asked = std::min<std::size_t>(parts.left() + kFrameHeaderBytes + kHotFrameBytes,
                                                         std::size_t{peer_max_frame_} + kHotFrameBytes);
    std::byte* to = output_.reserve(room_asked) + kFrameHeaderBytes;
    TransferOut frame{link.handle, delivery_id, message_format, tag, settled, false};
    std::size_t head = encode_transfer(to, frame);
    const std::size_t most = peer_max_frame_ - kFrameHeaderBytes - head;
    const std::size_t now = std::min(parts.left(), most);
    if (now < parts.left()) {
      frame.more = true;  // occupies as many bytes as false
      head = encode_transfer(to, frame);
    }
    parts.take(to + head, now);
    send_hot(session.channel, head + now);
    ++session.next_outgoing_id;
    --session.outgoing_left;
    if (parts.left() == 0) break;
    if (session.outgoing_left == 0) {
      OutgoingRest rest{link.id, link.handle, delivery_id, message_format, settled, to_buffer(tag), {}, 0};
      rest.payload.resize(parts.left());
      parts.take(rest.payload.data(), parts.left());
      rest_bytes_ += rest.payload.size();
      session.rest = std::move(rest);
      break;
    }
  }
  if (session.outgoing_left == 0) session.starved = true;
  return delivery;
}

/// Goes on with the message that the client's window had stopped.
void EngineImpl::send_rest(Session& session) {
  OutgoingRest& rest = *session.rest;
  while (session.outgoing_left > 0 && rest.sent < rest.payload.size()) {
    std::byte* to = output_.reserve(std::size_t{peer_max_frame_} + kHotFrameBytes) + kFrameHeaderBytes;
    TransferOut frame{rest.handle, rest.delivery_id, rest.message_format, rest.tag, rest.settled, false};
    std::size_t head = encode_transfer(to, frame);
    const std::size_t left = rest.payload.size() - rest.sent;
    const std::size_t now = std::min(left, peer_max_frame_ - kFrameHeaderBytes - head);
    if (now < left) {
      frame.more = true;
      head = encode_transfer(to, frame);
    }
    std::memcpy(to + head, rest.payload.data() + rest.sent, now);
    rest.sent += now;
    send_hot(session.channel, head + now);
    ++session.next_outgoing_id;
    --session.outgoing_left;
  }
  if (rest.sent < rest.payload.size()) return;
  Link* link = find_link(rest.link);
  drop_rest(session);
  if (link != nullptr && link->drained_early) answer_drain(session, *link);
}

void EngineImpl::drained(LinkId id) {
  Link* link = find_link(id);
  if (link == nullptr || phase_ != Phase::open || link->state == Link::State::detach_sent ||
      link->client_role != Role::receiver || !link->drain) {
    return;
  }
  Session& session = *session_on(link->channel);
  link->drained_early =
      link->state == Link::State::requested || (session.rest && session.rest->link == link->id);
  if (!link->drained_early) answer_drain(session, *link);
}

void EngineImpl::answer_drain(Session& session, Link& link) {
  link.drained_early = false;
  link.delivery_count += link.credit;
  link.credit = 0;
  send_flow(session, &link, true);
  link.drain = false;
}

}  // namespace mainstay::amqp
