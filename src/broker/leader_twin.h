// The leader's dumb twin: one map of messages per queue, scanned from the start for every question. Written
// from what the broker promises, not from how it works; tests compare what the two put out.
#pragma once

#include <algorithm>
#include <list>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "broker/types.h"

namespace mainstay::broker::testing {

/// One thing that a caller sees, for whom, in words.
struct Seen {
  ConsumerId who{};
  std::string what;
  friend bool operator==(const Seen&, const Seen&) = default;
};
inline std::ostream& operator<<(std::ostream& to, const Seen& seen) {
  return to << seen.who << ": " << seen.what;
}

inline std::string text_of(const Delivery& d) {
  std::ostringstream out;
  out << "deliver " << (d.sub == SubQueue::active ? "" : "dead ")
      << (d.state == MessageState::active     ? ""
          : d.state == MessageState::deferred ? "deferred "
                                              : "scheduled ")
      << d.sequence.value << " scheduled as " << d.scheduled_as.value << " count " << d.delivery_count
      << (d.maybe_delivered ? " maybe" : "") << " enqueued " << d.enqueued.ms << " until "
      << d.locked_until.ms << " " << d.dead_letter_reason;
  return out.str();
}

class Twin {
 public:
  struct M {
    std::uint64_t lsn{};
    std::string id, session, reason;
    std::int64_t enqueued{}, expires{};
    std::uint32_t count{};
    bool dead = false, moved = false, deferred = false, scheduled = false;
    std::uint64_t was = 0;   ///< its sequence number when it was scheduled
    std::uint64_t lock = 0;  ///< id of the lock on it
    bool hidden() const { return deferred || scheduled; }
  };
  struct L {
    int queue{};
    std::uint64_t sequence{};
    ConsumerId consumer{};
    std::int64_t expires_ns{};
    bool session = false;
  };
  struct C {
    int queue{};
    bool dead = false, erase = false, wants_session = false, holds = false;
    std::string session;
    std::uint32_t credit = 0, window = 0;
    std::uint64_t dispatched = 0, taken = 0;
    bool draining = false;
    std::int64_t deadline_ns{}, until_ms{};
    bool room() const { return window == 0 || dispatched - taken < window; }
    bool can_take() const { return credit > 0 && room(); }
  };
  struct Q {
    QueueOptions options;
    std::map<std::uint64_t, M> messages;
    std::map<std::string, std::tuple<std::uint64_t, std::uint64_t, std::int64_t>> ids;  // lsn, sequence, time
    std::list<ConsumerId> line[2], waiting;
    std::uint64_t next = 1;
  };

  std::map<int, Q> queues;
  std::map<ConsumerId, C> consumers;
  std::map<std::uint64_t, L> locks;
  std::uint64_t next_lock = 1, takeover = 0, committed_lsn = 0;
  std::int64_t log_time = 0, now = 0, wall = 0;
  std::vector<Seen> seen;
  std::vector<std::uint64_t> given;    ///< lock ids of deliveries, 0 for receive-and-delete
  std::vector<std::uint64_t> fetched;  ///< the same of what was asked for by sequence number

  void see(ConsumerId who, const std::string& what) { seen.push_back({who, what}); }
  std::int64_t time() const { return std::max(wall, log_time); }
  void record() {
    log_time = time();
    for (auto& [n, q] : queues) {
      const std::int64_t window_ms = q.options.duplicate_window_ms;
      std::erase_if(q.ids, [&](const auto& e) { return std::get<2>(e.second) + window_ms <= log_time; });
    }
  }
  bool old(const M& m) const { return !m.dead && !m.hidden() && m.expires != 0 && m.expires <= time(); }
  std::string text(std::uint64_t s, const M& m, std::int64_t until) const {
    Delivery d;
    d.sub = m.dead ? SubQueue::dead_letter : SubQueue::active;
    d.state = m.deferred    ? MessageState::deferred
              : m.scheduled ? MessageState::scheduled
                            : MessageState::active;
    d.sequence = {s};
    d.scheduled_as = {m.was};
    d.delivery_count = m.count;
    d.maybe_delivered = m.moved || m.lsn <= takeover;
    d.enqueued = {m.enqueued};
    d.locked_until = {until};
    d.dead_letter_reason = m.reason;
    return text_of(d);
  }

