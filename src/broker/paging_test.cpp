// A state whose pages are on disk most of the time is the same state: same answers, same hash, whatever the
// limit; and a checkpoint makes an equal one again, or is refused.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "broker/broker_test_support.h"
#include "broker/state_impl.h"

namespace mainstay::broker {
namespace {

using testing::apply_all;
using testing::MemoryLog;
using testing::TestPageStore;
using testing::through_checkpoint;

constexpr std::int64_t kStart_ms = 1'700'000'000'000;
constexpr StateLimits kTiny{std::size_t{12} << 10};  // two or three pages

/// Random effects that can follow each other, in two queues: one of sessions, one plain, both with windows.
class RandomLog {
 public:
  explicit RandomLog(std::uint64_t seed) : random_(seed) {
    QueueOptions sessions;
    sessions.requires_session = sessions.duplicate_detection = true;
    sessions.duplicate_window_ms = 20'000;
    QueueOptions plain = sessions;
    plain.requires_session = false;
    append(log.builder, QueueDeclared{now(), QueueId{1}, sessions, "sessions"});
    append(log.builder, QueueDeclared{now(), QueueId{2}, plain, "plain"});
  }

  void step() {
    const std::uint32_t queue = static_cast<std::uint32_t>(random_.between(1, 2));
    auto& here = places_[queue];
    const std::uint64_t draw = random_.below(100);
    if (draw < 55 || here.empty()) {
      StoredMessage m;
      const std::uint64_t sequence = ++last_[queue];
      const std::string id = random_.chance(1, 8) ? "" : "id-" + std::to_string(++ids_);
      const std::string session =
          "session-with-a-name-" + std::to_string(random_.below(random_.chance(1, 2) ? 5 : 300));
      m.queue = QueueId{queue};
      m.sequence = {sequence};
      m.enqueued = now();
      if (random_.chance(1, 3)) m.expires_ms = now().ms + static_cast<std::int64_t>(random_.below(60'000));
      m.message_id = id;
      m.has_session = queue == 1;
      if (m.has_session) m.session_id = session;
      const Buffer payload(random_.below(5000), std::byte{'x'});
      m.payload = payload;
      const bool scheduled = random_.chance(1, 6);
      if (scheduled) {
        const std::int64_t due = now().ms + 1 + static_cast<std::int64_t>(random_.below(60'000));
        if (m.expires_ms != 0) m.expires_ms += due - now().ms;
        append(log.builder, MessageScheduled{{due}, m});
      } else {
        append(log.builder, m);
      }
      here[sequence] = {.stored = {m.enqueued, m.expires_ms},
                        .id = id,
                        .session = session,
                        .bytes = payload.size(),
                        .was = sequence,
                        .scheduled = scheduled};
      return;
    }
    auto at = here.lower_bound(random_.chance(1, 2) ? 0 : random_.below(last_[queue] + 1));
    if (at == here.end()) at = here.begin();
    const std::uint64_t sequence = at->first;
    if (draw < 75) {
      append(log.builder,
             MessagesSettled{now(), QueueId{queue},
                             at->second.scheduled ? RemovalCause::cancelled : RemovalCause::completed,
                             std::as_bytes(std::span(&sequence, 1))});
      here.erase(at);
    } else if (draw < 87 && at->second.scheduled) {
      Place place = at->second;
      here.erase(at);
      place.scheduled = false;
      append(log.builder, MessageActivated{now(),
                                           QueueId{queue},
                                           {sequence},
                                           {++last_[queue]},
                                           random_.chance(1, 3) ? now().ms + 5000 : 0});
      here[last_[queue]] = place;
    } else if (draw < 79) {
      if (!at->second.dead) ++at->second.count;
      const bool properties = random_.chance(1, 4);
      append(log.builder, MessageDeferred{now(),
                                          QueueId{queue},
                                          {sequence},
                                          at->second.count,
                                          properties,
                                          properties ? as_bytes("\xc1\x01\x00") : BytesView{}});
    } else if (draw < 83) {
      if (!at->second.dead) ++at->second.count;
      const bool properties = random_.chance(1, 2);
      append(log.builder, DeliveryFailed{now(),
                                         QueueId{queue},
                                         {sequence},
                                         at->second.count,
                                         FailureCause::abandoned,
                                         properties,
                                         properties ? as_bytes("\xc1\x01\x00") : BytesView{}});
    } else if (draw < 91) {
      if (at->second.dead || at->second.scheduled) return;
      at->second.dead = true;
      append(log.builder, MessageDeadLettered{now(),
                                              QueueId{queue},
                                              {sequence},
                                              at->second.count,
                                              DeadLetterCause::application,
                                              false,
                                              random_.chance(1, 2) ? "reason" : "",
                                              "description",
                                              {}});
    } else if (draw < 95) {
      MessageMoved moved;
      moved.time = now();
      const auto& one = at->second;
      const Buffer payload(one.bytes, std::byte{'x'});
      moved.message.queue = QueueId{queue};
      moved.message.sequence = {one.was};
      if (one.was != sequence) moved.renumbered = {sequence};
      moved.message.enqueued = one.stored.first;
      moved.message.expires_ms = one.stored.second;
      moved.message.message_id = one.id;
      moved.message.has_session = queue == 1;
      if (queue == 1) moved.message.session_id = one.session;
      moved.message.payload = payload;
      append(log.builder, moved);
    } else {
      time_ms_ += static_cast<std::int64_t>(random_.below(4000));
      append(log.builder, TimeAdvanced{now()});
    }
  }
  [[nodiscard]] WallTime now() const { return {kStart_ms + time_ms_}; }

  MemoryLog log;
  SeededRandom random_;

 private:
  struct Place {
    std::pair<WallTime, std::int64_t> stored;
    std::string id, session;
    std::size_t bytes{};
    std::uint64_t was{};  ///< first sequence number
    std::uint32_t count = 0;
    bool dead = false, scheduled = false;
  };
  std::map<std::uint32_t, std::map<std::uint64_t, Place>> places_;
  std::map<std::uint32_t, std::uint64_t> last_;
  std::uint64_t ids_ = 0;
  std::int64_t time_ms_ = 0;
};

void expect_equal(const State& a, const State& b, const std::vector<std::string>& ids) {
  ASSERT_EQ(a.hash(), b.hash());
  ASSERT_EQ(a.oldest_needed(), b.oldest_needed());
  ASSERT_EQ(a.messages_total(), b.messages_total());
  for (const QueueId queue : a.queues()) {
    const QueueStats x = a.stats(queue), y = b.stats(queue);
    EXPECT_EQ(x.active, y.active);
    EXPECT_EQ(x.dead_letter, y.dead_letter);
    EXPECT_EQ(x.deferred, y.deferred);
    EXPECT_EQ(x.scheduled, y.scheduled);
    EXPECT_EQ(x.sessions, y.sessions);
    EXPECT_EQ(x.bytes, y.bytes);
    EXPECT_EQ(x.oldest, y.oldest);
    const auto p = a.look_up_ids(queue, ids), q = b.look_up_ids(queue, ids);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(p[i].in_window, q[i].in_window);
      EXPECT_EQ(p[i].candidates, q[i].candidates);
    }
  }
  const Lsn old{(a.oldest_needed().value + a.applied().value) / 2};
  const auto x = a.collect_older_than(old, 50), y = b.collect_older_than(old, 50);
  ASSERT_EQ(x.size(), y.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(x[i].sequence, y[i].sequence);
    EXPECT_EQ(x[i].lsn, y[i].lsn);
    EXPECT_LT(x[i].lsn, old);
  }
}

TEST(BrokerPaging, PagedAndUnlimitedStatesAgreeOverRandomRecords) {
  const char* one = std::getenv("MAINSTAY_SEED");
  const std::uint64_t from = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  std::uint64_t loads = 0;
  for (std::uint64_t seed = from; seed < from + (one != nullptr ? 1 : 12); ++seed) {
    SCOPED_TRACE("replay with MAINSTAY_SEED=" + std::to_string(seed));
    RandomLog random(seed);
    for (int i = 0; i < 3000; ++i) random.step();
    TestPageStore pages;
    pages.move_every = 3;
    State wide, paged(&pages, kTiny);
    std::size_t since = 0;
    std::size_t restarts = 0;
    for (const journal::Record& record : random.log.records()) {
      ASSERT_TRUE(wide.apply(record));
      const auto applied = paged.apply(record);
      ASSERT_TRUE(applied.has_value()) << applied.error().what;
      ASSERT_EQ(paged.hash(), wide.hash()) << "at record " << record.header.lsn.value;
      ASSERT_LE(paged.memory_use().page_bytes, kTiny.index_bytes);
      if (++since % 401 == 0) {
        expect_equal(wide, paged, {"id-1", "id-100", "id-500", "id-1200", "no such"});
        paged.check_invariants();
      }
      if (since % 7 == 0) paged.write_ahead(2000);
      if (random.random_.chance(1, 150)) {
        loads += paged.memory_use().page_loads;
        State restored = through_checkpoint(paged, pages, kTiny);
        if (random.random_.chance(1, 2)) {
          paged = std::move(restored);
          ++restarts;
        }
      }
    }
    paged.check_invariants();
    EXPECT_EQ(paged.recompute_hash(), wide.hash());
    EXPECT_GT(restarts, 0U);
  }
  EXPECT_GT(loads, 1000U);
}

StoredMessage message(std::uint64_t sequence, std::string_view id, BytesView payload) {
  StoredMessage m;
  m.queue = QueueId{1};
  m.sequence = {sequence};
  m.enqueued = {kStart_ms + static_cast<std::int64_t>(sequence / 100)};
  m.message_id = id;
  m.payload = payload;
  return m;
}

TEST(BrokerPaging, FullPageStoreHoldsNothingUp) {
  TestPageStore pages;
  State wide, paged(&pages, kTiny);
  RandomLog random(7);
  for (int i = 0; i < 4000; ++i) random.step();
  const auto& records = random.log.records();
  std::size_t largest = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    pages.full = i > 1000 && i < 3000;
    ASSERT_TRUE(wide.apply(records[i]));
    ASSERT_TRUE(paged.apply(records[i]));
    ASSERT_EQ(paged.hash(), wide.hash());
    largest = std::max(largest, paged.memory_use().page_bytes);
    if (i == 2999) {
      EXPECT_FALSE(paged.checkpoint().has_value());
      EXPECT_EQ(paged.write_ahead(10'000), 0U);
    }
  }
  EXPECT_GT(largest, 10 * kTiny.index_bytes) << "what has no place on disk stays in memory";
  EXPECT_LE(paged.memory_use().page_bytes, kTiny.index_bytes) << "and leaves it when there is space again";
  paged.check_invariants();
  EXPECT_EQ(through_checkpoint(paged, pages, kTiny).hash(), wide.hash());
}

TEST(BrokerPaging, AMillionMessagesTakeTheLimitAndADirectory) {
  TestPageStore pages;
  State state(&pages);
  MemoryLog log;
  append(log.builder, QueueDeclared{{kStart_ms}, QueueId{1}, {}, "q"});
  apply_all(state, log.records());
  const Buffer payload(1024);
  // Straight into the state: a million records in memory would be the larger part of the test.
  State::Impl& impl = inside(state);
  for (std::uint64_t s = 1; s <= 1'000'000; ++s) {
    std::array<char, 24> id{};
    const int n = std::snprintf(id.data(), id.size(), "id-%llu", static_cast<unsigned long long>(s));
    ASSERT_EQ(
        impl.apply(impl.applied_lsn.next(), message(s, {id.data(), static_cast<std::size_t>(n)}, payload)),
        nullptr);
    impl.trim();
  }
  const State::MemoryUse use = state.memory_use();
  EXPECT_LE(use.page_bytes, std::size_t{32} << 20);
  EXPECT_LE(use.directory_bytes + use.index_bytes, std::size_t{3} << 20) << "96 bytes for 64 messages";
  std::uint64_t stored = 0;
  for (const Buffer& page : pages.pages) stored += page.size();
  std::printf("in memory: %zu bytes of pages, %zu of directory; stored %.1f bytes for a message\n",
              use.page_bytes, use.directory_bytes,
              static_cast<double>(stored) / static_cast<double>(pages.pages.size() * 64));
}

TEST(BrokerPaging, IdleQueuesTakeLittle) {
  State state;
  MemoryLog log;
  for (std::uint32_t n = 1; n <= 1000; ++n) {
    append(log.builder, QueueDeclared{{kStart_ms}, QueueId{n}, {}, "queue-" + std::to_string(n)});
  }
  apply_all(state, log.records());
  EXPECT_EQ(state.memory_use().page_bytes, 0U);
  EXPECT_LE(state.memory_use().directory_bytes, 40U << 10) << "nothing for each queue";
  EXPECT_LE(sizeof(Queue), 1024U);
}

TEST(BrokerCheckpoint, RestoresAnEqualStateThatGoesOnEqually) {
  RandomLog random(3);
  for (int i = 0; i < 1500; ++i) random.step();
  const auto& records = random.log.records();
  for (const std::size_t cut :
       {std::size_t{0}, std::size_t{1}, std::size_t{77}, std::size_t{850}, records.size()}) {
    TestPageStore pages;
    State live(&pages);
    apply_all(live, {records.begin(), records.begin() + static_cast<std::ptrdiff_t>(cut)});
    State restored = through_checkpoint(live, pages);
    restored.check_invariants();
    for (std::size_t i = cut; i < records.size(); ++i) {
      ASSERT_TRUE(live.apply(records[i]));
      ASSERT_TRUE(restored.apply(records[i]));
      ASSERT_EQ(restored.hash(), live.hash()) << "at record " << i + 1;
    }
    expect_equal(live, restored, {"id-1", "id-100", "id-600"});
  }
}

TEST(BrokerCheckpoint, CostsNothingForWhatDidNotChange) {
  TestPageStore pages;
  State state(&pages);
  MemoryLog log;
  append(log.builder, QueueDeclared{{kStart_ms}, QueueId{1}, {}, "q"});
  for (std::uint64_t s = 1; s <= 20'000; ++s) append(log.builder, message(s, "", as_bytes("x")));
  apply_all(state, log.records());
  ASSERT_TRUE(state.checkpoint());
  const std::size_t before = pages.pages.size();
  EXPECT_GE(before, 20'000U / 64);
  const std::uint64_t one = 10'000;
  append(log.builder,
         MessagesSettled{
             {kStart_ms + 1000}, QueueId{1}, RemovalCause::completed, std::as_bytes(std::span(&one, 1))});
  apply_all(state, log.records(), state.applied());
  ASSERT_TRUE(state.checkpoint());
  EXPECT_EQ(pages.pages.size(), before + 1);
  EXPECT_EQ(pages.pages_in_use(), before) << "the page before was released";
}

TEST(BrokerCheckpoint, EveryChangedByteAndEveryCutIsRefused) {
  RandomLog random(11);
  for (int i = 0; i < 60; ++i) random.step();
  TestPageStore pages;
  State state(&pages);
  apply_all(state, random.log.records());
  const auto good = state.checkpoint();
  ASSERT_TRUE(good);
  ASSERT_TRUE(State::restore(good->root, pages).has_value());
  for (std::size_t at = 0; at < good->root.size(); ++at) {
    EXPECT_FALSE(State::restore(BytesView(good->root).first(at), pages).has_value()) << "cut at " << at;
    if (at >= 8 && at < 16)
      continue;  // applied LSN: its place in the log is the checkpoint's, not the hash's
    Buffer bad = good->root;
    bad[at] ^= std::byte{0x10};
    EXPECT_FALSE(State::restore(bad, pages).has_value()) << "byte " << at;
  }
  ASSERT_GE(pages.pages.size(), 4U);
  for (Buffer& page : pages.pages) {
    for (std::size_t at = 0; at < page.size(); ++at) {
      page[at] ^= std::byte{1};
      EXPECT_FALSE(State::restore(good->root, pages).has_value()) << "byte " << at << " of a page";
      page[at] ^= std::byte{1};
    }
  }
  EXPECT_TRUE(State::restore(good->root, pages).has_value());
}

/// A queue of so many messages, with LSNs from 2 on.
struct Deep {
  Deep(std::uint64_t messages, StateLimits limits) : state(nullptr, limits), count(messages) {
    append(log.builder, QueueDeclared{{kStart_ms}, QueueId{1}, {}, "q"});
    for (std::uint64_t n = 1; n <= messages; ++n) {
      append(log.builder, stored(n));
      if (n % 1000 == 0) apply();
    }
    apply();
  }
  static StoredMessage stored(std::uint64_t sequence) {
    StoredMessage m;
    m.queue = QueueId{1};
    m.sequence = {sequence};
    m.enqueued = {kStart_ms};
    m.payload = as_bytes("x");
    return m;
  }
  void apply() {
    const journal::Batch batch = log.builder.take();
    journal::Record record;
    for (std::size_t at = 0; at < batch.bytes.size(); at += record.raw.size()) {
      ASSERT_EQ(journal::decode_record(BytesView(batch.bytes).subspan(at), record),
                journal::DecodeStatus::ok);
      ASSERT_TRUE(state.apply(record).has_value());
    }
  }
  /// As the cleaner does: what is found gets a record at the end.
  std::size_t move(std::size_t most) {
    const auto old = state.collect_older_than(Lsn{count + 2}, most);
    for (const State::Place& place : old)
      append(log.builder, MessageMoved{{kStart_ms}, stored(place.sequence.value)});
    apply();
    return old.size();
  }
  MemoryLog log;
  State state;
  std::uint64_t count;
};

TEST(BrokerPaging, CleaningLooksAtThePagesItMovesNotAtAllOfThem) {
  constexpr std::uint64_t kMessages = 64'000;  // a thousand pages
  constexpr std::size_t kSteps = 40, kMost = 100;
  for (const StateLimits limits : {StateLimits{}, kTiny}) {
    Deep deep(kMessages, limits);
    EXPECT_EQ(deep.state.oldest_needed(), Lsn{2});
    const std::uint64_t before = deep.state.pages_looked_at();
    std::uint64_t moved = 0;
    for (std::size_t step = 0; step < kSteps; ++step) {
      moved += deep.move(kMost);
      EXPECT_EQ(deep.state.oldest_needed(), Lsn{2 + moved}) << "in the order of the log";
    }
    EXPECT_EQ(moved, kSteps * kMost);
    EXPECT_LE(deep.state.pages_looked_at() - before, kSteps * (2 * kMost / 64 + 8))
        << "a step is as long as what it moves";
  }
}

TEST(BrokerPaging, AskingForTheOldestMessageAgainLooksAtOnePage) {
  Deep deep(20'000, {});
  EXPECT_EQ(deep.state.oldest_needed(), Lsn{2});
  const std::uint64_t before = deep.state.pages_looked_at();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(deep.state.oldest_needed(), Lsn{2});
  EXPECT_EQ(deep.state.pages_looked_at() - before, 100U);
}

TEST(BrokerPaging, WhatIsWantedAgainHasMemoryOfItsOwnAndABacklogTakesNoneOfIt) {
  constexpr std::size_t kIndex = std::size_t{64} << 10, kHot = std::size_t{256} << 10;
  Deep deep(20'000, {kIndex, kHot});  // some 300 pages
  EXPECT_LE(deep.state.memory_use().page_bytes, kIndex) << "messages that only wait";
  const auto look_at_pages = [&](std::uint64_t pages, std::uint64_t apart) {
    const std::uint64_t before = deep.state.memory_use().page_loads;
    for (std::uint64_t page = 0; page < pages; ++page)
      EXPECT_NE(deep.state.lsn_of(QueueId{1}, SequenceNumber{page * apart * 64 + 1}), Lsn{});
    return deep.state.memory_use().page_loads - before;
  };
  EXPECT_GT(look_at_pages(40, 5), 30U);
  look_at_pages(40, 5);
  look_at_pages(40, 5);
  EXPECT_EQ(look_at_pages(40, 5), 0U) << "more than index_bytes hold, and all stay";
  EXPECT_GT(deep.state.memory_use().page_bytes, kIndex);
  for (int turn = 0; turn < 3; ++turn) {
    look_at_pages(300, 1);
    EXPECT_LE(deep.state.memory_use().page_bytes, kIndex + kHot) << "bounded, whatever is wanted";
  }
}

TEST(BrokerPaging, APageThatEmptiesAndFillsAgainIsCollectedOnce) {
  MemoryLog log;
  append(log.builder, QueueDeclared{{kStart_ms}, QueueId{1}, {}, "q"});
  std::uint64_t sequence = 0;
  for (; sequence < 30;) {  // all in one page, which is gone in between
    append(log.builder, Deep::stored(++sequence));
    append(log.builder,
           MessagesSettled{
               {kStart_ms}, QueueId{1}, RemovalCause::completed, std::as_bytes(std::span(&sequence, 1))});
  }
  append(log.builder, Deep::stored(++sequence));
  append(log.builder, Deep::stored(++sequence));
  State state;
  apply_all(state, log.records());
  EXPECT_EQ(state.oldest_needed(), Lsn{62});
  const auto old = state.collect_older_than(state.applied().next(), 10);
  ASSERT_EQ(old.size(), 2U);
  EXPECT_EQ(old[0].lsn, Lsn{62});
  EXPECT_EQ(old[1].lsn, Lsn{63});
  state.check_invariants();
}

TEST(BrokerEffects, MovedMessageIsReadFromItsNewRecordAndCountsAsPossiblyDelivered) {
  MemoryLog log;
  append(log.builder, QueueDeclared{{kStart_ms}, QueueId{1}, {}, "q"});
  append(log.builder, message(1, "a", as_bytes("first")));
  append(log.builder, message(2, "b", as_bytes("second")));
  append(log.builder, MessageMoved{{kStart_ms + 5}, message(1, "a", as_bytes("first"))});
  State state;
  apply_all(state, log.records());
  EXPECT_EQ(state.oldest_needed(), Lsn{3});
  const auto old = state.collect_older_than(Lsn{4}, 10);
  ASSERT_EQ(old.size(), 1U);
  EXPECT_EQ(old[0].sequence, SequenceNumber{2});
  EXPECT_EQ(old[0].lsn, Lsn{3});
  StoredMessage read;
  ASSERT_TRUE(read_stored_message(log.records()[3], read));
  EXPECT_EQ(as_text(read.payload), "first");
  EXPECT_EQ(read.message_id, "a");
  append(log.builder, MessageMoved{{kStart_ms + 5}, message(3, "c", as_bytes("third"))});
  EXPECT_FALSE(state.apply(log.records().back()).has_value()) << "not there";
  MemoryLog other;
  for (int i = 0; i < 4; ++i) append(other.builder, TimeAdvanced{{kStart_ms}});
  append(other.builder, MessageMoved{{kStart_ms + 5}, message(2, "b", as_bytes("other bytes"))});
  EXPECT_FALSE(state.apply(other.records().back()).has_value()) << "not the same";
}

}  // namespace
}  // namespace mainstay::broker
