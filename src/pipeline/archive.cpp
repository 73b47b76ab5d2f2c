#include "pipeline/archive.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <set>

#include "base/assert.h"
#include "pipeline/archive_frame.h"

namespace mainstay::pipeline {

using ledger::SqliteDatabase;
using ledger::SqliteError;
using ledger::SqliteStatement;
using ledger::SqliteTransaction;

namespace {

constexpr const char* schema =
    "CREATE TABLE IF NOT EXISTS pack(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    "  indexed_bytes INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS entry(id TEXT PRIMARY KEY, key TEXT NOT NULL, digest TEXT NOT NULL,"
    "  ordering_key TEXT NOT NULL, source TEXT NOT NULL, ingest INTEGER NOT NULL, term INTEGER NOT NULL,"
    "  pack INTEGER NOT NULL, frame INTEGER NOT NULL, position INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS entry_key ON entry(key, ingest);"
    "CREATE INDEX IF NOT EXISTS entry_ingest ON entry(ingest);";

constexpr const char* row_columns = "id, key, digest, ordering_key, source, ingest, term";

Failure failed(const SqliteError& error) {
  return {"archive index: " + error.what + "; the index may be removed, it is made again from the packs"};
}

ArchiveRow row_of(const SqliteStatement& row) {
  return {row.text(0),
          row.text(1),
          row.text(2),
          row.text(3),
          row.text(4),
          row.number(5),
          RegionTerm{row.number(6)}};
}

std::string date_of(WallTime now) {
  const std::time_t seconds = static_cast<std::time_t>(now.ms / 1000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::snprintf(text, sizeof text, "%04d/%02d/%02d", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
  return text;
}

bool is_name(const std::string& text) {
  return !text.empty() && text[0] != '.' && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

Result<std::optional<ArchiveRow>, Failure> one_row(SqliteStatement& statement) {
  const auto row = statement.step();
  if (!row) return failed(row.error());
  std::optional<ArchiveRow> found;
  if (*row) found = row_of(statement);
  statement.reset();
  return found;
}

}  // namespace

Result<std::unique_ptr<Archive>, Failure> Archive::open(const std::string& directory,
                                                        const std::string& writer) {
  if (!is_name(writer)) {
    return Failure{"\"" + writer + "\" cannot name an archive writer: use letters, digits, '-', '_' and '.'"};
  }
  if (const auto made = files::make_directories(directory); !made) return made.error();
  auto index = SqliteDatabase::open(directory + "/index.sqlite", SqliteDatabase::Durability::normal);
  if (!index) return failed(index.error());
  {
    auto transaction = SqliteTransaction::begin(**index);
    if (!transaction) return failed(transaction.error());
    if (const auto made = (*index)->execute(schema); !made) return failed(made.error());
    if (const auto committed = transaction->commit(); !committed) return failed(committed.error());
  }
  std::unique_ptr<Archive> archive(new Archive(directory, writer, std::move(*index)));
  if (const auto prepared = archive->prepare(); !prepared) return failed(prepared.error());
  if (const auto refreshed = archive->refresh(); !refreshed) return refreshed.error();
  return archive;
}

Result<void, SqliteError> Archive::prepare() {
  const std::string find = std::string("SELECT ") + row_columns + " FROM entry WHERE id = ?1";
  const std::string find_key =
      std::string("SELECT ") + row_columns + " FROM entry WHERE key = ?1 ORDER BY ingest LIMIT 1";
  const struct {
    SqliteStatement& into;
    const char* sql;
  } statements[] = {
      {find_, find.c_str()},
      {find_key_, find_key.c_str()},
      {locate_,
       "SELECT pack.name, entry.frame, entry.position FROM entry JOIN pack ON pack.id = entry.pack"
       " WHERE entry.id = ?1"},
      {add_pack_, "INSERT OR IGNORE INTO pack(name) VALUES(?1)"},
      {pack_id_, "SELECT id FROM pack WHERE name = ?1"},
      {add_entry_,
       "INSERT OR IGNORE INTO entry(id, key, digest, ordering_key, source, ingest, term, pack, frame,"
       " position) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"},
      {set_indexed_, "UPDATE pack SET indexed_bytes = MAX(indexed_bytes, ?2) WHERE id = ?1"},
      {indexed_, "SELECT indexed_bytes FROM pack WHERE name = ?1"},
      {count_, "SELECT COUNT(*) FROM entry"},
  };
  for (const auto& [into, sql] : statements) {
    auto prepared = index_->prepare(sql);
    if (!prepared) return prepared.error();
    into = std::move(*prepared);
  }
  return {};
}

Result<void, Failure> Archive::roll_pack(const std::string& date, RegionTerm term) {
  pack_ = files::AppendFile();
  pack_name_.clear();
  if (const auto made = files::make_directories(directory_ + "/" + date); !made) return made.error();
  for (unsigned n = 1; n < 1'000'000; ++n) {
    char number[16];
    std::snprintf(number, sizeof number, "-%06u.pack", n);
    const std::string name = date + "/" + writer_ + "-t" + std::to_string(term.value) + number;
    if (files::exists(directory_ + "/" + name)) continue;
    auto opened = files::AppendFile::open(directory_ + "/" + name, true);
    if (!opened) {
      if (files::exists(directory_ + "/" + name)) continue;  // another process was faster
      return opened.error();
    }
    pack_ = std::move(*opened);
    pack_name_ = name;
    pack_date_ = date;
    pack_term_ = term;
    return {};
  }
  return Failure{directory_ + "/" + date + " has a million packs of " + writer_ +
                 ": give the writer another name"};
}

Result<void, Failure> Archive::store(const std::vector<ArchiveEntry>& entries, WallTime now) {
  std::vector<ArchiveEntry> fresh;
  std::set<std::string_view> in_batch;
  for (const ArchiveEntry& entry : entries) {
    const auto known = find(entry.id);
    if (!known) return known.error();
    if (!*known && in_batch.insert(entry.id).second) fresh.push_back(entry);
  }
  if (fresh.empty()) return {};
  const std::string date = date_of(now);
  const RegionTerm term = fresh.front().term;
  if (!pack_.is_open() || date != pack_date_ || term != pack_term_ || pack_.size() >= limits.pack_bytes) {
    if (const auto rolled = roll_pack(date, term); !rolled) return rolled.error();
  }
  Buffer frame;
  archive_frame::append(frame, fresh);
  const std::uint64_t at = pack_.size();
  if (const auto appended = pack_.append(frame); !appended) return appended.error();
  if (const auto synced = pack_.sync(); !synced) return synced.error();
  const std::uint64_t end = pack_.size();
  return index_frames(pack_name_, {{at, std::move(fresh)}}, end);
}

Result<void, Failure> Archive::index_frames(const std::string& pack, const std::vector<Frame>& frames,
                                            std::uint64_t end) {
  auto transaction = SqliteTransaction::begin(*index_);
  if (!transaction) return failed(transaction.error());
  if (const auto added = add_pack_.bind(1, pack).run(); !added) return failed(added.error());
  const auto row = pack_id_.bind(1, pack).step();
  if (!row) return failed(row.error());
  MS_ASSERT(*row, "the pack was added in this transaction");
  const std::int64_t pack_id = pack_id_.integer(0);
  pack_id_.reset();
  for (const Frame& frame : frames) {
    std::int64_t position = 0;
    for (const ArchiveEntry& entry : frame.entries) {
      const auto added = add_entry_.bind(1, entry.id)
                             .bind(2, entry.idempotency_key)
                             .bind(3, entry.content_digest)
                             .bind(4, entry.ordering_key)
                             .bind(5, entry.source)
                             .bind(6, entry.ingest)
                             .bind(7, entry.term.value)
                             .bind(8, pack_id)
                             .bind(9, frame.offset)
                             .bind(10, position++)
                             .run();
      if (!added) return failed(added.error());
    }
  }
  if (const auto set = set_indexed_.bind(1, pack_id).bind(2, end).run(); !set) return failed(set.error());
  if (const auto committed = transaction->commit(); !committed) return failed(committed.error());
  return {};
}

Result<std::optional<ArchiveRow>, Failure> Archive::find(std::string_view id) {
  return one_row(find_.bind(1, id));
}
Result<std::optional<ArchiveRow>, Failure> Archive::find_key(std::string_view idempotency_key) {
  return one_row(find_key_.bind(1, idempotency_key));
}

Result<ArchiveEntry, Failure> Archive::read(std::string_view id) {
  const auto row = locate_.bind(1, id).step();
  if (!row) return failed(row.error());
  if (!*row) {
    locate_.reset();
    return Failure{"the archive " + directory_ + " has no message " + std::string(id)};
  }
  const std::string pack = locate_.text(0);
  const std::uint64_t offset = locate_.number(1);
  const std::size_t position = locate_.number(2);
  locate_.reset();
  if (cached_pack_ != pack || cached_.offset != offset) {
    const auto file = files::ReadFile::open(directory_ + "/" + pack);
    if (!file) return file.error();
    const auto header = file->read(offset, archive_frame::header_bytes);
    if (!header) return header.error();
    const auto fields = archive_frame::read_header(*header);
    std::optional<std::vector<ArchiveEntry>> entries;
    if (fields) {
      const auto packed = file->read(offset + header->size(), fields->packed_bytes);
      if (!packed) return packed.error();
      entries = archive_frame::read(*header, *packed);
    }
    if (!entries) {
      return Failure{directory_ + "/" + pack + " is damaged at byte " + std::to_string(offset) +
                     ": restore that pack from a copy"};
    }
    cached_pack_ = pack;
    cached_ = {offset, std::move(*entries)};
  }
  if (position >= cached_.entries.size() || cached_.entries[position].id != id) {
    return Failure{"the archive index does not fit " + pack +
                   ": remove index.sqlite*, it is made again from the packs"};
  }
  return cached_.entries[position];
}

Result<void, Failure> Archive::for_each(const std::function<bool(const ArchiveRow&)>& each) {
  auto statement =
      index_->prepare((std::string("SELECT ") + row_columns + " FROM entry ORDER BY ingest, id").c_str());
  if (!statement) return failed(statement.error());
  while (true) {
    const auto row = statement->step();
    if (!row) return failed(row.error());
    if (!*row || !each(row_of(*statement))) return {};
  }
}

Result<std::uint64_t, Failure> Archive::count() {
  const auto row = count_.step();
  if (!row) return failed(row.error());
  const std::uint64_t counted = *row ? count_.number(0) : 0;
  count_.reset();
  return counted;
}

Result<std::vector<std::string>, Failure> Archive::pack_names() {
  std::vector<std::string> found;
  std::vector<std::string> level{""};
  for (int depth = 0; depth < 3; ++depth) {
    std::vector<std::string> below;
    for (const std::string& directory : level) {
      const auto names = files::list_directories(directory_ + "/" + directory);
      if (!names) return names.error();
      for (const std::string& name : *names) below.push_back(directory + name + "/");
    }
    level = std::move(below);
  }
  for (const std::string& directory : level) {
    const auto names = files::list(directory_ + "/" + directory);
    if (!names) return names.error();
    for (const std::string& name : *names) {
      if (name.ends_with(".pack")) found.push_back(directory + name);
    }
  }
  return found;
}

Result<std::vector<Archive::Frame>, Failure> Archive::read_frames(const std::string& pack,
                                                                  std::uint64_t offset, std::uint64_t& end,
                                                                  std::uint64_t& size) {
  const auto file = files::ReadFile::open(directory_ + "/" + pack);
  if (!file) return file.error();
  std::vector<Frame> frames;
  size = file->size();
  end = offset;
  while (end < size) {
    const auto header = file->read(end, archive_frame::header_bytes);
    if (!header) return header.error();
    const auto fields = archive_frame::read_header(*header);
    if (!fields || end + header->size() + fields->packed_bytes > size) break;
    const auto packed = file->read(end + header->size(), fields->packed_bytes);
    if (!packed) return packed.error();
    auto entries = archive_frame::read(*header, *packed);
    if (!entries) break;
    frames.push_back({end, std::move(*entries)});
    end += header->size() + packed->size();
  }
  return frames;
}

Result<void, Failure> Archive::refresh() {
  const auto packs = pack_names();
  if (!packs) return packs.error();
  for (const std::string& pack : *packs) {
    const auto row = indexed_.bind(1, pack).step();
    if (!row) return failed(row.error());
    const std::uint64_t from = *row ? indexed_.number(0) : 0;
    indexed_.reset();
    std::uint64_t end = 0, size = 0;
    const auto frames = read_frames(pack, from, end, size);
    if (!frames) return frames.error();
    if (end == from) continue;
    if (const auto done = index_frames(pack, *frames, end); !done) return done.error();
  }
  return {};
}

Result<ArchiveCheck, Failure> Archive::verify() {
  ArchiveCheck check;
  const auto packs = pack_names();
  if (!packs) return packs.error();
  for (const std::string& pack : *packs) {
    ++check.packs;
    std::uint64_t end = 0, size = 0;
    const auto frames = read_frames(pack, 0, end, size);
    if (!frames) return frames.error();
    for (const Frame& frame : *frames) check.entries += frame.entries.size();
    const auto row = indexed_.bind(1, pack).step();
    if (!row) return failed(row.error());
    const std::uint64_t indexed = *row ? indexed_.number(0) : 0;
    indexed_.reset();
    if (end < indexed) {
      check.problems.push_back(directory_ + "/" + pack + " is damaged at byte " + std::to_string(end) + ": " +
                               std::to_string(indexed - end) + " bytes that were stored cannot be read");
    } else if (end < size) {
      ++check.torn_packs;
    }
  }
  return check;
}

}  // namespace mainstay::pipeline
