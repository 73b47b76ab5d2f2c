#include "base/memory_disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace mainstay {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<File> create(MemoryDisk& disk, const std::string& path) {
  return disk.open(path, OpenMode::create).value();
}
std::string text(const MemoryDisk& disk, const std::string& path) {
  return std::string(as_text(disk.contents(path)));
}

TEST(MemoryDisk, UnsyncedWritesAreReadAndLostInACrash) {
  MemoryDisk disk;
  {
    const auto file = create(disk, "f");
    ASSERT_TRUE(file->write(0, as_bytes("kept")));
    ASSERT_TRUE(file->sync());
    ASSERT_TRUE(disk.sync_directory(""));
    ASSERT_TRUE(file->write(4, as_bytes(" lost")));
    EXPECT_EQ(text(disk, "f"), "kept lost");
    EXPECT_EQ(as_text(*disk.durable_contents("f")), "kept");
  }
  disk.crash_losing_unsynced();
  EXPECT_EQ(text(disk, "f"), "kept");
  EXPECT_EQ(disk.counters().writes_lost, 1U);
}

TEST(MemoryDisk, KillKeepsWhatWasWrittenButMakesNothingDurable) {
  MemoryDisk disk;
  ASSERT_TRUE(create(disk, "f")->write(0, as_bytes("x")));
  disk.kill();
  EXPECT_EQ(text(disk, "f"), "x");
  disk.crash_losing_unsynced();
  EXPECT_FALSE(disk.exists("f"));
}

TEST(MemoryDisk, CrashKeepsDropsAndTearsUnsyncedWritesBySector) {
  std::set<std::string> outcomes;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    MemoryDisk disk;
    disk.put("f", Buffer(1024, std::byte{'o'}));
    ASSERT_TRUE(disk.open("f", OpenMode::read_write).value()->write(256, Buffer(512, std::byte{'n'})));
    SeededRandom random(seed);
    disk.crash(random);
    const std::string content = text(disk, "f");
    ASSERT_EQ(content.size(), 1024U);
    const std::string o(256, 'o');
    const std::string n(256, 'n');
    outcomes.insert(content == o + o + o + o   ? "dropped"
                    : content == o + n + n + o ? "kept"
                    : content == o + n + o + o ? "first sector"
                    : content == o + o + n + o ? "second sector"
                                               : "torn inside a sector");
  }
  EXPECT_THAT(outcomes, ElementsAre("dropped", "first sector", "kept", "second sector"));
}

TEST(MemoryDisk, LaterUnsyncedWriteMaySurviveWithoutTheEarlier) {
  std::set<std::string> outcomes;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    MemoryDisk disk;
    disk.put("f", {});
    const auto file = disk.open("f", OpenMode::read_write).value();
    ASSERT_TRUE(file->write(0, as_bytes("a")));
    ASSERT_TRUE(file->write(1, as_bytes("b")));
    SeededRandom random(seed);
    disk.crash(random);
    outcomes.insert(text(disk, "f"));
  }
  EXPECT_EQ(outcomes, (std::set<std::string>{"", "a", "ab", std::string("\0b", 2)}));
}

TEST(MemoryDisk, UnsyncedDirectoryChangesMayOrMayNotHappenButRenameIsWhole) {
  std::set<std::string> outcomes;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    MemoryDisk disk;
    disk.put("old", as_bytes("old"));
    disk.put("gone", as_bytes("gone"));
    disk.put("new", as_bytes("new"));
    ASSERT_TRUE(disk.rename("new", "old"));
    ASSERT_TRUE(disk.remove("gone"));
    SeededRandom random(seed);
    disk.crash(random);
    std::string outcome;
    for (const std::string& path : disk.paths()) outcome += path + "=" + text(disk, path) + " ";
    outcomes.insert(outcome);
  }
  EXPECT_EQ(outcomes, (std::set<std::string>{"gone=gone new=new old=old ", "gone=gone old=new ",
                                             "new=new old=old ", "old=new "}));
}

TEST(MemoryDisk, FileInADirectoryThatIsNotDurableIsLost) {
  MemoryDisk disk;
  ASSERT_TRUE(disk.make_directory("a/b"));
  const auto file = create(disk, "a/b/f");
  ASSERT_TRUE(file->write(0, as_bytes("x")));
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(disk.sync_directory("a/b"));
  ASSERT_TRUE(disk.sync_directory(""));
  disk.crash_losing_unsynced();
  EXPECT_FALSE(disk.exists("a/b/f")) << "a was synced into the root, b into a was not";
  EXPECT_TRUE(disk.exists("a"));
}

