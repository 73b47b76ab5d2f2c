#include "replication/region_follower.h"

#include <utility>

namespace mainstay::replication {
namespace {

Refuse refuse(RefusalCode code, journal::LogPosition ours, journal::LogPosition theirs, std::string what) {
  return {code, ours, theirs, std::move(what)};
}

}  // namespace

Result<void, Refuse> RegionFollower::offer(const Records& records, Epoch sender_epoch) {
  if (pending_.bytes.size() + records.raw.size() > pending_bytes_max_) {
    return refuse(RefusalCode::impossible, end_, {},
                  "the live region sent " + std::to_string(records.raw.size()) + " bytes with " +
                      std::to_string(pending_.bytes.size()) + " still unwritten here; the window is smaller");
  }
  journal::LogPosition end = end_;
  Epoch epoch = epoch_;
  std::vector<std::uint32_t> offsets;
  std::size_t at = 0;
  while (at < records.raw.size()) {
    journal::Record record;
    if (journal::decode_record(records.raw.subspan(at), record) != journal::DecodeStatus::ok) {
      return refuse(RefusalCode::impossible, end, {},
                    "the record shipped after LSN " + std::to_string(end.lsn.value) + " is damaged");
    }
    const journal::RecordHeader& header = record.header;
    const journal::LogPosition theirs{header.lsn, header.checksum};
    if (header.lsn != end.lsn.next()) {
      return refuse(RefusalCode::impossible, end, theirs,
                    "LSN " + std::to_string(header.lsn.value) + " was shipped where LSN " +
                        std::to_string(end.lsn.next().value) + " is next");
    }
    if (header.previous != end.hash) {
      return refuse(RefusalCode::diverged, end, {end.lsn, header.previous},
                    "diverged at LSN " + std::to_string(end.lsn.value) + ": this log has hash " +
                        hex(end.hash) + " there, the shipped one " + hex(header.previous));
    }
    if (header.epoch < epoch || header.epoch > sender_epoch) {
      return refuse(RefusalCode::impossible, end, theirs,
                    "LSN " + std::to_string(header.lsn.value) + " was shipped with epoch " +
                        std::to_string(header.epoch.value) + "; the log is in epoch " +
                        std::to_string(epoch.value) + ", the live region in " +
                        std::to_string(sender_epoch.value));
    }
    if (header.lsn > records.committed) {
      return refuse(RefusalCode::impossible, end, theirs,
                    "LSN " + std::to_string(header.lsn.value) + " was shipped before it was committed (LSN " +
                        std::to_string(records.committed.value) + ")");
    }
    offsets.push_back(static_cast<std::uint32_t>(pending_.bytes.size() + at));
    end = theirs;
    epoch = header.epoch;
    at += record.raw.size();
  }
  if (offsets.empty()) return {};
  if (pending_.empty()) pending_.first = end_.lsn.next();
  pending_.bytes.insert(pending_.bytes.end(), records.raw.begin(), records.raw.end());
  pending_.offsets.insert(pending_.offsets.end(), offsets.begin(), offsets.end());
  pending_.end = end;
  end_ = end;
  epoch_ = epoch;
  return {};
}

bool RegionFollower::take(journal::Batch& batch) {
  if (pending_.empty()) return false;
  batch.clear();
  std::swap(batch, pending_);
  return true;
}

}  // namespace mainstay::replication