  void publish(int n, const std::string& id, const std::string& session, std::int64_t ttl, std::uint64_t lsn,
               std::optional<std::int64_t> due = std::nullopt) {
    Q& q = queues[n];
    if (q.options.duplicate_detection && !id.empty()) {
      if (const auto found = q.ids.find(id); found != q.ids.end()) {
        const auto& [original, sequence, at] = found->second;
        if (at + q.options.duplicate_window_ms > time()) {
          return see(0, "duplicate of " + std::to_string(sequence) + " at " + std::to_string(original));
        }
      }
    }
    record();
    M m;
    m.lsn = lsn;
    m.id = id;
    m.session = session;
    m.scheduled = due && *due > log_time;
    m.enqueued = m.scheduled ? *due : log_time;
    std::optional<std::int64_t> life;
    if (q.options.default_ttl_ms > 0) life = q.options.default_ttl_ms;
    if (ttl >= 0 && (!life || ttl < *life)) life = ttl;
    if (life) m.expires = m.enqueued + *life;
    if (q.options.duplicate_detection && !id.empty()) q.ids[id] = {lsn, q.next, log_time};
    q.messages[q.next] = m;
    see(0, "stored " + std::to_string(q.next++) + " at " + std::to_string(lsn));
  }

  void move(int n, std::uint64_t s, std::uint64_t lsn) {
    record();
    queues[n].messages[s].lsn = lsn;
    queues[n].messages[s].moved = true;
  }
  void bury(Q& q, std::uint64_t s, const std::string& reason) {
    record();
    q.messages[s].dead = true;
    q.messages[s].deferred = false;
    q.messages[s].reason = reason;
  }
  void expire(Q& q, std::uint64_t s) {
    if (q.options.dead_letter_on_expiry) return bury(q, s, "TTLExpiredException");
    record();
    q.messages.erase(s);
  }
  void fail(Q& q, std::uint64_t s) {
    M& m = q.messages[s];
    if (m.dead) return;
    record();
    if (m.deferred) {
      ++m.count;
      return;
    }
    if (++m.count >= q.options.max_delivery_count) return bury(q, s, "MaxDeliveryCountExceeded");
    if (old(m)) expire(q, s);
  }
  void unlock(std::uint64_t id) {
    L& l = locks[id];
    queues[l.queue].messages[l.sequence].lock = 0;
    locks.erase(id);
  }

  /// First message that this consumer's lane or session offers; 0 when none.
  std::uint64_t first(Q& q, bool dead, const std::string* session) {
    for (auto& [s, m] : q.messages) {
      if (m.dead != dead || m.lock != 0 || m.hidden()) continue;
      if (session != nullptr && m.session != *session) continue;
      return m.lsn <= committed_lsn ? s : 0;
    }
    return 0;
  }
  void give(Q& q, ConsumerId id, C& c, std::uint64_t s) {
    M& m = q.messages[s];
    --c.credit;
    ++c.dispatched;
    std::int64_t until = 0;
    if (c.erase) {
      given.push_back(0);
    } else {
      until = c.holds ? c.until_ms : wall + q.options.lock_duration_ms;
      m.lock = next_lock++;
      locks[m.lock] = {c.queue, s, id, now + q.options.lock_duration_ms * 1'000'000, c.holds};
      given.push_back(m.lock);
    }
    see(id, text(s, m, until));
    if (c.erase) {
      record();
      q.messages.erase(s);
    }
  }
  std::optional<std::string> free_session(Q& q, int n) {
    for (;;) {
      std::set<std::string> passed;
      for (const auto& [id, c] : consumers) {
        if (c.queue == n && c.holds) passed.insert(c.session);
      }
      std::uint64_t found = 0;
      for (auto& [s, m] : q.messages) {
        if (m.dead || m.hidden() || !passed.insert(m.session).second)
          continue;  // only a session's first message counts
        if (m.lsn > committed_lsn) continue;
        found = s;
        break;
      }
      if (found == 0) return std::nullopt;
      if (!old(q.messages[found])) return q.messages[found].session;
      expire(q, found);
    }
  }
  void hold(C& c, ConsumerId id, const std::string& session) {
    c.holds = true;
    c.session = session;
    c.deadline_ns = now + queues[c.queue].options.lock_duration_ms * 1'000'000;
    c.until_ms = wall + queues[c.queue].options.lock_duration_ms;
    see(id, "holds '" + session + "' until " + std::to_string(c.until_ms));
  }
  /// Everything that can be handed out is.
  void settle_down() {
    if (committed_lsn < takeover) return;
    for (auto& [n, q] : queues) {
      while (!q.waiting.empty()) {
        const auto session = free_session(q, n);
        if (!session) break;
        const ConsumerId id = q.waiting.front();
        q.waiting.pop_front();
        hold(consumers[id], id, *session);
      }
      for (auto& [id, c] : consumers) {
        while (c.queue == n && c.holds && c.can_take()) {
          const std::uint64_t s = first(q, false, &c.session);
          if (s == 0) break;
          if (old(q.messages[s]))
            expire(q, s);
          else
            give(q, id, c, s);
        }
      }
      for (const bool dead : {false, true}) {
        std::list<ConsumerId>& line = q.line[dead ? 1 : 0];
        while (!line.empty()) {
          const std::uint64_t s = first(q, dead, nullptr);
          if (s == 0) break;
          if (old(q.messages[s])) {
            expire(q, s);
            continue;
          }
          const ConsumerId id = line.front();
          line.pop_front();
          give(q, id, consumers[id], s);
          if (consumers[id].can_take()) line.push_back(id);
        }
      }
    }
  }

