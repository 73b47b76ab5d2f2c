// The node that leads on a store which other nodes can take (shared-store mode): its fence, and how it gives
// the store up, because it was taken or because it is to move. Taking it: store_standby.h.
#include <filesystem>
#include <map>
#include <utility>

#include "group/packets.h"
#include "io/posix_disk.h"
#include "node/node.h"
#include "node/store_lease.h"

namespace mainstay::node {
namespace {

constexpr Duration kLockRetry = seconds(1);
constexpr Duration kRemoveOldAfter = seconds(5);
constexpr Duration kLastWords = milliseconds(100);  // what clients are told leaves within
constexpr Duration kSuccessorPoll = milliseconds(5);
constexpr Duration kSuccessorWithin = seconds(10);
constexpr Duration kStandbyHeardWithin = seconds(1);

}  // namespace

struct Node::Store {
  bool checking = false;
  Instant check_at{};
  bool locking = false;
  Instant lock_at{};
  bool live = false;
  Instant remove_old_at{};
  bool removed_old = false;
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
  io::Worker cleaner;  // last: joined first
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
  if (!s.checking && now >= s.check_at) {
    s.checking = true;
    s.check_at = now + options_.group->member.beacon_every;
    block_worker_->post([this, fence = options_.lease->fence] {
      const Instant asked = clock_.now();
      const bool ours = fence->check().has_value();
      loop_.post([this, asked, ours] {
        store_->checking = false;
        if (ended_ || rejoining_) return;
        if (!ours) {
          static_cast<void>(store_lost());
          return;
        }
        replica_->disk_is_ours(asked);
        review_fence(clock_.now());
        schedule_pump();
      });
    });
  }
  if (options_.lease->lock == nullptr && !s.locking && now >= s.lock_at) {
    s.locking = true;
    block_worker_->post([this, disk = options_.lease->disk] {
      auto lock = disk->lock(group::kStoreLock);
      loop_.post([this, held = std::make_shared<decltype(lock)>(std::move(lock))] {
        store_->locking = false;
        store_->lock_at = clock_.now() + kLockRetry;
        if (ended_ || rejoining_ || !*held) return;
        options_.lease->lock = std::move(**held);
        log(LogLevel::info, "group: the store's lock is this node's now");
      });
    });
  }
  if (!s.live && replica_->role() == replica::Role::live) {
    s.live = true;
    s.remove_old_at = now + kRemoveOldAfter;
  }
  if (s.live && !s.removed_old && now >= s.remove_old_at) {
    s.removed_old = true;
    s.cleaner.post([disk = options_.lease->disk, epoch = options_.lease->claim.epoch] {
      group::remove_claims_below(*disk, epoch);
    });
  }
  // All that was taken of clients is durable and answered.
  if (s.move && !s.leaving && !writing_ && replica_->bytes_under_way() == 0 && !received_)
    leave_store("the lead goes to node " + s.move->to + ", asked for by " + s.move->by);
}

void Node::store_heard(io::StreamId peer, BytesView packet) {
  const auto told = group::decode(packet);
  if (told) store_->standbys[told->sender.member.node] = {peer, clock_.now()};
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
  http::CommandResult refused;
  refused.status = 409;
  const auto standby = store_->standbys.find(to);
  if (store_->move) {
    refused.error = "a move to " + store_->move->to + " is under way";
    return done(refused);
  }
  if (to == options_.name) {
    refused.error = "node " + to + " leads already";
    return done(refused);
  }
  if (standby == store_->standbys.end() || clock_.now() - standby->second.heard > kStandbyHeardWithin) {
    refused.error = "node " + to + " cannot take the lead: nothing is heard of a standby of that name";
    return done(refused);
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
