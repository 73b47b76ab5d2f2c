#include "drills/directory_feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <unordered_set>

#include "drills/tsv.h"
#include "payments/message.h"
#include "payments/seen_messages.h"

namespace mainstay::drills {
namespace {

namespace fs = std::filesystem;

class DirectoryFeed final : public Feed {
 public:
  DirectoryFeed(std::string inbox, std::string record)
      : inbox_(std::move(inbox)), record_(std::move(record)) {}

  Result<void, Failure> add(const fs::path& path) {
    const auto content = read_text_file(path.string());
    if (!content) return content.error();
    // The file's own name would let one directory's order break another's; the number in front keeps it.
    const std::string name = fmt::format("{:08}-{}", files_.size() + 1, path.filename().string());
    std::vector<IngestEntry> entries = entries_of_file(name, *content, total_ + 1);
    const auto messages = payments::read_messages(as_bytes(*content));
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const auto relation = seen_.add(name, messages[i]).to;
      if (relation == payments::Relation::To::duplicate) entries[i].kind = EntryKind::duplicate;
      if (relation == payments::Relation::To::conflict) entries[i].kind = EntryKind::conflict;
    }
    total_ += entries.size();
    files_.push_back({path.string(), name, std::move(entries)});
    return {};
  }
  [[nodiscard]] bool empty() const { return files_.empty(); }

  std::uint64_t total() const override { return total_; }
  std::uint64_t entered() const override { return entered_.size(); }
  const std::vector<IngestEntry>& entries() const override { return entered_; }
  Result<void, Failure> write_until(std::uint64_t due) override {
    while (entered_.size() < std::min(due, total_)) {
      const Pending& file = files_[next_++];
      const auto content = read_text_file(file.path);
      if (!content) return content.error();
      for (const IngestEntry& entry : file.entries) {
        append_line(record_text_, entry);
        entered_.push_back(entry);
      }
      // Rewritten as a whole: real inputs are few.
      if (auto written = write_text_file(record_, std::string(ingest_record_header()) + record_text_);
          !written)
        return written.error();
      const std::string unfinished = inbox_ + "/." + file.name + ".tmp";
      if (auto written = write_text_file(unfinished, *content); !written) return written.error();
      if (std::rename(unfinished.c_str(), (inbox_ + "/" + file.name).c_str()) != 0)
        return Failure{"cannot put " + file.name + " into " + inbox_ + ": " + std::strerror(errno)};
    }
    return {};
  }

 private:
  struct Pending {
    std::string path, name;
    std::vector<IngestEntry> entries;
  };
  const std::string inbox_, record_;
  payments::SeenMessages seen_;
  std::vector<Pending> files_;
  std::size_t next_ = 0;
  std::uint64_t total_ = 0;
  std::vector<IngestEntry> entered_;
  std::string record_text_;
};

}  // namespace

std::uint64_t unique_keys(const std::vector<IngestEntry>& entries) {
  std::unordered_set<std::string_view> keys;
  for (const IngestEntry& entry : entries)
    if (entry.kind != EntryKind::malformed) keys.insert(entry.key);
  return keys.size();
}

Result<std::unique_ptr<Feed>, Failure> feed_directory(const std::string& directory, const std::string& inbox,
                                                      const std::string& record) {
  std::error_code error;
  std::vector<fs::path> paths;
  fs::recursive_directory_iterator at(directory, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error))
    if (at->is_regular_file()) paths.push_back(at->path());
  if (error) return Failure{"cannot read the source directory " + directory + ": " + error.message()};
  std::ranges::sort(paths);
  auto feed = std::make_unique<DirectoryFeed>(inbox, record);
  for (const fs::path& path : paths)
    if (auto added = feed->add(path); !added) return added.error();
  if (feed->empty()) return Failure{"no files in the source directory " + directory};
  return std::unique_ptr<Feed>(std::move(feed));
}

}  // namespace mainstay::drills
