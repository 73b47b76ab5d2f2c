#include "node/node.h"

#include <algorithm>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "broker/effects.h"
#include "io/posix_disk.h"
#include "node/amqp_streams.h"
#include "node/control_listener.h"
#include "node/peer_wire.h"
#include "node/store_lease.h"
#include "replica/copy_builder.h"
#include "replica/recover.h"

namespace mainstay::node {
namespace {

constexpr Duration kReconnectAfter = milliseconds(250);
constexpr Duration kSpareRetry = milliseconds(500);
constexpr Duration kCheckpointRetry = milliseconds(500);
// A step of release_policy.h; on a full disk so many at once.
constexpr std::uint64_t kReleaseBytes = 1U << 20;
constexpr int kReleaseStepsWhenFull = 64;
constexpr Duration kAskFreeEvery = seconds(1);
constexpr std::size_t kWriteAheadBytes = 256U << 10;
constexpr Duration kCleanEvery = milliseconds(10);
constexpr Duration kCleanRetry = seconds(10);
constexpr Duration kTickMax = milliseconds(100);
constexpr std::size_t kPacketBytesMax = 80U << 20;
constexpr std::uint64_t kControlBodyBytesMax = 64U << 20;
// A publish becomes one record: its header and our fields in front of the payload.
constexpr std::size_t kRecordOverheadMax = 1024;

/// Looking for work helps only who has a core for it that nobody else needs: the loop has one, too.
Duration io_thread_spin(const NodeOptions& options) {
  return std::thread::hardware_concurrency() >= options.io_threads + 3 ? options.spin : Duration{};
}

}  // namespace

Node::Node(NodeOptions options, io::Loop& loop, Clock& clock, LogSink log,
           std::function<void(const std::string&, int)> fatal)
    : options_(std::move(options)),
      loop_(loop),
      clock_(clock),
      log_(std::move(log)),
      fatal_(std::move(fatal)),
      started_(clock.now()),
      timer_(loop),
      register_timer_(loop),
      retry_timer_(loop),
      rejoin_timer_(loop),
      retry_read_(loop),
      bodies_(options_.body_cache_bytes),
      pace_(options_.group ? options_.group->pace : CatchUpPaceOptions{}) {}

Node::~Node() = default;

void Node::log(LogLevel level, const std::string& text) const {
  log_(level, text);
}

Result<std::unique_ptr<Node>, Failure> Node::start(NodeOptions options, io::Loop& loop, Clock& clock,
                                                   LogSink log,
                                                   std::function<void(const std::string&, int)> fatal) {
  std::unique_ptr<Node> node(new Node(std::move(options), loop, clock, std::move(log), std::move(fatal)));
  if (auto recovered = node->recover(); !recovered) return recovered.error();
  if (auto listening = node->listen(); !listening) return listening.error();
  node->block_worker_ = std::make_unique<io::Worker>();
  node->journal_worker_ = std::make_unique<io::Worker>();
  node->spare_worker_ = std::make_unique<io::Worker>();
  node->pages_worker_ = std::make_unique<io::Worker>();
  node->register_worker_ = std::make_unique<io::Worker>();
  node->read_worker_ = std::make_unique<io::Worker>();
  node->maintain();
  if (node->group_ == nullptr) {
    node->poll_register();
  } else {
    node->region_known_ = true;  // the group's register is asked by its member
    node->schedule_pump();
  }
  node->arm_timer();
  return node;
}

journal::JournalOptions Node::journal_options() const {
  journal::JournalOptions options;
  options.cluster = options_.cluster;
  options.node = options_.name;
  options.segment_bytes = options_.segment_bytes;
  // Two: while one is taken and the next is being made, or waits for a checkpoint to free one, there is
  // another.
  options.spare_segments = 2;
  options.spare_segments_max = 16;
  options.release_step_bytes = kReleaseBytes;
  if (options_.lease != nullptr) shared_store_options(options, *options_.lease);
  return options;
}

Result<void, Failure> Node::recover() {
  const Instant begun = clock_.now();
  auto disk = open_disk();
  if (!disk) return disk.error();
  auto removing_later = DeferredRemoval::open(std::move(*disk));
  if (!removing_later) return Failure{removing_later.error().what};
  disk_ = std::move(*removing_later);
  if (register_ == nullptr && !options_.group) {
    auto reg = etcd::open_register(options_.register_place, clock_);
    if (!reg) return Failure{reg.error().what};
    register_ = std::move(*reg);
  }

  group::Superblock block;
  if (options_.group) {
    if (auto installed = install_copy(); !installed) return installed;
    if (auto prepared = prepare_group(block); !prepared) return prepared.error();
    const std::string damage = repair_.what();  // forgotten when the log is set aside
    if (std::exchange(set_aside_due_, false) && !damage.empty()) {
      if (set_damage_aside(block, damage, Damage::certain)) return recover();
      // One that was begun is not left half done.
      const auto finished = replica::finish_set_aside(*disk_);
      if (!finished) return finished.error();
      if (*finished) return recover();
    }
  }
  struct Stretch {
    Epoch epoch;
    Lsn first, last;
  };
  std::vector<Stretch> epochs;  // of what is read of the log
  auto recovered = replica::recover(
      *disk_, "", journal_options(), *random_,
      [&epochs](const journal::Record& record) {
        if (epochs.empty() || epochs.back().epoch != record.header.epoch)
          epochs.push_back({record.header.epoch, record.header.lsn, {}});
        epochs.back().last = record.header.lsn;
      },
      broker::StateLimits{options_.index_bytes, options_.index_hot_bytes});
  if (!recovered) {
    if (set_damage_aside(block, recovered.error().what, Damage::suspected)) return recover();
    return Failure{recovered.error().what};
  }
  journal_ = std::move(recovered->journal);
  pages_ = std::move(recovered->pages);
  if (!recovered->not_used.empty()) log(LogLevel::warning, "not used: " + recovered->not_used);
  const journal::RecoveryReport& report = journal_->recovery();
  recovery_took_ = clock_.now() - begun;
  log(LogLevel::info, "recovered " + disk_->describe("") + " in " +
                          std::to_string(recovery_took_.ns / 1'000'000) + " ms: log ends at LSN " +
                          std::to_string(report.end.lsn.value) + " (hash " + hex(report.end.hash) + "), " +
                          std::to_string(recovered->state.messages_total()) + " messages resident");
  if (report.torn_bytes > 0) {
    log(LogLevel::warning, "cut a torn tail of " + std::to_string(report.torn_bytes) +
                               " bytes that was never acknowledged; kept in " +
                               disk_->describe(report.quarantine_file));
  }
  replica::ReplicaOptions replica_options;
  replica_options.cluster = options_.cluster;
  replica_options.region = options_.region;
  replica_options.node = options_.name;
  replica_options.has_other_region = options_.has_replication;
  replica_options.rpo_records_soft = options_.lag_records_soft;
  replica_options.rpo_records_hard = options_.lag_records_hard;
  if (options_.group) {
    block.epochs.cut(journal_->durable().lsn);
    for (const Stretch& stretch : epochs) {
      block.epochs.note(stretch.epoch, stretch.first);
      block.epochs.note(stretch.epoch, stretch.last);
    }
    replica_options.group = in_group(std::move(block));
  }
  checkpoint_at_ = written_ahead_at_ = recovered->checkpoint;
  replica_ = std::make_unique<replica::Replica>(replica_options, *journal_, std::move(recovered->state),
                                                recovered->last_term, recovered->ends_sealed, *random_,
                                                clock_.now(), clock_.wall());
  checkpoint_bytes_at_ = replica_->appended_bytes();

  if (frontend_ != nullptr) return {};  // clients of the life before still hear that they are sent away
  frontend::FrontendOptions frontend_options;
  frontend_options.engine.container_id = options_.name;
  frontend_options.engine.limits.message_bytes_max = options_.message_bytes_max;
  frontend_options.engine.limits.max_frame_bytes = options_.frame_bytes_max;
  frontend_options.engine.limits.idle_timeout = milliseconds(options_.idle_timeout_ms);
  frontend_options.limits = options_.limits;
  frontend_options.delivery_window = options_.delivery_window;
  frontend_options.held_publish_bytes_max = options_.limits.memory_bytes / 4;
  frontend_options.unfinished_bytes_max = options_.limits.memory_bytes / 4;
  frontend_options.output_bytes_max = options_.limits.memory_bytes / 4;
  frontend_ = std::make_unique<frontend::Frontend>(frontend_options, *this, *random_);
  return {};
}

Result<void, Failure> Node::listen() {
  auto control =
      open_control_listener(options_, loop_, *this, kControlBodyBytesMax, [this] { schedule_pump(); });
  if (!control) return control.error();
  control_ = std::move(control->server);
  packet_streams_ = std::make_unique<PacketStreams>(*this, kPacketBytesMax);
  peer_hub_ = io::make_stream_hub(loop_, *packet_streams_);
  wire_ = std::make_unique<PeerWire>(*packet_streams_, *peer_hub_);
  if (options_.has_replication) {
    auto port = peer_hub_->listen(options_.replication.host, options_.replication.port);
    if (!port) return Failure{"[replication] " + port.error().what};
  }
  if (options_.group) {
    if (auto listening = listen_to_group(); !listening) return listening;
  }
  amqp_streams_ = std::make_unique<AmqpStreams>(*this);
  amqp_hub_ = options_.io_threads == 0
                  ? io::make_stream_hub(loop_, *amqp_streams_)
                  : io::make_threaded_stream_hub(loop_, *amqp_streams_, options_.io_threads,
                                                 io_thread_spin(options_));
  auto amqp_port = amqp_hub_->listen(options_.amqp.host, options_.amqp.port);
  if (!amqp_port) return Failure{"[amqp] " + amqp_port.error().what};
  log(LogLevel::info, "node " + options_.name + " of region " + options_.region + ": AMQP on " +
                          options_.amqp.host + ":" + std::to_string(*amqp_port) + ", control on " +
                          options_.control.host + ":" + std::to_string(control->port));
  return {};
}

// ---- the loop's turn
// -------------------------------------------------------------------------------------------------

void Node::schedule_pump() {
  if (pump_scheduled_ || ended_) return;
  pump_scheduled_ = true;
  pump_due_ = clock_.now();
  // After what is already due: several readable sockets share one turn, and so one batch.
  loop_.post([this] {
    pump_scheduled_ = false;
    turns_.add(Work::queued, clock_.now() - pump_due_);
    if (!ended_) pump();
  });
}

void Node::pump() {
  TurnMeter::Laps laps(turns_, clock_);
  review_fence(clock_.now());
  handle_outputs();
  apply_received();
  laps.did(Work::outputs);
  const bool written_here = !ended_ && start_write(laps);
  if (written_here) {
    // Written on the loop: what waited for it goes out in this turn, what came of it is written in the next.
    handle_outputs();
    apply_received();
    laps.did(Work::outputs);
    if (!ended_ && replica_->bytes_under_way() > 0) schedule_pump();
  }
  if (ended_) return;
  // While the journal's thread works, its core may be the one that looking would take away.
  loop_.spin_before_sleep(writing_ ? Duration{} : options_.spin);
  const Instant now = clock_.now();
  pace_publishers(now);
  frontend_->review_credit(now);
  flush_connections();
  laps.did(Work::sockets);
  // Those who waited for the batch have their answers: now what nobody waits for.
  if (written_here) {
    if (const auto noted = journal_->note_durable(); !noted) return end_fatally(noted.error().what);
  }
  // After the outputs: what waits for its reader is known then, and stays in the log.
  if (std::exchange(maintain_due_, false)) maintain();
  laps.did(Work::upkeep);
  if (stopping_ && !writing_ && stopped_) {
    const auto stopped = std::move(stopped_);
    stopped_ = nullptr;
    stopped();
  }
}

void Node::handle_outputs() {
  // Handling an output may produce more (a delivery to a link that went releases its lock).
  for (;;) {
    outputs_.clear();
    replica_->outputs(outputs_);
    if (outputs_.empty()) break;
    auto batch = std::move(outputs_);
    outputs_ = {};
    const Instant now = clock_.now();
    const WallTime wall = clock_.wall();
    for (replica::Output& output : batch) {
      handle(output, now, wall);
      if (ended_) return;
    }
  }
}

/// What a follower of a group has acknowledged: applied while the leader's clients have their answers.
void Node::apply_received() {
  if (ended_ || !received_) return;
  replica_->apply(*received_, clock_.wall());
  replica_->recycle(std::move(*received_));
  received_.reset();
  handle_outputs();
}

void Node::flush_connections() {
  frontend_->take_dirty(dirty_);
  amqp_hub_->flush(dirty_);
}

void Node::handle(replica::Output& output, Instant now, WallTime wall) {
  if (const auto* broker_output = std::get_if<broker::Output>(&output)) {
    frontend_->broker_output(*broker_output, now, wall);
  } else if (const auto* packet = std::get_if<replica::SendPacket>(&output)) {
    wire_->send(packet->to, packet->packet);
  } else if (const auto* close = std::get_if<replica::ClosePeer>(&output)) {
    log(LogLevel::warning, "replication: connection closed: " + close->why);
    wire_->close(close->peer);
  } else if (const auto* role = std::get_if<replica::RoleChanged>(&output)) {
    role_changed(*role);
  } else if (const auto* term = std::get_if<replica::StoreTerm>(&output)) {
    // Rare and small: done here, because nothing that follows may happen before it is durable.
    if (auto stored = replica::store_term(*disk_, "", term->term); !stored) end_fatally(stored.error().what);
  } else if (const auto* alarm = std::get_if<replica::Alarm>(&output)) {
    ++alarms_;
    log(LogLevel::error, "ALARM: " + alarm->why);
  } else if (const auto* fatal = std::get_if<replica::Fatal>(&output)) {
    end_fatally(fatal->why);
  } else if (const auto* ready = std::get_if<replica::SwitchReady>(&output)) {
    switch_ready(ready->at);
  } else if (group_ != nullptr) {
    static_cast<void>(handle_group(output));
  }
}

/// A follower's loop may wait for its disk: hardly for as long as its leader's lease lasts without a word
/// from it, since the disk is steady and the group patient.
bool Node::may_be_silent(Instant now) const {
  constexpr Duration kPatience = milliseconds(300);
  return options_.group->member.drop_after >= kPatience && commit_policy_.steady(now);
}

bool Node::start_write(TurnMeter::Laps& laps) {
  if (writing_) return false;
  replica::Replica::PendingWrite pending;
  if (rejoining_ || waits_for_room() || !replica_->take_batch(pending)) return false;
  if (group_ != nullptr) {
    handle_outputs();  // the others write it while this node does
    if (ended_) return false;
  }
  const Instant started = clock_.now();
  const std::size_t bytes = pending.batch.bytes.size();
  // Beyond room() a segment would have to be made: that takes as long as a disk may take.
  // A leader of a group goes on talking to the others while its disk does not answer, and gives up the lead
  // (R9). A follower has nothing to tell them then, but that it is there: a leader on the same disk does not
  // drop it for its silence (R3), and would end its clients' connections when that outlasts the lease (R8).
  const bool others = options_.group && (!options_.group->others.empty() || store_ != nullptr) &&
                      !(pending.raw && may_be_silent(started));
  if (!others && commit_policy_.on_loop(pending.batch.size(), bytes) && bytes <= journal_->room() &&
      journal_worker_->idle()) {
    flush_connections();  // what does not depend on this batch does not wait for its sync
    laps.did(Work::sockets);
    const auto result = write_and_sync(pending);
    laps.did(Work::commit);
    committed(std::move(pending), result, started, laps.from() - started);
    return !ended_;
  }
  writing_ = true;
  write_begun_ = started;
  journal_worker_->post(
      [this, started, shared = std::make_shared<replica::Replica::PendingWrite>(std::move(pending))] {
        const Instant begun = clock_.now();
        auto result = write_and_sync(*shared);
        const Duration took = clock_.now() - begun;
        loop_.post([this, started, took, shared, done = begun + took, result = std::move(result)] {
          if (ended_) return;
          turns_.add(Work::queued, clock_.now() - done);
          writing_ = false;
          committed(std::move(*shared), result, started, took);
          if (!ended_) pump();
        });
        // While the loop tells those who waited. A failure comes back with the next write.
        static_cast<void>(journal_->note_durable());
      });
  return false;
}

Result<void, journal::JournalError> Node::write_and_sync(const replica::Replica::PendingWrite& pending) {
  journal_->expect(pending.catch_up);
  if (!pending.raw) return journal_->write_and_sync(pending.batch);
  const auto written = journal_->write_raw(pending.batch.bytes);
  return written ? journal_->sync() : written;
}

void Node::committed(replica::Replica::PendingWrite done, const Result<void, journal::JournalError>& result,
                     Instant started, Duration took) {
  if (!result && done.raw && group_ != nullptr && result.error().code == journal::JournalErrorCode::disk_full)
    return backup_is_full(done.batch.bytes.size(), result.error().what);
  if (!result)
    return end_fatally(result.error().what +
                       " - what is on the disk is not known any more; this node stops "
                       "and recovers from its log when it is started again");
  const Instant now = clock_.now();
  release_policy_.committed(now);
  commit_latency_.add(now - started);
  commit_longest_ = std::max(commit_longest_, now - started);
  commit_policy_.written(done.batch.size(), done.batch.bytes.size(), took, now);
  ++batches_;
  ++syncs_;
  records_ += done.batch.size();
  replica_->written(done, now, clock_.wall());
  if (done.raw && group_ != nullptr) {
    received_ = std::move(done.batch);
  } else {
    if (!done.raw) bodies_.add(done.batch);
    replica_->recycle(std::move(done.batch));
  }
  if (frontend_->held_publishes() > 0) frontend_->admission_changed(now, clock_.wall());
  maintain_due_ = true;
}

void Node::maintain() {
  const Instant now = clock_.now();
  if (!spare_wanted_ && now >= spare_retry_at_ && journal_->wants_spare()) {
    spare_wanted_ = true;
    spare_worker_->post([this] {
      auto result = journal_->prepare_spare();
      loop_.post([this, result = std::move(result)] {
        if (ended_) return;
        spare_wanted_ = false;
        if (!result && result.error().code == journal::JournalErrorCode::disk_full) {
          // While a spare is left there is time.
          const bool short_of_room = journal_->room() < options_.segment_bytes + options_.reserve_bytes;
          if (!disk_full_ && short_of_room) {
            log(LogLevel::error,
                "disk full: publishes are refused, settlements still work: " + result.error().what);
          }
          disk_full_ = disk_full_ || short_of_room;
          spare_retry_at_ = clock_.now() + kSpareRetry;
        } else if (!result) {
          return end_fatally(result.error().what);
        } else {
          space_again();
        }
        frontend_->admission_changed(clock_.now(), clock_.wall());
        schedule_pump();
      });
    });
  }
  release_space();
  // A checkpoint shortens the next start and frees segments; when the disk is full it is the way out.
  clean();
  store_checkpoint();
  const Lsn applied = replica_->state().applied();
  const std::uint64_t every = disk_full_ ? 1000 : options_.checkpoint_every_records;
  if (checkpoint_running_ || rejoining_ || now < checkpoint_retry_at_) return;
  if (applied.value >= checkpoint_at_.value + every || log_is_long() || cut_is_wanted()) {
    start_checkpoint();
    store_checkpoint();
  } else if (applied.value >= checkpoint_at_.value + every - every / 4 &&
             applied.value >= written_ahead_at_.value + every / 256) {
    // Most of its pages are stored before it, a few at a time.
    written_ahead_at_ = applied;
    replica_->write_ahead(kWriteAheadBytes);
  }
}

bool Node::has_space_to_release() const {
  return journal_->wants_release() || disk_->kept_bytes() > 0;
}

/// Gives the space of files that are no longer needed back, when nobody is hurt: syncs wait for it.
void Node::release_space() {
  using Step = ReleasePolicy::Step;
  const Instant now = clock_.now();
  if (releasing_ || rejoining_ || !has_space_to_release()) return;
  if (now >= ask_free_at_) {
    ask_free_at_ = now + kAskFreeEvery;
    const auto free = disk_->free_bytes();
    free_bytes_ = free ? *free : 0;
  }
  const Step step =
      release_policy_.due({journal_->set_aside_bytes(), disk_->kept_bytes(), free_bytes_, disk_full_}, now);
  if (step == Step::none) return;
  releasing_ = true;
  spare_worker_->post([this, step] {
    const Instant begun = clock_.now();
    Result<bool, journal::JournalError> segment = false;
    std::string left_behind;
    const auto remove = [&] {
      const auto removed = disk_->release();
      if (!removed) left_behind = removed.error().what;
      return removed && *removed;
    };
    if (step == Step::removed) {
      remove();
    } else if (step == Step::segment) {
      segment = journal_->release_space();
    } else {
      for (int more = kReleaseStepsWhenFull; more > 0 && remove(); --more) {
      }
      segment = journal_->release_space();
      for (int more = kReleaseStepsWhenFull; more > 0 && segment && *segment; --more) {
        segment = journal_->release_space();
      }
    }
    loop_.post([this, took = clock_.now() - begun, left_behind, segment = std::move(segment)] {
      releasing_ = false;
      if (ended_) return;
      if (!segment) return end_fatally(segment.error().what);
      if (!left_behind.empty()) log(LogLevel::warning, "space is not given back: " + left_behind);
      release_policy_.stepped(took, clock_.now());
      arm_timer();  // the next step may be due before the tick is
    });
  });
}

void Node::start_checkpoint() {
  auto made = replica_->checkpoint();
  cut_begins(made ? &*made : nullptr);
  if (!made) {  // no space for pages: the state goes on in memory
    checkpoint_retry_at_ = clock_.now() + kCheckpointRetry;
    return;
  }
  checkpoint_running_ = true;
  checkpoint_at_ = written_ahead_at_ = made->lsn;
  checkpoint_bytes_at_ = replica_->appended_bytes();
  root_bytes_ = made->root.size();
  cleaned_ = false;
  // What the other region does not have yet must stay: it catches up from here.
  keep_from_ = replica_->removable_before(made->lsn);
  const bool others = options_.has_replication || keep_for_group();
  if (!others) keep_from_ = std::min(made->needed, made->lsn.next());
  if (const auto kept = copy_keeps()) keep_from_ = std::min(keep_from_, *kept);
  checkpoint_made_ = std::move(made);
}

bool Node::log_is_long() const {
  const std::uint64_t since = replica_->appended_bytes() - checkpoint_bytes_at_;
  // Short queues: segments go as soon as they can. What a checkpoint costs stays a small part of the log.
  if (since < std::max(options_.segment_bytes / 4, 8 * root_bytes_) && !cleaned_) return false;
  const broker::State& state = replica_->state();
  return journal_->record_bytes_total() >
         std::max(options_.segment_bytes, 2 * state.payload_bytes_total() + 256 * state.messages_total());
}

void Node::clean() {
  const Instant now = clock_.now();
  if (now < clean_at_ || leader() == nullptr) return;
  clean_at_ = now + kCleanEvery;
  const auto cleaned = replica_->clean(
      {options_.segment_bytes, options_.reserve_bytes, frontend_->held_publishes() > 0, disk_full_}, now,
      clock_.wall());
  if (cleaned.began) {
    round_messages_ = round_bytes_ = 0;
    log(LogLevel::info, "journal: old messages keep " + std::to_string(journal_->record_bytes_total()) +
                            " bytes of log; they are moved to its end");
  }
  round_messages_ += cleaned.messages;
  round_bytes_ += cleaned.bytes;
  cleaned_messages_ += cleaned.messages;
  cleaned_bytes_ += cleaned.bytes;
  if (cleaned.ended) {
    cleaned_ = true;  // a checkpoint lets the segments go, however little is written
    log(LogLevel::info, "journal: " + std::to_string(round_messages_) + " old messages (" +
                            std::to_string(round_bytes_) + " bytes) were moved to the log's end");
  }
  if (!cleaned.problem.empty()) {
    clean_at_ = now + kCleanRetry;
    if (cleaned.problem != clean_problem_) {
      log(LogLevel::error,
          "journal: a message cannot be moved and keeps the log behind it: " + cleaned.problem);
    }
  }
  if (cleaned.unreadable) record_unreadable(*cleaned.unreadable, 0, cleaned.problem);
  clean_problem_ = cleaned.problem;
  if (cleaned.messages > 0) schedule_pump();
}

void Node::store_checkpoint() {
  if (!checkpoint_made_ || rejoining_) return;
  if (!replica_->may_store(*checkpoint_made_, clock_.now(), clock_.wall())) {
    if (group_ != nullptr) schedule_pump();  // it may have asked for the superblock to be stored
    return;
  }
  // What was received and deleted is only in the log until its reader takes it.
  const Lsn keep_from = std::min(keep_from_, frontend_->oldest_held().value_or(keep_from_));
  auto made = std::exchange(checkpoint_made_, std::nullopt);
  // Neither on the journal's worker, where commits wait, nor, until it is short, on the one for spare
  // segments.
  const auto shared = std::make_shared<replica::Replica::Checkpoint>(std::move(*made));
  pages_worker_->post([this, keep_from, shared] {
    if (const auto synced = shared->sealed->sync(); !synced) {
      const bool fatal = synced.error().code != DiskErrorCode::no_space;
      loop_.post([this, shared, fatal, why = synced.error().what] {
        if (!ended_ && !fatal) cut_stored(shared, why);
        checkpoint_finished(nullptr, fatal, why);
      });
      return;
    }
    spare_worker_->post([this, keep_from, shared] {
      const auto stored = journal_->store_checkpoint(shared->lsn, shared->root);
      std::string problem = stored ? "" : stored.error().what;
      if (stored) {
        if (const auto removed = journal_->remove_before(keep_from); !removed) problem = removed.error().what;
      }
      const bool damaged = !stored && stored.error().code == journal::JournalErrorCode::corrupt;
      loop_.post([this, shared, stored = stored.has_value(), problem, damaged] {
        if (!ended_) cut_stored(shared, stored ? "" : problem);
        if (damaged) record_unreadable(shared->lsn, 0, problem);
        checkpoint_finished(stored ? shared->sealed : nullptr, false, problem);
      });
    });
  });
}

void Node::checkpoint_finished(const std::shared_ptr<paging::PageStore::Sealed>& stored, bool fatal,
                               const std::string& problem) {
  if (ended_) return;
  checkpoint_running_ = false;
  if (stored != nullptr) pages_->checkpoint_stored(stored);
  if (fatal) return end_fatally("the state's pages are not durable: " + problem);
  if (!problem.empty()) {
    log(LogLevel::warning, "checkpoint not stored: " + problem);
    checkpoint_retry_at_ = clock_.now() + kCheckpointRetry;
  }
  // Removed segments may have become spares.
  if (!journal_->wants_spare()) space_again();
  frontend_->admission_changed(clock_.now(), clock_.wall());
  schedule_pump();
}

void Node::space_again() {
  if (disk_full_) log(LogLevel::info, "the disk has space again: publishes are accepted");
  disk_full_ = false;
}

void Node::arm_timer() {
  const Instant now = clock_.now();
  Instant at = std::min(replica_->next_deadline(), frontend_->next_deadline());
  at = std::min(at, pace_.next_deadline());
  if (!releasing_ && !rejoining_ && has_space_to_release()) at = std::min(at, release_policy_.ask_at());
  at = std::min(std::max(at, now + milliseconds(1)), now + kTickMax);
  timer_.at(at, [this] { tick(); });
}

void Node::tick() {
  if (ended_) return;
  read_group_arrived();
  const Instant now = clock_.now();
  const WallTime wall = clock_.wall();
  TurnMeter::Laps laps(turns_, clock_);
  if (group_ != nullptr) tick_group(now);
  if (rejoining_) return arm_timer();
  replica_->tick(now, wall);
  frontend_->tick(now, wall);
  laps.did(Work::timers);
  std::vector<frontend::StallNotice> stalls;
  frontend_->stall_notices(now, stalls);
  for (const frontend::StallNotice& stall : stalls) {
    log(stall.ended || stall.reason == frontend::StallReason::link_credit ? LogLevel::info
                                                                          : LogLevel::warning,
        stall.text);
  }
  if (switch_ && now >= switch_->deadline) {
    fail_switch(504,
                "the standby did not confirm in time; this region leads on. See replication in `mainstay "
                "region status`");
  }
  if (replica_->role() != replica::Role::live && !rejoining_ && options_.has_replication &&
      outgoing_peer_ == 0 && !connecting_ && now >= reconnect_at_) {
    connect_to_peer();
  }
  pump();
  if (ended_) return;
  TurnMeter::Laps after(turns_, clock_);
  maintain();
  after.did(Work::upkeep);
  if (!ended_) arm_timer();
}

void Node::end_fatally(const std::string& why) {
  if (ended_ || store_lost()) return;
  ended_ = true;
  log(LogLevel::error, "stopping: " + why);
  fatal_(why, 70);
}

void Node::page_lost(const std::string& why) {
  end_fatally("a part of the state cannot be read back: " + why +
              " - this node stops and recovers from an older checkpoint or its log when it is started again");
}

void Node::shut_down(std::function<void()> done) {
  frontend_->close_all("the node is shutting down: go to another endpoint", clock_.now(), clock_.wall());
  stopping_ = true;
  not_live_reason_ = "the node is shutting down";
  amqp_hub_->stop_listening();
  stopped_ = std::move(done);
  schedule_pump();
}

// ---- roles and queues
// ------------------------------------------------------------------------------------------------

void Node::role_changed(const replica::RoleChanged& change) {
  promoting_ = false;
  switch (change.role) {
    case replica::Role::live:
      log(LogLevel::info,
          "live in region term " + std::to_string(change.term.value) +
              (group_ == nullptr ? "" : ", epoch " + std::to_string(replica_->epoch().value)) + ": " +
              change.why);
      if (outgoing_peer_ != 0)
        peer_hub_->close(outgoing_peer_);  // the other region's node connects to us now
      declare_queues();
      break;
    case replica::Role::standby:
      not_live_reason_ = "this node of region " + options_.region + " is a standby";
      log(LogLevel::info, "standby: " + change.why);
      break;
    case replica::Role::sealed:
      not_live_reason_ = "this node is sealed: " + change.why;
      log(LogLevel::warning, not_live_reason_);
      frontend_->close_all(not_live_reason(), clock_.now(), clock_.wall());
      switch_draining_ = false;
      if (change.restart_to_follow) rejoin();
      break;
  }
}

void Node::declare_queues() {
  for (const QueueConfig& queue : options_.queues) {
    const auto declared = replica_->leader().declare_queue(queue.name, queue.options, clock_.wall());
    if (const auto refusal = durability_refusal(queue.options.durability)) {
      log(LogLevel::error, "queue '" + queue.name + "' takes no messages: " + refusal->description);
    }
    if (!declared)
      log(LogLevel::error, "queue '" + queue.name + "' is not declared: " + declared.error().what);
  }
  schedule_pump();
}

// ---- frontend::Backend
// -----------------------------------------------------------------------------------------------

broker::Leader* Node::leader() {
  if (replica_->role() != replica::Role::live || switch_draining_ || stopping_ || rejoining_) return nullptr;
  if (!group_fence().empty()) return nullptr;
  return &replica_->leader();
}
const broker::State& Node::state() {
  return replica_->state();
}
std::vector<broker::Output>& Node::leader_outputs() {
  return replica_->leader_outputs();
}
std::string Node::not_live_reason() {
  if (group_ != nullptr) {
    if (const std::string why = not_leading(); !why.empty()) return why;
  }
  if (region_known_ && region_.region != options_.region && !region_.region.empty()) {
    return not_live_reason_ + "; the active region is " + region_.region;
  }
  return not_live_reason_;
}

frontend::AdmissionAnswer Node::admit(std::size_t bytes, bool replay) {
  using frontend::Admission;
  if (!register_problem_.empty() && group_ == nullptr) {
    return {Admission::refused,
            {"com.microsoft:server-busy",
             "this node cannot ask who leads and takes nothing new: " + register_problem_}};
  }
  if (region_.phase == coordination::Phase::recovering && !replay) {
    return {Admission::refused,
            {"com.microsoft:server-busy",
             "region " + options_.region +
                 " is recovering after a forced promotion: producers wait until the archive's "
                 "missing messages are in (mainstay archive replay --missing)"}};
  }
  if (std::string why = too_few_copies(); !why.empty()) {
    return {Admission::refused, {"com.microsoft:server-busy", std::move(why)}};
  }
  if (const auto refusal = replica_->publish_refusal()) {
    return {Admission::refused, {"com.microsoft:server-busy", *refusal}};
  }
  const std::size_t under_way = replica_->bytes_under_way();
  if (under_way + bytes + kRecordOverheadMax + options_.reserve_bytes <= journal_->room()) {
    // Ordered and not durable is memory too. Twice the backlog that credit is given for: those who had it
    // come in.
    if (under_way == 0 || under_way + bytes <= 2 * options_.limits.journal_bytes) {
      pace_.admitted(bytes);
      return {};
    }
    return {Admission::wait, {}};
  }
  if (disk_full_) {
    return {Admission::refused,
            {"amqp:resource-limit-exceeded",
             "the disk under " + disk_->describe("") +
                 " is full: new messages are refused, settlements work. Free space or let "
                 "consumers drain the queues"}};
  }
  spare_retry_at_ = {};
  return {Admission::wait, {}};
}

std::optional<amqp::Condition> Node::durability_refusal(broker::Durability level) {
  switch (level) {
    case broker::Durability::journal:
      return std::nullopt;
    case broker::Durability::region:
      if (options_.group && !options_.group->others.empty()) return std::nullopt;
      if (store_ != nullptr) {
        return amqp::Condition{
            "amqp:precondition-failed",
            "durability region is asked for, and the nodes of this group share one store: there "
            "is no second copy. Ask for journal"};
      }
      return amqp::Condition{
          "amqp:precondition-failed",
          "durability region is asked for, and the group of this node has no backup node in region " +
              options_.region + ": ask for journal, or for global with a standby region"};
    case broker::Durability::global:
      if (options_.has_replication) return std::nullopt;
      return amqp::Condition{
          "amqp:precondition-failed",
          "durability global is asked for, and the group of this node has no standby region "
          "([replication] has no listen): ask for journal, or configure one"};
  }
  return std::nullopt;
}

frontend::CreditFigures Node::flow() {
  frontend::CreditFigures f;
  f.journal_bytes = replica_->bytes_under_way();
  const std::uint64_t taken = f.journal_bytes + options_.reserve_bytes;
  const std::uint64_t room = journal_->room();
  f.journal_room = room > taken ? room - taken : 0;
  f.journal_room_full = options_.segment_bytes;
  f.disk_full = disk_full_;
  f.held_back = replica_->publish_held_back();
  if (const auto paced = pace_.room()) {
    f.pace_room = paced->bytes;
    f.pace_room_full = paced->capacity;
  }
  return f;
}

frontend::Payload Node::payload(Lsn lsn) {
  std::optional<BytesView> raw = bodies_.find(lsn);
  if (!raw) {
    const auto read = body_reader_.get(*journal_, lsn);
    if (!read) {
      if (journal::is_unreadable(read.error())) record_unreadable(lsn, 0, read.error().what);
      return frontend::Payload::lost(read.error().what);
    }
    read_ahead();
    if (!*read) return frontend::Payload::coming();
    raw = *read;
  }
  broker::StoredMessage message;
  if (!broker::read_stored_message(journal::view_record(*raw), message)) {
    return frontend::Payload::lost("LSN " + std::to_string(lsn.value) +
                                   " does not hold a whole message; run `mainstay verify " +
                                   options_.data_directory + "`");
  }
  return frontend::Payload::here(message.payload);
}

void Node::read_ahead() {
  while (auto wanted = body_reader_.wanted()) {
    const auto shared = std::make_shared<BodyReader::ReadAhead>(std::move(*wanted));
    // rejoin_when_quiet() keeps the journal until this is back.
    read_worker_->post([this, shared, journal = journal_.get()] {
      BodyReader::read(*journal, *shared);
      loop_.post([this, shared] { body_arrived(std::move(*shared)); });
    });
  }
}

void Node::body_arrived(BodyReader::ReadAhead ahead) {
  body_reader_.arrived(std::move(ahead));
  if (ended_) return;
  if (frontend_->awaits_payloads()) {
    TurnMeter::Laps laps(turns_, clock_);
    frontend_->payloads_came(laps.from(), clock_.wall());
    laps.did(Work::outputs);
    schedule_pump();
  }
  if (!rejoining_) read_ahead();
}

bool Node::authenticate(const amqp::SaslRequest& request) {
  if (request.mechanism == "ANONYMOUS") return options_.allow_anonymous;
  for (const User& user : options_.users) {
    if (user.name != request.user || user.password.size() != request.password.size()) continue;
    unsigned difference = 0;  // every byte is looked at: time tells nothing
    for (std::size_t i = 0; i < user.password.size(); ++i) {
      difference |= static_cast<unsigned>(static_cast<unsigned char>(user.password[i]) ^
                                          static_cast<unsigned char>(request.password[i]));
    }
    if (difference == 0) return true;
  }
  return false;
}

// ---- replication connections
// -----------------------------------------------------------------------------------------

void Node::connect_to_peer() {
  if (options_.peers.empty()) return;
  const Listener& peer = options_.peers[next_peer_++ % options_.peers.size()];
  connecting_ = true;
  reconnect_at_ = clock_.now() + kReconnectAfter;
  peer_hub_->connect(peer.host, peer.port, [this](const std::string& why) {
    connecting_ = false;
    reconnect_at_ = clock_.now() + kReconnectAfter;
    if (why != connect_problem_) log(LogLevel::info, "replication: no connection to " + why);
    connect_problem_ = why;
  });
}

void Node::on_peer_open(io::StreamId peer, const std::string& remote, bool outgoing) {
  log(LogLevel::info, "replication: connected " + std::string(outgoing ? "to " : "from ") + remote);
  if (outgoing) {
    connecting_ = false;
    outgoing_peer_ = peer;
    connect_problem_.clear();
  }
  peers_.insert(peer);
  if (replica_ != nullptr) replica_->connected(peer, outgoing, clock_.now(), clock_.wall());
  schedule_pump();
}

void Node::on_packet(io::StreamId peer, BytesView packet) {
  replica_->packet(peer, packet, clock_.now(), clock_.wall());
  schedule_pump();
}

void Node::on_peer_end(io::StreamId peer) {
  if (peer == outgoing_peer_) {
    outgoing_peer_ = 0;
    reconnect_at_ = clock_.now() + kReconnectAfter;
  }
  peers_.erase(peer);
  log(LogLevel::info, "replication: a connection ended");
  if (replica_ != nullptr) replica_->disconnected(peer, clock_.now(), clock_.wall());
  schedule_pump();
}

}  // namespace mainstay::node
