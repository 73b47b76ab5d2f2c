// Random histories and crashes: everything synced is there afterwards, byte for byte, what is there is a
// prefix of what was written, and what was cut is in quarantine. D10, P2.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "base/memory_disk.h"
#include "journal/format.h"
#include "journal/journal.h"
#include "journal/journal_test_support.h"

namespace mainstay::journal {
namespace {

/// What the world outside the disk remembers of a journal, over any number of lives of its process.
class Model {
 public:
  explicit Model(MemoryDisk& disk) : disk_(disk) {}

  /// Opens and compares with what is remembered. False when the disk refused to work (stop_after).
  bool open(Random& random, bool must_work) {
    Lsn checkpoint{};
    if (const auto loaded = Journal::load_checkpoint(disk_, ""); loaded) {
      checkpoint = loaded->lsn;
      EXPECT_EQ(as_text(loaded->state), checkpoint.value == 0 ? "" : state_at(checkpoint));
    }
    // A checkpoint whose storing was under way may be there; one that was stored must be.
    EXPECT_GE(checkpoint, checkpoint_);
    std::vector<std::string> replayed;
    std::vector<Buffer> before = segment_contents();
    auto opened = Journal::open(disk_, "", small_segments({.release_step_bytes = 24 << 10}), random,
                                checkpoint, [&](const Record& record) {
                                  EXPECT_EQ(record.header.lsn.value, checkpoint.value + replayed.size() + 1);
                                  replayed.emplace_back(as_text(record.body));
                                });
    if (!opened) {
      EXPECT_FALSE(must_work) << opened.error().what;
      return false;
    }
    journal_ = std::move(*opened);
    checkpoint_ = std::max(checkpoint, checkpoint_);
    const RecoveryReport& report = journal_->recovery();
    EXPECT_GE(report.end.lsn, synced_) << "a synced record is lost";
    EXPECT_LE(report.end.lsn.value, written_.size()) << "a record that was never written";
    written_.resize(std::min<std::size_t>(written_.size(), report.end.lsn.value));
    EXPECT_TRUE(std::equal(replayed.begin(), replayed.end(),
                           written_.begin() + static_cast<std::ptrdiff_t>(checkpoint.value), written_.end()))
        << "other bytes than written";
    if (report.torn_bytes > 0) {
      const Buffer cut = disk_.contents(report.quarantine_file);
      EXPECT_EQ(cut.size(), report.torn_bytes);
      EXPECT_TRUE(disk_.durable_contents(report.quarantine_file) == cut) << "quarantine is durable";
      EXPECT_TRUE(std::any_of(before.begin(), before.end(), [&](const Buffer& segment) {
        return as_text(segment).find(as_text(cut)) != std::string_view::npos;
      })) << "quarantine holds the bytes that were cut";
      ++cuts;
      cuts_in_recycled += recycled_segments() > 0 ? 1 : 0;
    }
    synced_ = report.end.lsn;
    if (!log_) log_.emplace(report.end, Epoch{1});
    log_.emplace(report.end, std::max(report.epoch, log_->epoch()));
    return true;
  }

