#include "sim/group_node.h"

#include <cstdio>
#include <utility>

#include "base/assert.h"
#include "journal/cut.h"

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

void GroupWorld::trace(const std::string& what) const {
  if (options.trace) std::fprintf(stderr, "%12.6f  %s\n", queue.now().seconds(), what.c_str());
}

GroupNode::GroupNode(GroupWorld& world, GroupRegister& group_register, std::string name)
    : world_(world),
      register_(group_register),
      name_(std::move(name)),
      disk_(std::make_unique<MemoryDisk>(name_)),
      clock_(world.queue, static_cast<std::int64_t>(world.random.below(401)) - 200),
      random_(world.random.next()) {}
GroupNode::~GroupNode() = default;

void GroupNode::after(Duration delay, std::function<void()> event) {
  world_.queue.after(delay, [this, event = std::move(event), life = life_] {
    if (!up() || life_ != life) return;
    if (world_.queue.now() < frozen_until_) {
      after(frozen_until_ - world_.queue.now(), event);
      return;
    }
    event();
  });
}
void GroupNode::soon(std::function<void()> event) {
  after(Duration{}, std::move(event));
}

void GroupNode::freeze(Duration time) {
  // Not longer when it is frozen already: what waits for the end would come behind what arrives later.
  if (world_.queue.now() >= frozen_until_) frozen_until_ = world_.queue.now() + time;
}

void GroupNode::note(const journal::Record& record) {
  MS_ASSERT(record.header.lsn.value == log_.hashes.size() + 1, "records are noted in order");
  log_.hashes.push_back(record.header.checksum);
  if (record.body.size() == 8)
    operations_[record.header.lsn.value] = load_le<std::uint64_t>(record.body.data());
}

void GroupNode::start() {
  ++life_;
  log_.hashes.clear();
  operations_.clear();
  group::Superblock block;
  const auto loaded = group::load_superblock(*disk_, "");
  if (!loaded) {
    world_.report.violated(name_ + ": " + loaded.error().what);
    return;
  }
  if (loaded->block) block = *loaded->block;
  std::vector<std::pair<Epoch, Lsn>> epochs;
  auto opened = journal::Journal::open(*disk_, "", journal_options(name_), random_, Lsn{},
                                       [&](const journal::Record& record) {
                                         note(record);
                                         epochs.emplace_back(record.header.epoch, record.header.lsn);
                                       });
  if (!opened) {
    // A fault hit the start itself: try again.
    world_.trace(name_ + " cannot start: " + opened.error().what);
    disk_->kill();
    world_.queue.after(milliseconds(200), [this, life = life_] {
      if (!up() && life_ == life) start();
    });
    return;
  }
  journal_ = std::move(*opened);
  if (journal_->durable().lsn.value < log_.durable)
    world_.report.violated(name_ + " has lost what it had synced");
  log_.durable = journal_->durable().lsn.value;
  log_.hashes.resize(log_.durable);
  incarnation_ = journal_->incarnation();
  world_.checker.disk(incarnation_, &log_);
  if (!loaded->block) {
    block.cluster = journal_->cluster();
    block.node = name_;
    block.incarnation = incarnation_;
  }
  block.epochs.cut(journal_->durable().lsn);
  for (const auto& [epoch, lsn] : epochs) block.epochs.note(epoch, lsn);
  group::MemberOptions options;
  options.cluster = journal_->cluster();
  options.self = {name_, incarnation_};
  options.may_create = true;
  options.ship_bytes_max = 2'048;
  options.ship_ahead_bytes_max = 8'192;
  writing_ = false;
  builder_.reset();
  leads_ = {};
  member_ = std::make_unique<group::Member>(options, *journal_, block, random_, now());
  world_.trace(name_ + " starts, LSN " + std::to_string(log_.durable) + ", promised epoch " +
               std::to_string(block.promised.value));
  tick();
  soon([this] { step(); });
}

void GroupNode::end_life() {
  ++life_;
  waiting_.clear();  // their outcome is unknown to their clients
  member_.reset();
  journal_.reset();
  builder_.reset();
  writing_ = false;
  frozen_until_ = {};
}

void GroupNode::stop(End how) {
  if (!up()) return;
  end_life();
  if (how == End::power_loss)
    disk_->crash(world_.random);
  else
    disk_->kill();
}

void GroupNode::stop_and_restart(End how, Duration pause) {
  stop(how);
  world_.queue.after(pause, [this, life = life_] {
    if (!up() && life_ == life) start();
  });
}

void GroupNode::lose_disk(Duration pause) {
  stop(End::power_loss);
  ++life_;
  world_.checker.disk(incarnation_, nullptr);
  old_disks_.push_back(std::move(disk_));
  disk_ = std::make_unique<MemoryDisk>(name_ + "-" + std::to_string(life_));
  log_ = {};
  incarnation_ = {};
  world_.queue.after(pause, [this, life = life_] {
    if (!up() && life_ == life) start();
  });
}

void GroupNode::fail(const std::string& why) {
  world_.trace(name_ + " fails: " + why);
  stop_and_restart(End::process_killed, milliseconds(300));
}

