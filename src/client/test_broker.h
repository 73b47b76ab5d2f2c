// For tests: a small AMQP peer in a thread of the test, on Proton's engine as server. Queues with sessions,
// peek-lock, drain and duplicate detection, enough to test clients against without our own broker; and
// trouble on request: cuts, lost acknowledgements, rejections. It is a peer, not a reference.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <proton/codec.h>
#include <proton/condition.h>
#include <proton/connection.h>
#include <proton/connection_driver.h>
#include <proton/delivery.h>
#include <proton/disposition.h>
#include <proton/event.h>
#include <proton/link.h>
#include <proton/message.h>
#include <proton/sasl.h>
#include <proton/session.h>
#include <proton/terminus.h>
#include <proton/transport.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"

namespace mainstay::client {

class TestBroker {
 public:
  struct Stored {
    std::string id, group;
    Buffer bytes;
    std::uint32_t delivery_count = 0;
    bool locked = false;
  };
  struct Queue {
    bool sessions = false;
    bool detect_duplicates = false;
    std::list<Stored> messages;
    std::set<std::string> seen_ids;
    std::vector<std::string> accepted_ids;  ///< in order of acceptance, without duplicates
    std::vector<std::string> completed_ids;
    std::vector<std::pair<std::string, std::string>> dead;  ///< id, reason
    std::uint64_t duplicates = 0;
    std::set<std::string> locked_groups;
  };
  struct Rejection {
    std::string condition, description;
  };

  explicit TestBroker(const std::string& queue) : TestBroker(queue, Queue()) {}
  TestBroker(const std::string& name, Queue queue) {
    queues_.emplace(name, std::move(queue));
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    MS_ASSERT(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0, "loopback can be bound");
    MS_ASSERT(::listen(listener_, 64) == 0, "a bound socket can listen");
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~TestBroker() {
    stop_ = true;
    thread_.join();
    for (auto& peer : peers_) drop(*peer);
    peers_.clear();
    ::close(listener_);
  }
  TestBroker(const TestBroker&) = delete;
  TestBroker& operator=(const TestBroker&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }

  /// Looks at or changes a queue under the lock.
  template <class F>
  auto with(const std::string& queue, F f) {
    const std::lock_guard lock(mutex_);
    return f(queues_.at(queue));
  }
  /// Drops every connection at once.
  void cut() { cut_ = true; }
  /// While true: messages are taken, outcomes are withheld.
  void withhold_outcomes(bool on) { withhold_ = on; }
  /// While true: nothing is read or written, as in a stopped process.
  void freeze(bool on) { frozen_ = on; }
  /// While true: settlements of received messages are neither done nor answered.
  void ignore_settlements(bool on) { ignore_settlements_ = on; }
  /// While true: new connections are dropped at once.
  void refuse_connections(bool on) { refuse_ = on; }
  /// Closes every connection with this condition.
  void close_all(const std::string& condition) {
    const std::lock_guard lock(mutex_);
    close_condition_ = condition;
  }
  /// After that many further messages taken: cut without answering the last one.
  void cut_after(int messages) { cut_after_ = messages; }
  void set_reject(std::function<std::optional<Rejection>(const Stored&)> reject) {
    const std::lock_guard lock(mutex_);
    reject_ = std::move(reject);
  }
  /// Credit given to senders.
  std::atomic<int> credit = 1000;
  std::atomic<int> connections = 0;

 private:
  struct Lent {
    std::string queue;
    std::list<Stored>::iterator message;
  };
  struct Link {
    std::string queue, group;
    bool waiting = false;  ///< attach not answered: no session yet
    std::chrono::steady_clock::time_point deadline;
    std::map<pn_delivery_t*, Lent> lent;
  };
  struct Peer {
    pn_connection_driver_t driver{};
    int socket = -1;
    std::map<pn_link_t*, Link> links;
    std::vector<pn_delivery_t*> withheld;
    bool broken = false;
  };

  void run() {
    while (!stop_) {
      std::vector<pollfd> waiting{{listener_, POLLIN, 0}};
      for (auto& peer : peers_) {
        const bool writing = pn_connection_driver_write_buffer(&peer->driver).size > 0;
        waiting.push_back({peer->socket, static_cast<short>(writing ? POLLIN | POLLOUT : POLLIN), 0});
      }
      ::poll(waiting.data(), waiting.size(), 2);
      if (frozen_) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        continue;
      }
      const std::lock_guard lock(mutex_);
      accept_new();
      for (auto& peer : peers_) serve(*peer);
      if (cut_.exchange(false)) {
        for (auto& peer : peers_) peer->broken = true;
      }
      std::erase_if(peers_, [this](const std::unique_ptr<Peer>& peer) {
        if (!peer->broken && !pn_connection_driver_finished(&peer->driver)) return false;
        drop(*peer);
        return true;
      });
    }
  }

