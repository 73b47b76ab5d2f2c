#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "paging/page_format.h"
#include "paging/page_store_test_support.h"

namespace mainstay::paging {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string path_of(std::uint32_t file) {
  return std::string(kDirectory) + "/" + page_file_name(file);
}
std::string why_lost(PageStore& pages, PageRef page) {
  Buffer into;
  try {
    pages.load(page, into);
  } catch (const PageLost& lost) {
    return lost.what();
  }
  return "";
}

class EveryPageStore : public testing::TestWithParam<bool> {
 protected:
  MemoryDisk disk_;
  std::unique_ptr<PageStore> pages_ = GetParam() ? open_pages(disk_) : memory_page_store();
};
INSTANTIATE_TEST_SUITE_P(Kind, EveryPageStore, testing::Bool(),
                         [](const auto& kind) { return kind.param ? "Disk" : "Memory"; });

TEST_P(EveryPageStore, LoadsWhatWasStored) {
  std::vector<std::pair<PageRef, Buffer>> stored;
  SeededRandom random(1);
  for (int i = 0; i < 100; ++i) {
    Buffer page = random_page(random, 600);
    const auto ref = pages_->store(page);
    ASSERT_TRUE(ref);
    stored.emplace_back(*ref, std::move(page));
  }
  for (const auto& [ref, page] : stored) {
    EXPECT_EQ(ref.bytes, page.size());
    EXPECT_EQ(load(*pages_, ref), page);
  }
  EXPECT_EQ(pages_->pages_in_use(), 100U);
}

TEST_P(EveryPageStore, PagesOfKeptCheckpointsCanBeAdoptedAfterTheirRelease) {
  const PageRef a = pages_->store(page_of('a', 100)).value();
  checkpoint(*pages_);
  pages_->release(a);
  checkpoint(*pages_);
  pages_->adopt(a);
  EXPECT_EQ(load(*pages_, a), page_of('a', 100));
  EXPECT_EQ(pages_->pages_in_use(), 1U);
}

TEST_P(EveryPageStore, SpaceComesBackWhenNoCheckpointRefersToIt) {
  for (int round = 0; round < 20; ++round) {
    const PageRef page = pages_->store(page_of('a', 1000)).value();
    checkpoint(*pages_);
    pages_->release(page);
  }
  EXPECT_LE(pages_->disk_bytes(), 4 * 1100U);
  checkpoint(*pages_);
  checkpoint(*pages_);
  EXPECT_EQ(pages_->disk_bytes(), 0U);
  EXPECT_EQ(pages_->pages_in_use(), 0U);
}

TEST_P(EveryPageStore, PageThatWasNeverStoredIsLost) {
  EXPECT_NE(why_lost(*pages_, {.file = 7, .offset = 4, .bytes = 10}), "");
  EXPECT_THROW(pages_->adopt({.file = 7, .offset = 4, .bytes = 10}), PageLost);
}

TEST(PageFormat, BytesAreThoseOfTheFormatPage) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  ASSERT_TRUE(pages->store(as_bytes("hello, page")));
  checkpoint(*pages);
  EXPECT_EQ(hex(disk.contents(path_of(1))),
            "4d53504601000000"
            "0ebe6d7f64489dc9"
            "01000000000000000000000000000000"
            "4d5350470b000000"
            "fce8476bff467e13"
            "68656c6c6f2c20706167650000000000");
}

TEST(PageFormat, NamesAreReadBackAndOthersAreNot) {
  EXPECT_EQ(page_file_name(0x1a2b), "pages-0000000000001a2b");
  EXPECT_EQ(parse_page_file_name("pages-0000000000001a2b"), 0x1a2bU);
  for (const char* other : {"pages-0000000000000000", "pages-0000000100000000", "pages-0000000000001A2B",
                            "pages-1a2b", "page-00000000000001a2b", "pages-0000000000001a2g"}) {
    EXPECT_FALSE(parse_page_file_name(other)) << other;
  }
}

