// Is this message new, the same again, or another one under a key already used?
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "payments/message.h"

namespace mainstay::payments {

struct Relation {
  enum class To : std::uint8_t {
    none,       ///< first of its key
    duplicate,  ///< same key and content: acknowledge and drop
    conflict,   ///< same key, other content or another payment's UETR: park it and alarm; never drop, never
                ///< overwrite
  };
  To to = To::none;
  std::string earlier;  ///< "file#item" of the message related to; empty for `none`

  /// "dup:file#n", "conflict:file#n", or empty.
  [[nodiscard]] std::string text() const;
};

/// Remembers the valid messages shown to it, by idempotency key. In memory: for tools and tests over a
/// bounded set of files. The durable memory of a running pipeline is its ledger, which decides by the same
/// rule. Not for concurrent use.
class SeenMessages {
 public:
  /// Relates `message` to the earlier ones and remembers it as `file`#item. An invalid message relates to
  /// nothing and is not remembered.
  Relation add(std::string_view file, const Message& message);

 private:
  struct Earlier {
    std::string where;
    std::string digest;
    std::string uetr;  ///< of MT only: in MX the UETR is part of the content
  };
  std::map<std::string, std::vector<Earlier>, std::less<>> by_key_;
};

}  // namespace mainstay::payments
