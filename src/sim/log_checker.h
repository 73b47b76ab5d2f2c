// The logs: what was durable stays; a standby's log is a byte-equal prefix of the live one's; equal LSN in
// one history means equal state; what a standby acknowledged is on its disk whatever happens.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "journal/record.h"
#include "sim/publish_checker.h"
#include "sim/report.h"

namespace mainstay::sim {

class LogChecker {
 public:
  LogChecker(Report& report, PublishChecker& publishes) : report_(report), publishes_(publishes) {}
  /// These records became durable at `node`, after the ones before.
  void durable(const std::string& node, BytesView raw);
  /// `node` has state hash `hash` with exactly the log up to `at` applied.
  void state(const std::string& node, journal::LogPosition at, std::uint64_t hash);
  /// `node` restarted and its log ends here. Everything that had become durable must be there; a record that
  /// was only written may be.
  void recovered(const std::string& node, journal::LogPosition end);
  /// LSN up to which this checker has seen `node`'s log.
  [[nodiscard]] Lsn known(const std::string& node) { return Lsn{logs_[node].size()}; }
  /// `node` said on the wire that it has everything up to here durable.
  void acknowledged(const std::string& node, journal::LogPosition durable);
  /// `node` showed something that rests on the record at `lsn`.
  void shown(const std::string& node, Lsn lsn);
  /// `node` confirmed the record at `lsn` as durable in both regions.
  void shown_globally(const std::string& node, Lsn lsn);
  /// At the end: `follower` follows `live`.
  void same_history(const std::string& live, const std::string& follower);
  [[nodiscard]] std::uint64_t digest() const;

 private:
  struct Entry {
    std::uint64_t checksum;
    std::uint64_t content;  ///< of the raw bytes, padding included
  };
  Report& report_;
  PublishChecker& publishes_;                       ///< is told of forks: they are what the log says
  std::map<std::string, std::vector<Entry>> logs_;  ///< index = LSN − 1
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::pair<std::string, std::uint64_t>> states_;
};

}  // namespace mainstay::sim
