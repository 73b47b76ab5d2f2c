#include "broker_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "io/http_client.h"

extern char** environ;

namespace mainstay::bench {
namespace {

constexpr double kReadySeconds = 600;  // a long replay is a figure, not a failure
constexpr double kStopSeconds = 120;

/// What a node says of its group in `role`; null: it has another one, or does not answer.
boost::json::value group_as(const char* role, std::uint16_t control_port) {
  const auto answer = io::http_request({"127.0.0.1", control_port}, "GET", "/status", "", "", seconds(5));
  if (!answer || answer->status != 200) return nullptr;
  const auto status = boost::json::parse(answer->body);
  const auto* group = status.as_object().if_contains("group");
  if (group == nullptr || !group->is_object() || group->at("role").as_string() != role) return nullptr;
  return *group;
}

}  // namespace

std::uint16_t free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  std::uint16_t port = 0;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    port = ntohs(address.sin_port);
  }
  close(fd);
  return port;
}

namespace {

std::uint64_t number_in(pid_t pid, const char* table, const std::string& name) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/" + table);
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(name, 0) == 0) return std::strtoull(line.c_str() + name.size(), nullptr, 10);
  }
  return 0;
}

}  // namespace

Broker::Broker(const Common& common, const Setup& setup)
    : program_(common.program), directory_(common.directory + "/" + setup.name), setup_(setup) {
  amqp_port = free_port();
  control_port = free_port();
  std::filesystem::create_directories(directory_ + "/data");
  write_config();
  if (setup.in_group.empty()) {
    start();
  } else {
    spawn();
  }
}

void Broker::configure(const std::string& in_group) {
  setup_.in_group = in_group;
  write_config();
}

void Broker::write_config() const {
  std::ofstream config(directory_ + "/broker.toml");
  if (setup_.in_group.empty()) {
    config << "[node]\nname = \"bench-1\"\nregion = \"bench\"\ndata = \"data\"\n"
           << "[register]\nfile = \"register.db\"\ninitial_region = \"bench\"\n";
  } else {
    config << setup_.in_group;
  }
  // Connections that wait for their turn in a long measurement are not polled: nobody may end them for that.
  config << "[amqp]\nlisten = \"127.0.0.1:" << amqp_port << "\"\nanonymous = true\nidle_timeout_s = 36000\n"
         << "[control]\nlisten = \"127.0.0.1:" << control_port << "\"\n"
         << "[log]\nlevel = \"" << setup_.log_level << "\"\n";
  if (setup_.declare_bench_queue) config << "[[queue]]\nname = \"bench\"\n";
  config << setup_.more_config;
  config.close();
  if (!config) throw CouldNotRun("cannot write " + directory_ + "/broker.toml");
}

