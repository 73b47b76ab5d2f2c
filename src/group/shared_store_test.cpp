#include "group/shared_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <iostream>
#include <semaphore>
#include <thread>

#include "base/memory_disk.h"
#include "group/superblock.h"
#include "journal/journal.h"

namespace mainstay::group {
namespace {

using testing::HasSubstr;

Uuid uuid(std::uint8_t last) {
  Uuid id;
  id.bytes[15] = last;
  return id;
}
const Uuid kCluster = uuid(1);

StoreClaim claim(std::uint64_t epoch, const std::string& node = "n1") {
  return {Epoch{epoch}, node, uuid(static_cast<std::uint8_t>(100 + epoch))};
}

/// One node's life, run a number of disk operations at a time on a thread of its own: never two at once.
class Actor {
 public:
  explicit Actor(std::function<void(Actor&)> script)
      : thread_([this, script = std::move(script)] {
          go_.acquire();
          script(*this);
          ended_ = true;
          paused_.release();
        }) {}
  ~Actor() {
    run(UINT64_MAX);
    thread_.join();
  }
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  /// @return false: its life is over
  bool run(std::uint64_t operations) {
    if (ended_) return false;
    left_ = operations;
    go_.release();
    paused_.acquire();
    return !ended_;
  }
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  /// Before each operation.
  void step() {
    if (left_ == 0) {
      paused_.release();
      go_.acquire();
    }
    --left_;
    ++operations_;
  }

 private:
  std::binary_semaphore go_{0}, paused_{0};
  std::uint64_t left_ = 0, operations_ = 0;
  bool ended_ = false;
  std::thread thread_;
};

/// What an actor sees of the disk that all share, from `directory` down.
class ActorsDisk final : public Disk {
 public:
  ActorsDisk(MemoryDisk& disk, std::string directory, Actor* actor)
      : disk_(disk), directory_(std::move(directory)), actor_(actor) {}

  Result<std::unique_ptr<File>, DiskError> open(const std::string& path, OpenMode mode) override {
    step();
    auto file = disk_.open(at(path), mode);
    if (!file) return file.error();
    return std::unique_ptr<File>(std::make_unique<Opened>(std::move(*file), actor_));
  }
  Result<std::vector<std::string>, DiskError> list(const std::string& directory) override {
    step();
    return disk_.list(at(directory));
  }
  Result<void, DiskError> rename(const std::string& from, const std::string& to) override {
    step();
    return disk_.rename(at(from), at(to));
  }
  Result<void, DiskError> remove(const std::string& path) override {
    step();
    return disk_.remove(at(path));
  }
  Result<void, DiskError> link(const std::string& from, const std::string& to) override {
    step();
    return disk_.link(at(from), at(to));
  }
  Result<void, DiskError> remove_directory(const std::string& path) override {
    step();
    return disk_.remove_directory(at(path));
  }
  Result<void, DiskError> make_directory(const std::string& path) override {
    step();
    return disk_.make_directory(at(path));
  }
  Result<void, DiskError> sync_directory(const std::string& path) override {
    step();
    return disk_.sync_directory(at(path));
  }
  Result<std::uint64_t, DiskError> free_bytes() override { return disk_.free_bytes(); }
  Result<std::unique_ptr<DiskLock>, DiskError> lock(const std::string& path) override {
    return disk_.lock(at(path));
  }
  std::string describe(const std::string& path) const override { return disk_.describe(at(path)); }

 private:
  class Opened final : public File {
   public:
    Opened(std::unique_ptr<File> file, Actor* actor) : file_(std::move(file)), actor_(actor) {}
    Result<std::size_t, DiskError> read(std::uint64_t offset, std::span<std::byte> into) override {
      step();
      return file_->read(offset, into);
    }
    Result<void, DiskError> write(std::uint64_t offset, BytesView from) override {
      step();
      // A pause may come in the middle of it.
      const std::size_t half = from.size() / 2;
      if (const auto done = file_->write(offset, from.first(half)); !done) return done;
      step();
      return file_->write(offset + half, from.subspan(half));
    }
    Result<void, DiskError> sync() override {
      step();
      return file_->sync();
    }
    Result<std::uint64_t, DiskError> size() override { return file_->size(); }
    Result<void, DiskError> truncate(std::uint64_t bytes) override {
      step();
      return file_->truncate(bytes);
    }
    Result<void, DiskError> preallocate(std::uint64_t bytes) override {
      step();
      return file_->preallocate(bytes);
    }

