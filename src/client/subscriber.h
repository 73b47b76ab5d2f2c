// Receives from one queue in peek-lock through whichever of several endpoints serves, whatever happens to the
// connections.
//
// What is guaranteed: every delivery is given to the caller at least once until a settlement of it was
// confirmed; per session in the order of the queue; and each settle() gets one result. When its answer was
// lost (`unknown`) the message may come again: it is then recognised by message-id and sequence number, and
// the same settlement is repeated without handing the message out again (settlement_memory.h; not after this
// process restarts: who must not act twice keeps a ledger). After a loss deliveries that are not settled are
// void: settling one then is `unknown`, too.
//
// One thread; nothing runs unless poll() is called.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/keeper.h"
#include "client/settlement_memory.h"

namespace mainstay::client {

struct SubscriberOptions {
  ClientOptions client;
  ReconnectOptions reconnect;
  std::string address;
  /// Of a queue with sessions: one session after another, the next when this one has been empty for
  /// `session_idle`.
  bool sessions = false;
  Duration session_idle = milliseconds(200);
  Duration session_timeout = seconds(5);  ///< how long the peer may look for a session with messages
  std::uint32_t credit = 100;
  std::size_t remembered_max = 65'536;    ///< settlements without answer
  Duration attach_timeout = seconds(10);  ///< for an attach that is not answered; sessions: beyond their own
};

struct Delivery {
  std::uint64_t handle{};  ///< for settle(); never used again
  MessageKey key;
  std::string session;  ///< empty without sessions
  Buffer message;       ///< all sections as received
};

struct SettleResult {
  enum class Kind : std::uint8_t {
    confirmed,
    refused,  ///< `error` is the peer's, e.g. com.microsoft:message-lock-lost: the message comes again
    unknown,  ///< the link ended first: done, or repeated when the message comes again
  };
  std::uint64_t handle{};
  Kind kind{};
  ClientError error;
};

class Subscriber {
 public:
  Subscriber(SubscriberOptions options, Clock& clock, Random& random, Tell tell);

  /// Drives it for up to `wait`; returns when there are deliveries or results.
  std::vector<Delivery> poll(Duration wait);
  void settle(std::uint64_t handle, SettleAs as, const std::string& reason = "",
              const std::string& description = "");
  [[nodiscard]] std::vector<SettleResult> take_results();

  /// Settled and without result.
  [[nodiscard]] std::size_t settling() const { return asked_.size(); }
  [[nodiscard]] const std::optional<ClientError>& over() const { return keeper_.over(); }
  [[nodiscard]] std::uint64_t reconnects() const { return keeper_.reconnects(); }
  /// Deliveries whose earlier settlement was repeated instead of handing them out.
  [[nodiscard]] std::uint64_t recognised() const { return recognised_; }
  [[nodiscard]] bool connected() const { return keeper_.connected(); }
  [[nodiscard]] std::string endpoint() const { return keeper_.endpoint(); }
  void close(Duration most);

 private:
  struct Asked {
    std::uint64_t handle{};
    MessageKey key;
    SettlementMemory::Wanted wanted;
    bool repeated = false;  ///< by us: the caller got its result long ago
  };
  struct Held {
    std::uint64_t link_handle{};
    MessageKey key;
  };
  void open_link(Connection& connection);
  void end_link(ClientError why);  ///< by value: `why` may be the link's own
  void take(std::vector<Delivery>& into);
  void ask(std::uint64_t link_handle, Asked asked);
  void follow_link();

  const SubscriberOptions options_;
  Clock& clock_;
  ConnectionKeeper keeper_;
  SettlementMemory memory_;
  std::optional<Receiver> receiver_;
  std::uint64_t generation_ = 0;
  bool link_open_ = false;
  std::string session_;
  Instant attach_deadline_{}, last_arrival_{};
  std::uint64_t next_handle_ = 1;
  std::map<std::uint64_t, Held> held_;        ///< given to the caller on this link, by our handle
  std::map<std::uint64_t, MessageKey> void_;  ///< given on a link that ended, not settled
  std::map<std::uint64_t, Asked> asked_;      ///< by the link's handle
  std::vector<SettleResult> results_;
  std::vector<Received> received_;
  std::vector<Settlement> settlements_;
  std::uint64_t recognised_ = 0;
};

}  // namespace mainstay::client
