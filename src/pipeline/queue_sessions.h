// SessionSource over AMQP: holds up to N sessions ("next available") on one connection, takes what each has,
// and gives it back when it is empty, so that every session gets its turn. On whichever endpoint serves
// (client/keeper.h). What was not settled when a connection is lost comes again; the ledger recognises it.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "client/connection.h"
#include "client/keeper.h"
#include "pipeline/log.h"
#include "pipeline/session_source.h"

namespace mainstay::pipeline {

class QueueSessions final : public SessionSource {
 public:
  struct Options {
    std::size_t sessions_max = 32;
    std::uint32_t session_batch = 32;
    Duration session_timeout = seconds(5);
  };
  QueueSessions(client::ClientOptions client, const client::ReconnectOptions& reconnect, std::string address,
                Options options, Clock& clock, Random& random, Log log);

  std::vector<Incoming> receive(Duration wait, std::size_t most) override;
  void complete(const Incoming& message) override;
  void abandon(const Incoming& message) override;
  void release(const Incoming& message) override;
  void dead_letter(const Incoming& message, const std::string& reason,
                   const std::string& description) override;
  void let_go() override;

  /// Settlements the server did not confirm: those messages come again.
  [[nodiscard]] std::uint64_t unconfirmed() const { return unconfirmed_; }
  [[nodiscard]] std::uint64_t reconnects() const { return keeper_.reconnects(); }
  /// Set for good when nothing can be received any more: credentials are refused again and again.
  [[nodiscard]] const std::optional<client::ClientError>& over() const { return keeper_.over(); }

 private:
  enum class State : std::uint8_t {
    opening,    ///< waiting for the server to give a session
    filling,    ///< taking what it has
    full,       ///< to be given to the caller
    lent,       ///< the caller has them
    answering,  ///< waiting for the server to confirm their settlement
  };
  struct Slot {
    client::Receiver receiver;
    State state = State::opening;
    Instant attach_deadline{};
    std::vector<client::Received> messages;
    std::size_t taken = 0;  ///< in the last filling
    std::size_t lent = 0;
    bool give_up = false;  ///< something went back: the session is given up so that it starts over
  };
  void lose(const client::ClientError& why);
  /// @return false when the slot is to be removed.
  bool advance(Slot& slot);
  Slot* lent_slot(const Incoming& message);

  std::string address_;
  Options options_;
  Clock& clock_;
  Log log_;
  client::ConnectionKeeper keeper_;
  std::uint64_t generation_ = 0;
  std::map<std::uint64_t, Slot> slots_;
  std::uint64_t next_slot_ = 1;
  std::uint64_t unconfirmed_ = 0;
};

}  // namespace mainstay::pipeline
