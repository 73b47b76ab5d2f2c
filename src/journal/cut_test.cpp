// The end of a log that is taken back: the rest is exactly the prefix, what was cut is in quarantine whatever
// happens meanwhile, and nothing of it comes back when other records get its LSNs. H13, D10.
#include "journal/cut.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/memory_disk.h"
#include "journal/format.h"
#include "journal/journal_test_support.h"

namespace mainstay::journal {
namespace {

using testing::HasSubstr;

std::string body(std::uint64_t n, std::size_t bytes) {
  std::string text = std::to_string(n) + ":";
  text.resize(std::max(bytes, text.size()), static_cast<char>('a' + n % 26));
  return text;
}

/// A log and what was put into it.
struct Log {
  std::vector<std::string> bodies;     // by LSN - 1
  std::vector<LogPosition> positions;  // by LSN
  Lsn first{1};                        // the oldest there is

  [[nodiscard]] Lsn end() const { return Lsn{bodies.size()}; }
};

Log fill(MemoryDisk& disk, std::uint64_t records, std::size_t bytes) {
  Log log;
  Node node(disk);
  log.positions.push_back({});
  for (std::uint64_t n = 1; n <= records; ++n) {
    log.bodies.push_back(body(n, bytes));
    node.append(log.bodies.back());
    node.commit();
    log.positions.push_back(node.journal->durable());
  }
  return log;
}

/// A log whose newest segments lie over old records.
Log fill_recycled(MemoryDisk& disk) {
  Log log;
  Node node(disk, {.spare_segments = 2});
  log.positions.push_back({});
  const auto append = [&](std::size_t bytes) {
    log.bodies.push_back(body(log.bodies.size() + 1, bytes));
    node.append(log.bodies.back());
    node.commit();
    log.positions.push_back(node.journal->durable());
  };
  for (int i = 0; i < 30; ++i) append(9000);
  const Lsn end = node.journal->durable().lsn;
  EXPECT_TRUE(node.journal->store_checkpoint(Lsn{end.value - 1}, as_bytes("older")));
  EXPECT_TRUE(node.journal->store_checkpoint(end, as_bytes("newer")));
  EXPECT_TRUE(node.journal->remove_before(end));
  for (int i = 0; i < 18; ++i) append(i % 2 == 0 ? 5000 : 9000);
  while (log.first < log.end()) {
    Buffer raw;
    if (node.journal->read(log.first, log.first, 0, raw)) break;
    log.first = log.first.next();
  }
  return log;
}

Result<CutReport, JournalError> cut(MemoryDisk& disk, LogPosition to) {
  SeededRandom random(3);
  return cut_after(disk, "", small_segments(), random, to);
}

std::vector<std::string> bodies_of(BytesView raw) {
  std::vector<std::string> out;
  Record record;
  for (std::size_t at = 0; at < raw.size(); at += record.raw.size()) {
    EXPECT_EQ(decode_record(raw.subspan(at), record), DecodeStatus::ok);
    if (record.raw.empty()) break;
    out.emplace_back(as_text(record.body));
  }
  return out;
}

/// Opens from `log.first` on: LSN of the last record, after comparing all with what was put in.
Lsn check_prefix(MemoryDisk& disk, const Log& log) {
  SeededRandom random(4);
  std::uint64_t next = log.first.value;
  auto opened =
      Journal::open(disk, "", small_segments(), random, Lsn{log.first.value - 1}, [&](const Record& record) {
        EXPECT_EQ(record.header.lsn.value, next++);
        EXPECT_EQ(as_text(record.body), log.bodies[record.header.lsn.value - 1]);
      });
  EXPECT_TRUE(opened) << opened.error().what;
  if (!opened) return {};
  const LogPosition end = (*opened)->recovery().end;
  EXPECT_EQ(end, log.positions[end.lsn.value]);
  EXPECT_EQ(next, end.lsn.value + 1);
  opened->reset();
  const VerifyReport report = verify(disk, "");
  EXPECT_TRUE(report.ok) << report.problems.front();
  EXPECT_EQ(report.end, end);
  return end.lsn;
}

/// Writes other records over the place, ends the machine after each, and looks whether any of the old ones
/// shows.
void check_other_records_go_on(MemoryDisk& disk, Log log, Lsn from) {
  log.bodies.resize(from.value);
  log.positions.resize(from.value + 1);
  for (std::uint64_t n = 0; n < 6; ++n) {
    SeededRandom random(n + 7);
    auto opened = Journal::open(disk, "", small_segments(), random, Lsn{log.first.value - 1}, {});
    ASSERT_TRUE(opened) << opened.error().what;
    LogBuilder builder((*opened)->recovery().end, std::max((*opened)->recovery().epoch, Epoch{1}));
    if (n == 1) builder.start_epoch(Epoch{9});
    // As long as what stood there, so that the old record behind lies where a record may begin.
    log.bodies.push_back(body(1000 + n, log.bodies.empty() ? 9000 : log.bodies.back().size()));
    builder.append(RecordType::message_stored, as_bytes(log.bodies.back()));
    log.positions.push_back(builder.end());
    ASSERT_TRUE((*opened)->write_and_sync(builder.take()));
    opened->reset();
    disk.crash(random);
    ASSERT_EQ(check_prefix(disk, log), log.end()) << "record " << n;
  }
}

TEST(JournalCut, LeavesExactlyThePrefixAndKeepsTheRest) {
  for (const std::uint64_t to : {1U, 5U, 6U, 7U, 8U, 13U, 29U}) {
    SCOPED_TRACE(to);
    MemoryDisk disk;
    const Log log = fill(disk, 30, 9000);
    const auto done = cut(disk, log.positions[to]);
    ASSERT_TRUE(done) << done.error().what;
    EXPECT_EQ(done->records, 30 - to);
    const Buffer kept = disk.contents(done->quarantine_file);
    EXPECT_EQ(disk.durable_contents(done->quarantine_file), kept);
    EXPECT_EQ(done->bytes, kept.size());
    EXPECT_EQ(bodies_of(kept),
              std::vector(log.bodies.begin() + static_cast<std::ptrdiff_t>(to), log.bodies.end()));
    disk.crash_losing_unsynced();
    EXPECT_EQ(check_prefix(disk, log), Lsn{to});
    check_other_records_go_on(disk, log, Lsn{to});
  }
}

TEST(JournalCut, AtAnyPositionOfALogWithRecycledSegments) {
  std::uint64_t in_recycled = 0;
  std::uint64_t first_cut = 0;
  for (std::uint64_t back = 0; back <= 18; ++back) {
    MemoryDisk disk;
    const Log log = fill_recycled(disk);
    first_cut = log.end().value - back;
    SCOPED_TRACE(first_cut);
    for (const std::string& path : disk.paths()) {
      SegmentHeader header;
      if (path.starts_with("segment-") &&
          decode_segment_header(BytesView(disk.contents(path)).first(kPageBytes), header) == PageStatus::ok) {
        in_recycled += header.recycled && header.first.value <= first_cut ? 1U : 0U;
      }
    }
    const auto done = cut(disk, log.positions[first_cut]);
    ASSERT_TRUE(done) << done.error().what;
    EXPECT_EQ(done->records, back);
    disk.crash_losing_unsynced();
    EXPECT_EQ(check_prefix(disk, log), Lsn{first_cut});
    check_other_records_go_on(disk, log, Lsn{first_cut});
  }
  EXPECT_EQ(first_cut, 30U) << "down to the newest checkpoint";
  EXPECT_GT(in_recycled, 10U) << "the test must reach what it is for";
}

TEST(JournalCut, AtTheEndDoesNothing) {
  MemoryDisk disk;
  const Log log = fill(disk, 10, 9000);
  const auto done = cut(disk, log.positions[10]);
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(done->records, 0U);
  EXPECT_EQ(done->quarantine_file, "");
  for (const std::string& path : disk.paths()) EXPECT_FALSE(path.starts_with("quarantine")) << path;
  EXPECT_EQ(check_prefix(disk, log), Lsn{10});
}

TEST(JournalCut, OfEverythingLeavesAnEmptyLogThatTakesAnyEpoch) {
  MemoryDisk disk;
  Log log;
  {
    Node node(disk);
    node.log->start_epoch(Epoch{5});
    for (std::uint64_t n = 1; n <= 20; ++n) {
      log.bodies.push_back(body(n, 9000));
      node.append(log.bodies.back());
    }
    node.commit();
  }
  const auto done = cut(disk, {});
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(done->records, 20U);
  EXPECT_EQ(bodies_of(disk.contents(done->quarantine_file)), log.bodies);
  Node node(disk);
  EXPECT_EQ(node.journal->recovery().end, LogPosition{});
  EXPECT_EQ(node.journal->recovery().epoch, Epoch{}) << "not the one that was cut";
  node.append("another first record");  // of epoch 1
  node.commit();
  node.reset();
  EXPECT_EQ(Node(disk).bodies, std::vector<std::string>{"another first record"});
}

TEST(JournalCut, OfAllBehindACheckpointLeavesAnEmptySegmentThatTakesALowerEpoch) {
  MemoryDisk disk;
  LogPosition before;
  {
    Node node(disk);
    std::uint64_t in_segment = 0;
    while (node.segments() < 2) {
      node.append(std::string(9000, 'a'));
      node.commit();
      ++in_segment;
    }
    --in_segment;
    while (node.journal->durable().lsn.value < 2 * in_segment) {
      node.append(std::string(9000, 'b'));
      node.commit();
    }
    before = node.journal->durable();
    node.log->start_epoch(Epoch{5});
    for (int i = 0; i < 3; ++i) node.append(std::string(9000, 'c'));
    node.commit();
    ASSERT_EQ(node.segments(), 3U);
    ASSERT_TRUE(node.journal->store_checkpoint(before.lsn, as_bytes("state")));
    ASSERT_TRUE(node.journal->remove_before(before.lsn.next()));
    ASSERT_EQ(node.segments(), 1U);
  }
  const auto done = cut(disk, before);
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(done->records, 3U);
  SeededRandom random(1);
  auto opened = Journal::open(disk, "", small_segments(), random, before.lsn, {});
  ASSERT_TRUE(opened) << opened.error().what;
  EXPECT_EQ((*opened)->recovery().end, before);
  // A leader of epoch 3 may well have been heard of only after that of epoch 5.
  LogBuilder builder(before, Epoch{3});
  builder.append(RecordType::message_stored, as_bytes("another"));
  ASSERT_TRUE((*opened)->write_and_sync(builder.take()));
  opened->reset();
  opened = Journal::open(disk, "", small_segments(), random, before.lsn, {});
  ASSERT_TRUE(opened) << opened.error().what;
  EXPECT_EQ((*opened)->recovery().end, builder.end());
}

TEST(JournalCut, OfAnEmptyLogAtItsBeginningDoesNothing) {
  MemoryDisk disk;
  fill(disk, 0, 0);
  const auto done = cut(disk, {});
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(done->records, 0U);
}

TEST(JournalCut, TakesALargeRecordsOwnSegmentAway) {
  MemoryDisk disk;
  Log log;
  {
    Node node(disk);
    log.positions.push_back({});
    for (const std::size_t bytes : {std::size_t{500}, std::size_t{200'000}, std::size_t{700}}) {
      log.bodies.push_back(body(log.bodies.size() + 1, bytes));
      node.append(log.bodies.back());
      node.commit();
      log.positions.push_back(node.journal->durable());
    }
  }
  ASSERT_TRUE(cut(disk, log.positions[2]));
  EXPECT_EQ(check_prefix(disk, log), Lsn{2});
  ASSERT_TRUE(cut(disk, log.positions[1]));
  EXPECT_EQ(check_prefix(disk, log), Lsn{1});
  check_other_records_go_on(disk, log, Lsn{1});
}

TEST(JournalCut, OtherRecordThereIsRefusedAndNothingChanges) {
  MemoryDisk disk;
  const Log log = fill(disk, 20, 9000);
  LogPosition other = log.positions[9];
  other.hash ^= 1;
  auto done = cut(disk, other);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, JournalErrorCode::diverged);
  done = cut(disk, {Lsn{0}, 1});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, JournalErrorCode::diverged);
  other = log.positions[20];
  other.hash ^= 1;
  done = cut(disk, other);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, JournalErrorCode::diverged) << "also at the end";
  EXPECT_EQ(check_prefix(disk, log), Lsn{20});
}

TEST(JournalCut, BehindTheEndAndBeforeTheBeginningAreRefused) {
  MemoryDisk disk;
  const Log log = fill_recycled(disk);
  auto done = cut(disk, {log.end().next(), 7});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, JournalErrorCode::not_found);
  EXPECT_THAT(done.error().what, HasSubstr("the log ends before"));
  ASSERT_GT(log.first.value, 3U);
  done = cut(disk, log.positions[log.first.value - 2]);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, JournalErrorCode::not_found);
  EXPECT_EQ(check_prefix(disk, log), log.end());
}

