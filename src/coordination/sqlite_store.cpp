#include "coordination/sqlite_store.h"

#include <sqlite3.h>

#include <utility>
#include <vector>

#include "coordination/register.h"

namespace mainstay::coordination {
namespace {

constexpr std::int64_t kApplicationId = 0x4d534552;  // "MSER": in the file's header
constexpr std::int64_t kFormatVersion = 2;

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

Result<std::unique_ptr<SqliteStore>, RegisterError> SqliteStore::open(const std::string& path,
                                                                      const std::string& group) {
  if (group.empty()) return RegisterError{"a register needs the name of its group"};
  std::unique_ptr<SqliteStore> made(new SqliteStore(path, group));
  if (auto opened = made->open_file(SQLITE_OPEN_CREATE); !opened) return opened.error();
  return made;
}

Result<void, RegisterError> SqliteStore::open_file(int more_flags) {
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

Result<void, RegisterError> SqliteStore::follow_path() {
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

SqliteStore::~SqliteStore() {
  sqlite3_close(database_);
}

RegisterError SqliteStore::problem(const char* doing) const {
  const int code = sqlite3_extended_errcode(database_) & 0xff;
  std::string what = "register " + path_ + " " + doing + ": " + sqlite3_errmsg(database_);
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
    what += " (another process held it for more than " + std::to_string(kBusyWaitMs) + " ms; try again)";
  } else if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT) {
    what +=
        "; it is not a register or is damaged: put a good copy back, or move it away and have its record "
        "written anew. Nodes with [group]: `mainstay group repair-register`, which looks at their disks; "
        "nodes without: `mainstay region promote --force` on the one that led last";
  } else if (code == SQLITE_READONLY || code == SQLITE_PERM || code == SQLITE_CANTOPEN) {
    what += "; check that its directory exists, and that file and directory are writable for this user";
  } else if (code == SQLITE_FULL) {
    what += "; free space on its file system";
  }
  return {what};
}

Result<void, RegisterError> SqliteStore::run(const char* sql) {
  Statement statement(database_, sql);
  if (!statement.prepared()) return problem("cannot be used");
  const int done = statement.step();
  if (done != SQLITE_DONE && done != SQLITE_ROW) return problem("cannot be used");
  return {};
}

Result<std::int64_t, RegisterError> SqliteStore::number(const char* sql) {
  Statement statement(database_, sql);
  if (!statement.prepared() || statement.step() != SQLITE_ROW) return problem("cannot be read");
  return statement.integer(0);
}

Result<void, RegisterError> SqliteStore::prepare_schema() {
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
  if (*version < kFormatVersion) {
    for (const char* sql : {"PRAGMA application_id=1297302866", "PRAGMA user_version=2",
                            "CREATE TABLE record(name TEXT PRIMARY KEY NOT NULL, revision INTEGER NOT NULL,"
                            " value TEXT NOT NULL) STRICT"}) {
      static_assert(kApplicationId == 1297302866 && kFormatVersion == 2, "the pragmas above say the same");
      if (auto done = run(sql); !done) return give_up(done.error());
    }
    if (*version == 1) {
      if (auto done = convert_format_1(); !done) return give_up(done.error());
    }
  }
  if (auto done = run("COMMIT"); !done) return give_up(done.error());
  return {};
}

/// Format 1 had a column for each field of a region's record.
Result<void, RegisterError> SqliteStore::convert_format_1() {
  std::vector<std::pair<std::string, Stored>> records;
  {
    Statement query(database_,
                    "SELECT group_name, revision, term, region, phase, changed_by, reason, at_ms, fork_lsn,"
                    " fork_hash FROM leadership");
    if (!query.prepared()) return problem("cannot be read");
    int row = query.step();
    for (; row == SQLITE_ROW; row = query.step()) {
      RegionRecord record;
      record.term = RegionTerm{query.word(2)};
      record.region = query.text(3);
      const std::int64_t phase = query.integer(4);
      if (phase < 0 || phase > static_cast<std::int64_t>(Phase::recovering))
        return RegisterError{"register " + path_ + " holds phase " + std::to_string(phase) +
                             ", which this program does not know; use the newer program"};
      record.phase = static_cast<Phase>(phase);
      record.by = query.text(5);
      record.reason = query.text(6);
      record.at = WallTime{query.integer(7)};
      record.fork_lsn = Lsn{query.word(8)};
      record.fork_hash = query.word(9);
      records.emplace_back(query.text(0), Stored{query.word(1), encode_region_record(record)});
    }
    if (row != SQLITE_DONE) return problem("cannot be read");
  }
  for (const auto& [group, record] : records) {
    if (auto done = store(group, record); !done) return done.error();
  }
  return run("DROP TABLE leadership");
}

Result<Stored, RegisterError> SqliteStore::load() {
  Statement query(database_, "SELECT revision, value FROM record WHERE name = ?1");
  if (!query.prepared()) return problem("cannot be read");
  query.bind(1, group_);
  const int row = query.step();
  if (row == SQLITE_DONE) return Stored{};
  if (row != SQLITE_ROW) return problem("cannot be read");
  return Stored{query.word(0), query.text(1)};
}

Result<void, RegisterError> SqliteStore::store(const std::string& group, const Stored& record) {
  Statement put(database_,
                "INSERT INTO record(name, revision, value) VALUES(?1, ?2, ?3) ON CONFLICT(name) DO UPDATE SET"
                " revision=?2, value=?3");
  if (!put.prepared()) return problem("cannot be written");
  put.bind(1, group);
  put.bind(2, record.revision);
  put.bind(3, record.value);
  if (put.step() != SQLITE_DONE) return problem("cannot be written");
  return {};
}

Result<Stored, RegisterError> SqliteStore::read() {
  const std::lock_guard lock(mutex_);
  if (auto there = follow_path(); !there) return there.error();
  return load();
}

Result<StoreSwap, RegisterError> SqliteStore::compare_and_swap(std::uint64_t expected_revision,
                                                               const std::string& value, const Rule& rule) {
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
    return StoreSwap{CasOutcome::lost, std::move(*stored)};
  }
  if (auto why = rule(*stored)) {
    roll_back();
    return std::move(*why);
  }
  Stored record{expected_revision + 1, value};
  if (auto done = store(group_, record); !done) {
    roll_back();
    return done.error();
  }
  if (auto committed = run("COMMIT"); !committed) {
    // Busy: readers kept the lock, nothing was written, and the transaction can still be rolled back. Any
    // other failure leaves open which side of the commit the file is on.
    const bool busy = (sqlite3_extended_errcode(database_) & 0xff) == SQLITE_BUSY;
    roll_back();
    if (busy) return committed.error();
    return StoreSwap{CasOutcome::unknown, {}};
  }
  return StoreSwap{CasOutcome::won, std::move(record)};
}

}  // namespace mainstay::coordination
