#include <gtest/gtest.h>

#include <set>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/doubling_wait.h"
#include "base/escape.h"
#include "base/ids.h"
#include "base/random.h"

namespace mainstay {
namespace {

TEST(Bytes, ReaderGivesBackWhatWriterWrote) {
  Buffer buffer;
  ByteWriter out(buffer);
  out.u8(7);
  out.u16_le(0x1234);
  out.u32_be(0xdeadbeef);
  out.u64_le(1ULL << 60);
  out.sized_text("payment");
  ByteReader in{BytesView(buffer)};
  EXPECT_EQ(in.u8(), 7);
  EXPECT_EQ(in.u16_le(), 0x1234);
  EXPECT_EQ(in.u32_be(), 0xdeadbeef);
  EXPECT_EQ(in.u64_le(), 1ULL << 60);
  EXPECT_EQ(in.sized_text(), "payment");
  EXPECT_TRUE(in.finished());
  EXPECT_EQ(std::to_integer<int>(buffer[3]), 0xde) << "big-endian puts the high byte first";
}

TEST(Bytes, ReadPastTheEndFailsForGoodAndGivesZeros) {
  Buffer buffer(3, std::byte{0xff});
  ByteReader in{BytesView(buffer)};
  EXPECT_EQ(in.u32_le(), 0U);
  EXPECT_FALSE(in.ok());
  EXPECT_EQ(in.u8(), 0) << "a failed cursor stays failed even where bytes remain";
  EXPECT_EQ(in.remaining(), 0U);
}

TEST(Bytes, LengthBeyondTheEndDoesNotReadOutside) {
  Buffer buffer;
  ByteWriter(buffer).u32_le(0xffffffff);
  ByteReader in{BytesView(buffer)};
  EXPECT_TRUE(in.sized_bytes().empty());
  EXPECT_FALSE(in.ok());
}

TEST(Checksum, IsTheStableXxh3OfTheFormats) {
  // Values from the xxHash specification's reference implementation: they are in files on disks.
  EXPECT_EQ(checksum64({}), 0x2d06800538d394c2ULL);
  EXPECT_EQ(digest128({}), "99aa06d3014798d86001c324468d497f");
  EXPECT_NE(checksum64(as_bytes("a")), checksum64(as_bytes("b")));
  EXPECT_NE(checksum64(as_bytes("a"), 1), checksum64(as_bytes("a"), 2));
}

TEST(Random, SameSeedGivesTheSameSequenceAndBoundsHold) {
  SeededRandom a(42);
  SeededRandom b(42);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    const auto draw = a.below(10);
    EXPECT_EQ(draw, b.below(10));
    EXPECT_LT(draw, 10U);
    seen.insert(draw);
  }
  EXPECT_EQ(seen.size(), 10U);
  EXPECT_NE(a.uuid(), a.uuid());
  EXPECT_EQ(a.uuid().text()[14], '4') << "version 4";
}

TEST(Ids, TextOfAUuidIsCanonical) {
  Uuid id;
  for (std::size_t i = 0; i < 16; ++i) id.bytes[i] = static_cast<std::uint8_t>(i * 17);
  EXPECT_EQ(id.text(), "00112233-4455-6677-8899-aabbccddeeff");
}

TEST(Ids, AUuidIsReadInEitherCaseAndInOneForm) {
  const Uuid id = parse_uuid("00112233-4455-6677-8899-aAbBcCdDeEfF").value();
  EXPECT_EQ(id.text(), "00112233-4455-6677-8899-aabbccddeeff");
  for (const char* bad : {"", "00112233-4455-6677-8899-aabbccddeef", "00112233-4455-6677-8899-aabbccddeeff0",
                          "001122334-455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeefg",
                          "-0112233-4455-6677-8899-aabbccddeeff", "+0112233-4455-6677-8899-aabbccddeeff",
                          "0x112233-4455-6677-8899-aabbccddeeff", "{0112233-4455-6677-8899-aabbccddeef}"}) {
    EXPECT_FALSE(parse_uuid(bad)) << bad;
  }
}

TEST(Clock, ManualClockMovesOnlyWhenToldAndWallMayJump) {
  ManualClock clock(WallTime{1000});
  const Instant start = clock.now();
  clock.advance(milliseconds(5));
  EXPECT_EQ(clock.now() - start, milliseconds(5));
  EXPECT_EQ(clock.wall().ms, 1005);
  clock.jump_wall(-600);
  EXPECT_EQ(clock.wall().ms, 405);
  EXPECT_EQ(clock.now() - start, milliseconds(5)) << "a wall jump does not touch the monotonic clock";
}

TEST(DoublingWait, IsTwiceAsLongEachTimeUpToItsBoundAndBeginsAnewAfterSuccess) {
  DoublingWait wait(milliseconds(100), milliseconds(700));
  EXPECT_EQ(wait.next(), milliseconds(100));
  EXPECT_EQ(wait.next(), milliseconds(200));
  EXPECT_EQ(wait.next(), milliseconds(400));
  EXPECT_EQ(wait.next(), milliseconds(700));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(wait.next(), milliseconds(700)) << i;
  wait.reset();
  EXPECT_EQ(wait.next(), milliseconds(100));
}

TEST(DoublingWait, IsNeverLongerThanItsBoundNorOverflows) {
  EXPECT_EQ(doubled(seconds(9), 0, seconds(5)), seconds(5));
  EXPECT_EQ(doubled(seconds(1), 4'000'000'000U, seconds(6 * 3600)), seconds(6 * 3600));
}

TEST(AssertDeathTest, BrokenPromiseNamesConditionReasonAndPlace) {
  EXPECT_DEATH(MS_ASSERT(1 == 2, "arithmetic holds"), "1 == 2.*\n.*arithmetic holds.*\n.*base_test.cpp");
}

TEST(Escape, FieldsOfALineComeBackAsTheyWere) {
  const std::string fields[] = {"",     "plain", "tab\there",           "\\t is no tab",
                                "\r\n", "\\",    std::string("a\0b", 3)};
  for (const std::string& field : fields) {
    std::string line = "before ";
    append_tsv_field(line, field);
    EXPECT_EQ(line.find_first_of("\t\n\r"), std::string::npos) << field;
    EXPECT_EQ(unescaped_tsv_field(std::string_view(line).substr(7)), field);
  }
  for (const char* wrong : {"\\", "a\\", "\\x", "\\ "})
    EXPECT_EQ(unescaped_tsv_field(wrong), std::nullopt) << wrong;
}

TEST(Escape, NothingOfATextIsMarkup) {
  EXPECT_EQ(escaped_xml("<a href=\"x\" b='y'> & \x01\n\tµ"),
            "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt; &amp;  \n µ");
}

}  // namespace
}  // namespace mainstay
