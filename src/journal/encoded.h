// Records on their way into segments: a batch, or a view of received bytes. Private to the room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "journal/record.h"

namespace mainstay::journal {

struct Encoded {
  BytesView bytes;
  std::span<const std::uint32_t> offsets;  ///< of each record in `bytes`
  Lsn first{};
  LogPosition end{};

  [[nodiscard]] std::size_t count() const { return offsets.size(); }
  [[nodiscard]] std::uint64_t begin_of(std::size_t i) const {
    return i < offsets.size() ? offsets[i] : bytes.size();
  }
  [[nodiscard]] std::uint64_t bytes_of(std::size_t i) const { return begin_of(i + 1) - begin_of(i); }
  [[nodiscard]] std::uint64_t hash_of(std::size_t i) const {
    return load_le<std::uint64_t>(bytes.data() + offsets[i] + 8);
  }
  [[nodiscard]] std::uint64_t previous_of(std::size_t i) const {
    return load_le<std::uint64_t>(bytes.data() + offsets[i] + 16);
  }
  [[nodiscard]] Lsn lsn_of(std::size_t i) const {
    return Lsn{load_le<std::uint64_t>(bytes.data() + offsets[i] + 24)};
  }
  [[nodiscard]] Epoch epoch_of(std::size_t i) const {
    return Epoch{load_le<std::uint64_t>(bytes.data() + offsets[i] + 32)};
  }
  /// First record at or behind `from` that does not fit into `room` bytes together with those before it.
  [[nodiscard]] std::size_t fitting(std::size_t from, std::uint64_t room) const {
    if (bytes.size() - begin_of(from) <= room) return count();
    std::size_t low = from;
    std::size_t high = count();
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (begin_of(middle + 1) - begin_of(from) <= room) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

}  // namespace mainstay::journal
