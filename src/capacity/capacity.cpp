#include "capacity/capacity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "capacity/grouped.h"

namespace mainstay::capacity {
namespace {

constexpr double kMiB = 1048576, kGiB = 1073741824;
/// What the log adds to a body: record header, the broker's fields, AMQP sections. docs/formats/journal.md.
constexpr double kRecordOverhead = 160;
constexpr double kMessageBytesMax = 32 * kMiB;
/// The I/O thread with the broker, and the journal's: a group uses no third core for its messages.
constexpr double kThreads = 2;
/// Segments that live messages share with settled ones until they are cleaned, checkpoints, spare segments.
constexpr double kDiskSlack = 1.25;
constexpr double kDiskFixed = 512 * kMiB;

std::string problems(const Load& load) {
  std::string out;
  const auto check = [&](bool good, const std::string& text) {
    if (!good) out += (out.empty() ? "" : "\n") + text;
  };
  const auto within = [&](const char* name, double value, double least, double most, const char* unit) {
    check(std::isfinite(value) && value >= least && value <= most,
          fmt::format("{} is {:g}: it must be from {:g} to {:g}{}", name, value, least, most, unit));
  };
  within("message-bytes", load.message_bytes, 1, kMessageBytesMax, " bytes");
  check(std::isfinite(load.peak_rate) && load.peak_rate > 0 && load.peak_rate <= 1e9,
        fmt::format("peak-rate is {:g}: it must be more than 0 and at most 1e9 messages a second",
                    load.peak_rate));
  within("headroom", load.headroom, 0, 0.9, " (a fraction: 0.3 keeps 30 % free)");
  within("nodes-lost", load.nodes_lost, 0, 100, "");
  within("regions", load.regions, 1, 2, "");
  within("backlog-hours", load.backlog_hours, 0, 8760, " hours");
  within("queues", load.queues, 1, 1e7, "");
  within("connections", load.connections, 1, 1e7, "");
  within("network-mbit", load.network_mbit, 1, 1e6, " Mbit/s");
  if (load.node_memory_mib) within("node-memory-mib", *load.node_memory_mib, 64, 1e8, " MiB");
  if (load.disk_bytes_per_second) within("disk-mb-per-s", *load.disk_bytes_per_second / 1e6, 1, 1e6, " MB/s");
  if (load.cores) within("cores", *load.cores, 1, 1024, "");
  return out;
}

class Planner {
 public:
  Planner(const Load& load, const Measurements& measured) : load_(load), measured_(measured) {}

  Plan make() {
    limit_throughput();
    limit_cpu();
    limit_disk();
    limit_syncs();
    limit_network();
    std::stable_sort(out_.limits.begin(), out_.limits.end(),
                     [](const Limit& a, const Limit& b) { return a.per_second < b.per_second; });
    count_nodes();
    need_bandwidth();
    need_disk();
    need_memory();
    if (measured_.environments.size() > 1)
      out_.notes.push_back(
          "the records come from different machines or states of them: compare their environments");
    return std::move(out_);
  }

 private:
  [[nodiscard]] double record_bytes() const { return load_.message_bytes + kRecordOverhead; }

  void limit(std::string name, double per_second, std::string calculation) {
    out_.limits.push_back({std::move(name), per_second, std::move(calculation)});
  }
  void need(std::string name, double value, std::string unit, std::string calculation) {
    out_.needs.push_back({std::move(name), value, std::move(unit), std::move(calculation)});
  }
  void missing(const std::string& what, const std::string& benchmark) {
    out_.notes.push_back(what + " is left out: no record of ./dev bench " + benchmark);
  }

  void limit_throughput() {
    // Published, delivered and completed; where only publishing was measured at a size, as much slower than
    // that as at the nearest size where both were.
    std::vector<CostPoint> points;
    bool derived = false, publish_only = true;
    for (const SizePoint& size : measured_.sizes) {
      double rate = size.publish_per_second;
      if (size.complete_per_second) {
        rate = *size.complete_per_second;
        publish_only = false;
      } else if (const SizePoint* like = nearest_complete(size.message_bytes)) {
        rate *= *like->complete_per_second / like->publish_per_second;
        derived = true;
      }
      points.push_back({size.message_bytes, 1e6 / rate});
    }
    const Cost cost = cost_at(points, load_.message_bytes);
    limit(
        "broker as measured", 1e6 / cost.value,
        fmt::format(
            "1 s / {} µs for a message published, delivered and completed ({}; clients on the same machine)",
            grouped(cost.value), cost.how));
    if (publish_only && !nearest_complete(load_.message_bytes))
      out_.notes.push_back(
          "the records hold publishing only: delivery and completion are not in the throughput");
    if (derived)
      out_.notes.push_back(
          "where only publishing was measured, delivery and completion are taken to cost the same share as "
          "at the "
          "nearest size where they were");
  }
  [[nodiscard]] const SizePoint* nearest_complete(double bytes) const {
    const SizePoint* best = nullptr;
    for (const SizePoint& size : measured_.sizes) {
      if (!size.complete_per_second) continue;
      if (best == nullptr || std::fabs(size.message_bytes - bytes) < std::fabs(best->message_bytes - bytes))
        best = &size;
    }
    return best;
  }

