// After a forced promotion: what the lost region had archived and the promoted region does not have is sent
// in, in order per ordering key, with the same ids, before producers are let in again. So nothing is lost
// although replication between regions is asynchronous.
#pragma once

#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "coordination/gate.h"
#include "ledger/ledger.h"
#include "pipeline/archive.h"
#include "pipeline/config.h"
#include "pipeline/log.h"
#include "pipeline/message_sender.h"

namespace mainstay::pipeline {

/// Which message ids the promoted region's queue has or had (within its duplicate-detection window).
class KnownMessages {
 public:
  virtual ~KnownMessages() = default;
  /// @return for each id, whether the broker knows it.
  [[nodiscard]] virtual Result<std::vector<bool>, Failure> known(std::span<const std::string> ids) = 0;
};

struct ReplayReport {
  RegionTerm term;                   ///< of the promotion
  std::uint64_t archived = 0;        ///< messages of earlier terms in the archive
  std::uint64_t done = 0;            ///< of them, finished according to the ledger
  std::uint64_t known = 0;           ///< not finished, but the broker has them
  std::uint64_t recovered = 0;       ///< neither: sent, and accepted by the broker
  std::uint64_t conflicts = 0;       ///< the ledger has other content under the key: left to a person
  std::uint64_t resent_unknown = 0;  ///< sent because the broker could not be asked; it removes those it has
  std::vector<std::string> recovered_ids;  ///< in the order they were sent in
};

struct ReplayParts {
  Archive& archive;
  ledger::Ledger& ledger;
  KnownMessages& broker;
  MessageSender& sender;
  coordination::Gate& gate;
  Clock& clock;
  Random& random;
  Log log;
};

/// Sends every archived message of an earlier term that is neither done in the ledger nor known to the
/// broker, marked as replayed; at most one per ordering key on its way. Asks the gate (Step::replay)
/// throughout. It may be killed and run again.
/// @param stop  set: ends with an error at the next step.
/// @return an error when the gate closes, archive or ledger fail, the broker refuses a message for good, or
/// nothing moves for give_up_after; running it again continues.
Result<ReplayReport, Failure> replay_missing(const ArchiveReplayConfig& config, ReplayParts parts,
                                             const std::atomic<bool>& stop);

/// Opens everything the configuration names and replays. `known` comes from the caller: the broker answers it
/// over its control listener.
Result<ReplayReport, Failure> run_archive_replay(const ArchiveReplayConfig& config,
                                                 coordination::Register& region_register,
                                                 KnownMessages& known, const std::atomic<bool>& stop,
                                                 Clock& clock, Random& random, const Log& log);

}  // namespace mainstay::pipeline
