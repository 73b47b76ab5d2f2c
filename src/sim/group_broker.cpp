#include "sim/group_broker.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "group/superblock.h"

namespace mainstay::sim {
namespace {

constexpr std::uint64_t kSegmentBytes = 64 << 10;
// As if segments were shorter than they can be: cleaning is nearly constant.
constexpr std::uint64_t kCleanedSegmentBytes = 4 << 10;
constexpr std::size_t kTinyIndexBytes = 12 << 10;  // two or three pages
constexpr std::uint64_t kPageFileBytes = 8 << 10;
constexpr Duration kDiskStallMax = milliseconds(400);

Uuid cluster() {
  return Uuid{{2}};
}

journal::JournalOptions journal_options(const std::string& node) {
  journal::JournalOptions options;
  options.cluster = cluster();
  options.node = node;
  options.segment_bytes = kSegmentBytes;
  options.release_step_bytes = kSegmentBytes / 4;
  options.record_bytes_max = BrokerHost::kRecordBytesMax;
  return options;
}

}  // namespace

GroupBroker::GroupBroker(GroupWorld& world, GroupRegister& group_register, std::string name,
                         std::vector<std::string> others)
    : GroupMachine(world, group_register, name),
      BrokerHost(world, name),
      others_(std::move(others)),
      limits_{random_.chance(1, 2) ? kTinyIndexBytes : std::size_t{32} << 20},
      cleans_(random_.chance(1, 2)),
      copies_min_(world.copies_min) {
  if (random_.chance(1, 2)) window_ = static_cast<std::uint32_t>(random_.between(1, 2));
}

GroupBroker::~GroupBroker() {
  checkpoint_.reset();
  close_all();  // what is on the disk goes before it
}

// ---- life
// -----------------------------------------------------------------------------------------------------------

void GroupBroker::later(Duration delay, std::function<void()> event) {
  after(delay, [this, event = std::move(event)] { guarded(event); });
}

bool GroupBroker::serving() const {
  if (!up() || restart_ || replica_->role() != replica::Role::live) return false;
  const Instant now = const_cast<DriftingClock&>(clock_).now();
  return !member().accept_refusal(now) && !member().delivery_refusal(now);
}

bool GroupBroker::quiet() const {
  return up() && !restart_ && !writing_ && !received_ && replica_->bytes_under_way() == 0 &&
         replica_->state().applied().value == log_.durable && log_.hashes.size() == log_.durable;
}

void GroupBroker::could_not_start(const std::string& why) {
  close_all();
  GroupMachine::could_not_start(why);
}

void GroupBroker::start() {
  guarded([this] { try_start(); });
}

void GroupBroker::try_start() {
  if (const auto installed = install_copy(); !installed) return could_not_start(installed.error().what);
  const auto loaded = group::load_superblock(*disk_, "");
  if (!loaded) return could_not_start(loaded.error().what);
  group::Superblock block;
  if (loaded->block) block = *loaded->block;
  if (!loaded->damaged.empty()) superblock_was_mended();
  if (std::exchange(set_aside_due_, false)) {
    if (set_log_aside(block)) return try_start();
    if (disk_->exists("setting-aside")) return could_not_start("its log is half set aside");
  }
  std::vector<std::pair<Epoch, Lsn>> epochs;
  auto recovered = replica::recover(
      *disk_, "", journal_options(name_), random_,
      [&](const journal::Record& record) { epochs.emplace_back(record.header.epoch, record.header.lsn); },
      limits_, {.file_bytes = kPageFileBytes, .gather_bytes = 2 << 10});
  if (!recovered) {
    if (repair_.may_set_aside(now()) && replica::is_damaged(*disk_) && set_log_aside(block))
      return try_start();
    return could_not_start(recovered.error().what);
  }
  journal_ = std::move(recovered->journal);
  pages_ = std::move(recovered->pages);
  const journal::LogPosition end = journal_->durable();
  if (incarnation() != Uuid{} && journal_->incarnation() != incarnation()) disk_was_copied(end);
  if (journal_->recovery().torn_bytes > 0) world_.reached("torn tail cut");
  if (recovered->checkpoint > Lsn{}) world_.reached("checkpoint used");
  if (recovered->checkpoint > Lsn{} && pages_->pages_in_use() > 0)
    world_.reached("restored from a checkpoint with pages");
  if (!recovered->not_used.empty()) world_.reached("checkpoint passed over");
  loads_seen_ = recovered->state.memory_use().page_loads;

  // What was synced is there as it was; what was only written may be.
  log_.hashes.resize(std::min<std::size_t>(log_.hashes.size(), log_.durable));
  if (!log_.hashes.empty() && end.lsn.value >= log_.durable) {
    const auto hash = journal_->hash_at(Lsn{log_.durable});
    // Not scanned, because a checkpoint is behind it, and damaged: then reading it is what finds that out.
    if (hash ? *hash != log_.hashes.back() : !record_is_unreadable())
      world_.report.violated(name_ + " restarted with another record at LSN " + std::to_string(log_.durable));
  }
  if (end.lsn.value > log_.durable) {
    world_.reached("unacknowledged tail survived");
    Buffer unknown;
    for (Lsn next = Lsn{log_.durable}.next(); next <= end.lsn;) {
      const auto behind = journal_->read(next, end.lsn, 1 << 20, unknown);
      if (!behind) return could_not_start(behind.error().what);
      next = *behind;
    }
    for (BytesView rest(unknown); !rest.empty();) {
      journal::Record record;
      MS_ASSERT(journal::decode_record(rest, record) == journal::DecodeStatus::ok, "the journal checks");
      note(record);
      rest = rest.subspan(record.raw.size());
    }
  }
  GroupMachine::recovered(end.lsn, journal_->incarnation());
  if (recovered->state.recompute_hash() != recovered->state.hash())
    world_.report.violated("state: " + name_ + "'s incremental hash differs from one made anew");
  world_.logs.state(name_, end, recovered->state.hash());

  if (!loaded->block) {
    block.cluster = journal_->cluster();
    block.node = name_;
    block.incarnation = incarnation();
  }
  block.epochs.cut(end.lsn);
  for (const auto& [epoch, lsn] : epochs) block.epochs.note(epoch, lsn);

  replica::ReplicaOptions options;
  options.cluster = cluster();
  options.region = "east";
  options.node = name_;
  options.state_hash_every = 50;
  options.has_other_region = false;
  replica::ReplicaOptions::InGroup in;
  in.member = member_options(journal_->cluster());
  in.block = block;
  in.others = others_;
  in.copies_min = copies_min_;
  options.group = std::move(in);
  written_epoch_ = journal_->recovery().epoch;
  told_committed_ = {};
  told_epoch_ = {};
  first_led_ = {};
  last_contact_ = {};
  replica_ = std::make_unique<replica::Replica>(std::move(options), *journal_, std::move(recovered->state),
                                                recovered->last_term, recovered->ends_sealed, random_, now(),
                                                wall());
  copy_ = std::make_unique<GroupCopy>(copy_host());
  started();
  world_.trace(name_ + " starts, LSN " + std::to_string(log_.durable) + " from checkpoint " +
               std::to_string(recovered->checkpoint.value) + ", promised epoch " +
               std::to_string(block.promised.value));
  soon([this] { tick(); });
  later(world_.between(milliseconds(10), milliseconds(200)), [this] { maintain(); });
}

/// Beside the log that is here, a copy has become whole in the life before.
Result<void, Failure> GroupBroker::install_copy() {
  const auto aside = replica::finish_set_aside(*disk_);
  if (!aside) return aside.error();
  if (*aside) {
    world_.reached("a log was set aside after a crash within that");
    log_was_set_aside();
  }
  if (std::exchange(install_copy_, false)) {
    const auto begun = replica::begin_install(*disk_);
    if (!begun) world_.trace(name_ + " does not install its copy: " + begun.error().what);
  }
  const auto installed = replica::finish_install(*disk_);
  if (!installed) return installed.error();
  if (*installed) {
    world_.reached("a full copy was installed");
    repair_.log_was_replaced();
  }
  return {};
}

void GroupBroker::unreadable(Lsn first, std::size_t bytes, int failed) {
  if (failed == 1 && std::exchange(doubted_, true)) return;
  later(milliseconds(2), [this, first, bytes, failed] {
    Buffer raw;
    const auto read = journal_->read(first, bytes == 0 ? first : Lsn{UINT64_MAX}, bytes, raw);
    const bool again = !read && journal::is_unreadable(read.error());
    if (again && failed < 2) return unreadable(first, bytes, failed + 1);
    doubted_ = false;
    if (!again && member().status().cannot_cut) return restart_in_group({{}, "it can be read again"});
    if (again && repair_.damaged(first, read.error().what)) {
      world_.trace(name_ + " knows that its log is damaged: " + read.error().what);
      if (!damage) world_.report.violated(name_ + " takes its log for damaged, and its disk is well");
    }
  });
}

void GroupBroker::repair_log() {
  if (!repair_.is_damaged() || restart_) return;
  if (!damage) repair_.log_was_replaced();  // the operator has
  const group::MemberStatus status = member().status();
  group::LogRepair::Facts facts;
  facts.role = status.role;
  facts.moving = member().handing_over() || member().over();
  facts.cannot_cut = status.cannot_cut;
  facts.leader = status.leader;
  for (const std::string& node : status.in_sync)
    if (status.following.contains(node)) facts.heirs.push_back(node);
  const auto next = repair_.next(facts, now());
  if (const auto* move = std::get_if<group::LogRepair::HandOver>(&next)) {
    if (hand_over(move->to)) world_.reached("a leader with a damaged log gave the lead away");
  } else if (std::holds_alternative<group::LogRepair::SetAside>(next)) {
    set_aside_due_ = true;
    restart_in_group({{}, "its log is damaged"});
  }
}

bool GroupBroker::set_log_aside(const group::Superblock& block) {
  std::optional<coordination::GroupRecord> record = block.record;
  if (const auto& told = register_.record(); told && told->epoch >= block.seen) record = told;
  if (!record || !group::others_have_all(*record, name_)) {
    repair_.could_not_set_aside("nobody else is in sync", now());
    return false;
  }
  if (const auto done = replica::set_aside(*disk_); !done) {
    repair_.could_not_set_aside(done.error().what, now());
    return false;
  }
  repair_.was_set_aside(now());
  world_.reached("a damaged log was set aside");
  world_.trace(name_ + " has set its log aside");
  log_was_set_aside();
  return true;
}

/// A full copy has taken the place of what was here: to everybody a new disk.
void GroupBroker::disk_was_copied(const journal::LogPosition& end) {
  group_world_.checker.disk(incarnation(), nullptr);
  const auto copied = group_world_.copied.find(end.hash);
  if (copied == group_world_.copied.end() || copied->second.hashes.size() != end.lsn.value) {
    world_.report.violated(name_ + " has a disk that nobody gave it");
    return;
  }
  log_.hashes = copied->second.hashes;
  log_.durable = end.lsn.value;
  epochs_ = copied->second.epochs;
}

GroupCopy::Host GroupBroker::copy_host() {
  return {group_world_,
          name_,
          *disk_,
          *replica_,
          *journal_,
          random_,
          journal_options(name_),
          log_,
          epochs_,
          [this] { return now(); },
          [this](Duration delay, std::function<void()> event) {
            later(delay, [this, event = std::move(event)] {
              if (!restart_) event();
            });
          },
          [this] { step(); },
          [this] { maintain_checkpoint(); },
          [this](Lsn first, std::size_t bytes) { unreadable(first, bytes); }};
}

void GroupBroker::end_process() {
  copy_.reset();
  checkpoint_.reset();
  received_.reset();
  restart_.reset();
  pending_ = {};
  writing_ = stalled_ = fenced_ = doubted_ = false;
  close_all();
  break_clients();
}

void GroupBroker::page_lost(const std::string& why) {
  world_.trace(name_ + " has lost a page: " + why);
  world_.reached("a page was lost");
  if (up()) return fail("page lost");
  could_not_start(why);
}

void GroupBroker::restart_when_quiet() {
  if (writing_) {
    later(milliseconds(1), [this] { restart_when_quiet(); });
    return;
  }
  if (restart_->cut && restart_->cut->lsn < Lsn{log_.durable}) world_.reached("state rebuilt after a cut");
  const bool install = copy_->installs();
  cut_and_restart(*restart_, journal_options(name_));
  install_copy_ = install;
}

// ---- the driver's loop
// --------------------------------------------------------------------------------------------------------

void GroupBroker::connected(PeerId peer, const std::string& dialled) {
  feed([this, peer, dialled] { replica_->group_connected(peer, dialled, now(), wall()); });
}
void GroupBroker::packet(PeerId from, Buffer bytes) {
  feed([this, from, bytes = std::move(bytes)] {
    last_contact_ = world_.queue.now();
    replica_->group_packet(from, bytes, now(), wall());
  });
}
void GroupBroker::disconnected(PeerId peer) {
  feed([this, peer] {
    copy_->line_gone(peer);
    replica_->group_disconnected(peer, now(), wall());
  });
}

bool GroupBroker::hand_over(const std::string& to) {
  if (!up() || restart_ || frozen() || replica_->role() != replica::Role::live) return false;
  bool agreed = false;
  if (guarded([&] { agreed = !replica_->hand_over(to, now(), wall()); })) {
    if (guarded([this] { review_fence(); })) step();  // clients are sent on now
  }
  return agreed;
}

bool GroupBroker::promote() {
  if (!up() || restart_ || frozen()) return false;
  bool agreed = false;
  if (guarded([&] { agreed = !replica_->promote_node("the operator", kOrderLasts, now(), wall()); })) step();
  return agreed;
}

void GroupBroker::step() {
  if (!up() || stepping_) return;
  stepping_ = true;
  const std::uint64_t before = life();
  const bool lives = guarded([this] {
    handle_outputs();
    apply_received();
    if (up()) start_write();
  });
  stepping_ = false;
  if (!lives || !up() || life() != before) return;
  if (replica_->role() == replica::Role::live && replica_->leader().searching())
    world_.reached("a search went on in a later call");
}

void GroupBroker::handle_outputs() {
  const std::uint64_t before = life();
  std::vector<replica::Output> outputs;
  while (up() && life() == before) {
    tell_checkers();
    outputs.clear();
    replica_->outputs(outputs);
    if (outputs.empty()) return;
    for (replica::Output& output : outputs) {
      act(output);
      if (!up() || life() != before) return;
    }
  }
}

void GroupBroker::tell_checkers() {
  const Lsn committed = replica_->committed();
  if (committed > told_committed_) {
    group_world_.checker.committed(name_, log_, committed, told_committed_);
    told_committed_ = committed;
  }
  if (member().role() != group::Role::leader || member().epoch() == told_epoch_) return;
  world_.trace(name_ + " leads epoch " + std::to_string(member().epoch().value));
  world_.reached(told_epoch_ == Epoch{} ? "leadership began" : "leader went on under a new epoch");
  told_epoch_ = member().epoch();
  group_world_.checker.leads(told_epoch_, name_, life());
}

/// What a follower has acknowledged: applied while the leader's clients have their answers.
void GroupBroker::apply_received() {
  if (!up() || !received_) return;
  replica_->apply(*received_, wall());
  replica_->recycle(std::move(*received_));
  received_.reset();
  if (replica_->state().applied() == journal_->durable().lsn)
    world_.logs.state(name_, journal_->durable(), replica_->state().hash());
  handle_outputs();
}

void GroupBroker::act(replica::Output& output) {
  if (auto* shown = std::get_if<broker::Output>(&output)) {
    show(*shown);
  } else if (const auto* role = std::get_if<replica::RoleChanged>(&output)) {
    if (role->role == replica::Role::live) {
      world_.trace(name_ + " serves at LSN " + std::to_string(replica_->committed().value));
      world_.reached("became live");
      declare_queues();
    }
  } else if (const auto* term = std::get_if<replica::StoreTerm>(&output)) {
    if (const auto stored = replica::store_term(*disk_, "", term->term); !stored) fail("term not stored");
  } else if (const auto* alarm = std::get_if<replica::Alarm>(&output)) {
    heard_alarm(alarm->why);
  } else if (const auto* fatal = std::get_if<replica::Fatal>(&output)) {
    world_.report.violated("fatal at " + name_ + ": " + fatal->why);
  } else {
    act_in_group(output);
  }
}

void GroupBroker::act_in_group(replica::Output& output) {
  const auto answer = [this](void (replica::Replica::*tell)(
                          group::RegisterOutcome, const coordination::GroupState&, Instant, WallTime)) {
    return [this, tell, of = life()](group::RegisterOutcome outcome, const coordination::GroupState& state) {
      if (life() != of) return;
      feed([this, tell, outcome, state] {
        if (outcome != group::RegisterOutcome::unavailable && outcome != group::RegisterOutcome::unknown)
          last_contact_ = world_.queue.now();
        (*replica_.*tell)(outcome, state, now(), wall());
      });
    };
  };
  if (auto* packet = std::get_if<group::SendPacket>(&output)) {
    send(packet->to, std::move(packet->packet));
  } else if (const auto* closing = std::get_if<group::ClosePeer>(&output)) {
    close(closing->peer);
  } else if (const auto* store = std::get_if<group::StoreBlock>(&output)) {
    const Duration takes = disk_stalls ? world_.between(milliseconds(50), milliseconds(500))
                                       : world_.between(microseconds(50), milliseconds(3));
    after(takes, [this, block = store->block] {
      if (restart_) return;
      if (const auto stored = group::store_superblock(*disk_, "", block); !stored)
        return fail(stored.error().what);
      feed([this] {
        replica_->block_stored(now(), wall());
        if (checkpoint_) later(Duration{}, [this] { maintain_checkpoint(); });
      });
    });
  } else if (const auto* read = std::get_if<group::ReadLog>(&output)) {
    // Read at once, told later: meanwhile the line may end, or follow another leadership.
    replication::read_ahead(*journal_, *read->part);
    world_.reached("records were read ahead for a follower");
    after(world_.between(microseconds(20), milliseconds(5)), [this, to = read->to, part = read->part] {
      if (restart_) return;
      feed([this, to, part] { replica_->log_read(to, std::move(*part), now(), wall()); });
    });
  } else if (std::holds_alternative<group::ReadRegister>(output)) {
    register_.read(answer(&replica::Replica::register_read));
  } else if (const auto* change = std::get_if<group::ChangeRegister>(&output)) {
    register_.change(change->expected, change->next, answer(&replica::Replica::register_changed));
  } else if (const auto* need = std::get_if<group::NeedCopy>(&output)) {
    copy_->needed(*need);
  } else if (const auto* heard = std::get_if<group::CopyHeard>(&output)) {
    copy_->heard(*heard);
  } else if (const auto* part = std::get_if<group::Unreadable>(&output)) {
    if (!record_is_unreadable()) world_.report.violated(name_ + " cannot read its log: " + part->why);
    unreadable(part->first, member_options(cluster()).ship_bytes_max);
  } else if (const auto* again = std::get_if<group::Restart>(&output)) {
    restart_in_group(*again);
  }
}

void GroupBroker::restart_in_group(const group::Restart& restart) {
  world_.trace(name_ + " begins anew: " + restart.why);
  restart_ = restart;
  checkpoint_.reset();
  break_clients();
  soon([this] { restart_when_quiet(); });
}

void GroupBroker::start_write() {
  if (writing_ || restart_ || !replica_->take_batch(pending_)) return;
  for (BytesView rest(pending_.batch.bytes); !rest.empty();) {
    journal::Record record;
    MS_ASSERT(journal::decode_record(rest, record) == journal::DecodeStatus::ok, "a batch is whole");
    if (!pending_.raw && first_led_ == Lsn{}) first_led_ = record.header.lsn;
    note(record);
    if (record.header.epoch != std::exchange(written_epoch_, record.header.epoch) && random_.chance(1, 2)) {
      // A checkpoint just behind the beginning of an epoch.
      later(world_.between(microseconds(100), milliseconds(4)), [this] { maintain_checkpoint(); });
    }
    rest = rest.subspan(record.raw.size());
  }
  writing_ = true;
  write_begun_ = now();
  const std::uint64_t before = life();
  handle_outputs();  // the others write it while this node does
  if (!up() || life() != before) return;
  const Duration delay = disk_stalls ? world_.between(milliseconds(200), milliseconds(2'000))
                                     : world_.between(microseconds(40), milliseconds(2));
  // Written at once, durable later: a crash in between keeps any part of it.
  const auto written =
      pending_.raw ? journal_->write_raw(pending_.batch.bytes) : journal_->write(pending_.batch);
  if (!written) return fail(written.error().what);
  later(delay, [this] { wrote(); });
}

void GroupBroker::wrote() {
  if (const auto synced = journal_->sync(); !synced) return fail(synced.error().what);
  writing_ = false;
  log_.durable = journal_->durable().lsn.value;
  replica_->written(pending_, now(), wall());
  if (pending_.raw) {
    received_ = std::move(pending_.batch);
  } else {
    replica_->recycle(std::move(pending_.batch));
    if (replica_->state().applied() == journal_->durable().lsn)
      world_.logs.state(name_, journal_->durable(), replica_->state().hash());
  }
  pending_ = {};
  step();
}

// ---- time
// ------------------------------------------------------------------------------------------------------------

void GroupBroker::tick() {
  after(world_.between(milliseconds(20), milliseconds(40)), [this] { tick(); });
  if (restart_) return;
  if (!guarded([this] { review_fence(); })) return;
  const bool stalled = writing_ && now() - write_begun_ > kDiskStallMax;
  if (stalled != stalled_) {
    stalled_ = stalled;
    if (stalled) world_.reached("a stalled disk was noticed");
    if (!guarded([&] { replica_->disk_stalled(stalled, now(), wall()); })) return;
    step();
    if (!up() || restart_) return;
  }
  if (!guarded([this] { replica_->tick(now(), wall()); })) return;
  const std::uint64_t before = life();
  step();
  if (up() && life() == before && !restart_) copy_->tick();
  if (up() && life() == before && !restart_) guarded([this] { repair_log(); });
}

/// R7, R8: a leader that may neither accept nor deliver sends its clients away.
void GroupBroker::review_fence() {
  if (restart_ || replica_->role() != replica::Role::live) return;
  const bool fenced = member().accept_refusal(now()) || member().delivery_refusal(now());
  if (fenced == std::exchange(fenced_, fenced) || !fenced) return;
  world_.reached("a leader sent its clients away");
  leave_clients();
}

void GroupBroker::leave_clients() {
  for (const broker::ConsumerId consumer : consumers())
    replica_->leader().unsubscribe(consumer, now(), wall(), replica_->leader_outputs());
  break_clients();
}

void GroupBroker::maintain() {
  later(world_.between(milliseconds(50), milliseconds(400)), [this] { maintain(); });
  if (restart_) return;
  if (cleans_ && !fenced_) {
    const auto cleaned = replica_->clean({.segment_bytes = kCleanedSegmentBytes,
                                          .reserve_bytes = kRecordBytesMax + kSettlementReserve,
                                          .disk_full = disk_full},
                                         now(), wall());
    if (cleaned.messages > 0) world_.reached("a message was moved");
    if (cleaned.unreadable) unreadable(*cleaned.unreadable, 0);
    if (!cleaned.problem.empty() && !record_is_unreadable())
      world_.report.violated("cleaning: " + name_ + " cannot move a message: " + cleaned.problem);
    const std::uint64_t before = life();
    step();
    if (!up() || life() != before || restart_) return;
  }
  for (int steps = 0; steps < 3 && journal_->wants_release(); ++steps)
    if (!journal_->release_space()) return fail("space not given back");
  if (const auto made = journal_->prepare_spare(); !made) {
    if (made.error().code != journal::JournalErrorCode::disk_full) return fail(made.error().what);
    world_.reached("spare segment waits for disk space");
  }
  const std::uint64_t loads = replica_->state().memory_use().page_loads;
  if (loads > std::exchange(loads_seen_, loads) && limits_.index_bytes == kTinyIndexBytes)
    world_.reached("a page was loaded back");
  if (random_.chance(1, 4)) replica_->write_ahead(4 << 10);
  if (random_.chance(1, 4) || checkpoint_ || copy_->wants_cut()) maintain_checkpoint();
}

void GroupBroker::maintain_checkpoint() {
  if (restart_) return;
  if (!checkpoint_) {
    checkpoint_ = replica_->checkpoint();
    if (!checkpoint_) return;
    copy_->cut_begins(*checkpoint_);
    keep_from_ = group_world_.full_copies ? std::min(checkpoint_->needed, checkpoint_->lsn.next())
                                          : replica_->removable_before(checkpoint_->lsn);
    if (const auto kept = copy_->keeps()) keep_from_ = std::min(keep_from_, *kept);
  }
  if (!replica_->may_store(*checkpoint_, now(), wall())) {
    world_.reached(checkpoint_->lsn > replica_->committed() ? "checkpoint waits for its records' commit"
                                                            : "checkpoint waits for its superblock");
    return step();
  }
  const auto made = *std::exchange(checkpoint_, std::nullopt);
  if (const auto synced = made.sealed->sync(); !synced) {
    if (synced.error().code != DiskErrorCode::no_space) return fail("pages not durable: sync failed");
    world_.reached("checkpoint waits for disk space");
    return copy_->cut_failed(made);
  }
  if (const auto stored = journal_->store_checkpoint(made.lsn, made.root); !stored) {
    if (stored.error().code != journal::JournalErrorCode::disk_full) return fail(stored.error().what);
    world_.reached("checkpoint waits for disk space");
    return copy_->cut_failed(made);
  }
  pages_->checkpoint_stored(made.sealed);
  world_.reached("checkpoint stored");
  const std::uint64_t before = life();
  check_epochs(made.lsn);
  if (!up() || life() != before) return;
  copy_->cut_stored(made);
  if (life() != before) return;
  if (!up() || group_world_.whole_logs) return;
  const auto begins = [this] {
    const auto extents = journal_->extents();
    return extents.empty() ? Lsn{} : extents.front().first;
  };
  const Lsn first = begins();
  if (const auto removed = journal_->remove_before(keep_from_); !removed) return fail("removal failed");
  if (begins() <= first) return;
  world_.reached("segments removed");
  if (!group_world_.full_copies) group_world_.checker.removed(name_, log_, begins());
}

/// Recovery may begin behind this checkpoint now: the superblock must tell who led up to there.
void GroupBroker::check_epochs(Lsn checkpoint) {
  if (checkpoint == Lsn{}) return;
  const auto block = group::read_superblock(*disk_, "");
  if (!block) return fail(block.error().what);
  const Epoch epoch = epochs_[checkpoint.value - 1];
  auto first = checkpoint.value;
  while (first > 1 && epochs_[first - 2] == epoch) --first;
  if (block->block) {
    for (const group::EpochStart& entry : block->block->epochs.entries())
      if (entry == group::EpochStart{epoch, Lsn{first}}) return;
  }
  world_.report.violated("epochs: " + name_ + " has a checkpoint of LSN " + std::to_string(checkpoint.value) +
                         ", and its superblock does not tell that epoch " + std::to_string(epoch.value) +
                         " began at LSN " + std::to_string(first));
}

// ---- what leaves for clients
// ---------------------------------------------------------------------------------------------------------

bool GroupBroker::refuses_publishes() {
  if (member().copies() >= copies_min_) return false;
  world_.reached("publish refused: too few copies");
  return true;
}

void GroupBroker::shown(Lsn after) {
  if (after == Lsn{}) return;
  group_world_.checker.shown(name_, log_, after);
}

void GroupBroker::shown_far(Lsn after) {
  group_world_.checker.on_two_disks(name_, log_, after);
}

bool GroupBroker::may_deliver() {
  if (const auto refused = member().delivery_refusal(now())) {
    world_.reached("delivery held back under a stale lease");
    fenced_ = true;
    leave_clients();
    return false;
  }
  // Told apart from the member: by what reached this process, in true time.
  // Where the register names nobody else, nobody else may deliver (R4), and R7's time holds. Put back to a
  // record that names others it changes nothing: they have seen more, and refuse it.
  const group::MemberOptions options;
  const auto& record = group_world_.checker.record();
  const bool alone = record.isr.size() == 1 && record.isr.contains({name_, incarnation()});
  const Duration most = alone ? options.alone_without_register_max : options.lease;
  if (world_.queue.now() - last_contact_ > most + milliseconds(1)) {
    world_.report.violated("R8: " + name_ + " delivers and has heard of nobody for " +
                           std::to_string((world_.queue.now() - last_contact_).milliseconds()) + " ms");
  }
  if (first_led_ == Lsn{}) {
    world_.report.violated("R1: " + name_ + " delivers and its leadership has no record");
  } else {
    group_world_.checker.on_all_eligible(name_ + " delivers", log_, first_led_);
  }
  return true;
}

}  // namespace mainstay::sim
