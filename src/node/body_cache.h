// The newest part of the log, kept in memory so that messages delivered soon after they were stored are not
// read back from the journal. Bounded in bytes; the oldest batch goes first. One strand.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "journal/journal.h"

namespace mainstay::node {

class BodyCache {
 public:
  explicit BodyCache(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

  /// Copies a durable batch. Batches come in LSN order; a gap starts the cache anew.
  void add(const journal::Batch& batch);
  /// The raw record; valid until add(). Empty when it is not here.
  [[nodiscard]] std::optional<BytesView> find(Lsn lsn) const;
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  struct Part {
    Lsn first{};
    Buffer bytes;
    std::vector<std::uint32_t> offsets;
  };
  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  std::deque<Part> parts_;
  Buffer spare_;  // of a dropped part, reused
};

}  // namespace mainstay::node
