// For this room's tests: a handler that records what the engine says and can answer by itself.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "amqp/engine.h"

namespace mainstay::amqp {

class TestServer : public EngineHandler {
 public:
  struct Transfer {
    LinkId link{};
    DeliveryRef delivery{};
    std::uint32_t message_format{};
    bool settled{};
    std::string payload;
  };
  struct Told {
    LinkId link{};
    DeliveryRef delivery{};
    Outcome outcome;
    bool settled{};
  };
  struct Credit {
    LinkId link{};
    std::uint32_t credit{};
    bool drain{};
  };

  explicit TestServer(EngineOptions options = {}, Instant now = {1'000'000'000})
      : engine(Engine::create(with_name(std::move(options)), *this, now)) {}

  bool on_sasl(const SaslRequest& request) override {
    sasl = {std::string(request.mechanism), std::string(request.user), std::string(request.password)};
    return let_in(request);
  }
  void on_open(std::string_view container_id, std::string_view hostname) override {
    container = container_id;
    host = hostname;
  }
  void on_attach(LinkId link, const AttachRequest& request) override {
    attached[link] = request;
    order.push_back(link);
    if (answer_attach) {
      answer_attach(link, request);
    } else {
      AttachReply reply;
      reply.credit = request.role == Role::sender ? credit : 0;
      engine->accept(link, reply);
    }
  }
  void on_transfer(const IncomingTransfer& transfer) override {
    transfers.push_back({transfer.link, transfer.delivery, transfer.message_format, transfer.settled,
                         std::string(as_text(transfer.payload))});
    if (take_transfer) {
      take_transfer(transfers.back());
    } else if (accept_transfers && !transfer.settled) {
      Outcome accepted;
      accepted.type = Outcome::Type::accepted;
      engine->settle_incoming(transfer.delivery, accepted);
    }
    if (top_up) engine->grant_credit(transfer.link, credit);
  }
  void on_oversize(LinkId link, std::uint64_t bytes) override {
    oversize.emplace_back(link, bytes);
    if (top_up) engine->grant_credit(link, credit);
  }
  void on_credit(LinkId link, std::uint32_t credit_now, bool drain) override {
    credits.push_back({link, credit_now, drain});
    if (take_credit) take_credit(credits.back());
  }
  void on_disposition(LinkId link, DeliveryRef delivery, const Outcome& outcome, bool settled) override {
    told.push_back({link, delivery, outcome, settled});
    if (take_outcome) {
      take_outcome(told.back());
    } else if (!settled) {
      Outcome answer = outcome;
      answer.error.reset();
      answer.map.clear();
      engine->settle_outgoing(delivery, answer);
    }
  }
  void on_detach(LinkId link, bool for_good) override {
    detached[link] = for_good;
    attached.erase(link);
  }
  void on_closed(const std::optional<Condition>& condition) override {
    ++closed_calls;
    closed = condition;
  }

  struct Sasl {
    std::string mechanism, user, password;
  };

  std::unique_ptr<Engine> engine;
  std::uint32_t credit = 100;
  bool accept_transfers = true;
  bool top_up = true;
  std::function<bool(const SaslRequest&)> let_in = [](const SaslRequest&) { return true; };
  std::function<void(LinkId, const AttachRequest&)> answer_attach;
  std::function<void(const Transfer&)> take_transfer;
  std::function<void(const Credit&)> take_credit;
  std::function<void(const Told&)> take_outcome;

  Sasl sasl;
  std::string container, host;
  std::map<LinkId, AttachRequest> attached;
  std::vector<LinkId> order;
  std::vector<Transfer> transfers;
  std::vector<std::pair<LinkId, std::uint64_t>> oversize;
  std::vector<Credit> credits;
  std::vector<Told> told;
  std::map<LinkId, bool> detached;
  int closed_calls = 0;
  std::optional<Condition> closed;

 private:
  static EngineOptions with_name(EngineOptions options) {
    if (options.container_id.empty()) options.container_id = "mainstay-test";
    return options;
  }
};

inline Outcome outcome_of(Outcome::Type type) {
  Outcome outcome;
  outcome.type = type;
  return outcome;
}

}  // namespace mainstay::amqp
