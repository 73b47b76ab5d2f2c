// Internal to client: what connection.h's classes share. Proton's pointers live here and nowhere else.
#pragma once

#include <proton/connection_driver.h>
#include <proton/types.h>

#include <map>

#include "client/connection.h"

struct pn_delivery_t;
struct pn_link_t;

namespace mainstay::client {

/// What a link handle and its pn_link_t share. The link's context points here until either goes away.
struct LinkCore {
  std::shared_ptr<ConnectionCore> connection;
  pn_link_t* link = nullptr;  ///< null once closed
  LinkState state = LinkState::opening;
  ClientError error;
  std::string address;

  virtual ~LinkCore() = default;
  virtual void on_remote_open() = 0;
  virtual void on_delivery(pn_delivery_t* delivery) = 0;
  /// The link is going away: last chance to look at its deliveries.
  virtual void on_end(const ClientError& why) = 0;
  /// Ends the link here: state, error, outcomes; then closes and frees the pn_link_t.
  void end(const ClientError& why);
};

struct SenderCore final : LinkCore {
  std::vector<SendOutcome> outcomes;
  std::uint64_t next_tag = 0;
  std::size_t unsettled = 0;
  std::uint64_t message_bytes_max = 0;
  std::optional<Duration> duplicate_window;

  void on_remote_open() override;
  void on_delivery(pn_delivery_t* delivery) override;
  void on_end(const ClientError& why) override;
};

struct ReceiverCore final : LinkCore {
  std::vector<Received> received;
  std::vector<Settlement> settlements;
  /// By handle, unsettled. Pointers stay valid until pn_delivery_settle or the link's end.
  std::map<std::uint64_t, pn_delivery_t*> deliveries;
  std::uint64_t next_handle = 1;
  ReceiverOptions options;
  std::optional<std::string> session_id;
  std::optional<WallTime> session_locked_until;

  void on_remote_open() override;
  void on_delivery(pn_delivery_t* delivery) override;
  void on_end(const ClientError& why) override;
};

class ConnectionCore {
 public:
  explicit ConnectionCore(std::string peer);
  ~ConnectionCore();
  ConnectionCore(const ConnectionCore&) = delete;
  ConnectionCore& operator=(const ConnectionCore&) = delete;

  /// Begins TCP, SASL and open; poll() goes on with it, for at most options.connect_timeout from now.
  void begin(const ClientOptions& options, const Endpoint& endpoint);
  Result<void, ClientError> poll(Duration wait);
  /// Ends everything with `why`, once.
  void fail(const ClientError& why);
  void close(Duration most);

  [[nodiscard]] bool over() const { return over_; }
  [[nodiscard]] bool remote_open() const { return remote_open_; }
  [[nodiscard]] const ClientError& error() const { return error_; }
  [[nodiscard]] int descriptor() const { return socket_; }
  [[nodiscard]] const std::string& peer() const { return peer_; }
  pn_link_t* new_sender();
  pn_link_t* new_receiver();

  std::size_t endpoint_index = 0;

 private:
  /// Begins with the next address of the host, or fails when there is none left.
  void connect_next_address();
  /// The socket has been found writable, or its time is over.
  void finish_connecting(bool writable);
  /// As ::poll() for the one socket, looking for spin_ before it sleeps.
  int wait_for(struct pollfd& socket, Duration most) const;
  void write_pending();
  void read_available();
  void dispatch();
  void handle(pn_event_t* event);
  void close_socket();

  struct Address {
    int family = 0;
    std::vector<std::byte> bytes;  ///< a sockaddr
  };

  std::string peer_;
  std::vector<Address> addresses_;  ///< of the host, the next one last
  std::string unreachable_because_ = "no address";
  bool connecting_ = false;
  Instant address_deadline_{}, open_deadline_{};
  Duration connect_timeout_{};
  pn_connection_driver_t driver_{};
  struct pn_session_t* session_ = nullptr;
  int socket_ = -1;
  Duration spin_{};
  bool over_ = false;
  bool remote_open_ = false;
  bool closing_ = false;
  ClientError error_;
  std::uint64_t next_link_ = 1;
};

}  // namespace mainstay::client
