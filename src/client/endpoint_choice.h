// Which endpoint to try next, and when: the policy of reconnecting, without sockets and clocks.
//
// * Endpoints are tried in their order, beginning with the first; after a loss with the one behind that which
//   was lost. What has just failed is not tried again before its wait is over, so a dead or frozen entry
//   costs a client that knows of it nothing while others answer.
// * Waits are drawn uniformly between `floor` and a step that doubles from `floor` up to a ceiling ("full
//   jitter"), so that the clients of a node that died do not come back in step. Each endpoint has its own
//   step; another one is between rounds, a round being as many tries as there are endpoints.
// * A node that answers "not live" may lead in a moment, one that is not there costs nothing to ask: their
//   ceilings are lower. While nodes answer "not live" a wait is also at most a quarter of the time since one
//   last served for a while: a takeover is noticed within a quarter of what it took, and a long outage is
//   asked about seldom.
// * A connection that served for a while takes its endpoint's and the rounds' steps back to the beginning.
//   One that is lost sooner does not: an endpoint that accepts and drops us is left alone more and more.
// * Refused credentials are not tried for ever.
//
// Pure, one thread. The caller reports what happened in the order it happened.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "client/advice.h"

namespace mainstay::client {

struct ReconnectOptions {
  Duration floor = milliseconds(25);  ///< the shortest wait; > 0
  Duration ceiling = seconds(5);      ///< the longest, for what is frozen or refuses us; >= floor
  /// The longest for what answers at once, so that asking costs little: nodes that do not serve or are busy …
  Duration not_live_ceiling = milliseconds(500);
  Duration unreachable_ceiling = seconds(2);  ///< … and those that are not there. Both at most `ceiling`
  Duration served_long = seconds(5);          ///< a connection of use for this long makes waits short again
  /// So often in a row may credentials be refused; then it is over. 0 = no limit.
  unsigned credentials_refused_max = 3;
  /// The same for an address (no such queue, not allowed). 0 = no limit: the queue may be declared later.
  unsigned request_refused_max = 0;
  /// Over when no endpoint served for this long. Nothing: never.
  std::optional<Duration> give_up_after = std::nullopt;
};

class EndpointChoice {
 public:
  /// @param count  of endpoints, at least 1. @param first  where to begin.
  EndpointChoice(std::size_t count, const ReconnectOptions& options, Random& random, std::size_t first = 0);

  struct Next {
    std::optional<std::size_t> endpoint;  ///< try this one now; it counts as being tried from here on
    Duration wait{};                      ///< else: ask again after this
  };
  /// Only while none is being tried and none is open.
  [[nodiscard]] Next next(Instant now);
  /// It did something that only a node that serves does: opened a link, settled a transfer. Cheap to repeat.
  void served(Instant now);
  /// The try failed, or the connection ended. @param why  advice_of() what it said.
  void failed(Advice why, Instant now);
  /// We closed it ourselves and may come back at once.
  void left();

  enum class Over : std::uint8_t { no, credentials, request, outage };
  /// Why nothing more is tried.
  [[nodiscard]] Over over(Instant now) const;

  [[nodiscard]] std::size_t current() const { return current_; }
  /// Tries since one served for long.
  [[nodiscard]] unsigned tries() const { return tries_; }

 private:
  struct Endpoint {
    unsigned failures = 0;  ///< since it last served for long
    Instant not_before{};
  };
  Duration jittered(unsigned step, Advice why, Instant now);

  const ReconnectOptions options_;
  Random& random_;
  std::vector<Endpoint> endpoints_;
  std::size_t current_;                   ///< tried or open now, or where the next search begins
  bool stay_ = false;                     ///< the current one serves and is busy: no other is asked
  bool active_ = false;                   ///< one is being tried or open
  Advice hope_ = Advice::silent;          ///< the best that was heard in this round
  std::optional<Instant> served_since_;   ///< of the current connection
  std::optional<Instant> without_since_;  ///< nobody serves since
  std::optional<Instant> search_since_;   ///< the same, and what served for a moment does not count
  Instant round_not_before_{};
  std::size_t tried_in_round_ = 0;
  unsigned rounds_ = 0;
  unsigned tries_ = 0;
  unsigned credentials_refused_ = 0, request_refused_ = 0;
};

}  // namespace mainstay::client
