#include "load.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "amqp/message.h"

namespace mainstay::bench {
namespace {

// With one message in flight the client has nothing else to do: it watches its socket, as one would that
// cares for latency. Both servers watch theirs after a message, too: wake-ups are in neither figure.
constexpr Duration kClientSpin = microseconds(500);
constexpr double kSilenceSeconds = 120;  // without any progress: stuck

[[noreturn]] void give_up(const client::ClientError& error) {
  throw CouldNotRun(error.condition + ": " + error.description);
}

/// Tells a stuck load from a slow one.
class Watchdog {
 public:
  void alive() { last_ = seconds_now(); }
  void check(const char* what) const {
    if (seconds_now() - last_ > kSilenceSeconds)
      throw CouldNotRun(std::string(what) + ": nothing happened for " + readable(kSilenceSeconds) + " s");
  }

 private:
  double last_ = seconds_now();
};

}  // namespace

Buffer load_message(std::size_t body_bytes, const std::string& session_id) {
  const Buffer body(body_bytes, std::byte{'x'});
  amqp::SimpleMessage simple;
  simple.message_id = "bench";
  simple.group_id = session_id;
  simple.body = body;
  return amqp::encode_message(simple);
}

std::unique_ptr<client::Connection> connect(std::uint16_t port, Duration spin) {
  client::ClientOptions options;
  options.spin = spin;
  options.endpoints = {{"127.0.0.1", port}};
  options.idle_timeout = seconds(36'000);
  options.connect_timeout = seconds(30);
  auto connection = client::Connection::connect(options);
  if (!connection) give_up(connection.error());
  return std::move(*connection);
}

client::Sender open_sender(client::Connection& connection, const std::string& address) {
  client::Sender sender = connection.open_sender(address);
  const auto opened = connection.poll_until(
      [&] { return sender.credit() > 0 || sender.state() == client::LinkState::closed; }, seconds(30));
  if (!opened) give_up(opened.error());
  if (sender.state() == client::LinkState::closed) give_up(sender.error());
  if (!*opened) throw CouldNotRun("no credit to publish to " + address + " for 30 s");
  return sender;
}

Publisher::Publisher(const Broker& broker, const std::string& address)
    : connection_(connect(broker.amqp_port)) {
  sender_.emplace(open_sender(*connection_, address));
}
Publisher::~Publisher() {
  connection_->close(seconds(1));
}

std::size_t Publisher::collect(Duration wait, const std::function<void(std::uint64_t)>& confirmed) {
  const auto polled = connection_->poll(wait);
  if (!polled) give_up(polled.error());
  sender_->take_outcomes(outcomes_);
  for (const client::SendOutcome& outcome : outcomes_) {
    if (outcome.kind != client::SendOutcome::Kind::accepted)
      throw CouldNotRun("a message was not accepted: " + outcome.error.condition + ": " +
                        outcome.error.description);
    if (confirmed) confirmed(outcome.tag);
  }
  return outcomes_.size();
}

double Publisher::publish(std::uint64_t count, std::uint32_t window, BytesView message,
                          std::vector<float>* latencies_us, Progress* progress, const NotAhead* not_ahead) {
  // Times of those in flight only: the load must not need memory for all it ever sent. One link's confirms
  // come in the order of its messages, so a place is free again when its turn comes.
  std::vector<Instant> sent_at(latencies_us != nullptr ? window : 0);
  std::uint64_t sent = 0, done = 0;
  const auto note = [&](std::uint64_t tag) {
    latencies_us->push_back(static_cast<float>((clock_.now() - sent_at[tag % window]).ns) / 1e3F);
  };
  const std::function<void(std::uint64_t)> confirmed =
      latencies_us != nullptr ? std::function<void(std::uint64_t)>(note) : nullptr;
  Watchdog watchdog;
  const double start = seconds_now();
  while (done < count) {
    const Instant now = clock_.now();
    std::uint64_t most = count;
    if (not_ahead != nullptr) {
      if (*not_ahead->broken) throw CouldNotRun("the consumer gave up");
      most = std::min(count, not_ahead->completed->load(std::memory_order_acquire) + not_ahead->most);
    }
    while (sent < most && sent - done < window && sender_->credit() > 0) {
      if (latencies_us != nullptr) sent_at[sent % window] = now;
      if (!sender_->send(sent, message)) break;
      ++sent;
    }
    if (sent == done && sent == most) {  // all confirmed, and the consumer is behind
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      watchdog.check("publish");
      continue;
    }
    const std::size_t more = collect(milliseconds(1000), confirmed);
    done += more;
    if (more > 0) {
      watchdog.alive();
      if (progress != nullptr) progress->at(done, count);
    } else {
      watchdog.check("publish");
    }
  }
  return seconds_now() - start;
}

std::uint64_t Publisher::publish_paced(double per_second, std::uint64_t count_max,
                                       const std::atomic<bool>& stop,
                                       const std::function<BytesView()>& message,
                                       std::vector<float>& latencies_us) {
  const Instant start = clock_.now();
  const auto due = [&](std::uint64_t n) {
    return start + Duration{static_cast<std::int64_t>(static_cast<double>(n) * 1e9 / per_second)};
  };
  std::uint64_t sent = 0, done = 0;
  Watchdog watchdog;
  while (true) {
    const Instant now = clock_.now();
    const bool more = sent < count_max && !stop;
    if (!more && done == sent) return sent;
    while (more && sent < count_max && due(sent) <= now && sender_->credit() > 0) {
      if (!sender_->send(sent, message())) break;
      ++sent;
    }
    // poll() waits whole milliseconds: the last one before the next message's time is spun away, so that it
    // leaves in time. Overdue and not sent: there is no credit, and a confirm brings it.
    Duration wait = milliseconds(100);
    if (more && due(sent) > now) {
      wait = due(sent) - now - milliseconds(1);
      if (wait < milliseconds(1)) wait = Duration{0};
    }
    const std::size_t some = collect(wait, [&](std::uint64_t tag) {
      latencies_us.push_back(static_cast<float>((clock_.now() - due(tag)).ns) / 1e3F);
    });
    done += some;
    some > 0 || done == sent ? watchdog.alive() : watchdog.check("paced publish");
  }
}

Consumer::Consumer(const Broker& broker, const std::string& address, std::uint32_t credit)
    : credit_(credit), connection_(connect(broker.amqp_port)) {
  receiver_.emplace(connection_->open_receiver(address));
  const auto opened =
      connection_->poll_until([&] { return receiver_->state() != client::LinkState::opening; }, seconds(30));
  if (!opened) give_up(opened.error());
  if (receiver_->state() != client::LinkState::open) give_up(receiver_->error());
}
Consumer::~Consumer() {
  connection_->close(seconds(1));
}

double Consumer::consume(std::uint64_t count, Progress* progress,
                         const std::function<void(const client::Received&)>& seen,
                         std::atomic<std::uint64_t>* completed) {
  std::vector<client::Received> received;
  std::vector<client::Settlement> settlements;
  std::uint64_t settled = 0, taken = 0;
  Watchdog watchdog;
  const double start = seconds_now();
  const auto top_up = [&] {
    // Never more than is asked for: what is locked here at the end would be nobody's.
    const std::uint64_t wanted = std::min<std::uint64_t>(credit_, count - taken);
    if (receiver_->credit() < wanted && receiver_->credit() <= credit_ / 2)
      receiver_->add_credit(static_cast<std::uint32_t>(wanted - receiver_->credit()));
  };
  top_up();
  while (settled < count) {
    const auto polled = connection_->poll(milliseconds(1000));
    if (!polled) give_up(polled.error());
    receiver_->take(received);
    for (const client::Received& message : received) {
      if (seen) seen(message);
      receiver_->complete(message.handle);
    }
    taken += received.size();
    receiver_->take_settlements(settlements);
    for (const client::Settlement& settlement : settlements) {
      if (!settlement.ok) give_up(settlement.error);
      ++settled;
    }
    if (completed != nullptr) completed->fetch_add(settlements.size(), std::memory_order_release);
    if (received.empty() && settlements.empty()) {
      watchdog.check("receive and complete");
    } else {
      watchdog.alive();
      if (progress != nullptr) progress->at(settled, count);
    }
    top_up();
  }
  return seconds_now() - start;
}

Single::Single(std::uint16_t port)
    : connection_(connect(port, kClientSpin)), sender_(open_sender(*connection_, "bench")) {}
Single::~Single() {
  connection_->close(seconds(1));
}

void Single::turn(BytesView message, std::vector<float>& latencies_us) {
  const double start = seconds_now();
  if (!sender_.send(0, message)) throw CouldNotRun("no credit for one message");
  do {
    if (const auto polled = connection_->poll(seconds(5)); !polled)
      throw CouldNotRun(polled.error().description);
    sender_.take_outcomes(outcomes_);
    if (seconds_now() - start > 60) throw CouldNotRun("a message was not answered for 60 s");
  } while (outcomes_.empty());
  if (outcomes_.front().kind != client::SendOutcome::Kind::accepted)
    throw CouldNotRun("a message was not accepted: " + outcomes_.front().error.description);
  latencies_us.push_back(static_cast<float>((seconds_now() - start) * 1e6));
}

void Single::watch() {
  if (const auto polled = connection_->poll(Duration{0}); !polled)
    throw CouldNotRun(polled.error().description);
}

double median_of_last(const std::vector<float>& values, std::uint64_t count) {
  std::vector<float> last(values.end() - static_cast<std::ptrdiff_t>(count), values.end());
  return quantile(last, 0.50);
}

}  // namespace mainstay::bench
