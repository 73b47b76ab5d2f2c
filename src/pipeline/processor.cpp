#include "pipeline/processor.h"

#include <boost/json.hpp>
#include <map>
#include <set>

#include "base/assert.h"
#include "pipeline/envelope.h"
#include "pipeline/files.h"
#include "pipeline/folder_destination.h"

namespace mainstay::pipeline {

using ledger::ClaimOutcome;

Result<std::string, Failure> FolderParking::keep(const std::string& idempotency_key,
                                                 const std::string& content_digest, BytesView payment) {
  const std::string name = file_name_of(idempotency_key) + "-" + content_digest;
  if (const auto made = files::make_directories(directory_); !made) return made.error();
  const boost::json::object reason{
      {"code", "CONFLICT"},
      {"why", "a message with this idempotency key and other content was processed before; decide by hand"},
      {"idempotency_key", idempotency_key},
      {"content_digest", content_digest}};
  const std::string path = directory_ + "/" + name;
  const std::string text = boost::json::serialize(reason) + "\n";
  if (const auto kept = files::replace(path + ".reason.json", as_bytes(text)); !kept) return kept.error();
  if (const auto kept = files::replace(path, payment); !kept) return kept.error();
  return Result<std::string, Failure>(boost::system::in_place_value, path);
}

/// One round over the messages of one receive(). Each message is settled exactly once.
class Processor::Batch {
 public:
  Batch(Processor& of, std::vector<Incoming> messages) : of_(of), parts_(of.parts_) {
    items_.resize(messages.size());
    for (std::size_t i = 0; i < messages.size(); ++i) items_[i].incoming = std::move(messages[i]);
  }

  Step run() {
    if (!of_.gate_open()) return give_back_rest(Step::closed);
    read();
    if (const auto ended = claim()) return give_back_rest(*ended);
    of_.probe("claimed");
    if (!of_.gate_open()) return give_back_rest(Step::closed);
    deliver();
    of_.probe("delivered");
    if (!of_.gate_open()) return give_back_rest(Step::closed);
    park();
    if (const auto ended = finish()) return give_back_rest(*ended);
    of_.probe("done");
    complete();
    return give_back_rest(failed_ ? Step::failed : Step::worked);
  }

 private:
  enum class State : std::uint8_t {
    open,       ///< nothing decided: goes back when the batch ends
    skipped,    ///< behind a failed one of its session: goes back
    write,      ///< claimed, to be delivered
    delivered,  ///< at the destination, to be marked done
    repeated,   ///< done before, or an equal one earlier in this batch: to be completed
    conflict,   ///< to be parked
    finished,   ///< to be completed
    settled,
  };
  struct Item {
    Incoming incoming;
    Envelope envelope;
    State state = State::open;
    std::string destination;
    std::size_t first = 0;  ///< for `repeated` within the batch: index of the equal one + 1
  };

  void read() {
    for (Item& item : items_) {
      auto envelope = decode(item.incoming.message);
      if (envelope) {
        item.envelope = std::move(*envelope);
        continue;
      }
      parts_.log(Level::error, "a message is dead-lettered: " + envelope.error().what);
      parts_.source.dead_letter(item.incoming, "NotAPayment", envelope.error().what);
      item.state = State::settled;
      ++of_.counters_.dead_lettered;
    }
  }

  std::optional<Step> claim() {
    std::vector<ledger::Claim> claims;
    std::vector<Item*> claimed;
    for (Item& item : items_) {
      if (item.state != State::open) continue;
      claims.push_back(
          {item.envelope.idempotency_key, item.envelope.content_digest, item.envelope.ordering_key});
      claimed.push_back(&item);
    }
    if (claims.empty()) return std::nullopt;
    const auto outcomes =
        parts_.ledger.claim(claims, of_.term_, of_.config_.region, of_.config_.worker, parts_.clock.wall());
    if (!outcomes) return fail(outcomes.error().what);
    std::map<std::string_view, std::size_t> first_with_key;
    for (std::size_t i = 0; i < claimed.size(); ++i) {
      Item& item = *claimed[i];
      switch ((*outcomes)[i]) {
        case ClaimOutcome::granted: {
          const auto index = static_cast<std::size_t>(claimed[i] - items_.data());
          const auto [earlier, fresh] = first_with_key.emplace(item.envelope.idempotency_key, index);
          item.state = fresh ? State::write : State::repeated;
          if (!fresh) item.first = earlier->second + 1;
          break;
        }
        case ClaimOutcome::already_done:
          item.state = State::repeated;
          break;
        case ClaimOutcome::conflict:
          item.state = State::conflict;
          break;
        case ClaimOutcome::fenced:
          ++of_.counters_.fenced;
          of_.why_ = "the ledger knows a newer term than " + std::to_string(of_.term_.value);
          return Step::closed;
      }
    }
    return std::nullopt;
  }

