// What must always hold, checked from scratch: slow on purpose, and written without the shortcuts of the code
// it checks.
#include <map>
#include <set>

#include "broker/state_impl.h"

namespace mainstay::broker {

void State::Impl::check_invariants() const {
  std::uint64_t total = 0;
  MS_ASSERT(by_name.size() == queues.size(), "every queue has one name");
  for (std::size_t i = 0; i < queues.size(); ++i) {
    const Queue& queue = *queues[i];
    MS_ASSERT(queue.id.value == i + 1, "queue ids are dense");
    const auto named = by_name.find(lower_case(queue.name));
    MS_ASSERT(named != by_name.end() && named->second == queue.id, "a queue is found by its name");
    MS_ASSERT(!queue_declaration_problem(queue.name, queue.options), "options are in range");

    std::uint64_t active = 0, dead = 0, bytes = 0, unindexed = 0, annotated = 0, resident_entries = 0;
    std::uint64_t lsn_before = 0, count = 0, first_active = 0;
    std::map<std::string, std::vector<std::uint64_t>> sessions;
    for (std::uint64_t s = queue.ring.first(); s != 0; s = queue.ring.next(s + 1)) {
      const Message* message = queue.ring.find(s);
      MS_ASSERT(message != nullptr, "next() names messages that are there");
      ++count;
      MS_ASSERT(s < queue.next_sequence, "sequence numbers are given once");
      MS_ASSERT(message->lsn > lsn_before && message->lsn <= applied_lsn.value,
                "LSNs rise with sequence numbers");
      lsn_before = message->lsn;
      MS_ASSERT(message->enqueued_ms <= log_time.ms, "nothing is enqueued after the log's time");
      bytes += message->payload_bytes;
      if (message->place == SubQueue::active) {
        ++active;
        if (first_active == 0) first_active = s;
        MS_ASSERT((message->session != kNone) == queue.options.requires_session,
                  "active messages have a session exactly when the queue requires it");
        if (message->session != kNone) {
          sessions[std::string(texts.get(queue.sessions[message->session].id))].push_back(s);
        }
      } else {
        ++dead;
        MS_ASSERT(message->session == kNone, "dead-lettered messages have no session");
        MS_ASSERT(message->expires_ms == 0, "dead-lettered messages do not expire");
      }
      MS_ASSERT(message->annotated == queue.annotations.contains(s), "annotations belong to messages");
      if (message->annotated) ++annotated;
      if (message->indexed) {
        const DuplicateEntry& entry = queue.duplicates[message->id];
        MS_ASSERT(entry.resident && entry.sequence == s && entry.lsn == message->lsn,
                  "entry and message name each other");
        ++resident_entries;
      } else if (message->id != 0) {
        ++unindexed;
      }
    }
    MS_ASSERT(count == queue.ring.size() && count == active + dead, "each message is in one place");
    MS_ASSERT(active == queue.active && dead == queue.dead && bytes == queue.bytes, "counters agree");
    MS_ASSERT(unindexed == queue.unindexed_ids, "ids that are not indexed are counted");
    MS_ASSERT(annotated == queue.annotations.size(), "no annotation outlives its message");
    MS_ASSERT(queue.first_active() == first_active, "the first active message is known");
    total += count;

    MS_ASSERT(sessions.size() == queue.session_index.size() && sessions.size() == queue.sessions.live(),
              "a session exists while it has active messages");
    for (const auto& [id, members] : sessions) {
      const std::uint32_t index = queue.find_session(id, texts);
      MS_ASSERT(index != kNone, "a session is found by its id");
      const Session& session = queue.sessions[index];
      MS_ASSERT(session.count == members.size(), "a session counts its messages");
      MS_ASSERT(session.head == members.front() && session.tail == members.back(), "a session has both ends");
      std::uint64_t previous = 0, at = session.head;
      for (const std::uint64_t member : members) {
        const Message* message = queue.ring.find(member);
        MS_ASSERT(at == member && message->session == index && message->session_previous == previous,
                  "a session's list is in sequence order");
        previous = member;
        at = message->session_next;
      }
      MS_ASSERT(at == 0, "a session's list ends with its last message");
    }

    std::uint64_t in_window = 0, in_window_resident = 0;
    std::int64_t time_before = 0;
    std::set<std::string_view> ids;
    for (std::uint32_t at = queue.window_first; at != kNone; at = queue.duplicates[at].next) {
      const DuplicateEntry& entry = queue.duplicates[at];
      MS_ASSERT(entry.in_window, "the window's list holds what is in the window");
      MS_ASSERT(entry.time_ms >= time_before, "the window's list is in log-time order");
      MS_ASSERT(entry.time_ms + queue.options.duplicate_window_ms > log_time.ms, "windows pass in time");
      MS_ASSERT(next_window_end_ms <= entry.time_ms + queue.options.duplicate_window_ms,
                "no window is forgotten");
      MS_ASSERT(ids.insert(texts.get(entry.id)).second, "an id is in the window once");
      MS_ASSERT(queue.find_duplicate(texts.get(entry.id), texts) == at, "an entry is found by its id");
      MS_ASSERT(entry.resident == (queue.ring.find(entry.sequence) != nullptr), "residence is known");
      if (entry.resident) ++in_window_resident;
      time_before = entry.time_ms;
      ++in_window;
    }
    MS_ASSERT(in_window == queue.window_size, "the window is counted");
    MS_ASSERT(queue.duplicate_index.size() == in_window + (resident_entries - in_window_resident) &&
                  queue.duplicates.live() == queue.duplicate_index.size(),
              "an entry lives while it is in the window or resident");
    MS_ASSERT(queue.options.duplicate_detection || queue.duplicate_index.size() == 0,
              "queues without duplicate detection have no entries");
  }
  MS_ASSERT(total == messages_total, "counters agree");
  MS_ASSERT(recompute_sum() == sum, "the running hash is the hash of what is there");
}

}  // namespace mainstay::broker
