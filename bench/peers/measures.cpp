#include "peers/measures.h"

#include <algorithm>
#include <iterator>
#include <optional>

namespace mainstay::bench {
namespace {

enum class Sense : std::uint8_t { more_is_better, less_is_better };

/// A target of the comparison: ours over the peer's, round by round. Saturated work has two rows with one
/// target: each system with the connections that suit it best, and all with one.
struct Ratio {
  const char* id;
  const char* what;
  const char* measure;
  const char* peer;
  Sense sense;
  std::optional<double> target;  ///< at least (more is better) or at most (less is better)
};

constexpr Ratio kRatios[] = {
    {"publish", "publish + confirm", "publish", "rabbitmq", Sense::more_is_better, 8},
    {"publish", "publish + confirm", "publish", "redis", Sense::more_is_better, 3},
    {"publish", "publish + confirm", "publish", "nats", Sense::more_is_better, 2},
    {"publish", "publish + confirm", "publish", "activemq", Sense::more_is_better, {}},
    {"publish_one", "publish + confirm, one connection each", "publish_one", "rabbitmq",
     Sense::more_is_better, 8},
    {"publish_one", "publish + confirm, one connection each", "publish_one", "redis", Sense::more_is_better,
     3},
    {"publish_one", "publish + confirm, one connection each", "publish_one", "nats", Sense::more_is_better,
     2},
    {"both", "publish + receive + acknowledge", "both", "rabbitmq", Sense::more_is_better, 6},
    {"both", "publish + receive + acknowledge", "both", "redis", Sense::more_is_better, 2.5},
    {"both", "publish + receive + acknowledge", "both", "nats", Sense::more_is_better, 2.5},
    {"both", "publish + receive + acknowledge", "both", "activemq", Sense::more_is_better, {}},
    {"both_one", "publish + receive + acknowledge, one connection each way", "both_one", "rabbitmq",
     Sense::more_is_better, 6},
    {"both_one", "publish + receive + acknowledge, one connection each way", "both_one", "redis",
     Sense::more_is_better, 2.5},
    {"both_one", "publish + receive + acknowledge, one connection each way", "both_one", "nats",
     Sense::more_is_better, 2.5},
    {"slow_publish", "+1 ms per sync: publish + confirm", "slow_publish", "rabbitmq", Sense::more_is_better,
     8},
    {"slow_publish", "+1 ms per sync: publish + confirm", "slow_publish", "redis", Sense::more_is_better, 12},
    {"slow_publish",
     "+1 ms per sync: publish + confirm",
     "slow_publish",
     "activemq",
     Sense::more_is_better,
     {}},
    {"slow_publish_one", "+1 ms per sync: publish, one connection each", "slow_publish_one", "rabbitmq",
     Sense::more_is_better, 8},
    {"slow_publish_one", "+1 ms per sync: publish, one connection each", "slow_publish_one", "redis",
     Sense::more_is_better, 12},
    {"slow_both",
     "+1 ms per sync: publish + receive + ack",
     "slow_both",
     "rabbitmq",
     Sense::more_is_better,
     {}},
    {"slow_both", "+1 ms per sync: publish + receive + ack", "slow_both", "redis", Sense::more_is_better, {}},
    {"slow_both",
     "+1 ms per sync: publish + receive + ack",
     "slow_both",
     "activemq",
     Sense::more_is_better,
     {}},
    {"single", "one in flight, p50", "single_p50", "rabbitmq", Sense::less_is_better, 1},
    {"single", "one in flight, p50", "single_p50", "redis", Sense::less_is_better, 1},
    {"single", "one in flight, p50", "single_p50", "nats", Sense::less_is_better, {}},
    {"single", "one in flight, p50", "single_p50", "activemq", Sense::less_is_better, {}},
    {"e2e_p50", "200/s, publish to delivered, p50", "e2e_p50", "rabbitmq", Sense::less_is_better, 0.6},
    {"e2e_p50", "200/s, publish to delivered, p50", "e2e_p50", "redis", Sense::less_is_better, 1},
    {"e2e_p50", "200/s, publish to delivered, p50", "e2e_p50", "nats", Sense::less_is_better, {}},
    {"e2e_p50", "200/s, publish to delivered, p50", "e2e_p50", "activemq", Sense::less_is_better, {}},
};

constexpr double kEndToEndP99Us = 1000;

const System* find(const std::vector<System>& systems, const std::string& name) {
  for (const System& system : systems) {
    if (system.name == name) return &system;
  }
  return nullptr;
}

Samples in_order(const std::map<int, double>& rounds) {
  Samples samples;
  for (const auto& [round, value] : rounds) samples.values.push_back(value);
  return samples;
}

const std::map<int, double>& samples_of(const System& system, const std::string& measure) {
  static const std::map<int, double> kNone;
  const auto found = system.samples.find(measure);
  return found == system.samples.end() ? kNone : found->second;
}

std::string shape_text(const Shape& shape) {
  return std::to_string(shape.connections) + (shape.connections == 1 ? " connection, " : " connections, ") +
         std::to_string(shape.window) + " in flight";
}

std::string note_of(const System& system, const std::string& measure, const std::string& backlog_text) {
  const bool syncs = system.order.messages > 0 && system.order.synced_before_confirm == system.order.messages;
  std::string note;
  if (measure == "publish") {
    note = shape_text(system.publish) + "; " + system.note +
           "; synced before confirm: " + order_text(system.order);
  } else if (measure == "publish_one") {
    note = shape_text(system.publish_one);
  } else if (measure == "both_one") {
    note = shape_text(system.both_one);
  } else if (measure == "slow_publish_one") {
    note = shape_text(system.slow_publish_one);
  } else if (measure == "both") {
    note = shape_text(system.both) + " for publishing, as many for receiving";
  } else if (measure == "slow_publish") {
    note = shape_text(system.slow_publish);
  } else if (measure == "slow_both") {
    note = shape_text(system.slow_both) + " for publishing, as many for receiving";
  } else if (measure == "syncs" && !system.shim_reaches) {
    note = "counted by strace: it makes its system calls without libc, so the shim does not reach it";
  } else if (measure == "rss") {
    note = backlog_text;
  } else if (measure == "single_p50" && system.order.messages > 0 && !syncs) {
    note = "does not sync before it confirms";
  }
  return note;
}

/// As wide on a terminal as the text has characters.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

Shape best_of(const std::vector<TriedShape>& tried) {
  return std::max_element(
             tried.begin(), tried.end(),
             [](const TriedShape& a, const TriedShape& b) { return a.got.median() < b.got.median(); })
      ->shape;
}

Shape best_of_one_connection(const std::vector<TriedShape>& tried) {
  std::vector<TriedShape> with_one;
  std::copy_if(tried.begin(), tried.end(), std::back_inserter(with_one),
               [](const TriedShape& one) { return one.shape.connections == 1; });
  return best_of(with_one);
}

std::string order_text(const SyncOrder& order) {
  if (order.messages == 0) return "not traced";
  if (order.synced_before_confirm == order.messages) return "yes";
  return "no (" + std::to_string(order.synced_before_confirm) + " of " + std::to_string(order.messages) +
         " messages)";
}

Record to_record(const std::vector<System>& systems, const std::string& backlog_text) {
  Record record;
  record.benchmark = "peers";
  for (const System& system : systems) {
    for (const Measure& measure : kMeasures) {
      Figure figure;
      figure.id = "peers." + system.name + "." + measure.id;
      figure.what = system.title + ": " + measure.what;
      figure.unit = measure.unit;
      figure.samples = in_order(samples_of(system, measure.id));
      figure.note = note_of(system, measure.id, backlog_text);
      if (system.name == "mainstay" && std::string(measure.id) == "e2e_p99") figure.at_most = kEndToEndP99Us;
      if (!figure.samples.values.empty() || figure.at_most) record.figures.push_back(std::move(figure));
    }
    if (system.order.messages > 0) {
      Figure figure;
      figure.id = "peers." + system.name + ".synced_before_confirm";
      figure.what = system.title + ": synced before confirm, share of messages";
      figure.unit = "share";
      figure.samples.values = {static_cast<double>(system.order.synced_before_confirm) /
                               static_cast<double>(system.order.messages)};
      if (system.name == "mainstay") figure.at_least = 1;
      figure.note = order_text(system.order) + ", from the order of its system calls";
      record.figures.push_back(std::move(figure));
    }
  }
  for (const System& system : systems) {
    if (system.trouble.empty()) continue;
    record.trouble += (record.trouble.empty() ? "" : "; ") + system.title + ": " + system.trouble;
    const std::string prefix = "peers." + system.name + ".";
    const bool has_rows =
        std::any_of(record.figures.begin(), record.figures.end(),
                    [&](const Figure& figure) { return figure.id.compare(0, prefix.size(), prefix) == 0; });
    if (has_rows) continue;
    Figure figure;
    figure.id = prefix + "not_measured";
    figure.what = system.title;
    figure.note = system.trouble;
    record.figures.push_back(std::move(figure));
  }
  const System* ours = find(systems, "mainstay");
  for (const Ratio& ratio : kRatios) {
    const System* peer = find(systems, ratio.peer);
    if (ours == nullptr || peer == nullptr) continue;  // not asked for
    Figure figure;
    figure.id = std::string("peers.") + ratio.id + ".over_" + ratio.peer;
    figure.what = std::string(ratio.what) + ": Mainstay over " + peer->title;
    figure.unit = "ratio";
    const auto& mine = samples_of(*ours, ratio.measure);
    for (const auto& [round, theirs] : samples_of(*peer, ratio.measure)) {
      const auto same_round = mine.find(round);
      if (same_round != mine.end() && theirs > 0)
        figure.samples.values.push_back(same_round->second / theirs);
    }
    if (ratio.target)
      (ratio.sense == Sense::more_is_better ? figure.at_least : figure.at_most) = *ratio.target;
    if (!peer->trouble.empty()) figure.note = peer->trouble;
    if (peer->order.messages > 0 && peer->order.synced_before_confirm < peer->order.messages)
      figure.note += std::string(figure.note.empty() ? "" : "; ") + "it does not sync before it confirms";
    if (figure.samples.values.empty() && !ratio.target) continue;
    record.figures.push_back(std::move(figure));
  }
  return record;
}

std::string comparison(const std::vector<System>& systems) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> head{""};
  for (const System& system : systems) head.push_back(system.title);
  rows.push_back(head);
  for (const Measure& measure : kMeasures) {
    std::vector<std::string> row{std::string(measure.what) + ", " + measure.unit};
    bool any = false;
    for (const System& system : systems) {
      const Samples samples = in_order(samples_of(system, measure.id));
      any |= !samples.values.empty();
      if (samples.values.empty()) {
        row.emplace_back("-");
      } else if (samples.values.size() == 1) {
        row.push_back(readable(samples.median()));
      } else {
        row.push_back(readable(samples.median()) + " (" + readable(samples.low()) + "–" +
                      readable(samples.high()) + ")");
      }
    }
    if (any) rows.push_back(row);
  }
  std::vector<std::string> synced{"synced before confirm"}, shim{"+1 ms shim reaches its syncs"};
  for (const System& system : systems) {
    synced.push_back(order_text(system.order));
    shim.emplace_back(system.samples.empty() ? "-" : system.shim_reaches ? "yes" : "no (no libc)");
  }
  rows.push_back(synced);
  rows.push_back(shim);
  std::vector<std::size_t> widths(head.size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string out;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width(row[i]), ' ');
      out += i == 0 ? row[i] + padding : "   " + padding + row[i];
    }
    out += '\n';
  }
  return out;
}

}  // namespace mainstay::bench
