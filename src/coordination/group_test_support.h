// For tests: members and records of a group.
#pragma once

#include <set>
#include <utility>

#include "coordination/group_register.h"

namespace mainstay::coordination {

inline Uuid test_uuid(std::uint8_t number) {
  Uuid id;
  id.bytes[3] = 0x5a;
  id.bytes[15] = number;
  return id;
}
inline const Member kNodeA{"a", test_uuid(1)}, kNodeB{"b", test_uuid(2)}, kNodeC{"c", test_uuid(3)};
inline const Seen kNothingSeen{};

/// The record after `epoch - 1`: led by `leader`.
inline GroupRecord group_record(std::uint64_t epoch, const Member& leader, std::set<Member> isr) {
  GroupRecord record;
  record.cluster = test_uuid(99);
  record.epoch = Epoch{epoch};
  record.leader = leader;
  record.isr = std::move(isr);
  record.region_term = RegionTerm{2};
  record.by = "node " + leader.node;
  record.reason = "test";
  record.at = WallTime{1234567890123};
  return record;
}

}  // namespace mainstay::coordination
