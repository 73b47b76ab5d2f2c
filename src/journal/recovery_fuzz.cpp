// Arbitrary bytes written over a sound segment: open() either refuses without changing anything, or gives a
// log that opens again to the same end. verify() never falls over it.
#include <algorithm>
#include <cstdint>

#include "base/assert.h"
#include "base/memory_disk.h"
#include "journal/journal.h"

namespace {
using namespace mainstay;

constexpr const char* kSegment = "segment-00000000000000000001.log";

journal::JournalOptions options() {
  journal::JournalOptions out;
  out.segment_bytes = 64 << 10;
  return out;
}

/// A journal of a few records; made once.
const std::vector<std::pair<std::string, Buffer>>& sound() {
  static const auto files = [] {
    MemoryDisk disk;
    SeededRandom random(1);
    auto log = journal::Journal::open(disk, "", options(), random, {}, {}).value();
    journal::LogBuilder builder({}, Epoch{1});
    for (int i = 0; i < 5; ++i) builder.append(journal::RecordType::message_stored, as_bytes("a payment"));
    MS_ASSERT(log->write(builder.take()).has_value() && log->sync().has_value(), "nothing fails here");
    std::vector<std::pair<std::string, Buffer>> out;
    for (const std::string& path : disk.paths()) out.emplace_back(path, disk.contents(path));
    return out;
  }();
  return files;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  // Two bytes say where, the rest is written there.
  const std::size_t offset = load_le<std::uint16_t>(reinterpret_cast<const std::byte*>(data));
  const BytesView bytes = std::as_bytes(std::span(data + 2, size - 2));
  MemoryDisk disk;
  for (const auto& [path, content] : sound()) {
    Buffer changed = content;
    if (path == kSegment) {
      const std::size_t count = std::min(bytes.size(), changed.size() - offset);
      std::copy_n(bytes.begin(), count, changed.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    disk.put(path, changed);
  }
  static_cast<void>(journal::verify(disk, ""));
  const Buffer before = disk.contents(kSegment);
  SeededRandom random(2);
  journal::LogPosition end;
  {
    const auto opened = journal::Journal::open(disk, "", options(), random, {}, {});
    if (!opened) {
      MS_ASSERT(disk.contents(kSegment) == before, "a refused directory is left as it was");
      return 0;
    }
    end = (*opened)->recovery().end;
  }
  disk.crash_losing_unsynced();
  const auto again = journal::Journal::open(disk, "", options(), random, {}, {});
  MS_ASSERT(again.has_value() && (*again)->recovery().end == end && (*again)->recovery().torn_bytes == 0,
            "what was accepted once is sound");
  return 0;
}
