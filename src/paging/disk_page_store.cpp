// The page store on a disk. Its invariants:
//   * Only the file being written (current_) has bytes that are not written; they are all in gathered_.
//   * A closed file is never written again, so that another thread may sync it.
//   * A file that is not durable stays open: what a sync of a file opened anew says about writes made through
//     another descriptor is not to be relied on.
//   * Numbers are never used twice while anything that could refer to the earlier use may exist.
#include <algorithm>
#include <atomic>
#include <deque>
#include <list>
#include <map>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "paging/page_format.h"
#include "paging/page_store.h"

namespace mainstay::paging {
namespace {

/// Closed files that stay open for reading beside those not durable yet. Far below the usual limit of 1024
/// descriptors; 128 files of 32 MiB are 4 GiB of pages that are read without opening anything.
constexpr std::size_t kOpenFilesMax = 128;
/// A file wants moving when less than 1/2 of it is in use. Moving a file of which a part x is in use writes x
/// to gain 1 - x: at one half a byte is written per byte gained, and disk use stays below twice what is in
/// use.
constexpr std::uint64_t kInUseDivisor = 2;
/// Every checkpoint ends a file. A file below 1/16 of the wanted length is small; when so many small ones
/// have come together, all are to be moved, into one: descriptors and directory entries stay few, and a page
/// is moved for this reason once in 64 checkpoints.
constexpr std::uint64_t kSmallDivisor = 16;
constexpr std::uint64_t kSmallFilesMax = 64;

std::string join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

/// What the strand and a thread that syncs share.
struct OpenFile {
  enum class State : std::uint8_t { written, durable, failed };
  std::unique_ptr<File> file;
  std::string path;
  std::atomic<State> state{State::written};
};

class SealedOnDisk final : public PageStore::Sealed {
 public:
  SealedOnDisk(Disk& disk, std::string directory) : disk_(disk), directory_(std::move(directory)) {}

  Result<void, DiskError> sync() override {
    if (failed_) return *failed_;
    for (const auto& file : fresh_) {
      if (file->state == OpenFile::State::durable) continue;
      if (file->state == OpenFile::State::failed) {
        // The system reports a failed write once; a second sync would succeed and prove nothing.
        return DiskError{DiskErrorCode::io,
                         "cannot sync " + disk_.describe(file->path) + ": an earlier sync of it failed"};
      }
      if (const auto synced = file->file->sync(); !synced) {
        file->state = OpenFile::State::failed;
        return synced.error();
      }
    }
    if (!fresh_.empty()) {
      if (const auto synced = disk_.sync_directory(directory_); !synced) return synced.error();
    }
    for (const auto& file : fresh_) file->state = OpenFile::State::durable;
    synced_ = true;
    return {};
  }

  const std::vector<File>& files() const override { return files_; }

  /// Whether the root may refer to pages in `file`.
  [[nodiscard]] bool needs(std::uint32_t file) const {
    return std::binary_search(files_.begin(), files_.end(), File{file},
                              [](const File& a, const File& b) { return a.number < b.number; });
  }

 private:
  friend class DiskPageStore;

  Disk& disk_;
  std::string directory_;
  std::optional<DiskError> failed_;               // of seal()
  std::vector<File> files_;                       // with pages in use at seal(), ascending
  std::vector<std::shared_ptr<OpenFile>> fresh_;  // those of them not known to be durable
  std::atomic<bool> synced_{false};
};

class DiskPageStore final : public PageStore {
 public:
  DiskPageStore(Disk& disk, std::string directory, PageStoreOptions options)
      : disk_(disk), directory_(std::move(directory)), options_(options) {}

  [[nodiscard]] Result<void, DiskError> open();

  std::optional<PageRef> store(BytesView content) override;
  void load(PageRef page, Buffer& into) override;
  void release(PageRef page) override;
  bool wants_moving(PageRef page) const override;
  std::shared_ptr<Sealed> seal() override;
  void checkpoint_stored(const std::shared_ptr<Sealed>& sealed) override;
  void adopt(PageRef page) override;
  std::uint64_t disk_bytes() const override { return bytes_; }
  std::uint64_t pages_in_use() const override { return pages_; }

 private:
  struct PageFile {
    std::uint64_t bytes{};         ///< its length, gathered bytes included
    std::uint64_t bytes_in_use{};  ///< of pages, with header and padding
    std::uint64_t pages_in_use{};
    bool found{};    ///< at open
    bool checked{};  ///< its header was read and is good
    std::shared_ptr<OpenFile> open;
    std::list<std::uint32_t>::iterator in_recent{};  ///< while open and closed for writing
  };
  using Files = std::map<std::uint32_t, PageFile>;

