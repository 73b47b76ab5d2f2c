#include "group/shared_store.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/checksum.h"
#include "group/superblock.h"
#include "journal/copy_log.h"

namespace mainstay::group {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kChecksumAt = 8;
constexpr std::size_t kCheckedFrom = 16;
constexpr std::uint32_t kFormatVersion = 1;
constexpr std::uint32_t kStoreMagic = 0x5453534d;  // "MSST"
constexpr std::uint32_t kFenceMagic = 0x4e46534d;  // "MSFN"
constexpr std::size_t kNodeBytesMax = 255;
constexpr int kTries = 20;
constexpr std::string_view kClaimPrefix = "epoch-";
constexpr std::size_t kDigits = 20;

const std::string kStore = kStoreIdentity;
const std::string kFence = "fence";
const std::string kComplete = "complete";
const std::string kPages = "pages";

std::string join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

Buffer seal_page(Buffer page) {
  MS_ASSERT(page.size() <= kPageBytes, "a page has room for the longest names");
  page.resize(kPageBytes);
  store_le(page.data() + kChecksumAt,
           checksum64(BytesView(page).subspan(kCheckedFrom), load_le<std::uint64_t>(page.data())));
  return page;
}

enum class PageStatus : std::uint8_t { ok, damaged, too_new };
PageStatus check_page(BytesView page, std::uint32_t magic) {
  if (page.size() != kPageBytes || load_le<std::uint32_t>(page.data()) != magic ||
      load_le<std::uint64_t>(page.data() + kChecksumAt) !=
          checksum64(page.subspan(kCheckedFrom), load_le<std::uint64_t>(page.data()))) {
    return PageStatus::damaged;
  }
  return load_le<std::uint32_t>(page.data() + 4) > kFormatVersion ? PageStatus::too_new : PageStatus::ok;
}

Uuid take_uuid(ByteReader& in) {
  Uuid id;
  const BytesView bytes = in.bytes(id.bytes.size());
  if (in.ok()) std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
  return id;
}

Buffer encode(const StoreIdentity& store) {
  Buffer page;
  ByteWriter out(page);
  out.u32_le(kStoreMagic);
  out.u32_le(kFormatVersion);
  out.u64_le(0);
  out.uuid(store.cluster.bytes);
  out.uuid(store.incarnation.bytes);
  out.u32_le(store.in_use ? 1 : 0);
  return seal_page(std::move(page));
}

/// Who owns a claim, or by whom it was fenced.
struct Fence {
  StoreClaim of;
  bool fenced = false;
  StoreClaim by;  ///< whoever fenced it
};

void put(ByteWriter& out, const StoreClaim& claim) {
  out.u64_le(claim.epoch.value);
  out.uuid(claim.id.bytes);
  out.u16_le(static_cast<std::uint16_t>(claim.node.size()));
  out.bytes(as_bytes(claim.node));
}
StoreClaim take_claim(ByteReader& in) {
  StoreClaim claim;
  claim.epoch = Epoch{in.u64_le()};
  claim.id = take_uuid(in);
  claim.node = as_text(in.bytes(std::min<std::size_t>(in.u16_le(), kNodeBytesMax)));
  return claim;
}

Buffer encode(const Fence& fence) {
  MS_ASSERT(fence.of.node.size() <= kNodeBytesMax && fence.by.node.size() <= kNodeBytesMax,
            "configuration limits the names of nodes");
  Buffer page;
  ByteWriter out(page);
  out.u32_le(kFenceMagic);
  out.u32_le(kFormatVersion);
  out.u64_le(0);
  out.u32_le(fence.fenced ? 1 : 0);
  put(out, fence.of);
  put(out, fence.by);
  return seal_page(std::move(page));
}
std::optional<Fence> decode_fence(BytesView page) {
  if (check_page(page, kFenceMagic) != PageStatus::ok) return std::nullopt;
  ByteReader in(page.subspan(kCheckedFrom));
  Fence fence;
  fence.fenced = in.u32_le() != 0;
  fence.of = take_claim(in);
  fence.by = take_claim(in);
  if (!in.ok()) return std::nullopt;
  return fence;
}

Result<std::optional<StoreIdentity>, Failure> read_identity(Disk& disk) {
  const auto page = read_file(disk, kStore, kPageBytes);
  if (!page) {
    if (page.error().code == DiskErrorCode::not_found) return std::optional<StoreIdentity>();
    return Failure{page.error().what};
  }
  switch (check_page(*page, kStoreMagic)) {
    case PageStatus::ok:
      break;
    case PageStatus::too_new:
      return Failure{disk.describe(kStore) + " is of a newer version of this program: start that one again"};
    case PageStatus::damaged:
      return Failure{
          disk.describe(kStore) +
          " is damaged: it says whose store this is. Put it back from a backup; the log beside it is "
          "not touched"};
  }
  ByteReader in(BytesView(*page).subspan(kCheckedFrom));
  StoreIdentity store;
  store.cluster = take_uuid(in);
  store.incarnation = take_uuid(in);
  store.in_use = in.u32_le() != 0;
  return std::optional(store);
}

/// A file that appears with all of its content or not at all, and only once.
/// @return false when there is one of that name
Result<bool, DiskError> make_once(Disk& disk, const std::string& path, const Uuid& id, BytesView content) {
  const std::string fresh = path + "." + id.text() + ".new";
  auto file = disk.open(fresh, OpenMode::create);
  if (!file) return file.error();
  if (const auto done = (*file)->write(0, content); !done) return done.error();
  if (const auto done = (*file)->sync(); !done) return done.error();
  const auto linked = disk.link(fresh, path);
  const auto removed = disk.remove(fresh);
  if (!linked && linked.error().code != DiskErrorCode::exists) return linked.error();
  if (!removed) return removed.error();
  const std::size_t slash = path.rfind('/');
  if (const auto done = disk.sync_directory(slash == std::string::npos ? "" : path.substr(0, slash)); !done)
    return done.error();
  return linked.has_value();
}

Result<std::vector<Epoch>, Failure> claims_in(Disk& disk) {
  const auto names = disk.list("");
  if (!names) return Failure{names.error().what};
  std::vector<Epoch> epochs;
  for (const std::string& name : *names) {
    if (const auto epoch = parse_claim_directory(name)) epochs.push_back(*epoch);
  }
  std::sort(epochs.begin(), epochs.end());
  return epochs;
}

Result<bool, Failure> has(Disk& disk, const std::string& path) {
  const auto file = disk.open(path, OpenMode::read);
  if (file) return true;
  if (file.error().code == DiskErrorCode::not_found) return false;
  return Failure{file.error().what};
}

/// The highest complete claim below `epoch`; 0 = none.
Result<Epoch, Failure> complete_below(Disk& disk, const std::vector<Epoch>& claims, Epoch epoch) {
  for (auto at = claims.rbegin(); at != claims.rend(); ++at) {
    if (*at >= epoch) continue;
    const auto complete = has(disk, join(claim_directory(*at), kComplete));
    if (!complete) return complete.error();
    if (*complete) return *at;
  }
  return Epoch{};
}

void empty_directory(Disk& disk, const std::string& directory, bool keep_fence) {
  const auto names = disk.list(directory);
  if (!names) return;
  for (const std::string& name : *names) {
    if (keep_fence && name == kFence) continue;
    const std::string path = join(directory, name);
    if (disk.list(path)) {
      empty_directory(disk, path, false);
      static_cast<void>(disk.remove_directory(path));
    } else {
      static_cast<void>(disk.remove(path));
    }
  }
}

class Taking {
 public:
  Taking(Disk& disk, const StoreIdentity& store, const StoreClaim& claim)
      : disk_(disk), store_(store), claim_(claim), own_(claim_directory(claim.epoch)) {}

