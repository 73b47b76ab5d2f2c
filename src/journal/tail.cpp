#include "journal/tail.h"

#include <algorithm>

#include "journal/errors.h"
#include "journal/scan.h"

namespace mainstay::journal {
namespace {

constexpr const char* kQuarantine = "quarantine";
constexpr std::uint64_t kPieceBytes = 1U << 20;

/// Calls `visit(offset, bytes)` for piece after piece.
template <class Visit>
Result<void, JournalError> for_each_piece(File& file, std::uint64_t begin, std::uint64_t end, Visit visit) {
  Buffer piece;
  for (std::uint64_t at = begin; at < end; at += piece.size()) {
    piece.resize(std::min(kPieceBytes, end - at));
    const auto got = file.read(at, piece);
    if (!got) return from_disk(got.error());
    if (*got < piece.size()) {
      return JournalError{JournalErrorCode::io, "a segment file became shorter while it was read"};
    }
    if (Result<void, JournalError> done = visit(at, piece); !done) return done;
  }
  return {};
}

}  // namespace

Result<Tail, JournalError> examine_tail(File& file, const SegmentHeader& header, std::uint64_t begin) {
  Tail tail{begin, begin, {}};
  const auto looked =
      for_each_piece(file, begin, header.records_end(),
                     [&](std::uint64_t at, const Buffer& piece) -> Result<void, JournalError> {
                       if (!all_zero(piece)) tail.content_end = at + end_of_content(piece, 0);
                       return {};
                     });
  if (!looked) return looked.error();
  if (tail.content_end == begin) return tail;
  auto content = read_range(file, begin, tail.content_end - begin);
  if (!content) return content.error();
  tail.torn = std::move(*content);
  if (header.recycled) tail.torn.resize(end_of_traces(tail.torn, header.first));
  return tail;
}

Result<void, JournalError> clear_range(File& file, std::uint64_t begin, std::uint64_t end) {
  return for_each_piece(file, begin, end, [&](std::uint64_t at, Buffer& piece) -> Result<void, JournalError> {
    if (all_zero(piece)) return {};
    std::fill(piece.begin(), piece.end(), std::byte{0});
    if (const auto done = file.write(at, piece); !done) return from_disk(done.error());
    return {};
  });
}

Result<void, JournalError> rewrite_range(File& file, std::uint64_t begin, std::uint64_t end) {
  return for_each_piece(file, begin, end,
                        [&](std::uint64_t at, const Buffer& piece) -> Result<void, JournalError> {
                          if (const auto done = file.write(at, piece); !done) return from_disk(done.error());
                          return {};
                        });
}

Result<std::string, JournalError> quarantine_path(Disk& disk, const std::string& directory,
                                                  const std::string& name) {
  const std::string into = join(directory, kQuarantine);
  if (const auto done = disk.make_directory(into); !done) return from_disk(done.error());
  if (const auto done = disk.sync_directory(directory); !done) return sync_failed(done.error());
  const auto there = disk.list(into);
  if (!there) return from_disk(there.error());
  // A crash in the middle of an earlier cut may have left its copy: that one holds more, keep both.
  for (unsigned number = 1;; ++number) {
    const std::string candidate = name + "-" + std::to_string(number);
    if (!std::binary_search(there->begin(), there->end(), candidate)) return join(into, candidate);
  }
}

Result<std::string, JournalError> quarantine(Disk& disk, const std::string& directory,
                                             const std::string& name, BytesView bytes) {
  auto path = quarantine_path(disk, directory, name);
  if (!path) return path.error();
  if (const auto done = replace_file(disk, *path, bytes); !done) return from_disk(done.error());
  return path;
}

Result<Buffer, JournalError> read_range(File& file, std::uint64_t offset, std::uint64_t bytes) {
  Buffer out(bytes);
  const auto got = file.read(offset, out);
  if (!got) return from_disk(got.error());
  out.resize(*got);
  return out;
}

}  // namespace mainstay::journal
