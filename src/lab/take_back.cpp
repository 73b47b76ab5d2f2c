#include "lab/take_back.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"
#include "lab/disk_format.h"
#include "lab/text_files.h"

namespace mainstay::lab {
namespace {

namespace fs = std::filesystem;

Failure failed(const std::string& what, const std::string& path) {
  return {"cannot " + what + " " + path + " while taking back what was not durable: " + std::strerror(errno)};
}

class OpenFile {
 public:
  OpenFile(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC)) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

// Names

struct NameChange {
  std::uint64_t number{};
  std::string kind, path, to, kept;
  [[nodiscard]] std::string directory() const {
    const std::string& name = kind == "rename" ? to : path;
    return name.substr(0, name.rfind('/'));
  }
};

/// Changes that are not durable, by number.
Result<std::vector<NameChange>, Failure> read_names(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::vector<NameChange>();
  const auto text = read_text_file(path);
  if (!text) return text.error();
  std::vector<NameChange> changes;
  // The last line may be torn: then what it announces was not done.
  std::istringstream lines(text->substr(0, text->rfind('\n') + 1));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string number;
    NameChange change;
    std::getline(fields, number, '\t');
    std::getline(fields, change.kind, '\t');
    std::getline(fields, change.path, '\t');
    if (change.kind == "rename") std::getline(fields, change.to, '\t');
    std::getline(fields, change.kept, '\t');
    change.number = std::strtoull(number.c_str(), nullptr, 10);
    if (change.kind == "synced")
      std::erase_if(changes, [&](const NameChange& before) {
        return before.number <= change.number && before.directory() == change.path;
      });
    else
      changes.push_back(change);
  }
  return changes;
}

/// Undoes one change, if it was done at all.
void undo(const NameChange& change) {
  std::error_code error;  // what is not there was never done, or went with its directory
  if (change.kind == "create") fs::remove(change.path, error);
  if (change.kind == "mkdir") fs::remove_all(change.path, error);
  if (change.kind == "rmdir") fs::create_directory(change.path, error);
  if (change.kind == "rename" && fs::exists(change.to, error) && !fs::exists(change.path, error))
    fs::rename(change.to, change.path, error);
  if (!change.kept.empty()) {
    const std::string& name = change.kind == "rename" ? change.to : change.path;
    if (!fs::exists(name, error)) fs::create_hard_link(change.kept, name, error);
  }
}

/// Of each directory, how many of its newest changes are lost.
void take_back_names(const std::vector<NameChange>& changes, const Loss& loss, Random& random,
                     TakenBack& told) {
  std::map<std::string, std::uint64_t> pending, lost;
  for (const NameChange& change : changes) ++pending[change.directory()];
  for (const auto& [directory, count] : pending)
    lost[directory] = loss.everything ? count : random.between(0, count);
  told.names = changes.size();
  for (auto change = changes.rbegin(); change != changes.rend(); ++change) {
    std::uint64_t& left = lost[change->directory()];
    if (left == 0) continue;
    --left;
    ++told.names_lost;
    undo(*change);
  }
}

// Contents

struct Change {
  UndoHeader header;
  Buffer old;
};

/// Changes of one file that are not durable, oldest first.
Result<std::vector<Change>, Failure> read_changes(const std::string& path) {
  const OpenFile file(path, O_RDONLY);
  if (file.fd() < 0) return failed("read", path);
  std::vector<Change> changes;
  bool never_more = false;
  for (;;) {
    Change change;
    const ssize_t got = ::read(file.fd(), &change.header, sizeof change.header);
    // Torn by the kill: what it announces was not done.
    if (got != static_cast<ssize_t>(sizeof change.header)) break;
    if (change.header.magic != undo_magic) return Failure{path + " is damaged: the disk layer did not work"};
    if (change.header.kind == UndoKind::never_more) never_more = true;
    if (change.header.kind == UndoKind::synced && !never_more)
      std::erase_if(changes,
                    [&](const Change& before) { return before.header.number <= change.header.number; });
    if (change.header.kind != UndoKind::change && change.header.kind != UndoKind::zeros) continue;
    change.old.resize(change.header.bytes);
    if (change.header.kind == UndoKind::change &&
        ::read(file.fd(), change.old.data(), change.old.size()) != static_cast<ssize_t>(change.old.size()))
      break;
    changes.push_back(std::move(change));
  }
  return changes;
}

using Blocks = std::map<std::uint64_t, Buffer>;

/// The blocks of a file as it is, up to its length.
Blocks read_blocks(int fd, const std::set<std::uint64_t>& which, std::uint64_t block_bytes) {
  Blocks blocks;
  for (const std::uint64_t block : which) {
    Buffer content(block_bytes);
    const ssize_t got = ::pread(fd, content.data(), content.size(), static_cast<off_t>(block * block_bytes));
    content.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    blocks.emplace(block, std::move(content));
  }
  return blocks;
}

std::uint64_t size_of(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

bool put(int fd, BytesView bytes, std::uint64_t offset) {
  return bytes.empty() || ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
                              static_cast<ssize_t>(bytes.size());
}

Result<void, Failure> take_back_file(const std::string& path, const std::vector<Change>& changes,
                                     const Loss& loss, Random& random, TakenBack& told) {
  const OpenFile file(path, O_RDWR);
  if (file.fd() < 0) return failed("open", path);
  const std::uint64_t new_size = size_of(file.fd());
  std::uint64_t longest = new_size;
  for (const Change& change : changes) longest = std::max(longest, change.header.size_before);
  std::set<std::uint64_t> touched;
  for (const Change& change : changes) {
    // Old bytes, and what was added behind them.
    const bool extended = change.header.offset + change.header.bytes >= change.header.size_before;
    const std::uint64_t end = extended ? longest : change.header.offset + change.header.bytes;
    for (std::uint64_t block = change.header.offset / loss.block_bytes; block * loss.block_bytes < end;
         ++block)
      touched.insert(block);
  }
  const Blocks newer = read_blocks(file.fd(), touched, loss.block_bytes);
  for (auto change = changes.rbegin(); change != changes.rend(); ++change)
    if (::ftruncate(file.fd(), static_cast<off_t>(change->header.size_before)) != 0 ||
        !put(file.fd(), change->old, change->header.offset))
      return failed("write", path);
  ++told.files;
  const std::uint64_t old_size = size_of(file.fd());
  const Blocks older = read_blocks(file.fd(), touched, loss.block_bytes);
  const bool keeps_length = !loss.everything && random.chance(1, 2);
  const std::uint64_t size = keeps_length ? new_size : old_size;
  if (::ftruncate(file.fd(), static_cast<off_t>(size)) != 0) return failed("write", path);
  for (const auto& [block, content] : newer) {
    if (content == older.at(block)) continue;
    told.bytes += loss.block_bytes;
    if (loss.everything || random.chance(1, 2)) {
      told.bytes_lost += loss.block_bytes;
      continue;
    }
    const std::uint64_t offset = block * loss.block_bytes;
    const std::size_t fits = offset < size ? std::min<std::uint64_t>(content.size(), size - offset) : 0;
    if (!put(file.fd(), BytesView(content).first(fits), offset)) return failed("write", path);
  }
  return {};
}

}  // namespace

Result<TakenBack, Failure> take_back(const std::string& directory, const std::string& state,
                                     const Loss& loss) {
  TakenBack told;
  SeededRandom random(loss.seed);
  const auto names = read_names(state + "/names");
  if (!names) return names.error();
  take_back_names(*names, loss, random, told);

  std::map<std::string, std::string>
      undo_files;  // by path of what they belong to, so that a seed means the same
  std::vector<std::string> notes;
  std::error_code error;
  std::map<ino_t, std::string> paths;
  for (fs::recursive_directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    struct stat status {};
    if (::lstat(at->path().c_str(), &status) == 0 && S_ISREG(status.st_mode))
      paths[status.st_ino] = at->path();
  }
  if (error) return Failure{"cannot list " + directory + ": " + error.message()};
  for (const auto& entry : fs::directory_iterator(state, error)) {
    const std::string name = entry.path().filename();
    if (name != "page") notes.push_back(entry.path());
    if (!name.starts_with("undo-")) continue;
    const ino_t inode = std::strtoull(name.c_str() + 5, nullptr, 10);
    if (const auto path = paths.find(inode); path != paths.end()) undo_files[path->second] = entry.path();
  }
  for (const auto& [path, undo_file] : undo_files) {
    const auto changes = read_changes(undo_file);
    if (!changes) return changes.error();
    if (changes->empty()) continue;
    if (auto done = take_back_file(path, *changes, loss, random, told); !done) return done.error();
  }
  for (const std::string& note : notes) fs::remove(note, error);
  return told;
}

}  // namespace mainstay::lab
