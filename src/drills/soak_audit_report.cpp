// What an audit of a soak found, for people and for machines.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "drills/figures.h"
#include "drills/soak_audit.h"

namespace mainstay::drills {
namespace {

namespace json = boost::json;

constexpr std::size_t findings_shown = 10;  ///< of each kind, with their histories; report.json has more

json::object object_of(const SoakAudit& audit) {
  json::object queues, counts;
  for (const auto& [name, queue] : audit.queues)
    queues[name] = {{"acknowledged", queue.acknowledged},
                    {"uncertain", queue.uncertain},
                    {"uncertain_stored", queue.uncertain_stored},
                    {"resent", queue.resent},
                    {"completed", queue.completed},
                    {"completed_unheard", queue.completed_unheard},
                    {"expired", queue.expired},
                    {"dead_lettered", queue.dead_lettered},
                    {"dead_by_expiry", queue.dead_by_expiry},
                    {"dead_by_count", queue.dead_by_count},
                    {"deliveries", queue.deliveries},
                    {"redelivered", queue.redelivered},
                    {"abandoned", queue.abandoned},
                    {"released", queue.released},
                    {"deferred", queue.deferred},
                    {"by_number", queue.by_number},
                    {"lock_lost", queue.lock_lost},
                    {"sessions", queue.sessions},
                    {"left", queue.left}};
  for (const auto& [kind, count] : audit.counts) counts[name_of(kind)] = count;
  json::array findings;
  for (const SoakFinding& finding : audit.findings)
    findings.push_back({{"kind", name_of(finding.kind)},
                        {"queue", finding.queue},
                        {"id", finding.id},
                        {"what", finding.what},
                        {"history", json::array(finding.history.begin(), finding.history.end())}});
  return {{"clean", audit.clean()}, {"facts", audit.facts}, {"links", audit.links},
          {"queues", queues},       {"violations", counts}, {"findings", findings}};
}

}  // namespace

std::string text_of(const SoakAudit& audit) {
  std::string out = fmt::format("  {:<10} {:>12} {:>12} {:>9} {:>9} {:>9} {:>11} {:>9} {:>9} {:>8} {:>9}\n",
                                "queue", "acknowledged", "completed", "expired", "answer", "dead-",
                                "redelivered", "locks", "uncertain", "sessions", "put");
  out += fmt::format("  {:<10} {:>12} {:>12} {:>9} {:>9} {:>9} {:>11} {:>9} {:>9} {:>8} {:>9}\n", "", "", "",
                     "", "lost", "lettered", "", "lost", "stored", "", "aside");
  for (const auto& [name, queue] : audit.queues)
    out += fmt::format("  {:<10} {:>12} {:>12} {:>9} {:>9} {:>9} {:>11} {:>9} {:>9} {:>8} {:>9}\n", name,
                       grouped(queue.acknowledged), grouped(queue.completed), grouped(queue.expired),
                       grouped(queue.completed_unheard), grouped(queue.dead_lettered),
                       grouped(queue.redelivered), grouped(queue.lock_lost), grouped(queue.uncertain_stored),
                       grouped(queue.sessions), grouped(queue.deferred));
  out += fmt::format("\n  {} facts of {} links judged.\n", grouped(audit.facts), grouped(audit.links));
  out += "  acknowledged + uncertain stored = completed + expired + completed, answer lost + lost\n";
  if (audit.clean())
    return out + "\nCLEAN: nothing was lost, repeated, reordered, altered or brought back.\n";
  std::map<SoakFinding::Kind, std::size_t> shown;
  for (const SoakFinding& finding : audit.findings) {
    if (++shown[finding.kind] > findings_shown) continue;
    out += fmt::format(
        "\n  {}: {}{}\n", name_of(finding.kind),
        finding.id.empty() ? "" : fmt::format("message {} of queue {}: ", finding.id, finding.queue),
        finding.what);
    for (const std::string& line : finding.history) out += "      " + line + "\n";
  }
  out += "\nNOT CLEAN:";
  for (const auto& [kind, count] : audit.counts) out += fmt::format(" {} {}", grouped(count), name_of(kind));
  return out + "\n";
}

std::string json_of(const SoakAudit& audit) {
  return json::serialize(object_of(audit));
}

}  // namespace mainstay::drills
