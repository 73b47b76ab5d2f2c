#include "ledger/sqlite_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

namespace mainstay::ledger {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr RegionTerm term1{1}, term2{2};
constexpr WallTime noon{1'700'000'000'000};

class SqliteLedgerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "mainstay-ledger-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string path() const { return (directory_ / "ledger.sqlite").string(); }
  std::unique_ptr<SqliteLedger> open() const { return SqliteLedger::open(path()).value(); }

  std::filesystem::path directory_;
};

std::vector<ClaimOutcome> claim(Ledger& ledger, std::vector<Claim> claims, RegionTerm term = term1) {
  return ledger.claim(claims, term, "east", "worker-1", noon).value();
}

std::vector<std::string> keys(Ledger& ledger, EntryState state) {
  std::vector<std::string> found;
  ledger.for_each(state, [&](const Entry& entry) { found.push_back(entry.key); }).value();
  return found;
}

TEST_F(SqliteLedgerTest, ClaimDoneAndFindTellTheStory) {
  const auto ledger = open();
  EXPECT_THAT(claim(*ledger, {{"k1", "d1", "A:1"}, {"k2", "d2", "A:1"}}),
              ElementsAre(ClaimOutcome::granted, ClaimOutcome::granted));
  EXPECT_EQ(ledger->find("k1").value()->state, EntryState::claimed);
  EXPECT_TRUE(ledger->done({{"k2", "f2"}, {"k1", "f1"}}, term1, {noon.ms + 5}).value());

  const Entry entry = *ledger->find("k1").value();
  EXPECT_EQ(entry.state, EntryState::done);
  EXPECT_EQ(entry.done_order, 2U);
  EXPECT_EQ(entry.digest, "d1");
  EXPECT_EQ(entry.ordering_key, "A:1");
  EXPECT_EQ(entry.region, "east");
  EXPECT_EQ(entry.worker, "worker-1");
  EXPECT_EQ(entry.destination, "f1");
  EXPECT_EQ(entry.claimed_at.ms, noon.ms);
  EXPECT_EQ(entry.done_at.ms, noon.ms + 5);
  EXPECT_THAT(keys(*ledger, EntryState::done), ElementsAre("k2", "k1"));
  EXPECT_FALSE(ledger->find("k3").value().has_value());
}

TEST_F(SqliteLedgerTest, FinishedMessageIsNotGrantedAgain) {  // D13
  const auto ledger = open();
  claim(*ledger, {{"k", "d", "o"}});
  ASSERT_TRUE(ledger->done({{"k", "f"}}, term1, noon).value());
  EXPECT_THAT(claim(*ledger, {{"k", "d", "o"}}), ElementsAre(ClaimOutcome::already_done));
  EXPECT_THAT(claim(*ledger, {{"k", "d", "o"}}, term2), ElementsAre(ClaimOutcome::already_done));
}

TEST_F(SqliteLedgerTest, CrashBetweenClaimAndDoneGrantsAgainAndCountsTheAttempt) {
  claim(*open(), {{"k", "d", "o"}});
  const auto ledger = open();
  EXPECT_THAT(claim(*ledger, {{"k", "d", "o"}}, term2), ElementsAre(ClaimOutcome::granted));
  EXPECT_EQ(ledger->find("k").value()->attempts, 2U);
  EXPECT_EQ(ledger->find("k").value()->term, term2);
}

TEST_F(SqliteLedgerTest, TwoPaymentsUnderOneReferenceAreAConflictHoweverAlikeTheirText) {  // P3, P16
  const auto ledger = open();
  EXPECT_THAT(claim(*ledger, {{"k", "d", "A:1"}}), ElementsAre(ClaimOutcome::granted));
  EXPECT_THAT(claim(*ledger, {{"k", "d+uetr-1", "A:1"}}), ElementsAre(ClaimOutcome::granted))
      << "one copy lost its UETR";
  EXPECT_EQ(ledger->find("k").value()->digest, "d+uetr-1") << "now it is known which payment it was";
  EXPECT_THAT(claim(*ledger, {{"k", "d+uetr-2", "A:1"}}), ElementsAre(ClaimOutcome::conflict));
  EXPECT_THAT(claim(*ledger, {{"k", "d", "A:1"}, {"k", "e+uetr-1", "A:1"}}),
              ElementsAre(ClaimOutcome::granted, ClaimOutcome::conflict));
}

TEST_F(SqliteLedgerTest, SameKeyWithOtherContentIsAConflictAndIsParkedOnce) {  // P3
  const auto ledger = open();
  EXPECT_THAT(claim(*ledger, {{"k", "d1", "o"}, {"k", "d2", "o"}}),
              ElementsAre(ClaimOutcome::granted, ClaimOutcome::conflict));
  EXPECT_TRUE(ledger->park({"k", "d2", "o"}, "parked/k", term1, noon).value());
  EXPECT_TRUE(ledger->park({"k", "d2", "o"}, "parked/k", term1, noon).value());
  EXPECT_EQ(ledger->count(EntryState::parked).value(), 1U);
  ASSERT_TRUE(ledger->done({{"k", "f"}}, term1, noon).value());
  EXPECT_THAT(claim(*ledger, {{"k", "d2", "o"}}), ElementsAre(ClaimOutcome::conflict));
  ledger
      ->for_each(EntryState::parked,
                 [](const Entry& entry) {
                   EXPECT_EQ(entry.digest, "d2");
                   EXPECT_EQ(entry.destination, "parked/k");
                 })
      .value();
}

