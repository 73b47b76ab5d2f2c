// The root of a checkpoint; docs/formats/effects.md lists it. The pages it refers to are in message_ring.cpp,
// duplicate_window.cpp and session_pool.cpp; restore.cpp reads it.
#include "broker/checkpoint_format.h"
#include "broker/page_codec.h"
#include "broker/state_impl.h"

namespace mainstay::broker {

namespace {

// The most a page's line, and a queue's without its name, can take.
constexpr std::size_t kLineBytesMax = 8 * kVarintBytesMax;
constexpr std::size_t kQueueBytesMax = 16 * kVarintBytesMax;

class RootWriter {
 public:
  RootWriter(Buffer& to, Pager& pager) : out_(to), pager_(pager) {}

  void header(const State::Impl& state);
  void queue(const Queue& queue);
  void hash(std::uint64_t value) {
    out_.room(8);
    out_.u64(value);
  }

 private:
  void page(PageEntry& entry) {
    // A few each time: what moves is read and written here and now.
    if (moves_ > 0 && pager_.move_if_wanted(entry)) --moves_;
    MS_ASSERT(entry.ref, "everything is stored before the root is written");
    out_.varint(delta(file_, entry.ref.file));
    out_.varint(entry.ref.offset);
    out_.varint(entry.ref.bytes);
    file_ = entry.ref.file;
  }
  void sessions(const SessionPool& sessions);
  void messages(const MessageRing& ring);
  void window(const DuplicateWindow& window);

  Packer out_;
  Pager& pager_;
  std::uint64_t file_ = 0;
  std::size_t moves_ = 512;
};

void RootWriter::queue(const Queue& queue) {
  const QueueOptions& o = queue.options;
  out_.room(kQueueBytesMax);
  out_.u8(queue_flags(o));
  out_.varint(static_cast<std::uint64_t>(o.duplicate_window_ms));
  out_.varint(static_cast<std::uint64_t>(o.lock_duration_ms));
  out_.varint(o.max_delivery_count);
  out_.varint(static_cast<std::uint64_t>(o.default_ttl_ms));
  out_.sized(as_bytes(queue.name));
  out_.room(kVarintBytesMax);
  out_.varint(queue.next_sequence);
  sessions(queue.sessions);
  messages(queue.ring);
  window(queue.window);
}

void RootWriter::sessions(const SessionPool& sessions) {
  out_.room(2 * kVarintBytesMax);
  out_.varint(sessions.pages().size());
  out_.varint(sessions.live());
  for (PageEntry* entry : sessions.pages()) {
    out_.room(kLineBytesMax);
    out_.u8(entry->live);
    if (entry->live != 0) page(*entry);
  }
}

void RootWriter::messages(const MessageRing& ring) {
  const PageTable& table = ring.table();
  out_.room(kVarintBytesMax);
  out_.varint(table.size());
  std::uint64_t number = 0, lsn = 0, expiry = 0;
  for (std::size_t at = table.begin(); at < table.end(); ++at) {
    PageEntry* entry = table[at].entry;
    if (entry == nullptr) continue;
    out_.room(kLineBytesMax);
    out_.varint(entry->number - number);
    page(*entry);
    out_.u8(entry->live);
    out_.u8(entry->dead);
    out_.u8(entry->hidden_active);
    out_.u8(entry->hidden_dead);
    out_.u8(entry->scheduled);
    out_.varint(delta(lsn, entry->min_lsn));
    out_.varint(delta(expiry, static_cast<std::uint64_t>(entry->min_expiry)));
    out_.u64(entry->sum);
    number = entry->number;
    lsn = entry->min_lsn;
    expiry = static_cast<std::uint64_t>(entry->min_expiry);
  }
}

void RootWriter::window(const DuplicateWindow& window) {
  out_.room(2 * kVarintBytesMax);
  out_.varint(window.begin());
  out_.varint(window.size());
  const PageTable& table = window.table();
  for (std::size_t at = table.begin(); at < table.end(); ++at) {
    PageEntry* entry = table[at].entry;
    MS_ASSERT(entry != nullptr, "a window has no gaps");
    out_.room(kLineBytesMax);
    page(*entry);
    out_.u64(entry->sum);
  }
}

void RootWriter::header(const State::Impl& state) {
  out_.room(kQueueBytesMax);
  out_.u64(std::uint64_t{kRootVersion} << 32 | kRootMagic);
  out_.u64(state.applied_lsn.value);
  out_.u64(static_cast<std::uint64_t>(state.log_time.ms));
  out_.varint(state.queues.size());
}

}  // namespace

std::optional<State::Checkpoint> State::checkpoint() {
  Impl& state = *impl_;
  if (!state.pager.store_all()) return std::nullopt;
  Checkpoint out;
  {
    RootWriter writer(out.root, state.pager);
    writer.header(state);
    for (const auto& queue : state.queues) writer.queue(*queue);
    writer.hash(hash());
  }
  out.sealed = state.pager.store().seal();
  return out;
}

std::size_t State::write_ahead(std::size_t bytes_max) {
  return impl_->pager.store_ahead(bytes_max);
}

}  // namespace mainstay::broker
