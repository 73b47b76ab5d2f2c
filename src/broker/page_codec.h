// Compact integers for pages and checkpoint roots: LEB128 varints, signed ones zigzag. Private to the room.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/bytes.h"

namespace mainstay::broker {

inline constexpr std::size_t kVarintBytesMax = 10;

constexpr std::uint64_t zigzag(std::int64_t v) {
  return (static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63);
}
constexpr std::int64_t unzigzag(std::uint64_t v) {
  return static_cast<std::int64_t>((v >> 1) ^ (~(v & 1) + 1));
}
/// Difference as a signed number, whatever the two are: adding it again gives `to`.
constexpr std::uint64_t delta(std::uint64_t from, std::uint64_t to) {
  return zigzag(static_cast<std::int64_t>(to - from));
}
constexpr std::uint64_t apply_delta(std::uint64_t from, std::uint64_t packed) {
  return from + static_cast<std::uint64_t>(unzigzag(packed));
}

/// Appends to a buffer; ask for room first, then write without checks.
class Packer {
 public:
  explicit Packer(Buffer& to) : to_(to), at_(to.size()) {}
  ~Packer() { to_.resize(at_); }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  /// At least `bytes` can be written from here on.
  void room(std::size_t bytes) {
    if (to_.size() - at_ < bytes) to_.resize(at_ + bytes + bytes / 2);
  }
  void u8(std::uint8_t v) { to_[at_++] = static_cast<std::byte>(v); }
  void u64(std::uint64_t v) {
    store_le(to_.data() + at_, v);
    at_ += sizeof v;
  }
  void varint(std::uint64_t v) {
    while (v >= 0x80) {
      to_[at_++] = static_cast<std::byte>(v | 0x80);
      v >>= 7;
    }
    to_[at_++] = static_cast<std::byte>(v);
  }
  /// Asks for its room itself.
  void sized(BytesView bytes) {
    room(kVarintBytesMax + bytes.size());
    varint(bytes.size());
    if (!bytes.empty()) std::memcpy(to_.data() + at_, bytes.data(), bytes.size());
    at_ += bytes.size();
  }

 private:
  Buffer& to_;
  std::size_t at_;
};

/// The other way. A read past the end or of a malformed number gives 0 and makes it fail for good.
class Unpacker {
 public:
  explicit Unpacker(BytesView bytes) : from_(bytes.data()), at_(bytes.data()), end_(at_ + bytes.size()) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool finished() const { return ok_ && at_ == end_; }
  [[nodiscard]] std::size_t position() const { return static_cast<std::size_t>(at_ - from_); }
  [[nodiscard]] std::size_t remaining() const { return ok_ ? static_cast<std::size_t>(end_ - at_) : 0; }
  void fail() { ok_ = false; }

  std::uint8_t u8() {
    if (!ok_ || at_ == end_) return failed();
    return static_cast<std::uint8_t>(*at_++);
  }
  std::uint64_t u64() {
    if (!ok_ || end_ - at_ < 8) return failed();
    const auto v = load_le<std::uint64_t>(at_);
    at_ += 8;
    return v;
  }
  std::uint64_t varint() {
    if (ok_ && at_ != end_ && (*at_ & std::byte{0x80}) == std::byte{}) {
      return static_cast<std::uint64_t>(*at_++);
    }
    return long_varint();
  }
  BytesView bytes(std::uint64_t count) {
    if (!ok_ || count > static_cast<std::uint64_t>(end_ - at_)) {
      failed();
      return {};
    }
    const BytesView view(at_, static_cast<std::size_t>(count));
    at_ += count;
    return view;
  }
  BytesView sized() { return bytes(varint()); }

 private:
  std::uint8_t failed() {
    ok_ = false;
    return 0;
  }
  std::uint64_t long_varint() {
    std::uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (!ok_ || at_ == end_) return failed();
      const auto byte = static_cast<std::uint64_t>(*at_++);
      if (shift == 63 && byte > 1) return failed();
      v |= (byte & 0x7f) << shift;
      if (byte < 0x80) return v;
    }
    return failed();
  }

  const std::byte* from_;
  const std::byte* at_;
  const std::byte* end_;
  bool ok_ = true;
};

}  // namespace mainstay::broker
