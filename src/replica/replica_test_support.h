// Replicas joined by queues in memory, each on a disk in memory. For this room's tests.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/memory_disk.h"
#include "replica/recover.h"
#include "replica/replica.h"

namespace mainstay::replica::testing {

inline Uuid test_cluster() {
  Uuid id;
  id.bytes[0] = 0xc1;
  return id;
}

/// One node: disk, journal, replica, and what came out for the outside.
class TestNode {
 public:
  TestNode(std::string region, ManualClock& clock, ReplicaOptions options = {})
      : disk(region), clock_(clock), options_(std::move(options)), random_(7) {
    options_.cluster = test_cluster();
    options_.region = region;
    options_.node = region + "-1";
    start();
  }

  void start() {
    auto recovered = recover(disk, "",
                             {.cluster = test_cluster(),
                              .node = options_.node,
                              .segment_bytes = segment_bytes,
                              .record_bytes_max = 8 << 10},
                             random_, {}, limits);
    ASSERT_TRUE(recovered) << recovered.error().what;
    checkpoint_used = recovered->checkpoint;
    journal = std::move(recovered->journal);
    pages = std::move(recovered->pages);
    not_used = recovered->not_used;
    replica = std::make_unique<Replica>(options_, *journal, std::move(recovered->state), recovered->last_term,
                                        recovered->ends_sealed, random_, clock_.now(), clock_.wall());
  }
  void crash() {
    replica.reset();
    pages.reset();
    journal.reset();
    disk.crash_losing_unsynced();
    start();
  }

  /// Stores a checkpoint, of which everything is durable already. @return its LSN
  Lsn store_checkpoint() {
    auto checkpoint = replica->checkpoint();
    EXPECT_TRUE(checkpoint);
    EXPECT_TRUE(checkpoint->sealed->sync());
    EXPECT_TRUE(journal->store_checkpoint(checkpoint->lsn, checkpoint->root));
    pages->checkpoint_stored(checkpoint->sealed);
    return checkpoint->lsn;
  }

  /// Writes what there is to write. @return whether there was anything.
  bool write() {
    Replica::PendingWrite pending;
    if (!replica->take_batch(pending)) return false;
    const auto done = pending.raw ? journal->write_raw(pending.batch.bytes) : journal->write(pending.batch);
    EXPECT_TRUE(done) << done.error().what;
    const auto synced = journal->sync();
    EXPECT_TRUE(synced) << synced.error().what;
    replica->written(pending, clock_.now(), clock_.wall());
    replica->recycle(std::move(pending.batch));
    return true;
  }

  void promote(std::uint64_t term, bool forced = false) {
    const auto done =
        replica->promote(RegionTerm{term}, forced, "operator alice", "test", clock_.now(), clock_.wall());
    ASSERT_TRUE(done) << done.error().what;
  }

  broker::QueueId declare() { return replica->leader().declare_queue("payments", {}, clock_.wall()).value(); }
  void publish(broker::QueueId queue, const std::string& id,
               broker::Durability durability = broker::Durability::journal) {
    broker::Publish publish;
    publish.tag = ++tag_;
    publish.queue = queue;
    publish.message_id = id;
    publish.payload = as_bytes("MT103");
    publish.durability = durability;
    replica->leader().publish(publish, clock_.wall(), replica->leader_outputs());
  }

  [[nodiscard]] Buffer log() {
    Buffer all;
    for (Lsn next{1}; next <= journal->durable().lsn;) {
      const auto after = journal->read(next, journal->durable().lsn, 1 << 20, all);
      EXPECT_TRUE(after) << after.error().what;
      if (!after) break;
      next = *after;
    }
    return all;
  }

