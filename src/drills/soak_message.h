// A soak's messages as bytes, made and read with Proton's codec: none of the broker's code looks at them
// here.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace mainstay::drills {

/// What a soak's message is made from. Its body follows from `id` and `bytes`.
struct SoakMessage {
  std::string id;
  std::string session;     ///< empty = none
  std::uint64_t bytes{};   ///< of the body
  std::uint32_t ttl_ms{};  ///< header.ttl; 0 = none
};

struct EncodedSoakMessage {
  Buffer message;
  std::uint64_t checksum{};  ///< of the body; the message carries it in its subject
};
[[nodiscard]] EncodedSoakMessage encode_soak_message(const SoakMessage& message);

/// What was received, as it is: nothing is compared here.
struct DecodedSoakMessage {
  std::string id, session, dead_letter_reason;
  std::uint64_t bytes{}, checksum{};  ///< of the body that came
  std::uint64_t claimed{};            ///< what the subject says
  std::uint64_t sequence{};
  std::uint32_t count{};  ///< header.delivery-count
  std::int64_t enqueued_ms{}, locked_until_ms{};
};
/// Fails on bytes that are no message, or not one of a soak's.
[[nodiscard]] Result<DecodedSoakMessage, Failure> decode_soak_message(BytesView bytes);

}  // namespace mainstay::drills
