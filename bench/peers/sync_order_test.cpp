#include "peers/sync_order.h"

#include <gtest/gtest.h>

#include "peers/stamp.h"

namespace mainstay::bench {
namespace {

constexpr std::uint16_t kPort = 5672;
constexpr const char* kClient = "9<TCP:[127.0.0.1:5672->127.0.0.1:40000]>";
constexpr const char* kFile = "7</var/lib/log>";

std::string text_of(std::uint64_t stamp) {
  const Stamp bytes = to_stamp(stamp);
  return {bytes.begin(), bytes.end()};
}
std::string receive(std::uint64_t stamp) {
  return std::string("10 recvfrom(") + kClient + ", \"\\0" + text_of(stamp) + "xx\"..., 4096, 0) = 1100\n";
}
std::string store(std::uint64_t stamp) {
  return std::string("11 pwrite64(") + kFile + ", \"" + text_of(stamp) + "\", 1100, 0) = 1100\n";
}
std::string sync(const char* result = "0") {
  return std::string("11 fdatasync(") + kFile + ") = " + result + "\n";
}
std::string confirm() {
  return std::string("10 sendto(") + kClient + ", \"ok\", 2, 0) = 2\n";
}

TEST(SyncOrder, SyncBetweenWriteAndConfirmCounts) {
  std::string trace;
  for (std::uint64_t m = 0; m < 5; ++m) trace += receive(m) + store(m) + sync() + confirm();
  const SyncOrder order = read_sync_order(trace, kPort, 0, 5);
  EXPECT_EQ(order.messages, 4U);
  EXPECT_EQ(order.synced_before_confirm, 4U);
  EXPECT_EQ(order.file_writes_seen, 4U);
  EXPECT_EQ(order.syncs, 4U);
}

TEST(SyncOrder, SyncAfterTheConfirmDoesNotCount) {
  std::string trace;
  for (std::uint64_t m = 0; m < 5; ++m) trace += receive(m) + store(m) + confirm() + sync();
  const SyncOrder order = read_sync_order(trace, kPort, 0, 5);
  EXPECT_EQ(order.messages, 4U);
  EXPECT_EQ(order.synced_before_confirm, 0U);
}

TEST(SyncOrder, SyncThatBeganBeforeTheWriteDoesNotCount) {
  std::string trace;
  for (std::uint64_t m = 0; m < 3; ++m) {
    trace += receive(m) + "11 fdatasync(7</var/lib/log> <unfinished ...>\n" +
             "12 pwrite64(7</var/lib/log>, \"" + text_of(m) + "\", 1100, 0) = 1100\n" +
             "11 <... fdatasync resumed>) = 0\n" + confirm();
  }
  EXPECT_EQ(read_sync_order(trace, kPort, 0, 3).synced_before_confirm, 0U);
}

TEST(SyncOrder, SyncThatReturnsOnlyAfterTheConfirmDoesNotCount) {
  std::string trace;
  for (std::uint64_t m = 0; m < 3; ++m) {
    trace += receive(m) + store(m) + "11 fdatasync(7</var/lib/log> <unfinished ...>\n" + confirm() +
             "11 <... fdatasync resumed>) = 0\n";
  }
  EXPECT_EQ(read_sync_order(trace, kPort, 0, 3).synced_before_confirm, 0U);
}

TEST(SyncOrder, FailedSyncDoesNotCount) {
  const std::string trace =
      receive(0) + store(0) + sync("-1 EIO (Input/output error)") + confirm() + receive(1);
  EXPECT_EQ(read_sync_order(trace, kPort, 0, 2).messages, 1U);
  EXPECT_EQ(read_sync_order(trace, kPort, 0, 2).synced_before_confirm, 0U);
}

TEST(SyncOrder, SyncOfAnotherFileDoesNotCount) {
  std::string trace;
  for (std::uint64_t m = 0; m < 3; ++m)
    trace += receive(m) + store(m) + "11 fdatasync(8</var/lib/other>) = 0\n" + confirm();
  EXPECT_EQ(read_sync_order(trace, kPort, 0, 3).synced_before_confirm, 0U);
}

TEST(SyncOrder, AnswersOnOtherConnectionsAreNoConfirm) {
  const std::string other = "10 sendto(8<TCP:[127.0.0.1:8080->127.0.0.1:40001]>, \"ok\", 2, 0) = 2\n";
  std::string trace;
  for (std::uint64_t m = 0; m < 3; ++m) trace += receive(m) + store(m) + other + sync() + confirm();
  EXPECT_EQ(read_sync_order(trace, kPort, 0, 3).synced_before_confirm, 2U);
}

TEST(SyncOrder, ReadsSocketsOfVersionSixAndCallsInterruptedByOthers) {
  const std::string client = "9<TCPv6:[[::ffff:127.0.0.1]:5672->[::ffff:127.0.0.1]:40000]>";
  std::string trace;
  for (std::uint64_t m = 0; m < 3; ++m) {
    trace += "10 read(" + client + ",  <unfinished ...>\n" + "12 write(1<pipe:[5]>, \"\", 1) = 1\n" +
             "10 <... read resumed>\"SEND\\n\\n" + text_of(m) + "\", 8192) = 1100\n" + store(m) + sync() +
             "10 write(" + client + ", \"RECEIPT\", 7) = 7\n";
  }
  const SyncOrder order = read_sync_order(trace, kPort, 0, 3);
  EXPECT_EQ(order.messages, 2U);
  EXPECT_EQ(order.synced_before_confirm, 2U);
}

TEST(SyncOrder, WithoutAVisibleWriteTheReceiptIsTheBeginning) {
  const std::string trace = sync() + receive(0) + confirm() + receive(1) + sync() + confirm() + receive(2);
  const SyncOrder order = read_sync_order(trace, kPort, 0, 3);
  EXPECT_EQ(order.messages, 2U);
  EXPECT_EQ(order.synced_before_confirm, 1U);
  EXPECT_EQ(order.file_writes_seen, 0U);
}

TEST(SyncOrder, CountsSyncsOfEveryKind) {
  EXPECT_EQ(count_syncs(
                "1 fsync(3</a>) = 0\n2 fdatasync(3</a> <unfinished ...>\n1 write(3</a>, \"fsync(\", 6) = 6\n"
                "2 <... fdatasync resumed>) = 0\n1 msync(0x7f, 4096, MS_SYNC) = 0\n"),
            3U);
}

TEST(Stamp, SurvivesTheWay) {
  for (const std::uint64_t value : {0ULL, 1ULL, 0x5afe0000ULL, ~0ULL})
    EXPECT_EQ(from_stamp(to_stamp(value).data()), value);
  EXPECT_THROW(static_cast<void>(from_stamp("MSG000000000000000g")), Trouble);
}

}  // namespace
}  // namespace mainstay::bench