  void deliver() {
    std::vector<Delivery> deliveries;
    std::vector<Item*> delivered;
    for (Item& item : items_) {
      if (item.state != State::write) continue;
      deliveries.push_back({item.incoming.session, item.envelope.idempotency_key, item.envelope.body});
      delivered.push_back(&item);
    }
    if (deliveries.empty()) return;
    const auto results = parts_.destination.deliver(deliveries);
    MS_ASSERT(results.size() == deliveries.size(), "a destination answers for every delivery");
    for (std::size_t i = 0; i < results.size(); ++i) {
      Item& item = *delivered[i];
      if (results[i].ok) {
        item.state = State::delivered;
        item.destination = results[i].name;
        continue;
      }
      item.state = State::open;
      if (!failed_sessions_.contains(item.incoming.session)) fail(results[i].why);
      failed_sessions_.insert(item.incoming.session);
    }
    skip_behind_failures();
  }

  /// The order of a session: nothing behind a message that goes back may be completed, parked or marked done
  /// out of turn, or it would be finished before it.
  void skip_behind_failures() {
    std::set<std::uint64_t> broken;
    for (Item& item : items_) {
      if (item.state == State::settled) continue;
      const bool repeats_unfinished =
          item.state == State::repeated && item.first != 0 && !is_on_its_way(items_[item.first - 1]);
      if (item.state == State::open || repeats_unfinished) broken.insert(item.incoming.session);
      if (broken.contains(item.incoming.session) && item.state != State::delivered)
        item.state = State::skipped;
    }
  }
  static bool is_on_its_way(const Item& item) {
    return item.state == State::delivered || item.state == State::finished;
  }

  void park() {
    for (Item& item : items_) {
      if (item.state != State::conflict) continue;
      const auto kept = parts_.parking.keep(item.envelope.idempotency_key, item.envelope.content_digest,
                                            item.envelope.body);
      if (!kept) {
        fail(kept.error().what);
        item.state = State::open;
        continue;
      }
      const auto written = parts_.ledger.park(
          {item.envelope.idempotency_key, item.envelope.content_digest, item.envelope.ordering_key}, *kept,
          of_.term_, parts_.clock.wall());
      if (!written || !*written) {
        fail(written ? "a newer term has written to the ledger" : written.error().what);
        item.state = State::open;
        continue;
      }
      parts_.log(Level::error, "a conflict is parked: " + *kept);
      ++of_.counters_.conflicts;
      item.state = State::finished;
    }
  }

  std::optional<Step> finish() {
    std::vector<ledger::Done> entries;
    std::vector<Item*> finished;
    for (Item& item : items_) {
      if (item.state != State::delivered) continue;
      entries.push_back({item.envelope.idempotency_key, item.destination});
      finished.push_back(&item);
    }
    if (!entries.empty()) {
      const auto done = parts_.ledger.done(entries, of_.term_, parts_.clock.wall());
      if (!done) return fail(done.error().what);
      if (!*done) {
        ++of_.counters_.fenced;
        of_.why_ = "the ledger knows a newer term than " + std::to_string(of_.term_.value);
        return Step::closed;
      }
    }
    for (Item* item : finished) item->state = State::finished;
    of_.counters_.delivered += finished.size();
    for (Item& item : items_) {
      if (item.state != State::repeated) continue;
      item.state = State::finished;
      ++of_.counters_.already_done;
    }
    return std::nullopt;
  }

  void complete() {
    for (Item& item : items_) {
      if (item.state != State::finished) continue;
      parts_.source.complete(item.incoming);
      item.state = State::settled;
    }
  }

  /// What was not settled goes back in order. Released, not abandoned: a destination that is away for an hour
  /// must not use up the delivery counts and send good payments to the dead-letter queue.
  Step give_back_rest(Step result) {
    for (Item& item : items_) {
      if (item.state == State::settled) continue;
      parts_.source.release(item.incoming);
      item.state = State::settled;
      ++of_.counters_.given_back;
    }
    if (result == Step::closed) parts_.source.let_go();
    return result;
  }

  std::optional<Step> fail(const std::string& why) {
    failed_ = true;
    of_.why_ = why;
    ++of_.counters_.failed;
    return Step::failed;
  }

  Processor& of_;
  Parts& parts_;
  std::vector<Item> items_;
  std::set<std::uint64_t> failed_sessions_;
  bool failed_ = false;
};

bool Processor::gate_open() {
  const coordination::GateAnswer answer = parts_.gate.ask(coordination::Step::consume);
  if (answer.open) {
    term_ = answer.term;
    return true;
  }
  ++counters_.gate_closed;
  why_ = answer.why;
  return false;
}

Processor::Step Processor::step(Duration wait) {
  if (!gate_open()) {
    parts_.source.let_go();
    return Step::closed;
  }
  auto messages = parts_.source.receive(wait, config_.batch_max);
  if (messages.empty()) return Step::idle;
  counters_.received += messages.size();
  return Batch(*this, std::move(messages)).run();
}

}  // namespace mainstay::pipeline
