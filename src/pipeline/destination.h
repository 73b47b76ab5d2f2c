// Where payments are delivered.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace mainstay::pipeline {

struct Delivery {
  std::uint64_t lane = 0;       ///< order within a lane is kept
  std::string idempotency_key;  ///< names the effect at the destination
  BytesView content;            ///< the payment's exact bytes
};

struct DeliveryResult {
  bool ok = false;   ///< it is there, durably
  std::string name;  ///< ok: what it is called there
  std::string why;   ///< not ok: the reason, or that an earlier one of its lane failed
};

/// One thread.
class Destination {
 public:
  virtual ~Destination() = default;
  /// Delivers in order. Idempotent: what is there already with the same content is a success; with other
  /// content it is an error. After a failure in a lane nothing later of that lane is delivered. Results are
  /// in the order of `deliveries`.
  [[nodiscard]] virtual std::vector<DeliveryResult> deliver(const std::vector<Delivery>& deliveries) = 0;
};

}  // namespace mainstay::pipeline
