#include "pipeline/folder_source.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cstdio>
#include <set>

#include "base/escape.h"
#include "pipeline/envelope.h"

namespace mainstay::pipeline {

namespace {

constexpr std::uint64_t record_bytes_max = 4ULL << 30;

struct Claim {
  std::string text;  ///< the whole name in claimed/
  RegionTerm term;
  std::string worker, name;
};

std::string claim_prefix(RegionTerm term, const std::string& worker) {
  char text[40];
  std::snprintf(text, sizeof text, "t%010llu~", static_cast<unsigned long long>(term.value));
  return text + worker;
}

std::optional<Claim> parse_claim(const std::string& text) {
  const std::size_t first = text.find('~');
  if (first == std::string::npos || text[0] != 't') return std::nullopt;
  const std::size_t second = text.find('~', first + 1);
  if (second == std::string::npos) return std::nullopt;
  Claim claim;
  claim.text = text;
  const auto read = std::from_chars(text.data() + 1, text.data() + first, claim.term.value);
  if (read.ec != std::errc() || read.ptr != text.data() + first) return std::nullopt;
  claim.worker = text.substr(first + 1, second - first - 1);
  claim.name = text.substr(second + 1);
  return claim;
}

/// The next field. False when it is not as it was written.
bool take_field(std::string_view& line, std::string& field) {
  const std::size_t tab = line.find('\t');
  auto text = unescaped_tsv_field(line.substr(0, tab));
  line = tab == std::string_view::npos ? std::string_view() : line.substr(tab + 1);
  if (!text) return false;
  field = std::move(*text);
  return true;
}

/// Lines of one record file; `whole` is set to the bytes up to the last line feed.
Result<std::vector<IngestLine>, Failure> read_lines(const std::string& path, std::uint64_t& whole) {
  const auto content = files::read(path, record_bytes_max);
  if (!content) return content.error();
  std::string_view text = as_text(*content);
  const std::size_t end = text.rfind('\n');
  whole = end == std::string_view::npos ? 0 : end + 1;
  text = text.substr(0, whole);
  std::vector<IngestLine> lines;
  while (!text.empty()) {
    const std::size_t stop = text.find('\n');
    auto line = parse_ingest_line(text.substr(0, stop));
    if (!line) {
      return Failure{path + " has a line that is no ingest record: \"" + std::string(text.substr(0, 40)) +
                     "…\"; restore it from a copy"};
    }
    lines.push_back(std::move(*line));
    text = text.substr(stop + 1);
  }
  return lines;
}

}  // namespace

std::string to_line(const IngestLine& line) {
  std::string text = std::to_string(line.ingest);
  for (const std::string* field : {&line.idempotency_key, &line.content_digest, &line.ordering_key,
                                   &line.message_id, &line.source, &line.status}) {
    text += '\t';
    append_tsv_field(text, *field);
  }
  text += '\n';
  return text;
}

std::optional<IngestLine> parse_ingest_line(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (std::count(line.begin(), line.end(), '\t') != 6) return std::nullopt;
  IngestLine parsed;
  std::string number;
  if (!take_field(line, number)) return std::nullopt;
  const auto read = std::from_chars(number.data(), number.data() + number.size(), parsed.ingest);
  if (read.ec != std::errc() || read.ptr != number.data() + number.size()) return std::nullopt;
  for (std::string* field : {&parsed.idempotency_key, &parsed.content_digest, &parsed.ordering_key,
                             &parsed.message_id, &parsed.source, &parsed.status}) {
    if (!take_field(line, *field)) return std::nullopt;
  }
  return parsed;
}

Result<std::vector<IngestLine>, Failure> read_ingest_record(const std::string& source_directory) {
  const auto names = files::list(source_directory + "/ingest");
  if (!names) return names.error();
  std::vector<IngestLine> all;
  for (const std::string& name : *names) {
    std::uint64_t whole = 0;
    auto lines = read_lines(source_directory + "/ingest/" + name, whole);
    if (!lines) return lines.error();
    std::move(lines->begin(), lines->end(), std::back_inserter(all));
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const IngestLine& a, const IngestLine& b) { return a.ingest < b.ingest; });
  return all;
}