  void accept_new() {
    while (true) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      ++connections;
      if (refuse_) {
        ::close(fd);
        continue;
      }
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      auto peer = std::make_unique<Peer>();
      peer->socket = fd;
      pn_connection_driver_init(&peer->driver, nullptr, nullptr);
      pn_transport_set_server(peer->driver.transport);
      pn_sasl_allowed_mechs(pn_sasl(peer->driver.transport), "ANONYMOUS");
      peers_.push_back(std::move(peer));
    }
  }

  void drop(Peer& peer) {
    for (auto& [link, state] : peer.links) release_link(state);
    ::close(peer.socket);
    for (pn_link_t* link = pn_link_head(peer.driver.connection, 0); link != nullptr;) {
      pn_link_t* next = pn_link_next(link, 0);
      pn_link_free(link);
      link = next;
    }
    pn_connection_driver_destroy(&peer.driver);
  }

  void release_link(Link& link) {
    for (auto& [delivery, lent] : link.lent) lent.message->locked = false;
    link.lent.clear();
    if (!link.group.empty()) queues_.at(link.queue).locked_groups.erase(link.group);
  }

  void serve(Peer& peer) {
    while (!peer.broken) {
      const pn_rwbytes_t space = pn_connection_driver_read_buffer(&peer.driver);
      if (space.size == 0) break;
      const ssize_t got = ::recv(peer.socket, space.start, space.size, 0);
      if (got < 0) break;
      if (got == 0) {
        peer.broken = true;
        return;
      }
      pn_connection_driver_read_done(&peer.driver, static_cast<std::size_t>(got));
      events(peer);
    }
    if (!withhold_) {
      for (pn_delivery_t* delivery : peer.withheld) accept(delivery);
      peer.withheld.clear();
    }
    if (!close_condition_.empty()) {
      pn_condition_set_name(pn_connection_condition(peer.driver.connection), close_condition_.c_str());
      pn_connection_close(peer.driver.connection);
      if (&peer == peers_.back().get()) close_condition_.clear();
    }
    for (auto& [link, state] : peer.links) feed(link, state);
    pn_transport_tick(peer.driver.transport, std::chrono::duration_cast<std::chrono::milliseconds>(
                                                 std::chrono::steady_clock::now().time_since_epoch())
                                                 .count());
    events(peer);
    while (!peer.broken) {
      const pn_bytes_t pending = pn_connection_driver_write_buffer(&peer.driver);
      if (pending.size == 0) break;
      const ssize_t sent = ::send(peer.socket, pending.start, pending.size, MSG_NOSIGNAL);
      if (sent < 0) break;
      pn_connection_driver_write_done(&peer.driver, static_cast<std::size_t>(sent));
    }
  }

  void events(Peer& peer) {
    while (pn_event_t* event = pn_connection_driver_next_event(&peer.driver)) {
      pn_link_t* link = pn_event_link(event);
      switch (pn_event_type(event)) {
        case PN_CONNECTION_REMOTE_OPEN:
          pn_connection_open(peer.driver.connection);
          break;
        case PN_SESSION_REMOTE_OPEN:
          pn_session_open(pn_event_session(event));
          break;
        case PN_CONNECTION_REMOTE_CLOSE:
          pn_connection_close(peer.driver.connection);
          break;
        case PN_LINK_REMOTE_OPEN:
          attach(peer, link);
          break;
        case PN_LINK_REMOTE_CLOSE:
        case PN_LINK_REMOTE_DETACH:
          if (const auto found = peer.links.find(link); found != peer.links.end()) {
            release_link(found->second);
            peer.links.erase(found);
          }
          pn_link_close(link);
          pn_link_free(link);
          break;
        case PN_DELIVERY:
          if (pn_link_is_receiver(link)) {
            take(peer, link, pn_event_delivery(event));
          } else {
            settle(peer, link, pn_event_delivery(event));
          }
          break;
        default:
          break;
      }
    }
  }

  static void refuse(pn_link_t* link, const char* condition, const char* description) {
    pn_terminus_set_type(pn_link_source(link), PN_UNSPECIFIED);
    pn_terminus_set_type(pn_link_target(link), PN_UNSPECIFIED);
    pn_link_open(link);
    pn_condition_set_name(pn_link_condition(link), condition);
    pn_condition_set_description(pn_link_condition(link), description);
    pn_link_close(link);
  }

