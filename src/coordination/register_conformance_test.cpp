// What every register promises, run against each implementation (design §4: one interface, one suite).
#include <gtest/gtest.h>
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

#include "coordination/memory_register.h"
#include "coordination/sqlite_register.h"

namespace mainstay::coordination {
namespace {

/// One stored record and any number of handles to it.
class Store {
 public:
  virtual ~Store() = default;
  virtual std::shared_ptr<Register> open() = 0;
};

class MemoryStore final : public Store {
 public:
  std::shared_ptr<Register> open() override { return register_; }

 private:
  std::shared_ptr<MemoryRegister> register_ = std::make_shared<MemoryRegister>();
};

std::filesystem::path fresh_directory() {
  std::string name = (std::filesystem::temp_directory_path() / "mainstay-register-XXXXXX").string();
  EXPECT_NE(::mkdtemp(name.data()), nullptr);
  return name;
}

class SqliteStore final : public Store {
 public:
  SqliteStore() : directory_(fresh_directory()) {}
  ~SqliteStore() override { std::filesystem::remove_all(directory_); }
  std::shared_ptr<Register> open() override {
    auto opened = SqliteRegister::open(file(), "main");
    EXPECT_TRUE(opened) << opened.error().what;
    return std::move(*opened);
  }
  [[nodiscard]] std::string file() const { return (directory_ / "register.db").string(); }

 private:
  std::filesystem::path directory_;
};

struct Kind {
  const char* name;
  std::function<std::unique_ptr<Store>()> make;
};
void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}

class RegisterConformance : public testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<Store> store_ = GetParam().make();
};

RegionRecord record_of(std::uint64_t term, std::string region, Phase phase = Phase::active) {
  RegionRecord record;
  record.term = RegionTerm{term};
  record.region = std::move(region);
  record.phase = phase;
  record.by = "operator alice";
  record.reason = "maintenance";
  record.at = WallTime{-5};
  record.fork_lsn = Lsn{~0ULL};
  record.fork_hash = 0x8000000000000001ULL;
  return record;
}

TEST_P(RegisterConformance, EmptyRegisterReadsAsRevisionZero) {
  const auto one = store_->open()->read();
  ASSERT_TRUE(one);
  EXPECT_EQ(one->revision, 0U);
  EXPECT_EQ(one->term, RegionTerm{});
}

TEST_P(RegisterConformance, StoredRecordComesBackWholeThroughAnotherHandle) {
  ASSERT_EQ(store_->open()->compare_and_swap(0, record_of(3, "east", Phase::recovering))->outcome,
            CasOutcome::won);
  const auto back = store_->open()->read();
  ASSERT_TRUE(back);
  EXPECT_EQ(back->revision, 1U);
  EXPECT_EQ(back->term, RegionTerm{3});
  EXPECT_EQ(back->region, "east");
  EXPECT_EQ(back->phase, Phase::recovering);
  EXPECT_EQ(back->by, "operator alice");
  EXPECT_EQ(back->reason, "maintenance");
  EXPECT_EQ(back->at, WallTime{-5});
  EXPECT_EQ(back->fork_lsn, Lsn{~0ULL});
  EXPECT_EQ(back->fork_hash, 0x8000000000000001ULL);
}

TEST_P(RegisterConformance, SwapOnAnOldRevisionLosesAndShowsWhatIsThere) {
  auto handle = store_->open();
  ASSERT_EQ(handle->compare_and_swap(0, record_of(1, "east"))->outcome, CasOutcome::won);
  const auto second = handle->compare_and_swap(0, record_of(2, "west"));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->outcome, CasOutcome::lost);
  EXPECT_EQ(second->current.region, "east");
  EXPECT_EQ(second->current.revision, 1U);
  EXPECT_EQ(handle->compare_and_swap(7, record_of(2, "west"))->outcome, CasOutcome::lost)
      << "a revision not reached yet";
  EXPECT_EQ(handle->read()->region, "east");
}

TEST_P(RegisterConformance, TermNeverGoesBackAndBelongsToOneRegion) {
  auto handle = store_->open();
  ASSERT_EQ(handle->compare_and_swap(0, record_of(5, "east"))->outcome, CasOutcome::won);
  EXPECT_FALSE(handle->compare_and_swap(1, record_of(4, "east"))) << "a lower term is refused";
  EXPECT_FALSE(handle->compare_and_swap(1, record_of(5, "west"))) << "two regions in one term are refused";
  EXPECT_FALSE(handle->compare_and_swap(1, record_of(6, ""))) << "no region";
  EXPECT_EQ(handle->read()->revision, 1U) << "a refusal writes nothing";
  EXPECT_EQ(handle->compare_and_swap(1, record_of(5, "east", Phase::switching))->outcome, CasOutcome::won)
      << "the phase changes within a term";
  EXPECT_EQ(handle->compare_and_swap(2, record_of(6, "west"))->current.revision, 3U);
}

