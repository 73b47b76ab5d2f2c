#include "sim/sim_node.h"

#include <algorithm>

#include "base/assert.h"
#include "replication/packets.h"

namespace mainstay::sim {
namespace {

constexpr std::uint64_t kSegmentBytes = 64 << 10;
// As if segments were shorter than they can be: cleaning is nearly constant.
constexpr std::uint64_t kCleanedSegmentBytes = 4 << 10;
constexpr std::size_t kTinyIndexBytes = 12 << 10;  // two or three pages
constexpr std::uint64_t kPageFileBytes = 8 << 10;

Uuid cluster() {
  Uuid id;
  id.bytes[0] = 0x51;
  return id;
}

}  // namespace

SimNode::SimNode(World& world, std::string region, std::string other_region)
    : BrokerHost(world, std::move(region)),
      other_region_(std::move(other_region)),
      disk_(name_),
      lying_(disk_),
      clock_(world.queue, static_cast<std::int64_t>(world.random.below(401)) - 200),
      random_(world.random.next()),
      limits_{random_.chance(1, 2) ? kTinyIndexBytes : std::size_t{32} << 20},
      cleans_(random_.chance(1, 2)),
      short_searches_(random_.chance(1, 2)) {
  if (clock_.drift_ppm() != 0) world.fault("clock drift");
  // For half of the nodes less than the consumers' credit.
  if (random_.chance(1, 2)) window_ = static_cast<std::uint32_t>(random_.between(1, 2));
}
SimNode::~SimNode() {
  checkpoint_.reset();
  close_all();  // what is on the disk goes before it
}

void SimNode::later(Duration delay, std::function<void()> event) {
  world_.queue.after(delay, [this, life = life_, event = std::move(event)] {
    if (life == life_ && up()) guarded(event);
  });
}

bool SimNode::serving() const {
  return up() && replica_->role() == replica::Role::live && !replica_->switching();
}

// --- life
// ----------------------------------------------------------------------------------------------------

void SimNode::start() {
  MS_ASSERT(!up(), "a node is started once per life");
  if (held_down) return;
  guarded([&] { try_start(); });
}

void SimNode::try_start() {
  replica::ReplicaOptions options;
  options.cluster = cluster();
  options.region = name_;
  options.node = name_ + "-1";
  options.state_hash_every = 50;
  options.ship_bytes_max = 4 << 10;
  options.ship_ahead_bytes_max = 16 << 10;
  if (short_searches_) {
    options.leader_limits = {.returned_max = static_cast<std::size_t>(random_.below(3)),
                             .available_max = static_cast<std::size_t>(random_.between(1, 2)),
                             .search_steps_max = random_.between(1, 3)};
  }
  auto recovered =
      replica::recover(lying_, "journal",
                       {.cluster = cluster(),
                        .node = options.node,
                        .segment_bytes = kSegmentBytes,
                        .release_step_bytes = kSegmentBytes / 4,
                        .record_bytes_max = kRecordBytesMax},
                       random_, {}, limits_, {.file_bytes = kPageFileBytes, .gather_bytes = 2 << 10});
  if (!recovered) {
    if (disk_full) {
      ++world_.report.reached["start waits for disk space"];
      world_.queue.after(milliseconds(500), [this, life = life_] {
        if (life == life_ && !up()) start();
      });
      return;
    }
    world_.report.violated("recovery: " + name_ + " cannot start: " + recovered.error().what);
    held_down = true;
    return;
  }
  journal_ = std::move(recovered->journal);
  pages_ = std::move(recovered->pages);
  auto& reached = world_.report.reached;
  if (journal_->recovery().torn_bytes > 0) ++reached["torn tail cut"];
  if (recovered->checkpoint > Lsn{}) ++reached["checkpoint used"];
  if (recovered->checkpoint > Lsn{} && pages_->pages_in_use() > 0)
    ++reached["restored from a checkpoint with pages"];
  if (!recovered->not_used.empty()) ++reached["checkpoint passed over"];
  loads_seen_ = recovered->state.memory_use().page_loads;
  if (recovered->ends_sealed) ++reached["restarted sealed"];
  world_.trace(name_ + " starts at LSN " + std::to_string(journal_->durable().lsn.value) + ", term " +
               std::to_string(recovered->last_term.value));
  world_.logs.recovered(name_, journal_->durable());
  Buffer unknown;
  for (Lsn next = world_.logs.known(name_).next(); next <= journal_->durable().lsn;) {
    const auto after = journal_->read(next, journal_->durable().lsn, 1 << 20, unknown);
    if (!after) {
      world_.report.violated("recovery: " + name_ + " cannot read back: " + after.error().what);
      break;
    }
    next = *after;
  }
  if (!unknown.empty()) ++reached["unacknowledged tail survived"];
  world_.logs.durable(name_, unknown);
  if (recovered->state.recompute_hash() != recovered->state.hash()) {
    world_.report.violated("state: " + name_ + "'s incremental hash differs from one made anew");
  }
  world_.logs.state(name_, journal_->durable(), recovered->state.hash());
  RegionTerm term = recovered->last_term;
  if (world_.options.canary == Canary::resume_term && term == led_before_ && term > RegionTerm{}) {
    term = RegionTerm{term.value - 1};
  } else {
    world_.leadership.believes(name_, term);
  }
  replica_ = std::make_unique<replica::Replica>(std::move(options), *journal_, std::move(recovered->state),
                                                term, recovered->ends_sealed, random_, now(), wall());
  later(world_.between(milliseconds(1), milliseconds(100)), [this] { poll_register(); });
  later(milliseconds(50), [this] { tick(); });
  later(milliseconds(100), [this] { maintain(); });
  step();
}

void SimNode::stop(End how) {
  if (!up()) return;
  world_.trace(name_ + (how == End::power_loss ? " loses power" : " is killed"));
  ++life_;
  if (how == End::power_loss) {
    disk_.crash(world_.random);
  } else {
    disk_.kill();
  }
  checkpoint_.reset();
  close_all();
  writing_ = false;
  break_clients();
}

void SimNode::stop_and_restart(End how, Duration pause) {
  if (!up()) return;
  stop(how);
  world_.queue.after(pause, [this, life = life_] {
    if (life == life_ && !up()) start();
  });
}

void SimNode::fail(const std::string& why) {
  ++world_.report.reached["fail-stop: " + why];
  stop_and_restart(world_.random.chance(1, 2) ? End::power_loss : End::process_killed,
                   world_.between(milliseconds(100), seconds(2)));
}

// --- the driver's loop
// -----------------------------------------------------------------------------------------

void SimNode::step() {
  if (!up() || stepping_) return;
  stepping_ = true;
  if (world_.options.canary == Canary::show_before_commit) show_uncommitted();
  std::vector<replica::Output> outputs;
  for (;;) {
    outputs.clear();
    replica_->outputs(outputs);
    if (outputs.empty()) break;
    const std::uint64_t life = life_;
    for (replica::Output& output : outputs) {
      act(output);
      if (life != life_ || !up()) break;
    }
    if (life != life_ || !up()) break;
  }
  stepping_ = false;
  if (!up()) return;
  world_.leadership.believes(name_, replica_->term());
  if (replica_->role() == replica::Role::live && replica_->leader().searching())
    ++world_.report.reached["a search went on in a later call"];
  if (!writing_ && replica_->take_batch(pending_)) {
    writing_ = true;
    later(world_.between(microseconds(20), microseconds(200)), [this] { write(); });
  }
}

void SimNode::act(replica::Output& output) {
  auto& reached = world_.report.reached;
  if (auto* shown = std::get_if<broker::Output>(&output)) {
    show(*shown);
  } else if (auto* send = std::get_if<replica::SendPacket>(&output)) {
    if (const auto packet = replication::decode(send->packet)) {
      if (const auto* ack = std::get_if<replication::Ack>(&packet->message)) {
        world_.logs.acknowledged(name_, ack->durable);
      }
    }
    if (wire != nullptr) wire->send(send->to, send->packet);
  } else if (auto* close = std::get_if<replica::ClosePeer>(&output)) {
    ++reached["peer closed"];
    if (close->why.find("speaks version") != std::string::npos)
      ++reached["a peer of another version was refused"];
    if (wire != nullptr) wire->close(close->peer);
  } else if (auto* role = std::get_if<replica::RoleChanged>(&output)) {
    constexpr const char* kNames[] = {"standby", "live", "sealed"};
    world_.trace(name_ + " is " + kNames[static_cast<std::size_t>(role->role)] + " in term " +
                 std::to_string(role->term.value) + " at LSN " + std::to_string(replica_->committed().value) +
                 ": " + role->why);
    world_.digest(static_cast<std::uint64_t>(role->role) + (role->term.value << 8));
    if (role->role == replica::Role::live) {
      ++reached["became live"];
      world_.leadership.leads(name_, life_, role->term);
      led_before_ = role->term;
      if (std::exchange(forced_, false)) ++reached["forced promotion"];
      declare_queues();
    } else {
      break_clients();
      if (role->role == replica::Role::sealed) ++reached["sealed"];
      if (role->why.find("diverged") != std::string::npos) {
        ++reached["diverged and refused"];
        if (!world_.publishes.any_fork()) {
          world_.report.violated("divergence: " + name_ + " without any forced promotion: " + role->why);
        }
      }
      if (role->why.find("following it") != std::string::npos) ++reached["former live follows"];
      if (role->restart_to_follow) {
        ++reached["sealed with undurable decisions"];
        later(milliseconds(10), [this] { stop_and_restart(End::process_killed, milliseconds(100)); });
      }
    }
  } else if (auto* term = std::get_if<replica::StoreTerm>(&output)) {
    if (const auto stored = replica::store_term(lying_, "journal", term->term); !stored)
      fail("term not stored");
  } else if (std::get_if<replica::Alarm>(&output) != nullptr) {
    ++reached["alarm"];
  } else if (auto* fatal = std::get_if<replica::Fatal>(&output)) {
    world_.report.violated("fatal at " + name_ + ": " + fatal->why);
    stop(End::process_killed);
    held_down = true;
  } else if (auto* ready = std::get_if<replica::SwitchReady>(&output)) {
    if (switch_ready) switch_ready(ready->at);
  }
}

void SimNode::write() {
  const auto done =
      pending_.raw ? journal_->write_raw(pending_.batch.bytes) : journal_->write(pending_.batch);
  if (!done) {
    if (done.error().code == journal::JournalErrorCode::disk_full) {
      ++world_.report.reached["write waits for disk space"];
      later(milliseconds(50), [this] { write(); });
      return;
    }
    return fail("write failed");
  }
  const bool slow = disk_stalls || random_.chance(1, 100);
  later(slow ? world_.between(milliseconds(50), milliseconds(500))
             : world_.between(microseconds(50), milliseconds(3)),
        [this] { sync(); });
}

void SimNode::sync() {
  const bool live = replica_->role() == replica::Role::live;
  lying_.lies = (world_.options.canary == Canary::ack_before_sync && live) ||
                (world_.options.canary == Canary::standby_ack_before_sync && pending_.raw);
  const auto done = journal_->sync();
  lying_.lies = false;
  if (!done) return fail("sync failed");
  world_.logs.durable(name_, pending_.batch.bytes);
  writing_ = false;
  replica_->written(pending_, now(), wall());
  replica_->recycle(std::move(pending_.batch));
  pending_ = {};
  if (replica_->state().applied() == journal_->durable().lsn) {
    world_.logs.state(name_, journal_->durable(), replica_->state().hash());
  }
  step();
}

void SimNode::tick() {
  replica_->tick(now(), wall());
  step();
  later(milliseconds(50), [this] { tick(); });
}

void SimNode::maintain() {
  later(world_.between(milliseconds(100), milliseconds(400)), [this] { maintain(); });
  if (cleans_) {
    const auto cleaned = replica_->clean({.segment_bytes = kCleanedSegmentBytes,
                                          .reserve_bytes = kRecordBytesMax + kSettlementReserve,
                                          .disk_full = disk_full},
                                         now(), wall());
    if (cleaned.messages > 0) ++world_.report.reached["a message was moved"];
    if (!cleaned.problem.empty() && !record_lost({})) {
      world_.report.violated("cleaning: " + name_ + " cannot move a message: " + cleaned.problem);
    }
    step();
  }
  if (writing_) return;
  for (int steps = 0; steps < 3 && journal_->wants_release(); ++steps) {
    if (!journal_->release_space()) return fail("space not given back");
    ++world_.report.reached["a file was given back in steps"];
  }
  if (const auto made = journal_->prepare_spare(); !made) {
    if (made.error().code != journal::JournalErrorCode::disk_full) return fail("no spare segment");
    ++world_.report.reached["spare segment waits for disk space"];
  }
  const std::uint64_t loads = replica_->state().memory_use().page_loads;
  if (loads > loads_seen_ && limits_.index_bytes == kTinyIndexBytes) {
    ++world_.report.reached["a page was loaded back"];
  }
  loads_seen_ = loads;
  if (random_.chance(1, 4)) replica_->write_ahead(4 << 10);
  if (!checkpoint_ && random_.chance(1, 4)) checkpoint_ = replica_->checkpoint();
  if (checkpoint_ && checkpoint_->lsn <= journal_->durable().lsn) {
    const auto made = std::move(*checkpoint_);
    checkpoint_.reset();
    if (const auto synced = made.sealed->sync(); !synced) {
      if (synced.error().code != DiskErrorCode::no_space) return fail("pages not durable");
      ++world_.report.reached["checkpoint waits for disk space"];
      return;
    }
    const auto stored = journal_->store_checkpoint(made.lsn, made.root);
    if (!stored && stored.error().code != journal::JournalErrorCode::disk_full)
      return fail("checkpoint failed");
    if (stored) {
      pages_->checkpoint_stored(made.sealed);
      const auto removed =
          journal_->remove_before(std::min(replica_->removable_before(made.lsn), made.needed));
      if (!removed) return fail("removal failed");
    }
  }
}

bool SimNode::record_lost(Lsn /*lsn*/) {
  if (reads_fail) world_.reached("a read failed in service");
  return reads_fail;
}

void SimNode::page_lost(const std::string& why) {
  world_.trace(name_ + " has lost a page: " + why);
  stepping_ = false;
  if (up()) return fail("page lost");
  journal_.reset();
  world_.queue.after(milliseconds(100), [this, life = life_] {
    if (life == life_ && !up()) start();
  });
}

// --- leadership
// --------------------------------------------------------------------------------------------------

void SimNode::poll_register() {
  later(world_.between(milliseconds(200), milliseconds(400)), [this] { poll_register(); });
  const auto record = world_.region_register.read();
  if (!record) {
    ++world_.report.reached["register could not be asked"];
    return;  // a live node goes on, no other begins
  }
  if (coordination::is_behind(*record, replica_->term()) &&
      world_.options.canary != Canary::trust_older_register) {
    world_.reached("a register that was put back was noticed");
    if (record->region == name_ && replica_->role() == replica::Role::standby &&
        replica_->status(now()).connected)
      world_.reached("the former live region was named again and did not lead");
    return;  // nor does it stop
  }
  if (record->region != name_) {
    if (record->term > replica_->term() || replica_->role() == replica::Role::live) seal(record->term);
    return;
  }
  if (record->phase == coordination::Phase::switching || replica_->role() == replica::Role::live) return;
  lead(*record);
}

void SimNode::lead(const coordination::RegionRecord& record) {
  const bool resume = world_.options.canary == Canary::resume_term && record.term == led_before_;
  coordination::RegionRecord mine = record;
  if (replica_->unfit_to_lead()) return;
  if (!replica_->may_lead_in(record.term) && !resume) {
    // Somebody may have led in the register's term, this node before its restart perhaps: take a new one
    // (R5).
    mine.term = std::max(record.term, replica_->term()).next();
    mine.by = "node " + name_;
    mine.reason = "restart";
    const auto swapped = world_.region_register.compare_and_swap(record.revision, mine);
    if (!swapped || swapped->outcome != coordination::CasOutcome::won) return;  // look again at the next poll
  }
  const bool forced = mine.phase == coordination::Phase::recovering;
  if (const auto begun = replica_->promote(mine.term, forced, mine.by, mine.reason, now(), wall()); !begun) {
    ++world_.report.reached["promotion refused"];
    return;
  }
  forced_ = forced;
  step();
}

void SimNode::seal(RegionTerm term) {
  if (!up()) return;
  guarded([&] {
    replica_->seal(term, "the register says that region " + other_region_ + " leads");
    step();
  });
}
void SimNode::begin_switch() {
  guarded([&] {
    replica_->begin_switch(now(), wall());
    break_clients();
    step();
  });
}
void SimNode::abort_switch() {
  guarded([&] {
    replica_->abort_switch(now(), wall());
    step();
  });
}

void SimNode::connected(replica::PeerId peer, bool outgoing) {
  guarded([&] {
    replica_->connected(peer, outgoing, now(), wall());
    step();
  });
}
void SimNode::packet(replica::PeerId from, BytesView bytes) {
  guarded([&] {
    replica_->packet(from, bytes, now(), wall());
    step();
  });
}
void SimNode::disconnected(replica::PeerId peer) {
  guarded([&] {
    replica_->disconnected(peer, now(), wall());
    step();
  });
}

}  // namespace mainstay::sim
