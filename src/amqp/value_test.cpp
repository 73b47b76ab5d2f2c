// Every constructor of the standard's type system, its bounds, and what must be refused.
#include <gtest/gtest.h>

#include <bit>
#include <map>

#include "amqp/delivery_ring.h"
#include "amqp/value_reader.h"
#include "amqp/value_writer.h"
#include "base/random.h"

namespace mainstay::amqp {
namespace {

Buffer bytes(std::initializer_list<int> from) {
  Buffer out;
  for (const int b : from) out.push_back(static_cast<std::byte>(b));
  return out;
}

struct Case {
  const char* name;
  Buffer encoded;
  Kind kind;
  std::int64_t number;
};

TEST(ValueReader, ReadsEveryFixedWidthEncoding) {
  const std::vector<Case> cases{
      {"null", bytes({0x40}), Kind::null, 0},
      {"true", bytes({0x41}), Kind::boolean, 1},
      {"false", bytes({0x42}), Kind::boolean, 0},
      {"boolean true", bytes({0x56, 1}), Kind::boolean, 1},
      {"boolean false", bytes({0x56, 0}), Kind::boolean, 0},
      {"ubyte", bytes({0x50, 0xff}), Kind::ubyte, 255},
      {"ushort", bytes({0x60, 0x12, 0x34}), Kind::ushort, 0x1234},
      {"uint", bytes({0x70, 0xff, 0, 0, 1}), Kind::uint, 0xff000001},
      {"smalluint", bytes({0x52, 0xfe}), Kind::uint, 254},
      {"uint0", bytes({0x43}), Kind::uint, 0},
      {"ulong", bytes({0x80, 1, 0, 0, 0, 0, 0, 0, 2}), Kind::ulong, 0x0100000000000002},
      {"smallulong", bytes({0x53, 0x80}), Kind::ulong, 128},
      {"ulong0", bytes({0x44}), Kind::ulong, 0},
      {"byte", bytes({0x51, 0x80}), Kind::byte, -128},
      {"short", bytes({0x61, 0xff, 0xfe}), Kind::short_, -2},
      {"int", bytes({0x71, 0x80, 0, 0, 0}), Kind::int_, -2147483648LL},
      {"smallint", bytes({0x54, 0xff}), Kind::int_, -1},
      {"long", bytes({0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00}), Kind::long_, -256},
      {"smalllong", bytes({0x55, 0x81}), Kind::long_, -127},
      {"float", bytes({0x72, 0x3f, 0x80, 0, 0}), Kind::float_, 0x3f800000},
      {"double", bytes({0x82, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0}), Kind::double_, 0x3ff0000000000000},
      {"decimal32", bytes({0x74, 1, 2, 3, 4}), Kind::decimal32, 0x01020304},
      {"decimal64", bytes({0x84, 1, 2, 3, 4, 5, 6, 7, 8}), Kind::decimal64, 0x0102030405060708},
      {"char", bytes({0x73, 0, 1, 0xf6, 0x00}), Kind::character, 0x1f600},
      {"timestamp", bytes({0x83, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), Kind::timestamp, -1},
      {"list0", bytes({0x45}), Kind::list, 0},
  };
  for (const auto& c : cases) {
    ValueReader reader(c.encoded);
    const Value v = reader.next();
    EXPECT_TRUE(reader.ok() && reader.at_end()) << c.name;
    EXPECT_EQ(v.kind, c.kind) << c.name;
    EXPECT_EQ(v.signed_number(), c.number) << c.name;
    EXPECT_EQ(v.encoded.size(), c.encoded.size()) << c.name;
    EXPECT_TRUE(well_formed(c.encoded)) << c.name;
    for (std::size_t cut = 0; cut < c.encoded.size(); ++cut) {
      ValueReader torn(BytesView(c.encoded).first(cut));
      torn.next();
      EXPECT_FALSE(torn.ok()) << c.name << " cut at " << cut;
    }
  }
}

TEST(ValueReader, ReadsEveryVariableWidthEncoding) {
  struct Wide {
    const char* name;
    Buffer encoded;
    Kind kind;
    std::uint32_t count;
    std::size_t content;
  };
  Buffer uuid = bytes({0x98});
  Buffer decimal = bytes({0x94});
  for (int i = 0; i < 16; ++i) {
    uuid.push_back(static_cast<std::byte>(i));
    decimal.push_back(static_cast<std::byte>(i));
  }
  const std::vector<Wide> cases{
      {"vbin8", bytes({0xa0, 2, 1, 2}), Kind::binary, 0, 2},
      {"vbin32", bytes({0xb0, 0, 0, 0, 2, 1, 2}), Kind::binary, 0, 2},
      {"str8", bytes({0xa1, 1, 'a'}), Kind::string, 0, 1},
      {"str32", bytes({0xb1, 0, 0, 0, 1, 'a'}), Kind::string, 0, 1},
      {"sym8", bytes({0xa3, 0}), Kind::symbol, 0, 0},
      {"sym32", bytes({0xb3, 0, 0, 0, 1, 's'}), Kind::symbol, 0, 1},
      {"uuid", uuid, Kind::uuid, 0, 16},
      {"decimal128", decimal, Kind::decimal128, 0, 16},
      {"list8", bytes({0xc0, 3, 2, 0x41, 0x40}), Kind::list, 2, 2},
      {"list32", bytes({0xd0, 0, 0, 0, 5, 0, 0, 0, 1, 0x40}), Kind::list, 1, 1},
      {"map8", bytes({0xc1, 3, 2, 0x41, 0x40}), Kind::map, 2, 2},
      {"map32", bytes({0xd1, 0, 0, 0, 6, 0, 0, 0, 2, 0x41, 0x40}), Kind::map, 2, 2},
      {"array8", bytes({0xe0, 4, 2, 0x50, 1, 2}), Kind::array, 2, 3},
      {"array32", bytes({0xf0, 0, 0, 0, 9, 0, 0, 0, 1, 0xa3, 3, 'a', 'b', 'c'}), Kind::array, 1, 5},
      {"empty array", bytes({0xe0, 2, 0, 0xa3}), Kind::array, 0, 1},
      {"described", bytes({0x00, 0x53, 0x24, 0x45}), Kind::described, 0, 3},
      {"symbolic", bytes({0x00, 0xa3, 1, 'x', 0x40}), Kind::described, 0, 4},
  };
  for (const auto& c : cases) {
    ValueReader reader(c.encoded);
    const Value v = reader.next();
    EXPECT_TRUE(reader.ok() && reader.at_end()) << c.name;
    EXPECT_EQ(v.kind, c.kind) << c.name;
    EXPECT_EQ(v.count, c.count) << c.name;
    EXPECT_EQ(v.content.size(), c.content) << c.name;
    EXPECT_TRUE(well_formed(c.encoded)) << c.name;
    for (std::size_t cut = 0; cut < c.encoded.size(); ++cut) {
      EXPECT_FALSE(well_formed(BytesView(c.encoded).first(cut))) << c.name << " cut at " << cut;
    }
  }
}

TEST(ValueReader, RefusesWhatNoEncoderWrites) {
  const std::vector<std::pair<const char*, Buffer>> cases{
      {"unknown constructor", bytes({0x4f})},
      {"unknown constructor with a width", bytes({0x99, 1})},
      {"boolean of 2", bytes({0x56, 2})},
      {"list with more elements than bytes", bytes({0xc0, 2, 9, 0x40})},
      {"list with a byte left over", bytes({0xc0, 3, 1, 0x40, 0x40})},
      {"list whose size leaves out its count", bytes({0xc0, 0})},
      {"list32 of 3 bytes", bytes({0xd0, 0, 0, 0, 3, 0, 0, 0})},
      {"map with a key alone", bytes({0xc1, 2, 1, 0x40})},
      {"array of nothing known", bytes({0xe0, 3, 1, 0x01, 0})},
      {"array with a byte left over", bytes({0xe0, 4, 1, 0x50, 1, 2})},
      {"array with four thousand million nulls", bytes({0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40})},
      {"described without a value", bytes({0x00, 0x53, 0x24})},
      {"two values", bytes({0x40, 0x40})},
      {"string of four GiB", bytes({0xb1, 0xff, 0xff, 0xff, 0xff, 'a'})},
  };
  for (const auto& [name, encoded] : cases) EXPECT_FALSE(well_formed(encoded)) << name;
}

TEST(ValueReader, RefusesNestingBeyondItsDepth) {
  const auto nested = [](int depth) {
    Buffer out = bytes({0x40});
    for (int i = 0; i < depth; ++i) {
      Buffer outer;
      ValueWriter w(outer);
      const auto list = w.list();
      w.encoded(out);
      w.close(list, 1);
      out = std::move(outer);
    }
    return out;
  };
  EXPECT_TRUE(well_formed(nested(kDepthMax)));
  EXPECT_FALSE(well_formed(nested(kDepthMax + 1)));
  EXPECT_FALSE(well_formed(Buffer(100'000, std::byte{0x00})));
}

TEST(ValueWriter, ChoosesTheShortestEncodingThatReadsBackTheSame) {
  for (const std::uint64_t n : {0ULL, 1ULL, 255ULL, 256ULL, 65535ULL, 0xffffffffULL, ~0ULL}) {
    Buffer out;
    ValueWriter w(out);
    w.ulong(n);
    w.uint(static_cast<std::uint32_t>(n));
    w.long_(static_cast<std::int64_t>(n));
    w.long_(-static_cast<std::int64_t>(n));
    w.int_(static_cast<std::int32_t>(n));
    ValueReader r(out);
    const Value first = r.next();
    EXPECT_EQ(first.number, n);
    EXPECT_EQ(first.encoded.size(), n == 0 ? 1U : n < 256 ? 2U : 9U);
    EXPECT_EQ(r.next().number, static_cast<std::uint32_t>(n));
    EXPECT_EQ(r.next().signed_number(), static_cast<std::int64_t>(n));
    EXPECT_EQ(r.next().signed_number(), -static_cast<std::int64_t>(n));
    EXPECT_EQ(r.next().signed_number(), static_cast<std::int32_t>(n));
    EXPECT_TRUE(r.ok() && r.at_end());
  }
}

TEST(ValueWriter, WritesCompoundsNarrowAndWide) {
  for (const std::size_t size : {0U, 200U, 250U, 251U, 252U, 300U, 70000U}) {
    Buffer out;
    ValueWriter w(out);
    const auto list = w.list();
    w.string(std::string(size, 'x'));
    const auto map = w.map();
    w.symbol("k");
    w.double_(2.5);
    w.close(map, 2);
    w.close(list, 2);
    ASSERT_TRUE(well_formed(out)) << size;
    ValueReader r(out);
    ValueReader inside = ValueReader::inside(r.next());
    EXPECT_EQ(inside.next().content.size(), size);
    ValueReader entries = ValueReader::inside(inside.next());
    EXPECT_EQ(entries.next().text(), "k");
    EXPECT_EQ(std::bit_cast<double>(entries.next().number), 2.5);
  }
  Buffer out;
  ValueWriter w(out);
  const std::array<std::string_view, 3> names{"MSSBCBS", "PLAIN", "ANONYMOUS"};
  w.symbols(names);
  ASSERT_TRUE(well_formed(out));
  ArrayReader array(ValueReader(out).next());
  Value element;
  for (const auto name : names) {
    ASSERT_TRUE(array.next(element));
    EXPECT_EQ(element.kind, Kind::symbol);
    EXPECT_EQ(element.text(), name);
  }
  EXPECT_FALSE(array.next(element));
  EXPECT_TRUE(array.ok());
}

TEST(Fields, ReadsNullAndMissingFieldsAsAbsentAndFailsOnOtherTypes) {
  const Buffer list = bytes({0xc0, 7, 4, 0x40, 0x52, 7, 0x41, 0xa1, 0});
  const Value value = ValueReader(list).next();
  Fields f(value);
  EXPECT_FALSE(f.uint());
  EXPECT_EQ(f.uint(), 7U);
  EXPECT_EQ(f.boolean(), true);
  EXPECT_EQ(f.string(), "");
  EXPECT_FALSE(f.ulong());
  EXPECT_TRUE(f.any().is_null());
  EXPECT_TRUE(f.ok());
  Fields wrong(value);
  wrong.skip(1);
  EXPECT_FALSE(wrong.string());
  EXPECT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.failed_at(), 1U);
  Fields missing(ValueReader(bytes({0x45})).next());
  missing.required(missing.uint());
  EXPECT_FALSE(missing.ok());
}

struct Entry {
  int id = 0;
  bool live = false;
};

// The ring against a plain map; stragglers stay findable while hundreds of thousands pass.
TEST(DeliveryRing, AgreesWithAMapAndFollowsTheNumberOfUnsettled) {
  constexpr std::uint64_t kSeed = 7;
  std::printf("seed %llu\n", static_cast<unsigned long long>(kSeed));
  SeededRandom random(kSeed);
  DeliveryRing<Entry> ring(1000);
  std::map<std::uint64_t, int> twin;
  for (int step = 0; step < 300'000; ++step) {
    const bool live = !random.chance(1, 5);
    const auto number = ring.push({step, live});
    ASSERT_EQ(number, 1000U + static_cast<std::uint64_t>(step));
    if (live) twin[number] = step;
    while (twin.size() > 40) {
      auto at = twin.begin();
      std::advance(
          at, static_cast<std::ptrdiff_t>(random.between(random.chance(1, 200) ? 0 : 15, twin.size() - 1)));
      ring.erase(at->first);
      ASSERT_EQ(ring.find(at->first), nullptr);
      twin.erase(at);
    }
    ASSERT_EQ(ring.live(), twin.size());
    if (step % 1000 == 0) {
      std::vector<std::uint64_t> seen;
      ring.visit(0, ring.next(), [&](std::uint64_t n) {
        EXPECT_EQ(ring.find(n)->id, twin.at(n));
        seen.push_back(n);
        return true;
      });
      ASSERT_EQ(seen.size(), twin.size());
      ASSERT_TRUE(std::is_sorted(seen.begin(), seen.end()));
    }
  }
  EXPECT_LT(ring.memory_bytes(), 64U * 1024U);
}

}  // namespace
}  // namespace mainstay::amqp
