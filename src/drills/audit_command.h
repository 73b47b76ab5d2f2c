// `mainstay audit`: gathers the three sources from files and directories, audits, prints.
#pragma once

#include <cstdio>
#include <string>

#include "base/result.h"
#include "drills/audit.h"

namespace mainstay::drills {

struct AuditOptions {
  std::string ingest;               ///< ingest record (TSV)
  std::string ledger;               ///< the ledger's SQLite file
  std::string destination;          ///< directory
  std::string arrivals;             ///< the witness's record; empty: the ledger's order is judged
  std::vector<std::string> parked;  ///< directories with conflicting messages
  std::string quarantine;           ///< directory with the malformed messages; empty: not checked
  bool json = false;
};

/// Exit status: 0 clean, 1 not clean, 2 a source could not be read (said on standard error).
int run_audit_command(const AuditOptions& options);

/// Reads the sources `options` names. The ledger is only read, never created.
[[nodiscard]] Result<AuditSources, Failure> gather(const AuditOptions& options);

/// digest128 of every file below `directory`, sorted.
[[nodiscard]] Result<std::vector<std::string>, Failure> list_parked(const std::string& directory);

/// digest128 of every file below `directory` as a whole and of every invalid message in it, sorted. Reasons
/// kept beside the messages are among them and match nothing.
[[nodiscard]] Result<std::vector<std::string>, Failure> list_quarantine(const std::string& directory);

/// A table for people: counts, verdict, and up to `findings_max` findings of each kind.
[[nodiscard]] std::string text_of(const AuditReport& report, std::size_t findings_max = 10);
/// The findings alone, by kind, each kind after an empty line; empty when there are none.
[[nodiscard]] std::string findings_of(const AuditReport& report, std::size_t findings_max = 10);
/// Everything, as one JSON object.
[[nodiscard]] std::string json_of(const AuditReport& report);

}  // namespace mainstay::drills