  void end_session(ConsumerId id, bool failed) {
    const C c = consumers[id];
    consumers.erase(id);
    std::vector<std::uint64_t> out;
    for (const auto& [lock, l] : locks) {
      if (l.session && l.consumer == id) out.push_back(lock);
    }
    Q& q = queues[c.queue];
    for (const std::uint64_t lock : out) {
      const std::uint64_t s = locks[lock].sequence;
      unlock(lock);
      if (failed)
        fail(q, s);
      else if (old(q.messages[s]))
        expire(q, s);
    }
  }
  void tick() {
    for (auto& [n, q] : queues) {
      for (const auto& [id, e] : q.ids) {
        if (std::get<2>(e) + q.options.duplicate_window_ms <= time()) {
          record();
          break;
        }
      }
    }
    std::vector<std::pair<std::int64_t, std::uint64_t>> due;
    for (const auto& [id, l] : locks) {
      if (!l.session && l.expires_ns <= now) due.emplace_back(l.expires_ns, id);
    }
    for (const auto& [at, id] : due) {
      const L l = locks[id];
      unlock(id);
      fail(queues[l.queue], l.sequence);
    }
    for (auto& [n, q] : queues) {
      std::set<std::pair<std::int64_t, std::uint64_t>> come;
      for (const auto& [s, m] : q.messages) {
        if (m.scheduled && m.enqueued <= time()) come.emplace(m.enqueued, s);
      }
      for (const auto& [at, s] : come) {
        record();
        M m = q.messages[s];
        q.messages.erase(s);
        m.scheduled = false;
        m.was = s;
        if (m.expires != 0) m.expires += log_time - m.enqueued;
        m.enqueued = log_time;
        q.messages[q.next++] = m;
      }
    }
    for (auto& [n, q] : queues) {
      std::vector<std::uint64_t> gone;
      for (const auto& [s, m] : q.messages) {
        if (m.lock == 0 && old(m)) gone.push_back(s);
      }
      for (const std::uint64_t s : gone) expire(q, s);
    }
    std::vector<ConsumerId> ending;
    for (const auto& [id, c] : consumers) {
      if ((c.holds || c.wants_session) && c.deadline_ns <= now) ending.push_back(id);
    }
    for (const ConsumerId id : ending) {
      if (consumers[id].holds) {
        end_session(id, true);
        see(id, "ended " + std::to_string(int(ErrorCode::session_lock_lost)));
      } else {
        queues[consumers[id].queue].waiting.remove(id);
        consumers.erase(id);
        see(id, "ended " + std::to_string(int(ErrorCode::session_timeout)));
      }
    }
    settle_down();
  }