Result<std::unique_ptr<FolderSource>, Failure> FolderSource::open(const std::string& directory,
                                                                  const std::string& worker,
                                                                  RegionTerm term) {
  for (const char* folder : {"inbox", "claimed", "done", "quarantine", "parked", "ingest"}) {
    if (const auto made = files::make_directories(directory + "/" + folder); !made) return made.error();
  }
  std::unique_ptr<FolderSource> source(new FolderSource(directory, worker, term));
  if (const auto loaded = source->load_record(); !loaded) return loaded.error();
  return source;
}

Result<void, Failure> FolderSource::load_record() {
  const auto claims = files::list(directory_ + "/claimed");
  if (!claims) return claims.error();
  std::set<std::string> unfinished;
  for (const std::string& text : *claims) {
    if (const auto claim = parse_claim(text)) unfinished.insert(claim->name);
  }
  const auto names = files::list(directory_ + "/ingest");
  if (!names) return names.error();
  const std::string mine = claim_prefix(term_, worker_) + ".tsv";
  std::uint64_t mine_bytes = 0;
  next_ingest_ = first_ingest(term_);
  for (const std::string& name : *names) {
    std::uint64_t whole = 0;
    auto lines = read_lines(directory_ + "/ingest/" + name, whole);
    if (!lines) return lines.error();
    for (IngestLine& line : *lines) {
      if (line.ingest >= next_ingest_ && (line.ingest >> 40) == term_.value) next_ingest_ = line.ingest + 1;
      if (unfinished.contains(line.source.substr(0, line.source.rfind('#')))) {
        recorded_.emplace(line.source, std::move(line));
      }
    }
    if (name == mine) mine_bytes = whole;
  }
  auto file = files::AppendFile::open(directory_ + "/ingest/" + mine, false);
  if (!file) return file.error();
  if (file->size() > mine_bytes) {
    if (const auto cut = file->truncate(mine_bytes); !cut) return cut.error();
  }
  record_ = std::move(*file);
  return {};
}

Result<std::vector<ClaimedFile>, Failure> FolderSource::take_over() {
  const auto names = files::list(directory_ + "/claimed");  // sorted: by term, worker, name
  if (!names) return names.error();
  std::vector<Claim> claims;
  for (const std::string& text : *names) {
    auto claim = parse_claim(text);
    if (!claim || claim->term > term_ || (claim->term == term_ && claim->worker != worker_)) continue;
    claims.push_back(std::move(*claim));
  }
  std::stable_sort(claims.begin(), claims.end(), [](const Claim& a, const Claim& b) {
    return a.term != b.term ? a.term < b.term : a.name < b.name;
  });
  std::vector<ClaimedFile> mine;
  for (const Claim& claim : claims) {
    const std::string text = claim_prefix(term_, worker_) + "~" + claim.name;
    const std::string& from = claim.text;
    if (from != text) {
      const auto moved = files::move(directory_ + "/claimed/" + from, directory_ + "/claimed/" + text);
      if (!moved) return moved.error();
      if (*moved == files::Moved::missing) continue;  // its owner finished it just now
      if (*moved == files::Moved::exists) {
        return Failure{directory_ + "/claimed holds " + claim.name +
                       " twice: compare the two by hand and remove one"};
      }
    }
    mine.push_back({claim.name, text});
  }
  if (const auto synced = files::sync_directory(directory_ + "/claimed"); !synced) return synced.error();
  return mine;
}

