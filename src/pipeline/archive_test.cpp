#include "pipeline/archive.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pipeline/archive_frame.h"
#include "pipeline/pipeline_test.h"

namespace mainstay::pipeline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr WallTime noon{1'700'000'000'000};  // 2023-11-14

ArchiveEntry entry(int number, RegionTerm term = RegionTerm{1}) {
  ArchiveEntry made;
  made.id = "id" + std::to_string(number);
  made.idempotency_key = "key" + std::to_string(number);
  made.content_digest = "digest" + std::to_string(number);
  made.ordering_key = "A:" + std::to_string(number % 3);
  made.source = "file#" + std::to_string(number);
  made.ingest = static_cast<std::uint64_t>(number);
  made.term = term;
  made.message = to_buffer(as_bytes("message " + std::to_string(number)));
  return made;
}

std::vector<ArchiveEntry> entries(int from, int to) {
  std::vector<ArchiveEntry> made;
  for (int i = from; i < to; ++i) made.push_back(entry(i));
  return made;
}

class ArchiveTest : public DirectoryTest {
 protected:
  std::unique_ptr<Archive> open(const std::string& writer = "w") {
    return Archive::open(at("archive"), writer).value();
  }
  std::vector<std::string> packs() {
    std::vector<std::string> found;
    for (const auto& file : std::filesystem::recursive_directory_iterator(at("archive"))) {
      if (file.path().extension() == ".pack") found.push_back(file.path().string());
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  static std::vector<std::string> ids(Archive& archive) {
    std::vector<std::string> found;
    archive
        .for_each([&](const ArchiveRow& row) {
          found.push_back(row.id);
          return true;
        })
        .value();
    return found;
  }
};

TEST_F(ArchiveTest, StoresFindsAndReadsByIdInADirectoryOfTheDay) {  // P12
  const auto archive = open();
  archive->store(entries(0, 5), noon).value();
  const ArchiveEntry read = archive->read("id3").value();
  EXPECT_EQ(as_text(read.message), "message 3");
  EXPECT_EQ(read.ingest, 3U);
  EXPECT_EQ(archive->find("id4").value()->source, "file#4");
  EXPECT_FALSE(archive->find("id9").value().has_value());
  EXPECT_EQ(archive->find_key("key2").value()->content_digest, "digest2");
  ASSERT_EQ(packs().size(), 1U);
  EXPECT_THAT(packs()[0], HasSubstr("/2023/11/14/w-t1-000001.pack"));
  EXPECT_FALSE(archive->read("id9"));
}

TEST_F(ArchiveTest, AnIdIsStoredOnceAndOrderIsThatOfArrival) {
  const auto archive = open();
  archive->store({entry(5), entry(2), entry(5)}, noon).value();
  archive->store({entry(2), entry(1)}, noon).value();
  EXPECT_THAT(ids(*archive), ElementsAre("id1", "id2", "id5"));
  EXPECT_EQ(archive->verify().value().entries, 3U);
}

TEST_F(ArchiveTest, FirstContentOfAKeyIsWhatConflictsAreJudgedBy) {
  const auto archive = open();
  ArchiveEntry other = entry(9);
  other.idempotency_key = "key1";
  archive->store({entry(1)}, noon).value();
  archive->store({other}, noon).value();
  EXPECT_EQ(archive->find_key("key1").value()->content_digest, "digest1");
}

TEST_F(ArchiveTest, CrashAtAnyByteOfTheTailLosesOnlyTheUnfinishedFrame) {  // kill -9 between any two bytes
  open()->store(entries(0, 3), noon).value();
  const std::string pack = packs()[0];
  const auto whole = std::filesystem::file_size(pack);
  Buffer tail;
  ArchiveEntry last = entry(3);
  last.ordering_key = last.source = last.content_digest = "";
  archive_frame::append(tail, {last});
  for (std::size_t bytes = 0; bytes <= tail.size(); ++bytes) {
    std::filesystem::resize_file(pack, whole);
    for (const char* suffix : {"", "-wal", "-shm"})
      std::filesystem::remove(at("archive/index.sqlite") + suffix);
    std::ofstream(pack, std::ios::binary | std::ios::app) << as_text(BytesView(tail).first(bytes));
    const auto archive = open();
    EXPECT_EQ(archive->count().value(), bytes == tail.size() ? 4U : 3U) << bytes;
    EXPECT_EQ(as_text(archive->read("id2").value().message), "message 2");
    const ArchiveCheck check = archive->verify().value();
    EXPECT_EQ(check.torn_packs, bytes == 0 || bytes == tail.size() ? 0U : 1U) << bytes;
    EXPECT_TRUE(check.problems.empty());
  }
}

TEST_F(ArchiveTest, AfterATornTailStoringGoesOnInAnotherPack) {
  open()->store(entries(0, 3), noon).value();
  std::ofstream(packs()[0], std::ios::app) << "torn";
  const auto archive = open();
  archive->store(entries(3, 6), noon).value();
  EXPECT_EQ(packs().size(), 2U);
  EXPECT_EQ(open("other")->count().value(), 6U);
}

TEST_F(ArchiveTest, IndexMayBeRemovedAndIsMadeAgain) {
  open()->store(entries(0, 100), noon).value();
  for (const char* suffix : {"", "-wal", "-shm"})
    std::filesystem::remove(at("archive/index.sqlite") + suffix);
  const auto archive = open();
  EXPECT_EQ(archive->count().value(), 100U);
  EXPECT_EQ(as_text(archive->read("id77").value().message), "message 77");
}

TEST_F(ArchiveTest, StoredFrameThatIsNotIndexedIsFoundByTheNext) {
  {
    const auto archive = open();
    archive->store(entries(0, 2), noon).value();
  }
  Buffer frame;
  archive_frame::append(frame, entries(2, 4));
  std::ofstream(packs()[0], std::ios::binary | std::ios::app) << as_text(frame);
  const auto archive = open("other");
  EXPECT_EQ(archive->count().value(), 4U);
}

TEST_F(ArchiveTest, DamageIsReportedWithPackAndPlaceAndNeverReadAsContent) {
  const auto archive = open();
  archive->store(entries(0, 3), noon).value();
  archive->store(entries(3, 6), noon).value();
  const std::string pack = packs()[0];
  std::fstream file(pack, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(40);
  file.put('\x55');
  file.close();
  const auto read = archive->read("id1");
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().what, HasSubstr("is damaged at byte 0"));
  const ArchiveCheck check = archive->verify().value();
  ASSERT_EQ(check.problems.size(), 1U);
  EXPECT_THAT(check.problems[0], HasSubstr(pack));
  EXPECT_EQ(as_text(archive->read("id4").value().message), "message 4");
}

TEST_F(ArchiveTest, LargePackIsFinishedAndAnotherDayHasItsOwn) {
  const auto archive = open();
  archive->limits.pack_bytes = 1;
  archive->store(entries(0, 2), noon).value();
  archive->store(entries(2, 4), noon).value();
  archive->store(entries(4, 6), {noon.ms + 86'400'000}).value();
  EXPECT_EQ(packs().size(), 3U);
  EXPECT_THAT(packs()[2], HasSubstr("/2023/11/15/"));
}

TEST_F(ArchiveTest, ProcessesShareItAndSurviveKills) {
  open("parent");
  for (int round = 0; round < 4; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto archive = Archive::open(at("archive"), "child").value();
      for (int i = 0;; ++i) {
        const int first = 1000 * (round * 1000 + i) + 100'000;
        if (!archive->store(entries(first, first + 10), noon)) ::_exit(1);
      }
    }
    const auto mine = open("parent");
    const std::string first = "id" + std::to_string(1'000'000 * round + 100'000);
    for (int i = 0; !mine->find(first).value(); ++i) {
      mine->store(entries(round * 1000 + i, round * 1000 + i + 1), noon).value();
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
  }
  const auto archive = open("reader");
  EXPECT_TRUE(archive->verify().value().problems.empty());
  EXPECT_EQ(archive->verify().value().entries, archive->count().value());
  for (const std::string& id : ids(*archive)) EXPECT_TRUE(archive->read(id)) << id;
}

TEST_F(ArchiveTest, WriterNamesThatWouldLeaveTheDirectoryAreRefused) {
  EXPECT_FALSE(Archive::open(at("archive"), "../x"));
  EXPECT_FALSE(Archive::open(at("archive"), ""));
}

}  // namespace
}  // namespace mainstay::pipeline