  void subscribe(ConsumerId id, int n, bool dead, bool erase, Subscribe::Session kind,
                 const std::string& session, std::int64_t deadline, std::uint32_t window = 0) {
    const bool sessions = queues[n].options.requires_session && !dead;
    const auto refuse = [&](ErrorCode code) { see(id, "ended " + std::to_string(int(code))); };
    if ((kind != Subscribe::Session::none) != sessions) {
      return refuse(sessions ? ErrorCode::session_required : ErrorCode::session_not_supported);
    }
    if (kind == Subscribe::Session::named) {
      const auto held = [&] {
        return std::find_if(consumers.begin(), consumers.end(), [&](const auto& e) {
          return e.second.queue == n && e.second.holds && e.second.session == session;
        });
      };
      if (held() != consumers.end() && held()->second.deadline_ns <= now) tick();
      if (held() != consumers.end()) return refuse(ErrorCode::session_locked);
    }
    C c;
    c.queue = n;
    c.dead = dead;
    c.erase = erase;
    c.window = window;
    consumers[id] = c;
    if (kind == Subscribe::Session::none) return see(id, "receives");
    if (kind == Subscribe::Session::named) return hold(consumers[id], id, session);
    consumers[id].wants_session = true;
    consumers[id].deadline_ns = deadline;
    queues[n].waiting.push_back(id);
    settle_down();
    if (!consumers[id].holds && deadline <= now) tick();
  }
  void unsubscribe(ConsumerId id) {
    if (!consumers.contains(id)) return;
    C& c = consumers[id];
    Q& q = queues[c.queue];
    if (c.holds) {
      end_session(id, c.deadline_ns <= now);
    } else {
      q.waiting.remove(id);
      q.line[c.dead ? 1 : 0].remove(id);
      consumers.erase(id);
    }
    settle_down();
  }
  void credit(ConsumerId id, std::uint32_t credit, bool drain) {
    if (!consumers.contains(id)) return;
    C& c = consumers[id];
    std::list<ConsumerId>& line = queues[c.queue].line[c.dead ? 1 : 0];
    c.credit = credit;
    c.draining = drain;
    if (!c.can_take()) line.remove(id);
    stand_in_line(id);
    settle_down();
    drain_dry();
  }
  void stand_in_line(ConsumerId id) {
    C& c = consumers[id];
    std::list<ConsumerId>& line = queues[c.queue].line[c.dead ? 1 : 0];
    const bool plain = !c.holds && !c.wants_session;
    if (plain && c.can_take() && std::find(line.begin(), line.end(), id) == line.end()) line.push_back(id);
  }
  void drain_dry() {
    for (auto& [id, c] : consumers) {
      if (!c.draining || (c.credit > 0 && !c.room())) continue;
      c.credit = 0;
      c.draining = false;
      queues[c.queue].line[c.dead ? 1 : 0].remove(id);
      see(id, "drained");
    }
  }
  void take(ConsumerId id, std::uint64_t total) {
    if (!consumers.contains(id)) return;
    C& c = consumers[id];
    c.taken = std::max(c.taken, std::min(total, c.dispatched));
    stand_in_line(id);
    settle_down();
    drain_dry();
  }
  bool lapsed(const L& l) const {
    return (l.session ? consumers.at(l.consumer).deadline_ns : l.expires_ns) <= now;
  }
  void settle(std::uint64_t lock, Settlement how) {
    if (locks.contains(lock) && lapsed(locks[lock])) tick();
    if (!locks.contains(lock)) return see(0, "settle " + std::to_string(int(ErrorCode::message_lock_lost)));
    const L l = locks[lock];
    Q& q = queues[l.queue];
    if (how == Settlement::dead_letter && q.messages[l.sequence].dead) {
      return see(0, "settle " + std::to_string(int(ErrorCode::cannot_dead_letter)));
    }
    unlock(lock);
    switch (how) {
      case Settlement::complete:
        record();
        q.messages.erase(l.sequence);
        break;
      case Settlement::abandon:
        fail(q, l.sequence);
        break;
      case Settlement::release:
        if (old(q.messages[l.sequence])) expire(q, l.sequence);
        break;
      case Settlement::dead_letter:
        bury(q, l.sequence, "because");
        break;
      case Settlement::defer:
        record();
        if (!q.messages[l.sequence].dead) ++q.messages[l.sequence].count;
        q.messages[l.sequence].deferred = true;
        break;
    }
    see(0, "settle ok");
    settle_down();
  }
  void receive(int n, bool dead, bool erase, const std::vector<SequenceNumber>& sequences, ConsumerId id) {
    Q& q = queues[n];
    const C* holder = nullptr;
    const auto refuse = [&](ErrorCode code) { see(0, "fetch " + std::to_string(int(code))); };
    if (q.options.requires_session && !dead) {
      if (consumers.contains(id)) holder = &consumers.at(id);
      if (holder == nullptr || holder->queue != n || !holder->holds || holder->deadline_ns <= now) {
        return refuse(ErrorCode::session_lock_lost);
      }
    }
    for (const SequenceNumber s : sequences) {
      const auto m = q.messages.find(s.value);
      if (m == q.messages.end() || m->second.lock == 0) continue;
      const L& l = locks[m->second.lock];
      if (!l.session && l.expires_ns <= now) {
        tick();
        break;
      }
    }
    std::set<std::uint64_t> asked;
    for (const SequenceNumber s : sequences) {
      const auto m = q.messages.find(s.value);
      if (!asked.insert(s.value).second || m == q.messages.end() || !m->second.deferred ||
          m->second.dead != dead || m->second.lock != 0 ||
          (holder != nullptr && m->second.session != holder->session)) {
        return refuse(ErrorCode::message_not_found);
      }
    }
    std::string all = "fetched";
    const std::int64_t until = erase               ? 0
                               : holder != nullptr ? holder->until_ms
                                                   : wall + q.options.lock_duration_ms;
    for (const SequenceNumber s : sequences) {
      M& m = q.messages[s.value];
      all += "; " + text(s.value, m, until);
      if (erase) {
        record();
        q.messages.erase(s.value);
        fetched.push_back(0);
        continue;
      }
      m.lock = next_lock++;
      locks[m.lock] = {n, s.value, id, now + q.options.lock_duration_ms * 1'000'000, holder != nullptr};
      fetched.push_back(m.lock);
    }
    see(0, all);
    settle_down();
  }
  std::string peek(int n, bool dead, std::uint64_t from, std::size_t max,
                   const std::optional<std::string>& session) const {
    std::string all = "fetched";
    for (const auto& [s, m] : queues.at(n).messages) {
      if (max == 0) break;
      if (s < from || m.dead != dead || (session && (dead || m.session != *session))) continue;
      all += "; " + text(s, m, 0);
      --max;
    }
    return all;
  }
  void cancel(int n, const std::vector<SequenceNumber>& sequences) {
    std::set<std::uint64_t> asked;
    for (const SequenceNumber s : sequences) {
      const auto m = queues[n].messages.find(s.value);
      if (!asked.insert(s.value).second || m == queues[n].messages.end() || !m->second.scheduled) {
        return see(0, "settle " + std::to_string(int(ErrorCode::message_not_found)));
      }
    }
    record();
    for (const std::uint64_t s : asked) queues[n].messages.erase(s);
    see(0, "settle ok");
  }
  std::string renew(std::uint64_t lock) {
    if (!locks.contains(lock) || lapsed(locks[lock])) return "lost";
    L& l = locks[lock];
    if (l.session) return std::to_string(consumers[l.consumer].until_ms);
    l.expires_ns = now + queues[l.queue].options.lock_duration_ms * 1'000'000;
    return std::to_string(wall + queues[l.queue].options.lock_duration_ms);
  }
  std::string renew_session(ConsumerId id) {
    if (!consumers.contains(id) || !consumers[id].holds || consumers[id].deadline_ns <= now) return "lost";
    hold(consumers[id], id, consumers[id].session);
    seen.pop_back();
    return std::to_string(consumers[id].until_ms);
  }
  void restart(std::uint64_t end) {
    consumers.clear();
    locks.clear();
    for (auto& [n, q] : queues) {
      q.line[0].clear();
      q.line[1].clear();
      q.waiting.clear();
      for (auto& [s, m] : q.messages) m.lock = 0;
    }
    takeover = end;
    committed_lsn = 0;
  }
};

/// What each consumer sees, in order; how different consumers' views interleave is not promised.
inline std::vector<Seen> by_consumer(std::vector<Seen> seen) {
  std::stable_sort(seen.begin(), seen.end(), [](const Seen& a, const Seen& b) { return a.who < b.who; });
  return seen;
}

}  // namespace mainstay::broker::testing
