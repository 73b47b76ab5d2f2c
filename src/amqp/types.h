// Numbers and names of the standard's parts 1 to 3 and 5, as they stand on the wire. Values are the
// standard's: never change them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mainstay::amqp {

/// Deepest nesting of described values, lists, maps and arrays that is read. Real messages use four or five.
inline constexpr int kDepthMax = 32;
/// An array of elements that occupy no bytes (null, true, list0 …) may claim any count: more than this is
/// malformed.
inline constexpr std::uint32_t kZeroWidthCountMax = 65536;

/// Constructors (part 1, section 1.6).
namespace code {
inline constexpr std::uint8_t described = 0x00, null = 0x40, boolean_true = 0x41, boolean_false = 0x42,
                              uint0 = 0x43, ulong0 = 0x44, list0 = 0x45, ubyte = 0x50, byte = 0x51,
                              smalluint = 0x52, smallulong = 0x53, smallint = 0x54, smalllong = 0x55,
                              boolean = 0x56, ushort = 0x60, short_ = 0x61, uint = 0x70, int_ = 0x71,
                              float_ = 0x72, character = 0x73, decimal32 = 0x74, ulong = 0x80, long_ = 0x81,
                              double_ = 0x82, timestamp = 0x83, decimal64 = 0x84, decimal128 = 0x94,
                              uuid = 0x98, vbin8 = 0xa0, str8 = 0xa1, sym8 = 0xa3, vbin32 = 0xb0,
                              str32 = 0xb1, sym32 = 0xb3, list8 = 0xc0, map8 = 0xc1, list32 = 0xd0,
                              map32 = 0xd1, array8 = 0xe0, array32 = 0xf0;
}  // namespace code

/// Descriptors; the symbolic form of each is in descriptor_code().
namespace descriptor {
inline constexpr std::uint64_t open = 0x10, begin = 0x11, attach = 0x12, flow = 0x13, transfer = 0x14,
                               disposition = 0x15, detach = 0x16, end = 0x17, close = 0x18, error = 0x1d,
                               received = 0x23, accepted = 0x24, rejected = 0x25, released = 0x26,
                               modified = 0x27, source = 0x28, target = 0x29, coordinator = 0x30,
                               declare = 0x31, discharge = 0x32, declared = 0x33, transactional_state = 0x34,
                               sasl_mechanisms = 0x40, sasl_init = 0x41, sasl_challenge = 0x42,
                               sasl_response = 0x43, sasl_outcome = 0x44, header = 0x70,
                               delivery_annotations = 0x71, message_annotations = 0x72, properties = 0x73,
                               application_properties = 0x74, data = 0x75, amqp_sequence = 0x76,
                               amqp_value = 0x77, footer = 0x78;
/// What descriptor_code() gives for a symbol nobody here knows.
inline constexpr std::uint64_t unknown = ~std::uint64_t{0};
/// Service Bus's session filter (service-bus-dialect, accepting a session).
inline constexpr std::uint64_t session_filter = 0x000000137000000C;
}  // namespace descriptor

/// Error conditions of the standard that this room itself uses.
namespace condition {
inline constexpr std::string_view decode_error = "amqp:decode-error",
                                  frame_size_too_small = "amqp:frame-size-too-small",
                                  framing_error = "amqp:connection:framing-error",
                                  handle_in_use = "amqp:session:handle-in-use",
                                  illegal_state = "amqp:illegal-state", invalid_field = "amqp:invalid-field",
                                  message_size_exceeded = "amqp:link:message-size-exceeded",
                                  not_allowed = "amqp:not-allowed", not_implemented = "amqp:not-implemented",
                                  resource_limit_exceeded = "amqp:resource-limit-exceeded",
                                  transfer_limit_exceeded = "amqp:link:transfer-limit-exceeded",
                                  unattached_handle = "amqp:session:unattached-handle",
                                  unauthorized_access = "amqp:unauthorized-access",
                                  window_violation = "amqp:session:window-violation";
}  // namespace condition

}  // namespace mainstay::amqp
