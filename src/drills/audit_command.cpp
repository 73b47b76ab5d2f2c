#include "drills/audit_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>

#include "base/checksum.h"
#include "drills/arrivals.h"
#include "drills/destination_observer.h"
#include "drills/tsv.h"
#include "ledger/sqlite_ledger.h"
#include "payments/message.h"

namespace mainstay::drills {
namespace {

namespace fs = std::filesystem;

struct Section {
  std::string_view name, meaning;
  const std::vector<Finding>* findings;
};

std::vector<Section> sections(const AuditReport& report) {
  return {{"lost", "entered and not at the destination", &report.lost},
          {"repeated", "delivered more than once", &report.repeated},
          {"reordered", "out of order within their ordering key", &report.reordered},
          {"corrupted", "delivered with other content than entered", &report.corrupted},
          {"unexpected", "at the destination without a right to be there", &report.unexpected},
          {"disagreements", "the sources contradict each other", &report.disagreements}};
}

Result<std::vector<LedgerFact>, Failure> read_ledger(const std::string& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return Failure{"no ledger at " + path};
  const auto opened = ledger::SqliteLedger::open(path);
  if (!opened) return Failure{opened.error().what};
  std::vector<LedgerFact> facts;
  const auto take = [&](ledger::EntryState from, LedgerState to) {
    return (*opened)->for_each(from, [&](const ledger::Entry& entry) {
      facts.push_back({.key = entry.key,
                       .digest = entry.digest,
                       .ordering_key = entry.ordering_key,
                       .state = to,
                       .destination = entry.destination,
                       .done_order = entry.done_order});
    });
  };
  for (const auto& [from, to] : {std::pair{ledger::EntryState::claimed, LedgerState::claimed},
                                 std::pair{ledger::EntryState::done, LedgerState::done},
                                 std::pair{ledger::EntryState::parked, LedgerState::parked}})
    if (const auto taken = take(from, to); !taken) return Failure{taken.error().what};
  return facts;
}

Result<std::vector<std::string>, Failure> digests_below(const std::string& directory,
                                                        bool and_invalid_items) {
  std::vector<std::string> digests;
  std::error_code error;
  fs::recursive_directory_iterator at(directory, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    if (!at->is_regular_file()) continue;
    const auto content = read_text_file(at->path().string());
    if (!content) return content.error();
    digests.push_back(digest128(as_bytes(*content)));
    if (!and_invalid_items) continue;
    for (const payments::Message& message : payments::read_messages(as_bytes(*content)))
      if (!message.valid) digests.push_back(digest128(message.raw));
  }
  if (error) return Failure{"cannot list " + directory + ": " + error.message()};
  std::ranges::sort(digests);
  digests.erase(std::unique(digests.begin(), digests.end()), digests.end());
  return digests;
}

}  // namespace

Result<std::vector<std::string>, Failure> list_parked(const std::string& directory) {
  return digests_below(directory, false);
}

Result<std::vector<std::string>, Failure> list_quarantine(const std::string& directory) {
  return digests_below(directory, true);
}

Result<AuditSources, Failure> gather(const AuditOptions& options) {
  AuditSources sources;
  const auto ingest_text = read_text_file(options.ingest);
  if (!ingest_text) return ingest_text.error();
  auto entered = parse_ingest_record(*ingest_text);
  if (!entered) return Failure{options.ingest + ": " + entered.error().what};
  sources.entered = std::move(*entered);

  auto facts = read_ledger(options.ledger);
  if (!facts) return facts.error();
  sources.ledger = std::move(*facts);

  auto destination = list_destination(options.destination);
  if (!destination) return destination.error();
  sources.destination = std::move(*destination);

  if (!options.arrivals.empty()) {
    const auto arrivals_text = read_text_file(options.arrivals);
    if (!arrivals_text) return arrivals_text.error();
    auto arrivals = parse_arrivals(*arrivals_text);
    if (!arrivals) return Failure{options.arrivals + ": " + arrivals.error().what};
    sources.arrivals = std::move(*arrivals);
  }
  for (const std::string& directory : options.parked) {
    auto parked = list_parked(directory);
    if (!parked) return parked.error();
    std::ranges::move(*parked, std::back_inserter(sources.parked));
  }
  if (!options.quarantine.empty()) {
    auto quarantine = list_quarantine(options.quarantine);
    if (!quarantine) return quarantine.error();
    sources.quarantine = std::move(*quarantine);
  }
  return sources;
}

int run_audit_command(const AuditOptions& options) {
  const auto sources = gather(options);
  if (!sources) {
    fmt::print(stderr, "mainstay audit: {}\n", sources.error().what);
    return 2;
  }
  const AuditReport report = audit(*sources);
  fmt::print("{}", options.json ? json_of(report) + "\n" : text_of(report));
  return report.clean() ? 0 : 1;
}

std::string text_of(const AuditReport& report, std::size_t findings_max) {
  std::string out;
  const auto row = [&](std::string_view name, std::uint64_t count, std::string_view note = {}) {
    out += fmt::format("  {:<26}{:>12L}{}{}\n", name, count, note.empty() ? "" : "  ", note);
  };
  row("messages in", report.in);
  row("to be delivered", report.unique, fmt::format("in {} ordering keys", report.ordering_keys));
  row("delivered", report.delivered);
  row("duplicates removed", report.duplicates);
  row("conflicts parked", report.conflicts_parked,
      report.conflicts == report.conflicts_parked ? "" : fmt::format("of {}", report.conflicts));
  if (report.quarantined)
    row("malformed quarantined", *report.quarantined,
        *report.quarantined == report.malformed ? "" : fmt::format("of {}", report.malformed));
  else
    row("malformed", report.malformed, "quarantine not checked");
  for (const Section& section : sections(report)) row(section.name, section.findings->size());
  out += fmt::format("  order proved by {}\n", report.order_evidence == OrderEvidence::arrivals
                                                   ? "a witness at the destination"
                                               : report.order_evidence == OrderEvidence::ledger
                                                   ? "the ledger alone (no record of arrivals was given)"
                                                   : "nothing: " + report.order_note);
  out += findings_of(report, findings_max);
  out += report.clean() ? "\nCLEAN: nothing was lost, repeated or reordered\n" : "\nNOT CLEAN\n";
  return out;
}

std::string findings_of(const AuditReport& report, std::size_t findings_max) {
  std::string out;
  for (const Section& section : sections(report)) {
    if (section.findings->empty()) continue;
    out += fmt::format("\n{}: {}\n", section.name, section.meaning);
    const std::size_t shown = std::min(findings_max, section.findings->size());
    for (std::size_t i = 0; i < shown; ++i)
      out += fmt::format("  {}: {}\n", (*section.findings)[i].key, (*section.findings)[i].what);
    if (shown < section.findings->size())
      out += fmt::format("  … and {} more (--json lists all)\n", section.findings->size() - shown);
  }
  return out;
}

std::string json_of(const AuditReport& report) {
  boost::json::object object{{"clean", report.clean()},
                             {"in", report.in},
                             {"unique", report.unique},
                             {"delivered", report.delivered},
                             {"duplicates", report.duplicates},
                             {"conflicts", report.conflicts},
                             {"conflicts_parked", report.conflicts_parked},
                             {"malformed", report.malformed},
                             {"quarantined", report.quarantined ? boost::json::value(*report.quarantined)
                                                                : boost::json::value(nullptr)},
                             {"ordering_keys", report.ordering_keys},
                             {"order_evidence", text(report.order_evidence)},
                             {"order_note", report.order_note}};
  for (const Section& section : sections(report)) {
    boost::json::array list;
    for (const Finding& finding : *section.findings)
      list.push_back({{"key", finding.key}, {"what", finding.what}});
    object[section.name] = std::move(list);
  }
  return boost::json::serialize(object);
}

}  // namespace mainstay::drills
