// Issue part 3: dense LSNs, hash chain, order apart from durability, segments, space. In memory.
#include "journal/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/checksum.h"
#include "base/memory_disk.h"
#include "journal/format.h"
#include "journal/journal_test_support.h"

namespace mainstay::journal {
namespace {

using testing::HasSubstr;

TEST(LogBuilder, GivesDenseLsnsAndAChainInBatches) {
  LogBuilder log({}, Epoch{3});
  EXPECT_EQ(log.append(RecordType::message_stored, as_bytes("first")).value, 1U);
  const BytesView parts[] = {as_bytes("sec"), as_bytes("ond")};
  EXPECT_EQ(log.append(RecordType::message_stored, parts).value, 2U);
  Batch batch = log.take();
  EXPECT_EQ(log.append(RecordType::time_advanced, as_bytes("third")).value, 3U);
  EXPECT_EQ(batch.size(), 2U);
  EXPECT_EQ(batch.first.value, 1U);

  Record a;
  Record b;
  ASSERT_EQ(decode_record(batch.bytes, a), DecodeStatus::ok);
  ASSERT_EQ(decode_record(BytesView(batch.bytes).subspan(batch.offsets[1]), b), DecodeStatus::ok);
  EXPECT_EQ(as_text(a.body), "first");
  EXPECT_EQ(as_text(b.body), "second") << "parts are joined";
  EXPECT_EQ(a.header.previous, 0U);
  EXPECT_EQ(b.header.previous, a.header.checksum);
  EXPECT_EQ(b.header.epoch.value, 3U);
  EXPECT_EQ(batch.end.hash, b.header.checksum);

  const std::byte* before = batch.bytes.data();
  const Batch second = log.take(std::move(batch));
  EXPECT_EQ(second.first.value, 3U);
  EXPECT_TRUE(log.gathering().empty());
  EXPECT_EQ(log.gathering().bytes.data(), before) << "the recycled batch's memory is used again";
}

TEST(Journal, WhatWasSyncedIsThereAfterReopening) {
  MemoryDisk disk;
  {
    Node node(disk);
    node.append("one");
    node.append("two");
    node.commit();
    EXPECT_EQ(node.journal->durable(), node.log->end());
  }
  disk.crash_losing_unsynced();
  Node node(disk);
  EXPECT_THAT(node.bodies, testing::ElementsAre("one", "two"));
  EXPECT_EQ(node.journal->recovery().end.lsn.value, 2U);
  EXPECT_EQ(node.journal->recovery().torn_bytes, 0U);
  node.append("three");
  node.commit();
  EXPECT_EQ(node.read_bodies(), (std::vector<std::string>{"one", "two", "three"}));
}

TEST(Journal, WriteOrdersAndSyncMakesDurable) {
  MemoryDisk disk;
  Node node(disk);
  node.append("only written");
  node.write();
  EXPECT_EQ(node.journal->written().lsn.value, 1U);
  EXPECT_EQ(node.journal->durable().lsn.value, 0U);
  Buffer raw;
  EXPECT_EQ(node.journal->read(Lsn{1}, Lsn{1}, 1000, raw)->value, 1U) << "not durable: not readable";
  EXPECT_TRUE(raw.empty());
  node.reset();
  disk.crash_losing_unsynced();
  Node again(disk);
  EXPECT_TRUE(again.bodies.empty());
}

TEST(Journal, GroupCommitIsOneWriteAndOneSync) {
  MemoryDisk disk;
  Node node(disk);
  node.append("warm up");
  node.commit();
  const auto before = disk.counters();
  for (int i = 0; i < 50; ++i) node.append(std::string(100, 'x'));
  node.commit();
  const auto after = disk.counters();
  EXPECT_EQ(after.syncs - before.syncs, 1U);
  EXPECT_EQ(after.writes - before.writes, 2U) << "the batch and the durable mark";
}

TEST(Journal, RecordsNeverSpanSegmentsAndReadsCrossThem) {
  MemoryDisk disk;
  Node node(disk);
  std::vector<std::string> expected;
  for (int i = 0; i < 40; ++i) {
    expected.push_back(std::string(10'000, static_cast<char>('a' + i % 26)) + std::to_string(i));
    node.append(expected.back());
    if (i % 3 == 0) node.commit();
  }
  node.commit();
  EXPECT_GT(node.segments(), 5U);
  EXPECT_EQ(node.read_bodies(), expected);
  for (const auto& path : disk.paths()) {
    if (path.starts_with("segment-")) {
      EXPECT_EQ(disk.contents(path).size(), 64U << 10);
    }
  }
  const LogPosition end = node.log->end();
  node.reset();
  Node again(disk);
  EXPECT_EQ(again.bodies, expected);
  EXPECT_EQ(again.log->end(), end);
}

TEST(Journal, OneBatchMayFillSeveralSegments) {
  MemoryDisk disk;
  Node node(disk);
  std::vector<std::string> expected;
  for (int i = 0; i < 200; ++i) {
    expected.push_back(std::string(3000, 'b') + std::to_string(i));
    node.append(expected.back());
  }
  node.commit();
  EXPECT_GT(node.segments(), 8U);
  EXPECT_EQ(node.read_bodies(), expected);
}

TEST(Journal, RecordLargerThanASegmentGetsItsOwn) {
  MemoryDisk disk;
  const std::string large(200'000, 'L');
  {
    Node node(disk);
    node.append(large);  // first of all: the empty segment gives way
    node.append("small");
    node.commit();
    node.append("between");
    node.append(large);
    node.append("after");
    node.commit();
    EXPECT_EQ(node.read_bodies(), (std::vector<std::string>{large, "small", "between", large, "after"}));
  }
  disk.crash_losing_unsynced();
  Node node(disk);
  EXPECT_EQ(node.bodies, (std::vector<std::string>{large, "small", "between", large, "after"}));
}

TEST(Journal, ReadStopsAtBytesMaxButGivesAtLeastOneRecord) {
  MemoryDisk disk;
  Node node(disk);
  for (int i = 0; i < 10; ++i) node.append(std::string(1000, 'r'));
  node.commit();
  const std::size_t each = record_bytes(1000);
  Buffer raw;
  EXPECT_EQ(node.journal->read(Lsn{1}, Lsn{10}, 0, raw)->value, 2U);
  EXPECT_EQ(raw.size(), each);
  raw.clear();
  EXPECT_EQ(node.journal->read(Lsn{2}, Lsn{10}, 3 * each, raw)->value, 5U);
  EXPECT_EQ(raw.size(), 3 * each);
  EXPECT_EQ(node.journal->read(Lsn{5}, Lsn{10}, 3 * each + each - 1, raw)->value, 8U) << "appends to `to`";
  EXPECT_EQ(raw.size(), 6 * each);
  raw.clear();
  EXPECT_EQ(node.journal->read(Lsn{8}, Lsn{9}, 1 << 20, raw)->value, 10U) << "none after `last`";
  EXPECT_EQ(node.journal->read(Lsn{11}, Lsn{20}, 1 << 20, raw)->value, 11U);
}

TEST(Journal, ExtentsTellWhatEachSegmentHoldsAlsoAfterReopening) {
  MemoryDisk disk;
  std::vector<Journal::Extent> written;
  const auto check = [](const Journal& journal, const std::vector<Journal::Extent>& extents) {
    std::uint64_t bytes = 0;
    Lsn next = extents.front().first;
    for (const Journal::Extent& each : extents) {
      EXPECT_EQ(each.first, next);
      next = each.last.next();
      bytes += each.record_bytes;
    }
    EXPECT_EQ(next, journal.written().lsn.next());
    EXPECT_EQ(bytes, journal.record_bytes_total());
  };
  {
    Node node(disk);
    EXPECT_TRUE(node.journal->extents().empty());
    for (int i = 0; i < 20; ++i) node.append(std::string(9000, 'q'));
    node.commit();
    written = node.journal->extents();
    EXPECT_EQ(written.size(), node.segments());
    check(*node.journal, written);
    // 64 KiB less what is at both ends of a segment.
    EXPECT_EQ(written.front().last.value, 5U);
    EXPECT_EQ(written.front().record_bytes, 5 * record_bytes(9000));
  }
  disk.crash_losing_unsynced();
  Node node(disk);
  const auto found = node.journal->extents();
  check(*node.journal, found);
  ASSERT_EQ(found.size(), written.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].last, written[i].last);
}

TEST(Journal, HashAtFixesEveryPlaceOfTheLog) {
  MemoryDisk disk;
  Node node(disk);
  std::vector<LogPosition> positions{{}};
  for (int i = 0; i < 30; ++i) {
    node.append(std::string(9000, 'h'));
    positions.push_back(node.log->end());
  }
  node.commit();
  for (const LogPosition& at : positions) EXPECT_EQ(node.journal->hash_at(at.lsn).value(), at.hash);
  EXPECT_EQ(node.journal->hash_at(Lsn{31}).error().code, JournalErrorCode::not_found);
}

TEST(Journal, StandbyStoresTheSameBytes) {
  MemoryDisk live_disk("live");
  MemoryDisk standby_disk("standby");
  Node live(live_disk);
  Node standby(standby_disk, {.node = "standby"}, 2);
  for (int i = 0; i < 50; ++i) live.append(std::string(5000, 's') + std::to_string(i));
  live.commit();
  Lsn next{1};
  while (next <= live.journal->durable().lsn) {
    Buffer raw;
    next = live.journal->read(next, Lsn{UINT64_MAX}, 20'000, raw).value();
    ASSERT_TRUE(standby.journal->write_raw(raw));
  }
  ASSERT_TRUE(standby.journal->sync());
  EXPECT_EQ(standby.journal->durable(), live.journal->durable());
  EXPECT_EQ(standby.read_bodies(), live.read_bodies());
  EXPECT_NE(standby.journal->incarnation(), live.journal->incarnation());
}

TEST(Journal, WriteRawRefusesWhatDoesNotContinueTheLogAndLeavesItAsItWas) {
  MemoryDisk disk;
  Node node(disk);
  node.append("common");
  node.commit();
  const LogPosition end = node.log->end();

  LogBuilder gap({Lsn{2}, end.hash}, Epoch{1});
  gap.append(RecordType::message_stored, as_bytes("gap"));
  EXPECT_EQ(node.journal->write_raw(gap.gathering().bytes).error().code, JournalErrorCode::diverged);

  LogBuilder fork({Lsn{1}, end.hash + 1}, Epoch{1});
  fork.append(RecordType::message_stored, as_bytes("fork"));
  EXPECT_EQ(node.journal->write_raw(fork.gathering().bytes).error().code, JournalErrorCode::diverged);

  LogBuilder older(end, Epoch{0});
  older.append(RecordType::message_stored, as_bytes("older epoch"));
  EXPECT_EQ(node.journal->write_raw(older.gathering().bytes).error().code, JournalErrorCode::diverged);

  LogBuilder good(end, Epoch{1});
  good.append(RecordType::message_stored, as_bytes("good"));
  good.append(RecordType::message_stored, as_bytes("bad"));
  Buffer damaged = good.gathering().bytes;
  damaged[damaged.size() - 8] ^= std::byte{1};
  EXPECT_EQ(node.journal->write_raw(damaged).error().code, JournalErrorCode::corrupt);
  damaged.resize(damaged.size() - 8);
  EXPECT_EQ(node.journal->write_raw(damaged).error().code, JournalErrorCode::corrupt) << "half a record";

  EXPECT_EQ(node.journal->written(), end) << "nothing was written";
  EXPECT_TRUE(node.journal->write_raw(good.gathering().bytes));
  EXPECT_EQ(node.journal->written(), good.end());
}

TEST(Journal, SecondOpenOfADirectoryIsLocked) {
  MemoryDisk disk;
  Node node(disk);
  SeededRandom random(1);
  const auto second = Journal::open(disk, "", {}, random, {}, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, JournalErrorCode::locked);
}

TEST(Journal, DirectoryOfAnotherNodeOrClusterIsForeign) {
  MemoryDisk disk;
  SeededRandom random(1);
  const Uuid cluster = random.uuid();
  { Node node(disk, {.cluster = cluster, .node = "a"}); }
  const auto other_node = Journal::open(disk, "", {.node = "b"}, random, {}, {});
  ASSERT_FALSE(other_node);
  EXPECT_EQ(other_node.error().code, JournalErrorCode::foreign);
  EXPECT_THAT(other_node.error().what, HasSubstr("belongs to node \"a\", not to \"b\""));
  const auto other_cluster = Journal::open(disk, "", {.cluster = random.uuid(), .node = "a"}, random, {}, {});
  ASSERT_FALSE(other_cluster);
  EXPECT_EQ(other_cluster.error().code, JournalErrorCode::foreign);
  const auto any = Journal::open(disk, "", {}, random, {}, {});
  ASSERT_TRUE(any);
  EXPECT_EQ((*any)->cluster(), cluster);
  EXPECT_EQ((*any)->node(), "a");
}

TEST(Journal, FailedSyncIsFinal) {
  MemoryDisk disk;
  Node node(disk);
  node.append("acknowledged");
  node.commit();
  node.append("lost");
  node.write();
  disk.fail_next_sync();
  EXPECT_EQ(node.journal->sync().error().code, JournalErrorCode::sync_failed);
  EXPECT_EQ(node.journal->sync().error().code, JournalErrorCode::sync_failed) << "never retried";
  node.append("later");
  EXPECT_EQ(node.journal->write(node.log->take()).error().code, JournalErrorCode::sync_failed);
  EXPECT_EQ(node.journal->prepare_spare().error().code, JournalErrorCode::sync_failed);
  EXPECT_EQ(node.journal->store_checkpoint(Lsn{1}, {}).error().code, JournalErrorCode::sync_failed);
  EXPECT_EQ(node.journal->durable().lsn.value, 1U);
}

TEST(Journal, RestartAfterAFailedSyncDoesNotTrustThePageCache) {
  // After a failed sync Linux still reads the pages but counts them as clean: a later sync succeeds and makes
  // nothing durable. Recovery must write again what it lets count.
  MemoryDisk disk;
  {
    Node node(disk);
    node.append("acknowledged");
    node.commit();
    node.append("in the page cache only");
    node.write();
    disk.fail_next_sync();
    ASSERT_FALSE(node.journal->sync());
  }
  disk.kill();
  {
    Node node(disk);
    ASSERT_EQ(node.bodies.size(), 2U);
  }
  disk.crash_losing_unsynced();
  Node node(disk);
  EXPECT_EQ(node.bodies.size(), 2U) << "what recovery reported as the log's end is durable";
}

TEST(Journal, RoomIsHonouredWhateverTheLengthsOfRecords) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRandom random(seed);
    MemoryDisk disk;
    JournalOptions options;
    options.spare_segments = static_cast<std::uint32_t>(random.between(1, 4));
    options.record_bytes_max = random.between(64, 60'000);
    Node node(disk, options);
    for (std::uint64_t n = random.below(6); n > 0; --n) node.append(std::string(random.below(20'000), 'f'));
    node.commit();
    for (std::uint64_t n = random.below(5); n > 0; --n) ASSERT_TRUE(node.journal->prepare_spare());
    const std::uint64_t creates = disk.counters().creates;
    disk.set_capacity(0);  // nothing can be allocated any more
    std::uint64_t left = node.journal->room();
    const std::uint64_t longest =
        std::min<std::uint64_t>(options.record_bytes_max & ~7ULL, segment_capacity(64 << 10) & ~7ULL);
    while (left >= 64) {
      const std::uint64_t bytes =
          random.chance(1, 2) ? std::min(left, longest) : random.between(56, std::min(left, longest));
      const std::size_t body = static_cast<std::size_t>((bytes & ~7ULL) - kRecordHeaderBytes);
      node.append(std::string(body, 'r'));
      left -= record_bytes(body);
      if (random.chance(1, 4)) node.commit();
    }
    node.commit();
    EXPECT_EQ(disk.counters().creates, creates);
  }
}

TEST(Journal, DiskFullLeavesTheLogAsItWasAndWritesWithinRoomStillWork) {
  MemoryDisk disk;
  Node node(disk);
  node.append("start");
  node.commit();
  disk.set_capacity(disk.used_bytes() + 1000);
  EXPECT_EQ(node.journal->prepare_spare().error().code, JournalErrorCode::disk_full);
  const LogPosition before = node.journal->written();
  const auto paths = disk.paths();
  LogBuilder rejected(before, Epoch{1});
  for (int i = 0; i < 100; ++i) rejected.append(RecordType::message_stored, as_bytes(std::string(1000, 'p')));
  const Batch batch = rejected.take();
  const auto refused = node.journal->write(batch);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, JournalErrorCode::disk_full);
  EXPECT_THAT(refused.error().what, HasSubstr("Free space"));
  EXPECT_EQ(node.journal->written(), before);
  EXPECT_EQ(disk.paths(), paths) << "no leftovers hold space";
  EXPECT_EQ(node.journal->write_raw(batch.bytes).error().code, JournalErrorCode::disk_full);

  for (int i = 0; i < 100; ++i) node.append("settlement");
  node.commit();
  disk.set_capacity(UINT64_MAX);
  EXPECT_TRUE(node.journal->prepare_spare().value());
  EXPECT_FALSE(node.journal->prepare_spare().value()) << "one spare was asked for";
  node.append(std::string(50'000, 'n'));
  node.append(std::string(50'000, 'n'));
  node.commit();
  EXPECT_EQ(node.read_bodies().size(), 103U);
}

TEST(Journal, RemoveBeforeDropsWholeSegmentsButKeepsWhatCheckpointsReplay) {
  MemoryDisk disk;
  Node node(disk);
  for (int i = 0; i < 60; ++i) node.append(std::string(9000, 'q'));
  node.commit();
  const std::size_t all = node.segments();
  ASSERT_TRUE(node.journal->remove_before(Lsn{60}));
  EXPECT_EQ(node.segments(), all) << "without a checkpoint everything is needed";
  ASSERT_TRUE(node.journal->store_checkpoint(Lsn{20}, as_bytes("twenty")));
  ASSERT_TRUE(node.journal->store_checkpoint(Lsn{40}, as_bytes("forty")));
  ASSERT_TRUE(node.journal->remove_before(Lsn{60}));
  EXPECT_LT(node.segments(), all);
  Buffer raw;
  EXPECT_EQ(node.journal->read(Lsn{1}, Lsn{60}, 0, raw).error().code, JournalErrorCode::not_found);
  EXPECT_TRUE(node.journal->read(Lsn{21}, Lsn{60}, 0, raw)) << "the older checkpoint can still be replayed";
  EXPECT_EQ(node.journal->hash_at(Lsn{3}).error().code, JournalErrorCode::not_found);
  node.reset();
  disk.crash_losing_unsynced();

  SeededRandom random(1);
  const auto none = Journal::open(disk, "", {.segment_bytes = 64 << 10}, random, {}, {});
  ASSERT_FALSE(none) << "state cannot be built from the middle of a log";
  EXPECT_EQ(none.error().code, JournalErrorCode::not_found);
  const auto checkpoint = Journal::load_checkpoint(disk, "").value();
  EXPECT_EQ(checkpoint.lsn.value, 40U);
  EXPECT_EQ(as_text(checkpoint.state), "forty");
  std::uint64_t replayed = 0;
  const auto journal =
      Journal::open(disk, "", {.segment_bytes = 64 << 10}, random, checkpoint.lsn, [&](const Record& record) {
        ++replayed;
        EXPECT_EQ(record.header.lsn.value, 40 + replayed);
      });
  ASSERT_TRUE(journal) << journal.error().what;
  EXPECT_EQ(replayed, 20U);
  const Lsn first = (*journal)->recovery().first;
  EXPECT_GT(first.value, 1U);
  EXPECT_TRUE((*journal)->hash_at(Lsn{first.value - 1})) << "the header knows the hash before the segment";
}

TEST(Journal, DamagedCheckpointIsSkippedAndTwoAreKept) {
  MemoryDisk disk;
  Node node(disk);
  for (int i = 0; i < 9; ++i) node.append("x");
  node.commit();
  for (const std::uint64_t lsn : {3U, 5U, 7U}) {
    ASSERT_TRUE(node.journal->store_checkpoint(Lsn{lsn}, as_bytes("state at " + std::to_string(lsn))));
  }
  EXPECT_FALSE(disk.exists("checkpoint-00000000000000000003"));
  EXPECT_EQ(as_text(Journal::load_checkpoint(disk, "")->state), "state at 7");
  disk.flip("checkpoint-00000000000000000007", 66);  // in the state
  EXPECT_EQ(as_text(Journal::load_checkpoint(disk, "")->state), "state at 5");
  disk.flip("checkpoint-00000000000000000005", 20);  // in the head
  EXPECT_EQ(Journal::load_checkpoint(disk, "")->lsn.value, 0U);
  EXPECT_EQ(Journal::load_checkpoint(disk, "nowhere")->lsn.value, 0U);
}

TEST(Journal, OlderCheckpointsAreGivenToWhoCannotUseTheNewest) {
  MemoryDisk disk;
  Node node(disk);
  for (int i = 0; i < 9; ++i) node.append("x");
  node.commit();
  const std::string large(9 << 20, 'L');  // stored in pieces
  ASSERT_TRUE(node.journal->store_checkpoint(Lsn{5}, as_bytes(large)));
  ASSERT_TRUE(node.journal->store_checkpoint(Lsn{7}, as_bytes("seven")));
  disk.crash_losing_unsynced();
  EXPECT_EQ(as_text(Journal::load_checkpoint(disk, "", 0)->state), "seven");
  EXPECT_TRUE(as_text(Journal::load_checkpoint(disk, "", 1)->state) == large);
  EXPECT_EQ(Journal::load_checkpoint(disk, "", 2)->lsn, Lsn{});
  disk.flip("checkpoint-00000000000000000007", 66);
  EXPECT_EQ(Journal::load_checkpoint(disk, "", 0)->lsn, Lsn{5}) << "damaged ones do not count";
  EXPECT_EQ(Journal::load_checkpoint(disk, "", 1)->lsn, Lsn{});
}

TEST(Journal, MarkIsOutOfTheCommitsWayAndOneSyncLate) {
  MemoryDisk disk;
  Node node(disk);
  node.append("first");
  ASSERT_TRUE(node.journal->write_and_sync(node.log->take()));
  auto before = disk.counters();
  ASSERT_TRUE(node.journal->note_durable());
  ASSERT_TRUE(node.journal->note_durable()) << "nothing is left to note";
  EXPECT_EQ(disk.counters().writes - before.writes, 1U);
  EXPECT_EQ(disk.counters().syncs, before.syncs);
  before = disk.counters();
  node.append("second");
  ASSERT_TRUE(node.journal->write_and_sync(node.log->take()));
  EXPECT_EQ(disk.counters().writes - before.writes, 1U) << "records only";
  EXPECT_EQ(disk.counters().syncs - before.syncs, 1U);
  node.reset();
  disk.crash_losing_unsynced();  // nobody noted the second: the first one's mark is durable all the same
  disk.flip(segment_path(1), kRecordsAt + 50);
  const auto damaged = Journal::open(disk, "", small_segments(), node.random, {}, [](const Record&) {});
  ASSERT_FALSE(damaged) << "acknowledged, then damaged: not a torn tail";
  EXPECT_EQ(damaged.error().code, JournalErrorCode::corrupt);
}

TEST(Journal, FailureToNoteWhatIsDurableIsFinal) {
  MemoryDisk disk;
  Node node(disk);
  node.append("first");
  ASSERT_TRUE(node.journal->write_and_sync(node.log->take()));
  disk.fail_next_write();
  EXPECT_FALSE(node.journal->note_durable());
  node.append("second");
  EXPECT_FALSE(node.journal->write_and_sync(node.log->take()));
}

TEST(Journal, CommitInOneCallIsTwoWritesAndOneSync) {
  MemoryDisk disk;
  Node node(disk);
  node.append("warm up");
  node.commit();
  for (int i = 0; i < 20; ++i) {
    node.append("payment");
    const auto before = disk.counters();
    ASSERT_TRUE(node.journal->write_and_sync(node.log->take()));
    EXPECT_EQ(disk.counters().writes - before.writes, 2U) << "mark of the commit before, records";
    EXPECT_EQ(disk.counters().syncs - before.syncs, 1U);
    EXPECT_EQ(disk.counters().mutations - before.mutations, 3U);
    EXPECT_EQ(node.journal->durable(), node.log->end());
  }
}

TEST(Journal, ReadNoticesRotThatCameAfterOpening) {
  MemoryDisk disk;
  Node node(disk);
  node.append("sound");
  node.append("rotten");
  node.commit();
  disk.flip(segment_path(1), 8192 + record_bytes(5) + 50);
  Buffer raw;
  EXPECT_TRUE(node.journal->read(Lsn{1}, Lsn{1}, 1000, raw));
  raw.clear();
  const auto bad = node.journal->read(Lsn{1}, Lsn{2}, 1000, raw);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, JournalErrorCode::corrupt);
  EXPECT_THAT(bad.error().what, HasSubstr("LSN 2"));
  EXPECT_TRUE(raw.empty());
}

TEST(Journal, DurableRecordsAreReadWhileOthersAreWritten) {
  MemoryDisk disk;
  Node node(disk);
  node.append("first");
  node.commit();
  std::atomic<bool> done = false;
  std::atomic<std::uint64_t> reads = 0;
  std::thread reader([&] {
    SeededRandom random(7);
    Buffer raw;
    while (!done.load() || reads.load() == 0) {
      const Lsn end = node.journal->durable().lsn;
      const Lsn from{random.between(1, end.value)};
      raw.clear();
      const auto next = node.journal->read(from, end, 30'000, raw);
      EXPECT_TRUE(next) << next.error().what;
      Record record;
      EXPECT_EQ(decode_record(raw, record), DecodeStatus::ok);
      EXPECT_EQ(record.header.lsn, from);
      EXPECT_EQ(node.journal->hash_at(from).value(), record.header.checksum);
      ++reads;
    }
  });
  for (int i = 0; i < 300; ++i) {
    node.append(std::string(2000, 'w'));
    if (i % 5 == 0) node.commit();
    if (i % 50 == 0) {
      EXPECT_TRUE(node.journal->prepare_spare());
    }
  }
  node.commit();
  done = true;
  reader.join();
}

TEST(JournalDeathTest, BatchThatDoesNotContinueTheLogIsOurBug) {
  MemoryDisk disk;
  Node node(disk);
  LogBuilder wrong({Lsn{5}, 17}, Epoch{1});
  wrong.append(RecordType::message_stored, as_bytes("x"));
  const Batch batch = wrong.take();
  EXPECT_DEATH(static_cast<void>(node.journal->write(batch)), "order in which they were built");
}

}  // namespace
}  // namespace mainstay::journal
