#include "group/superblock.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/checksum.h"
#include "base/memory_disk.h"
#include "base/random.h"

namespace mainstay::group {
namespace {

const std::string kDirectory = "node";
const std::string kCopy[2] = {"node/superblock.0", "node/superblock.1"};

Superblock block(std::uint64_t generation) {
  Superblock of;
  of.generation = generation;
  of.cluster.bytes[0] = 1;
  of.node = "east-1";
  of.incarnation.bytes[0] = 2;
  of.promised = Epoch{100 + generation};
  of.seen = Epoch{200 + generation};
  of.committed = Lsn{300 + generation};
  of.epochs = EpochTable::from({{Epoch{1}, Lsn{1}}, {Epoch{50 + generation}, Lsn{20}}}, Lsn{30}).value();
  return of;
}
/// Its table is spread over several sectors, which a crash may tear apart.
Superblock long_block(std::uint64_t generation) {
  Superblock of = block(generation);
  std::vector<EpochStart> entries;
  for (std::uint64_t n = 1; n <= EpochTable::kEntriesMax; ++n) {
    entries.push_back({Epoch{1000 * n + generation}, Lsn{n}});
  }
  of.epochs = EpochTable::from(std::move(entries)).value();
  return of;
}
/// What was promised is the same; how often it was written is not.
bool same_content(Superblock a, const Superblock& b) {
  a.generation = b.generation;
  return a == b && a.epochs.through() == b.epochs.through();
}

struct SuperblockStore : testing::Test {
  SuperblockStore() {
    EXPECT_TRUE(disk.make_directory(kDirectory));
    EXPECT_TRUE(disk.sync_directory(""));
  }
  void store(std::uint64_t generation) {
    const auto done = store_superblock(disk, kDirectory, block(generation));
    ASSERT_TRUE(done) << done.error().what;
  }
  LoadedSuperblock load() {
    auto found = load_superblock(disk, kDirectory);
    EXPECT_TRUE(found) << found.error().what;
    return found ? *found : LoadedSuperblock{};
  }
  std::string refusal() {
    const auto found = load_superblock(disk, kDirectory);
    EXPECT_FALSE(found);
    return found ? "" : found.error().what;
  }
  MemoryDisk disk{"disk"};
};

TEST_F(SuperblockStore, ComesBackAsItWasStored) {
  store(1);
  const auto found = read_superblock(disk, kDirectory);
  ASSERT_TRUE(found && found->block);
  EXPECT_EQ(*found->block, block(1));
  EXPECT_EQ(found->block->epochs.through(), Lsn{30});
  EXPECT_EQ(found->damaged, "");
}

TEST_F(SuperblockStore, ANewDiskHasNone) {
  EXPECT_FALSE(load().block);
  EXPECT_TRUE(disk.paths().empty()) << "and loading makes none";
}

TEST_F(SuperblockStore, HoldsTheLongestNameAndTheFullestTable) {
  Superblock of = block(7);
  of.node.assign(255, 'n');
  std::vector<EpochStart> entries;
  for (std::uint64_t n = 1; n <= EpochTable::kEntriesMax; ++n) entries.push_back({Epoch{n}, Lsn{n}});
  of.epochs = EpochTable::from(std::move(entries)).value();
  ASSERT_TRUE(store_superblock(disk, kDirectory, of));
  EXPECT_EQ(read_superblock(disk, kDirectory)->block, of);
}

TEST_F(SuperblockStore, LoadingStoresUnderALaterGeneration) {
  store(1);
  store(2);
  const auto first = load().block;
  ASSERT_TRUE(first && same_content(*first, block(2)));
  EXPECT_GT(first->generation, 2U);
  EXPECT_EQ(read_superblock(disk, kDirectory)->block, first) << "what the caller has is what is stored";
  EXPECT_GT(load().block->generation, first->generation);
}

TEST_F(SuperblockStore, TheOlderCopyDoesNotCount) {
  store(4);
  const Buffer old = disk.contents(kCopy[0]);
  store(5);
  for (const auto& copy : kCopy) {
    const Buffer now = disk.contents(copy);
    disk.put(copy, old);
    EXPECT_EQ(read_superblock(disk, kDirectory)->block, block(5)) << copy;
    disk.put(copy, now);
  }
  disk.put(kCopy[1], old);
  EXPECT_TRUE(same_content(*load().block, block(5)));
  EXPECT_TRUE(same_content(*load().block, block(5)));
}

TEST_F(SuperblockStore, DamageOfEitherCopyTakesNothingBack) {
  store(1);
  store(2);
  for (const auto& copy : kCopy) {
    const Buffer whole = disk.contents(copy);
    for (std::uint64_t at = 0; at < whole.size(); at += at < 200 ? 1 : 97) {
      disk.flip(copy, at, 0x10);
      const auto found = read_superblock(disk, kDirectory);
      ASSERT_TRUE(found && found->block) << at;
      EXPECT_EQ(*found->block, block(2)) << at;
      EXPECT_NE(found->damaged.find(copy), std::string::npos) << found->damaged;
      disk.flip(copy, at, 0x10);
    }
    for (const std::size_t size : {std::size_t{0}, std::size_t{100}, whole.size() - 1, whole.size() + 1}) {
      Buffer other = whole;
      other.resize(size);
      disk.put(copy, other);
      const auto found = read_superblock(disk, kDirectory);
      ASSERT_TRUE(found && found->block) << size;
      EXPECT_EQ(*found->block, block(2)) << size;
    }
    // Loading repairs.
    const auto found = load();
    EXPECT_NE(found.damaged, "");
    EXPECT_TRUE(same_content(*found.block, block(2)));
    EXPECT_EQ(load().damaged, "");
    store(2);
  }
}

TEST_F(SuperblockStore, TwoDamagedCopiesAreNoNewDisk) {
  store(1);
  disk.flip(kCopy[0], 40);
  disk.flip(kCopy[1], 40);
  const std::string why = refusal();
  EXPECT_NE(why.find("superblock.0 is damaged"), std::string::npos) << why;
  EXPECT_NE(why.find("superblock.1 is damaged"), std::string::npos) << why;
  EXPECT_NE(why.find("join as a new disk"), std::string::npos) << "says what to do: " << why;
}

TEST_F(SuperblockStore, OneDamagedCopyAloneIsNoNewDisk) {
  store(1);
  disk.erase(kCopy[1]);
  EXPECT_TRUE(read_superblock(disk, kDirectory)->block);
  disk.flip(kCopy[0], 40);
  EXPECT_NE(refusal().find("cannot be read"), std::string::npos);
}

TEST_F(SuperblockStore, CopiesOfOtherNodesAreRefused) {
  store(1);
  const Buffer ours = disk.contents(kCopy[0]);
  for (const auto& change : std::vector<std::function<void(Superblock&)>>{
           [](Superblock& b) { b.node = "east-2"; }, [](Superblock& b) { b.cluster.bytes[3] = 9; },
           [](Superblock& b) { b.incarnation.bytes[3] = 9; }, [](Superblock& b) { b.promised = Epoch{1}; }}) {
    Superblock other = block(1);
    change(other);
    ASSERT_TRUE(store_superblock(disk, kDirectory, other));
    disk.put(kCopy[0], ours);
    EXPECT_NE(refusal().find("superblock.0 and superblock.1"), std::string::npos);
  }
}

TEST_F(SuperblockStore, ANewerFormatIsRefusedByName) {
  store(1);
  Buffer newer = disk.contents(kCopy[1]);
  store_le(newer.data() + 4, std::uint32_t{2});
  store_le(newer.data() + 8, checksum64(BytesView(newer).subspan(16), load_le<std::uint64_t>(newer.data())));
  disk.put(kCopy[1], newer);
  const std::string why = refusal();
  EXPECT_NE(why.find("format 2, this program knows 1"), std::string::npos) << why;
}

TEST_F(SuperblockStore, AFailedReadOfOneCopyLeavesTheOther) {
  store(3);
  for (std::uint64_t skip = 0; skip < 2; ++skip) {
    disk.fail_next_read(skip);
    EXPECT_EQ(read_superblock(disk, kDirectory)->block, block(3));
  }
}

TEST_F(SuperblockStore, BytesAreThoseOfTheFormatPage) {
  store(1);
  const Buffer page = disk.contents(kCopy[0]);
  ASSERT_EQ(page.size(), 4096U);
  EXPECT_EQ(hex(BytesView(page).first(134)),
            "4d53474d0100000096bcf9303b16119a"
            "0100000000000000"
            "0100000000000000000000000000000002000000000000000000000000000000"
            "6500000000000000c9000000000000002d010000000000001e00000000000000"
            "02000600"
            "0100000000000000010000000000000033000000000000001400000000000000"
            "656173742d3100000000");
  EXPECT_EQ(disk.contents(kCopy[1]), page);
}

/// Ends of the process or the machine, each after every number of changes of the disk.
enum class End { kill, lose_all, lose_some };

struct SuperblockCrashes : testing::TestWithParam<End> {};

void end_disk(MemoryDisk& disk, End how, Random& random) {
  if (how == End::kill) disk.kill();
  if (how == End::lose_all) disk.crash_losing_unsynced();
  if (how == End::lose_some) disk.crash(random);
}

/// What lies on the disk before: generations stored, then damage.
struct Before {
  std::uint64_t stored{};
  std::optional<int> damaged{};
};

TEST_P(SuperblockCrashes, AtAnyPointLeaveTheBlockBeforeOrTheNewOneAndWhatWasLoadedStays) {
  std::size_t saw_old = 0;
  std::size_t saw_new = 0;
  for (std::uint64_t seed = 1; seed <= (GetParam() == End::lose_some ? 12U : 1U); ++seed) {
    SCOPED_TRACE("MAINSTAY_SEED=" + std::to_string(seed));
    for (const Before& before : {Before{0}, Before{1}, Before{2}, Before{2, 0}, Before{2, 1}}) {
      bool finished = false;
      for (std::uint64_t changes = 0; !finished; ++changes) {
        SCOPED_TRACE("after " + std::to_string(before.stored) + " stores, " + std::to_string(changes) +
                     " changes of the disk");
        ASSERT_LT(changes, 100U) << "a store ends";
        SeededRandom random(seed);
        MemoryDisk disk("disk");
        ASSERT_TRUE(disk.make_directory(kDirectory));
        ASSERT_TRUE(disk.sync_directory(""));
        for (std::uint64_t n = 1; n <= before.stored; ++n) {
          ASSERT_TRUE(store_superblock(disk, kDirectory, long_block(n)));
        }
        if (before.damaged) disk.flip(kCopy[*before.damaged], 100);
        std::uint64_t generation = before.stored;
        if (before.stored != 0) generation = load_superblock(disk, kDirectory)->block->generation;

        disk.stop_after(changes);
        Superblock next = long_block(before.stored + 1);
        next.generation = generation + 1;
        finished = store_superblock(disk, kDirectory, next).has_value();
        end_disk(disk, GetParam(), random);

        // The next start may be ended anywhere, too.
        disk.stop_after(changes % 9);
        const auto half = load_superblock(disk, kDirectory);
        end_disk(disk, GetParam(), random);

        const auto found = load_superblock(disk, kDirectory);
        ASSERT_TRUE(found) << found.error().what;
        const bool is_new = found->block && same_content(*found->block, next);
        const bool is_old = before.stored == 0
                                ? !found->block
                                : found->block && same_content(*found->block, long_block(before.stored));
        ASSERT_TRUE(is_old || is_new);
        if (finished) {
          ASSERT_TRUE(is_new) << "stored is durable";
        }
        if (half && half->block) {
          ASSERT_TRUE(found->block && same_content(*half->block, *found->block)) << "loaded is durable";
        }
        saw_old += is_old ? 1U : 0U;
        saw_new += is_new ? 1U : 0U;

        // Whatever was loaded may be acted on, so it must survive the worst.
        disk.crash_losing_unsynced();
        const auto after = load_superblock(disk, kDirectory);
        ASSERT_TRUE(after) << after.error().what;
        ASSERT_EQ(after->block.has_value(), found->block.has_value());
        if (after->block) {
          ASSERT_TRUE(same_content(*after->block, *found->block));
        }
      }
    }
  }
  EXPECT_GT(saw_old, 0U);
  EXPECT_GT(saw_new, 5U) << "also before the store was finished";
}

TEST_P(SuperblockCrashes, AfterAFailedSyncWhatIsLoadedIsDurable) {
  for (std::uint64_t skip = 0; skip < 2; ++skip) {
    MemoryDisk disk("disk");
    SeededRandom random(1);
    ASSERT_TRUE(disk.make_directory(kDirectory));
    ASSERT_TRUE(disk.sync_directory(""));
    ASSERT_TRUE(store_superblock(disk, kDirectory, block(1)));
    disk.fail_next_sync(skip);
    ASSERT_FALSE(store_superblock(disk, kDirectory, block(2)));
    end_disk(disk, GetParam(), random);
    const auto found = load_superblock(disk, kDirectory);
    ASSERT_TRUE(found && found->block);
    disk.crash_losing_unsynced();
    ASSERT_TRUE(same_content(*load_superblock(disk, kDirectory)->block, *found->block));
  }
}

INSTANTIATE_TEST_SUITE_P(Ends, SuperblockCrashes, testing::Values(End::kill, End::lose_all, End::lose_some));

}  // namespace
}  // namespace mainstay::group
