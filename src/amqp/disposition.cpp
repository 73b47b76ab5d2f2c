// Outcomes and settlement both ways, folded into ranges (part 2 of the standard, section 2.6.12).
#include <algorithm>

#include "amqp/engine_impl.h"

namespace mainstay::amqp {

void EngineImpl::handle_disposition(Session& session, const FrameBody& body) {
  DispositionFrame frame;
  std::string problem;
  if (!decode(body.fields, frame, problem)) {
    malformed(std::move(problem));
    return;
  }
  if (ahead(frame.last, frame.first) < 0) {
    end_session(session, condition::invalid_field,
                "disposition: the range " + std::to_string(frame.first) + " to " +
                    std::to_string(frame.last) + " is backwards");
    return;
  }
  if (frame.role == Role::receiver) {
    outcomes_from_receiver(session, frame);
  } else {
    settlements_from_sender(session, frame);
  }
}

namespace {

/// Delivery ids of a disposition as numbers of the ring; false when they reach beyond what was ever sent.
template <class Ring>
bool range_of(const DispositionFrame& frame, const Ring& ring, std::uint32_t next_id, std::uint64_t& first,
              std::uint64_t& last) {
  const std::int32_t last_back = ahead(next_id, frame.last);
  if (last_back <= 0) return false;
  const auto first_back = static_cast<std::uint64_t>(static_cast<std::uint32_t>(ahead(next_id, frame.first)));
  last = ring.next() - static_cast<std::uint64_t>(last_back);
  first = ring.next() - std::min(first_back, ring.next());
  return true;
}

std::string beyond(const DispositionFrame& frame) {
  return "disposition: delivery " + std::to_string(frame.last) + " was never sent on this session";
}

}  // namespace

void EngineImpl::outcomes_from_receiver(Session& session, const DispositionFrame& frame) {
  Outcome outcome;
  if (!read_outcome(frame.state, outcome)) {
    malformed("disposition: the state is malformed");
    return;
  }
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  if (!range_of(frame, session.outgoing, session.next_outgoing_delivery_id, first, last)) {
    end_session(session, condition::invalid_field, beyond(frame));
    return;
  }
  const bool was_full = session.outgoing.live() >= options_.limits.unsettled_max;
  const bool nothing_new = !frame.settled && outcome.type == Outcome::Type::none;
  session.outgoing.visit(first, last, [&](std::uint64_t number) {
    OutgoingDelivery& entry = *session.outgoing.find(number);
    const LinkId link = entry.link;
    const bool told_before = entry.told;
    if (frame.settled) {
      session.outgoing.erase(number);
    } else if (nothing_new) {
      return true;
    } else {
      entry.told = true;
    }
    // Whoever told an outcome has the handler's answer under way; that it then settles changes nothing.
    if (!told_before) handler_.on_disposition(link, number, outcome, frame.settled);
    return phase_ == Phase::open && !session.end_sent;
  });
  if (phase_ == Phase::open && !session.end_sent && was_full &&
      session.outgoing.live() < options_.limits.unsettled_max) {
    announce_credit(session);
  }
}

void EngineImpl::settlements_from_sender(Session& session, const DispositionFrame& frame) {
  if (!frame.settled) return;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  if (!session.first_delivery_seen ||
      !range_of(frame, session.incoming, session.next_incoming_delivery_id, first, last)) {
    end_session(session, condition::invalid_field, beyond(frame));
    return;
  }
  session.incoming.visit(first, last, [&](std::uint64_t number) {
    session.incoming.erase(number);
    return true;
  });
}

void EngineImpl::settle_outgoing(DeliveryRef delivery, const Outcome& outcome) {
  if (phase_ != Phase::open) return;
  Session* session = session_of(delivery);
  if (session == nullptr || session->end_sent || session->outgoing.find(delivery) == nullptr) return;
  const std::uint32_t delivery_id =
      session->next_outgoing_delivery_id - static_cast<std::uint32_t>(session->outgoing.next() - delivery);
  session->outgoing.erase(delivery);
  tell(*session, false, delivery_id, true, outcome);
}

/// Sends an outcome, or adds it to the range that waits to be sent.
void EngineImpl::tell(Session& session, bool incoming, std::uint32_t delivery_id, bool settled,
                      const Outcome& outcome) {
  PendingDisposition& pending = incoming ? session.told_incoming : session.told_outgoing;
  if (!is_plain(outcome)) {
    flush_disposition(session, incoming);
    for (const bool with_map : {true, false}) {
      Outcome shorter;
      if (!with_map) {
        shorter = outcome;
        shorter.map.clear();
      }
      scratch_.clear();
      encode_long_disposition(scratch_, incoming, delivery_id, settled, with_map ? outcome : shorter);
      if (scratch_.size() + kFrameHeaderBytes <= peer_max_frame_) break;
    }
    send_frame(FrameType::amqp, session.channel, scratch_);
    return;
  }
  const BytesView state = plain_outcome(outcome);
  if (pending.set && pending.settled == settled && pending.last + 1 == delivery_id &&
      pending.state.data() == state.data()) {
    pending.last = delivery_id;
    return;
  }
  flush_disposition(session, incoming);
  pending = {true, settled, delivery_id, delivery_id, state};
  mark_dirty(session);
}

void EngineImpl::flush_disposition(Session& session, bool incoming) {
  PendingDisposition& pending = incoming ? session.told_incoming : session.told_outgoing;
  if (!pending.set) return;
  pending.set = false;
  std::byte* to = output_.reserve(kFrameHeaderBytes + kHotFrameBytes);
  send_hot(session.channel, encode_disposition(to + kFrameHeaderBytes, incoming, pending.first, pending.last,
                                               pending.settled, pending.state));
}

}  // namespace mainstay::amqp
