// An AMQP 1.0 client for what is inside the product: pipeline, command line, benchmarks, drills. Qpid
// Proton's C engine over a plain non-blocking TCP socket; nothing runs unless poll() is called. Messages are
// encoded bytes, in and out.
//
// Threads: a connection, its senders and its receivers belong to one thread. Senders and receivers may
// outlive their connection; they are then closed.
// Errors are values: the AMQP condition and a sentence. A lost connection closes every link with its error
// and gives every unanswered send the outcome `unknown`: it may or may not have happened.
// Standard: OASIS AMQP 1.0; sessions, lock tokens and dead-lettering as Azure Service Bus does them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"

namespace mainstay::client {

struct Endpoint {
  std::string host;
  std::uint16_t port{};
};

struct ClientError {
  std::string condition;    ///< AMQP error condition; "mainstay:…" for what no peer said
  std::string description;  ///< a sentence that names the peer and the reason
};
[[noreturn]] void throw_exception_from_error(const ClientError& error, const boost::source_location& where);

namespace condition {
inline constexpr const char* unreachable = "mainstay:unreachable";  ///< no TCP connection
inline constexpr const char* timeout = "mainstay:timeout";          ///< the peer did not answer in time
inline constexpr const char* lost = "mainstay:connection-lost";     ///< the connection ended under us
inline constexpr const char* closed = "mainstay:closed";            ///< we closed it
inline constexpr const char* no_session = "com.microsoft:timeout";  ///< no session became available in time
}  // namespace condition

struct ClientOptions {
  std::vector<Endpoint> endpoints;  ///< tried in order, at least one
  std::size_t first_endpoint = 0;   ///< where in that (circular) order to begin
  std::string user;                 ///< empty: SASL ANONYMOUS; else PLAIN
  std::string password;
  std::string container_id = "mainstay-client";
  Duration connect_timeout = seconds(5);  ///< per endpoint: TCP, SASL and open together
  Duration idle_timeout = seconds(20);    ///< silence after which the peer counts as lost
  /// For how long poll() looks at the socket again and again before it sleeps, where an answer is due soon
  /// and a wake-up would be most of what it takes; costs a core meanwhile.
  Duration spin{};
};

enum class LinkState : std::uint8_t { opening, open, closed };

struct SendOutcome {
  enum class Kind : std::uint8_t {
    accepted,
    rejected,  ///< `error` is the peer's
    released,  ///< not taken; may be sent again
    unknown,   ///< the link or connection ended first: `error` says how
  };
  std::uint64_t tag{};  ///< as given to send()
  Kind kind{};
  ClientError error;
};

class ConnectionCore;
struct SenderCore;
struct ReceiverCore;

struct SenderOptions {
  /// This link sends archived messages into a region that recovers after a forced promotion: the broker lets
  /// it in while ordinary producers wait (link property mainstay:archive-replay).
  bool archive_replay = false;
};

/// Sends to one address. Made by Connection::open_sender().
class Sender {
 public:
  explicit Sender(std::unique_ptr<SenderCore> core);
  ~Sender();  ///< detaches; outcomes still outstanding are not reported
  Sender(Sender&&) noexcept;
  Sender& operator=(Sender&&) noexcept;

  [[nodiscard]] LinkState state() const;
  /// Why it is closed.
  [[nodiscard]] const ClientError& error() const;
  /// Messages that may be sent now.
  [[nodiscard]] std::size_t credit() const;
  /// Sent and without outcome.
  [[nodiscard]] std::size_t unsettled() const;
  /// The peer's limit for one message; 0 = none told.
  [[nodiscard]] std::uint64_t message_bytes_max() const;
  /// Once open: for how long the queue remembers message ids, zero when it does not detect duplicates.
  /// Nothing: the peer does not say (link property mainstay:duplicate-detection-window-ms).
  [[nodiscard]] std::optional<Duration> duplicate_window() const;
  /// Hands one encoded message (message-format 0) to the connection; it leaves with the next poll().
  /// @param tag  the caller's own name for it, given back with the outcome.
  /// @return false, and nothing was sent, when there is no credit or the link is not open.
  bool send(std::uint64_t tag, BytesView message);
  /// Moves the outcomes that have arrived into `into` (cleared first), in order of arrival.
  void take_outcomes(std::vector<SendOutcome>& into);
  void close();

