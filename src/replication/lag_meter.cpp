#include "replication/lag_meter.h"

#include "base/assert.h"

namespace mainstay::replication {

void LagMeter::committed(std::span<const std::uint32_t> record_bytes, Instant at) {
  if (record_bytes.empty()) return;
  for (const std::uint32_t bytes : record_bytes) bytes_ += bytes;
  record_bytes_.insert(record_bytes_.end(), record_bytes.begin(), record_bytes.end());
  committed_ = Lsn{committed_.value + record_bytes.size()};
  commits_.push_back({committed_, at});
}

void LagMeter::behind(std::span<const std::uint32_t> record_bytes, Instant since) {
  if (record_bytes.empty()) return;
  MS_ASSERT(record_bytes.size() <= there_.value, "a record has an LSN of at least 1");
  for (const std::uint32_t bytes : record_bytes) bytes_ += bytes;
  record_bytes_.insert(record_bytes_.begin(), record_bytes.begin(), record_bytes.end());
  commits_.push_front({there_, since});
  there_ = Lsn{there_.value - record_bytes.size()};
}

void LagMeter::durable_there(Lsn lsn) {
  MS_ASSERT(lsn <= committed_, "only committed records are shipped, so no more can be durable there");
  while (there_ < lsn) {
    bytes_ -= record_bytes_.front();
    record_bytes_.pop_front();
    there_ = there_.next();
  }
  while (!commits_.empty() && commits_.front().last <= there_) commits_.pop_front();
}

Duration LagMeter::oldest_age(Instant now) const {
  return commits_.empty() ? Duration{} : now - commits_.front().at;
}

}  // namespace mainstay::replication
