#include "ledger/sqlite_ledger.h"

#include "base/assert.h"
#include "ledger/content.h"

namespace mainstay::ledger {

void throw_exception_from_error(const LedgerError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

namespace {

constexpr std::int64_t format_version = 1;

// The one-row table `meta` holds the fence and the last done_order, so that both change in the same
// transaction as the entries they speak of.
constexpr const char* schema =
    "CREATE TABLE IF NOT EXISTS meta(id INTEGER PRIMARY KEY CHECK(id = 1), format INTEGER NOT NULL,"
    "  fence_term INTEGER NOT NULL, done_order INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS entry(key TEXT PRIMARY KEY, digest TEXT NOT NULL,"
    "  ordering_key TEXT NOT NULL, state INTEGER NOT NULL, term INTEGER NOT NULL, region TEXT NOT NULL,"
    "  worker TEXT NOT NULL, destination TEXT NOT NULL DEFAULT '', done_order INTEGER NOT NULL DEFAULT 0,"
    "  claimed_at INTEGER NOT NULL, done_at INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE UNIQUE INDEX IF NOT EXISTS entry_done ON entry(done_order) WHERE done_order > 0;"
    "CREATE TABLE IF NOT EXISTS parked(key TEXT NOT NULL, digest TEXT NOT NULL,"
    "  ordering_key TEXT NOT NULL, kept_at TEXT NOT NULL, term INTEGER NOT NULL, at INTEGER NOT NULL,"
    "  PRIMARY KEY(key, digest)) WITHOUT ROWID;"
    "INSERT OR IGNORE INTO meta(id, format, fence_term, done_order) VALUES(1, 1, 0, 0);";

constexpr const char* entry_columns =
    "key, digest, ordering_key, state, term, region, worker, destination, done_order, claimed_at, done_at,"
    " attempts";

Entry entry_of(const SqliteStatement& row) {
  Entry entry;
  entry.key = row.text(0);
  entry.digest = row.text(1);
  entry.ordering_key = row.text(2);
  entry.state = static_cast<EntryState>(row.integer(3));
  entry.term = RegionTerm{row.number(4)};
  entry.region = row.text(5);
  entry.worker = row.text(6);
  entry.destination = row.text(7);
  entry.done_order = row.number(8);
  entry.claimed_at = {row.integer(9)};
  entry.done_at = {row.integer(10)};
  entry.attempts = static_cast<std::uint32_t>(row.integer(11));
  return entry;
}

LedgerError ledger_error(const SqliteError& error) {
  return {"ledger: " + error.what};
}

template <class T>
Result<T, LedgerError> to_ledger(Result<T, SqliteError>&& result) {
  if (!result) return ledger_error(result.error());
  return std::move(*result);
}

}  // namespace

Result<std::unique_ptr<SqliteLedger>, LedgerError> SqliteLedger::open(const std::string& path,
                                                                      int busy_timeout_ms) {
  auto database = SqliteDatabase::open(path, SqliteDatabase::Durability::full, busy_timeout_ms);
  if (!database) return ledger_error(database.error());
  {
    auto transaction = SqliteTransaction::begin(**database);
    if (!transaction) return ledger_error(transaction.error());
    if (const auto made = (*database)->execute(schema); !made) return ledger_error(made.error());
    auto format = (*database)->prepare("SELECT format FROM meta WHERE id = 1");
    if (!format) return ledger_error(format.error());
    const auto row = format->step();
    if (!row) return ledger_error(row.error());
    if (!*row || format->integer(0) != format_version) {
      return LedgerError{"ledger: " + path + " has format " + std::to_string(*row ? format->integer(0) : 0) +
                         ", this program knows " + std::to_string(format_version) +
                         ": use the version that wrote it, or name another file"};
    }
    format->reset();
    if (const auto committed = transaction->commit(); !committed) return ledger_error(committed.error());
  }
  std::unique_ptr<SqliteLedger> ledger(new SqliteLedger(std::move(*database)));
  if (const auto prepared = ledger->prepare(); !prepared) return ledger_error(prepared.error());
  return ledger;
}

Result<void, SqliteError> SqliteLedger::prepare() {
  const std::string find = std::string("SELECT ") + entry_columns + " FROM entry WHERE key = ?1";
  const struct {
    SqliteStatement& into;
    const char* sql;
  } statements[] = {
      {read_fence_, "SELECT fence_term FROM meta WHERE id = 1"},
      {write_fence_, "UPDATE meta SET fence_term = ?1 WHERE id = 1"},
      {find_, find.c_str()},
      {insert_,
       "INSERT INTO entry(key, digest, ordering_key, state, term, region, worker, claimed_at, attempts)"
       " VALUES(?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, 1)"},
      {reclaim_,
       "UPDATE entry SET term = ?2, region = ?3, worker = ?4, claimed_at = ?5, attempts = attempts + 1"
       " WHERE key = ?1"},
      {name_payment_, "UPDATE entry SET digest = ?2 WHERE key = ?1"},
      {read_order_, "SELECT done_order FROM meta WHERE id = 1"},
      {write_order_, "UPDATE meta SET done_order = ?1 WHERE id = 1"},
      {finish_,
       "UPDATE entry SET state = 2, term = ?2, destination = ?3, done_order = ?4, done_at = ?5"
       " WHERE key = ?1"},
      {park_,
       "INSERT OR IGNORE INTO parked(key, digest, ordering_key, kept_at, term, at)"
       " VALUES(?1, ?2, ?3, ?4, ?5, ?6)"},
      {count_, "SELECT COUNT(*) FROM entry WHERE state = ?1"},
      {count_parked_, "SELECT COUNT(*) FROM parked"},
  };
  for (const auto& [into, sql] : statements) {
    auto prepared = database_->prepare(sql);
    if (!prepared) return prepared.error();
    into = std::move(*prepared);
  }
  return {};
}

Result<bool, SqliteError> SqliteLedger::pass_fence(RegionTerm term) {
  const auto row = read_fence_.step();
  if (!row) return row.error();
  const RegionTerm fence{*row ? read_fence_.number(0) : 0};
  read_fence_.reset();
  if (term < fence) return false;
  if (term > fence) {
    if (const auto raised = write_fence_.bind(1, term.value).run(); !raised) return raised.error();
  }
  return true;
}

Result<std::vector<ClaimOutcome>, SqliteError> SqliteLedger::claim_all(const std::vector<Claim>& claims,
                                                                       RegionTerm term,
                                                                       const std::string& region,
                                                                       const std::string& worker,
                                                                       WallTime now) {
  std::vector<ClaimOutcome> outcomes;
  outcomes.reserve(claims.size());
  auto transaction = SqliteTransaction::begin(*database_);
  if (!transaction) return transaction.error();
  const auto passed = pass_fence(term);
  if (!passed) return passed.error();
  if (!*passed) {
    outcomes.assign(claims.size(), ClaimOutcome::fenced);
    return outcomes;
  }
  for (const Claim& claim : claims) {
    const auto known = find_.bind(1, claim.key).step();
    if (!known) return known.error();
    ClaimOutcome outcome = ClaimOutcome::granted;
    if (*known && !same_content(find_.text(1), claim.digest)) {
      outcome = ClaimOutcome::conflict;
    } else if (*known && static_cast<EntryState>(find_.integer(3)) == EntryState::done) {
      outcome = ClaimOutcome::already_done;
    }
    // The first copy may have lost its UETR on the way; the next one's tells which payment it was.
    const bool names_payment = *known && outcome != ClaimOutcome::conflict &&
                               uetr_of(find_.text(1)).empty() && !uetr_of(claim.digest).empty();
    find_.reset();
    if (names_payment) {
      if (const auto named = name_payment_.bind(1, claim.key).bind(2, claim.digest).run(); !named)
        return named.error();
    }
    if (outcome == ClaimOutcome::granted) {
      const auto written = *known ? reclaim_.bind(1, claim.key)
                                        .bind(2, term.value)
                                        .bind(3, region)
                                        .bind(4, worker)
                                        .bind(5, now.ms)
                                        .run()
                                  : insert_.bind(1, claim.key)
                                        .bind(2, claim.digest)
                                        .bind(3, claim.ordering_key)
                                        .bind(4, term.value)
                                        .bind(5, region)
                                        .bind(6, worker)
                                        .bind(7, now.ms)
                                        .run();
      if (!written) return written.error();
    }
    outcomes.push_back(outcome);
  }
  if (const auto committed = transaction->commit(); !committed) return committed.error();
  return outcomes;
}

Result<std::vector<ClaimOutcome>, LedgerError> SqliteLedger::claim(const std::vector<Claim>& claims,
                                                                   RegionTerm term, const std::string& region,
                                                                   const std::string& worker, WallTime now) {
  return to_ledger(claim_all(claims, term, region, worker, now));
}

Result<bool, SqliteError> SqliteLedger::finish_all(const std::vector<Done>& entries, RegionTerm term,
                                                   WallTime now) {
  auto transaction = SqliteTransaction::begin(*database_);
  if (!transaction) return transaction.error();
  const auto passed = pass_fence(term);
  if (!passed) return passed.error();
  if (!*passed) return false;
  const auto order_row = read_order_.step();
  if (!order_row) return order_row.error();
  std::uint64_t order = *order_row ? read_order_.number(0) : 0;
  read_order_.reset();
  for (const Done& entry : entries) {
    const auto known = find_.bind(1, entry.key).step();
    if (!known) return known.error();
    const bool is_done = *known && static_cast<EntryState>(find_.integer(3)) == EntryState::done;
    find_.reset();
    if (!*known) {
      return SqliteError{"finishing " + entry.key + " in " + database_->path() +
                         ": it was never claimed there; is another ledger file configured than "
                         "the one it was claimed in?"};
    }
    if (is_done) continue;
    const auto written = finish_.bind(1, entry.key)
                             .bind(2, term.value)
                             .bind(3, entry.destination)
                             .bind(4, ++order)
                             .bind(5, now.ms)
                             .run();
    if (!written) return written.error();
  }
  if (const auto written = write_order_.bind(1, order).run(); !written) return written.error();
  if (const auto committed = transaction->commit(); !committed) return committed.error();
  return true;
}

Result<bool, LedgerError> SqliteLedger::done(const std::vector<Done>& entries, RegionTerm term,
                                             WallTime now) {
  return to_ledger(finish_all(entries, term, now));
}

Result<bool, SqliteError> SqliteLedger::park_one(const Claim& conflict, const std::string& kept_at,
                                                 RegionTerm term, WallTime now) {
  auto transaction = SqliteTransaction::begin(*database_);
  if (!transaction) return transaction.error();
  const auto passed = pass_fence(term);
  if (!passed) return passed.error();
  if (!*passed) return false;
  const auto written = park_.bind(1, conflict.key)
                           .bind(2, conflict.digest)
                           .bind(3, conflict.ordering_key)
                           .bind(4, kept_at)
                           .bind(5, term.value)
                           .bind(6, now.ms)
                           .run();
  if (!written) return written.error();
  if (const auto committed = transaction->commit(); !committed) return committed.error();
  return true;
}

Result<bool, LedgerError> SqliteLedger::park(const Claim& conflict, const std::string& kept_at,
                                             RegionTerm term, WallTime now) {
  return to_ledger(park_one(conflict, kept_at, term, now));
}

Result<std::optional<Entry>, LedgerError> SqliteLedger::find(std::string_view key) {
  const auto row = find_.bind(1, key).step();
  if (!row) return ledger_error(row.error());
  std::optional<Entry> found;
  if (*row) found = entry_of(find_);
  find_.reset();
  return found;
}

Result<void, LedgerError> SqliteLedger::for_each(EntryState state,
                                                 const std::function<void(const Entry&)>& each) {
  const std::string sql =
      state == EntryState::parked
          ? std::string(
                "SELECT key, digest, ordering_key, 3, term, '', '', kept_at, 0, 0, at, 0 FROM parked "
                "ORDER BY key, digest")
          : std::string("SELECT ") + entry_columns + " FROM entry WHERE state = ?1 ORDER BY " +
                (state == EntryState::done ? "done_order" : "key");
  auto statement = database_->prepare(sql.c_str());
  if (!statement) return ledger_error(statement.error());
  if (state != EntryState::parked) statement->bind(1, static_cast<std::int64_t>(state));
  while (true) {
    const auto row = statement->step();
    if (!row) return ledger_error(row.error());
    if (!*row) return {};
    each(entry_of(*statement));
  }
}

Result<std::uint64_t, LedgerError> SqliteLedger::count(EntryState state) {
  SqliteStatement& statement = state == EntryState::parked ? count_parked_ : count_;
  if (state != EntryState::parked) statement.bind(1, static_cast<std::int64_t>(state));
  const auto row = statement.step();
  if (!row) return ledger_error(row.error());
  const std::uint64_t counted = *row ? statement.number(0) : 0;
  statement.reset();
  return counted;
}

}  // namespace mainstay::ledger
