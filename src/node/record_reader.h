// Many records of the log in rising order, for a question that is answered at once: in chunks where they are
// close to each other, one by one where they are not. For one question; BodyReader is for what goes on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "journal/journal.h"

namespace mainstay::node {

/// Waits for the disk. One strand. Memory: one chunk, or the longest record.
class RecordReader {
 public:
  static constexpr std::size_t kChunkBytesMin = std::size_t{16} << 10;
  static constexpr std::size_t kChunkBytesMax = std::size_t{512} << 10;

  explicit RecordReader(journal::Journal& journal) : journal_(journal) {}

  /// The record at `lsn`, durable; valid until the next call. Any order, quick in rising order. Errors are
  /// the journal's; `corrupt` too when it gives something that is not a record.
  [[nodiscard]] Result<journal::Record, journal::JournalError> get(Lsn lsn);
  /// Calls of Journal::read().
  [[nodiscard]] std::uint64_t reads() const { return reads_; }
  /// Of records in memory.
  [[nodiscard]] std::size_t bytes() const { return bytes_.size(); }

 private:
  journal::Journal& journal_;
  Buffer bytes_;
  std::size_t at_ = 0;           // of the record next_
  Lsn next_{};                   // first in the chunk that was not passed yet
  std::size_t chunk_bytes_ = 0;  // of the chunk in memory as it was asked for; 0 = a single record
  std::size_t used_ = 0;         // bytes of its records that were asked for
  std::uint64_t reads_ = 0;
};

}  // namespace mainstay::node
