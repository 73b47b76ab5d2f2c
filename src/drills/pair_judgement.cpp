// What must be so after a drill, whatever became of it, and the evidence that is kept.
#include <fmt/format.h>

#include <algorithm>

#include "drills/figures.h"
#include "drills/pair_drill_impl.h"
#include "drills/tsv.h"

namespace mainstay::drills {
namespace {

/// A node that was stopped and goes on has so long to see that it leads no more. It has answered nobody
/// meanwhile, which what clients saw must show.
constexpr std::int64_t wake_up_us = 500'000;
/// On a link that loses 30 % of all packets: epochs a minute, begun minutes included. A backup that is
/// dropped and taken in again makes two.
constexpr std::uint64_t unsettled_per_minute = 4;

}  // namespace

void PairDrill::end() {
  report_.duration_s = now_s();
  if (!group_) return;
  if (shared_) shared_->give_up = true;
  std::vector<PairClientHistory> histories;
  for (const auto& client : clients_) histories.push_back(client->take_history());
  clients_.clear();
  const std::vector<Service> services = group_->services();
  for (const std::string& node : group_->stop())
    report_.broken.push_back(node + " did not end when it was asked to");
  place_.progress.say(fmt::format("{:7.1f} s  auditing", now_s()));
  for (const char* node : pair_nodes) {
    if (one_store() && node != pair_nodes[0]) break;
    const auto verified = group_->command({"verify", group_->data(node)});
    if (!verified || !verified->end.ok())
      report_.broken.push_back(
          fmt::format("mainstay verify of {}: {}", node,
                      verified ? verified->end.text() + ": " + verified->output : verified.error().what));
  }
  compare();
  report_.audit = audit_pair(histories);
  for (const PairClientHistory& history : histories) {
    if (!history.failure.empty()) report_.broken.push_back(history.client + " gave up: " + history.failure);
    std::uint64_t unknown = 0;
    for (const PairPublish& published : history.published)
      if (published.outcome != PairPublish::Outcome::confirmed) ++unknown;
    if (unknown > 0 && report_.failure.empty())
      report_.broken.push_back(
          fmt::format("{} never learned what became of {} publishes", history.client, unknown));
  }
  for (std::string& what : leaders_at_once(services, group_->absences(), wake_up_us))
    report_.broken.push_back(std::move(what));
  for (std::string& what : confirmed_by_others(histories, services))
    report_.broken.push_back(std::move(what));
  measure(histories, services);
  keep_evidence(histories, services);
}

void PairDrill::compare() {
  if (!report_.failure.empty() || group_->one_store()) return;
  const auto compared =
      group_->command({"verify", group_->data(pair_nodes[0]), "--compare", group_->data(pair_nodes[1])});
  if (!compared || !compared->end.ok())
    report_.broken.push_back(
        fmt::format("mainstay verify --compare: {}",
                    compared ? compared->end.text() + ": " + compared->output : compared.error().what));
}

void PairDrill::measure(const std::vector<PairClientHistory>& histories,
                        const std::vector<Service>& services) {
  double longest = 0;
  std::uint64_t operations = 0;
  std::string whose;
  for (const PairClientHistory& history : histories) {
    operations += history.operations.size();
    std::int64_t last = 0;
    for (const PairOperation& operation : history.operations) {
      if (operation.settlement) continue;
      const double gap = last == 0 ? 0 : static_cast<double>(operation.answered_us - last) / 1e6;
      if (gap > longest) {
        longest = gap;
        whose = history.client;
      }
      last = operation.answered_us;
    }
  }
  int leaderships = 0, fenced = 0;
  std::optional<double> took;
  std::int64_t woken_us = 0;
  for (const Service& service : services) {
    if (service.begins_leadership) ++leaderships;
    if (service.end_why == "fenced") ++fenced;
    if (service.begins_leadership && !took && begun_us_ > 0 && service.begin_us >= begun_us_ - 1000)
      took = static_cast<double>(service.begin_us - begun_us_) / 1e6;
    for (const Absence& absence : group_->absences())
      if (!absence.killed && absence.node == service.node && service.after_sleep &&
          service.begin_us < absence.until_us && service.end_why != "the drill's end")
        woken_us = std::max(woken_us, service.end_us - absence.until_us);
  }
  using Tone = ResultRow::Tone;
  auto& figures = report_.figures;
  const bool gap_well = course_.gap_max_s == 0 || longest <= course_.gap_max_s;
  figures.push_back({"longest publish gap", readable_seconds(longest),
                     course_.gap_max_s == 0 ? "without a confirm, of " + whose
                                            : fmt::format("of {}; at most {} are allowed", whose,
                                                          readable_seconds(course_.gap_max_s)),
                     course_.gap_max_s == 0 ? Tone::plain
                     : gap_well             ? Tone::good
                                            : Tone::bad});
  if (!gap_well && report_.failure.empty())
    report_.broken.push_back(fmt::format("no publish was confirmed for {}; {} are allowed",
                                         readable_seconds(longest), readable_seconds(course_.gap_max_s)));
  figures.push_back({"new leader", took ? "after " + readable_seconds(*took) : "none",
                     "from the fault to its own word", Tone::plain});
  const bool few = course_.leaderships_max == 0 || leaderships <= course_.leaderships_max;
  const bool enough = leaderships >= course_.leaderships_min;
  figures.push_back({"leaderships", std::to_string(leaderships),
                     fmt::format("fenced {} times in between", fenced),
                     few && enough ? Tone::good : Tone::bad});
  if (epochs_disturbed_) {
    const std::uint64_t most = course_.epochs_max.value_or(
        unsettled_per_minute * (static_cast<std::uint64_t>(options_.fault_s) / 60 + 1));
    const bool settled = *epochs_disturbed_ <= most;
    figures.push_back(
        {"epochs meanwhile", std::to_string(*epochs_disturbed_),
         fmt::format("takeovers, and the backup dropped or taken in again; at most {} are allowed", most),
         settled ? Tone::good : Tone::bad});
    if (report_.failure.empty() && !settled)
      report_.broken.push_back(fmt::format("the group flapped: {} epochs in {} s, {} are allowed",
                                           *epochs_disturbed_, options_.fault_s, most));
  }
  if (report_.failure.empty() && !few)
    report_.broken.push_back(fmt::format("there were {} leaderships, {} at most were to be", leaderships,
                                         course_.leaderships_max));
  if (report_.failure.empty() && !enough)
    report_.broken.push_back(
        fmt::format("there were {} leaderships, {} at least were to be: the fault had no effect", leaderships,
                    course_.leaderships_min));
  if (woken_us > 0)
    figures.push_back({"the woken leader stopped",
                       "after " + readable_seconds(static_cast<double>(woken_us) / 1e6),
                       "it confirmed nothing meanwhile", Tone::plain});
  figures.push_back({"operations judged", grouped(operations),
                     "each confirmed by the node that led, under a growing epoch", Tone::plain});
  if (shared_)
    figures.push_back({"reconnects", grouped(shared_->reconnects),
                       grouped(shared_->resent) + " publishes were sent again", Tone::plain});
  if (power_lost_ > 0)
    figures.push_back(
        {"lost with the power", fmt::format("{} KiB", grouped(lost_.bytes_lost >> 10)),
         fmt::format("of {} KiB not synced, in {} losses", grouped(lost_.bytes >> 10), power_lost_),
         Tone::plain});
}

void PairDrill::keep_evidence(const std::vector<PairClientHistory>& histories,
                              const std::vector<Service>& services) const {
  std::string text = "node\tepoch\tbegin_us\tend_us\tleadership\tend\n";
  for (const Service& service : services)
    append_tsv_line(text, {service.node, std::to_string(service.epoch), std::to_string(service.begin_us),
                           std::to_string(service.end_us), service.begins_leadership ? "begins" : "goes on",
                           service.end_why});
  static_cast<void>(write_text_file(place_.directory + "/leaderships.tsv", text));
  text = "client\twhat\tid\tnode\tasked_us\tanswered_us\n";
  for (const PairClientHistory& history : histories)
    for (const PairOperation& operation : history.operations)
      append_tsv_line(
          text, {history.client, operation.settlement ? "settle" : "publish", operation.id, operation.node,
                 std::to_string(operation.asked_us), std::to_string(operation.answered_us)});
  static_cast<void>(write_text_file(place_.directory + "/operations.tsv", text));
}

}  // namespace mainstay::drills
