// A few members on disks in memory, with a register and lines that do as the test says. Everything happens at
// once, in the order of the calls; time moves when told.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/assert.h"
#include "base/memory_disk.h"
#include "group/member.h"
#include "journal/cut.h"

namespace mainstay::group::testing {

inline journal::JournalOptions small_journal(const std::string& node) {
  journal::JournalOptions options;
  options.cluster = Uuid{{7}};
  options.node = node;
  options.segment_bytes = 64U << 10;
  options.record_bytes_max = 4'096;
  return options;
}

class TestGroup {
 public:
  struct Node {
    std::string name;
    std::unique_ptr<MemoryDisk> disk;
    std::unique_ptr<journal::Journal> journal;
    std::unique_ptr<Member> member;
    std::optional<journal::LogBuilder> builder;
    std::vector<std::string> alarms;
    std::vector<Output> held;  ///< what hold_* kept back
    std::optional<Restart> restart;
    std::vector<std::string> seen;  ///< outputs by kind, in order
    bool hold_blocks = false;       ///< superblocks are not stored
    bool hold_syncs = false;        ///< own batches stay unsynced
    bool syncing = false;
    std::optional<std::set<std::string>> listed;  ///< MemberOptions::listed
  };
  enum class Answers { well, unavailable, unknown_dropped, unknown_stored };

  explicit TestGroup(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      nodes_[name].name = name;
      nodes_[name].disk = std::make_unique<MemoryDisk>(name);
    }
  }

  Node& node(const std::string& name) { return nodes_.at(name); }
  Member& member(const std::string& name) { return *nodes_.at(name).member; }
  coordination::GroupState& in_register() { return state_; }
  Answers answers = Answers::well;
  /// Of every member that is started from now on.
  MemberOptions options;
  /// How long what the first sends to the second is under way; a line keeps its order. Nothing: no time.
  std::function<Duration(const std::string& from, const std::string& to)> delay;
  /// On top of that, of one line.
  std::function<Duration(PeerId line, const std::string& from)> line_delay;
  unsigned lines = 1;                ///< between each two nodes
  Duration step = milliseconds(20);  ///< of pass()
  std::function<void()> each_step;
  /// SIGSTOP: nothing happens in it, and what arrives waits.
  std::set<std::string> frozen;
  std::vector<std::string> reasons;  ///< of every change of the register
  bool hold_reads = false;           ///< the register's answers wait, each for answer_reads()

  void start(const std::string& name) {
    Node& it = node(name);
    it.restart.reset();
    it.seen.clear();
    auto loaded = load_superblock(*it.disk, "");
    MS_ASSERT(loaded, "the superblock can be loaded");
    Superblock block = loaded->block.value_or(Superblock{});
    auto opened = journal::Journal::open(
        *it.disk, "", small_journal(name), random_, Lsn{},
        [&](const journal::Record& record) { block.epochs.note(record.header.epoch, record.header.lsn); });
    MS_ASSERT(opened, "the journal can be opened");
    it.journal = std::move(*opened);
    block.cluster = it.journal->cluster();
    block.node = name;
    block.incarnation = it.journal->incarnation();
    MemberOptions with = options;
    with.cluster = block.cluster;
    with.self = {name, block.incarnation};
    with.may_create = true;
    with.listed = it.listed;
    it.builder.reset();
    it.syncing = false;
    it.member = std::make_unique<Member>(with, *it.journal, block, random_, now_);
    for (auto& [other, peer] : nodes_)
      if (other != name && peer.member) connect(name, other);
    settle();
  }
  void stop(const std::string& name, bool lose_unsynced = true) {
    Node& it = node(name);
    std::vector<PeerId> lost;
    for (const auto& [id, ends] : lines_)
      if (ends.first == name || ends.second == name) lost.push_back(id);
    it.member.reset();
    it.journal.reset();
    it.builder.reset();
    it.held.clear();
    if (lose_unsynced)
      it.disk->crash_losing_unsynced();
    else
      it.disk->kill();
    for (const PeerId id : lost) disconnect(id);
    settle();
  }
  /// The oldest one, at both ends.
  void break_a_line() {
    disconnect(lines_.begin()->first);
    settle();
  }
  void wipe(const std::string& name) {
    stop(name);
    node(name).disk = std::make_unique<MemoryDisk>(name);
  }
  /// Does what the member's Restart asks for.
  void begin_anew(const std::string& name) {
    const std::optional<Restart> restart = node(name).restart;
    MS_ASSERT(restart, "it has said Restart");
    stop(name, false);
    if (restart->cut) {
      const auto cut = journal::cut_after(*node(name).disk, "", small_journal(name), random_, *restart->cut);
      MS_ASSERT(cut, "the log can be cut");
      node(name).disk->kill();
    }
    start(name);
  }
  /// What the first sends to the second gets lost from now on.
  void cut(const std::string& from, const std::string& to) { cut_.insert({from, to}); }
  /// Lines stay as they are.
  void mend_cuts() { cut_.clear(); }
  void answer_reads() {
    std::set<std::string> asked;
    asked.swap(asked_);
    for (const std::string& name : asked)
      node(name).member->register_read(RegisterOutcome::done, state_, now_, {});
    settle();
  }
  /// Pairs without a line get one; who comes later by name dials, as nodes do.
  void reconnect_lost() {
    for (auto first = nodes_.begin(); first != nodes_.end(); ++first) {
      for (auto second = std::next(first); second != nodes_.end(); ++second) {
        if (!first->second.member || !second->second.member) continue;
        const bool there = std::any_of(lines_.begin(), lines_.end(), [&](const auto& line) {
          const auto& [a, b] = line.second;
          return (a == first->first && b == second->first) || (a == second->first && b == first->first);
        });
        if (!there) connect(second->first, first->first);
      }
    }
    settle();
  }
  [[nodiscard]] Uuid cluster_of(const std::string& name) { return node(name).journal->cluster(); }
  void heal() {
    cut_.clear();
    std::vector<PeerId> all;
    for (const auto& [id, ends] : lines_) all.push_back(id);
    for (const PeerId id : all) disconnect(id);
    for (auto first = nodes_.begin(); first != nodes_.end(); ++first)
      for (auto second = std::next(first); second != nodes_.end(); ++second)
        if (first->second.member && second->second.member) connect(first->first, second->first);
    settle();
  }