TEST(PageStore, GathersPagesAndWritesThemTogether) {
  MemoryDisk disk;
  const auto pages = open_pages(disk, {.file_bytes = 1 << 20, .gather_bytes = 64 << 10});
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(pages->store(page_of('a', 4000)));
  EXPECT_EQ(disk.counters().writes, 6U);  // 16 pages of 4016 bytes fit into 64 KiB
  EXPECT_EQ(disk.counters().syncs, 0U);
}

TEST(PageStore, PageLongerThanAFileIsStored) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  const PageRef small = pages->store(page_of('s', 10)).value();
  const PageRef giant = pages->store(page_of('g', 100'000)).value();
  const PageRef next = pages->store(page_of('n', 10)).value();
  EXPECT_EQ(load(*pages, giant), page_of('g', 100'000));
  checkpoint(*pages);
  EXPECT_EQ(load(*pages, giant), page_of('g', 100'000));
  EXPECT_EQ(load(*pages, small), page_of('s', 10));
  EXPECT_EQ(load(*pages, next), page_of('n', 10));
  EXPECT_GT(next.file, giant.file);
}

TEST(PageStore, EveryFlippedBitOfAPageIsFound) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  const PageRef page = pages->store(page_of('a', 40)).value();
  checkpoint(*pages);
  for (std::uint64_t at = begin_of(page); at < begin_of(page) + kPageHeaderBytes + 40; ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      disk.flip(path_of(1), at, static_cast<std::uint8_t>(1U << bit));
      EXPECT_THAT(why_lost(*pages, page), HasSubstr("pages-0000000000000001")) << at << " " << bit;
      disk.flip(path_of(1), at, static_cast<std::uint8_t>(1U << bit));
    }
  }
  EXPECT_EQ(load(*pages, page), page_of('a', 40));
}

TEST(PageStore, WholePageFromAnotherPlaceIsFound) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  const PageRef a = pages->store(page_of('a', 40)).value();
  const PageRef b = pages->store(page_of('b', 40)).value();
  checkpoint(*pages);
  const PageRef c = pages->store(page_of('c', 40)).value();
  checkpoint(*pages);
  const auto copy = [&](PageRef from, PageRef to) {
    const Buffer source = disk.contents(path_of(from.file));
    Buffer target = disk.contents(path_of(to.file));
    std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(begin_of(from)), extent_of(40),
                target.begin() + static_cast<std::ptrdiff_t>(begin_of(to)));
    disk.put(path_of(to.file), target);
  };
  ASSERT_EQ(a.offset, c.offset);
  copy(a, b);  // another offset of the same file
  copy(a, c);  // the same offset of another file
  const auto again = open_pages(disk);
  EXPECT_EQ(load(*again, a), page_of('a', 40));
  EXPECT_THAT(why_lost(*again, b), HasSubstr("not the page of this place"));
  EXPECT_THAT(why_lost(*again, c), HasSubstr("not the page of this place"));
}

TEST(PageStore, FailedReadAndMissingFileLoseThePage) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  const PageRef page = pages->store(page_of('a', 40)).value();
  checkpoint(*pages);
  disk.fail_next_read();
  EXPECT_THAT(why_lost(*pages, page), HasSubstr("injected"));
  const auto again = open_pages(disk);
  disk.erase(path_of(1));
  EXPECT_THAT(why_lost(*again, page), HasSubstr("pages-0000000000000001"));
}

TEST(PageStore, FailedWriteLosesAndFullDiskRefuses) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  disk.fail_next_write();
  EXPECT_THROW(
      {
        while (pages->store(page_of('a', 400))) {
        }
      },
      PageLost);
}

