// What the broker's tests share: a log kept in memory whose records can be replayed.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/assert.h"
#include "broker/effects.h"
#include "broker/state.h"
#include "journal/journal.h"

namespace mainstay::broker::testing {

/// Keeps every record appended to `builder`.
class MemoryLog {
 public:
  journal::LogBuilder builder{{}, Epoch{1}};

  /// Records up to the log's end. Valid until the next call.
  const std::vector<journal::Record>& records() {
    const journal::Batch batch = builder.take();
    bytes_.insert(bytes_.end(), batch.bytes.begin(), batch.bytes.end());
    records_.clear();
    for (std::size_t at = 0; at < bytes_.size();) {
      journal::Record record;
      const auto status = journal::decode_record(BytesView(bytes_).subspan(at), record);
      MS_ASSERT(status == journal::DecodeStatus::ok, "the log builder writes whole records");
      records_.push_back(record);
      at += record.raw.size();
    }
    return records_;
  }
  [[nodiscard]] Lsn end() const { return builder.end().lsn; }

 private:
  Buffer bytes_;
  std::vector<journal::Record> records_;
};

inline void apply_all(State& state, const std::vector<journal::Record>& records, Lsn after = {}) {
  for (const journal::Record& record : records) {
    if (record.header.lsn <= after) continue;
    const auto applied = state.apply(record);
    ASSERT_TRUE(applied.has_value()) << applied.error().what;
  }
}

/// Pages in memory, found as they were stored, that can fill up and be damaged. None is ever lost, so that
/// every root can be restored.
class TestPageStore final : public paging::PageStore {
 public:
  std::optional<paging::PageRef> store(BytesView content) override {
    if (full) return std::nullopt;
    pages.push_back(to_buffer(content));
    ++in_use;
    return paging::PageRef{1, static_cast<std::uint32_t>(pages.size()),
                           static_cast<std::uint32_t>(content.size())};
  }
  void load(paging::PageRef page, Buffer& into) override {
    if (page.file != 1 || page.offset == 0 || page.offset > pages.size() ||
        pages[page.offset - 1].size() != page.bytes) {
      throw paging::PageLost("no such page");
    }
    into = pages[page.offset - 1];
    ++loads;
  }
  void release(paging::PageRef) override { --in_use; }
  bool wants_moving(paging::PageRef page) const override {
    return move_every != 0 && page.offset % move_every == 0;
  }
  std::shared_ptr<Sealed> seal() override {
    struct Nothing final : Sealed {
      Result<void, DiskError> sync() override { return {}; }
      const std::vector<File>& files() const override { return none; }
      std::vector<File> none;
    };
    return std::make_shared<Nothing>();
  }
  void checkpoint_stored(const std::shared_ptr<Sealed>&) override {}
  void adopt(paging::PageRef) override { ++in_use; }
  [[nodiscard]] std::uint64_t disk_bytes() const override { return 0; }
  [[nodiscard]] std::uint64_t pages_in_use() const override { return static_cast<std::uint64_t>(in_use); }

  std::vector<Buffer> pages;
  bool full = false;
  std::uint32_t move_every = 0;
  std::int64_t in_use = 0;
  std::uint64_t loads = 0;
};

/// An equal state, by way of a checkpoint in the same pages.
inline State through_checkpoint(State& state, paging::PageStore& pages, StateLimits limits = {}) {
  const auto checkpoint = state.checkpoint();
  MS_ASSERT(checkpoint.has_value(), "there is space for a checkpoint");
  auto restored = State::restore(checkpoint->root, pages, limits);
  EXPECT_TRUE(restored.has_value()) << restored.error().what;
  return std::move(*restored);
}

/// The id is in its window, or a message that is there may have it.
inline bool knows_id(const State& state, QueueId queue, const std::string& id) {
  const auto answers = state.look_up_ids(queue, std::span(&id, 1));
  return answers[0].in_window || !answers[0].candidates.empty();
}

inline State replay(MemoryLog& log, paging::PageStore* pages = nullptr, StateLimits limits = {}) {
  State state(pages, limits);
  apply_all(state, log.records());
  return state;
}

inline journal::Record record_of(Lsn lsn, journal::RecordType type, BytesView body) {
  journal::Record record;
  record.header.lsn = lsn;
  record.header.epoch = Epoch{1};
  record.header.type = type;
  record.header.body_bytes = static_cast<std::uint32_t>(body.size());
  record.body = body;
  return record;
}

}  // namespace mainstay::broker::testing
