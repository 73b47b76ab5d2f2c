// The broker's outputs on their way to the outside: each waits until the record it depends on is committed.
#pragma once

#include <map>
#include <utility>
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
  /// How far records are durable elsewhere, as far as is known.
  struct Reach {
    Lsn region{};  ///< on the disk of another node of this region
    Lsn global{};  ///< in the other region
  };

  /// Answers to publishes wait for at least this, whatever was asked for.
  void set_floor(broker::Durability floor) { floor_ = floor; }
  /// Takes over `made` (left empty).
  void add(std::vector<broker::Output>& made, Lsn committed, std::vector<Output>& released,
           const Reach& reach);
  void release(Lsn committed, std::vector<Output>& released);
  /// Answers to publishes whose durability is reached. @param reach  ≤ what was committed
  void release_far(const Reach& reach, std::vector<Output>& released);
  /// Forgets what is held: it will never be shown.
  void drop();
  [[nodiscard]] std::size_t held() const { return held_.size(); }
  [[nodiscard]] std::size_t held_far() const { return region_.size() + global_.size(); }

 private:
  struct Held {
    Held(Lsn lsn, broker::Output&& held) : after(lsn), output(std::move(held)) {}
    Lsn after;
    broker::Output output;
  };
  /// First in, first out in one block, which stays: nothing is allocated per output.
  class Line {
   public:
    [[nodiscard]] bool empty() const { return first_ == held_.size(); }
    [[nodiscard]] std::size_t size() const { return held_.size() - first_; }
    Held& front() { return held_[first_]; }
    void push(Lsn after, broker::Output&& output) { held_.emplace_back(after, std::move(output)); }
    void pop() { ++first_; }
    /// After some pops: gives back what they left behind.
    void tidy();
    void clear();

   private:
    std::vector<Held> held_;
    std::size_t first_ = 0;
  };

  Line held_;
  /// Answers to publishes are in order with nothing: these wait beside the others.
  Line region_, global_;
  broker::Durability floor_ = broker::Durability::journal;
  std::map<broker::ConsumerId, std::size_t> held_per_consumer_;
};

}  // namespace mainstay::replica
