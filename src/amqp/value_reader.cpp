#include "amqp/value_reader.h"

#include <array>
#include <type_traits>

namespace mainstay::amqp {
namespace {

struct Cursor {
  const std::byte* at;
  const std::byte* end;
  [[nodiscard]] std::size_t left() const { return static_cast<std::size_t>(end - at); }
};

template <class T>
bool fixed(Cursor& from, T& v) {
  if (from.left() < sizeof(T)) return false;
  v = load_be<T>(from.at);
  from.at += sizeof(T);
  return true;
}

template <class T>
bool number(Cursor& from, Value& out, Kind kind) {
  std::make_unsigned_t<T> v{};
  if (!fixed(from, v)) return false;
  out.kind = kind;
  if constexpr (std::is_signed_v<T>) {
    out.number = static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<T>(v)));
  } else {
    out.number = v;
  }
  return true;
}

bool constant(Value& out, Kind kind, std::uint64_t n) {
  out.kind = kind;
  out.number = n;
  return true;
}

bool raw(Cursor& from, Value& out, Kind kind, std::size_t size) {
  if (from.left() < size) return false;
  out.kind = kind;
  out.content = BytesView(from.at, size);
  from.at += size;
  return true;
}

template <class Width>
bool variable(Cursor& from, Value& out, Kind kind) {
  Width size{};
  return fixed(from, size) && raw(from, out, kind, size);
}

/// The size counts the bytes after itself: the count field and the elements.
template <class Width>
bool compound(Cursor& from, Value& out, Kind kind) {
  Width size{};
  Width count{};
  if (!fixed(from, size) || size < sizeof(Width) || from.left() < size) return false;
  fixed(from, count);
  out.count = count;
  if (!raw(from, out, kind, size - sizeof(Width))) return false;
  // Every element of a list or map takes a byte at least; a map has pairs.
  if (kind != Kind::array && count > out.content.size()) return false;
  return kind != Kind::map || count % 2 == 0;
}

bool read_one(Cursor& from, Value& out, int depth);

/// Reads what follows the constructor `c`.
bool read_body(std::uint8_t c, Cursor& from, Value& out, int depth) {
  switch (c) {
    case code::described: {
      const std::byte* start = from.at;
      Value part;
      if (depth >= kDepthMax || !read_one(from, part, depth + 1) || !read_one(from, part, depth + 1)) {
        return false;
      }
      out = Value{};
      out.kind = Kind::described;
      out.content = BytesView(start, from.at);
      return true;
    }
    case code::null:
      return constant(out, Kind::null, 0);
    case code::boolean_true:
      return constant(out, Kind::boolean, 1);
    case code::boolean_false:
      return constant(out, Kind::boolean, 0);
    case code::uint0:
      return constant(out, Kind::uint, 0);
    case code::ulong0:
      return constant(out, Kind::ulong, 0);
    case code::list0:
      return constant(out, Kind::list, 0);
    case code::boolean:
      return number<std::uint8_t>(from, out, Kind::boolean) && out.number <= 1;
    case code::ubyte:
      return number<std::uint8_t>(from, out, Kind::ubyte);
    case code::byte:
      return number<std::int8_t>(from, out, Kind::byte);
    case code::smalluint:
      return number<std::uint8_t>(from, out, Kind::uint);
    case code::smallulong:
      return number<std::uint8_t>(from, out, Kind::ulong);
    case code::smallint:
      return number<std::int8_t>(from, out, Kind::int_);
    case code::smalllong:
      return number<std::int8_t>(from, out, Kind::long_);
    case code::ushort:
      return number<std::uint16_t>(from, out, Kind::ushort);
    case code::short_:
      return number<std::int16_t>(from, out, Kind::short_);
    case code::uint:
      return number<std::uint32_t>(from, out, Kind::uint);
    case code::int_:
      return number<std::int32_t>(from, out, Kind::int_);
    case code::float_:
      return number<std::uint32_t>(from, out, Kind::float_);
    case code::character:
      return number<std::uint32_t>(from, out, Kind::character);
    case code::decimal32:
      return number<std::uint32_t>(from, out, Kind::decimal32);
    case code::ulong:
      return number<std::uint64_t>(from, out, Kind::ulong);
    case code::long_:
      return number<std::int64_t>(from, out, Kind::long_);
    case code::double_:
      return number<std::uint64_t>(from, out, Kind::double_);
    case code::timestamp:
      return number<std::int64_t>(from, out, Kind::timestamp);
    case code::decimal64:
      return number<std::uint64_t>(from, out, Kind::decimal64);
    case code::decimal128:
      return raw(from, out, Kind::decimal128, 16);
    case code::uuid:
      return raw(from, out, Kind::uuid, 16);
    case code::vbin8:
      return variable<std::uint8_t>(from, out, Kind::binary);
    case code::vbin32:
      return variable<std::uint32_t>(from, out, Kind::binary);
    case code::str8:
      return variable<std::uint8_t>(from, out, Kind::string);
    case code::str32:
      return variable<std::uint32_t>(from, out, Kind::string);
    case code::sym8:
      return variable<std::uint8_t>(from, out, Kind::symbol);
    case code::sym32:
      return variable<std::uint32_t>(from, out, Kind::symbol);
    case code::list8:
      return compound<std::uint8_t>(from, out, Kind::list);
    case code::list32:
      return compound<std::uint32_t>(from, out, Kind::list);
    case code::map8:
      return compound<std::uint8_t>(from, out, Kind::map);
    case code::map32:
      return compound<std::uint32_t>(from, out, Kind::map);
    case code::array8:
      return compound<std::uint8_t>(from, out, Kind::array) && (out.count == 0 || !out.content.empty());
    case code::array32:
      return compound<std::uint32_t>(from, out, Kind::array) && (out.count == 0 || !out.content.empty());
    default:
      return false;
  }
}

