// Senders and receivers: what they put into and read from Proton's links.
#include <proton/codec.h>
#include <proton/condition.h>
#include <proton/delivery.h>
#include <proton/disposition.h>
#include <proton/link.h>
#include <proton/terminus.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "client/connection.h"
#include "client/connection_core.h"

namespace mainstay::client {

namespace {

constexpr std::string_view session_filter = "com.microsoft:session-filter";
constexpr std::string_view timeout_property = "com.microsoft:timeout";
constexpr std::string_view archive_replay_property = "mainstay:archive-replay";
constexpr std::string_view duplicate_window_property = "mainstay:duplicate-detection-window-ms";
constexpr std::string_view locked_until_property = "com.microsoft:locked-until-utc";
constexpr std::int64_t ticks_at_unix_epoch = 621'355'968'000'000'000;
constexpr std::int64_t ticks_per_ms = 10'000;

pn_bytes_t bytes_of(std::string_view text) {
  return pn_bytes(text.size(), text.data());
}
std::string_view view_of(pn_bytes_t bytes) {
  return {bytes.start, bytes.size};
}

/// Stands on the value of a symbol key in the map `data` holds, or returns false.
bool find_in_map(pn_data_t* data, std::string_view key) {
  if (data == nullptr) return false;
  pn_data_rewind(data);
  if (!pn_data_next(data) || pn_data_type(data) != PN_MAP || !pn_data_enter(data)) return false;
  while (pn_data_next(data)) {
    const bool found = pn_data_type(data) == PN_SYMBOL && view_of(pn_data_get_symbol(data)) == key;
    if (!pn_data_next(data)) return false;
    if (found) return true;
  }
  return false;
}

ClientError rejection(pn_delivery_t* delivery, const std::string& doing) {
  ClientError error{"amqp:internal-error", doing};
  pn_condition_t* said = pn_disposition_condition(pn_delivery_remote(delivery));
  if (said != nullptr && pn_condition_is_set(said)) {
    error.condition = pn_condition_get_name(said);
    if (const char* text = pn_condition_get_description(said)) error.description += ": " + std::string(text);
  }
  return error;
}

}  // namespace

void LinkCore::end(const ClientError& why) {
  if (link == nullptr) return;
  on_end(why);
  state = LinkState::closed;
  error = why;
  pn_link_set_context(link, nullptr);
  pn_link_close(link);
  pn_link_free(link);
  link = nullptr;
}

// ---- sender

void SenderCore::on_remote_open() {
  // A refused link is answered with a null target and then detached with the reason.
  if (pn_terminus_get_type(pn_link_remote_target(link)) == PN_UNSPECIFIED) return;
  message_bytes_max = pn_link_remote_max_message_size(link);
  pn_data_t* properties = pn_link_remote_properties(link);
  if (find_in_map(properties, duplicate_window_property) && pn_data_type(properties) == PN_LONG) {
    duplicate_window = milliseconds(pn_data_get_long(properties));
  }
  state = LinkState::open;
}

void SenderCore::on_delivery(pn_delivery_t* delivery) {
  if (!pn_delivery_updated(delivery)) return;
  const std::uint64_t said = pn_delivery_remote_state(delivery);
  SendOutcome outcome;
  outcome.tag = reinterpret_cast<std::uintptr_t>(pn_delivery_get_context(delivery));
  switch (said) {
    case PN_ACCEPTED:
      outcome.kind = SendOutcome::Kind::accepted;
      break;
    case PN_REJECTED:
      outcome.kind = SendOutcome::Kind::rejected;
      outcome.error = rejection(delivery, connection->peer() + " rejected a message for " + address);
      break;
    case PN_RELEASED:
    case PN_MODIFIED:
      outcome.kind = SendOutcome::Kind::released;
      outcome.error = {"amqp:released", connection->peer() + " did not take a message for " + address};
      break;
    default:
      if (!pn_delivery_settled(delivery)) {
        pn_delivery_clear(delivery);
        return;
      }
      outcome.kind = SendOutcome::Kind::unknown;
      outcome.error = {"mainstay:no-outcome", connection->peer() + " settled a message for " + address +
                                                  " without telling what became of it"};
  }
  pn_delivery_settle(delivery);
  --unsettled;
  outcomes.push_back(std::move(outcome));
}

void SenderCore::on_end(const ClientError& why) {
  for (pn_delivery_t* at = pn_unsettled_head(link); at != nullptr; at = pn_unsettled_next(at)) {
    outcomes.push_back(
        {reinterpret_cast<std::uintptr_t>(pn_delivery_get_context(at)), SendOutcome::Kind::unknown, why});
  }
  unsettled = 0;
}

Sender::Sender(std::unique_ptr<SenderCore> core) : core_(std::move(core)) {}
Sender::Sender(Sender&&) noexcept = default;
Sender& Sender::operator=(Sender&& other) noexcept {
  if (this != &other) {
    close();
    core_ = std::move(other.core_);
  }
  return *this;
}
Sender::~Sender() {
  close();
}

LinkState Sender::state() const {
  return core_->state;
}
const ClientError& Sender::error() const {
  return core_->error;
}
std::size_t Sender::credit() const {
  if (core_->state != LinkState::open) return 0;
  return static_cast<std::size_t>(std::max(pn_link_credit(core_->link), 0));
}
std::size_t Sender::unsettled() const {
  return core_->unsettled;
}
std::uint64_t Sender::message_bytes_max() const {
  return core_->message_bytes_max;
}
std::optional<Duration> Sender::duplicate_window() const {
  return core_->duplicate_window;
}

bool Sender::send(std::uint64_t tag, BytesView message) {
  if (core_->state != LinkState::open || pn_link_credit(core_->link) <= 0) return false;
  char name[8];
  std::memcpy(name, &core_->next_tag, sizeof name);
  ++core_->next_tag;
  pn_delivery_t* delivery = pn_delivery(core_->link, pn_dtag(name, sizeof name));
  pn_delivery_set_context(delivery, reinterpret_cast<void*>(static_cast<std::uintptr_t>(tag)));
  const auto* from = reinterpret_cast<const char*>(message.data());
  const ssize_t sent = pn_link_send(core_->link, from, message.size());
  MS_ASSERT(sent == static_cast<ssize_t>(message.size()), "Proton takes a whole message or is out of memory");
  pn_link_advance(core_->link);
  ++core_->unsettled;
  return true;
}

void Sender::take_outcomes(std::vector<SendOutcome>& into) {
  into.clear();
  into.swap(core_->outcomes);
}

void Sender::close() {
  if (core_) core_->end({condition::closed, "the sender to " + core_->address + " was closed here"});
}

Sender Connection::open_sender(const std::string& address, const SenderOptions& options) {
  auto core = std::make_unique<SenderCore>();
  core->connection = core_;
  core->address = address;
  if (core_->over()) {
    core->state = LinkState::closed;
    core->error = core_->error();
    return Sender(std::move(core));
  }
  core->link = core_->new_sender();
  pn_link_set_context(core->link, static_cast<LinkCore*>(core.get()));
  pn_terminus_set_address(pn_link_target(core->link), address.c_str());
  pn_terminus_set_address(pn_link_source(core->link), pn_link_name(core->link));
  pn_link_set_snd_settle_mode(core->link, PN_SND_UNSETTLED);
  pn_link_set_rcv_settle_mode(core->link, PN_RCV_FIRST);
  if (options.archive_replay) {
    pn_data_t* properties = pn_link_properties(core->link);
    pn_data_put_map(properties);
    pn_data_enter(properties);
    pn_data_put_symbol(properties, bytes_of(archive_replay_property));
    pn_data_put_bool(properties, true);
    pn_data_exit(properties);
  }
  pn_link_open(core->link);
  return Sender(std::move(core));
}

// ---- receiver

void ReceiverCore::on_remote_open() {
  if (pn_terminus_get_type(pn_link_remote_source(link)) == PN_UNSPECIFIED) return;
  if (options.session != ReceiverOptions::Session::none) {
    pn_data_t* filter = pn_terminus_filter(pn_link_remote_source(link));
    if (find_in_map(filter, session_filter)) {
      if (pn_data_is_described(filter)) {  // descriptor, then the value
        pn_data_enter(filter);
        pn_data_next(filter);
        pn_data_next(filter);
      }
      if (pn_data_type(filter) == PN_STRING) session_id = std::string(view_of(pn_data_get_string(filter)));
    }
    if (!session_id) {
      end({"amqp:not-implemented",
           connection->peer() + " does not know sessions (com.microsoft:session-filter) on " + address});
      return;
    }
    pn_data_t* properties = pn_link_remote_properties(link);
    if (find_in_map(properties, locked_until_property) && pn_data_type(properties) == PN_LONG) {
      session_locked_until = WallTime{(pn_data_get_long(properties) - ticks_at_unix_epoch) / ticks_per_ms};
    }
  }
  state = LinkState::open;
}

void ReceiverCore::on_delivery(pn_delivery_t* delivery) {
  const auto known = reinterpret_cast<std::uintptr_t>(pn_delivery_get_context(delivery));
  if (known == 0) {
    if (pn_delivery_aborted(delivery)) {
      pn_delivery_settle(delivery);
      return;
    }
    if (!pn_delivery_readable(delivery) || pn_delivery_partial(delivery)) return;
    Received& got = received.emplace_back();
    got.handle = next_handle++;
    const pn_delivery_tag_t tag = pn_delivery_tag(delivery);
    got.tag_bytes = static_cast<std::uint8_t>(std::min<std::size_t>(tag.size, got.tag.size()));
    std::memcpy(got.tag.data(), tag.start, got.tag_bytes);
    got.message.resize(pn_delivery_pending(delivery));
    const ssize_t read = pn_link_recv(link, reinterpret_cast<char*>(got.message.data()), got.message.size());
    MS_ASSERT(got.message.empty() || read == static_cast<ssize_t>(got.message.size()),
              "a complete delivery can be read at once");
    got.settled = pn_delivery_settled(delivery);
    pn_link_advance(link);
    if (got.settled) {
      pn_delivery_settle(delivery);
    } else {
      pn_delivery_set_context(delivery, reinterpret_cast<void*>(static_cast<std::uintptr_t>(got.handle)));
      deliveries.emplace(got.handle, delivery);
      pn_delivery_clear(delivery);
    }
    return;
  }
  if (!pn_delivery_updated(delivery)) return;
  if (!pn_delivery_settled(delivery)) {
    pn_delivery_clear(delivery);
    return;
  }
  Settlement answer{known, true, {}};
  const std::uint64_t wanted = pn_delivery_local_state(delivery);
  const std::uint64_t said = pn_delivery_remote_state(delivery);
  if (wanted == 0) {
    answer.ok = false;
    answer.error = {"com.microsoft:message-lock-lost",
                    connection->peer() + " took a message of " + address + " back"};
  } else if (said == PN_REJECTED) {
    pn_condition_t* reason = pn_disposition_condition(pn_delivery_remote(delivery));
    if (wanted != PN_REJECTED || pn_condition_is_set(reason)) {
      answer.ok = false;
      answer.error = rejection(delivery, connection->peer() + " did not settle a message of " + address);
    }
  }
  deliveries.erase(known);
  pn_delivery_settle(delivery);
  settlements.push_back(std::move(answer));
}

void ReceiverCore::on_end(const ClientError& why) {
  for (const auto& [handle, delivery] : deliveries) {
    if (pn_delivery_local_state(delivery) != 0) settlements.push_back({handle, false, why});
  }
  deliveries.clear();
}

Receiver::Receiver(std::unique_ptr<ReceiverCore> core) : core_(std::move(core)) {}
Receiver::Receiver(Receiver&&) noexcept = default;
Receiver& Receiver::operator=(Receiver&& other) noexcept {
  if (this != &other) {
    close();
    core_ = std::move(other.core_);
  }
  return *this;
}
Receiver::~Receiver() {
  close();
}

LinkState Receiver::state() const {
  return core_->state;
}
const ClientError& Receiver::error() const {
  return core_->error;
}
const std::optional<std::string>& Receiver::session_id() const {
  return core_->session_id;
}
std::optional<WallTime> Receiver::session_locked_until() const {
  return core_->session_locked_until;
}
void Receiver::add_credit(std::uint32_t more) {
  if (core_->link != nullptr) pn_link_flow(core_->link, static_cast<int>(more));
}
void Receiver::drain(std::uint32_t more) {
  if (core_->link == nullptr) return;
  pn_link_drained(core_->link);
  pn_link_drain(core_->link, static_cast<int>(more));
}
bool Receiver::drained() const {
  return core_->link == nullptr || !pn_link_draining(core_->link);
}
std::size_t Receiver::credit() const {
  return core_->link == nullptr ? 0 : static_cast<std::size_t>(std::max(pn_link_credit(core_->link), 0));
}
void Receiver::take(std::vector<Received>& into) {
  into.clear();
  into.swap(core_->received);
}
void Receiver::take_settlements(std::vector<Settlement>& into) {
  into.clear();
  into.swap(core_->settlements);
}
std::size_t Receiver::unsettled() const {
  return core_->deliveries.size();
}

void Receiver::settle(std::uint64_t handle, std::uint64_t state, const std::string* reason,
                      const std::string* description) {
  const auto found = core_->deliveries.find(handle);
  if (found == core_->deliveries.end() || pn_delivery_local_state(found->second) != 0) return;
  pn_disposition_t* local = pn_delivery_local(found->second);
  if (reason != nullptr) {
    pn_condition_t* error = pn_disposition_condition(local);
    pn_condition_set_name(error, "com.microsoft:dead-letter");
    pn_data_t* info = pn_condition_info(error);
    pn_data_put_map(info);
    pn_data_enter(info);
    pn_data_put_string(info, bytes_of("DeadLetterReason"));
    pn_data_put_string(info, bytes_of(*reason));
    pn_data_put_string(info, bytes_of("DeadLetterErrorDescription"));
    pn_data_put_string(info, bytes_of(*description));
    pn_data_exit(info);
  }
  pn_delivery_update(found->second, state);
}
void Receiver::complete(std::uint64_t handle) {
  settle(handle, PN_ACCEPTED, nullptr, nullptr);
}
void Receiver::abandon(std::uint64_t handle) {
  settle(handle, PN_MODIFIED, nullptr, nullptr);
}
void Receiver::defer(std::uint64_t handle) {
  const auto found = core_->deliveries.find(handle);
  if (found == core_->deliveries.end() || pn_delivery_local_state(found->second) != 0) return;
  pn_disposition_set_undeliverable(pn_delivery_local(found->second), true);
  settle(handle, PN_MODIFIED, nullptr, nullptr);
}
void Receiver::release(std::uint64_t handle) {
  settle(handle, PN_RELEASED, nullptr, nullptr);
}
void Receiver::dead_letter(std::uint64_t handle, const std::string& reason, const std::string& description) {
  settle(handle, PN_REJECTED, &reason, &description);
}
void Receiver::close() {
  if (core_) core_->end({condition::closed, "the receiver from " + core_->address + " was closed here"});
}

Receiver Connection::open_receiver(const std::string& address, const ReceiverOptions& options) {
  auto core = std::make_unique<ReceiverCore>();
  core->connection = core_;
  core->address = address;
  core->options = options;
  if (core_->over()) {
    core->state = LinkState::closed;
    core->error = core_->error();
    return Receiver(std::move(core));
  }
  core->link = core_->new_receiver();
  pn_link_set_context(core->link, static_cast<LinkCore*>(core.get()));
  pn_terminus_t* source = pn_link_source(core->link);
  pn_terminus_set_address(source, address.c_str());
  pn_terminus_set_address(pn_link_target(core->link), pn_link_name(core->link));
  const bool peek_lock = options.mode == ReceiveMode::peek_lock;
  pn_link_set_snd_settle_mode(core->link, peek_lock ? PN_SND_UNSETTLED : PN_SND_SETTLED);
  pn_link_set_rcv_settle_mode(core->link, peek_lock ? PN_RCV_SECOND : PN_RCV_FIRST);
  if (options.session != ReceiverOptions::Session::none) {
    pn_data_t* filter = pn_terminus_filter(source);
    pn_data_put_map(filter);
    pn_data_enter(filter);
    pn_data_put_symbol(filter, bytes_of(session_filter));
    if (options.session == ReceiverOptions::Session::named) {
      pn_data_put_string(filter, bytes_of(options.session_id));
    } else {
      pn_data_put_null(filter);
    }
    pn_data_exit(filter);
    pn_data_t* properties = pn_link_properties(core->link);
    pn_data_put_map(properties);
    pn_data_enter(properties);
    pn_data_put_symbol(properties, bytes_of(timeout_property));
    pn_data_put_uint(properties, static_cast<std::uint32_t>(options.session_timeout.milliseconds()));
    pn_data_exit(properties);
  }
  pn_link_open(core->link);
  return Receiver(std::move(core));
}

}  // namespace mainstay::client
