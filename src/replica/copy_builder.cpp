#include "replica/copy_builder.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/checksum.h"
#include "group/superblock.h"
#include "journal/begin.h"
#include "paging/page_store.h"
#include "replica/recover.h"
#include "replica/verify_pages.h"

namespace mainstay::replica {
namespace {

constexpr const char* kHome = "copy";
constexpr const char* kNew = "copy/new";
constexpr const char* kPages = "copy/new/pages";
constexpr const char* kRoot = "copy/root";
constexpr const char* kPlan = "copy/plan";
constexpr const char* kInstalling = "installing";
constexpr const char* kSettingAside = "setting-aside";

constexpr std::uint32_t kPlanMagic = 0x5046534d;          // "MSFP"
constexpr std::uint32_t kInstallingMagic = 0x4946534d;    // "MSFI"
constexpr std::uint32_t kSettingAsideMagic = 0x4153534d;  // "MSSA"
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kPlanBytesMax = 64ULL << 20;
constexpr std::uint64_t kUnsyncedMax = 8ULL << 20;
/// Beyond what the plan says: headers, indexes, the last segment.
constexpr std::uint64_t kSpareBytes = 16ULL << 20;

Failure failed(const std::string& what) {
  return Failure{what};
}

/// A small file: magic, version, content, checksum over all before it.
Buffer framed(std::uint32_t magic, BytesView content) {
  Buffer bytes;
  ByteWriter out(bytes);
  out.u32_le(magic);
  out.u32_le(kVersion);
  out.sized_bytes(content);
  out.u64_le(checksum64(bytes));
  return bytes;
}

std::optional<Buffer> unframed(std::uint32_t magic, BytesView bytes) {
  ByteReader in(bytes);
  if (in.u32_le() != magic || in.u32_le() != kVersion) return std::nullopt;
  const BytesView content = in.sized_bytes();
  const std::size_t behind = in.position();
  if (!in.ok() || in.u64_le() != checksum64(bytes.first(behind)) || !in.finished()) return std::nullopt;
  return to_buffer(content);
}

std::string page_path(std::uint32_t number) {
  return std::string(kPages) + "/" + paging::page_file_name(number);
}

/// 0 when it is not there.
Result<std::uint64_t, DiskError> length_of(Disk& disk, const std::string& path) {
  const auto file = disk.open(path, OpenMode::read);
  if (!file) {
    if (file.error().code == DiskErrorCode::not_found) return std::uint64_t{0};
    return file.error();
  }
  return (*file)->size();
}

Result<void, DiskError> remove_if_there(Disk& disk, const std::string& path) {
  auto removed = disk.remove(path);
  if (!removed && removed.error().code == DiskErrorCode::not_found) return {};
  return removed;
}

/// Names in a directory; none when it is not there.
Result<std::vector<std::string>, DiskError> names_in(Disk& disk, const std::string& directory) {
  auto names = disk.list(directory);
  if (!names && names.error().code == DiskErrorCode::not_found) return std::vector<std::string>{};
  return names;
}

bool is_directory(const std::string& name) {
  return name == "pages" || name == "quarantine" || name == "removed" || name == "new";
}

/// The log, the state and the promises of a node, by name: what an installed copy takes the place of.
bool is_replaced(const std::string& name) {
  return journal::is_journal_file(name) || name.starts_with("superblock.") || name == "term" ||
         name == "term.new";
}

}  // namespace

struct CopyBuilder::Impl {
  Impl(Disk& with_disk, group::CopyPlan with_plan, journal::JournalOptions with_options, Random& with_random)
      : disk(with_disk), plan(std::move(with_plan)), options(std::move(with_options)), random(with_random) {}

  Disk& disk;
  group::CopyPlan plan;
  journal::JournalOptions options;
  Random& random;
  group::CopyPlace place;
  std::unique_ptr<File> file;  ///< of the item under way
  std::unique_ptr<journal::Journal> journal;
  std::uint64_t unsynced = 0;

  [[nodiscard]] std::string path_of(const group::CopyItem& item) const {
    return item.kind == group::CopyKind::root ? kRoot : page_path(item.number);
  }

