#include "peers/unsettled.h"

#include <string>

#include "peers/stamp.h"

namespace mainstay::bench {

void Unsettled::add(std::uint32_t id) {
  if (open_[id % kMost]) throw Trouble{"delivery-id " + std::to_string(id) + " is in use"};
  open_[id % kMost] = true;
  ++count_;
}

std::uint64_t Unsettled::settle(std::uint32_t first, std::uint32_t last) {
  const std::uint64_t count = std::uint64_t{last - first} + 1;
  if (count > count_) throw Trouble{"more deliveries are settled than are open"};
  for (std::uint32_t id = first;; ++id) {
    if (!open_[id % kMost]) throw Trouble{"delivery " + std::to_string(id) + " is settled twice"};
    open_[id % kMost] = false;
    if (id == last) break;
  }
  count_ -= static_cast<std::uint32_t>(count);
  return count;
}

}  // namespace mainstay::bench
