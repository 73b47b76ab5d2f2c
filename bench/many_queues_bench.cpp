// Question: what do many queues, connections and sessions cost? Memory of each while idle, and the
// throughput of publishing to all of them against publishing to a single queue.
//
// Every one of 10,000 session queues gets messages in each of 100 sessions. They come over 16 of the 1,000
// connections, each with senders for its share of the queues; the others are open, each with a sender, and
// idle. The single queue is in a broker of its own, published to over one connection; both are measured in
// turns.
#include <poll.h>
#include <sys/resource.h>

#include <thread>

#include "load.h"

namespace mainstay::bench {
namespace {

constexpr double kRatio = 0.7, kQueueKiB = 4, kConnectionKiB = 128;
constexpr std::uint32_t kTargetQueues = 10'000, kTargetConnections = 1'000, kTargetSessions = 100;
constexpr std::uint32_t kWindow = 1000;
constexpr std::uint32_t kSendersMax = 1000;  ///< per connection: the server takes 1,024 links in a session

void settle_down() {
  std::this_thread::sleep_for(std::chrono::seconds(2));
}

std::string queue_name(std::uint32_t i) {
  return "q-" + std::to_string(i);
}

/// Senders to many queues over a few connections, driven by one thread.
class Spread {
 public:
  Spread(const Broker& broker, std::uint32_t connections, std::uint32_t queues) {
    Progress progress("opening senders");
    for (std::uint32_t c = 0; c < connections; ++c) {
      Member member{connect(broker.amqp_port), {}, 0, 0, {}};
      for (std::uint32_t q = c; q < queues; q += connections) {
        member.senders.push_back(open_sender(*member.connection, queue_name(q)));
        progress.at(q, queues);
      }
      members_.push_back(std::move(member));
    }
  }
  ~Spread() {
    for (Member& member : members_) member.connection->close(seconds(1));
  }
  Spread(const Spread&) = delete;
  Spread& operator=(const Spread&) = delete;

  /// Round the queues of each connection; each round of them goes to the next session.
  double publish(std::uint64_t count, const std::vector<Buffer>& sessions) {
    std::uint64_t sent = 0, done = 0;
    std::vector<client::SendOutcome> outcomes;
    std::vector<pollfd> waiting;
    const auto window = std::max<std::uint64_t>(1, kWindow / members_.size());
    const double start = seconds_now();
    double alive = start;
    while (done < count) {
      std::uint64_t before = done;
      for (Member& member : members_) {
        for (std::size_t stuck = 0;
             sent < count && member.in_flight < window && stuck < member.senders.size();) {
          client::Sender& sender = member.senders[member.next % member.senders.size()];
          const Buffer& message = sessions[member.next / member.senders.size() % sessions.size()];
          if (!sender.send(member.next, message)) {
            ++stuck;  // no credit for this queue just now: not skipped, asked again after a poll
            break;
          }
          member.touched.push_back(member.next % member.senders.size());
          ++member.next;
          ++member.in_flight;
          ++sent;
        }
        if (member.in_flight == 0) continue;
        if (const auto polled = member.connection->poll({0}); !polled)
          throw CouldNotRun(polled.error().description);
        // Only senders with something outstanding are asked: the client must not cost more than the server.
        for (std::size_t i = 0; i < member.touched.size();) {
          client::Sender& sender = member.senders[member.touched[i]];
          sender.take_outcomes(outcomes);
          for (const client::SendOutcome& outcome : outcomes) {
            if (outcome.kind != client::SendOutcome::Kind::accepted)
              throw CouldNotRun("a message was not accepted: " + outcome.error.description);
          }
          done += outcomes.size();
          member.in_flight -= outcomes.size();
          if (sender.unsettled() == 0) {
            member.touched[i] = member.touched.back();
            member.touched.pop_back();
          } else {
            ++i;
          }
        }
      }
      if (done != before) {
        alive = seconds_now();
        continue;
      }
      if (seconds_now() - alive > 120) throw CouldNotRun("nothing was confirmed for 120 s");
      waiting.clear();
      for (Member& member : members_) waiting.push_back({member.connection->descriptor(), POLLIN, 0});
      ::poll(waiting.data(), waiting.size(), 100);
    }
    return seconds_now() - start;
  }

 private:
  struct Member {
    std::unique_ptr<client::Connection> connection;
    std::vector<client::Sender> senders;
    std::uint64_t next;
    std::uint64_t in_flight;
    std::vector<std::size_t> touched;  ///< senders that may have something unconfirmed
  };
  std::vector<Member> members_;
};

void allow_many_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);  // the broker inherits it
}

}  // namespace