  [[nodiscard]] std::string path_of(std::uint32_t file) const {
    return join(directory_, page_file_name(file));
  }
  [[nodiscard]] PageLost lost(std::uint32_t file, const std::string& why) const {
    return PageLost("state page lost in " + disk_.describe(path_of(file)) + ": " + why +
                    ". The next start recovers from an older checkpoint or from the log");
  }
  [[nodiscard]] PageLost lost(PageRef page, const std::string& why) const {
    return lost(page.file, "offset " + std::to_string(begin_of(page)) + ", " + std::to_string(page.bytes) +
                               " bytes: " + why);
  }
  [[nodiscard]] bool is_current(std::uint32_t file) const { return current_ != 0 && file == current_; }
  [[nodiscard]] bool is_small(const PageFile& file) const {
    return file.bytes < options_.file_bytes / kSmallDivisor;
  }

  void begin_file();
  void end_file();
  void note_small(std::uint32_t number);
  [[nodiscard]] Result<void, DiskError> flush();
  [[nodiscard]] bool make_room(std::uint64_t extent);
  File& open_for_reading(std::uint32_t number, PageFile& file);
  void close_least_recent();
  [[nodiscard]] bool is_needed(std::uint32_t number, const PageFile& file) const;
  bool remove_if_unneeded(Files::iterator at);
  void remove_unneeded_files();
  Files::iterator find(PageRef page);

