// What a benchmark found, in one form for people, scripts, the report and the verdict of `bench all`.
//
// Each benchmark fills one Record. `--json FILE` writes it; `bench all` gathers the records, prints the table
// of targets and keeps it in docs/performance.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mainstay::bench {

/// Runs of one measurement, in the order in which they were made.
struct Samples {
  std::vector<double> values;
  [[nodiscard]] double median() const;
  [[nodiscard]] double low() const;   ///< smallest
  [[nodiscard]] double high() const;  ///< largest
};

enum class Verdict : std::uint8_t { reached, missed, only_shown };  ///< only_shown: no target

/// One row. `id` is stable ("publish.rate", "peers.publish.over_rabbitmq"): scripts and docs name it.
struct Figure {
  std::string id;
  std::string what;  ///< for a person: "publish with confirm, 1 KiB, saturated"
  std::string unit;  ///< "messages/s", "µs", "ratio", "MiB", …
  Samples samples;
  /// Reached when the median is at least / at most this.
  std::optional<double> at_least, at_most;
  std::string note;  ///< what limits or qualifies the figure ("does not sync before it confirms")
  [[nodiscard]] Verdict verdict() const;
};

struct Record {
  std::string benchmark;    ///< "publish"
  std::string command;      ///< that repeats it
  std::string environment;  ///< commit, CPU, kernel, disk, versions
  std::vector<Figure> figures;
};

/// An aligned table: what, median, spread, target, verdict.
[[nodiscard]] std::string table(const std::vector<Record>& records);
[[nodiscard]] std::string to_json(const std::vector<Record>& records);
/// Nothing when the text is not such a file.
[[nodiscard]] std::optional<std::vector<Record>> from_json(const std::string& text);
/// 0 when no figure missed its target, else 1.
[[nodiscard]] int exit_status(const std::vector<Record>& records);

}  // namespace mainstay::bench
