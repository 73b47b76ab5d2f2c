#include "coordination/sqlite_register.h"

#include <sqlite3.h>

#include <utility>

namespace mainstay::coordination {
namespace {

constexpr std::int64_t kApplicationId = 0x4d534552;  // "MSER": in the file's header
constexpr std::int64_t kFormatVersion = 1;

/// Finalises on every way out.
class Statement {
 public:
  Statement(sqlite3* database, const char* sql) {
    result_ = sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  [[nodiscard]] bool prepared() const { return result_ == SQLITE_OK; }
  int step() { return sqlite3_step(statement_); }
  void bind(int index, const std::string& text) {
    sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
  }
  /// Unsigned values are stored by their bits: SQLite's integers are signed.
  void bind(int index, std::uint64_t value) {
    sqlite3_bind_int64(statement_, index, static_cast<sqlite3_int64>(value));
  }
  void bind_signed(int index, std::int64_t value) { sqlite3_bind_int64(statement_, index, value); }
  std::int64_t integer(int column) { return sqlite3_column_int64(statement_, column); }
  std::uint64_t word(int column) { return static_cast<std::uint64_t>(integer(column)); }
  std::string text(int column) {
    const auto* from =
        static_cast<const char*>(static_cast<const void*>(sqlite3_column_text(statement_, column)));
    return from == nullptr
               ? std::string()
               : std::string(from, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int result_ = SQLITE_OK;
};

}  // namespace

Result<std::unique_ptr<SqliteRegister>, RegisterError> SqliteRegister::open(const std::string& path,
                                                                            const std::string& group) {
  if (group.empty()) return RegisterError{"a register needs the name of its group"};
  std::unique_ptr<SqliteRegister> made(new SqliteRegister(path, group));
  if (auto opened = made->open_file(SQLITE_OPEN_CREATE); !opened) return opened.error();
  return made;
}

Result<void, RegisterError> SqliteRegister::open_file(int more_flags) {
  const int opened = sqlite3_open_v2(path_.c_str(), &database_,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | more_flags, nullptr);
  if (database_ == nullptr) return RegisterError{"register " + path_ + ": out of memory"};
  if (opened != SQLITE_OK) {
    return problem("cannot be opened");
  }
  sqlite3_extended_result_codes(database_, 1);
  sqlite3_busy_timeout(database_, kBusyWaitMs);
  // EXTRA: also syncs the directory when the rollback journal goes. With FULL a power loss right after the
  // commit could bring the journal back and with it the term before.
  if (auto set = run("PRAGMA synchronous=EXTRA"); !set) return set.error();
  return prepare_schema();
}

Result<void, RegisterError> SqliteRegister::follow_path() {
  int moved = 0;
  if (usable_ && sqlite3_file_control(database_, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
      moved == 0) {
    return {};
  }
  usable_ = false;
  sqlite3_close(database_);
  database_ = nullptr;
  if (auto opened = open_file(0); !opened) return opened.error();
  usable_ = true;
  return {};
}

SqliteRegister::~SqliteRegister() {
  sqlite3_close(database_);
}

RegisterError SqliteRegister::problem(const char* doing) const {
  const int code = sqlite3_extended_errcode(database_) & 0xff;
  std::string what = "register " + path_ + " " + doing + ": " + sqlite3_errmsg(database_);
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
    what += " (another process held it for more than " + std::to_string(kBusyWaitMs) + " ms; try again)";
  } else if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT) {
    what +=
        "; it is not a register or is damaged: put a good copy back, or move it away and run `mainstay "
        "region "
        "promote --force` for the region that led last";
  } else if (code == SQLITE_READONLY || code == SQLITE_PERM || code == SQLITE_CANTOPEN) {
    what += "; check that its directory exists, and that file and directory are writable for this user";
  } else if (code == SQLITE_FULL) {
    what += "; free space on its file system";
  }
  return {what};
}

Result<void, RegisterError> SqliteRegister::run(const char* sql) {
  Statement statement(database_, sql);
  if (!statement.prepared()) return problem("cannot be used");
  const int done = statement.step();
  if (done != SQLITE_DONE && done != SQLITE_ROW) return problem("cannot be used");
  return {};
}

Result<std::int64_t, RegisterError> SqliteRegister::number(const char* sql) {
  Statement statement(database_, sql);
  if (!statement.prepared() || statement.step() != SQLITE_ROW) return problem("cannot be read");
  return statement.integer(0);
}

Result<void, RegisterError> SqliteRegister::prepare_schema() {
  if (auto begun = run("BEGIN IMMEDIATE"); !begun) return begun.error();
  const auto give_up = [this](RegisterError error) {
    sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
    return error;
  };
  const auto id = number("PRAGMA application_id");
  if (!id) return give_up(id.error());
  const auto version = number("PRAGMA user_version");
  if (!version) return give_up(version.error());
  const auto tables = number("SELECT count(*) FROM sqlite_master");
  if (!tables) return give_up(tables.error());
  if (*tables != 0 && *id != kApplicationId) {
    return give_up(
        {"register " + path_ + " is a database of another program; give the register a file of its own"});
  }
  if (*version > kFormatVersion) {
    return give_up({"register " + path_ + " has format " + std::to_string(*version) +
                    ", this program knows up to " + std::to_string(kFormatVersion) +
                    "; use the newer program"});
  }
  if (*tables == 0) {
    for (const char* sql :
         {"PRAGMA application_id=1297302866", "PRAGMA user_version=1",
          "CREATE TABLE leadership(group_name TEXT PRIMARY KEY NOT NULL, revision INTEGER NOT NULL,"
          " term INTEGER NOT NULL, region TEXT NOT NULL, phase INTEGER NOT NULL,"
          " changed_by TEXT NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,"
          " fork_lsn INTEGER NOT NULL, fork_hash INTEGER NOT NULL) STRICT"}) {
      static_assert(kApplicationId == 1297302866 && kFormatVersion == 1, "the pragmas above say the same");
      if (auto done = run(sql); !done) return give_up(done.error());
    }
  }
  if (auto done = run("COMMIT"); !done) return give_up(done.error());
  return {};
}

Result<RegionRecord, RegisterError> SqliteRegister::load() {
  Statement query(database_,
                  "SELECT revision, term, region, phase, changed_by, reason, at_ms, fork_lsn, fork_hash"
                  " FROM leadership WHERE group_name = ?1");
  if (!query.prepared()) return problem("cannot be read");
  query.bind(1, group_);
  const int row = query.step();
  if (row == SQLITE_DONE) return RegionRecord{};
  if (row != SQLITE_ROW) return problem("cannot be read");
  RegionRecord record;
  record.revision = query.word(0);
  record.term = RegionTerm{query.word(1)};
  record.region = query.text(2);
  const std::int64_t phase = query.integer(3);
  if (phase < 0 || phase > static_cast<std::int64_t>(Phase::recovering)) {
    return RegisterError{"register " + path_ + " holds phase " + std::to_string(phase) +
                         ", which this program does not know; use the newer program"};
  }
  record.phase = static_cast<Phase>(phase);
  record.by = query.text(4);
  record.reason = query.text(5);
  record.at = WallTime{query.integer(6)};
  record.fork_lsn = Lsn{query.word(7)};
  record.fork_hash = query.word(8);
  return record;
}

Result<void, RegisterError> SqliteRegister::store(const RegionRecord& record) {
  Statement put(
      database_,
      "INSERT INTO leadership(group_name, revision, term, region, phase, changed_by, reason, at_ms, fork_lsn,"
      " fork_hash) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT(group_name) DO UPDATE SET"
      " revision=?2, term=?3, region=?4, phase=?5, changed_by=?6, reason=?7, at_ms=?8, fork_lsn=?9,"
      " fork_hash=?10");
  if (!put.prepared()) return problem("cannot be written");
  put.bind(1, group_);
  put.bind(2, record.revision);
  put.bind(3, record.term.value);
  put.bind(4, record.region);
  put.bind_signed(5, static_cast<std::int64_t>(record.phase));
  put.bind(6, record.by);
  put.bind(7, record.reason);
  put.bind_signed(8, record.at.ms);
  put.bind(9, record.fork_lsn.value);
  put.bind(10, record.fork_hash);
  if (put.step() != SQLITE_DONE) return problem("cannot be written");
  return {};
}

Result<RegionRecord, RegisterError> SqliteRegister::read() {
  const std::lock_guard lock(mutex_);
  if (auto there = follow_path(); !there) return there.error();
  return load();
}

Result<CasResult, RegisterError> SqliteRegister::compare_and_swap(std::uint64_t expected_revision,
                                                                  const RegionRecord& next) {
  const std::lock_guard lock(mutex_);
  if (auto there = follow_path(); !there) return there.error();
  // IMMEDIATE takes the write lock before the read, so nothing can change between compare and swap.
  if (auto begun = run("BEGIN IMMEDIATE"); !begun) return begun.error();
  const auto roll_back = [this] { sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr); };
  auto stored = load();
  if (!stored) {
    roll_back();
    return stored.error();
  }
  if (stored->revision != expected_revision) {
    roll_back();
    return CasResult{CasOutcome::lost, std::move(*stored)};
  }
  if (auto why = forbidden(*stored, next)) {
    roll_back();
    return std::move(*why);
  }
  RegionRecord record = next;
  record.revision = expected_revision + 1;
  if (auto done = store(record); !done) {
    roll_back();
    return done.error();
  }
  if (auto committed = run("COMMIT"); !committed) {
    // Busy: readers kept the lock, nothing was written, and the transaction can still be rolled back. Any
    // other failure leaves open which side of the commit the file is on.
    const bool busy = (sqlite3_extended_errcode(database_) & 0xff) == SQLITE_BUSY;
    roll_back();
    if (busy) return committed.error();
    return CasResult{CasOutcome::unknown, {}};
  }
  return CasResult{CasOutcome::won, std::move(record)};
}

}  // namespace mainstay::coordination
