// The audit on real files: a delivered flow on disk is damaged by hand, as an accident or an attacker would,
// and the witness, a directory listing, a SQLite ledger and payment parsing have to bring it to light (N2).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

#include "base/checksum.h"
#include "drills/audit_command.h"
#include "drills/destination_observer.h"
#include "drills/tsv.h"
#include "lab/test_directory.h"
#include "ledger/sqlite_ledger.h"
#include "payments/message.h"

namespace mainstay::drills {
namespace {

using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::string payment(int number) {
  return "{1:F01AAAADEFFAXXX0001000001}{2:I103BBBBFRPPXXXXN}{4:\r\n:20:PAY" + std::to_string(number) +
         "\r\n:23B:CRED\r\n:32A:261121EUR" + std::to_string(100 + number) +
         ",\r\n:50K:/123\r\nANNA\r\n:59:/456\r\nBERT\r\n:71A:SHA\r\n-}";
}

class OnDisk : public ::testing::Test {
 protected:
  static constexpr int messages = 10;

  void SetUp() override {
    options.ingest = directory.path() + "/generated.tsv";
    options.ledger = directory.path() + "/ledger.db";
    options.destination = directory.path() + "/destination";
    options.arrivals = directory.path() + "/arrivals.tsv";
    options.quarantine = directory.path() + "/quarantine";
    std::filesystem::create_directory(options.destination);
    std::filesystem::create_directory(options.quarantine);
    auto opened = DestinationObserver::open(options.destination, options.arrivals, clock);
    ASSERT_TRUE(opened.has_value()) << opened.error().what;
    observer = std::move(*opened);
    ledger = *ledger::SqliteLedger::open(options.ledger);
  }

  /// Enters and delivers messages 0 … `messages`-1, number `swapped` and its follower the wrong way round.
  void flow(int swapped = -1) {
    std::string record(ingest_record_header());
    for (int i = 0; i < messages; ++i) {
      const auto entries =
          entries_of_file("f" + std::to_string(i), payment(i), static_cast<std::uint64_t>(i + 1));
      ASSERT_THAT(entries, SizeIs(1));
      ASSERT_EQ(entries.front().kind, EntryKind::normal) << payment(i);
      append_line(record, entries.front());
    }
    ASSERT_TRUE(write_text_file(options.ingest, record).has_value());
    for (int i = 0; i < messages; ++i)
      deliver(i == swapped ? i + 1 : i == swapped + 1 && swapped >= 0 ? i - 1 : i);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return options.destination + "/" + name; }
  static std::string name(int i) { return "message-" + std::to_string(i) + ".fin"; }
  static std::string key(int i) {
    return payments::read_messages(as_bytes(payment(i))).front().idempotency_key;
  }

  void put(const std::string& as, const std::string& content) const {
    ASSERT_TRUE(write_text_file(path(".unfinished"), content).has_value());
    std::filesystem::rename(path(".unfinished"), path(as));
  }
  void deliver(int i) {
    const std::string content = payment(i);
    const auto message = payments::read_messages(as_bytes(content)).front();
    const RegionTerm term{1};
    ASSERT_TRUE(ledger
                    ->claim({{message.idempotency_key, message.content_digest, message.ordering_key}}, term,
                            "east", "w", {})
                    .has_value());
    put(name(i), content);
    ASSERT_TRUE(*ledger->done({{message.idempotency_key, name(i)}}, term, {}));
  }
  AuditReport audit_now() {
    EXPECT_TRUE(observer->stop().has_value());
    const auto sources = gather(options);
    EXPECT_TRUE(sources.has_value()) << sources.error().what;
    return audit(*sources);
  }