TEST_P(RegisterConformance, ConcurrentWritersHaveExactlyOneWinnerPerRevision) {
  constexpr std::size_t kWriters = 4;
  constexpr std::uint64_t kRevisions = 12;
  std::array<std::vector<std::uint64_t>, kWriters> won;
  {
    std::vector<std::jthread> threads;
    for (std::size_t writer = 0; writer < kWriters; ++writer) {
      threads.emplace_back([this, writer, &won] {
        auto handle = store_->open();
        for (;;) {
          const auto seen = handle->read();
          if (!seen) continue;
          if (seen->revision >= kRevisions) return;
          const auto done = handle->compare_and_swap(
              seen->revision, record_of(seen->term.value + 1, "region-" + std::to_string(writer)));
          if (done && done->outcome == CasOutcome::won) won[writer].push_back(done->current.revision);
        }
      });
    }
  }
  std::vector<std::uint64_t> all;
  for (const auto& revisions : won) all.insert(all.end(), revisions.begin(), revisions.end());
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), kRevisions);
  for (std::uint64_t revision = 1; revision <= kRevisions; ++revision) EXPECT_EQ(all[revision - 1], revision);
  EXPECT_EQ(store_->open()->read()->term.value, kRevisions)
      << "every winner raised the term it had read by one";
}

INSTANTIATE_TEST_SUITE_P(All, RegisterConformance,
                         testing::Values(Kind{"memory", [] { return std::make_unique<MemoryStore>(); }},
                                         Kind{"sqlite", [] { return std::make_unique<SqliteStore>(); }}),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(SqliteRegister, ProcessesHaveExactlyOneWinnerPerRevision) {
  const SqliteStore store;
  constexpr std::uint64_t kRevisions = 12;
  constexpr int kProcesses = 3;
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  std::vector<pid_t> children;
  for (int child = 0; child < kProcesses; ++child) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      auto opened = SqliteRegister::open(store.file(), "main");
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

TEST(SqliteRegister, FailedWriteIsNeverReportedAsWon) {
  const SqliteStore store;
  {
    auto first = SqliteRegister::open(store.file(), "main");
    ASSERT_TRUE(first);
    ASSERT_EQ((*first)->compare_and_swap(0, record_of(1, "east"))->outcome, CasOutcome::won);
  }
  const pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    auto opened = SqliteRegister::open(store.file(), "main");
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
  const auto after = (*SqliteRegister::open(store.file(), "main"))->read();
  ASSERT_TRUE(after) << after.error().what;
  EXPECT_EQ(after->region, "east") << "the interrupted change was rolled back by the next reader";
}

TEST(SqliteRegister, GroupsInOneFileAreApart) {
  const SqliteStore store;
  auto one = SqliteRegister::open(store.file(), "payments");
  auto two = SqliteRegister::open(store.file(), "reports");
  ASSERT_TRUE(one && two);
  ASSERT_EQ((*one)->compare_and_swap(0, record_of(1, "east"))->outcome, CasOutcome::won);
  EXPECT_EQ((*two)->read()->revision, 0U);
}

TEST(SqliteRegister, FileOfAnotherKindIsRefusedWithItsNameAndWhatToDo) {
  const SqliteStore store;
  std::ofstream(store.file()) << std::string(5000, 'x');
  const auto opened = SqliteRegister::open(store.file(), "main");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().what.find(store.file()), std::string::npos) << opened.error().what;
  EXPECT_NE(opened.error().what.find("move it away"), std::string::npos) << opened.error().what;
}

TEST(SqliteRegister, FileThatWasMovedAwayOrReplacedIsNotTheRegisterAnyMore) {
  SqliteStore store;
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

TEST(SqliteRegister, MissingDirectoryIsAnErrorThatSaysSo) {
  const auto opened = SqliteRegister::open("/nonexistent/mainstay/register.db", "main");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().what.find("directory exists"), std::string::npos) << opened.error().what;
}

TEST(MemoryRegister, UnavailableIsAnErrorAndChangesNothing) {
  MemoryRegister of;
  of.set_available(false);
  EXPECT_FALSE(of.read());
  EXPECT_FALSE(of.compare_and_swap(0, record_of(1, "east")));
  of.set_available(true);
  EXPECT_EQ(of.read()->revision, 0U);
}

TEST(MemoryRegister, UnknownOutcomeMayHaveHappenedNeverHappenOrHappenLater) {
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
