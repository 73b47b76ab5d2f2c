// Reads encoded AMQP values in place (part 1 of the standard): no allocation, no copy, every bound checked.
// Views returned point into the bytes given.
#pragma once

#include <optional>

#include "amqp/types.h"
#include "base/bytes.h"

namespace mainstay::amqp {

enum class Kind : std::uint8_t {
  null,
  boolean,
  ubyte,
  ushort,
  uint,
  ulong,
  byte,
  short_,
  int_,
  long_,
  float_,
  double_,
  decimal32,
  decimal64,
  decimal128,
  character,
  timestamp,
  uuid,
  binary,
  string,
  symbol,
  list,
  map,
  array,
  described
};

/// One value, in place.
struct Value {
  Kind kind = Kind::null;
  std::uint32_t count = 0;  ///< list and array: elements; map: keys plus values
  /// boolean, integers (signed ones sign-extended), character, timestamp; bits of float, double,
  /// decimal32/64.
  std::uint64_t number = 0;
  /// binary, string, symbol: the text; uuid, decimal128: 16 bytes; list, map: the encoded elements; array:
  /// its constructor and elements; described: the encoded descriptor and then the encoded value.
  BytesView content;
  BytesView encoded;  ///< the whole value with its constructor; empty for elements of an array

  [[nodiscard]] bool is_null() const { return kind == Kind::null; }
  [[nodiscard]] std::int64_t signed_number() const { return static_cast<std::int64_t>(number); }
  [[nodiscard]] std::string_view text() const { return as_text(content); }
};

/// A described value taken apart.
struct Described {
  std::uint64_t code = descriptor::unknown;
  Value value;
};

/// A cursor over values standing one after another. After a malformed value it fails for good and gives
/// nulls: read, then ask ok().
class ValueReader {
 public:
  explicit ValueReader(BytesView bytes) : bytes_(bytes) {}
  /// The elements of a list, the keys and values of a map, or the descriptor and value of a described value.
  static ValueReader inside(const Value& compound) { return ValueReader(compound.content); }

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return !ok_ || at_ == bytes_.size(); }
  [[nodiscard]] std::size_t position() const { return at_; }
  [[nodiscard]] BytesView rest() const { return bytes_.subspan(at_); }

  /// The next value. Compounds are delimited by their size; what is inside them is checked when it is read,
  /// or by well_formed().
  Value next();
  /// The next value, which must be described, taken apart; `encoded` is all of it. What is inside a compound
  /// descriptor or value is not checked: well_formed_inside() does that for the value.
  bool next(Described& out, BytesView& encoded);

 private:
  BytesView bytes_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

/// The elements of an array, which share one constructor.
class ArrayReader {
 public:
  explicit ArrayReader(const Value& array);
  /// @return false at the end or when malformed: ask ok().
  bool next(Value& element);
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  BytesView bytes_;
  std::size_t at_ = 0;
  std::uint32_t left_ = 0;
  std::uint8_t code_ = 0;
  bool ok_ = true;
};

/// True when `bytes` is exactly `values` well-formed values (any number when nullopt), all the way down.
bool well_formed(BytesView bytes, std::optional<std::uint32_t> values = 1);

/// The same for what a described value holds, one level down: true of anything but a compound.
bool well_formed_inside(const Value& value);

/// The number of a descriptor: numeric as it is, symbolic ones of the standard translated, else unknown.
std::uint64_t descriptor_code(const Value& descriptor);

/// nullopt when `value` is not described or malformed inside.
std::optional<Described> described(const Value& value);

/// The fields of a composite (a described list), read in order. Absent trailing fields and nulls read as the
/// default; a field of another type makes the reader fail for good.
class Fields {
 public:
  explicit Fields(const Value& list)
      : at_(list.content.data()), end_(list.content.data() + list.content.size()), left_(list.count) {
    if (list.kind != Kind::list) fail();
  }

  [[nodiscard]] bool ok() const { return ok_; }
  /// Index of the field at which it failed, counted from 0.
  [[nodiscard]] unsigned failed_at() const { return failed_at_; }
  void fail() {
    if (ok_) failed_at_ = index_ == 0 ? 0 : index_ - 1;
    ok_ = false;
    left_ = 0;
  }
  /// Marks a mandatory field: fails when the value just read was absent.
  template <class T>
  T required(std::optional<T> value) {
    if (!value) fail();
    return value.value_or(T{});
  }

