#include "lab/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "base/assert.h"

namespace mainstay::lab {
namespace {

constexpr const char* interface_name = "link";
constexpr std::uint32_t subnet = (10U << 24) | (99U << 16);  // 10.99.0.0/24, seen in these namespaces only
constexpr std::size_t hosts_max = 200;
constexpr std::size_t packet_bytes_max = 1 << 16;
/// Packets of one host before the others get their turn.
constexpr int burst = 64;

Instant now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return {std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec};
}

std::uint32_t address_number(std::size_t host) {
  return subnet + static_cast<std::uint32_t>(host) + 1;
}

/// Brings one interface up, with an address unless `address` is 0. @return the failed step, or nothing.
const char* bring_up(const char* name, std::uint32_t address) {
  const int control = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return "socket";
  const auto request = [&](unsigned long what, ifreq& argument) {
    std::strncpy(argument.ifr_name, name, IFNAMSIZ - 1);
    return ::ioctl(control, what, &argument) == 0;
  };
  const auto request_address = [&](unsigned long what, std::uint32_t value) {
    ifreq argument{};
    sockaddr_in internet{};
    internet.sin_family = AF_INET;
    internet.sin_addr.s_addr = htonl(value);
    std::memcpy(&argument.ifr_addr, &internet, sizeof internet);
    return request(what, argument);
  };
  const char* failed = nullptr;
  if (address != 0 &&
      (!request_address(SIOCSIFADDR, address) || !request_address(SIOCSIFNETMASK, 0xffffff00)))
    failed = "the interface's address";
  // What hosts send while the relay does not run is late, not lost.
  ifreq queue{};
  queue.ifr_qlen = 10'000;
  if (address != 0 && failed == nullptr && !request(SIOCSIFTXQLEN, queue)) failed = "the interface's queue";
  ifreq flags{};
  flags.ifr_flags = static_cast<short>(IFF_UP | IFF_RUNNING);
  if (failed == nullptr && !request(SIOCSIFFLAGS, flags)) failed = "bringing the interface up";
  const int reason = errno;
  ::close(control);
  errno = reason;
  return failed;
}

/// On a thread of its own, which thereby leaves this process's network.
const char* make_host(std::size_t number, int& space, int& device) {
  if (::unshare(CLONE_NEWNET) != 0) return "a network namespace";
  space = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (space < 0) return "/proc/thread-self/ns/net";
  device = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) return "/dev/net/tun";
  ifreq request{};
  request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI);
  std::strncpy(request.ifr_name, interface_name, IFNAMSIZ - 1);
  if (::ioctl(device, TUNSETIFF, &request) != 0) return "a TUN device";
  if (const char* failed = bring_up("lo", 0)) return failed;
  return bring_up(interface_name, address_number(number));
}

}  // namespace

std::string Network::why_impossible() {
  const auto made = create({"one"}, 1);
  return made ? std::string() : made.error().what;
}

Result<std::unique_ptr<Network>, Failure> Network::create(const std::vector<std::string>& names,
                                                          std::uint64_t seed) {
  MS_ASSERT(!names.empty() && names.size() <= hosts_max, "a network has 1 to 200 hosts");
  MS_ASSERT(std::set<std::string>(names.begin(), names.end()).size() == names.size(),
            "names of hosts differ");
  std::vector<Host> hosts;
  const char* failed = nullptr;
  int reason = 0;
  for (std::size_t i = 0; i < names.size() && failed == nullptr; ++i) {
    Host host{.name = names[i]};
    std::thread([&] {
      failed = make_host(i, host.space, host.device);
      reason = errno;
    }).join();
    hosts.push_back(host);
  }
  const int wake_up = failed == nullptr ? ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
  if (failed == nullptr && wake_up < 0) {
    failed = "an eventfd";
    reason = errno;
  }
  if (failed != nullptr) {
    for (const Host& host : hosts) {
      if (host.device >= 0) ::close(host.device);
      if (host.space >= 0) ::close(host.space);
    }
    return Failure{std::string("cannot make a network of its own for the drill: ") + failed + ": " +
                   std::strerror(reason) + ". It takes root, or `unshare -Urn` before the command"};
  }
  return std::unique_ptr<Network>(new Network(std::move(hosts), seed, wake_up));
}

Network::Network(std::vector<Host> hosts, std::uint64_t seed, int wake_up)
    : hosts_(std::move(hosts)), relay_(hosts_.size(), seed), wake_up_(wake_up) {
  thread_ = std::thread([this] { run(); });
}

Network::~Network() {
  stop_ = true;
  const std::uint64_t one = 1;
  static_cast<void>(::write(wake_up_, &one, sizeof one));
  thread_.join();
  for (const Host& host : hosts_) {
    ::close(host.device);
    ::close(host.space);
  }
  ::close(wake_up_);
}

std::size_t Network::number_of(const std::string& host) const {
  for (std::size_t i = 0; i < hosts_.size(); ++i)
    if (hosts_[i].name == host) return i;
  MS_ASSERT(false, "a drill names hosts of its own network");
  return 0;
}

