// The newest part of the log, kept in memory so that messages delivered soon after they were stored are not
// read back from the journal. Bounded in bytes of memory held, not of records; the oldest goes first. What is
// older comes from BodyReader. One strand.
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

  /// Takes in a durable batch. Batches come in LSN order; a gap starts the cache anew. A batch that fills its
  /// buffer is moved in rather than copied, and `batch` gets memory of one that was dropped: what it holds
  /// afterwards is only good for clear(). One that is larger than all there may be keeps its memory, and
  /// empties the cache.
  void add(journal::Batch& batch);
  /// The raw record, whole and checked when it was made; valid until add(). Empty when it is not here.
  [[nodiscard]] std::optional<BytesView> find(Lsn lsn) const;
  /// Memory held; at most bytes_max.
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  struct Part {
    Lsn first{};
    Buffer bytes;
    std::vector<std::uint32_t> offsets;
    std::uint64_t counted = 0;  // of bytes_
  };
  [[nodiscard]] static std::uint64_t memory_of(const Part& part);
  void count(Part& part);
  void drop_oldest();
  void start_part(std::size_t bytes, Lsn first);

  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  std::deque<Part> parts_;
  Part spare_;  // memory of a dropped part, for the next one; counted as well
};

}  // namespace mainstay::node