TEST(PageStore, FullDiskKeepsEveryPageTakenAndGoesOnWhenThereIsSpace) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  std::vector<std::pair<PageRef, Buffer>> taken;
  disk.set_capacity(3000);
  for (char letter = 'a';; ++letter) {
    Buffer page = page_of(letter, 300);
    const auto ref = pages->store(page);
    if (!ref) break;
    taken.emplace_back(*ref, std::move(page));
    ASSERT_LT(letter, 'z');
  }
  EXPECT_LE(disk.used_bytes(), 3000U);
  const std::uint64_t bytes = pages->disk_bytes();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(pages->store(page_of('x', 1)));  // also one that would still fit
  EXPECT_EQ(pages->disk_bytes(), bytes);
  EXPECT_EQ(pages->pages_in_use(), taken.size());
  const auto sealed = pages->seal();
  const auto synced = sealed->sync();
  ASSERT_FALSE(synced);
  EXPECT_EQ(synced.error().code, DiskErrorCode::no_space);
  for (const auto& [ref, page] : taken) EXPECT_EQ(load(*pages, ref), page);

  disk.set_capacity(UINT64_MAX);
  taken.emplace_back(pages->store(page_of('y', 300)).value(), page_of('y', 300));
  checkpoint(*pages);
  disk.crash_losing_unsynced();
  const auto again = open_pages(disk);
  for (const auto& [ref, page] : taken) {
    again->adopt(ref);
    EXPECT_EQ(load(*again, ref), page);
  }
}

TEST(PageStore, SyncCoversNewFilesOnly) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  ASSERT_TRUE(pages->store(page_of('a', 40)));
  checkpoint(*pages);
  ASSERT_TRUE(pages->store(page_of('b', 40)));
  const auto before = disk.counters();
  checkpoint(*pages);
  EXPECT_EQ(disk.counters().syncs - before.syncs, 1U);
  EXPECT_EQ(disk.counters().directory_syncs - before.directory_syncs, 1U);
  checkpoint(*pages);
  EXPECT_EQ(disk.counters().syncs - before.syncs, 1U);
}

TEST(PageStore, FileWhoseSyncFailedNeverCountsAsDurable) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  ASSERT_TRUE(pages->store(page_of('a', 40)));
  disk.fail_next_sync();
  EXPECT_FALSE(pages->seal()->sync());
  EXPECT_FALSE(pages->seal()->sync());
}

TEST(PageStore, FilesLiveAsLongAsPagesInUseAndTheTwoNewestCheckpoints) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  const PageRef a = pages->store(page_of('a', 40)).value();
  checkpoint(*pages);
  const PageRef b = pages->store(page_of('b', 40)).value();
  checkpoint(*pages);
  pages->release(a);
  EXPECT_THAT(disk.paths(), ElementsAre(path_of(1), path_of(2)));
  checkpoint(*pages);
  EXPECT_THAT(disk.paths(), ElementsAre(path_of(1), path_of(2)));  // the one before refers to a
  const auto given_up = pages->seal();
  pages->release(b);
  checkpoint(*pages);
  EXPECT_THAT(disk.paths(), ElementsAre(path_of(2)));
  checkpoint(*pages);
  EXPECT_THAT(disk.paths(), IsEmpty());
}

TEST(PageStore, SealedButNotYetStoredCheckpointKeepsItsFiles) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  const PageRef a = pages->store(page_of('a', 40)).value();
  auto sealed = pages->seal();
  pages->release(a);
  ASSERT_TRUE(sealed->sync());
  EXPECT_THAT(disk.paths(), ElementsAre(path_of(1)));
  sealed.reset();
  checkpoint(*pages);
  EXPECT_THAT(disk.paths(), IsEmpty());
}

TEST(PageStore, ClosedFileWithoutPagesInUseIsRemovedAtOnce) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  std::vector<PageRef> stored;
  while (stored.empty() || stored.back().file < 3) stored.push_back(pages->store(page_of('a', 500)).value());
  for (const PageRef page : stored) {
    if (page.file < 3) pages->release(page);
  }
  EXPECT_FALSE(disk.exists(path_of(1)));
  EXPECT_FALSE(disk.exists(path_of(2)));
}

