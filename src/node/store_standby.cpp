#include "node/store_standby.h"

#include <algorithm>
#include <utility>

#include "etcd/open_register.h"
#include "group/packets.h"
#include "io/posix_disk.h"
#include "node/control_listener.h"

namespace mainstay::node {
namespace {

constexpr std::size_t kPacketBytesMax = 80U << 20;
constexpr std::uint64_t kControlBodyBytesMax = 1U << 20;
constexpr Duration kRedialAfter = milliseconds(250);
constexpr Duration kGreetEvery = milliseconds(200);
constexpr Duration kTickMost = milliseconds(50);

group::WatchOptions watch_options(const NodeOptions& options, std::size_t lost_lately) {
  group::WatchOptions watch;
  watch.cluster = options.cluster;
  watch.node = options.name;
  watch.may_create = options.group->member.may_create;
  watch.lock_required = options.group->store->lock_required;
  watch.look_every = options.group->member.beacon_every;
  watch.suspect_after = options.group->member.suspect_after;
  watch.register_retry = options.group->member.register_retry;
  watch.register_every = options.group->member.backup_register_every;
  watch.lease = options.group->member.lease;
  watch.lost_lately = lost_lately;
  return watch;
}

}  // namespace

LockTold told_of(const Result<std::unique_ptr<DiskLock>, DiskError>& lock) {
  using Lock = group::StoreWatch::Lock;
  if (lock) return {Lock::taken, ""};
  const std::string& told = lock.error().what;
  if (lock.error().code != DiskErrorCode::locked) return {Lock::failed, told};
  static constexpr std::string_view kProcess = "process ";
  const std::size_t at = told.rfind(kProcess);
  if (at == std::string::npos) return {Lock::held, told};
  return {Lock::held, told.substr(at, told.find(' ', at + kProcess.size()) - at)};
}

StoreStandby::StoreStandby(const NodeOptions& options, std::string left, std::size_t lost_lately,
                           io::Loop& loop, Clock& clock, LogSink log,
                           std::function<void(std::shared_ptr<StoreLease>)> lead)
    : options_(options),
      left_(std::move(left)),
      loop_(loop),
      clock_(clock),
      log_(std::move(log)),
      lead_(std::move(lead)),
      started_(clock.now()),
      watch_(watch_options(options, lost_lately), random_, clock.now()),
      streams_(*this, kPacketBytesMax),
      timer_(loop) {
  // It may just have let go of the lock itself, without which another leads (lock = "preferred").
  if (!left_.empty()) watch_.hold_back(started_ + options.group->member.suspect_after);
}

StoreStandby::~StoreStandby() = default;

Result<std::unique_ptr<StoreStandby>, Failure> StoreStandby::start(
    const NodeOptions& options, const std::string& left, std::size_t lost_lately, io::Loop& loop,
    Clock& clock, LogSink log, std::function<void(std::shared_ptr<StoreLease>)> lead) {
  std::unique_ptr<StoreStandby> standby(
      new StoreStandby(options, left, lost_lately, loop, clock, std::move(log), std::move(lead)));
  if (auto begun = standby->begin(); !begun) return begun.error();
  return standby;
}

Result<void, Failure> StoreStandby::begin() {
  // Not made here: a directory that is not there is storage that is not mounted.
  auto disk = io::PosixDisk::open(options_.data_directory);
  if (!disk) {
    return Failure{disk.error().what +
                   ". A shared store's directory is made by hand, on the storage that the nodes share"};
  }
  disk_ = std::move(*disk);
  if (const auto sight = group::look_at_store(*disk_); !sight) return sight.error();
  etcd::RegisterPlace place = options_.register_place;
  if (place.etcd) {
    place.etcd->tell = [this](const std::string& what) {
      loop_.post([this, what] { log_(LogLevel::error, "group: " + what); });
    };
  }
  auto reg = etcd::open_group_register(place, options_.region, clock_);
  if (!reg) return Failure{reg.error().what};
  register_ = std::move(*reg);
  auto control = open_control_listener(options_, loop_, *this, kControlBodyBytesMax);
  if (!control) return control.error();
  control_ = std::move(control->server);
  hub_ = io::make_stream_hub(loop_, streams_);
  log_(LogLevel::info, "standby on the store in " + disk_->describe("") + " (its " +
                           (options_.group->store->lock_required ? "lock is required" : "lock is preferred") +
                           " to lead), control on " + options_.control.host + ":" +
                           std::to_string(control->port));
  tick();
  return {};
}

void StoreStandby::tick() {
  if (over_) return;
  const Instant now = clock_.now();
  close_silent_lines();
  dial();
  if (now >= greet_at_) greet();
  watch_.tick(now);
  act();
  if (over_) return;
  const std::string now_told = watch_.status(now).trying ? told_ : why();
  if (now_told != told_) log_(LogLevel::info, "group: " + now_told);
  told_ = now_told;
  timer_.at(std::min(std::max(watch_.next_deadline(), now + milliseconds(2)), now + kTickMost),
            [this] { tick(); });
}

void StoreStandby::act() {
  std::vector<group::WatchOutput> outputs;
  watch_.outputs(outputs);
  for (const group::WatchOutput& output : outputs) {
    if (std::holds_alternative<group::TryLock>(output)) {
      try_lock();
    } else if (std::holds_alternative<group::GiveUpLock>(output)) {
      lock_.reset();
    } else if (std::holds_alternative<group::LookAtStore>(output)) {
      look(false);
    } else if (std::holds_alternative<group::MakeStore>(output)) {
      look(true);
    } else if (std::holds_alternative<group::ReadRegister>(output)) {
      ask_register();
    } else if (const auto* change = std::get_if<group::ChangeRegister>(&output)) {
      change_register(*change);
    } else if (const auto* what = std::get_if<group::TakeStore>(&output)) {
      take(*what);
    } else if (const auto* won = std::get_if<group::LeadOnStore>(&output)) {
      lead(*won);
    } else if (const auto* alarm = std::get_if<group::Alarm>(&output)) {
      log_(LogLevel::error, "ALARM: " + alarm->why);
    }
  }
}

// ---- the store: on its worker, because storage may make its callers wait

/// @param work  on the worker; what it returns runs on the loop, followed by what comes of it
void StoreStandby::on_store(std::function<std::function<void()>()> work) {
  store_worker_.post([this, work = std::move(work)] {
    auto then = work();
    loop_.post([this, then = std::move(then)] {
      if (over_) return;
      then();
      tick();
    });
  });
}

void StoreStandby::try_lock() {
  on_store([this] {
    auto lock = disk_->lock(group::kStoreLock);
    const LockTold told = told_of(lock);
    if (lock) lock_ = std::move(*lock);
    return [this, told] { watch_.lock_tried(told.outcome, told.what, clock_.now()); };
  });
}

void StoreStandby::look(bool make) {
  on_store([this, make]() -> std::function<void()> {
    if (make) {
      if (const auto made = group::make_store(*disk_, options_.cluster, random_); !made)
        return [this, why = made.error()] { watch_.looked(why, clock_.now()); };
    }
    return [this, sight = group::look_at_store(*disk_)] { watch_.looked(sight, clock_.now()); };
  });
}

void StoreStandby::take(const group::TakeStore& what) {
  log_(LogLevel::info, "group: epoch " + std::to_string(what.claim.epoch.value) +
                           " is this node's; it takes the store and fences whoever had it");
  on_store([this, what] {
    return [this, taken = group::take_store(*disk_, what.store, what.claim)] {
      watch_.taken(taken, clock_.now());
    };
  });
}

void StoreStandby::lead(const group::LeadOnStore& what) {
  auto lease = std::make_shared<StoreLease>();
  lease->root = disk_->describe("");
  lease->path = disk_->describe(what.taken.directory);
  lease->store = what.store;
  lease->claim = what.claim;
  lease->taken = what.taken;
  lease->why = what.why;
  lease->disk = disk_;
  lease->lock = std::move(lock_);
  over_ = true;
  log_(LogLevel::info, "group: the store is this node's in epoch " + std::to_string(what.claim.epoch.value) +
                           ": " + std::to_string(what.taken.linked) + " files shared with epoch " +
                           std::to_string(what.taken.from.value) + ", " +
                           std::to_string(what.taken.copied_bytes) + " bytes copied" +
                           (what.locked ? "" : "; its lock is held by somebody who is not heard"));
  lead_(std::move(lease));
}

// ---- the register

void StoreStandby::ask_register() {
  register_worker_.post([this] {
    auto read = register_->read({});
    loop_.post([this, read = std::move(read)] {
      if (over_) return;
      watch_.register_read(read ? group::RegisterOutcome::done : group::RegisterOutcome::unavailable,
                           read ? *read : coordination::GroupState{}, clock_.now(), clock_.wall());
      tick();
    });
  });
}

void StoreStandby::change_register(const group::ChangeRegister& change) {
  register_worker_.post([this, change] {
    auto swapped = register_->compare_and_swap(change.expected, change.next, {});
    loop_.post([this, swapped = std::move(swapped)] {
      if (over_) return;
      using coordination::CasOutcome;
      using group::RegisterOutcome;
      const RegisterOutcome outcome = !swapped                               ? RegisterOutcome::unavailable
                                      : swapped->outcome == CasOutcome::won  ? RegisterOutcome::done
                                      : swapped->outcome == CasOutcome::lost ? RegisterOutcome::lost
                                                                             : RegisterOutcome::unknown;
      if (!swapped)
        log_(LogLevel::error, "group: the register did not take a change: " + swapped.error().what);
      watch_.register_changed(outcome, swapped ? swapped->current : coordination::GroupState{}, clock_.now());
      tick();
    });
  });
}

// ---- lines to the others: whoever leads answers

void StoreStandby::dial() {
  const auto& others = options_.group->others;
  const Instant now = clock_.now();
  if (connecting_ || now < dial_at_ || others.empty()) return;
  for (std::size_t tried = 0; tried < others.size(); ++tried) {
    dialing_ = (dialing_ + 1) % others.size();
    if (dialled_.contains(dialing_)) continue;
    connecting_ = true;
    hub_->connect(others[dialing_].listener.host, others[dialing_].listener.port, [this](const std::string&) {
      connecting_ = false;
      dial_at_ =
          clock_.now() + Duration{kRedialAfter.ns / static_cast<std::int64_t>(options_.group->others.size())};
    });
    return;
  }
}

void StoreStandby::greet() {
  greet_at_ = clock_.now() + kGreetEvery;
  group::Sender self;
  self.cluster = options_.cluster;
  self.member = {options_.name, options_.cluster};  // no disk of its own
  Buffer packet;
  group::encode(self, group::Beacon{}, packet);
  for (const auto& [peer, line] : lines_) {
    streams_.send(peer, packet);
    hub_->flush(peer);
  }
}

/// Whoever listens speaks. A line to a machine that is gone would stand for as long as its transport tries.
void StoreStandby::close_silent_lines() {
  const Instant now = clock_.now();
  std::vector<io::StreamId> silent;
  for (const auto& [peer, line] : lines_)
    if (now - line.heard > options_.group->silence_max) silent.push_back(peer);
  for (const io::StreamId peer : silent) hub_->close(peer);
}

void StoreStandby::on_peer_open(io::StreamId peer, const std::string& /*remote*/, bool /*outgoing*/) {
  connecting_ = false;
  dialled_[dialing_] = peer;
  lines_[peer] = {"", clock_.now()};
  if (!over_) greet();
}

void StoreStandby::on_packet(io::StreamId peer, BytesView packet) {
  if (over_) return;
  const auto told = group::decode(packet);
  if (!told || told->sender.cluster != options_.cluster) return;
  const group::Sender& from = told->sender;
  lines_[peer] = {from.member.node, clock_.now()};
  if (!from.leads) return;
  watch_.heard(from.member.node, from.epoch, clock_.now());
  if (std::holds_alternative<group::TakeOver>(told->message)) {
    watch_.invited(from.member.node, from.epoch, clock_.now());
    tick();
  }
}

void StoreStandby::on_peer_end(io::StreamId peer) {
  std::erase_if(dialled_, [peer](const auto& each) { return each.second == peer; });
  const auto line = lines_.find(peer);
  if (line == lines_.end()) return;
  watch_.line_ended(line->second.node);
  lines_.erase(line);
  dial_at_ = clock_.now() + kRedialAfter;
}

// ---- what it tells

std::string StoreStandby::why() {
  std::string text = "this node is a standby of region " + options_.region + " on the store in " +
                     disk_->describe("") + ": " + watch_.status(clock_.now()).why;
  if (!left_.empty()) text += ". It led before: " + left_;
  return text;
}

http::NodeStatus StoreStandby::status() {
  http::NodeStatus s;
  const group::WatchStatus watched = watch_.status(clock_.now());
  s.version = options_.version;
  s.node = options_.name;
  s.region = options_.region;
  s.role = "standby";
  s.why = why();
  s.active_region.phase = "unknown";
  s.epoch = watched.seen.value;
  s.uptime_seconds = (clock_.now() - started_).seconds();
  s.group = http::NodeStatus::Group{};
  http::NodeStatus::Group& g = *s.group;
  g.mode = "shared-store";
  g.role = watched.trying ? "candidate" : "standby";
  g.leader = watched.leader;
  g.epoch = watched.epoch.value;
  g.promised = watched.seen.value;
  if (!watched.leader.empty()) g.in_sync = {watched.leader};
  g.copies_min = options_.group->copies_min;
  g.problem = watched.why;
  g.register_refused = watched.register_refused;
  g.alarms = watched.alarms;
  g.store = {false, watched.holder};
  return s;
}

http::CommandResult store_has_no_members() {
  return http::refused(
      409,
      "in shared-store mode no node has a copy of its own, so none is added or removed while others run: a "
      "node joins by being started with the store's directory, and leaves by being stopped. Change "
      "[[group.node]] in the files and start the nodes again one after the other");
}

void StoreStandby::group_switch(const std::string& /*to*/, const std::string& /*by*/,
                                const std::string& /*reason*/, http::CommandDone done) {
  done(http::refused(409, why() + ". Ask the node that leads"));
}

void StoreStandby::group_promote(const std::string& /*by*/, const std::string& /*reason*/,
                                 http::CommandDone done) {
  done(store_promotes_itself());
}

void StoreStandby::group_reload(const std::string& /*by*/, bool /*force*/, http::CommandDone done) {
  done(store_has_no_members());
}
void StoreStandby::group_remove(const std::string& /*node*/, const std::string& /*by*/,
                                const std::string& /*reason*/, bool /*force*/, http::CommandDone done) {
  done(store_has_no_members());
}

void StoreStandby::region_command(const http::RegionCommand& /*command*/, http::CommandDone done) {
  done(http::refused(409, "this node is one of a group without another region: see `mainstay group`"));
}

Result<std::vector<bool>, Failure> StoreStandby::known_messages(const std::string& /*queue*/,
                                                                const std::vector<std::string>& /*ids*/) {
  return Failure{"only the live node knows what the queue has: " + why()};
}

}  // namespace mainstay::node
