// What a drill leaves behind: figures, timeline and audit as one self-contained HTML page and as JSON.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "drills/audit.h"

namespace mainstay::drills {

/// The disaster-recovery contract and our own targets, in seconds.
struct RecoveryTargets {
  double rto_contract_s = 12 * 3600, rpo_contract_s = 4 * 3600;
  double rto_own_s = 60;
};

/// State at one moment; counts are totals since the start.
struct Sample {
  double at_s{};
  std::uint64_t entered{};
  std::uint64_t delivered{};
  std::optional<std::uint64_t> lag_records{};  ///< not known without a live broker or a standby
  std::optional<double> lag_s{};
};

enum class MarkKind : std::uint8_t { kill, promotion, replay, first_delivery, process_kill, other };

/// Something that happened, told in a few words; drawn into the timeline.
struct Mark {
  double at_s{};
  MarkKind kind = MarkKind::other;
  std::string text;
};

/// One line of the drill's log: what was done, what came of it.
struct Step {
  double at_s{};
  std::string text;
};

struct Environment {
  std::string cpu, memory, kernel, disk, version;
};
/// Of this machine. @param directory  whose file system is described.
[[nodiscard]] Environment describe_environment(const std::string& directory, const std::string& version);
[[nodiscard]] boost::json::object json_of(const Environment& environment);

/// One line of the result table, the same on the terminal and on the page.
struct ResultRow {
  std::string name, value, note;
  enum class Tone : std::uint8_t { plain, good, bad } tone = Tone::plain;
};

struct DrillReport {
  std::string drill;    ///< "region outage"
  std::string summary;  ///< one or two sentences: what was done to what
  std::string failure;  ///< why the drill did not come to its end; empty when it did
  AuditReport audit;
  std::vector<ResultRow> figures;   ///< of this drill alone
  std::vector<std::string> broken;  ///< promises found broken that no audit of messages can see
  bool region_lost = true;          ///< recovery was measured: archive, RPO and RTO say something
  std::uint64_t recovered_from_archive = 0;
  /// At the kill: records at the end of the dead region's log that the standby never got; and how old the
  /// oldest one was that the standby had not confirmed, as the lag meter told just before.
  std::optional<std::uint64_t> unreplicated_records;
  std::optional<double> unreplicated_s;
  std::optional<double> rto_s;  ///< kill to first delivery by the promoted region
  RecoveryTargets targets;

  std::uint64_t seed{};
  std::string command;  ///< to do the same again
  std::int64_t started_wall_ms{};
  double duration_s{};
  Environment environment;
  std::vector<Sample> samples;  ///< by time
  std::vector<Mark> marks;      ///< by time
  std::vector<Step> steps;      ///< by time

  [[nodiscard]] bool clean() const { return failure.empty() && audit.clean() && broken.empty(); }
};

[[nodiscard]] std::vector<ResultRow> result_rows(const DrillReport& report);

/// For a terminal: aligned, at most 100 columns but for long keys.
[[nodiscard]] std::string text_of(const DrillReport& report);
[[nodiscard]] std::string json_of(const DrillReport& report);
/// A page that needs nothing else: no network, no other file.
[[nodiscard]] std::string html_of(const DrillReport& report);

/// The timeline as inline SVG: rates in and out, replication lag, marks. Drawn with the page's CSS variables.
[[nodiscard]] std::string timeline_svg(const DrillReport& report);

}  // namespace mainstay::drills
