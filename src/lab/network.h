// A network of named hosts on this machine that can be cut, delayed and made to lose packets, each direction
// by itself. Each host is a network namespace with one interface, "link", a TUN device whose other end this
// process holds; a thread carries every packet from one to another by the rules of a PacketRelay. So it needs
// no bridge, no packet filter and no kernel module beyond TUN.
//
// Nothing has to be cleaned up, ever: namespaces have no names and interfaces are not persistent, so the
// kernel removes them when this process is gone, in whatever way it went.
//
// Needs root, or a user namespace of its own (`unshare -Urn`).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "lab/packet_relay.h"

namespace mainstay::lab {

/// Thread-safe, but for create and destruction.
class Network {
 public:
  /// Why this machine or this user cannot have one; empty when it can. For tests and drills that skip.
  [[nodiscard]] static std::string why_impossible();

  /// @param hosts  their names, all different, at most 200. @param seed  of losses and jitter.
  [[nodiscard]] static Result<std::unique_ptr<Network>, Failure> create(const std::vector<std::string>& hosts,
                                                                        std::uint64_t seed);
  /// Processes that still run in it are cut off.
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// IPv4, "10.99.0.1". In the namespace 127.0.0.1 is there, too.
  [[nodiscard]] std::string address_of(const std::string& host) const;
  /// For Command::network_namespace; valid as long as this object.
  [[nodiscard]] int namespace_of(const std::string& host) const;

  /// From now on. What is on its way under older rules arrives as planned.
  void set(const std::string& from, const std::string& to, const LinkRules& rules);
  void set_both(const std::string& one, const std::string& other, const LinkRules& rules);
  /// All links between any two hosts.
  void set_all(const LinkRules& rules);
  /// One direction; its other rules stay for when it is healed.
  void cut(const std::string& from, const std::string& to);
  void heal(const std::string& from, const std::string& to);
  /// Both directions between this host and each other: its cable is out.
  void isolate(const std::string& host);
  void rejoin(const std::string& host);
  /// Heals every cut; delay and loss stay.
  void heal_all();

  [[nodiscard]] LinkCounts counts(const std::string& from, const std::string& to) const;

  /// The calling thread's sockets are made on `host` while this lives; processes it starts run there. To be
  /// ended on the same thread, before the network.
  class Visit {
   public:
    Visit(const Network& network, const std::string& host);
    ~Visit();
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

   private:
    int home_;
  };

 private:
  struct Host {
    std::string name;
    int space = -1;   ///< the namespace
    int device = -1;  ///< our end of its interface
  };
  Network(std::vector<Host> hosts, std::uint64_t seed, int wake_up);
  [[nodiscard]] std::size_t number_of(const std::string& host) const;
  void change(std::size_t from, std::size_t to, bool cut);
  void run();
  void carry_from(std::size_t from);
  void carry_due();

  const std::vector<Host> hosts_;
  mutable std::mutex mutex_;  // guards relay_
  PacketRelay relay_;
  const int wake_up_;  ///< an eventfd
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace mainstay::lab
