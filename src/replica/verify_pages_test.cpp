#include "replica/verify_pages.h"

#include <algorithm>
#include <map>

#include "replica/replica_test_support.h"

namespace mainstay::replica {
namespace {

using testing::Pair;

bool is_page_file(const std::string& path) {
  return path.find("pages/") != std::string::npos;
}

class VerifyPages : public ::testing::Test {
 protected:
  void SetUp() override {
    pair.east.promote(1);
    pair.settle();
    queue = pair.east.declare();
    publish_to(500);
    first = pair.east.store_checkpoint();
    publish_to(1000);
    second = pair.east.store_checkpoint();
    ASSERT_GT(second, first);
  }
  void publish_to(int end) {
    for (; published < end; ++published) pair.east.publish(queue, std::to_string(published));
    pair.settle();
  }
  PagesReport look() { return verify_pages(pair.east.disk, ""); }
  std::vector<std::string> page_files() {
    auto paths = pair.east.disk.paths();
    std::erase_if(paths, [](const std::string& path) { return !is_page_file(path); });
    return paths;
  }
  std::map<std::string, Buffer> everything() {
    std::map<std::string, Buffer> out;
    for (const std::string& path : pair.east.disk.paths()) out[path] = pair.east.disk.contents(path);
    return out;
  }
  static bool names(const std::vector<std::string>& texts, const std::string& what) {
    return std::any_of(texts.begin(), texts.end(),
                       [&](const std::string& text) { return text.find(what) != std::string::npos; });
  }

  Pair pair;
  broker::QueueId queue{};
  int published = 0;
  Lsn first{}, second{};
};

TEST_F(VerifyPages, WholePagesHaveNoProblemAndNothingIsChanged) {
  const auto before = everything();
  const PagesReport report = look();
  EXPECT_TRUE(report.ok);
  EXPECT_TRUE(report.problems.empty()) << report.problems.front();
  EXPECT_EQ(report.checkpoint, second);
  EXPECT_EQ(report.checkpoints, 2U);
  EXPECT_GT(report.pages, 5U);
  EXPECT_EQ(report.files, page_files().size());
  EXPECT_TRUE(everything() == before);
}

TEST_F(VerifyPages, DamagedPageIsNamedWithFileAndOffsetAndTheOlderCheckpointCanStillBeUsed) {
  const auto newest = page_files().back();
  pair.east.disk.flip(newest, 60);
  const PagesReport report = look();
  EXPECT_FALSE(report.ok);
  EXPECT_TRUE(names(report.problems, "checkpoint " + std::to_string(second.value) + " cannot be used"));
  EXPECT_TRUE(names(report.problems, newest.substr(newest.rfind('/')))) << report.problems.front();
  EXPECT_TRUE(names(report.problems, "offset 32")) << report.problems.back();
  EXPECT_EQ(report.checkpoints, 1U);
  pair.east.crash();
  EXPECT_EQ(pair.east.checkpoint_used, first) << "a start finds the same";
}

TEST_F(VerifyPages, EveryDamagedFileIsNamedNotOnlyTheFirst) {
  for (const std::string& path : page_files()) pair.east.disk.flip(path, 60);
  const PagesReport report = look();
  EXPECT_EQ(report.checkpoints, 0U);
  for (const std::string& path : page_files())
    EXPECT_TRUE(names(report.problems, path.substr(path.rfind('/')) + ": offset 32"));
}

TEST_F(VerifyPages, MissingFileIsNamed) {
  const auto newest = page_files().back();
  pair.east.disk.erase(newest);
  const PagesReport report = look();
  EXPECT_FALSE(report.ok);
  EXPECT_TRUE(names(report.problems, newest.substr(newest.rfind('/'))));
}

TEST_F(VerifyPages, FileThatIsShorterThanItWasIsAProblem) {
  const auto newest = page_files().back();
  Buffer content = pair.east.disk.contents(newest);
  content.resize(content.size() / 2);
  pair.east.disk.put(newest, content);
  EXPECT_FALSE(look().ok);
}

TEST_F(VerifyPages, UnreferencedFileIsNamedAndNoProblemWhateverItHolds) {
  const std::string stray = "pages/pages-00000000000000f0";
  pair.east.disk.put(stray, as_bytes("torn by a crash"));
  const PagesReport report = look();
  EXPECT_TRUE(report.ok);
  ASSERT_EQ(report.unused.size(), 1U);
  EXPECT_NE(report.unused.front().find(stray + ": no checkpoint refers to it"), std::string::npos)
      << report.unused.front();
}

TEST(VerifyPagesOfNothing, JournalWithoutCheckpointsHasNoProblem) {
  MemoryDisk disk;
  const PagesReport report = verify_pages(disk, "");
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.checkpoint, Lsn{});
}

}  // namespace
}  // namespace mainstay::replica