bool read_one(Cursor& from, Value& out, int depth) {
  if (from.at == from.end) return false;
  const std::byte* start = from.at;
  const auto c = std::to_integer<std::uint8_t>(*from.at++);
  if (!read_body(c, from, out, depth)) return false;
  out.encoded = BytesView(start, from.at);
  return true;
}

bool zero_width(std::uint8_t c) {
  return (c & 0xf0U) == 0x40U;
}

bool check_values(BytesView bytes, std::optional<std::uint32_t> values, int depth);
bool check_inside(const Value& value, int depth);

bool check_array(const Value& array, int depth) {
  // The standard wants a constructor in an empty array too; some clients leave it out.
  if (array.count == 0 && array.content.empty()) return true;
  Cursor from{array.content.data(), array.content.data() + array.content.size()};
  auto c = std::to_integer<std::uint8_t>(*from.at++);
  int described_depth = depth;
  while (c == code::described) {  // a described constructor: descriptor, then the elements' own constructor
    Value name;
    if (++described_depth >= kDepthMax || !read_one(from, name, described_depth) ||
        !check_inside(name, described_depth) || from.left() == 0) {
      return false;
    }
    c = std::to_integer<std::uint8_t>(*from.at++);
  }
  Value element;
  if (zero_width(c)) {
    return array.count <= kZeroWidthCountMax && read_body(c, from, element, depth) && from.left() == 0;
  }
  if (array.count == 0) {  // an empty array still names a constructor, and it has to be one
    static constexpr std::array<std::byte, 16> kZeros{};
    Cursor none{kZeros.data(), kZeros.data() + kZeros.size()};
    const bool is_array = c == code::array8 || c == code::array32;
    const bool is_compound = c == code::list8 || c == code::list32 || c == code::map8 || c == code::map32;
    return from.left() == 0 && (is_array || is_compound || read_body(c, none, element, depth));
  }
  for (std::uint32_t i = 0; i < array.count; ++i) {
    element = Value{};
    if (!read_body(c, from, element, described_depth) || !check_inside(element, described_depth))
      return false;
  }
  return from.left() == 0;
}

bool check_inside(const Value& value, int depth) {
  switch (value.kind) {
    case Kind::list:
    case Kind::map:
      return depth < kDepthMax && check_values(value.content, value.count, depth + 1);
    case Kind::described:
      return depth < kDepthMax && check_values(value.content, 2, depth + 1);
    case Kind::array:
      return depth < kDepthMax && check_array(value, depth + 1);
    default:
      return true;
  }
}

