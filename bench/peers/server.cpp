#include "peers/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "io/system_clock.h"

namespace mainstay::bench {
namespace {

constexpr std::size_t kServersMax = 8;
/// For the signal handler: process groups that run, 0 = free.
std::array<std::atomic<int>, kServersMax> groups;

void remember(int group) {
  for (auto& entry : groups) {
    int none = 0;
    if (entry.compare_exchange_strong(none, group)) return;
  }
}
void forget(int group) {
  for (auto& entry : groups) {
    int expected = group;
    entry.compare_exchange_strong(expected, 0);
  }
}

extern "C" void kill_groups_and_end(int signal) {
  for (auto& entry : groups) {
    const int group = entry.load();
    if (group > 0) ::kill(-group, SIGKILL);
  }
  ::_exit(128 + signal);
}

/// The fields of /proc/PID/stat behind the program's name, which may hold blanks; [0] is the state.
std::vector<std::string> stat_fields(int process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(file, text);
  std::vector<std::string> fields;
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return fields;
  std::size_t at = name_end + 2;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    fields.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return fields;
}

bool listens(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool yes = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return yes;
}

}  // namespace

Server::Server(const std::string& name, const std::vector<std::string>& environment,
               std::vector<std::string> command, const std::string& log) {
  std::vector<std::string> arguments{"/usr/bin/env"};
  arguments.insert(arguments.end(), environment.begin(), environment.end());
  arguments.insert(arguments.end(), command.begin(), command.end());
  auto started = lab::Process::start({name, arguments, log});
  if (!started) throw Trouble{started.error().what};
  process_ = std::move(*started);
  remember(process_->pid());
}

Server::~Server() {
  // Descendants in sessions of their own end when they see that their parent is gone.
  const std::vector<int> all = processes();
  const int group = process_->pid();
  process_.reset();
  forget(group);
  for (int turn = 0; turn < 500; ++turn) {
    if (std::none_of(all.begin(), all.end(), [](int process) {
          const auto fields = stat_fields(process);
          return !fields.empty() && fields[0] != "Z";
        }))
      return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void Server::check_alive() {
  if (const auto end = process_->end())
    throw Trouble{process_->name() + " ended (" + end->text() + "): " + process_->log_tail()};
}

void Server::wait_for_port(std::uint16_t port, Duration most) {
  io::SystemClock clock;
  const Instant until = clock.now() + most;
  while (!listens(port)) {
    check_alive();
    if (clock.now() >= until)
      throw Trouble{process_->name() + " does not listen after " +
                    std::to_string(most.milliseconds() / 1000) + " s: " + process_->log_tail()};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

std::vector<int> Server::processes() const {
  return process_tree(process_->pid());
}

std::vector<int> process_tree(int root) {
  std::multimap<int, int> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    int process = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), process).ec != std::errc{}) continue;
    const auto fields = stat_fields(process);
    if (fields.size() > 1) children.emplace(std::stoi(fields[1]), process);
  }
  std::vector<int> tree{root};
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const auto [from, to] = children.equal_range(tree[i]);
    for (auto child = from; child != to; ++child) tree.push_back(child->second);
  }
  return tree;
}

double cpu_seconds(const std::vector<int>& processes) {
  double total = 0;
  for (const int process : processes) {
    const auto fields = stat_fields(process);
    if (fields.size() > 12) total += std::stod(fields[11]) + std::stod(fields[12]);
  }
  return total / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double machine_busy(Duration time) {
  struct Ticks {
    double all{}, idle{};
  };
  const auto read = [] {
    std::ifstream file("/proc/stat");
    std::string name;
    file >> name;  // "cpu": user nice system idle iowait irq softirq steal
    Ticks ticks;
    double value = 0;
    for (int i = 0; i < 8 && file >> value; ++i) {
      ticks.all += value;
      if (i == 3 || i == 4) ticks.idle += value;
    }
    return ticks;
  };
  const Ticks before = read();
  std::this_thread::sleep_for(std::chrono::nanoseconds(time.ns));
  const Ticks after = read();
  const double all = after.all - before.all;
  return all > 0 ? 1 - (after.idle - before.idle) / all : 0;
}

std::uint64_t resident_bytes(const std::vector<int>& processes) {
  std::uint64_t total = 0;
  for (const int process : processes) {
    std::ifstream file("/proc/" + std::to_string(process) + "/statm");
    std::uint64_t size = 0, resident = 0;
    if (file >> size >> resident) total += resident;
  }
  return total * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::vector<std::uint16_t> own_ports(std::size_t count) {
  auto ports = lab::free_loopback_ports(count);
  if (!ports) throw Trouble{ports.error().what};
  return *ports;
}

std::string package_version(const std::string& package) {
  std::ifstream status("/var/lib/dpkg/status");
  bool of_ours = false, installed = false;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Package: ")) {
      of_ours = line.substr(9) == package;
    } else if (of_ours && line.starts_with("Status: ")) {
      installed = line.ends_with(" installed");
    } else if (of_ours && installed && line.starts_with("Version: ")) {
      return line.substr(9);
    }
  }
  return "not installed";
}

void write_file(const std::string& name, const std::string& text) {
  std::ofstream file(name);
  file << text;
  if (!file.flush()) throw Trouble{"cannot write " + name};
}

int connect_loopback(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    throw Trouble{"no connection to 127.0.0.1:" + std::to_string(port)};
  }
  const int yes = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return fd;
}

void write_all(int socket, const char* bytes, std::size_t count) {
  while (count > 0) {
    const ssize_t written = ::send(socket, bytes, count, MSG_NOSIGNAL);
    if (written > 0) {
      bytes += written;
      count -= static_cast<std::size_t>(written);
    } else if (errno == EAGAIN) {
      pollfd wait{socket, POLLOUT, 0};
      if (::poll(&wait, 1, 30'000) == 0) throw Trouble{"the server takes nothing any more for 30 s"};
    } else if (errno != EINTR) {
      throw Trouble{std::string("the connection ended while writing: ") + std::strerror(errno)};
    }
  }
}

bool wait_readable(int socket, Duration most) {
  pollfd wait{socket, POLLIN, 0};
  const timespec time{static_cast<time_t>(most.ns / 1'000'000'000),
                      static_cast<long>(most.ns % 1'000'000'000)};
  return ::ppoll(&wait, 1, &time, nullptr) > 0;
}

void end_servers_on_signals() {
  struct sigaction action {};
  action.sa_handler = kill_groups_and_end;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace mainstay::bench