  Result<TakenStore, Failure> run() {
    if (const auto done = make_own(); !done) return done.error();
    // From here on a lower claim that begins sees this one, and gives up; one that had begun is seen here.
    auto claims = claims_in(disk_);
    if (!claims) return claims.error();
    if (!claims->empty() && claims->back() > claim_.epoch) return later(claims->back());
    for (const Epoch epoch : *claims) {
      if (epoch == claim_.epoch) continue;
      if (const auto done = fence_off(epoch); !done) return done.error();
    }
    // Nobody's answers count any more but those that were given: what they were about is found from here on.
    const auto from = complete_below(disk_, *claims, claim_.epoch);
    if (!from) return from.error();
    if (*from == Epoch{} && store_.in_use) {
      return Failure{
          disk_.describe("") +
          ": this store was in use and has no complete log: directories were removed or put back in "
          "part. Nothing is begun anew in it; put back what is missing"};
    }
    TakenStore taken;
    taken.directory = own_;
    taken.from = *from;
    if (const auto done = gather(taken); !done) return done.error();
    claims = claims_in(disk_);
    if (!claims) return claims.error();
    if (!claims->empty() && claims->back() > claim_.epoch) return later(claims->back());
    if (const auto done = replace_file(disk_, join(own_, kComplete), as_bytes("complete\n")); !done)
      return failed(done.error());
    if (!store_.in_use) {
      StoreIdentity used = store_;
      used.in_use = true;
      if (const auto done = replace_file(disk_, kStore, encode(used)); !done) return failed(done.error());
    }
    return taken;
  }