  /// Lets time pass in small steps.
  void pass(Duration time) {
    for (Duration passed{}; passed < time; passed = passed + step) {
      now_ = now_ + step;
      for (auto& [name, it] : nodes_)
        if (it.member && frozen.count(name) == 0) it.member->tick(now_, {});
      settle();
      if (each_step) each_step();
    }
  }
  /// Until the node leads, at most five seconds. @return it does
  bool pass_until_leader(const std::string& name) {
    for (int i = 0; i < 250 && !(node(name).member && leads(name)); ++i) pass(milliseconds(20));
    return leads(name);
  }
  bool leads(const std::string& name) { return node(name).member && member(name).role() == Role::leader; }
  /// @return its LSN
  Lsn append(const std::string& name) {
    Node& it = node(name);
    MS_ASSERT(it.builder, "it leads");
    const std::byte body[1]{};
    const Lsn lsn = it.builder->append(journal::RecordType::time_advanced, BytesView(body));
    settle();
    return lsn;
  }
  std::vector<std::string> isr() {
    std::vector<std::string> names;
    if (state_.record)
      for (const MemberId& each : state_.record->isr) names.push_back(each.node);
    return names;
  }
  void finish_sync(const std::string& name) {
    Node& it = node(name);
    it.hold_syncs = false;
    if (it.syncing) {
      it.syncing = false;
      MS_ASSERT(it.journal->sync(), "the disk is well");
      it.member->synced(it.journal->durable(), now_, {});
    }
    settle();
  }
  void store_held_blocks(const std::string& name) {
    Node& it = node(name);
    it.hold_blocks = false;
    std::vector<Output> held;
    held.swap(it.held);
    for (Output& output : held) act(it, output);
    settle();
  }
  [[nodiscard]] Instant now() const { return now_; }
  void list(const std::string& name, const std::set<std::string>& others) {
    node(name).listed = others;
    if (node(name).member) member(name).list(others, now_, {});
    settle();
  }
  std::optional<std::string> remove(const std::string& leader, const std::string& name) {
    auto why = member(leader).remove(name, now_, {});
    settle();
    return why;
  }

