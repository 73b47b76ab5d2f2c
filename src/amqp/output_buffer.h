// Bytes on their way to the peer: appended at the back, consumed from the front, always contiguous so that
// one write can take them all.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/assert.h"
#include "base/bytes.h"

namespace mainstay::amqp {

class OutputBuffer {
 public:
  [[nodiscard]] BytesView view() const { return {data_.get() + begin_, end_ - begin_}; }
  [[nodiscard]] std::size_t size() const { return end_ - begin_; }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }

  /// Room for `bytes` more at the returned place; commit() what was written. Invalidates earlier pointers.
  std::byte* reserve(std::size_t bytes) {
    if (capacity_ - end_ < bytes) make_room(bytes);
    return data_.get() + end_;
  }
  void commit(std::size_t bytes) {
    MS_ASSERT(bytes <= capacity_ - end_, "only reserved bytes can be committed");
    end_ += bytes;
  }
  void append(BytesView bytes) {
    if (bytes.empty()) return;
    std::memcpy(reserve(bytes.size()), bytes.data(), bytes.size());
    end_ += bytes.size();
  }
  void consume(std::size_t bytes) {
    MS_ASSERT(bytes <= size(), "only bytes that were there can be consumed");
    begin_ += bytes;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  void clear() { begin_ = end_ = 0; }
  /// Gives memory of a past burst back.
  void shrink(std::size_t keep_bytes) {
    if (size() != 0 || capacity_ <= keep_bytes) return;
    data_.reset();
    capacity_ = 0;
  }

 private:
  void make_room(std::size_t bytes) {
    const std::size_t held = size();
    // Moving costs as much as it frees at most once per capacity / 2 bytes: amortised constant.
    if (held + bytes <= capacity_ && begin_ >= capacity_ / 2) {
      std::memmove(data_.get(), data_.get() + begin_, held);
    } else {
      const std::size_t grown = std::max({capacity_ * 2, held + bytes, std::size_t{4096}});
      std::unique_ptr<std::byte[]> fresh(new std::byte[grown]);  // NOLINT: not zeroed, on purpose
      if (held > 0) std::memcpy(fresh.get(), data_.get() + begin_, held);
      data_ = std::move(fresh);
      capacity_ = grown;
    }
    begin_ = 0;
    end_ = held;
  }

  std::unique_ptr<std::byte[]> data_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace mainstay::amqp
