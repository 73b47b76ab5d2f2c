// Settlements whose answer a lost connection took away: either they happened, and the message never comes
// again, or they did not, and it does. Then it is recognised here, and the same settlement is repeated
// instead of handing the message to the caller a second time. Pure, one thread.
//
// A message is recognised by message-id and sequence number together: numbers alone may be given again in a
// region that was promoted without having everything, ids alone are the producers' affair.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/bytes.h"

namespace mainstay::client {

struct MessageKey {
  std::string id;             ///< properties.message-id as text; empty = none
  std::int64_t sequence = 0;  ///< x-opt-sequence-number; 0 = none
  friend auto operator<=>(const MessageKey&, const MessageKey&) = default;
  [[nodiscard]] bool known() const { return !id.empty() && sequence != 0; }
};
/// Of an encoded message as it was received.
[[nodiscard]] MessageKey key_of(BytesView message);

enum class SettleAs : std::uint8_t { complete, abandon, defer, release, dead_letter };

class SettlementMemory {
 public:
  struct Wanted {
    SettleAs as = SettleAs::complete;
    std::string reason, description;  ///< for dead_letter
  };
  /// @param most  remembered; beyond, the oldest is forgotten: its redelivery goes to the caller again.
  explicit SettlementMemory(std::size_t most) : most_(most) {}

  /// The answer to this settlement was lost. abandon and release want the redelivery, so they are not
  /// remembered, nor is a message that cannot be recognised.
  void unknown(const MessageKey& key, Wanted wanted);
  /// What to repeat for a message that has come; it is forgotten.
  [[nodiscard]] std::optional<Wanted> recognise(const MessageKey& key);
  [[nodiscard]] std::size_t size() const { return wanted_.size(); }

 private:
  const std::size_t most_;
  std::map<MessageKey, std::pair<Wanted, std::uint64_t>> wanted_;  ///< with its number in order_
  std::map<std::uint64_t, MessageKey> order_;
  std::uint64_t next_ = 0;
};

}  // namespace mainstay::client
