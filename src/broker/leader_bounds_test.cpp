// What is volatile stays small whatever lies in the queues, and finding what is available costs what is
// handed out, not what is there (B10, D21). MAINSTAY_SESSIONS=n changes the number of sessions of the largest
// test, MAINSTAY_MESSAGES=n the number of scheduled and of deferred messages.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <new>

#include "broker/leader_test_support.h"
#include "broker/state_impl.h"

namespace {
std::uint64_t allocations = 0, allocated_bytes = 0;
std::int64_t bytes_in_use = 0;
}  // namespace

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // both are malloc's, which GCC sees of one only
#endif
// Counts; everything else is malloc's, which the sanitizers still watch.
void* operator new(std::size_t bytes) {
  ++allocations;
  allocated_bytes += bytes;
  if (void* at = std::malloc(bytes)) {
    bytes_in_use += static_cast<std::int64_t>(malloc_usable_size(at));
    return at;
  }
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  allocated_bytes += bytes;
  void* at = std::malloc(bytes);
  bytes_in_use += static_cast<std::int64_t>(malloc_usable_size(at));
  return at;
}
void operator delete(void* at) noexcept {
  bytes_in_use -= static_cast<std::int64_t>(malloc_usable_size(at));
  std::free(at);
}
void operator delete(void* at, std::size_t) noexcept {
  operator delete(at);
}

namespace mainstay::broker {
namespace {

/// A leader whose outputs are looked at only as far as a test needs, without the checks World makes after
/// each call.
struct Bare {
  explicit Bare(const QueueOptions& options, LeaderLimits limits = {}, paging::PageStore* pages = nullptr,
                StateLimits state_limits = {})
      : state(pages, state_limits), leader(state, log, random, limits) {
    queue = leader.declare_queue("q", options, wall).value();
    commit();
  }
  void publish(std::string_view session = {}) {
    Publish p;
    p.queue = queue;
    p.payload = as_bytes("x");
    p.has_session = !session.empty();
    p.session_id = session;
    leader.publish(p, wall, out);
    if (out.size() > 1000) commit();
  }
  void schedule(WallTime at, std::string_view session) {
    Publish p;
    p.queue = queue;
    p.payload = as_bytes("x");
    p.has_session = !session.empty();
    p.session_id = session;
    p.scheduled_enqueue = at;
    leader.publish(p, wall, out);
    if (out.size() > 1000) commit();
  }
  void commit() {
    batch = log.take(std::move(batch));
    out.clear();
    leader.committed(log.end().lsn, now, wall, out);
  }
  void subscribe(ConsumerId id, bool session = false, SubQueue sub = SubQueue::active,
                 std::uint32_t window = 0) {
    Subscribe s;
    s.consumer = id;
    s.queue = queue;
    s.sub = sub;
    s.window = window;
    if (session) s.session = Subscribe::Session::next_available;
    s.session_deadline = now + seconds(3600);
    leader.subscribe(s, now, wall, out);
  }
  void credit(ConsumerId id, std::uint32_t n, bool drain = false) {
    leader.set_credit(id, n, drain, now, wall, out);
  }
  void settle(const LockToken& token, Settlement how) {
    leader.settle({1, token, how, {}, {}, {}}, now, wall, out);
  }
  std::vector<Delivery> take() {
    std::vector<Delivery> found;
    for (const Output& o : out) {
      if (const auto* d = std::get_if<Deliver>(&o)) found.push_back(d->delivery);
    }
    out.clear();
    return found;
  }
  template <class T>
  [[nodiscard]] std::size_t count() const {
    return static_cast<std::size_t>(
        std::count_if(out.begin(), out.end(), [](const Output& o) { return std::holds_alternative<T>(o); }));
  }

