#include "journal/record.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace mainstay::journal {
namespace {

Buffer encoded(std::string_view body, Lsn lsn = {1}) {
  const BytesView part = as_bytes(body);
  Buffer out;
  encode_record(out, lsn, Epoch{2}, 0x1122334455667788, RecordType::message_stored, std::span(&part, 1));
  return out;
}

TEST(Record, BytesAreThoseOfTheFormatPage) {
  // The example of docs/formats/journal.md. Do not change it without a new format version.
  const BytesView body = as_bytes("hello, journal");
  Buffer raw;
  const std::uint64_t checksum =
      encode_record(raw, Lsn{1}, Epoch{1}, 0, RecordType::message_stored, std::span(&body, 1));
  EXPECT_EQ(hex(raw),
            "4d535243"
            "0e000000"
            "3b30553409c4856f"
            "0000000000000000"
            "0100000000000000"
            "0100000000000000"
            "1100"
            "0000"
            "00000000"
            "68656c6c6f2c206a6f75726e616c"
            "0000");
  EXPECT_EQ(hex(checksum), "6f85c4093455303b");
}

TEST(Record, DecodeGivesBackEveryField) {
  const Buffer raw = encoded("body", Lsn{77});
  Record record;
  ASSERT_EQ(decode_record(raw, record), DecodeStatus::ok);
  EXPECT_EQ(record.header.lsn.value, 77U);
  EXPECT_EQ(record.header.epoch.value, 2U);
  EXPECT_EQ(record.header.previous, 0x1122334455667788U);
  EXPECT_EQ(record.header.type, RecordType::message_stored);
  EXPECT_EQ(as_text(record.body), "body");
  EXPECT_EQ(record.raw.size(), raw.size());
  EXPECT_EQ(raw.size() % 8, 0U);
  const Buffer empty = encoded("");
  ASSERT_EQ(decode_record(empty, record), DecodeStatus::ok);
  EXPECT_TRUE(record.body.empty());
}

TEST(Record, EveryFlippedBitIsNoticed) {
  const Buffer good = encoded("some payment", Lsn{5});
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Buffer bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    Record record;
    EXPECT_NE(decode_record(bad, record), DecodeStatus::ok) << "bit " << bit;
  }
}

TEST(Record, EveryPrefixIsTruncatedOrEmpty) {
  const Buffer good = encoded("some payment");
  Record record;
  EXPECT_EQ(decode_record({}, record), DecodeStatus::end);
  for (std::size_t length = 4; length < good.size(); ++length) {
    EXPECT_EQ(decode_record(BytesView(good).first(length), record), DecodeStatus::truncated) << length;
  }
}

TEST(Record, ZerosAreTheEnd) {
  const Buffer zeros(100);
  Record record;
  for (std::size_t length = 0; length <= zeros.size(); ++length) {
    EXPECT_EQ(decode_record(BytesView(zeros).first(length), record), DecodeStatus::end);
  }
  Buffer almost(100);
  almost[47] = std::byte{1};
  EXPECT_EQ(decode_record(almost, record), DecodeStatus::damaged);
}

TEST(Record, ArbitraryBytesAreNeverReadOutside) {
  SeededRandom random(11);
  for (int round = 0; round < 20'000; ++round) {
    Buffer bytes(random.below(120));
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.next());
    if (bytes.size() >= 8 && random.chance(1, 2)) {
      store_le(bytes.data(), kRecordMagic);
      if (random.chance(1, 2)) store_le(bytes.data() + 4, static_cast<std::uint32_t>(random.below(100)));
    }
    Record record;
    EXPECT_NE(decode_record(bytes, record), DecodeStatus::ok);
  }
}

TEST(Record, AViewOfACheckedRecordIsWhatDecodingGivesWithoutTheChecksum) {
  for (const std::string& body : {std::string(), std::string("seven77"), std::string(1024, 'x')}) {
    Buffer raw;
    const BytesView part = as_bytes(body);
    encode_record(raw, Lsn{7}, Epoch{3}, 11, RecordType::message_stored, std::span(&part, 1));
    Record decoded;
    ASSERT_EQ(decode_record(raw, decoded), DecodeStatus::ok);
    const Record view = view_record(raw);
    EXPECT_EQ(view.header.lsn, decoded.header.lsn);
    EXPECT_EQ(view.header.epoch, decoded.header.epoch);
    EXPECT_EQ(view.header.previous, decoded.header.previous);
    EXPECT_EQ(view.header.checksum, decoded.header.checksum);
    EXPECT_EQ(view.header.type, decoded.header.type);
    EXPECT_EQ(as_text(view.body), body);
    EXPECT_EQ(view.raw.size(), decoded.raw.size());
  }
}

}  // namespace
}  // namespace mainstay::journal