TEST(PageStore, WhatWasFoundStaysUntilTwoCheckpointsAndNewFilesAreNumberedAbove) {
  MemoryDisk disk;
  PageRef kept;
  {
    const auto pages = open_pages(disk);
    kept = pages->store(page_of('k', 40)).value();
    checkpoint(*pages);
  }
  disk.kill();
  disk.put(path_of(9), as_bytes("a leftover"));
  disk.put(std::string(kDirectory) + "/notes", as_bytes("not ours"));
  const auto pages = open_pages(disk);
  pages->adopt(kept);
  EXPECT_EQ(load(*pages, kept), page_of('k', 40));
  EXPECT_EQ(pages->store(page_of('n', 40)).value().file, 10U);
  checkpoint(*pages);
  EXPECT_TRUE(disk.exists(path_of(9)));
  checkpoint(*pages);
  EXPECT_FALSE(disk.exists(path_of(9)));
  EXPECT_EQ(load(*pages, kept), page_of('k', 40));
  pages->release(kept);
  checkpoint(*pages);
  EXPECT_TRUE(disk.exists(path_of(1)));
  checkpoint(*pages);
  EXPECT_THAT(disk.paths(), ElementsAre(std::string(kDirectory) + "/notes", path_of(10)));
}

TEST(PageStore, AdoptRefusesFilesThatAreCutDamagedOrNewer) {
  MemoryDisk disk;
  PageRef page;
  {
    const auto pages = open_pages(disk);
    page = pages->store(page_of('k', 40)).value();
    checkpoint(*pages);
  }
  const Buffer good = disk.contents(path_of(1));
  const auto refusal = [&](const Buffer& content) -> std::string {
    disk.put(path_of(1), content);
    try {
      open_pages(disk)->adopt(page);
    } catch (const PageLost& lost) {
      return lost.what();
    }
    return "";
  };
  EXPECT_EQ(refusal(good), "");
  EXPECT_THAT(refusal(Buffer(good.begin(), good.end() - 8)), HasSubstr("bytes"));
  EXPECT_THAT(refusal({}), HasSubstr("bytes"));
  Buffer damaged = good;
  damaged[17] ^= std::byte{1};
  EXPECT_THAT(refusal(damaged), HasSubstr("checksum"));
  Buffer other;
  append_file_header(2, other);
  other.insert(other.end(), good.begin() + kFileHeaderBytes, good.end());
  EXPECT_THAT(refusal(other), HasSubstr("another file"));
}

TEST(PageStore, FileMostlyReleasedWantsMovingWhenItIsClosed) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  std::vector<PageRef> stored;
  for (int i = 0; i < 7; ++i) stored.push_back(pages->store(page_of('a', 500)).value());
  for (int i = 0; i < 3; ++i) pages->release(stored[static_cast<std::size_t>(i)]);
  checkpoint(*pages);
  EXPECT_FALSE(pages->wants_moving(stored[6]));  // 4 of 7
  pages->release(stored[3]);
  EXPECT_TRUE(pages->wants_moving(stored[6]));  // 3 of 7
  const PageRef current = pages->store(page_of('b', 500)).value();
  const PageRef gone = pages->store(page_of('b', 3000)).value();
  pages->release(gone);
  EXPECT_FALSE(pages->wants_moving(current));
}

TEST(PageStore, ManySmallFilesAreMergedAndFewStayOpen) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  std::vector<PageRef> stored;
  for (int i = 0; i < 1000; ++i) {
    stored.push_back(pages->store(page_of('a', 40)).value());
    checkpoint(*pages);
    for (PageRef& page : stored) {
      if (!pages->wants_moving(page)) continue;
      const Buffer content = load(*pages, page);
      pages->release(std::exchange(page, pages->store(content).value()));
    }
  }
  for (const PageRef page : stored) EXPECT_EQ(load(*pages, page), page_of('a', 40));
  EXPECT_LT(disk.paths().size(), 100U);
}

TEST(PageStore, MoreFilesThanMayStayOpenAreAllReadable) {
  MemoryDisk disk;
  const auto pages = open_pages(disk);
  std::vector<PageRef> stored;
  for (int i = 0; i < 300; ++i) {
    stored.push_back(pages->store(page_of(static_cast<char>(i % 100), 40)).value());
    checkpoint(*pages);
  }
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < stored.size(); ++i) {
      EXPECT_EQ(load(*pages, stored[i]), page_of(static_cast<char>(i % 100), 40));
    }
  }
}

}  // namespace
}  // namespace mainstay::paging
