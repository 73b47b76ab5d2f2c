#include "replication/region_follower.h"

#include <gtest/gtest.h>

namespace mainstay::replication {
namespace {

/// `count` records after `from`, as the live region would ship them.
struct Made {
  Buffer raw;
  journal::LogPosition end;
};
Made make(journal::LogPosition from, std::size_t count, Epoch epoch) {
  Made made{{}, from};
  for (std::size_t i = 0; i < count; ++i) {
    const Lsn lsn = made.end.lsn.next();
    const BytesView body = as_bytes("payment");
    made.end = {lsn, journal::encode_record(made.raw, lsn, epoch, made.end.hash,
                                            journal::RecordType::message_stored, std::span(&body, 1))};
  }
  return made;
}

constexpr std::size_t kPendingMax = 1 << 20;

TEST(RegionFollower, RecordsInPlaceAreTakenByteForByte) {
  RegionFollower follower({}, {}, kPendingMax);
  const Made first = make({}, 3, Epoch{1});
  const Made second = make(first.end, 2, Epoch{2});
  ASSERT_TRUE(follower.offer({first.end.lsn, first.raw}, Epoch{1}));
  ASSERT_TRUE(follower.offer({second.end.lsn, second.raw}, Epoch{2}));
  EXPECT_EQ(follower.end(), second.end);
  journal::Batch batch;
  ASSERT_TRUE(follower.take(batch));
  Buffer both = first.raw;
  both.insert(both.end(), second.raw.begin(), second.raw.end());
  EXPECT_EQ(batch.bytes, both);
  EXPECT_EQ(batch.first, Lsn{1});
  EXPECT_EQ(batch.size(), 5U);
  EXPECT_EQ(batch.end, second.end);
  EXPECT_FALSE(follower.take(batch)) << "handed out once";
}

struct OutOfPlace {
  const char* why;
  Made made;
  Lsn committed;
  Epoch sender_epoch;
  RefusalCode code;
};

TEST(RegionFollower, RecordsOutOfPlaceAreRefusedAndNothingOfThePacketIsKept) {
  const Made base = make({}, 3, Epoch{2});
  Made damaged = make(base.end, 2, Epoch{2});
  damaged.raw.back() = std::byte{};
  damaged.raw[damaged.raw.size() - 12] ^= std::byte{1};
  Made cut = make(base.end, 2, Epoch{2});
  cut.raw.resize(cut.raw.size() - 8);
  const std::vector<OutOfPlace> cases{
      {"a gap", make({Lsn{4}, base.end.hash}, 1, Epoch{2}), Lsn{9}, Epoch{2}, RefusalCode::impossible},
      {"a repetition", make({Lsn{2}, base.end.hash}, 1, Epoch{2}), Lsn{9}, Epoch{2}, RefusalCode::impossible},
      {"another history", make({Lsn{3}, base.end.hash ^ 1}, 1, Epoch{2}), Lsn{9}, Epoch{2},
       RefusalCode::diverged},
      {"an older epoch", make(base.end, 1, Epoch{1}), Lsn{9}, Epoch{2}, RefusalCode::impossible},
      {"a later epoch than the sender's", make(base.end, 1, Epoch{3}), Lsn{9}, Epoch{2},
       RefusalCode::impossible},
      {"not committed", make(base.end, 2, Epoch{2}), Lsn{4}, Epoch{2}, RefusalCode::impossible},
      {"damaged second record", damaged, Lsn{9}, Epoch{2}, RefusalCode::impossible},
      {"half a record", cut, Lsn{9}, Epoch{2}, RefusalCode::impossible},
  };
  for (const OutOfPlace& one : cases) {
    SCOPED_TRACE(one.why);
    RegionFollower follower(base.end, Epoch{2}, kPendingMax);
    const auto refused = follower.offer({one.committed, one.made.raw}, one.sender_epoch);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, one.code) << refused.error().what;
    EXPECT_EQ(follower.end(), base.end);
    EXPECT_EQ(follower.pending_bytes(), 0U);
  }
}

TEST(RegionFollower, LiveRegionThatIgnoresTheWindowIsRefused) {
  const Made made = make({}, 3, Epoch{1});
  RegionFollower follower({}, {}, made.raw.size() - 1);
  EXPECT_FALSE(follower.offer({made.end.lsn, made.raw}, Epoch{1}));
}

}  // namespace
}  // namespace mainstay::replication
