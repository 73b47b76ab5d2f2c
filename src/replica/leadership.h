// Bodies of the records that leadership changes write: epoch_started, sealed, forked. They make the log tell
// by itself who led, since when and why. Format: docs/formats/leadership.md.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "journal/record.h"

namespace mainstay::replica {

/// A leadership began without losing anything: first start, planned switch, or a planned switch called off.
struct EpochStarted {
  RegionTerm term{};
  std::string region, node;
  WallTime at{};
  std::string by, reason;
};

/// Last record of a leadership before a planned switch.
struct Sealed {
  RegionTerm term{};
  std::uint64_t state_hash{};  ///< broker::State::hash() just before and after this record
  WallTime at{};
};

/// A leadership began by force. The log before this record is what the promoted region had; what the other
/// one committed after it is not here.
struct Forked {
  RegionTerm term{};
  Lsn primary_committed{};  ///< last commit heard of from the region that was live; 0 = never heard
  std::string region, node;
  WallTime at{};
  std::string by, reason;
};

[[nodiscard]] Buffer encode(const EpochStarted& body);
[[nodiscard]] Buffer encode(const Sealed& body);
[[nodiscard]] Buffer encode(const Forked& body);
/// False when the record is of another type or its body is not well-formed.
[[nodiscard]] bool read(const journal::Record& record, EpochStarted& out);
[[nodiscard]] bool read(const journal::Record& record, Sealed& out);
[[nodiscard]] bool read(const journal::Record& record, Forked& out);

/// Term that a record begins or ends; 0 for records of any other kind.
[[nodiscard]] RegionTerm term_of(const journal::Record& record);

}  // namespace mainstay::replica