  void limit_cpu() {
    std::vector<CostPoint> points;
    for (const SizePoint& size : measured_.sizes) {
      if (size.cpu_us) points.push_back({size.message_bytes, *size.cpu_us});
    }
    if (points.empty()) return missing("CPU", "publish");
    const auto cores = load_.cores ? load_.cores : measured_.cores;
    const double used = std::min(cores.value_or(kThreads), kThreads);
    if (!cores)
      out_.notes.push_back(
          "the records do not tell how many cores they were measured on: 2 are assumed (--cores)");
    const Cost cost = cost_at(points, load_.message_bytes);
    limit(
        "CPU", used * 1e6 / cost.value,
        fmt::format("{} cores that a group's two threads can use × 1 s / {} µs of server CPU a message ({})",
                    grouped(used), grouped(cost.value), cost.how));
  }

  void limit_disk() {
    const auto bandwidth =
        load_.disk_bytes_per_second ? load_.disk_bytes_per_second : measured_.disk_bytes_per_second;
    if (!bandwidth) return missing("disk bandwidth", "journal");
    limit("disk bandwidth", *bandwidth / record_bytes(),
          fmt::format("{} MB/s write + sync / {} B a record (body + {})", grouped(*bandwidth / 1e6),
                      grouped(record_bytes()), grouped(kRecordOverhead)));
  }

  void limit_syncs() {
    if (!measured_.syncs_per_second) return missing("syncs", "journal");
    std::vector<CostPoint> points;
    for (const SizePoint& size : measured_.sizes) {
      if (size.syncs_per_message) points.push_back({size.message_bytes, *size.syncs_per_message});
    }
    if (points.empty()) return missing("syncs", "publish");
    const Cost cost = cost_at(points, load_.message_bytes);
    // A message never needs more than one sync for its confirm and one for its completion.
    const double each = std::min(cost.value, 2.0);
    limit("syncs", *measured_.syncs_per_second / each,
          fmt::format("{} syncs/s / {:.4f} syncs a message when saturated ({})",
                      grouped(*measured_.syncs_per_second), each, cost.how));
  }

  void limit_network() {
    const double bytes = record_bytes();
    const double out_times = load_.regions > 1 ? 2 : 1;  // delivered, and shipped to the standby
    limit("network", load_.network_mbit * 1e6 / 8 / (bytes * out_times),
          fmt::format("{} Mbit/s = {} MB/s out of a node / ({} × {} B: delivered{})",
                      grouped(load_.network_mbit), grouped(load_.network_mbit / 8), grouped(out_times),
                      grouped(bytes), load_.regions > 1 ? ", and shipped to the standby region" : ""));
  }

  void count_nodes() {
    const Limit& first = out_.limits.front();
    const double usable = first.per_second * (1 - load_.headroom);
    need("a group carries", usable, "messages/s",
         fmt::format("{}: {} × (1 − {:g} headroom)", first.name, grouped(first.per_second), load_.headroom));
    out_.groups = std::max(1.0, std::ceil(load_.peak_rate / usable));
    need("groups", out_.groups, "",
         fmt::format("{} messages/s / {} messages/s, rounded up", grouped(load_.peak_rate), grouped(usable)));
    out_.nodes_per_region = out_.groups + load_.nodes_lost;
    need("nodes in a region", out_.nodes_per_region, "",
         fmt::format("one for each group + {} that may be away", load_.nodes_lost));
    out_.nodes = out_.nodes_per_region * load_.regions;
    need("nodes in all", out_.nodes, "",
         fmt::format("{} × {} region{}", grouped(out_.nodes_per_region), load_.regions,
                     load_.regions > 1 ? "s: a standby stores and applies all that the live one does" : ""));
    if (load_.nodes_lost > 0)
      out_.notes.push_back(
          "a node that is away: today its group goes to the standby region; groups do not move to other "
          "nodes of their "
          "region by themselves yet");
  }

  void need_bandwidth() {
    const double in = load_.peak_rate * load_.message_bytes;
    need("payload in at the peak", in / 1e6, "MB/s",
         fmt::format("{} messages/s × {} B", grouped(load_.peak_rate), grouped(load_.message_bytes)));
    need(
        "disk writes of a group at the peak", load_.peak_rate / out_.groups * record_bytes() / 1e6, "MB/s",
        fmt::format("{} messages/s × {} B", grouped(load_.peak_rate / out_.groups), grouped(record_bytes())));
    if (load_.regions > 1)
      need("between the regions at the peak", load_.peak_rate * record_bytes() * 8 / 1e6, "Mbit/s",
           fmt::format("{} messages/s × {} B × 8", grouped(load_.peak_rate), grouped(record_bytes())));
  }

  [[nodiscard]] double backlog_of_group() const {
    return load_.peak_rate / out_.groups * load_.backlog_hours * 3600;
  }

