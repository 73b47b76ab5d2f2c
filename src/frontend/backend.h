// What the frontend asks of the node around it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
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

struct Payload {
  enum class State : std::uint8_t { here, coming, lost };
  static Payload here(BytesView bytes) { return {State::here, bytes, {}}; }
  static Payload coming() { return {State::coming, {}, {}}; }
  static Payload lost(std::string why) { return {State::lost, {}, std::move(why)}; }

  State state{};
  BytesView bytes;  ///< valid until the next call of payload()
  std::string why;  ///< lost: the log cannot be read
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
  /// The message_stored record's payload. When it is not here yet, Frontend::payloads_came() is called when
  /// some have come. Lost: nothing more is delivered on the connection, its locks are left to expire.
  virtual Payload payload(Lsn lsn) = 0;
  virtual bool authenticate(const amqp::SaslRequest& request) = 0;
};

}  // namespace mainstay::frontend
