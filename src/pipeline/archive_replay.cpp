#include "pipeline/archive_replay.h"

#include <algorithm>
#include <map>

#include "coordination/register.h"
#include "ledger/content.h"
#include "ledger/sqlite_ledger.h"
#include "pipeline/envelope.h"
#include "pipeline/ordered_window.h"
#include "pipeline/queue_sender.h"

namespace mainstay::pipeline {

using client::SendOutcome;

namespace {

constexpr std::size_t ask_together = 500;  ///< ids per question to the broker

class Replay {
 public:
  Replay(const ArchiveReplayConfig& config, ReplayParts parts, const std::atomic<bool>& stop)
      : config_(config), parts_(std::move(parts)), stop_(stop) {}

  Result<ReplayReport, Failure> run() {
    if (const auto open = check_gate(); !open) return open.error();
    if (const auto fresh = parts_.archive.refresh(); !fresh) return fresh.error();
    if (const auto chosen = choose(); !chosen) return chosen.error();
    if (const auto sent = send_all(); !sent) return sent.error();
    return report_;
  }

 private:
  Result<void, Failure> check_gate() {
    if (stop_) return Failure{"the replay was stopped; run it again to go on"};
    const coordination::GateAnswer answer = parts_.gate.ask(coordination::Step::replay);
    if (!answer.open) return Failure{"the replay may not run: " + answer.why};
    if (report_.term.value != 0 && answer.term != report_.term) {
      return Failure{"term " + std::to_string(answer.term.value) +
                     " has begun during the replay; run it again in that term's region"};
    }
    report_.term = answer.term;
    return {};
  }

  /// Reads the index and the ledger to the end first: what is to be sent is known before anything is sent.
  Result<void, Failure> choose() {
    std::vector<ArchiveRow> candidates;
    Result<void, Failure> trouble{};
    const auto read = parts_.archive.for_each([&](const ArchiveRow& row) {
      if (row.term >= report_.term) return true;
      ++report_.archived;
      const auto entry = parts_.ledger.find(row.idempotency_key);
      if (!entry) {
        trouble = Failure{entry.error().what};
        return false;
      }
      if (*entry && !ledger::same_content((*entry)->digest, row.content_digest)) {
        ++report_.conflicts;
        return true;
      }
      if (*entry && (*entry)->state == ledger::EntryState::done) {
        ++report_.done;
        return true;
      }
      candidates.push_back(row);
      return true;
    });
    if (!read) return read.error();
    if (!trouble) return trouble.error();

    bool answers = true;
    for (std::size_t from = 0; from < candidates.size(); from += ask_together) {
      if (const auto open = check_gate(); !open) return open.error();
      const std::size_t count = std::min(ask_together, candidates.size() - from);
      std::vector<std::string> ids;
      for (std::size_t i = 0; i < count; ++i) ids.push_back(candidates[from + i].id);
      std::vector<bool> known(count, false);
      if (answers) {
        const auto told = parts_.broker.known(ids);
        if (told && told->size() == count) {
          known = *told;
        } else {
          answers = false;
          parts_.log(Level::warning,
                     "the broker cannot tell which messages it has (" +
                         (told ? std::string("its answer has the wrong length") : told.error().what) +
                         "): every message that is not done is sent, it removes those it has");
        }
      }
      for (std::size_t i = 0; i < count; ++i) {
        if (known[i]) {
          ++report_.known;
          continue;
        }
        missing_.push_back({std::move(candidates[from + i]), answers});
      }
    }
    parts_.log(Level::info, "archive replay: " + std::to_string(report_.archived) + " archived, " +
                                std::to_string(report_.done) + " done, " + std::to_string(report_.known) +
                                " known to the broker, " + std::to_string(missing_.size()) + " to send");
    return {};
  }

