// Processor: brings each message of a queue to the destination once, in order per session, whatever is
// delivered twice or killed on the way.
//
// A batch: gate → ledger claim → gate → destination (idempotent) → gate → ledger done → complete. What is
// done already is only completed; a conflict is parked and counted, never dropped; a message that is no
// payment of ours goes to the dead-letter queue with the reason. When a message of a session fails, it and
// the later ones of that session go back, in order.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>

#include "base/random.h"
#include "coordination/gate.h"
#include "ledger/ledger.h"
#include "pipeline/config.h"
#include "pipeline/destination.h"
#include "pipeline/log.h"
#include "pipeline/session_source.h"

namespace mainstay::pipeline {

struct ProcessorCounters {
  std::uint64_t received = 0;
  std::uint64_t delivered = 0;     ///< written to the destination and marked done
  std::uint64_t already_done = 0;  ///< second deliveries without effect
  std::uint64_t conflicts = 0;     ///< parked
  std::uint64_t dead_lettered = 0;
  std::uint64_t failed = 0;      ///< the destination, ledger or parking place refused; tried again
  std::uint64_t given_back = 0;  ///< released or abandoned
  std::uint64_t fenced = 0;      ///< times the ledger found this term overtaken
  std::uint64_t gate_closed = 0;
};

/// Keeps the bytes of conflicts for a person to look at.
class Parking {
 public:
  virtual ~Parking() = default;
  /// @return where they are. The same message twice is kept once.
  [[nodiscard]] virtual Result<std::string, Failure> keep(const std::string& idempotency_key,
                                                          const std::string& content_digest,
                                                          BytesView payment) = 0;
};

/// A folder: the payment as a file and `.reason.json` beside it.
class FolderParking final : public Parking {
 public:
  explicit FolderParking(std::string directory) : directory_(std::move(directory)) {}
  Result<std::string, Failure> keep(const std::string& idempotency_key, const std::string& content_digest,
                                    BytesView payment) override;

 private:
  std::string directory_;
};

/// One thread. Holds nothing that a crash could lose.
class Processor {
 public:
  struct Parts {
    coordination::Gate& gate;
    ledger::Ledger& ledger;
    Destination& destination;
    Parking& parking;
    SessionSource& source;
    Clock& clock;
    Log log;
  };
  Processor(const ProcessorConfig& config, Parts parts) : config_(config), parts_(std::move(parts)) {}

  enum class Step : std::uint8_t {
    worked,  ///< call again at once
    idle,    ///< no messages
    failed,  ///< destination, ledger or parking failed: wait before the next step; why() says what
    closed,  ///< the gate is closed or a newer term has written: everything was given back
  };
  Step step(Duration wait);

  [[nodiscard]] const ProcessorCounters& counters() const { return counters_; }
  [[nodiscard]] const std::string& why() const { return why_; }
  [[nodiscard]] RegionTerm term() const { return term_; }

  /// For tests: called between the steps, by name.
  std::function<void(std::string_view)> probe = [](std::string_view) {};

 private:
  class Batch;
  bool gate_open();

  const ProcessorConfig& config_;
  Parts parts_;
  ProcessorCounters counters_;
  RegionTerm term_;
  std::string why_;
};

/// Processes until `stop`. Only set-up that cannot become right by waiting is an error.
Result<void, Failure> run_processor(const ProcessorConfig& config, coordination::Register& region_register,
                                    const std::atomic<bool>& stop, Clock& clock, Random& random,
                                    const Log& log);

}  // namespace mainstay::pipeline
