#include "scenarios.h"

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "amqp/client_frames.h"
#include "amqp/engine.h"
#include "amqp/message.h"
#include "base/assert.h"
#include "base/memory_disk.h"
#include "broker/effects.h"
#include "broker/leader.h"
#include "frontend/frontend.h"
#include "journal/journal.h"
#include "payments/message.h"
#include "payments/sample_messages.h"
#include "replica/held_outputs.h"

namespace mainstay::bench {
namespace {

constexpr std::uint64_t kBatch = 64;  ///< messages per commit, and transfers per read of a socket
constexpr std::size_t kBodyBytes = 1024;
constexpr Instant kNow{1'000'000'000};
constexpr WallTime kWall{1'700'000'000'000};

const Buffer& body() {
  static const Buffer bytes(kBodyBytes, std::byte{'x'});
  return bytes;
}

// ---------------------------------------------------------------- journal

struct MemoryJournal {
  MemoryDisk disk{"bench"};
  SeededRandom random{1};
  std::unique_ptr<journal::Journal> journal;
  std::optional<journal::LogBuilder> builder;
  journal::Batch recycled;

  MemoryJournal() {
    journal::JournalOptions options;
    options.node = "bench";
    options.segment_bytes = 16ULL << 20;
    auto opened = journal::Journal::open(disk, "", options, random, {}, {});
    MS_ASSERT(opened.has_value(), "a journal in memory opens");
    journal = std::move(*opened);
    builder.emplace(journal->recovery().end, Epoch{1});
  }
  void write(std::uint64_t records) {
    for (std::uint64_t i = 0; i < records; ++i) builder->append(journal::RecordType::message_stored, body());
    recycled = builder->take(std::move(recycled));
    MS_ASSERT(journal->write(recycled).has_value() && journal->sync().has_value(), "memory takes it");
  }
};

void journal_write(std::uint64_t count) {
  MemoryJournal log;
  for (std::uint64_t done = 0; done < count; done += kBatch) log.write(kBatch);
}

/// As written, so read: what shipping to the other region and reading old bodies cost.
void journal_read(std::uint64_t count) {
  static constexpr std::uint64_t kRecords = 4096;
  MemoryJournal log;
  while (log.journal->durable().lsn.value < kRecords) log.write(kBatch);
  Buffer bytes;
  std::uint64_t done = 0;
  for (Lsn next = log.journal->recovery().first; done < count;) {
    if (next > log.journal->durable().lsn) next = log.journal->recovery().first;
    bytes.clear();
    const auto after = log.journal->read(next, Lsn{next.value + kBatch - 1}, kBatch * 2 * kBodyBytes, bytes);
    MS_ASSERT(after.has_value(), "what was written is there");
    done += after->value - next.value;
    next = *after;
  }
}

// ---------------------------------------------------------------- broker

struct Broker {
  broker::State state;
  journal::LogBuilder log{{}, Epoch{1}};
  SeededRandom random{1};
  broker::Leader leader{state, log, random};
  journal::Batch batch;
  broker::QueueId queue{};
  std::vector<broker::Output> out;

  explicit Broker(const broker::QueueOptions& options = {}) {
    queue = leader.declare_queue("q", options, kWall).value();
    commit();
  }
  void publish(std::string_view id = {}, std::string_view session = {}) {
    broker::Publish p;
    p.queue = queue;
    p.payload = body();
    p.message_id = id;
    p.session_id = session;
    p.has_session = !session.empty();
    leader.publish(p, kWall, out);
  }
  void commit() {
    batch = log.take(std::move(batch));
    leader.committed(log.end().lsn, kNow, kWall, out);
  }
};

void leader_publish(std::uint64_t count) {
  Broker b;
  for (std::uint64_t i = 0; i < count; ++i) {
    b.publish();
    if (i % kBatch != kBatch - 1) continue;
    b.commit();
    b.out.clear();
  }
}

void publish_deliver_complete(std::uint64_t count, bool sessions) {
  broker::QueueOptions options;
  options.requires_session = options.duplicate_detection = sessions;
  Broker b(options);
  static constexpr std::uint64_t kSessions = 64;
  for (std::uint64_t c = 0; c < (sessions ? kSessions : 1); ++c) {
    broker::Subscribe s;
    s.consumer = c + 1;
    s.queue = b.queue;
    const std::string id = "account-" + std::to_string(c);
    if (sessions) {
      s.session = broker::Subscribe::Session::named;
      s.session_id = id;
    }
    b.leader.subscribe(s, kNow, kWall, b.out);
    b.leader.set_credit(s.consumer, 1'000'000'000, false, kNow, kWall, b.out);
  }
  std::vector<broker::LockToken> tokens;
  std::uint64_t settled = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (sessions) {
      b.publish("payment-" + std::to_string(1'000'000 + i), "account-" + std::to_string(i % kSessions));
    } else {
      b.publish();
    }
    if (i % kBatch != kBatch - 1) continue;
    b.out.clear();
    b.commit();
    tokens.clear();
    for (const broker::Output& o : b.out) {
      if (const auto* d = std::get_if<broker::Deliver>(&o)) tokens.push_back(d->delivery.token);
    }
    for (const broker::LockToken& token : tokens)
      b.leader.settle({++settled, token, broker::Settlement::complete, {}, {}, {}}, kNow, kWall, b.out);
  }
  MS_ASSERT(settled == count, "every message was delivered and completed");
}
void leader_complete(std::uint64_t count) {
  publish_deliver_complete(count, false);
}
void leader_sessions(std::uint64_t count) {
  publish_deliver_complete(count, true);
}

/// A standby, or a start, over the leader's records.
void state_apply(std::uint64_t count) {
  Broker b;
  journal::Batch records;
  broker::State standby;
  const auto apply = [&] {
    for (std::size_t i = 0; i < records.offsets.size(); ++i) {
      journal::Record record;
      const auto status =
          journal::decode_record(BytesView(records.bytes).subspan(records.offsets[i]), record);
      MS_ASSERT(status == journal::DecodeStatus::ok && standby.apply(record).has_value(),
                "the leader's records apply");
    }
  };
  records = std::move(b.batch);
  apply();
  for (std::uint64_t done = 0; done < count; done += kBatch) {
    for (std::uint64_t i = 0; i < kBatch; ++i) b.publish();
    b.out.clear();
    records = b.log.take(std::move(records));
    apply();
  }
}

// ---------------------------------------------------------------- amqp

/// One read's worth of transfers, encoded once: a client's work is not counted. Only the delivery ids change.
class TransferBatch {
 public:
  explicit TransferBatch(std::string_view payload) {
    constexpr std::uint32_t kMarker = 0x7a7b7c7d;  // found nowhere else in a frame
    const std::array<std::byte, 4> marker = {std::byte{0x7a}, std::byte{0x7b}, std::byte{0x7c},
                                             std::byte{0x7d}};
    for (std::uint64_t i = 0; i < kBatch; ++i) {
      const auto from = static_cast<std::ptrdiff_t>(frames_.bytes.size());
      frames_.transfer(0, 0, kMarker, payload);
      const auto at =
          std::search(frames_.bytes.begin() + from, frames_.bytes.end(), marker.begin(), marker.end());
      MS_ASSERT(at != frames_.bytes.end(), "the delivery id is in its frame as four bytes");
      ids_.push_back(static_cast<std::size_t>(at - frames_.bytes.begin()));
    }
  }
  /// The batch with ids that go on from the last one's.
  BytesView next() {
    for (const std::size_t at : ids_) {
      for (std::size_t i = 0; i < 4; ++i)
        frames_.bytes[at + i] = static_cast<std::byte>(next_id_ >> (24 - 8 * i) & 0xFFU);
      ++next_id_;
    }
    return frames_.bytes;
  }
  static constexpr std::uint32_t kFirstId = 1U << 20;

 private:
  amqp::ClientFrames frames_;
  std::vector<std::size_t> ids_;
  std::uint32_t next_id_ = kFirstId;
};

class Accepting final : public amqp::EngineHandler {
 public:
  Accepting() {
    amqp::EngineOptions options;
    options.container_id = "bench";
    engine = amqp::Engine::create(options, *this, kNow);
    accepted_.type = amqp::Outcome::Type::accepted;
    client.header().open(1U << 20).begin(0, 0x7fffffff, TransferBatch::kFirstId);
    client.attach(0, 0, false, "q").attach(0, 1, true, "q").flow(0, 0, 0x7fffffff, 0, 1, 0, 0x7fffffff);
    engine->input(client.bytes, kNow);
    engine->consumed(engine->output().size());
  }
  bool on_sasl(const amqp::SaslRequest&) override { return true; }
  void on_open(std::string_view, std::string_view) override {}
  void on_attach(amqp::LinkId link, const amqp::AttachRequest& request) override {
    amqp::AttachReply reply;
    reply.credit = request.role == amqp::Role::sender ? 0x7fffffff : 0;
    engine->accept(link, reply);
    last_link = link;
  }
  void on_transfer(const amqp::IncomingTransfer& transfer) override {
    engine->settle_incoming(transfer.delivery, accepted_);
    ++transfers;
  }
  void on_oversize(amqp::LinkId, std::uint64_t) override {}
  void on_credit(amqp::LinkId, std::uint32_t, bool) override {}
  void on_disposition(amqp::LinkId, amqp::DeliveryRef, const amqp::Outcome&, bool) override {
    ++dispositions;
  }
  void on_detach(amqp::LinkId, bool) override {}
  void on_closed(const std::optional<amqp::Condition>&) override {}

  std::unique_ptr<amqp::Engine> engine;
  amqp::ClientFrames client;
  amqp::LinkId last_link{};
  std::uint64_t transfers = 0, dispositions = 0;

 private:
  amqp::Outcome accepted_;
};

void amqp_in(std::uint64_t count) {
  Accepting server;
  TransferBatch batch(std::string(kBodyBytes, 'x'));
  for (std::uint64_t done = 0; done < count; done += kBatch) {
    server.engine->input(batch.next(), kNow);
    server.engine->consumed(server.engine->output().size());
  }
  MS_ASSERT(server.transfers == count, "every transfer arrived");
}

void amqp_out(std::uint64_t count) {
  Accepting server;
  const std::array<std::byte, 16> tag{};
  const BytesView parts[] = {BytesView(body()).first(60), BytesView(body()).subspan(60)};
  amqp::ClientFrames frames;
  for (std::uint64_t done = 0; done < count; done += kBatch) {
    for (std::uint64_t i = 0; i < kBatch; ++i) {
      MS_ASSERT(server.engine->can_send(server.last_link), "the window is wide");
      server.engine->send(server.last_link, tag, 0, false, parts);
    }
    server.engine->consumed(server.engine->output().size());
    frames.bytes.clear();
    frames.disposition(0, true, static_cast<std::uint32_t>(done),
                       static_cast<std::uint32_t>(done + kBatch - 1), true, 0x24);
    server.engine->input(frames.bytes, kNow);
  }
  MS_ASSERT(server.dispositions == count, "every message was settled");
}

// ---------------------------------------------------------------- frontend: bytes in, committed, bytes out

class Node final : public frontend::Backend {
 public:
  Node() : frontend_(options(), *this, random_), leader_(state_, log_, random_) {
    leader_.declare_queue("q", {}, kWall).value();
    pump();
  }
  broker::Leader* leader() override { return &leader_; }
  const broker::State& state() override { return state_; }
  std::vector<broker::Output>& leader_outputs() override { return made_; }
  std::string not_live_reason() override { return {}; }
  frontend::AdmissionAnswer admit(std::size_t, bool) override { return {}; }
  bool authenticate(const amqp::SaslRequest&) override { return true; }
  frontend::Payload payload(Lsn lsn) override {
    for (const journal::Batch& batch : batches_) {
      if (batch.empty() || lsn < batch.first || batch.first.value + batch.size() <= lsn.value) continue;
      // As the node does with what it keeps in memory: the record was made whole and is not checked again.
      const std::size_t index = lsn.value - batch.first.value;
      const std::size_t end =
          index + 1 < batch.offsets.size() ? batch.offsets[index + 1] : batch.bytes.size();
      const std::size_t at = batch.offsets[index];
      broker::StoredMessage message;
      if (broker::read_stored_message(journal::view_record(BytesView(batch.bytes).subspan(at, end - at)),
                                      message))
        return frontend::Payload::here(message.payload);
    }
    return frontend::Payload::lost("older than what is kept");
  }
  void input(frontend::ConnectionId connection, BytesView bytes) {
    frontend_.input(connection, bytes, kNow, kWall);
    pump();
  }
  /// What the connection has to say is written at once. @return its bytes
  std::size_t flush(frontend::ConnectionId connection) {
    std::size_t total = 0;
    for (std::size_t bytes; (bytes = frontend_.output(connection).size()) > 0; total += bytes) {
      frontend_.consumed(connection, bytes, kNow, kWall);
      pump();
    }
    return total;
  }
  frontend::ConnectionId open() { return frontend_.open(kNow); }
  [[nodiscard]] const frontend::FrontendCounters& counters() const { return frontend_.counters(); }

 private:
  static frontend::FrontendOptions options() {
    frontend::FrontendOptions out;
    out.engine.container_id = "bench";
    return out;
  }
  /// Commits what was ordered and shows what may be shown, until nothing moves.
  void pump() {
    for (;;) {
      if (!log_.gathering().empty()) {
        held_.add(made_, committed_, released_, {});
        if (batches_.size() == 8) {
          batches_.push_back(log_.take(std::move(batches_.front())));
          batches_.pop_front();
        } else {
          batches_.push_back(log_.take());
        }
        committed_ = log_.end().lsn;
        held_.release(committed_, released_);
        leader_.committed(committed_, kNow, kWall, made_);
      }
      held_.add(made_, committed_, released_, {});
      if (released_.empty()) return;
      showing_.swap(released_);
      for (const replica::Output& output : showing_)
        frontend_.broker_output(std::get<broker::Output>(output), kNow, kWall);
      showing_.clear();
    }
  }

  SeededRandom random_{1};
  broker::State state_;
  journal::LogBuilder log_{{}, Epoch{1}};
  frontend::Frontend frontend_;
  broker::Leader leader_;
  std::deque<journal::Batch> batches_;
  std::vector<broker::Output> made_;
  std::vector<replica::Output> released_, showing_;
  replica::HeldOutputs held_;
  Lsn committed_{};
};

void frontend_flow(std::uint64_t count, bool consume) {
  Node node;
  amqp::SimpleMessage simple;
  simple.message_id = "payment-0001";
  simple.body = body();
  const Buffer encoded = amqp::encode_message(simple);
  TransferBatch batch(as_text(encoded));
  amqp::ClientFrames frames;
  const auto producer = node.open(), consumer = node.open();
  frames.header().open(1U << 20).begin(0, 0x7fffffff, TransferBatch::kFirstId).attach(0, 0, false, "q");
  node.input(producer, frames.bytes);
  node.flush(producer);
  if (consume) {
    frames.bytes.clear();
    frames.header().open(1U << 20).begin(0, 0x7fffffff).attach(0, 0, true, "q");
    frames.flow(0, 0, 0x7fffffff, 0, 0, 0, 0x7fffffff);
    node.input(consumer, frames.bytes);
    node.flush(consumer);
  }
  for (std::uint64_t done = 0; done < count; done += kBatch) {
    node.input(producer, batch.next());
    node.flush(producer);
    if (!consume) continue;
    node.flush(consumer);
    frames.bytes.clear();
    frames.disposition(0, true, static_cast<std::uint32_t>(done),
                       static_cast<std::uint32_t>(done + kBatch - 1), true, 0x24);
    node.input(consumer, frames.bytes);
    node.flush(consumer);
  }
  MS_ASSERT(node.counters().published == count, "every message was published");
  MS_ASSERT(!consume || node.counters().settled == count, "every message was delivered and completed");
}
void frontend_publish(std::uint64_t count) {
  frontend_flow(count, false);
}
void frontend_complete(std::uint64_t count) {
  frontend_flow(count, true);
}

// ---------------------------------------------------------------- payments

void parse(std::uint64_t count, const std::string& text) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto messages = payments::read_messages(as_bytes(text));
    MS_ASSERT(messages.size() == 1 && messages.front().valid, "the sample is a valid message");
  }
}
void payments_mt(std::uint64_t count) {
  parse(count, payments::samples::kMt103);
}
void payments_mx(std::uint64_t count) {
  parse(count, payments::samples::kPacs008);
}

}  // namespace

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = {
      {"journal.write", "record", journal_write},
      {"journal.read", "record", journal_read},
      {"leader.publish", "message", leader_publish},
      {"leader.publish_deliver_complete", "message", leader_complete},
      {"leader.sessions_and_duplicates", "message", leader_sessions},
      {"state.apply", "record", state_apply},
      {"amqp.in", "transfer", amqp_in},
      {"amqp.out", "transfer", amqp_out},
      {"frontend.publish", "message", frontend_publish},
      {"frontend.publish_deliver_complete", "message", frontend_complete},
      {"payments.mt103", "message", payments_mt},
      {"payments.pacs008", "message", payments_mx},
  };
  return all;
}

}  // namespace mainstay::bench
