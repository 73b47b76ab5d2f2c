// Bodies of the broker's records: what happened, not what was asked for. Little-endian;
// docs/formats/journal.md lists them. Versioned by RecordHeader: a body never changes meaning.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "broker/types.h"
#include "journal/record.h"

namespace mainstay::broker {

/// The part of a message_stored record that a consumer gets: the message as its sender encoded it.
struct StoredMessage {
  QueueId queue{};
  SequenceNumber sequence{};
  WallTime enqueued{};
  std::int64_t expires_ms{};  ///< wall time; 0 = never
  std::uint32_t message_format{};
  bool has_session = false;
  std::string_view session_id;
  std::string_view message_id;
  BytesView payload;
};

/// Reads a message_stored record. Views point into the record. False when the body is not well-formed.
[[nodiscard]] bool read_stored_message(const journal::Record& record, StoredMessage& out);

}  // namespace mainstay::broker
