// Sessions and links: begin, end, attach, detach (part 2 of the standard, sections 2.5 and 2.6).
#include "amqp/session.h"

#include <algorithm>

#include "amqp/engine_impl.h"
#include "amqp/terminus.h"
#include "base/assert.h"

namespace mainstay::amqp {
namespace {

/// What the client may send us is bounded by the other window; this one only says that ours is never short.
constexpr std::uint32_t kOutgoingWindow = 0x7fffffff;
constexpr std::uint32_t kGenerations = 1U << (32 - kLinkSlotBits);
/// A delivery reference is the channel and a number that counts on over the channel's sessions.
constexpr unsigned kChannelShift = 48;

}  // namespace

Session* EngineImpl::session_on(std::uint16_t channel) const {
  return channel < channels_.size() ? channels_[channel].session.get() : nullptr;
}

Session* EngineImpl::session_of(DeliveryRef delivery) const {
  return session_on(static_cast<std::uint16_t>(delivery >> kChannelShift));
}

Link* EngineImpl::find_link(LinkId id) const {
  const std::uint32_t slot = link_slot(id);
  if (slot >= slots_.size() || !slots_[slot].link) return nullptr;
  return slots_[slot].link->id == id ? slots_[slot].link.get() : nullptr;
}

Link* EngineImpl::link_or_null(const Session& session, std::uint32_t handle) {
  return handle < session.links.size() ? session.links[handle] : nullptr;
}

/// The link of a handle the client used; ends the session when there is none.
Link* EngineImpl::link_at(Session& session, std::uint32_t handle) {
  Link* link = link_or_null(session, handle);
  if (link == nullptr) {
    end_session(session, condition::unattached_handle,
                "handle " + std::to_string(handle) + " is not attached on this session");
  }
  return link;
}

void EngineImpl::handle_begin(std::uint16_t channel, const FrameBody& body) {
  BeginFrame begin;
  std::string problem;
  if (!decode(body.fields, begin, problem)) {
    malformed(std::move(problem));
    return;
  }
  if (channel > options_.limits.channel_max || channel > peer_channel_max_) {
    fail(condition::framing_error,
         "channel " + std::to_string(channel) + " is above the channel-max of " +
             std::to_string(std::min(options_.limits.channel_max, peer_channel_max_)));
    return;
  }
  if (begin.remote_channel) {
    fail(condition::invalid_field, "begin answers a session that was not begun from here");
    return;
  }
  if (session_on(channel) != nullptr) {
    fail(condition::illegal_state, "channel " + std::to_string(channel) + " has a session already");
    return;
  }
  if (channel >= channels_.size()) {
    channels_.resize(std::max<std::size_t>(channel + 1U, std::min<std::size_t>(channels_.size() * 2, 65536)));
  }
  Channel& place = channels_[channel];
  const std::uint64_t base = std::uint64_t{channel} << kChannelShift;
  place.session = std::make_unique<Session>(channel, base | place.next_incoming, base | place.next_outgoing);
  Session& session = *place.session;
  session.next_incoming_id = begin.next_outgoing_id;
  session.incoming_left = options_.limits.incoming_window;
  session.outgoing_left = begin.incoming_window;
  scratch_.clear();
  encode_begin(scratch_, channel, session.next_outgoing_id, session.incoming_left, kOutgoingWindow,
               options_.limits.handle_max);
  send_frame(FrameType::amqp, channel, scratch_);
}

void EngineImpl::handle_end(Session& session, const FrameBody& body) {
  EndFrame frame;
  std::string problem;
  if (!decode(body.fields, frame, problem)) {
    malformed(std::move(problem));
    return;
  }
  const std::uint16_t number = session.channel;
  if (!session.end_sent) {
    flush_session(session);
    for (Link* link : session.links) {
      if (link == nullptr || link->state == Link::State::detach_sent) continue;
      link->state = Link::State::detach_sent;
      handler_.on_detach(link->id, true);
      if (phase_ != Phase::open) return;
    }
    scratch_.clear();
    encode_end(scratch_, descriptor::end, nullptr);
    send_frame(FrameType::amqp, number, scratch_);
  }
  for (Link* link : session.links) {
    if (link != nullptr) free_link(*link);
  }
  constexpr std::uint64_t kNumberMask = (std::uint64_t{1} << kChannelShift) - 1;
  Channel& place = channels_[number];
  place.next_incoming = session.incoming.next() & kNumberMask;
  place.next_outgoing = session.outgoing.next() & kNumberMask;
  drop_rest(session);
  place.session.reset();
}

void EngineImpl::end_session(Session& session, std::string_view symbol, std::string description) {
  if (session.end_sent || phase_ != Phase::open) return;
  handler_.on_input_end();
  const Condition condition{std::string(symbol), std::move(description)};
  flush_session(session);
  session.end_sent = true;
  drop_rest(session);
  for (Link* link : session.links) {
    if (link == nullptr || link->state == Link::State::detach_sent) continue;
    link->state = Link::State::detach_sent;
    drop_partial(*link);
    handler_.on_detach(link->id, true);
  }
  if (phase_ != Phase::open) return;
  scratch_.clear();
  encode_end(scratch_, descriptor::end, &condition);
  send_frame(FrameType::amqp, session.channel, scratch_);
}

Link* EngineImpl::new_link() {
  std::uint32_t slot = 0;
  // A slot rests until many others had their turn, then a dead id names no new link by mistake.
  if (slots_.size() < std::size_t{options_.limits.links_max} * 2 || free_slots_.empty()) {
    if (slots_.size() >= (1U << kLinkSlotBits)) return nullptr;
    slot = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = free_slots_.front();
    free_slots_.pop_front();
  }
  LinkSlot& place = slots_[slot];
  place.link = std::make_unique<Link>();
  place.link->id = (place.generation << kLinkSlotBits) | slot;
  ++links_;
  return place.link.get();
}

void EngineImpl::free_link(Link& link) {
  drop_partial(link);
  const std::uint32_t slot = link_slot(link.id);
  Session& session = *session_on(link.channel);
  session.links[link.handle] = nullptr;
  slots_[slot].link.reset();
  --links_;
  if (++slots_[slot].generation < kGenerations) free_slots_.push_back(slot);
}

void EngineImpl::drop_partial(Link& link) {
  if (!link.partial) return;
  partial_bytes_ -= link.partial->bytes.size();
  link.partial.reset();
}

void EngineImpl::drop_rest(Session& session) {
  if (!session.rest) return;
  rest_bytes_ -= session.rest->payload.size();
  session.rest.reset();
}

std::uint64_t EngineImpl::unfinished_bytes(LinkId id) const {
  const Link* link = find_link(id);
  return link != nullptr && link->partial ? link->partial->bytes.size() : 0;
}

void EngineImpl::handle_attach(Session& session, const FrameBody& body) {
  AttachFrame attach;
  std::string problem;
  AttachRequest request;
  if (!decode(body.fields, attach, problem) || !read_attach(attach, request, problem)) {
    malformed(std::move(problem));
    return;
  }
  const auto& limits = options_.limits;
  if (attach.handle > limits.handle_max) {
    fail(condition::framing_error, "handle " + std::to_string(attach.handle) +
                                       " is above the handle-max of " + std::to_string(limits.handle_max));
    return;
  }
  if (link_or_null(session, attach.handle) != nullptr) {
    end_session(session, condition::handle_in_use,
                "handle " + std::to_string(attach.handle) + " is attached already on this session");
    return;
  }
  const bool over_limit = links_ >= limits.links_max;
  // Refused links count until the client's detach: a client that never sends it is stopped here.
  Link* link = links_ < limits.links_max * 2U ? new_link() : nullptr;
  if (link == nullptr) {
    fail(condition::resource_limit_exceeded, "the connection has " + std::to_string(links_) +
                                                 " links, more than twice the limit of " +
                                                 std::to_string(limits.links_max));
    return;
  }
  if (attach.handle >= session.links.size()) session.links.resize(attach.handle + 1U);
  session.links[attach.handle] = link;
  link->channel = session.channel;
  request.channel = session.channel;
  link->handle = attach.handle;
  link->client_role = attach.role;
  link->sender_settle_mode = attach.sender_settle_mode;
  link->receiver_settle_mode = attach.receiver_settle_mode;
  link->name = request.name;
  link->source = request.source;
  link->target = request.target;
  link->properties = request.properties;
  if (attach.role == Role::sender) link->delivery_count = attach.initial_delivery_count.value_or(0);
  if (over_limit) {
    refuse(link->id,
           {std::string(condition::resource_limit_exceeded),
            "the connection has reached its limit of " + std::to_string(limits.links_max) + " links"});
    return;
  }
  handler_.on_attach(link->id, request);
}

void EngineImpl::answer_attach(Link& link, const AttachAnswer& answer) {
  scratch_.clear();
  encode_attach(scratch_, answer);
  if (kFrameHeaderBytes + scratch_.size() > peer_max_frame_ && !answer.properties.empty()) {
    AttachAnswer shorter = answer;  // the properties are the part nobody needs
    shorter.properties = {};
    scratch_.clear();
    encode_attach(scratch_, shorter);
  }
  send_frame(FrameType::amqp, link.channel, scratch_);
  link.name = std::string();
  link.source = Buffer();
  link.target = Buffer();
  link.properties = Buffer();
}

void EngineImpl::accept(LinkId id, const AttachReply& reply) {
  Link* link = find_link(id);
  if (link == nullptr || phase_ != Phase::open || link->state != Link::State::requested) return;
  Session& session = *session_on(link->channel);
  const std::uint64_t size_max =
      std::clamp<std::uint64_t>(reply.max_message_size, 1, options_.limits.message_bytes_max);
  const bool receives = link->client_role == Role::receiver;
  const Buffer source = echo_source(link->source, receives ? reply.session_id : std::nullopt,
                                    receives ? reply.assigned_address : std::nullopt);
  const Buffer target = echo_target(link->target, receives ? std::nullopt : reply.assigned_address);
  const Buffer properties = echo_properties(link->properties, reply.session_locked_until_ticks,
                                            receives ? std::nullopt : reply.duplicate_window_ms);
  link->state = Link::State::attached;
  link->message_bytes_max = size_max;
  AttachAnswer answer{
      link->name, link->handle, link->client_role, link->sender_settle_mode,   link->receiver_settle_mode,
      source,     target,       size_max,          reply.offered_capabilities, properties};
  answer_attach(*link, answer);
  if (link->client_role == Role::sender) {
    link->credit = link->credit_tolerated = reply.credit;
    if (reply.credit > 0) send_flow(session, link, false);
  } else if (link->drained_early) {
    answer_drain(session, *link);
  }
}

void EngineImpl::refuse(LinkId id, const Condition& condition) {
  Link* link = find_link(id);
  if (link == nullptr || phase_ != Phase::open || link->state != Link::State::requested) return;
  const bool receives = link->client_role == Role::receiver;
  const Buffer source = receives ? Buffer() : std::move(link->source);
  const Buffer target = receives ? std::move(link->target) : Buffer();
  AttachAnswer answer{link->name,
                      link->handle,
                      link->client_role,
                      link->sender_settle_mode,
                      link->receiver_settle_mode,
                      source,
                      target,
                      options_.limits.message_bytes_max,
                      {},
                      {}};
  answer_attach(*link, answer);
  send_detach(*link, true, &condition);
}

void EngineImpl::detach(LinkId id, const Condition& condition) {
  Link* link = find_link(id);
  if (link == nullptr || phase_ != Phase::open) return;
  if (link->state == Link::State::requested) {
    refuse(id, condition);
  } else if (link->state == Link::State::attached) {
    send_detach(*link, true, &condition);
  }
}

/// Ends an answered link from our side.
void EngineImpl::send_detach(Link& link, bool closed, const Condition* error) {
  Session& session = *session_on(link.channel);
  flush_disposition(session, true);
  flush_disposition(session, false);
  link.state = Link::State::detach_sent;
  forget_deliveries(session, link.id);
  // A message half arrived stays known as such: its further frames are no new deliveries.
  if (link.partial) {
    partial_bytes_ -= link.partial->bytes.size();
    link.partial->bytes = Buffer();
    link.partial->discarding = true;
  }
  scratch_.clear();
  encode_detach(scratch_, link.handle, closed, error);
  send_frame(FrameType::amqp, link.channel, scratch_);
}

void EngineImpl::forget_deliveries(Session& session, LinkId link) {
  constexpr std::uint64_t kAll = ~std::uint64_t{0} - 1;
  session.incoming.visit(0, kAll, [&](std::uint64_t number) {
    if (session.incoming.find(number)->link == link) session.incoming.erase(number);
    return true;
  });
  session.outgoing.visit(0, kAll, [&](std::uint64_t number) {
    if (session.outgoing.find(number)->link == link) session.outgoing.erase(number);
    return true;
  });
  if (session.rest && session.rest->link == link) drop_rest(session);
}

void EngineImpl::handle_detach(Session& session, const FrameBody& body) {
  DetachFrame frame;
  std::string problem;
  if (!decode(body.fields, frame, problem)) {
    malformed(std::move(problem));
    return;
  }
  Link* link = link_at(session, frame.handle);
  if (link == nullptr) return;
  if (link->state == Link::State::detach_sent) {
    free_link(*link);
    return;
  }
  const bool answered = link->state == Link::State::attached;
  // The handler may not answer a link that is gone: mark it first.
  link->state = Link::State::detach_sent;
  handler_.on_detach(link->id, frame.closed);
  if (phase_ != Phase::open || session.end_sent) return;
  if (!answered) {
    AttachAnswer answer;
    answer.name = link->name;
    answer.handle = link->handle;
    answer.client_role = link->client_role;
    answer.sender_settle_mode = link->sender_settle_mode;
    answer.receiver_settle_mode = link->receiver_settle_mode;
    answer.max_message_size = options_.limits.message_bytes_max;
    const std::string name = link->name;
    answer.name = name;
    answer_attach(*link, answer);
  }
  send_detach(*link, frame.closed, nullptr);
  if (phase_ != Phase::open) return;
  free_link(*link);
}

}  // namespace mainstay::amqp