  Disk& disk_;
  const std::string directory_;
  const PageStoreOptions options_;
  Files files_;
  std::uint32_t last_number_ = 0;
  std::uint32_t current_ = 0;  // the file being written; 0 = none
  Buffer gathered_;            // the current file's bytes from written_ on
  std::uint64_t written_ = 0;
  bool full_ = false;  // the last write found no space
  std::uint64_t small_files_ = 0;
  std::uint32_t merge_up_to_ = 0;  // small files with numbers up to this want moving
  std::uint64_t bytes_ = 0;
  std::uint64_t pages_ = 0;
  std::list<std::uint32_t> recent_;                    // files open for reading only, last read first
  std::deque<std::shared_ptr<SealedOnDisk>> kept_;     // the two newest checkpoints of this life
  std::vector<std::weak_ptr<SealedOnDisk>> pending_;   // sealed, in order; stored later or given up
  std::vector<std::weak_ptr<SealedOnDisk>> outlived_;  // stored, no longer kept, and perhaps still held
};

// --- Opening

Result<void, DiskError> DiskPageStore::open() {
  if (const auto made = disk_.make_directory(directory_); !made) return made.error();
  // Also when it was there: a process that died may have made it without making it durable.
  for (std::string at = directory_; !at.empty();) {
    const std::size_t slash = at.rfind('/');
    at = slash == std::string::npos ? "" : at.substr(0, slash);
    if (const auto synced = disk_.sync_directory(at); !synced) return synced.error();
  }
  const auto names = disk_.list(directory_);
  if (!names) return names.error();
  for (const std::string& name : *names) {
    const auto number = parse_page_file_name(name);
    if (!number) continue;
    const auto file = disk_.open(join(directory_, name), OpenMode::read);
    if (!file) return file.error();
    const auto size = (*file)->size();
    if (!size) return size.error();
    PageFile found;
    found.bytes = *size;
    found.found = true;
    bytes_ += *size;
    last_number_ = std::max(last_number_, *number);
    if (is_small(files_.emplace(*number, std::move(found)).first->second)) note_small(*number);
  }
  return {};
}

void DiskPageStore::adopt(PageRef page) {
  const auto at = find(page);
  PageFile& file = at->second;
  if (begin_of(page) < kFileHeaderBytes || begin_of(page) + extent_of(page.bytes) > file.bytes) {
    throw lost(page, "the file has only " + std::to_string(file.bytes) + " bytes");
  }
  if (!is_current(page.file)) open_for_reading(page.file, file);
  file.bytes_in_use += extent_of(page.bytes);
  ++file.pages_in_use;
  ++pages_;
}

// --- Storing

std::optional<PageRef> DiskPageStore::store(BytesView content) {
  MS_ASSERT(!content.empty() && content.size() <= kPageBytesMax, "a page has 1 to kPageBytesMax bytes");
  const std::uint64_t extent = extent_of(content.size());
  if (!make_room(extent)) return std::nullopt;
  if (current_ == 0) begin_file();
  PageFile& file = files_.at(current_);
  const PageRef page{current_, static_cast<std::uint32_t>(file.bytes / kUnitBytes),
                     static_cast<std::uint32_t>(content.size())};
  append_page(page, content, gathered_);
  file.bytes += extent;
  file.bytes_in_use += extent;
  ++file.pages_in_use;
  bytes_ += extent;
  ++pages_;
  return page;
}

/// False when the disk is full; nothing has changed then but how often it was asked. Pages that were taken
/// must stay loadable, so what could not be written stays gathered, and no more than that is taken.
bool DiskPageStore::make_room(std::uint64_t extent) {
  if (current_ == 0) return true;
  const bool file_ends = files_.at(current_).bytes >= options_.file_bytes;
  const bool too_much = !gathered_.empty() && gathered_.size() + extent > options_.gather_bytes;
  if (!file_ends && !too_much && !full_) return true;
  if (const auto written = flush(); !written) {
    if (written.error().code == DiskErrorCode::no_space) return false;
    throw lost(current_, written.error().what);
  }
  if (file_ends) end_file();
  return true;
}

void DiskPageStore::begin_file() {
  MS_ASSERT(last_number_ < UINT32_MAX, "page files are numbered with 32 bits");
  current_ = ++last_number_;
  append_file_header(current_, gathered_);
  written_ = 0;
  PageFile& file = files_[current_];
  file.bytes = kFileHeaderBytes;
  file.checked = true;
  bytes_ += file.bytes;
}

Result<void, DiskError> DiskPageStore::flush() {
  if (gathered_.empty()) return {};
  PageFile& file = files_.at(current_);
  // Set first and cleared last: whatever fails, the next call writes the same bytes to the same place.
  full_ = true;
  if (!file.open) {
    auto created = disk_.open(path_of(current_), OpenMode::create);
    if (!created) return created.error();
    file.open = std::make_shared<OpenFile>();
    file.open->file = std::move(*created);
    file.open->path = path_of(current_);
  }
  if (const auto done = file.open->file->write(written_, gathered_); !done) return done.error();
  written_ += gathered_.size();
  gathered_.clear();
  // A giant page passed through; do not keep its memory.
  if (gathered_.capacity() > 2 * options_.gather_bytes) gathered_.shrink_to_fit();
  full_ = false;
  return {};
}

void DiskPageStore::end_file() {
  MS_ASSERT(gathered_.empty(), "a file ends when all of it is written");
  const auto at = files_.find(std::exchange(current_, 0));
  if (is_small(at->second)) note_small(at->first);
  if (at->second.open) {
    recent_.push_front(at->first);
    at->second.in_recent = recent_.begin();
  }
  if (!remove_if_unneeded(at)) close_least_recent();
}

void DiskPageStore::note_small(std::uint32_t number) {
  if (++small_files_ < kSmallFilesMax) return;
  small_files_ = 0;
  merge_up_to_ = number;
}

// --- Loading and releasing

DiskPageStore::Files::iterator DiskPageStore::find(PageRef page) {
  const auto at = files_.find(page.file);
  if (at == files_.end()) throw lost(page, "there is no such file");
  return at;
}

void DiskPageStore::load(PageRef page, Buffer& into) {
  PageFile& file = find(page)->second;
  const std::uint64_t begin = begin_of(page);
  if (is_current(page.file) && begin >= written_) {
    const std::uint64_t at = begin - written_;
    MS_ASSERT(at + extent_of(page.bytes) <= gathered_.size(), "a page reference comes from store()");
    const BytesView content = BytesView(gathered_).subspan(at + kPageHeaderBytes, page.bytes);
    into.assign(content.begin(), content.end());
    return;
  }
  File& from = is_current(page.file) ? *file.open->file : open_for_reading(page.file, file);
  into.resize(kPageHeaderBytes + page.bytes);
  const auto got = from.read(begin, into);
  if (!got) throw lost(page, got.error().what);
  if (const std::string wrong = check_page(page, BytesView(into).first(*got)); !wrong.empty()) {
    throw lost(page, wrong);
  }
  into.erase(into.begin(), into.begin() + kPageHeaderBytes);
}

/// Of a file that is no longer written.
File& DiskPageStore::open_for_reading(std::uint32_t number, PageFile& file) {
  if (file.open) {
    recent_.splice(recent_.begin(), recent_, file.in_recent);
    return *file.open->file;
  }
  auto opened = disk_.open(path_of(number), OpenMode::read);
  if (!opened) throw lost(number, opened.error().what);
  if (!file.checked) {
    Buffer header(kFileHeaderBytes);
    const auto got = (*opened)->read(0, header);
    if (!got) throw lost(number, got.error().what);
    if (const std::string wrong = check_file_header(number, BytesView(header).first(*got)); !wrong.empty()) {
      throw lost(number, wrong);
    }
    file.checked = true;
  }
  file.open = std::make_shared<OpenFile>();
  file.open->file = std::move(*opened);
  file.open->path = path_of(number);
  file.open->state = OpenFile::State::durable;  // only durable files are ever closed, or found
  recent_.push_front(number);
  file.in_recent = recent_.begin();
  close_least_recent();
  return *file.open->file;
}

void DiskPageStore::close_least_recent() {
  // Never the first one: it is in use.
  for (auto at = recent_.end(); recent_.size() > kOpenFilesMax && --at != recent_.begin();) {
    PageFile& file = files_.at(*at);
    if (file.open->state != OpenFile::State::durable) continue;
    file.open.reset();
    at = recent_.erase(at);
  }
}

void DiskPageStore::release(PageRef page) {
  const auto at = files_.find(page.file);
  const std::uint64_t extent = extent_of(page.bytes);
  MS_ASSERT(at != files_.end() && at->second.pages_in_use > 0 && at->second.bytes_in_use >= extent,
            "a page that is in use is released, and once");
  at->second.bytes_in_use -= extent;
  --at->second.pages_in_use;
  --pages_;
  remove_if_unneeded(at);
}

bool DiskPageStore::wants_moving(PageRef page) const {
  const auto at = files_.find(page.file);
  if (at == files_.end() || is_current(page.file)) return false;
  return at->second.bytes_in_use < at->second.bytes / kInUseDivisor ||
         (page.file <= merge_up_to_ && is_small(at->second));
}

// --- Checkpoints and the life of files

std::shared_ptr<PageStore::Sealed> DiskPageStore::seal() {
  auto sealed = std::make_shared<SealedOnDisk>(disk_, directory_);
  if (current_ != 0) {
    if (const auto written = flush(); written) {
      end_file();
    } else {
      sealed->failed_ = written.error();
    }
  }
  for (const auto& [number, file] : files_) {
    if (file.pages_in_use == 0) continue;
    sealed->files_.push_back({number, file.bytes});
    if (file.open && file.open->state != OpenFile::State::durable) sealed->fresh_.push_back(file.open);
  }
  if (sealed->failed_) sealed->fresh_.clear();  // the file being written is not to be synced elsewhere
  std::erase_if(pending_, [](const auto& known) { return known.expired(); });
  pending_.push_back(sealed);
  return sealed;
}

void DiskPageStore::checkpoint_stored(const std::shared_ptr<Sealed>& sealed) {
  std::shared_ptr<SealedOnDisk> stored;
  std::size_t up_to = 0;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const auto known = pending_[i].lock();
    if (known != sealed || !known) continue;
    stored = known;
    up_to = i + 1;
  }
  MS_ASSERT(stored, "checkpoints are stored once, in the order of their seal()");
  MS_ASSERT(stored->synced_, "a root is stored when its pages are durable");
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(up_to));
  stored->fresh_.clear();
  kept_.push_back(std::move(stored));
  if (kept_.size() > 2) {
    // Whoever still holds it reads its files: a full copy for another node outlives many checkpoints.
    outlived_.push_back(kept_.front());
    kept_.pop_front();
  }
  std::erase_if(outlived_, [](const auto& known) { return known.expired(); });
  remove_unneeded_files();
}

