// The leader against a dumb twin over random commands: one map of messages per queue, scanned from the start
// for every question. Then the log speaks for itself: replayed, from snapshots too, it gives the same hashes,
// and no delivery showed what was not committed at its `after`.
// MAINSTAY_SEED=n runs one seed, MAINSTAY_SEEDS=n that many.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "broker/broker_test_support.h"
#include "broker/leader.h"
#include "broker/leader_twin.h"

namespace mainstay::broker {
namespace {

using testing::by_consumer;
using testing::MemoryLog;
using testing::Seen;
using testing::text_of;
using testing::Twin;

/// What was shown, and the LSN that was committed when it was (its `after`, or what was committed anyhow), to
/// be compared with the log later.
struct Shown {
  std::uint64_t after{}, queue{}, sequence{};
  std::uint32_t count{};
  bool dead = false, erased = false;
  MessageState state{};
};

class Duel {
 public:
  explicit Duel(std::uint64_t seed) : random_(seed), tokens_(seed + 1) {
    make();
    for (const int n : {1, 2}) {
      QueueOptions o = draw_options();
      o.requires_session = n == 2;
      o.duplicate_detection = random_.chance(2, 3);
      declare(n, o);
    }
    commit(end());
  }

  void go(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      step();
      if (i % 8 == 0) leader_->check_invariants();
      compare_stats();
    }
    leader_->check_invariants();
    check_log();
  }

  int moves = 0, pauses = 0, stalls = 0;
  int deferred = 0, refetched = 0, fetches_refused = 0, come = 0, cancelled = 0, looked_at = 0;
  int deliveries = 0, redeliveries = 0, dead = 0, duplicates = 0, sessions = 0, lost = 0, restarts = 0;

 private:
  QueueOptions draw_options() {
    QueueOptions o;
    o.lock_duration_ms = static_cast<std::int64_t>(random_.between(1, 5) * 1000);
    o.max_delivery_count = static_cast<std::uint32_t>(random_.between(1, 4));
    o.default_ttl_ms = random_.chance(1, 2) ? static_cast<std::int64_t>(random_.between(3, 15) * 1000) : 0;
    o.dead_letter_on_expiry = random_.chance(1, 2);
    o.duplicate_window_ms = static_cast<std::int64_t>(random_.between(20, 30) * 1000);
    return o;
  }
  void declare(int n, const QueueOptions& o) {
    sync_time();
    const bool same = twin_.queues.contains(n) && twin_.queues[n].options == o;
    if (!same) twin_.record();  // windows pass under the options there were
    twin_.queues[n].options = o;
    if (!same) twin_.record();
    const auto id = leader_->declare_queue(n == 1 ? "plain" : "sessions", o, clock_.wall());
    ASSERT_TRUE(id.has_value());
    ASSERT_EQ(id->value, static_cast<std::uint32_t>(n));
  }
  std::uint64_t end() { return log_.end().value; }
  void make() { leader_ = std::make_unique<Leader>(*state_, log_.builder, tokens_, leader_limits_); }
  /// A search that stopped after its steps goes on: what it hands out belongs to the same command.
  void finish_searches() {
    while (leader_->searching()) {
      ++pauses;
      leader_->committed(Lsn{std::min(twin_.committed_lsn, end())}, clock_.now(), clock_.wall(), out_);
    }
  }
  /// What is out and unsettled or waits shows where messages are; any of them is moved.
  void move() {
    const int n = static_cast<int>(random_.between(1, 2));
    if (twin_.queues[n].messages.empty()) return;
    auto at = twin_.queues[n].messages.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(random_.below(twin_.queues[n].messages.size())));
    const std::uint64_t lsn = at->second.lsn;
    const auto& records = log_.records();
    const journal::Record& record = records.at(lsn - 1);
    ASSERT_EQ(record.header.lsn.value, lsn);
    const SequenceNumber sequence{at->first};
    const Lsn moved = leader_->move_message(record, sequence, clock_.wall());
    ASSERT_EQ(moved.value, end()) << "a message that is there with this record is moved";
    twin_.move(n, at->first, moved.value);
    EXPECT_EQ(leader_->move_message(record, sequence, clock_.wall()), Lsn{0})
        << "it has another record by now";
    ++moves;
  }
  void sync_time() {
    twin_.now = clock_.now().ns;
    twin_.wall = clock_.wall().ms;
  }
  void commit(std::uint64_t lsn) {
    twin_.committed_lsn = std::max(twin_.committed_lsn, lsn);
    twin_.settle_down();
    leader_->committed(Lsn{lsn}, clock_.now(), clock_.wall(), out_);
    compare("committed " + std::to_string(lsn));
  }

