// `mainstay drill soak`: one broker with small limits under every kind of load at once, killed every few
// seconds, until the time is up; then everything is drained and the audit (soak_audit.h) says what became of
// every message.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drills/report.h"
#include "drills/soak_audit.h"

namespace mainstay::drills {

struct SoakOptions {
  double minutes = 20;  ///< of load, without drain and audit
  std::uint64_t seed =
      1;  ///< choices of clients and kills; threads and the disk keep a run from repeating exactly
  double rate_per_s = 400;   ///< messages a second, all queues together
  double kill_every_s = 10;  ///< on average
  /// The load ends with this kill's restart, when that comes before the time is up; 0: it lasts the time.
  std::uint64_t kills = 0;
  std::string report = ".";  ///< a directory is made in it
  /// A kill also takes what the broker had not synced, each time another share of it (lab/faulty_disk.h).
  bool power_loss = false;
  bool lying_disk = false;  ///< with power_loss: syncs do nothing. Not to be survived: the audit must say so
  bool keep = false;        ///< the history and the data of a clean run too
  bool json = false;
  std::string program;  ///< the mainstay binary
  std::string version;
};

/// Beside the messages: what the soak did and what it measured.
struct SoakReport {
  std::uint64_t seed{};
  std::string directory;
  double load_s{}, duration_s{};
  std::uint64_t kills{}, stops{};                            ///< SIGKILL, SIGTERM, each with a restart
  std::uint64_t power_losses{}, bytes_lost{}, names_lost{};  ///< taken back from the disk after kills
  double restart_max_s{};                                    ///< start to ready
  std::uint64_t messages{}, connections_lost{}, vanished{}, silent{}, slow{}, publishes_unknown{},
      duplicates_sent{}, deferred{}, received_by_number{};
  std::uint64_t rss_peak_bytes{}, rss_limit_bytes{};
  bool rss_judged = true;  ///< not in builds with a sanitizer, whose memory says nothing
  std::uint64_t disk_peak_bytes{}, disk_limit_bytes{};
  std::uint64_t depth_peak{};  ///< messages in all queues at once
  bool verified = false;       ///< `mainstay verify` found the journal whole
  std::string failure;         ///< the soak could not be run to its end
  SoakAudit audit;
  Environment environment;
  [[nodiscard]] bool clean() const { return failure.empty() && audit.clean(); }
};

/// A table for people, and every finding with the history of its message.
[[nodiscard]] std::string text_of(const SoakReport& report);
[[nodiscard]] std::string json_of(const SoakReport& report);

/// Runs, prints, and keeps the evidence when something was found. Call it from the main thread.
/// @return exit status: 0 clean, 1 a promise broken, 2 the soak could not be run.
int run_soak(const SoakOptions& options);

/// Judges the history in a directory again: facts-*.tsv of an earlier run.
/// @return exit status: 0 clean, 1 a promise broken, 2 it cannot be read.
int run_soak_audit(const std::string& directory, bool json);

}  // namespace mainstay::drills