 private:
  std::unique_ptr<SenderCore> core_;
};

/// A message received and, unless `settled`, locked for us.
struct Received {
  std::uint64_t handle{};  ///< for settling; unique within its receiver
  std::array<std::byte, 32> tag{};
  std::uint8_t tag_bytes{};  ///< 16: the lock token in .NET order
  bool settled = false;      ///< receive-and-delete
  Buffer message;            ///< all sections as the peer sent them
};

/// The server's answer to complete(), abandon(), release() or dead_letter(). `ok` means done there; an error
/// such as com.microsoft:message-lock-lost means the message will come again.
struct Settlement {
  std::uint64_t handle{};
  bool ok = false;
  ClientError error;
};

enum class ReceiveMode : std::uint8_t { peek_lock, receive_and_delete };

struct ReceiverOptions {
  ReceiveMode mode = ReceiveMode::peek_lock;
  enum class Session : std::uint8_t { none, named, next_available };
  Session session = Session::none;
  std::string session_id;  ///< for `named`
  /// How long the server may wait for a session to become available before it refuses the link with
  /// condition::no_session.
  Duration session_timeout = seconds(30);
};

/// Receives from one address. Made by Connection::open_receiver().
class Receiver {
 public:
  explicit Receiver(std::unique_ptr<ReceiverCore> core);
  ~Receiver();  ///< detaches; a session is free again, messages not settled come again
  Receiver(Receiver&&) noexcept;
  Receiver& operator=(Receiver&&) noexcept;

  [[nodiscard]] LinkState state() const;
  [[nodiscard]] const ClientError& error() const;
  /// The session this receiver holds, once open.
  [[nodiscard]] const std::optional<std::string>& session_id() const;
  /// The server's wall time until which the session is locked, as told at attach.
  [[nodiscard]] std::optional<WallTime> session_locked_until() const;
  /// Lets the server send `more` further messages.
  void add_credit(std::uint32_t more);
  /// As add_credit(), and has the server give back what it cannot use at once: when drained() turns true,
  /// everything it had has arrived.
  void drain(std::uint32_t more);
  [[nodiscard]] bool drained() const;
  /// Credit the server still has.
  [[nodiscard]] std::size_t credit() const;

  /// Moves complete messages that have arrived into `into` (cleared first), in order.
  void take(std::vector<Received>& into);
  /// Each is answered by a Settlement. A handle that is unknown or being settled already is ignored.
  void complete(std::uint64_t handle);
  void abandon(std::uint64_t handle);  ///< delivery count + 1, available again
  /// Put aside: given out again only by its sequence number, over the entity's `$management`; count + 1.
  void defer(std::uint64_t handle);
  void release(std::uint64_t handle);  ///< count unchanged, available again
  void dead_letter(std::uint64_t handle, const std::string& reason, const std::string& description);
  void take_settlements(std::vector<Settlement>& into);
  /// Messages received in peek-lock and not yet answered by the server.
  [[nodiscard]] std::size_t unsettled() const;
  void close();

 private:
  void settle(std::uint64_t handle, std::uint64_t state, const std::string* reason,
              const std::string* description);
  std::unique_ptr<ReceiverCore> core_;
};

class Connection {
 public:
  /// Tries the endpoints in order until one opens. Blocks for at most connect_timeout per endpoint.
  /// @return the error names every endpoint with its reason; its condition is the last one's.
  static Result<std::unique_ptr<Connection>, ClientError> connect(const ClientOptions& options);
  /// Begins to connect to one endpoint and does not wait (but for the name service, when the host is a name);
  /// poll() goes on with it. See is_ready(). Links may be opened at once.
  static std::unique_ptr<Connection> begin(const ClientOptions& options, std::size_t endpoint);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Writes what is waiting, waits up to `wait` for the peer, reads and dispatches. Returns early when
  /// something arrived. @return the error once the connection is over.
  Result<void, ClientError> poll(Duration wait);
  /// Polls until `ready()` or the time is up. @return whether ready() became true; the error when the
  /// connection is over first.
  Result<bool, ClientError> poll_until(const std::function<bool()>& ready, Duration most);

  /// The link is `opening` until the peer has answered; see state().
  Sender open_sender(const std::string& address, const SenderOptions& options = {});
  Receiver open_receiver(const std::string& address, const ReceiverOptions& options = {});

  /// Not over.
  [[nodiscard]] bool is_open() const;
  /// The peer has answered our open; a node that does not serve ends the connection at that moment or soon
  /// after.
  [[nodiscard]] bool is_ready() const;
  /// Why it is over.
  [[nodiscard]] const ClientError& error() const;
  /// Which of ClientOptions::endpoints it is connected to.
  [[nodiscard]] std::size_t endpoint_index() const;
  /// The socket, so that a caller may wait for several connections at once; -1 when over. Call poll({0})
  /// first: it writes what is waiting.
  [[nodiscard]] int descriptor() const;
  /// Closes in an orderly way, waiting up to `most` for the peer's close.
  void close(Duration most);

 private:
  explicit Connection(std::shared_ptr<ConnectionCore> core) : core_(std::move(core)) {}
  /// Shared with the links made from it, so that a link can tell that its connection is over.
  std::shared_ptr<ConnectionCore> core_;
};

}  // namespace mainstay::client