int run_many_queues_bench(const Arguments& arguments) {
  std::uint32_t queues = kTargetQueues, connections = kTargetConnections, sessions = kTargetSessions,
                active = 16;
  std::uint64_t messages = 200'000;
  return run_benchmark(
      {"many-queues",
       "10,000 queues with 100 sessions each and 1,000 connections: memory while idle, publishing against a "
       "single queue.",
       "  ./dev bench many-queues\n"
       "  ./dev bench many-queues --queues 1000 --connections 100\n"},
      arguments,
      [&](CLI::App& app) {
        app.add_option("--queues", queues)->capture_default_str()->check(CLI::Range(1U, 100'000U));
        app.add_option("--connections", connections)->capture_default_str()->check(CLI::Range(1U, 20'000U));
        app.add_option("--sessions", sessions, "active in each queue")
            ->capture_default_str()
            ->check(CLI::Range(1U, 100'000U));
        app.add_option("--active", active, "connections that publish; the others are open and idle")
            ->capture_default_str()
            ->check(CLI::Range(1U, 1000U));
        app.add_option("--messages", messages, "per round")
            ->capture_default_str()
            ->check(CLI::Range(1000ULL, 1'000'000'000ULL));
      },
      [&](const Common& common, Record& record) {
        active = std::min(active, connections);
        if ((queues + active - 1) / active > kSendersMax)
          throw CouldNotRun(std::to_string(queues) + " queues need at least " +
                            std::to_string((queues + kSendersMax - 1) / kSendersMax) + " for --active");
        allow_many_files();
        std::string declared;
        for (std::uint32_t q = 0; q < queues; ++q)
          declared += "[[queue]]\nname = \"" + queue_name(q) + "\"\nrequires_session = true\n";
        Broker single(common, {.name = "single", .more_config = "", .declare_bench_queue = true});
        const double begin = seconds_now();
        Broker broker(common, {.name = "many", .more_config = declared, .declare_bench_queue = true});
        Figure first_start =
            figure("many.first_start_s", "first start with " + readable(queues) + " queues to declare", "s");
        first_start.samples.values = {seconds_now() - begin};
        settle_down();
        Figure per_queue =
            at_most(figure("many.memory_per_queue_kib", "memory of an idle queue", "KiB"), kQueueKiB);
        per_queue.samples.values = {
            (static_cast<double>(broker.rss_bytes()) - static_cast<double>(single.rss_bytes())) / queues /
            1024};

        Figure per_connection = at_most(
            figure("many.memory_per_connection_kib", "memory of an idle connection", "KiB"), kConnectionKiB);
        std::vector<std::unique_ptr<client::Connection>> idle;
        std::vector<client::Sender> idle_senders;
        const double before = static_cast<double>(broker.rss_bytes());
        {
          Progress progress("opening connections");
          for (std::uint32_t c = 0; c + active < connections; ++c) {
            idle.push_back(connect(broker.amqp_port));
            idle_senders.push_back(open_sender(*idle.back(), queue_name(c % queues)));
            progress.at(c, connections);
          }
        }
        settle_down();
        if (!idle.empty())
          per_connection.samples.values = {(static_cast<double>(broker.rss_bytes()) - before) /
                                           static_cast<double>(idle.size()) / 1024};

        std::vector<Buffer> to_sessions;
        for (std::uint32_t s = 0; s < sessions; ++s)
          to_sessions.push_back(load_message(1024, "account-" + std::to_string(s)));
        const Buffer plain = load_message(1024);
        Figure ratio = at_least(
            figure("many.publish_ratio", "publishing to all of them, over a single queue", "ratio"), kRatio);
        Figure rate = figure("many.publish_rate", "  publishing to all of them", "messages/s");
        Figure cpu = figure("many.server_cpu_us", "  server CPU per message, all of them", "µs");
        Figure single_cpu =
            figure("many.single_server_cpu_us", "  server CPU per message, a single queue", "µs");
        Figure single_rate = figure("many.single_rate", "  publishing to a single queue", "messages/s");
        Spread spread(broker, active, queues);
        Publisher publisher(single);
        {
          Progress progress("one message for each session");
          const std::uint64_t all = std::uint64_t{queues} * sessions;
          for (std::uint64_t done = 0; done < all; done += std::min<std::uint64_t>(all - done, messages)) {
            // Both keep what they are given, so both logs grow: one that is emptied between the rounds would
            // write into segments that it has already.
            spread.publish(std::min<std::uint64_t>(all - done, messages), to_sessions);
            publisher.publish(std::min<std::uint64_t>(all - done, messages), kWindow, plain);
            progress.at(done, all);
          }
        }
        Progress progress("publishing");
        for (int round = 0; round < common.rounds; ++round) {
          progress.at(static_cast<std::uint64_t>(round), static_cast<std::uint64_t>(common.rounds));
          const double cpu_before = broker.cpu_seconds(), single_cpu_before = single.cpu_seconds();
          const double ours = spread.publish(messages, to_sessions);
          const double theirs = publisher.publish(messages, kWindow, plain);
          cpu.samples.values.push_back((broker.cpu_seconds() - cpu_before) / static_cast<double>(messages) *
                                       1e6);
          single_cpu.samples.values.push_back((single.cpu_seconds() - single_cpu_before) /
                                              static_cast<double>(messages) * 1e6);
          for (const auto& connection : idle) {  // their heartbeats
            if (const auto polled = connection->poll({0}); !polled)
              throw CouldNotRun("an idle connection: " + polled.error().description);
          }
          ratio.samples.values.push_back(theirs / ours);
          rate.samples.values.push_back(static_cast<double>(messages) / ours);
          single_rate.samples.values.push_back(static_cast<double>(messages) / theirs);
        }
        Figure memory = figure("many.rss_mib", "  resident memory with every session active", "MiB");
        memory.samples.values = {static_cast<double>(broker.rss_bytes()) / kMiB};
        if (queues < kTargetQueues || connections < kTargetConnections || sessions < kTargetSessions)
          ratio.note = per_queue.note = per_connection.note =
              "measured with " + readable(queues) + " queues, " + readable(connections) +
              " connections and " + readable(sessions) +
              " sessions per queue; the targets are for 10,000, 1,000 and 100";
        record.figures = {ratio,     rate,           single_rate, cpu,   single_cpu,
                          per_queue, per_connection, first_start, memory};
      });
}

}  // namespace mainstay::bench
