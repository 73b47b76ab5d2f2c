// Records from one thread to one other, in order, in memory that is allocated once: what sockets gave or are
// to take goes through it without an allocation and without a lock. It is bounded; full is a value.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "base/assert.h"
#include "base/bytes.h"

namespace mainstay::io {

/// One thread produces, one consumes; either side's functions from its thread only. A record's bytes are
/// contiguous, so that a system call can read into them or write from them.
///
/// Whoever sleeps is woken by the other by means outside of the ring. So that no wake-up is lost, a side says
/// that it is about to wait by an exchange on a flag, looks again, and only then waits; the other exchanges
/// the flag back after it has moved. wait_for_room() and take_waiting() are that flag for a full ring.
class ByteRing {
 public:
  struct Record {
    void* about;  ///< whatever the producer named
    std::uint32_t kind;
    std::span<std::byte> bytes;  ///< until pop()
  };

  /// @param capacity  bytes, a power of two, at least 64.
  explicit ByteRing(std::size_t capacity)
      : capacity_(capacity), memory_(new std::byte[capacity]) {  // NOLINT: not zeroed, on purpose
    MS_ASSERT(capacity >= 64 && (capacity & (capacity - 1)) == 0, "a ring's size is a power of two");
  }

  // ---- the producer

  /// Room for a record of up to `most` bytes; at least `least` when there is any, empty when there is not
  /// that much. @param least  1 to longest().
  [[nodiscard]] std::span<std::byte> reserve(std::size_t least, std::size_t most) {
    const std::size_t at = make_room(least);
    if (at == kNone) return {};
    const std::size_t room = std::min(capacity_ - at, capacity_ - (head_ - tail_seen_)) - kHeader;
    reserved_ = std::min(most, room);
    return {memory_.get() + at + kHeader, reserved_};
  }
  /// Publishes the record that was reserved last. @param bytes  at most what reserve() gave.
  void commit(std::uint32_t kind, void* about, std::size_t bytes) {
    MS_ASSERT(bytes <= std::exchange(reserved_, 0), "a record was reserved before it is committed");
    publish(kind, about, bytes);
  }
  /// A record without bytes. @return false: full.
  [[nodiscard]] bool push(std::uint32_t kind, void* about) {
    if (make_room(0) == kNone) return false;
    publish(kind, about, 0);
    return true;
  }
  /// Where the next record ends up: the place after what was committed last, ever growing.
  [[nodiscard]] std::uint64_t end() const { return head_; }
  /// Everything before this has been popped.
  [[nodiscard]] std::uint64_t taken() {
    tail_seen_ = taken_.load(std::memory_order_acquire);
    return tail_seen_;
  }
  /// Says that this side waits for room (or for taken() to move). Look again afterwards.
  void wait_for_room() { waiting_.exchange(true, std::memory_order_acq_rel); }
  /// The longest record that fits whatever was written before it.
  [[nodiscard]] std::size_t longest() const { return capacity_ / 2 - kHeader; }

  // ---- the consumer

  [[nodiscard]] std::optional<Record> front() {
    for (;;) {
      if (tail_ == head_seen_) {
        head_seen_ = written_.load(std::memory_order_acquire);
        if (tail_ == head_seen_) return std::nullopt;
      }
      std::byte* at = memory_.get() + (tail_ & (capacity_ - 1));
      Header header;
      std::memcpy(&header, at, sizeof header);
      if (header.kind != kSkip) return Record{header.about, header.kind, {at + kHeader, header.length}};
      pop(header.length);
    }
  }
  /// Gives back the record that front() showed.
  void pop(const Record& record) { pop(record.bytes.size()); }
  [[nodiscard]] bool empty() { return !front(); }
  /// Whether the producer said that it waits; forgets it. Call after popping, and wake it when true.
  [[nodiscard]] bool take_waiting() { return waiting_.exchange(false, std::memory_order_acq_rel); }

 private:
  struct Header {
    void* about;
    std::uint32_t length, kind;
  };
  static constexpr std::size_t kHeader = 16;
  static_assert(sizeof(Header) == kHeader);
  static constexpr std::uint32_t kSkip = 0xffffffff;
  static constexpr std::size_t kNone = ~std::size_t{0};
  static constexpr std::size_t rounded(std::size_t bytes) { return (bytes + kHeader - 1) & ~(kHeader - 1); }

  /// The place for a header and `bytes` in one piece; what is left at the memory's end is skipped when it is
  /// too short. kNone: full.
  std::size_t make_room(std::size_t bytes) {
    const std::size_t need = kHeader + rounded(bytes);
    MS_ASSERT(bytes <= longest(), "a record is at most half the ring");
    const std::size_t at = head_ & (capacity_ - 1);
    const std::size_t to_end = capacity_ - at;
    const std::size_t all = to_end < need ? to_end + need : need;
    if (capacity_ - (head_ - tail_seen_) < all && capacity_ - (head_ - taken()) < all) return kNone;
    if (to_end >= need) return at;
    publish(kSkip, nullptr, to_end - kHeader);  // places are multiples of the header: one always fits
    return 0;
  }
  void publish(std::uint32_t kind, void* about, std::size_t bytes) {
    const Header header{about, static_cast<std::uint32_t>(bytes), kind};
    std::memcpy(memory_.get() + (head_ & (capacity_ - 1)), &header, sizeof header);
    head_ += kHeader + rounded(bytes);
    written_.store(head_, std::memory_order_release);
  }
  void pop(std::size_t bytes) {
    tail_ += kHeader + rounded(bytes);
    taken_.store(tail_, std::memory_order_release);
  }

  const std::size_t capacity_;
  const std::unique_ptr<std::byte[]> memory_;
  // A cache line for each side's own, one for what each tells the other: else each store is a miss for both.
  alignas(64) std::uint64_t head_ = 0;
  std::size_t reserved_ = 0;
  std::uint64_t tail_seen_ = 0;
  alignas(64) std::uint64_t tail_ = 0;
  std::uint64_t head_seen_ = 0;
  alignas(64) std::atomic<std::uint64_t> written_{0};
  alignas(64) std::atomic<std::uint64_t> taken_{0};
  std::atomic<bool> waiting_{false};
};

/// Whether a thread sleeps, for those who give it work: only the first of them has to wake it.
/// The sleeper: about_to_sleep(), look for work again, sleep (or not), awake(). The others: put the work
/// where the sleeper looks, then must_wake().
class SleepFlag {
 public:
  void about_to_sleep() { asleep_.exchange(true, std::memory_order_acq_rel); }
  void awake() { asleep_.exchange(false, std::memory_order_acq_rel); }
  [[nodiscard]] bool must_wake() { return asleep_.exchange(false, std::memory_order_acq_rel); }

 private:
  alignas(64) std::atomic<bool> asleep_{false};
};

}  // namespace mainstay::io
