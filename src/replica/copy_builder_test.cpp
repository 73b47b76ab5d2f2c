// A full copy on disk: what comes of it is the leader's log and state, whatever dies meanwhile; damage
// anywhere on the way is noticed; and at no moment is there half of one node and half of another. H13.
#include "replica/copy_builder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "group/superblock.h"
#include "replica/replica_test_support.h"

namespace mainstay::replica {
namespace {

using testing::Pair;
using testing::test_cluster;

journal::JournalOptions options_of(const std::string& node) {
  return {.cluster = test_cluster(), .node = node, .segment_bytes = 256 << 10, .record_bytes_max = 8 << 10};
}

/// A node with messages, pages on disk and a log whose beginning is gone; and how it would be given away.
struct Source {
  Source() {
    it.promote(1);
    pair.settle();
    const auto queue = it.declare();
    for (int i = 0; i < 3000; ++i) {
      it.publish(queue, "m" + std::to_string(i));
      if (i % 100 == 0) pair.settle();
    }
    pair.settle();
    auto made = it.replica->checkpoint();
    EXPECT_TRUE(made && made->sealed->sync());
    EXPECT_TRUE(it.journal->store_checkpoint(made->lsn, made->root));
    it.pages->checkpoint_stored(made->sealed);
    root = made->root;
    plan.cut.bytes[0] = 1;
    plan.before.lsn = Lsn{std::min(made->needed, made->lsn).value - 1};
    plan.end.lsn = made->lsn;
    plan.before.hash = it.journal->hash_at(plan.before.lsn).value();
    plan.end.hash = it.journal->hash_at(plan.end.lsn).value();
    plan.state_hash = made->state_hash;
    plan.region_term = RegionTerm{1};
    plan.epochs = group::EpochTable::from({{Epoch{1}, Lsn{1}}}, made->lsn).value();
    plan.items.push_back({group::CopyKind::root, 0, root.size()});
    for (const auto& file : made->sealed->files()) {
      plan.items.push_back({group::CopyKind::pages, file.number, file.bytes});
    }
    EXPECT_GT(plan.items.size(), 1U) << "some of the state is on disk";
    plan.items.push_back({group::CopyKind::records, 0, it.journal->record_bytes_total()});
    // More of the log than the copy has.
    for (int i = 0; i < 50; ++i) it.publish(queue, "later" + std::to_string(i));
    pair.settle();
  }

  [[nodiscard]] Buffer part(const group::CopyPlace& at, std::size_t bytes) {
    const group::CopyItem& item = plan.items[at.item];
    Buffer out;
    if (item.kind == group::CopyKind::records) {
      EXPECT_TRUE(it.journal->read(Lsn{at.offset}, plan.end.lsn, bytes, out));
      return out;
    }
    const Buffer all = item.kind == group::CopyKind::root
                           ? root
                           : it.disk.contents("pages/" + paging::page_file_name(item.number));
    const BytesView from = BytesView(all).first(item.bytes).subspan(at.offset);
    return to_buffer(from.first(std::min(bytes, from.size())));
  }

