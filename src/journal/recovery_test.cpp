// Recovery, replication-protocol R10: a torn tail is cut into quarantine, damage to what was durable is
// refused, and every file a crash may leave behind is understood. D10.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/checksum.h"
#include "base/memory_disk.h"
#include "journal/format.h"
#include "journal/journal.h"
#include "journal/journal_test_support.h"

namespace mainstay::journal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

using Opened = Result<std::unique_ptr<Journal>, JournalError>;

Opened open_small(MemoryDisk& disk) {
  SeededRandom random(1);
  return Journal::open(disk, "", small_segments(), random, {}, {});
}

std::map<std::string, Buffer> all_files(const MemoryDisk& disk) {
  std::map<std::string, Buffer> out;
  for (const std::string& path : disk.paths()) out[path] = disk.contents(path);
  return out;
}

std::vector<std::string> quarantined(const MemoryDisk& disk) {
  std::vector<std::string> out;
  for (const std::string& path : disk.paths()) {
    if (path.starts_with("quarantine/")) out.push_back(path);
  }
  return out;
}

/// Expects open() to refuse with this message part and to leave every file as it was; verify() to agree.
void expect_refused(MemoryDisk& disk, JournalErrorCode code, const std::string& message) {
  const auto before = all_files(disk);
  const Opened opened = open_small(disk);
  ASSERT_FALSE(opened) << "should have been refused for: " << message;
  EXPECT_EQ(opened.error().code, code) << opened.error().what;
  EXPECT_THAT(opened.error().what, HasSubstr(message));
  EXPECT_TRUE(all_files(disk) == before) << "a refused directory is left as it was";
  const VerifyReport report = verify(disk, "");
  EXPECT_FALSE(report.ok);
  EXPECT_THAT(report.problems, Not(IsEmpty()));
}

/// A journal of these bodies, each committed on its own, closed. With the last mark durable.
void make_journal(MemoryDisk& disk, const std::vector<std::string>& bodies) {
  Node node(disk);
  for (const std::string& body : bodies) {
    node.append(body);
    node.commit();
  }
  ASSERT_TRUE(node.journal->sync()) << "idle: makes the last mark durable";
}

std::uint64_t offset_of(const std::vector<std::string>& bodies, std::size_t index) {
  std::uint64_t at = kRecordsAt;
  for (std::size_t i = 0; i < index; ++i) at += record_bytes(bodies[i].size());
  return at;
}

// --- Torn tails

TEST(JournalRecovery, TornTailIsCutOffAndEarlierRecordsSurvive) {
  MemoryDisk disk;
  make_journal(disk, {"one", "two"});
  {
    Node node(disk);
    node.append(std::string(3000, 't'));
    node.write();
  }
  disk.kill();
  const std::uint64_t begin = offset_of({"one", "two"}, 2);
  disk.flip(segment_path(1), begin + 2000);
  const Buffer before = disk.contents(segment_path(1));
  {
    Node node(disk);
    EXPECT_THAT(node.bodies, ElementsAre("one", "two"));
    const RecoveryReport& report = node.journal->recovery();
    EXPECT_EQ(report.torn_bytes, kRecordHeaderBytes + 3000);
    EXPECT_EQ(report.quarantine_file,
              "quarantine/" + segment_path(1) + "-offset-" + std::to_string(begin) + "-1");
    const Buffer cut = disk.contents(report.quarantine_file);
    EXPECT_TRUE(std::equal(cut.begin(), cut.end(), before.begin() + static_cast<std::ptrdiff_t>(begin)));
    node.append("three");
    node.commit();
  }
  disk.crash_losing_unsynced();
  Node node(disk);
  EXPECT_THAT(node.bodies, ElementsAre("one", "two", "three"));
  EXPECT_EQ(node.journal->recovery().torn_bytes, 0U);
  EXPECT_EQ(quarantined(disk).size(), 1U) << "quarantine is durable and stays";
}

TEST(JournalRecovery, HoleInABatchThatWasNeverSyncedIsATornTail) {
  MemoryDisk disk;
  make_journal(disk, {"durable"});
  {
    Node node(disk);
    for (int i = 0; i < 5; ++i) node.append(std::string(1000, static_cast<char>('a' + i)));
    node.write();
  }
  disk.kill();
  disk.flip(segment_path(1), offset_of({"durable"}, 1) + 60);  // first of the five: four whole ones follow
  Node node(disk);
  EXPECT_THAT(node.bodies, ElementsAre("durable"));
  EXPECT_EQ(node.journal->recovery().torn_records, 4U);
  EXPECT_GT(node.journal->recovery().torn_bytes, 4000U);
}