  void step() {
    sync_time();
    const std::uint64_t draw = random_.below(1180);
    const Instant now = clock_.now();
    const WallTime wall = clock_.wall();
    if (draw >= 1060) {
      receive_deferred();
    } else if (draw >= 1040) {
      cancel();
    } else if (draw >= 1000) {
      peek();
    } else if (draw < 300) {
      Publish p;
      p.tag = draw;
      p.queue = QueueId{static_cast<std::uint32_t>(random_.between(1, 2))};
      const std::string id = random_.chance(1, 10) ? "" : "m" + std::to_string(random_.below(60));
      const std::string session =
          p.queue.value == 2 ? std::string(1, static_cast<char>('a' + random_.below(4))) : "";
      p.message_id = id;
      p.has_session = p.queue.value == 2;
      p.session_id = session;
      if (random_.chance(1, 4)) p.ttl_ms = static_cast<std::int64_t>(random_.below(8000));
      p.payload = as_bytes("payload");
      std::optional<std::int64_t> due;
      if (random_.chance(1, 6)) {
        due = wall.ms + static_cast<std::int64_t>(random_.below(9000)) - 1000;
        p.scheduled_enqueue = WallTime{*due};
      }
      leader_->publish(p, wall, out_);
      twin_.publish(static_cast<int>(p.queue.value), id, session, p.ttl_ms, end(), due);
      compare("publish " + id);
    } else if (draw < 450) {
      commit(random_.chance(2, 3) ? end() : random_.between(std::min(twin_.committed_lsn, end()), end()));
    } else if (draw < 465) {
      move();
    } else if (draw < 500) {
      if (consumers_.empty()) return;
      const ConsumerId id = consumers_[random_.below(consumers_.size())];
      const std::uint64_t total = leader_->dispatched(id) - random_.below(2);
      if (twin_.consumers.contains(id) && !twin_.consumers[id].room()) ++stalls;
      leader_->taken(id, total, now, wall, out_);
      twin_.take(id, total);
      compare("taken " + std::to_string(id));
    } else if (draw < 580) {
      if (consumers_.empty()) return;
      const ConsumerId id = consumers_[random_.below(consumers_.size())];
      const auto credit = static_cast<std::uint32_t>(random_.below(6));
      const bool drain = random_.chance(1, 6);
      leader_->set_credit(id, credit, drain, now, wall, out_);
      twin_.credit(id, credit, drain);
      compare("credit " + std::to_string(id) + " " + std::to_string(credit));
    } else if (draw < 780) {
      if (handles_.empty()) return;
      const std::size_t at = handles_.size() - 1 - random_.below(std::min<std::size_t>(handles_.size(), 12));
      const Settlement how = random_.chance(1, 3)
                                 ? Settlement::complete
                                 : static_cast<Settlement>(std::min<std::uint64_t>(random_.below(7), 4));
      const auto [token, lock] = handles_[at];
      leader_->settle({1, token, how, "because", {}, {}}, now, wall, out_);
      twin_.settle(lock, how);
      compare("settle " + std::to_string(lock) + " how " + std::to_string(int(how)));
    } else if (draw < 850) {
      Subscribe s;
      s.consumer = ++last_consumer_;
      s.queue = QueueId{static_cast<std::uint32_t>(random_.between(1, 2))};
      s.sub = random_.chance(1, 4) ? SubQueue::dead_letter : SubQueue::active;
      s.mode = random_.chance(1, 5) ? ReceiveMode::receive_and_delete : ReceiveMode::peek_lock;
      if ((s.queue.value == 2 && s.sub == SubQueue::active) != random_.chance(1, 12)) {
        s.session = random_.chance(1, 2) ? Subscribe::Session::named : Subscribe::Session::next_available;
      }
      s.session_id = std::string(1, static_cast<char>('a' + random_.below(4)));
      if (random_.chance(1, 2)) s.window = static_cast<std::uint32_t>(random_.between(1, 3));
      s.session_deadline = now + milliseconds(static_cast<std::int64_t>(random_.below(5000)));
      // Whose time is up at once is told so at once, unless the search stops on the way.
      if (s.session_deadline == now && leader_limits_.search_steps_max < 100)
        s.session_deadline = now + milliseconds(1);
      if (consumers_.size() > 12) consumers_.erase(consumers_.begin());
      consumers_.push_back(s.consumer);
      leader_->subscribe(s, now, wall, out_);
      twin_.subscribe(s.consumer, static_cast<int>(s.queue.value), s.sub == SubQueue::dead_letter,
                      s.mode == ReceiveMode::receive_and_delete, s.session, s.session_id,
                      s.session_deadline.ns, s.window);
      compare("subscribe " + std::to_string(s.consumer));
    } else if (draw < 880) {
      if (consumers_.empty()) return;
      const ConsumerId id = consumers_[random_.below(consumers_.size())];
      leader_->unsubscribe(id, now, wall, out_);
      twin_.unsubscribe(id);
      compare("unsubscribe " + std::to_string(id));
    } else if (draw < 910) {
      if (handles_.empty()) return;
      const auto [token, lock] = handles_[random_.below(handles_.size())];
      const auto real = leader_->renew_lock(token, now, wall);
      EXPECT_EQ(real ? std::to_string(real->ms) : "lost", twin_.renew(lock)) << "renew";
    } else if (draw < 935) {
      if (consumers_.empty()) return;
      const ConsumerId id = consumers_[random_.below(consumers_.size())];
      const auto real = leader_->renew_session_lock(id, now, wall);
      EXPECT_EQ(real ? std::to_string(real->ms) : "lost", twin_.renew_session(id)) << "renew session";
    } else if (draw < 985) {
      clock_.advance(milliseconds(static_cast<std::int64_t>(random_.below(2500))));
      if (random_.chance(1, 3)) return;  // the tick comes late
      sync_time();
      twin_.tick();
      leader_->tick(clock_.now(), clock_.wall(), out_);
      compare("tick");
    } else if (draw < 990) {
      clock_.jump_wall(static_cast<std::int64_t>(random_.below(20'000)) - 10'000);
    } else if (draw < 995) {
      QueueOptions o = draw_options();
      const int n = static_cast<int>(random_.between(1, 2));
      o.requires_session = n == 2;
      o.duplicate_detection = twin_.queues[n].options.duplicate_detection;
      declare(n, o);
    } else {
      restart();
    }
    hashes_[end()] = state_->hash();
  }

  /// One to three of those that `wanted` picks, now and then any other.
  template <class Wanted>
  std::vector<SequenceNumber> draw_sequences(int n, const Wanted& wanted) {
    std::vector<std::uint64_t> there;
    const bool any = random_.chance(1, 10);
    for (const auto& [s, m] : twin_.queues[n].messages) {
      if (wanted(m) || any) there.push_back(s);
    }
    std::vector<SequenceNumber> out;
    for (std::uint64_t left = random_.between(1, 3); left > 0 && !there.empty(); --left) {
      const std::size_t at = random_.below(there.size());
      out.push_back({there[at]});
      if (!random_.chance(1, 20)) there.erase(there.begin() + static_cast<std::ptrdiff_t>(at));
    }
    return out;
  }
  void receive_deferred() {
    Leader::ReceiveDeferred r;
    const int n = static_cast<int>(random_.between(1, 2));
    r.queue = QueueId{static_cast<std::uint32_t>(n)};
    r.sub = random_.chance(1, 6) ? SubQueue::dead_letter : SubQueue::active;
    r.mode = random_.chance(1, 5) ? ReceiveMode::receive_and_delete : ReceiveMode::peek_lock;
    const bool buried = r.sub == SubQueue::dead_letter;
    std::optional<std::string> session;
    for (const auto& [id, c] : twin_.consumers) {
      if (n != 2 || c.queue != 2 || (!c.holds && !random_.chance(1, 10))) continue;
      r.holder = id;
      session = c.session;
      if (random_.chance(1, 3)) break;
    }
    const auto sequences = draw_sequences(n, [&](const Twin::M& m) {
      return m.deferred && m.dead == buried && (!session || buried || m.session == *session) &&
             (m.lock == 0 || random_.chance(1, 4));
    });
    if (sequences.empty()) return;
    r.sequences = sequences;
    leader_->receive_deferred(r, clock_.now(), clock_.wall(), out_);
    twin_.receive(n, buried, r.mode == ReceiveMode::receive_and_delete, sequences, r.holder);
    compare("receive deferred");
  }
  void cancel() {
    const int n = static_cast<int>(random_.between(1, 2));
    const auto sequences = draw_sequences(n, [](const Twin::M& m) { return m.scheduled; });
    if (sequences.empty()) return;
    leader_->cancel_scheduled({1, QueueId{static_cast<std::uint32_t>(n)}, sequences}, clock_.now(),
                              clock_.wall(), out_);
    twin_.cancel(n, sequences);
    cancelled += twin_.seen.back().what == "settle ok" ? 1 : 0;
    compare("cancel");
  }
  void peek() {
    Leader::Peek p;
    const int n = static_cast<int>(random_.between(1, 2));
    p.queue = QueueId{static_cast<std::uint32_t>(n)};
    p.sub = random_.chance(1, 4) ? SubQueue::dead_letter : SubQueue::active;
    const std::uint64_t from = random_.chance(1, 3) ? 0 : random_.below(twin_.queues[n].next + 1);
    const std::size_t max = random_.below(8);
    std::optional<std::string> session;
    if (random_.chance(1, 3)) session = std::string(1, static_cast<char>('a' + random_.below(5)));
    if (session) p.session_id = *session;
    const std::uint64_t before = state_->hash();
    std::string all = "fetched";
    p.max = max;
    p.from = SequenceNumber{from};
    do {
      std::vector<Output> out;
      leader_->peek(p, out);
      const auto& got = std::get<Fetched>(out.at(0));
      ASSERT_FALSE(got.error.has_value());
      ASSERT_TRUE(got.next.value == 0 || got.next > p.from);
      for (const Delivery& d : got.messages) {
        all += "; " + text_of(d);
        show(std::max(got.after.value, twin_.committed_lsn), d, false);
        ++looked_at;
      }
      p.max -= got.messages.size();
      p.from = got.next;
    } while (p.from.value != 0);
    EXPECT_EQ(all, twin_.peek(n, p.sub == SubQueue::dead_letter, from, max, session));
    EXPECT_EQ(state_->hash(), before) << "looking changes nothing";
  }
  void show(std::uint64_t after, const Delivery& v, bool erased) {
    shown_.push_back({after, v.queue.value, v.sequence.value, v.delivery_count,
                      v.sub == SubQueue::dead_letter, erased, v.state});
  }

  void restart() {
    ++restarts;
    leader_.reset();
    const auto& records = log_.records();
    const std::uint64_t cut = random_.between(0, records.size());
    State before(&pages_, limits_);
    testing::apply_all(before, {records.begin(), records.begin() + static_cast<std::ptrdiff_t>(cut)});
    State restored = testing::through_checkpoint(before, pages_, limits_);
    testing::apply_all(restored, records, before.applied());
    ASSERT_EQ(restored.hash(), state_->hash());
    *state_ = std::move(restored);
    make();
    twin_.restart(end());
    consumers_.clear();
    last_after_.clear();
    if (random_.chance(1, 2)) commit(end());
  }

  void compare(const std::string& command) {
    finish_searches();
    std::vector<Seen> real;
    std::vector<std::pair<ConsumerId, LockToken>> tokens;
    std::vector<LockToken> fetched;
    for (const Output& output : out_) {
      if (const auto* p = std::get_if<PublishDone>(&output)) {
        EXPECT_FALSE(p->error.has_value());
        real.push_back({0, (p->duplicate ? "duplicate of " : "stored ") + std::to_string(p->sequence.value) +
                               " at " + std::to_string(p->after.value)});
        duplicates += p->duplicate ? 1 : 0;
      } else if (const auto* d = std::get_if<Deliver>(&output)) {
        const Delivery& v = d->delivery;
        real.push_back({v.consumer, text_of(v)});
        come += v.scheduled_as.value != 0 ? 1 : 0;
        tokens.emplace_back(v.consumer, v.token);
        EXPECT_GE(d->after, last_after_[v.consumer]) << "`after` falls along a consumer's deliveries";
        last_after_[v.consumer] = d->after;
        EXPECT_LE(d->after.value, end());
        show(std::max(d->after.value, twin_.committed_lsn), v, v.token.is_nil());
        ++deliveries;
        redeliveries += v.delivery_count > 0 ? 1 : 0;
        dead += v.sub == SubQueue::dead_letter ? 1 : 0;
      } else if (const auto* s = std::get_if<SettleDone>(&output)) {
        real.push_back({0, "settle " + (s->error ? std::to_string(int(s->error->code)) : std::string("ok"))});
        lost += s->error ? 1 : 0;
      } else if (const auto* f = std::get_if<Fetched>(&output)) {
        std::string all = f->error ? "fetch " + std::to_string(int(f->error->code)) : "fetched";
        EXPECT_TRUE(!f->error || f->messages.empty());
        fetches_refused += f->error ? 1 : 0;
        EXPECT_LE(f->after.value, end());
        for (const Delivery& v : f->messages) {
          all += "; " + text_of(v);
          show(std::max(f->after.value, twin_.committed_lsn), v, v.token.is_nil());
          fetched.push_back(v.token);
          ++deferred;
          refetched += v.delivery_count > 1 ? 1 : 0;
        }
        real.push_back({0, all});
      } else if (const auto* in = std::get_if<Subscribed>(&output)) {
        real.push_back({in->consumer, in->session_id ? "holds '" + *in->session_id + "' until " +
                                                           std::to_string(in->locked_until.ms)
                                                     : "receives"});
        sessions += in->session_id ? 1 : 0;
      } else if (const auto* gone = std::get_if<Unsubscribed>(&output)) {
        real.push_back({gone->consumer, "ended " + std::to_string(int(gone->error.code))});
      } else if (const auto* dry = std::get_if<Drained>(&output)) {
        real.push_back({dry->consumer, "drained"});
      }
    }
    ASSERT_EQ(by_consumer(real), by_consumer(twin_.seen)) << "after: " << command;
    // Deliveries agree per consumer, so their locks are paired per consumer, in order.
    std::stable_sort(tokens.begin(), tokens.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<std::pair<ConsumerId, std::uint64_t>> given;
    std::size_t next = 0;
    for (const Seen& seen : twin_.seen) {
      if (seen.what.starts_with("deliver")) given.emplace_back(seen.who, twin_.given[next++]);
    }
    std::stable_sort(given.begin(), given.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (std::size_t i = 0; i < given.size(); ++i) {
      EXPECT_EQ(given[i].second == 0, tokens[i].second.is_nil());
      if (given[i].second != 0) handles_.emplace_back(tokens[i].second, given[i].second);
    }
    ASSERT_EQ(fetched.size(), twin_.fetched.size());
    for (std::size_t i = 0; i < fetched.size(); ++i) {
      EXPECT_EQ(twin_.fetched[i] == 0, fetched[i].is_nil());
      if (twin_.fetched[i] != 0) handles_.emplace_back(fetched[i], twin_.fetched[i]);
    }
    twin_.fetched.clear();
    twin_.seen.clear();
    twin_.given.clear();
    out_.clear();
  }

  void compare_stats() {
    for (const auto& [n, q] : twin_.queues) {
      const QueueStats stats = leader_->stats(QueueId{static_cast<std::uint32_t>(n)});
      std::uint64_t active = 0, buried = 0, deferred_now = 0, scheduled = 0, locked = 0;
      std::set<std::string> with_messages, ids;
      for (const auto& [s, m] : q.messages) {
        ++(m.deferred ? deferred_now : m.scheduled ? scheduled : m.dead ? buried : active);
        locked += m.lock != 0 ? 1 : 0;
        if (n == 2 && !m.dead) with_messages.insert(m.session);
        if (!m.id.empty()) {
          ids.insert(m.id);
        }
      }
      const std::vector<std::string> asked(ids.begin(), ids.end());
      const auto answers = state_->look_up_ids(QueueId{static_cast<std::uint32_t>(n)}, asked);
      for (std::size_t i = 0; i < asked.size(); ++i) {
        EXPECT_TRUE(answers[i].in_window || !answers[i].candidates.empty()) << asked[i];
      }
      ASSERT_EQ(stats.active, active);
      ASSERT_EQ(stats.dead_letter, buried);
      ASSERT_EQ(stats.deferred, deferred_now);
      ASSERT_EQ(stats.scheduled, scheduled);
      ASSERT_EQ(stats.locked, locked);
      ASSERT_EQ(stats.sessions, with_messages.size());
    }
    ASSERT_EQ(state_->log_time().ms, twin_.log_time);
  }

  /// The log alone: same hash at every LSN with and without a snapshot between, and `after` was late enough.
  void check_log() {
    const auto& records = log_.records();
    const std::uint64_t cut = random_.between(0, records.size());
    State straight(&pages_);
    std::optional<State> resumed;
    Counts counts;
    std::sort(shown_.begin(), shown_.end(), [](const Shown& a, const Shown& b) { return a.after < b.after; });
    std::size_t next = 0;
    for (const journal::Record& record : records) {
      if (straight.applied().value == cut)
        resumed.emplace(testing::through_checkpoint(straight, pages_, limits_));
      ASSERT_TRUE(straight.apply(record));
      if (resumed) {
        ASSERT_TRUE(resumed->apply(record));
        ASSERT_EQ(resumed->hash(), straight.hash());
      }
      const std::uint64_t lsn = record.header.lsn.value;
      if (const auto known = hashes_.find(lsn); known != hashes_.end()) {
        ASSERT_EQ(straight.hash(), known->second) << "at record " << lsn;
      }
      follow(record, counts);
      for (; next < shown_.size() && shown_[next].after == lsn; ++next) {
        const Shown& s = shown_[next];
        const auto found = counts.find({s.queue, s.sequence});
        if (s.erased) continue;  // its removal is at or before `after`: checked by its absence later
        ASSERT_NE(found, counts.end()) << "delivery of " << s.sequence << " waits for " << s.after;
        EXPECT_EQ(found->second.count, s.count)
            << "count of " << s.sequence << " shown before it is committed";
        EXPECT_EQ(found->second.dead, s.dead);
        EXPECT_EQ(found->second.state, s.state) << "state of " << s.sequence;
      }
    }
    EXPECT_EQ(next, shown_.size());
    EXPECT_EQ(straight.recompute_hash(), straight.hash());
    straight.check_invariants();
  }
  struct Known {
    std::uint32_t count = 0;
    bool dead = false;
    MessageState state{};
  };
  using Counts = std::map<std::pair<std::uint64_t, std::uint64_t>, Known>;
  static void follow(const journal::Record& record, Counts& counts) {
    if (StoredMessage m;
        record.header.type == journal::RecordType::message_stored && read_stored_message(record, m)) {
      counts[{m.queue.value, m.sequence.value}] = {};
    } else if (record.header.type == journal::RecordType::message_scheduled &&
               read_stored_message(record, m)) {
      counts[{m.queue.value, m.sequence.value}] = {0, false, MessageState::scheduled};
    } else if (MessageActivated a;
               record.header.type == journal::RecordType::message_activated && decode(record.body, a)) {
      counts.erase({a.queue.value, a.scheduled_as.value});
      counts[{a.queue.value, a.sequence.value}] = {};
    } else if (MessageDeferred e;
               record.header.type == journal::RecordType::message_deferred && decode(record.body, e)) {
      Known& known = counts[{e.queue.value, e.sequence.value}];
      known.count = e.delivery_count;
      known.state = MessageState::deferred;
    } else if (DeliveryFailed f;
               record.header.type == journal::RecordType::delivery_failed && decode(record.body, f)) {
      counts[{f.queue.value, f.sequence.value}].count = f.delivery_count;
    } else if (MessageDeadLettered d;
               record.header.type == journal::RecordType::message_dead_lettered && decode(record.body, d)) {
      counts[{d.queue.value, d.sequence.value}] = {d.delivery_count, true, MessageState::active};
    }
  }

  SeededRandom random_, tokens_;
  ManualClock clock_;
  MemoryLog log_;
  testing::TestPageStore pages_;
  // Half of the runs have room for two or three pages only, so that everything is on disk between commands.
  StateLimits limits_{random_.chance(1, 2) ? std::size_t{12} << 10 : std::size_t{32} << 20};
  std::unique_ptr<State> state_ = std::make_unique<State>(&pages_, limits_);
  // Half of the runs remember next to nothing, so that everything is found by looking, a few at a time.
  LeaderLimits leader_limits_ =
      random_.chance(1, 2) ? LeaderLimits{}
                           : LeaderLimits{random_.below(3), 1 + random_.below(2), 1 + random_.below(3)};
  std::unique_ptr<Leader> leader_;
  Twin twin_;
  std::vector<Output> out_;
  std::vector<ConsumerId> consumers_;
  ConsumerId last_consumer_ = 0;
  std::vector<std::pair<LockToken, std::uint64_t>> handles_;
  std::map<ConsumerId, Lsn> last_after_;
  std::map<std::uint64_t, std::uint64_t> hashes_;
  std::vector<Shown> shown_;
};

TEST(BrokerModel, LeaderAndTwinAgreeOverRandomCommands) {
  const char* one = std::getenv("MAINSTAY_SEED");
  const char* many = std::getenv("MAINSTAY_SEEDS");
  const std::uint64_t from = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  const std::uint64_t count = one != nullptr ? 1 : many != nullptr ? std::strtoull(many, nullptr, 10) : 200;
  std::printf("MAINSTAY_SEED=%llu to %llu\n", static_cast<unsigned long long>(from),
              static_cast<unsigned long long>(from + count - 1));
  int deliveries = 0, redeliveries = 0, dead = 0, duplicates = 0, sessions = 0, lost = 0, restarts = 0;
  int moves = 0, pauses = 0, stalls = 0;
  int deferred = 0, refetched = 0, fetches_refused = 0, come = 0, cancelled = 0, looked_at = 0;
  for (std::uint64_t seed = from; seed < from + count; ++seed) {
    SCOPED_TRACE("replay with MAINSTAY_SEED=" + std::to_string(seed));
    Duel run(seed);
    run.go(400);
    if (HasFailure()) return;
    deliveries += run.deliveries;
    redeliveries += run.redeliveries;
    dead += run.dead;
    duplicates += run.duplicates;
    sessions += run.sessions;
    lost += run.lost;
    restarts += run.restarts;
    moves += run.moves;
    pauses += run.pauses;
    stalls += run.stalls;
    deferred += run.deferred;
    refetched += run.refetched;
    fetches_refused += run.fetches_refused;
    come += run.come;
    cancelled += run.cancelled;
    looked_at += run.looked_at;
  }
  std::printf(
      "%d deliveries, %d of failed ones, %d of dead letters, %d duplicates, %d sessions, %d locks lost, "
      "%d restarts, %d moves, %d searches in parts, %d full windows\n",
      deliveries, redeliveries, dead, duplicates, sessions, lost, restarts, moves, pauses, stalls);
  std::printf(
      "%d received by number, %d of them again, %d such refused, %d scheduled ones delivered, %d cancelled, "
      "%d looked at\n",
      deferred, refetched, fetches_refused, come, cancelled, looked_at);
  EXPECT_TRUE(count < 50 || refetched > 20) << "deferred messages are received again and again";
  if (count < 50) return;
  for (const int reached : {deliveries, redeliveries, dead, duplicates, sessions, lost, restarts, moves,
                            pauses, stalls, deferred, fetches_refused, come, cancelled, looked_at}) {
    EXPECT_GT(reached, 50) << "the commands drawn do not reach what they should";
  }
}

}  // namespace
}  // namespace mainstay::broker
