// What a drill on a group of nodes goes by: what its clients asked and were answered, and what the nodes' own
// logs say of who led when. And the audit of both: every acknowledged message there once, in order and
// unaltered; never two leaders, neither by their logs nor by what clients saw (H3, N4). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drills/audit.h"

namespace mainstay::drills {

// Times are microseconds since 1970, all of one machine: clients count them from its monotonic clock, logs
// say them to the millisecond.

struct PairPublish {
  std::string id, session;
  std::uint64_t order{};  ///< of publishing, in its session
  /// The queue has sessions: first deliveries come in this order, too. Elsewhere only sequence numbers do:
  /// what a lost connection had locked comes after what others were given meanwhile.
  bool in_session_queue = true;
  enum class Outcome : std::uint8_t { none, confirmed, rejected, unknown } outcome = Outcome::none;
  std::string note;  ///< of one that is not confirmed
};

struct PairDelivery {
  std::string id, session;
  std::uint64_t sequence{};
  std::int64_t at_us{};
  bool intact = true;  ///< the body is the one that its id stands for
};

/// A publish or a settlement that a node confirmed.
struct PairOperation {
  std::string id, node;
  bool settlement = false;
  /// Not before the connection was made that the confirmation came by: so asked of this node after it.
  std::int64_t asked_us{};
  std::int64_t answered_us{};
};

struct PairClientHistory {
  std::string client;
  std::vector<PairPublish> published;
  std::vector<PairDelivery> deliveries;
  std::vector<PairOperation> operations;  ///< in the order of their answers
  std::string failure;                    ///< why the client gave up; empty when it did not
};

/// A time in which a node served as its group's leader: from "live in …", or the end of a time in which it
/// sent everybody away, until it stopped, by its own log.
struct Service {
  std::string node;
  std::uint64_t epoch{};
  std::int64_t begin_us{}, end_us{};
  bool begins_leadership = false;  ///< not only the end of a fenced time
  bool after_sleep = false;        ///< reaches beyond the end of a stop: the node had not looked yet
  std::string end_why;
};

/// A process that did not run: killed (until it was started again), or stopped and continued.
struct Absence {
  std::string node;
  std::int64_t from_us{}, until_us{};
  bool killed = false;
};

/// By the text of a node's log. What a killed process could not say, `absences` do. A service that is not
/// over ends at `now_us`.
[[nodiscard]] std::vector<Service> services_of(const std::string& node, const std::string& log,
                                               const std::vector<Absence>& absences, std::int64_t now_us);

/// Sentences, one for each contradiction: two nodes that served at one time, an epoch that two had, an epoch
/// that began after a higher one. A node that was stopped served nobody meanwhile; it has `wake_up_us` after
/// that to notice.
[[nodiscard]] std::vector<std::string> leaders_at_once(const std::vector<Service>& services,
                                                       const std::vector<Absence>& absences,
                                                       std::int64_t wake_up_us);

/// By what clients saw: operations that a node confirmed which did not serve then by its own log, and those
/// that were asked for after another node had confirmed something under a later epoch.
[[nodiscard]] std::vector<std::string> confirmed_by_others(const std::vector<PairClientHistory>& clients,
                                                           const std::vector<Service>& services);

/// What became of every message, after everything was drained.
[[nodiscard]] AuditReport audit_pair(const std::vector<PairClientHistory>& clients);

}  // namespace mainstay::drills
