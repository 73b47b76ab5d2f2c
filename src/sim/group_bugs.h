// Which bug the simulations of this thread look for.
#pragma once

#include "broker/bugs.h"
#include "group/bugs.h"
#include "journal/bugs.h"

namespace mainstay::sim {

/// Bugs of what the simulator has in the place of a program: the front end's admission, an operator's
/// command.
enum class StandInBug : std::uint8_t {
  none,
  settlement_throttled,    ///< settlements wait where publishes are refused
  operator_retry_applied,  ///< a repair whose answer was lost is stored whatever has happened since
};

/// A bug of any room, or none.
struct AnyBug {
  group::Bug group = group::Bug::none;
  journal::Bug journal = journal::Bug::none;
  broker::Bug broker = broker::Bug::none;
  StandInBug stand_in = StandInBug::none;

  AnyBug() = default;
  AnyBug(group::Bug bug) : group(bug) {}      // NOLINT(google-explicit-constructor): each is one
  AnyBug(journal::Bug bug) : journal(bug) {}  // NOLINT(google-explicit-constructor)
  AnyBug(broker::Bug bug) : broker(bug) {}    // NOLINT(google-explicit-constructor)
  AnyBug(StandInBug bug) : stand_in(bug) {}   // NOLINT(google-explicit-constructor)
  [[nodiscard]] bool any() const {
    return group != group::Bug::none || journal != journal::Bug::none || broker != broker::Bug::none ||
           stand_in != StandInBug::none;
  }
};

[[nodiscard]] bool resurrected(StandInBug bug);

class Resurrect {
 public:
  explicit Resurrect(const AnyBug& bug);
  ~Resurrect();
  Resurrect(const Resurrect&) = delete;
  Resurrect& operator=(const Resurrect&) = delete;
};

}  // namespace mainstay::sim
