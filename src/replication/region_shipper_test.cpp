#include "replication/region_shipper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/memory_disk.h"
#include "base/random.h"

namespace mainstay::replication {
namespace {

class RegionShipperTest : public testing::Test {
 protected:
  RegionShipperTest() {
    auto opened = journal::Journal::open(disk_, "", {.segment_bytes = 64 << 10}, random_, Lsn{},
                                         [](const journal::Record&) {});
    EXPECT_TRUE(opened) << opened.error().what;
    journal_ = std::move(*opened);
    journal::LogBuilder log({}, Epoch{1});
    for (std::size_t i = 0; i < 50; ++i) {
      positions_.push_back(log.end());
      log.append(journal::RecordType::message_stored, as_bytes(std::string(10 + i, 'm')));
    }
    positions_.push_back(log.end());
    const auto batch = log.take();
    all_ = batch.bytes;
    EXPECT_TRUE(journal_->write(batch));
    EXPECT_TRUE(journal_->sync());
  }

  MemoryDisk disk_;
  SeededRandom random_{1};
  std::unique_ptr<journal::Journal> journal_;
  std::vector<journal::LogPosition> positions_;  ///< by LSN
  Buffer all_;
};

TEST_F(RegionShipperTest, ShipsCommittedRecordsByteForByteWithinTheWindow) {
  RegionShipper shipper(*journal_, {.packet_bytes_max = 300, .ahead_bytes_max = 700});
  ASSERT_TRUE(shipper.follow({}, Lsn{40}));
  Buffer got;
  Buffer raw;
  int stalls = 0;
  while (shipper.sent() < Lsn{40}) {
    const auto more = shipper.next(Lsn{40}, raw);
    ASSERT_TRUE(more);
    if (*more) {
      EXPECT_LE(shipper.bytes_ahead(), 700U + 300U);
      got.insert(got.end(), raw.begin(), raw.end());
    } else {
      ++stalls;
      EXPECT_GE(shipper.bytes_ahead(), 700U - 120U) << "it stops only at the window";
      ASSERT_TRUE(shipper.acknowledged(positions_[shipper.sent().value]));
      EXPECT_EQ(shipper.bytes_ahead(), 0U);
    }
  }
  EXPECT_GT(stalls, 1);
  EXPECT_FALSE(*shipper.next(Lsn{40}, raw)) << "records after the commit stay here";
  EXPECT_EQ(got, to_buffer(BytesView(all_).first(got.size())));
}

/// Ships everything to who acknowledges at once, with `read` between what is wanted and what arrives.
template <class Read>
Buffer ship_all(RegionShipper& shipper, const std::vector<journal::LogPosition>& positions, Lsn committed,
                Read read) {
  Buffer got;
  Buffer raw;
  for (int rounds = 0; shipper.sent() < committed && rounds < 1000; ++rounds) {
    auto wanted = shipper.wanted(committed);
    EXPECT_FALSE(wanted && shipper.wanted(committed)) << "one at a time";
    while (true) {
      const auto more = shipper.next(committed, raw);
      EXPECT_TRUE(more) << more.error().what;
      if (!more || !*more) break;
      got.insert(got.end(), raw.begin(), raw.end());
      EXPECT_TRUE(shipper.acknowledged(positions[shipper.sent().value]));
    }
    if (!wanted) wanted = shipper.wanted(committed);
    if (wanted) read(std::move(*wanted));
  }
  return got;
}

TEST_F(RegionShipperTest, WhatIsReadAheadIsShippedByteForByteAndNeverReadTwice) {
  RegionShipper shipper(*journal_,
                        {.packet_bytes_max = 300, .ahead_bytes_max = 700, .packets_read_ahead = 3});
  ASSERT_TRUE(shipper.follow({}, Lsn{40}));
  std::vector<std::uint64_t> begins;
  const Buffer got = ship_all(shipper, positions_, Lsn{40}, [&](ShipAhead wanted) {
    begins.push_back(wanted.before.lsn.value);
    read_ahead(*journal_, wanted);
    EXPECT_LE(wanted.packets.size(), 3U);
    for (const auto& packet : wanted.packets) EXPECT_LE(packet.raw.size(), 300U);
    shipper.arrived(std::move(wanted));
  });
  EXPECT_EQ(shipper.sent(), Lsn{40}) << "and not what is not committed";
  EXPECT_EQ(got, to_buffer(BytesView(all_).first(got.size())));
  EXPECT_GT(begins.size(), 2U);
  EXPECT_EQ(std::adjacent_find(begins.begin(), begins.end(), std::greater_equal<>()), begins.end());
}

TEST_F(RegionShipperTest, WhatArrivesForAnEarlierFollowerIsDropped) {
  RegionShipper shipper(*journal_,
                        {.packet_bytes_max = 300, .ahead_bytes_max = 700, .packets_read_ahead = 3});
  Buffer raw;
  ASSERT_TRUE(shipper.follow(positions_[10], Lsn{50}));
  ASSERT_TRUE(*shipper.next(Lsn{50}, raw));
  auto stale = shipper.wanted(Lsn{50});
  ASSERT_TRUE(stale);
  read_ahead(*journal_, *stale);
  ASSERT_TRUE(shipper.follow({}, Lsn{50}));  // its line broke, and it comes back with less
  shipper.arrived(*stale);
  ASSERT_TRUE(*shipper.next(Lsn{50}, raw));
  ASSERT_TRUE(shipper.acknowledged(positions_[shipper.sent().value]));
  auto wanted = shipper.wanted(Lsn{50});
  ASSERT_TRUE(wanted);
  shipper.arrived(std::move(*stale));
  EXPECT_FALSE(*shipper.next(Lsn{50}, raw)) << "what it waits for is still out";
  const Lsn before = wanted->before.lsn;
  read_ahead(*journal_, *wanted);
  shipper.arrived(std::move(*wanted));
  ASSERT_TRUE(*shipper.next(Lsn{50}, raw));
  journal::Record first;
  ASSERT_EQ(journal::decode_record(raw, first), journal::DecodeStatus::ok);
  EXPECT_EQ(first.header.lsn, before.next());
}

TEST_F(RegionShipperTest, WhatCannotBeReadAheadIsTriedAgainAndToldByNext) {
  RegionShipper shipper(*journal_,
                        {.packet_bytes_max = 300, .ahead_bytes_max = 7000, .packets_read_ahead = 3});
  ASSERT_TRUE(shipper.follow({}, Lsn{40}));
  int failures = 0;
  const Buffer got = ship_all(shipper, positions_, Lsn{40}, [&](ShipAhead wanted) {
    read_ahead(*journal_, wanted);
    if (failures == 0) {  // the second packet of this one
      ++failures;
      wanted.packets.resize(1);
      wanted.failed = journal::JournalError{journal::JournalErrorCode::io, "once"};
    }
    shipper.arrived(std::move(wanted));
  });
  EXPECT_EQ(failures, 1);
  EXPECT_EQ(shipper.sent(), Lsn{40});
  EXPECT_EQ(got, to_buffer(BytesView(all_).first(got.size())));
}

TEST_F(RegionShipperTest, ReconnectGoesOnFromTheStandbysPosition) {
  RegionShipper shipper(*journal_, {});
  ASSERT_TRUE(shipper.follow(positions_[20], Lsn{50}));
  Buffer raw;
  ASSERT_TRUE(*shipper.next(Lsn{50}, raw));
  journal::Record first;
  ASSERT_EQ(journal::decode_record(raw, first), journal::DecodeStatus::ok);
  EXPECT_EQ(first.header.lsn, Lsn{21});
}

TEST_F(RegionShipperTest, LogThatIsNoPrefixIsRefusedWithBothHashes) {
  RegionShipper shipper(*journal_, {});
  journal::LogPosition other = positions_[20];
  other.hash ^= 1;
  const auto diverged = shipper.follow(other, Lsn{50});
  ASSERT_FALSE(diverged);
  EXPECT_EQ(diverged.error().code, RefusalCode::diverged);
  EXPECT_NE(diverged.error().what.find(hex(other.hash)), std::string::npos) << diverged.error().what;
  EXPECT_NE(diverged.error().what.find(hex(positions_[20].hash)), std::string::npos) << diverged.error().what;
  const auto ahead = shipper.follow(positions_[50], Lsn{49});
  ASSERT_FALSE(ahead) << "a standby that has more than is committed here";
  EXPECT_EQ(ahead.error().code, RefusalCode::diverged);
  Buffer raw;
  EXPECT_FALSE(*shipper.next(Lsn{50}, raw)) << "nothing is shipped after a refusal";
}

TEST_F(RegionShipperTest, AcknowledgementOfWhatWasNeverSentIsRefused) {
  RegionShipper shipper(*journal_, {});
  ASSERT_TRUE(shipper.follow(positions_[10], Lsn{30}));
  Buffer raw;
  ASSERT_TRUE(*shipper.next(Lsn{30}, raw));
  EXPECT_FALSE(shipper.acknowledged(positions_[31])) << "beyond what was sent";
  EXPECT_FALSE(shipper.acknowledged(positions_[9])) << "before what it had already";
  journal::LogPosition other = positions_[30];
  other.hash ^= 1;
  EXPECT_FALSE(shipper.acknowledged(other)) << "another record at that LSN";
  EXPECT_TRUE(shipper.acknowledged(positions_[30]));
}

}  // namespace
}  // namespace mainstay::replication
