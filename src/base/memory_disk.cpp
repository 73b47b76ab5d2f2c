#include "base/memory_disk.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace mainstay {

class MemoryFile final : public File {
 public:
  MemoryFile(MemoryDisk& disk, MemoryDisk::Entry inode, std::string path, bool writable, std::uint64_t boot)
      : disk_(disk), inode_(std::move(inode)), path_(std::move(path)), writable_(writable), boot_(boot) {}

  Result<std::size_t, DiskError> read(std::uint64_t offset, std::span<std::byte> into) override {
    const std::lock_guard hold(disk_.mutex_);
    if (auto dead = check("read", false)) return *dead;
    ++disk_.counters_.reads;
    if (disk_.fault_due(disk_.fail_read_)) {
      return disk_.error(DiskErrorCode::io, "read", path_, "injected read error");
    }
    const Buffer& from = inode_->written;
    if (offset >= from.size()) return std::size_t{0};
    const std::size_t count = std::min<std::size_t>(into.size(), from.size() - offset);
    if (count > 0) std::memcpy(into.data(), from.data() + offset, count);
    if (count > 0 && disk_.fault_due(disk_.damage_read_)) into[count / 2] ^= std::byte{4};
    return count;
  }

  Result<std::optional<std::size_t>, DiskError> read_if_cached(std::uint64_t offset,
                                                               std::span<std::byte> into) override {
    {
      const std::lock_guard hold(disk_.mutex_);
      if (disk_.cold_) return std::optional<std::size_t>();
    }
    return File::read_if_cached(offset, into);
  }

  Result<void, DiskError> write(std::uint64_t offset, BytesView from) override {
    const std::lock_guard hold(disk_.mutex_);
    if (auto dead = check("write", true)) return *dead;
    if (from.empty()) return {};
    return disk_.change_file(
        *inode_, path_,
        {MemoryDisk::Change::Kind::write, offset, from.size(), Buffer(from.begin(), from.end())}, "write");
  }

  Result<void, DiskError> sync() override {
    const std::lock_guard hold(disk_.mutex_);
    if (auto dead = check("sync", false)) return *dead;
    return disk_.sync_file(*inode_, path_);
  }

  Result<std::uint64_t, DiskError> size() override {
    const std::lock_guard hold(disk_.mutex_);
    if (auto dead = check("size", false)) return *dead;
    return std::uint64_t{inode_->written.size()};
  }

  Result<void, DiskError> truncate(std::uint64_t bytes) override {
    const std::lock_guard hold(disk_.mutex_);
    if (auto dead = check("truncate", true)) return *dead;
    return disk_.change_file(*inode_, path_, {MemoryDisk::Change::Kind::truncate, bytes, 0, {}}, "truncate");
  }

  Result<void, DiskError> preallocate(std::uint64_t bytes) override {
    const std::lock_guard hold(disk_.mutex_);
    if (auto dead = check("preallocate", true)) return *dead;
    const std::uint64_t have = inode_->written.size();
    if (bytes <= have) return {};
    return disk_.change_file(*inode_, path_, {MemoryDisk::Change::Kind::zeros, have, bytes - have, {}},
                             "preallocate");
  }

 private:
  std::optional<DiskError> check(const char* operation, bool writes) {
    if (boot_ != disk_.boot_) {
      return disk_.error(DiskErrorCode::io, operation, path_, "the process that opened it has ended");
    }
    if (writes && !writable_) {
      return disk_.error(DiskErrorCode::permission, operation, path_, "opened for reading only");
    }
    return std::nullopt;
  }

  MemoryDisk& disk_;
  MemoryDisk::Entry inode_;
  std::string path_;
  bool writable_;
  std::uint64_t boot_;
};

class MemoryLock final : public DiskLock {
 public:
  MemoryLock(MemoryDisk& disk, std::string path, std::uint64_t boot)
      : disk_(disk), path_(std::move(path)), boot_(boot) {}
  ~MemoryLock() override {
    const std::lock_guard hold(disk_.mutex_);
    if (boot_ == disk_.boot_) disk_.locks_.erase(path_);
  }
  MemoryLock(const MemoryLock&) = delete;
  MemoryLock& operator=(const MemoryLock&) = delete;

 private:
  MemoryDisk& disk_;
  std::string path_;
  std::uint64_t boot_;
};

MemoryDisk::MemoryDisk(std::string name) : name_(std::move(name)) {}
MemoryDisk::~MemoryDisk() = default;

// --- Disk