TEST(MemoryDisk, FailedSyncLosesItsWritesForGoodThoughTheyAreStillRead) {
  MemoryDisk disk;
  disk.put("f", {});
  const auto file = disk.open("f", OpenMode::read_write).value();
  ASSERT_TRUE(file->write(0, as_bytes("lost")));
  disk.fail_next_sync();
  EXPECT_EQ(file->sync().error().code, DiskErrorCode::io);
  EXPECT_TRUE(file->sync()) << "as on Linux: the pages count as clean now";
  EXPECT_EQ(text(disk, "f"), "lost");
  EXPECT_EQ(as_text(*disk.durable_contents("f")), "");
  ASSERT_TRUE(file->write(0, as_bytes("kept")));
  ASSERT_TRUE(file->sync());
  EXPECT_EQ(as_text(*disk.durable_contents("f")), "kept");
}

TEST(MemoryDisk, FullDiskTakesWhatFitsAndOverwritesStillWork) {
  MemoryDisk disk;
  disk.put("f", Buffer(100));
  disk.set_capacity(110);
  EXPECT_EQ(disk.free_bytes().value(), 10U);
  const auto file = disk.open("f", OpenMode::read_write).value();
  const auto full = file->write(95, Buffer(20, std::byte{1}));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, DiskErrorCode::no_space);
  EXPECT_EQ(disk.contents("f").size(), 110U);
  EXPECT_EQ(file->preallocate(200).error().code, DiskErrorCode::no_space);
  EXPECT_TRUE(file->write(0, Buffer(110)));
  ASSERT_TRUE(disk.remove("f"));
  EXPECT_EQ(disk.free_bytes().value(), 110U);
}

TEST(MemoryDisk, InjectedFaultsHitOnceAfterTheirSkip) {
  MemoryDisk disk;
  disk.put("f", as_bytes("0123456789"));
  const auto file = disk.open("f", OpenMode::read_write).value();
  disk.fail_next_write(1);
  EXPECT_TRUE(file->write(0, as_bytes("a")));
  const auto failed = file->write(0, as_bytes("bbbb"));
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().what, HasSubstr("cannot write memory/f"));
  EXPECT_EQ(text(disk, "f"), "bb23456789") << "half of it was written";
  EXPECT_TRUE(file->write(0, as_bytes("c")));
  disk.fail_next_read();
  Buffer into(1);
  EXPECT_FALSE(file->read(0, into));
  EXPECT_TRUE(file->read(0, into));
  disk.flip("f", 9, 0x01);
  EXPECT_EQ(text(disk, "f"), "cb23456788");
  EXPECT_EQ(as_text(*disk.durable_contents("f")), "0123456788");
  EXPECT_EQ(disk.counters().faults_injected, 2U);
}

TEST(MemoryDisk, AReadIsDamagedOnItsWayOnceAndTheDiskIsWell) {
  MemoryDisk disk;
  disk.put("f", as_bytes("0123456789"));
  const auto file = *disk.open("f", OpenMode::read);
  disk.damage_next_read(1);
  Buffer into(10);
  ASSERT_TRUE(file->read(0, into));
  EXPECT_EQ(as_text(into), "0123456789");
  ASSERT_TRUE(file->read(0, into));
  EXPECT_NE(as_text(into), "0123456789");
  ASSERT_TRUE(file->read(0, into));
  EXPECT_EQ(as_text(into), "0123456789");
  EXPECT_EQ(disk.counters().faults_injected, 1U);
}

TEST(MemoryDisk, AWriteThatLandsElsewhereIsReadAndDurable) {
  MemoryDisk disk;
  disk.put("f", as_bytes("0123456789"));
  disk.overwrite("f", 3, as_bytes("abc"));
  EXPECT_EQ(as_text(disk.contents("f")), "012abc6789");
  disk.crash_losing_unsynced();
  EXPECT_EQ(as_text(disk.contents("f")), "012abc6789");
}

TEST(MemoryDisk, StopAfterFailsEveryLaterChangeUntilTheProcessEnds) {
  MemoryDisk disk;
  disk.stop_after(2);
  const auto file = create(disk, "f");
  EXPECT_TRUE(file->write(0, as_bytes("x")));
  EXPECT_FALSE(file->sync());
  EXPECT_FALSE(disk.sync_directory(""));
  EXPECT_FALSE(disk.remove("f"));
  EXPECT_TRUE(disk.exists("f"));
  Buffer into(1);
  EXPECT_TRUE(file->read(0, into)) << "reading changes nothing";
  disk.kill();
  EXPECT_TRUE(disk.remove("f"));
}

