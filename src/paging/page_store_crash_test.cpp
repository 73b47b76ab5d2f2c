// A state that stores, changes, releases and moves pages, makes checkpoints, and dies: at every point of a
// script, and at random points of random histories. After each death both of the newest checkpoints are
// whole.
#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "paging/page_store_test_support.h"

namespace mainstay::paging {
namespace {

struct ModelPage {
  PageRef ref;
  Buffer content;
};
/// What a checkpoint's root says: pages by a name of the state's.
using Root = std::map<std::uint64_t, ModelPage>;

class Model {
 public:
  explicit Model(MemoryDisk& disk) : disk_(disk) { begin_life(); }

  /// @return whether the disk let it happen.
  bool store(std::uint64_t name, Buffer content) {
    const auto ref = pages_->store(content);
    if (!ref) return false;
    release(name);
    now_[name] = {*ref, std::move(content)};
    return true;
  }
  void release(std::uint64_t name) {
    const auto found = now_.find(name);
    if (found == now_.end()) return;
    pages_->release(found->second.ref);
    now_.erase(found);
  }
  void check(const Root& root) {
    for (const auto& [name, page] : root) {
      ASSERT_EQ(load(*pages_, page.ref), page.content) << "page " << name << " in file " << page.ref.file;
    }
  }
  void check() {
    check(now_);
    ASSERT_EQ(pages_->pages_in_use(), now_.size());
  }
  void move_pages() {
    std::vector<std::uint64_t> wanting;
    for (const auto& [name, page] : now_) {
      if (pages_->wants_moving(page.ref)) wanting.push_back(name);
    }
    for (const std::uint64_t name : wanting) {
      if (!store(name, load(*pages_, now_.at(name).ref))) return;
      ++moved;
    }
  }
  void seal() {
    sealed_ = pages_->seal();
    sealed_root_ = now_;
  }
  /// The rest of a checkpoint. False when it had to be given up.
  bool finish_checkpoint() {
    if (!sealed_) return false;
    const auto sealed = std::move(sealed_);
    sealed_.reset();
    if (const auto synced = sealed->sync(); !synced) {
      if (synced.error().code != DiskErrorCode::no_space) throw PageLost(synced.error().what);
      return false;
    }
    roots_.push_back(sealed_root_);  // the caller's root is durable from here on
    if (roots_.size() > 2) roots_.pop_front();
    pages_->checkpoint_stored(sealed);
    return true;
  }
  /// After the disk's crash() or kill(). Restores the newest checkpoint, or the one before.
  void begin_life(bool newest = true) {
    sealed_.reset();
    for (const Root& root : roots_) {
      restore(root);
      check();
    }
    if (!newest && roots_.size() == 2) roots_.pop_back();
    restore(roots_.empty() ? Root() : roots_.back());
  }
  [[nodiscard]] const Root& now() const { return now_; }
  [[nodiscard]] PageStore& pages() { return *pages_; }

  std::uint64_t moved = 0;

 private:
  void restore(const Root& root) {
    pages_.reset();
    pages_ = open_pages(disk_);
    for (const auto& [name, page] : root) pages_->adopt(page.ref);
    now_ = root;
  }

  MemoryDisk& disk_;
  std::unique_ptr<PageStore> pages_;
  Root now_;
  std::deque<Root> roots_;  // of the two newest checkpoints
  std::shared_ptr<PageStore::Sealed> sealed_;
  Root sealed_root_;
};

/// Six checkpoints, pages on both sides of each seal, files ended by length, moving and removal.
void run_script(Model& model) {
  SeededRandom random(7);
  for (std::uint64_t round = 0; round < 6; ++round) {
    for (std::uint64_t i = 0; i < 8; ++i) model.store(random.below(12), random_page(random, 900));
    model.move_pages();
    model.seal();
    model.store(random.below(12), random_page(random, 900));
    model.release(random.below(12));
    model.finish_checkpoint();
  }
}

TEST(PageStoreCrash, PowerLossAtEveryPointOfAScriptKeepsTheTwoNewestCheckpoints) {
  std::uint64_t points = 0;
  for (bool done = false; !done; ++points) {
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      SCOPED_TRACE("power lost after " + std::to_string(points) + " changes, seed " + std::to_string(seed));
      MemoryDisk disk;
      Model model(disk);
      disk.stop_after(points);
      try {
        run_script(model);
        done = disk.counters().faults_injected == 0;
      } catch (const PageLost&) {
        // the disk has stopped
      }
      SeededRandom random(seed);
      if (seed == 0) {
        disk.crash_losing_unsynced();
      } else {
        disk.crash(random);
      }
      model.begin_life(seed % 2 == 0);
      if (HasFatalFailure()) return;
      run_script(model);
      model.check();
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(points, 60U);
}

TEST(PageStoreProperty, RandomHistoriesWithCrashesAndFullDisksLoseNoPage) {
  const Seeds range = seeds(400);
  std::uint64_t refused = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t moved = 0;
  for (std::uint64_t seed = range.first; seed < range.first + range.count; ++seed) {
    SCOPED_TRACE("MAINSTAY_SEED=" + std::to_string(seed));
    SeededRandom random(seed);
    MemoryDisk disk;
    Model model(disk);
    const std::uint64_t names = random.between(1, 40);
    for (int step = 0; step < 300; ++step) {
      switch (random.below(16)) {
        case 0:
          model.seal();
          break;
        case 1:
        case 2:
          checkpoints += model.finish_checkpoint() ? 1U : 0U;
          break;
        case 3:
          model.move_pages();
          break;
        case 4:
          model.check();
          break;
        case 5:
          if (random.chance(1, 3)) {
            disk.set_capacity(random.chance(1, 2) ? UINT64_MAX : disk.used_bytes() + random.below(3000));
          }
          break;
        case 6:
          if (random.chance(1, 10)) {
            random.chance(1, 2) ? disk.crash(random) : disk.kill();
            model.begin_life(random.chance(3, 4));
          }
          break;
        case 7:
        case 8:
        case 9:
          model.release(random.below(names));
          break;
        default:
          refused += model.store(random.below(names), random_page(random, random.chance(1, 20) ? 6000 : 500))
                         ? 0U
                         : 1U;
      }
      if (HasFatalFailure()) return;
    }
    // When nothing is in use and two checkpoints say so, nothing is left.
    disk.set_capacity(UINT64_MAX);
    model.check();
    while (!model.now().empty()) model.release(model.now().begin()->first);
    for (int i = 0; i < 2; ++i) {
      model.seal();
      ASSERT_TRUE(model.finish_checkpoint());
    }
    ASSERT_EQ(model.pages().disk_bytes(), 0U);
    ASSERT_TRUE(disk.paths().empty());
    moved += model.moved;
  }
  if (range.count > 1) {
    EXPECT_GT(refused, 100U);
    EXPECT_GT(checkpoints, 100U);
    EXPECT_GT(moved, 100U);
  }
}

}  // namespace
}  // namespace mainstay::paging
