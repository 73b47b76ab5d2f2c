#include "lab/voters.h"

#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "base/assert.h"

namespace mainstay::lab {
namespace {

namespace fs = std::filesystem;

constexpr const char* server = "/usr/bin/etcd";
constexpr const char* control = "/usr/bin/etcdctl";
constexpr std::int64_t start_timeout_s = 30;

Duration running_time() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return {std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec};
}

}  // namespace

std::string Voters::why_impossible() {
  for (const char* program : {server, control})
    if (::access(program, X_OK) != 0)
      return std::string(program) + " is missing: install Debian's etcd-server and etcd-client";
  return Network::why_impossible();
}

Voters::Voters(const Network& network, std::string seat, std::string directory)
    : network_(network), seat_(std::move(seat)), directory_(std::move(directory)) {}

Result<std::unique_ptr<Voters>, Failure> Voters::start(const Network& network,
                                                       const std::vector<std::string>& hosts,
                                                       const std::string& seat,
                                                       const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return Failure{"cannot create " + directory + ": " + error.message()};
  std::unique_ptr<Voters> voters(new Voters(network, seat, directory));
  for (const std::string& host : hosts) {
    const std::string url = "http://" + network.address_of(host);
    voters->members_.push_back({host, url + ":2380", url + ":2379", nullptr});
  }
  if (auto started = voters->restart_all(); !started) return started.error();
  if (auto serving = voters->wait_until_serving(seconds(start_timeout_s)); !serving) return serving.error();
  return voters;
}

std::vector<std::string> Voters::endpoints() const {
  std::vector<std::string> endpoints;
  for (const Member& member : members_) endpoints.push_back(member.client);
  return endpoints;
}

Voters::Member& Voters::member(const std::string& host) {
  for (Member& member : members_)
    if (member.host == host) return member;
  MS_ASSERT(false, "a drill names voters of its own cluster");
  return members_.front();
}

std::string Voters::data(const Member& member) const {
  return directory_ + "/" + member.host + "-" + std::to_string(generation_);
}

std::string Voters::initial_cluster() const {
  std::string text;
  for (const Member& member : members_) text += (text.empty() ? "" : ",") + member.host + "=" + member.peer;
  return text;
}

Process& Voters::process(const std::string& host) {
  Member& found = member(host);
  MS_ASSERT(found.process != nullptr, "a signal goes to a voter that runs");
  return *found.process;
}

void Voters::kill(const std::string& host) {
  member(host).process.reset();
}

void Voters::kill_all() {
  for (Member& member : members_)
    if (member.process) member.process->signal(SIGKILL);
  for (Member& member : members_) member.process.reset();
}

Result<void, Failure> Voters::restart(const std::string& host) {
  Member& one = member(host);
  if (one.process && !one.process->end()) return {};
  auto started = Process::start(
      {.name = "voter " + host,
       .arguments = {server, "--name", host, "--data-dir", data(one), "--listen-peer-urls", one.peer,
                     "--initial-advertise-peer-urls", one.peer, "--listen-client-urls", one.client,
                     "--advertise-client-urls", one.client, "--initial-cluster", initial_cluster(),
                     "--initial-cluster-token", "drill-" + std::to_string(generation_)},
       .log = directory_ + "/" + host + ".log",
       .environment = {},
       .network_namespace = network_.namespace_of(host)});
  if (!started) return started.error();
  one.process = std::move(*started);
  return {};
}

Result<void, Failure> Voters::restart_all() {
  for (const Member& member : members_)
    if (auto started = restart(member.host); !started) return started.error();
  return {};
}

Result<std::string, Failure> Voters::run(std::vector<std::string> arguments, Duration timeout) {
  arguments.insert(arguments.begin(), control);
  const auto finished = run_to_end({.name = "etcdctl",
                                    .arguments = std::move(arguments),
                                    .log = directory_ + "/command-" + std::to_string(++commands_) + ".log",
                                    .environment = {"ETCDCTL_API=3"},
                                    .network_namespace = network_.namespace_of(seat_)},
                                   timeout);
  if (!finished) return finished.error();
  if (!finished->end.ok()) return Failure{"etcdctl: " + finished->end.text() + ": " + finished->output};
  return {boost::system::in_place_value, finished->output};
}

Result<std::string, Failure> Voters::ask(const std::vector<std::string>& arguments) {
  std::string all;
  for (const std::string& endpoint : endpoints()) all += (all.empty() ? "" : ",") + endpoint;
  std::vector<std::string> command{"--endpoints=" + all, "--dial-timeout=1s", "--command-timeout=3s"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run(std::move(command), seconds(20));
}

Result<void, Failure> Voters::wait_until_serving(Duration timeout) {
  const Duration until = running_time() + timeout;
  for (;;) {
    const auto answer = ask({"get", "a-key-that-nobody-has-to-have"});
    if (answer) return {};
    if (running_time() >= until) return Failure{"the voters do not serve: " + answer.error().what};
    ::poll(nullptr, 0, 50);
  }
}

Result<void, Failure> Voters::save_snapshot(const std::string& host, const std::string& file) {
  const auto saved = run({"--endpoints=" + member(host).client, "snapshot", "save", file}, seconds(20));
  if (!saved) return saved.error();
  return {};
}

Result<void, Failure> Voters::restore_snapshot(const std::string& file) {
  kill_all();
  ++generation_;
  for (const Member& member : members_) {
    const auto restored =
        run({"snapshot", "restore", file, "--name", member.host, "--data-dir", data(member),
             "--initial-cluster", initial_cluster(), "--initial-advertise-peer-urls", member.peer,
             "--initial-cluster-token", "drill-" + std::to_string(generation_)},
            seconds(30));
    if (!restored) return restored.error();
  }
  if (auto started = restart_all(); !started) return started.error();
  return wait_until_serving(seconds(start_timeout_s));
}

}  // namespace mainstay::lab
