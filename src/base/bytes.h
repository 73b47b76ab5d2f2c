// Byte buffers and bounded cursors. Integers are little-endian in our own formats (journal, replication)
// and big-endian in AMQP; each accessor says which.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mainstay {

using Buffer = std::vector<std::byte>;
using BytesView = std::span<const std::byte>;

inline BytesView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(BytesView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Buffer to_buffer(BytesView bytes) {
  return Buffer(bytes.begin(), bytes.end());
}

namespace detail {
template <class T>
constexpr T byte_swap(T v) {
  if constexpr (sizeof(T) == 1)
    return v;
  else if constexpr (sizeof(T) == 2)
    return static_cast<T>(__builtin_bswap16(v));
  else if constexpr (sizeof(T) == 4)
    return static_cast<T>(__builtin_bswap32(v));
  else
    return static_cast<T>(__builtin_bswap64(v));
}
}  // namespace detail

/// Unaligned loads and stores. The caller has checked the bounds.
template <class T>
T load_le(const std::byte* from) {
  T v;
  std::memcpy(&v, from, sizeof v);
  return v;  // x86-64 and arm64 are little-endian; asserted in bytes.cpp
}
template <class T>
T load_be(const std::byte* from) {
  return detail::byte_swap(load_le<T>(from));
}
template <class T>
void store_le(std::byte* to, T v) {
  std::memcpy(to, &v, sizeof v);
}
template <class T>
void store_be(std::byte* to, T v) {
  store_le(to, detail::byte_swap(v));
}

/// Reads a byte range from front to back. A read past the end gives zeros and makes the cursor fail for good:
/// read everything, then ask ok() once. Views returned point into the range given at construction.
class ByteReader {
 public:
  explicit ByteReader(BytesView bytes) : bytes_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::size_t position() const { return at_; }
  [[nodiscard]] std::size_t remaining() const { return ok_ ? bytes_.size() - at_ : 0; }
  /// True when everything was read and nothing failed.
  [[nodiscard]] bool finished() const { return ok_ && at_ == bytes_.size(); }

  std::uint8_t u8() { return take<std::uint8_t>(false); }
  std::uint16_t u16_le() { return take<std::uint16_t>(false); }
  std::uint32_t u32_le() { return take<std::uint32_t>(false); }
  std::uint64_t u64_le() { return take<std::uint64_t>(false); }
  std::int64_t i64_le() { return static_cast<std::int64_t>(u64_le()); }
  std::uint16_t u16_be() { return take<std::uint16_t>(true); }
  std::uint32_t u32_be() { return take<std::uint32_t>(true); }
  std::uint64_t u64_be() { return take<std::uint64_t>(true); }

  BytesView bytes(std::size_t count);
  /// A length (u32, little-endian) and that many bytes.
  BytesView sized_bytes() { return bytes(u32_le()); }
  std::string_view sized_text() { return as_text(sized_bytes()); }
  void fail() { ok_ = false; }

 private:
  template <class T>
  T take(bool big_endian) {
    if (!ok_ || bytes_.size() - at_ < sizeof(T)) {
      ok_ = false;
      return T{};
    }
    const std::byte* from = bytes_.data() + at_;
    at_ += sizeof(T);
    return big_endian ? load_be<T>(from) : load_le<T>(from);
  }

  BytesView bytes_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

/// Appends to a buffer owned by the caller.
class ByteWriter {
 public:
  explicit ByteWriter(Buffer& to) : to_(to) {}

  [[nodiscard]] std::size_t position() const { return to_.size(); }
  void u8(std::uint8_t v) { to_.push_back(static_cast<std::byte>(v)); }
  void u16_le(std::uint16_t v) { put(v); }
  void u32_le(std::uint32_t v) { put(v); }
  void u64_le(std::uint64_t v) { put(v); }
  void i64_le(std::int64_t v) { put(static_cast<std::uint64_t>(v)); }
  void u16_be(std::uint16_t v) { put(detail::byte_swap(v)); }
  void u32_be(std::uint32_t v) { put(detail::byte_swap(v)); }
  void u64_be(std::uint64_t v) { put(detail::byte_swap(v)); }
  void bytes(BytesView v) { to_.insert(to_.end(), v.begin(), v.end()); }
  void sized_bytes(BytesView v) {
    u32_le(static_cast<std::uint32_t>(v.size()));
    bytes(v);
  }
  void sized_text(std::string_view v) { sized_bytes(as_bytes(v)); }
  void uuid(const std::array<std::uint8_t, 16>& v) { bytes(std::as_bytes(std::span(v))); }

 private:
  template <class T>
  void put(T v) {
    const std::size_t at = to_.size();
    to_.resize(at + sizeof v);
    store_le(to_.data() + at, v);
  }

  Buffer& to_;
};

/// Lower-case hexadecimal.
std::string hex(BytesView bytes);
std::string hex(std::uint64_t value);

}  // namespace mainstay
