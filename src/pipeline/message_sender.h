// To one queue, whatever happens to the connection under it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "client/connection.h"

namespace mainstay::pipeline {

/// One thread.
class MessageSender {
 public:
  virtual ~MessageSender() = default;
  /// Messages that may be sent now; 0 while there is no connection.
  [[nodiscard]] virtual std::size_t credit() = 0;
  /// @return false when nothing was sent. Otherwise poll() will give exactly one outcome for the tag.
  virtual bool send(std::uint64_t tag, BytesView message) = 0;
  /// Drives the connection (and makes it again when it is gone) for up to `wait`, and gives the outcomes that
  /// arrived. A lost connection gives `unknown` for everything on its way.
  virtual std::vector<client::SendOutcome> poll(Duration wait) = 0;
  /// Set for good when nothing can be sent any more: credentials are refused again and again.
  [[nodiscard]] virtual const std::optional<client::ClientError>& over() const {
    static const std::optional<client::ClientError> never;
    return never;
  }
};

}  // namespace mainstay::pipeline
