// `mainstay send` and `mainstay receive`: lines of text to and from a queue, through whichever of several
// brokers serves.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/json.hpp>
#include <deque>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>

#include "amqp/message.h"
#include "amqp/value_reader.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/stop_signals.h"
#include "client/publisher.h"
#include "client/subscriber.h"
#include "config/document.h"
#include "config/reader.h"
#include "io/system_clock.h"
#include "io/system_random.h"

namespace mainstay::cli {
namespace {

namespace json = boost::json;

struct Reach {
  std::vector<std::string> endpoints;
  std::string user, password_file, queue;
  std::int64_t connect_timeout_ms = 3000, idle_timeout_ms = 10'000, give_up_after_s = 0;
};

void add_reach(CLI::App& command, Reach& reach) {
  command
      .add_option(
          "--endpoint", reach.endpoints,
          "host:port of a broker; several, by comma or repeated, are tried in order until one is live")
      ->required()
      ->delimiter(',');
  command.add_option("--queue", reach.queue, "the queue's name")->required();
  command.add_option("--user", reach.user, "absent: anonymous");
  command.add_option("--password-file", reach.password_file,
                     "a file with the password; without it, the environment's MAINSTAY_PASSWORD");
  command.add_option("--connect-timeout-ms", reach.connect_timeout_ms, "per endpoint")
      ->check(CLI::Range(std::int64_t{50}, std::int64_t{600'000}))
      ->capture_default_str();
  command
      .add_option("--idle-timeout-ms", reach.idle_timeout_ms, "silence after which a broker counts as lost")
      ->check(CLI::Range(std::int64_t{500}, std::int64_t{600'000}))
      ->capture_default_str();
  command
      .add_option(
          "--give-up-after", reach.give_up_after_s,
          "seconds in a row without a broker that serves, after which it ends; 0 = never. One that opens "
          "the link and answers server-busy serves: that is waited out for as long as it lasts")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1'000'000}))
      ->capture_default_str();
}

/// @return what is wrong with the command line.
std::optional<std::string> read_reach(const Reach& from, const char* command, client::ClientOptions& to,
                                      client::ReconnectOptions& reconnect) {
  for (const std::string& text : from.endpoints) {
    const auto endpoint = config::parse_endpoint(text);
    if (!endpoint || endpoint->port == 0)
      return "\"" + text + "\" is no endpoint: host:port is, [::1]:5672 for IPv6";
    to.endpoints.push_back({endpoint->host, endpoint->port});
  }
  to.user = from.user;
  if (!from.password_file.empty()) {
    const auto text = config::read_text_file(from.password_file, 4096);
    if (!text) return text.error().what;
    to.password = *text;
    while (!to.password.empty() && (to.password.back() == '\n' || to.password.back() == '\r'))
      to.password.pop_back();
  } else if (const char* password = std::getenv("MAINSTAY_PASSWORD");
             password != nullptr && !from.user.empty()) {
    to.password = password;
  }
  to.container_id = std::string("mainstay-") + command + "-" + std::to_string(getpid());
  to.connect_timeout = milliseconds(from.connect_timeout_ms);
  to.idle_timeout = milliseconds(from.idle_timeout_ms);
  // A person or a script waits: an unknown queue is told soon; a node that has just begun to lead may need a
  // moment to declare it.
  reconnect.request_refused_max = 5;
  if (from.give_up_after_s > 0) reconnect.give_up_after = seconds(from.give_up_after_s);
  return std::nullopt;
}

client::Tell tell_of(const char* command) {
  return [command](const std::string& text) { std::cerr << "mainstay " << command << ": " << text << "\n"; };
}

void print(const json::object& line) {
  std::cout << json::serialize(line) << "\n" << std::flush;
}

// ---- send

struct SendArguments {
  Reach reach;
  std::string on_unknown = "resend";
  double rate_per_s = 0;
  std::size_t in_flight = 1000;
};

/// Standard input without waiting for it, line by line.
class Lines {
 public:
  /// Reads what is there, at most until so many lines wait.
  void read(std::size_t most) {
    char some[65536];
    while (!ended_ && lines_.size() < most) {
      pollfd waiting{STDIN_FILENO, POLLIN, 0};
      if (::poll(&waiting, 1, 0) <= 0) return;
      const ssize_t got = ::read(STDIN_FILENO, some, sizeof some);
      if (got < 0) return;
      ended_ = got == 0;
      rest_.append(some, static_cast<std::size_t>(got));
      std::size_t from = 0;
      for (std::size_t end = 0; (end = rest_.find('\n', from)) != std::string::npos; from = end + 1)
        lines_.push_back(rest_.substr(from, end - from));
      rest_.erase(0, from);
      if (ended_ && !rest_.empty()) lines_.push_back(std::exchange(rest_, {}));
    }
  }
  [[nodiscard]] bool ended() const { return ended_ && lines_.empty(); }
  std::deque<std::string>& waiting() { return lines_; }
  /// A last one without its end included.
  [[nodiscard]] std::size_t not_taken() const { return lines_.size() + (rest_.empty() ? 0 : 1); }

 private:
  std::deque<std::string> lines_;
  std::string rest_;
  bool ended_ = false;
};

/// "id TAB session TAB body"; the session may be empty.
struct Line {
  std::string id;
  Buffer message;
};
std::optional<Line> read_line(const std::string& line) {
  const std::size_t first = line.find('\t');
  const std::size_t second = first == std::string::npos ? first : line.find('\t', first + 1);
  if (first == 0 || second == std::string::npos) return std::nullopt;
  amqp::SimpleMessage message;
  message.message_id = line.substr(0, first);
  if (second > first + 1) message.group_id = line.substr(first + 1, second - first - 1);
  message.body = as_bytes(std::string_view(line).substr(second + 1));
  return Line{message.message_id, amqp::encode_message(message)};
}

int send(const SendArguments& arguments) {
  client::PublisherOptions options;
  if (const auto wrong = read_reach(arguments.reach, "send", options.client, options.reconnect)) {
    std::cerr << "mainstay send: " << *wrong << "\n";
    return kUsage;
  }
  options.address = arguments.reach.queue;
  options.queue.messages_max = arguments.in_flight;
  options.queue.on_unknown = arguments.on_unknown == "report"          ? client::UnknownOutcome::report
                             : arguments.on_unknown == "resend-anyway" ? client::UnknownOutcome::resend_anyway
                                                                       : client::UnknownOutcome::resend;
  const std::atomic<bool>& stop_asked = stop_on_signals();
  io::SystemClock clock;
  io::SystemRandom random;
  client::Publisher publisher(options, clock, random, tell_of("send"));
  Lines lines;
  std::map<std::uint64_t, std::string> ids;
  std::uint64_t next = 1;
  int status = kOk;
  bool malformed = false;  // line `next`: nothing is read any more, what was taken is finished
  const Instant start = clock.now();
  while (!stop_asked && !publisher.over() && !((malformed || lines.ended()) && publisher.size() == 0)) {
    if (!malformed) lines.read(arguments.in_flight);
    while (!malformed && !lines.waiting().empty() && publisher.has_room() &&
           (arguments.rate_per_s == 0 ||
            static_cast<double>(next) <= (clock.now() - start).seconds() * arguments.rate_per_s + 1)) {
      auto line = read_line(lines.waiting().front());
      malformed = !line;
      if (malformed) break;
      ids[next] = std::move(line->id);
      publisher.publish(next, std::move(line->message));
      ++next;
      lines.waiting().pop_front();
    }
    for (const client::PublishResult& result : publisher.poll(milliseconds(5))) {
      using Kind = client::PublishResult::Kind;
      json::object line{{"id", ids[result.tag]},
                        {"outcome", result.kind == Kind::confirmed  ? "confirmed"
                                    : result.kind == Kind::rejected ? "rejected"
                                                                    : "unknown"},
                        {"attempts", result.attempts},
                        {"endpoint", publisher.endpoint()}};
      if (result.earlier_unknown) line["earlier_unknown"] = true;
      if (result.kind != Kind::confirmed) {
        line["condition"] = result.error.condition;
        line["description"] = result.error.description;
        if (status == kOk) status = kNotClean;
      }
      print(line);
      ids.erase(result.tag);
    }
  }
  if (malformed)
    std::cerr << "mainstay send: line " << next
              << " is not \"id TAB session TAB body\" with an id: it and what follows it was not sent\n";
  if (publisher.over()) {
    // What was taken has been told; the results of giving up are among them.
    for (const client::PublishResult& result : publisher.poll({0}))
      print({{"id", ids[result.tag]},
             {"outcome", result.kind == client::PublishResult::Kind::unknown ? "unknown" : "rejected"},
             {"attempts", result.attempts},
             {"condition", result.error.condition},
             {"description", result.error.description}});
    std::cerr << "mainstay send: " << publisher.over()->condition << ": " << publisher.over()->description
              << "\n";
    return kCouldNotRun;
  }
  publisher.close(seconds(2));
  if (malformed) return kUsage;
  if (stop_asked && (!ids.empty() || !lines.ended())) {
    for (const auto& [tag, id] : ids) {
      print({{"id", id},
             {"outcome", "unknown"},
             {"condition", "mainstay:stopped"},
             {"description",
              "told to stop before the outcome came: it may be stored; sent again under this id, "
              "duplicate detection stores it once"}});
    }
    std::cerr << "mainstay send: told to stop" << (lines.ended() ? "" : " before the end of its input")
              << ": " << ids.size() << " message(s) without outcome, " << lines.not_taken()
              << " line(s) read and not sent\n";
    status = kNotClean;
  }
  return status;
}

// ---- receive

struct ReceiveArguments {
  Reach reach;
  bool sessions = false;
  std::uint64_t count = 0;
  std::int64_t idle_s = 0;
};

std::string body_text(BytesView message) {
  const auto view = amqp::view_message(message);
  std::string text;
  if (!view) return text;
  amqp::ValueReader sections(view->body);
  while (!sections.at_end()) {
    const auto section = amqp::described(sections.next());
    if (section && (section->value.kind == amqp::Kind::binary || section->value.kind == amqp::Kind::string))
      text += section->value.text();
  }
  return text;
}

/// JSON is UTF-8; what is not goes out as it would be read in Latin-1.
std::string utf8(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xC0 | (byte >> 6));
      out += static_cast<char>(0x80 | (byte & 0x3F));
    }
  }
  return out;
}

int receive(const ReceiveArguments& arguments) {
  client::SubscriberOptions options;
  if (const auto wrong = read_reach(arguments.reach, "receive", options.client, options.reconnect)) {
    std::cerr << "mainstay receive: " << *wrong << "\n";
    return kUsage;
  }
  options.address = arguments.reach.queue;
  options.sessions = arguments.sessions;
  const std::atomic<bool>& stop_asked = stop_on_signals();
  io::SystemClock clock;
  io::SystemRandom random;
  client::Subscriber subscriber(options, clock, random, tell_of("receive"));
  std::uint64_t taken = 0;
  std::uint64_t settled = 0;
  Instant last = clock.now();
  const auto enough = [&] {
    return (arguments.count > 0 && settled >= arguments.count) ||
           (arguments.idle_s > 0 && clock.now() - last > seconds(arguments.idle_s));
  };
  while (!stop_asked && !subscriber.over() && !enough()) {
    for (const client::Delivery& delivery : subscriber.poll(milliseconds(50))) {
      if (arguments.count > 0 && taken >= arguments.count) {
        subscriber.settle(delivery.handle, client::SettleAs::release);
        continue;
      }
      ++taken;
      print({{"id", delivery.key.id},
             {"sequence", delivery.key.sequence},
             {"session", delivery.session},
             {"body", utf8(body_text(delivery.message))},
             {"endpoint", subscriber.endpoint()}});
      subscriber.settle(delivery.handle, client::SettleAs::complete);
    }
    for (const client::SettleResult& result : subscriber.take_results()) {
      last = clock.now();
      settled = std::min(settled + 1, taken);
      if (result.kind == client::SettleResult::Kind::confirmed) continue;
      std::cerr << "mainstay receive: completing a message "
                << (result.kind == client::SettleResult::Kind::unknown
                        ? "has no answer; if it comes again it is completed and not shown: "
                        : "was refused, it comes again: ")
                << result.error.condition << "\n";
    }
  }
  if (subscriber.over()) {
    std::cerr << "mainstay receive: " << subscriber.over()->condition << ": "
              << subscriber.over()->description << "\n";
    return kCouldNotRun;
  }
  subscriber.close(seconds(2));
  return kOk;
}

}  // namespace

void add_messages(CLI::App& app, int& status) {
  auto sending = std::make_shared<SendArguments>();
  CLI::App* send_command = app.add_subcommand("send", "lines of standard input to a queue, one message each");
  add_reach(*send_command, sending->reach);
  send_command
      ->add_option("--on-unknown", sending->on_unknown,
                   "what becomes of a message whose confirm was lost with its connection: resend (needs "
                   "duplicate detection: stored once), report (at most once), resend-anyway (at least once)")
      ->check(CLI::IsMember({"resend", "report", "resend-anyway"}))
      ->capture_default_str();
  send_command->add_option("--rate", sending->rate_per_s, "messages per second; 0 = as fast as it goes")
      ->check(CLI::NonNegativeNumber);
  send_command->add_option("--in-flight", sending->in_flight, "messages without outcome, at most")
      ->check(CLI::Range(std::size_t{1}, std::size_t{100'000}))
      ->capture_default_str();
  send_command->footer(
      "A line is \"id TAB session TAB body\"; the session may be empty. One JSON line per message is printed "
      "when its outcome\n"
      "is known. Order is kept, within a session and without. docs/clients.md tells what is guaranteed.\n"
      "A line that is not like that ends it: what came before is finished, each with its JSON line; then the "
      "line's number\n"
      "is told. It and what follows it is not sent. Told to stop by SIGTERM or SIGINT it prints an unknown "
      "outcome for\n"
      "each message that has none, and how many lines were read and not sent.\n"
      "Exit status: 0 all confirmed, 1 some rejected, unknown or not sent, 2 no broker could be used, 64 "
      "wrong "
      "command\n"
      "             line or a malformed line.\n"
      "Example: printf 'id-1\\tA\\thello\\n' | mainstay send --endpoint a:5672,b:5672 --queue payments");
  send_command->callback([sending, &status] { status = send(*sending); });

  auto receiving = std::make_shared<ReceiveArguments>();
  CLI::App* receive_command =
      app.add_subcommand("receive", "prints messages of a queue and completes them, one JSON line each");
  add_reach(*receive_command, receiving->reach);
  receive_command->add_flag("--sessions", receiving->sessions,
                            "the queue requires sessions: one after another");
  receive_command->add_option("--count", receiving->count, "ends after so many; 0 = goes on");
  receive_command
      ->add_option("--idle", receiving->idle_s, "ends after so many seconds without a message; 0 = goes on")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1'000'000}));
  receive_command->footer(
      "A message is printed before it is completed: killed in between, it is printed again next time.\n"
      "Exit status: 0 done or asked to stop, 2 no broker could be used, 64 wrong command line.\n"
      "Example: mainstay receive --endpoint a:5672,b:5672 --queue payments --sessions --idle 5");
  receive_command->callback([receiving, &status] { status = receive(*receiving); });
}

}  // namespace mainstay::cli
