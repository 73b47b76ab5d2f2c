// Writes the shortest encodings to memory that is known to have room: what every message needs.
#pragma once

#include <cstring>
#include <string_view>

#include "amqp/types.h"
#include "base/bytes.h"

namespace mainstay::amqp {

class HotWriter {
 public:
  explicit HotWriter(std::byte* to) : start_(to), at_(to) {}
  void raw(std::uint8_t v) { *at_++ = static_cast<std::byte>(v); }
  void null() { raw(code::null); }
  void boolean(bool v) { raw(v ? code::boolean_true : code::boolean_false); }
  void ubyte(std::uint8_t v) { fixed(code::ubyte, v); }
  void uint(std::uint32_t v) {
    if (v == 0) {
      raw(code::uint0);
    } else if (v < 256) {
      fixed(code::smalluint, static_cast<std::uint8_t>(v));
    } else {
      fixed(code::uint, v);
    }
  }
  void int_(std::int32_t v) {
    if (v >= -128 && v < 128) {
      fixed(code::smallint, static_cast<std::uint8_t>(v));
    } else {
      fixed(code::int_, static_cast<std::uint32_t>(v));
    }
  }
  void long_(std::int64_t v) {
    if (v >= -128 && v < 128) {
      fixed(code::smalllong, static_cast<std::uint8_t>(v));
    } else {
      fixed(code::long_, static_cast<std::uint64_t>(v));
    }
  }
  void timestamp(std::int64_t ms) { fixed(code::timestamp, static_cast<std::uint64_t>(ms)); }
  void bytes(BytesView v) {
    if (v.empty()) return;
    std::memcpy(at_, v.data(), v.size());
    at_ += v.size();
  }
  /// At most 255 bytes.
  void binary(BytesView v) {
    raw(code::vbin8);
    raw(static_cast<std::uint8_t>(v.size()));
    bytes(v);
  }
  /// Known when compiled: its bytes are stored without a call.
  template <std::size_t N>
  void symbol(const char (&text)[N]) {
    static_assert(N - 1 < 256);
    raw(code::sym8);
    raw(static_cast<std::uint8_t>(N - 1));
    std::memcpy(at_, text, N - 1);
    at_ += N - 1;
  }
  /// Descriptor and list8 head; finish() fills in the size.
  void begin(std::uint64_t code, std::uint8_t fields) { begin(code, code::list8, fields); }
  /// The same of a map: keys and values each count.
  void begin_map(std::uint64_t code, std::uint8_t values) { begin(code, code::map8, values); }
  /// Ends what was begun last: at most 254 bytes. @return bytes written so far
  std::size_t finish() {
    *size_at_ = static_cast<std::byte>(at_ - size_at_ - 1);
    return written();
  }
  [[nodiscard]] std::size_t written() const { return static_cast<std::size_t>(at_ - start_); }

 private:
  void begin(std::uint64_t code, std::uint8_t constructor, std::uint8_t count) {
    raw(code::described);
    raw(code::smallulong);
    raw(static_cast<std::uint8_t>(code));
    raw(constructor);
    size_at_ = at_;
    raw(0);
    raw(count);
  }
  template <class T>
  void fixed(std::uint8_t constructor, T v) {
    raw(constructor);
    store_be(at_, v);
    at_ += sizeof v;
  }

  std::byte* start_;
  std::byte* at_;
  std::byte* size_at_ = nullptr;
};

}  // namespace mainstay::amqp
