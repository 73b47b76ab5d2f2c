#include "paging/page_format.h"

#include <charconv>

#include "base/checksum.h"

namespace mainstay::paging {
namespace {

constexpr std::uint32_t kFileMagic = 0x4650534d;  // "MSPF"
constexpr std::uint32_t kPageMagic = 0x4750534d;  // "MSPG"
constexpr std::string_view kPrefix = "pages-";

/// Covers bytes 16 to 32 and, as the seed, magic and version.
std::uint64_t file_header_checksum(BytesView header) {
  return checksum64(header.subspan(16, kFileHeaderBytes - 16), load_le<std::uint64_t>(header.data()));
}

/// The place is the seed: what was stored elsewhere does not pass here.
std::uint64_t page_checksum(PageRef page, BytesView content) {
  return checksum64(content, std::uint64_t{page.file} << 32 | page.offset);
}

}  // namespace

std::string page_file_name(std::uint32_t file) {
  return std::string(kPrefix) + hex(std::uint64_t{file});
}

std::optional<std::uint32_t> parse_page_file_name(std::string_view name) {
  if (name.size() != kPrefix.size() + 16 || !name.starts_with(kPrefix)) return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, failure] =
      std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number, 16);
  if (failure != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  if (number == 0 || number > UINT32_MAX) return std::nullopt;
  const auto file = static_cast<std::uint32_t>(number);
  return page_file_name(file) == name ? std::optional(file) : std::nullopt;
}

void append_file_header(std::uint32_t file, Buffer& to) {
  const std::size_t at = to.size();
  to.resize(at + kFileHeaderBytes);
  std::byte* header = to.data() + at;
  store_le(header, kFileMagic);
  store_le(header + 4, kFormatVersion);
  store_le(header + 16, std::uint64_t{file});
  store_le(header + 8, file_header_checksum({header, kFileHeaderBytes}));
}

std::string check_file_header(std::uint32_t file, BytesView header) {
  if (header.size() < kFileHeaderBytes) return "the file is shorter than its header";
  if (load_le<std::uint32_t>(header.data()) != kFileMagic) return "it does not begin as a page file does";
  if (load_le<std::uint64_t>(header.data() + 8) != file_header_checksum(header)) {
    return "the checksum of the file's header does not match";
  }
  if (const auto version = load_le<std::uint32_t>(header.data() + 4); version > kFormatVersion) {
    return "it was written by a newer release (page format " + std::to_string(version) +
           ", this one reads up to " + std::to_string(kFormatVersion) + ")";
  }
  if (load_le<std::uint64_t>(header.data() + 16) != file) return "its header names another file";
  return {};
}

void append_page(PageRef page, BytesView content, Buffer& to) {
  const std::size_t at = to.size();
  to.resize(at + kPageHeaderBytes);
  store_le(to.data() + at, kPageMagic);
  store_le(to.data() + at + 4, page.bytes);
  store_le(to.data() + at + 8, page_checksum(page, content));
  to.insert(to.end(), content.begin(), content.end());
  to.resize(at + extent_of(content.size()));
}

std::uint32_t page_bytes_of(BytesView header) {
  if (load_le<std::uint32_t>(header.data()) != kPageMagic) return 0;
  return load_le<std::uint32_t>(header.data() + 4);
}

std::string check_page(PageRef page, BytesView header_and_content) {
  if (header_and_content.size() < kPageHeaderBytes + page.bytes) return "the file ends inside the page";
  const std::byte* header = header_and_content.data();
  if (load_le<std::uint32_t>(header) != kPageMagic) return "no page begins there";
  if (load_le<std::uint32_t>(header + 4) != page.bytes) {
    return "the page there has another length (" + std::to_string(load_le<std::uint32_t>(header + 4)) + ")";
  }
  if (load_le<std::uint64_t>(header + 8) !=
      page_checksum(page, header_and_content.subspan(kPageHeaderBytes, page.bytes))) {
    return "the page's checksum does not match: damaged, or not the page of this place";
  }
  return {};
}

}  // namespace mainstay::paging
