// The node as one of a group within its region: lines to the others, the group's register, the superblock,
// and what happens when its member says Restart. Decisions are the member's (group/member.h); here they are
// carried out.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/assert.h"
#include "io/posix_disk.h"
#include "journal/cut.h"
#include "node/alive_poster.h"
#include "node/node.h"
#include "node/peer_wire.h"
#include "node/store_lease.h"
#include "node/told_lately.h"

namespace mainstay::node {
namespace {

constexpr Duration kRedialAfter = milliseconds(250);
/// To each other node. One carries the log, the other beacons only: they do not wait behind what a slow link
/// takes long for.
constexpr std::size_t kLines = 2;
constexpr Duration kProbeEvery = seconds(1);
constexpr Duration kRoomRetry = seconds(1);
constexpr Duration kMoveMax = seconds(20);  // for a new leader to be known
constexpr std::size_t kGroupPacketBytesMax = 80U << 20;
constexpr std::size_t kLinesTold = 10;  // connections that begin or end, of each kind in a minute

Result<void, DiskError> probe(Disk& disk) {
  auto file = disk.open("probe", OpenMode::read_write);
  if (!file && file.error().code == DiskErrorCode::not_found) file = disk.open("probe", OpenMode::create);
  if (!file) return file.error();
  const std::byte something[1]{};
  auto written = (*file)->write(0, BytesView(something));
  return written ? (*file)->sync() : written;
}

std::string no_connection(const std::string& node, const std::string& why) {
  return "group: no connection to node " + node + ": " + why;
}

}  // namespace

class GroupStreams final : public PacketEvents {
 public:
  explicit GroupStreams(Node& node) : node_(node) {}
  void on_peer_open(io::StreamId peer, const std::string& remote, bool outgoing) override {
    node_.on_group_open(peer, remote, outgoing);
  }
  void on_packet(io::StreamId peer, BytesView packet) override { node_.on_group_packet(peer, packet); }
  void on_peer_bytes(io::StreamId peer) override { node_.on_group_bytes(peer); }
  void on_peer_end(io::StreamId peer) override { node_.on_group_end(peer); }

 private:
  Node& node_;
};

struct Node::Group {
  explicit Group(Node& node) : events(node), streams(events, kGroupPacketBytesMax) {}

  GroupStreams events;
  PacketStreams streams;
  std::unique_ptr<io::StreamHub> hub;
  std::unique_ptr<PeerWire> wire;
  std::shared_ptr<coordination::GroupRegister> reg;
  /// Counts replicas: what was asked for an earlier one is answered to nobody.
  std::uint64_t life = 0;

  std::map<io::StreamId, Instant> heard;
  std::map<io::StreamId, std::string> line;  ///< "to node east-1", "from 10.0.0.3"
  ToldLately told_lately;
  std::string told_problem;  ///< the member's, in the log
  /// This node dials those whose names come before its own, one at a time.
  std::size_t turn = 0;  ///< among the others
  std::string dialing;
  bool connecting = false;
  Instant dial_at{};
  std::map<std::string, std::set<io::StreamId>> dialled;
  std::string dial_problem;

