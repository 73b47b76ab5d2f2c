#include "sim/sim_node.h"

#include <algorithm>

#include "base/assert.h"
#include "broker/effects.h"
#include "replication/packets.h"

namespace mainstay::sim {
namespace {

constexpr std::uint64_t kSegmentBytes = 64 << 10;
constexpr std::uint64_t kRecordBytesMax = 8 << 10;
constexpr std::uint64_t kSettlementReserve = 8 << 10;
// As if segments were shorter than they can be: cleaning is nearly constant.
constexpr std::uint64_t kCleanedSegmentBytes = 4 << 10;
constexpr std::size_t kTinyIndexBytes = 12 << 10;  // two or three pages
constexpr std::uint64_t kPageFileBytes = 8 << 10;

Uuid cluster() {
  Uuid id;
  id.bytes[0] = 0x51;
  return id;
}

broker::QueueOptions queue_options(const std::string& name) {
  broker::QueueOptions options;
  options.requires_session = name == "sessions";
  options.duplicate_detection = true;
  options.duplicate_window_ms = 7LL * 24 * 3600 * 1000;
  options.lock_duration_ms = 5'000;
  options.max_delivery_count = 2000;
  return options;
}

}  // namespace

SimNode::SimNode(World& world, std::string region, std::string other_region)
    : world_(world),
      region_(std::move(region)),
      other_region_(std::move(other_region)),
      disk_(region_),
      lying_(disk_),
      clock_(world.queue, static_cast<std::int64_t>(world.random.below(401)) - 200),
      random_(world.random.next()),
      limits_{random_.chance(1, 2) ? kTinyIndexBytes : std::size_t{32} << 20},
      cleans_(random_.chance(1, 2)),
      short_searches_(random_.chance(1, 2)),
      window_(random_.chance(1, 2) ? static_cast<std::uint32_t>(random_.between(1, 2)) : 1000) {}
SimNode::~SimNode() = default;

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
  options.region = region_;
  options.node = region_ + "-1";
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
    world_.report.violated("recovery: " + region_ + " cannot start: " + recovered.error().what);
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
  world_.trace(region_ + " starts at LSN " + std::to_string(journal_->durable().lsn.value) + ", term " +
               std::to_string(recovered->last_term.value));
  world_.logs.recovered(region_, journal_->durable());
  Buffer unknown;
  for (Lsn next = world_.logs.known(region_).next(); next <= journal_->durable().lsn;) {
    const auto after = journal_->read(next, journal_->durable().lsn, 1 << 20, unknown);
    if (!after) {
      world_.report.violated("recovery: " + region_ + " cannot read back: " + after.error().what);
      break;
    }
    next = *after;
  }
  if (!unknown.empty()) ++reached["unacknowledged tail survived"];
  world_.logs.durable(region_, unknown);
  if (recovered->state.recompute_hash() != recovered->state.hash()) {
    world_.report.violated("state: " + region_ + "'s incremental hash differs from one made anew");
  }
  world_.logs.state(region_, journal_->durable(), recovered->state.hash());
  RegionTerm term = recovered->last_term;
  if (world_.options.canary == Canary::resume_term && term == led_before_ && term > RegionTerm{}) {
    term = RegionTerm{term.value - 1};
  } else {
    world_.leadership.believes(region_, term);
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
  world_.trace(region_ + (how == End::power_loss ? " loses power" : " is killed"));
  ++life_;
  if (how == End::power_loss) {
    disk_.crash(world_.random);
  } else {
    disk_.kill();
  }
  replica_.reset();
  checkpoint_.reset();
  pages_.reset();
  journal_.reset();
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

void SimNode::break_clients() {
  std::map<ClientPort*, std::shared_ptr<ClientPort>> ports;
  std::vector<std::shared_ptr<ClientPort>> in_order;
  const auto take = [&](const std::shared_ptr<ClientPort>& port) {
    if (ports.emplace(port.get(), port).second) in_order.push_back(port);
  };
  for (const auto& [tag, asked] : publishes_) take(asked.port);
  for (const auto& [tag, asked] : settlements_) take(asked.port);
  for (const auto& [tag, asked] : fetches_) take(asked.port);
  for (const auto& [id, receiving] : consumers_) take(receiving.port);
  publishes_.clear();
  settlements_.clear();
  fetches_.clear();
  consumers_.clear();
  for (const auto& port : in_order) port->broken();
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
  world_.leadership.believes(region_, replica_->term());
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
        world_.logs.acknowledged(region_, ack->durable);
      }
    }
    if (wire != nullptr) wire->send(send->to, send->packet);
  } else if (auto* close = std::get_if<replica::ClosePeer>(&output)) {
    ++reached["peer closed"];
    if (wire != nullptr) wire->close(close->peer);
  } else if (auto* role = std::get_if<replica::RoleChanged>(&output)) {
    constexpr const char* kNames[] = {"standby", "live", "sealed"};
    world_.trace(region_ + " is " + kNames[static_cast<std::size_t>(role->role)] + " in term " +
                 std::to_string(role->term.value) + " at LSN " + std::to_string(replica_->committed().value) +
                 ": " + role->why);
    world_.digest(static_cast<std::uint64_t>(role->role) + (role->term.value << 8));
    if (role->role == replica::Role::live) {
      ++reached["became live"];
      world_.leadership.leads(region_, life_, role->term);
      led_before_ = role->term;
      if (std::exchange(forced_, false)) ++reached["forced promotion"];
      for (const char* name : {"sessions", "plain"}) {
        (void)replica_->leader().declare_queue(name, queue_options(name), wall());
      }
    } else {
      break_clients();
      if (role->role == replica::Role::sealed) ++reached["sealed"];
      if (role->why.find("diverged") != std::string::npos) {
        ++reached["diverged and refused"];
        if (!world_.publishes.any_fork()) {
          world_.report.violated("divergence: " + region_ + " without any forced promotion: " + role->why);
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
    world_.report.violated("fatal at " + region_ + ": " + fatal->why);
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
  world_.logs.durable(region_, pending_.batch.bytes);
  writing_ = false;
  replica_->written(pending_, now(), wall());
  replica_->recycle(std::move(pending_.batch));
  pending_ = {};
  if (replica_->state().applied() == journal_->durable().lsn) {
    world_.logs.state(region_, journal_->durable(), replica_->state().hash());
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
    if (!cleaned.problem.empty()) {
      world_.report.violated("cleaning: " + region_ + " cannot move a message: " + cleaned.problem);
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

void SimNode::page_lost(const std::string& why) {
  world_.trace(region_ + " has lost a page: " + why);
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
  if (record->region != region_) {
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
    mine.by = "node " + region_;
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

// --- clients
// ---------------------------------------------------------------------------------------------------------

bool SimNode::publish(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                      const Message& message) {
  bool taken = false;
  guarded([&] { taken = try_publish(port, client_tag, message); });
  return taken;
}

bool SimNode::try_publish(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                          const Message& message) {
  if (!serving()) return false;
  if (journal_->room() < replica_->bytes_under_way() + kRecordBytesMax + kSettlementReserve) {
    ++world_.report.reached["publish refused: disk full"];
    // The link ends: were only this message refused, those behind it could overtake it.
    return false;
  }
  const auto queue = replica_->state().find_queue(message.queue);
  if (!queue) return false;
  broker::Publish publish;
  publish.tag = ++world_.next_id;
  publish.queue = *queue;
  publish.message_id = message.id;
  publish.session_id = message.session;
  publish.has_session = !message.session.empty();
  // Long ones too, so that segments fill up; the same message is always as long.
  const std::string payload =
      message.id + "/" + std::to_string(message.index) + std::string(message.index * 37 % 16 * 400, ' ');
  publish.payload = as_bytes(payload);
  if (message.scheduled_in.ns > 0)
    publish.scheduled_enqueue = WallTime{wall().ms + message.scheduled_in.milliseconds()};
  if (world_.options.canary != Canary::confirm_without_standby) publish.durability = message.durability;
  publishes_[publish.tag] = {port, client_tag, message.id, false,
                             message.durability == broker::Durability::global};
  replica_->leader().publish(publish, wall(), replica_->leader_outputs());
  step();
  return true;
}

bool SimNode::subscribe(const std::shared_ptr<ClientPort>& port, broker::ConsumerId consumer,
                        const std::string& queue, bool session) {
  bool taken = false;
  guarded([&] { taken = try_subscribe(port, consumer, queue, session); });
  return taken;
}

bool SimNode::try_subscribe(const std::shared_ptr<ClientPort>& port, broker::ConsumerId consumer,
                            const std::string& queue, bool session) {
  if (!serving()) return false;
  const auto found = replica_->state().find_queue(queue);
  if (!found) return false;
  broker::Subscribe subscribe;
  subscribe.consumer = consumer;
  subscribe.queue = *found;
  if (session) {
    subscribe.session = broker::Subscribe::Session::next_available;
    subscribe.session_deadline = now() + seconds(3);
  }
  subscribe.window = window_;
  consumers_[consumer] = {port};
  replica_->leader().subscribe(subscribe, now(), wall(), replica_->leader_outputs());
  step();
  return true;
}

void SimNode::add_credit(broker::ConsumerId consumer, std::uint32_t credit) {
  guarded([&] {
    if (!serving() || !consumers_.contains(consumer)) return;
    replica_->leader().set_credit(consumer, credit, false, now(), wall(), replica_->leader_outputs());
    step();
  });
}

void SimNode::unsubscribe(broker::ConsumerId consumer) {
  guarded([&] {
    if (!serving() || consumers_.erase(consumer) == 0) return;
    replica_->leader().unsubscribe(consumer, now(), wall(), replica_->leader_outputs());
    step();
  });
}

bool SimNode::settle(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                     broker::LockToken token, broker::Settlement how, const std::string& id) {
  bool taken = false;
  guarded([&] { taken = try_settle(port, client_tag, token, how, id); });
  return taken;
}

bool SimNode::try_settle(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                         broker::LockToken token, broker::Settlement how, const std::string& id) {
  if (!serving()) return false;
  broker::Leader::Settle settle;
  settle.tag = ++world_.next_id;
  settle.token = token;
  settle.how = how;
  const bool removes = how == broker::Settlement::complete || how == broker::Settlement::dead_letter;
  settlements_[settle.tag] = {port, client_tag, id, removes};
  world_.trace(region_ + " is asked to settle " + id + " as " + std::to_string(static_cast<int>(how)));
  replica_->leader().settle(settle, now(), wall(), replica_->leader_outputs());
  step();
  return true;
}

std::uint64_t SimNode::active_messages() {
  std::uint64_t active = 0;
  guarded([&] {
    for (const auto queue : replica_->state().queues()) {
      const broker::QueueStats stats = replica_->state().stats(queue);
      active += stats.active + stats.deferred + stats.scheduled;
    }
  });
  return active;
}

void SimNode::show_uncommitted() {
  if (replica_->role() != replica::Role::live) return;
  auto outputs = std::move(replica_->leader_outputs());
  replica_->leader_outputs().clear();
  for (broker::Output& output : outputs) show(output);
}

void SimNode::show(broker::Output& output) {
  if (auto* done = std::get_if<broker::PublishDone>(&output)) {
    const auto asked = publishes_.find(done->tag);
    if (asked == publishes_.end()) return;
    if (!done->error) world_.logs.shown(region_, done->after);
    if (!done->error && asked->second.global) world_.logs.shown_globally(region_, done->after);
    world_.trace(region_ + " stored " + asked->second.id + " at LSN " + std::to_string(done->after.value));
    if (done->duplicate) ++world_.report.reached["publish was a duplicate"];
    asked->second.port->publish_done(asked->second.client_tag, !done->error, done->after, replica_->term(),
                                     done->duplicate);
    publishes_.erase(asked);
  } else if (auto* handed = std::get_if<broker::Deliver>(&output)) {
    world_.logs.shown(region_, handed->after);
    deliver(*handed);
  } else if (auto* settled = std::get_if<broker::SettleDone>(&output)) {
    const auto asked = settlements_.find(settled->tag);
    if (asked == settlements_.end()) return;
    world_.trace(region_ + (settled->error ? " refuses to settle " : " settled ") + asked->second.id +
                 " at LSN " + std::to_string(settled->after.value) +
                 (settled->error ? ": " + settled->error->what : ""));
    if (!settled->error) {
      world_.logs.shown(region_, settled->after);
      if (asked->second.removes)
        world_.settlements.removed(asked->second.id, settled->after, replica_->term());
    } else {
      ++world_.report.reached["settlement refused"];
    }
    asked->second.port->settle_done(asked->second.client_tag, !settled->error);
    settlements_.erase(asked);
  } else if (auto* fetched = std::get_if<broker::Fetched>(&output)) {
    show_fetched(*fetched);
  } else if (auto* ended = std::get_if<broker::Unsubscribed>(&output)) {
    const auto found = consumers_.find(ended->consumer);
    if (found == consumers_.end()) return;
    const auto keep = found->second.port;
    consumers_.erase(found);
    keep->unsubscribed(ended->consumer);
  }
}

bool SimNode::fetch_deferred(const std::shared_ptr<ClientPort>& port, const std::string& queue) {
  bool taken = false;
  guarded([&] {
    if (!serving()) return;
    const auto found = replica_->state().find_queue(queue);
    if (!found) return;
    broker::Leader::Peek peek;
    peek.tag = ++world_.next_id;
    peek.queue = *found;
    peek.from = broker::SequenceNumber{1};
    peek.max = 200;
    fetches_[peek.tag] = {port, *found, true};
    replica_->leader().peek(peek, replica_->leader_outputs());
    step();
    taken = true;
  });
  return taken;
}

void SimNode::show_fetched(const broker::Fetched& fetched) {
  const auto found = fetches_.find(fetched.tag);
  if (found == fetches_.end()) return;
  const Fetching asked = std::move(found->second);
  fetches_.erase(found);
  world_.logs.shown(region_, fetched.after);
  if (asked.looking) {
    std::vector<broker::SequenceNumber> deferred;
    for (const broker::Delivery& seen : fetched.messages) {
      if (seen.state == broker::MessageState::scheduled)
        ++world_.report.reached["a scheduled message was seen"];
      if (seen.state == broker::MessageState::deferred) deferred.push_back(seen.sequence);
    }
    if (deferred.empty() || replica_->role() != replica::Role::live) return;
    // One at a time, any: those before it may be locked.
    const broker::SequenceNumber one = deferred[world_.random.below(deferred.size())];
    broker::Leader::ReceiveDeferred receive;
    receive.tag = ++world_.next_id;
    receive.queue = asked.queue;
    receive.sequences = {&one, 1};
    fetches_[receive.tag] = {asked.port, asked.queue, false};
    replica_->leader().receive_deferred(receive, now(), wall(), replica_->leader_outputs());
    return;
  }
  if (fetched.error) {
    ++world_.report.reached["a deferred message was locked"];
    return;
  }
  for (const broker::Delivery& delivery : fetched.messages) {
    ++world_.report.reached["a deferred message was received"];
    if (auto delivered = read_delivery(delivery)) asked.port->deliver(std::move(*delivered));
  }
}

std::optional<ClientPort::Delivered> SimNode::read_delivery(const broker::Delivery& delivery) {
  Buffer raw;
  journal::Record record;
  broker::StoredMessage stored;
  if (world_.options.canary == Canary::show_before_commit && delivery.lsn > journal_->durable().lsn)
    return std::nullopt;
  const auto read = journal_->read(delivery.lsn, delivery.lsn, 1, raw);
  if (!read || journal::decode_record(raw, record) != journal::DecodeStatus::ok ||
      !broker::read_stored_message(record, stored)) {
    world_.report.violated("delivery: " + region_ + " has no message at LSN " +
                           std::to_string(delivery.lsn.value) + (read ? "" : ": " + read.error().what));
    return std::nullopt;
  }
  ClientPort::Delivered delivered;
  delivered.consumer = delivery.consumer;
  delivered.token = delivery.token;
  delivered.id = stored.message_id;
  delivered.session = stored.has_session ? std::string(stored.session_id) : "";
  const std::string payload(as_text(stored.payload));
  delivered.index = std::stoull(payload.substr(payload.find('/') + 1));
  delivered.maybe_delivered = delivery.maybe_delivered;
  if (delivered.maybe_delivered) ++world_.report.reached["delivered again after a failover"];
  if (!delivered.session.empty()) world_.order.delivered(delivered.session, delivered.index);
  world_.trace(region_ + " delivers " + delivered.id + " of LSN " + std::to_string(delivery.lsn.value) +
               " to consumer " + std::to_string(delivered.consumer));
  world_.digest(delivery.lsn.value);
  return delivered;
}

void SimNode::deliver(const broker::Deliver& output) {
  const auto receiving = consumers_.find(output.delivery.consumer);
  auto delivered = read_delivery(output.delivery);
  if (!delivered || receiving == consumers_.end()) return;
  const broker::ConsumerId consumer = delivered->consumer;
  Receiving& link = receiving->second;
  ++link.handed;
  if (link.handed - link.taken == window_) ++world_.report.reached["a delivery window was full"];
  later(world_.between(microseconds(100), milliseconds(20)), [this, consumer] { taken_by_link(consumer); });
  link.port->deliver(std::move(*delivered));
}

/// The link has room for one more: that is when the next message leaves a full window.
void SimNode::taken_by_link(broker::ConsumerId consumer) {
  const auto receiving = consumers_.find(consumer);
  if (receiving == consumers_.end() || replica_->role() != replica::Role::live) return;
  replica_->leader().taken(consumer, ++receiving->second.taken, now(), wall(), replica_->leader_outputs());
  step();
}

}  // namespace mainstay::sim
