// What must always hold, checked from scratch: slow on purpose, and written without the shortcuts of the code
// it checks.
#include <algorithm>
#include <map>
#include <set>

#include "broker/state_impl.h"

namespace mainstay::broker {

void State::Impl::check_invariants() {
  std::uint64_t total = 0, bytes_total = 0;
  MS_ASSERT(by_name.size() == queues.size(), "every queue has one name");
  for (std::size_t i = 0; i < queues.size(); ++i) {
    const Queue& queue = *queues[i];
    MS_ASSERT(queue.id.value == i + 1, "queue ids are dense");
    const auto named = by_name.find(lower_case(queue.name));
    MS_ASSERT(named != by_name.end() && named->second == queue.id, "a queue is found by its name");
    MS_ASSERT(!queue_declaration_problem(queue.name, queue.options), "options are in range");

    std::uint64_t active = 0, dead = 0, bytes = 0, count = 0, first_active = 0;
    std::uint64_t deferred = 0, scheduled = 0;
    std::uint64_t min_lsn = PageEntry::kNoLsn;
    std::map<std::uint64_t, std::uint64_t> page_sums;
    std::set<std::uint64_t> lsns;
    std::map<std::string, std::vector<std::uint64_t>> sessions;  ///< what is in their lists
    std::map<std::string, std::uint64_t> apart;
    struct PageCounts {
      unsigned hidden_active = 0, hidden_dead = 0, scheduled = 0;
    };
    std::map<std::uint64_t, PageCounts> page_counts;
    for (std::uint64_t s = queue.ring.first(); s != 0; s = queue.ring.next(s + 1)) {
      const Message* message = queue.ring.find(s);
      MS_ASSERT(message != nullptr, "next() names messages that are there");
      ++count;
      MS_ASSERT(s < queue.next_sequence, "sequence numbers are given once");
      MS_ASSERT(message->lsn > 0 && message->lsn <= applied_lsn.value && lsns.insert(message->lsn).second,
                "each message has a record of its own");
      min_lsn = std::min(min_lsn, message->lsn);
      const PageEntry* entry = queue.ring.table().find(s / MessageRing::kPage);
      MS_ASSERT(entry != nullptr && entry->min_lsn <= message->lsn, "no message is older than its page says");
      MS_ASSERT(entry->min_expiry <= message->due_ms(), "no message expires or is due before its page says");
      page_sums[s / MessageRing::kPage] += hash_of(queue, s, *message);
      MS_ASSERT(message->state == MessageState::scheduled || message->enqueued_ms <= log_time.ms,
                "nothing is enqueued after the log's time");
      bytes += message->payload_bytes;
      PageCounts& counts = page_counts[s / MessageRing::kPage];
      if (message->hidden()) {
        ++(message->state == MessageState::scheduled ? scheduled : deferred);
        ++(message->place == SubQueue::active ? counts.hidden_active : counts.hidden_dead);
        MS_ASSERT(message->session_previous == 0 && message->session_next == 0,
                  "what is hidden is in no list");
        MS_ASSERT(queue.next_active(s) != s && queue.next_dead(s) != s, "what is hidden is not available");
      }
      if (message->state == MessageState::scheduled) {
        ++counts.scheduled;
        MS_ASSERT(message->place == SubQueue::active && message->delivery_count == 0 && !message->annotated &&
                      message->renumbered_by == 0,
                  "nothing happens to a scheduled message before its time");
      }
      MS_ASSERT(message->scheduled_as(s) < s, "what was scheduled had an earlier number");
      if (message->place == SubQueue::active) {
        if (!message->hidden()) {
          ++active;
          if (first_active == 0) first_active = s;
        }
        MS_ASSERT((message->session != kNone) == queue.options.requires_session,
                  "active messages have a session exactly when the queue requires it");
        if (message->session != kNone) {
          const std::string id = queue.sessions[message->session].id;
          auto& listed = sessions[id];
          if (message->hidden())
            ++apart[id];
          else
            listed.push_back(s);
        }
      } else {
        if (!message->hidden()) ++dead;
        MS_ASSERT(message->session == kNone, "dead-lettered messages have no session");
        MS_ASSERT(message->expires_ms == 0, "dead-lettered messages do not expire");
      }
      MS_ASSERT(message->annotated == (queue.ring.annotation(s) != nullptr),
                "annotations belong to messages");
      trim();
    }
    MS_ASSERT(count == queue.ring.size() && count == active + dead + deferred + scheduled,
              "each message is in one place");
    MS_ASSERT(active == queue.active && dead == queue.dead && bytes == queue.bytes, "counters agree");
    bytes_total += bytes;
    MS_ASSERT(deferred == queue.deferred && scheduled == queue.scheduled, "counters agree");
    MS_ASSERT(queue.ring.size() == 0 || queue.ring.min_lsn() == min_lsn, "the oldest record is known");
    queue.ring.check_bounds();
    std::size_t pages = 0;
    for (std::size_t at = queue.ring.table().begin(); at < queue.ring.table().end(); ++at) {
      const PageEntry* entry = queue.ring.table()[at].entry;
      if (entry == nullptr) continue;
      ++pages;
      MS_ASSERT(entry->sum == page_sums[entry->number], "a page has the sum of its messages");
      const PageCounts& counts = page_counts[entry->number];
      MS_ASSERT(entry->hidden_active == counts.hidden_active && entry->hidden_dead == counts.hidden_dead &&
                    entry->scheduled == counts.scheduled,
                "a page counts what is hidden in it");
      if (const auto* page = static_cast<const MessagePage*>(entry->page)) {
        const auto here = static_cast<std::size_t>(
            std::count_if(page->annotations.begin(), page->annotations.end(), [&](const auto& a) {
              return ((page->live >> a.first) & 1) != 0 && page->slots[a.first].annotated;
            }));
        MS_ASSERT(here == page->annotations.size(), "no annotation outlives its message");
      }
    }
    MS_ASSERT(pages == page_sums.size(), "no page is empty");
    MS_ASSERT(queue.first_active() == first_active, "the first active message is known");
    total += count;

    MS_ASSERT(sessions.size() == queue.sessions.live(), "a session exists while it has messages");
    for (const auto& [id, members] : sessions) {
      const std::uint32_t index = queue.find_session(id);
      MS_ASSERT(index != kNone, "a session is found by its id");
      const Session session = queue.sessions[index];
      MS_ASSERT(session.count == members.size() && session.apart == apart[id],
                "a session counts its messages");
      MS_ASSERT(session.head == (members.empty() ? 0 : members.front()) &&
                    session.tail == (members.empty() ? 0 : members.back()),
                "a session has both ends");
      std::uint64_t previous = 0, at = session.head;
      for (const std::uint64_t member : members) {
        const Message* message = queue.ring.find(member);
        MS_ASSERT(at == member && message->session == index && message->session_previous == previous,
                  "a session's list is in sequence order");
        previous = member;
        at = message->session_next;
        trim();
      }
      MS_ASSERT(at == 0, "a session's list ends with its last message");
    }

    std::int64_t time_before = 0;
    std::uint64_t window_sum = 0, window_page_sums = 0;
    std::set<std::string> ids;
    for (std::uint64_t n = queue.window.begin(); n < queue.window.end(); ++n) {
      const WindowEntry entry = queue.window.at(n);
      const std::string id(queue.window.id_at(n));
      MS_ASSERT(n != queue.window.begin() || queue.window.front_time_ms() == entry.time_ms,
                "the window's first time is known");
      MS_ASSERT(entry.time_ms >= time_before, "the window is in log-time order");
      MS_ASSERT(entry.time_ms + queue.options.duplicate_window_ms > log_time.ms, "windows pass in time");
      MS_ASSERT(next_window_end_ms <= entry.time_ms + queue.options.duplicate_window_ms,
                "no window is forgotten");
      MS_ASSERT(ids.insert(id).second, "an id is in the window once");
      const WindowEntry* found = queue.find_duplicate(id);
      MS_ASSERT(found != nullptr && found->lsn == entry.lsn, "an entry is found by its id");
      time_before = entry.time_ms;
      window_sum += hash_of(queue.id, entry);
      trim();
    }
    for (std::size_t at = queue.window.table().begin(); at < queue.window.table().end(); ++at) {
      window_page_sums += queue.window.table()[at].entry->sum;
    }
    MS_ASSERT(window_sum == window_page_sums, "a window's pages have the sums of their entries");
    MS_ASSERT(queue.window.indexed() == queue.window.size(), "the index holds the window");
    MS_ASSERT(queue.options.duplicate_detection || queue.window.empty(),
              "queues without duplicate detection have no window");
    MS_ASSERT(queue.window.empty() || queue.window_watched, "a window's end is watched for");
  }
  MS_ASSERT(total == messages_total && bytes_total == payload_bytes_total, "counters agree");
  MS_ASSERT(recompute_sum() == sum, "the running hash is the hash of what is there");
}

}  // namespace mainstay::broker