/// How values that hold no other values are stepped over, by constructor.
enum Step : std::uint8_t { fixed_max = 16, sized8, sized32, look_inside };
constexpr std::array<std::uint8_t, 256> kSteps = [] {
  std::array<std::uint8_t, 256> steps{};
  steps.fill(look_inside);
  for (const auto c :
       {code::null, code::boolean_true, code::boolean_false, code::uint0, code::ulong0, code::list0}) {
    steps[c] = 0;
  }
  for (const auto c :
       {code::ubyte, code::byte, code::smalluint, code::smallulong, code::smallint, code::smalllong}) {
    steps[c] = 1;
  }
  for (const auto c : {code::ushort, code::short_}) steps[c] = 2;
  for (const auto c : {code::uint, code::int_, code::float_, code::character, code::decimal32}) steps[c] = 4;
  for (const auto c : {code::ulong, code::long_, code::double_, code::timestamp, code::decimal64}) {
    steps[c] = 8;
  }
  for (const auto c : {code::decimal128, code::uuid}) steps[c] = 16;
  for (const auto c : {code::vbin8, code::str8, code::sym8}) steps[c] = sized8;
  for (const auto c : {code::vbin32, code::str32, code::sym32}) steps[c] = sized32;
  return steps;
}();

bool check_values(BytesView bytes, std::optional<std::uint32_t> values, int depth) {
  Cursor from{bytes.data(), bytes.data() + bytes.size()};
  std::uint32_t seen = 0;
  for (; from.left() > 0; ++seen) {
    const std::uint8_t step = kSteps[std::to_integer<std::uint8_t>(*from.at)];
    std::size_t size = std::size_t{1} + step;
    if (step == look_inside) {
      Value v;
      if (!read_one(from, v, depth) || !check_inside(v, depth)) return false;
      continue;
    }
    if (step == sized8) {
      if (from.left() < 2) return false;
      size = 2 + std::size_t{load_be<std::uint8_t>(from.at + 1)};
    } else if (step == sized32) {
      if (from.left() < 5) return false;
      size = 5 + std::size_t{load_be<std::uint32_t>(from.at + 1)};
    }
    if (from.left() < size) return false;
    from.at += size;
  }
  return !values || seen == *values;
}

struct Name {
  std::string_view symbol;
  std::uint64_t code;
};
constexpr std::array kNames{
    Name{"amqp:open:list", descriptor::open},
    Name{"amqp:begin:list", descriptor::begin},
    Name{"amqp:attach:list", descriptor::attach},
    Name{"amqp:flow:list", descriptor::flow},
    Name{"amqp:transfer:list", descriptor::transfer},
    Name{"amqp:disposition:list", descriptor::disposition},
    Name{"amqp:detach:list", descriptor::detach},
    Name{"amqp:end:list", descriptor::end},
    Name{"amqp:close:list", descriptor::close},
    Name{"amqp:error:list", descriptor::error},
    Name{"amqp:received:list", descriptor::received},
    Name{"amqp:accepted:list", descriptor::accepted},
    Name{"amqp:rejected:list", descriptor::rejected},
    Name{"amqp:released:list", descriptor::released},
    Name{"amqp:modified:list", descriptor::modified},
    Name{"amqp:source:list", descriptor::source},
    Name{"amqp:target:list", descriptor::target},
    Name{"amqp:coordinator:list", descriptor::coordinator},
    Name{"amqp:declare:list", descriptor::declare},
    Name{"amqp:discharge:list", descriptor::discharge},
    Name{"amqp:declared:list", descriptor::declared},
    Name{"amqp:transactional-state:list", descriptor::transactional_state},
    Name{"amqp:sasl-mechanisms:list", descriptor::sasl_mechanisms},
    Name{"amqp:sasl-init:list", descriptor::sasl_init},
    Name{"amqp:sasl-challenge:list", descriptor::sasl_challenge},
    Name{"amqp:sasl-response:list", descriptor::sasl_response},
    Name{"amqp:sasl-outcome:list", descriptor::sasl_outcome},
    Name{"amqp:header:list", descriptor::header},
    Name{"amqp:delivery-annotations:map", descriptor::delivery_annotations},
    Name{"amqp:message-annotations:map", descriptor::message_annotations},
    Name{"amqp:properties:list", descriptor::properties},
    Name{"amqp:application-properties:map", descriptor::application_properties},
    Name{"amqp:data:binary", descriptor::data},
    Name{"amqp:amqp-sequence:list", descriptor::amqp_sequence},
    Name{"amqp:amqp-value:*", descriptor::amqp_value},
    Name{"amqp:footer:map", descriptor::footer},
    Name{"com.microsoft:session-filter", descriptor::session_filter},
};

}  // namespace

