// The journal on a disk: writing, durability, spares, removal. Private to the room.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/disk.h"
#include "journal/discarded_files.h"
#include "journal/encoded.h"
#include "journal/format.h"
#include "journal/journal.h"
#include "journal/recovery.h"
#include "journal/segment_table.h"
#include "journal/spare_files.h"

namespace mainstay::journal {

class DiskJournal final : public Journal {
 public:
  DiskJournal(Disk& disk, std::string directory, const JournalOptions& options, Identity identity,
              std::unique_ptr<DiskLock> lock);
  /// Before anything else.
  Result<void, JournalError> start(Recovered recovered);

  const RecoveryReport& recovery() const override { return report_; }
  Uuid incarnation() const override { return identity_.incarnation; }
  Uuid cluster() const override { return identity_.cluster; }
  const std::string& node() const override { return identity_.node; }

  Result<void, JournalError> write(const Batch& batch) override;
  Result<void, JournalError> sync() override;
  Result<void, JournalError> write_and_sync(const Batch& batch) override;
  void expect(CatchUp part) override { catch_up_ = part; }
  Result<void, JournalError> note_durable() override;
  Result<void, JournalError> write_raw(BytesView raw) override;
  LogPosition written() const override { return table_.written(); }
  LogPosition durable() const override { return table_.durable(); }

  Result<Lsn, JournalError> read(Lsn first, Lsn last, std::size_t bytes_max, Buffer& to) override {
    return table_.read(first, last, bytes_max, to);
  }
  Result<Lsn, JournalError> read_if_cached(Lsn first, Lsn last, std::size_t bytes_max, Buffer& to) override {
    return table_.read(first, last, bytes_max, to, SegmentTable::Wait::no);
  }
  Result<Lsn, JournalError> read_once(Lsn first, Lsn last, std::size_t bytes_max, Buffer& to) override {
    return table_.read(first, last, bytes_max, to, SegmentTable::Wait::once);
  }
  Result<std::uint64_t, JournalError> hash_at(Lsn lsn) override { return table_.hash_at(lsn); }

  std::uint64_t room() const override;
  bool wants_spare() const override {
    return spares_.count() < options_.spare_segments || (written_ahead() && spares_.unwritten() > 0);
  }
  Result<bool, JournalError> prepare_spare() override;
  Result<void, JournalError> remove_before(Lsn lsn) override;
  std::vector<Extent> extents() const override { return table_.extents(); }
  bool wants_release() const override { return !discarded_.empty(); }
  std::uint64_t set_aside_bytes() const override { return discarded_.file_bytes(); }
  Result<bool, JournalError> release_space() override;
  std::uint64_t record_bytes_total() const override { return table_.record_bytes(); }
  std::uint64_t disk_bytes() const override {
    return 2 * kPageBytes + table_.file_bytes() + spares_.file_bytes() + discarded_.file_bytes();
  }
  Result<void, JournalError> store_checkpoint(Lsn lsn, BytesView state) override;

 private:
  JournalError fail(JournalError error);
  template <class T>
  JournalError fail_if_final(const Result<T, JournalError>& failed);
  [[nodiscard]] std::optional<JournalError> failure() const;

  Result<void, JournalError> append(const Encoded& records);
  Result<void, JournalError> provide_segments(const Encoded& records, std::size_t from);
  Result<void, JournalError> write_chunk(const Encoded& records, std::size_t from, std::size_t behind);
  Result<void, JournalError> roll(const Encoded& records, std::size_t at);
  Result<void, JournalError> put_to_use(Spare spare, LogPosition before, Epoch epoch);
  Result<void, JournalError> seal_current();
  Result<void, JournalError> sync_current();
  Result<void, JournalError> write_mark();
  void let_go();
  void note_free();

  Disk& disk_;
  const std::string directory_;
  JournalOptions options_;
  const Identity identity_;
  const std::unique_ptr<DiskLock> lock_;
  RecoveryReport report_;

  SegmentTable table_;
  SpareFiles spares_;
  DiscardedFiles discarded_;
  /// Left in the current segment. Grows only after the spare it grows by has left `spares_`, and is read
  /// before these are counted: so room() never counts a file twice.
  std::atomic<std::uint64_t> free_{0};

  std::size_t live_most_ = 0;  // segments in the log before a removal, lately; remove_before() only

  // The writer only.
  bool dirty_ = false;       // records written since the last sync
  bool mark_due_ = false;    // something became durable that the current segment's mark does not say yet
  bool mark_dirty_ = false;  // the current segment's mark was written since the last sync
  std::uint64_t mark_slot_ = 0;
  std::atomic<CatchUp> catch_up_ = CatchUp::none;  // asked by the thread that makes spares too
  /// Whether new segments are written with zeros.
  [[nodiscard]] bool written_ahead() const { return catch_up_ == CatchUp::none; }
  std::uint64_t let_go_from_ = 0;  // in the current segment: where what is not read soon begins
  Epoch epoch_{};
  std::vector<Spare> large_;  // for the records of one append() that are longer than a segment
  std::vector<std::uint32_t> raw_offsets_;

  std::atomic<bool> has_failed_{false};
  mutable std::mutex failure_mutex_;
  std::optional<JournalError> failure_;
};

}  // namespace mainstay::journal