Broker::~Broker() {
  try {
    stop();
  } catch (const std::exception&) {
    kill();
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

double Broker::start() {
  const double begin = seconds_now();
  spawn();
  Progress progress("waiting until the broker is ready, in seconds");
  for (;;) {
    if (ready()) return seconds_now() - begin;
    check_alive();
    const double waited = seconds_now() - begin;
    if (waited > kReadySeconds)
      throw CouldNotRun("the broker was not ready after " + readable(kReadySeconds) + " s: " + log_tail());
    progress.at(static_cast<std::uint64_t>(waited), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void Broker::spawn() {
  const std::string config = directory_ + "/broker.toml", log = directory_ + "/broker.log";
  const char* argv[] = {program_.c_str(), "serve", "--config", config.c_str(), nullptr};
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  const int failed = posix_spawn(&pid_, program_.c_str(), &files, nullptr, const_cast<char**>(argv), environ);
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) {
    pid_ = 0;
    throw CouldNotRun("cannot start " + program_ + ": " + std::strerror(failed));
  }
}

void Broker::stop() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGTERM);
  const double begin = seconds_now();
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (seconds_now() - begin > kStopSeconds)
      throw CouldNotRun("the broker did not stop within " + readable(kStopSeconds) + " s: " + log_tail());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  pid_ = 0;
}

void Broker::kill() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = 0;
}

void Broker::check_alive() const {
  int status = 0;
  if (pid_ != 0 && waitpid(pid_, &status, WNOHANG) == 0) return;
  pid_ = 0;
  throw CouldNotRun("the broker ended by itself: " + log_tail());
}

bool Broker::ready() const {
  const auto answer = io::http_request({"127.0.0.1", control_port}, "GET", "/readyz", "", "", seconds(5));
  return answer && answer->status == 200;
}

std::size_t Broker::in_sync() const {
  const auto group = group_as("leader", control_port);
  return group.is_null() ? 0 : group.at("in_sync").as_array().size();
}

double Broker::suspect_after_s() const {
  const auto group = group_as("backup", control_port);
  return group.is_null() ? 0 : group.at("suspect_after_ms").to_number<double>() / 1e3;
}

std::uint64_t Broker::active(const std::string& queue) const {
  const auto answer = io::http_request({"127.0.0.1", control_port}, "GET", "/status", "", "", seconds(60));
  if (!answer) throw CouldNotRun("the broker's status: " + answer.error().what);
  const auto status = boost::json::parse(answer->body);
  for (const auto& each : status.at("queues").as_array()) {
    if (each.at("name").as_string() == queue.c_str()) return each.at("active").to_number<std::uint64_t>();
  }
  throw CouldNotRun("the broker has no queue " + queue);
}

Broker::Sample Broker::sample() const {
  check_alive();
  Sample out;
  const auto answer = io::http_request({"127.0.0.1", control_port}, "GET", "/status", "", "", seconds(60));
  if (!answer) throw CouldNotRun("the broker's status: " + answer.error().what);
  const auto status = boost::json::parse(answer->body);
  out.syncs = status.at("journal").at("syncs").to_number<std::uint64_t>();
  out.records = status.at("journal").at("records").to_number<std::uint64_t>();
  for (const auto& queue : status.at("queues").as_array()) {
    if (queue.at("name").as_string() == "bench") out.active = queue.at("active").to_number<std::uint64_t>();
  }
  out.cpu_seconds = cpu_seconds();
  out.read_bytes = number_in(pid_, "io", "rchar:");
  out.rss_bytes = rss_bytes();
  out.rss_peak_bytes = number_in(pid_, "status", "VmHWM:") * 1024;
  return out;
}

double Broker::cpu_seconds() const {
  check_alive();
  double seconds = 0;
  std::ifstream stat("/proc/" + std::to_string(pid_) + "/stat");
  std::string field;
  for (int i = 1; i <= 15 && stat >> field; ++i) {
    if (i == 14 || i == 15) seconds += std::stod(field) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  return seconds;
}

std::uint64_t Broker::rss_bytes() const {
  check_alive();
  return number_in(pid_, "status", "VmRSS:") * 1024;
}

Broker::Space Broker::space() const {
  Space out;
  std::error_code error;
  std::filesystem::recursive_directory_iterator at(directory_ + "/data", error), end;
  // Files come and go meanwhile; what vanished between listing and asking takes no space.
  for (; !error && at != end; at.increment(error)) {
    struct stat status {};
    if (::stat(at->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const auto bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
    const std::string name = at->path().filename();
    if (name.rfind("segment-", 0) == 0) {
      out.segments_bytes += bytes;
      ++out.segments;
    } else if (name.rfind("checkpoint-", 0) == 0) {
      out.checkpoints_bytes += bytes;
    } else {
      out.other_bytes += bytes;
    }
  }
  return out;
}

std::string Broker::longest_waits() const {
  const auto answer = io::http_request({"127.0.0.1", control_port}, "GET", "/metrics", "", "", seconds(5));
  if (!answer || answer->status != 200) return "no metrics";
  std::istringstream lines(answer->body);
  std::string all;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("mainstay_loop_longest_turn_seconds{") ||
        line.starts_with("mainstay_commit_longest_seconds "))
      all += "\n" + line;
  }
  return all;
}

std::string Broker::log_tail(std::size_t bytes) const {
  std::ifstream in(directory_ + "/broker.log");
  std::stringstream all;
  all << in.rdbuf();
  std::string text = all.str();
  if (text.size() > bytes) text.erase(0, text.size() - bytes);
  return text.empty() ? "its log is empty" : "the end of its log is\n" + text;
}

void expect_active(const Broker& broker, std::uint64_t expected) {
  const std::uint64_t active = broker.sample().active;
  if (active != expected)
    throw CouldNotRun("the queue holds " + readable(static_cast<double>(active)) + " messages and not " +
                      readable(static_cast<double>(expected)));
}

}  // namespace mainstay::bench
