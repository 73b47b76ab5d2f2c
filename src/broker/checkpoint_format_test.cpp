// Checkpoints that earlier versions wrote are read: docs/formats/effects.md. The bytes below are of the
// program that wrote format 2, from this log.
#include "broker/checkpoint_format.h"

#include <gtest/gtest.h>

#include <string_view>

#include "broker/broker_test_support.h"

namespace mainstay::broker {
namespace {

using testing::apply_all;
using testing::MemoryLog;
using testing::TestPageStore;

constexpr std::int64_t kStart_ms = 1'700'000'000'000;

/// All that format 2 could say: two pages of messages, dead-lettered and annotated ones, a moved one, a
/// window, sessions. The last record, the 84th, is not in the checkpoint.
void write_log(MemoryLog& log) {
  const auto at = [](std::int64_t ms) { return WallTime{kStart_ms + ms}; };
  QueueOptions plain;
  plain.duplicate_detection = true;
  plain.duplicate_window_ms = 600'000;
  QueueOptions sessions;
  sessions.requires_session = true;
  append(log.builder, QueueDeclared{at(0), QueueId{1}, plain, "payments"});
  append(log.builder, QueueDeclared{at(0), QueueId{2}, sessions, "per-account"});
  const auto stored = [&](std::uint32_t queue, std::uint64_t sequence, std::string_view id,
                          std::string_view session) {
    StoredMessage m;
    m.queue = QueueId{queue};
    m.sequence = {sequence};
    m.enqueued = at(static_cast<std::int64_t>(sequence));
    if (sequence == 67) m.expires_ms = kStart_ms + 3'600'000;
    m.message_id = id;
    m.has_session = !session.empty();
    m.session_id = session;
    m.payload = as_bytes("MT103");
    return m;
  };
  for (std::uint64_t s = 1; s <= 68; ++s) {
    append(log.builder, stored(1, s, s % 32 == 3 ? "TRN-" + std::to_string(s) : "", ""));
  }
  std::vector<std::uint64_t> gone;
  for (std::uint64_t s = 1; s <= 64; ++s) {
    if (s % 20 != 3) gone.push_back(s);
  }
  append(log.builder,
         MessagesSettled{at(100), QueueId{1}, RemovalCause::completed, std::as_bytes(std::span(gone))});
  append(log.builder, DeliveryFailed{at(101),
                                     QueueId{1},
                                     {23},
                                     1,
                                     FailureCause::abandoned,
                                     true,
                                     as_bytes(std::string_view("\xc1\x01\x00", 3))});
  append(log.builder, MessageDeadLettered{at(102),
                                          QueueId{1},
                                          {43},
                                          1,
                                          DeadLetterCause::application,
                                          false,
                                          "no such account",
                                          "field 59",
                                          {}});
  MessageMoved moved;
  moved.time = at(103);
  moved.message = stored(1, 3, "TRN-3", "");
  append(log.builder, moved);
  for (std::uint64_t s = 1; s <= 7; ++s) {
    StoredMessage m = stored(2, s, "", s % 3 == 0 ? "account-b" : "account-a");
    m.enqueued = at(200);
    append(log.builder, m);
  }
  const std::uint64_t first = 1;
  append(log.builder, MessagesSettled{at(201), QueueId{2}, RemovalCause::received_and_deleted,
                                      std::as_bytes(std::span(&first, 1))});
  append(log.builder, TimeAdvanced{at(202)});
  append(log.builder, MessageDeadLettered{at(203),
                                          QueueId{2},
                                          {3},
                                          1,
                                          DeadLetterCause::max_delivery_count,
                                          false,
                                          "MaxDeliveryCountExceeded",
                                          "",
                                          {}});
}

constexpr std::string_view kRoot =
    "4d534253020000005300000000000000ca68e5cf8b0100000202c0cf24e0d4030a00087061796d656e747345000002000201"
    "51040132feffffffffffffffff01ed8b5edcac03b78601000333040054fda59dfe859dffffff01eb60f83863f9cbeb000300"
    "022476eb901a97420f9501c0cf24e0d4030a000b7065722d6163636f756e7408010202000523010000043d06009801feffff"
    "ffffffffffff01a33f9c4ad73875bc0000d0b07e6d28c97984";
constexpr std::string_view kPages[] = {
    "010800800000080080000000000008000011940186a0abfef96205131290ec57118e012861280501000003c1010028282805"
    "010f6e6f2073756368206163636f756e74086669656c642035390000282805",
    "02030a0686a0abfef9620554524e2d334040400654524e2d33354040400654524e2d3637",
    "011e00000000000000000000000000000000860182a1abfef96205000202050502020511099e0437f502c0fab8b703000202"
    "05",
    "01fc00000000000000000000000000000082980190a3abfef962050002820200050103c2020005000201c202000500010242"
    "0200050103420200050002",
    "030300000000000000020504096163636f756e742d61030302096163636f756e742d62"};

Buffer from_hex(std::string_view digits) {
  const auto value = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  Buffer bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(value(digits[i]) << 4 | value(digits[i + 1])));
  }
  return bytes;
}

