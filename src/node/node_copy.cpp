// A full copy of log and state between nodes of a group: a leader that gives one away, and a backup that
// takes one (group/full_copy.h decides, replica/copy_builder.h has the files). What may block runs on a
// thread of its own, one job at a time.
#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "group/full_copy.h"
#include "io/system_random.h"
#include "node/node.h"
#include "replica/copy_builder.h"

namespace mainstay::node {
namespace {

constexpr Duration kTellEvery = seconds(10);

std::string part_of(std::uint64_t done, std::uint64_t total) {
  return std::to_string(done >> 20) + " of " + std::to_string(total >> 20) + " MiB";
}

}  // namespace

struct Node::Copying {
  explicit Copying(const group::CopyLimits& with) : giver(with), limits(with) {}

  // Leader.
  group::CopyGiver giver;
  group::CopyLimits limits;
  bool cut_wanted = false;  ///< the next checkpoint is one
  /// The log from here on belongs to the cut that is being made or given.
  std::optional<Lsn> cut_from;
  std::uint64_t log_bytes_at_cut = 0;
  std::shared_ptr<replica::Replica::Checkpoint> cut;  ///< holds the files of its pages
  group::CopyPlan plan;
  // Follower.
  std::optional<group::CopyTaker> taker;
  std::unique_ptr<replica::CopyBuilder> builder;  ///< the worker's while it works
  PeerId from = 0;
  std::string from_node;
  bool looking = false;  ///< for what an earlier life has left
  bool install = false;

