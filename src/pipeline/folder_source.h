// A folder as source of payments. Files appear in `inbox/` by atomic rename and are taken in the order of
// their names.
//
//   inbox/       files to take
//   claimed/     `t<term>~<worker>~<name>`: being worked on, by whom, in which term
//   done/        every item of the file is with the broker, or in quarantine or parked
//   quarantine/  items that are no valid payment or that the broker refuses, each with `.reason.json` beside
//   it parked/      conflicts: an idempotency key seen before with other content, each with `.reason.json`
//   ingest/      `t<term>~<worker>.tsv`: the ingest record, one line per message taken
//
// The source survives a region: a builder of a newer term takes over what older terms left in claimed/ and
// sends it all again with the same ids.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "pipeline/files.h"

namespace mainstay::pipeline {

struct IngestLine {
  std::uint64_t ingest = 0;
  std::string idempotency_key, content_digest, ordering_key, message_id;
  std::string source;  ///< "file#item"
  std::string status;  ///< "new" or "duplicate" (of an earlier message with the same content)
};

/// A tab-separated line; tab, line feed, carriage return and backslash in fields are written as \t \n \r \\.
std::string to_line(const IngestLine& line);
std::optional<IngestLine> parse_ingest_line(std::string_view line);
/// All lines of a source's ingest record in order of arrival. Incomplete last lines (a crash) are left out.
Result<std::vector<IngestLine>, Failure> read_ingest_record(const std::string& source_directory);

struct ClaimedFile {
  std::string name;   ///< as it was in the inbox
  std::string claim;  ///< its name in claimed/
};

/// One thread. One builder per source and term; the gate sees to that.
class FolderSource {
 public:
  /// Makes the folders. @param worker  letters, digits, '-', '_', '.'
  static Result<std::unique_ptr<FolderSource>, Failure> open(const std::string& directory,
                                                             const std::string& worker, RegionTerm term);

  /// Takes over what older terms, or this worker in this term, left unfinished. In the order it was claimed
  /// (by term, then by name). Call once, before claim_next().
  Result<std::vector<ClaimedFile>, Failure> take_over();
  /// The next file of the inbox, or nothing.
  Result<std::optional<ClaimedFile>, Failure> claim_next();
  Result<Buffer, Failure> read(const ClaimedFile& file, std::uint64_t bytes_max) const;
  /// Moves the file to done/. @return false when the claim is gone: a newer term has taken it over.
  Result<bool, Failure> finish(const ClaimedFile& file);
  /// Keeps an item with the reason beside it. The same item twice is kept once.
  Result<void, Failure> quarantine(const std::string& file, std::uint32_t item, BytesView bytes,
                                   const std::string& code, const std::string& why);
  Result<void, Failure> park(const std::string& file, std::uint32_t item, BytesView bytes,
                             const std::string& idempotency_key, const std::string& content_digest,
                             const std::string& other_digest);
  /// What an earlier run recorded for an item of a file that was unfinished when this was opened.
  [[nodiscard]] const IngestLine* recorded(const std::string& source) const;
  /// The number the next new message gets.
  std::uint64_t next_ingest() { return next_ingest_++; }
  /// Adds lines to the record, durably.
  Result<void, Failure> record(const std::vector<IngestLine>& lines);

 private:
  FolderSource(std::string directory, std::string worker, RegionTerm term)
      : directory_(std::move(directory)), worker_(std::move(worker)), term_(term) {}
  Result<void, Failure> load_record();
  Result<void, Failure> keep(const std::string& folder, const std::string& name, BytesView bytes,
                             const std::string& reason_json);

  std::string directory_, worker_;
  RegionTerm term_;
  files::AppendFile record_;
  std::uint64_t next_ingest_ = 1;
  std::map<std::string, IngestLine> recorded_;
};

}  // namespace mainstay::pipeline