TEST(JournalCut, BelowTheNewestCheckpointIsRefused) {
  MemoryDisk disk;
  const Log log = fill(disk, 20, 9000);
  {
    Node node(disk);
    ASSERT_TRUE(node.journal->store_checkpoint(Lsn{5}, as_bytes("older")));
    ASSERT_TRUE(node.journal->store_checkpoint(Lsn{10}, as_bytes("newer")));
  }
  const auto done = cut(disk, log.positions[9]);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, JournalErrorCode::below_checkpoint);
  EXPECT_THAT(done.error().what, HasSubstr("the checkpoint of LSN 10"));
  EXPECT_EQ(check_prefix(disk, log), Lsn{20});
  ASSERT_TRUE(cut(disk, log.positions[10]));
  EXPECT_EQ(check_prefix(disk, log), Lsn{10});
}

TEST(JournalCut, WhereNoJournalIsMakesNone) {
  MemoryDisk disk;
  const auto done = cut(disk, {});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, JournalErrorCode::not_found);
  EXPECT_TRUE(disk.paths().empty());
}

TEST(JournalCut, OfAJournalInUseIsRefused) {
  MemoryDisk disk;
  Node node(disk);
  const auto done = cut(disk, {});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, JournalErrorCode::locked);
}

TEST(JournalCut, OnAFullDiskChangesNothingAndIsRepeatedLater) {
  MemoryDisk disk;
  const Log log = fill(disk, 30, 9000);
  const std::uint64_t used = disk.used_bytes();
  std::uint64_t refused = 0;
  for (std::uint64_t space = 0;; space += 20'000) {
    disk.set_capacity(used + space);
    const auto done = cut(disk, log.positions[8]);
    if (done) {
      EXPECT_EQ(bodies_of(disk.contents(done->quarantine_file)),
                std::vector(log.bodies.begin() + 8, log.bodies.end()));
      break;
    }
    ASSERT_EQ(done.error().code, JournalErrorCode::disk_full) << done.error().what;
    ASSERT_EQ(check_prefix(disk, log), Lsn{30});
    for (const std::string& path : disk.paths()) {
      if (path.starts_with("quarantine")) disk.erase(path);  // of an attempt that had space for that
    }
    ++refused;
  }
  EXPECT_GT(refused, 10U) << "also for the segment, not only for the records";
  EXPECT_EQ(check_prefix(disk, log), Lsn{8});
}

