// Delivery states and outcomes (part 3 of the standard, section 3.4) on the wire.
#pragma once

#include "amqp/engine.h"
#include "amqp/value_reader.h"

namespace mainstay::amqp {

/// Reads a disposition's state. `received` and an absent state are Type::none, transactional and unknown
/// ones Type::other. @return false when malformed.
bool read_outcome(const Value& state, Outcome& out);

/// True when the outcome is told by its type and flags alone, so that equal ones fold into one disposition.
bool is_plain(const Outcome& outcome);
/// The encoding of a plain outcome, in static memory. Type none is empty.
BytesView plain_outcome(const Outcome& outcome);
/// Appends a disposition for one delivery with any outcome, of any length.
void encode_long_disposition(Buffer& to, bool from_receiver, std::uint32_t delivery_id, bool settled,
                             const Outcome& outcome);
/// Appends the encoding of any outcome; Type::none and other are null.
void encode_outcome(Buffer& to, const Outcome& outcome);

}  // namespace mainstay::amqp
