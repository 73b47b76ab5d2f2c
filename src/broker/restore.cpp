// Reads a checkpoint's root and every page it refers to. The journal guards the root against damage by a
// checksum and the page store guards the pages; here anything that is not a state this code could be in is
// refused, and the sums and the hash must agree. Pages stay where they are: nothing but the directory and the
// indexes is kept in memory.
#include <algorithm>
#include <bit>

#include "base/checksum.h"
#include "broker/checkpoint_format.h"
#include "broker/page_codec.h"
#include "broker/state_impl.h"

namespace mainstay::broker {

namespace {

/// What the lists through messages must add up to: each link is seen from both its ends, each session from
/// its messages. With links that only go forward, equal sums mean whole lists.
class ListCheck {
 public:
  void session(std::uint32_t index, const Session& s) {
    if (s.count != 0) sum_ -= term(index, 1, s.head) + term(index, 2, s.tail);
    sum_ -= term(index, 3, 0) * s.count + term(index, 3, 1) * s.apart;
  }
  void message(std::uint64_t sequence, const Message& m) {
    sum_ += term(m.session, 3, m.hidden() ? 1 : 0);
    if (m.hidden()) return;
    if (m.session_previous == 0)
      sum_ += term(m.session, 1, sequence);
    else
      sum_ -= link(m.session, m.session_previous, sequence);
    if (m.session_next == 0)
      sum_ += term(m.session, 2, sequence);
    else
      sum_ += link(m.session, sequence, m.session_next);
  }
  [[nodiscard]] bool whole() const { return sum_ == 0; }

 private:
  static std::uint64_t term(std::uint32_t session, std::uint64_t kind, std::uint64_t sequence) {
    return mix64(std::uint64_t{session} << 2 | kind, sequence);
  }
  static std::uint64_t link(std::uint32_t session, std::uint64_t from, std::uint64_t to) {
    return mix64(term(session, 0, from), to);
  }
  std::uint64_t sum_ = 0;
};

class RootReader {
 public:
  RootReader(State::Impl& state, BytesView root) : state_(state), in_(root) {}

  /// nullptr, or why not.
  [[nodiscard]] const char* read();
  [[nodiscard]] std::size_t position() const { return in_.position(); }
  [[nodiscard]] std::uint64_t expected_hash() const { return expected_hash_; }

 private:
  [[nodiscard]] const char* queue(std::uint32_t number);
  [[nodiscard]] const char* sessions(Queue& queue, ListCheck& lists);
  [[nodiscard]] const char* messages(Queue& queue, ListCheck& lists);
  [[nodiscard]] const char* window(Queue& queue);
  [[nodiscard]] bool message_can_be(const Queue& queue, std::uint64_t sequence, const Message& m) const;
  paging::PageRef ref() {
    const std::uint64_t file = apply_delta(file_, in_.varint());
    const std::uint64_t offset = in_.varint(), bytes = in_.varint();
    if (file == 0 || file > kNone || offset > kNone || bytes == 0 || bytes > paging::kPageBytesMax) {
      in_.fail();
    }
    file_ = file;
    return {static_cast<std::uint32_t>(file), static_cast<std::uint32_t>(offset),
            static_cast<std::uint32_t>(bytes)};
  }
  std::int64_t time() {
    const std::uint64_t ms = in_.u64();
    if (ms > static_cast<std::uint64_t>(kTimeMax_ms)) in_.fail();
    return static_cast<std::int64_t>(ms);
  }
  std::int64_t small() {
    const std::uint64_t v = in_.varint();
    if (v > static_cast<std::uint64_t>(kTimeMax_ms)) in_.fail();
    return static_cast<std::int64_t>(v);
  }

