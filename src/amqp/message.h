// Looking into, and putting a new head on, an encoded AMQP message without touching its body
// (OASIS AMQP 1.0 part 3). Sections are read in place; the bare message leaves as it came, bit for bit.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace mainstay::amqp {

struct MessageError {
  std::string what;  ///< which section, at which byte, what was expected
};
[[noreturn]] void throw_exception_from_error(const MessageError& error, const boost::source_location& where);

/// Where the sections of an encoded message are (byte ranges with their descriptors, in the message's bytes;
/// empty = absent) and the few values the broker needs. Views point into the message.
struct MessageView {
  BytesView header, delivery_annotations, message_annotations;
  /// properties, application-properties and body sections, contiguous as sent: the bare message.
  BytesView bare;
  BytesView properties, application_properties, body, footer;

  std::optional<std::uint32_t> ttl_ms;  ///< header.ttl
  bool durable = false;
  std::uint8_t priority = 4;
  std::uint32_t delivery_count = 0;
  /// properties.message-id as text: strings as they are, ulong in decimal, uuid and binary in hexadecimal,
  /// each with a prefix that keeps the types apart ("" for string, "ulong:", "uuid:", "binary:"). Empty
  /// optional = absent. Points into the message or into this.
  [[nodiscard]] std::optional<std::string_view> message_id() const {
    return written_id.empty() ? string_id : std::string_view(written_id);
  }
  std::optional<std::string_view> string_id;  ///< when it is a string
  std::string written_id;                     ///< when it is not: with prefix
  std::optional<std::string_view> group_id;   ///< properties.group-id: the session
  std::optional<std::string_view> subject;
};

/// Reads the sections and checks that they are well-formed, in order, and that there is a body.
Result<MessageView, MessageError> view_message(BytesView message);

/// Where the sections of a message are that view_message() took before, and its header: what delivering it
/// needs. Nothing is checked again and the fields of its properties are not read. Asserted: it was such a
/// message.
MessageView view_sections(BytesView message);

/// What the broker adds on delivery (service-bus-dialect.md §9.3).
struct DeliveryHead {
  std::uint32_t delivery_count{};
  bool first_acquirer = true;
  std::int64_t sequence_number{};
  std::int64_t enqueued_time_ms{};
  std::optional<std::int64_t> locked_until_ms;
  std::int64_t enqueue_sequence_number{};
  std::int32_t message_state{};  ///< 0 active, 1 deferred, 2 scheduled
  std::optional<std::string> dead_letter_source;
  /// Written into application-properties (replacing same keys); only for messages in a dead-letter queue.
  std::optional<std::string> dead_letter_reason, dead_letter_description;
  /// Further properties merged into application-properties: an encoded AMQP map, empty when none
  /// (propertiesToModify of abandon and dead-letter).
  BytesView modified_properties;
};

/// A message in up to four pieces, for Engine::send(): converts to a span of views, allocates nothing.
class MessageParts {
 public:
  void add(BytesView part) {
    if (!part.empty()) parts_[count_++] = part;
  }
  [[nodiscard]] std::size_t size() const { return count_; }
  [[nodiscard]] const BytesView* begin() const { return parts_.data(); }
  [[nodiscard]] const BytesView* end() const { return parts_.data() + count_; }
  [[nodiscard]] std::span<const BytesView> view() const { return {parts_.data(), count_}; }
  operator std::span<const BytesView>() const { return view(); }  // NOLINT: meant to be implicit

 private:
  std::array<BytesView, 4> parts_;
  std::size_t count_ = 0;
};

/// The parts to send: a fresh header and message-annotations (the sender's own annotations kept, the broker's
/// names replaced), then the bare message untouched. Delivery-annotations are dropped (hop by hop), the
/// footer is kept. `head` is cleared and takes the new sections; the returned views point into `head` and
/// `message`: send before either changes.
MessageParts encode_for_delivery(BytesView message, const MessageView& view, const DeliveryHead& with,
                                 Buffer& head);

/// Encodes a simple message (data section) with properties: for tools and tests.
struct SimpleMessage {
  std::string message_id, group_id, subject, content_type;
  std::optional<std::uint32_t> ttl_ms;
  std::vector<std::pair<std::string, std::string>> application_properties;
  BytesView body;
};
Buffer encode_message(const SimpleMessage& message);

/// Gives a message without message-id one (a new properties section if need be): §7.2. The rest stays bit for
/// bit.
Buffer with_message_id(BytesView message, const MessageView& view, std::string_view id);

}  // namespace mainstay::amqp
