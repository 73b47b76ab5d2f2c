// The bytes of a page file (docs/formats/pages.md): names, file header, page header. Private to the room.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "paging/page_store.h"

namespace mainstay::paging {

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::uint64_t kFileHeaderBytes = 32;
inline constexpr std::uint64_t kPageHeaderBytes = 16;
/// Pages begin at multiples of this; PageRef::offset counts in it.
inline constexpr std::uint64_t kUnitBytes = 8;

/// What a page takes in its file: header, content, padding.
constexpr std::uint64_t extent_of(std::uint64_t content_bytes) {
  return (kPageHeaderBytes + content_bytes + kUnitBytes - 1) / kUnitBytes * kUnitBytes;
}
constexpr std::uint64_t begin_of(PageRef page) {
  return page.offset * kUnitBytes;
}

/// Of page_file_name(). Empty for any other name, and for a number that no file of ours has.
std::optional<std::uint32_t> parse_page_file_name(std::string_view name);

void append_file_header(std::uint32_t file, Buffer& to);
/// What is wrong with the first bytes of a file; empty when nothing is.
std::string check_file_header(std::uint32_t file, BytesView header);

/// Appends header, content and padding of a page that lies at `page`.
void append_page(PageRef page, BytesView content, Buffer& to);
/// The length that the page header there gives; 0 when no page begins there. `header` has kPageHeaderBytes.
std::uint32_t page_bytes_of(BytesView header);
/// What is wrong with header and content read from where `page` lies; empty when nothing is.
std::string check_page(PageRef page, BytesView header_and_content);

}  // namespace mainstay::paging
