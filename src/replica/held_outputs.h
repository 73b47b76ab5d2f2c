// The broker's outputs on their way to the outside: each waits until the record it depends on is committed.
#pragma once

#include <deque>
#include <map>
#include <vector>

#include "replica/replica.h"

namespace mainstay::replica {

/// One strand.
///
/// What depends on nothing uncommitted is released at once, except behind something held for the same
/// consumer: so each consumer sees its outputs in order, and a delivery of committed messages never waits for
/// a sync.
class HeldOutputs {
 public:
  /// Takes over `made` (left empty).
  /// @param global  everything up to there is durable in the other region too
  void add(std::vector<broker::Output>& made, Lsn committed, std::vector<Output>& released, Lsn global = {});
  void release(Lsn committed, std::vector<Output>& released);
  /// Answers to publishes of durability global whose record is durable in the other region. @param global  as
  /// above, ≤ what was committed
  void release_global(Lsn global, std::vector<Output>& released);
  /// Forgets what is held: it will never be shown.
  void drop();
  [[nodiscard]] std::size_t held() const { return held_.size(); }
  [[nodiscard]] std::size_t held_global() const { return global_.size(); }

 private:
  struct Held {
    Lsn after;
    broker::Output output;
  };

  std::deque<Held> held_;
  /// Answers to publishes are in order with nothing: these wait beside the others.
  std::deque<Held> global_;
  std::map<broker::ConsumerId, std::size_t> held_per_consumer_;
};

}  // namespace mainstay::replica
