// State: a pure function of the log (D10), duplicate windows in log time, snapshots that are equal states.
#include "broker/state.h"

#include <gtest/gtest.h>

#include "broker/broker_test_support.h"
#include "broker/state_impl.h"

namespace mainstay::broker {
namespace {

using testing::apply_all;
using testing::knows_id;
using testing::MemoryLog;
using testing::record_of;
using testing::replay;
using testing::TestPageStore;

constexpr std::int64_t kStart_ms = 1'700'000'000'000;

struct Writer {
  MemoryLog log;
  std::uint64_t next[4] = {1, 1, 1, 1};

  void declare(std::uint32_t id, const char* name, const QueueOptions& options, std::int64_t t = 0) {
    append(log.builder, QueueDeclared{{kStart_ms + t}, QueueId{id}, options, name});
  }
  SequenceNumber store(std::uint32_t queue, std::string_view id, const char* session = nullptr,
                       std::int64_t t = 0, std::string_view payload = "payload") {
    StoredMessage m;
    m.queue = QueueId{queue};
    m.sequence = {next[queue]++};
    m.enqueued = {kStart_ms + t};
    m.message_id = id;
    m.has_session = session != nullptr;
    if (session != nullptr) m.session_id = session;
    m.payload = as_bytes(payload);
    append(log.builder, m);
    return m.sequence;
  }
  void settle(std::uint32_t queue, SequenceNumber sequence, std::int64_t t = 0) {
    append(log.builder, MessagesSettled{{kStart_ms + t},
                                        QueueId{queue},
                                        RemovalCause::completed,
                                        std::as_bytes(std::span(&sequence.value, 1))});
  }
  void fail(std::uint32_t queue, SequenceNumber sequence, std::uint32_t count,
            std::string_view properties = {}) {
    append(log.builder, DeliveryFailed{{kStart_ms},
                                       QueueId{queue},
                                       sequence,
                                       count,
                                       FailureCause::abandoned,
                                       !properties.empty(),
                                       as_bytes(properties)});
  }
  void dead_letter(std::uint32_t queue, SequenceNumber sequence, std::uint32_t count) {
    append(log.builder, MessageDeadLettered{{kStart_ms},
                                            QueueId{queue},
                                            sequence,
                                            count,
                                            DeadLetterCause::application,
                                            false,
                                            "BadFormat",
                                            "field 32A is missing",
                                            {}});
  }
};

QueueOptions sessions() {
  QueueOptions options;
  options.requires_session = true;
  options.duplicate_detection = true;
  return options;
}

Writer sample() {
  Writer w;
  w.declare(1, "payments", sessions());
  w.declare(2, "Plain", {});
  for (int i = 0; i < 150; ++i) {
    w.store(1, "id-" + std::to_string(i), i % 3 == 0 ? "a" : "b", i);
    w.store(2, i % 2 == 0 ? "same" : "", nullptr, i);
  }
  for (std::uint64_t s = 1; s < 150; s += 2) w.settle(1, {s}, 150);
  return w;
}

TEST(BrokerState, IsTheSameFunctionOfTheLogEveryTime) {
  Writer w = sample();
  const State one = replay(w.log), two = replay(w.log);
  EXPECT_EQ(one.hash(), two.hash());
  EXPECT_EQ(one.hash(), one.recompute_hash());
  one.check_invariants();
  EXPECT_EQ(one.applied(), w.log.end());
  EXPECT_EQ(one.stats({1}).active, 75U);
  EXPECT_EQ(one.stats({1}).sessions, 2U);
  EXPECT_EQ(one.stats({2}).active, 150U);
  EXPECT_EQ(one.stats({2}).bytes, 150U * 7);
  EXPECT_EQ(one.find_queue("PAYMENTS"), QueueId{1});
  EXPECT_EQ(one.find_queue("payment"), std::nullopt);
}

TEST(BrokerState, RefusesARecordOutOfTurn) {
  Writer w = sample();
  State state;
  const auto refused = state.apply(w.log.records()[1]);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().what.find("does not follow"), std::string::npos);
}

TEST(BrokerState, AnyChangedFieldOfARecordIsRefusedOrChangesTheHash) {
  Writer w;
  w.declare(1, "q", sessions());
  w.store(1, "id-1", "s");
  w.store(1, "id-2", "s");
  w.fail(1, {2}, 1, "\xc1\x01\x00");
  w.dead_letter(1, {1}, 1);
  const auto& records = w.log.records();
  std::vector<std::uint64_t> expected;  // at every LSN
  State good;
  for (const journal::Record& record : records) {
    ASSERT_TRUE(good.apply(record));
    expected.push_back(good.hash());
  }
  int changed = 0, refused = 0;
  for (std::size_t r = 0; r < records.size(); ++r) {
    // The payload and the cause codes are in the log's own hash chain, not in the state.
    const std::size_t size =
        records[r].header.type == journal::RecordType::message_stored ? 40 + 4 + 1 : records[r].body.size();
    for (std::size_t at = 0; at < size; ++at) {
      const bool stored = records[r].header.type == journal::RecordType::message_stored;
      const bool failed = records[r].header.type == journal::RecordType::delivery_failed ||
                          records[r].header.type == journal::RecordType::message_dead_lettered;
      if ((stored && at >= 28 && at < 32) || (failed && at == 24)) continue;
      if (r == 4 && at == 25) continue;  // "replace no properties by none"
      Buffer body = to_buffer(records[r].body);
      body[at] ^= std::byte{1};
      State state;
      bool ok = true, differs = false;
      for (std::size_t i = 0; ok && i < records.size(); ++i) {
        journal::Record record = records[i];
        if (i == r) record.body = body;
        ok = state.apply(record).has_value();
        differs = differs || state.hash() != expected[i];
      }
      if (!ok)
        ++refused;
      else if (differs)
        ++changed;
      else
        ADD_FAILURE() << "record " << r + 1 << " byte " << at << " may be changed unseen";
    }
  }
  EXPECT_GT(changed, 20);
  EXPECT_GT(refused, 20);
}

TEST(BrokerState, RecordedHashOfTheLeaderIsCompared) {
  Writer w = sample();
  State state = replay(w.log);
  Buffer body;
  ByteWriter(body).u64_le(state.hash() ^ 1);
  const auto refused = state.apply(record_of(state.applied().next(), journal::RecordType::state_hash, body));
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().what.find("state hash"), std::string::npos);
  body.clear();
  ByteWriter(body).u64_le(state.hash());
  EXPECT_TRUE(
      state.apply(record_of(state.applied().next(), journal::RecordType::state_hash, body)).has_value());
}

