// Publishes to one queue through whichever of several endpoints serves, whatever happens to the connections.
// ConnectionKeeper and PublishQueue joined; their headers say what is guaranteed.
//
// One thread; nothing runs unless poll() is called.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/keeper.h"
#include "client/publish_queue.h"

namespace mainstay::client {

struct PublisherOptions {
  ClientOptions client;
  ReconnectOptions reconnect;
  PublishQueueOptions queue;
  SenderOptions link;
  std::string address;
  Duration attach_timeout = seconds(10);  ///< for an attach that is not answered, and for the first credit
};

class Publisher {
 public:
  Publisher(PublisherOptions options, Clock& clock, Random& random, Tell tell);

  /// @param message  encoded, with a message-id of its own. @param tag  names it in its result; not one that
  /// has no result yet. @return false, and nothing was taken: there is no room, poll() first; or over().
  bool publish(std::uint64_t tag, Buffer message);
  [[nodiscard]] bool has_room() const { return !keeper_.over() && queue_.has_room(); }
  /// Drives it for up to `wait`. @return results that became known.
  std::vector<PublishResult> poll(Duration wait);
  /// Taken and without result.
  [[nodiscard]] std::size_t size() const { return queue_.size(); }
  /// Set for good: nothing more can be done (ConnectionKeeper::over(), or a queue that must not be published
  /// to). Every message taken has got its result.
  [[nodiscard]] const std::optional<ClientError>& over() const { return over_; }
  [[nodiscard]] std::uint64_t reconnects() const { return keeper_.reconnects(); }
  [[nodiscard]] std::uint64_t resent() const { return queue_.resent(); }
  [[nodiscard]] bool connected() const { return keeper_.connected(); }
  [[nodiscard]] std::string endpoint() const { return keeper_.endpoint(); }
  /// Closes the connection in an orderly way. What has no result gets `unknown` or `rejected`.
  void close(Duration most);

 private:
  void send_what_may_go();
  void take_outcomes();
  void end_link(ClientError why);  ///< by value: `why` may be the link's own
  void give_up(const ClientError& why);

  const PublisherOptions options_;
  Clock& clock_;
  Random& random_;
  ConnectionKeeper keeper_;
  PublishQueue queue_;
  std::optional<Sender> sender_;
  std::uint64_t generation_ = 0;
  Instant attach_deadline_{};
  bool link_open_ = false;
  std::optional<ClientError> over_;
  std::vector<SendOutcome> outcomes_;
};

}  // namespace mainstay::client