  Pair pair;
  testing::TestNode& it = pair.east;
  Buffer root;
  group::CopyPlan plan;
};

Source& source() {
  static Source one;
  return one;
}

constexpr std::size_t kPart = 20'000;

/// Puts parts until all is there or `parts` were put.
void fill(CopyBuilder& builder, int parts = 1'000'000) {
  while (parts-- > 0 && builder.place().item < builder.plan().items.size()) {
    const auto at = builder.place();
    const auto next = builder.put(at, source().part(at, kPart));
    ASSERT_TRUE(next) << next.error().what;
    ASSERT_FALSE(*next == at);
  }
}

void expect_state_of_source(MemoryDisk& disk) {
  SeededRandom random(3);
  const auto recovered = recover(disk, "", options_of("west-1"), random);
  ASSERT_TRUE(recovered) << recovered.error().what;
  EXPECT_EQ(recovered->journal->durable(), source().plan.end);
  EXPECT_EQ(recovered->state.hash(), source().plan.state_hash);
  EXPECT_EQ(recovered->state.recompute_hash(), source().plan.state_hash);
  EXPECT_EQ(recovered->checkpoint, source().plan.end.lsn);
  recovered->state.check_invariants();
  const auto block = group::read_superblock(disk, "");
  ASSERT_TRUE(block && block->block);
  EXPECT_EQ(block->block->node, "west-1");
  EXPECT_EQ(block->block->incarnation, recovered->journal->incarnation());
  EXPECT_EQ(block->block->epochs, source().plan.epochs);
  EXPECT_EQ(block->block->committed, source().plan.end.lsn);
}

/// A directory with a log of its own, which a copy is to replace.
Uuid make_old(MemoryDisk& disk) {
  SeededRandom random(11);
  auto made = recover(disk, "", options_of("west-1"), random);
  EXPECT_TRUE(made);
  group::Superblock block;
  block.generation = 1;
  block.cluster = test_cluster();
  block.node = "west-1";
  block.incarnation = made->journal->incarnation();
  block.promised = Epoch{4};
  block.seen = Epoch{5};
  EXPECT_TRUE(group::store_superblock(disk, "", block));
  EXPECT_TRUE(store_term(disk, "", RegionTerm{3}));
  disk.put("quarantine/cut-7", as_bytes("kept"));
  return block.incarnation;
}

TEST(CopyBuilder, GivesTheStateAndTheLogOfTheOtherNode) {
  MemoryDisk disk;
  const Uuid before = make_old(disk);
  SeededRandom random(5);
  auto builder = CopyBuilder::begin(disk, source().plan, options_of("west-1"), random);
  ASSERT_TRUE(builder) << builder.error().what;
  fill(**builder);
  const auto done = (*builder)->finish();
  ASSERT_TRUE(done) << done.error().what;
  builder->reset();
  const auto begun = begin_install(disk);
  ASSERT_TRUE(begun) << begun.error().what;
  const auto installed = finish_install(disk);
  ASSERT_TRUE(installed) << installed.error().what;
  ASSERT_TRUE(*installed);
  EXPECT_EQ((*installed)->end, source().plan.end.lsn);
  expect_state_of_source(disk);
  const auto block = group::read_superblock(disk, "");
  EXPECT_FALSE(block->block->incarnation == before) << "another disk to the group";
  EXPECT_EQ(block->block->promised, Epoch{4});
  EXPECT_EQ(block->block->seen, Epoch{5});
  EXPECT_EQ(*load_term(disk, ""), RegionTerm{3});
  EXPECT_TRUE(disk.exists("quarantine/cut-7"));
  for (const std::string& path : disk.paths()) EXPECT_FALSE(path.starts_with("copy/")) << path;
  const auto again = finish_install(disk);
  ASSERT_TRUE(again);
  EXPECT_FALSE(*again) << "once";
}

TEST(CopyBuilder, GoesOnWhereItWasAfterTheProcessDied) {
  MemoryDisk disk;
  SeededRandom random(5);
  make_old(disk);
  auto builder = CopyBuilder::begin(disk, source().plan, options_of("west-1"), random);
  ASSERT_TRUE(builder);
  int lives = 0;
  for (; (*builder)->place().item < source().plan.items.size(); ++lives) {
    fill(**builder, 3);
    const auto place = (*builder)->place();
    builder->reset();
    disk.kill();
    builder = CopyBuilder::resume(disk, options_of("west-1"), random);
    ASSERT_TRUE(builder) << builder.error().what;
    ASSERT_NE(*builder, nullptr);
    EXPECT_EQ((*builder)->plan(), source().plan);
    const bool records = (*builder)->place().item + 1 == source().plan.items.size();
    EXPECT_TRUE((*builder)->place() == place || records) << "only records that were not synced are got again";
  }
  EXPECT_GT(lives, 3);
  const auto done = (*builder)->finish();
  ASSERT_TRUE(done) << done.error().what;
  builder->reset();
  ASSERT_TRUE(begin_install(disk));
  ASSERT_TRUE(finish_install(disk));
  expect_state_of_source(disk);
}

TEST(CopyBuilder, NothingToGoOnWithIsNoCopy) {
  MemoryDisk disk;
  SeededRandom random(5);
  const auto none = CopyBuilder::resume(disk, options_of("west-1"), random);
  ASSERT_TRUE(none);
  EXPECT_EQ(*none, nullptr);
  auto builder = CopyBuilder::begin(disk, source().plan, options_of("west-1"), random);
  ASSERT_TRUE(builder);
  fill(**builder, 3);
  builder->reset();
  disk.flip("copy/plan", 20);
  const auto damaged = CopyBuilder::resume(disk, options_of("west-1"), random);
  ASSERT_TRUE(damaged);
  EXPECT_EQ(*damaged, nullptr);
  for (const std::string& path : disk.paths()) EXPECT_FALSE(path.starts_with("copy/")) << path;
}

TEST(CopyBuilder, DamageOnTheWayIsNoticed) {
  for (const group::CopyKind kind :
       {group::CopyKind::root, group::CopyKind::pages, group::CopyKind::records}) {
    MemoryDisk disk;
    SeededRandom random(5);
    auto builder = CopyBuilder::begin(disk, source().plan, options_of("west-1"), random);
    ASSERT_TRUE(builder);
    bool refused = false;
    while (!refused && (*builder)->place().item < source().plan.items.size()) {
      const auto at = (*builder)->place();
      Buffer bytes = source().part(at, kPart);
      if (source().plan.items[at.item].kind == kind) bytes[bytes.size() / 2] ^= std::byte{4};
      refused = !(*builder)->put(at, bytes);
    }
    EXPECT_EQ(refused, kind == group::CopyKind::records) << "records are checked as they come";
    const bool found = refused || !(*builder)->finish();
    EXPECT_TRUE(found) << static_cast<int>(kind);
  }
}

TEST(CopyBuilder, AnotherStateThanTheLeadersIsNoticed) {
  MemoryDisk disk;
  SeededRandom random(5);
  group::CopyPlan plan = source().plan;
  plan.state_hash ^= 1;
  auto builder = CopyBuilder::begin(disk, plan, options_of("west-1"), random);
  ASSERT_TRUE(builder);
  fill(**builder);
  const auto done = (*builder)->finish();
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().what.find("the leader's has"), std::string::npos) << done.error().what;
}

TEST(CopyBuilder, ACopyThatEndsBelowWhatIsCommittedHereIsNotInstalled) {
  MemoryDisk disk;
  make_old(disk);
  auto block = group::read_superblock(disk, "")->block.value();
  block.committed = source().plan.end.lsn.next();
  ++block.generation;
  ASSERT_TRUE(group::store_superblock(disk, "", block));
  SeededRandom random(5);
  auto builder = CopyBuilder::begin(disk, source().plan, options_of("west-1"), random);
  ASSERT_TRUE(builder);
  fill(**builder);
  ASSERT_TRUE((*builder)->finish());
  builder->reset();
  EXPECT_FALSE(begin_install(disk));
  const auto nothing = finish_install(disk);
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(*nothing);
}

TEST(CopyBuilder, NoSpaceForAllOfItIsSaidBeforeItBegins) {
  MemoryDisk disk;
  disk.set_capacity(1 << 20);
  SeededRandom random(5);
  const auto builder = CopyBuilder::begin(disk, source().plan, options_of("west-1"), random);
  ASSERT_FALSE(builder);
  EXPECT_NE(builder.error().what.find("the copy needs"), std::string::npos) << builder.error().what;
}

TEST(CopyBuilder, WhatIsSetAsideIsKeptWholeAndLeavesANewDisk) {
  MemoryDisk disk;
  const Uuid before = make_old(disk);
  EXPECT_FALSE(is_damaged(disk));
  disk.put("notes.txt", as_bytes("a stranger's"));
  const auto home = set_aside(disk);
  ASSERT_TRUE(home) << home.error().what;
  EXPECT_EQ(home->directory, "quarantine/damaged-1");
  disk.crash_losing_unsynced();
  EXPECT_TRUE(disk.exists("notes.txt"));
  EXPECT_TRUE(disk.exists("quarantine/cut-7"));
  SeededRandom random(3);
  {
    const auto kept = recover(disk, home->directory, options_of("west-1"), random);
    ASSERT_TRUE(kept) << kept.error().what;
    EXPECT_EQ(kept->journal->incarnation(), before);
    EXPECT_EQ(group::read_superblock(disk, home->directory)->block->incarnation, before);
  }
  EXPECT_FALSE(group::read_superblock(disk, "")->block);
  const auto fresh = recover(disk, "", options_of("west-1"), random);
  ASSERT_TRUE(fresh) << fresh.error().what;
  EXPECT_FALSE(fresh->journal->incarnation() == before);
}

/// The process dies between any two changes that `change` makes of the disk of an old node, once more while
/// `mend` puts it right, and what was not synced is lost, kept or torn. Then `mend` has to, and `look` sees
/// what is there, and asks who it was before.
/// @param prepare  what is there beside the old node, whole
void crash_at_any_moment(const std::function<void(MemoryDisk&, SeededRandom&)>& prepare,
                         const std::function<bool(MemoryDisk&)>& change,
                         const std::function<Result<void, Failure>(MemoryDisk&)>& mend,
                         const std::function<void(MemoryDisk&, const Uuid& before)>& look) {
  bool ended = false;
  for (std::uint64_t mutations = 0; !ended; ++mutations) {
    SCOPED_TRACE("after " + std::to_string(mutations) + " changes");
    MemoryDisk disk;
    SeededRandom random(100 + mutations);
    const Uuid before = make_old(disk);
    prepare(disk, random);
    disk.stop_after(mutations);
    ended = change(disk);
    disk.crash(random);
    disk.stop_after(mutations % 7);
    (void)mend(disk);
    disk.crash(random);
    const auto mended = mend(disk);
    ASSERT_TRUE(mended) << mended.error().what;
    look(disk, before);
    if (::testing::Test::HasFailure()) return;
  }
}

/// What a crash leaves of the log must not be taken for a log.
TEST(CopyBuilder, ACrashWhileALogIsSetAsideLeavesTheOldNodeOrANewOne) {
  int old_ones = 0;
  int new_ones = 0;
  crash_at_any_moment([](MemoryDisk&, SeededRandom&) {},
                      [](MemoryDisk& disk) { return set_aside(disk).has_value(); },
                      [](MemoryDisk& disk) -> Result<void, Failure> {
                        auto done = finish_set_aside(disk);
                        if (!done) return done.error();
                        return {};
                      },
                      [&](MemoryDisk& disk, const Uuid& before) {
                        SeededRandom random(3);
                        const auto recovered = recover(disk, "", options_of("west-1"), random);
                        ASSERT_TRUE(recovered) << recovered.error().what;
                        if (recovered->journal->incarnation() == before) {
                          ++old_ones;
                          EXPECT_TRUE(group::read_superblock(disk, "")->block);
                          return;
                        }
                        ++new_ones;
                        EXPECT_EQ(recovered->journal->durable().lsn, Lsn{});
                        const auto kept = recover(disk, "quarantine/damaged-1", options_of("west-1"), random);
                        ASSERT_TRUE(kept) << kept.error().what;
                        EXPECT_EQ(kept->journal->incarnation(), before);
                        EXPECT_TRUE(group::read_superblock(disk, "quarantine/damaged-1")->block);
                      });
  EXPECT_GT(old_ones, 2);
  EXPECT_GT(new_ones, 5);
}

TEST(CopyBuilder, ACrashAtAnyMomentLeavesTheOldNodeOrTheNewOne) {
  int old_ones = 0;
  int new_ones = 0;
  crash_at_any_moment(
      [](MemoryDisk& disk, SeededRandom& random) {
        auto builder = CopyBuilder::begin(disk, source().plan, options_of("west-1"), random);
        ASSERT_TRUE(builder);
        fill(**builder);
        ASSERT_TRUE((*builder)->finish());
      },
      [](MemoryDisk& disk) { return begin_install(disk) && finish_install(disk); },
      [](MemoryDisk& disk) -> Result<void, Failure> {
        auto done = finish_install(disk);
        if (!done) return done.error();
        return {};
      },
      [&](MemoryDisk& disk, const Uuid& before) {
        const auto block = group::read_superblock(disk, "");
        ASSERT_TRUE(block && block->block);
        if (block->block->incarnation == before) {
          ++old_ones;
          SeededRandom random(3);
          const auto recovered = recover(disk, "", options_of("west-1"), random);
          ASSERT_TRUE(recovered) << recovered.error().what;
          EXPECT_EQ(recovered->journal->incarnation(), before);
        } else {
          ++new_ones;
          expect_state_of_source(disk);
        }
      });
  EXPECT_GT(old_ones, 3);
  EXPECT_GT(new_ones, 20);
}

}  // namespace
}  // namespace mainstay::replica
