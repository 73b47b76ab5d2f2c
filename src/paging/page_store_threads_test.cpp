// The strand seals, another thread syncs: what sync() said is durable is there after a crash at any instant,
// and the two do not disturb each other. Under ThreadSanitizer this looks for races; the disk of the second
// test has no lock of its own that could hide one.
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <map>
#include <thread>

#include "io/posix_disk.h"
#include "paging/page_store_test_support.h"

namespace mainstay::paging {
namespace {

struct Stored {
  PageRef ref;
  Buffer content;
};
using Root = std::map<std::uint64_t, Stored>;

/// What a state does to its pages between two looks at the thread that syncs.
void work(PageStore& pages, Root& now, Random& random) {
  const std::uint64_t name = random.below(60);
  const auto known = now.find(name);
  if (known != now.end() && random.chance(1, 3)) {
    ASSERT_EQ(load(pages, known->second.ref), known->second.content);
    if (!pages.wants_moving(known->second.ref)) return;
  }
  if (known != now.end() && random.chance(1, 4)) {
    pages.release(known->second.ref);
    now.erase(known);
    return;
  }
  Buffer content = random_page(random, 400);
  const auto ref = pages.store(content);
  ASSERT_TRUE(ref);
  if (known != now.end()) pages.release(known->second.ref);
  now[name] = {*ref, std::move(content)};
}

/// A checkpoint that another thread makes durable.
struct UnderWay {
  std::shared_ptr<PageStore::Sealed> sealed;
  Root root;
  std::future<bool> synced;
};
UnderWay begin_checkpoint(PageStore& pages, const Root& now) {
  UnderWay out{pages.seal(), now, {}};
  std::packaged_task<bool()> sync([sealed = out.sealed] { return sealed->sync().has_value(); });
  out.synced = sync.get_future();
  std::thread(std::move(sync)).detach();
  return out;
}
bool is_ready(const UnderWay& checkpoint) {
  return checkpoint.synced.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

/// Adopts and compares. What cannot be had throws PageLost.
void restore(PageStore& pages, const Root& root) {
  Buffer content;
  for (const auto& [name, page] : root) {
    pages.adopt(page.ref);
    pages.load(page.ref, content);
    ASSERT_EQ(content, page.content) << "page " << name << " of file " << page.ref.file;
  }
}

TEST(PageStoreThreads, WhatAnotherThreadSyncedIsThereAfterACrashAtAnyInstant) {
  std::uint64_t whole = 0, in_the_middle = 0;
  const Seeds all = seeds(60);
  for (std::uint64_t seed = all.first; seed < all.first + all.count; ++seed) {
    SCOPED_TRACE("MAINSTAY_SEED=" + std::to_string(seed));
    SeededRandom random(seed);
    MemoryDisk disk;
    std::vector<Root> durable{Root{}};
    for (int life = 0; life < 3; ++life) {
      auto pages = open_pages(disk);
      Root now = durable.back();
      ASSERT_NO_FATAL_FAILURE(restore(*pages, now));
      std::optional<UnderWay> checkpoint;
      const std::uint64_t steps = random.between(50, 600);
      for (std::uint64_t step = 0; step < steps; ++step) {
        ASSERT_NO_FATAL_FAILURE(work(*pages, now, random));
        if (checkpoint && is_ready(*checkpoint)) {
          ASSERT_TRUE(checkpoint->synced.get());
          durable.push_back(checkpoint->root);
          pages->checkpoint_stored(checkpoint->sealed);
          checkpoint.reset();
          ++whole;
        }
        if (!checkpoint && random.chance(1, 20)) checkpoint = begin_checkpoint(*pages, now);
      }
      const bool told = checkpoint && is_ready(*checkpoint);
      disk.crash(random);  // the thread may be within sync()
      if (checkpoint) {
        ++in_the_middle;
        // What came back after the crash came to nobody: the disk takes a directory that is synced then for
        // one of the next life.
        if (checkpoint->synced.get() && told) durable.push_back(checkpoint->root);
      }
      checkpoint.reset();
      pages.reset();
      for (std::size_t back = 0; back < std::min<std::size_t>(2, durable.size()); ++back) {
        auto opened = open_pages(disk);
        ASSERT_NO_FATAL_FAILURE(restore(*opened, durable[durable.size() - 1 - back]));
      }
    }
  }
  EXPECT_GT(whole, 0U);
  EXPECT_GT(in_the_middle, 0U);
}

TEST(PageStoreThreads, FilesOfACheckpointThatIsHeldOutliveLaterCheckpoints) {
  MemoryDisk disk;
  SeededRandom random(seeds(1).first);
  auto pages = open_pages(disk);
  Root now;
  std::shared_ptr<PageStore::Sealed> held;
  std::size_t gone_after = 0;
  const auto all_there = [&](const std::vector<PageStore::Sealed::File>& files) {
    return std::all_of(files.begin(), files.end(), [&](const auto& file) {
      return disk.open(std::string(kDirectory) + "/" + page_file_name(file.number), OpenMode::read)
          .has_value();
    });
  };
  std::vector<PageStore::Sealed::File> files;
  for (int made = 0; made < 40; ++made) {
    for (int i = 0; i < 60; ++i) ASSERT_NO_FATAL_FAILURE(work(*pages, now, random));
    auto checkpoint = begin_checkpoint(*pages, now);
    ASSERT_TRUE(checkpoint.synced.get());
    pages->checkpoint_stored(checkpoint.sealed);
    if (made == 3) {
      held = checkpoint.sealed;
      files = held->files();
      ASSERT_FALSE(files.empty());
    }
    if (made > 3 && made <= 20) {
      ASSERT_TRUE(all_there(files)) << made - 3 << " checkpoints later";
    }
    if (made == 20) held.reset();
    if (made > 20 && !all_there(files)) ++gone_after;
  }
  EXPECT_GT(gone_after, 0U) << "what nobody holds any more goes";
}

TEST(PageStoreThreads, StrandGoesOnWhileAnotherThreadSyncsFilesOfARealDisk) {
  std::string directory = testing::TempDir() + "mainstay_pages_XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  {
    const auto disk = io::PosixDisk::open(directory);
    ASSERT_TRUE(disk) << disk.error().what;
    SeededRandom random(seeds(1).first);
    auto pages = open_page_store(**disk, kDirectory, kTiny).value();
    Root now, newest;
    for (int made = 0; made < 8;) {
      auto checkpoint = begin_checkpoint(*pages, now);
      do {
        ASSERT_NO_FATAL_FAILURE(work(*pages, now, random));
      } while (!is_ready(checkpoint));
      ASSERT_TRUE(checkpoint.synced.get());
      newest = checkpoint.root;
      pages->checkpoint_stored(checkpoint.sealed);
      ++made;
    }
    EXPECT_FALSE(newest.empty());
    pages.reset();
    pages = open_page_store(**disk, kDirectory, kTiny).value();
    restore(*pages, newest);
  }
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace mainstay::paging