  MemoryDisk disk;
  std::uint64_t segment_bytes = 256 << 10;
  std::unique_ptr<journal::Journal> journal;
  std::unique_ptr<paging::PageStore> pages;
  broker::StateLimits limits{std::size_t{12} << 10};  ///< a few pages: most are on disk
  std::string not_used;
  std::unique_ptr<Replica> replica;
  Lsn checkpoint_used{};
  // What came out.
  std::vector<broker::Output> shown;
  std::vector<RoleChanged> roles;
  std::vector<std::string> alarms, closed;
  std::optional<std::string> fatal;
  std::optional<journal::LogPosition> switch_ready;

 private:
  ManualClock& clock_;
  ReplicaOptions options_;
  SeededRandom random_;
  std::uint64_t tag_ = 0;
};

/// Two nodes and at most one connection between them.
class Pair {
 public:
  explicit Pair(const ReplicaOptions& options = {})
      : east("east", clock, options), west("west", clock, options) {}

  void connect() {
    ++connection_;
    up_ = true;
    east.replica->connected(connection_, false, clock.now(), clock.wall());
    west.replica->connected(connection_, true, clock.now(), clock.wall());
  }
  void disconnect() {
    if (!up_) return;
    up_ = false;
    to_east.clear();
    to_west.clear();
    east.replica->disconnected(connection_, clock.now(), clock.wall());
    west.replica->disconnected(connection_, clock.now(), clock.wall());
  }
  [[nodiscard]] bool up() const { return up_; }

  /// Acts on outputs of one node.
  void act(TestNode& node, std::deque<Buffer>& wire) {
    std::vector<Output> outputs;
    node.replica->outputs(outputs);
    for (Output& output : outputs) {
      if (auto* send = std::get_if<SendPacket>(&output)) {
        if (up_ && send->to == connection_) wire.push_back(std::move(send->packet));
      } else if (auto* close = std::get_if<ClosePeer>(&output)) {
        node.closed.push_back(close->why);
        closing_ = closing_ || close->peer == connection_;
      } else if (auto* role = std::get_if<RoleChanged>(&output)) {
        node.roles.push_back(*role);
      } else if (auto* term = std::get_if<StoreTerm>(&output)) {
        EXPECT_TRUE(store_term(node.disk, "", term->term));
      } else if (auto* alarm = std::get_if<Alarm>(&output)) {
        node.alarms.push_back(alarm->why);
      } else if (auto* fatal = std::get_if<Fatal>(&output)) {
        node.fatal = fatal->why;
      } else if (auto* ready = std::get_if<SwitchReady>(&output)) {
        node.switch_ready = ready->at;
      } else if (auto* shown = std::get_if<broker::Output>(&output)) {
        node.shown.push_back(std::move(*shown));
      }
    }
  }

  /// Runs until nothing moves.
  void settle() {
    for (int quiet = 0; quiet < 2; ++quiet) {
      if (step()) quiet = 0;
    }
  }
  /// At most one batch and one packet. @return whether there was one
  bool step() {
    act(east, to_west);
    act(west, to_east);
    bool moved = east.write() || west.write();
    if (deliver(to_east, east) || deliver(to_west, west)) moved = true;
    if (closing_ && to_east.empty() && to_west.empty()) {
      closing_ = false;
      disconnect();
    }
    return moved;
  }

  void pass(Duration time) {
    for (Duration gone{}; gone < time; gone = gone + milliseconds(50)) {
      clock.advance(milliseconds(50));
      east.replica->tick(clock.now(), clock.wall());
      west.replica->tick(clock.now(), clock.wall());
      settle();
    }
  }

  ManualClock clock;
  TestNode east, west;
  std::deque<Buffer> to_east, to_west;

 private:
  bool deliver(std::deque<Buffer>& wire, TestNode& node) {
    if (wire.empty()) return false;
    const Buffer packet = std::move(wire.front());
    wire.pop_front();
    node.replica->packet(connection_, packet, clock.now(), clock.wall());
    return true;
  }

  PeerId connection_ = 0;
  bool up_ = false;
  bool closing_ = false;
};

}  // namespace mainstay::replica::testing