  lab::TestDirectory directory;
  ManualClock clock;
  AuditOptions options;
  std::unique_ptr<DestinationObserver> observer;
  std::unique_ptr<ledger::SqliteLedger> ledger;
};

using AuditOfFiles = OnDisk;

TEST_F(AuditOfFiles, AnUndamagedFlowIsCleanAndTheCommandSaysSo) {
  flow();
  const AuditReport report = audit_now();
  EXPECT_TRUE(report.clean()) << text_of(report);
  EXPECT_EQ(report.delivered, 10u);
  EXPECT_EQ(run_audit_command(options), 0);
}

TEST_F(AuditOfFiles, ADeletedFileIsNamedAsLost) {
  flow();
  std::filesystem::remove(path(name(4)));
  const AuditReport report = audit_now();
  EXPECT_THAT(report.lost, ::testing::ElementsAre(Field(&Finding::key, key(4))));
  EXPECT_EQ(run_audit_command(options), 1);
}

TEST_F(AuditOfFiles, ACopiedFileIsNamedAsRepeated) {
  flow();
  std::filesystem::copy_file(path(name(4)), path("again.fin"));
  const AuditReport report = audit_now();
  EXPECT_THAT(report.repeated, Contains(Field(&Finding::key, key(4))));
  EXPECT_THAT(report.lost, IsEmpty());
}

TEST_F(AuditOfFiles, TwoSwappedDeliveriesAreNamedAsReordered) {
  flow(6);
  const AuditReport report = audit_now();
  ASSERT_THAT(report.reordered, SizeIs(1));
  EXPECT_THAT(report.reordered.front().key, ::testing::AnyOf(key(6), key(7)));
  EXPECT_THAT(report.lost, IsEmpty());
  EXPECT_THAT(report.repeated, IsEmpty());
}

TEST_F(AuditOfFiles, TwoFilesWithSwappedContentsAreNotClean) {
  flow();
  std::filesystem::rename(path(name(2)), path(".swap"));
  std::filesystem::rename(path(name(3)), path(name(2)));
  std::filesystem::rename(path(".swap"), path(name(3)));
  const AuditReport report = audit_now();
  EXPECT_FALSE(report.clean());
  EXPECT_THAT(report.repeated, Contains(Field(&Finding::key, key(2))));  // each arrived under two names
  EXPECT_THAT(report.disagreements, Not(IsEmpty()));
}

TEST_F(AuditOfFiles, AnAlteredAmountIsNamedAsCorrupted) {
  flow();
  std::string content = payment(5);
  content.replace(content.find("EUR105"), 6, "EUR905");
  std::ofstream(path(name(5)), std::ios::binary) << content;  // in place: no arrival
  const AuditReport report = audit_now();
  EXPECT_THAT(report.corrupted, Contains(Field(&Finding::key, key(5))));
  EXPECT_THAT(report.lost, IsEmpty());
}

TEST_F(AuditOfFiles, ALineEndChangedInPlaceIsNamedAsCorrupted) {
  flow();
  std::string content = payment(5);
  content.erase(content.find('\r'), 1);
  std::ofstream(path(name(5)), std::ios::binary) << content;
  EXPECT_THAT(audit_now().corrupted, Contains(Field(&Finding::key, key(5))));
}

TEST_F(AuditOfFiles, ATruncatedFileIsNamedAsCorrupted) {
  flow();
  std::filesystem::resize_file(path(name(5)), 40);
  EXPECT_THAT(audit_now().corrupted, Contains(Field(&Finding::key, key(5))));
}

TEST_F(AuditOfFiles, TheSameFileRenamedOverItselfAgainIsRepeated) {
  flow();
  put(name(1), payment(1));
  EXPECT_THAT(audit_now().repeated, Contains(Field(&Finding::key, key(1))));
}

TEST_F(AuditOfFiles, MalformedMessagesAreLookedForInQuarantine) {
  flow();
  std::string record = *read_text_file(options.ingest);
  append_line(record, entries_of_file("bad", "{1:nonsense", 11).front());
  ASSERT_TRUE(write_text_file(options.ingest, record).has_value());
  std::filesystem::create_directory(options.quarantine + "/2026");
  std::ofstream(options.quarantine + "/2026/bad.why") << "no valid block 1";
  EXPECT_THAT(audit_now().lost, ::testing::ElementsAre(Field(&Finding::key, "bad")));
  std::ofstream(options.quarantine + "/2026/bad") << "{1:nonsense";
  EXPECT_EQ(audit_now().quarantined, 1u);
  EXPECT_TRUE(audit_now().clean());
}

TEST_F(AuditOfFiles, AMissingSourceIsNotAVerdict) {
  flow();
  ASSERT_TRUE(observer->stop().has_value());
  for (std::string AuditOptions::*source :
       {&AuditOptions::ingest, &AuditOptions::ledger, &AuditOptions::destination, &AuditOptions::arrivals,
        &AuditOptions::quarantine}) {
    AuditOptions without = options;
    without.*source = directory.path() + "/nowhere";
    EXPECT_EQ(run_audit_command(without), 2);
  }
  EXPECT_FALSE(std::filesystem::exists(directory.path() + "/nowhere"));
}

TEST_F(AuditOfFiles, JsonHasEveryFindingAndTextSaysHowManyItLeftOut) {
  flow();
  for (int i = 0; i < messages; ++i) std::filesystem::remove(path(name(i)));
  const AuditReport report = audit_now();
  const auto json = boost::json::parse(json_of(report));
  EXPECT_FALSE(json.at("clean").as_bool());
  EXPECT_EQ(json.at("lost").as_array().size(), 10u);
  EXPECT_EQ(json.at("lost").as_array().front().at("key").as_string(), key(0));
  EXPECT_THAT(text_of(report, 3), HasSubstr("and 7 more"));
  EXPECT_THAT(text_of(report), HasSubstr("NOT CLEAN"));
}

TEST(DestinationObserverTest, SeesRenamesAndLinksInOrderAndNoUnfinishedFiles) {
  const lab::TestDirectory directory;
  const std::string watched = directory.path() + "/in";
  std::filesystem::create_directory(watched);
  std::ofstream(watched + "/before") << "was there before";
  ManualClock clock;
  auto opened = DestinationObserver::open(watched, directory.path() + "/arrivals.tsv", clock);
  ASSERT_TRUE(opened.has_value()) << opened.error().what;
  const Instant start = clock.now();
  EXPECT_FALSE((*opened)->first_at_or_after(start));
  for (int i = 0; i < 300; ++i) {
    const std::string from = watched + "/.w", to = watched + "/" + std::to_string(i);
    std::ofstream(from) << "content " << i;
    if (i % 2 == 0) {
      std::filesystem::rename(from, to);
    } else {
      std::filesystem::create_hard_link(from, to);
      std::filesystem::remove(from);
    }
  }
  std::filesystem::create_directory(watched + "/directory");
  ASSERT_TRUE((*opened)->stop().has_value());
  const Arrivals& arrivals = (*opened)->arrivals();
  EXPECT_EQ(arrivals.incomplete, "");
  ASSERT_THAT(arrivals.list, SizeIs(300));
  EXPECT_EQ((*opened)->count(), 300u);
  for (int i = 0; i < 300; ++i) {
    const Arrival& arrival = arrivals.list[static_cast<std::size_t>(i)];
    EXPECT_EQ(arrival.name, std::to_string(i));
    EXPECT_EQ(arrival.bytes_digest, digest128(as_bytes("content " + std::to_string(i))));
  }
  EXPECT_EQ((*opened)->first_at_or_after(start), start);
}

TEST(DestinationObserverTest, AWatchedDirectoryThatVanishesMakesTheRecordIncomplete) {
  const lab::TestDirectory directory;
  const std::string watched = directory.path() + "/in";
  std::filesystem::create_directory(watched);
  ManualClock clock;
  auto opened = DestinationObserver::open(watched, directory.path() + "/arrivals.tsv", clock);
  ASSERT_TRUE(opened.has_value());
  std::filesystem::remove(watched);
  ASSERT_TRUE((*opened)->stop().has_value());
  EXPECT_THAT((*opened)->arrivals().incomplete, HasSubstr("removed"));
}

TEST(DestinationObserverTest, AMissingDirectoryIsRefused) {
  const lab::TestDirectory directory;
  ManualClock clock;
  const auto opened = DestinationObserver::open(directory.path() + "/no", directory.path() + "/a.tsv", clock);
  ASSERT_FALSE(opened.has_value());
  EXPECT_THAT(opened.error().what, HasSubstr("/no"));
}

}  // namespace
}  // namespace mainstay::drills