  std::optional<std::uint32_t> uint() {
    if (absent()) return std::nullopt;
    const auto c = take();
    if (c == code::smalluint) return fixed<std::uint8_t>();
    if (c == code::uint0) return 0U;
    if (c == code::uint) return fixed<std::uint32_t>();
    return mismatch<std::uint32_t>();
  }
  std::optional<std::uint64_t> ulong() {
    if (absent()) return std::nullopt;
    const auto c = take();
    if (c == code::smallulong) return fixed<std::uint8_t>();
    if (c == code::ulong0) return std::uint64_t{0};
    if (c == code::ulong) return fixed<std::uint64_t>();
    return mismatch<std::uint64_t>();
  }
  std::optional<std::uint16_t> ushort() {
    if (absent()) return std::nullopt;
    if (take() == code::ushort) return fixed<std::uint16_t>();
    return mismatch<std::uint16_t>();
  }
  std::optional<std::uint8_t> ubyte() {
    if (absent()) return std::nullopt;
    if (take() == code::ubyte) return fixed<std::uint8_t>();
    return mismatch<std::uint8_t>();
  }
  std::optional<bool> boolean() {
    if (absent()) return std::nullopt;
    const auto c = take();
    if (c == code::boolean_true) return true;
    if (c == code::boolean_false) return false;
    if (c == code::boolean) {
      if (const auto byte = fixed<std::uint8_t>(); byte && *byte <= 1) return *byte == 1;
    }
    return mismatch<bool>();
  }
  std::optional<BytesView> binary() { return variable(code::vbin8, code::vbin32); }
  std::optional<std::string_view> string() { return text(variable(code::str8, code::str32)); }
  std::optional<std::string_view> symbol() { return text(variable(code::sym8, code::sym32)); }
  /// Any type; Kind::null when absent. What is inside a compound is not checked.
  Value any() { return absent() ? Value{} : present(); }
  /// As any(), but fails unless null or of this kind.
  Value of(Kind kind) {
    if (absent()) return Value{};
    const Value v = present();
    if (v.kind != kind) fail();
    return v;
  }
  /// True when no field and no byte is left: every one was read.
  [[nodiscard]] bool finished() const { return ok_ && left_ == 0 && at_ == end_; }
  void skip(unsigned fields) {
    for (; fields > 0; --fields) any();
  }

 private:
  /// Steps to the next field. True when it is absent or null; a null is consumed.
  bool absent() {
    ++index_;
    if (left_ == 0) return true;
    --left_;
    if (at_ == end_) {
      fail();
      return true;
    }
    if (std::to_integer<std::uint8_t>(*at_) != code::null) return false;
    ++at_;
    return true;
  }
  Value present();
  std::uint8_t take() { return std::to_integer<std::uint8_t>(*at_++); }
  [[nodiscard]] std::size_t remaining() const { return static_cast<std::size_t>(end_ - at_); }
  template <class T>
  std::optional<T> mismatch() {
    fail();
    return std::nullopt;
  }
  template <class T>
  std::optional<T> fixed() {
    if (remaining() < sizeof(T)) return mismatch<T>();
    const T v = load_be<T>(at_);
    at_ += sizeof(T);
    return v;
  }
  std::optional<BytesView> variable(std::uint8_t narrow, std::uint8_t wide) {
    if (absent()) return std::nullopt;
    const auto c = take();
    std::optional<std::size_t> size;
    if (c == narrow) {
      size = fixed<std::uint8_t>();
    } else if (c == wide) {
      size = fixed<std::uint32_t>();
    }
    if (!size || remaining() < *size) return mismatch<BytesView>();
    const BytesView out(at_, *size);
    at_ += *size;
    return out;
  }
  static std::optional<std::string_view> text(std::optional<BytesView> bytes) {
    if (!bytes) return std::nullopt;
    return as_text(*bytes);
  }

  const std::byte* at_;
  const std::byte* end_;
  std::uint32_t left_;
  unsigned index_ = 0;
  unsigned failed_at_ = 0;
  bool ok_ = true;
};

}  // namespace mainstay::amqp
