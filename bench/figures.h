// What a benchmark found, in one form for people, scripts, the report and the verdict of `bench all`.
//
// Each benchmark fills one Record. `--json FILE` writes it; `bench all` gathers the records, prints the table
// of targets and keeps it in docs/performance.md. The file is {"format": "mainstay-bench-1", "records":
// […]}, its keys named like the members below; what has no value is left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mainstay::bench {

/// Runs of one measurement, in the order in which they were made. All three are 0 when there is none.
struct Samples {
  std::vector<double> values;
  [[nodiscard]] double median() const;  ///< of an even number: the mean of the two in the middle
  [[nodiscard]] double low() const;     ///< smallest
  [[nodiscard]] double high() const;    ///< largest
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
  /// With a target and no samples, or with one that is not a finite number: missed.
  [[nodiscard]] Verdict verdict() const;
};

struct Record {
  std::string benchmark;    ///< "publish"
  std::string command;      ///< that repeats it
  std::string environment;  ///< commit, CPU, kernel, disk, versions
  std::vector<Figure> figures;
  /// Why figures are missing: what failed and its reason ("NATS JetStream: its Debian package is not
  /// installed"). Empty: the record is whole.
  std::string trouble = {};
};

/// An aligned table: what, median, spread, target, verdict. Notes follow as footnotes, then what is not whole
/// and why.
[[nodiscard]] std::string table(const std::vector<Record>& records);
[[nodiscard]] std::string to_json(const std::vector<Record>& records);
/// Nothing when the text is not such a file.
[[nodiscard]] std::optional<std::vector<Record>> from_json(const std::string& text);
/// 2 when a record is not whole, else 1 when a figure missed its target, else 0.
[[nodiscard]] int exit_status(const std::vector<Record>& records);

// For those who print figures in another shape:

/// Three significant digits at least, thousands grouped: "1,234,567", "87.3", "0.0123".
[[nodiscard]] std::string readable(double number);
/// "≥ 0.85", "≤ 64", "≥ 2, ≤ 3"; empty without a target.
[[nodiscard]] std::string target_text(const Figure& figure);
[[nodiscard]] std::string verdict_text(Verdict verdict);  ///< "reached", "MISSED", ""
/// The first figure with this id in any record; null when there is none.
[[nodiscard]] const Figure* find_figure(const std::vector<Record>& records, const std::string& id);

}  // namespace mainstay::bench
