#include "io/byte_ring.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <iostream>
#include <string>
#include <thread>

namespace mainstay::io {
namespace {

std::uint64_t seed() {
  const char* given = std::getenv("MAINSTAY_SEED");
  const std::uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  std::cout << "MAINSTAY_SEED=" << value << "\n";
  return value;
}

/// Small numbers without a generator shared by threads.
struct Draw {
  std::uint64_t state;
  std::uint64_t operator()(std::uint64_t below) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state >> 33) % below;
  }
};

bool put(ByteRing& ring, std::uint32_t kind, std::string_view text) {
  if (text.empty()) return ring.push(kind, nullptr);
  const auto into = ring.reserve(text.size(), text.size());
  if (into.empty()) return false;
  std::copy_n(as_bytes(text).data(), text.size(), into.data());
  ring.commit(kind, nullptr, text.size());
  return true;
}

TEST(ByteRing, RecordsComeOutInOrderWithWhatWasNamed) {
  ByteRing ring(256);
  int named = 0;
  EXPECT_TRUE(ring.empty());
  ASSERT_TRUE(put(ring, 7, "hello"));
  ASSERT_TRUE(ring.push(8, &named));
  auto record = ring.front();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->kind, 7U);
  EXPECT_EQ(as_text(record->bytes), "hello");
  ring.pop(*record);
  record = ring.front();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->kind, 8U);
  EXPECT_EQ(record->about, &named);
  EXPECT_TRUE(record->bytes.empty());
  EXPECT_LT(ring.taken(), ring.end());
  ring.pop(*record);
  EXPECT_TRUE(ring.empty());
  EXPECT_EQ(ring.taken(), ring.end());
}

TEST(ByteRing, FullIsAValueAndRoomComesBack) {
  ByteRing ring(128);
  int fitted = 0;
  while (put(ring, 1, "0123456789abcdef")) ++fitted;
  EXPECT_EQ(fitted, 4);  // 16 bytes and a header of 16 each
  EXPECT_TRUE(ring.reserve(1, 1).empty());
  EXPECT_FALSE(ring.push(1, nullptr));
  ring.pop(*ring.front());
  EXPECT_TRUE(ring.push(1, nullptr));
}

TEST(ByteRing, AReservationThatIsNotCommittedLeavesNothing) {
  ByteRing ring(128);
  EXPECT_EQ(ring.reserve(1, 1000).size(), 112U);
  EXPECT_TRUE(ring.empty());
  ASSERT_TRUE(put(ring, 1, "x"));
  EXPECT_EQ(as_text(ring.front()->bytes), "x");
}

TEST(ByteRing, ARecordOfHalfTheRingFitsWhereverTheLastOneEnded) {
  for (std::size_t before = 0; before < 16; ++before) {
    ByteRing ring(256);
    for (std::size_t i = 0; i < before; ++i) {
      ASSERT_TRUE(ring.push(1, nullptr));
      ring.pop(*ring.front());
    }
    const std::string longest(ring.longest(), 'x');
    ASSERT_TRUE(put(ring, 2, longest)) << before;
    const auto record = ring.front();
    ASSERT_TRUE(record);
    EXPECT_EQ(as_text(record->bytes), longest);
  }
}

TEST(ByteRing, WaitingIsToldOnce) {
  ByteRing ring(64);
  EXPECT_FALSE(ring.take_waiting());
  ring.wait_for_room();
  EXPECT_TRUE(ring.take_waiting());
  EXPECT_FALSE(ring.take_waiting());
}

TEST(ByteRing, RandomRecordsEqualAQueue) {
  Draw draw{seed()};
  ByteRing ring(1024);
  std::deque<std::string> model;
  std::uint64_t full = 0;
  for (int i = 0; i < 50'000; ++i) {
    if (draw(2) == 0) {
      const std::string text(draw(ring.longest() / 2), static_cast<char>('a' + draw(26)));
      if (put(ring, 1, text)) {
        model.push_back(text);
      } else {
        ++full;
      }
    } else {
      const auto record = ring.front();
      ASSERT_EQ(record.has_value(), !model.empty());
      if (!record) continue;
      ASSERT_EQ(as_text(record->bytes), model.front());
      ring.pop(*record);
      model.pop_front();
    }
  }
  EXPECT_GT(full, 100U);
}

// What both sides do in earnest: the consumer sleeps when there is nothing, the producer when there is no
// room, each woken by the other and by nothing else. A lost wake-up hangs; ThreadSanitizer tells the rest.
TEST(ByteRing, TwoThreadsLoseNothingAndNoWakeUp) {
  constexpr std::uint64_t kRecords = 30'000;
  ByteRing ring(512);
  SleepFlag consumer_sleeps, producer_sleeps;
  std::atomic<std::uint32_t> for_consumer{0}, for_producer{0};
  const auto ring_bell = [](std::atomic<std::uint32_t>& bell) {
    bell.fetch_add(1);
    bell.notify_one();
  };
  const std::uint64_t from = seed();
  std::thread producer([&] {
    Draw draw{from};
    for (std::uint64_t i = 0; i < kRecords; ++i) {
      const std::string text = std::to_string(i) + std::string(draw(200), '.');
      while (!put(ring, 1, text)) {
        if (consumer_sleeps.must_wake()) ring_bell(for_consumer);
        const std::uint32_t seen = for_producer.load();
        producer_sleeps.about_to_sleep();
        ring.wait_for_room();
        if (put(ring, 1, text)) {
          producer_sleeps.awake();
          break;
        }
        for_producer.wait(seen);
        producer_sleeps.awake();
      }
      if (draw(4) == 0 && consumer_sleeps.must_wake()) ring_bell(for_consumer);
    }
    if (consumer_sleeps.must_wake()) ring_bell(for_consumer);
  });
  Draw draw{from + 1};
  std::uint64_t next = 0;
  while (next < kRecords) {
    for (std::uint64_t burst = 1 + draw(20); burst > 0; --burst) {
      const auto record = ring.front();
      if (!record) break;
      ASSERT_EQ(std::stoull(std::string(as_text(record->bytes))), next);
      ring.pop(*record);
      ++next;
    }
    if (ring.take_waiting() && producer_sleeps.must_wake()) ring_bell(for_producer);
    if (next == kRecords) break;
    const std::uint32_t seen = for_consumer.load();
    consumer_sleeps.about_to_sleep();
    if (ring.empty() && next < kRecords) for_consumer.wait(seen);
    consumer_sleeps.awake();
  }
  producer.join();
  EXPECT_TRUE(ring.empty());
}

}  // namespace
}  // namespace mainstay::io
