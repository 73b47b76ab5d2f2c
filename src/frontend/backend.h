// What the frontend asks of the node around it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "amqp/engine.h"
#include "base/bytes.h"
#include "broker/leader.h"
#include "frontend/credit_policy.h"

namespace mainstay::frontend {

enum class Admission : std::uint8_t {
  admitted,
  wait,  ///< room is being made: hold the publish and ask again on Frontend::admission_changed()
  refused,
};
struct AdmissionAnswer {
  Admission admission = Admission::admitted;
  amqp::Condition why;  ///< for refused
};

/// Same strand as the Frontend.
class Backend {
 public:
  virtual ~Backend() = default;
  /// Null while this node is not live.
  virtual broker::Leader* leader() = 0;
  virtual const broker::State& state() = 0;
  /// Where calls into leader() put their outputs; they come back through Frontend::broker_output() when
  /// committed.
  virtual std::vector<broker::Output>& leader_outputs() = 0;
  /// Why clients are turned away while leader() is null.
  virtual std::string not_live_reason() = 0;
  /// @param bytes  of the message. @param replay  the publisher sends archived messages into a promoted
  /// region.
  virtual AdmissionAnswer admit(std::size_t bytes, bool replay) = 0;
  /// Why a confirm cannot wait for this level here; nothing when it can.
  virtual std::optional<amqp::Condition> durability_refusal(broker::Durability level) {
    if (level == broker::Durability::journal) return std::nullopt;
    return amqp::Condition{
        "amqp:precondition-failed",
        std::string("durability ") + broker::durability_name(level) + " is not available here"};
  }
  /// What publish credit depends on beyond the frontend itself; `memory_bytes` of the backend's own. Cheap:
  /// asked in every round.
  virtual CreditFigures flow() { return {}; }
  /// The message_stored record's payload; valid until the next call. Empty optional: the log cannot be read
  /// (`why` is filled); the delivery is dropped and its lock left to expire.
  virtual std::optional<BytesView> payload(Lsn lsn, std::string& why) = 0;
  virtual bool authenticate(const amqp::SaslRequest& request) = 0;
};

}  // namespace mainstay::frontend
