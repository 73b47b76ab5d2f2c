// QueueBuilder: takes payments from a source and brings each to the queue with a stable id, in order per
// ordering key, whatever is killed or cut on the way.
//
// A message's way: claimed file → read and identified → ingest record → spool → archive → sent → accepted.
// Each arrow is durable before the next step begins. A file is finished only when every item of it is with
// the broker, in quarantine or parked. The gate is asked before each step.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string_view>

#include "client/backoff.h"
#include "coordination/gate.h"
#include "payments/message.h"
#include "pipeline/archive.h"
#include "pipeline/config.h"
#include "pipeline/folder_source.h"
#include "pipeline/log.h"
#include "pipeline/message_sender.h"
#include "pipeline/ordered_window.h"
#include "pipeline/spool.h"

namespace mainstay::pipeline {

struct QueueBuilderCounters {
  std::uint64_t files_claimed = 0, files_taken_over = 0, files_done = 0;
  std::uint64_t ingested = 0;     ///< messages taken, duplicates included, those of an earlier run not
  std::uint64_t duplicates = 0;   ///< of them, the same message again (sent too: the broker removes it)
  std::uint64_t quarantined = 0;  ///< no valid payment, or refused by the broker for good
  std::uint64_t parked = 0;       ///< conflicts
  std::uint64_t archived = 0;     ///< handed to the archive
  std::uint64_t sent = 0, acked = 0;
  std::uint64_t retries = 0;      ///< outcomes that made a message be sent again
  std::uint64_t gate_closed = 0;  ///< times the gate was found closed
  std::uint64_t pending = 0;      ///< taken and not yet with the broker, now
};

/// The builder of one region in one term. One thread. Killed at any instant, a new one goes on where it was.
class QueueBuilder {
 public:
  struct Parts {
    coordination::Gate& gate;
    FolderSource& source;
    Spool& spool;
    Archive& archive;
    MessageSender& sender;
    Clock& clock;
    Random& random;
    Log log;
  };
  /// @param term  the builder's; every step checks that the gate still names it.
  QueueBuilder(const QueueBuilderConfig& config, RegionTerm term, Parts parts);

  enum class Step : std::uint8_t {
    worked,  ///< call again at once
    idle,    ///< nothing to do but wait
    closed,  ///< the gate is closed or names another term: this builder is over
  };
  /// One round: outcomes, then new items, then sends. @param wait  for the network, when there is nothing
  /// else to do. @return an error when source, spool or archive failed; it may be called again later.
  Result<Step, Failure> step(Duration wait);

  /// All files taken are finished and nothing is pending.
  [[nodiscard]] bool at_rest() const { return files_.empty() && window_.size() == 0; }
  [[nodiscard]] const QueueBuilderCounters& counters() const { return counters_; }
  [[nodiscard]] const std::string& why_closed() const { return why_closed_; }

  /// For tests: called between the steps of a message's way, by name.
  std::function<void(std::string_view)> probe = [](std::string_view) {};

 private:
  struct Working {
    ClaimedFile file;
    Buffer bytes;                             ///< until every item has been taken
    std::vector<payments::Message> messages;  ///< point into `bytes`
    std::size_t next = 0;                     ///< first message not yet taken
    bool read = false;
    bool taken_over = false;
    std::size_t pending = 0;  ///< taken and not yet with the broker
  };
  struct Pending {
    std::string file;
    std::uint32_t item = 0;
    unsigned failures = 0;
  };

  bool gate_open();
  Result<void, Failure> start();
  Result<bool, Failure> take_some();
  Result<void, Failure> take_batch(Working& file);
  Result<bool, Failure> handle_outcomes(Duration wait);
  bool send_some();
  void add_pending(const SpoolEntry& entry);
  Result<void, Failure> settle(std::uint64_t position);
  Result<void, Failure> refuse(std::uint64_t position, const client::ClientError& error);
  Result<bool, Failure> finish_files();

  const QueueBuilderConfig& config_;
  const RegionTerm term_;
  Parts parts_;
  bool started_ = false;
  OrderedWindow window_;
  std::map<std::uint64_t, Pending> pending_;  ///< by spool position
  std::map<std::string, Working> files_;      ///< by name
  std::deque<std::string> order_;             ///< names in the order they are read
  /// Items recovered from the spool and not acknowledged: they are not taken again when their file is read.
  std::set<std::tuple<std::string, std::uint32_t, std::string>> recovered_;
  std::deque<client::SendOutcome> outcomes_;
  QueueBuilderCounters counters_;
  std::string why_closed_;
};

/// Runs builders, one per term this region is active in, until `stop`. Only what cannot become right by
/// waiting (a register that cannot be opened, no endpoints, credentials that brokers refuse) is an error;
/// everything else is logged and tried again.
Result<void, Failure> run_queue_builder(const QueueBuilderConfig& config,
                                        coordination::Register& region_register,
                                        const std::atomic<bool>& stop, Clock& clock, Random& random,
                                        const Log& log);

}  // namespace mainstay::pipeline