  void attach(Peer& peer, pn_link_t* link) {
    pn_terminus_copy(pn_link_source(link), pn_link_remote_source(link));
    pn_terminus_copy(pn_link_target(link), pn_link_remote_target(link));
    pn_link_set_snd_settle_mode(link, pn_link_remote_snd_settle_mode(link));
    pn_link_set_rcv_settle_mode(link, pn_link_remote_rcv_settle_mode(link));
    pn_terminus_t* node = pn_link_is_receiver(link) ? pn_link_target(link) : pn_link_source(link);
    const char* address = pn_terminus_get_address(node);
    const auto queue = queues_.find(address == nullptr ? "" : address);
    if (queue == queues_.end()) {
      refuse(link, "amqp:not-found", "there is no such queue");
      return;
    }
    Link state;
    state.queue = queue->first;
    if (pn_link_is_receiver(link)) {
      pn_link_open(link);
      pn_link_flow(link, credit);
    } else if (queue->second.sessions) {
      pn_data_t* filter = pn_terminus_filter(pn_link_source(link));
      pn_data_rewind(filter);
      pn_data_next(filter);
      pn_data_enter(filter);
      pn_data_next(filter);
      pn_data_next(filter);
      if (pn_data_type(filter) == PN_STRING) {
        const pn_bytes_t named = pn_data_get_string(filter);
        const std::string group(named.start, named.size);
        if (queue->second.locked_groups.contains(group)) {
          refuse(link, "com.microsoft:session-cannot-be-locked", "the session is held by another receiver");
          return;
        }
        lock_session(link, state, group);
      } else {
        std::uint32_t timeout_ms = 60'000;
        pn_data_t* properties = pn_link_remote_properties(link);
        pn_data_rewind(properties);
        if (pn_data_next(properties) && pn_data_enter(properties) && pn_data_next(properties) &&
            pn_data_next(properties)) {
          timeout_ms = pn_data_get_uint(properties);
        }
        state.waiting = true;
        state.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
      }
    } else {
      pn_link_open(link);
    }
    peer.links.emplace(link, std::move(state));
  }

  void lock_session(pn_link_t* link, Link& state, const std::string& group) {
    state.waiting = false;
    state.group = group;
    queues_.at(state.queue).locked_groups.insert(group);
    pn_data_t* filter = pn_terminus_filter(pn_link_source(link));
    pn_data_clear(filter);
    pn_data_put_map(filter);
    pn_data_enter(filter);
    pn_data_put_symbol(filter, text("com.microsoft:session-filter"));
    pn_data_put_string(filter, text(group));
    pn_data_exit(filter);
    pn_data_t* properties = pn_link_properties(link);
    pn_data_put_map(properties);
    pn_data_enter(properties);
    pn_data_put_symbol(properties, text("com.microsoft:locked-until-utc"));
    pn_data_put_long(properties, 621'355'968'000'000'000 + 1'700'000'030'000 * 10'000);
    pn_data_exit(properties);
    pn_link_open(link);
  }

  static pn_bytes_t text(std::string_view view) { return pn_bytes(view.size(), view.data()); }

  static void accept(pn_delivery_t* delivery) {
    pn_delivery_update(delivery, PN_ACCEPTED);
    pn_delivery_settle(delivery);
  }

  void take(Peer& peer, pn_link_t* link, pn_delivery_t* delivery) {
    if (!pn_delivery_readable(delivery) || pn_delivery_partial(delivery)) return;
    Stored message;
    message.bytes.resize(pn_delivery_pending(delivery));
    pn_link_recv(link, reinterpret_cast<char*>(message.bytes.data()), message.bytes.size());
    pn_link_advance(link);
    pn_link_flow(link, 1);
    if (decode) read_properties(message);
    if (reject_) {
      if (const auto rejection = reject_(message)) {
        pn_condition_t* error = pn_disposition_condition(pn_delivery_local(delivery));
        pn_condition_set_name(error, rejection->condition.c_str());
        pn_condition_set_description(error, rejection->description.c_str());
        pn_delivery_update(delivery, PN_REJECTED);
        pn_delivery_settle(delivery);
        return;
      }
    }
    Queue& queue = queues_.at(peer.links.at(link).queue);
    if (queue.detect_duplicates && !queue.seen_ids.insert(message.id).second) {
      ++queue.duplicates;
    } else if (keep) {
      queue.accepted_ids.push_back(message.id);
      queue.messages.push_back(std::move(message));
    }
    if (cut_after_ > 0 && --cut_after_ == 0) {
      peer.broken = true;
      return;
    }
    if (withhold_) {
      peer.withheld.push_back(delivery);
    } else {
      accept(delivery);
    }
  }