 private:
  static Failure failed(const DiskError& error) {
    return Failure{"the store cannot be taken: " + error.what};
  }
  [[nodiscard]] Failure later(Epoch epoch) const {
    return Failure{"the store was taken in epoch " + std::to_string(epoch.value) + ", after epoch " +
                   std::to_string(claim_.epoch.value) + " of this node"};
  }

  Result<void, Failure> make_own() {
    if (const auto done = disk_.make_directory(own_); !done) return failed(done.error());
    const auto made = make_once(disk_, join(own_, kFence), claim_.id, encode(Fence{claim_, false, {}}));
    if (!made) return failed(made.error());
    if (!*made) {
      return Failure{disk_.describe(join(own_, kFence)) + " is there already: epoch " +
                     std::to_string(claim_.epoch.value) +
                     " is somebody else's, or was fenced by a later one"};
    }
    if (const auto done = disk_.sync_directory(""); !done) return failed(done.error());
    return {};
  }

  /// Makes the fence of a lower claim say so, durably. A claim that has none yet gets one, and its owner
  /// finds it.
  Result<void, Failure> fence_off(Epoch epoch) {
    const std::string directory = claim_directory(epoch);
    const std::string path = join(directory, kFence);
    for (int tries = 0; tries < kTries; ++tries) {
      Fence fence;
      fence.of.epoch = epoch;
      const auto page = read_file(disk_, path, kPageBytes);
      if (page) {
        if (auto found = decode_fence(*page)) fence = std::move(*found);
      } else if (page.error().code != DiskErrorCode::not_found) {
        return failed(page.error());
      }
      fence.fenced = true;
      fence.by = claim_;
      const Buffer fenced = encode(fence);
      // A name of its own in that directory: over NFS it is also what makes the listings that follow new
      // ones.
      const auto made = make_once(disk_, path, claim_.id, fenced);
      if (!made) {
        // Its directory was removed by a later claim, or never quite made.
        if (made.error().code == DiskErrorCode::not_found) return {};
        return failed(made.error());
      }
      if (*made) return {};
      const auto file = disk_.open(path, OpenMode::read_write);
      if (!file) {
        if (file.error().code == DiskErrorCode::not_found) continue;
        return failed(file.error());
      }
      if (const auto done = (*file)->write(0, fenced); !done) return failed(done.error());
      if (const auto done = (*file)->sync(); !done) return failed(done.error());
      return {};
    }
    return Failure{disk_.describe(path) + " comes and goes: it cannot be fenced"};
  }

  Result<void, Failure> gather(TakenStore& taken) {
    std::string why;
    for (int tries = 0; tries < kTries; ++tries) {
      empty_directory(disk_, own_, true);
      if (taken.from == Epoch{}) return store_block({});
      const auto copied = journal::copy_log(disk_, claim_directory(taken.from), own_);
      if (!copied && copied.error().code != journal::JournalErrorCode::not_found)
        return Failure{copied.error().what};
      if (copied) {
        taken.linked = copied->linked;
        taken.copied_bytes = copied->copied_bytes;
        const auto rest = gather_rest(taken);
        if (rest || rest.error().code != DiskErrorCode::not_found) {
          if (!rest) return failed(rest.error());
          const auto block = read_superblock(disk_, claim_directory(taken.from));
          if (!block) return block.error();
          return store_block(block->block.value_or(Superblock{}));
        }
        why = rest.error().what;
      } else {
        why = copied.error().what;
      }
    }
    return Failure{"the store cannot be taken, its last writer is still changing it: " + why};
  }

  /// The state's pages, which are only ever added to, and the highest region term.
  Result<void, DiskError> gather_rest(TakenStore& taken) {
    const std::string from = claim_directory(taken.from);
    const auto pages = disk_.list(join(from, kPages));
    if (pages) {
      if (const auto done = disk_.make_directory(join(own_, kPages)); !done) return done.error();
      for (const std::string& name : *pages) {
        const std::string path = join(kPages, name);
        if (const auto done = disk_.link(join(from, path), join(own_, path)); !done) return done.error();
        ++taken.linked;
      }
      if (const auto done = disk_.sync_directory(join(own_, kPages)); !done) return done.error();
    } else if (pages.error().code != DiskErrorCode::not_found) {
      return pages.error();
    }
    const auto term = read_file(disk_, join(from, "term"), kPageBytes);
    if (!term) {
      if (term.error().code == DiskErrorCode::not_found) return {};
      return term.error();
    }
    return replace_file(disk_, join(own_, "term"), *term);
  }

