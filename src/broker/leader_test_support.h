// A leader on a log in memory and a clock that moves when told, with its outputs sorted for tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "broker/broker_test_support.h"
#include "broker/leader.h"

namespace mainstay::broker::testing {

class World {
 public:
  explicit World(const QueueOptions& options) {
    make_leader();
    queue = leader->declare_queue("q", options, clock.wall()).value();
    commit();
  }
  ~World() { check(); }

  MemoryLog log;
  ManualClock clock;
  SeededRandom random{7};
  std::unique_ptr<State> state = std::make_unique<State>();
  std::unique_ptr<Leader> leader;
  QueueId queue{};
  std::vector<Output> outputs;  ///< since the last look
  std::vector<Subscribed> subscribed;
  std::vector<Unsubscribed> unsubscribed;
  int drained = 0;
  std::string reason, description;  ///< of the last delivery
  Buffer properties;

  PublishDone publish(std::string_view id, const char* session = nullptr, QueueId to = {},
                      std::int64_t ttl_ms = -1) {
    Publish p;
    p.queue = to.value == 0 ? queue : to;
    p.message_id = id;
    p.has_session = session != nullptr;
    if (session != nullptr) p.session_id = session;
    p.ttl_ms = ttl_ms;
    p.payload = as_bytes("payload");
    leader->publish(p, clock.wall(), outputs);
    PublishDone done = std::get<PublishDone>(outputs.back());
    outputs.pop_back();
    return done;
  }
  void publish_many(int n, const char* session = nullptr) {
    for (int i = 0; i < n; ++i) publish("", session);
    commit();
  }
  void commit() {
    leader->committed(log.end(), clock.now(), clock.wall(), outputs);
    look();
  }
  void tick() {
    leader->tick(clock.now(), clock.wall(), outputs);
    look();
  }
  void advance(Duration by) {
    clock.advance(by);
    tick();
  }
  void subscribe(ConsumerId id, SubQueue sub = SubQueue::active, ReceiveMode mode = ReceiveMode::peek_lock) {
    Subscribe s;
    s.consumer = id;
    s.queue = queue;
    s.sub = sub;
    s.mode = mode;
    leader->subscribe(s, clock.now(), clock.wall(), outputs);
    look();
  }
  void accept(ConsumerId id, const char* session, Duration wait = seconds(60),
              ReceiveMode mode = ReceiveMode::peek_lock) {
    Subscribe s;
    s.consumer = id;
    s.queue = queue;
    s.mode = mode;
    s.session = session != nullptr ? Subscribe::Session::named : Subscribe::Session::next_available;
    if (session != nullptr) s.session_id = session;
    s.session_deadline = clock.now() + wait;
    leader->subscribe(s, clock.now(), clock.wall(), outputs);
    look();
  }
  void leave(ConsumerId id) {
    leader->unsubscribe(id, clock.now(), clock.wall(), outputs);
    look();
  }
  void credit(ConsumerId id, std::uint32_t credit, bool drain = false) {
    leader->set_credit(id, credit, drain, clock.now(), clock.wall(), outputs);
    look();
  }
  SettleDone settle(LockToken token, Settlement how, std::string_view why = {}, std::string_view what = {},
                    BytesView map = {}) {
    leader->settle({5, token, how, why, what, map}, clock.now(), clock.wall(), outputs);
    settled_ = {};
    look();
    EXPECT_EQ(settled_.tag, 5U);
    return settled_;
  }

  /// The leader's process ends and another takes over what is in the log.
  void restart() {
    check();
    leader.reset();
    state = std::make_unique<State>(replay(log));
    outputs.clear();
    delivered_.clear();
    make_leader();
    commit();
  }

  [[nodiscard]] const std::vector<Deliver>& delivered() const { return delivered_; }
  [[nodiscard]] std::vector<std::uint64_t> sequences() const {
    std::vector<std::uint64_t> out;
    for (const Deliver& d : delivered_) out.push_back(d.delivery.sequence.value);
    return out;
  }
  [[nodiscard]] const Deliver& last_deliver() const { return delivered_.back(); }
  [[nodiscard]] const Delivery& last() const { return delivered_.back().delivery; }
  /// Token of the last delivery of this sequence number; nil when there is none.
  [[nodiscard]] LockToken token(std::uint64_t sequence) const {
    LockToken token;
    for (const Deliver& d : delivered_) {
      if (d.delivery.sequence.value == sequence) token = d.delivery.token;
    }
    return token;
  }

  void check() {
    if (leader == nullptr) return;
    leader->check_invariants();
    const State replica = replay(log);
    EXPECT_EQ(replica.hash(), state->hash());
  }

 private:
  void make_leader() { leader = std::make_unique<Leader>(*state, log.builder, random); }
  void look() {
    for (Output& output : outputs) {
      if (auto* deliver = std::get_if<Deliver>(&output)) {
        reason = deliver->delivery.dead_letter_reason;
        description = deliver->delivery.dead_letter_description;
        properties = to_buffer(deliver->delivery.modified_properties);
        delivered_.push_back(*deliver);
      } else if (auto* done = std::get_if<SettleDone>(&output)) {
        settled_ = *done;
      } else if (auto* in = std::get_if<Subscribed>(&output)) {
        subscribed.push_back(*in);
      } else if (auto* gone = std::get_if<Unsubscribed>(&output)) {
        unsubscribed.push_back(*gone);
      } else if (std::holds_alternative<Drained>(output)) {
        ++drained;
      }
    }
    outputs.clear();
    leader->check_invariants();
  }

  std::vector<Deliver> delivered_;
  SettleDone settled_;
};

}  // namespace mainstay::broker::testing