/// All bodies that any quarantine file holds.
std::vector<std::string> kept_bodies(const MemoryDisk& disk) {
  std::vector<std::string> out;
  for (const std::string& path : disk.paths()) {
    if (!path.starts_with("quarantine/cut-") || path.ends_with(".new")) continue;
    const auto content = disk.durable_contents(path);
    EXPECT_TRUE(content && *content == disk.contents(path)) << path << " is durable";
    const auto bodies = bodies_of(*content);
    out.insert(out.end(), bodies.begin(), bodies.end());
  }
  return out;
}

TEST(JournalCut, AFailingDiskLeavesEachRecordInTheLogOrInQuarantine) {
  std::uint64_t failures = 0;
  for (const bool sync : {true, false}) {
    for (std::uint64_t skip = 0;; ++skip) {
      SCOPED_TRACE((sync ? "sync " : "write ") + std::to_string(skip));
      ASSERT_LT(skip, 100U);
      MemoryDisk disk;
      const Log log = fill(disk, 30, 9000);
      if (sync) {
        disk.fail_next_sync(skip);
      } else {
        disk.fail_next_write(skip);
      }
      const bool done = cut(disk, log.positions[12]).has_value();
      const bool failed = disk.counters().faults_injected > 0;
      disk.crash_losing_unsynced();
      const Lsn end = check_prefix(disk, log);
      if (done) {
        ASSERT_EQ(end, Lsn{12});
      }
      const auto kept = kept_bodies(disk);
      for (std::uint64_t n = end.value; n < log.end().value; ++n) {
        ASSERT_THAT(kept, testing::Contains(log.bodies[n]));
      }
      ASSERT_TRUE(cut(disk, log.positions[12]));
      ASSERT_EQ(check_prefix(disk, log), Lsn{12});
      if (!failed) break;
      ++failures;
    }
  }
  EXPECT_GT(failures, 8U);
}

