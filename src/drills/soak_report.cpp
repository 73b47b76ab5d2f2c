// What a soak did, measured and found, for people and for machines.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "drills/figures.h"
#include "drills/soak.h"

namespace mainstay::drills {
namespace {

namespace json = boost::json;

std::string mebibytes(std::uint64_t bytes) {
  return fmt::format("{} MiB", grouped(bytes >> 20));
}

}  // namespace

std::string text_of(const SoakReport& report) {
  std::string out = fmt::format(
      "  soak with seed {}, {} of load, {} in all\n"
      "  broker     {} kills, {} orderly stops; slowest start {}\n"
      "  clients    {} connections lost, {} vanished, {} granted credit and did not read, {} read slowly\n"
      "  publishing {} messages, {} outcomes unknown, {} sent again on purpose\n"
      "  deferral   {} messages put aside, {} received by their numbers\n"
      "  depth      {} messages at most\n",
      report.seed, readable_seconds(report.load_s), readable_seconds(report.duration_s), report.kills,
      report.stops, readable_seconds(report.restart_max_s), grouped(report.connections_lost),
      grouped(report.vanished), grouped(report.silent), grouped(report.slow), grouped(report.messages),
      grouped(report.publishes_unknown), grouped(report.duplicates_sent), grouped(report.deferred),
      grouped(report.received_by_number), grouped(report.depth_peak));
  out += fmt::format("  memory     {} at most, {}\n", mebibytes(report.rss_peak_bytes),
                     report.rss_judged ? "limit " + mebibytes(report.rss_limit_bytes)
                                       : std::string("not judged: this is a build with a sanitizer"));
  out += fmt::format("  disk       {} at most, limit {}\n", mebibytes(report.disk_peak_bytes),
                     mebibytes(report.disk_limit_bytes));
  if (report.power_losses > 0)
    out += fmt::format("  power      lost {} times: {} KiB and {} names that were not synced\n",
                       report.power_losses, grouped(report.bytes_lost >> 10), grouped(report.names_lost));
  out += fmt::format("  journal    {}\n", report.verified ? "verified: whole" : "NOT VERIFIED");
  if (!report.failure.empty()) return out + "\nCOULD NOT FINISH: " + report.failure + "\n";
  return out + "\n" + text_of(report.audit);
}

std::string json_of(const SoakReport& report) {
  return json::serialize(json::object{{"drill", "soak"},
                                      {"clean", report.clean()},
                                      {"failure", report.failure},
                                      {"seed", report.seed},
                                      {"directory", report.directory},
                                      {"load_s", report.load_s},
                                      {"duration_s", report.duration_s},
                                      {"kills", report.kills},
                                      {"stops", report.stops},
                                      {"power_losses", report.power_losses},
                                      {"bytes_lost", report.bytes_lost},
                                      {"names_lost", report.names_lost},
                                      {"restart_max_s", report.restart_max_s},
                                      {"messages", report.messages},
                                      {"connections_lost", report.connections_lost},
                                      {"vanished", report.vanished},
                                      {"silent", report.silent},
                                      {"slow", report.slow},
                                      {"publishes_unknown", report.publishes_unknown},
                                      {"duplicates_sent", report.duplicates_sent},
                                      {"deferred", report.deferred},
                                      {"received_by_number", report.received_by_number},
                                      {"depth_peak", report.depth_peak},
                                      {"rss_peak_bytes", report.rss_peak_bytes},
                                      {"rss_limit_bytes", report.rss_limit_bytes},
                                      {"rss_judged", report.rss_judged},
                                      {"disk_peak_bytes", report.disk_peak_bytes},
                                      {"disk_limit_bytes", report.disk_limit_bytes},
                                      {"verified", report.verified},
                                      {"environment", json_of(report.environment)},
                                      {"audit", json::parse(json_of(report.audit))}});
}

}  // namespace mainstay::drills
