#include "drills/pair_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "drills/tsv.h"

namespace mainstay::drills {
namespace {

/// A log says milliseconds, cut off.
constexpr std::int64_t log_step_us = 1'000;
constexpr std::size_t told_max = 20;

std::optional<std::int64_t> time_of(std::string_view line) {
  // 2026-11-21T14:03:07.123Z
  if (line.size() < 24 || line[4] != '-' || line[10] != 'T' || line[23] != 'Z') return {};
  const auto part = [&](std::size_t at, std::size_t length) {
    return static_cast<std::int64_t>(parse_number(line.substr(at, length)).value_or(0));
  };
  // Days since 1970 of the proleptic Gregorian calendar.
  const std::int64_t month = part(5, 2), year = part(0, 4) - (month <= 2 ? 1 : 0);
  const std::int64_t shifted = (month + 9) % 12;
  const std::int64_t days =
      year * 365 + year / 4 - year / 100 + year / 400 + (shifted * 153 + 2) / 5 + part(8, 2) - 1 - 719'468;
  return (((days * 24 + part(11, 2)) * 60 + part(14, 2)) * 60 + part(17, 2)) * 1'000'000 + part(20, 3) * 1000;
}

std::string clock_text(std::int64_t us) {
  const std::int64_t ms = us / 1000 % 86'400'000;
  return fmt::format("{:02}:{:02}:{:02}.{:03}", ms / 3'600'000, ms / 60'000 % 60, ms / 1000 % 60, ms % 1000);
}

}  // namespace

std::vector<Service> services_of(const std::string& node, const std::string& log,
                                 const std::vector<Absence>& absences, std::int64_t now_us) {
  std::vector<Service> services;
  std::optional<Service> open;
  std::uint64_t epoch = 0;
  bool leading = false;
  const auto end = [&](std::int64_t at, std::string why) {
    if (!open) return;
    open->end_us = std::max(at, open->begin_us);
    open->end_why = std::move(why);
    services.push_back(*std::exchange(open, std::nullopt));
  };
  const auto begin = [&](std::int64_t at, bool leadership) {
    open = Service{.node = node,
                   .epoch = epoch,
                   .begin_us = at,
                   .end_us = 0,
                   .begins_leadership = leadership,
                   .after_sleep = false,
                   .end_why = {}};
  };
  // The last kill of this node up to then.
  const auto killed_before = [&](std::int64_t at) {
    std::int64_t when = 0;
    for (const Absence& absence : absences)
      if (absence.killed && absence.node == node && absence.from_us <= at + log_step_us)
        when = std::max(when, absence.from_us);
    return when;
  };
  std::size_t from = 0;
  while (from < log.size()) {
    std::size_t to = log.find('\n', from);
    if (to == std::string::npos) to = log.size();
    const std::string_view line = std::string_view(log).substr(from, to - from);
    from = to + 1;
    const auto at = time_of(line);
    if (!at) continue;
    const auto says = [&](std::string_view what) { return line.find(what) != std::string_view::npos; };
    // What stands open when a process was killed ended then.
    if (const std::int64_t death = killed_before(*at); open && death > open->begin_us) {
      end(death, "killed");
      leading = false;
    }
    if (says(" live in region term ")) {
      const std::size_t number = line.find(", epoch ");
      epoch = 0;
      if (number != std::string_view::npos)
        std::from_chars(line.data() + number + 8, line.data() + line.size(), epoch);
      end(*at, "led anew");
      begin(*at, true);
      leading = true;
    } else if (says(" this node serves nobody now: ")) {
      end(*at, "fenced");
    } else if (says(" this node does not lead any more: ")) {
      end(*at, "left the store");
      leading = false;
    } else if (says(" this node serves again")) {
      if (leading && !open) begin(*at, false);
    } else if (says(" group: beginning anew from the log: ") || says(" stopping: ") ||
               says(" this node is sealed: ") || says(" recovered ")) {
      end(*at, std::string(line.substr(std::min<std::size_t>(line.size(), 25))));
      leading = false;
    }
  }
  if (open) {
    const std::int64_t death = killed_before(now_us);
    end(death > open->begin_us ? death : now_us, death > open->begin_us ? "killed" : "the drill's end");
  }
  for (Service& service : services)
    for (const Absence& absence : absences)
      if (!absence.killed && absence.node == node && service.begin_us < absence.until_us &&
          absence.until_us < service.end_us + log_step_us)
        service.after_sleep = true;
  return services;
}

std::vector<std::string> leaders_at_once(const std::vector<Service>& services,
                                         const std::vector<Absence>& absences, std::int64_t wake_up_us) {
  std::vector<std::string> broken;
  const auto span = [](const Service& service) {
    return fmt::format("{} under epoch {} from {} to {} ({})", service.node, service.epoch,
                       clock_text(service.begin_us), clock_text(service.end_us), service.end_why);
  };
  for (std::size_t i = 0; i < services.size(); ++i)
    for (std::size_t j = i + 1; j < services.size(); ++j) {
      const Service& one = services[i];
      const Service& other = services[j];
      if (one.begins_leadership && other.begins_leadership) {
        if (one.epoch == other.epoch)
          broken.push_back("one epoch was led twice: " + span(one) + "; " + span(other));
        else if (std::abs(one.begin_us - other.begin_us) > log_step_us &&
                 (one.epoch < other.epoch) != (one.begin_us < other.begin_us))
          broken.push_back("a lower epoch began after a higher one: " + span(one) + "; " + span(other));
      }
      if (one.node == other.node) continue;
      // What both say, without the times in which one of them did not run, or has just woken up.
      std::vector<std::pair<std::int64_t, std::int64_t>> both{
          {std::max(one.begin_us, other.begin_us), std::min(one.end_us, other.end_us)}};
      for (const Absence& absence : absences) {
        if (absence.node != one.node && absence.node != other.node) continue;
        const std::int64_t to = absence.until_us + (absence.killed ? 0 : wake_up_us);
        std::vector<std::pair<std::int64_t, std::int64_t>> rest;
        for (const auto& [a, b] : both) {
          rest.emplace_back(a, std::min(b, absence.from_us));
          rest.emplace_back(std::max(a, to), b);
        }
        both = std::move(rest);
      }
      for (const auto& [a, b] : both)
        if (b - a > log_step_us) {
          broken.push_back(fmt::format("two nodes served at one time, for {} ms: {}; {}", (b - a) / 1000,
                                       span(one), span(other)));
          break;
        }
    }
  return broken;
}

std::vector<std::string> confirmed_by_others(const std::vector<PairClientHistory>& clients,
                                             const std::vector<Service>& services) {
  struct Judged {
    const PairOperation* operation{};
    std::uint64_t lowest{}, highest{};  ///< epochs that it can have been confirmed under
  };
  std::vector<std::string> broken;
  std::uint64_t more = 0;
  const auto tell = [&](std::string what) {
    if (broken.size() < told_max)
      broken.push_back(std::move(what));
    else
      ++more;
  };
  const auto text = [](const PairOperation& operation) {
    return fmt::format("{} confirmed {} {} (asked {}, answered {})", operation.node,
                       operation.settlement ? "the settlement of" : "the publish of", operation.id,
                       clock_text(operation.asked_us), clock_text(operation.answered_us));
  };
  std::vector<Judged> all;
  for (const PairClientHistory& client : clients)
    for (const PairOperation& operation : client.operations) {
      Judged judged{&operation, 0, 0};
      bool found = false;
      for (const Service& service : services) {
        if (service.node != operation.node || service.begin_us > operation.answered_us + log_step_us ||
            service.end_us + 2 * log_step_us < operation.asked_us)
          continue;
        judged.lowest = found ? std::min(judged.lowest, service.epoch) : service.epoch;
        judged.highest = std::max(judged.highest, service.epoch);
        found = true;
      }
      if (!found)
        tell(text(operation) + ", but by its own log it did not serve then");
      else
        all.push_back(judged);
    }
  std::ranges::stable_sort(all, {}, [](const Judged& each) { return each.operation->asked_us; });
  std::vector<const Judged*> by_answer;
  for (const Judged& judged : all) by_answer.push_back(&judged);
  std::ranges::stable_sort(by_answer, {}, [](const Judged* each) { return each->operation->answered_us; });
  std::size_t answered = 0;
  const Judged* latest = nullptr;
  for (const Judged& judged : all) {
    for (; answered < by_answer.size() &&
           by_answer[answered]->operation->answered_us < judged.operation->asked_us;
         ++answered)
      if (latest == nullptr || by_answer[answered]->lowest > latest->lowest) latest = by_answer[answered];
    if (latest != nullptr && latest->lowest > judged.highest)
      tell(fmt::format("{} under epoch {} at most, after {} under epoch {}", text(*judged.operation),
                       judged.highest, text(*latest->operation), latest->lowest));
  }
  if (more > 0) broken.push_back(fmt::format("… and {} more operations", more));
  return broken;
}

AuditReport audit_pair(const std::vector<PairClientHistory>& clients) {
  AuditReport report;
  report.order_evidence = OrderEvidence::arrivals;
  struct Known {
    const PairPublish* published{};
    std::uint64_t sequence = 0;
    std::uint64_t first_delivery = 0;
    std::int64_t settled_us = 0;
  };
  std::map<std::string, Known> known;
  for (const PairClientHistory& client : clients)
    for (const PairPublish& published : client.published) {
      ++report.in;
      if (!known.emplace(published.id, Known{.published = &published}).second) {
        ++report.duplicates;
        continue;
      }
      if (published.outcome == PairPublish::Outcome::confirmed) ++report.unique;
      if (published.outcome == PairPublish::Outcome::rejected)
        report.unexpected.push_back({published.id, "was rejected: " + published.note});
    }
  for (const PairClientHistory& client : clients)
    for (const PairOperation& operation : client.operations)
      if (operation.settlement)
        if (const auto at = known.find(operation.id); at != known.end()) {
          if (at->second.settled_us != 0)
            report.repeated.push_back({operation.id, "its completion was confirmed twice"});
          at->second.settled_us = operation.answered_us;
        }
  std::vector<const PairDelivery*> deliveries;
  for (const PairClientHistory& client : clients)
    for (const PairDelivery& delivery : client.deliveries) deliveries.push_back(&delivery);
  std::ranges::stable_sort(deliveries, {}, &PairDelivery::at_us);
  std::uint64_t number = 0;
  for (const PairDelivery* delivery : deliveries) {
    ++number;
    const auto at = known.find(delivery->id);
    if (at == known.end()) {
      report.unexpected.push_back({delivery->id, "was delivered and never published"});
      continue;
    }
    Known& message = at->second;
    if (!delivery->intact || delivery->session != message.published->session)
      report.corrupted.push_back({delivery->id, "was delivered with another body or session"});
    if (message.first_delivery == 0) {
      message.first_delivery = number;
      message.sequence = delivery->sequence;
      ++report.delivered;
      // One whose outcome its publisher never learned is in when it came out.
      if (message.published->outcome != PairPublish::Outcome::confirmed) ++report.unique;
    } else if (message.sequence != delivery->sequence) {
      report.repeated.push_back({delivery->id, fmt::format("is stored twice: sequence numbers {} and {}",
                                                           message.sequence, delivery->sequence)});
    }
    if (message.settled_us != 0 && delivery->at_us > message.settled_us)
      report.repeated.push_back({delivery->id, "came again after its completion was confirmed"});
  }
  // Per session: numbers and first deliveries in the order of publishing.
  std::map<std::string, std::vector<const Known*>> sessions;
  for (const auto& [id, message] : known) {
    if (message.first_delivery == 0) {
      if (message.published->outcome == PairPublish::Outcome::confirmed)
        report.lost.push_back({id, "was confirmed and never came out"});
      continue;
    }
    sessions[message.published->session].push_back(&message);
  }
  report.ordering_keys = sessions.size();
  for (auto& [session, messages] : sessions) {
    std::ranges::sort(messages, {}, [](const Known* each) { return each->published->order; });
    std::vector<std::uint64_t> numbers, arrivals;
    for (const Known* message : messages) {
      numbers.push_back(message->sequence);
      arrivals.push_back(message->first_delivery);
    }
    std::set<std::size_t> moved;
    for (const std::size_t index : out_of_order(numbers)) moved.insert(index);
    if (messages.front()->published->in_session_queue)
      for (const std::size_t index : out_of_order(arrivals)) moved.insert(index);
    for (const std::size_t index : moved)
      report.reordered.push_back({messages[index]->published->id, "out of the order of its session"});
  }
  return report;
}

}  // namespace mainstay::drills
