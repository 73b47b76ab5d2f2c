#include "drills/soak_management.h"

#include <cstring>

#include "drills/proton_data.h"

namespace mainstay::drills {

namespace {

constexpr Duration patience = seconds(10);
constexpr std::uint32_t responses = 10;

void put_key(pn_data_t* map, const char* key) {
  pn_data_put_string(map, pn_bytes(std::strlen(key), key));
}

}  // namespace

[[noreturn]] void throw_exception_from_error(const ManagementError& error,
                                             const boost::source_location& where) {
  boost::throw_exception(std::runtime_error(error.condition + ": " + error.description), where);
}

struct SoakManagement::Response {
  ProtonMessage message;
  /// Calls `each(map)` with it standing on each element of the list under `key`, an entry of the body's map.
  template <typename Each>
  void for_each_map(const std::string& key, Each&& each) const {
    pn_data_t* body = pn_message_body(message.get());
    for_each_entry(body, [&](const std::string& found) {
      if (found != key || pn_data_type(body) != PN_LIST) return;
      pn_data_enter(body);
      while (pn_data_next(body)) each(body);
      pn_data_exit(body);
    });
  }
};

SoakManagement::SoakManagement(client::Connection& connection, const std::string& entity)
    : connection_(connection),
      address_(entity + "/$management"),
      sender_(connection.open_sender(address_)),
      receiver_(connection.open_receiver(address_)) {}

bool SoakManagement::is_open() const {
  return sender_.state() == client::LinkState::open && receiver_.state() == client::LinkState::open;
}

bool SoakManagement::open() {
  receiver_.add_credit(responses);
  const auto opened = connection_.poll_until(
      [&] {
        return sender_.state() == client::LinkState::closed ||
               receiver_.state() == client::LinkState::closed || (is_open() && sender_.credit() > 0);
      },
      patience);
  return opened && is_open() && sender_.credit() > 0;
}

Result<SoakManagement::Response, ManagementError> SoakManagement::call(
    const std::string& operation, const std::function<void(pn_data_t*)>& fill) {
  const std::uint64_t id = next_id_++;
  const ProtonMessage request = new_proton_message();
  pn_atom_t name{};
  name.type = PN_ULONG;
  name.u.as_ulong = id;
  pn_message_set_id(request.get(), name);
  pn_message_set_reply_to(request.get(), address_.c_str());
  pn_data_t* properties = pn_message_properties(request.get());
  pn_data_put_map(properties);
  pn_data_enter(properties);
  put_key(properties, "operation");
  pn_data_put_string(properties, bytes_of(operation));
  pn_data_exit(properties);
  pn_data_t* map = pn_message_body(request.get());
  pn_data_put_map(map);
  pn_data_enter(map);
  fill(map);
  pn_data_exit(map);
  Buffer bytes(64U << 10);
  std::size_t size = bytes.size();
  if (pn_message_encode(request.get(), reinterpret_cast<char*>(bytes.data()), &size) != 0)
    return ManagementError{0, "soak:request", "the request does not fit into 64 KiB"};
  bytes.resize(size);
  if (!sender_.send(id, bytes)) return ManagementError{0, "soak:no-credit", address_ + " takes no request"};
  ProtonMessage response = new_proton_message();
  bool answered = false;
  const auto polled = connection_.poll_until(
      [&] {
        sender_.take_outcomes(outcomes_);
        receiver_.take(received_);
        for (const client::Received& received : received_) {
          if (!received.settled) receiver_.complete(received.handle);
          pn_message_clear(response.get());
          if (pn_message_decode(response.get(), reinterpret_cast<const char*>(received.message.data()),
                                received.message.size()) != 0)
            continue;
          const pn_msgid_t answers = pn_message_get_correlation_id(response.get());
          answered = answered || (answers.type == PN_ULONG && answers.u.as_ulong == id);
          if (answered) break;
        }
        if (receiver_.credit() < responses / 2) receiver_.add_credit(responses / 2);
        return answered || !is_open();
      },
      patience);
  if (!answered)
    return ManagementError{0, "soak:no-response",
                           polled ? address_ + " did not answer " + operation : polled.error().description};
  ManagementError told;
  pn_data_t* about = pn_message_properties(response.get());
  for_each_entry(about, [&](const std::string& key) {
    if (key == "statusCode") told.status = pn_data_get_int(about);
    if (key == "statusDescription") told.description = text_of(pn_data_get_string(about));
    if (key == "errorCondition" && pn_data_type(about) == PN_SYMBOL)
      told.condition = text_of(pn_data_get_symbol(about));
  });
  if (told.status < 200 || told.status > 299) return told;
  return Response{std::move(response)};
}

Result<std::vector<SoakManagement::Given>, ManagementError> SoakManagement::receive(
    std::span<const std::uint64_t> sequences) {
  const auto fill = [&](pn_data_t* map) {
    put_key(map, "sequence-numbers");
    pn_data_put_array(map, false, PN_LONG);
    pn_data_enter(map);
    for (const std::uint64_t sequence : sequences) pn_data_put_long(map, static_cast<std::int64_t>(sequence));
    pn_data_exit(map);
    put_key(map, "receiver-settle-mode");
    pn_data_put_uint(map, 1);
  };
  const auto response = call("com.microsoft:receive-by-sequence-number", fill);
  if (!response) return response.error();
  std::vector<Given> given;
  response->for_each_map("messages", [&](pn_data_t* message) {
    Given one;
    for_each_entry_here(message, [&](const std::string& key) {
      if (key == "lock-token" && pn_data_type(message) == PN_UUID) {
        const pn_uuid_t token = pn_data_get_uuid(message);
        std::memcpy(one.token.data(), token.bytes, one.token.size());
      }
      if (key == "message") {
        const pn_bytes_t bytes = pn_data_get_binary(message);
        const auto view = std::as_bytes(std::span(bytes.start, bytes.size));
        one.message.assign(view.begin(), view.end());
      }
    });
    given.push_back(std::move(one));
  });
  return given;
}

Result<void, ManagementError> SoakManagement::settle(const ManagementToken& token,
                                                     const std::string& status) {
  const auto fill = [&](pn_data_t* map) {
    put_key(map, "disposition-status");
    pn_data_put_string(map, bytes_of(status));
    put_key(map, "lock-tokens");
    pn_data_put_array(map, false, PN_UUID);
    pn_data_enter(map);
    pn_uuid_t uuid{};
    std::memcpy(uuid.bytes, token.data(), token.size());
    pn_data_put_uuid(map, uuid);
    pn_data_exit(map);
    if (status != "suspended") return;
    put_key(map, "deadletter-reason");
    put_key(map, "soak");
    put_key(map, "deadletter-description");
    put_key(map, "a consumer asked for it");
  };
  const auto response = call("com.microsoft:update-disposition", fill);
  if (!response) return response.error();
  return {};
}

Result<std::vector<SoakManagement::Seen>, ManagementError> SoakManagement::peek(std::uint64_t from,
                                                                                unsigned most) {
  const auto fill = [&](pn_data_t* map) {
    put_key(map, "from-sequence-number");
    pn_data_put_long(map, static_cast<std::int64_t>(from));
    put_key(map, "message-count");
    pn_data_put_int(map, static_cast<std::int32_t>(most));
  };
  const auto response = call("com.microsoft:peek-message", fill);
  if (!response) return response.error();
  std::vector<Seen> seen;
  response->for_each_map("messages", [&](pn_data_t* entry) {
    for_each_entry_here(entry, [&](const std::string& key) {
      if (key != "message") return;
      const pn_bytes_t bytes = pn_data_get_binary(entry);
      const ProtonMessage message = new_proton_message();
      if (pn_message_decode(message.get(), bytes.start, bytes.size) != 0) return;
      Seen one;
      pn_data_t* annotations = pn_message_annotations(message.get());
      for_each_entry(annotations, [&](const std::string& name) {
        if (name == "x-opt-sequence-number")
          one.sequence = static_cast<std::uint64_t>(pn_data_get_long(annotations));
        if (name == "x-opt-message-state") one.state = pn_data_get_int(annotations);
      });
      seen.push_back(one);
    });
  });
  return seen;
}

}  // namespace mainstay::drills
