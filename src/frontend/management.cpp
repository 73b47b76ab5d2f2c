#include "frontend/management.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.h"
#include "frontend/conditions.h"
#include "frontend/connection.h"

namespace mainstay::frontend {
namespace {

// Clients expect at least 50 at once; one entity's node answers within a commit.
constexpr std::uint32_t kRequestCredit = 64;
// More than this many links' full credit: whoever opens so many node links and reads no answers is cut.
constexpr std::size_t kOpenRequestsMax = 4096;
// Responses of this size leave whatever others have on their way: nobody waits for a lock behind large
// messages.
constexpr std::size_t kSmallResponseBytes = 4096;

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

amqp::Outcome outcome(amqp::Outcome::Type type) {
  amqp::Outcome out;
  out.type = type;
  return out;
}

ManagementStatus lock_lost() {
  return {410, "com.microsoft:message-lock-lost",
          "a lock has expired, was settled before or is not of this entity: receive the message again"};
}
}  // namespace

ManagementStatus Management::session_lock_lost() {
  return {410, "com.microsoft:session-lock-lost",
          "no receiver of this connection holds the session: accept it again"};
}

ManagementStatus Management::status_of(const broker::BrokerError& error) {
  using Code = broker::ErrorCode;
  amqp::Condition condition = condition_of(error);
  std::int32_t code = 500;
  switch (error.code) {
    case Code::queue_not_found:
    case Code::message_not_found:
      code = 404;
      break;
    case Code::session_locked:
    case Code::session_lock_lost:
    case Code::message_lock_lost:
      code = 410;
      break;
    case Code::session_timeout:
      code = 408;
      break;
    case Code::session_required:
    case Code::session_not_supported:
    case Code::id_too_long:
    case Code::cannot_dead_letter:
    case Code::publish_not_allowed:
    case Code::bad_queue_options:
      code = 400;
      break;
  }
  return {code, std::move(condition.symbol), std::move(condition.description)};
}

Management::Management(Frontend& frontend, Connection& connection)
    : frontend_(frontend), connection_(connection) {}

// ---- links

void Management::attach(amqp::LinkId id, const amqp::AttachRequest& request, broker::QueueId queue,
                        broker::SubQueue sub) {
  const Node node{queue, sub, request.channel};
  amqp::AttachReply reply;
  reply.max_message_size = frontend_.options_.engine.limits.message_bytes_max;
  if (request.role == amqp::Role::sender) {
    requests_.emplace(id, RequestLink{node});
    reply.credit = kRequestCredit;
  } else {
    ResponseLink link;
    link.node = node;
    link.name = request.name;
    link.address = request.own_address;
    link.settled = request.sender_settle_mode != amqp::SenderSettleMode::unsettled;
    responses_.emplace(id, std::move(link));
  }
  connection_.engine_->accept(id, reply);
}

bool Management::has(amqp::LinkId link) const {
  return requests_.count(link) > 0 || responses_.count(link) > 0;
}

std::optional<amqp::LinkId> Management::route(const Node& node, std::string_view reply_to) const {
  std::optional<amqp::LinkId> on_session, on_connection;
  for (const auto& [id, link] : responses_) {
    if (!link.node.same_entity(node)) continue;
    if (!on_connection) on_connection = id;
    if (link.node.channel != node.channel) continue;
    if (!on_session) on_session = id;
    if (!reply_to.empty() && (link.address == reply_to || link.name == reply_to)) return id;
  }
  return on_session ? on_session : on_connection;
}

void Management::oversize(amqp::LinkId id) {
  if (const auto found = requests_.find(id); found != requests_.end()) top_up(id, found->second);
}

void Management::top_up(amqp::LinkId id, const RequestLink& link) {
  const std::uint32_t window = kRequestCredit - std::min(kRequestCredit, link.open);
  if (connection_.engine_->credit_left(id) <= window / 2) connection_.engine_->grant_credit(id, window);
}

void Management::finish(amqp::LinkId request_link) {
  --open_;
  const auto found = requests_.find(request_link);
  if (found == requests_.end()) return;
  --found->second.open;
  top_up(request_link, found->second);
}

void Management::credit(amqp::LinkId id, bool drain) {
  const auto found = responses_.find(id);
  if (found == responses_.end()) return;
  found->second.drain = drain;
  send_waiting(id, found->second);
}

bool Management::disposition(amqp::LinkId id, amqp::DeliveryRef delivery, const amqp::Outcome& told,
                             bool settled) {
  if (responses_.count(id) == 0) return false;
  // Whatever the client made of its answer, nothing here depends on it.
  if (!settled) {
    amqp::Outcome mirrored = outcome(told.type);
    if (told.type == amqp::Outcome::Type::other || told.type == amqp::Outcome::Type::none) {
      mirrored.type = amqp::Outcome::Type::accepted;
    }
    connection_.engine_->settle_outgoing(delivery, mirrored);
  }
  return true;
}

void Management::detach(amqp::LinkId id) {
  requests_.erase(id);
  const auto found = responses_.find(id);
  if (found == responses_.end()) return;
  ResponseLink link = std::move(found->second);
  responses_.erase(found);
  drop_waiting(link);
}

void Management::drop_waiting(ResponseLink& link) {
  if (link.waiting.empty()) return;
  --connection_.held_links_;
  --frontend_.blocked_links_;
  for (const Response& response : std::exchange(link.waiting, {})) {
    bytes_ -= response.message.size();
    frontend_.response_bytes_ -= response.message.size();
    finish(response.request_link);
  }
}

std::size_t Management::cut_unfinished(const amqp::Condition& why) {
  std::size_t cut = 0;
  for (auto at = requests_.begin(); at != requests_.end();) {
    const amqp::LinkId id = at->first;
    const bool unfinished = connection_.engine_->unfinished_bytes(id) > 0;
    at = unfinished ? requests_.erase(at) : std::next(at);
    if (!unfinished) continue;
    connection_.engine_->detach(id, why);
    ++cut;
  }
  return cut;
}

void Management::clear() {
  requests_.clear();
  for (auto& [id, link] : responses_) drop_waiting(link);
  responses_.clear();
  calls_.clear();
  open_ = 0;
}

// ---- responses

void Management::answer(const Call& call, const ManagementStatus& status, BytesView body) {
  ++(status.code < 300 ? frontend_.counters_.requests_answered : frontend_.counters_.requests_refused);
  const auto found = responses_.find(call.response_link);
  if (found == responses_.end()) {
    finish(call.request_link);
    return;
  }
  ResponseLink& link = found->second;
  if (link.waiting.empty()) {
    ++connection_.held_links_;
    ++frontend_.blocked_links_;
  }
  link.waiting.push_back({call.request_link, encode_management_response(call.reply, status, body)});
  bytes_ += link.waiting.back().message.size();
  frontend_.response_bytes_ += link.waiting.back().message.size();
  send_waiting(call.response_link, link);
}

bool Management::send_waiting(amqp::LinkId id, ResponseLink& link) {
  const bool waited = !link.waiting.empty();
  while (!link.waiting.empty() && connection_.engine_->can_send(id)) {
    Response& response = link.waiting.front();
    const std::size_t bytes = response.message.size();
    if (bytes > kSmallResponseBytes && !frontend_.may_output(connection_)) break;
    std::array<std::byte, 8> tag;
    store_be(tag.data(), next_tag_++);
    const BytesView message(response.message);
    connection_.engine_->send(id, tag, 0, link.settled, std::span(&message, 1));
    frontend_.account(connection_);
    const amqp::LinkId request_link = response.request_link;
    link.waiting.pop_front();
    bytes_ -= bytes;
    frontend_.response_bytes_ -= bytes;
    finish(request_link);
  }
  if (waited && link.waiting.empty()) {
    --connection_.held_links_;
    --frontend_.blocked_links_;
  }
  if (link.drain && (link.waiting.empty() || connection_.engine_->credit_left(id) == 0)) {
    link.drain = false;
    connection_.engine_->drained(id);
  }
  return link.waiting.empty();
}

void Management::flush() {
  for (auto& [id, link] : responses_) {
    if (!link.waiting.empty()) send_waiting(id, link);
  }
}

// ---- requests

void Management::request(const amqp::IncomingTransfer& transfer) {
  const auto found = requests_.find(transfer.link);
  MS_ASSERT(found != requests_.end(), "the engine reports transfers only on links it announced");
  RequestLink& link = found->second;
  const auto refuse = [&](amqp::Condition why) {
    ++frontend_.counters_.requests_refused;
    if (!transfer.settled) {
      amqp::Outcome rejected = outcome(amqp::Outcome::Type::rejected);
      rejected.error = std::move(why);
      connection_.engine_->settle_incoming(transfer.delivery, rejected);
    }
    top_up(transfer.link, link);
  };
  const auto request = read_management_request(transfer.payload);
  if (!request) {
    refuse({"amqp:decode-error", request.error().what});
    return;
  }
  Call call{transfer.link, 0, ManagementReply(*request), link.node, 0, std::nullopt, {}, nullptr};
  if (const auto response_link = route(link.node, request->reply_to)) {
    call.response_link = *response_link;
  } else {
    refuse({"amqp:precondition-failed",
            "there is no receiver from this node on the connection: attach one before sending requests"});
    return;
  }
  if (open_ >= kOpenRequestsMax) {
    const amqp::LinkId id = transfer.link;
    requests_.erase(found);
    connection_.engine_->detach(
        id, {"amqp:resource-limit-exceeded", std::to_string(open_) +
                                                 " requests of this connection are not answered "
                                                 "yet: take their responses before sending more"});
    return;
  }
  if (!transfer.settled) {
    connection_.engine_->settle_incoming(transfer.delivery, outcome(amqp::Outcome::Type::accepted));
  }
  ++open_;
  ++link.open;
  const auto operation = read_management_operation(*request);
  if (!operation) {
    answer(call, operation.error());
  } else if (frontend_.backend_.leader() == nullptr) {
    answer(call, {503, "com.microsoft:server-busy", frontend_.backend_.not_live_reason()});
  } else {
    perform(std::move(call), *operation);
  }
  if (const auto still = requests_.find(transfer.link); still != requests_.end()) {
    top_up(transfer.link, still->second);
  }
}

void Management::perform(Call call, const ManagementOperation& operation) {
  std::visit(Overloaded{
                 [&](const RenewLock& o) { renew_lock(call, o.tokens, true); },
                 [&](const RenewSessionLock& o) { renew_session_lock(call, o); },
                 [&](const UpdateDisposition& o) { update_disposition(std::move(call), o); },
                 [&](const PeekMessages& o) { peek(std::move(call), o); },
                 [&](const ReceiveBySequenceNumber& o) { receive(std::move(call), o); },
                 [&](const ScheduleMessages& o) { schedule(std::move(call), o); },
                 [&](const CancelScheduledMessages& o) { cancel_scheduled(std::move(call), o); },
             },
             operation);
}

bool Management::is_ours(broker::ConsumerId consumer) const {
  const auto found = frontend_.consumers_.find(consumer);
  return found != frontend_.consumers_.end() && found->second.first == connection_.id_;
}

std::optional<broker::ConsumerId> Management::holder(const Node& node, std::string_view session_id) const {
  const auto held = frontend_.backend_.leader()->session_holder(node.queue, session_id, connection_.now_);
  if (!held || !is_ours(*held)) return std::nullopt;
  return held;
}

std::optional<ManagementStatus> Management::lost(const Node& node,
                                                 std::span<const broker::LockToken> tokens) const {
  for (const broker::LockToken& token : tokens) {
    const auto locked = frontend_.backend_.leader()->locked(token);
    if (!locked || locked->queue != node.queue || locked->sub != node.sub) return lock_lost();
    if (locked->session_holder != 0 && !is_ours(locked->session_holder)) return session_lock_lost();
  }
  return std::nullopt;
}

void Management::renew_lock(Call& call, std::span<const broker::LockToken> tokens, bool tell) {
  if (auto gone = lost(call.node, tokens)) {
    answer(call, *gone);
    return;
  }
  std::vector<std::int64_t> ends;
  ends.reserve(tokens.size());
  for (const broker::LockToken& token : tokens) {
    const auto end = frontend_.backend_.leader()->renew_lock(token, connection_.now_, connection_.wall_);
    if (!end) {
      answer(call, status_of(end.error()));
      return;
    }
    ends.push_back(end->ms);
  }
  answer(call, {}, tell ? expirations_body(ends) : Buffer());
}

void Management::renew_session_lock(Call& call, const RenewSessionLock& operation) {
  const auto held = holder(call.node, operation.session_id);
  if (!held) {
    answer(call, session_lock_lost());
    return;
  }
  const auto end =
      frontend_.backend_.leader()->renew_session_lock(*held, connection_.now_, connection_.wall_);
  if (!end) {
    answer(call, status_of(end.error()));
    return;
  }
  answer(call, {}, expiration_body(end->ms));
}

std::uint64_t Management::keep(Call call) {
  calls_.emplace(next_call_, std::move(call));
  return next_call_++;
}

void Management::update_disposition(Call&& call, const UpdateDisposition& operation) {
  using Status = UpdateDisposition::Status;
  if (operation.status == Status::renewed) {
    renew_lock(call, operation.tokens, false);
    return;
  }
  if (operation.session_id && !holder(call.node, *operation.session_id)) {
    answer(call, session_lock_lost());
    return;
  }
  // All or none, as far as can be known now; a lock that runs out in this very moment is told all the same.
  if (auto gone = lost(call.node, operation.tokens)) {
    answer(call, *gone);
    return;
  }
  broker::Leader::Settle settle;
  settle.modified_properties = operation.properties;
  switch (operation.status) {
    case Status::completed:
      settle.how = broker::Settlement::complete;
      break;
    case Status::abandoned:
      settle.how = broker::Settlement::abandon;
      break;
    case Status::suspended:
      settle.how = broker::Settlement::dead_letter;
      settle.reason = operation.reason;
      settle.description = operation.description;
      break;
    case Status::unlocked:
      settle.how = broker::Settlement::release;
      break;
    case Status::deferred:
      settle.how = broker::Settlement::defer;
      break;
    case Status::renewed:
      break;
  }
  call.left = operation.tokens.size();
  const std::uint64_t number = keep(std::move(call));
  for (const broker::LockToken& token : operation.tokens) {
    settle.token = token;
    settle.tag = frontend_.pend_call(connection_.id_, number);
    frontend_.backend_.leader()->settle(settle, connection_.now_, connection_.wall_,
                                        frontend_.backend_.leader_outputs());
  }
}

void Management::settle_done(std::uint64_t number, const std::optional<broker::BrokerError>& error) {
  const auto found = calls_.find(number);
  if (found == calls_.end()) return;
  if (error && !found->second.error) found->second.error = error;
  if (--found->second.left > 0) return;
  const Call call = std::move(found->second);
  calls_.erase(found);
  answer(call, call.error ? status_of(*call.error) : ManagementStatus{});
}

}  // namespace mainstay::frontend