  /// What the node that leads here has promised: at least the epoch of its claim.
  Result<void, Failure> store_block(Superblock block) {
    block.cluster = store_.cluster;
    block.incarnation = store_.incarnation;
    block.node = claim_.node;
    block.promised = std::max(block.promised, claim_.epoch);
    block.seen = std::max(block.seen, claim_.epoch);
    ++block.generation;
    if (auto done = store_superblock(disk_, own_, block); !done) return done;
    if (const auto done = disk_.sync_directory(own_); !done) return failed(done.error());
    return {};
  }

  Disk& disk_;
  const StoreIdentity& store_;
  const StoreClaim& claim_;
  const std::string own_;
};

}  // namespace

std::string claim_directory(Epoch epoch) {
  const std::string digits = std::to_string(epoch.value);
  return std::string(kClaimPrefix) + std::string(kDigits - digits.size(), '0') + digits;
}

std::optional<Epoch> parse_claim_directory(std::string_view name) {
  if (name.size() != kClaimPrefix.size() + kDigits || !name.starts_with(kClaimPrefix)) return std::nullopt;
  Epoch epoch;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + kClaimPrefix.size(), end, epoch.value);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return epoch;
}

Result<StoreSight, Failure> look_at_store(Disk& disk) {
  StoreSight sight;
  auto identity = read_identity(disk);
  if (!identity) return identity.error();
  sight.identity = *identity;
  const auto names = disk.list("");
  if (!names) return Failure{names.error().what};
  for (const std::string& name : *names) {
    if (name.starts_with("superblock")) {
      return Failure{
          disk.describe("") +
          " is the data directory of one node, not a store that nodes share. Give the group an empty "
          "directory, and bring the messages over through the brokers"};
    }
  }
  const auto claims = claims_in(disk);
  if (!claims) return claims.error();
  if (claims->empty()) return sight;
  if (!sight.identity)
    return Failure{disk.describe(kStore) +
                   " is missing: it says whose store this is. Put it back from a backup"};
  sight.highest = claims->back();
  sight.claims = claims->size();
  const auto current = complete_below(disk, *claims, Epoch{UINT64_MAX});
  if (!current) return current.error();
  sight.current = *current;
  if (sight.current == Epoch{}) return sight;
  const auto block = read_superblock(disk, claim_directory(sight.current));
  // One that is being written or removed says nothing; take_store() looks at it again.
  if (block && block->block) sight.seen = block->block->seen;
  return sight;
}

Result<std::optional<std::string>, Failure> current_claim(Disk& disk) {
  const auto identity = read_identity(disk);
  if (!identity) return identity.error();
  if (!*identity) return std::optional<std::string>();
  const auto claims = claims_in(disk);
  if (!claims) return claims.error();
  const auto current = complete_below(disk, *claims, Epoch{UINT64_MAX});
  if (!current) return current.error();
  if (*current == Epoch{})
    return Failure{disk.describe("") + " is a store that nodes share, and nobody has led on it yet"};
  return std::optional(claim_directory(*current));
}

Result<StoreIdentity, Failure> make_store(Disk& disk, const Uuid& cluster, Random& random) {
  StoreIdentity store;
  store.cluster = cluster;
  store.incarnation = random.uuid();
  const auto made = make_once(disk, kStore, random.uuid(), encode(store));
  if (!made) return Failure{made.error().what};
  const auto there = read_identity(disk);
  if (!there) return there.error();
  MS_ASSERT(*there, "it was made, or it was there");
  return **there;
}

Result<TakenStore, Failure> take_store(Disk& disk, const StoreIdentity& store, const StoreClaim& claim) {
  return Taking(disk, store, claim).run();
}

void remove_claims_below(Disk& disk, Epoch epoch) {
  const auto claims = claims_in(disk);
  if (!claims) return;
  for (const Epoch old : *claims) {
    if (old >= epoch) break;
    const std::string directory = claim_directory(old);
    // First what makes it count; last what its owner looks at.
    static_cast<void>(disk.remove(join(directory, kComplete)));
    static_cast<void>(disk.sync_directory(directory));
    empty_directory(disk, directory, true);
    static_cast<void>(disk.remove(join(directory, kFence)));
    static_cast<void>(disk.remove_directory(directory));
  }
}

// ---- The owner's side

StoreFence::StoreFence(std::unique_ptr<File> file, Buffer page, std::string shown)
    : file_(std::move(file)), page_(std::move(page)), shown_(std::move(shown)) {}

