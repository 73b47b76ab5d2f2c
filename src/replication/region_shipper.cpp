#include "replication/region_shipper.h"

#include "base/assert.h"

namespace mainstay::replication {
namespace {

std::string describe(journal::LogPosition at) {
  return "LSN " + std::to_string(at.lsn.value) + " hash " + hex(at.hash);
}

}  // namespace

Result<void, Refuse> RegionShipper::follow(journal::LogPosition from, Lsn committed) {
  stop();
  if (from.lsn > committed) {
    return Refuse{RefusalCode::diverged,
                  {committed, 0},
                  from,
                  "diverged: the standby's log ends at " + describe(from) + ", the live one at LSN " +
                      std::to_string(committed.value) +
                      "; the standby holds records that are not in the live log"};
  }
  const auto ours = journal_.hash_at(from.lsn);
  if (!ours) {
    return Refuse{ours.error().code == journal::JournalErrorCode::not_found ? RefusalCode::removed
                                                                            : RefusalCode::impossible,
                  {from.lsn, 0},
                  from,
                  "the live region cannot look up " + describe(from) + ": " + ours.error().what};
  }
  if (*ours != from.hash) {
    return Refuse{RefusalCode::diverged,
                  {from.lsn, *ours},
                  from,
                  "diverged at or before LSN " + std::to_string(from.lsn.value) + ": the live log has hash " +
                      hex(*ours) + " there, the standby's " + hex(from.hash)};
  }
  following_ = true;
  sent_ = acknowledged_ = from;
  return {};
}

void RegionShipper::stop() {
  following_ = false;
  in_flight_.clear();
  bytes_ahead_ = 0;
}

Result<bool, journal::JournalError> RegionShipper::next(Lsn committed, Buffer& raw) {
  raw.clear();
  if (!following_ || sent_.lsn >= committed || bytes_ahead_ >= limits_.ahead_bytes_max) return false;
  const std::size_t bytes = std::min(limits_.packet_bytes_max, limits_.ahead_bytes_max - bytes_ahead_);
  const auto after = journal_.read(sent_.lsn.next(), committed, bytes, raw);
  if (!after) return after.error();
  MS_ASSERT(*after > sent_.lsn.next() && !raw.empty(), "a committed record can be read");
  // The hash of the last record: acknowledgements are checked against it.
  journal::LogPosition end = sent_;
  for (BytesView rest(raw); !rest.empty();) {
    journal::Record record;
    if (journal::decode_record(rest, record) != journal::DecodeStatus::ok ||
        record.header.lsn != end.lsn.next() || record.header.previous != end.hash) {
      return journal::JournalError{
          journal::JournalErrorCode::corrupt,
          "record after LSN " + std::to_string(end.lsn.value) +
              " read back damaged or out of place; run `mainstay verify` on the journal"};
    }
    end = {record.header.lsn, record.header.checksum};
    rest = rest.subspan(record.raw.size());
  }
  sent_ = end;
  in_flight_.push_back({end, raw.size()});
  bytes_ahead_ += raw.size();
  return true;
}

void RegionShipper::sent_directly(journal::LogPosition end, std::size_t bytes) {
  MS_ASSERT(following_ && end.lsn > sent_.lsn, "a batch goes out behind what was sent before");
  sent_ = end;
  in_flight_.push_back({end, bytes});
  bytes_ahead_ += bytes;
}

Result<void, Refuse> RegionShipper::acknowledged(journal::LogPosition durable) {
  if (!following_) return {};
  if (durable.lsn > sent_.lsn || durable.lsn < acknowledged_.lsn) {
    return Refuse{RefusalCode::impossible, sent_, durable,
                  "the standby acknowledged " + describe(durable) + ", but was sent up to LSN " +
                      std::to_string(sent_.lsn.value) + " and had acknowledged LSN " +
                      std::to_string(acknowledged_.lsn.value)};
  }
  if (durable.lsn == acknowledged_.lsn && durable.hash != acknowledged_.hash) {
    return Refuse{RefusalCode::diverged, acknowledged_, durable,
                  "the standby acknowledged " + describe(durable) + ", but that LSN was sent as " +
                      describe(acknowledged_)};
  }
  while (!in_flight_.empty() && in_flight_.front().end.lsn <= durable.lsn) {
    if (in_flight_.front().end.lsn == durable.lsn && in_flight_.front().end.hash != durable.hash) {
      return Refuse{RefusalCode::diverged, in_flight_.front().end, durable,
                    "the standby acknowledged " + describe(durable) + ", but that LSN was sent as " +
                        describe(in_flight_.front().end)};
    }
    bytes_ahead_ -= in_flight_.front().bytes;
    in_flight_.pop_front();
  }
  acknowledged_ = durable;
  return {};
}

}  // namespace mainstay::replication
