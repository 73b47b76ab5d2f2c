#include "drills/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "drills/audit_command.h"
#include "drills/figures.h"

namespace mainstay::drills {
namespace {

using Tone = ResultRow::Tone;

std::string_view text(MarkKind kind) {
  constexpr std::string_view names[] = {"kill",           "promotion",    "replay",
                                        "first_delivery", "process_kill", "other"};
  return names[static_cast<std::size_t>(kind)];
}

/// Columns a terminal needs for UTF-8 text.
std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & '\xc0') != '\x80'; }));
}

std::string padded(const std::string& text, std::size_t columns) {
  return text + std::string(columns - std::min(columns, columns_of(text)), ' ');
}
std::string right_aligned(const std::string& text, std::size_t columns) {
  return std::string(columns - std::min(columns, columns_of(text)), ' ') + text;
}

template <class T>
boost::json::value json_or_null(const std::optional<T>& value) {
  return value ? boost::json::value(*value) : boost::json::value(nullptr);
}

}  // namespace

std::vector<ResultRow> result_rows(const DrillReport& report) {
  const AuditReport& audit = report.audit;
  std::vector<ResultRow> rows;
  const auto expect = [&](const std::string& name, std::uint64_t count, std::uint64_t wanted,
                          const std::string& note) {
    rows.push_back({name, grouped(count), note, count == wanted ? Tone::good : Tone::bad});
  };
  rows.push_back({"messages in", grouped(audit.in),
                  fmt::format("in {} ordering keys", grouped(audit.ordering_keys)), Tone::plain});
  expect("delivered", audit.delivered, audit.unique,
         fmt::format("of {} to be delivered", grouped(audit.unique)));
  const bool ended = report.failure.empty();
  expect("lost", audit.lost.size(), 0, ended ? "" : "or still on their way when the drill broke off");
  expect("repeated", audit.repeated.size(), 0, "");
  expect("reordered", audit.reordered.size(), 0,
         audit.order_evidence == OrderEvidence::arrivals ? "order of arrival witnessed at the destination"
         : audit.order_evidence == OrderEvidence::ledger ? "order as the ledger tells it: no witness"
                                                         : "order evidence incomplete: " + audit.order_note);
  if (audit.order_evidence == OrderEvidence::incomplete) rows.back().tone = Tone::bad;
  expect("corrupted", audit.corrupted.size(), 0, "content compared bit for bit");
  if (!audit.unexpected.empty()) expect("unexpected at the destination", audit.unexpected.size(), 0, "");
  if (!audit.disagreements.empty())
    expect("ledger and destination disagree", audit.disagreements.size(), 0, "");
  rows.push_back({"duplicates removed", grouped(audit.duplicates), "same key, same content", Tone::plain});
  expect("conflicts parked", audit.conflicts_parked, audit.conflicts,
         audit.conflicts_parked == audit.conflicts ? "same key, other content: kept for a person to decide"
                                                   : fmt::format("of {}", grouped(audit.conflicts)));
  if (audit.quarantined)
    expect("malformed quarantined", *audit.quarantined, audit.malformed,
           *audit.quarantined == audit.malformed ? "each with its reason beside it"
                                                 : fmt::format("of {}", grouped(audit.malformed)));
  rows.insert(rows.end(), report.figures.begin(), report.figures.end());
  if (!report.region_lost) return rows;
  rows.push_back({"recovered from the archive", grouped(report.recovered_from_archive),
                  "archived by the dead region, unknown to the promoted one", Tone::plain});
  if (report.unreplicated_records)
    rows.push_back({"not at the standby at the kill", grouped(*report.unreplicated_records),
                    report.unreplicated_s
                        ? "log records; the oldest was " + readable_seconds(*report.unreplicated_s) + " old"
                        : "log records",
                    Tone::plain});
  if (!ended) return rows;  // recovery was not seen through: there is nothing to measure
  rows.push_back({"RPO", audit.lost.empty() ? "0 messages" : grouped(audit.lost.size()) + " messages",
                  report.unreplicated_s ? fmt::format("after the replay; {} before it; contract < {}",
                                                      readable_seconds(*report.unreplicated_s),
                                                      readable_seconds(report.targets.rpo_contract_s))
                                        : fmt::format("after the replay; contract < {}",
                                                      readable_seconds(report.targets.rpo_contract_s)),
                  audit.lost.empty() ? Tone::good : Tone::bad});
  if (report.rto_s)
    rows.push_back({"RTO", readable_seconds(*report.rto_s),
                    fmt::format("kill to first delivery; contract ≤ {}, own target {}",
                                readable_seconds(report.targets.rto_contract_s),
                                readable_seconds(report.targets.rto_own_s)),
                    *report.rto_s <= report.targets.rto_own_s ? Tone::good : Tone::bad});
  else
    rows.push_back({"RTO", "never", "nothing was delivered after the kill", Tone::bad});
  return rows;
}