  std::optional<group::Restart> restart;
  std::size_t copies = 0;  ///< in sync, at the last tick
  Epoch told{};            ///< of this node's leadership, in the log
  std::string fenced;      ///< why clients were sent away, though it leads
  struct Move {
    std::string to;
    http::CommandDone done;
    Epoch epoch{};              ///< of the leadership that is given away
    std::optional<Lsn> left{};  ///< it has ended, with so much committed: the register will say who leads
    Instant deadline{};
  };
  std::optional<Move> move;     ///< a planned one, under way
  std::size_t room_wanted = 0;  ///< a backup's last batch, for which the disk had no space; 0: it had
  Instant take_at{};            ///< and when it tries again
  std::optional<AlivePoster> alive;
  bool probing = false;
  bool stalled = false;
  Instant probe_at{}, probe_begun{};
  Duration probe_took{};
};

void Node::GroupDeleter::operator()(Group* group) const {
  delete group;
}

Result<void, Failure> Node::prepare_group(group::Superblock& block) {
  if (group_ == nullptr) {
    group_.reset(new Group(*this));
    etcd::RegisterPlace place = options_.register_place;
    if (place.etcd) {
      place.etcd->tell = [this](const std::string& what) {
        loop_.post([this, what] { log(LogLevel::error, "group: " + what); });
      };
    }
    auto reg = etcd::open_group_register(place, options_.region, clock_);
    if (!reg) return Failure{reg.error().what};
    group_->reg = std::move(*reg);
    if (auto keys = etcd::AliveKeys::of(place, options_.region, clock_))
      group_->alive.emplace(std::move(*keys),
                            [log = log_](const std::string& what) { log(LogLevel::info, "group: " + what); });
  }
  if (options_.cluster == Uuid{}) {
    return Failure{
        "the nodes of a group keep one log and must know each other: give all of them the same cluster "
        "under [node] (a UUID)"};
  }
  const auto loaded = group::load_superblock(*disk_, "");
  if (!loaded) return loaded.error();
  if (!loaded->damaged.empty()) log(LogLevel::warning, loaded->damaged + " (the other copy is whole)");
  if (loaded->block) block = *loaded->block;
  return {};
}

replica::ReplicaOptions::InGroup Node::in_group(group::Superblock block) {
  ++group_->life;
  if (block.node.empty()) {  // a new disk
    block.cluster = journal_->cluster();
    block.node = options_.name;
    block.incarnation = journal_->incarnation();
  }
  replica::ReplicaOptions::InGroup in;
  in.member = options_.group->member;
  in.member.cluster = journal_->cluster();
  in.member.self = {options_.name, journal_->incarnation()};
  if (options_.lease != nullptr) {
    in.member.begun_because = options_.lease->why;
    in.member.disk_is_shared = true;
  }
  in.member.register_name = options_.register_place.text();
  in.copies_min = options_.group->copies_min;
  for (const GroupOptions::Other& other : options_.group->others) in.others.push_back(other.name);
  in.member.listed.emplace(in.others.begin(), in.others.end());
  in.block = std::move(block);
  return in;
}

Result<void, Failure> Node::listen_to_group() {
  group_->hub = io::make_stream_hub(loop_, group_->streams);
  group_->wire = std::make_unique<PeerWire>(group_->streams, *group_->hub);
  const auto port = group_->hub->listen(options_.group->listen.host, options_.group->listen.port);
  if (!port) return Failure{"[group] " + port.error().what};
  log(LogLevel::info, "group: listening on " + options_.group->listen.host + ":" + std::to_string(*port) +
                          " for " + std::to_string(options_.group->others.size()) + " other node(s)");
  return {};
}

/// @return it was for the group
bool Node::handle_group(replica::Output& output) {
  if (auto* packet = std::get_if<group::SendPacket>(&output)) {
    group_->wire->send(packet->to, std::move(packet->packet));
  } else if (const auto* close = std::get_if<group::ClosePeer>(&output)) {
    tell_lately("group: connection closed: " + close->why, LogLevel::warning);
    group_->wire->close(close->peer);
  } else if (const auto* store = std::get_if<group::StoreBlock>(&output)) {
    store_block(store->block);
  } else if (const auto* read = std::get_if<group::ReadLog>(&output)) {
    read_for_follower(*read);
  } else if (std::holds_alternative<group::ReadRegister>(output)) {
    ask_group_register();
  } else if (const auto* change = std::get_if<group::ChangeRegister>(&output)) {
    change_group_register(*change);
  } else if (const auto* restart = std::get_if<group::Restart>(&output)) {
    restart_in_group(*restart);
  } else if (const auto* unreadable = std::get_if<group::Unreadable>(&output)) {
    record_unreadable(unreadable->first, options_.group->member.ship_bytes_max, unreadable->why);
  } else if (const auto* need = std::get_if<group::NeedCopy>(&output)) {
    copy_needed(*need);
  } else if (const auto* heard = std::get_if<group::CopyHeard>(&output)) {
    copy_heard(*heard);
  } else {
    return false;
  }
  return true;
}

void Node::read_for_follower(const group::ReadLog& wanted) {
  ++reads_for_followers_;
  // rejoin_when_quiet() keeps the journal until this is back.
  read_worker_->post([this, to = wanted.to, part = wanted.part, journal = journal_.get()] {
    replication::read_ahead(*journal, *part);
    loop_.post([this, to, part] {
      --reads_for_followers_;
      if (ended_ || rejoining_) return;
      replica_->log_read(to, std::move(*part), clock_.now(), clock_.wall());
      schedule_pump();
    });
  });
}

// ---- register and superblock
// ---------------------------------------------------------------------------------------------

/// @param problem  empty: it answered
void Node::group_register_heard(const std::string& problem) {
  if (problem.empty()) register_answered_at_ = clock_.now();
  if (problem.empty() != register_problem_.empty()) {
    if (problem.empty()) {
      log(LogLevel::info, "group: the register answers again");
    } else {
      log(LogLevel::error, "group: the register cannot be asked: " + problem);
    }
  }
  register_problem_ = problem;
}

void Node::ask_group_register() {
  register_worker_->post([this, reg = group_->reg, life = group_->life] {
    // The member compares with what it has seen: it knows more than this question could say.
    auto read = reg->read({});
    loop_.post([this, read = std::move(read), life] {
      if (ended_ || life != group_->life || rejoining_) return;
      group_register_heard(read ? "" : read.error().what);
      replica_->register_read(read ? group::RegisterOutcome::done : group::RegisterOutcome::unavailable,
                              read ? *read : coordination::GroupState{}, clock_.now(), clock_.wall());
      schedule_pump();
    });
  });
}

void Node::change_group_register(const group::ChangeRegister& change) {
  register_worker_->post([this, reg = group_->reg, life = group_->life, change] {
    auto swapped = reg->compare_and_swap(change.expected, change.next, {});
    loop_.post([this, swapped = std::move(swapped), life] {
      if (ended_ || life != group_->life || rejoining_) return;
      using coordination::CasOutcome;
      using group::RegisterOutcome;
      if (!swapped) {
        MS_ASSERT(swapped.error().kind != coordination::GroupProblem::refused, swapped.error().what.c_str());
        group_register_heard(swapped.error().what);
        replica_->register_changed(RegisterOutcome::unavailable, {}, clock_.now(), clock_.wall());
      } else {
        group_register_heard("");
        const RegisterOutcome outcome = swapped->outcome == CasOutcome::won    ? RegisterOutcome::done
                                        : swapped->outcome == CasOutcome::lost ? RegisterOutcome::lost
                                                                               : RegisterOutcome::unknown;
        replica_->register_changed(outcome, swapped->current, clock_.now(), clock_.wall());
      }
      schedule_pump();
    });
  });
}

void Node::store_block(const group::Superblock& block) {
  block_worker_->post([this, block, life = group_->life] {
    auto stored = group::store_superblock(*disk_, "", block);
    loop_.post([this, life, stored = std::move(stored)] {
      if (ended_ || life != group_->life || rejoining_) return;
      if (!stored) return end_fatally(stored.error().what);
      replica_->block_stored(clock_.now(), clock_.wall());
      maintain_due_ = true;  // a checkpoint may have waited for it
      schedule_pump();
    });
  });
}

// ---- lines
// -----------------------------------------------------------------------------------------------------------

void Node::on_group_open(io::StreamId peer, const std::string& remote, bool outgoing) {
  std::string& line = group_->line[peer];
  line = outgoing ? "to node " + group_->dialing : "from " + remote.substr(0, remote.rfind(':'));
  tell_lately("group: connected " + line, LogLevel::info, kLinesTold);
  if (outgoing) {
    group_->connecting = false;
    group_->dialled[group_->dialing].insert(peer);
    group_->dial_problem.clear();
  }
  group_->heard[peer] = clock_.now();
  if (replica_ != nullptr && !rejoining_)
    replica_->group_connected(peer, outgoing ? group_->dialing : std::string(), clock_.now(), clock_.wall());
  schedule_pump();
}

void Node::on_group_bytes(io::StreamId peer) {
  group_->heard[peer] = clock_.now();
}

void Node::on_group_packet(io::StreamId peer, BytesView packet) {
  if (store_ != nullptr) store_heard(peer, packet);
  if (rejoining_) return;
  replica_->group_packet(peer, packet, clock_.now(), clock_.wall());
  schedule_pump();
}

void Node::on_group_end(io::StreamId peer) {
  group_->heard.erase(peer);
  for (auto& [other, lines] : group_->dialled) lines.erase(peer);
  const auto line = group_->line.extract(peer);
  tell_lately("group: a connection ended" + (line ? " (" + line.mapped() + ")" : std::string()),
              LogLevel::info, kLinesTold);
  copy_line_gone(peer);
  if (replica_ != nullptr && !rejoining_) replica_->group_disconnected(peer, clock_.now(), clock_.wall());
  schedule_pump();
}

void Node::tell_lately(const std::string& text, LogLevel level, std::size_t most) {
  if (const auto told = group_->told_lately.tell(text, text, clock_.now(), most)) log(level, *told);
}

/// Why it does not come to follow or to lead stands in its log: nobody may look at /readyz before.
void Node::tell_problem() {
  if (replica_ == nullptr) return;
  const std::string& problem = replica_->member()->last_problem();
  if (problem == group_->told_problem) return;
  group_->told_problem = problem;
  if (!problem.empty()) tell_lately("group: " + problem, LogLevel::warning);
}

// ---- time
// ------------------------------------------------------------------------------------------------------------

/// R8, R7: why a node that leads neither accepts nor delivers at this moment.
std::optional<std::string> Node::fenced_now(Instant now) const {
  if (replica_->role() != replica::Role::live) return {};
  if (auto why = replica_->member()->accept_refusal(now)) return why;
  return replica_->member()->delivery_refusal(now);
}

/// A turn of the loop serves every client that has something to say before it comes back to this node's
/// lines: what the others said meanwhile is in their sockets, and nobody is taken for silent before it was
/// read.
void Node::read_group_arrived() {
  if (group_ != nullptr && group_->hub != nullptr && !rejoining_) group_->hub->read_arrived();
}

/// A node of the release before takes a second line for the first one's successor.
std::size_t Node::lines_to(const std::string& node) const {
  const std::uint16_t version = replica_->member()->version_with(node);
  return version != 0 && version < group::kPacketVersionOfTimes ? 1 : kLines;
}

void Node::tick_group(Instant now) {
  Group& g = *group_;
  std::vector<io::StreamId> silent;
  // A new connection finds its way no sooner than what is under way on a slow one.
  Duration silence_max = options_.group->silence_max;
  if (!rejoining_) silence_max = std::max(silence_max, replica_->member()->times().suspect_after);
  for (const auto& [peer, when] : g.heard)
    if (now - when > silence_max) silent.push_back(peer);
  for (const io::StreamId peer : silent) g.hub->close(peer);

  const auto& others = options_.group->others;
  if (!g.connecting && now >= g.dial_at && !rejoining_ && !stopping_) {
    for (std::size_t tried = 0; tried < others.size(); ++tried) {
      g.turn = (g.turn + 1) % others.size();
      const GroupOptions::Other& other = others[g.turn];
      if (other.name > options_.name || g.dialled[other.name].size() >= lines_to(other.name)) continue;
      g.dialing = other.name;
      g.connecting = true;
      g.dial_at = now + kRedialAfter;
      g.hub->connect(other.listener.host, other.listener.port,
                     [this, name = other.name](const std::string& why) {
                       group_->connecting = false;
                       group_->dial_at = clock_.now() + kRedialAfter;
                       if (why != group_->dial_problem) log(LogLevel::info, no_connection(name, why));
                       group_->dial_problem = why;
                     });
      break;
    }
  }

  tell_epoch();
  tell_problem();
  decide_move(now);
  tick_members(now);
  tick_promotion(now);
  probe_disk(now);
  if (store_ != nullptr) tick_store(now);
  if (rejoining_) return;
  tick_copy(now);
  if (rejoining_) return;
  tick_damage(now);
  if (rejoining_) return;
  if (g.alive && g.alive->due(now)) {
    const http::NodeStatus::Group told = group_status();
    g.alive->say({options_.name, journal_->incarnation().text(), told.role, told.epoch, clock_.wall()}, now);
  }
  if (std::exchange(g.copies, replica_->member()->copies()) < options_.group->copies_min)
    frontend_->admission_changed(now, clock_.wall());
  review_fence(now);
}

/// Each epoch that this node leads under has another set in sync or another reason: an operator reads here
/// when and why a copy was given up.
void Node::tell_epoch() {
  if (rejoining_ || replica_ == nullptr || replica_->member()->role() != group::Role::leader) return;
  const Epoch epoch = replica_->member()->epoch();
  if (std::exchange(group_->told, epoch) == epoch) return;
  const group::MemberStatus status = replica_->member()->status();
  std::string in_sync;
  for (const std::string& node : status.in_sync) in_sync += (in_sync.empty() ? "" : ", ") + node;
  log(status.alone ? LogLevel::warning : LogLevel::info,
      "group: epoch " + std::to_string(epoch.value) + ", in sync: " + in_sync +
          (status.known && status.known->epoch == epoch ? ": " + status.known->reason : ""));
}

/// Before anything is given out, not only by the clock's ticks: a process that was stopped finds its clients'
/// input before its timer.
void Node::review_fence(Instant now) {
  if (group_ == nullptr || rejoining_ || replica_ == nullptr) return;
  Group& g = *group_;
  std::string fenced = fenced_now(now).value_or("");
  if (!fenced.empty() && g.fenced.empty()) {
    read_group_arrived();
    now = clock_.now();
    fenced = fenced_now(now).value_or("");
  }
  const std::string reason = "this node serves nobody now: " + fenced + ". Go to another node";
  if (fenced.empty() == g.fenced.empty()) {
    if (fenced == g.fenced) return;
    g.fenced = fenced;  // for how long by now
    not_live_reason_ = reason;
    return;
  }
  g.fenced = fenced;
  if (fenced.empty() && replica_->role() != replica::Role::live) return;  // nor does it serve
  if (fenced.empty()) {
    log(LogLevel::info, "this node serves again");
    frontend_->admission_changed(now, clock_.wall());
    return;
  }
  not_live_reason_ = reason;
  log(LogLevel::warning, not_live_reason_);
  frontend_->close_all(not_live_reason_, now, clock_.wall());
}

/// R9. What nobody writes to would not be noticed to have stalled: a small write and sync of its own.
void Node::probe_disk(Instant now) {
  Group& g = *group_;
  if (!g.probing && now >= g.probe_at && !rejoining_) {
    g.probing = true;
    g.probe_begun = now;
    block_worker_->post([this] {
      auto probed = probe(*disk_);
      loop_.post([this, probed = std::move(probed)] {
        group_->probing = false;
        group_->probe_took = clock_.now() - group_->probe_begun;
        group_->probe_at = clock_.now() + kProbeEvery;
        if (ended_) return;
        if (!probed && probed.error().code != DiskErrorCode::no_space)
          end_fatally("the disk refuses a probe: " + probed.error().what);
      });
    });
  }
  const Duration limit = options_.group->disk_stall_max;
  const bool stalled = (g.probing && now - g.probe_begun > limit) || (writing_ && now - write_begun_ > limit);
  if (stalled == g.stalled || rejoining_) return;
  g.stalled = stalled;
  if (stalled) {
    log(LogLevel::error, "the disk under " + disk_->describe("") + " has not answered for " +
                             std::to_string(limit.milliseconds()) +
                             " ms: this node leaves the lead to others");
  } else {
    log(LogLevel::info, "the disk answers again");
  }
  replica_->disk_stalled(stalled, now, clock_.wall());
}

// ---- the end of a member's life
// ----------------------------------------------------------------------------------------------

void Node::restart_in_group(const group::Restart& restart) {
  if (rejoining_) return;
  if (store_ != nullptr) return leave_store(restart.why);
  log(LogLevel::warning, "group: beginning anew from the log: " + restart.why);
  if (group_->move) {
    group_->move->left = replica_->committed();
    group_->move->deadline = clock_.now() + kMoveMax;
  }
  group_->restart = restart;
  group_->stalled = false;
  group_->fenced.clear();
  ++group_->life;
  rejoin();
}

/// The log is as it was and so is what was acknowledged; the leader goes on without this copy. What was taken
/// from the stream and not written is asked for again, when there is room.
void Node::backup_is_full(std::size_t bytes, const std::string& problem) {
  if (group_->room_wanted == 0) {
    log(LogLevel::error,
        "disk full: this backup takes no more of its leader's log until there is space; what it "
        "has acknowledged it keeps: " +
            problem);
  }
  group_->room_wanted = bytes + options_.reserve_bytes;
  group_->take_at = clock_.now() + kRoomRetry;
  disk_full_ = true;
  restart_in_group({std::nullopt, "the disk has no space for what the leader shipped"});
}

bool Node::waits_for_room() {
  if (group_ == nullptr || group_->room_wanted == 0) return false;
  if (replica_->role() != replica::Role::live) {
    if (clock_.now() < group_->take_at) return true;
    // A spare segment is tried again and again (maintain()); when one could be made there is space.
    if (disk_full_ && journal_->wants_spare() && journal_->room() < group_->room_wanted) return true;
  }
  group_->room_wanted = 0;
  log(LogLevel::info, "this node takes its leader's log again");
  return false;
}

/// Between the old replica and the new one: nobody has the journal open.
Result<void, Failure> Node::cut_for_group() {
  if (group_ == nullptr || !group_->restart) return {};
  const group::Restart restart = *std::exchange(group_->restart, std::nullopt);
  if (!restart.cut) return {};
  auto disk = io::PosixDisk::open(options_.data_directory);
  if (!disk) return Failure{disk.error().what};
  const auto cut = journal::cut_after(**disk, "", journal_options(), *random_, *restart.cut);
  if (!cut) return Failure{"the log cannot be cut to what the leader has: " + cut.error().what};
  log(LogLevel::warning, "group: " + std::to_string(cut->records) + " record(s) (" +
                             std::to_string(cut->bytes) +
                             " bytes) that were never acknowledged are no longer part of the log; kept in " +
                             (*disk)->describe(cut->quarantine_file));
  return {};
}

void Node::send_to_group(io::StreamId peer, BytesView packet) {
  if (group_->heard.contains(peer)) group_->wire->send(peer, packet);
}

void Node::close_group_lines() {
  std::vector<io::StreamId> all;
  for (const auto& [peer, when] : group_->heard) all.push_back(peer);
  for (const io::StreamId peer : all) group_->hub->close(peer);
}

// ---- commands and status
// ------------------------------------------------------------------------------------------------

void Node::group_switch(const std::string& to, const std::string& by, const std::string& reason,
                        http::CommandDone done) {
  if (group_ == nullptr)
    return done(http::refused(409, "this node is in no group: its configuration has no [group]"));
  if (rejoining_ || replica_->role() != replica::Role::live)
    return done(http::refused(409, not_live_reason() + ". Ask the node that leads"));
  if (store_ != nullptr) return store_switch(to, by, reason, std::move(done));
  if (auto why = replica_->hand_over(to, clock_.now(), clock_.wall()))
    return done(http::refused(409, "node " + to + " cannot take the lead: " + *why));
  log(LogLevel::info, "group: the lead goes to node " + to + ", asked for by " + by +
                          (reason.empty() ? "" : " (" + reason + ")"));
  group_->move = Group::Move{to, std::move(done), replica_->member()->epoch()};
  tick_group(clock_.now());  // clients are sent on now
  schedule_pump();
}

/// Answers a planned move when it is known who leads: that this node does no longer is not enough.
void Node::decide_move(Instant now) {
  Group& g = *group_;
  // Over: its Restart is on the way, and tells how far it had got.
  if (!g.move || rejoining_ || replica_->member()->over()) return;
  const group::MemberStatus status = replica_->member()->status();
  const auto answer = [&](int code, const std::string& what) {
    http::CommandResult result;
    result.status = code;
    (code == 200 ? result.note : result.error) = what;
    if (g.move->left) result.lsn = g.move->left->value;
    std::exchange(g.move, std::nullopt)->done(result);
  };
  if (!g.move->left) {
    if (!replica_->member()->handing_over()) answer(409, "the lead stays here: " + status.last_problem);
    return;
  }
  // By the register, or by the word of a leader that is followed.
  std::string leader;
  if (status.known && status.known->epoch > g.move->epoch) leader = status.known->leader.node;
  if (!status.leader.empty() && status.epoch > g.move->epoch) leader = status.leader;
  if (leader == g.move->to) return answer(200, "node " + leader + " leads");
  const bool mine = leader == options_.name;
  if (!leader.empty() && (!mine || status.role == group::Role::leader)) {
    return answer(409, "node " + leader + " leads, not node " + g.move->to);
  }
  if (now < g.move->deadline) return;
  answer(504,
         "this node has given the lead up, and who leads is not known yet: `mainstay group status` tells");
}

void Node::forget_dialled(const std::set<std::string>& gone) {
  for (const std::string& name : gone) {
    const auto line = group_->dialled.find(name);
    if (line == group_->dialled.end()) continue;
    const std::set<io::StreamId> lines = line->second;
    for (const io::StreamId each : lines) group_->hub->close(each);
  }
}

http::NodeStatus::Group Node::group_status() const {
  http::NodeStatus::Group s;
  s.mode = store_ != nullptr ? "shared-store" : "replicated";
  s.copies_min = options_.group->copies_min;
  s.fenced = group_fence();
  s.layout_warnings = options_.group->layout_warnings;
  s.alarms = alarms_;
  s.damage = repair_.problem();
  s.logs_set_aside = set_aside_;
  s.disk_probe_seconds =
      std::max(group_->probe_took, group_->probing ? clock_.now() - group_->probe_begun : Duration{})
          .seconds();
  for (const GroupOptions::Other& other : options_.group->others) s.others.push_back({other.name});
  if (rejoining_ || replica_ == nullptr) {
    s.role = "backup";
    s.problem = not_live_reason_;
  } else {
    tell_member(s);
  }
  tell_store(s);
  return s;
}

/// @pre it has a member: it is not between two lives
void Node::tell_member(http::NodeStatus::Group& s) const {
  const group::MemberStatus status = replica_->member()->status();
  switch (status.role) {
    case group::Role::follower:
      s.role = "backup";
      break;
    case group::Role::candidate:
      s.role = "candidate";
      break;
    case group::Role::leader:
      s.role = "leader";
      s.second_copy_lsn = replica_->member()->second_copy().value;
      break;
    case group::Role::stopped:
      s.role = "stopped";
      break;
  }
  s.leader = status.leader;
  s.epoch = status.epoch.value;
  s.promised = status.promised.value;
  s.in_sync = status.in_sync;
  s.need = status.need;
  s.problem = status.last_problem;
  if (group_->room_wanted > 0) {
    s.problem =
        "the disk under " + disk_->describe("") + " is full: this node takes no more of its leader's log";
  }
  if (!s.damage.empty()) s.problem = s.damage;
  s.publish_pace = pace_.pace().value_or(0);
  s.drop_after_seconds = status.times.drop_after.seconds();
  s.lease_seconds = status.times.lease.seconds();
  s.suspect_after_seconds = std::max(status.times.suspect_after, status.grace).seconds();
  s.round_trip_seconds = status.round_trip.seconds();
  s.register_refused = status.register_refused;
  s.waits_for_operator = status.waits_for_operator;
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  };
  s.others.clear();
  for (const GroupOptions::Other& other : options_.group->others) {
    http::NodeStatus::Group::Other to{other.name, has(status.connected, other.name),
                                      has(s.in_sync, other.name), 0, 0};
    if (const auto version = status.versions.find(other.name); version != status.versions.end())
      to.packet_version = version->second;
    const auto& ends = replica_->member()->known_ends();
    const auto end = ends.find(other.name);
    const std::uint64_t has_up_to = end == ends.end() ? 0 : end->second.value;
    to.lag_records = status.durable.value - std::min(status.durable.value, has_up_to);
    s.others.push_back(std::move(to));
  }
  tell_copy(s);
  tell_nodes(s);
}

