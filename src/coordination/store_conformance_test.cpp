// The stores of this room against what every store promises, and what each does beside it.
#include "coordination/store_conformance.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "coordination/group_conformance.h"
#include "coordination/memory_store.h"
#include "coordination/sqlite_store.h"

namespace mainstay::coordination {
namespace {

class KeptInMemory final : public Kept {
 public:
  std::shared_ptr<Store> open_store() override { return store_; }

 private:
  std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>();
};

std::filesystem::path fresh_directory() {
  std::string name = (std::filesystem::temp_directory_path() / "mainstay-register-XXXXXX").string();
  EXPECT_NE(::mkdtemp(name.data()), nullptr);
  return name;
}

Result<std::unique_ptr<Register>, RegisterError> open_sqlite(const std::string& file,
                                                             const std::string& group) {
  auto opened = SqliteStore::open(file, group);
  if (!opened) return opened.error();
  return std::make_unique<Register>(std::shared_ptr<Store>(std::move(*opened)));
}

class KeptInSqlite final : public Kept {
 public:
  KeptInSqlite() : directory_(fresh_directory()) {}
  ~KeptInSqlite() override { std::filesystem::remove_all(directory_); }
  std::shared_ptr<Store> open_store() override {
    auto opened = SqliteStore::open(file(), "main");
    EXPECT_TRUE(opened) << opened.error().what;
    return std::move(*opened);
  }
  [[nodiscard]] std::string file() const { return (directory_ / "register.db").string(); }

 private:
  std::filesystem::path directory_;
};

INSTANTIATE_TEST_SUITE_P(All, StoreConformance,
                         testing::Values(Kind{"memory", [] { return std::make_unique<KeptInMemory>(); }},
                                         Kind{"sqlite", [] { return std::make_unique<KeptInSqlite>(); }}),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(SqliteStore, ProcessesHaveExactlyOneWinnerPerRevision) {
  const KeptInSqlite store;
  constexpr std::uint64_t kRevisions = 12;
  constexpr int kProcesses = 3;
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  std::vector<pid_t> children;
  for (int child = 0; child < kProcesses; ++child) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      auto opened = open_sqlite(store.file(), "main");
      if (!opened) ::_exit(2);
      for (;;) {
        const auto seen = (*opened)->read();
        if (!seen) continue;
        if (seen->revision >= kRevisions) ::_exit(0);
        const auto done = (*opened)->compare_and_swap(
            seen->revision, record_of(seen->term.value + 1, "r" + std::to_string(child)));
        if (done && done->outcome == CasOutcome::won) {
          const auto revision = static_cast<std::uint8_t>(done->current.revision);
          if (::write(pipe_ends[1], &revision, 1) != 1) ::_exit(3);
        }
      }
    }
    children.push_back(pid);
  }
  ::close(pipe_ends[1]);
  std::vector<int> revisions;
  for (std::uint8_t revision = 0; ::read(pipe_ends[0], &revision, 1) == 1;) revisions.push_back(revision);
  ::close(pipe_ends[0]);
  for (const pid_t pid : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
  std::sort(revisions.begin(), revisions.end());
  ASSERT_EQ(revisions.size(), kRevisions);
  for (std::size_t i = 0; i < revisions.size(); ++i) EXPECT_EQ(revisions[i], static_cast<int>(i + 1));
}

TEST(SqliteStore, FailedWriteIsNeverReportedAsWon) {
  const KeptInSqlite store;
  {
    auto first = open_sqlite(store.file(), "main");
    ASSERT_TRUE(first);
    ASSERT_EQ((*first)->compare_and_swap(0, record_of(1, "east"))->outcome, CasOutcome::won);
  }
  const pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    auto opened = open_sqlite(store.file(), "main");
    if (!opened) ::_exit(2);
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit nothing{0, 0};  // every write of this process fails from here on
    if (::setrlimit(RLIMIT_FSIZE, &nothing) != 0) ::_exit(3);
    const auto done = (*opened)->compare_and_swap(1, record_of(2, "west"));
    ::_exit(done && done->outcome != CasOutcome::unknown ? 4 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  const auto after = (*open_sqlite(store.file(), "main"))->read();
  ASSERT_TRUE(after) << after.error().what;
  EXPECT_EQ(after->region, "east") << "the interrupted change was rolled back by the next reader";
}

TEST(SqliteStore, GroupsInOneFileAreApart) {
  const KeptInSqlite store;
  auto one = open_sqlite(store.file(), "payments");
  auto two = open_sqlite(store.file(), "reports");
  ASSERT_TRUE(one && two);
  ASSERT_EQ((*one)->compare_and_swap(0, record_of(1, "east"))->outcome, CasOutcome::won);
  EXPECT_EQ((*two)->read()->revision, 0U);
}

TEST(SqliteStore, FileOfAnotherKindIsRefusedWithItsNameAndWhatToDo) {
  const KeptInSqlite store;
  std::ofstream(store.file()) << std::string(5000, 'x');
  const auto opened = open_sqlite(store.file(), "main");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().what.find(store.file()), std::string::npos) << opened.error().what;
  for (const char* part : {"move it away", "group repair-register", "region promote --force"})
    EXPECT_NE(opened.error().what.find(part), std::string::npos) << opened.error().what;
}

TEST(SqliteStore, FileThatWasMovedAwayOrReplacedIsNotTheRegisterAnyMore) {
  KeptInSqlite store;
  const auto opened = store.open();
  RegionRecord record;
  record.term = RegionTerm{1};
  record.region = "east";
  ASSERT_EQ(opened->compare_and_swap(0, record)->outcome, CasOutcome::won);

  std::filesystem::rename(store.file(), store.file() + ".away");
  const auto gone = opened->read();
  ASSERT_FALSE(gone);
  EXPECT_NE(gone.error().what.find(store.file()), std::string::npos) << gone.error().what;
  ASSERT_FALSE(opened->compare_and_swap(1, record));
  EXPECT_FALSE(std::filesystem::exists(store.file())) << "a register that is gone is not made again unasked";

  const auto another = store.open();
  EXPECT_EQ(opened->read()->revision, 0U) << "the file that is there now, as everybody else reads it";
  std::filesystem::rename(store.file() + ".away", store.file());
  EXPECT_EQ(opened->read()->region, "east");
  EXPECT_EQ(another->read()->region, "east");
}

TEST(SqliteStore, MissingDirectoryIsAnErrorThatSaysSo) {
  const auto opened = open_sqlite("/nonexistent/mainstay/register.db", "main");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().what.find("directory exists"), std::string::npos) << opened.error().what;
}

TEST(SqliteStore, AFileOfFormat1IsConverted) {
  const KeptInSqlite store;
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(store.file().c_str(), &database), SQLITE_OK);
  ASSERT_EQ(
      sqlite3_exec(
          database,
          "PRAGMA application_id=1297302866; PRAGMA user_version=1;"
          "CREATE TABLE leadership(group_name TEXT PRIMARY KEY NOT NULL, revision INTEGER NOT NULL,"
          " term INTEGER NOT NULL, region TEXT NOT NULL, phase INTEGER NOT NULL,"
          " changed_by TEXT NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,"
          " fork_lsn INTEGER NOT NULL, fork_hash INTEGER NOT NULL) STRICT;"
          "INSERT INTO leadership VALUES('main', 9, 4, 'west', 2, 'operator alice', 'fire', -5, 77, -1);"
          "INSERT INTO leadership VALUES('other', 1, 1, 'east', 0, 'b', 'r', 0, 0, 0);",
          nullptr, nullptr, nullptr),
      SQLITE_OK);
  sqlite3_close(database);
  auto opened = open_sqlite(store.file(), "main");
  ASSERT_TRUE(opened) << opened.error().what;
  const auto record = (*opened)->read();
  ASSERT_TRUE(record) << record.error().what;
  EXPECT_EQ(record->revision, 9U);
  EXPECT_EQ(record->term, RegionTerm{4});
  EXPECT_EQ(record->region, "west");
  EXPECT_EQ(record->phase, Phase::recovering);
  EXPECT_EQ(record->at, WallTime{-5});
  EXPECT_EQ(record->fork_lsn, Lsn{77});
  EXPECT_EQ(record->fork_hash, ~0ULL);
  EXPECT_EQ((*open_sqlite(store.file(), "other"))->read()->region, "east");
  EXPECT_EQ((*opened)->compare_and_swap(9, record_of(5, "east"))->outcome, CasOutcome::won);
}