  Instant told_at{};
  io::SystemRandom random;
  io::Worker worker;  // last: joined first
};

void Node::CopyingDeleter::operator()(Copying* copying) const {
  delete copying;
}

Node::Copying& Node::copying() {
  if (copying_ == nullptr) {
    group::CopyLimits limits;
    limits.bytes_per_second = options_.group->copy_bytes_per_second;
    limits.keep_log_bytes = options_.group->keep_log_bytes;
    copying_.reset(new Copying(limits));
  }
  return *copying_;
}

/// Runs `job` on the copy's thread, then `then` with what it gave on the loop, unless this life has ended
/// meanwhile (it does not before the job has).
template <class Job, class Then>
void Node::copy_job(Job job, Then then) {
  copying_->worker.post([this, job = std::move(job), then = std::move(then)]() mutable {
    const auto result = std::make_shared<decltype(job())>(job());
    loop_.post([this, result, then = std::move(then)]() mutable {
      if (ended_ || copying_ == nullptr || rejoining_) return;
      then(std::move(*result));
      schedule_pump();
    });
  });
}

bool Node::copy_is_quiet() const {
  return copying_ == nullptr || copying_->worker.idle();
}

/// Everything but the files ends with this life of the replica.
void Node::end_copying() {
  const bool install = copying_ != nullptr && copying_->install;
  copying_.reset();
  install_copy_ = install;
}

/// Between two lives, and at the start: nobody has the directory open.
Result<void, Failure> Node::install_copy() {
  const auto aside = replica::finish_set_aside(*disk_);
  if (!aside) return aside.error();
  if (*aside) {
    log(LogLevel::warning, "group: this node's damaged log was being set aside: it is in " +
                               disk_->describe((*aside)->directory) + " now");
  }
  if (std::exchange(install_copy_, false)) {
    if (auto begun = replica::begin_install(*disk_); !begun) {
      log(LogLevel::error, "group: the copy is not installed: " + begun.error().what);
      if (auto forgotten = replica::forget_copy(*disk_); !forgotten) return forgotten;
    }
  }
  auto installed = replica::finish_install(*disk_);
  if (!installed) return installed.error();
  if (*installed) {
    repair_.log_was_replaced();
    log(LogLevel::warning, "group: a full copy, up to LSN " + std::to_string((*installed)->end.value) +
                               ", has taken the place of this node's log and state (" +
                               std::to_string((*installed)->removed_files) +
                               " files, a prefix of it, were removed): this is a new disk to the group");
  }
  return {};
}

// ---- both
// ------------------------------------------------------------------------------------------------------------

void Node::copy_heard(const group::CopyHeard& heard) {
  const auto packet = group::decode(heard.packet);
  if (!packet) return;  // it was decoded before
  const Instant now = clock_.now();
  if (const auto* ask = std::get_if<group::CopyAsk>(&packet->message)) {
    copying().giver.asked(heard.from, heard.who, *ask, now);
  } else if (copying_ != nullptr && copying_->taker) {
    copying_->taker->heard(heard.from, packet->message, now);
  }
  act_on_copy();
}

void Node::copy_line_gone(io::StreamId peer) {
  if (copying_ == nullptr) return;
  if (copying_->from == peer) copying_->from = 0;
  if (copying_->taker) copying_->taker->line_gone(peer);
}

void Node::act_on_copy() {
  if (copying_ == nullptr) return;
  for (;;) {
    std::vector<group::CopyGiver::Output> giving;
    copying_->giver.outputs(giving);
    std::vector<group::CopyTaker::Output> taking;
    if (copying_->taker) copying_->taker->outputs(taking);
    if (giving.empty() && taking.empty()) return;
    for (auto& output : giving) give_copy(std::move(output));
    for (auto& output : taking) {
      take_copy(std::move(output));
      if (copying_ == nullptr || rejoining_) return;
    }
  }
}

void Node::tick_copy(Instant now) {
  // A member that is over wants nothing any more, a copy that is about to be installed least of all; its
  // restart, which keeps what is there, comes next.
  if (copying_ == nullptr || rejoining_ || ended_ || replica_->member()->over()) return;
  Copying& c = *copying_;
  if (c.giver.active() && !c.giver.making()) {
    const group::MemberStatus status = replica_->member()->status();
    const std::string& node = c.giver.node();
    if (std::find(status.in_sync.begin(), status.in_sync.end(), node) != status.in_sync.end()) {
      c.giver.in_sync();
    } else if (disk_full_) {
      c.giver.end("the disk is full, and the log is kept for it");
    } else if (const std::uint64_t bytes = journal_->record_bytes_total(); bytes > c.log_bytes_at_cut) {
      c.giver.log_grew(bytes - c.log_bytes_at_cut);
    }
  }
  c.giver.tick(now);
  if (c.taker) {
    if (!replica_->member()->wants_copy() && !c.taker->busy()) {
      log(LogLevel::info, "group: no full copy is needed any more");
      c.taker.reset();
      drop_copy(false);
    } else {
      c.taker->tick(now);
    }
  }
  act_on_copy();
  if (copying_ == nullptr || now - c.told_at < kTellEvery) return;
  c.told_at = now;
  if (c.giver.active() && !c.giver.making()) {
    log(LogLevel::info, "group: full copy for node " + c.giver.node() + ": " +
                            part_of(c.giver.bytes_done(), c.giver.bytes_total()));
  }
  if (c.taker) {
    log(LogLevel::info, "group: full copy from node " + c.from_node + ": " + c.taker->phase() + ", " +
                            part_of(c.taker->bytes_done(), c.taker->bytes_total()) +
                            (c.taker->problem().empty() ? "" : "; " + c.taker->problem()));
  }
}

// ---- the leader's half
// -----------------------------------------------------------------------------------------------

void Node::give_copy(group::CopyGiver::Output output) {
  Copying& c = *copying_;
  const Instant now = clock_.now();
  const auto send = [&](PeerId to, const group::Message& message) {
    replica_->send_copy(to, message, now, clock_.wall());
  };
  if (const auto* make = std::get_if<group::CopyGiver::MakeCut>(&output)) {
    log(LogLevel::warning, "group: node " + make->node +
                               " lacks records that this node's log no longer has: "
                               "it gets a full copy");
    c.cut_wanted = true;
    maintain_due_ = true;
  } else if (auto* read = std::get_if<group::CopyGiver::ReadPart>(&output)) {
    copy_job(
        [this, item = read->item, ask = read->ask, end = c.plan.end.lsn, cut = c.cut]() {
          auto bytes = read_part(item, ask, end, *cut);
          if (!bytes) bytes = read_part(item, ask, end, *cut);  // a read may fail once
          return bytes;
        },
        [this, item = read->item, ask = read->ask](Result<Buffer, Failure> bytes) {
          if (!bytes) {
            log(LogLevel::error,
                "group: a part of the full copy for another node cannot be read: " + bytes.error().what);
            if (item.kind == group::CopyKind::records)
              record_unreadable(Lsn{ask.offset}, ask.bytes, bytes.error().what);
          }
          copying_->giver.part_read(std::move(bytes), clock_.now());
          act_on_copy();
        });
  } else if (const auto* plan = std::get_if<group::CopyGiver::SendPlan>(&output)) {
    log(LogLevel::info, "group: full copy for node " + c.giver.node() + " begins: state of LSN " +
                            std::to_string(plan->plan.end.lsn.value) + ", records from LSN " +
                            std::to_string(plan->plan.before.lsn.value + 1) + " on, " +
                            std::to_string(plan->plan.bytes() >> 20) + " MiB");
    send(plan->to, plan->plan);
  } else if (const auto* part = std::get_if<group::CopyGiver::SendPart>(&output)) {
    send(part->to, group::CopyPart{part->ask.cut, part->ask.item, part->ask.offset, part->bytes});
  } else if (const auto* refused = std::get_if<group::CopyGiver::SendRefused>(&output)) {
    send(refused->to, refused->refused);
  } else if (const auto* ended = std::get_if<group::CopyGiver::Ended>(&output)) {
    log(LogLevel::info, "group: the full copy is no longer kept: " + ended->why);
    c.cut.reset();
    c.cut_from.reset();
    c.plan = {};
  }
}

/// On the copy's thread.
Result<Buffer, Failure> Node::read_part(const group::CopyItem& item, const group::CopyAsk& ask, Lsn end,
                                        const replica::Replica::Checkpoint& cut) {
  Buffer bytes;
  switch (item.kind) {
    case group::CopyKind::root: {
      const BytesView root(cut.root);
      const BytesView part =
          root.subspan(ask.offset, std::min<std::size_t>(ask.bytes, root.size() - ask.offset));
      return to_buffer(part);
    }
    case group::CopyKind::pages: {
      const auto file = disk_->open("pages/" + paging::page_file_name(item.number), OpenMode::read);
      if (!file) return Failure{file.error().what};
      bytes.resize(std::min<std::uint64_t>(ask.bytes, item.bytes - ask.offset));
      const auto got = (*file)->read(ask.offset, bytes);
      if (!got) return Failure{got.error().what};
      if (*got != bytes.size()) return Failure{"a file of pages is shorter than it was"};
      return bytes;
    }
    case group::CopyKind::records: {
      const auto read = journal_->read(Lsn{ask.offset}, end, ask.bytes, bytes);
      if (!read) return Failure{read.error().what};
      return bytes;
    }
  }
  return Failure{"no such part"};
}

bool Node::cut_is_wanted() const {
  return copying_ != nullptr && copying_->cut_wanted;
}

/// A checkpoint was made; `made` is nothing when there was no space for its pages.
void Node::cut_begins(const replica::Replica::Checkpoint* made) {
  if (copying_ == nullptr) return;
  Copying& c = *copying_;
  if (!std::exchange(c.cut_wanted, false)) return;
  if (made == nullptr) {
    c.giver.cut_made(Failure{"there is no space for a checkpoint's pages"}, clock_.now());
    return act_on_copy();
  }
  c.cut_from = std::max(Lsn{1}, std::min(made->needed, made->lsn));
  c.plan = {};
  c.plan.end.lsn = made->lsn;
  c.plan.before.lsn = Lsn{c.cut_from->value - 1};
  c.plan.state_hash = made->state_hash;
  c.plan.region_term = replica_->term();
  c.plan.epochs = replica_->member()->epochs();
  c.plan.epochs.cut(made->lsn);
  c.log_bytes_at_cut = journal_->record_bytes_total();
}

/// It is durable, or `problem` says why not.
void Node::cut_stored(const std::shared_ptr<replica::Replica::Checkpoint>& made, const std::string& problem) {
  if (copying_ == nullptr || rejoining_ || !copying_->cut_from || copying_->cut != nullptr) return;
  Copying& c = *copying_;
  if (made->lsn != c.plan.end.lsn) return;
  if (!problem.empty()) {
    c.cut_from.reset();
    c.giver.cut_made(Failure{problem}, clock_.now());
    return act_on_copy();
  }
  c.cut = made;
  group::CopyPlan plan = c.plan;
  plan.cut = c.random.uuid();
  plan.items.push_back({group::CopyKind::root, 0, made->root.size()});
  for (const auto& file : made->sealed->files()) {
    plan.items.push_back({group::CopyKind::pages, file.number, file.bytes});
  }
  std::uint64_t records = 0;
  for (const journal::Journal::Extent& extent : journal_->extents()) {
    const std::uint64_t first = std::max(extent.first.value, plan.before.lsn.value + 1);
    const std::uint64_t last = std::min(extent.last.value, plan.end.lsn.value);
    if (last < first) continue;
    const double part = static_cast<double>(last - first + 1) /
                        static_cast<double>(extent.last.value - extent.first.value + 1);
    records += static_cast<std::uint64_t>(static_cast<double>(extent.record_bytes) * part);
  }
  plan.items.push_back({group::CopyKind::records, 0, records});
  copy_job(
      [this, plan = std::move(plan)]() mutable -> Result<group::CopyPlan, Failure> {
        const auto before = journal_->hash_at(plan.before.lsn);
        if (!before) return Failure{before.error().what};
        const auto end = journal_->hash_at(plan.end.lsn);
        if (!end) return Failure{end.error().what};
        plan.before.hash = *before;
        plan.end.hash = *end;
        return plan;
      },
      [this](Result<group::CopyPlan, Failure> made_plan) {
        if (made_plan) {
          copying_->plan = *made_plan;
        } else {
          // One of two records; which, reading them tells.
          record_unreadable(copying_->plan.before.lsn, 0, made_plan.error().what);
          record_unreadable(copying_->plan.end.lsn, 0, made_plan.error().what);
          copying_->cut.reset();
          copying_->cut_from.reset();
        }
        copying_->giver.cut_made(std::move(made_plan), clock_.now());
        act_on_copy();
      });
}

std::optional<Lsn> Node::copy_keeps() const {
  if (copying_ == nullptr) return std::nullopt;
  return copying_->cut_from;
}

// ---- the follower's half
// ---------------------------------------------------------------------------------------------

void Node::copy_needed(const group::NeedCopy& need) {
  Copying& c = copying();
  c.from = need.from;
  c.from_node = need.node;
  if (c.looking) return;
  if (c.taker) {
    c.taker->leader(need.from, clock_.now());
    return act_on_copy();
  }
  log(LogLevel::warning, "group: leader " + need.node +
                             " no longer has what this node's log lacks: it is asked for a full copy");
  c.looking = true;
  copy_job(
      [this, options = journal_options()] {
        return replica::CopyBuilder::resume(*disk_, options, copying_->random);
      },
      [this](Result<std::unique_ptr<replica::CopyBuilder>, Failure> found) {
        Copying& mine = *copying_;
        mine.looking = false;
        mine.taker.emplace(mine.limits);
        if (!found) return end_fatally(found.error().what);
        if (*found != nullptr) {
          mine.builder = std::move(*found);
          mine.taker->resume(mine.builder->plan(), mine.builder->place());
          log(LogLevel::info, "group: a copy was begun before: " +
                                  part_of(mine.taker->bytes_done(), mine.taker->bytes_total()) + " are here");
        }
        if (mine.from != 0) mine.taker->leader(mine.from, clock_.now());
        act_on_copy();
      });
}

void Node::take_copy(group::CopyTaker::Output output) {
  Copying& c = *copying_;
  if (const auto* ask = std::get_if<group::CopyTaker::SendAsk>(&output)) {
    replica_->send_copy(ask->to, ask->ask, clock_.now(), clock_.wall());
  } else if (auto* prepare = std::get_if<group::CopyTaker::Prepare>(&output)) {
    log(LogLevel::info, "group: full copy from node " + c.from_node + " begins: state of LSN " +
                            std::to_string(prepare->plan.end.lsn.value) + ", " +
                            std::to_string(prepare->plan.bytes() >> 20) + " MiB");
    copy_job(
        [this, &c, plan = std::move(prepare->plan),
         options = journal_options()]() -> Result<group::CopyPlace, Failure> {
          c.builder.reset();
          auto begun = replica::CopyBuilder::begin(*disk_, plan, options, c.random);
          if (!begun) return begun.error();
          c.builder = std::move(*begun);
          return c.builder->place();
        },
        [this](Result<group::CopyPlace, Failure> place) {
          copying_->taker->prepared(std::move(place), clock_.now());
          act_on_copy();
        });
  } else if (auto* put = std::get_if<group::CopyTaker::Put>(&output)) {
    copy_job([&c, at = put->at, bytes = std::move(put->bytes)] { return c.builder->put(at, bytes); },
             [this](Result<group::CopyPlace, Failure> place) {
               copying_->taker->put(std::move(place), clock_.now());
               act_on_copy();
             });
  } else if (std::holds_alternative<group::CopyTaker::Finish>(output)) {
    log(LogLevel::info, "group: the full copy is here; all of it is read back and checked");
    copy_job([&c] { return c.builder->finish(); },
             [this](Result<void, Failure> done) {
               copying_->taker->finished(std::move(done), clock_.now());
               act_on_copy();
             });
  } else if (const auto* forget = std::get_if<group::CopyTaker::Forget>(&output)) {
    log(LogLevel::warning, "group: the full copy so far is dropped: " + forget->why);
    drop_copy(true);
  } else if (std::holds_alternative<group::CopyTaker::Install>(output)) {
    if (!replica_->member()->wants_copy()) {
      c.taker.reset();
      return drop_copy(false);
    }
    c.install = true;
    replica_->end_for_copy(clock_.now(), clock_.wall());
  }
}

/// @param asked  by the taker, which waits for it
void Node::drop_copy(bool asked) {
  Copying& c = *copying_;
  copy_job(
      [this, &c] {
        c.builder.reset();
        return replica::forget_copy(*disk_);
      },
      [this, asked](Result<void, Failure> forgotten) {
        if (!forgotten)
          log(LogLevel::warning, "group: what is left of a copy stays: " + forgotten.error().what);
        if (asked && copying_->taker) copying_->taker->forgotten(clock_.now());
        act_on_copy();
      });
}

void Node::tell_copy(http::NodeStatus::Group& group) const {
  if (copying_ == nullptr) return;
  const Copying& c = *copying_;
  if (c.taker) {
    group.copy.way = "taking";
    group.copy.node = c.from_node;
    group.copy.phase = c.taker->phase();
    group.copy.bytes_done = c.taker->bytes_done();
    group.copy.bytes_total = c.taker->bytes_total();
    if (!c.taker->problem().empty()) group.problem = "full copy: " + c.taker->problem();
  } else if (c.giver.active()) {
    group.copy.way = "giving";
    group.copy.node = c.giver.node();
    group.copy.phase = c.giver.making() ? "asking" : "copying";
    group.copy.bytes_done = c.giver.bytes_done();
    group.copy.bytes_total = c.giver.bytes_total();
  }
}

}  // namespace mainstay::node