Result<std::unique_ptr<StoreFence>, Failure> StoreFence::open(Disk& disk, const StoreClaim& claim) {
  auto file = disk.open(kFence, OpenMode::read);
  if (!file) return Failure{file.error().what};
  std::unique_ptr<StoreFence> fence(
      new StoreFence(std::move(*file), encode(Fence{claim, false, {}}), disk.describe(kFence)));
  if (const auto ours = fence->check(); !ours) return Failure{ours.error().what};
  return fence;
}

Result<void, DiskError> StoreFence::check() {
  const std::lock_guard hold(mutex_);
  if (!lost_.empty()) return DiskError{DiskErrorCode::io, lost_};
  checks_.fetch_add(1, std::memory_order_relaxed);
  std::array<std::byte, kPageBytes> page{};
  const auto got = file_->read_fresh(0, page);
  if (got && *got == kPageBytes && std::equal(page.begin(), page.end(), page_.begin())) return {};
  if (!got) {
    lost_ = "whether this node still has the store cannot be read: " + got.error().what;
  } else if (const auto fence = decode_fence(BytesView(page).first(*got)); fence && fence->fenced) {
    lost_ =
        "node " + fence->by.node + " has taken the store in epoch " + std::to_string(fence->by.epoch.value);
  } else {
    lost_ = shown_ + " is not what this node wrote: the store is not its any more";
  }
  return DiskError{DiskErrorCode::io, lost_};
}

std::string StoreFence::lost() const {
  const std::lock_guard hold(mutex_);
  return lost_;
}

namespace {

class FencedFile final : public File {
 public:
  FencedFile(std::unique_ptr<File> file, std::shared_ptr<StoreFence> fence)
      : file_(std::move(file)), fence_(std::move(fence)) {}
  Result<std::size_t, DiskError> read(std::uint64_t offset, std::span<std::byte> into) override {
    return file_->read(offset, into);
  }
  Result<std::optional<std::size_t>, DiskError> read_if_cached(std::uint64_t offset,
                                                               std::span<std::byte> into) override {
    return file_->read_if_cached(offset, into);
  }
  Result<std::size_t, DiskError> read_fresh(std::uint64_t offset, std::span<std::byte> into) override {
    return file_->read_fresh(offset, into);
  }
  Result<void, DiskError> write(std::uint64_t offset, BytesView from) override {
    return file_->write(offset, from);
  }
  Result<void, DiskError> sync() override {
    // After it: what a later claim reads was then durable before it fenced this one.
    auto synced = file_->sync();
    return synced ? fence_->check() : synced;
  }
  void start_writing(std::uint64_t offset, std::uint64_t bytes) override {
    file_->start_writing(offset, bytes);
  }
  Result<std::uint64_t, DiskError> size() override { return file_->size(); }
  Result<void, DiskError> truncate(std::uint64_t bytes) override { return file_->truncate(bytes); }
  Result<void, DiskError> preallocate(std::uint64_t bytes) override { return file_->preallocate(bytes); }

 private:
  std::unique_ptr<File> file_;
  std::shared_ptr<StoreFence> fence_;
};

}  // namespace

Result<std::unique_ptr<File>, DiskError> FencedDisk::open(const std::string& path, OpenMode mode) {
  if (mode == OpenMode::create) {
    if (const auto ours = fence_->check(); !ours) return ours.error();
  }
  auto file = disk_->open(path, mode);
  if (!file) return file.error();
  return std::unique_ptr<File>(std::make_unique<FencedFile>(std::move(*file), fence_));
}
Result<void, DiskError> FencedDisk::rename(const std::string& from, const std::string& to) {
  if (auto ours = fence_->check(); !ours) return ours;
  return disk_->rename(from, to);
}
Result<void, DiskError> FencedDisk::remove(const std::string& path) {
  if (auto ours = fence_->check(); !ours) return ours;
  return disk_->remove(path);
}
Result<void, DiskError> FencedDisk::link(const std::string& from, const std::string& to) {
  if (auto ours = fence_->check(); !ours) return ours;
  return disk_->link(from, to);
}
Result<void, DiskError> FencedDisk::remove_directory(const std::string& path) {
  if (auto ours = fence_->check(); !ours) return ours;
  return disk_->remove_directory(path);
}
Result<void, DiskError> FencedDisk::make_directory(const std::string& path) {
  if (auto ours = fence_->check(); !ours) return ours;
  return disk_->make_directory(path);
}
Result<void, DiskError> FencedDisk::sync_directory(const std::string& path) {
  auto synced = disk_->sync_directory(path);
  return synced ? fence_->check() : synced;
}

}  // namespace mainstay::group
