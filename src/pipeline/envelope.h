// How a payment travels through a queue: an AMQP 1.0 message whose body is the payment's exact bytes and
// whose properties carry its identity. Written by QueueBuilder, read by Processor, kept by the archive.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace mainstay::pipeline {

/// Position of a message in the order of arrival, over all terms: the region term in the upper 24 bits, a
/// dense count within the term in the lower 40.
constexpr std::uint64_t first_ingest(RegionTerm term) {
  return (term.value << 40) + 1;
}

struct Envelope {
  std::string message_id;  ///< message_id_of(): the broker removes a second message with the same one
  std::string idempotency_key, content_digest, ordering_key;
  std::string kind, type, reference, uetr, sender, receiver;  ///< as payments::Message tells them
  std::uint64_t ingest = 0;
  bool replayed = false;  ///< sent again from the archive after a forced promotion
  BytesView body;         ///< the payment
};

/// At most 102 characters: digest of the idempotency key, '-', content id (ledger/content.h). A true
/// duplicate has the same id and is removed by the broker; a conflict (same key, other content) has another,
/// so that it is never dropped silently.
std::string message_id_of(std::string_view idempotency_key, std::string_view content_digest);
/// The session (properties.group-id) of an ordering key: the key itself, or a digest when it is longer than
/// the 128 characters a session id may have.
std::string session_of(std::string_view ordering_key);

Buffer encode(const Envelope& envelope);
/// Reads what encode() writes, whatever sections a broker has put in front.
/// @return the error says what is missing or malformed; the body points into `message`.
Result<Envelope, Failure> decode(BytesView message);

}  // namespace mainstay::pipeline
