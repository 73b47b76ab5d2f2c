// Requests to and responses from an entity's `$management` node (service-bus-dialect.md §11): bytes to values
// and back. Knows no link, no broker call, no state.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "amqp/value_reader.h"
#include "amqp/value_writer.h"
#include "base/bytes.h"
#include "base/result.h"
#include "broker/types.h"

namespace mainstay::frontend {

/// Most locks or messages that one request may name.
inline constexpr std::size_t kManagementItemsMax = 4096;

/// What a response says besides its body.
struct ManagementStatus {
  std::int32_t code = 200;
  std::string condition;  ///< empty on success
  std::string description = "OK";
};
[[noreturn]] void throw_exception_from_error(const ManagementStatus& status,
                                             const boost::source_location& where);

/// The envelope. Views point into the request.
struct ManagementRequest {
  /// What the response's correlation-id is: the request's message-id, or without one its correlation-id, as
  /// encoded. Empty when there is neither.
  BytesView correlation_id;
  std::string_view reply_to;
  std::string_view operation;  ///< empty when absent
  BytesView tracking_id;       ///< encoded; empty when absent
  amqp::Value body;            ///< a map, or null when the body is none
};
/// @return what is wrong with bytes that no response can be made for: no message, or ids of no type that ids
/// have.
[[nodiscard]] Result<ManagementRequest, Failure> read_management_request(BytesView message);

struct RenewLock {
  std::vector<broker::LockToken> tokens;  ///< at least one
};
struct RenewSessionLock {
  std::string_view session_id;
};
struct UpdateDisposition {
  enum class Status : std::uint8_t { completed, abandoned, deferred, suspended, unlocked, renewed };
  Status status{};
  std::vector<broker::LockToken> tokens;  ///< at least one
  std::string_view reason, description;   ///< of `suspended`
  Buffer properties;                      ///< encoded map with string keys; empty when none
  std::optional<std::string_view> session_id;
};
struct PeekMessages {
  std::uint64_t from = 1;
  std::size_t max{};  ///< at least one
  std::optional<std::string_view> session_id;
  bool omit_body = false;
};
struct ReceiveBySequenceNumber {
  std::vector<broker::SequenceNumber> sequences;  ///< at least one
  broker::ReceiveMode mode{};
  std::optional<std::string_view> session_id;
};
struct ScheduleMessages {
  std::vector<BytesView> messages;  ///< at least one; encoded, not looked into
};
struct CancelScheduledMessages {
  std::vector<broker::SequenceNumber> sequences;  ///< at least one
};
using ManagementOperation = std::variant<RenewLock, RenewSessionLock, UpdateDisposition, PeekMessages,
                                         ReceiveBySequenceNumber, ScheduleMessages, CancelScheduledMessages>;
/// @return the operation, or 400 when a value is missing, of another type or out of range, or 501 when this
/// broker does not have it. The operation points into the request.
[[nodiscard]] Result<ManagementOperation, ManagementStatus> read_management_operation(
    const ManagementRequest& request);

/// What of a request its response repeats; owned, for answers that come later.
struct ManagementReply {
  ManagementReply() = default;
  explicit ManagementReply(const ManagementRequest& request)
      : correlation_id(to_buffer(request.correlation_id)),
        tracking_id(to_buffer(request.tracking_id)),
        to(request.reply_to) {}
  Buffer correlation_id, tracking_id;
  std::string to;
};
/// @param body  an encoded map; empty = the empty map
[[nodiscard]] Buffer encode_management_response(const ManagementReply& reply, const ManagementStatus& status,
                                                BytesView body = {});

// Bodies of responses.
[[nodiscard]] Buffer expirations_body(std::span<const std::int64_t> times_ms);
[[nodiscard]] Buffer expiration_body(std::int64_t time_ms);
[[nodiscard]] Buffer sequence_numbers_body(std::span<const std::int64_t> numbers);

/// `messages`: of receive-by-sequence-number with lock tokens, of peek-message without.
class MessagesBody {
 public:
  MessagesBody();
  MessagesBody(const MessagesBody&) = delete;
  MessagesBody& operator=(const MessagesBody&) = delete;
  /// @param token  nil: none. @param parts  the encoded message
  void add(const broker::LockToken& token, std::span<const BytesView> parts);
  [[nodiscard]] std::size_t messages() const { return count_; }
  [[nodiscard]] std::size_t bytes() const { return body_.size(); }
  /// Call once, last.
  [[nodiscard]] Buffer take();

 private:
  Buffer body_;
  amqp::ValueWriter writer_{body_};
  amqp::ValueWriter::Open map_, list_;
  std::uint32_t count_ = 0;
};

/// A lock token as the AMQP uuid that stands for it in bodies, and back: the token is the delivery-tag, whose
/// first three groups are little-endian (§9.2).
[[nodiscard]] Uuid lock_token_as_uuid(const Uuid& token_or_uuid);

}  // namespace mainstay::frontend
