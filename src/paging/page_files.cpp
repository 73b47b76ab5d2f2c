#include "paging/page_files.h"

#include <algorithm>

#include "base/assert.h"
#include "paging/page_format.h"

namespace mainstay::paging {
namespace {

std::string path_in(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

Result<std::vector<std::uint32_t>, DiskError> page_files_in(Disk& disk, const std::string& directory) {
  std::vector<std::uint32_t> numbers;
  const auto names = disk.list(directory);
  if (!names) {
    if (names.error().code == DiskErrorCode::not_found) return numbers;
    return names.error();
  }
  for (const std::string& name : *names) {
    if (const auto number = parse_page_file_name(name)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

class Reader final : public PageFilesReader {
 public:
  Reader(Disk& disk, std::string directory) : disk_(disk), directory_(std::move(directory)) {}

  std::optional<PageRef> store(BytesView) override { return std::nullopt; }
  void load(PageRef page, Buffer& into) override {
    into.resize(kPageHeaderBytes + page.bytes);
    const auto got = file(page).read(begin_of(page), into);
    if (!got) throw lost(page, got.error().what);
    if (const std::string wrong = check_page(page, BytesView(into).first(*got)); !wrong.empty())
      throw lost(page, wrong);
    into.erase(into.begin(), into.begin() + kPageHeaderBytes);
  }
  void release(PageRef) override { --pages_; }
  bool wants_moving(PageRef) const override { return false; }
  std::shared_ptr<Sealed> seal() override {
    MS_ASSERT(false, "what is only read has no checkpoints");
    return nullptr;
  }
  void checkpoint_stored(const std::shared_ptr<Sealed>&) override {
    MS_ASSERT(false, "what is only read has no checkpoints");
  }
  void adopt(PageRef page) override {
    const auto size = file(page).size();
    if (!size) throw lost(page, size.error().what);
    if (begin_of(page) < kFileHeaderBytes || begin_of(page) + extent_of(page.bytes) > *size)
      throw lost(page, "the file has only " + std::to_string(*size) + " bytes");
    used_.insert(page.file);
    ++pages_;
  }
  std::uint64_t disk_bytes() const override { return 0; }
  std::uint64_t pages_in_use() const override { return pages_; }
  const std::set<std::uint32_t>& used() const override { return used_; }

 private:
  [[nodiscard]] PageLost lost(PageRef page, const std::string& why) const {
    return PageLost(disk_.describe(path_in(directory_, page_file_name(page.file))) + ": page at offset " +
                    std::to_string(begin_of(page)) + ", " + std::to_string(page.bytes) + " bytes: " + why);
  }
  /// One is open at a time: pages of a state lie together.
  File& file(PageRef page) {
    if (open_ && number_ == page.file) return *open_;
    auto opened = disk_.open(path_in(directory_, page_file_name(page.file)), OpenMode::read);
    if (!opened) throw lost(page, opened.error().what);
    Buffer header(kFileHeaderBytes);
    const auto got = (*opened)->read(0, header);
    if (!got) throw lost(page, got.error().what);
    if (const std::string wrong = check_file_header(page.file, BytesView(header).first(*got)); !wrong.empty())
      throw lost(page, wrong);
    open_ = std::move(*opened);
    number_ = page.file;
    return *open_;
  }

  Disk& disk_;
  std::string directory_;
  std::unique_ptr<File> open_;
  std::uint32_t number_ = 0;
  std::set<std::uint32_t> used_;
  std::uint64_t pages_ = 0;
};

void scan(File& file, PageFileSeen& seen) {
  const auto damaged = [&](std::uint64_t at, const std::string& why) {
    seen.damage.push_back(seen.path + ": offset " + std::to_string(at) + ": " + why);
  };
  Buffer bytes(kFileHeaderBytes);
  const auto head = file.read(0, bytes);
  if (!head) return damaged(0, head.error().what);
  if (const std::string wrong = check_file_header(seen.number, BytesView(bytes).first(*head)); !wrong.empty())
    return damaged(0, wrong);
  for (std::uint64_t at = kFileHeaderBytes; at < seen.bytes;) {
    bytes.resize(kPageHeaderBytes);
    const auto got = file.read(at, bytes);
    if (!got) return damaged(at, got.error().what);
    const PageRef page{seen.number, static_cast<std::uint32_t>(at / kUnitBytes),
                       *got < kPageHeaderBytes ? 0 : page_bytes_of(bytes)};
    if (page.bytes == 0 || page.bytes > kPageBytesMax)
      return damaged(at, "no page begins there; what is behind it cannot be told apart");
    bytes.resize(kPageHeaderBytes + page.bytes);
    const auto whole = file.read(at, bytes);
    if (!whole) return damaged(at, whole.error().what);
    if (const std::string wrong = check_page(page, BytesView(bytes).first(*whole)); !wrong.empty()) {
      damaged(at, wrong);
    } else {
      ++seen.pages;
    }
    at += extent_of(page.bytes);
  }
}

}  // namespace

std::unique_ptr<PageFilesReader> read_page_files(Disk& disk, const std::string& directory) {
  return std::make_unique<Reader>(disk, directory);
}

Result<std::vector<PageFileSeen>, DiskError> scan_page_files(Disk& disk, const std::string& directory) {
  const auto numbers = page_files_in(disk, directory);
  if (!numbers) return numbers.error();
  std::vector<PageFileSeen> out;
  for (const std::uint32_t number : *numbers) {
    const std::string path = path_in(directory, page_file_name(number));
    PageFileSeen seen;
    seen.number = number;
    seen.path = disk.describe(path);
    const auto file = disk.open(path, OpenMode::read);
    if (!file) {
      if (file.error().code == DiskErrorCode::not_found) continue;  // removed since the directory was read
      return file.error();
    }
    const auto size = (*file)->size();
    if (!size) return size.error();
    seen.bytes = *size;
    scan(**file, seen);
    out.push_back(std::move(seen));
  }
  return out;
}

}  // namespace mainstay::paging