Value ValueReader::next() {
  Value out;
  if (!ok_) return out;
  Cursor from{bytes_.data() + at_, bytes_.data() + bytes_.size()};
  if (!read_one(from, out, 0)) {
    ok_ = false;
    return Value{};
  }
  at_ = static_cast<std::size_t>(from.at - bytes_.data());
  return out;
}

bool ValueReader::next(Described& out, BytesView& encoded) {
  if (!ok_) return false;
  Cursor from{bytes_.data() + at_, bytes_.data() + bytes_.size()};
  const std::byte* start = from.at;
  out.value = Value{};
  // Every client writes the numbers of sections this way.
  if (from.left() > 3 && start[0] == std::byte{code::described} && start[1] == std::byte{code::smallulong}) {
    from.at += 3;
    ok_ = read_one(from, out.value, 1);
    out.code = std::to_integer<std::uint64_t>(start[2]);
  } else {
    Value name;
    ok_ = from.left() > 0 && std::to_integer<std::uint8_t>(*from.at++) == code::described &&
          read_one(from, name, 1) && read_one(from, out.value, 1);
    out.code = descriptor_code(name);
  }
  if (!ok_) return false;
  encoded = BytesView(start, from.at);
  at_ = static_cast<std::size_t>(from.at - bytes_.data());
  return true;
}

ArrayReader::ArrayReader(const Value& array) : bytes_(array.content), left_(array.count) {
  if (array.kind != Kind::array || bytes_.empty()) {
    ok_ = array.kind == Kind::array && left_ == 0;
    left_ = 0;
    return;
  }
  code_ = std::to_integer<std::uint8_t>(bytes_[at_++]);
  if (zero_width(code_) && left_ > kZeroWidthCountMax) {
    ok_ = false;
    left_ = 0;
  }
  if (code_ == code::described) {  // nobody here needs the descriptor of an array's elements
    ok_ = false;
    left_ = 0;
  }
}

bool ArrayReader::next(Value& element) {
  if (left_ == 0) return false;
  Cursor from{bytes_.data() + at_, bytes_.data() + bytes_.size()};
  element = Value{};
  if (!read_body(code_, from, element, 0)) {
    ok_ = false;
    left_ = 0;
    return false;
  }
  at_ = static_cast<std::size_t>(from.at - bytes_.data());
  --left_;
  return true;
}

bool well_formed(BytesView bytes, std::optional<std::uint32_t> values) {
  return check_values(bytes, values, 0);
}

bool well_formed_inside(const Value& value) {
  return check_inside(value, 1);
}

std::uint64_t descriptor_code(const Value& name) {
  if (name.kind == Kind::ulong) return name.number;
  if (name.kind == Kind::symbol) {
    for (const auto& known : kNames) {
      if (known.symbol == name.text()) return known.code;
    }
  }
  return descriptor::unknown;
}

std::optional<Described> described(const Value& value) {
  if (value.kind != Kind::described) return std::nullopt;
  ValueReader inside = ValueReader::inside(value);
  const Value name = inside.next();
  Described out{descriptor_code(name), inside.next()};
  if (!inside.ok()) return std::nullopt;
  return out;
}

Value Fields::present() {
  Value out;
  Cursor from{at_, end_};
  if (!read_one(from, out, 0)) {
    fail();
    return Value{};
  }
  at_ = from.at;
  return out;
}

}  // namespace mainstay::amqp
