// SQLite as values and RAII: a connection, prepared statements, transactions. One thread per Database.
// Text is bound and read as bytes; integers are 64 bits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace mainstay::ledger {

struct SqliteError {
  std::string what;   ///< names the file, the operation and SQLite's reason
  bool busy = false;  ///< another process held the lock for the whole time-out: trying again may succeed
};
[[noreturn]] void throw_exception_from_error(const SqliteError& error, const boost::source_location& where);

/// A prepared statement. Parameters count from 1, columns from 0. Views of columns are valid until the next
/// step or reset.
class SqliteStatement {
 public:
  SqliteStatement() = default;
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement& operator=(SqliteStatement&& other) noexcept;
  ~SqliteStatement();

  SqliteStatement& bind(int at, std::string_view text);
  SqliteStatement& bind(int at, std::int64_t value);
  SqliteStatement& bind(int at, std::uint64_t value) { return bind(at, static_cast<std::int64_t>(value)); }
  SqliteStatement& bind_blob(int at, BytesView bytes);
  /// @return true when there is a row. Reset the statement before binding again.
  [[nodiscard]] Result<bool, SqliteError> step();
  /// Runs to the end and resets: for statements without rows.
  [[nodiscard]] Result<void, SqliteError> run();
  void reset();

  [[nodiscard]] std::string text(int column) const;
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::uint64_t number(int column) const { return static_cast<std::uint64_t>(integer(column)); }

 private:
  friend class SqliteDatabase;
  SqliteStatement(sqlite3_stmt* statement, const class SqliteDatabase* of)
      : statement_(statement), database_(of) {}
  sqlite3_stmt* statement_ = nullptr;
  const class SqliteDatabase* database_ = nullptr;
};

class SqliteDatabase {
 public:
  enum class Durability : std::uint8_t {
    full,    ///< a commit is on disk when it returns
    normal,  ///< a power loss may take back the last commits, never consistency: for derived data
  };
  /// Opens or creates the file in WAL mode. @param busy_timeout_ms  how long to wait for other processes.
  static Result<std::unique_ptr<SqliteDatabase>, SqliteError> open(const std::string& path,
                                                                   Durability durability,
                                                                   int busy_timeout_ms = 20'000);
  ~SqliteDatabase();
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  [[nodiscard]] Result<void, SqliteError> execute(const char* sql);
  [[nodiscard]] Result<SqliteStatement, SqliteError> prepare(const char* sql);
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] SqliteError error(const char* doing) const;

 private:
  SqliteDatabase(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  sqlite3* handle_;
  std::string path_;
};

/// A write transaction from construction to commit(); rolled back when destroyed before.
class SqliteTransaction {
 public:
  /// Takes the write lock at once, so that it cannot fail half-way for another writer.
  static Result<SqliteTransaction, SqliteError> begin(SqliteDatabase& in);
  SqliteTransaction(SqliteTransaction&& other) noexcept;
  SqliteTransaction& operator=(SqliteTransaction&&) = delete;
  ~SqliteTransaction();
  [[nodiscard]] Result<void, SqliteError> commit();

 private:
  explicit SqliteTransaction(SqliteDatabase* in) : database_(in) {}
  SqliteDatabase* database_;
};

}  // namespace mainstay::ledger
