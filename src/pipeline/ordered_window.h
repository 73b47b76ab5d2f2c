// Which message may be sent next: at most one of each ordering key is on its way at a time, so that neither a
// rejection nor a lost connection can change the order of a key; different keys go side by side. Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"

namespace mainstay::pipeline {

class OrderedWindow {
 public:
  struct Item {
    std::uint64_t position = 0;  ///< the caller's name for it; unique
    std::string ordering_key;
    Buffer message;
  };

  /// Behind everything of its key.
  void add(Item item);
  /// The next item that may be sent: the head of a key with nothing on its way and no wait. Keys take turns.
  /// It counts as on its way from now on. nullptr: nothing may be sent now.
  const Item* next(Instant now);
  /// The item is with the broker (or put aside for good): its key may go on. @return the item.
  Item settled(std::uint64_t position);
  /// Not taken: it is the next of its key again, not before `again`.
  void failed(std::uint64_t position, Instant again);
  /// The item on its way under this position, or nullptr.
  [[nodiscard]] const Item* in_flight(std::uint64_t position) const;

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t in_flight_count() const { return on_way_.size(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  /// When the next waiting key may go on.
  [[nodiscard]] std::optional<Instant> next_retry() const;

 private:
  std::map<std::string, std::deque<Item>> keys_;
  std::deque<std::string> ready_;                      ///< keys whose head may go, in turn
  std::set<std::pair<Instant, std::string>> waiting_;  ///< keys whose head must wait
  std::map<std::uint64_t, std::string> on_way_;        ///< position → key
  std::size_t size_ = 0, bytes_ = 0;
};

}  // namespace mainstay::pipeline
