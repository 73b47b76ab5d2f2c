// For this room's tests: a Frontend with a real leader on a log in memory, and Proton clients joined to it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "amqp/message.h"
#include "amqp/proton_client.h"
#include "broker/broker_test_support.h"
#include "frontend/frontend.h"
#include "replica/held_outputs.h"

namespace mainstay::frontend::testing {

/// The node around the frontend: outputs come back when the log is committed, which the test decides.
class TestNode final : public Backend {
 public:
  explicit TestNode(FrontendOptions options = {}) : frontend(named(std::move(options)), *this, random) {
    leader_ = std::make_unique<broker::Leader>(state_, log.builder, random);
    declare("q");
    commit();
  }

  broker::QueueId declare(const std::string& name, broker::QueueOptions options = {}) {
    const broker::QueueId queue = leader_->declare_queue(name, options, clock.wall()).value();
    commit();
    return queue;
  }

  // Backend
  broker::Leader* leader() override { return live ? leader_.get() : nullptr; }
  const broker::State& state() override { return state_; }
  std::vector<broker::Output>& leader_outputs() override { return made_; }
  std::string not_live_reason() override { return "this node is the standby"; }
  AdmissionAnswer admit(std::size_t bytes, bool replay) override {
    asked.emplace_back(bytes, replay);
    AdmissionAnswer answer = admission;
    if (after_next_answer) admission = *std::exchange(after_next_answer, std::nullopt);
    return answer;
  }
  Payload payload(Lsn lsn) override {
    if (reading) return Payload::coming();
    for (const journal::Record& record : log.records()) {
      broker::StoredMessage message;
      if (record.header.lsn == lsn && lsn >= log_begins && readable &&
          broker::read_stored_message(record, message)) {
        return Payload::here(message.payload);
      }
    }
    return Payload::lost("no such record");
  }
  bool authenticate(const amqp::SaslRequest&) override { return true; }
  CreditFigures flow() override { return flow_figures; }
  std::optional<amqp::Condition> durability_refusal(broker::Durability level) override {
    if (level <= durability_max && level != broker::Durability::region) return std::nullopt;
    return Backend::durability_refusal(level);
  }
  /// The other region has everything that is committed.
  void replicate() {
    held_.add(made_, committed_, released_, {{}, global_});
    global_ = committed_;
    held_.release_far({{}, global_}, released_);
    pump();
  }

  /// Shows what may be shown; commits first unless `commits` is false.
  void pump() {
    for (;;) {
      if (commits && committed_ < log.end()) commit_log();
      held_.add(made_, committed_, released_, {{}, global_});
      if (released_.empty()) return;
      for (const replica::Output& output : std::exchange(released_, {})) {
        frontend.broker_output(std::get<broker::Output>(output), clock.now(), clock.wall());
      }
    }
  }
  void commit() {
    commit_log();
    pump();
  }
  void tick() {
    leader_->tick(clock.now(), clock.wall(), made_);
    frontend.tick(clock.now(), clock.wall());
    pump();
  }
  /// Gives every message a new record; the log before is removed.
  void move_all() {
    const Lsn begins = log.end().next();
    for (const broker::State::Place& place : state_.collect_older_than(begins, 1000)) {
      for (const journal::Record& record : log.records()) {
        if (record.header.lsn == place.lsn) (void)leader_->move_message(record, place.sequence, clock.wall());
      }
    }
    commit();
    log_begins = begins;
  }
  [[nodiscard]] broker::QueueStats stats(std::uint32_t queue = 1) const {
    return leader_->stats(broker::QueueId{queue});
  }
  [[nodiscard]] std::size_t consumers() const { return leader_->consumers(); }
  void check() const { leader_->check_invariants(); }

  broker::testing::MemoryLog log;
  ManualClock clock;
  SeededRandom random{7};
  bool live = true;
  bool commits = true;  ///< the disk is quick: whatever is ordered is committed at once
  bool readable = true;
  bool reading = false;  ///< payloads are not here yet
  Lsn log_begins{};      ///< what is before was removed
  AdmissionAnswer admission;
  CreditFigures flow_figures;
  broker::Durability durability_max = broker::Durability::journal;
  std::optional<AdmissionAnswer> after_next_answer;  ///< what `admission` becomes once it was asked for
  std::vector<std::pair<std::size_t, bool>> asked;
  Frontend frontend;

 private:
  static FrontendOptions named(FrontendOptions options) {
    options.engine.container_id = "mainstay-test";
    return options;
  }
  void commit_log() {
    held_.add(made_, committed_, released_, {{}, global_});
    committed_ = log.end();
    held_.release(committed_, released_);
    leader_->committed(committed_, clock.now(), clock.wall(), made_);
  }

  broker::State state_;
  std::unique_ptr<broker::Leader> leader_;
  std::vector<broker::Output> made_;
  std::vector<replica::Output> released_;
  replica::HeldOutputs held_;
  Lsn committed_{}, global_{};
};

/// One socket of the node.
class Socket : public amqp::ByteServer {
 public:
  explicit Socket(TestNode& of) : node(of), id(of.frontend.open(of.clock.now())) {}
  ~Socket() override { lose(); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void input(BytesView bytes) override {
    if (lost) return;
    node.frontend.input(id, bytes, node.clock.now(), node.clock.wall());
    node.pump();
  }
  BytesView output() override { return node.frontend.output(id); }
  void consumed(std::size_t bytes) override {
    node.frontend.consumed(id, bytes, node.clock.now(), node.clock.wall());
    node.pump();
  }
  bool finished() override { return node.frontend.finished(id); }
  /// The connection breaks.
  void lose() {
    if (lost) return;
    lost = true;
    node.frontend.input_closed(id, node.clock.now(), node.clock.wall());
    node.pump();
  }

  TestNode& node;
  ConnectionId id;
  bool lost = false;
};

class Client : public Socket, public amqp::ProtonClient {
 public:
  explicit Client(TestNode& of) : Socket(of), amqp::ProtonClient(static_cast<Socket&>(*this)) {
    open();
    on = session();
  }

