#include "drills/pair_clients.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/checksum.h"
#include "base/random.h"
#include "client/publisher.h"
#include "client/subscriber.h"
#include "drills/soak_message.h"
#include "io/system_clock.h"

namespace mainstay::drills {
namespace {

/// Without an answer for so long after the end, a publish counts as one nobody took.
constexpr std::int64_t resolve_s = 90;
constexpr std::size_t window_messages = 256;

client::ClientOptions client_options(const PairShared& shared, const std::string& name) {
  client::ClientOptions options;
  options.endpoints = shared.endpoints;
  options.user = shared.user;
  options.password = shared.password;
  options.container_id = name;
  options.connect_timeout = seconds(2);
  // A node that vanished without a word is noticed by its silence.
  options.idle_timeout = seconds(2);
  return options;
}

/// Whose answers a poll brought: of the connection that was lost in it, else of the one that is there
/// afterwards.
template <class Client>
class AnsweredBy {
 public:
  explicit AnsweredBy(const Client& client)
      : client_(client),
        before_(client.endpoint()),
        connected_(client.connected()),
        reconnects_(client.reconnects()) {}
  [[nodiscard]] std::string endpoint() const {
    return connected_ && client_.reconnects() != reconnects_ ? before_ : client_.endpoint();
  }

 private:
  const Client& client_;
  const std::string before_;
  const bool connected_;
  const std::uint64_t reconnects_;
};

std::string node_at(const PairShared& shared, const std::string& endpoint) {
  for (std::size_t i = 0; i < shared.endpoints.size(); ++i)
    if (endpoint == shared.endpoints[i].host + ":" + std::to_string(shared.endpoints[i].port))
      return shared.nodes[i];
  return endpoint;
}

}  // namespace

PairClient::PairClient(PairShared& shared, Kind kind, PairClientPlace place)
    : shared_(shared), kind_(kind), place_(std::move(place)) {
  history_.client = place_.name;
  thread_ = std::thread([this] {
    {
      const lab::Network::Visit visit(shared_.network, place_.host);
      kind_ == Kind::publisher ? publish() : subscribe();
    }
    ended_.store(true, std::memory_order_release);
  });
}

PairClient::~PairClient() {
  shared_.give_up = true;
  if (thread_.joinable()) thread_.join();
}

PairClientHistory PairClient::take_history() {
  if (thread_.joinable()) thread_.join();
  return std::move(history_);
}

std::int64_t PairClient::time_us() {
  return io::SystemClock().now().ns / 1000 + shared_.wall_offset_us;
}

void PairClient::publish() {
  io::SystemClock clock;
  SeededRandom random(mix64(shared_.seed, checksum64(as_bytes(place_.name))));
  client::PublisherOptions options;
  options.client = client_options(shared_, place_.name);
  options.queue.messages_max = window_messages;
  options.address = place_.queue;
  options.attach_timeout = seconds(3);
  client::Publisher publisher(std::move(options), clock, random, [](const std::string&) {});

  std::vector<std::int64_t> asked_us;
  std::vector<std::uint64_t> orders(place_.sessions);
  std::int64_t connected_us = 0;
  std::uint64_t reconnects = 0, resent = 0, made = 0;
  const Instant start = clock.now();
  Instant resolve_until{};
  while (!shared_.give_up && !publisher.over()) {
    if (shared_.stop) {
      if (resolve_until == Instant{}) resolve_until = clock.now() + seconds(resolve_s);
      if (publisher.size() == 0 || clock.now() > resolve_until) break;
    } else {
      // What could not be sent while nobody served is not made up for: the load stays even.
      const auto due = static_cast<std::uint64_t>((clock.now() - start).seconds() * place_.rate_per_s);
      made = std::max(made, due - std::min<std::uint64_t>(due, window_messages));
      for (; made < due && publisher.has_room(); ++made) {
        const std::size_t tag = history_.published.size();
        const auto session = static_cast<std::size_t>(random.below(place_.sessions));
        SoakMessage message;
        message.id = fmt::format("{}-{}", place_.name, tag + 1);
        message.session = fmt::format("{}-s{}", place_.name, session);
        message.bytes = random.below(500);
        history_.published.push_back({.id = message.id,
                                      .session = message.session,
                                      .order = ++orders[session],
                                      .in_session_queue = place_.by_session,
                                      .note = {}});
        asked_us.push_back(time_us());
        publisher.publish(tag, encode_soak_message(message).message);
        ++shared_.sent;
      }
    }
    const std::int64_t before = time_us();
    const AnsweredBy answered_by(publisher);
    const auto results = publisher.poll(milliseconds(5));
    const std::int64_t now = time_us();
    for (const client::PublishResult& result : results) {
      PairPublish& published = history_.published[result.tag];
      using Told = client::PublishResult::Kind;
      published.outcome = result.kind == Told::confirmed  ? PairPublish::Outcome::confirmed
                          : result.kind == Told::rejected ? PairPublish::Outcome::rejected
                                                          : PairPublish::Outcome::unknown;
      published.note = result.error.condition + " " + result.error.description;
      if (result.kind != Told::confirmed) continue;
      ++shared_.confirmed;
      history_.operations.push_back({.id = published.id,
                                     .node = node_at(shared_, answered_by.endpoint()),
                                     .settlement = false,
                                     .asked_us = std::max(asked_us[result.tag], connected_us),
                                     .answered_us = now});
    }
    if (publisher.reconnects() != reconnects) connected_us = before;
    shared_.reconnects += publisher.reconnects() - std::exchange(reconnects, publisher.reconnects());
    shared_.resent += publisher.resent() - std::exchange(resent, publisher.resent());
  }
  if (publisher.over()) history_.failure = publisher.over()->condition + " " + publisher.over()->description;
  publisher.close(milliseconds(200));
}

void PairClient::subscribe() {
  io::SystemClock clock;
  SeededRandom random(mix64(shared_.seed, checksum64(as_bytes(place_.name))));
  client::SubscriberOptions options;
  options.client = client_options(shared_, place_.name);
  options.address = place_.queue;
  options.sessions = place_.by_session;
  options.session_timeout = seconds(2);
  options.attach_timeout = seconds(3);
  options.credit = 50;
  client::Subscriber subscriber(std::move(options), clock, random, [](const std::string&) {});

  struct Asked {
    std::string id;
    std::int64_t asked_us{};
  };
  std::map<std::uint64_t, Asked> asked;
  std::uint64_t reconnects = 0;
  while (!shared_.give_up && !subscriber.over() && !(shared_.drained && subscriber.settling() == 0)) {
    const AnsweredBy answered_by(subscriber);
    const auto deliveries = subscriber.poll(milliseconds(5));
    const std::int64_t now = time_us();
    for (const client::Delivery& delivery : deliveries) {
      ++shared_.received;
      PairDelivery seen;
      seen.at_us = now;
      if (const auto message = decode_soak_message(delivery.message)) {
        seen.id = message->id;
        seen.session = message->session;
        seen.sequence = message->sequence;
        seen.intact = message->checksum == message->claimed;
      } else {
        seen.id = "?";
        seen.intact = false;
      }
      asked[delivery.handle] = {seen.id, now};
      history_.deliveries.push_back(std::move(seen));
      subscriber.settle(delivery.handle, client::SettleAs::complete);
    }
    for (const client::SettleResult& result : subscriber.take_results()) {
      const auto at = asked.find(result.handle);
      if (at == asked.end()) continue;
      if (result.kind == client::SettleResult::Kind::confirmed) {
        ++shared_.settled;
        history_.operations.push_back({.id = at->second.id,
                                       .node = node_at(shared_, answered_by.endpoint()),
                                       .settlement = true,
                                       .asked_us = at->second.asked_us,
                                       .answered_us = now});
      }
      asked.erase(at);
    }
    shared_.reconnects += subscriber.reconnects() - std::exchange(reconnects, subscriber.reconnects());
  }
  if (subscriber.over())
    history_.failure = subscriber.over()->condition + " " + subscriber.over()->description;
  subscriber.close(milliseconds(200));
}

}  // namespace mainstay::drills