  State state;
  journal::LogBuilder log{{}, Epoch{1}};
  journal::Batch batch;
  SeededRandom random{1};
  Leader leader;
  QueueId queue{};
  std::vector<Output> out;
  Instant now{1};
  WallTime wall{1'700'000'000'000};
};

QueueOptions with_sessions() {
  QueueOptions options;
  options.requires_session = true;
  options.lock_duration_ms = 300'000;
  return options;
}

TEST(LeaderBounds, WhatReturnsBeyondTheLimitIsFoundAgainInOrder) {
  LeaderLimits limits;
  limits.returned_max = 8;
  Bare b({}, limits);
  for (int i = 0; i < 500; ++i) b.publish();
  b.commit();
  b.subscribe(1);
  b.credit(1, 500);
  const auto first = b.take();
  ASSERT_EQ(first.size(), 500U);
  b.credit(1, 0);
  for (std::size_t i = 0; i < first.size(); i += 3) {
    b.settle(first[(i * 7) % 500].token, i % 2 == 0 ? Settlement::abandon : Settlement::release);
  }
  b.out.clear();
  b.leader.check_invariants();
  b.credit(1, 500);
  const auto again = b.take();
  EXPECT_EQ(again.size(), 167U);
  for (std::size_t i = 1; i < again.size(); ++i) EXPECT_LT(again[i - 1].sequence, again[i].sequence);
  b.leader.check_invariants();
}

TEST(LeaderBounds, DeadLettersAreHandedOutInOrderWithoutAListOfThem) {
  LeaderLimits limits;
  limits.returned_max = 8;
  Bare b({}, limits);
  for (int i = 0; i < 1000; ++i) b.publish();
  b.commit();
  b.subscribe(1);
  b.credit(1, 1000);
  b.subscribe(2, false, SubQueue::dead_letter);
  b.credit(2, 100);
  const auto all = b.take();
  std::vector<std::uint64_t> dead;
  for (std::size_t i = 0; i < all.size(); ++i) {
    b.settle(all[all.size() - 1 - i].token, Settlement::dead_letter);
    if (i == 500) b.leader.check_invariants();
  }
  for (const Delivery& d : b.take()) dead.push_back(d.sequence.value);
  EXPECT_EQ(dead.size(), 100U);
  b.leader.check_invariants();
  b.credit(2, 10'000);
  dead.clear();
  for (const Delivery& d : b.take()) dead.push_back(d.sequence.value);
  ASSERT_EQ(dead.size(), 900U);
  for (std::size_t i = 0; i < 900; ++i) EXPECT_EQ(dead[i], i + 1);
}

TEST(LeaderBounds, ManySessionsAreSearchedOnce) {
  const char* asked = std::getenv("MAINSTAY_SESSIONS");
  const int sessions = asked != nullptr ? std::atoi(asked) : 20'000;
  constexpr int kEach = 10;
  constexpr ConsumerId kConsumers = 1000;
  for (const bool in_blocks : {false, true}) {
    Bare b(with_sessions());
    const auto name = [](int session) { return "account-" + std::to_string(session); };
    for (int i = 0; i < sessions * kEach; ++i) b.publish(name(in_blocks ? i / kEach : i % sessions));
    b.commit();
    ConsumerId last = 0;
    for (ConsumerId id = 1; id <= kConsumers; ++id) b.subscribe(last = id, true);
    ASSERT_EQ(b.count<Subscribed>(), kConsumers);
    b.out.clear();
    // Each holder completes one message and leaves; who waits next gets the session whose oldest is oldest.
    std::vector<ConsumerId> holding;
    for (ConsumerId id = 1; id <= kConsumers; ++id) holding.push_back(id);
    std::uint64_t grants = kConsumers;
    const std::uint64_t wanted = static_cast<std::uint64_t>(sessions) * 5;
    for (std::size_t turn = 0; grants < wanted; ++turn) {
      ConsumerId& id = holding[turn % holding.size()];
      b.credit(id, 1);
      const auto got = b.take();
      ASSERT_EQ(got.size(), 1U);
      b.settle(got[0].token, Settlement::complete);
      b.leader.unsubscribe(id, b.now, b.wall, b.out);
      b.subscribe(id = ++last, true);
      while (b.leader.searching()) b.leader.committed(b.log.end().lsn, b.now, b.wall, b.out);
      ASSERT_EQ(b.count<Subscribed>(), 1U) << "at grant " << grants;
      b.out.clear();
      ++grants;
    }
    std::printf("%d sessions %s: %llu grants, %llu messages looked at\n", sessions,
                in_blocks ? "one after the other" : "in turns", static_cast<unsigned long long>(grants),
                static_cast<unsigned long long>(b.leader.searched()));
    EXPECT_LT(b.leader.searched(), 2 * wanted + static_cast<std::uint64_t>(sessions) * kEach);
  }
}

TEST(LeaderBounds, AFreeSessionBehindALongBacklogOfAHeldOneIsFoundInParts) {
  LeaderLimits limits;
  limits.search_steps_max = 100;
  limits.available_max = 2;
  Bare b(with_sessions(), limits);
  for (int i = 0; i < 1000; ++i) b.publish("long");
  b.publish("short");
  b.commit();
  b.subscribe(1, true);
  b.subscribe(2, true);
  EXPECT_EQ(b.count<Subscribed>(), 1U);
  int calls = 0;
  while (b.leader.searching()) {
    EXPECT_EQ(b.leader.next_deadline(), Instant{});
    b.leader.tick(b.now, b.wall, b.out);
    ++calls;
  }
  EXPECT_EQ(b.count<Subscribed>(), 2U);
  EXPECT_GE(calls, 9);
  EXPECT_LE(b.leader.searched(), 1001U);
}

TEST(LeaderBounds, AWindowBoundsWhatIsPutOutWhateverTheCredit) {
  Bare b({});
  for (int i = 0; i < 1000; ++i) b.publish();
  b.commit();
  b.subscribe(1, false, SubQueue::active, 50);
  b.credit(1, 1'000'000'000);
  EXPECT_EQ(b.take().size(), 50U);
  EXPECT_EQ(b.leader.stats(b.queue).locked, 50U);
  b.commit();
  b.leader.tick(b.now, b.wall, b.out);
  EXPECT_TRUE(b.take().empty());
  b.subscribe(2);
  b.credit(2, 10);
  EXPECT_EQ(b.take().size(), 10U) << "others are not held up";
  b.leader.taken(1, 20, b.now, b.wall, b.out);
  EXPECT_EQ(b.take().size(), 20U);
  b.leader.check_invariants();
}

TEST(LeaderBounds, DrainingGoesOnAsTheWindowEmpties) {
  Bare b({});
  for (int i = 0; i < 120; ++i) b.publish();
  b.commit();
  b.subscribe(1, false, SubQueue::active, 50);
  b.credit(1, 500, true);
  EXPECT_EQ(b.count<Drained>(), 0U);
  EXPECT_EQ(b.take().size(), 50U);
  b.leader.taken(1, 50, b.now, b.wall, b.out);
  EXPECT_EQ(b.count<Drained>(), 0U);
  EXPECT_EQ(b.take().size(), 50U);
  b.leader.taken(1, 100, b.now, b.wall, b.out);
  EXPECT_EQ(b.count<Drained>(), 1U) << "the queue is empty";
  EXPECT_EQ(b.take().size(), 20U);
  b.publish();
  b.commit();
  EXPECT_TRUE(b.take().empty()) << "drained: no credit is left";
}

TEST(LeaderBounds, TakingOverLoadsNothingAndIdleQueuesAreSmall) {
  testing::TestPageStore pages;
  StateLimits limits;
  limits.index_bytes = std::size_t{64} << 10;
  State state(&pages, limits);
  journal::LogBuilder log({}, Epoch{1});
  SeededRandom random(1);
  constexpr std::uint32_t kQueues = 10'000;
  {
    Leader leader(state, log, random);
    std::vector<Output> out;
    const WallTime wall{1'700'000'000'000};
    for (std::uint32_t i = 0; i < kQueues; ++i) {
      QueueOptions options;
      options.requires_session = i == 1;
      (void)leader.declare_queue("queue-" + std::to_string(i), options, wall).value();
    }
    for (int i = 0; i < 50'000; ++i) {
      Publish p;
      p.queue = QueueId{1U + static_cast<std::uint32_t>(i % 2)};
      p.payload = as_bytes("x");
      const std::string session = "s" + std::to_string(i % 997);
      p.has_session = i % 2 == 1;
      p.session_id = session;
      leader.publish(p, wall, out);
      out.clear();
      if (i % 100 == 0) (void)log.take();
    }
    (void)log.take();
  }
  const std::uint64_t loads = state.memory_use().page_loads;
  const std::uint64_t count = allocations, bytes = allocated_bytes;
  Leader leader(state, log, random);
  EXPECT_EQ(state.memory_use().page_loads, loads) << "taking over looks at no message";
  EXPECT_LE(allocated_bytes - bytes, kQueues * std::uint64_t{1024});
  EXPECT_LE(allocations - count, kQueues + 100);
  std::vector<Output> out;
  leader.committed(log.end().lsn, Instant{1}, WallTime{1}, out);
  const std::uint64_t idle = allocations;
  for (int i = 0; i < 100; ++i) leader.tick(Instant{1 + i}, WallTime{1}, out);
  EXPECT_EQ(allocations, idle);
  EXPECT_EQ(state.memory_use().page_loads, loads) << "nobody asked for a message";
}

/// Pages that are stored and found again, but are on no disk and not counted as memory of the broker.
class UncountedPages final : public paging::PageStore {
 public:
  ~UncountedPages() override {
    for (Page& page : pages_) std::free(page.at);
  }
  std::optional<paging::PageRef> store(BytesView content) override {
    std::size_t place = pages_.size();
    if (free_.empty()) {
      const std::int64_t before = bytes_in_use;
      pages_.emplace_back();
      bytes_in_use = before;
    } else {
      place = free_.back();
      free_.pop_back();
    }
    Page& page = pages_[place];
    page.at = std::malloc(content.size());
    page.bytes = content.size();
    std::memcpy(page.at, content.data(), content.size());
    return paging::PageRef{1, static_cast<std::uint32_t>(place + 1), static_cast<std::uint32_t>(page.bytes)};
  }
  void load(paging::PageRef page, Buffer& into) override {
    const Page& found = pages_.at(page.offset - 1);
    into.assign(static_cast<const std::byte*>(found.at),
                static_cast<const std::byte*>(found.at) + found.bytes);
  }
  void release(paging::PageRef page) override {
    std::free(std::exchange(pages_.at(page.offset - 1).at, nullptr));
    const std::int64_t before = bytes_in_use;
    free_.push_back(page.offset - 1);
    bytes_in_use = before;
  }
  [[nodiscard]] bool wants_moving(paging::PageRef) const override { return false; }
  std::shared_ptr<Sealed> seal() override { return nullptr; }
  void checkpoint_stored(const std::shared_ptr<Sealed>&) override {}
  void adopt(paging::PageRef) override {}
  [[nodiscard]] std::uint64_t disk_bytes() const override { return 0; }
  [[nodiscard]] std::uint64_t pages_in_use() const override { return pages_.size() - free_.size(); }

 private:
  struct Page {
    void* at = nullptr;
    std::size_t bytes = 0;
  };
  std::deque<Page> pages_;
  std::vector<std::size_t> free_;
};

TEST(LeaderBounds, NothingIsAllocatedForAMessageInFlow) {
  for (const bool sessions : {false, true}) {
    Bare b(sessions ? with_sessions() : QueueOptions{});
    const std::string session = sessions ? "an account with quite a long name" : "";
    const auto flow = [&](int n) {
      for (int i = 0; i < n; ++i) {
        b.publish(session);
        if (i % 16 != 15) continue;
        b.commit();
        std::array<LockToken, 32> tokens;
        std::size_t got = 0;
        for (const Output& o : b.out) {
          if (const auto* d = std::get_if<Deliver>(&o)) tokens[got++] = d->delivery.token;
        }
        ASSERT_EQ(got, 16U);
        b.out.clear();
        for (std::size_t k = 0; k < got; ++k) b.settle(tokens[k], Settlement::complete);
        b.out.clear();
      }
    };
    b.subscribe(1, sessions);
    if (sessions) {
      b.publish(session);
      b.commit();
      b.credit(1, 1);
      b.settle(b.take().at(0).token, Settlement::complete);
    }
    b.credit(1, 1'000'000);
    b.out.reserve(2000);
    flow(1600);
    const std::uint64_t before = allocations;
    flow(16'000);
    std::printf("%s: %.3f allocations per message\n", sessions ? "session" : "plain",
                static_cast<double>(allocations - before) / 16'000);
    // A session that empties with each batch is made anew by the state: its id is a text too long to be kept
    // in place.
    EXPECT_LT(allocations - before, sessions ? 16'000U / 4 : 16'000U / 10);
  }
}

int messages_asked() {
  const char* asked = std::getenv("MAINSTAY_MESSAGES");
  return asked != nullptr ? std::atoi(asked) : 60'000;
}

/// 96 bytes of directory and up to 64 of timers for 64 messages, on top of the pages' limit.
std::int64_t memory_allowed(const StateLimits& limits, int messages) {
  return static_cast<std::int64_t>(limits.index_bytes) + messages / 64 * std::int64_t{192} + (1 << 20);
}

TEST(LeaderBounds, ScheduledMessagesTakeTheLimitAndADirectoryHoweverTheirTimesAreMixed) {
  const int messages = messages_asked();
  constexpr StateLimits kLimits{std::size_t{1} << 20};
  for (const bool sessions : {false, true}) {
    UncountedPages pages;
    Bare b(sessions ? with_sessions() : QueueOptions{}, {}, &pages, kLimits);
    const std::int64_t before = bytes_in_use;
    std::int64_t most = 0;
    const auto look = [&] { most = std::max(most, bytes_in_use - before); };
    constexpr std::int64_t kSpread_ms = 3'600'000;
    for (int i = 0; i < messages; ++i) {
      const std::string session = sessions ? "account-" + std::to_string(i % 1000) : "";
      b.schedule({b.wall.ms + 1 + static_cast<std::int64_t>(b.random.below(kSpread_ms))}, session);
      look();
    }
    b.commit();
    ASSERT_EQ(b.state.stats(b.queue).scheduled, static_cast<std::uint64_t>(messages));
    const std::int64_t waiting = most;
    EXPECT_LE(waiting, memory_allowed(kLimits, messages));
    // All of them become due, in portions as time goes, and lie in the queue then.
    constexpr int kTicks = 1000;
    for (int tick = 1; tick <= kTicks; ++tick) {
      b.wall.ms += kSpread_ms / kTicks + 1;
      b.now = b.now + milliseconds(kSpread_ms / kTicks + 1);
      for (int turn = 0; turn < 100; ++turn) {
        b.leader.tick(b.now, b.wall, b.out);
        if (b.log.gathering().empty()) break;
        b.commit();
        look();
      }
    }
    EXPECT_EQ(b.state.stats(b.queue).scheduled, 0U);
    EXPECT_EQ(b.state.stats(b.queue).active, static_cast<std::uint64_t>(messages));
    std::printf("%d scheduled messages%s: %lld bytes in memory, %lld while they came\n", messages,
                sessions ? " of sessions" : "", static_cast<long long>(waiting),
                static_cast<long long>(most));
    EXPECT_LE(most, memory_allowed(kLimits, 2 * messages));
  }
}

TEST(LeaderBounds, DeferredMessagesTakeTheLimitAndADirectory) {
  const int messages = messages_asked();
  constexpr StateLimits kLimits{std::size_t{1} << 20};
  UncountedPages pages;
  Bare b({}, {}, &pages, kLimits);
  const std::int64_t before = bytes_in_use;
  std::int64_t most = 0;
  b.subscribe(1);
  for (int done = 0; done < messages;) {
    for (int i = 0; i < 100; ++i) b.publish();
    b.commit();
    b.credit(1, 100);
    for (const Delivery& d : b.take()) {
      b.settle(d.token, Settlement::defer);
      ++done;
    }
    b.commit();
    most = std::max(most, bytes_in_use - before);
  }
  ASSERT_EQ(b.state.stats(b.queue).deferred, static_cast<std::uint64_t>(messages));
  std::printf("%d deferred messages: %lld bytes in memory\n", messages, static_cast<long long>(most));
  EXPECT_LE(most, memory_allowed(kLimits, messages));
  // From anywhere among them.
  Leader::ReceiveDeferred receive;
  receive.queue = b.queue;
  std::vector<SequenceNumber> wanted;
  for (int i = 0; i < 500; ++i) {
    wanted.push_back(
        SequenceNumber{1 + static_cast<std::uint64_t>(i) * static_cast<std::uint64_t>(messages) / 500});
  }
  receive.sequences = wanted;
  b.leader.receive_deferred(receive, b.now, b.wall, b.out);
  ASSERT_EQ(b.count<Fetched>(), 1U);
  b.out.clear();
  EXPECT_LE(bytes_in_use - before, memory_allowed(kLimits, messages));
}

}  // namespace
}  // namespace mainstay::broker
