// A node's use of the journal in a few words, for this room's tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/memory_disk.h"
#include "journal/journal.h"

namespace mainstay::journal {

inline std::string segment_path(std::uint64_t first) {
  const std::string digits = std::to_string(first);
  return "segment-" + std::string(20 - digits.size(), '0') + digits + ".log";
}

inline JournalOptions small_segments(JournalOptions options = {}) {
  options.segment_bytes = 64 << 10;
  return options;
}

/// A journal with 64 KiB segments in the disk's root and a builder that continues it. Must open (asserted).
struct Node {
  explicit Node(MemoryDisk& disk_used, const JournalOptions& options = {}, std::uint64_t seed = 1)
      : disk(disk_used), random(seed) {
    auto opened = Journal::open(disk, "", small_segments(options), random, {}, [this](const Record& record) {
      EXPECT_EQ(record.header.lsn.value, bodies.size() + 1);
      bodies.emplace_back(as_text(record.body));
    });
    if (!opened) {
      ADD_FAILURE() << opened.error().what;
      std::abort();
    }
    journal = std::move(*opened);
    log.emplace(journal->recovery().end, std::max(journal->recovery().epoch, Epoch{1}));
  }
  void append(std::string_view body) { log->append(RecordType::message_stored, as_bytes(body)); }
  void write() {
    recycled = log->take(std::move(recycled));
    const auto done = journal->write(recycled);
    EXPECT_TRUE(done) << done.error().what;
  }
  void commit() {
    write();
    const auto done = journal->sync();
    EXPECT_TRUE(done) << done.error().what;
  }
  /// Everything durable, read back.
  std::vector<std::string> read_bodies() {
    std::vector<std::string> out;
    for (Lsn next{1}; next <= journal->durable().lsn;) {
      Buffer raw;
      const auto got = journal->read(next, Lsn{UINT64_MAX}, 40'000, raw);
      EXPECT_TRUE(got) << got.error().what;
      if (!got) break;
      next = *got;
      Record record;
      for (std::size_t at = 0; at < raw.size(); at += record.raw.size()) {
        EXPECT_EQ(decode_record(BytesView(raw).subspan(at), record), DecodeStatus::ok);
        out.emplace_back(as_text(record.body));
        EXPECT_EQ(record.header.lsn.value, out.size());
      }
    }
    return out;
  }
  std::size_t segments() const {
    const auto paths = disk.paths();
    return static_cast<std::size_t>(std::count_if(
        paths.begin(), paths.end(), [](const std::string& p) { return p.starts_with("segment-"); }));
  }
  void reset() { journal.reset(); }

  MemoryDisk& disk;
  SeededRandom random;
  std::vector<std::string> bodies;  ///< replayed at open
  std::unique_ptr<Journal> journal;
  std::optional<LogBuilder> log;
  Batch recycled;
};

}  // namespace mainstay::journal
