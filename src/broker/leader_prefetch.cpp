// What publishes will touch is brought near before they come, many at once: with thousands of queues in use
// each of them is a first touch of its queue, its session and two messages, a chain of places that each say
// where the next one is. One after the other the chain's waits add up; of a batch they go side by side.
#include <algorithm>
#include <array>

#include "broker/leader_impl.h"

namespace mainstay::broker {

namespace {

/// What so few queues take stays near by itself, and looking ahead would only cost.
constexpr std::size_t kFewQueues = 64;
constexpr std::size_t kGroup = 32;  ///< what that many need together fits beside what else is in use

/// The front of a large object: what publish() uses of it stands there.
template <std::size_t kBytes, class T>
void fetch_front(const T& object) {
  static_assert(kBytes <= sizeof(T));
  for (std::size_t at = 0; at < kBytes; at += 64) {
    __builtin_prefetch(reinterpret_cast<const char*>(&object) + at);
  }
}

}  // namespace

void Leader::prefetch(std::span<const Coming> coming) const {
  while (!coming.empty()) {
    const std::size_t n = std::min(coming.size(), kGroup);
    impl_->prefetch(coming.first(n));
    coming = coming.subspan(n);
  }
}

void Leader::Impl::prefetch(std::span<const Coming> coming) const {
  if (queues.size() <= kFewQueues) return;
  struct Place {
    const Queue* queue = nullptr;
    std::uint64_t session_hash = 0;
    std::uint32_t session = kNone;
  };
  std::array<Place, kGroup> places;
  std::size_t n = 0;
  for (const Coming& one : coming) {
    const QueueRuntime* q = find(one.queue);
    const Queue* queue = state.find(one.queue);
    if (q == nullptr || queue == nullptr) continue;
    fetch_front<2 * 64>(*q);
    fetch_front<Queue::kFront>(*queue);
    places[n++] = {queue, one.session_id.empty() ? 0 : id_hash(one.session_id), kNone};
  }
  const std::span<Place> all(places.data(), n);
  for (const Place& place : all) {
    place.queue->ring.prefetch(place.queue->next_sequence);
    if (place.session_hash != 0) place.queue->sessions.prefetch_index(place.session_hash);
  }
  for (Place& place : all) {
    place.queue->ring.prefetch_entry(place.queue->next_sequence);
    if (place.session_hash == 0) continue;
    place.session = place.queue->sessions.likely(place.session_hash);
    place.queue->sessions.prefetch_entry(place.session);
  }
  for (const Place& place : all) place.queue->sessions.prefetch(place.session);
  for (const Place& place : all) {
    if (const std::uint64_t tail = place.queue->sessions.tail_if_near(place.session); tail != 0) {
      place.queue->ring.prefetch(tail);
    }
  }
}

}  // namespace mainstay::broker
