// The embedded ledger: one SQLite file shared by the processes of a machine.
#pragma once

#include <memory>

#include "ledger/ledger.h"
#include "ledger/sqlite_database.h"

namespace mainstay::ledger {

/// Every claim(), done() and park() is one transaction, synced before it returns (WAL, synchronous=FULL).
/// Writers of several processes take turns; one that waits longer than the busy time-out gets an error that
/// says so. `done_order` is dense over all processes: 1, 2, 3, … in the order of the done() transactions and
/// of the entries in them. One thread per instance.
class SqliteLedger final : public Ledger {
 public:
  /// Opens or creates the file. Its directory must exist. A file of a newer format is refused.
  static Result<std::unique_ptr<SqliteLedger>, LedgerError> open(const std::string& path,
                                                                 int busy_timeout_ms = 20'000);

  Result<std::vector<ClaimOutcome>, LedgerError> claim(const std::vector<Claim>& claims, RegionTerm term,
                                                       const std::string& region, const std::string& worker,
                                                       WallTime now) override;
  /// A key that was never claimed is an error and nothing is written; one that is done already keeps its
  /// place in the order.
  Result<bool, LedgerError> done(const std::vector<Done>& entries, RegionTerm term, WallTime now) override;
  Result<bool, LedgerError> park(const Claim& conflict, const std::string& kept_at, RegionTerm term,
                                 WallTime now) override;
  Result<std::optional<Entry>, LedgerError> find(std::string_view key) override;
  /// For `parked`, an entry per parked content: its `destination` says where the bytes were put. The callback
  /// must not call this ledger.
  Result<void, LedgerError> for_each(EntryState state,
                                     const std::function<void(const Entry&)>& each) override;
  Result<std::uint64_t, LedgerError> count(EntryState state) override;

 private:
  explicit SqliteLedger(std::unique_ptr<SqliteDatabase> database) : database_(std::move(database)) {}
  Result<void, SqliteError> prepare();
  /// Reads the fence inside the transaction and raises it to `term`. @return false when `term` is fenced.
  Result<bool, SqliteError> pass_fence(RegionTerm term);
  Result<std::vector<ClaimOutcome>, SqliteError> claim_all(const std::vector<Claim>& claims, RegionTerm term,
                                                           const std::string& region,
                                                           const std::string& worker, WallTime now);
  Result<bool, SqliteError> finish_all(const std::vector<Done>& entries, RegionTerm term, WallTime now);
  Result<bool, SqliteError> park_one(const Claim& conflict, const std::string& kept_at, RegionTerm term,
                                     WallTime now);

  std::unique_ptr<SqliteDatabase> database_;
  SqliteStatement read_fence_, write_fence_, find_, insert_, reclaim_, name_payment_, read_order_,
      write_order_, finish_, park_, count_, count_parked_;
};

}  // namespace mainstay::ledger