std::string Network::address_of(const std::string& host) const {
  return "10.99.0." + std::to_string(number_of(host) + 1);
}

int Network::namespace_of(const std::string& host) const {
  return hosts_[number_of(host)].space;
}

void Network::set(const std::string& from, const std::string& to, const LinkRules& rules) {
  const std::lock_guard lock(mutex_);
  relay_.set_rules(number_of(from), number_of(to), rules);
}

void Network::set_both(const std::string& one, const std::string& other, const LinkRules& rules) {
  set(one, other, rules);
  set(other, one, rules);
}

void Network::set_all(const LinkRules& rules) {
  for (const Host& from : hosts_)
    for (const Host& to : hosts_)
      if (from.name != to.name) set(from.name, to.name, rules);
}

void Network::change(std::size_t from, std::size_t to, bool cut) {
  if (from == to) return;
  const std::lock_guard lock(mutex_);
  LinkRules rules = relay_.rules(from, to);
  rules.cut = cut;
  relay_.set_rules(from, to, rules);
}

void Network::cut(const std::string& from, const std::string& to) {
  change(number_of(from), number_of(to), true);
}

void Network::heal(const std::string& from, const std::string& to) {
  change(number_of(from), number_of(to), false);
}

void Network::isolate(const std::string& host) {
  const std::size_t one = number_of(host);
  for (std::size_t other = 0; other < hosts_.size(); ++other) {
    change(one, other, true);
    change(other, one, true);
  }
}

void Network::rejoin(const std::string& host) {
  const std::size_t one = number_of(host);
  for (std::size_t other = 0; other < hosts_.size(); ++other) {
    change(one, other, false);
    change(other, one, false);
  }
}

void Network::heal_all() {
  for (std::size_t from = 0; from < hosts_.size(); ++from)
    for (std::size_t to = 0; to < hosts_.size(); ++to) change(from, to, false);
}

LinkCounts Network::counts(const std::string& from, const std::string& to) const {
  const std::lock_guard lock(mutex_);
  return relay_.counts(number_of(from), number_of(to));
}

void Network::run() {
  std::vector<pollfd> waiting;
  for (const Host& host : hosts_) waiting.push_back({host.device, POLLIN, 0});
  waiting.push_back({wake_up_, POLLIN, 0});
  while (!stop_) {
    std::optional<Instant> due;
    {
      const std::lock_guard lock(mutex_);
      due = relay_.next_due();
    }
    timespec timeout{};
    if (due) {
      const std::int64_t ns = std::max<std::int64_t>(0, (*due - now()).ns);
      timeout = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    }
    if (::ppoll(waiting.data(), waiting.size(), due ? &timeout : nullptr, nullptr) < 0) continue;
    for (std::size_t i = 0; i < hosts_.size(); ++i)
      if (waiting[i].revents != 0) carry_from(i);
    carry_due();
  }
}

void Network::carry_from(std::size_t from) {
  std::array<std::byte, packet_bytes_max> packet;
  for (int i = 0; i < burst; ++i) {
    const ssize_t bytes = ::read(hosts_[from].device, packet.data(), packet.size());
    // The kernel also sends IPv6 of its own, about routers.
    if (bytes < 0) return;
    if (bytes < 20 || (static_cast<unsigned>(packet[0]) >> 4) != 4) continue;
    std::uint32_t destination = 0;
    std::memcpy(&destination, packet.data() + 16, sizeof destination);
    const std::uint32_t to = ntohl(destination) - subnet - 1;
    if (to >= hosts_.size() || to == from) continue;
    const BytesView view = BytesView(packet).first(static_cast<std::size_t>(bytes));
    PacketRelay::Fate fate{};
    {
      const std::lock_guard lock(mutex_);
      fate = relay_.enter(from, to, view, now());
    }
    // A full queue at the other end loses the packet, as a network does.
    if (fate == PacketRelay::Fate::hand_over)
      static_cast<void>(::write(hosts_[to].device, view.data(), view.size()));
  }
}

void Network::carry_due() {
  for (;;) {
    std::optional<PacketRelay::Delivery> delivery;
    {
      const std::lock_guard lock(mutex_);
      delivery = relay_.take_due(now());
    }
    if (!delivery) return;
    static_cast<void>(::write(hosts_[delivery->to].device, delivery->packet.data(), delivery->packet.size()));
  }
}

Network::Visit::Visit(const Network& network, const std::string& host)
    : home_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
  MS_ASSERT(home_ >= 0, "a thread can name its network namespace");
  MS_ASSERT(::setns(network.namespace_of(host), CLONE_NEWNET) == 0, "who made a namespace may enter it");
}

Network::Visit::~Visit() {
  MS_ASSERT(::setns(home_, CLONE_NEWNET) == 0, "a thread may go back to the namespace it came from");
  ::close(home_);
}

}  // namespace mainstay::lab