struct StoredThen {
  StoredThen() {
    for (const std::string_view page : kPages) pages.pages.push_back(from_hex(page));
  }
  Buffer root = from_hex(kRoot);
  TestPageStore pages;
};

void expect_equal(const State& restored, const State& replayed) {
  restored.check_invariants();
  EXPECT_EQ(restored.applied(), replayed.applied());
  EXPECT_EQ(restored.hash(), replayed.hash());
  EXPECT_EQ(restored.oldest_needed(), replayed.oldest_needed());
  for (const QueueId queue : replayed.queues()) {
    const QueueStats a = restored.stats(queue), b = replayed.stats(queue);
    EXPECT_EQ(a.active, b.active);
    EXPECT_EQ(a.dead_letter, b.dead_letter);
    EXPECT_EQ(a.deferred, 0U);
    EXPECT_EQ(a.scheduled, 0U);
    EXPECT_EQ(a.sessions, b.sessions);
    EXPECT_EQ(a.bytes, b.bytes);
  }
}

TEST(CheckpointFormat, CheckpointOfFormat2IsTheStateThatTheLogGivesAndGoesOnAsIt) {
  StoredThen stored;
  MemoryLog log;
  write_log(log);
  const auto& records = log.records();
  ASSERT_EQ(records.size(), 84U);
  State replayed;
  apply_all(replayed, {records.begin(), records.end() - 1});

  auto restored = State::restore(stored.root, stored.pages);
  ASSERT_TRUE(restored.has_value()) << restored.error().what;
  EXPECT_EQ(restored->stats(QueueId{1}).active, 7U);
  EXPECT_EQ(restored->stats(QueueId{1}).dead_letter, 1U);
  EXPECT_EQ(restored->stats(QueueId{2}).sessions, 2U);
  expect_equal(*restored, replayed);
  const auto applied = restored->apply(records.back());
  ASSERT_TRUE(applied.has_value()) << applied.error().what;
  ASSERT_TRUE(replayed.apply(records.back()).has_value());
  expect_equal(*restored, replayed);
}

TEST(CheckpointFormat, WhatWasReadFromFormat2IsStoredInTheFormatOfToday) {
  StoredThen stored;
  auto restored = State::restore(stored.root, stored.pages);
  ASSERT_TRUE(restored.has_value()) << restored.error().what;
  const auto written = restored->checkpoint();
  ASSERT_TRUE(written.has_value());
  EXPECT_EQ(load_le<std::uint32_t>(stored.root.data() + 4), kRootVersionWithoutStates);
  EXPECT_EQ(load_le<std::uint32_t>(written->root.data() + 4), kRootVersion);
  EXPECT_EQ(stored.pages.pages.size(), std::size(kPages)) << "its pages are used as they are";
  const auto again = State::restore(written->root, stored.pages);
  ASSERT_TRUE(again.has_value()) << again.error().what;
  EXPECT_EQ(again->hash(), restored->hash());
}

TEST(CheckpointFormat, OtherFormatsAreRefusedAndSaySo) {
  for (const std::uint32_t version : {0U, 1U, kRootVersion + 1}) {
    StoredThen stored;
    stored.root[4] = static_cast<std::byte>(version);
    const auto restored = State::restore(stored.root, stored.pages);
    ASSERT_FALSE(restored.has_value());
    EXPECT_NE(restored.error().what.find("format that this program does not read"), std::string::npos)
        << restored.error().what;
  }
}

}  // namespace
}  // namespace mainstay::broker
