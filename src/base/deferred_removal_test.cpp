#include "base/deferred_removal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/memory_disk.h"

namespace mainstay {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class DeferredRemovalOfFiles : public testing::Test {
 protected:
  DeferredRemovalOfFiles() { reopen(); }
  /// A life that begins with what the disk has now.
  void reopen() {
    // Lent: the disk outlives every life.
    class Lent final : public Disk {
     public:
      explicit Lent(DeferredRemovalOfFiles& test) : disk_(test.memory), test_(test) {}
      Result<std::unique_ptr<File>, DiskError> open(const std::string& path, OpenMode mode) override {
        return disk_.open(path, mode);
      }
      Result<std::vector<std::string>, DiskError> list(const std::string& directory) override {
        return disk_.list(directory);
      }
      Result<void, DiskError> rename(const std::string& from, const std::string& to) override {
        if (test_.rename_fails) return DiskError{DiskErrorCode::no_space, "no space for a name"};
        return disk_.rename(from, to);
      }
      Result<void, DiskError> remove(const std::string& path) override { return disk_.remove(path); }
      Result<void, DiskError> make_directory(const std::string& path) override {
        return disk_.make_directory(path);
      }
      Result<void, DiskError> sync_directory(const std::string& path) override {
        return disk_.sync_directory(path);
      }
      Result<std::uint64_t, DiskError> free_bytes() override { return disk_.free_bytes(); }
      Result<std::unique_ptr<DiskLock>, DiskError> lock(const std::string& path) override {
        return disk_.lock(path);
      }
      std::string describe(const std::string& path) const override { return disk_.describe(path); }

     private:
      Disk& disk_;
      DeferredRemovalOfFiles& test_;
    };
    disk = DeferredRemoval::open(std::make_unique<Lent>(*this)).value();
  }
  void create(const std::string& path, std::size_t bytes = 10'000) {
    const auto file = disk->open(path, OpenMode::create).value();
    ASSERT_TRUE(file->write(0, Buffer(bytes, std::byte{7})));
  }
  std::vector<std::string> kept() { return memory.list(DeferredRemoval::kDirectory).value(); }

  MemoryDisk memory;
  bool rename_fails = false;
  std::unique_ptr<DeferredRemoval> disk;
};

TEST_F(DeferredRemovalOfFiles, ARemovedFileIsGoneFromItsPlaceAndItsSpaceComesBackWithTheRelease) {
  create("a");
  ASSERT_TRUE(disk->remove("a"));
  EXPECT_EQ(disk->open("a", OpenMode::read).error().code, DiskErrorCode::not_found);
  EXPECT_THAT(kept(), ElementsAre("0000000000000001"));
  EXPECT_EQ(disk->kept_bytes(), 10'000u);
  EXPECT_TRUE(disk->release().value());
  EXPECT_THAT(kept(), IsEmpty());
  EXPECT_EQ(disk->kept_bytes(), 0u);
  EXPECT_FALSE(disk->release().value());
}

TEST_F(DeferredRemovalOfFiles, ANameCanBeUsedAgainAtOnceAndRemovedAgain) {
  for (int i = 0; i < 3; ++i) {
    create("a");
    ASSERT_TRUE(disk->remove("a"));
  }
  EXPECT_EQ(kept().size(), 3u);
}

TEST_F(DeferredRemovalOfFiles, TheOldestGoesFirst) {
  create("a");
  create("b");
  ASSERT_TRUE(disk->remove("a"));
  ASSERT_TRUE(disk->remove("b"));
  ASSERT_TRUE(disk->release().value());
  EXPECT_THAT(kept(), ElementsAre("0000000000000002"));
}

TEST_F(DeferredRemovalOfFiles, AnotherLifeGoesOnWithWhatIsLeft) {
  create("a");
  create("b", 20'000);
  ASSERT_TRUE(disk->remove("a"));
  ASSERT_TRUE(disk->remove("b"));
  ASSERT_TRUE(disk->release().value());
  reopen();
  EXPECT_EQ(disk->kept_bytes(), 20'000u);
  create("c");
  ASSERT_TRUE(disk->remove("c"));
  EXPECT_THAT(kept(), ElementsAre("0000000000000002", "0000000000000003")) << "no file is written over";
  ASSERT_TRUE(disk->release().value());
  ASSERT_TRUE(disk->release().value());
  EXPECT_THAT(kept(), IsEmpty());
}

TEST_F(DeferredRemovalOfFiles, WhatSomebodyElsePutThereStays) {
  create("removed/notes");
  create("removed/12");
  reopen();
  EXPECT_EQ(disk->kept_bytes(), 0u);
  EXPECT_FALSE(disk->release().value());
  EXPECT_THAT(kept(), ElementsAre("12", "notes"));
}

TEST_F(DeferredRemovalOfFiles, EmptyFilesCountToo) {
  create("a", 0);
  ASSERT_TRUE(disk->remove("a"));
  EXPECT_GT(disk->kept_bytes(), 0u) << "else nobody would ask for the release";
}

TEST_F(DeferredRemovalOfFiles, WhatIsNotThereIsToldAsTheDiskTellsIt) {
  EXPECT_EQ(disk->remove("a").error().code, DiskErrorCode::not_found);
  EXPECT_EQ(disk->kept_bytes(), 0u);
}

TEST_F(DeferredRemovalOfFiles, AFileThatCannotBeKeptIsRemovedAtOnce) {
  create("a");
  rename_fails = true;
  ASSERT_TRUE(disk->remove("a"));
  EXPECT_EQ(memory.open("a", OpenMode::read).error().code, DiskErrorCode::not_found);
  EXPECT_EQ(disk->kept_bytes(), 0u);
}

}  // namespace
}  // namespace mainstay