void GroupNode::restart(const group::Restart& restart) {
  world_.trace(name_ + " begins anew: " + restart.why);
  if (writing_) {
    // The writer ends first.
    after(milliseconds(1), [this, restart] { this->restart(restart); });
    return;
  }
  const group::Restart what = restart;
  end_life();
  disk_->kill();
  if (what.cut) {
    world_.reached("log cut at rejoin");
    const auto cut = journal::cut_after(*disk_, "", journal_options(name_), random_, *what.cut);
    if (!cut) {
      world_.trace(name_ + " cannot cut: " + cut.error().what);
    } else {
      world_.checker.cut(name_, log_, what.cut->lsn, !cut->quarantine_file.empty());
      log_.durable = std::min(log_.durable, what.cut->lsn.value);
    }
    disk_->kill();
  }
  world_.queue.after(milliseconds(20), [this, life = life_] {
    if (!up() && life_ == life) start();
  });
}

void GroupNode::tick() {
  member_->tick(now(), wall());
  step();
  if (!up()) return;
  after(world_.between(milliseconds(20), milliseconds(40)), [this] { tick(); });
}

void GroupNode::connected(PeerId peer) {
  soon([this, peer] {
    member_->connected(peer, now(), wall());
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
  if (!up() || world_.queue.now() < frozen_until_ || !builder_ || member_->over() ||
      member_->accept_refusal(now()))
    return false;
  std::byte body[8];
  store_le(body, operation);
  const Lsn lsn = builder_->append(journal::RecordType::time_advanced, BytesView(body));
  waiting_[lsn] = {operation, std::move(answer)};
  step();
  return true;
}

void GroupNode::hand_over(const std::string& to) {
  if (!up() || member_->role() != group::Role::leader) return;
  if (!member_->hand_over(to, now(), wall())) world_.fault("planned move");
  step();
}

void GroupNode::step() {
  if (!up() || stepping_) return;
  stepping_ = true;
  const std::uint64_t life = life_;
  std::vector<group::Output> outputs;
  while (up() && life_ == life) {
    outputs.clear();
    member_->outputs(outputs);
    if (outputs.empty()) break;
    for (group::Output& output : outputs) {
      act(output);
      if (!up() || life_ != life) break;
    }
  }
  stepping_ = false;
  if (up() && life_ == life) write();
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
        [this, life = life_](group::RegisterOutcome outcome, const coordination::GroupState& state) {
          if (life_ != life) return;
          soon([this, outcome, state] {
            member_->register_read(outcome, state, now(), wall());
            step();
          });
        });
  } else if (const auto* change = std::get_if<group::ChangeRegister>(&output)) {
    register_.change(
        change->expected, change->next,
        [this, life = life_](group::RegisterOutcome outcome, const coordination::GroupState& state) {
          if (life_ != life) return;
          soon([this, outcome, state] {
            member_->register_changed(outcome, state, now(), wall());
            step();
          });
        });
  } else if (const auto* committed = std::get_if<group::Committed>(&output)) {
    world_.checker.committed(name_, log_, committed->lsn);
    while (!waiting_.empty() && waiting_.begin()->first <= committed->lsn) {
      auto waited = waiting_.extract(waiting_.begin());
      const Lsn lsn = waited.key();
      world_.checker.acknowledged(waited.mapped().first, lsn, log_.hashes[lsn.value - 1]);
      waited.mapped().second();
    }
  } else if (const auto* lead = std::get_if<group::Lead>(&output)) {
    world_.trace(name_ + " leads epoch " + std::to_string(lead->epoch.value));
    world_.checker.leads(lead->epoch, name_, life_);
    world_.reached(lead->continues ? "leader went on under a new epoch" : "leadership began");
    if (!lead->continues) {
      MS_ASSERT(!writing_ && journal_->durable().lsn.value == log_.hashes.size(), "a leader's log is quiet");
      builder_.emplace(journal_->durable(), journal_->recovery().epoch);
    }
    if (lead->epoch > builder_->epoch()) builder_->start_epoch(lead->epoch);
    (void)builder_->append(journal::RecordType::epoch_started, BytesView{});
  } else if (const auto* again = std::get_if<group::Restart>(&output)) {
    restart(*again);
  } else if (const auto* alarm = std::get_if<group::Alarm>(&output)) {
    world_.trace(name_ + " ALARM " + alarm->why);
    const bool told = world_.register_was_put_back || world_.queue.now() < world_.put_back_told_until;
    if (told && alarm->why.find("put back") != std::string::npos) {
      world_.reached("a register that was put back was noticed");
      return;
    }
    // Nothing else in this world gives reason for one.
    world_.report.violated("alarm at " + name_ + ": " + alarm->why);
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
    note(record);
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
  after(delay, [this, raw] { wrote(batch_, raw); });
}

void GroupNode::wrote(const journal::Batch&, bool) {
  if (const auto synced = journal_->sync(); !synced) {
    fail(synced.error().what);
    return;
  }
  writing_ = false;
  log_.durable = journal_->durable().lsn.value;
  member_->synced(journal_->durable(), now(), wall());
  step();
  if (up() && journal_->wants_spare()) (void)journal_->prepare_spare();
}

}  // namespace mainstay::sim
