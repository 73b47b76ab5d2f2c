// The loop around Processor.
#include <optional>

#include "client/backoff.h"
#include "coordination/register.h"
#include "ledger/sqlite_ledger.h"
#include "pipeline/folder_destination.h"
#include "pipeline/processor.h"
#include "pipeline/queue_sender.h"
#include "pipeline/queue_sessions.h"
#include "pipeline/status.h"

namespace mainstay::pipeline {

namespace {

Status status_of(const ProcessorConfig& config, const Processor& processor, const QueueSessions& sessions,
                 const char* state, const std::string& why) {
  const ProcessorCounters& counters = processor.counters();
  return {"processor",
          config.region,
          config.worker,
          state,
          why,
          processor.term().value,
          {{"received", counters.received},
           {"delivered", counters.delivered},
           {"already_done", counters.already_done},
           {"conflicts", counters.conflicts},
           {"dead_lettered", counters.dead_lettered},
           {"failed", counters.failed},
           {"given_back", counters.given_back},
           {"fenced", counters.fenced},
           {"gate_closed", counters.gate_closed},
           {"unconfirmed", sessions.unconfirmed()},
           {"reconnects", sessions.reconnects()}}};
}

}  // namespace

Result<void, Failure> run_processor(const ProcessorConfig& config, coordination::Register& region_register,
                                    const std::atomic<bool>& stop, Clock& clock, Random& random,
                                    const Log& log) {
  if (config.broker.endpoints.empty()) return Failure{"the processor has no endpoint to receive from"};
  auto ledger = ledger::SqliteLedger::open(config.ledger_path);
  if (!ledger) return Failure{ledger.error().what};
  auto destination = FolderDestination::open(config.destination_dir, config.worker);
  if (!destination) return destination.error();
  coordination::Gate gate(region_register, config.region);
  FolderParking parking(config.parked_dir);
  QueueSessions sessions(config.broker.client_options(config.region + "-" + config.worker),
                         config.broker.reconnect, config.broker.queue,
                         {config.sessions_max, config.session_batch, config.session_timeout}, clock, random,
                         log);
  Processor processor(config, {gate, **ledger, **destination, parking, sessions, clock, log});
  StatusFile status(config.status_file, config.status_interval);
  client::Backoff trouble(random, {milliseconds(50), seconds(5)});
  std::string told;
  while (!stop) {
    const Processor::Step step = processor.step(milliseconds(50));
    if (step == Processor::Step::closed) {
      if (processor.why() != told)
        log(Level::info, "processor " + config.worker + " waits: " + processor.why());
      told = processor.why();
      if (status.due(clock.now()))
        status.write(status_of(config, processor, sessions, "waiting", told), clock);
      pause(config.gate_interval);
      continue;
    }
    if (!told.empty()) {
      log(Level::info, "processor " + config.worker + " works in region " + config.region + ", term " +
                           std::to_string(processor.term().value));
      told.clear();
    }
    if (step == Processor::Step::failed) {
      const Duration wait = trouble.next();
      if ((trouble.tries() & (trouble.tries() - 1)) == 0) {
        log(Level::error, "processor " + config.worker + ": " + processor.why() + " (trying again)");
      }
      status.write(status_of(config, processor, sessions, "waiting", processor.why()), clock);
      sessions.let_go();
      for (const Instant until = clock.now() + wait; !stop && clock.now() < until;) pause(milliseconds(20));
      continue;
    }
    if (step == Processor::Step::worked) trouble.reset();
    if (sessions.over()) {
      const std::string why = "receiving from queue " + config.broker.queue + ": " +
                              sessions.over()->condition + ": " + sessions.over()->description;
      status.write(status_of(config, processor, sessions, "stopped", why), clock);
      return Failure{why};
    }
    if (status.due(clock.now())) status.write(status_of(config, processor, sessions, "running", ""), clock);
  }
  sessions.let_go();
  status.write(status_of(config, processor, sessions, "stopped", ""), clock);
  return {};
}

}  // namespace mainstay::pipeline
