// A log record as every room sees it: the unit of ordering, durability, replication and verification.
// The byte format is docs/formats/journal.md.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/ids.h"

namespace mainstay::journal {

/// Meaning of a record's body. Stored in segments and sent between regions: never renumber.
enum class RecordType : std::uint16_t {
  // Written by leadership changes.
  epoch_started = 1,  ///< a leader began this epoch; body: region term, node, wall time, reason
  sealed = 2,         ///< planned switch: nothing of this term follows; body: term, state hash
  forked = 3,         ///< forced promotion; body: new term, last known primary LSN, who, why
  state_hash = 4,     ///< the broker's state hash just before this record: replicas compare
  // Broker state effects (broker/effects.h defines the bodies).
  queue_declared = 16,
  message_stored = 17,
  messages_settled = 18,  ///< completed, received-and-deleted or dropped by expiry
  delivery_failed = 19,   ///< delivery count raised; message available again
  message_dead_lettered = 20,
  time_advanced = 21,  ///< only the log's clock moved (duplicate-detection windows pass)
  message_moved = 22,  ///< a stored message once more, so that its first record can go
  message_deferred = 23,
  message_scheduled = 24,  ///< stored, to be there later
  message_activated = 25,  ///< a scheduled message is there
};
/// Its name above; "unknown" for a type that this release does not know. For people.
[[nodiscard]] const char* name_of(RecordType type);

/// Fixed part in front of every record's body, 48 bytes, little-endian, then the body, then zeros up to a
/// multiple of 8 bytes. `checksum` covers everything after itself (header and body, not the padding).
/// `previous` is the checksum of the record before, so one record's checksum fixes the whole log up to it:
/// equal checksum at equal LSN means equal log.
struct RecordHeader {
  std::uint32_t magic{};       ///< kRecordMagic
  std::uint32_t body_bytes{};  ///< 0 to kBodyBytesMax
  std::uint64_t checksum{};
  std::uint64_t previous{};
  Lsn lsn{};
  Epoch epoch{};
  RecordType type{};
  std::uint16_t flags{};     ///< 0; reserved
  std::uint32_t reserved{};  ///< 0
};
inline constexpr std::uint32_t kRecordMagic = 0x4352534d;  // "MSRC"
inline constexpr std::size_t kRecordHeaderBytes = 48;
inline constexpr std::size_t kBodyBytesMax = std::size_t{64} << 20;

/// A decoded record. `body` and `raw` are views into a buffer owned by whoever produced the record; `raw` is
/// the record exactly as stored, padding included.
struct Record {
  RecordHeader header;
  BytesView body;
  BytesView raw;
};

/// Where a log ends, or any place in it: the last record's LSN and checksum. {0, 0} is the empty log.
struct LogPosition {
  Lsn lsn{};
  std::uint64_t hash{};
  friend constexpr bool operator==(const LogPosition&, const LogPosition&) = default;
};

/// Bytes a record with this body takes in a segment.
constexpr std::size_t record_bytes(std::size_t body_bytes) {
  return (kRecordHeaderBytes + body_bytes + 7) & ~std::size_t{7};
}

enum class DecodeStatus : std::uint8_t {
  ok,
  end,        ///< nothing here: zeros or no bytes
  truncated,  ///< a header that announces more bytes than there are
  damaged,    ///< wrong magic, impossible length or checksum mismatch
};

/// Decodes the record at the front of `bytes` and checks its checksum (not its place in the chain).
DecodeStatus decode_record(BytesView bytes, Record& out);

/// The record in `raw` without looking at its checksum again. @pre `raw` is exactly one record that was
/// checked or made by this process and has been in its memory since: what Journal::read() gives, or a Batch
/// holds.
Record view_record(BytesView raw);
/// The same of the first of several. @pre `raw` begins with such a record.
Record view_first_record(BytesView raw);

/// Appends one encoded record to `to` and returns its checksum. The body is given in parts so that a
/// message's bytes are copied once, from where they are into the batch.
std::uint64_t encode_record(Buffer& to, Lsn lsn, Epoch epoch, std::uint64_t previous, RecordType type,
                            std::span<const BytesView> body_parts);

}  // namespace mainstay::journal
