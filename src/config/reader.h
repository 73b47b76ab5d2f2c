// Typed reading of a configuration document. A table cursor remembers which keys were asked for, so what
// nobody asked for is found; problems are collected, so one run tells all of a file's.
//
// Threads: none; use from one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "config/document.h"
#include "config/endpoint.h"

namespace mainstay::config {

/// A key that a reader knows. `table` is "node" or, for a list of tables, "[queue]".
struct KeyInfo {
  std::string table, key;
  std::string allowed;   ///< type and range in words
  std::string fallback;  ///< default as it would be written; "required" or "none"
};

/// Problems of one file, and the keys its reader asked for.
class Report {
 public:
  explicit Report(std::string file) : file_(std::move(file)) {}
  void add(Place at, std::string what);
  [[nodiscard]] bool empty() const { return problems_.empty(); }
  /// Every problem, one line each, "file:line:column: what", in the order of the file.
  [[nodiscard]] Failure failure() const;
  [[nodiscard]] const std::vector<KeyInfo>& keys() const { return keys_; }
  void note_key(KeyInfo info) { keys_.push_back(std::move(info)); }

 private:
  struct Problem {
    Place at;
    std::string what;
  };
  std::string file_;
  std::vector<Problem> problems_;
  std::vector<KeyInfo> keys_;
};

/// A cursor over one table. Each getter gives the value, or the default after reporting what is wrong with
/// it. When the cursor goes, the keys nobody asked for are reported. Refers to the report and the document.
class TableReader {
 public:
  enum class Need : std::uint8_t { optional, required };

  /// @param node  nullptr: the table is absent; every getter gives its default.
  /// @param at    where to report a missing required key when the table is absent.
  TableReader(Report& report, const Node* node, std::string name, Place at);
  ~TableReader();
  TableReader(const TableReader&) = delete;
  TableReader& operator=(const TableReader&) = delete;

  [[nodiscard]] bool present() const { return node_ != nullptr; }
  [[nodiscard]] bool has(std::string_view key) const;
  /// Of the key, else of the table.
  [[nodiscard]] Place place(std::string_view key) const;
  [[nodiscard]] Place place() const { return at_; }
  /// Reports a problem of the key's value, for checks that a getter cannot make.
  void problem(std::string_view key, std::string what) { report_.add(place(key), std::move(what)); }

  std::string text(std::string_view key, Need need, std::string fallback = {});
  /// Never in any message.
  std::string secret(std::string_view key);
  std::string choice(std::string_view key, std::initializer_list<std::string_view> allowed,
                     std::string_view fallback);
  bool flag(std::string_view key, bool fallback);
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max, std::int64_t fallback);
  /// Bytes: an integer, or text such as "64MiB" (KiB, MiB, GiB).
  std::uint64_t size(std::string_view key, std::uint64_t min, std::uint64_t max, std::uint64_t fallback);
  std::optional<Endpoint> endpoint(std::string_view key, Need need = Need::optional,
                                   std::string_view fallback = {});
  /// @param items_min  fewer is a problem.
  std::vector<Endpoint> endpoints(std::string_view key, std::size_t items_min);
  std::optional<Uuid> uuid(std::string_view key);

  /// Sub-table; absent is fine.
  TableReader table(std::string_view key);
  /// [[key]]: calls `each` once per table, in order. When this table is absent, as it is while keys are being
  /// listed: once, with an absent table, to learn its keys.
  void each_table(std::string_view key, const std::function<void(TableReader&)>& each);

 private:
  const Entry* ask(std::string_view key, std::string allowed, std::string fallback);
  void wrong(const Entry& entry, std::string_view allowed, bool secret = false);
  [[nodiscard]] std::string full(std::string_view key) const;
  /// The name of a table in this one.
  [[nodiscard]] std::string inner(std::string_view key) const;

  Report& report_;
  const Node* node_;
  std::string name_;
  Place at_;
  std::vector<std::string> known_;
};

/// "64MiB" → 67108864. Nothing when it is not a size or does not fit in 63 bits.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);
[[nodiscard]] std::string size_text(std::uint64_t bytes);
[[nodiscard]] std::optional<Endpoint> parse_endpoint(std::string_view text);
/// The candidate that a slip of the fingers away gives `word`; empty when none is near.
[[nodiscard]] std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace mainstay::config
