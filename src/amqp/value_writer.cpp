#include "amqp/value_writer.h"

#include <bit>

#include "base/assert.h"

namespace mainstay::amqp {

void ValueWriter::ubyte(std::uint8_t v) {
  fixed(code::ubyte, v);
}

void ValueWriter::ushort(std::uint16_t v) {
  fixed(code::ushort, v);
}

void ValueWriter::uint(std::uint32_t v) {
  if (v == 0) {
    put(code::uint0);
  } else if (v < 256) {
    fixed(code::smalluint, static_cast<std::uint8_t>(v));
  } else {
    fixed(code::uint, v);
  }
}

void ValueWriter::ulong(std::uint64_t v) {
  if (v == 0) {
    put(code::ulong0);
  } else if (v < 256) {
    fixed(code::smallulong, static_cast<std::uint8_t>(v));
  } else {
    fixed(code::ulong, v);
  }
}

void ValueWriter::int_(std::int32_t v) {
  if (v >= -128 && v < 128) {
    fixed(code::smallint, static_cast<std::uint8_t>(v));
  } else {
    fixed(code::int_, static_cast<std::uint32_t>(v));
  }
}

void ValueWriter::long_(std::int64_t v) {
  if (v >= -128 && v < 128) {
    fixed(code::smalllong, static_cast<std::uint8_t>(v));
  } else {
    fixed(code::long_, static_cast<std::uint64_t>(v));
  }
}

void ValueWriter::double_(double v) {
  fixed(code::double_, std::bit_cast<std::uint64_t>(v));
}

void ValueWriter::timestamp(std::int64_t ms) {
  fixed(code::timestamp, static_cast<std::uint64_t>(ms));
}

void ValueWriter::uuid(const std::array<std::uint8_t, 16>& v) {
  put(code::uuid);
  encoded(std::as_bytes(std::span(v)));
}

void ValueWriter::symbols(std::span<const std::string_view> v) {
  const Open array = open(code::array32);
  put(code::sym32);
  for (const auto symbol : v) {
    const std::size_t at = to_.size();
    to_.resize(at + 4);
    store_be(to_.data() + at, static_cast<std::uint32_t>(symbol.size()));
    encoded(as_bytes(symbol));
  }
  close(array, static_cast<std::uint32_t>(v.size()));
}

void ValueWriter::binary_of(std::span<const BytesView> pieces) {
  std::size_t size = 0;
  for (const BytesView piece : pieces) size += piece.size();
  if (size < 256) {
    fixed(code::vbin8, static_cast<std::uint8_t>(size));
  } else {
    MS_ASSERT(size <= 0xffffffffU, "an AMQP value is at most 4 GiB long");
    fixed(code::vbin32, static_cast<std::uint32_t>(size));
  }
  for (const BytesView piece : pieces) encoded(piece);
}

void ValueWriter::eights(std::uint8_t constructor, std::span<const std::int64_t> v) {
  const Open array = open(code::array32);
  put(constructor);
  for (const std::int64_t each : v) {
    const std::size_t at = to_.size();
    to_.resize(at + sizeof each);
    store_be(to_.data() + at, static_cast<std::uint64_t>(each));
  }
  close(array, static_cast<std::uint32_t>(v.size()));
}

void ValueWriter::variable(std::uint8_t narrow, std::uint8_t wide, BytesView v) {
  if (v.size() < 256) {
    fixed(narrow, static_cast<std::uint8_t>(v.size()));
  } else {
    MS_ASSERT(v.size() <= 0xffffffffU, "an AMQP value is at most 4 GiB long");
    fixed(wide, static_cast<std::uint32_t>(v.size()));
  }
  encoded(v);
}

ValueWriter::Open ValueWriter::open(std::uint8_t constructor) {
  const Open out{to_.size()};
  to_.resize(out.at + 9);
  to_[out.at] = static_cast<std::byte>(constructor);
  return out;
}

void ValueWriter::close(Open compound, std::uint32_t count) {
  constexpr std::size_t kWideHead = 9;
  constexpr std::size_t kNarrowHead = 3;
  MS_ASSERT(to_.size() >= compound.at + kWideHead, "close() needs the compound that was opened last");
  const std::size_t content = to_.size() - compound.at - kWideHead;
  std::byte* head = to_.data() + compound.at;
  if (content + 1 < 256 && count < 256) {
    // list32 0xd0 → list8 0xc0, map32 0xd1 → map8 0xc1, array32 0xf0 → array8 0xe0
    head[0] = head[0] ^ std::byte{0x10};
    head[1] = static_cast<std::byte>(content + 1);
    head[2] = static_cast<std::byte>(count);
    to_.erase(to_.begin() + static_cast<std::ptrdiff_t>(compound.at + kNarrowHead),
              to_.begin() + static_cast<std::ptrdiff_t>(compound.at + kWideHead));
    return;
  }
  store_be(head + 1, static_cast<std::uint32_t>(content + 4));
  store_be(head + 5, count);
}

}  // namespace mainstay::amqp
