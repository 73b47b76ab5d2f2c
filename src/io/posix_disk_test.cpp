#include "io/posix_disk.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/random.h"
#include "io/system_clock.h"
#include "io/system_random.h"

namespace mainstay::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mainstay-io-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(PosixDisk, ReadsBackWhatWasWrittenAndReportsTheEnd) {
  const TemporaryDirectory directory;
  const auto disk = PosixDisk::open(directory.path()).value();
  ASSERT_TRUE(disk->make_directory("a/b"));
  ASSERT_TRUE(disk->make_directory("a/b")) << "it is there: fine";
  const auto file = disk->open("a/b/f", OpenMode::create).value();
  ASSERT_TRUE(file->write(3, as_bytes("payment")));
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(disk->sync_directory("a/b"));
  Buffer content(100);
  EXPECT_EQ(file->read(0, content).value(), 10U);
  EXPECT_EQ(as_text(BytesView(content).subspan(3, 7)), "payment");
  EXPECT_EQ(file->read(10, content).value(), 0U);
  EXPECT_EQ(file->size().value(), 10U);
  // What was just written is in memory, unless the file system cannot tell.
  Buffer cached(100);
  if (const auto got = file->read_if_cached(0, cached).value()) {
    EXPECT_EQ(*got, 10U);
    EXPECT_EQ(as_text(BytesView(cached).subspan(3, 7)), "payment");
    EXPECT_EQ(file->read_if_cached(10, cached).value(), 0U);
  }
  ASSERT_TRUE(file->truncate(4));
  EXPECT_EQ(file->size().value(), 4U);
  EXPECT_THAT(disk->list("a").value(), ElementsAre("b"));
  ASSERT_TRUE(disk->rename("a/b/f", "a/b/g"));
  EXPECT_THAT(disk->list("a/b").value(), ElementsAre("g"));
  ASSERT_TRUE(disk->remove("a/b/g"));
  EXPECT_THAT(disk->list("a/b").value(), ElementsAre());
  EXPECT_GT(disk->free_bytes().value(), 0U);
}

TEST(PosixDisk, ReplaceFileIsWholeAndLeavesNothingBeside) {
  const TemporaryDirectory directory;
  const auto disk = PosixDisk::open(directory.path()).value();
  ASSERT_TRUE(replace_file(*disk, "f", as_bytes("one")));
  ASSERT_TRUE(replace_file(*disk, "f", as_bytes("two")));
  EXPECT_EQ(as_text(read_file(*disk, "f", 10).value()), "two");
  EXPECT_THAT(disk->list("").value(), ElementsAre("f"));
}

TEST(PosixDisk, ErrorsNameOperationPathAndReason) {
  const TemporaryDirectory directory;
  const auto disk = PosixDisk::open(directory.path()).value();
  const auto missing = disk->open("missing", OpenMode::read);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, DiskErrorCode::not_found);
  EXPECT_THAT(missing.error().what, HasSubstr("cannot open"));
  EXPECT_THAT(missing.error().what, HasSubstr(disk->describe("missing") + ": No such file or directory"));
  ASSERT_TRUE(disk->open("there", OpenMode::create));
  EXPECT_EQ(disk->open("there", OpenMode::create).error().code, DiskErrorCode::exists);
  EXPECT_EQ(disk->make_directory("there/below").error().code, DiskErrorCode::io);
  EXPECT_EQ(disk->make_directory("there").error().code, DiskErrorCode::exists);
  EXPECT_EQ(disk->remove("missing").error().code, DiskErrorCode::not_found);
  EXPECT_THAT(disk->rename("missing", "x").error().what, HasSubstr("missing"));
  EXPECT_EQ(PosixDisk::open(directory.path() + "/nowhere").error().code, DiskErrorCode::not_found);
  const auto file = disk->open("there", OpenMode::read).value();
  EXPECT_FALSE(file->write(0, as_bytes("x"))) << "opened for reading";
}

TEST(PosixDisk, PreallocatedFileIsWrittenNotSparse) {
  const TemporaryDirectory directory;
  const auto disk = PosixDisk::open(directory.path()).value();
  const auto file = disk->open("f", OpenMode::create).value();
  ASSERT_TRUE(file->write(0, as_bytes("keep")));
  ASSERT_TRUE(file->preallocate((3U << 20) + 5));
  EXPECT_EQ(file->size().value(), (3U << 20) + 5);
  ASSERT_TRUE(file->preallocate(10)) << "never shortens";
  EXPECT_EQ(file->size().value(), (3U << 20) + 5);
  Buffer content(8);
  ASSERT_TRUE(file->read(0, content));
  EXPECT_EQ(as_text(content), std::string_view("keep\0\0\0\0", 8));
  struct stat status {};
  ASSERT_EQ(::stat(disk->describe("f").c_str(), &status), 0);
  EXPECT_GE(status.st_blocks * 512, 3 << 20) << "blocks are allocated";
}