struct Case {
  bool recycled;
  std::uint64_t back;
};

TEST(JournalCut, ACrashAtAnyMomentLeavesEachRecordInTheLogOrInQuarantine) {
  std::uint64_t halfway = 0;
  // In the last segment, between two, in an earlier one, all; and with recycled ones.
  for (const Case& each :
       {Case{false, 2}, Case{false, 15}, Case{false, 18}, Case{false, 30}, Case{true, 12}}) {
    bool finished = false;
    for (std::uint64_t point = 0; !finished; ++point) {
      ASSERT_LT(point, 1000U);
      for (std::uint64_t fate = 0; fate < 3; ++fate) {
        SCOPED_TRACE((each.recycled ? "recycled, back " : "back ") + std::to_string(each.back) +
                     ", crash point " + std::to_string(point) + ", fate " + std::to_string(fate));
        MemoryDisk disk;
        const Log log = each.recycled ? fill_recycled(disk) : fill(disk, 30, 9000);
        disk.crash_losing_unsynced();
        const Lsn to{log.end().value - each.back};
        SeededRandom random(point * 10 + fate);
        disk.stop_after(point);
        finished = cut(disk, log.positions[to.value]).has_value();
        if (fate == 0) {
          disk.kill();
        } else if (fate == 1) {
          disk.crash_losing_unsynced();
        } else {
          disk.crash(random);
        }
        // The repetition may be ended, too.
        disk.stop_after(random.below(20));
        static_cast<void>(cut(disk, log.positions[to.value]));
        disk.crash(random);

        const Lsn end = check_prefix(disk, log);
        ASSERT_GE(end, to);
        if (finished) {
          ASSERT_EQ(end, to);
        }
        halfway += end > to && end < log.end() ? 1U : 0U;
        const auto kept = kept_bodies(disk);
        for (std::uint64_t n = end.value; n < log.end().value; ++n) {
          ASSERT_THAT(kept, testing::Contains(log.bodies[n])) << "neither in the log nor in quarantine";
        }
        const auto again = cut(disk, log.positions[to.value]);
        ASSERT_TRUE(again) << again.error().what;
        ASSERT_EQ(again->records, end.value - to.value);
        disk.crash_losing_unsynced();
        ASSERT_EQ(check_prefix(disk, log), to);
        if (fate == 2) check_other_records_go_on(disk, log, to);
        if (testing::Test::HasFailure()) return;
      }
    }
  }
  EXPECT_GT(halfway, 10U) << "the test must reach what it is for";
}

}  // namespace
}  // namespace mainstay::journal