TEST(RegionRecord, WhatIsNotOneIsAnErrorThatSaysWhatIsWrong) {
  const std::string good = encode_region_record(record_of(3, "east"));
  ASSERT_TRUE(decode_region_record({1, good}));
  const auto said = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    const auto record = decode_region_record({1, text});
    return record ? std::string("nothing") : record.error().what;
  };
  EXPECT_NE(said("\"format\":1", "\"format\":2").find("use the newer program"), std::string::npos);
  EXPECT_NE(said("\"active\"", "\"resting\"").find("phase 'resting' is not known"), std::string::npos);
  EXPECT_NE(said("\"east\"", "\"\"").find("names no region"), std::string::npos);
  EXPECT_NE(said("8000000000000001", "80000000x").find("is not hexadecimal"), std::string::npos);
  for (const auto& [from, to] : {std::pair{"\"term\":3", "\"term\":-3"},
                                 {"\"term\":3,", ""},
                                 {"{", "["},
                                 {"\"at_ms\":-5", "\"at_ms\":\"-5\""}}) {
    EXPECT_NE(said(from, to), "nothing") << from << " → " << to;
  }
}

TEST(MemoryStore, UnavailableIsAnErrorAndChangesNothing) {
  MemoryRegister of;
  of.set_available(false);
  EXPECT_FALSE(of.read());
  EXPECT_FALSE(of.compare_and_swap(0, record_of(1, "east")));
  of.set_available(true);
  EXPECT_EQ(of.read()->revision, 0U);
}

TEST(MemoryStore, UnknownOutcomeMayHaveHappenedNeverHappenOrHappenLater) {
  MemoryRegister of;
  of.next_outcome_unknown(MemoryRegister::Unknown::applied);
  EXPECT_EQ(of.compare_and_swap(0, record_of(1, "east"))->outcome, CasOutcome::unknown);
  EXPECT_EQ(of.read()->revision, 1U);
  of.next_outcome_unknown(MemoryRegister::Unknown::dropped);
  EXPECT_EQ(of.compare_and_swap(1, record_of(2, "west"))->outcome, CasOutcome::unknown);
  EXPECT_EQ(of.read()->revision, 1U);
  of.next_outcome_unknown(MemoryRegister::Unknown::late);
  EXPECT_EQ(of.compare_and_swap(1, record_of(2, "west"))->outcome, CasOutcome::unknown);
  EXPECT_EQ(of.read()->revision, 1U);
  EXPECT_TRUE(of.land_late());
  EXPECT_EQ(of.read()->region, "west");
  of.next_outcome_unknown(MemoryRegister::Unknown::late);
  EXPECT_EQ(of.compare_and_swap(2, record_of(3, "east"))->outcome, CasOutcome::unknown);
  EXPECT_EQ(of.compare_and_swap(2, record_of(4, "west"))->outcome, CasOutcome::won);
  EXPECT_FALSE(of.land_late()) << "a late swap loses when somebody was first";
}

}  // namespace
}  // namespace mainstay::coordination