/// Pages of the file that the system has in memory.
std::size_t pages_in_memory(const std::string& path, std::size_t bytes) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* const mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  EXPECT_NE(mapped, MAP_FAILED);
  std::vector<unsigned char> pages((bytes + 4095) / 4096);
  EXPECT_EQ(::mincore(mapped, bytes, pages.data()), 0);
  ::munmap(mapped, bytes);
  ::close(fd);
  return static_cast<std::size_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return page & 1; }));
}

TEST(PosixDisk, WhatIsReadOnceIsNotFetchedIntoTheCacheEither) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/log";
  const int direct = ::open(path.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
  if (direct < 0) GTEST_SKIP() << "this file system has no reads past the cache";
  ::close(direct);
  ::unlink(path.c_str());
  const auto disk = PosixDisk::open(directory.path()).value();
  const auto file = disk->open("log", OpenMode::create).value();
  constexpr std::size_t kBytes = 8U << 20;
  ASSERT_TRUE(file->write(0, Buffer(kBytes, std::byte{'x'})));
  ASSERT_TRUE(file->sync());
  file->not_read_soon(0, kBytes);
  if (pages_in_memory(path, kBytes) > 0) GTEST_SKIP() << "this file system keeps what is let go";
  Buffer little(10'000);
  ASSERT_TRUE(file->write(0, little));  // the begin is there, as where a batch before it ended
  const std::size_t there = pages_in_memory(path, kBytes);

  Buffer got(1U << 20);
  for (std::size_t at = 0; at < kBytes; at += got.size())
    ASSERT_EQ(file->read_once(at, got).value(), got.size());
  EXPECT_EQ(pages_in_memory(path, kBytes), there);
}

TEST(PosixDisk, WhatGoesPastTheCacheIsTheSameBytesAsWhatGoesThroughIt) {
  const TemporaryDirectory directory;
  const auto disk = PosixDisk::open(directory.path()).value();
  const auto file = disk->open("new", OpenMode::create).value();
  constexpr std::uint64_t kBytes = 8U << 20;
  ASSERT_TRUE(file->preallocate_unread(kBytes));
  EXPECT_EQ(file->size().value(), kBytes);
  // The name goes on to mean another file, as a segment's does: what is open is still the same.
  ASSERT_TRUE(disk->rename("new", "log"));
  const auto other = disk->open("new", OpenMode::create).value();
  ASSERT_TRUE(other->write(0, as_bytes("another file")));

  Buffer expected(kBytes);
  SeededRandom random(7);
  std::uint64_t at = 3;
  // One behind the other, of any length: pages that two of them share, and some too short to go past the
  // cache.
  for (const std::size_t length : {70'000U, 5U, 65'536U, 1'500'000U, 100U, 131'072U, 2'097'151U, 90'001U}) {
    Buffer piece(length);
    for (std::byte& each : piece) each = static_cast<std::byte>(random.below(256));
    std::copy(piece.begin(), piece.end(), expected.begin() + static_cast<std::ptrdiff_t>(at));
    ASSERT_TRUE(file->write_unread(at, piece));
    at += length;
  }
  ASSERT_TRUE(file->sync());
  Buffer got(kBytes);
  ASSERT_EQ(file->read(0, got).value(), kBytes);
  EXPECT_EQ(got, expected);
  EXPECT_EQ(other->size().value(), 12U);

  // Some of it in the cache, some not; across the end, and where little is asked for.
  file->not_read_soon(0, kBytes);
  Buffer little(100);
  ASSERT_EQ(file->read(1'000'000, little).value(), 100U);
  for (const auto& [offset, length] :
       std::vector<std::pair<std::uint64_t, std::size_t>>{{0, kBytes},
                                                          {1, 3'000'000},
                                                          {4'097, 70'001},
                                                          {10, 20},
                                                          {kBytes - 5'000, 200'000},
                                                          {kBytes, 70'000}}) {
    const std::size_t there = std::min<std::uint64_t>(length, kBytes - offset);
    Buffer once(length);
    ASSERT_EQ(file->read_once(offset, once).value(), there) << offset;
    EXPECT_TRUE(std::equal(once.begin(), once.begin() + static_cast<std::ptrdiff_t>(there),
                           expected.begin() + static_cast<std::ptrdiff_t>(offset)))
        << offset;
  }
}

TEST(PosixDisk, LockExcludesAndNamesItsHolder) {
  const TemporaryDirectory directory;
  const auto disk = PosixDisk::open(directory.path()).value();
  auto held = disk->lock("lock").value();
  const auto second = disk->lock("lock");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, DiskErrorCode::locked);
  EXPECT_THAT(second.error().what, HasSubstr("process " + std::to_string(::getpid()) + " is using"));
  held.reset();
  EXPECT_TRUE(disk->lock("lock"));
}

TEST(PosixDisk, LockOfADeadProcessIsFree) {
  const TemporaryDirectory directory;
  const auto disk = PosixDisk::open(directory.path()).value();
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto held = disk->lock("lock");
    const char answer = held ? 'y' : 'n';
    static_cast<void>(::write(ready[1], &answer, 1) == 1);
    for (;;) ::pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  const auto refused = disk->lock("lock");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().what, HasSubstr("process " + std::to_string(child)));
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(disk->lock("lock"));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(PosixDisk, FullFileSystemIsNoSpaceAndNothingStaysAllocated) {
  const TemporaryDirectory directory;
  // A mount namespace of our own: the file system vanishes with this process.
  if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    GTEST_SKIP() << "no mount namespace allowed here (" << std::strerror(errno) << "): full disk not tried";
  }
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "no tmpfs may be mounted here (" << std::strerror(errno) << "): full disk not tried";
  }
  {
    const auto disk = PosixDisk::open(directory.path()).value();
    const std::uint64_t free = disk->free_bytes().value();
    EXPECT_LE(free, 1U << 20);
    const auto file = disk->open("f", OpenMode::create).value();
    const auto full = file->preallocate(2U << 20);
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().code, DiskErrorCode::no_space);
    EXPECT_THAT(full.error().what, HasSubstr("No space left"));
    EXPECT_EQ(file->size().value(), 0U);
    EXPECT_EQ(disk->free_bytes().value(), free);
    ASSERT_TRUE(file->preallocate(free));
    EXPECT_EQ(file->write(free, Buffer(8192)).error().code, DiskErrorCode::no_space);
    EXPECT_TRUE(file->write(0, Buffer(8192, std::byte{1}))) << "what is allocated can be overwritten";
    EXPECT_TRUE(file->sync());
    EXPECT_TRUE(disk->lock("lock")) << "locking needs no space";
  }
  EXPECT_EQ(::umount(directory.path().c_str()), 0);
}

