// Writes AMQP values in their shortest encoding to the end of a buffer owned by the caller.
#pragma once

#include <array>
#include <string_view>

#include "amqp/types.h"
#include "base/bytes.h"

namespace mainstay::amqp {

class ValueWriter {
 public:
  explicit ValueWriter(Buffer& to) : to_(to) {}

  void null() { put(code::null); }
  void boolean(bool v) { put(v ? code::boolean_true : code::boolean_false); }
  void ubyte(std::uint8_t v);
  void ushort(std::uint16_t v);
  void uint(std::uint32_t v);
  void ulong(std::uint64_t v);
  void int_(std::int32_t v);
  void long_(std::int64_t v);
  void double_(double v);
  /// Milliseconds since 1970-01-01T00:00:00Z.
  void timestamp(std::int64_t ms);
  /// The 16 bytes in the order in which a uuid is written as text.
  void uuid(const std::array<std::uint8_t, 16>& v);
  void binary(BytesView v) { variable(code::vbin8, code::vbin32, v); }
  /// One value of several pieces, one after the other.
  void binary_of(std::span<const BytesView> pieces);
  void string(std::string_view v) { variable(code::str8, code::str32, as_bytes(v)); }
  void symbol(std::string_view v) { variable(code::sym8, code::sym32, as_bytes(v)); }
  /// Values encoded elsewhere.
  void encoded(BytesView v) { to_.insert(to_.end(), v.begin(), v.end()); }
  /// The start of a described value: the value itself follows.
  void descriptor(std::uint64_t v) {
    put(code::described);
    ulong(v);
  }
  void symbols(std::span<const std::string_view> v);
  // Arrays with the constructor of full width, which is the one that clients expect.
  void longs(std::span<const std::int64_t> v) { eights(code::long_, v); }
  void timestamps(std::span<const std::int64_t> v) { eights(code::timestamp, v); }

  /// An open list or map; close() it with the number of elements (a map's keys and values each count).
  struct Open {
    std::size_t at{};
  };
  [[nodiscard]] Open list() { return open(code::list32); }
  [[nodiscard]] Open map() { return open(code::map32); }
  void close(Open compound, std::uint32_t count);

 private:
  void put(std::uint8_t v) { to_.push_back(static_cast<std::byte>(v)); }
  template <class T>
  void fixed(std::uint8_t constructor, T v) {
    const std::size_t at = to_.size();
    to_.resize(at + 1 + sizeof v);
    to_[at] = static_cast<std::byte>(constructor);
    store_be(to_.data() + at + 1, v);
  }
  void variable(std::uint8_t narrow, std::uint8_t wide, BytesView v);
  void eights(std::uint8_t constructor, std::span<const std::int64_t> v);
  Open open(std::uint8_t constructor);

  Buffer& to_;
};

}  // namespace mainstay::amqp
