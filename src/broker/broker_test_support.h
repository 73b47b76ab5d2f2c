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

inline State replay(MemoryLog& log) {
  State state;
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
