// The ingest record: what entered the source, written down by whoever put it there, before anything of the
// pipeline has touched it. One of the three independent sources of an audit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mainstay::drills {

enum class EntryKind : std::uint8_t {
  normal,     ///< first of its idempotency key
  duplicate,  ///< a true duplicate of an earlier one: same key, same content, perhaps other bytes
  conflict,   ///< same key as an earlier one, other content
  malformed,  ///< must end in quarantine
};
std::string_view text(EntryKind kind);

/// One message that entered. For a malformed one key, digest and ordering key are empty.
struct IngestEntry {
  std::uint64_t number{};  ///< position in the order of entering, from 1
  std::string file;        ///< name in the source
  std::uint32_t item = 1;  ///< position in the file, from 1
  std::string key;
  std::string content_digest;
  std::string bytes_digest;  ///< digest128 of the item's exact bytes
  std::string ordering_key;
  EntryKind kind = EntryKind::normal;
};

/// The header line of the file, with its line feed.
std::string_view ingest_record_header();
/// Appends one line.
void append_line(std::string& to, const IngestEntry& entry);

/// Reads a record written so. The failure names the line.
[[nodiscard]] Result<std::vector<IngestEntry>, Failure> parse_ingest_record(std::string_view text);

/// The entries a file gives, numbered from `first_number`, `kind` normal or malformed only.
[[nodiscard]] std::vector<IngestEntry> entries_of_file(const std::string& name, std::string_view content,
                                                       std::uint64_t first_number);

}  // namespace mainstay::drills