  static void read_properties(Stored& message) {
    pn_message_t* decoded = pn_message();
    pn_message_decode(decoded, reinterpret_cast<const char*>(message.bytes.data()), message.bytes.size());
    const pn_atom_t id = pn_message_get_id(decoded);
    if (id.type == PN_STRING) message.id.assign(id.u.as_bytes.start, id.u.as_bytes.size);
    if (const char* group = pn_message_get_group_id(decoded)) message.group = group;
    pn_message_free(decoded);
  }

  void feed(pn_link_t* link, Link& state) {
    if (pn_link_is_receiver(link)) return;
    Queue& queue = queues_.at(state.queue);
    if (state.waiting) {
      for (const Stored& message : queue.messages) {
        if (message.locked || queue.locked_groups.contains(message.group)) continue;
        lock_session(link, state, message.group);
        break;
      }
      if (state.waiting) {
        if (std::chrono::steady_clock::now() >= state.deadline) {
          refuse(link, "com.microsoft:timeout", "no session became available");
          state.waiting = false;
        }
        return;
      }
    }
    if (!(pn_link_state(link) & PN_LOCAL_ACTIVE)) return;
    for (auto at = queue.messages.begin(); at != queue.messages.end() && pn_link_credit(link) > 0;) {
      if (at->locked || (queue.sessions && at->group != state.group)) {
        ++at;
        continue;
      }
      char tag[16] = {};
      std::memcpy(tag, &next_tag_, sizeof next_tag_);
      ++next_tag_;
      pn_delivery_t* delivery = pn_delivery(link, pn_dtag(tag, sizeof tag));
      pn_link_send(link, reinterpret_cast<const char*>(at->bytes.data()), at->bytes.size());
      pn_link_advance(link);
      if (pn_link_snd_settle_mode(link) == PN_SND_SETTLED) {
        pn_delivery_settle(delivery);
        at = queue.messages.erase(at);
        continue;
      }
      at->locked = true;
      state.lent.emplace(delivery, Lent{state.queue, at});
      ++at;
    }
    if (pn_link_get_drain(link) && pn_link_credit(link) > 0) pn_link_drained(link);
  }

  void settle(Peer& peer, pn_link_t* link, pn_delivery_t* delivery) {
    const auto state = peer.links.find(link);
    if (state == peer.links.end() || !pn_delivery_updated(delivery)) return;
    const auto lent = state->second.lent.find(delivery);
    if (lent == state->second.lent.end() || ignore_settlements_) return;
    Queue& queue = queues_.at(lent->second.queue);
    const auto message = lent->second.message;
    const std::uint64_t said = pn_delivery_remote_state(delivery);
    if (said == PN_ACCEPTED) {
      queue.completed_ids.push_back(message->id);
      queue.messages.erase(message);
    } else if (said == PN_REJECTED) {
      std::string reason;
      pn_data_t* info = pn_condition_info(pn_disposition_condition(pn_delivery_remote(delivery)));
      pn_data_rewind(info);
      if (pn_data_next(info) && pn_data_enter(info) && pn_data_next(info) && pn_data_next(info)) {
        const pn_bytes_t value = pn_data_get_string(info);
        reason.assign(value.start, value.size);
      }
      queue.dead.emplace_back(message->id, reason);
      queue.messages.erase(message);
    } else {
      message->locked = false;
      if (said == PN_MODIFIED) ++message->delivery_count;
    }
    state->second.lent.erase(lent);
    pn_delivery_update(delivery, said);
    pn_delivery_settle(delivery);
  }

 public:
  std::atomic<bool> decode = true;  ///< off for throughput: ids and groups are not read
  std::atomic<bool> keep = true;    ///< off for throughput: messages are accepted and forgotten

 private:
  std::mutex mutex_;
  std::map<std::string, Queue> queues_;
  std::function<std::optional<Rejection>(const Stored&)> reject_;
  std::string close_condition_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::uint64_t next_tag_ = 1;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> stop_ = false, cut_ = false, withhold_ = false, refuse_ = false, frozen_ = false,
                    ignore_settlements_ = false;
  std::atomic<int> cut_after_ = 0;
  std::thread thread_;
};

}  // namespace mainstay::client