  Result<void, Failure> open_journal() {
    auto opened = journal::Journal::open(disk, kNew, options, random, plan.end.lsn, {});
    if (!opened) return failed(opened.error().what);
    journal = std::move(*opened);
    return {};
  }

  /// Where the files say that the copy is.
  Result<void, Failure> find_place() {
    for (std::uint32_t i = 0; i + 1 < plan.items.size(); ++i) {
      const auto length = length_of(disk, path_of(plan.items[i]));
      if (!length) return failed(length.error().what);
      if (*length > plan.items[i].bytes) return failed("a file of the copy is longer than the plan says");
      if (*length < plan.items[i].bytes) {
        place = {i, *length};
        return {};
      }
    }
    const auto records = static_cast<std::uint32_t>(plan.items.size() - 1);
    place = settled(plan, {records, journal->durable().lsn.next().value});
    return {};
  }

  Result<void, Failure> put_into_file(const group::CopyItem& item, BytesView bytes) {
    const std::string path = path_of(item);
    if (place.offset + bytes.size() > item.bytes) return failed("the leader sent more than the file holds");
    if (!file) {
      auto opened = disk.open(path, OpenMode::read_write);
      if (!opened && opened.error().code == DiskErrorCode::not_found)
        opened = disk.open(path, OpenMode::create);
      if (!opened) return failed(opened.error().what);
      file = std::move(*opened);
    }
    if (const auto done = file->write(place.offset, bytes); !done) return failed(done.error().what);
    unsynced += bytes.size();
    place.offset += bytes.size();
    const bool whole = place.offset == item.bytes;
    if (whole || unsynced > kUnsyncedMax) {
      if (const auto done = file->sync(); !done) return failed(done.error().what);
      unsynced = 0;
    }
    if (!whole) return {};
    file.reset();
    const auto synced = disk.sync_directory(item.kind == group::CopyKind::root ? kHome : kPages);
    if (!synced) return failed(synced.error().what);
    return {};
  }

  Result<void, Failure> put_records(BytesView bytes) {
    if (const auto done = journal->write_raw(bytes); !done) return failed(done.error().what);
    const journal::LogPosition end = journal->written();
    if (end.lsn > plan.end.lsn || (end.lsn == plan.end.lsn && end.hash != plan.end.hash)) {
      return failed("the leader sent other records than those it announced");
    }
    unsynced += bytes.size();
    place.offset = end.lsn.next().value;
    if (unsynced <= kUnsyncedMax && end.lsn < plan.end.lsn) return {};
    unsynced = 0;
    if (const auto done = journal->sync(); !done) return failed(done.error().what);
    return {};
  }

  Result<void, Failure> store_promises(Uuid incarnation) {
    group::Superblock block;
    block.generation = 1;
    block.cluster = options.cluster;
    block.node = options.node;
    block.incarnation = incarnation;
    block.promised = block.seen = plan.epochs.last();
    block.committed = plan.end.lsn;  // a cut is of what is committed
    block.epochs = plan.epochs;
    if (auto stored = group::store_superblock(disk, kNew, block); !stored) return stored;
    return store_term(disk, kNew, plan.region_term);
  }