Result<std::unique_ptr<File>, DiskError> MemoryDisk::open(const std::string& path, OpenMode mode) {
  const std::lock_guard hold(mutex_);
  const auto found = tree_.find(path);
  if (mode != OpenMode::create) {
    if (found == tree_.end()) return error(DiskErrorCode::not_found, "open", path, "no such file");
    if (!found->second) return error(DiskErrorCode::io, "open", path, "is a directory");
    return std::unique_ptr<File>(
        std::make_unique<MemoryFile>(*this, found->second, path, mode == OpenMode::read_write, boot_));
  }
  if (found != tree_.end()) return error(DiskErrorCode::exists, "create", path, "file exists");
  const std::string parent = parent_of(path);
  if (!parent.empty() && tree_.find(parent) == tree_.end()) {
    return error(DiskErrorCode::not_found, "create", path, "no such directory");
  }
  if (auto refused = begin_mutation("create", path)) return *refused;
  ++counters_.creates;
  auto inode = std::make_shared<Inode>();
  inode->number = ++inodes_;
  change_tree({TreeChange::Kind::link, path, {}, inode});
  return std::unique_ptr<File>(std::make_unique<MemoryFile>(*this, inode, path, true, boot_));
}

Result<std::vector<std::string>, DiskError> MemoryDisk::list(const std::string& directory) {
  const std::lock_guard hold(mutex_);
  if (!directory.empty()) {
    const auto found = tree_.find(directory);
    if (found == tree_.end() || found->second) {
      return error(DiskErrorCode::not_found, "list", directory, "no such directory");
    }
  }
  std::vector<std::string> names;
  for (const auto& [path, entry] : tree_) {
    if (parent_of(path) == directory) {
      names.push_back(directory.empty() ? path : path.substr(directory.size() + 1));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<void, DiskError> MemoryDisk::rename(const std::string& from, const std::string& to) {
  const std::lock_guard hold(mutex_);
  const auto found = tree_.find(from);
  if (found == tree_.end()) return error(DiskErrorCode::not_found, "rename", from, "no such file");
  MS_ASSERT(found->second != nullptr, "only files are renamed here");
  const std::string parent = parent_of(to);
  if (!parent.empty() && tree_.find(parent) == tree_.end()) {
    return error(DiskErrorCode::not_found, "rename", to, "no such directory");
  }
  if (auto refused = begin_mutation("rename", from)) return *refused;
  ++counters_.renames;
  change_tree({TreeChange::Kind::rename, to, from, found->second});
  return {};
}

Result<void, DiskError> MemoryDisk::remove(const std::string& path) {
  const std::lock_guard hold(mutex_);
  const auto found = tree_.find(path);
  if (found == tree_.end()) return error(DiskErrorCode::not_found, "remove", path, "no such file");
  if (auto refused = begin_mutation("remove", path)) return *refused;
  ++counters_.removes;
  change_tree({TreeChange::Kind::unlink, path, {}, found->second});
  return {};
}

Result<void, DiskError> MemoryDisk::link(const std::string& from, const std::string& to) {
  const std::lock_guard hold(mutex_);
  const auto found = tree_.find(from);
  if (found == tree_.end() || !found->second)
    return error(DiskErrorCode::not_found, "link", from, "no such file");
  if (tree_.contains(to)) return error(DiskErrorCode::exists, "link", to, "file exists");
  const std::string parent = parent_of(to);
  if (!parent.empty() && !tree_.contains(parent)) {
    return error(DiskErrorCode::not_found, "link", to, "no such directory");
  }
  if (auto refused = begin_mutation("link", to)) return *refused;
  change_tree({TreeChange::Kind::link, to, {}, found->second});
  return {};
}

Result<void, DiskError> MemoryDisk::remove_directory(const std::string& path) {
  const std::lock_guard hold(mutex_);
  const auto found = tree_.find(path);
  if (found == tree_.end() || found->second)
    return error(DiskErrorCode::not_found, "remove directory", path, "no such directory");
  for (const auto& [other, entry] : tree_) {
    if (parent_of(other) == path)
      return error(DiskErrorCode::io, "remove directory", path, "directory not empty");
  }
  if (auto refused = begin_mutation("remove directory", path)) return *refused;
  ++counters_.removes;
  change_tree({TreeChange::Kind::unlink, path, {}, nullptr});
  return {};
}

Result<void, DiskError> MemoryDisk::make_directory(const std::string& path) {
  const std::lock_guard hold(mutex_);
  if (path.empty()) return {};
  for (std::size_t slash = path.find('/');; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    const auto found = tree_.find(part);
    if (found == tree_.end()) {
      if (auto refused = begin_mutation("make directory", part)) return *refused;
      change_tree({TreeChange::Kind::link, part, {}, nullptr});
    } else if (found->second) {
      return error(DiskErrorCode::exists, "make directory", part, "is a file");
    }
    if (slash == std::string::npos) return {};
  }
}

Result<void, DiskError> MemoryDisk::sync_directory(const std::string& path) {
  const std::lock_guard hold(mutex_);
  if (!path.empty() && tree_.find(path) == tree_.end()) {
    return error(DiskErrorCode::not_found, "sync directory", path, "no such directory");
  }
  if (auto refused = begin_mutation("sync directory", path)) return *refused;
  ++counters_.directory_syncs;
  if (fault_due(fail_sync_)) {
    return error(DiskErrorCode::io, "sync directory", path, "injected sync error");
  }
  std::vector<TreeChange> others;
  for (TreeChange& change : tree_changes_) {
    if (parent_of(change.path) == path) {
      apply(change, durable_tree_);
    } else {
      others.push_back(std::move(change));
    }
  }
  tree_changes_ = std::move(others);
  return {};
}

Result<std::uint64_t, DiskError> MemoryDisk::free_bytes() {
  const std::lock_guard hold(mutex_);
  const std::uint64_t taken = used();
  return taken >= capacity_ ? std::uint64_t{0} : capacity_ - taken;
}

Result<std::unique_ptr<DiskLock>, DiskError> MemoryDisk::lock(const std::string& path) {
  const std::lock_guard hold(mutex_);
  if (!locks_.insert(path).second) {
    return error(DiskErrorCode::locked, "lock", path, "another process holds it");
  }
  return std::unique_ptr<DiskLock>(std::make_unique<MemoryLock>(*this, path, boot_));
}

std::string MemoryDisk::describe(const std::string& path) const {
  return path.empty() ? name_ : name_ + "/" + path;
}

// --- Ends of the process

void MemoryDisk::crash(Random& random) {
  const std::lock_guard hold(mutex_);
  ++counters_.crashes;
  crash_tree(&random);
  end_process();
}

void MemoryDisk::crash_losing_unsynced() {
  const std::lock_guard hold(mutex_);
  ++counters_.crashes;
  crash_tree(nullptr);
  end_process();
}

void MemoryDisk::kill() {
  const std::lock_guard hold(mutex_);
  end_process();
}

void MemoryDisk::end_process() {
  ++boot_;
  locks_.clear();
  mutations_left_.reset();
  fail_sync_.reset();
  fail_write_.reset();
  fail_read_.reset();
  damage_read_.reset();
}

void MemoryDisk::crash_tree(Random* random) {
  for (const TreeChange& change : tree_changes_) {
    if (random != nullptr && random->chance(1, 2)) {
      apply(change, durable_tree_);
    } else {
      ++counters_.directory_changes_lost;
    }
  }
  tree_changes_.clear();
  // Unreachable: below a directory that is not there. Parents sort before what is in them.
  for (auto at = durable_tree_.begin(); at != durable_tree_.end();) {
    const std::string parent = parent_of(at->first);
    at = parent.empty() || durable_tree_.contains(parent) ? std::next(at) : durable_tree_.erase(at);
  }
  tree_ = durable_tree_;

  std::map<std::uint64_t, Inode*> files;
  for (const auto& [path, entry] : tree_) {
    if (entry) files.emplace(entry->number, entry.get());
  }
  for (const auto& [number, inode] : files) crash_file(*inode, random);
}

void MemoryDisk::crash_file(Inode& inode, Random* random) {
  for (const Change& change : inode.changes) {
    const std::uint64_t fate = random == nullptr ? 1 : random->below(3);
    if (fate == 0) {
      apply(change, inode.durable);
    } else if (fate == 1 || change.kind == Change::Kind::truncate) {
      ++counters_.writes_lost;
    } else {
      ++counters_.writes_torn;
      const std::uint64_t end = change.offset + change.length;
      for (std::uint64_t sector = change.offset / kSectorBytes; sector * kSectorBytes < end; ++sector) {
        if (random->chance(1, 2)) continue;
        apply_range(change, std::max(change.offset, sector * kSectorBytes),
                    std::min(end, (sector + 1) * kSectorBytes), inode.durable);
      }
    }
  }
  inode.changes.clear();
  inode.written = inode.durable;
}

// --- Faults

void MemoryDisk::set_capacity(std::uint64_t bytes) {
  const std::lock_guard hold(mutex_);
  capacity_ = bytes;
}
void MemoryDisk::fail_next_sync(std::uint64_t skip) {
  const std::lock_guard hold(mutex_);
  fail_sync_ = skip;
}
void MemoryDisk::fail_next_write(std::uint64_t skip, DiskErrorCode code) {
  const std::lock_guard hold(mutex_);
  fail_write_ = skip;
  fail_write_code_ = code;
}
void MemoryDisk::set_cold(bool cold) {
  const std::lock_guard hold(mutex_);
  cold_ = cold;
}
void MemoryDisk::fail_next_read(std::uint64_t skip) {
  const std::lock_guard hold(mutex_);
  fail_read_ = skip;
}
void MemoryDisk::damage_next_read(std::uint64_t skip) {
  const std::lock_guard hold(mutex_);
  damage_read_ = skip;
}
void MemoryDisk::let_reads_be() {
  const std::lock_guard hold(mutex_);
  fail_read_.reset();
  damage_read_.reset();
}
void MemoryDisk::stop_after(std::uint64_t mutations) {
  const std::lock_guard hold(mutex_);
  mutations_left_ = mutations;
}
void MemoryDisk::flip(const std::string& path, std::uint64_t offset, std::uint8_t mask) {
  const std::lock_guard hold(mutex_);
  const auto found = tree_.find(path);
  MS_ASSERT(found != tree_.end() && found->second, "only a file that exists can rot");
  Inode& inode = *found->second;
  MS_ASSERT(offset < inode.written.size(), "only a byte that exists can rot");
  inode.written[offset] ^= std::byte{mask};
  if (offset < inode.durable.size()) inode.durable[offset] ^= std::byte{mask};
}
void MemoryDisk::overwrite(const std::string& path, std::uint64_t offset, BytesView bytes) {
  const std::lock_guard hold(mutex_);
  const auto found = tree_.find(path);
  MS_ASSERT(found != tree_.end() && found->second, "only a file that exists can be hit");
  Inode& inode = *found->second;
  MS_ASSERT(offset + bytes.size() <= inode.written.size(), "only bytes that exist can be hit");
  std::copy(bytes.begin(), bytes.end(), inode.written.begin() + static_cast<std::ptrdiff_t>(offset));
  if (offset >= inode.durable.size()) return;
  const auto durable = bytes.first(std::min<std::size_t>(bytes.size(), inode.durable.size() - offset));
  std::copy(durable.begin(), durable.end(), inode.durable.begin() + static_cast<std::ptrdiff_t>(offset));
}

// --- For tests

bool MemoryDisk::exists(const std::string& path) const {
  const std::lock_guard hold(mutex_);
  return tree_.contains(path);
}
Buffer MemoryDisk::contents(const std::string& path) const {
  const std::lock_guard hold(mutex_);
  const auto found = tree_.find(path);
  MS_ASSERT(found != tree_.end() && found->second, "the file must exist");
  return found->second->written;
}
std::optional<Buffer> MemoryDisk::durable_contents(const std::string& path) const {
  const std::lock_guard hold(mutex_);
  const auto found = durable_tree_.find(path);
  if (found == durable_tree_.end() || !found->second) return std::nullopt;
  return found->second->durable;
}
void MemoryDisk::put(const std::string& path, BytesView content) {
  const std::lock_guard hold(mutex_);
  for (std::size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    tree_.emplace(path.substr(0, slash), nullptr);
    durable_tree_.emplace(path.substr(0, slash), nullptr);
  }
  auto inode = std::make_shared<Inode>();
  inode->number = ++inodes_;
  inode->written = to_buffer(content);
  inode->durable = inode->written;
  tree_[path] = inode;
  durable_tree_[path] = inode;
}
void MemoryDisk::erase(const std::string& path) {
  const std::lock_guard hold(mutex_);
  tree_.erase(path);
  durable_tree_.erase(path);
}
std::vector<std::string> MemoryDisk::paths() const {
  const std::lock_guard hold(mutex_);
  std::vector<std::string> out;
  for (const auto& [path, entry] : tree_) {
    if (entry) out.push_back(path);
  }
  return out;
}
std::uint64_t MemoryDisk::used_bytes() const {
  const std::lock_guard hold(mutex_);
  return used();
}
MemoryDisk::Counters MemoryDisk::counters() const {
  const std::lock_guard hold(mutex_);
  return counters_;
}

// --- Inside (the lock is held)

std::string MemoryDisk::parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

void MemoryDisk::apply(const TreeChange& change, Tree& tree) {
  switch (change.kind) {
    case TreeChange::Kind::link:
      tree[change.path] = change.entry;
      break;
    case TreeChange::Kind::rename: {
      // The source goes only if it is still the file that was renamed: with an earlier change undone, another
      // one may stand there.
      const auto source = tree.find(change.from);
      if (source != tree.end() && source->second == change.entry) tree.erase(source);
      tree[change.path] = change.entry;
      break;
    }
    case TreeChange::Kind::unlink: {
      const auto target = tree.find(change.path);
      if (target != tree.end() && target->second == change.entry) tree.erase(target);
      break;
    }
  }
}

void MemoryDisk::change_tree(TreeChange change) {
  apply(change, tree_);
  tree_changes_.push_back(std::move(change));
}

void MemoryDisk::apply_range(const Change& change, std::uint64_t begin, std::uint64_t end, Buffer& to) {
  if (to.size() < end) to.resize(end);
  if (change.kind == Change::Kind::zeros) {
    std::fill_n(to.begin() + static_cast<std::ptrdiff_t>(begin), end - begin, std::byte{0});
  } else {
    std::memcpy(to.data() + begin, change.bytes.data() + (begin - change.offset), end - begin);
  }
}

void MemoryDisk::apply(const Change& change, Buffer& to) {
  if (change.kind == Change::Kind::truncate) {
    to.resize(change.offset);
  } else if (change.length > 0) {
    apply_range(change, change.offset, change.offset + change.length, to);
  }
}

std::optional<DiskError> MemoryDisk::begin_mutation(const char* operation, const std::string& path) {
  if (mutations_left_) {
    if (*mutations_left_ == 0) {
      ++counters_.faults_injected;
      return error(DiskErrorCode::io, operation, path, "the disk has stopped");
    }
    --*mutations_left_;
  }
  ++counters_.mutations;
  return std::nullopt;
}

bool MemoryDisk::fault_due(std::optional<std::uint64_t>& countdown) {
  if (!countdown) return false;
  if (*countdown > 0) {
    --*countdown;
    return false;
  }
  countdown.reset();
  ++counters_.faults_injected;
  return true;
}

DiskError MemoryDisk::error(DiskErrorCode code, const char* operation, const std::string& path,
                            const std::string& reason) const {
  return {code, std::string("cannot ") + operation + " " + describe(path) + ": " + reason};
}

std::uint64_t MemoryDisk::used() const {
  std::uint64_t sum = 0;
  for (const auto& [path, entry] : tree_) {
    if (entry) sum += entry->written.size();
  }
  return sum;
}

Result<void, DiskError> MemoryDisk::change_file(Inode& inode, const std::string& path, Change change,
                                                const char* operation) {
  if (auto refused = begin_mutation(operation, path)) return *refused;
  std::optional<DiskError> failure;
  if (change.kind != Change::Kind::truncate) {
    ++counters_.writes;
    if (fault_due(fail_write_)) {
      failure = error(fail_write_code_, operation, path, "injected write error");
      change.length /= 2;
    }
    const std::uint64_t end = change.offset + change.length;
    const std::uint64_t growth = end > inode.written.size() ? end - inode.written.size() : 0;
    const std::uint64_t taken = used();
    if (growth > 0 && (taken > capacity_ || growth > capacity_ - taken)) {
      const std::uint64_t missing = growth - (taken > capacity_ ? 0 : capacity_ - taken);
      failure = error(DiskErrorCode::no_space, operation, path, "no space left on the disk");
      change.length -= std::min(change.length, missing);
    }
    if (change.kind == Change::Kind::write) change.bytes.resize(change.length);
    counters_.bytes_written += change.length;
  }
  apply(change, inode.written);
  inode.changes.push_back(std::move(change));
  if (failure) return *failure;
  return {};
}

Result<void, DiskError> MemoryDisk::sync_file(Inode& inode, const std::string& path) {
  if (auto refused = begin_mutation("sync", path)) return *refused;
  ++counters_.syncs;
  if (fault_due(fail_sync_)) {
    inode.changes.clear();  // still read, never durable
    return error(DiskErrorCode::io, "sync", path, "injected sync error");
  }
  for (const Change& change : inode.changes) apply(change, inode.durable);
  inode.changes.clear();
  return {};
}

}  // namespace mainstay
