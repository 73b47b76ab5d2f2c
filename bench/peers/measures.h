// What is measured on each system, round by round, and what is made of it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "figures.h"
#include "peers/load.h"
#include "peers/peer.h"
#include "peers/sync_order.h"

namespace mainstay::bench {

/// One row of the comparison. `id` becomes part of figures' ids: "peers.redis.publish".
struct Measure {
  const char* id;
  const char* what;
  const char* unit;
};
inline constexpr Measure kMeasures[] = {
    {"publish", "publish + confirm, saturated", "messages/s"},
    {"publish_one", "publish + confirm, saturated, one connection", "messages/s"},
    {"both", "publish + receive + acknowledge", "messages/s"},
    {"both_one", "publish + receive + acknowledge, one connection each way", "messages/s"},
    {"single_p50", "one in flight, publish to confirm, p50", "µs"},
    {"single_p99", "one in flight, publish to confirm, p99", "µs"},
    {"e2e_p50", "200/s, publish to delivered, p50", "µs"},
    {"e2e_p99", "200/s, publish to delivered, p99", "µs"},
    {"slow_publish", "+1 ms per sync: publish + confirm", "messages/s"},
    {"slow_publish_one", "+1 ms per sync: publish, one connection", "messages/s"},
    {"slow_both", "+1 ms per sync: publish + receive + ack", "messages/s"},
    {"slow_single_p50", "+1 ms per sync: one in flight, p50", "µs"},
    {"syncs", "syncs per message, saturated", "syncs"},
    {"cpu", "server CPU per published message", "µs"},
    {"rss", "resident memory added by the backlog", "MiB"},
};

/// A shape and what each try of it gave.
struct TriedShape {
  Shape shape;
  Samples got;
};
/// The one with the highest median; of equals the first. @pre there is one (with one connection)
[[nodiscard]] Shape best_of(const std::vector<TriedShape>& tried);
[[nodiscard]] Shape best_of_one_connection(const std::vector<TriedShape>& tried);

/// A system and what is known of it so far.
struct System {
  std::unique_ptr<Peer> peer;  ///< null: this program was built without its client
  std::string name, title;
  std::string trouble;  ///< why it could not be measured (to the end)
  std::string version, note;
  /// Found by trying, before the first round: the better of the shapes.
  Shape publish, both, slow_publish, slow_both;
  Shape publish_one, both_one, slow_publish_one;         ///< the better window of one connection
  bool shim_reaches = false;                             ///< its syncs go through libc
  std::map<std::string, std::map<int, double>> samples;  ///< measure's id → round → value
  SyncOrder order;
};

/// Every figure: of each system, then the ratios, each made of one round, with their targets. A system with
/// trouble keeps what was measured of it before; one without any figure has a row that says why. Both are in
/// Record::trouble.
[[nodiscard]] Record to_record(const std::vector<System>& systems, const std::string& backlog_text);

/// Systems as columns, measures as rows: median (low–high).
[[nodiscard]] std::string comparison(const std::vector<System>& systems);
/// "yes", "no (0 of 39 messages)" or "not traced".
[[nodiscard]] std::string order_text(const SyncOrder& order);

}  // namespace mainstay::bench
