// The loop around QueueBuilder: one builder per term, waiting while the gate is closed.
#include <optional>

#include "coordination/register.h"
#include "pipeline/queue_builder.h"
#include "pipeline/queue_sender.h"
#include "pipeline/status.h"

namespace mainstay::pipeline {

namespace {

void add(QueueBuilderCounters& to, const QueueBuilderCounters& more) {
  to.files_claimed += more.files_claimed;
  to.files_taken_over += more.files_taken_over;
  to.files_done += more.files_done;
  to.ingested += more.ingested;
  to.duplicates += more.duplicates;
  to.quarantined += more.quarantined;
  to.parked += more.parked;
  to.archived += more.archived;
  to.sent += more.sent;
  to.acked += more.acked;
  to.retries += more.retries;
  to.gate_closed += more.gate_closed;
  to.pending = more.pending;
}

Status status_of(const QueueBuilderConfig& config, const QueueBuilderCounters& counters, RegionTerm term,
                 const char* state, const std::string& why) {
  return {"queue-builder",
          config.region,
          config.worker,
          state,
          why,
          term.value,
          {{"files_claimed", counters.files_claimed},
           {"files_taken_over", counters.files_taken_over},
           {"files_done", counters.files_done},
           {"ingested", counters.ingested},
           {"duplicates", counters.duplicates},
           {"quarantined", counters.quarantined},
           {"parked", counters.parked},
           {"archived", counters.archived},
           {"sent", counters.sent},
           {"acked", counters.acked},
           {"retries", counters.retries},
           {"gate_closed", counters.gate_closed},
           {"pending", counters.pending}}};
}

/// Everything a builder of one term holds open, in the order it is taken down.
struct Term {
  RegionTerm term;
  std::unique_ptr<FolderSource> source;
  std::unique_ptr<Spool> spool;
  std::unique_ptr<Archive> archive;
  std::unique_ptr<QueueSender> sender;
  std::unique_ptr<QueueBuilder> builder;
};

Result<Term, Failure> begin(const QueueBuilderConfig& config, RegionTerm term, coordination::Gate& gate,
                            Clock& clock, Random& random, const Log& log) {
  Term made;
  made.term = term;
  auto source = FolderSource::open(config.source_dir, config.worker, term);
  if (!source) return source.error();
  made.source = std::move(*source);
  auto spool = Spool::open(config.spool_dir, term, log, {});
  if (!spool) return spool.error();
  made.spool = std::move(*spool);
  auto archive = Archive::open(config.archive_dir, config.worker);
  if (!archive) return archive.error();
  made.archive = std::move(*archive);
  made.sender =
      std::make_unique<QueueSender>(config.broker.client_options(config.region + "-" + config.worker),
                                    config.broker.reconnect, config.broker.queue, clock, random, log);
  made.builder = std::make_unique<QueueBuilder>(
      config, term,
      QueueBuilder::Parts{gate, *made.source, *made.spool, *made.archive, *made.sender, clock, random, log});
  return made;
}

}  // namespace

Result<void, Failure> run_queue_builder(const QueueBuilderConfig& config,
                                        coordination::Register& region_register,
                                        const std::atomic<bool>& stop, Clock& clock, Random& random,
                                        const Log& log) {
  if (config.broker.endpoints.empty()) return Failure{"the queue builder has no endpoint to send to"};
  coordination::Gate gate(region_register, config.region);
  StatusFile status(config.status_file, config.status_interval);
  client::Backoff trouble(random, {milliseconds(100), seconds(5)});
  QueueBuilderCounters before;
  std::optional<Term> now;
  std::string told;
  const auto write = [&](const char* state, const std::string& why) {
    QueueBuilderCounters sum = before;
    if (now) add(sum, now->builder->counters());
    status.write(status_of(config, sum, now ? now->term : RegionTerm{}, state, why), clock);
  };
  const auto over = [&] {
    if (now) add(before, now->builder->counters());
    before.pending = 0;
    now.reset();
  };
  while (!stop) {
    std::string closed;
    std::string failed;
    if (!now) {
      const coordination::GateAnswer answer = gate.ask(coordination::Step::produce);
      if (!answer.open) {
        ++before.gate_closed;
        closed = answer.why;
      } else {
        auto begun = begin(config, answer.term, gate, clock, random, log);
        if (begun) {
          now.emplace(std::move(*begun));
          log(Level::info, "queue builder " + config.worker + " works in region " + config.region +
                               ", term " + std::to_string(answer.term.value));
          told.clear();
        } else {
          failed = begun.error().what;
        }
      }
    }
    if (now) {
      const auto stepped = now->builder->step(milliseconds(50));
      if (!stepped) {
        failed = stepped.error().what;
      } else if (*stepped == QueueBuilder::Step::closed) {
        closed = now->builder->why_closed();
        over();
      } else {
        if (trouble.tries() > 0) log(Level::info, "queue builder " + config.worker + " goes on");
        trouble.reset();
        if (status.due(clock.now())) write("running", "");
      }
    }
    if (now && now->sender->over()) {
      const std::string why = "sending to queue " + config.broker.queue + ": " +
                              now->sender->over()->condition + ": " + now->sender->over()->description;
      write("stopped", why);
      return Failure{why};
    }
    if (!failed.empty()) {
      // Started afresh from disk: after a failed write nothing in memory is to be trusted.
      over();
      const Duration wait = trouble.next();
      if ((trouble.tries() & (trouble.tries() - 1)) == 0) {
        log(Level::error, "queue builder " + config.worker + ": " + failed + " (trying again)");
      }
      write("waiting", failed);
      for (const Instant until = clock.now() + wait; !stop && clock.now() < until;) pause(milliseconds(20));
    } else if (!closed.empty()) {
      if (closed != told) log(Level::info, "queue builder " + config.worker + " waits: " + closed);
      told = closed;
      if (status.due(clock.now())) write("waiting", closed);
      pause(config.gate_interval);
    }
  }
  write("stopped", "");
  return {};
}

}  // namespace mainstay::pipeline