  Result<void, Failure> send_all() {
    OrderedWindow window;
    std::map<std::uint64_t, unsigned> failures;
    std::size_t next = 0;
    Instant progress = parts_.clock.now();
    while (next < missing_.size() || window.size() > 0) {
      if (const auto open = check_gate(); !open) return open.error();
      for (; next < missing_.size() && window.size() < config_.in_flight_max; ++next) {
        auto message = marked(missing_[next].row);
        if (!message) return message.error();
        window.add({next, missing_[next].row.ordering_key, std::move(*message)});
      }
      while (parts_.sender.credit() > 0) {
        const OrderedWindow::Item* item = window.next(parts_.clock.now());
        if (item == nullptr) break;
        if (!parts_.sender.send(item->position, item->message)) {
          window.failed(item->position, parts_.clock.now());
          break;
        }
      }
      Duration wait = milliseconds(50);
      if (const auto retry = window.next_retry()) {
        wait = std::clamp(*retry - parts_.clock.now(), Duration{0}, wait);
      }
      for (const SendOutcome& outcome : parts_.sender.poll(wait)) {
        const Missing& missing = missing_[outcome.tag];
        if (outcome.kind == SendOutcome::Kind::accepted) {
          window.settled(outcome.tag);
          progress = parts_.clock.now();
          missing.broker_was_asked ? ++report_.recovered : ++report_.resent_unknown;
          report_.recovered_ids.push_back(missing.row.id);
          continue;
        }
        last_error_ = outcome.error.condition + ": " + outcome.error.description;
        const unsigned failed = ++failures[outcome.tag];
        const auto most = static_cast<std::int64_t>(20ULL << std::min(failed, 6U));
        const bool lost = outcome.kind == SendOutcome::Kind::unknown;
        window.failed(outcome.tag, parts_.clock.now() + milliseconds(lost ? 0 : most));
      }
      if (const auto& over = parts_.sender.over()) {
        return Failure{"the replay cannot send: " + over->condition + ": " + over->description};
      }
      if (parts_.clock.now() - progress > config_.give_up_after) {
        return Failure{"the replay has made no progress for " +
                       std::to_string(config_.give_up_after.milliseconds() / 1000) + " s with " +
                       std::to_string(missing_.size() - report_.recovered - report_.resent_unknown) +
                       " messages to go (last: " + (last_error_.empty() ? "no connection" : last_error_) +
                       "); run it again to go on"};
      }
    }
    return {};
  }

  Result<Buffer, Failure> marked(const ArchiveRow& row) {
    const auto entry = parts_.archive.read(row.id);
    if (!entry) return entry.error();
    auto envelope = decode(entry->message);
    if (!envelope) return Failure{"archived message " + row.id + ": " + envelope.error().what};
    if (envelope->message_id != row.id)
      return Failure{"archived message " + row.id + " has another id inside"};
    envelope->replayed = true;
    return encode(*envelope);
  }

  struct Missing {
    ArchiveRow row;
    bool broker_was_asked = false;
  };
  const ArchiveReplayConfig& config_;
  ReplayParts parts_;
  const std::atomic<bool>& stop_;
  ReplayReport report_;
  std::vector<Missing> missing_;
  std::string last_error_;
};

}  // namespace

Result<ReplayReport, Failure> replay_missing(const ArchiveReplayConfig& config, ReplayParts parts,
                                             const std::atomic<bool>& stop) {
  return Replay(config, std::move(parts), stop).run();
}

Result<ReplayReport, Failure> run_archive_replay(const ArchiveReplayConfig& config,
                                                 coordination::Register& region_register,
                                                 KnownMessages& known, const std::atomic<bool>& stop,
                                                 Clock& clock, Random& random, const Log& log) {
  if (config.broker.endpoints.empty()) return Failure{"the replay has no endpoint to send to"};
  auto ledger = ledger::SqliteLedger::open(config.ledger_path);
  if (!ledger) return Failure{ledger.error().what};
  auto archive = Archive::open(config.archive_dir, "replay");
  if (!archive) return archive.error();
  coordination::Gate gate(region_register, config.region);
  QueueSender sender(config.broker.client_options(config.region + "-archive-replay"), config.broker.reconnect,
                     config.broker.queue, clock, random, log, client::SenderOptions{.archive_replay = true});
  return replay_missing(config, {**archive, **ledger, known, sender, gate, clock, random, log}, stop);
}

}  // namespace mainstay::pipeline
