#include "pipeline/queue_builder.h"

#include <algorithm>

#include "base/assert.h"
#include "ledger/content.h"
#include "pipeline/envelope.h"

namespace mainstay::pipeline {

using client::SendOutcome;

namespace {

/// What no second try can cure: the message itself is at fault.
bool refused_for_good(const std::string& condition) {
  return condition == "amqp:link:message-size-exceeded" || condition == "amqp:decode-error" ||
         condition == "amqp:invalid-field" || condition == "com.microsoft:argument-error" ||
         condition == "com.microsoft:argument-out-of-range";
}

std::string source_of(const std::string& file, std::uint32_t item) {
  return file + "#" + std::to_string(item);
}

/// A message the broker does not take is tried again after 20 ms, 40 ms, … 2 s, with jitter.
Duration retry_after(unsigned failures, Random& random) {
  const std::uint64_t most_ms = std::min<std::uint64_t>(20ULL << std::min(failures, 10U), 2000);
  return milliseconds(static_cast<std::int64_t>(random.between(most_ms / 2, most_ms)));
}

/// An MX document's digest covers its UETRs; an MT's UETR stands in the user header, outside the digested
/// text.
std::string content_of(const payments::Message& message) {
  return ledger::content_id(message.content_digest,
                            message.kind == payments::Kind::mt ? message.uetr : std::string());
}

Envelope envelope_of(const payments::Message& message, std::uint64_t ingest) {
  Envelope envelope;
  envelope.content_digest = content_of(message);
  envelope.message_id = message_id_of(message.idempotency_key, envelope.content_digest);
  envelope.idempotency_key = message.idempotency_key;
  envelope.ordering_key = message.ordering_key;
  envelope.kind = payments::text(message.kind);
  envelope.type = message.type;
  envelope.reference = message.reference;
  envelope.uetr = message.uetr;
  envelope.sender = message.sender;
  envelope.receiver = message.receiver;
  envelope.ingest = ingest;
  envelope.body = message.raw;
  return envelope;
}

ArchiveEntry archive_entry(const Envelope& envelope, const std::string& source, RegionTerm term,
                           const Buffer& message) {
  return {envelope.message_id,
          envelope.idempotency_key,
          envelope.content_digest,
          envelope.ordering_key,
          source,
          envelope.ingest,
          term,
          message};
}

}  // namespace

QueueBuilder::QueueBuilder(const QueueBuilderConfig& config, RegionTerm term, Parts parts)
    : config_(config), term_(term), parts_(std::move(parts)) {}

bool QueueBuilder::gate_open() {
  const coordination::GateAnswer answer = parts_.gate.ask(coordination::Step::produce);
  if (answer.open && answer.term == term_) return true;
  ++counters_.gate_closed;
  why_closed_ = answer.open ? "term " + std::to_string(answer.term.value) + " has begun" : answer.why;
  return false;
}

Result<QueueBuilder::Step, Failure> QueueBuilder::step(Duration wait) {
  if (!gate_open()) return Step::closed;
  if (!started_) {
    if (const auto begun = start(); !begun) return begun.error();
    started_ = true;
  }
  const bool sent = send_some();
  const auto took = take_some();
  if (!took) return took.error();
  if (!gate_open()) return Step::closed;
  const bool sent_more = send_some();
  const auto heard = handle_outcomes(sent || sent_more || *took ? Duration{0} : wait);
  if (!heard) return heard.error();
  const auto finished = finish_files();
  if (!finished) return finished.error();
  if (*heard || *finished) {
    if (const auto flushed = parts_.spool.flush(); !flushed) return flushed.error();
  }
  counters_.pending = window_.size();
  return sent || sent_more || *took || *heard || *finished ? Step::worked : Step::idle;
}

Result<void, Failure> QueueBuilder::start() {
  const auto claims = parts_.source.take_over();
  if (!claims) return claims.error();
  for (const ClaimedFile& claim : *claims) {
    ++counters_.files_taken_over;
    order_.push_back(claim.name);
    files_[claim.name].file = claim;
    files_[claim.name].taken_over = true;
  }
  const std::vector<SpoolEntry> recovered = parts_.spool.take_recovered();
  // An earlier run may have died between spool and archive: nothing is sent that is not archived.
  std::vector<ArchiveEntry> archived;
  for (const SpoolEntry& entry : recovered) {
    const auto envelope = decode(entry.message);
    if (!envelope) return Failure{"the spool holds what no builder wrote: " + envelope.error().what};
    archived.push_back(archive_entry(*envelope, source_of(entry.file, entry.item), term_, entry.message));
    if (archived.size() == config_.batch_items_max || &entry == &recovered.back()) {
      const auto stored = parts_.archive.store(archived, parts_.clock.wall());
      if (!stored) return stored.error();
      archived.clear();
    }
  }
  for (const SpoolEntry& entry : recovered) {
    recovered_.emplace(entry.file, entry.item, entry.id);
    add_pending(entry);
  }
  return {};
}

void QueueBuilder::add_pending(const SpoolEntry& entry) {
  pending_[entry.position] = {entry.file, entry.item, 0};
  // A file whose claim is gone was finished by a run that died before its note reached the spool.
  if (const auto file = files_.find(entry.file); file != files_.end()) ++file->second.pending;
  window_.add({entry.position, entry.ordering_key, entry.message});
}

Result<bool, Failure> QueueBuilder::take_some() {
  if (window_.size() >= config_.pending_items_max || window_.bytes() >= config_.pending_bytes_max)
    return false;
  if (order_.empty()) {
    const auto claimed = parts_.source.claim_next();
    if (!claimed) return claimed.error();
    if (!*claimed) return false;
    probe("claimed");
    ++counters_.files_claimed;
    order_.push_back((*claimed)->name);
    files_[(*claimed)->name].file = **claimed;
  }
  Working& file = files_.at(order_.front());
  if (!file.read) {
    auto bytes = parts_.source.read(file.file, config_.file_bytes_max);
    if (!bytes) return bytes.error();
    file.bytes = std::move(*bytes);
    file.messages = payments::read_messages(file.bytes);
    file.read = true;
  }
  if (const auto taken = take_batch(file); !taken) return taken.error();
  if (file.next == file.messages.size()) {
    file.messages = {};
    file.next = 0;
    file.bytes = {};
    order_.pop_front();
  }
  return true;
}

Result<void, Failure> QueueBuilder::take_batch(Working& file) {
  struct Item {
    const payments::Message* message;
    IngestLine line;
    bool recorded;
  };
  std::vector<Item> items;
  std::map<std::string_view, std::string> digests;  // of keys new in this batch
  const std::string& name = file.file.name;
  std::size_t at = file.next;
  std::size_t bytes = 0;
  for (; at < file.messages.size() && items.size() < config_.batch_items_max && bytes < (8U << 20); ++at) {
    const payments::Message& message = file.messages[at];
    if (!message.valid) {
      const auto kept = parts_.source.quarantine(name, message.item, message.raw, message.code, message.why);
      if (!kept) return kept.error();
      ++counters_.quarantined;
      continue;
    }
    const std::string content = content_of(message);
    const std::string id = message_id_of(message.idempotency_key, content);
    if (recovered_.contains({name, message.item, id}) || parts_.spool.was_settled(name, message.item, id)) {
      continue;
    }
    const std::string source = source_of(name, message.item);
    const auto archived = parts_.archive.find_key(message.idempotency_key);
    if (!archived) return archived.error();
    std::string first_digest;
    bool duplicate = false;
    if (*archived) {
      first_digest = (*archived)->content_digest;
      duplicate = !file.taken_over || (*archived)->source != source;
    } else if (const auto earlier = digests.find(message.idempotency_key); earlier != digests.end()) {
      first_digest = earlier->second;
      duplicate = true;
    }
    if (!first_digest.empty() && !ledger::same_content(first_digest, content)) {
      const auto kept =
          parts_.source.park(name, message.item, message.raw, message.idempotency_key, content, first_digest);
      if (!kept) return kept.error();
      ++counters_.parked;
      continue;
    }
    digests.emplace(message.idempotency_key, content);
    Item& item = items.emplace_back(Item{&message, {}, false});
    const IngestLine* earlier = file.taken_over ? parts_.source.recorded(source) : nullptr;
    if (earlier != nullptr && earlier->message_id == id) {
      item.line = *earlier;
      item.recorded = true;
    } else {
      item.line = {
          parts_.source.next_ingest(),    message.idempotency_key, content, message.ordering_key, id, source,
          duplicate ? "duplicate" : "new"};
    }
    bytes += message.raw.size();
  }

  std::vector<IngestLine> lines;
  std::vector<SpoolEntry> spooled;
  std::vector<ArchiveEntry> archived;
  for (const Item& item : items) {
    if (!item.recorded) lines.push_back(item.line);
    const Envelope envelope = envelope_of(*item.message, item.line.ingest);
    Buffer encoded = encode(envelope);
    archived.push_back(archive_entry(envelope, item.line.source, term_, encoded));
    SpoolEntry& spool = spooled.emplace_back();
    spool.id = item.line.message_id;
    spool.ordering_key = item.line.ordering_key;
    spool.file = name;
    spool.item = item.message->item;
    spool.message = std::move(encoded);
  }
  if (const auto recorded = parts_.source.record(lines); !recorded) return recorded.error();
  probe("ingested");
  if (!spooled.empty()) {
    if (const auto appended = parts_.spool.append(spooled); !appended) return appended.error();
  }
  probe("spooled");
  if (const auto stored = parts_.archive.store(archived, parts_.clock.wall()); !stored) return stored.error();
  probe("archived");
  counters_.archived += archived.size();
  counters_.ingested += lines.size();
  for (const IngestLine& line : lines) counters_.duplicates += line.status == "duplicate" ? 1U : 0U;
  for (const SpoolEntry& entry : spooled) add_pending(entry);
  file.next = at;
  return {};
}

bool QueueBuilder::send_some() {
  bool sent = false;
  while (parts_.sender.credit() > 0) {
    const OrderedWindow::Item* item = window_.next(parts_.clock.now());
    if (item == nullptr) break;
    if (!parts_.sender.send(item->position, item->message)) {
      window_.failed(item->position, parts_.clock.now());
      break;
    }
    ++counters_.sent;
    sent = true;
  }
  if (sent) probe("sent");
  return sent;
}

Result<bool, Failure> QueueBuilder::handle_outcomes(Duration wait) {
  if (const auto retry = window_.next_retry()) {
    wait = std::clamp(*retry - parts_.clock.now(), Duration{0}, wait);
  }
  // Kept until each is handled: an error in between must not lose the rest.
  for (SendOutcome& outcome : parts_.sender.poll(wait)) outcomes_.push_back(std::move(outcome));
  const bool heard = !outcomes_.empty();
  while (!outcomes_.empty()) {
    const SendOutcome outcome = outcomes_.front();
    if (outcome.kind == SendOutcome::Kind::accepted) {
      if (const auto settled = settle(outcome.tag); !settled) return settled.error();
      ++counters_.acked;
    } else if (outcome.kind == SendOutcome::Kind::rejected && refused_for_good(outcome.error.condition)) {
      if (const auto refused = refuse(outcome.tag, outcome.error); !refused) return refused.error();
    } else {
      Pending& pending = pending_.at(outcome.tag);
      const bool lost = outcome.kind == SendOutcome::Kind::unknown;
      const Duration later = lost ? Duration{0} : retry_after(pending.failures, parts_.random);
      if (!lost && (pending.failures & (pending.failures + 1)) == 0) {
        parts_.log(Level::warning, "message from " + source_of(pending.file, pending.item) +
                                       " was not taken and is tried again: " + outcome.error.condition +
                                       ": " + outcome.error.description);
      }
      ++pending.failures;
      ++counters_.retries;
      window_.failed(outcome.tag, parts_.clock.now() + later);
    }
    outcomes_.pop_front();
  }
  if (heard) probe("acked");
  return heard;
}

Result<void, Failure> QueueBuilder::settle(std::uint64_t position) {
  window_.settled(position);
  parts_.spool.settled(position);
  const auto pending = pending_.find(position);
  if (const auto file = files_.find(pending->second.file); file != files_.end()) --file->second.pending;
  pending_.erase(pending);
  return {};
}

Result<void, Failure> QueueBuilder::refuse(std::uint64_t position, const client::ClientError& error) {
  const Pending& pending = pending_.at(position);
  const OrderedWindow::Item* item = window_.in_flight(position);
  MS_ASSERT(item != nullptr, "an outcome belongs to a message on its way");
  const auto envelope = decode(item->message);
  MS_ASSERT(envelope.has_value(), "the builder can read what it has encoded");
  const auto kept = parts_.source.quarantine(pending.file, pending.item, envelope->body, error.condition,
                                             "the broker refuses it: " + error.description);
  if (!kept) return kept.error();
  parts_.log(Level::error, "message from " + source_of(pending.file, pending.item) +
                               " is in quarantine, the broker refuses it: " + error.description);
  ++counters_.quarantined;
  return settle(position);
}

Result<bool, Failure> QueueBuilder::finish_files() {
  bool finished = false;
  for (auto at = files_.begin(); at != files_.end();) {
    const bool taken = std::find(order_.begin(), order_.end(), at->first) == order_.end();
    if (!taken || at->second.pending > 0) {
      ++at;
      continue;
    }
    probe("finishing");
    const auto moved = parts_.source.finish(at->second.file);
    if (!moved) return moved.error();
    if (!*moved) {
      parts_.log(Level::warning, "the claim on " + at->first + " is gone: a newer term has taken it over");
    }
    ++counters_.files_done;
    finished = true;
    at = files_.erase(at);
  }
  return finished;
}

}  // namespace mainstay::pipeline