  pn_link_t* to(const char* queue) {
    pn_link_t* link = sender(on, name().c_str(), queue);
    run();
    return link;
  }
  pn_link_t* from(const char* queue, int credit, bool receive_and_delete = false) {
    pn_link_t* link = pn_receiver(on, name().c_str());
    pn_terminus_set_address(pn_link_source(link), queue);
    if (receive_and_delete) pn_link_set_snd_settle_mode(link, PN_SND_SETTLED);
    pn_link_open(link);
    if (credit > 0) pn_link_flow(link, credit);
    run();
    return link;
  }
  /// @param session_id  null: the next available one
  pn_link_t* accept(const char* queue, const char* session_id, int credit,
                    std::uint32_t timeout_ms = 60'000) {
    pn_link_t* link = pn_receiver(on, name().c_str());
    pn_terminus_set_address(pn_link_source(link), queue);
    pn_data_t* filter = pn_terminus_filter(pn_link_source(link));
    pn_data_put_map(filter);
    pn_data_enter(filter);
    pn_data_put_symbol(filter, bytes_of("com.microsoft:session-filter"));
    if (session_id == nullptr) {
      pn_data_put_null(filter);
    } else {
      pn_data_put_string(filter, bytes_of(session_id));
    }
    pn_data_exit(filter);
    pn_data_t* properties = pn_link_properties(link);
    pn_data_put_map(properties);
    pn_data_enter(properties);
    pn_data_put_symbol(properties, bytes_of("com.microsoft:timeout"));
    pn_data_put_uint(properties, timeout_ms);
    pn_data_exit(properties);
    pn_link_open(link);
    if (credit > 0) pn_link_flow(link, credit);
    run();
    return link;
  }
  /// Sends a message with this id and body.
  pn_delivery_t* publish(pn_link_t* link, const std::string& body, const std::string& group_id = {}) {
    amqp::SimpleMessage message;
    message.message_id = body.substr(0, 40);
    message.group_id = group_id;
    message.body = as_bytes(body);
    return put(link, std::string(as_text(amqp::encode_message(message))));
  }
  /// Takes the next whole message; its bytes are in `taken`. Null when there is none.
  pn_delivery_t* take(pn_link_t* link) {
    pn_delivery_t* delivery = pn_link_current(link);
    if (delivery == nullptr) return nullptr;
    std::string part = amqp::taken(delivery);
    taken = std::exchange(partial_, {}) + part;
    if (pn_delivery_partial(delivery)) {
      partial_ = std::move(taken);
      return nullptr;
    }
    pn_link_advance(link);
    return delivery;
  }
  /// Ids of the messages that are there, which are left unsettled.
  std::vector<std::string> take_ids(pn_link_t* link) {
    std::vector<std::string> out;
    while (take(link) != nullptr) out.push_back(id_taken());
    return out;
  }
  [[nodiscard]] std::string id_taken() const {
    return std::string(amqp::view_message(as_bytes(taken)).value().message_id().value_or(""));
  }
  void settle(pn_delivery_t* delivery, std::uint64_t outcome) {
    pn_delivery_update(delivery, outcome);
    run();
  }
  static pn_bytes_t bytes_of(const char* text) { return pn_bytes(std::strlen(text), text); }

  pn_session_t* on = nullptr;
  std::string taken;

 private:
  static std::string name() {
    static int made = 0;
    return "link-" + std::to_string(++made);
  }
  std::string partial_;
};

struct Filling {
  std::string session = {};
  std::size_t padding = 0;  ///< bytes of body; 0: the id is the body
};
/// Publishes messages with the ids m0, m1 and so on, over a link of their own.
inline void fill(Client& client, const char* queue, int messages, const Filling& with = {}) {
  pn_link_t* sender = client.to(queue);
  for (int i = 0; i < messages; ++i) {
    amqp::SimpleMessage message;
    message.message_id = "m" + std::to_string(i);
    message.group_id = with.session;
    const std::string body = with.padding == 0 ? message.message_id : amqp::pattern(with.padding);
    message.body = as_bytes(body);
    pn_delivery_settle(client.put(sender, std::string(as_text(amqp::encode_message(message)))));
    client.run();
  }
  pn_link_close(sender);
  client.run();
}

inline std::string condition_of(pn_link_t* link) {
  const char* name = pn_condition_get_name(pn_link_remote_condition(link));
  return name != nullptr ? name : "";
}
inline std::string description_of(pn_link_t* link) {
  const char* text = pn_condition_get_description(pn_link_remote_condition(link));
  return text != nullptr ? text : "";
}
/// The error of a remote `rejected`; empty when null.
inline std::string condition_of(pn_delivery_t* delivery) {
  const char* name = pn_condition_get_name(pn_disposition_condition(pn_delivery_remote(delivery)));
  return name != nullptr ? name : "";
}
inline bool ended(pn_link_t* link) {
  return (pn_link_state(link) & PN_REMOTE_CLOSED) != 0;
}

}  // namespace mainstay::frontend::testing
