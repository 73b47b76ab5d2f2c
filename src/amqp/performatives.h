// The performatives of part 2: those a client sends, decoded in place; those the server sends, encoded.
// Views in decoded performatives point into the frame.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "amqp/engine.h"
#include "amqp/value_reader.h"
#include "base/result.h"

namespace mainstay::amqp {

/// A frame's body: performative and what follows it.
struct FrameBody {
  std::uint64_t code = descriptor::unknown;
  Value fields;
  BytesView payload;
};
/// nullopt when the body does not start with a described value.
std::optional<FrameBody> read_frame_body(BytesView body);

struct OpenFrame {
  std::string_view container_id, hostname;
  std::uint32_t max_frame_size = 0xffffffffU;
  std::uint16_t channel_max = 0xffffU;
  std::uint32_t idle_timeout_ms = 0;  ///< 0 = none
};

struct BeginFrame {
  std::optional<std::uint16_t> remote_channel;
  std::uint32_t next_outgoing_id{}, incoming_window{}, outgoing_window{};
  std::uint32_t handle_max = 0xffffffffU;
};

struct AttachFrame {
  std::string_view name;
  std::uint32_t handle{};
  Role role{};
  SenderSettleMode sender_settle_mode = SenderSettleMode::mixed;
  ReceiverSettleMode receiver_settle_mode = ReceiverSettleMode::first;
  Value source, target;
  std::optional<std::uint32_t> initial_delivery_count;
  std::optional<std::uint64_t> max_message_size;
  Value desired_capabilities;
  Value properties;
};

struct FlowFrame {
  std::optional<std::uint32_t> next_incoming_id;
  std::uint32_t incoming_window{}, next_outgoing_id{}, outgoing_window{};
  std::optional<std::uint32_t> handle, delivery_count, link_credit;
  bool drain = false, echo = false;
};

struct TransferFrame {
  std::uint32_t handle{};
  std::optional<std::uint32_t> delivery_id;
  std::optional<BytesView> delivery_tag;
  std::optional<std::uint32_t> message_format;
  bool settled = false, more = false, aborted = false;
  std::optional<std::uint8_t> receiver_settle_mode;
};

struct DispositionFrame {
  Role role{};  ///< of the peer that sends it
  std::uint32_t first{}, last{};
  bool settled = false;
  Value state;
};

struct DetachFrame {
  std::uint32_t handle{};
  bool closed = false;
  std::optional<Condition> error;
};

/// end and close.
struct EndFrame {
  std::optional<Condition> error;
};

/// @return false when malformed; `problem` then names performative and field.
bool decode(const Value& fields, OpenFrame& out, std::string& problem);
bool decode(const Value& fields, BeginFrame& out, std::string& problem);
bool decode(const Value& fields, AttachFrame& out, std::string& problem);
bool decode(const Value& fields, FlowFrame& out, std::string& problem);
bool decode(const Value& fields, TransferFrame& out, std::string& problem);
bool decode(const Value& fields, DispositionFrame& out, std::string& problem);
bool decode(const Value& fields, DetachFrame& out, std::string& problem);
bool decode(const Value& fields, EndFrame& out, std::string& problem);

/// A condition out of an encoded error. nullopt when absent; malformed parts read as empty.
std::optional<Condition> read_condition(const Value& error);

/// Longest symbol and description that are sent: with them every frame fits into 512 bytes.
inline constexpr std::size_t kConditionSymbolBytesMax = 64;
inline constexpr std::size_t kConditionDescriptionBytesMax = 320;

// Encoders append performative and fields; the frame header is the caller's.
class ValueWriter;
/// @param info  encoded map, empty when absent
void encode_error(ValueWriter& to, const Condition& error, BytesView info = {});
void encode_open(Buffer& to, const EngineOptions& options);
void encode_begin(Buffer& to, std::uint16_t remote_channel, std::uint32_t next_outgoing_id,
                  std::uint32_t incoming_window, std::uint32_t outgoing_window, std::uint32_t handle_max);
void encode_detach(Buffer& to, std::uint32_t handle, bool closed, const Condition* error);
/// @param code  descriptor::end or descriptor::close
void encode_end(Buffer& to, std::uint64_t code, const Condition* error);

struct AttachAnswer {
  std::string_view name;
  std::uint32_t handle{};
  Role client_role{};
  SenderSettleMode sender_settle_mode{};
  ReceiverSettleMode receiver_settle_mode{};
  BytesView source, target;  ///< encoded; empty = null
  std::uint64_t max_message_size{};
  std::span<const std::string> offered_capabilities;
  BytesView properties;  ///< encoded; empty = null
};
void encode_attach(Buffer& to, const AttachAnswer& answer);

// Hot encoders write to memory with room for kHotFrameBytes and return the bytes written, frame header
// excluded.
inline constexpr std::size_t kHotFrameBytes = 128;

struct FlowOut {
  std::uint32_t next_incoming_id{}, incoming_window{}, next_outgoing_id{}, outgoing_window{};
  bool has_link = false;
  std::uint32_t handle{}, delivery_count{}, link_credit{};
  bool drain = false;
};
std::size_t encode_flow(std::byte* to, const FlowOut& flow);

struct TransferOut {
  std::uint32_t handle{}, delivery_id{}, message_format{};
  BytesView tag;  ///< at most 32 bytes
  bool settled = false, more = false;
};
std::size_t encode_transfer(std::byte* to, const TransferOut& transfer);

/// @param state  encoded, at most 64 bytes; empty = null
std::size_t encode_disposition(std::byte* to, bool from_receiver, std::uint32_t first, std::uint32_t last,
                               bool settled, BytesView state);

}  // namespace mainstay::amqp
