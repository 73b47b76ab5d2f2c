#include "drills/ingest_record.h"

#include <array>

#include "base/checksum.h"
#include "drills/tsv.h"
#include "payments/message.h"

namespace mainstay::drills {
namespace {

constexpr std::array<std::string_view, 4> kind_names{"normal", "duplicate", "conflict", "malformed"};
constexpr std::string_view header =
    "number\tfile\titem\tkey\tcontent_digest\tbytes_digest\tordering_key\tkind\n";
constexpr std::size_t columns = 8;

}  // namespace

std::string_view text(EntryKind kind) {
  return kind_names[static_cast<std::size_t>(kind)];
}

std::string_view ingest_record_header() {
  return header;
}

void append_line(std::string& to, const IngestEntry& entry) {
  append_tsv_line(to, {std::to_string(entry.number), entry.file, std::to_string(entry.item), entry.key,
                       entry.content_digest, entry.bytes_digest, entry.ordering_key, text(entry.kind)});
}

Result<std::vector<IngestEntry>, Failure> parse_ingest_record(std::string_view text) {
  if (!text.starts_with(header))
    return Failure{"not an ingest record: the first line must be \"" +
                   std::string(header.substr(0, header.size() - 1)) + "\" (tab-separated)"};
  std::vector<IngestEntry> entries;
  std::size_t line_number = 1;
  for (text.remove_prefix(header.size()); !text.empty();) {
    ++line_number;
    const std::size_t end = text.find('\n');
    const auto bad = [&](const std::string& why) {
      return Failure{"ingest record, line " + std::to_string(line_number) + ": " + why};
    };
    if (end == std::string_view::npos) return bad("cut off: no line end");
    auto fields = split_tsv_line(text.substr(0, end));
    text.remove_prefix(end + 1);
    if (!fields) return bad(fields.error().what);
    if (fields->size() != columns)
      return bad(std::to_string(fields->size()) + " fields instead of " + std::to_string(columns));
    IngestEntry entry;
    const auto number = parse_number((*fields)[0]);
    const auto item = parse_number((*fields)[2]);
    if (!number || !item || *item > UINT32_MAX) return bad("number or item is not a number");
    entry.number = *number;
    entry.file = std::move((*fields)[1]);
    entry.item = static_cast<std::uint32_t>(*item);
    entry.key = std::move((*fields)[3]);
    entry.content_digest = std::move((*fields)[4]);
    entry.bytes_digest = std::move((*fields)[5]);
    entry.ordering_key = std::move((*fields)[6]);
    std::size_t kind = 0;
    while (kind < kind_names.size() && kind_names[kind] != (*fields)[7]) ++kind;
    if (kind == kind_names.size()) return bad("unknown kind '" + (*fields)[7] + "'");
    entry.kind = static_cast<EntryKind>(kind);
    if (!entries.empty() && entry.number <= entries.back().number)
      return bad("number " + std::to_string(entry.number) + " does not come after " +
                 std::to_string(entries.back().number));
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::vector<IngestEntry> entries_of_file(const std::string& name, std::string_view content,
                                         std::uint64_t first_number) {
  std::vector<IngestEntry> entries;
  for (const payments::Message& message : payments::read_messages(as_bytes(content))) {
    IngestEntry& entry = entries.emplace_back();
    entry.number = first_number++;
    entry.file = name;
    entry.item = message.item;
    entry.bytes_digest = digest128(message.raw);
    if (message.valid) {
      entry.key = message.idempotency_key;
      entry.content_digest = message.content_digest;
      entry.ordering_key = message.ordering_key;
    } else {
      entry.kind = EntryKind::malformed;
    }
  }
  return entries;
}

}  // namespace mainstay::drills
