// Small writers (Python: each call is one libc call) on a disk in trouble, killed, and what they had not
// synced taken back.
#include "lab/faulty_disk.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>

#include <filesystem>
#include <set>

#include "io/system_clock.h"
#include "lab/processes.h"
#include "lab/test_directory.h"
#include "lab/text_files.h"

namespace mainstay::lab {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* python = "/usr/bin/python3";

class DiskInTrouble : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(python)) GTEST_SKIP() << "the writers of this test need " << python;
    fs::create_directory(root());
    auto made =
        FaultyDisk::create(root(), directory.path() + "/state", FaultyDisk::layer_beside_this_program());
    ASSERT_TRUE(made.has_value()) << made.error().what;
    disk = std::move(*made);
  }
  [[nodiscard]] std::string root() const { return directory.path() + "/disk"; }

  /// A script that finds os imported, is in the disk's directory, and has the means to end without a
  /// farewell.
  [[nodiscard]] Command writer(const std::string& script) const {
    return {.name = "a writer",
            .arguments = {python, "-c",
                          "import os, signal\n"
                          "os.chdir('" +
                              root() +
                              "')\n"
                              "def power_loss(): os.kill(os.getpid(), signal.SIGKILL)\n"
                              "def sync_names(): os.fsync(os.open('.', os.O_RDONLY))\n"
                              "def create(name): return os.open(name, os.O_RDWR | os.O_CREAT, 0o600)\n" +
                              script},
            .log = directory.path() + "/log",
            .environment = disk->environment()};
  }
  void run(const std::string& script, int signal = SIGKILL) {
    fs::remove(directory.path() + "/log");
    const auto finished = run_to_end(writer(script), seconds(30));
    ASSERT_TRUE(finished.has_value()) << finished.error().what;
    ASSERT_EQ(finished->end.signal, signal) << finished->output;
    output = finished->output;
  }
  TakenBack take_back(const Loss& loss = {}) {
    const auto told = disk->take_back(loss);
    EXPECT_TRUE(told.has_value()) << told.error().what;
    return told ? *told : TakenBack();
  }
  [[nodiscard]] std::string content(const std::string& name) const {
    const auto text = read_text_file(root() + "/" + name);
    return text ? *text : "absent";
  }
  /// Waits until `ready`, at most 20 s.
  static bool wait_for(const std::function<bool()>& ready) {
    for (int i = 0; i < 10'000 && !ready(); ++i) ::poll(nullptr, 0, 2);
    return ready();
  }

  TestDirectory directory;
  std::unique_ptr<FaultyDisk> disk;
  std::string output;
};

TEST_F(DiskInTrouble, OnlyWhatWasSyncedIsLeftAfterALossOfPower) {
  run(R"(
f = create('log')
os.write(f, b'first '); os.fdatasync(f); sync_names()
os.write(f, b'second'); os.pwrite(f, b'F', 0); os.write(f, b' third')
power_loss())");
  EXPECT_EQ(content("log"), "First second third") << "the kill alone loses nothing";
  const TakenBack told = take_back();
  EXPECT_EQ(content("log"), "first ");
  EXPECT_EQ(told.files, 1u);
}

TEST_F(DiskInTrouble, WhatWasWrittenDuringASyncIsNotCoveredByIt) {
  disk->slow_syncs(milliseconds(300));
  run(R"(
import threading, time
f = create('log'); sync_names()
os.pwrite(f, b'before', 0)
sync = threading.Thread(target=os.fdatasync, args=(f,))
sync.start(); time.sleep(0.1)
os.pwrite(f, b'during', 6)
sync.join()
power_loss())");
  EXPECT_EQ(content("log"), "beforeduring");
  take_back();
  EXPECT_EQ(content("log"), "before");
}