  /// As a start would use it, and everything that a start does not look at.
  Result<void, Failure> check() {
    const journal::VerifyReport log = journal::verify(disk, kNew);
    if (!log.ok)
      return failed("the copy's log is not whole: " + (log.problems.empty() ? "?" : log.problems.front()));
    if (!(log.end == plan.end)) return failed("the copy's log does not end where the leader said");
    const PagesReport pages = verify_pages(disk, kNew);
    if (!pages.ok) {
      return failed("the copy's state is not whole: " +
                    (pages.problems.empty() ? "?" : pages.problems.front()));
    }
    const auto recovered = recover(disk, kNew, options, random);
    if (!recovered) return failed("the copy cannot be started from: " + recovered.error().what);
    if (recovered->checkpoint != plan.end.lsn || recovered->state.applied() != plan.end.lsn) {
      return failed("the copy's checkpoint cannot be used: " + recovered->not_used);
    }
    if (recovered->state.hash() != plan.state_hash) {
      return failed("the copy's state has hash " + hex(recovered->state.hash()) + ", the leader's has " +
                    hex(plan.state_hash));
    }
    return {};
  }
};

CopyBuilder::CopyBuilder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CopyBuilder::~CopyBuilder() = default;

const group::CopyPlan& CopyBuilder::plan() const {
  return impl_->plan;
}
group::CopyPlace CopyBuilder::place() const {
  return impl_->place;
}

Result<std::unique_ptr<CopyBuilder>, Failure> CopyBuilder::begin(Disk& disk, const group::CopyPlan& plan,
                                                                 const journal::JournalOptions& options,
                                                                 Random& random) {
  if (auto done = forget_copy(disk); !done) return done.error();
  const auto free = disk.free_bytes();
  if (!free) return failed(free.error().what);
  // Segments are as long as they are, and each record's file is rounded up to one.
  const std::uint64_t needed = plan.bytes() + 2 * options.segment_bytes + kSpareBytes;
  if (*free < needed) {
    return failed("the copy needs " + std::to_string(needed) + " bytes beside what is there, and " +
                  disk.describe("") + " has " + std::to_string(*free) +
                  ". Free space; or, if nothing of this node's disk is needed any more, give it an empty "
                  "directory");
  }
  if (const auto done = disk.make_directory(kPages); !done) return failed(done.error().what);
  if (const auto done = journal::begin_after(disk, kNew, options, random, plan.before); !done) {
    return failed(done.error().what);
  }
  for (const char* directory : {kNew, kHome, ""}) {
    if (const auto done = disk.sync_directory(directory); !done) return failed(done.error().what);
  }
  Buffer content;
  group::encode_plan(plan, content);
  if (const auto done = replace_file(disk, kPlan, framed(kPlanMagic, content)); !done) {
    return failed(done.error().what);
  }
  auto impl = std::make_unique<Impl>(disk, plan, options, random);
  if (auto opened = impl->open_journal(); !opened) return opened.error();
  if (auto found = impl->find_place(); !found) return found.error();
  return std::unique_ptr<CopyBuilder>(new CopyBuilder(std::move(impl)));
}

Result<std::unique_ptr<CopyBuilder>, Failure> CopyBuilder::resume(Disk& disk,
                                                                  const journal::JournalOptions& options,
                                                                  Random& random) {
  const auto names = names_in(disk, kHome);
  if (!names) return failed(names.error().what);
  if (names->empty()) return std::unique_ptr<CopyBuilder>();
  const auto nothing = [&]() -> Result<std::unique_ptr<CopyBuilder>, Failure> {
    if (auto done = forget_copy(disk); !done) return done.error();
    return std::unique_ptr<CopyBuilder>();
  };
  const auto bytes = read_file(disk, kPlan, kPlanBytesMax);
  if (!bytes) return nothing();
  const auto content = unframed(kPlanMagic, *bytes);
  auto plan = content ? group::decode_plan(*content) : std::nullopt;
  if (!plan) return nothing();
  auto impl = std::make_unique<Impl>(disk, std::move(*plan), options, random);
  if (!impl->open_journal() || !impl->find_place()) {
    impl.reset();
    return nothing();
  }
  return std::unique_ptr<CopyBuilder>(new CopyBuilder(std::move(impl)));
}

Result<group::CopyPlace, Failure> CopyBuilder::put(const group::CopyPlace& at, BytesView bytes) {
  Impl& me = *impl_;
  MS_ASSERT(at == me.place && at.item < me.plan.items.size() && !bytes.empty(), "parts come in order");
  const group::CopyItem& item = me.plan.items[at.item];
  const auto done =
      item.kind == group::CopyKind::records ? me.put_records(bytes) : me.put_into_file(item, bytes);
  if (!done) return done.error();
  me.place = settled(me.plan, me.place);
  return me.place;
}

Result<void, Failure> CopyBuilder::finish() {
  Impl& me = *impl_;
  MS_ASSERT(me.place.item == me.plan.items.size(), "all of the copy is here");
  if (!(me.journal->durable() == me.plan.end))
    return failed("the copy's log does not end where the leader said");
  const auto root = read_file(me.disk, kRoot, me.plan.items.front().bytes);
  if (!root) return failed(root.error().what);
  if (const auto done = me.journal->store_checkpoint(me.plan.end.lsn, *root); !done) {
    return failed(done.error().what);
  }
  const Uuid incarnation = me.journal->incarnation();
  me.journal.reset();
  if (auto done = me.store_promises(incarnation); !done) return done;
  return me.check();
}

Result<void, Failure> forget_copy(Disk& disk) {
  // The plan first: without it the rest is nothing to go on with.
  if (const auto done = remove_if_there(disk, kPlan); !done) return failed(done.error().what);
  for (const std::string& directory : {std::string(kHome), std::string(kNew), std::string(kPages),
                                       std::string(kNew) + "/quarantine", std::string(kNew) + "/removed"}) {
    const auto names = names_in(disk, directory);
    if (!names) return failed(names.error().what);
    for (const std::string& name : *names) {
      if (is_directory(name)) continue;
      if (const auto done = remove_if_there(disk, directory + "/" + name); !done) {
        return failed(done.error().what);
      }
    }
    if (names->empty()) continue;
    if (const auto done = disk.sync_directory(directory); !done) return failed(done.error().what);
  }
  return {};
}

Result<void, Failure> begin_install(Disk& disk) {
  auto copied = group::read_superblock(disk, kNew);
  if (!copied) return copied.error();
  if (!copied->block) return failed(disk.describe(kNew) + " is no copy that could be installed");
  group::Superblock block = *copied->block;
  // It is another disk, and nothing binds it to what the one before it promised. But a node that knows an
  // epoch had better not forget it.
  const auto own = group::read_superblock(disk, "");
  if (!own) return own.error();
  if (own->block) {
    if (own->block->committed > block.committed) {
      return failed("this node knows that LSN " + std::to_string(own->block->committed.value) +
                    " was committed, and the copy ends at LSN " + std::to_string(block.committed.value));
    }
    block.promised = std::max(block.promised, own->block->promised);
    block.seen = std::max(block.seen, own->block->seen);
    block.record = own->block->record;
  }
  ++block.generation;
  if (auto stored = group::store_superblock(disk, kNew, block); !stored) return stored;
  const auto own_term = load_term(disk, "");
  const auto term = load_term(disk, kNew);
  if (!own_term) return own_term.error();
  if (!term) return term.error();
  if (auto stored = store_term(disk, kNew, std::max(*own_term, *term)); !stored) return stored;
  Buffer phase;
  ByteWriter(phase).u64_le(block.committed.value);
  ByteWriter(phase).u8(1);
  const auto decided = replace_file(disk, kInstalling, framed(kInstallingMagic, phase));
  if (!decided) return failed(decided.error().what);
  return {};
}

bool is_damaged(Disk& disk) {
  if (!journal::verify(disk, "").ok) return true;
  const PagesReport pages = verify_pages(disk, "");
  return pages.checkpoints == 0 && !pages.problems.empty();
}

Result<SetAside, Failure> set_aside(Disk& disk) {
  const auto kept = names_in(disk, "quarantine");
  if (!kept) return failed(kept.error().what);
  std::string home;
  for (int number = 1;; ++number) {
    home = "damaged-" + std::to_string(number);
    if (std::find(kept->begin(), kept->end(), home) == kept->end()) break;
  }
  home = "quarantine/" + home;
  {
    const auto lock = disk.lock("lock");
    if (!lock) return failed(lock.error().what);
  }
  const auto decided = replace_file(disk, kSettingAside, framed(kSettingAsideMagic, as_bytes(home)));
  if (!decided) return failed(decided.error().what);
  auto done = finish_set_aside(disk);
  if (!done) return done.error();
  return SetAside{home};
}

Result<std::optional<SetAside>, Failure> finish_set_aside(Disk& disk) {
  const auto marker = read_file(disk, kSettingAside, 4096);
  if (!marker) {
    if (marker.error().code == DiskErrorCode::not_found) return std::optional<SetAside>();
    return failed(marker.error().what);
  }
  const auto content = unframed(kSettingAsideMagic, *marker);
  const std::string home = content ? std::string(as_text(*content)) : "";
  if (!home.starts_with("quarantine/")) {
    return failed(
        disk.describe(kSettingAside) +
        " is damaged: this node's damaged log was being set aside. Keep the directory, and give this "
        "node an empty one; the others have everything");
  }
  if (const auto done = disk.make_directory(home + "/pages"); !done) return failed(done.error().what);
  // The place first, durably, then what is moved there.
  for (const std::string& directory : {home, std::string("quarantine"), std::string()}) {
    if (const auto done = disk.sync_directory(directory); !done) return failed(done.error().what);
  }
  const auto lock = disk.lock("lock");
  if (!lock) return failed(lock.error().what);
  for (const bool pages : {true, false}) {
    const std::string from = pages ? "pages" : "";
    const std::string to = pages ? home + "/pages" : home;
    const auto names = names_in(disk, from);
    if (!names) return failed(names.error().what);
    for (const std::string& name : *names) {
      if (!pages && !is_replaced(name)) continue;
      const auto moved = disk.rename(pages ? from + "/" + name : name, to + "/" + name);
      if (!moved) return failed(moved.error().what);
    }
    if (const auto done = disk.sync_directory(to); !done) return failed(done.error().what);
    if (pages && names->empty()) continue;
    if (const auto done = disk.sync_directory(from); !done) return failed(done.error().what);
  }
  if (const auto done = disk.remove(kSettingAside); !done) return failed(done.error().what);
  if (const auto done = disk.sync_directory(""); !done) return failed(done.error().what);
  return std::optional(SetAside{home});
}

Result<std::optional<Installed>, Failure> finish_install(Disk& disk) {
  const auto marker = read_file(disk, kInstalling, 4096);
  if (!marker) {
    if (marker.error().code == DiskErrorCode::not_found) return std::optional<Installed>();
    return failed(marker.error().what);
  }
  const auto content = unframed(kInstallingMagic, *marker);
  ByteReader in(content ? BytesView(*content) : BytesView());
  Installed installed;
  installed.end = Lsn{in.u64_le()};
  std::uint8_t phase = in.u8();
  if (!in.finished() || phase < 1 || phase > 2) {
    return failed(disk.describe(kInstalling) +
                  " is damaged: a copy was taking the place of this node's log. Keep the directory, and give "
                  "this node an empty one; its leader has everything");
  }
  const auto lock = disk.lock("lock");
  if (!lock) return failed(lock.error().what);
  if (phase == 1) {
    const auto old = names_in(disk, "");
    if (!old) return failed(old.error().what);
    for (const std::string& name : *old) {
      if (!is_replaced(name)) continue;
      if (const auto done = remove_if_there(disk, name); !done) return failed(done.error().what);
      ++installed.removed_files;
    }
    const auto pages = names_in(disk, "pages");
    if (!pages) return failed(pages.error().what);
    for (const std::string& name : *pages) {
      if (const auto done = remove_if_there(disk, "pages/" + name); !done) return failed(done.error().what);
      ++installed.removed_files;
    }
    if (const auto done = disk.make_directory("pages"); !done) return failed(done.error().what);
    for (const char* directory : {"pages", ""}) {
      if (const auto done = disk.sync_directory(directory); !done) return failed(done.error().what);
    }
    Buffer next;
    ByteWriter(next).u64_le(installed.end.value);
    ByteWriter(next).u8(2);
    if (const auto done = replace_file(disk, kInstalling, framed(kInstallingMagic, next)); !done) {
      return failed(done.error().what);
    }
  }
  const auto move_all = [&](const std::string& from, const std::string& to) -> Result<void, Failure> {
    const auto names = names_in(disk, from);
    if (!names) return failed(names.error().what);
    for (const std::string& name : *names) {
      if (is_directory(name) || name == "lock") continue;
      const auto moved = disk.rename(from + "/" + name, to.empty() ? name : to + "/" + name);
      if (!moved) return failed(moved.error().what);
    }
    // What is in its new place first, then that it is gone from the old one.
    for (const std::string& directory : {to, from}) {
      if (const auto done = disk.sync_directory(directory); !done) return failed(done.error().what);
    }
    return {};
  };
  if (auto done = move_all(kPages, "pages"); !done) return done.error();
  if (auto done = move_all(kNew, ""); !done) return done.error();
  if (const auto done = disk.remove(kInstalling); !done) return failed(done.error().what);
  if (const auto done = disk.sync_directory(""); !done) return failed(done.error().what);
  if (auto done = forget_copy(disk); !done) return done.error();
  return std::optional(installed);
}

}  // namespace mainstay::replica
