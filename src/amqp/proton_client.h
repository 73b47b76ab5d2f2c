// For tests: Qpid Proton's engine as a client, joined to a server by two byte queues. Bytes cross in pieces
// of random size, so that every frame is cut everywhere; the seed is printed and MAINSTAY_SEED sets it (D13,
// N5).
#pragma once

#include <gtest/gtest.h>
#include <proton/condition.h>
#include <proton/connection.h>
#include <proton/connection_driver.h>
#include <proton/delivery.h>
#include <proton/disposition.h>
#include <proton/event.h>
#include <proton/link.h>
#include <proton/sasl.h>
#include <proton/session.h>
#include <proton/terminus.h>
#include <proton/transport.h>

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"

namespace mainstay::amqp {

inline std::uint64_t test_seed() {
  static const std::uint64_t value = [] {
    const char* given = std::getenv("MAINSTAY_SEED");
    const std::uint64_t drawn =
        given != nullptr ? std::strtoull(given, nullptr, 10) : static_cast<std::uint64_t>(std::time(nullptr));
    std::printf("MAINSTAY_SEED=%llu\n", static_cast<unsigned long long>(drawn));
    return drawn;
  }();
  return value;
}

/// The server's end of the connection.
class ByteServer {
 public:
  virtual ~ByteServer() = default;
  virtual void input(BytesView bytes) = 0;
  virtual BytesView output() = 0;
  virtual void consumed(std::size_t bytes) = 0;
  virtual bool finished() = 0;
};

/// Frees every Proton object it made: sessions and links outlive a driver otherwise.
class ProtonClient {
 public:
  explicit ProtonClient(ByteServer& server) : server_(server), random_(test_seed()) {
    EXPECT_EQ(pn_connection_driver_init(&driver_, nullptr, nullptr), 0);
    pn_connection_set_container(driver_.connection, "proton-client");
    pn_connection_set_hostname(driver_.connection, "namespace.example");
    pn_transport_set_max_frame(driver_.transport, 65536);
  }
  ~ProtonClient() {
    pn_connection_driver_close(&driver_);
    while (pn_connection_driver_next_event(&driver_) != nullptr) {
    }
    while (pn_link_t* link = pn_link_head(driver_.connection, 0)) pn_link_free(link);
    while (pn_session_t* session = pn_session_head(driver_.connection, 0)) pn_session_free(session);
    pn_connection_driver_destroy(&driver_);
  }
  ProtonClient(const ProtonClient&) = delete;
  ProtonClient& operator=(const ProtonClient&) = delete;

  pn_connection_t* connection() { return driver_.connection; }
  pn_transport_t* transport() { return driver_.transport; }

  void login(const char* user, const char* password) {
    pn_connection_set_user(driver_.connection, user);
    pn_connection_set_password(driver_.connection, password);
    pn_sasl_allowed_mechs(pn_sasl(driver_.transport), "PLAIN");
    pn_sasl_set_allow_insecure_mechs(pn_sasl(driver_.transport), true);
  }
  void anonymous() { pn_sasl_allowed_mechs(pn_sasl(driver_.transport), "ANONYMOUS"); }

  void open() {
    pn_connection_open(driver_.connection);
    run();
  }
  pn_session_t* session() {
    pn_session_t* made = pn_session(driver_.connection);
    pn_session_open(made);
    return made;
  }
  pn_link_t* sender(pn_session_t* on, const char* name, const char* address) {
    pn_link_t* made = pn_sender(on, name);
    pn_terminus_set_address(pn_link_target(made), address);
    pn_link_open(made);
    return made;
  }
  pn_link_t* receiver(pn_session_t* on, const char* name, const char* address, int credit) {
    pn_link_t* made = pn_receiver(on, name);
    pn_terminus_set_address(pn_link_source(made), address);
    pn_link_open(made);
    if (credit > 0) pn_link_flow(made, credit);
    return made;
  }
  pn_delivery_t* put(pn_link_t* link, const std::string& payload) {
    const std::string tag = std::to_string(++tags_);
    pn_delivery_t* delivery = pn_delivery(link, pn_dtag(tag.data(), tag.size()));
    EXPECT_EQ(pn_link_send(link, payload.data(), payload.size()), static_cast<ssize_t>(payload.size()));
    pn_link_advance(link);
    return delivery;
  }

  /// Moves bytes and handles events until both sides rest. @return bytes that crossed
  std::size_t run() {
    std::size_t total = 0;
    for (std::size_t moved = 1; moved > 0;) {
      drain_events();
      moved = from_client() + to_client();
      total += moved;
    }
    drain_events();
    return total;
  }

  std::vector<pn_delivery_t*> updates;  ///< deliveries with news, in order
  std::string transport_error;
  bool reads = true, writes = true;  ///< false: its socket is stuck that way

 private:
  void drain_events() {
    while (pn_event_t* event = pn_connection_driver_next_event(&driver_)) {
      if (pn_event_type(event) == PN_DELIVERY) updates.push_back(pn_event_delivery(event));
      if (pn_event_type(event) == PN_TRANSPORT_ERROR) {
        pn_condition_t* condition = pn_transport_condition(driver_.transport);
        transport_error =
            std::string(pn_condition_get_name(condition)) + ": " + pn_condition_get_description(condition);
      }
    }
  }
  std::size_t piece(std::size_t at_most) {
    if (at_most == 0) return 0;
    return random_.chance(1, 3) ? at_most : std::min<std::size_t>(at_most, 1 + random_.below(300));
  }
  std::size_t from_client() {
    if (!writes) return 0;
    const pn_bytes_t out = pn_connection_driver_write_buffer(&driver_);
    const std::size_t n = piece(out.size);
    if (n == 0) return 0;
    server_.input(std::as_bytes(std::span(out.start, n)));
    pn_connection_driver_write_done(&driver_, n);
    return n;
  }
  std::size_t to_client() {
    if (!reads) return 0;
    const BytesView out = server_.output();
    const pn_rwbytes_t in = pn_connection_driver_read_buffer(&driver_);
    if (in.size == 0) return 0;
    const std::size_t n = piece(std::min(out.size(), in.size));
    if (n > 0) {
      std::memcpy(in.start, out.data(), n);
      pn_connection_driver_read_done(&driver_, n);
      server_.consumed(n);
    } else if (server_.finished() && !pn_connection_driver_read_closed(&driver_)) {
      pn_connection_driver_read_close(&driver_);
    }
    return n;
  }

  ByteServer& server_;
  SeededRandom random_;
  pn_connection_driver_t driver_{};
  std::uint64_t tags_ = 0;
};

inline std::string taken(pn_delivery_t* delivery) {
  std::string out(pn_delivery_pending(delivery), '\0');
  pn_link_t* link = pn_delivery_link(delivery);
  const ssize_t n = pn_link_recv(link, out.data(), out.size());
  out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return out;
}

inline std::string pattern(std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return out;
}

}  // namespace mainstay::amqp