Result<std::optional<ClaimedFile>, Failure> FolderSource::claim_next() {
  const auto names = files::list(directory_ + "/inbox");
  if (!names) return names.error();
  for (const std::string& name : *names) {
    ClaimedFile file{name, claim_prefix(term_, worker_) + "~" + name};
    const auto moved = files::move(directory_ + "/inbox/" + name, directory_ + "/claimed/" + file.claim);
    if (!moved) return moved.error();
    // `exists`: an earlier file of that name is being worked on; this one's turn comes when it is finished.
    if (*moved != files::Moved::yes) continue;
    for (const char* folder : {"/claimed", "/inbox"}) {
      if (const auto synced = files::sync_directory(directory_ + folder); !synced) return synced.error();
    }
    return std::optional<ClaimedFile>(std::move(file));
  }
  return std::optional<ClaimedFile>();
}

Result<Buffer, Failure> FolderSource::read(const ClaimedFile& file, std::uint64_t bytes_max) const {
  return files::read(directory_ + "/claimed/" + file.claim, bytes_max);
}

Result<bool, Failure> FolderSource::finish(const ClaimedFile& file) {
  const std::string from = directory_ + "/claimed/" + file.claim;
  for (unsigned n = 1;; ++n) {
    const std::string to = directory_ + "/done/" + file.name + (n == 1 ? "" : "~" + std::to_string(n));
    const auto moved = files::move(from, to);
    if (!moved) return moved.error();
    if (*moved == files::Moved::missing) return false;
    if (*moved == files::Moved::exists) continue;
    for (const char* folder : {"/done", "/claimed"}) {
      if (const auto synced = files::sync_directory(directory_ + folder); !synced) return synced.error();
    }
    return true;
  }
}

Result<void, Failure> FolderSource::keep(const std::string& folder, const std::string& name, BytesView bytes,
                                         const std::string& reason_json) {
  std::string path = directory_ + "/" + folder + "/" + name;
  // Another item of that name may be there, from an earlier file of the same name: keep both.
  for (unsigned n = 2; files::exists(path); ++n) {
    const auto there = files::read(path, record_bytes_max);
    if (!there) return there.error();
    if (std::equal(there->begin(), there->end(), bytes.begin(), bytes.end())) return {};
    path = directory_ + "/" + folder + "/" + name + "~" + std::to_string(n);
  }
  // The reason first: an item is never kept without it.
  if (const auto written = files::replace(path + ".reason.json", as_bytes(reason_json)); !written) {
    return written.error();
  }
  return files::replace(path, bytes);
}

Result<void, Failure> FolderSource::quarantine(const std::string& file, std::uint32_t item, BytesView bytes,
                                               const std::string& code, const std::string& why) {
  const boost::json::object reason{
      {"file", file}, {"item", item}, {"code", code}, {"why", why}, {"bytes", bytes.size()}};
  return keep("quarantine", file + "#" + std::to_string(item), bytes, boost::json::serialize(reason) + "\n");
}

Result<void, Failure> FolderSource::park(const std::string& file, std::uint32_t item, BytesView bytes,
                                         const std::string& idempotency_key,
                                         const std::string& content_digest, const std::string& other_digest) {
  const boost::json::object reason{
      {"file", file},
      {"item", item},
      {"code", "CONFLICT"},
      {"why", "a message with this idempotency key and other content was taken before; decide by hand"},
      {"idempotency_key", idempotency_key},
      {"content_digest", content_digest},
      {"first_content_digest", other_digest}};
  return keep("parked", file + "#" + std::to_string(item), bytes, boost::json::serialize(reason) + "\n");
}

const IngestLine* FolderSource::recorded(const std::string& source) const {
  const auto found = recorded_.find(source);
  return found == recorded_.end() ? nullptr : &found->second;
}

Result<void, Failure> FolderSource::record(const std::vector<IngestLine>& lines) {
  if (lines.empty()) return {};
  std::string text;
  for (const IngestLine& line : lines) text += to_line(line);
  if (!record_.is_open()) {
    if (const auto loaded = load_record(); !loaded) return loaded.error();
  }
  if (const auto appended = record_.append(as_bytes(text)); !appended) return appended.error();
  return record_.sync();
}

}  // namespace mainstay::pipeline