  void need_disk() {
    const double messages = backlog_of_group();
    const double bytes = messages * record_bytes() * kDiskSlack + kDiskFixed;
    need(
        "disk of a node", bytes / kGiB, "GiB",
        fmt::format("{} h × 3600 × {} messages/s = {} messages × {} B × {} for segments partly live + {} MiB",
                    grouped(load_.backlog_hours), grouped(load_.peak_rate / out_.groups), grouped(messages),
                    grouped(record_bytes()), grouped(kDiskSlack), grouped(kDiskFixed / kMiB)));
    if (messages <= 0) return;
    if (!measured_.drain_per_second) return missing("the time to drain the backlog", "backlog");
    const double spare = *measured_.drain_per_second * (1 - load_.headroom) - load_.peak_rate / out_.groups;
    if (spare <= 0) {
      out_.notes.push_back("at the peak rate the backlog is never drained: " +
                           grouped(*measured_.drain_per_second) + " messages/s leave an old backlog");
      return;
    }
    need("time to drain it, the peak going on", messages / spare / 3600, "h",
         fmt::format("{} messages / ({} × (1 − {:g}) − {}) messages/s / 3600", grouped(messages),
                     grouped(*measured_.drain_per_second), load_.headroom,
                     grouped(load_.peak_rate / out_.groups)));
  }

  /// On the lines between the measured points; behind the last, on as before it, never down.
  [[nodiscard]] double memory_with(double messages) const {
    const auto& points = measured_.memory;
    std::size_t i = 1;
    while (i + 1 < points.size() && points[i].messages < messages) ++i;
    const Measurements::Memory &low = points[i - 1], &high = points[i];
    double slope = (high.mib - low.mib) / (high.messages - low.messages);
    if (messages > high.messages) slope = std::max(0.0, slope);
    return high.mib + slope * (messages - high.messages);
  }

  void need_memory() {
    double mib = 0;
    std::string how;
    const auto add = [&](double more, const std::string& text) {
      mib += more;
      how += (how.empty() ? "" : " + ") + text;
    };
    if (!measured_.memory.empty()) {
      const double messages = backlog_of_group();
      const Measurements::Memory& deepest = measured_.memory.back();
      const double total = memory_with(messages);
      std::string at;
      for (const auto& each : measured_.memory) at += (at.empty() ? "" : ", ") + grouped(each.messages);
      add(total,
          fmt::format("{} MiB with {} waiting (measured with {})", grouped(total), grouped(messages), at));
      if (messages > deepest.messages)
        out_.notes.push_back("memory for a backlog of more than " + grouped(deepest.messages) +
                             " messages is extrapolated from the two deepest that were measured");
    } else {
      missing("memory of the broker and its backlog", "backlog");
    }
    if (measured_.memory_per_queue_kib && measured_.memory_per_connection_kib) {
      const double queues = load_.queues / out_.groups, connections = load_.connections / out_.groups;
      add(queues * *measured_.memory_per_queue_kib / 1024,
          fmt::format("{} queues × {} KiB", grouped(queues), grouped(*measured_.memory_per_queue_kib)));
      add(connections * *measured_.memory_per_connection_kib / 1024,
          fmt::format("{} connections × {} KiB", grouped(connections),
                      grouped(*measured_.memory_per_connection_kib)));
    } else {
      missing("memory of queues and connections", "many-queues");
    }
    if (how.empty()) return;
    const double with_headroom = mib / (1 - load_.headroom);
    need("memory of a node", with_headroom, "MiB",
         fmt::format("({}) / (1 − {:g} headroom)", how, load_.headroom));
    if (!load_.node_memory_mib || with_headroom <= *load_.node_memory_mib) return;
    out_.fits = false;
    out_.notes.push_back(fmt::format("memory is hit first: a node has {} MiB and needs {} MiB",
                                     grouped(*load_.node_memory_mib), grouped(with_headroom)));
  }

  const Load& load_;
  const Measurements& measured_;
  Plan out_;
};

}  // namespace

Cost cost_at(const std::vector<CostPoint>& points, double bytes) {
  const CostPoint& first = points.front();
  const CostPoint& last = points.back();
  if (bytes < first.bytes)
    return {first.cost, fmt::format("as measured at {} B, the smallest", grouped(first.bytes))};
  if (bytes > last.bytes)
    return {last.cost * bytes / last.bytes,
            fmt::format("extrapolated by the bytes from {} B, the largest measured", grouped(last.bytes))};
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (points[i].bytes == bytes) return {points[i].cost, "measured at this size"};
    if (points[i].bytes < bytes) continue;
    const CostPoint &low = points[i - 1], &high = points[i];
    const double part = (bytes - low.bytes) / (high.bytes - low.bytes);
    return {low.cost + part * (high.cost - low.cost),
            fmt::format("interpolated between {} B and {} B", grouped(low.bytes), grouped(high.bytes))};
  }
  return {last.cost, "measured at this size"};
}

Result<Plan, Failure> plan(const Load& load, const Measurements& measured) {
  if (const std::string wrong = problems(load); !wrong.empty()) return Failure{wrong};
  if (measured.sizes.empty()) return Failure{"no throughput was measured: ./dev bench publish --json FILE"};
  return Planner(load, measured).make();
}

}  // namespace mainstay::capacity