   private:
    void step() const {
      if (actor_ != nullptr) actor_->step();
    }
    std::unique_ptr<File> file_;
    Actor* actor_;
  };

  void step() const {
    if (actor_ != nullptr) actor_->step();
  }
  [[nodiscard]] std::string at(const std::string& path) const {
    if (directory_.empty()) return path;
    return path.empty() ? directory_ : directory_ + "/" + path;
  }
  MemoryDisk& disk_;
  const std::string directory_;
  Actor* actor_;
};

/// The store, the register's epoch, and what clients were told.
struct World {
  MemoryDisk disk{"store"};
  Epoch registered;
  std::vector<std::string> acknowledged;
  bool fenced_disks = true;
  bool removes_old = true;  ///< a leader removes what earlier ones left
  bool checkpoints = true;  ///< without them the whole log is read again at the end
  std::uint64_t takeovers = 0;
};

journal::JournalOptions journal_options(const StoreIdentity& store) {
  journal::JournalOptions options;
  options.cluster = store.cluster;
  options.node = kStoreNode;
  options.incarnation = store.incarnation;
  options.segment_bytes = 64 << 10;
  options.reuse_segments = false;
  return options;
}

struct Opened {
  std::unique_ptr<journal::Journal> journal;
  std::vector<std::string> bodies;  ///< checkpoint and log
};
Result<Opened, Failure> open_log(Disk& disk, const StoreIdentity& store, Random& random) {
  Opened out;
  const auto checkpoint = journal::Journal::load_checkpoint(disk, "");
  if (!checkpoint) return Failure{checkpoint.error().what};
  std::string line;
  for (const std::byte each : checkpoint->state) {
    if (static_cast<char>(each) == '\n') {
      out.bodies.push_back(std::exchange(line, {}));
    } else {
      line += static_cast<char>(each);
    }
  }
  auto opened = journal::Journal::open(disk, "", journal_options(store), random, checkpoint->lsn,
                                       [&](const journal::Record& record) {
                                         const std::string body(as_text(record.body));
                                         out.bodies.push_back(body.substr(0, body.find(' ')));
                                       });
  if (!opened) return Failure{opened.error().what};
  out.journal = std::move(*opened);
  return out;
}

/// Takes the store, leads on it, and is told of nothing: what it still may do it finds out by itself.
void live(World& world, const std::string& name, std::uint64_t seed, int records, Actor* actor) {
  SeededRandom random(seed);
  ActorsDisk root(world.disk, "", actor);
  const auto sight = look_at_store(root);
  if (!sight || !sight->identity) return;
  if (actor != nullptr) actor->step();
  world.registered = world.registered.next();  // the register's answer is one step
  const StoreClaim mine{world.registered, name, random.uuid()};
  const auto taken = take_store(root, *sight->identity, mine);
  if (!taken) return;
  ++world.takeovers;
  auto disk = std::make_unique<ActorsDisk>(world.disk, taken->directory, actor);
  ActorsDisk& own = *disk;
  auto fence = StoreFence::open(own, mine);
  if (!fence) return;
  FencedDisk fenced(std::move(disk), std::move(*fence));
  Disk& used = world.fenced_disks ? static_cast<Disk&>(fenced) : own;
  auto log = open_log(used, *sight->identity, random);
  if (!log) return;
  journal::LogBuilder builder(log->journal->recovery().end, log->journal->recovery().epoch);
  builder.start_epoch(mine.epoch);
  journal::Batch batch;
  for (int i = 0; i < records; ++i) {
    const std::string id = name + "-" + std::to_string(mine.epoch.value) + "-" + std::to_string(i);
    builder.append(journal::RecordType::message_stored, as_bytes(id + " " + std::string(22'000, 'x')));
    batch = builder.take(std::move(batch));
    if (!log->journal->write_and_sync(batch)) return;
    log->bodies.push_back(id);
    world.acknowledged.push_back(id);
    static_cast<void>(log->journal->note_durable());
    if (i % 3 == 2 && world.checkpoints) {
      std::string state;
      for (const std::string& body : log->bodies) state += body + "\n";
      const Lsn lsn = log->journal->durable().lsn;
      if (!log->journal->store_checkpoint(lsn, as_bytes(state))) return;
      if (!log->journal->remove_before(lsn.next())) return;
    }
    if (i % 2 == 1 && !log->journal->prepare_spare()) return;
    if (i == 1 && world.removes_old) remove_claims_below(root, mine.epoch);
  }
}

void begin(World& world) {
  SeededRandom random(7);
  ASSERT_TRUE(make_store(world.disk, kCluster, random));
}

/// What the next leader finds. Must be had (asserted).
std::vector<std::string> found_next(World& world) {
  SeededRandom random(99);
  const auto sight = look_at_store(world.disk);
  EXPECT_TRUE(sight) << sight.error().what;
  world.registered = world.registered.next();
  const StoreClaim mine{world.registered, "reader", random.uuid()};
  const auto taken = take_store(world.disk, *sight->identity, mine);
  EXPECT_TRUE(taken) << taken.error().what;
  if (!taken) return {};
  ActorsDisk own(world.disk, taken->directory, nullptr);
  auto log = open_log(own, *sight->identity, random);
  EXPECT_TRUE(log) << log.error().what;
  return log ? log->bodies : std::vector<std::string>{};
}

/// How many acknowledged records the next leader does not have, or not in the order in which they were given.
std::size_t lost(World& world) {
  const std::vector<std::string> found = found_next(world);
  std::size_t at = 0, missing = 0;
  for (const std::string& id : world.acknowledged) {
    const auto here = std::find(found.begin() + static_cast<std::ptrdiff_t>(at), found.end(), id);
    if (here == found.end()) {
      ++missing;
    } else {
      at = static_cast<std::size_t>(here - found.begin()) + 1;
    }
  }
  return missing;
}

constexpr int kRecords = 6;

// Nobody holds the lock in any of these: what they show does not depend on it (lock = "preferred"). Each look
// at the fence is an operation, so a writer also sleeps between a look and the write that follows it.

/// The first leader runs so many operations, sleeps while the second leads from its beginning to its end, and
/// wakes up.
std::size_t lost_with_a_zombie_at(std::uint64_t operations, bool fenced_disks, bool removes_old,
                                  bool& woke_up) {
  World world;
  world.fenced_disks = fenced_disks;
  world.removes_old = removes_old;
  world.checkpoints = removes_old;
  begin(world);
  {
    Actor first([&](Actor& actor) { live(world, "first", 1, kRecords, &actor); });
    first.run(operations);
    woke_up = !first.ended();
    live(world, "second", 2, kRecords, nullptr);
    EXPECT_GE(world.acknowledged.size(), static_cast<std::size_t>(kRecords)) << "the second one leads";
  }
  return lost(world);
}

TEST(SharedStoreInterleavings, AWriterThatWakesUpAtAnyPointLosesNothingThatWasAcknowledged) {
  bool woke_up = true;
  std::uint64_t at = 0;
  for (; woke_up; ++at) {
    ASSERT_EQ(lost_with_a_zombie_at(at, true, at % 2 == 0, woke_up), 0U)
        << "asleep before its operation " << at + 1;
    ASSERT_EQ(lost_with_a_zombie_at(at, true, at % 2 != 0, woke_up), 0U)
        << "asleep before its operation " << at + 1;
  }
  std::cout << at << " points at which the first writer sleeps\n";
  EXPECT_GT(at, 150U);
}

TEST(SharedStoreInterleavings, WithoutTheLookAtTheFenceTheyWouldBeLost) {
  bool woke_up = true;
  std::size_t cases = 0;
  for (std::uint64_t at = 0; woke_up; at += 3)
    cases += static_cast<std::size_t>(lost_with_a_zombie_at(at, false, false, woke_up) > 0);
  EXPECT_GT(cases, 5U) << "else the test above proves nothing";
}

TEST(SharedStoreInterleavings, AnyNumberOfTakersAtOnceLoseNothing) {
  const char* given = std::getenv("MAINSTAY_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20'240'917;
  std::cout << "MAINSTAY_SEED=" << seed << "\n";
  std::uint64_t takeovers = 0, crashes = 0;
  std::size_t acknowledged = 0;
  for (std::uint64_t round = 0; round < 200; ++round) {
    SeededRandom random(seed + round);
    World world;
    world.removes_old = round % 2 == 0;
    world.checkpoints = round % 3 == 0;
    begin(world);
    {
      std::vector<std::unique_ptr<Actor>> actors;
      for (int i = 0; i < 3; ++i) {
        actors.push_back(std::make_unique<Actor>([&world, i, round](Actor& actor) {
          live(world, "n" + std::to_string(i), 10 * round + static_cast<std::uint64_t>(i), kRecords, &actor);
        }));
      }
      const bool crash = random.chance(1, 3);
      const std::uint64_t turns = random.below(40);
      for (std::uint64_t turn = 0; turn < turns; ++turn) {
        // Mostly long stretches, now and then a single operation.
        actors[random.below(3)]->run(random.chance(1, 3) ? 1 : 1 + random.below(120));
      }
      if (crash) {
        world.disk.crash(random);
        ++crashes;
      }
    }
    takeovers += world.takeovers;
    acknowledged += world.acknowledged.size();
    ASSERT_EQ(lost(world), 0U) << "MAINSTAY_SEED=" << seed + round;
  }
  std::cout << takeovers << " takeovers, " << crashes << " losses of power, " << acknowledged
            << " acknowledged\n";
  EXPECT_GT(takeovers, 300U);
  EXPECT_GT(crashes, 30U);
  EXPECT_GT(acknowledged, 500U);
}

TEST(SharedStoreTake, TheLowerOfTwoClaimsGivesUpWhicheverBeganFirst) {
  World world;
  begin(world);
  const StoreIdentity store = *look_at_store(world.disk)->identity;
  ASSERT_TRUE(take_store(world.disk, store, claim(5)));
  const auto late = take_store(world.disk, store, claim(4));
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().what, HasSubstr("taken in epoch 5"));
  const auto again = take_store(world.disk, store, claim(5, "n2"));
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().what, HasSubstr("somebody else's"));
  EXPECT_EQ(look_at_store(world.disk)->current, Epoch{5});
}

TEST(SharedStoreTake, TheNewLeadersSuperblockHasPromisedItsEpochBeforeAnythingElse) {
  World world;
  begin(world);
  const StoreIdentity store = *look_at_store(world.disk)->identity;
  const auto taken = take_store(world.disk, store, claim(3, "n2"));
  ASSERT_TRUE(taken);
  world.disk.crash_losing_unsynced();
  const auto block = read_superblock(world.disk, taken->directory);
  ASSERT_TRUE(block && block->block);
  EXPECT_EQ(block->block->promised, Epoch{3});
  EXPECT_EQ(block->block->node, "n2");
  EXPECT_EQ(block->block->incarnation, store.incarnation);
}

TEST(SharedStoreTake, AStoreThatLostItsLogIsNotBegunAnew) {
  World world;
  begin(world);
  StoreIdentity store = *look_at_store(world.disk)->identity;
  ASSERT_TRUE(take_store(world.disk, store, claim(1)));
  store = *look_at_store(world.disk)->identity;
  EXPECT_TRUE(store.in_use);
  world.disk.erase(claim_directory(Epoch{1}) + "/complete");
  const auto taken = take_store(world.disk, store, claim(2));
  ASSERT_FALSE(taken);
  EXPECT_THAT(taken.error().what, HasSubstr("no complete log"));
}

TEST(SharedStoreTake, OlderClaimsAreRemovedAndWhatIsSharedStays) {
  World world;
  begin(world);
  live(world, "first", 1, kRecords, nullptr);
  live(world, "second", 2, kRecords, nullptr);
  remove_claims_below(world.disk, Epoch{2});
  for (const std::string& path : world.disk.paths())
    EXPECT_FALSE(path.starts_with(claim_directory(Epoch{1}))) << path;
  EXPECT_EQ(lost(world), 0U);
}

TEST(SharedStoreSight, ANodesOwnDirectoryIsNoStore) {
  MemoryDisk disk;
  disk.put("superblock-0", as_bytes("a journal's"));
  const auto sight = look_at_store(disk);
  ASSERT_FALSE(sight);
  EXPECT_THAT(sight.error().what, HasSubstr("data directory of one node"));
  MemoryDisk empty;
  EXPECT_FALSE(look_at_store(empty)->identity);
  EXPECT_FALSE(current_claim(empty).value());
}

TEST(SharedStoreSight, AStoreWithoutItsIdentityOrWithADamagedOneIsRefused) {
  World world;
  begin(world);
  ASSERT_TRUE(take_store(world.disk, *look_at_store(world.disk)->identity, claim(1)));
  const Buffer page = world.disk.contents("store");
  world.disk.flip("store", 20);
  EXPECT_THAT(look_at_store(world.disk).error().what, HasSubstr("damaged"));
  world.disk.erase("store");
  EXPECT_THAT(look_at_store(world.disk).error().what, HasSubstr("missing"));
  world.disk.put("store", page);
  EXPECT_EQ(current_claim(world.disk).value(), claim_directory(Epoch{1}));
}

TEST(StoreFence, SaysWhoTookTheStoreAndNeverTakesItBack) {
  World world;
  begin(world);
  const StoreIdentity store = *look_at_store(world.disk)->identity;
  const auto first = take_store(world.disk, store, claim(1));
  ASSERT_TRUE(first);
  ActorsDisk own(world.disk, first->directory, nullptr);
  const auto fence = StoreFence::open(own, claim(1)).value();
  EXPECT_TRUE(fence->check());
  EXPECT_EQ(fence->lost(), "");
  const Buffer page = world.disk.contents(first->directory + "/fence");
  ASSERT_TRUE(take_store(world.disk, store, claim(2, "n2")));
  EXPECT_THAT(fence->check().error().what, HasSubstr("node n2 has taken the store in epoch 2"));
  world.disk.put(first->directory + "/fence", page);
  EXPECT_FALSE(fence->check()) << "once lost, it stays lost";
  EXPECT_FALSE(StoreFence::open(own, claim(1, "n3"))) << "another's page";
}

TEST(FencedDisk, NothingIsDurableOrRenamedForAnOwnerWhoLostTheStore) {
  World world;
  begin(world);
  const StoreIdentity store = *look_at_store(world.disk)->identity;
  const auto first = take_store(world.disk, store, claim(1));
  ASSERT_TRUE(first);
  auto own = std::make_unique<ActorsDisk>(world.disk, first->directory, nullptr);
  std::shared_ptr<StoreFence> fence = StoreFence::open(*own, claim(1)).value();
  FencedDisk disk(std::move(own), fence);
  const auto file = disk.open("file", OpenMode::create).value();
  ASSERT_TRUE(file->write(0, as_bytes("x")));
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(take_store(world.disk, store, claim(2)));
  EXPECT_FALSE(file->sync());
  EXPECT_FALSE(disk.rename("file", "other"));
  EXPECT_FALSE(disk.remove("file"));
  EXPECT_FALSE(disk.open("another", OpenMode::create));
  EXPECT_FALSE(disk.sync_directory(""));
  EXPECT_TRUE(disk.open("file", OpenMode::read)) << "reading does no harm";
}

}  // namespace
}  // namespace mainstay::group
