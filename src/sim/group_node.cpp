#include "sim/group_node.h"

#include <utility>

#include "base/assert.h"

namespace mainstay::sim {
namespace {

/// Small segments, so that logs, cuts and catching up cross them.
journal::JournalOptions journal_options(const std::string& node) {
  journal::JournalOptions options;
  options.cluster = Uuid{{1}};
  options.node = node;
  options.segment_bytes = 64ULL << 10;
  options.record_bytes_max = 1'024;
  return options;
}

}  // namespace

GroupNode::GroupNode(GroupWorld& world, GroupRegister& group_register, std::string name)
    : GroupMachine(world, group_register, std::move(name)), world_(world) {}
GroupNode::~GroupNode() = default;

void GroupNode::note_operation(const journal::Record& record) {
  note(record);
  if (record.body.size() == 8)
    operations_[record.header.lsn.value] = load_le<std::uint64_t>(record.body.data());
}

void GroupNode::start() {
  group::Superblock block;
  const auto loaded = group::load_superblock(*disk_, "");
  if (!loaded) return could_not_start(loaded.error().what);
  if (loaded->block) block = *loaded->block;
  if (!loaded->damaged.empty()) superblock_was_mended();
  const GroupChecker::DiskLog known = std::exchange(log_, {{}, log_.durable});
  operations_.clear();
  std::vector<std::pair<Epoch, Lsn>> epochs;
  auto opened = journal::Journal::open(*disk_, "", journal_options(name()), random_, Lsn{},
                                       [&](const journal::Record& record) {
                                         note_operation(record);
                                         epochs.emplace_back(record.header.epoch, record.header.lsn);
                                       });
  if (!opened) {
    log_ = known;
    return could_not_start(opened.error().what);
  }
  started();
  if (opened->get()->recovery().torn_bytes > 0) world_.reached("torn tail cut");
  if (opened->get()->durable().lsn.value > known.durable) world_.reached("unacknowledged tail survived");
  journal_ = std::move(*opened);
  recovered(journal_->durable().lsn, journal_->incarnation());
  if (!loaded->block) {
    block.cluster = journal_->cluster();
    block.node = name();
    block.incarnation = incarnation();
  }
  block.epochs.cut(journal_->durable().lsn);
  for (const auto& [epoch, lsn] : epochs) block.epochs.note(epoch, lsn);
  writing_ = false;
  builder_.reset();
  member_ =
      std::make_unique<group::Member>(member_options(journal_->cluster()), *journal_, block, random_, now());
  world_.trace(name() + " starts, LSN " + std::to_string(log_.durable) + ", promised epoch " +
               std::to_string(block.promised.value));
  tick();
  soon([this] { step(); });
}

void GroupNode::end_process() {
  waiting_.clear();  // their outcome is unknown to their clients
  member_.reset();
  journal_.reset();
  builder_.reset();
  writing_ = false;
}

void GroupNode::restart(const group::Restart& restart) {
  world_.trace(name() + " begins anew: " + restart.why);
  if (writing_) {
    // The writer ends first.
    after(milliseconds(1), [this, restart] { this->restart(restart); });
    return;
  }
  cut_and_restart(restart, journal_options(name()));
}

void GroupNode::tick() {
  member_->tick(now(), wall());
  step();
  if (!up()) return;
  after(world_.between(milliseconds(20), milliseconds(40)), [this] { tick(); });
}

void GroupNode::connected(PeerId peer, const std::string& dialled) {
  soon([this, peer, dialled] {
    member_->connected(peer, dialled, now(), wall());
    step();
  });
}
void GroupNode::packet(PeerId from, Buffer bytes) {
  soon([this, from, bytes = std::move(bytes)] {
    member_->packet(from, bytes, now(), wall());
    step();
  });
}
void GroupNode::disconnected(PeerId peer) {
  soon([this, peer] {
    member_->disconnected(peer, now(), wall());
    step();
  });
}

bool GroupNode::submit(std::uint64_t operation, std::function<void()> answer) {
  if (!up() || frozen() || !builder_ || member_->over() || member_->accept_refusal(now())) return false;
  std::byte body[8];
  store_le(body, operation);
  const Lsn lsn = builder_->append(journal::RecordType::time_advanced, BytesView(body));
  waiting_[lsn] = {operation, std::move(answer)};
  step();
  return true;
}

bool GroupNode::hand_over(const std::string& to) {
  if (!up() || member_->role() != group::Role::leader) return false;
  const bool agreed = !member_->hand_over(to, now(), wall());
  step();
  return agreed;
}

bool GroupNode::promote() {
  if (!up() || frozen()) return false;
  const bool agreed = !member_->promote("the operator", kOrderLasts, now(), wall());
  step();
  return agreed;
}

void GroupNode::step() {
  if (!up() || stepping_) return;
  stepping_ = true;
  const std::uint64_t life = this->life();
  std::vector<group::Output> outputs;
  while (up() && this->life() == life) {
    outputs.clear();
    member_->outputs(outputs);
    if (outputs.empty()) break;
    for (group::Output& output : outputs) {
      act(output);
      if (!up() || this->life() != life) break;
    }
  }
  stepping_ = false;
  if (up() && this->life() == life) write();
}

void GroupNode::act(group::Output& output) {
  if (auto* packet = std::get_if<group::SendPacket>(&output)) {
    send(packet->to, std::move(packet->packet));
  } else if (const auto* closing = std::get_if<group::ClosePeer>(&output)) {
    close(closing->peer);
  } else if (const auto* store = std::get_if<group::StoreBlock>(&output)) {
    after(world_.between(microseconds(50), milliseconds(3)), [this, block = store->block] {
      if (const auto stored = group::store_superblock(*disk_, "", block); !stored) {
        fail(stored.error().what);
        return;
      }
      member_->block_stored(now(), wall());
      step();
    });
  } else if (std::holds_alternative<group::ReadRegister>(output)) {
    register_.read(
        [this, life = life()](group::RegisterOutcome outcome, const coordination::GroupState& state) {
          if (this->life() != life) return;
          soon([this, outcome, state] {
            member_->register_read(outcome, state, now(), wall());
            step();
          });
        });
  } else if (const auto* change = std::get_if<group::ChangeRegister>(&output)) {
    register_.change(
        change->expected, change->next,
        [this, life = life()](group::RegisterOutcome outcome, const coordination::GroupState& state) {
          if (this->life() != life) return;
          soon([this, outcome, state] {
            member_->register_changed(outcome, state, now(), wall());
            step();
          });
        });
  } else if (const auto* committed = std::get_if<group::Committed>(&output)) {
    world_.checker.committed(name(), log_, committed->lsn);
    while (!waiting_.empty() && waiting_.begin()->first <= committed->lsn) {
      auto waited = waiting_.extract(waiting_.begin());
      const Lsn lsn = waited.key();
      world_.checker.acknowledged(waited.mapped().first, lsn, log_.hashes[lsn.value - 1]);
      waited.mapped().second();
    }
  } else if (const auto* lead = std::get_if<group::Lead>(&output)) {
    world_.trace(name() + " leads epoch " + std::to_string(lead->epoch.value));
    world_.checker.leads(lead->epoch, name(), life());
    world_.reached(lead->continues ? "leader went on under a new epoch" : "leadership began");
    if (!lead->continues) {
      MS_ASSERT(!writing_ && journal_->durable().lsn.value == log_.hashes.size(), "a leader's log is quiet");
      builder_.emplace(journal_->durable(), journal_->recovery().epoch);
    }
    if (lead->epoch > builder_->epoch()) builder_->start_epoch(lead->epoch);
    (void)builder_->append(journal::RecordType::epoch_started, BytesView{});
  } else if (const auto* read = std::get_if<group::ReadLog>(&output)) {
    replication::read_ahead(*journal_, *read->part);
    world_.reached("records were read ahead for a follower");
    after(world_.between(microseconds(20), milliseconds(5)), [this, to = read->to, part = read->part] {
      if (member_->over()) return;
      member_->log_read(to, std::move(*part), now(), wall());
      step();
    });
  } else if (const auto* again = std::get_if<group::Restart>(&output)) {
    restart(*again);
  } else if (const auto* part = std::get_if<group::Unreadable>(&output)) {
    if (!record_is_unreadable()) world_.report.violated(name() + " cannot read its log: " + part->why);
  } else if (std::holds_alternative<group::NeedCopy>(output)) {
    // Here nobody makes copies, and every log is whole: its leader could not read what this one lacks. The
    // operator lets it ask again.
    after(milliseconds(500), [this] {
      if (member_->wants_copy()) stop_and_restart(End::process_killed, milliseconds(50));
    });
  } else if (const auto* alarm = std::get_if<group::Alarm>(&output)) {
    heard_alarm(alarm->why);
  }
}

void GroupNode::write() {
  if (writing_ || member_->over()) return;
  bool raw = false;
  if (builder_ && member_->role() == group::Role::leader) {
    if (builder_->gathering().empty()) return;
    batch_ = builder_->take();
  } else {
    if (!member_->take_batch(batch_)) return;
    raw = true;
  }
  writing_ = true;
  for (BytesView rest(batch_.bytes); !rest.empty();) {
    journal::Record record;
    MS_ASSERT(journal::decode_record(rest, record) == journal::DecodeStatus::ok, "a batch is whole");
    note_operation(record);
    rest = rest.subspan(record.raw.size());
  }
  if (!raw) {
    member_->appended(batch_, now(), wall());
    soon([this] { step(); });
  }
  const Duration delay = disk_stalls ? world_.between(milliseconds(200), milliseconds(2'000))
                                     : world_.between(microseconds(40), milliseconds(2));
  // Written at once, durable later: a crash in between keeps any part of it.
  const auto written = raw ? journal_->write_raw(batch_.bytes) : journal_->write(batch_);
  if (!written) {
    fail(written.error().what);
    return;
  }
  after(delay, [this] { wrote(); });
}

void GroupNode::wrote() {
  if (const auto synced = journal_->sync(); !synced) {
    fail(synced.error().what);
    return;
  }
  writing_ = false;
  log_.durable = journal_->durable().lsn.value;
  member_->synced(journal_->durable(), now(), wall());
  step();
  if (up() && journal_->wants_spare()) (void)journal_->prepare_spare();  // without space: later
}

}  // namespace mainstay::sim
