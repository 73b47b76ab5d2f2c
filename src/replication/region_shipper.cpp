#include "replication/region_shipper.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/assert.h"

namespace mainstay::replication {
namespace {

std::string describe(journal::LogPosition at) {
  return "LSN " + std::to_string(at.lsn.value) + " hash " + hex(at.hash);
}

/// Checks that the records follow `before`; each by itself was checked when it was read.
/// @return where they end: acknowledgements are checked against it.
Result<journal::LogPosition, journal::JournalError> end_of(BytesView raw, journal::LogPosition before) {
  journal::LogPosition end = before;
  while (!raw.empty()) {
    const journal::Record record = journal::view_first_record(raw);
    if (record.header.lsn != end.lsn.next() || record.header.previous != end.hash) {
      return journal::JournalError{journal::JournalErrorCode::corrupt,
                                   "record after LSN " + std::to_string(end.lsn.value) +
                                       " read back out of place; run `mainstay verify` on the journal"};
    }
    end = {record.header.lsn, record.header.checksum};
    raw = raw.subspan(record.raw.size());
  }
  return end;
}

}  // namespace

void read_ahead(journal::Journal& journal, ShipAhead& ahead) {
  std::vector<ShipAhead::Packet> memory = std::exchange(ahead.packets, {});
  while (ahead.packets.size() < ahead.packets_max && ahead.end().lsn < ahead.upto) {
    ShipAhead::Packet packet;
    if (!memory.empty()) {
      packet.raw = std::move(memory.back().raw);
      memory.pop_back();
    }
    packet.raw.clear();
    const auto after =
        journal.read_once(ahead.end().lsn.next(), ahead.upto, ahead.packet_bytes_max, packet.raw);
    if (!after) {
      ahead.failed = after.error();
      return;
    }
    const auto end = end_of(packet.raw, ahead.end());
    if (!end) {
      ahead.failed = end.error();
      return;
    }
    packet.end = *end;
    ahead.packets.push_back(std::move(packet));
  }
}

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
  ready_.clear();
  reading_ = more_ = false;
}

Result<bool, journal::JournalError> RegionShipper::next(Lsn committed, Buffer& raw) {
  raw.clear();
  if (!following_ || sent_.lsn >= committed || bytes_ahead_ >= limits_.ahead_bytes_max) return false;
  const std::size_t bytes = std::min(limits_.packet_bytes_max, limits_.ahead_bytes_max - bytes_ahead_);
  journal::LogPosition end;
  if (!ready_.empty()) {
    ShipAhead::Packet& packet = ready_.front();
    if (!in_flight_.empty() && packet.raw.size() > limits_.ahead_bytes_max - bytes_ahead_) return false;
    end = packet.end;
    std::swap(raw, packet.raw);
    used_.push_back(std::move(packet));
    ready_.pop_front();
  } else if (reading_ || (more_ && limits_.packets_read_ahead > 0)) {
    return false;
  } else {
    const auto after = journal_.read(sent_.lsn.next(), committed, bytes, raw);
    if (!after) return after.error();
    MS_ASSERT(*after > sent_.lsn.next() && !raw.empty(), "a committed record can be read");
    const auto read = end_of(raw, sent_);
    if (!read) return read.error();
    end = *read;
    more_ = end.lsn < committed;
  }
  sent_ = end;
  in_flight_.push_back({end, raw.size()});
  bytes_ahead_ += raw.size();
  return true;
}

std::optional<ShipAhead> RegionShipper::wanted(Lsn committed) {
  if (!following_ || !more_ || reading_ || ready_.size() >= limits_.packets_read_ahead) return std::nullopt;
  ShipAhead ahead;
  ahead.before = read_end();
  ahead.upto = committed;
  ahead.packet_bytes_max = limits_.packet_bytes_max;
  ahead.packets_max = limits_.packets_read_ahead;
  if (ahead.before.lsn >= committed) return std::nullopt;
  ahead.packets.swap(used_);
  reading_ = true;
  return ahead;
}

void RegionShipper::arrived(ShipAhead ahead) {
  if (!reading_ || ahead.before != read_end()) return;
  reading_ = false;
  // Why it failed next() finds out, once all before it is sent.
  more_ = !ahead.failed && ahead.end().lsn < ahead.upto;
  std::move(ahead.packets.begin(), ahead.packets.end(), std::back_inserter(ready_));
}

void RegionShipper::sent_directly(journal::LogPosition end, std::size_t bytes) {
  MS_ASSERT(following_ && end.lsn > sent_.lsn, "a batch goes out behind what was sent before");
  MS_ASSERT(ready_.empty() && !reading_, "and behind what was read ahead");
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
