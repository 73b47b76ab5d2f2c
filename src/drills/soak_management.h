// The `$management` node of a queue as a soak's clients use it: deferred messages by their sequence numbers.
// Requests and responses are made and read with Proton's codec: none of the broker's code looks at them here.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "client/connection.h"

struct pn_data_t;

namespace mainstay::drills {

/// A lock token as it stands in a request: plain big-endian order.
using ManagementToken = std::array<std::uint8_t, 16>;

/// A response that was no success.
struct ManagementError {
  int status{};  ///< of the response; 0 = none came: what was asked may or may not have happened
  std::string condition, description;
};
[[noreturn]] void throw_exception_from_error(const ManagementError& error,
                                             const boost::source_location& where);

/// Two links on somebody's connection, which outlives it. One request at a time; each call polls the
/// connection until the answer is there, 10 s at most. One thread.
class SoakManagement {
 public:
  /// @param entity  a queue, or a queue's dead-letter queue
  SoakManagement(client::Connection& connection, const std::string& entity);
  /// @return false when the links do not open.
  [[nodiscard]] bool open();
  [[nodiscard]] bool is_open() const;

  struct Given {
    ManagementToken token{};
    Buffer message;
  };
  /// Peek-lock. All or none.
  [[nodiscard]] Result<std::vector<Given>, ManagementError> receive(std::span<const std::uint64_t> sequences);
  /// @param status  "completed", "abandoned", "defered", "suspended" or "unlocked"
  [[nodiscard]] Result<void, ManagementError> settle(const ManagementToken& token, const std::string& status);

  struct Seen {
    std::uint64_t sequence{};
    int state{};  ///< x-opt-message-state: 0 active, 1 deferred, 2 scheduled
  };
  /// Some messages from this sequence number on; none when there are no more.
  [[nodiscard]] Result<std::vector<Seen>, ManagementError> peek(std::uint64_t from, unsigned most);

 private:
  struct Response;
  /// @param fill  puts keys and values into the body's map
  Result<Response, ManagementError> call(const std::string& operation,
                                         const std::function<void(pn_data_t*)>& fill);

  client::Connection& connection_;
  std::string address_;
  client::Sender sender_;
  client::Receiver receiver_;
  std::uint64_t next_id_ = 1;
  std::vector<client::Received> received_;
  std::vector<client::SendOutcome> outcomes_;
};

}  // namespace mainstay::drills
