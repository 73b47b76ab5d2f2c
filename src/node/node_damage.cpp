// A part of the own log that cannot be read: whether it is so, and what one of a group does then. The
// decisions are group/log_repair.h's; here they are carried out. At a start: set_damage_aside().
#include <algorithm>
#include <chrono>
#include <thread>

#include "node/node.h"
#include "replica/copy_builder.h"

namespace mainstay::node {
namespace {

/// In a row, before a log is taken for damaged: what is wrong may have been on its way, or may pass.
constexpr int kReadsMax = 3;
constexpr Duration kReadAgainAfter = milliseconds(300);
constexpr std::size_t kDoubtsMax = 8;
constexpr std::size_t kToldMax = 1000;
/// At a start with a damaged log. With times that have grown with a slow line it may take longer: then the
/// node has to be started again.
constexpr Duration kLeadMovesWithin = seconds(15);

}  // namespace

bool Node::repairs_itself() const {
  return options_.group && options_.lease == nullptr && !options_.group->others.empty();
}

/// @param bytes  of records from `first` on that were to be read at once; 0: that one
void Node::record_unreadable(Lsn first, std::size_t bytes, const std::string& why) {
  if (ended_ || rejoining_ || first == Lsn{} || unreadable_.contains(first) || doubts_.size() >= kDoubtsMax)
    return;
  const auto same = [&](const Doubt& doubt) { return doubt.first == first; };
  if (std::any_of(doubts_.begin(), doubts_.end(), same)) return;
  doubts_.push_back({first, bytes, why, 1, false, clock_.now()});
  read_once_more();
}

/// On the thread for old bodies: a disk may take long to say that it cannot.
void Node::read_once_more() {
  if (ended_ || rejoining_ || doubts_.empty() || doubts_.front().reading) return;
  Doubt& doubt = doubts_.front();
  doubt.reading = true;
  // rejoin_when_quiet() keeps the journal until this is back.
  read_worker_->post([this, journal = journal_.get(), first = doubt.first, bytes = doubt.bytes] {
    Buffer raw;
    Lsn at = first;
    auto read = journal->read(at, bytes == 0 ? first : Lsn{UINT64_MAX}, bytes, raw);
    if (bytes > 0 && !read && journal::is_unreadable(read.error())) {
      // Which one of them it is: the first that cannot be read by itself.
      for (std::size_t whole = 0; whole < bytes; whole += raw.size()) {
        raw.clear();
        const auto one = journal->read(at, at, 0, raw);
        if (!one) read = one;
        if (!one || raw.empty()) break;
        at = at.next();
      }
    }
    const bool failed = !read && journal::is_unreadable(read.error());
    loop_.post([this, failed, at, why = read ? std::string() : read.error().what] {
      Doubt& back = doubts_.front();
      back.reading = false;
      if (ended_ || rejoining_) return;
      if (failed && ++back.failed < kReadsMax) {
        back.why = why;
        back.again_at = clock_.now() + kReadAgainAfter;
        retry_read_.at(back.again_at, [this] { read_once_more(); });
        return;
      }
      const Doubt done = std::move(doubts_.front());
      doubts_.pop_front();
      if (failed) {
        if (unreadable_.size() >= kToldMax) unreadable_.clear();
        unreadable_.insert(done.first);
        damage_is_certain(at, why);
      } else {
        log(LogLevel::warning,
            "LSN " + std::to_string(done.first.value) + " could not be read, and can be: " + done.why);
        if (group_ != nullptr && replica_->member()->status().cannot_cut)
          restart_in_group({std::nullopt, "what could not be read of the log can be read again"});
      }
      read_once_more();
      schedule_pump();
    });
  });
}

void Node::damage_is_certain(Lsn lsn, const std::string& what) {
  const bool first = repairs_itself() && repair_.damaged(lsn, what);
  if (group_ == nullptr || !first) {
    log(LogLevel::error, "a part of this node's log cannot be read: " + what);
    return;
  }
  ++alarms_;
  log(LogLevel::error,
      "ALARM: this node's log is damaged: " + what +
          " A leader gives the lead to a node that is in sync; then this node sets its log aside and "
          "gets everything from the others. Look at the disk under " +
          disk_->describe(""));
}

void Node::tick_damage(Instant now) {
  if (!repair_.is_damaged()) return;
  if (const auto extents = journal_->extents(); !extents.empty()) {
    repair_.log_begins_with(extents.front().first);
    if (!repair_.is_damaged()) {
      log(LogLevel::info, "group: what was damaged of this node's log is no longer part of it");
      return;
    }
  }
  const group::MemberStatus status = replica_->member()->status();
  group::LogRepair::Facts facts;
  facts.role = status.role;
  facts.moving = replica_->member()->handing_over() || replica_->member()->over();
  facts.cannot_cut = status.cannot_cut;
  facts.leader = status.leader;
  for (const std::string& name : status.in_sync)
    if (status.following.contains(name)) facts.heirs.push_back(name);
  const group::LogRepair::Step step = repair_.next(facts, now);
  if (const auto* move = std::get_if<group::LogRepair::HandOver>(&step)) {
    group_switch(move->to, "this node", "its log is damaged", [this](const http::CommandResult& result) {
      log(result.status == 200 ? LogLevel::info : LogLevel::error,
          "group: the lead of this node, whose log is damaged: " +
              (result.status == 200 ? result.note : result.error));
    });
  } else if (std::holds_alternative<group::LogRepair::SetAside>(step)) {
    set_aside_due_ = true;
    restart_in_group({std::nullopt, "its log is damaged, and others have everything: " + repair_.what()});
  }
}

/// By the register or, when that does not answer, as far as this disk knows.
///
/// It waits on the loop's thread. In the middle of a life that is one answer of the register, with the
/// clients sent away and recovery, which takes as long as it takes, right behind it. At a start it is up to
/// kLeadMovesWithin: the loop does not run yet, nobody listens, nothing was changed that a signal could
/// halve, and a timer would have nothing to let in.
std::optional<coordination::GroupRecord> Node::who_is_in_sync(const group::Superblock& block) const {
  for (const Instant until = clock_.now() + kLeadMovesWithin;;) {
    std::optional<coordination::GroupRecord> record = block.record;
    // One of its own: the group's may be in use by a worker.
    if (auto reg = etcd::open_group_register(options_.register_place, options_.region, clock_)) {
      const auto told = (*reg)->read({});
      if (told && told->record && told->record->epoch >= block.seen) record = told->record;
    }
    // This node led last: others take over from it soon, if they live.
    const bool starts = frontend_ == nullptr;
    const bool waits = starts && record && record->leader.node == options_.name && record->isr.size() > 1 &&
                       clock_.now() < until;
    if (!waits) return record;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

/// R10: a log that is damaged before good records is never cut. While another node is in sync it is set aside
/// as a whole, and the node begins anew as a new disk. Before a recovery: nobody has the log open.
/// @return whether to recover again
bool Node::set_damage_aside(const group::Superblock& block, const std::string& why, Damage damage) {
  if (!repairs_itself() || !repair_.may_set_aside(clock_.now())) return false;
  const std::optional<coordination::GroupRecord> record = who_is_in_sync(block);
  const auto stays = [&](const std::string& because) {
    repair_.could_not_set_aside(because, clock_.now());
    if (damage == Damage::certain) log(LogLevel::error, "the damaged log stays in use for now: " + because);
    return false;
  };
  if (!record) return stays("the register does not say who is in sync");
  if (!group::others_have_all(*record, options_.name))
    return stays(record->isr.size() > 1
                     ? "the register says that this node leads: start it again when another one does"
                     : "no other node is in sync by the register: this log may be the only one");
  if (damage == Damage::suspected && !replica::is_damaged(*disk_)) return false;
  const auto home = replica::set_aside(*disk_);
  if (!home) return stays("it cannot be moved: " + home.error().what);
  repair_.was_set_aside(clock_.now());
  ++alarms_;
  ++set_aside_;
  log(LogLevel::error, "ALARM: " + why + ". This node's log is damaged and kept as it is in " +
                           disk_->describe(home->directory) +
                           "; the node goes on as a new disk and gets everything from the others");
  return true;
}

/// Another replica reads the log from here on, or another log.
void Node::forget_damage_of_log() {
  doubts_.clear();
  unreadable_.clear();
}

}  // namespace mainstay::node
