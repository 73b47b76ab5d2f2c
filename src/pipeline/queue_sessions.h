// SessionSource over AMQP: holds up to N sessions ("next available") on one connection, takes what each has,
// and gives it back when it is empty, so that every session gets its turn. Connects again with back-off.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "client/backoff.h"
#include "client/connection.h"
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
  QueueSessions(client::ClientOptions client, std::string address, Options options, Clock& clock,
                Random& random, Log log);

  std::vector<Incoming> receive(Duration wait, std::size_t most) override;
  void complete(const Incoming& message) override;
  void abandon(const Incoming& message) override;
  void release(const Incoming& message) override;
  void dead_letter(const Incoming& message, const std::string& reason,
                   const std::string& description) override;
  void let_go() override;

  /// Settlements the server did not confirm: those messages come again.
  [[nodiscard]] std::uint64_t unconfirmed() const { return unconfirmed_; }
  [[nodiscard]] std::uint64_t reconnects() const { return reconnects_; }

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
    std::vector<client::Received> messages;
    std::size_t taken = 0;  ///< in the last filling
    std::size_t lent = 0;
    bool give_up = false;  ///< something went back: the session is given up so that it starts over
  };
  bool connect();
  void lose(const std::string& why);
  /// @return false when the slot is to be removed.
  bool advance(Slot& slot);
  Slot* lent_slot(const Incoming& message);

  client::ClientOptions client_;
  std::string address_;
  Options options_;
  Clock& clock_;
  Log log_;
  client::Backoff backoff_;
  std::unique_ptr<client::Connection> connection_;
  std::map<std::uint64_t, Slot> slots_;
  std::uint64_t next_slot_ = 1;
  Instant next_try_{}, next_open_{};
  std::uint64_t unconfirmed_ = 0, reconnects_ = 0;
};

}  // namespace mainstay::pipeline