  State::Impl& state_;
  Unpacker in_;
  std::uint64_t file_ = 0;
  bool with_states_ = true;
  std::uint64_t expected_hash_ = 0;
  std::vector<std::uint64_t> session_hashes_;  ///< of the queue being read, by index; 0 also for none
  std::unique_ptr<MessagePage> messages_ = std::make_unique<MessagePage>();
  std::unique_ptr<WindowPage> window_ = std::make_unique<WindowPage>();
};

const char* RootReader::read() {
  const std::uint64_t front = in_.u64();
  if (static_cast<std::uint32_t>(front) != kRootMagic) return "does not begin like one";
  if (front >> 32 != kRootVersion && front >> 32 != kRootVersionWithoutStates) {
    return "is of a format that this program does not read";
  }
  with_states_ = front >> 32 == kRootVersion;
  state_.applied_lsn = Lsn{in_.u64()};
  state_.log_time = {time()};
  const std::uint64_t queues = in_.varint();
  if (queues > in_.remaining()) return "is cut short";
  for (std::uint64_t q = 1; q <= queues; ++q) {
    if (const char* why = queue(static_cast<std::uint32_t>(q))) return why;
  }
  expected_hash_ = in_.u64();
  return in_.finished() ? nullptr : "is cut short or longer than it says";
}

const char* RootReader::queue(std::uint32_t number) {
  auto owned = std::make_unique<Queue>(state_.pager);
  Queue& queue = *owned;
  queue.id = QueueId{number};
  const bool flags_known = read_queue_flags(in_.u8(), queue.options);
  queue.options.duplicate_window_ms = small();
  queue.options.lock_duration_ms = small();
  const std::uint64_t deliveries = in_.varint();
  queue.options.max_delivery_count = static_cast<std::uint32_t>(std::min<std::uint64_t>(deliveries, kNone));
  queue.options.default_ttl_ms = small();
  queue.name = as_text(in_.sized());
  if (!in_.ok() || !flags_known || queue_declaration_problem(queue.name, queue.options)) {
    return "holds a queue that cannot be";
  }
  if (!state_.by_name.emplace(lower_case(queue.name), queue.id).second) return "holds a queue twice";
  queue.next_sequence = in_.varint();
  if (queue.next_sequence == 0 || queue.next_sequence > kSequenceMax) {
    return "holds a queue whose sequence numbers cannot be";
  }
  state_.queues.push_back(std::move(owned));
  state_.sum += State::Impl::hash_of(queue) + State::Impl::hash_of_sequence(queue);
  ListCheck lists;
  if (const char* why = sessions(queue, lists)) return why;
  if (const char* why = messages(queue, lists)) return why;
  if (!lists.whole()) return "holds sessions whose lists of messages are not whole";
  return window(queue);
}

const char* RootReader::sessions(Queue& queue, ListCheck& lists) {
  const std::uint64_t pages = in_.varint(), count = in_.varint();
  session_hashes_.clear();
  if (!in_.ok() || pages > in_.remaining() || pages >= kNone / SessionPool::kPage ||
      count > pages * SessionPool::kPage || (pages != 0 && !queue.options.requires_session)) {
    return "holds sessions that cannot be";
  }
  queue.sessions.begin_adopting(count);
  session_hashes_.resize(pages * SessionPool::kPage);
  for (std::uint64_t number = 0; number < pages; ++number) {
    PageEntry& entry = state_.pager.new_entry(number);
    entry.live = in_.u8();
    if (entry.live == 0) {
      if (!queue.sessions.adopt(entry, nullptr)) return "holds sessions that cannot be";
      continue;
    }
    entry.ref = ref();
    if (!in_.ok()) return "is cut short or refers to what cannot be a page";
    SessionPage page;
    if (!page.decode(state_.pager.fetch(entry)) || std::popcount(page.live) != entry.live) {
      return "refers to a page that is not one of sessions";
    }
    for (std::uint64_t rest = page.live; rest != 0; rest &= rest - 1) {
      const auto slot = static_cast<unsigned>(std::countr_zero(rest));
      const auto index = static_cast<std::uint32_t>(number * SessionPool::kPage + slot);
      session_hashes_[index] = page.slots[slot].id_hash;
      lists.session(index, page.slots[slot]);
    }
    if (!queue.sessions.adopt(entry, &page)) return "holds a session twice";
    state_.trim();
  }
  return queue.sessions.live() == count ? nullptr : "holds sessions that cannot be";
}

bool RootReader::message_can_be(const Queue& queue, std::uint64_t sequence, const Message& m) const {
  const bool dead = m.place == SubQueue::dead_letter;
  const bool scheduled = m.state == MessageState::scheduled;
  return sequence > 0 && sequence < queue.next_sequence && m.lsn > 0 && m.lsn <= state_.applied_lsn.value &&
         m.enqueued_ms >= 0 && m.enqueued_ms <= (scheduled ? kTimeMax_ms : state_.log_time.ms) &&
         (!scheduled ||
          (m.delivery_count == 0 && !m.annotated && (m.expires_ms == 0 || m.expires_ms >= m.enqueued_ms))) &&
         (!dead || m.expires_ms == 0) && (m.session != kNone) == (queue.options.requires_session && !dead) &&
         (m.session == kNone || m.session < session_hashes_.size()) &&
         ((m.session != kNone && !m.hidden()) || (m.session_previous == 0 && m.session_next == 0));
}

const char* RootReader::messages(Queue& queue, ListCheck& lists) {
  const std::uint64_t pages = in_.varint();
  std::uint64_t number = 0, lsn = 0, expiry = 0;
  for (std::uint64_t left = pages; left > 0; --left) {
    const std::uint64_t step = in_.varint();
    if (!in_.ok() || (left != pages && step == 0) || step > kSequenceMax - number) {
      return "holds pages of messages that cannot be";
    }
    number += step;
    PageEntry& entry = state_.pager.new_entry(number);
    entry.ref = ref();
    entry.live = in_.u8();
    entry.dead = in_.u8();
    if (with_states_) {
      entry.hidden_active = in_.u8();
      entry.hidden_dead = in_.u8();
      entry.scheduled = in_.u8();
    }
    entry.min_lsn = lsn = apply_delta(lsn, in_.varint());
    expiry = apply_delta(expiry, in_.varint());
    entry.min_expiry = static_cast<std::int64_t>(expiry);
    entry.sum = in_.u64();
    if (!in_.ok()) return "is cut short or refers to what cannot be a page";
    const BytesView bytes = state_.pager.fetch(entry);
    MessagePage& page = *messages_;
    if (!page.decode(bytes, number) || std::popcount(page.live) != entry.live ||
        std::popcount(page.in_dead) != entry.dead ||
        std::popcount(page.hidden & ~page.in_dead) != entry.hidden_active ||
        std::popcount(page.hidden & page.in_dead) != entry.hidden_dead) {
      return "refers to a page that is not the one of messages it says";
    }
    std::uint64_t sum = 0, min_lsn = PageEntry::kNoLsn;
    std::int64_t min_expiry = PageEntry::kNever_ms;
    std::uint8_t scheduled = 0;
    for (std::uint64_t rest = page.live; rest != 0; rest &= rest - 1) {
      const auto slot = static_cast<unsigned>(std::countr_zero(rest));
      const std::uint64_t sequence = number * MessageRing::kPage + slot;
      const Message& m = page.slots[slot];
      if (!message_can_be(queue, sequence, m)) return "holds a message that cannot be";
      std::uint64_t session_hash = 0;
      if (m.session != kNone) {
        session_hash = session_hashes_[m.session];
        lists.message(sequence, m);
      }
      const Annotation* annotation = m.annotated ? page.annotation(slot) : nullptr;
      if (annotation != nullptr &&
          (annotation->reason.size() > kReasonBytesMax || annotation->description.size() > kReasonBytesMax ||
           annotation->properties.size() > kModifiedPropertiesBytesMax)) {
        return "holds a message that cannot be";
      }
      sum += State::Impl::hash_of(queue.id, sequence, m, session_hash, annotation);
      min_lsn = std::min(min_lsn, m.lsn);
      min_expiry = std::min(min_expiry, m.due_ms());
      scheduled = static_cast<std::uint8_t>(scheduled + (m.state == MessageState::scheduled ? 1 : 0));
      queue.bytes += m.payload_bytes;
      state_.payload_bytes_total += m.payload_bytes;
    }
    if (sum != entry.sum || min_lsn != entry.min_lsn || min_expiry != entry.min_expiry ||
        scheduled != entry.scheduled) {
      return "refers to a page of messages that is not the one it says";
    }
    queue.active += std::uint64_t{entry.live} - entry.dead - entry.hidden_active;
    queue.dead += std::uint64_t{entry.dead} - entry.hidden_dead;
    queue.deferred += std::uint64_t{entry.hidden_active} + entry.hidden_dead - entry.scheduled;
    queue.scheduled += entry.scheduled;
    state_.messages_total += entry.live;
    state_.sum += sum;
    queue.ring.adopt(entry);
  }
  return nullptr;
}

const char* RootReader::window(Queue& queue) {
  constexpr const char* kCannotBe = "holds a duplicate-detection entry that cannot be";
  const std::uint64_t first = in_.varint(), size = in_.varint();
  if (!in_.ok() || first > kSequenceMax || size > kSequenceMax ||
      size / DuplicateWindow::kPage > in_.remaining() || size > kNone - 2 * DuplicateWindow::kPage ||
      (size != 0 && !queue.options.duplicate_detection) ||
      (size == 0 && first % DuplicateWindow::kPage != 0)) {
    return kCannotBe;
  }
  const std::uint64_t next = first + size;
  queue.window.begin_adopting(first, next);
  std::int64_t time_before = 0;
  for (std::uint64_t at = first; at < next;) {
    const std::uint64_t number = at / DuplicateWindow::kPage;
    const std::size_t from = at % DuplicateWindow::kPage;
    const std::uint64_t end = std::min(next, (number + 1) * DuplicateWindow::kPage);
    PageEntry& entry = state_.pager.new_entry(number);
    entry.ref = ref();
    entry.sum = in_.u64();
    entry.live = static_cast<std::uint8_t>(end - at);
    if (!in_.ok()) return "is cut short or refers to what cannot be a page";
    WindowPage& page = *window_;
    if (!page.decode(state_.pager.fetch(entry)) || number * DuplicateWindow::kPage + page.count != end) {
      return "refers to a page that is not the one of a duplicate-detection window it says";
    }
    std::uint64_t sum = 0;
    for (std::size_t slot = from; slot < page.count; ++slot) {
      const WindowEntry& e = page.slots[slot];
      if (e.sequence == 0 || e.sequence >= queue.next_sequence || e.lsn == 0 ||
          e.lsn > state_.applied_lsn.value || e.time_ms < time_before || e.time_ms > state_.log_time.ms ||
          e.time_ms + queue.options.duplicate_window_ms <= state_.log_time.ms) {
        return kCannotBe;
      }
      time_before = e.time_ms;
      sum += State::Impl::hash_of(queue.id, e);
    }
    if (sum != entry.sum || !queue.window.index_page(entry, page, from)) return kCannotBe;
    state_.sum += sum;
    state_.trim();
    at = end;
  }
  state_.watch_window(queue);
  return nullptr;
}

}  // namespace

Result<State, ApplyError> State::restore(BytesView root, paging::PageStore& pages, StateLimits limits) {
  State result(&pages, limits);
  RootReader reader(*result.impl_, root);
  std::string problem;
  try {
    if (const char* why = reader.read())
      problem = why;
    else if (reader.expected_hash() != result.hash())
      problem = "does not have the hash it names";
  } catch (const paging::PageLost& lost) {
    problem = std::string("refers to a page that cannot be had: ") + lost.what();
  }
  if (!problem.empty()) {
    return ApplyError{{},
                      "the checkpoint of the broker's state " + problem + " (byte " +
                          std::to_string(reader.position()) + " of " + std::to_string(root.size()) +
                          "): use an older one"};
  }
  for (const auto& queue : result.impl_->queues) {
    const auto adopt = [&](const PageTable& table) {
      for (std::size_t at = table.begin(); at < table.end(); ++at) pages.adopt(table[at].entry->ref);
    };
    adopt(queue->ring.table());
    adopt(queue->window.table());
    for (const PageEntry* entry : queue->sessions.pages()) {
      if (entry->live != 0) pages.adopt(entry->ref);
    }
  }
  return result;
}

}  // namespace mainstay::broker