bool DiskPageStore::is_needed(std::uint32_t number, const PageFile& file) const {
  if (file.pages_in_use > 0 || is_current(number) || (file.found && kept_.size() < 2)) return true;
  const auto needs = [number](const auto& sealed) { return sealed && sealed->needs(number); };
  const auto held = [&](const auto& known) { return needs(known.lock()); };
  return std::any_of(kept_.begin(), kept_.end(), needs) ||
         std::any_of(pending_.begin(), pending_.end(), held) ||
         std::any_of(outlived_.begin(), outlived_.end(), held);
}

/// @return whether the file is gone. One that cannot be removed now is tried again at the next checkpoint.
bool DiskPageStore::remove_if_unneeded(Files::iterator at) {
  if (is_needed(at->first, at->second)) return false;
  if (at->second.open) {
    recent_.erase(at->second.in_recent);
    at->second.open.reset();
    // Should it have to stay: it is not durable, but nobody refers to it any more.
  }
  if (const auto removed = disk_.remove(path_of(at->first));
      !removed && removed.error().code != DiskErrorCode::not_found) {
    return false;
  }
  bytes_ -= at->second.bytes;
  files_.erase(at);
  return true;
}

void DiskPageStore::remove_unneeded_files() {
  for (auto at = files_.begin(); at != files_.end();) remove_if_unneeded(at++);
}

}  // namespace

Result<std::unique_ptr<PageStore>, DiskError> open_page_store(Disk& disk, const std::string& directory,
                                                              PageStoreOptions options) {
  MS_ASSERT(options.file_bytes <= 16ULL << 30, "PageRef::offset reaches 32 GiB");
  auto store = std::make_unique<DiskPageStore>(disk, directory, options);
  if (const auto opened = store->open(); !opened) return opened.error();
  return std::unique_ptr<PageStore>(std::move(store));
}

}  // namespace mainstay::paging
