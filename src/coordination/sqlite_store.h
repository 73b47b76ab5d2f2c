// The embedded store: a SQLite file shared by the processes of one machine. Each change is one synced
// transaction. One file holds the records of any number of groups.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "coordination/store.h"

struct sqlite3;

namespace mainstay::coordination {

/// Thread-safe (one call at a time). Any number of processes may use the file. A call waits at most
/// kBusyWaitMs for other processes, then it is an error and nothing was written.
///
/// Always the file that is at the path now: one that was removed or replaced is opened anew, not created
/// again.
///
/// Do not keep one across fork(): SQLite's file locks belong to the process.
class SqliteStore final : public Store {
 public:
  static constexpr int kBusyWaitMs = 2000;

  /// Opens or creates the file; the directory must exist.
  /// @param path   of the file; network file systems whose locks lie are not supported
  /// @param group  name of the group whose record this is; not empty
  [[nodiscard]] static Result<std::unique_ptr<SqliteStore>, RegisterError> open(const std::string& path,
                                                                                const std::string& group);
  ~SqliteStore() override;
  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;

  [[nodiscard]] Result<Stored, RegisterError> read() override;
  /// An error when it certainly did not happen; `unknown` when the commit itself failed.
  [[nodiscard]] Result<StoreSwap, RegisterError> compare_and_swap(std::uint64_t expected_revision,
                                                                  const std::string& value,
                                                                  const Rule& rule) override;

 private:
  SqliteStore(std::string path, std::string group) : path_(std::move(path)), group_(std::move(group)) {}
  [[nodiscard]] Result<void, RegisterError> open_file(int more_flags);
  /// A file that was moved, removed or replaced is not the register any more, although an open handle still
  /// works on it: two processes would have two registers.
  [[nodiscard]] Result<void, RegisterError> follow_path();
  [[nodiscard]] Result<void, RegisterError> prepare_schema();
  [[nodiscard]] Result<void, RegisterError> convert_format_1();
  [[nodiscard]] Result<Stored, RegisterError> load();
  [[nodiscard]] Result<void, RegisterError> store(const std::string& group, const Stored& record);
  [[nodiscard]] Result<void, RegisterError> run(const char* sql);
  [[nodiscard]] Result<std::int64_t, RegisterError> number(const char* sql);
  [[nodiscard]] RegisterError problem(const char* doing) const;

  std::mutex mutex_;  ///< guards database_
  sqlite3* database_ = nullptr;
  bool usable_ = true;  ///< false: the file at the path could not be opened when it was last tried
  std::string path_;
  std::string group_;
};

}  // namespace mainstay::coordination