 private:
  void connect(const std::string& a, const std::string& b) {
    for (unsigned line = 0; line < lines; ++line) {
      const PeerId id = ++last_line_;
      lines_[id] = {a, b};
      node(a).member->connected(id, b, now_, {});
      node(b).member->connected(id, "", now_, {});
    }
  }
  void disconnect(PeerId id) {
    const auto ends = lines_.at(id);
    lines_.erase(id);
    for (const std::string& name : {ends.first, ends.second})
      if (node(name).member) node(name).member->disconnected(id, now_, {});
  }
  void settle() {
    if (settling_) return;
    settling_ = true;
    for (bool more = true; more;) {
      more = false;
      for (auto& [name, it] : nodes_) {
        if (!it.member || frozen.count(name) != 0) continue;
        std::vector<Output> outputs;
        it.member->outputs(outputs);
        for (Output& output : outputs) act(it, output);
        more = more || !outputs.empty() || write(it);
      }
      for (auto next = packets_.begin(); next != packets_.end() && next->first <= now_;) {
        if (frozen.count(next->second.to) != 0) {
          ++next;
          continue;
        }
        more = true;
        const Packet packet = std::move(next->second);
        packets_.erase(next);
        next = packets_.begin();
        const auto line = lines_.find(packet.line);
        if (line == lines_.end() || !node(packet.to).member) continue;
        node(packet.to).member->packet(packet.line, packet.bytes, now_, {});
      }
    }
    settling_ = false;
  }
  bool write(Node& it) {
    if (it.syncing || it.member->over()) return false;
    journal::Batch batch;
    if (it.builder) {
      if (it.builder->gathering().empty()) return false;
      batch = it.builder->take();
      it.member->appended(batch, now_, {});
      MS_ASSERT(it.journal->write(batch), "the disk is well");
    } else {
      if (!it.member->take_batch(batch)) return false;
      MS_ASSERT(it.journal->write_raw(batch.bytes), "what the member took continues the log");
    }
    it.syncing = true;
    if (!it.hold_syncs) {
      it.syncing = false;
      MS_ASSERT(it.journal->sync(), "the disk is well");
      it.member->synced(it.journal->durable(), now_, {});
    }
    return true;
  }
  void act(Node& it, Output& output) {
    if (auto* packet = std::get_if<SendPacket>(&output)) {
      const auto line = lines_.find(packet->to);
      if (line == lines_.end()) return;
      const std::string to = line->second.first == it.name ? line->second.second : line->second.first;
      if (cut_.count({it.name, to}) != 0) return;
      Instant& last = arrives_[{packet->to, to}];
      last = std::max(last, now_ + (delay ? delay(it.name, to) : Duration{}) +
                                (line_delay ? line_delay(packet->to, it.name) : Duration{}));
      packets_.emplace(last, Packet{packet->to, to, std::move(packet->packet)});
    } else if (const auto* closing = std::get_if<ClosePeer>(&output)) {
      it.seen.push_back("close");
      const auto line = lines_.find(closing->peer);
      if (line == lines_.end()) return;
      const std::string other = line->second.first == it.name ? line->second.second : line->second.first;
      lines_.erase(line);
      if (node(other).member) node(other).member->disconnected(closing->peer, now_, {});
    } else if (const auto* store = std::get_if<StoreBlock>(&output)) {
      if (it.hold_blocks) {
        it.held.push_back(output);
        return;
      }
      it.seen.push_back("block " + std::to_string(store->block.promised.value));
      MS_ASSERT(store_superblock(*it.disk, "", store->block), "the disk is well");
      it.member->block_stored(now_, {});
    } else if (std::holds_alternative<ReadRegister>(output)) {
      if (hold_reads) {
        asked_.insert(it.name);
        return;
      }
      const bool away = answers == Answers::unavailable;
      it.member->register_read(away ? RegisterOutcome::unavailable : RegisterOutcome::done,
                               away ? coordination::GroupState{} : state_, now_, {});
    } else if (const auto* change = std::get_if<ChangeRegister>(&output)) {
      it.seen.push_back("change " + std::to_string(change->next.epoch.value));
      if (answers == Answers::unavailable) {
        it.member->register_changed(RegisterOutcome::unavailable, {}, now_, {});
        return;
      }
      const bool wins =
          state_.revision == change->expected.revision && state_.epoch() == change->expected.epoch();
      if (wins && answers != Answers::unknown_dropped) {
        ++state_.revision;
        state_.record = change->next;
        reasons.push_back(change->next.reason);
      }
      const bool unknown = answers == Answers::unknown_dropped || answers == Answers::unknown_stored;
      it.member->register_changed(unknown ? RegisterOutcome::unknown
                                  : wins  ? RegisterOutcome::done
                                          : RegisterOutcome::lost,
                                  unknown ? coordination::GroupState{} : state_, now_, {});
    } else if (const auto* lead = std::get_if<Lead>(&output)) {
      it.seen.push_back("lead " + std::to_string(lead->epoch.value));
      if (!lead->continues) it.builder.emplace(it.journal->durable(), it.journal->recovery().epoch);
      it.builder->start_epoch(lead->epoch);
      (void)it.builder->append(journal::RecordType::epoch_started, BytesView{});
    } else if (const auto* unreadable = std::get_if<Unreadable>(&output)) {
      it.seen.push_back("unreadable " + std::to_string(unreadable->first.value));
    } else if (const auto* read = std::get_if<ReadLog>(&output)) {
      replication::read_ahead(*it.journal, *read->part);
      it.member->log_read(read->to, std::move(*read->part), now_, {});
    } else if (std::holds_alternative<NeedCopy>(output)) {
      it.seen.push_back("need copy");
    } else if (const auto* restart = std::get_if<Restart>(&output)) {
      it.restart = *restart;
    } else if (const auto* alarm = std::get_if<Alarm>(&output)) {
      it.alarms.push_back(alarm->why);
    }
  }

  struct Packet {
    PeerId line{};
    std::string to;
    Buffer bytes;
  };
  std::map<std::string, Node> nodes_;
  std::map<PeerId, std::pair<std::string, std::string>> lines_;
  std::set<std::pair<std::string, std::string>> cut_;
  std::set<std::string> asked_;             ///< the register, and were not answered
  std::multimap<Instant, Packet> packets_;  ///< by when they arrive; equal ones in the order they were sent
  std::map<std::pair<PeerId, std::string>, Instant> arrives_;
  coordination::GroupState state_;
  SeededRandom random_{1};
  Instant now_{1'000'000'000};
  PeerId last_line_ = 0;
  bool settling_ = false;
};

}  // namespace mainstay::group::testing