std::string text_of(const DrillReport& report) {
  std::vector<ResultRow> rows;
  // A drill that never got going has no figures; zeros would look like a good result.
  if (report.audit.in > 0 || report.failure.empty()) rows = result_rows(report);
  std::size_t name_columns = 0, value_columns = 0;
  for (const ResultRow& row : rows) {
    name_columns = std::max(name_columns, columns_of(row.name));
    value_columns = std::max(value_columns, columns_of(row.value));
  }
  std::string out;
  for (const ResultRow& row : rows)
    out += fmt::format("  {}  {}  {}{}\n", padded(row.name, name_columns),
                       right_aligned(row.value, value_columns),
                       row.tone == Tone::bad    ? "✗ "
                       : row.tone == Tone::good ? "✓ "
                                                : "  ",
                       row.note);
  std::string findings = report.audit.clean() ? "" : findings_of(report.audit);
  for (const std::string& promise : report.broken) findings += "\nbroken: " + promise + "\n";
  if (!report.failure.empty()) return out + findings + "\nCOULD NOT FINISH: " + report.failure + "\n";
  if (report.clean()) return out + "\nCLEAN: nothing was lost, repeated or reordered.\n";
  return out + findings + "\nNOT CLEAN\n";
}

std::string json_of(const DrillReport& report) {
  boost::json::array samples, marks, steps, figures;
  for (const Sample& sample : report.samples)
    samples.push_back({{"at_s", sample.at_s},
                       {"entered", sample.entered},
                       {"delivered", sample.delivered},
                       {"lag_records", json_or_null(sample.lag_records)},
                       {"lag_s", json_or_null(sample.lag_s)}});
  for (const Mark& mark : report.marks)
    marks.push_back({{"at_s", mark.at_s}, {"kind", text(mark.kind)}, {"text", mark.text}});
  for (const Step& step : report.steps) steps.push_back({{"at_s", step.at_s}, {"text", step.text}});
  for (const ResultRow& row : report.figures)
    figures.push_back({{"name", row.name}, {"value", row.value}, {"note", row.note}});
  const boost::json::object object{{"drill", report.drill},
                                   {"clean", report.clean()},
                                   {"failure", report.failure},
                                   {"summary", report.summary},
                                   {"seed", report.seed},
                                   {"command", report.command},
                                   {"started_wall_ms", report.started_wall_ms},
                                   {"duration_s", report.duration_s},
                                   {"recovered_from_archive", report.recovered_from_archive},
                                   {"unreplicated_records", json_or_null(report.unreplicated_records)},
                                   {"unreplicated_s", json_or_null(report.unreplicated_s)},
                                   {"rpo_messages", report.audit.lost.size()},
                                   {"rto_s", json_or_null(report.rto_s)},
                                   {"rto_contract_s", report.targets.rto_contract_s},
                                   {"rpo_contract_s", report.targets.rpo_contract_s},
                                   {"figures", std::move(figures)},
                                   {"broken", boost::json::array(report.broken.begin(), report.broken.end())},
                                   {"audit", boost::json::parse(json_of(report.audit))},
                                   {"environment", json_of(report.environment)},
                                   {"marks", std::move(marks)},
                                   {"steps", std::move(steps)},
                                   {"samples", std::move(samples)}};
  return boost::json::serialize(object);
}

}  // namespace mainstay::drills