/// Empty: it leads, or another reason is the better one.
std::string Node::not_leading() const {
  if (rejoining_ || stopping_ || replica_ == nullptr || replica_->role() == replica::Role::live) return {};
  const group::MemberStatus status = replica_->member()->status();
  const std::string who = "this node of region " + options_.region;
  switch (status.role) {
    case group::Role::stopped:
      return who + " must not lead or follow until somebody has looked: " + status.last_problem;
    case group::Role::candidate:
      return who + " is about to lead";
    case group::Role::leader:
      return who + " leads as soon as its first record is on every node in sync";
    case group::Role::follower:
      break;
  }
  if (!status.leader.empty()) return who + " is a backup: node " + status.leader + " leads";
  return who + " is a backup and knows of no leader" +
         (status.last_problem.empty() ? "" : ": " + status.last_problem);
}

/// R11: why publishes are refused; empty: they are not.
std::string Node::too_few_copies() const {
  if (group_ == nullptr || replica_->member()->copies() >= options_.group->copies_min) return {};
  return "the only copy in sync is this node's, and min_copies is " +
         std::to_string(options_.group->copies_min) +
         ": nothing new is taken until another node has caught up";
}

/// What nodes that are away lack is kept, up to a bound, while there is space.
bool Node::keep_for_group() {
  if (group_ == nullptr || options_.group->others.empty() || disk_full_) return false;
  return journal_->record_bytes_total() <= options_.group->keep_log_bytes;
}

const std::string& Node::group_fence() const {
  static const std::string none;
  return group_ == nullptr ? none : group_->fenced;
}

}  // namespace mainstay::node