TEST(MemoryDisk, CrashReleasesLocksAndEndsOpenFiles) {
  MemoryDisk disk;
  disk.put("f", as_bytes("x"));
  auto held = disk.lock("lock").value();
  EXPECT_EQ(disk.lock("lock").error().code, DiskErrorCode::locked);
  const auto file = disk.open("f", OpenMode::read_write).value();
  disk.kill();
  auto next = disk.lock("lock");
  EXPECT_TRUE(next);
  held.reset();
  EXPECT_EQ(disk.lock("lock").error().code, DiskErrorCode::locked)
      << "the dead process's lock does not release its successor's";
  Buffer into(1);
  EXPECT_FALSE(file->read(0, into));
  EXPECT_FALSE(file->write(0, as_bytes("y")));
  EXPECT_FALSE(file->sync());
}

TEST(MemoryDisk, BehavesLikeADirectoryTree) {
  MemoryDisk disk("region-a");
  EXPECT_EQ(disk.describe("x/y"), "region-a/x/y");
  EXPECT_EQ(disk.open("f", OpenMode::read).error().code, DiskErrorCode::not_found);
  EXPECT_EQ(disk.open("d/f", OpenMode::create).error().code, DiskErrorCode::not_found);
  ASSERT_TRUE(disk.make_directory("d/e"));
  ASSERT_TRUE(disk.make_directory("d/e"));
  create(disk, "d/f");
  EXPECT_EQ(disk.open("d/f", OpenMode::create).error().code, DiskErrorCode::exists);
  EXPECT_EQ(disk.make_directory("d/f").error().code, DiskErrorCode::exists);
  EXPECT_EQ(disk.remove("d/g").error().code, DiskErrorCode::not_found);
  EXPECT_EQ(disk.rename("d/g", "h").error().code, DiskErrorCode::not_found);
  EXPECT_EQ(disk.list("nowhere").error().code, DiskErrorCode::not_found);
  EXPECT_THAT(disk.list("").value(), ElementsAre("d"));
  EXPECT_THAT(disk.list("d").value(), ElementsAre("e", "f"));
  EXPECT_EQ(disk.open("d/f", OpenMode::read).value()->write(0, as_bytes("x")).error().code,
            DiskErrorCode::permission);
  ASSERT_TRUE(replace_file(disk, "d/f", as_bytes("content")));
  EXPECT_EQ(as_text(read_file(disk, "d/f", 100).value()), "content");
  EXPECT_FALSE(read_file(disk, "d/f", 3)) << "longer than expected";
  disk.crash_losing_unsynced();
  EXPECT_FALSE(disk.exists("d/f")) << "its directory was never synced into the root";
}

TEST(MemoryDisk, AFileWithTwoNamesIsOneFileAlsoAfterACrash) {
  MemoryDisk disk;
  const auto file = create(disk, "f");
  ASSERT_TRUE(disk.make_directory("a"));
  ASSERT_TRUE(disk.link("f", "a/g"));
  EXPECT_EQ(disk.link("f", "a/g").error().code, DiskErrorCode::exists);
  EXPECT_FALSE(disk.remove_directory("a")) << "it is not empty";
  ASSERT_TRUE(file->write(0, as_bytes("one")));
  ASSERT_TRUE(file->sync());
  EXPECT_EQ(text(disk, "a/g"), "one");
  ASSERT_TRUE(disk.sync_directory(""));
  ASSERT_TRUE(disk.sync_directory("a"));
  ASSERT_TRUE(disk.remove("f"));
  ASSERT_TRUE(disk.sync_directory(""));
  disk.crash_losing_unsynced();
  EXPECT_EQ(disk.paths(), std::vector<std::string>{"a/g"});
  EXPECT_EQ(text(disk, "a/g"), "one");
}

TEST(MemoryDisk, SameCallsAndSeedLeaveTheSameDisk) {
  const auto run = [](std::uint64_t seed) {
    MemoryDisk disk;
    SeededRandom random(seed);
    for (int i = 0; i < 20; ++i) {
      const auto file = create(disk, "f" + std::to_string(i));
      EXPECT_TRUE(file->write(random.below(2000), Buffer(random.below(3000), static_cast<std::byte>(i))));
      const bool sync = random.chance(1, 2);
      EXPECT_TRUE(!sync || file->sync());
      const bool sync_directory = random.chance(1, 3);
      EXPECT_TRUE(!sync_directory || disk.sync_directory(""));
    }
    disk.crash(random);
    std::string out;
    for (const std::string& path : disk.paths()) out += path + text(disk, path);
    return out;
  };
  EXPECT_EQ(run(3), run(3));
  EXPECT_NE(run(3), run(4));
}

}  // namespace
}  // namespace mainstay