TEST(PosixDisk, AFileWithTwoNamesIsOneFileAndASecondNameNeverTakesTheFirstOnesPlace) {
  const TemporaryDirectory directory;
  const auto disk = PosixDisk::open(directory.path()).value();
  ASSERT_TRUE(disk->make_directory("a"));
  const auto file = disk->open("f", OpenMode::create).value();
  ASSERT_TRUE(file->write(0, as_bytes("one")));
  ASSERT_TRUE(disk->link("f", "a/g"));
  EXPECT_EQ(disk->link("f", "a/g").error().code, DiskErrorCode::exists);
  EXPECT_EQ(disk->link("none", "a/h").error().code, DiskErrorCode::not_found);
  ASSERT_TRUE(disk->remove("f"));
  ASSERT_TRUE(file->write(0, as_bytes("two")));
  EXPECT_EQ(as_text(read_file(*disk, "a/g", 100).value()), "two");
  EXPECT_FALSE(disk->remove_directory("a")) << "it is not empty";
  ASSERT_TRUE(disk->remove("a/g"));
  EXPECT_TRUE(disk->remove_directory("a"));
}

TEST(PosixDisk, AFreshReadSeesWhatAnotherDescriptorWroteWithAndWithoutTheCache) {
  const TemporaryDirectory directory;
  for (const auto cache : {PosixDisk::Cache::as_the_file_system_is, PosixDisk::Cache::never}) {
    const auto disk = PosixDisk::open(directory.path(), cache).value();
    const auto writer = disk->open("f" + std::to_string(static_cast<int>(cache)), OpenMode::create).value();
    const auto reader = disk->open("f" + std::to_string(static_cast<int>(cache)), OpenMode::read).value();
    for (const std::byte each : {std::byte{1}, std::byte{2}}) {
      ASSERT_TRUE(writer->write(0, Buffer(4096, each)));
      ASSERT_TRUE(writer->sync());
      Buffer page(4096);
      const auto got = reader->read_fresh(0, page);
      if (!got && cache == PosixDisk::Cache::never) GTEST_SKIP() << got.error().what;
      ASSERT_TRUE(got) << got.error().what;
      EXPECT_EQ(*got, 4096U);
      EXPECT_EQ(page, Buffer(4096, each));
    }
  }
}

TEST(SystemClock, MonotonicDoesNotGoBackAndWallIsOfThisCentury) {
  SystemClock clock;
  const Instant first = clock.now();
  EXPECT_GE(clock.now(), first);
  EXPECT_GT(clock.wall().ms, 1'600'000'000'000);
}

TEST(SystemRandom, TwoOfThemDiffer) {
  SystemRandom a;
  SystemRandom b;
  EXPECT_NE(a.uuid(), b.uuid());
  EXPECT_NE(system_seed(), system_seed());
}

}  // namespace
}  // namespace mainstay::io