TEST(JournalRecovery, TailWhoseFirstSectorIsLostIsFoundBehindTheZeros) {
  MemoryDisk disk;
  make_journal(disk, {"durable"});
  Buffer content = disk.contents(segment_path(1));
  content[30'000] = std::byte{7};
  disk.put(segment_path(1), content);
  Node node(disk);
  EXPECT_GT(node.journal->recovery().torn_bytes, 10'000U);
  EXPECT_TRUE(all_zero(BytesView(disk.contents(segment_path(1))).subspan(offset_of({"durable"}, 1))));
}

TEST(JournalRecovery, WholeRecordsBehindTheMarkAreKeptThoughNobodySyncedThem) {
  MemoryDisk disk;
  {
    Node node(disk);
    node.append("durable");
    node.commit();
    node.append("written");
    node.write();
  }
  disk.kill();
  { EXPECT_THAT(Node(disk).bodies, ElementsAre("durable", "written")); }
  disk.crash_losing_unsynced();
  EXPECT_THAT(Node(disk).bodies, ElementsAre("durable", "written")) << "recovery made them durable";
}

// --- Damage to what was durable

TEST(JournalRecovery, DamageInAnyByteOfADurableRecordIsRefused) {
  const std::vector<std::string> bodies{"first payment", "second payment", "third payment"};
  for (std::size_t victim = 0; victim < bodies.size(); ++victim) {
    MemoryDisk disk;
    make_journal(disk, bodies);
    const std::uint64_t begin = offset_of(bodies, victim);
    for (std::uint64_t at = begin; at < begin + record_bytes(bodies[victim].size()); ++at) {
      SCOPED_TRACE("record " + std::to_string(victim + 1) + " byte " + std::to_string(at - begin));
      disk.flip(segment_path(1), at, 0x10);
      expect_refused(disk, JournalErrorCode::corrupt,
                     "memory/" + segment_path(1) + ", offset " + std::to_string(begin) + ", LSN " +
                         std::to_string(victim + 1) + ": ");
      disk.flip(segment_path(1), at, 0x10);
    }
    EXPECT_EQ(Node(disk).bodies, bodies) << "flipped back it opens";
  }
}

TEST(JournalRecovery, RefusalSaysWhatFollowsAndWhatToDo) {
  MemoryDisk disk;
  make_journal(disk, {"a", "b", "c"});
  disk.flip(segment_path(1), offset_of({"a", "b", "c"}, 1) + 20);
  expect_refused(disk, JournalErrorCode::corrupt, "the next whole record is LSN 3");
  expect_refused(disk, JournalErrorCode::corrupt, "restore this node from its standby or backup");
  expect_refused(disk, JournalErrorCode::corrupt, "mainstay verify");
}

TEST(JournalRecovery, DurableRecordsZeroedAreRefusedNotTakenForTheEnd) {
  MemoryDisk disk;
  make_journal(disk, {"a", "b"});
  Buffer content = disk.contents(segment_path(1));
  std::fill(content.begin() + kRecordsAt, content.end(), std::byte{0});
  disk.put(segment_path(1), content);
  expect_refused(disk, JournalErrorCode::corrupt, "nothing is written there, but this record was durable");
}

TEST(JournalRecovery, DamageBeforeALaterSegmentIsRefusedEvenWithoutAMark) {
  MemoryDisk disk;
  {
    Node node(disk);
    for (int i = 0; i < 12; ++i) node.append(std::string(10'000, 'x'));
    node.commit();
    ASSERT_GE(node.segments(), 2U);
  }
  Buffer content = disk.contents(segment_path(1));
  std::fill(content.begin() + kMarksAt, content.begin() + kRecordsAt, std::byte{0});
  disk.put(segment_path(1), content);
  ASSERT_TRUE(open_small(disk));
  disk.flip(segment_path(1), kRecordsAt + 4 * record_bytes(10'000) + 5'000);  // its last record
  expect_refused(disk, JournalErrorCode::corrupt, "the next segment goes on behind it");
}

TEST(JournalRecovery, DamagedMarksNeverRefuseASoundLog) {
  MemoryDisk disk;
  make_journal(disk, {"a", "b"});
  for (std::uint64_t at = kMarksAt; at < kRecordsAt; at += 8) disk.flip(segment_path(1), at, 0xff);
  EXPECT_THAT(Node(disk).bodies, ElementsAre("a", "b"));
}

TEST(JournalRecovery, DamagedHeaderPageIsRefusedWhereverItIsHit) {
  MemoryDisk disk;
  make_journal(disk, {"a"});
  for (std::uint64_t at = 0; at < kPageBytes; at += (at < 128 ? 1 : 97)) {
    disk.flip(segment_path(1), at);
    expect_refused(disk, JournalErrorCode::corrupt, "header page is damaged");
    disk.flip(segment_path(1), at);
  }
}

TEST(JournalRecovery, MissingSegmentIsRefused) {
  MemoryDisk disk;
  std::vector<std::string> segments;
  {
    Node node(disk);
    for (int i = 0; i < 30; ++i) node.append(std::string(10'000, 'x'));
    node.commit();
  }
  for (const std::string& path : disk.paths()) {
    if (path.starts_with("segment-")) segments.push_back(path);
  }
  ASSERT_GE(segments.size(), 4U);
  const Buffer second = disk.contents(segments[1]);
  disk.erase(segments[1]);
  expect_refused(disk, JournalErrorCode::corrupt, "are missing: they are lost, or a segment file is");
  disk.put(segments[1], second);
  const Buffer first = disk.contents(segments[0]);
  disk.erase(segments[0]);
  const Opened beheaded = open_small(disk);
  ASSERT_FALSE(beheaded);
  EXPECT_EQ(beheaded.error().code, JournalErrorCode::not_found);
  disk.put(segments[0], first);
  for (const std::string& path : segments) disk.erase(path);
  expect_refused(disk, JournalErrorCode::corrupt, "segment files are gone");
}

TEST(JournalRecovery, ShortenedOrMisnamedSegmentIsRefused) {
  MemoryDisk disk;
  make_journal(disk, {"a"});
  const Buffer content = disk.contents(segment_path(1));
  disk.put(segment_path(1), BytesView(content).first(40'000));
  expect_refused(disk, JournalErrorCode::corrupt, "its header says 65536");
  disk.erase(segment_path(1));
  disk.put(segment_path(2), content);
  expect_refused(disk, JournalErrorCode::corrupt, "its header says that it starts with LSN 1");
}

TEST(JournalRecovery, LogThatEndsBeforeItsCheckpointIsRefused) {
  MemoryDisk disk;
  {
    Node node(disk);
    for (int i = 0; i < 3; ++i) node.append("x");
    node.commit();
    ASSERT_TRUE(node.journal->store_checkpoint(Lsn{3}, as_bytes("state")));
  }
  disk.crash_losing_unsynced();  // the mark is lost, the checkpoint is not
  disk.flip(segment_path(1), kRecordsAt + 2 * record_bytes(1) + 20);
  expect_refused(disk, JournalErrorCode::corrupt, "the log ends at LSN 2, before this checkpoint");
}

TEST(JournalRecovery, CheckpointOfAnotherHistoryIsRefused) {
  MemoryDisk disk;
  MemoryDisk other;
  for (MemoryDisk* each : {&disk, &other}) {
    Node node(*each);
    node.append(each == &disk ? "one history" : "another");
    node.commit();
    ASSERT_TRUE(node.journal->store_checkpoint(Lsn{1}, as_bytes("state")));
  }
  const std::string checkpoint = checkpoint_name(Lsn{1});
  disk.put(checkpoint, other.contents(checkpoint));
  expect_refused(disk, JournalErrorCode::corrupt, "another history");
}

TEST(JournalRecovery, SegmentOfAnotherJournalIsForeign) {
  MemoryDisk disk;
  MemoryDisk other;
  make_journal(disk, {"a"});
  { Node node(other, {}, 99); }
  disk.put(segment_path(2), other.contents(segment_path(1)));
  expect_refused(disk, JournalErrorCode::foreign, "Move the file out of the directory");
}

TEST(JournalRecovery, NewerFormatIsRefusedByName) {
  for (const std::string& path : {superblock_name(0), superblock_name(1), segment_path(1)}) {
    MemoryDisk disk;
    make_journal(disk, {"a"});
    Buffer content = disk.contents(path);
    store_le(content.data() + 4, kFormatVersion + 1);
    store_le(content.data() + 8, checksum64(BytesView(content).subspan(16, kPageBytes - 16),
                                            load_le<std::uint64_t>(content.data())));
    disk.put(path, content);
    expect_refused(disk, JournalErrorCode::format_too_new, "Start the newer release on this directory");
  }
}

// --- The superblock

TEST(JournalRecovery, OneDamagedSuperblockIsRestoredFromTheOther) {
  for (unsigned copy = 0; copy < 2; ++copy) {
    MemoryDisk disk;
    make_journal(disk, {"a"});
    const Buffer sound = disk.contents(superblock_name(copy));
    disk.flip(superblock_name(copy), 33);
    EXPECT_FALSE(verify(disk, "").ok);
    EXPECT_THAT(Node(disk).bodies, ElementsAre("a"));
    EXPECT_EQ(disk.contents(superblock_name(copy)), sound);
    disk.erase(superblock_name(copy));
    EXPECT_THAT(Node(disk).bodies, ElementsAre("a"));
    EXPECT_EQ(disk.durable_contents(superblock_name(copy)), sound);
  }
}

TEST(JournalRecovery, NoReadableSuperblockIsRefused) {
  MemoryDisk disk;
  make_journal(disk, {"a"});
  disk.flip(superblock_name(0), 0);
  disk.flip(superblock_name(1), 5);
  expect_refused(disk, JournalErrorCode::corrupt, "no superblock can be read");
  disk.erase(superblock_name(0));
  disk.erase(superblock_name(1));
  expect_refused(disk, JournalErrorCode::corrupt, "no superblock");
}

// --- Odd files

TEST(JournalRecovery, UnfinishedFilesAreRemovedAndStrangersAreLeftAlone) {
  MemoryDisk disk;
  make_journal(disk, {"a"});
  for (const char* name : {"spare-9.log.new", "superblock-0.new", "checkpoint-00000000000000000001.new"}) {
    disk.put(name, as_bytes("half"));
  }
  for (const char* name : {"notes.txt", "segment-1.log", "segment-x.log.bak", "quarantine/old"}) {
    disk.put(name, as_bytes("stranger"));
  }
  EXPECT_THAT(Node(disk).bodies, ElementsAre("a"));
  EXPECT_FALSE(disk.exists("spare-9.log.new"));
  EXPECT_FALSE(disk.exists("superblock-0.new"));
  EXPECT_FALSE(disk.exists("checkpoint-00000000000000000001.new"));
  EXPECT_TRUE(disk.exists("notes.txt"));
  EXPECT_TRUE(disk.exists("segment-1.log"));
  EXPECT_TRUE(disk.exists("quarantine/old"));
}

TEST(JournalRecovery, SparesAreUsedAgainWhateverIsInThem) {
  MemoryDisk disk;
  make_journal(disk, {"a"});
  {
    Node node(disk);
    ASSERT_TRUE(node.journal->prepare_spare());
  }
  std::string spare;
  for (const std::string& path : disk.paths()) {
    if (path.starts_with("spare-")) spare = path;
  }
  ASSERT_FALSE(spare.empty());
  // A crash between writing a spare's header and renaming it: the old header and mark must not matter.
  Buffer begun = disk.contents(segment_path(1));
  std::fill(begun.begin() + kRecordsAt, begun.end(), std::byte{0});
  disk.put(spare, begun);
  disk.put("spare-77.log", Buffer(64 << 10));  // two spares where one is asked for
  disk.put("spare-78.log", Buffer(1000));      // of another size: useless
  Node node(disk);
  EXPECT_FALSE(disk.exists("spare-78.log"));
  EXPECT_FALSE(node.journal->prepare_spare().value());
  const std::uint64_t creates = disk.counters().creates;
  for (int i = 0; i < 12; ++i) node.append(std::string(10'000, 's'));
  node.commit();
  EXPECT_EQ(disk.counters().creates, creates) << "both spares were used";
  EXPECT_EQ(node.read_bodies().size(), 13U);
  ASSERT_TRUE(node.journal->prepare_spare().value());
  EXPECT_TRUE(disk.exists("spare-79.log")) << "numbers go on behind the highest";
}

TEST(JournalRecovery, SegmentWithHeaderButNoRecordsIsUsed) {
  MemoryDisk disk;
  { Node node(disk); }
  EXPECT_TRUE(disk.exists(segment_path(1)));
  Node node(disk);
  EXPECT_TRUE(node.bodies.empty());
  node.append("a");
  node.commit();
  EXPECT_EQ(node.segments(), 1U);
}

TEST(JournalRecovery, NewestSegmentWithoutHeaderOrRecordsIsSetAside) {
  for (const bool blank : {true, false}) {
    MemoryDisk disk;
    make_journal(disk, {"a", "b"});
    Buffer content(64 << 10);
    if (!blank) content[100] = std::byte{1};
    disk.put(segment_path(3), content);
    Node node(disk);
    EXPECT_THAT(node.bodies, ElementsAre("a", "b"));
    EXPECT_FALSE(disk.exists(segment_path(3)));
    EXPECT_EQ(quarantined(disk).size(), blank ? 0U : 1U) << "zeros need no keeping";
  }
}

TEST(JournalRecovery, EmptyDirectoryOrUnfinishedCreationIsANewJournal) {
  MemoryDisk disk;
  disk.put("superblock-0.new", as_bytes("half"));
  Node node(disk);
  EXPECT_EQ(node.journal->recovery().end, LogPosition{});
  EXPECT_EQ(node.journal->recovery().first.value, 1U);
}

TEST(JournalRecovery, SecondCutAtTheSamePlaceKeepsBothCopies) {
  MemoryDisk disk;
  make_journal(disk, {"a"});
  for (int round = 1; round <= 2; ++round) {
    Buffer content = disk.contents(segment_path(1));
    content[offset_of({"a"}, 1)] = std::byte{1};
    disk.put(segment_path(1), content);
    Node node(disk);
    EXPECT_EQ(quarantined(disk).size(), static_cast<std::size_t>(round));
  }
}

TEST(JournalRecovery, DiskFullWhileCuttingIsToldAndNothingIsCut) {
  MemoryDisk disk;
  make_journal(disk, {"a"});
  Buffer content = disk.contents(segment_path(1));
  content[offset_of({"a"}, 1)] = std::byte{1};
  disk.put(segment_path(1), content);
  disk.set_capacity(disk.used_bytes());
  const Opened opened = open_small(disk);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, JournalErrorCode::disk_full);
  EXPECT_EQ(disk.contents(segment_path(1)), content);
  disk.set_capacity(UINT64_MAX);
  EXPECT_THAT(Node(disk).bodies, ElementsAre("a"));
}

// --- verify

TEST(JournalVerify, SoundJournalIsOkAndNothingIsChanged) {
  MemoryDisk disk;
  {
    Node node(disk);
    for (int i = 0; i < 30; ++i) node.append(std::string(9'000, 'v'));
    node.commit();
    ASSERT_TRUE(node.journal->store_checkpoint(Lsn{10}, as_bytes("state")));
    node.append("unsynced");
    node.write();
    const auto mutations = disk.counters().mutations;
    std::uint64_t seen = 0;
    const VerifyReport report = verify(disk, "", [&](const Record&) { ++seen; });  // while it is in use
    EXPECT_TRUE(report.ok) << report.problems.front();
    EXPECT_EQ(report.records, 31U);
    EXPECT_EQ(seen, 31U);
    EXPECT_EQ(report.first.value, 1U);
    EXPECT_EQ(report.end, node.log->end());
    EXPECT_EQ(report.segments, node.segments());
    EXPECT_EQ(disk.counters().mutations, mutations);
  }
  EXPECT_FALSE(verify(disk, "nowhere").ok);
  MemoryDisk empty;
  EXPECT_FALSE(verify(empty, "").ok) << "no journal is no sound journal";
}

TEST(JournalVerify, TellsEveryDamageNotOnlyTheFirst) {
  MemoryDisk disk;
  const std::vector<std::string> bodies(10, std::string(500, 'd'));
  make_journal(disk, bodies);
  disk.flip(segment_path(1), offset_of(bodies, 2) + 100);
  disk.flip(segment_path(1), offset_of(bodies, 6) + 100);
  const VerifyReport report = verify(disk, "");
  ASSERT_EQ(report.problems.size(), 2U);
  EXPECT_THAT(report.problems[0], HasSubstr("LSN 3: "));
  EXPECT_THAT(report.problems[0], HasSubstr("the next whole record is LSN 4"));
  EXPECT_THAT(report.problems[1], HasSubstr("LSN 7: "));
  EXPECT_EQ(report.records, 8U);
}

TEST(JournalVerify, TornTailIsCountedAndIsNoProblem) {
  MemoryDisk disk;
  make_journal(disk, {"a"});
  Buffer content = disk.contents(segment_path(1));
  content[offset_of({"a"}, 1) + 99] = std::byte{1};
  disk.put(segment_path(1), content);
  const VerifyReport report = verify(disk, "");
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.torn_bytes, 100U);
}

}  // namespace
}  // namespace mainstay::journal
