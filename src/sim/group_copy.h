// A simulated node's full copies, given and taken, as node/node_copy.cpp drives them; and what a copied disk
// holds, for the checkers. One per life of a broker.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/memory_disk.h"
#include "group/full_copy.h"
#include "replica/copy_builder.h"
#include "replica/replica.h"
#include "sim/group_world.h"

namespace mainstay::sim {

class GroupCopy {
 public:
  struct Host {
    GroupWorld& world;
    std::string name;
    MemoryDisk& disk;
    replica::Replica& replica;
    journal::Journal& journal;
    Random& random;
    journal::JournalOptions options;
    const GroupChecker::DiskLog& log;
    const std::vector<Epoch>& epochs;
    std::function<Instant()> now;
    /// Within this life.
    std::function<void(Duration, std::function<void()>)> later;
    std::function<void()> step;
    std::function<void()> checkpoint;
    std::function<void(Lsn, std::size_t)> unreadable;
  };
  explicit GroupCopy(Host host);

  void heard(const group::CopyHeard& heard);
  void needed(const group::NeedCopy& need);
  void line_gone(PeerId peer);
  void tick();
  /// The next checkpoint is to be a cut.
  [[nodiscard]] bool wants_cut() const { return cut_wanted_; }
  void cut_begins(const replica::Replica::Checkpoint& made);
  void cut_failed(const replica::Replica::Checkpoint& made);
  void cut_stored(const replica::Replica::Checkpoint& made);
  [[nodiscard]] std::optional<Lsn> keeps() const { return cut_from_; }
  [[nodiscard]] bool installs() const { return install_; }

 private:
  void act();
  void give(group::CopyGiver::Output output);
  void take(group::CopyTaker::Output output);
  void drop(bool asked);
  [[nodiscard]] Result<Buffer, Failure> part(const group::CopyItem& item, const group::CopyAsk& ask);
  /// A disk's time, then act().
  void after_disk(std::function<void()> then);

  Host host_;
  group::CopyGiver giver_;
  std::optional<group::CopyTaker> taker_;
  std::unique_ptr<replica::CopyBuilder> builder_;
  bool cut_wanted_ = false, install_ = false;
  std::optional<Lsn> cut_from_;
  std::optional<replica::Replica::Checkpoint> cut_;
  group::CopyPlan plan_;
};

}  // namespace mainstay::sim
