#include "frontend/connection.h"

#include <algorithm>
#include <utility>

#include "amqp/message.h"
#include "amqp/value_reader.h"
#include "base/assert.h"
#include "frontend/address.h"
#include "frontend/conditions.h"
#include "frontend/durability.h"
#include "frontend/scheduling.h"

namespace mainstay::frontend {
namespace {

constexpr std::uint32_t kServiceBusBatchFormat = 0x80013700;
constexpr std::size_t kPutOffMost = 16;  ///< enough for all they wait for to be on its way at once
// Link property of a sender that replays the archive into a promoted region.
constexpr std::string_view kReplayProperty = "mainstay:archive-replay";

bool has_replay_property(BytesView encoded_map) {
  if (encoded_map.empty()) return false;
  amqp::ValueReader reader(encoded_map);
  const amqp::Value map = reader.next();
  if (!reader.ok() || map.kind != amqp::Kind::map) return false;
  amqp::ValueReader entries = amqp::ValueReader::inside(map);
  for (std::uint32_t i = 0; i + 1 < map.count && entries.ok(); i += 2) {
    const amqp::Value key = entries.next();
    const amqp::Value value = entries.next();
    if (entries.ok() && key.kind == amqp::Kind::symbol && key.text() == kReplayProperty) {
      return value.kind == amqp::Kind::boolean && value.number == 1;
    }
  }
  return false;
}

amqp::Outcome rejected(amqp::Condition condition) {
  amqp::Outcome outcome;
  outcome.type = amqp::Outcome::Type::rejected;
  outcome.error = std::move(condition);
  return outcome;
}

amqp::Condition entity_not_found(const std::string& address) {
  return {"amqp:not-found",
          "The messaging entity '" + address +
              "' could not be found. Queues are declared in the broker's configuration ([[queue]])."};
}

}  // namespace

Connection::Connection(Frontend& frontend, ConnectionId id, Instant now)
    : frontend_(frontend),
      id_(id),
      engine_(amqp::Engine::create(frontend.options_.engine, *this, now)),
      now_(now) {}

bool Connection::on_sasl(const amqp::SaslRequest& request) {
  const bool ok = frontend_.backend_.authenticate(request);
  if (ok) {
    user_ = request.user;
  } else {
    ++frontend_.counters_.authentication_failures;
  }
  return ok;
}

void Connection::on_open(std::string_view container_id, std::string_view /*hostname*/) {
  container_id_ = container_id;
  if (frontend_.backend_.leader() == nullptr) {
    close({"amqp:connection:forced", frontend_.backend_.not_live_reason()});
  }
}

void Connection::on_attach(amqp::LinkId id, const amqp::AttachRequest& request) {
  publish_put_off();
  broker::Leader* leader = frontend_.backend_.leader();
  if (leader == nullptr) {
    engine_->refuse(id, {"amqp:connection:forced", frontend_.backend_.not_live_reason()});
    return;
  }
  if (request.coordinator) {
    engine_->refuse(id, {"amqp:not-implemented", "transactions are not supported"});
    return;
  }
  if (request.dynamic || request.address_is_null) {
    engine_->refuse(
        id, {"amqp:not-implemented", "dynamic and anonymous addresses are not supported: name a queue"});
    return;
  }
  const Address address = read_address(request.address);
  const auto queue = frontend_.backend_.state().find_queue(address.entity);
  if (!queue) {
    engine_->refuse(id, entity_not_found(request.address));
    return;
  }
  if (address.management) {
    if (!management_) management_ = std::make_unique<Management>(frontend_, *this);
    management_->attach(id, request, *queue, address.sub);
    return;
  }
  Link link;
  link.role = request.role;
  link.queue = *queue;
  link.sub = address.sub;
  if (request.role == amqp::Role::sender) {
    if (address.sub == broker::SubQueue::dead_letter) {
      engine_->refuse(id, {"amqp:not-allowed", "messages cannot be sent to a dead-letter queue; send to '" +
                                                   address.entity + "'"});
      return;
    }
    link.replay = has_replay_property(request.properties);
    const DurabilityAsked asked = durability_of_link(request.properties);
    const DurabilityDue due = durability_due(frontend_.backend_.state().options(*queue), asked.level);
    auto refusal = asked.problem ? asked.problem : due.refusal;
    if (!refusal) refusal = frontend_.backend_.durability_refusal(due.level);
    if (refusal) {
      engine_->refuse(id, *refusal);
      return;
    }
    link.durability = asked.level;
    link.attached = true;
    amqp::AttachReply reply;
    reply.max_message_size = frontend_.options_.engine.limits.message_bytes_max;
    const broker::QueueOptions& queue_options = frontend_.backend_.state().options(*queue);
    reply.duplicate_window_ms = queue_options.duplicate_detection ? queue_options.duplicate_window_ms : 0;
    link.size = MessageSize(reply.max_message_size);
    // At first as if all had the same; review_credit() looks closer.
    ++frontend_.sending_links_;
    link.share_bytes = frontend_.budget_.bytes / frontend_.sending_links_;
    link.share_bytes =
        std::min(link.share_bytes, frontend_.options_.limits.connection_bytes / (links_.size() + 1));
    if (frontend_.held_.empty()) {
      reply.credit = credit_of(frontend_.budget_, link.share_bytes, link.size.expected());
    }
    frontend_.share_due_ = true;
    links_.emplace(id, std::move(link));
    engine_->accept(id, reply);
    return;
  }
  link.consumer = frontend_.next_consumer_++;
  link.mode = request.sender_settle_mode == amqp::SenderSettleMode::settled
                  ? broker::ReceiveMode::receive_and_delete
                  : broker::ReceiveMode::peek_lock;
  broker::Subscribe subscribe;
  subscribe.consumer = link.consumer;
  subscribe.queue = link.queue;
  subscribe.sub = link.sub;
  subscribe.mode = link.mode;
  subscribe.window = frontend_.options_.delivery_window;
  using Filter = amqp::AttachRequest::SessionFilter;
  if (request.session_filter == Filter::named) {
    subscribe.session = broker::Subscribe::Session::named;
    subscribe.session_id = request.session_id;
  } else if (request.session_filter == Filter::next_available) {
    subscribe.session = broker::Subscribe::Session::next_available;
    subscribe.session_deadline = now_ + milliseconds(request.timeout_ms.value_or(60'000));
  }
  link.session = subscribe.session != broker::Subscribe::Session::none;
  frontend_.consumers_.emplace(link.consumer, std::pair(id_, id));
  links_.emplace(id, std::move(link));
  leader->subscribe(subscribe, now_, wall_, frontend_.backend_.leader_outputs());
}

void Connection::on_transfer(const amqp::IncomingTransfer& transfer) {
  const auto found = links_.find(transfer.link);
  if (found == links_.end()) {
    publish_put_off();
    MS_ASSERT(management_, "the engine reports transfers only on links it announced");
    management_->request(transfer);
    return;
  }
  if (!transfer.stays) {
    publish_put_off();
    publish(Publishing(transfer));
    return;
  }
  const char* const link = reinterpret_cast<const char*>(&found->second);
  __builtin_prefetch(link + 64);
  __builtin_prefetch(link + 128);
  frontend_.put_off_.emplace_back(transfer);
  if (frontend_.put_off_.size() == kPutOffMost) publish_put_off();
}

void Connection::publish_put_off() {
  std::vector<Publishing>& put_off = frontend_.put_off_;
  if (put_off.empty() || std::exchange(publishing_, true)) return;
  const struct Done {
    Connection& connection;
    ~Done() {
      connection.frontend_.put_off_.clear();
      connection.publishing_ = false;
    }
  } done{*this};
  if (const broker::Leader* leader = frontend_.backend_.leader(); leader != nullptr && put_off.size() > 1) {
    frontend_.coming_.clear();
    for (const Publishing& message : put_off) {
      const auto link = links_.find(message.transfer.link);
      if (link == links_.end() || !message.view) continue;
      frontend_.coming_.push_back({link->second.queue, message.view->group_id.value_or("")});
    }
    leader->prefetch(frontend_.coming_);
  }
  for (const Publishing& message : put_off) publish(message);
}

void Connection::publish(const Publishing& message) {
  const auto& [id, delivery, format, settled, stays, payload] = message.transfer;
  const auto found = links_.find(id);
  if (found == links_.end()) return;
  Link& link = found->second;
  if (link.refusal) {
    refuse_publish(delivery, settled, *link.refusal);
    return;
  }
  link.size.seen(payload.size());
  link.published = true;
  link.last_publish = now_;
  if (!link.active || (!frontend_.shared_short_ &&
                       link.share_bytes < frontend_.options_.limits.link_credit * link.size.expected())) {
    frontend_.share_due_ = true;
  }
  // Publishes behind a held one wait too: order on a link is order in the queue.
  if (frontend_.held_.empty() && try_publish(link, message)) {
    top_up(id, link);
    return;
  }
  if (!frontend_.may_hold(*this, payload.size())) {
    const amqp::Condition busy{
        "com.microsoft:server-busy",
        "the journal does not take more for now and the broker cannot hold more: try again"};
    refuse_link(id, link, busy);
    refuse_publish(delivery, settled, busy);
    return;
  }
  ++frontend_.counters_.held_publishes;
  frontend_.held_bytes_ += payload.size();
  held_bytes_ += payload.size();
  frontend_.held_.push_back({id_, id, delivery, format, settled, to_buffer(payload)});
}

bool Connection::try_publish(Link& link, const Publishing& message) {
  const auto& [id, delivery, format, settled, stays, payload] = message.transfer;
  broker::Leader* leader = frontend_.backend_.leader();
  if (leader == nullptr) return true;  // the connection is being closed; its outcome is unknown to the client
  if (link.refusal) {
    refuse_publish(delivery, settled, *link.refusal);
    return true;
  }
  if (format == kServiceBusBatchFormat) {
    refuse_publish(delivery, settled,
                   {"amqp:not-implemented",
                    "message-format 0x80013700 (a Service Bus batch) is not supported: send the "
                    "messages one by one"});
    return true;
  }
  const auto& view = message.view;
  if (!view) {
    ++frontend_.counters_.malformed;
    refuse_publish(delivery, settled,
                   {"amqp:decode-error", "the message is not well-formed: " + view.error().what});
    return true;
  }
  broker::Durability durability = broker::Durability::journal;
  {
    const DurabilityAsked asked = durability_of_message(view->message_annotations);
    const DurabilityDue due = durability_due(frontend_.backend_.state().options(link.queue),
                                             asked.level ? asked.level : link.durability);
    durability = due.level;
    auto refusal = asked.problem ? asked.problem : due.refusal;
    if (!refusal && durability != broker::Durability::journal) {
      refusal = frontend_.backend_.durability_refusal(durability);
    }
    if (refusal) {
      refuse_publish(delivery, settled, *refusal);
      return true;
    }
  }
  const ScheduleAsked schedule = schedule_of_message(view->message_annotations);
  if (schedule.problem) {
    refuse_publish(delivery, settled, *schedule.problem);
    return true;
  }
  const AdmissionAnswer answer = frontend_.backend_.admit(payload.size(), link.replay);
  if (answer.admission == Admission::wait) return false;
  if (answer.admission == Admission::refused) {
    refuse_link(id, link, answer.why);
    refuse_publish(delivery, settled, answer.why);
    return true;
  }
  broker::Publish publish;
  publish.tag = frontend_.pend(id_, delivery, amqp::Outcome::Type::none, !settled);
  publish.queue = link.queue;
  publish.message_id = view->message_id().value_or("");
  if (view->group_id) {
    publish.session_id = *view->group_id;
    publish.has_session = true;
  }
  if (view->ttl_ms) publish.ttl_ms = *view->ttl_ms;
  publish.message_format = format;
  publish.durability = durability;
  publish.scheduled_enqueue = schedule.time;
  publish.payload = payload;
  leader->publish(publish, wall_, frontend_.backend_.leader_outputs());
  return true;
}

void Connection::refuse_publish(amqp::DeliveryRef delivery, bool settled, const amqp::Condition& condition) {
  ++frontend_.counters_.publish_refused;
  if (!settled) engine_->settle_incoming(delivery, rejected(condition));
}

void Connection::refuse_link(amqp::LinkId id, Link& link, amqp::Condition why) {
  link.refusal = std::move(why);
  refused_links_.push_back(id);
}

void Connection::end_refused_links() {
  for (const amqp::LinkId id : std::exchange(refused_links_, {})) {
    const auto found = links_.find(id);
    if (found == links_.end()) continue;
    const amqp::Condition condition = *found->second.refusal;
    drop_link(id, found->second);
    links_.erase(found);
    engine_->detach(id, condition);
  }
}

void Connection::top_up(amqp::LinkId id, Link& link) {
  const std::uint32_t window = credit_of(frontend_.budget_, link.share_bytes, link.size.expected());
  const std::uint32_t left = engine_->credit_left(id);
  // Taken back only when it is far too much: transfers under way use it up anyway.
  const bool less = left > std::uint64_t{window} * 2;
  const bool more = left <= window / 2 && left < window && frontend_.held_.empty();
  if (less || more) engine_->grant_credit(id, window);
}

void Connection::close(const amqp::Condition& condition) {
  engine_->close(condition, now_);
  // The wait for the peer's answer has begun: without this a silent peer would stay until its idle time-out.
  frontend_.next_deadline_ = std::min(frontend_.next_deadline_, now_);
}

void Connection::on_oversize(amqp::LinkId id, std::uint64_t /*bytes*/) {
  publish_put_off();
  ++frontend_.counters_.oversize;
  if (const auto found = links_.find(id); found != links_.end()) {
    top_up(id, found->second);
  } else if (management_) {
    management_->oversize(id);
  }
}

void Connection::on_credit(amqp::LinkId id, std::uint32_t /*credit*/, bool drain) {
  publish_put_off();
  const auto found = links_.find(id);
  if (found == links_.end()) {
    if (management_) management_->credit(id, drain);
    return;
  }
  if (found->second.role != amqp::Role::receiver) return;
  Link& link = found->second;
  broker::Leader* leader = frontend_.backend_.leader();
  if (leader == nullptr) return;
  if (!link.attached) {
    // Clients pipeline attach and flow: taken up when the link is accepted.
    link.drain_asked = drain;
    return;
  }
  if (!link.held.empty()) flush_held();
  link.drain_due = false;  // asked anew below, or not wanted any more
  // What the broker has dispatched and the engine has not yet sent still counts against the client's credit,
  // of which flush_held() may have used some.
  const std::uint64_t allowed = link.sent + engine_->credit_left(id);
  const std::uint64_t dispatched = leader->dispatched(link.consumer);
  const auto more = static_cast<std::uint32_t>(allowed > dispatched ? allowed - dispatched : 0);
  leader->set_credit(link.consumer, more, drain, now_, wall_, frontend_.backend_.leader_outputs());
}

void Connection::on_disposition(amqp::LinkId link, amqp::DeliveryRef delivery, const amqp::Outcome& outcome,
                                bool settled) {
  publish_put_off();
  const Outstanding::Entry* found = outgoing_.find(delivery);
  if (found == nullptr) {
    if (management_ && management_->disposition(link, delivery, outcome, settled)) return;
    // Settled before, or a settled transfer: answered so that the client does not wait.
    if (!settled) {
      engine_->settle_outgoing(
          delivery, rejected({"com.microsoft:message-lock-lost", "the delivery is settled already"}));
    }
    return;
  }
  broker::Leader* leader = frontend_.backend_.leader();
  if (leader == nullptr) return;  // being closed: the outcome is unknown to the client, the lock is void
  broker::Leader::Settle settle;
  settle.token = found->token;
  DeadLetterRequest dead_letter;
  Buffer properties;
  using Type = amqp::Outcome::Type;
  switch (outcome.type) {
    case Type::accepted:
      settle.how = broker::Settlement::complete;
      break;
    case Type::released:
      settle.how = broker::Settlement::release;
      break;
    case Type::rejected:
      settle.how = broker::Settlement::dead_letter;
      dead_letter = dead_letter_request(outcome);
      settle.reason = dead_letter.reason;
      settle.description = dead_letter.description;
      settle.modified_properties = dead_letter.properties;
      break;
    case Type::modified:
      settle.how = outcome.undeliverable_here ? broker::Settlement::defer : broker::Settlement::abandon;
      properties = modified_properties(outcome);
      settle.modified_properties = properties;
      break;
    case Type::none:
      // Settled without an outcome: the default outcome of our sources is released.
      if (!settled) return;
      settle.how = broker::Settlement::release;
      break;
    case Type::other:
      outgoing_.remove(found);
      if (!settled) {
        engine_->settle_outgoing(delivery, rejected({"amqp:not-implemented",
                                                     "the delivery state is not an outcome this "
                                                     "broker supports"}));
      }
      return;
  }
  outgoing_.remove(found);
  settle.tag = frontend_.pend(id_, delivery, outcome.type, !settled);
  leader->settle(settle, now_, wall_, frontend_.backend_.leader_outputs());
}

amqp::DeliveryHead head_of(const broker::Delivery& delivery) {
  amqp::DeliveryHead with;
  with.delivery_count = delivery.delivery_count;
  with.first_acquirer = !delivery.maybe_delivered && delivery.delivery_count == 0;
  with.sequence_number = static_cast<std::int64_t>(delivery.sequence.value);
  with.enqueued_time_ms = delivery.enqueued.ms;
  with.enqueue_sequence_number = static_cast<std::int64_t>(delivery.scheduled_as.value);
  with.message_state = static_cast<std::int32_t>(delivery.state);
  if (!delivery.token.is_nil()) with.locked_until_ms = delivery.locked_until.ms;
  if (delivery.sub == broker::SubQueue::dead_letter) {
    if (!delivery.dead_letter_reason.empty()) with.dead_letter_reason = delivery.dead_letter_reason;
    if (!delivery.dead_letter_description.empty()) {
      with.dead_letter_description = delivery.dead_letter_description;
    }
  }
  with.modified_properties = delivery.modified_properties;
  return with;
}

Payload Connection::payload_of(const broker::Delivery& delivery) {
  Payload payload = frontend_.backend_.payload(delivery.lsn);
  if (payload.state == Payload::State::lost) {
    // It may have a new record, and the one it was dispatched with may be gone.
    const Lsn moved = frontend_.backend_.state().lsn_of(delivery.queue, delivery.sequence);
    if (moved != Lsn{} && moved != delivery.lsn) payload = frontend_.backend_.payload(moved);
  }
  if (payload.state == Payload::State::coming) frontend_.await_payload(*this);
  if (payload.state == Payload::State::lost) {
    // The journal cannot give back what it acknowledged: nothing more is delivered on this connection.
    close({"amqp:connection:forced", "message " + std::to_string(delivery.sequence.value) +
                                         " cannot be read from the journal: " + payload.why});
  }
  return payload;
}

bool Connection::send(amqp::LinkId id, Link& link, const broker::Delivery& delivery) {
  if (!engine_->can_send(id) || !frontend_.may_output(*this)) return false;
  const Payload payload = payload_of(delivery);
  if (payload.state == Payload::State::coming) return false;
  if (payload.state == Payload::State::lost) return true;
  const amqp::MessageView view = amqp::view_sections(payload.bytes);
  const amqp::DeliveryHead with = head_of(delivery);
  head_.clear();
  const auto parts = amqp::encode_for_delivery(payload.bytes, view, with, head_);
  const bool settled = link.mode == broker::ReceiveMode::receive_and_delete;
  Uuid tag = delivery.token;
  if (settled) tag = frontend_.random_.uuid();
  const amqp::DeliveryRef ref = engine_->send(id, std::as_bytes(std::span(tag.bytes)), 0, settled, parts);
  if (!settled) outgoing_.add(ref, id, delivery.token);
  ++link.sent;
  ++frontend_.counters_.delivered;
  frontend_.account(*this);
  return true;
}

void Connection::report_sent(Link& link) {
  const std::uint32_t window = frontend_.options_.delivery_window;
  if (window == 0 || link.sent - link.reported < (window + 3) / 4) return;
  link.reported = link.sent;
  if (broker::Leader* leader = frontend_.backend_.leader(); leader != nullptr) {
    leader->taken(link.consumer, link.sent, now_, wall_, frontend_.backend_.leader_outputs());
  }
}

void Connection::flush_held() {
  for (auto& [id, link] : links_) {
    if (link.held.empty()) continue;
    while (!link.held.empty() && send(id, link, link.held.front().delivery)) link.held.pop_front();
    report_sent(link);
    if (link.held.empty()) {
      --held_links_;
      --frontend_.blocked_links_;
      if (link.drain_due) {
        link.drain_due = false;
        engine_->drained(id);
      }
    }
  }
  if (management_) management_->flush();
}

void Connection::release(const broker::LockToken& token) {
  if (broker::Leader* leader = frontend_.backend_.leader(); leader != nullptr && !token.is_nil()) {
    broker::Leader::Settle settle;
    settle.tag = frontend_.pend(id_, 0, amqp::Outcome::Type::none, false);
    settle.token = token;
    settle.how = broker::Settlement::release;
    leader->settle(settle, now_, wall_, frontend_.backend_.leader_outputs());
  }
}

void Connection::leave(amqp::LinkId id, Link& link) {
  frontend_.forget_held(id_, id);
  if (link.role == amqp::Role::sender && !std::exchange(link.left, true)) {
    --frontend_.sending_links_;
    frontend_.share_due_ = true;
  }
  if (link.consumer == 0) return;
  frontend_.consumers_.erase(link.consumer);
  if (broker::Leader* leader = frontend_.backend_.leader(); leader != nullptr) {
    leader->unsubscribe(link.consumer, now_, wall_, frontend_.backend_.leader_outputs());
  }
  link.consumer = 0;
}

void Connection::give_back(amqp::LinkId id, Link& link) {
  // A session's messages went back with the session.
  if (!link.session) {
    for (const Held& held : link.held) release(held.delivery.token);
  }
  if (!link.held.empty()) {
    --held_links_;
    --frontend_.blocked_links_;
  }
  link.held.clear();
  if (outgoing_.size() > 0) outgoing_.remove_link(id);
}

void Connection::drop_link(amqp::LinkId id, Link& link) {
  leave(id, link);  // first: else what is given back would come to this very consumer again
  give_back(id, link);
}

void Connection::on_detach(amqp::LinkId id, bool /*closed*/) {
  publish_put_off();
  const auto found = links_.find(id);
  if (found == links_.end()) {
    if (management_) management_->detach(id);
    return;
  }
  drop_link(id, found->second);
  links_.erase(found);
}

void Connection::on_closed(const std::optional<amqp::Condition>& /*condition*/) {
  publish_put_off();
  MS_ASSERT(links_.empty(), "every link got its on_detach before on_closed");
}

}  // namespace mainstay::frontend
