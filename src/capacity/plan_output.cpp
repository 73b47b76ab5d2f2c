#include <fmt/format.h>

#include <boost/json.hpp>

#include "capacity/capacity.h"
#include "capacity/grouped.h"

namespace mainstay::capacity {
std::string to_text(const Plan& plan, const Load& load) {
  std::string out =
      fmt::format("{} messages/s of {} B at the peak\n\nHit first: {}\n\n", grouped(load.peak_rate),
                  grouped(load.message_bytes), plan.fits ? plan.limits.front().name : std::string("memory"));
  out += "What one group could carry, by each limit alone\n";
  for (const Limit& limit : plan.limits)
    out += fmt::format("  {:<20} {:>14} messages/s  = {}\n", limit.name, grouped(limit.per_second),
                       limit.calculation);
  out += "\nWhat is needed\n";
  for (const Need& need : plan.needs)
    out += fmt::format("  {:<36} {:>12} {:<10}  = {}\n", need.name, grouped(need.value), need.unit,
                       need.calculation);
  if (!plan.notes.empty()) out += "\nTo be known\n";
  for (const std::string& note : plan.notes) out += "  * " + note + "\n";
  return out;
}

std::string to_json(const Plan& plan, const Load& load) {
  namespace json = boost::json;
  json::array limits, needs, notes;
  for (const Limit& limit : plan.limits)
    limits.push_back(json::object{
        {"name", limit.name}, {"messages_per_second", limit.per_second}, {"calculation", limit.calculation}});
  for (const Need& need : plan.needs)
    needs.push_back(json::object{
        {"name", need.name}, {"value", need.value}, {"unit", need.unit}, {"calculation", need.calculation}});
  for (const std::string& note : plan.notes) notes.emplace_back(note);
  return json::serialize(json::object{{"load",
                                       {{"message_bytes", load.message_bytes},
                                        {"peak_rate", load.peak_rate},
                                        {"headroom", load.headroom},
                                        {"nodes_lost", load.nodes_lost},
                                        {"regions", load.regions},
                                        {"backlog_hours", load.backlog_hours},
                                        {"queues", load.queues},
                                        {"connections", load.connections},
                                        {"network_mbit", load.network_mbit}}},
                                      {"hit_first", plan.fits ? plan.limits.front().name : "memory"},
                                      {"groups", plan.groups},
                                      {"nodes_per_region", plan.nodes_per_region},
                                      {"nodes", plan.nodes},
                                      {"limits", std::move(limits)},
                                      {"needs", std::move(needs)},
                                      {"notes", std::move(notes)}}) +
         "\n";
}

}  // namespace mainstay::capacity
