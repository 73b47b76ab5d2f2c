#include "ledger/sqlite_database.h"

#include <poll.h>
#include <sqlite3.h>

#include <utility>

#include "base/assert.h"

namespace mainstay::ledger {

void throw_exception_from_error(const SqliteError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

namespace {

const char* remedy(int code) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "another process holds it for too long; find it with fuser and let it finish";
    case SQLITE_CANTOPEN:
      return "create its directory and make it writable for this user";
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return "make the file and its directory writable for this user";
    case SQLITE_NOTADB:
      return "this is not a SQLite file; name another path or restore the file from a backup";
    case SQLITE_CORRUPT:
      return "the file is damaged; restore it from a backup and keep the damaged one for inspection";
    case SQLITE_FULL:
      return "the disk is full; free space and start again";
    default:
      return "look at the disk and the system log";
  }
}

int size_of(std::size_t bytes) {
  MS_ASSERT(bytes < (std::size_t{1} << 30), "a bound value is larger than SQLite takes");
  return static_cast<int>(bytes);
}

}  // namespace

SqliteStatement::SqliteStatement(SqliteStatement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)), database_(other.database_) {}

SqliteStatement& SqliteStatement::operator=(SqliteStatement&& other) noexcept {
  if (this != &other) {
    sqlite3_finalize(statement_);
    statement_ = std::exchange(other.statement_, nullptr);
    database_ = other.database_;
  }
  return *this;
}

SqliteStatement::~SqliteStatement() {
  sqlite3_finalize(statement_);
}

SqliteStatement& SqliteStatement::bind(int at, std::string_view text) {
  const char* from = text.data() == nullptr ? "" : text.data();
  const int rc = sqlite3_bind_text(statement_, at, from, size_of(text.size()), SQLITE_TRANSIENT);
  MS_ASSERT(rc == SQLITE_OK, "binding a parameter that the statement does not have");
  return *this;
}

SqliteStatement& SqliteStatement::bind(int at, std::int64_t value) {
  const int rc = sqlite3_bind_int64(statement_, at, value);
  MS_ASSERT(rc == SQLITE_OK, "binding a parameter that the statement does not have");
  return *this;
}

SqliteStatement& SqliteStatement::bind_blob(int at, BytesView bytes) {
  const int rc = sqlite3_bind_blob(statement_, at, bytes.data(), size_of(bytes.size()), SQLITE_TRANSIENT);
  MS_ASSERT(rc == SQLITE_OK, "binding a parameter that the statement does not have");
  return *this;
}

Result<bool, SqliteError> SqliteStatement::step() {
  const int rc = sqlite3_step(statement_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  SqliteError error = database_->error("running a statement");
  sqlite3_reset(statement_);
  return error;
}

Result<void, SqliteError> SqliteStatement::run() {
  while (true) {
    const auto row = step();
    if (!row) return row.error();
    if (!*row) break;
  }
  reset();
  return {};
}

void SqliteStatement::reset() {
  sqlite3_reset(statement_);
}

std::string SqliteStatement::text(int column) const {
  const auto* from = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const int bytes = sqlite3_column_bytes(statement_, column);
  return from == nullptr ? std::string() : std::string(from, static_cast<std::size_t>(bytes));
}

std::int64_t SqliteStatement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

Result<std::unique_ptr<SqliteDatabase>, SqliteError> SqliteDatabase::open(const std::string& path,
                                                                          Durability durability,
                                                                          int busy_timeout_ms) {
  sqlite3* handle = nullptr;
  const int rc = sqlite3_open_v2(path.c_str(), &handle,
                                 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(handle, path));
  if (rc != SQLITE_OK) return database->error("opening");
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, busy_timeout_ms);
  // Changing to WAL does not always ask the busy handler, so a process that opens at the same moment can get
  // "busy" at once: try again for as long as a statement would wait.
  for (int waited_ms = 0;; waited_ms += 10) {
    const auto wal = database->execute("PRAGMA journal_mode=WAL");
    if (wal) break;
    if (!wal.error().busy || waited_ms >= busy_timeout_ms) return wal.error();
    ::poll(nullptr, 0, 10);
  }
  const auto synced = database->execute(durability == Durability::full ? "PRAGMA synchronous=FULL"
                                                                       : "PRAGMA synchronous=NORMAL");
  if (!synced) return synced.error();
  return database;
}

SqliteDatabase::~SqliteDatabase() {
  sqlite3_close_v2(handle_);
}

SqliteError SqliteDatabase::error(const char* doing) const {
  const int code = handle_ == nullptr ? SQLITE_NOMEM : sqlite3_extended_errcode(handle_);
  const char* reason = handle_ == nullptr ? "out of memory" : sqlite3_errmsg(handle_);
  return SqliteError{std::string(doing) + " " + path_ + ": " + reason + ": " + remedy(code),
                     (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED};
}

Result<void, SqliteError> SqliteDatabase::execute(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error("changing");
  return {};
}

Result<SqliteStatement, SqliteError> SqliteDatabase::prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) {
    return error("preparing a statement on");
  }
  return SqliteStatement(statement, this);
}

Result<SqliteTransaction, SqliteError> SqliteTransaction::begin(SqliteDatabase& in) {
  if (const auto begun = in.execute("BEGIN IMMEDIATE"); !begun) return begun.error();
  return SqliteTransaction(&in);
}

SqliteTransaction::SqliteTransaction(SqliteTransaction&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

SqliteTransaction::~SqliteTransaction() {
  // A failing rollback leaves nothing to do: closing the connection rolls back as well.
  if (database_ != nullptr && !database_->execute("ROLLBACK")) database_ = nullptr;
}

Result<void, SqliteError> SqliteTransaction::commit() {
  if (const auto committed = database_->execute("COMMIT"); !committed) return committed.error();
  database_ = nullptr;
  return {};
}

}  // namespace mainstay::ledger