TEST_F(DiskInTrouble, LengthsGoBackToo) {
  run(R"(
f = create('shrunk'); os.write(f, b'0123456789'); os.fsync(f)
g = create('grown'); os.write(g, b'01234'); os.fsync(g)
h = create('emptied'); os.write(h, b'content'); os.fsync(h)
sync_names()
os.ftruncate(f, 3); os.posix_fallocate(g, 0, 100000); os.open('emptied', os.O_WRONLY | os.O_TRUNC)
power_loss())");
  EXPECT_EQ(fs::file_size(root() + "/grown"), 100'000u);
  take_back();
  EXPECT_EQ(content("shrunk"), "0123456789");
  EXPECT_EQ(content("grown"), "01234");
  EXPECT_EQ(content("emptied"), "content");
}

TEST_F(DiskInTrouble, ANameIsDurableWithItsDirectoryOnly) {
  run(R"(
os.mkdir('kept'); f = create('kept/file'); os.fsync(f); os.fsync(os.open('kept', os.O_RDONLY)); sync_names()
g = create('unsynced'); os.write(g, b'x'); os.fsync(g)
os.mkdir('lost'); create('lost/inside')
power_loss())");
  EXPECT_TRUE(fs::exists(root() + "/lost/inside"));
  take_back();
  EXPECT_TRUE(fs::exists(root() + "/kept/file"));
  EXPECT_FALSE(fs::exists(root() + "/unsynced"));
  EXPECT_FALSE(fs::exists(root() + "/lost"));
}

TEST_F(DiskInTrouble, ARenameOverAFileAndARemovalAreUndone) {
  run(R"(
for name in ('a', 'b', 'c'):
  f = create(name); os.write(f, name.encode()); os.fsync(f)
sync_names()
os.rename('a', 'b'); os.unlink('c')
power_loss())");
  EXPECT_EQ(content("b"), "a");
  EXPECT_EQ(content("c"), "absent");
  const TakenBack told = take_back();
  EXPECT_EQ(told.names_lost, 2u);
  EXPECT_EQ(content("a"), "a");
  EXPECT_EQ(content("b"), "b");
  EXPECT_EQ(content("c"), "c");
}

TEST_F(DiskInTrouble, ADurableReplacementStays) {
  run(R"(
f = create('state'); os.write(f, b'old'); os.fsync(f); sync_names()
g = create('state.new'); os.write(g, b'new'); os.fsync(g)
os.rename('state.new', 'state'); sync_names()
power_loss())");
  EXPECT_EQ(take_back().names, 0u);
  EXPECT_EQ(content("state"), "new");
  EXPECT_FALSE(fs::exists(root() + "/state.new"));
}

TEST_F(DiskInTrouble, WhatAProcessLeftUnsyncedCanStillBeLostUnderTheNextOne) {
  run("f = create('log'); sync_names(); os.write(f, b'unsynced'); power_loss()");
  run("f = create('other'); sync_names(); power_loss()");
  take_back();
  EXPECT_EQ(content("log"), "");
  run("f = create('log'); os.write(f, b'unsynced'); power_loss()");
  run("f = create('log'); os.fsync(f); power_loss()");
  take_back();
  EXPECT_EQ(content("log"), "unsynced");
}

TEST_F(DiskInTrouble, ATornWriteLosesSomeBlocksAndTheSeedSaysWhich) {
  const auto torn = [&](std::uint64_t seed) {
    run(R"(
f = create('log'); os.pwrite(f, b'-' * 4096 * 64, 0); os.fsync(f); sync_names()
os.pwrite(f, b'x' * 4096 * 64, 0)
power_loss())");
    take_back({.everything = false, .block_bytes = 4096, .seed = seed});
    const std::string text = content("log");
    std::string blocks;
    for (std::size_t at = 0; at < text.size(); at += 4096) {
      EXPECT_EQ(text.substr(at, 4096), std::string(4096, text[at])) << "no block is torn itself";
      blocks += text[at];
    }
    return blocks;
  };
  const std::string one = torn(1);
  EXPECT_EQ(one.size(), 64u);
  EXPECT_GT(std::count(one.begin(), one.end(), 'x'), 10);
  EXPECT_GT(std::count(one.begin(), one.end(), '-'), 10);
  EXPECT_EQ(torn(1), one);
  EXPECT_NE(torn(2), one);
}

TEST_F(DiskInTrouble, AStalledDiskHoldsSyncsAndWritesUntilItIsReleased) {
  io::SystemClock clock;
  auto process =
      *Process::start(writer("f = create('log'); os.write(f, b'x'); os.fdatasync(f); os.write(f, b'y')"));
  disk->stall_syncs(true);
  ASSERT_TRUE(wait_for([&] { return disk->counts().stalled == 1; })) << process->log_tail();
  EXPECT_EQ(content("log"), "x");
  EXPECT_FALSE(process->wait(milliseconds(50)));
  disk->stall_writes(true);
  disk->stall_syncs(false);
  ASSERT_TRUE(wait_for([&] { return disk->counts().writes == 2; }));
  EXPECT_EQ(content("log"), "x");
  disk->repair();
  ASSERT_TRUE(process->wait(seconds(20)));
  EXPECT_TRUE(process->end()->ok()) << process->log_tail();
  EXPECT_EQ(content("log"), "xy");
}

TEST_F(DiskInTrouble, AFailedSyncIsToldOnceAndALaterOneProvesNothing) {
  disk->fail_syncs(1);
  run(R"(
f = create('log'); sync_names_failed = False
try: os.fdatasync(f)
except OSError as failure: print(os.strerror(failure.errno))
sync_names()
g = create('other'); os.write(g, b'fine'); os.fsync(g); sync_names()
os.write(f, b'x'); os.fdatasync(f)
os.sys.stdout.flush()
power_loss())");
  EXPECT_THAT(output, HasSubstr("Input/output error"));
  EXPECT_EQ(disk->counts().failed_syncs, 1u);
  take_back();
  EXPECT_EQ(content("log"), "");
  EXPECT_EQ(content("other"), "fine");
}

TEST_F(DiskInTrouble, ALyingDiskKeepsNothing) {
  run("f = create('log'); sync_names(); os.write(f, b'kept'); os.fsync(f); power_loss()");
  disk->lie(true);
  run("f = create('log'); os.write(f, b'lost'); os.fsync(f); os.unlink('log'); sync_names(); power_loss()");
  take_back();
  EXPECT_EQ(content("log"), "kept");
}

TEST_F(DiskInTrouble, AFullDiskTakesWhatHasItsPlaceAndRefusesToGrow) {
  disk->fill(true);
  run(R"(
f = create('log')
def attempt(what, call):
  try: print(what, call())
  except OSError as failure: print(what, os.strerror(failure.errno))
attempt('grow', lambda: os.pwrite(f, b'x', 0))
attempt('allocate', lambda: os.posix_fallocate(f, 0, 10))
attempt('free', lambda: os.statvfs('.').f_bavail)
os.ftruncate(f, 4)
attempt('in place', lambda: os.pwrite(f, b'xx', 2))
attempt('in part', lambda: os.pwrite(f, b'yyyy', 2))
os.sys.stdout.flush()
power_loss())");
  EXPECT_EQ(
      output,
      "grow No space left on device\nallocate No space left on device\nfree 0\nin place 2\nin part 2\n");
}

TEST_F(DiskInTrouble, ALossWithoutAProcessThatHadTheLayerIsRefused) {
  const auto told = disk->take_back({});
  ASSERT_FALSE(told.has_value());
  EXPECT_THAT(told.error().what, HasSubstr("no process used the disk"));
}

TEST_F(DiskInTrouble, FilesElsewhereAreLeftAlone) {
  disk->fill(true);
  run("f = os.open('../outside', os.O_RDWR | os.O_CREAT); os.write(f, b'untouched'); power_loss()");
  take_back();
  EXPECT_EQ(*read_text_file(directory.path() + "/outside"), "untouched");
}

TEST(DiskLayer, ADiskThatHoldsItsOwnNotesIsRefused) {
  const TestDirectory directory;
  const auto inside = FaultyDisk::create(directory.path(), directory.path() + "/state",
                                         FaultyDisk::layer_beside_this_program());
  ASSERT_FALSE(inside.has_value());
  EXPECT_THAT(inside.error().what, HasSubstr("is inside the disk"));
}

}  // namespace
}  // namespace mainstay::lab
