// The node that leads on a store which other nodes can take (shared-store mode): its fence, and how it gives
// the store up, because it was taken or because it is to move. Taking it: store_standby.h.
#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "group/packets.h"
#include "group/store_tenure.h"
#include "io/posix_disk.h"
#include "node/node.h"
#include "node/store_lease.h"

namespace mainstay::node {
namespace {

constexpr Duration kLastWords = milliseconds(100);  // what clients are told leaves within
constexpr Duration kSuccessorPoll = milliseconds(5);
constexpr Duration kSuccessorWithin = seconds(10);
constexpr Duration kStandbyHeardWithin = seconds(1);

}  // namespace

struct Node::Store {
  std::optional<group::StoreTenure> tenure;  ///< from the first tick: what comes before is recovery
  struct Standby {
    io::StreamId peer{};
    Instant heard{};
  };
  std::map<std::string, Standby> standbys;  ///< by node

  bool leaving = false;
  struct Move {
    std::string to, by;
    http::CommandDone done;
    Instant given_at{};
  };
  std::optional<Move> move;
  io::Worker chores;  // last: joined first
};

void Node::StoreDeleter::operator()(Store* store) const {
  delete store;
}

/// The node's data directory; on a shared store, the claim's, fenced.
Result<std::unique_ptr<Disk>, Failure> Node::open_disk() {
  if (options_.lease != nullptr) {
    if (store_ == nullptr) store_.reset(new Store());
    auto claim = io::PosixDisk::open(options_.data_directory);
    if (!claim) return Failure{claim.error().what};
    return std::unique_ptr<Disk>(
        std::make_unique<group::FencedDisk>(std::move(*claim), options_.lease->fence));
  }
  std::error_code not_made;
  std::filesystem::create_directories(options_.data_directory, not_made);
  if (not_made)
    return Failure{"cannot make the data directory " + options_.data_directory + ": " + not_made.message()};
  auto disk = io::PosixDisk::open(options_.data_directory);
  if (!disk) return Failure{disk.error().what};
  if (const auto store = group::current_claim(**disk); !store || *store) {
    return Failure{(*disk)->describe("") +
                   " is a store that the nodes of a group share: this node's configuration has no mode = "
                   "\"shared-store\" in [group]. Give it that, or a directory of its own"};
  }
  return std::unique_ptr<Disk>(std::move(*disk));
}

void Node::tick_store(Instant now) {
  Store& s = *store_;
  if (rejoining_) return;
  if (!s.tenure) {
    group::TenureOptions options;
    options.look_every = options_.group->member.beacon_every;
    options.lead_within = std::max(options.lead_within, options_.group->member.alone_without_register_max);
    s.tenure.emplace(options, options_.lease->lock != nullptr, now);
  }
  s.tenure->tick(replica_->role() == replica::Role::live, now);
  act_on_store();
  if (rejoining_) return;
  // All that was taken of clients is durable and answered.
  if (s.move && !s.leaving && !writing_ && replica_->bytes_under_way() == 0 && !received_)
    leave_store("the lead goes to node " + s.move->to + ", asked for by " + s.move->by);
}

void Node::act_on_store() {
  std::vector<group::TenureOutput> outputs;
  store_->tenure->outputs(outputs);
  for (const group::TenureOutput& output : outputs) {
    if (std::holds_alternative<group::CheckFence>(output)) {
      check_fence();
    } else if (std::holds_alternative<group::TryLock>(output)) {
      try_store_lock();
    } else if (std::holds_alternative<group::RemoveOldClaims>(output)) {
      store_->chores.post([disk = options_.lease->disk, epoch = options_.lease->claim.epoch] {
        group::remove_claims_below(*disk, epoch);
      });
    } else if (const auto* leave = std::get_if<group::LeaveStore>(&output)) {
      leave_store(leave->why);
    }
  }
}

void Node::check_fence() {
  block_worker_->post([this, fence = options_.lease->fence] {
    const Instant asked = clock_.now();
    static_cast<void>(fence->check());
    loop_.post([this, asked, lost = fence->lost()] {
      if (ended_ || rejoining_) return;
      store_->tenure->fence_checked(lost);
      if (lost.empty()) replica_->disk_is_ours(asked);
      act_on_store();
      if (rejoining_) return;
      review_fence(clock_.now());
      schedule_pump();
    });
  });
}

/// Apart from the looks at the fence: a server of locks may make its callers wait.
void Node::try_store_lock() {
  store_->chores.post([this, disk = options_.lease->disk] {
    auto lock = disk->lock(group::kStoreLock);
    loop_.post([this, lock = std::make_shared<decltype(lock)>(std::move(lock))] {
      if (ended_ || rejoining_) return;
      const LockTold told = told_of(*lock);
      if (*lock) {
        options_.lease->lock = std::move(**lock);
        log(LogLevel::info, "group: the store's lock is this node's now");
      }
      store_->tenure->lock_tried(told.outcome, told.what, clock_.now());
    });
  });
}

void Node::store_heard(io::StreamId peer, BytesView packet) {
  const auto told = group::decode(packet);
  if (told) store_->standbys[told->sender.member.node] = {peer, clock_.now()};
}

void Node::tell_store(http::NodeStatus::Group& s) const {
  if (store_ == nullptr) return;
  s.store = http::NodeStatus::Group::Store{};
  s.store->lock_held = options_.lease->lock != nullptr;
  if (store_->tenure) s.store->lock_holder = store_->tenure->holder();
  if (s.problem.empty() && !s.store->lock_held) {
    s.problem = "this node leads without the store's lock" +
                (s.store->lock_holder.empty() ? "" : ", which is held by " + s.store->lock_holder) +
                ": it asks for it again and again";
  }
}

/// Before a failure is taken for the end of this process: a store that was taken makes everything fail.
bool Node::store_lost() {
  if (store_ == nullptr) return false;
  if (store_->leaving) return true;
  static_cast<void>(options_.lease->fence->check());
  const std::string why = options_.lease->fence->lost();
  if (why.empty()) return false;
  leave_store(why);
  return true;
}

/// Answers nothing more, tells clients where to go, and is over when nothing of it is under way.
void Node::leave_store(const std::string& why) {
  Store& s = *store_;
  if (s.leaving || ended_) return;
  s.leaving = true;
  rejoining_ = true;
  options_.lease->left = why;
  not_live_reason_ = "this node does not lead any more: " + why + ". Go to another node";
  log(s.move ? LogLevel::info : LogLevel::error, not_live_reason_);
  // Its fence keeps what is under way from counting. With the lock required nobody relies on that alone.
  if (!s.move && !options_.group->store->lock_required) options_.lease->lock.reset();
  frontend_->close_all(not_live_reason_, clock_.now(), clock_.wall());
  loop_.post([this] { rejoin_when_quiet(); });
}

void Node::store_is_quiet() {
  Store& s = *store_;
  if (s.move && s.move->given_at == Instant{}) {
    s.move->given_at = clock_.now();
    if (const auto to = s.standbys.find(s.move->to); to != s.standbys.end()) {
      group::Sender self;
      self.cluster = options_.cluster;
      self.member = {options_.name, options_.lease->store.incarnation};
      self.epoch = replica_->epoch();
      self.leads = true;
      Buffer packet;
      group::encode(self, group::TakeOver{}, packet);
      send_to_group(to->second.peer, packet);
    }
    options_.lease->lock.reset();
    return await_successor();
  }
  // The disk answers now: whatever else went wrong, that the store is another's is the better reason.
  static_cast<void>(options_.lease->fence->check());
  if (std::string lost = options_.lease->fence->lost(); !lost.empty()) options_.lease->left = std::move(lost);
  rejoin_timer_.at(clock_.now() + kLastWords, [this] {
    if (std::exchange(ended_, true)) return;
    fatal_(options_.lease->left, kStoreLeft);
  });
}

void Node::await_successor() {
  block_worker_->post([this, fence = options_.lease->fence] {
    const bool ours = fence->check().has_value();
    loop_.post([this, ours] {
      if (ended_) return;
      const bool late = clock_.now() - store_->move->given_at > kSuccessorWithin;
      if (ours && !late) {
        rejoin_timer_.at(clock_.now() + kSuccessorPoll, [this] { await_successor(); });
        return;
      }
      http::CommandResult result;
      result.lsn = replica_->committed().value;
      if (ours) {
        result.status = 504;
        result.error =
            "this node gave the store up, and nobody took it within " +
            std::to_string(kSuccessorWithin.milliseconds()) +
            " ms: whoever is first leads now, perhaps this node again. See `mainstay group status`";
      } else {
        result.note = options_.lease->fence->lost();
      }
      const std::string wanted = "node " + store_->move->to + " ";
      if (!ours && !result.note.starts_with(wanted)) {
        result.status = 409;
        result.error = "another node was first: " + result.note;
      }
      std::exchange(store_->move, std::nullopt)->done(result);
      store_is_quiet();
    });
  });
}

void Node::store_switch(const std::string& to, const std::string& by, const std::string& reason,
                        http::CommandDone done) {
  const auto standby = store_->standbys.find(to);
  if (store_->move) return done(http::refused(409, "a move to " + store_->move->to + " is under way"));
  if (to == options_.name) return done(http::refused(409, "node " + to + " leads already"));
  if (standby == store_->standbys.end() || clock_.now() - standby->second.heard > kStandbyHeardWithin) {
    return done(http::refused(
        409, "node " + to + " cannot take the lead: nothing is heard of a standby of that name"));
  }
  log(LogLevel::info, "group: the lead goes to node " + to + ", asked for by " + by +
                          (reason.empty() ? "" : " (" + reason + ")"));
  store_->move = Store::Move{to, by, std::move(done), {}};
  // What clients have sent is answered first.
  switch_draining_ = true;
  not_live_reason_ = "the lead goes to node " + to + ". Go to another node";
  tick_store(clock_.now());
  schedule_pump();
}

}  // namespace mainstay::node
