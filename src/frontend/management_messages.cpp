// The operations of `$management` nodes that carry messages: by sequence number, looked at, scheduled.
#include <algorithm>
#include <array>
#include <utility>

#include "amqp/message.h"
#include "frontend/conditions.h"
#include "frontend/connection.h"
#include "frontend/durability.h"
#include "frontend/management.h"
#include "frontend/scheduling.h"

namespace mainstay::frontend {
namespace {

// One response: more is asked for again. A single message may be larger.
constexpr std::size_t kPeekBytesMax = 1U << 20;
constexpr std::uint64_t kReceiveBytesMax = 4U << 20;
constexpr std::size_t kPeekMax = 1000;
constexpr std::size_t kIdCharactersMax = 128;

ManagementStatus bad(std::string description) {
  return {400, "com.microsoft:argument-error", std::move(description)};
}
ManagementStatus busy(std::string description) {
  return {503, "com.microsoft:server-busy", std::move(description)};
}
ManagementStatus of_condition(std::int32_t code, amqp::Condition condition) {
  return {code, std::move(condition.symbol), std::move(condition.description)};
}

/// What of a scheduled message is looked at before any of its request is stored.
struct Scheduled {
  BytesView payload;
  amqp::MessageView view;
  WallTime time;
  broker::Durability durability{};
};

}  // namespace

bool Management::has_room() const {
  const std::uint64_t all = frontend_.response_bytes_;
  return all < frontend_.options_.response_bytes_max / 2 ||
         (bytes_ == 0 && all < frontend_.options_.response_bytes_max);
}

void Management::add_message(MessagesBody& body, const broker::Delivery& delivery, BytesView payload,
                             bool omit_body) {
  amqp::MessageView view = amqp::view_sections(payload);
  static constexpr std::array<std::byte, 5> kNoBody{std::byte{0x00}, std::byte{0x53}, std::byte{0x75},
                                                    std::byte{0xa0}, std::byte{0x00}};
  if (omit_body) {
    view.bare = view.bare.first(view.bare.size() - view.body.size());
    view.body = {};
    view.footer = {};
  }
  const amqp::MessageParts made =
      amqp::encode_for_delivery(payload, view, head_of(delivery), connection_.head_);
  std::vector<BytesView> parts(made.begin(), made.end());
  if (omit_body) parts.emplace_back(kNoBody);
  body.add(delivery.token, parts);
}

void Management::peek(Call&& call, const PeekMessages& operation) {
  if (!has_room()) {
    answer(call, busy("responses of this node wait for their clients: take them before asking for more"));
    return;
  }
  call.fetch = std::make_unique<Fetch>();
  call.fetch->peek = true;
  call.fetch->omit_body = operation.omit_body;
  call.fetch->left = std::min(operation.max, kPeekMax);
  if (operation.session_id) call.fetch->session_id = *operation.session_id;
  const std::uint64_t number = keep(std::move(call));
  look(number, broker::SequenceNumber{operation.from});
}

void Management::look(std::uint64_t number, broker::SequenceNumber from) {
  const Call& call = calls_.at(number);
  broker::Leader::Peek peek;
  peek.tag = frontend_.pend_call(connection_.id_, number);
  peek.queue = call.node.queue;
  peek.sub = call.node.sub;
  peek.from = from;
  peek.max = call.fetch->left;
  if (call.fetch->session_id) peek.session_id = *call.fetch->session_id;
  frontend_.backend_.leader()->peek(peek, frontend_.backend_.leader_outputs());
}

void Management::receive(Call&& call, const ReceiveBySequenceNumber& operation) {
  if (!has_room()) {
    answer(call, busy("responses of this node wait for their clients: take them before asking for more"));
    return;
  }
  // Looked at before, so that nothing is locked or deleted that no response can carry.
  std::uint64_t bytes = 0;
  if (operation.sequences.size() > 1) {
    for (const broker::SequenceNumber sequence : operation.sequences) {
      bytes += frontend_.backend_.state().payload_bytes_of(call.node.queue, sequence);
      if (bytes > kReceiveBytesMax) {
        answer(call, bad("the messages have more than " + std::to_string(kReceiveBytesMax) +
                         " bytes together: ask for fewer at a time"));
        return;
      }
    }
  }
  broker::Leader::ReceiveDeferred receive;
  receive.queue = call.node.queue;
  receive.sub = call.node.sub;
  receive.mode = operation.mode;
  receive.sequences = operation.sequences;
  if (operation.session_id && call.node.sub == broker::SubQueue::active) {
    const auto held = holder(call.node, *operation.session_id);
    if (!held) {
      answer(call, session_lock_lost());
      return;
    }
    receive.holder = *held;
  }
  call.fetch = std::make_unique<Fetch>();
  receive.tag = frontend_.pend_call(connection_.id_, keep(std::move(call)));
  frontend_.backend_.leader()->receive_deferred(receive, connection_.now_, connection_.wall_,
                                                frontend_.backend_.leader_outputs());
}

void Management::fetched(std::uint64_t number, const broker::Fetched& fetched) {
  const auto found = calls_.find(number);
  if (found == calls_.end()) return;
  Fetch& fetch = *found->second.fetch;
  if (fetched.error) {
    const Call call = std::move(found->second);
    calls_.erase(found);
    answer(call, status_of(*fetched.error));
    return;
  }
  fetch.waiting.assign(fetched.messages.begin(), fetched.messages.end());
  fetch.next = fetched.next;
  add_fetched(number);
}

void Management::payloads_came() {
  std::vector<std::uint64_t> waiting;
  for (const auto& [number, call] : calls_) {
    if (call.fetch && !call.fetch->waiting.empty()) waiting.push_back(number);
  }
  for (const std::uint64_t number : waiting) add_fetched(number);
}

std::optional<Lsn> Management::oldest_waiting() const {
  std::optional<Lsn> oldest;
  for (const auto& [number, call] : calls_) {
    if (!call.fetch) continue;
    for (const broker::Delivery& delivery : call.fetch->waiting) {
      if (!oldest || delivery.lsn < *oldest) oldest = delivery.lsn;
    }
  }
  return oldest;
}

void Management::add_fetched(std::uint64_t number) {
  const auto found = calls_.find(number);
  if (found == calls_.end()) return;
  Fetch& fetch = *found->second.fetch;
  bool full = false;
  for (; !fetch.waiting.empty() && !full; fetch.waiting.pop_front()) {
    const broker::Delivery& delivery = fetch.waiting.front();
    const Payload payload = connection_.payload_of(delivery);
    if (payload.state == Payload::State::coming) return;
    if (payload.state == Payload::State::lost) {
      calls_.erase(found);
      return;  // the connection is being closed
    }
    full =
        fetch.peek && fetch.body.messages() > 0 && fetch.body.bytes() + payload.bytes.size() > kPeekBytesMax;
    if (full) break;
    add_message(fetch.body, delivery, payload.bytes, fetch.omit_body);
    if (fetch.peek) --fetch.left;
  }
  if (fetch.peek && !full && fetch.left > 0 && fetch.next != broker::SequenceNumber{} &&
      frontend_.backend_.leader() != nullptr) {
    look(number, fetch.next);
    return;
  }
  Call call = std::move(found->second);
  calls_.erase(found);
  if (call.fetch->body.messages() == 0) {
    answer(call, {204, "", "there are no messages from there on"});
    return;
  }
  answer(call, {}, call.fetch->body.take());
}

void Management::schedule(Call&& call, const ScheduleMessages& operation) {
  if (call.node.sub == broker::SubQueue::dead_letter) {
    answer(call, {400, "amqp:not-allowed", "messages cannot be sent to a dead-letter queue"});
    return;
  }
  // All are looked at before any is stored.
  const broker::QueueOptions& options = frontend_.backend_.state().options(call.node.queue);
  std::vector<Scheduled> messages;
  std::size_t bytes = 0;
  for (const BytesView payload : operation.messages) {
    const std::string which = "message " + std::to_string(messages.size() + 1) + ": ";
    const auto view = amqp::view_message(payload);
    if (!view) {
      answer(call, bad(which + view.error().what));
      return;
    }
    const ScheduleAsked when = schedule_of_message(view->message_annotations);
    const DurabilityAsked asked = durability_of_message(view->message_annotations);
    const DurabilityDue due = durability_due(options, asked.level);
    auto refusal = when.problem ? when.problem : asked.problem ? asked.problem : due.refusal;
    if (!refusal) refusal = frontend_.backend_.durability_refusal(due.level);
    if (!refusal && options.requires_session && !view->group_id) {
      refusal = amqp::Condition{"amqp:not-allowed", "the queue requires sessions and the message has none"};
    }
    if (!refusal && ((view->message_id() && view->message_id()->size() > kIdCharactersMax) ||
                     (view->group_id && view->group_id->size() > kIdCharactersMax))) {
      refusal =
          amqp::Condition{"amqp:invalid-field", "message ids and session ids have up to 128 characters"};
    }
    if (refusal) {
      refusal->description = which + refusal->description;
      answer(call, of_condition(400, std::move(*refusal)));
      return;
    }
    bytes += payload.size();
    messages.push_back({payload, *view, when.time.value_or(connection_.wall_), due.level});
  }
  const AdmissionAnswer admission = frontend_.backend_.admit(bytes, false);
  if (admission.admission == Admission::wait || !frontend_.held_.empty()) {
    answer(call, busy("the journal does not take more for now: try again"));
    return;
  }
  if (admission.admission == Admission::refused) {
    answer(call, of_condition(503, admission.why));
    return;
  }
  call.left = messages.size();
  call.numbers.resize(messages.size());
  const std::uint64_t number = keep(std::move(call));
  const Node node = calls_.at(number).node;
  std::uint32_t item = 0;
  for (const Scheduled& message : messages) {
    broker::Publish publish;
    publish.tag = frontend_.pend_call(connection_.id_, number, item++);
    publish.queue = node.queue;
    if (const auto id = message.view.message_id()) publish.message_id = *id;
    if (message.view.group_id) {
      publish.session_id = *message.view.group_id;
      publish.has_session = true;
    }
    if (message.view.ttl_ms) publish.ttl_ms = *message.view.ttl_ms;
    publish.durability = message.durability;
    publish.scheduled_enqueue = message.time;
    publish.payload = message.payload;
    frontend_.backend_.leader()->publish(publish, connection_.wall_, frontend_.backend_.leader_outputs());
  }
}

void Management::publish_done(std::uint64_t number, std::uint32_t item, const broker::PublishDone& done) {
  const auto found = calls_.find(number);
  if (found == calls_.end()) return;
  Call& pending = found->second;
  pending.numbers.at(item) = static_cast<std::int64_t>(done.sequence.value);
  if (done.error && !pending.error) pending.error = done.error;
  if (--pending.left > 0) return;
  const Call call = std::move(pending);
  calls_.erase(found);
  if (call.error) {
    answer(call, status_of(*call.error));
  } else {
    answer(call, {}, sequence_numbers_body(call.numbers));
  }
}

void Management::cancel_scheduled(Call&& call, const CancelScheduledMessages& operation) {
  broker::Leader::CancelScheduled cancel;
  cancel.queue = call.node.queue;
  cancel.sequences = operation.sequences;
  call.left = 1;
  cancel.tag = frontend_.pend_call(connection_.id_, keep(std::move(call)));
  frontend_.backend_.leader()->cancel_scheduled(cancel, connection_.now_, connection_.wall_,
                                                frontend_.backend_.leader_outputs());
}

}  // namespace mainstay::frontend