  void append(Random& random) {
    const std::uint64_t length = random.chance(1, 40) ? random.between(60'000, 90'000) : random.below(3'000);
    std::string body(length, static_cast<char>('a' + random.below(26)));
    body += std::to_string(random.next());
    log_->append(RecordType::message_stored, as_bytes(body));
    gathering_.push_back(std::move(body));
  }
  bool write() {
    // Remembered before it is tried: a write that fails may still leave whole records.
    written_.insert(written_.end(), gathering_.begin(), gathering_.end());
    gathering_.clear();
    return journal_->write(log_->take()).has_value();
  }
  bool sync() {
    if (!journal_->sync()) return false;
    synced_ = journal_->durable().lsn;
    EXPECT_EQ(synced_.value, written_.size());
    return true;
  }
  bool checkpoint(Random& random) {
    if (synced_ <= checkpoint_) return true;
    const Lsn lsn{random.between(checkpoint_.value + 1, synced_.value)};
    if (!journal_->store_checkpoint(lsn, as_bytes(state_at(lsn)))) return false;
    checkpoint_ = lsn;
    return true;
  }
  bool remove(Random& random) {
    return journal_->remove_before(Lsn{random.below(synced_.value + 2)}).has_value() &&
           journal_->release_space().has_value();
  }
  bool checkpoint_at_end() {
    if (synced_ <= checkpoint_) return true;
    if (!journal_->store_checkpoint(synced_, as_bytes(state_at(synced_)))) return false;
    checkpoint_ = synced_;
    return true;
  }
  bool append_and_commit(Random& random) {
    append(random);
    return write() && sync();
  }
  bool remove_all() {
    return journal_->remove_before(synced_).has_value() && journal_->release_space().has_value();
  }
  bool prepare() { return journal_->prepare_spare().has_value(); }
  bool epoch() {
    log_->start_epoch(log_->epoch().next());
    return true;
  }
  void close() {
    journal_.reset();
    gathering_.clear();
  }
  void check_all_readable() {
    const Lsn first = [&] {
      Lsn at{1};
      Buffer raw;
      while (at <= synced_ && !journal_->read(at, at, 0, raw)) at = at.next();
      return at;
    }();
    EXPECT_LE(first.value, checkpoint_.value + 1);
    for (Lsn at = first; at <= synced_; at = at.next()) {
      Buffer raw;
      ASSERT_TRUE(journal_->read(at, at, 0, raw));
      Record record;
      ASSERT_EQ(decode_record(raw, record), DecodeStatus::ok);
      ASSERT_EQ(as_text(record.body), written_[at.value - 1]);
      ASSERT_EQ(journal_->hash_at(at).value(), record.header.checksum);
    }
    const VerifyReport report = verify(disk_, "");
    EXPECT_TRUE(report.ok) << report.problems.front();
    EXPECT_EQ(report.end, journal_->written());
  }
  [[nodiscard]] Lsn synced() const { return synced_; }

  /// Segments on the disk now that were written over the records of an earlier one.
  [[nodiscard]] int recycled_segments() const {
    int count = 0;
    for (const Buffer& segment : segment_contents()) {
      SegmentHeader header;
      const bool whole =
          decode_segment_header(BytesView(segment).first(kPageBytes), header) == PageStatus::ok;
      count += whole && header.recycled ? 1 : 0;
    }
    return count;
  }

  int cuts = 0;
  int cuts_in_recycled = 0;

 private:
  static std::string state_at(Lsn lsn) { return "state at " + std::to_string(lsn.value); }
  std::vector<Buffer> segment_contents() const {
    std::vector<Buffer> out;
    for (const std::string& path : disk_.paths()) {
      if (path.starts_with("segment-")) out.push_back(disk_.contents(path));
    }
    return out;
  }

  MemoryDisk& disk_;
  std::unique_ptr<Journal> journal_;
  std::optional<LogBuilder> log_;
  std::vector<std::string> gathering_;  // appended, not yet given to write()
  std::vector<std::string> written_;    // by LSN - 1
  Lsn synced_{};
  Lsn checkpoint_{};
};

bool random_step(Model& model, Random& random) {
  switch (random.below(14)) {
    case 0:
    case 1:
      return model.write() && model.sync();
    case 2:
      return model.write();
    case 3:
      return model.write() && model.sync() && model.sync();
    case 4:
      return model.prepare();
    case 5:
      return model.checkpoint(random);
    case 6:
      return model.remove(random);
    case 7:
      return random.chance(1, 3) ? model.epoch() : true;
    case 8:
    case 9:  // room for recycling: everything that two checkpoints at the end allow
      return model.write() && model.sync() && model.checkpoint_at_end() && model.append_and_commit(random) &&
             model.checkpoint_at_end() && model.remove_all();
    default:
      for (std::uint64_t n = random.between(1, 10); n > 0; --n) model.append(random);
      return true;
  }
}

TEST(JournalCrash, SyncedRecordsSurviveAndTheRestIsAPrefix) {
  int cuts = 0;
  std::uint64_t torn = 0;
  std::uint64_t directory_changes_lost = 0;
  int recycled = 0;
  int cuts_in_recycled = 0;
  for (std::uint64_t seed = 1; seed <= 600; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRandom random(seed);
    MemoryDisk disk;
    Model model(disk);
    for (int life = 0; life < 7; ++life) {
      if (random.chance(1, 2)) disk.stop_after(random.below(60));
      bool alive = model.open(random, false);
      for (std::uint64_t steps = random.below(30); steps > 0 && alive; --steps) {
        if (random.chance(1, 60)) disk.fail_next_sync(random.below(3));
        if (random.chance(1, 60)) disk.fail_next_write(random.below(3));
        alive = random_step(model, random);
      }
      model.close();
      switch (random.below(4)) {
        case 0:
          disk.kill();
          break;
        case 1:
          disk.crash_losing_unsynced();
          break;
        default:
          disk.crash(random);
      }
    }
    ASSERT_TRUE(model.open(random, true));
    model.check_all_readable();
    model.append(random);
    ASSERT_TRUE(model.write() && model.sync()) << "it goes on";
    model.check_all_readable();
    cuts += model.cuts;
    cuts_in_recycled += model.cuts_in_recycled;
    recycled += model.recycled_segments();
    torn += disk.counters().writes_torn;
    directory_changes_lost += disk.counters().directory_changes_lost;
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_GT(cuts, 50) << "the test must reach what it is for";
  EXPECT_GT(torn, 200U);
  EXPECT_GT(recycled, 200);
  EXPECT_GT(cuts_in_recycled, 20);
  EXPECT_GT(directory_changes_lost, 100U);
}

/// Creation, batches, a roll, a spare, a record of its own segment, checkpoints, removal, and batches over
/// the old records of the segment that removal gave back.
void script(Model& model, Random& random) {
  if (!model.open(random, false)) return;
  const auto batch = [&](int records) {
    for (int i = 0; i < records; ++i) model.append(random);
    return model.write() && model.sync();
  };
  static_cast<void>(batch(3) && model.prepare() && batch(40) && model.checkpoint(random) && batch(40) &&
                    model.checkpoint(random) && model.checkpoint(random) && model.remove(random) &&
                    batch(20) && model.checkpoint_at_end() && batch(1) && model.checkpoint_at_end() &&
                    model.remove_all() && batch(30) && batch(10));
}

TEST(JournalCrash, EveryCrashPointOfAScriptRecovers) {
  std::uint64_t points = 0;
  {
    MemoryDisk disk;
    Model model(disk);
    SeededRandom random(5);
    script(model, random);
    points = disk.counters().mutations;
    EXPECT_GT(model.synced().value, 140U) << "the script runs to its end";
    EXPECT_GT(model.recycled_segments(), 0);
  }
  ASSERT_GT(points, 50U);
  for (std::uint64_t point = 0; point <= points; ++point) {
    for (std::uint64_t fate = 0; fate < 6; ++fate) {
      SCOPED_TRACE("crash point " + std::to_string(point) + " fate " + std::to_string(fate));
      MemoryDisk disk;
      Model model(disk);
      SeededRandom random(5);
      disk.stop_after(point);
      script(model, random);
      model.close();
      SeededRandom crash(point * 100 + fate);
      if (fate == 0) {
        disk.kill();
      } else if (fate == 1) {
        disk.crash_losing_unsynced();
      } else {
        disk.crash(crash);
      }
      // Recovery may itself be cut short at any point, and must then work the next time.
      disk.stop_after(crash.below(12));
      static_cast<void>(model.open(random, false));
      model.close();
      disk.crash(crash);
      ASSERT_TRUE(model.open(random, true));
      model.check_all_readable();
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(JournalCrash, SameSeedLeavesTheSameDisk) {
  const auto run = [] {
    MemoryDisk disk;
    Model model(disk);
    SeededRandom random(77);
    EXPECT_TRUE(model.open(random, true));
    for (int i = 0; i < 40; ++i) EXPECT_TRUE(random_step(model, random));
    model.close();
    disk.crash(random);
    std::vector<Buffer> out;
    for (const std::string& path : disk.paths()) out.push_back(disk.contents(path));
    return out;
  };
  EXPECT_TRUE(run() == run());
}

}  // namespace
}  // namespace mainstay::journal