TEST_F(SqliteLedgerTest, OlderTermIsFencedOnceANewerOneHasWritten) {  // P5, P7
  const auto zombie = open();
  const auto promoted = open();
  claim(*zombie, {{"k", "d", "o"}});
  EXPECT_THAT(claim(*promoted, {{"other", "d", "o"}}, term2), ElementsAre(ClaimOutcome::granted));

  EXPECT_THAT(claim(*zombie, {{"k", "d", "o"}, {"new", "d", "o"}}),
              ElementsAre(ClaimOutcome::fenced, ClaimOutcome::fenced));
  EXPECT_FALSE(zombie->done({{"k", "f"}}, term1, noon).value());
  EXPECT_FALSE(zombie->park({"k", "x", "o"}, "p", term1, noon).value());
  EXPECT_EQ(promoted->find("k").value()->state, EntryState::claimed);
  EXPECT_FALSE(promoted->find("new").value().has_value());
  EXPECT_EQ(promoted->count(EntryState::parked).value(), 0U);
}

TEST_F(SqliteLedgerTest, DoneOfAnUnclaimedKeyWritesNothing) {
  const auto ledger = open();
  claim(*ledger, {{"k", "d", "o"}});
  const auto result = ledger->done({{"k", "f"}, {"never", "f"}}, term1, noon);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().what, HasSubstr("never claimed"));
  EXPECT_EQ(ledger->count(EntryState::done).value(), 0U);
}

TEST_F(SqliteLedgerTest, DoneTwiceKeepsItsPlaceAndTheOrderStaysDense) {
  const auto ledger = open();
  claim(*ledger, {{"a", "d", "o"}, {"b", "d", "o"}, {"c", "d", "o"}});
  ASSERT_TRUE(ledger->done({{"a", "f"}, {"b", "f"}}, term1, noon).value());
  ASSERT_TRUE(ledger->done({{"a", "f"}, {"c", "f"}}, term1, noon).value());
  EXPECT_EQ(ledger->find("a").value()->done_order, 1U);
  EXPECT_EQ(ledger->find("c").value()->done_order, 3U);
}

TEST_F(SqliteLedgerTest, ThreadsClaimingTheSameKeysFinishEachOnceInADenseOrder) {
  constexpr int threads = 4, messages = 40;
  open();
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([this] {
      const auto ledger = open();
      for (int i = 0; i < messages; ++i) {
        const std::string key = "k" + std::to_string(i);
        if (claim(*ledger, {{key, "d", "o"}})[0] == ClaimOutcome::granted) {
          EXPECT_TRUE(ledger->done({{key, "f"}}, term1, noon).value());
        }
      }
    });
  }
  for (auto& thread : running) thread.join();
  std::set<std::uint64_t> orders;
  open()->for_each(EntryState::done, [&](const Entry& entry) { orders.insert(entry.done_order); }).value();
  EXPECT_EQ(orders.size(), static_cast<std::size_t>(messages));
  EXPECT_EQ(*orders.rbegin(), static_cast<std::uint64_t>(messages));
}

TEST_F(SqliteLedgerTest, ProcessKilledInMidTransactionLeavesWholeBatchesOnly) {  // P10
  open();
  for (int round = 0; round < 5; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto ledger = SqliteLedger::open(path()).value();
      for (int batch = 0;; ++batch) {
        std::vector<Claim> claims;
        for (int i = 0; i < 20; ++i) {
          claims.push_back(
              {std::to_string(round) + "/" + std::to_string(batch) + "/" + std::to_string(i), "d", "o"});
        }
        if (!ledger->claim(claims, term1, "east", "w", noon)) ::_exit(1);
      }
    }
    const auto watching = open();
    const std::string first = std::to_string(round) + "/0/0";
    while (!watching->find(first).value()) ::usleep(1000);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(open()->count(EntryState::claimed).value() % 20, 0U);
  }
}

TEST_F(SqliteLedgerTest, ErrorsNameTheFileAndTheRemedy) {
  const auto missing = SqliteLedger::open((directory_ / "no/such/ledger.sqlite").string());
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().what, HasSubstr("no/such/ledger.sqlite"));
  EXPECT_THAT(missing.error().what, HasSubstr("create its directory"));

  std::ofstream(path()) << std::string(4096, 'x');
  const auto garbage = SqliteLedger::open(path());
  ASSERT_FALSE(garbage);
  EXPECT_THAT(garbage.error().what, HasSubstr("not a SQLite file"));
}

TEST_F(SqliteLedgerTest, NewerFormatIsRefused) {
  open();
  auto database = SqliteDatabase::open(path(), SqliteDatabase::Durability::full).value();
  database->execute("UPDATE meta SET format = 2").value();
  const auto result = SqliteLedger::open(path());
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().what, HasSubstr("has format 2"));
}

TEST_F(SqliteLedgerTest, AWriterThatWaitsTooLongGetsAnErrorAndNothingIsWritten) {
  const auto ledger = SqliteLedger::open(path(), 20).value();
  auto other = SqliteDatabase::open(path(), SqliteDatabase::Durability::full).value();
  auto held = SqliteTransaction::begin(*other).value();
  const auto result = ledger->claim({{"k", "d", "o"}}, term1, "east", "w", noon);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().what, HasSubstr("another process holds it"));
  held.commit().value();
  EXPECT_FALSE(ledger->find("k").value().has_value());
}

}  // namespace
}  // namespace mainstay::ledger