TEST(BrokerState, OthersRecordsOnlyMoveTheEnd) {
  Writer w = sample();
  State state = replay(w.log);
  const std::uint64_t before = state.hash();
  ASSERT_TRUE(
      state.apply(record_of(state.applied().next(), journal::RecordType::epoch_started, as_bytes("any"))));
  EXPECT_EQ(state.hash(), before);
  EXPECT_EQ(state.applied().value, w.log.end().value + 1);
}

TEST(BrokerState, DuplicateWindowsPassInLogTime) {
  Writer w;
  QueueOptions options;
  options.duplicate_detection = true;
  options.duplicate_window_ms = 20'000;
  w.declare(1, "q", options);
  const SequenceNumber first = w.store(1, "settled");
  w.store(1, "stays");
  w.settle(1, first);
  State state = replay(w.log);
  EXPECT_TRUE(knows_id(state, {1}, "settled"));
  append(w.log.builder, TimeAdvanced{{kStart_ms + 19'999}});
  state = replay(w.log);
  EXPECT_TRUE(knows_id(state, {1}, "settled"));
  append(w.log.builder, TimeAdvanced{{kStart_ms + 20'000}});
  state = replay(w.log);
  EXPECT_FALSE(knows_id(state, {1}, "settled"));
  EXPECT_TRUE(knows_id(state, {1}, "stays")) << "a resident message is known beyond its window";
  w.store(1, "stays", nullptr, 20'000);
  state = replay(w.log);
  state.check_invariants();
  EXPECT_EQ(state.stats({1}).active, 2U);
}

TEST(BrokerState, StoringAnIdWithinItsWindowIsRefused) {
  Writer w;
  QueueOptions options;
  options.duplicate_detection = true;
  w.declare(1, "q", options);
  w.store(1, "one");
  State state = replay(w.log);
  w.store(1, "one");
  const auto refused = state.apply(w.log.records().back());
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().what.find("within its window"), std::string::npos);
}

TEST(BrokerState, SwitchingDetectionOffForgetsTheWindowAndKeepsTheMessages) {
  Writer w;
  QueueOptions options;
  options.duplicate_detection = true;
  w.declare(1, "q", options);
  w.store(1, "one");
  const SequenceNumber gone = w.store(1, "two");
  w.settle(1, gone);
  options.duplicate_detection = false;
  w.declare(1, "q", options);
  const State state = replay(w.log);
  state.check_invariants();
  EXPECT_TRUE(knows_id(state, {1}, "one"));
  EXPECT_FALSE(knows_id(state, {1}, "two"));
}

TEST(BrokerState, OldestNeededFollowsWhatIsStored) {
  Writer w;
  w.declare(1, "q", {});
  EXPECT_EQ(replay(w.log).oldest_needed(), Lsn{2});
  const auto a = w.store(1, "a"), b = w.store(1, "b");
  EXPECT_EQ(replay(w.log).oldest_needed(), Lsn{2});
  w.dead_letter(1, a, 0);
  EXPECT_EQ(replay(w.log).oldest_needed(), Lsn{2}) << "dead-lettered messages keep their body's LSN";
  w.settle(1, a);
  EXPECT_EQ(replay(w.log).oldest_needed(), Lsn{3});
  w.settle(1, b);
  EXPECT_EQ(replay(w.log).oldest_needed(), w.log.end().next());
}

TEST(BrokerContainers, HashIndexFindsWhatIsThereAfterManyErasures) {
  HashIndex index;
  for (std::uint32_t round = 0; round < 5; ++round) {
    for (std::uint32_t i = 0; i < 1000; ++i) index.insert(i % 37, i);
    for (std::uint32_t i = 0; i < 1000; ++i) {
      ASSERT_EQ(index.find(i % 37, [&](std::uint32_t name) { return name == i; }), i);
    }
    for (std::uint32_t i = 0; i < 1000; i += 2) index.erase(i % 37, i);
    for (std::uint32_t i = 0; i < 1000; ++i) {
      ASSERT_EQ(index.find(i % 37, [&](std::uint32_t name) { return name == i; }), i % 2 == 0 ? kNone : i);
    }
    for (std::uint32_t i = 1; i < 1000; i += 2) index.erase(i % 37, i);
    ASSERT_EQ(index.size(), 0U);
  }
}

}  // namespace
}  // namespace mainstay::broker
