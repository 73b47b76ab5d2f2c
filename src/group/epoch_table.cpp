#include "group/epoch_table.h"

#include <algorithm>

#include "base/assert.h"
#include "journal/record.h"

namespace mainstay::group {
namespace {

/// The first entry that begins after `lsn`.
std::vector<EpochStart>::const_iterator after(const std::vector<EpochStart>& entries, Lsn lsn) {
  return std::upper_bound(entries.begin(), entries.end(), lsn,
                          [](Lsn at, const EpochStart& entry) { return at < entry.first; });
}

/// Last LSN of the stretch that entry `at` begins, in a log that ends at `end`.
Lsn stretch_end(const std::vector<EpochStart>& entries, std::size_t at, Lsn end) {
  if (at + 1 == entries.size()) return end;
  return std::min(end, Lsn{entries[at + 1].first.value - 1});
}

}  // namespace

void EpochTable::note(Epoch epoch, Lsn lsn) {
  MS_ASSERT(lsn.value != 0, "LSN 0 is before the first record");
  if (epoch.value == 0) return;
  const Lsn noted = through_;
  through_ = std::max(through_, lsn);
  if (!entries_.empty() && entries_.back().epoch == epoch && entries_.back().first <= lsn) return;
  const auto next = after(entries_, lsn);
  auto keep = static_cast<std::size_t>(next - entries_.begin());
  if (keep > 0 && entries_[keep - 1].epoch == epoch) return;
  if (keep == 0 && next != entries_.end() && epoch < next->epoch) return;  // of the forgotten ones
  // What the table says of this place and what is behind it is of a log that was cut and written anew.
  if (keep < entries_.size()) through_ = lsn;
  while (keep > 0 && (entries_[keep - 1].epoch > epoch || entries_[keep - 1].first == lsn)) {
    through_ = lsn;
    --keep;
  }
  entries_.resize(keep);
  if (!entries_.empty() && entries_.back().epoch == epoch) return;
  if (lsn.value > noted.value + 1) entries_.clear();
  entries_.push_back({epoch, lsn});
  if (entries_.size() > kEntriesMax) entries_.erase(entries_.begin());
}

void EpochTable::note(const journal::Batch& batch) {
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const std::size_t from = batch.offsets[i];
    const std::size_t to = i + 1 < batch.size() ? batch.offsets[i + 1] : batch.bytes.size();
    const journal::Record record = journal::view_record(BytesView(batch.bytes).subspan(from, to - from));
    note(record.header.epoch, record.header.lsn);
  }
}

void EpochTable::cut(Lsn end) {
  while (!entries_.empty() && entries_.back().first > end) entries_.pop_back();
  through_ = std::min(through_, end);
}

std::optional<EpochTable> EpochTable::from(std::vector<EpochStart> entries, Lsn through) {
  if (entries.size() > kEntriesMax) return std::nullopt;
  EpochStart before{};
  for (const EpochStart& entry : entries) {
    if (entry.epoch <= before.epoch || entry.first <= before.first) return std::nullopt;
    before = entry;
  }
  EpochTable table;
  table.entries_ = std::move(entries);
  table.through_ = std::max(through, before.first);
  return table;
}

std::optional<Lsn> common_end(const EpochTable& ours, Lsn our_end, const EpochTable& theirs, Lsn their_end) {
  if (our_end.value == 0 || their_end.value == 0) return Lsn{0};
  // A table may already know of records that are not durable, which the end does not count.
  EpochTable a = ours;
  EpochTable b = theirs;
  a.cut(our_end);
  b.cut(their_end);
  std::size_t i = a.entries().size();
  std::size_t j = b.entries().size();
  while (i > 0 && j > 0) {
    const EpochStart& x = a.entries()[i - 1];
    const EpochStart& y = b.entries()[j - 1];
    if (x == y) {
      return std::min(stretch_end(a.entries(), i - 1, our_end), stretch_end(b.entries(), j - 1, their_end));
    }
    if (x.epoch >= y.epoch) --i;
    if (y.epoch >= x.epoch) --j;
  }
  // Both know their first record, and it is not the same.
  if (!a.entries().empty() && !b.entries().empty() && a.entries().front().first == Lsn{1} &&
      b.entries().front().first == Lsn{1}) {
    return Lsn{0};
  }
  return std::nullopt;
}

}  // namespace mainstay::group
