#include "drills/soak_audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "base/assert.h"

namespace mainstay::drills {
namespace {

using Kind = Fact::Kind;
using How = Fact::How;
using Outcome = Fact::Outcome;
using Finding = SoakFinding::Kind;

/// What the broker's whole milliseconds and ours may differ by.
constexpr std::int64_t rounding_ms = 2;
constexpr std::string_view expired_reason = "TTLExpiredException", count_reason = "MaxDeliveryCountExceeded";
constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

/// Texts that come again and again, once each.
class Texts {
 public:
  std::uint32_t put(const std::string& text) {
    const auto [at, fresh] = numbers_.try_emplace(text, static_cast<std::uint32_t>(texts_.size()));
    if (fresh) texts_.push_back(text);
    return at->second;
  }
  [[nodiscard]] const std::string& get(std::uint32_t number) const { return texts_[number]; }

 private:
  std::unordered_map<std::string, std::uint32_t> numbers_;
  std::vector<std::string> texts_;
};

struct Event {
  std::int64_t at_us{};
  std::uint64_t position{};  ///< among all facts added
  std::int64_t locked_until_ms{};
  std::uint32_t link{}, delivery{}, count{}, note{};
  Kind kind{};
  How how{};
  Outcome outcome{};
  bool dead_letter = false;
  [[nodiscard]] std::int64_t at_ms() const { return at_us / 1000; }
};

/// What a message is, as told by one side.
struct Content {
  std::uint32_t queue = none, session = none;
  std::uint64_t bytes{}, checksum{};
};

struct Message {
  bool sent = false, received = false;
  Content made, found;
  std::uint64_t claimed{};
  std::uint64_t order{}, sequence{}, other_sequence{};
  std::int64_t ttl_ms{}, enqueued_ms{};
  bool found_differs = false;  ///< two deliveries were not alike
  std::vector<Event> events;
};

struct Link {
  std::uint32_t queue = none;
  bool dead_letter = false, by_number = false;
  std::int64_t opened_us{}, locked_until_ms{};
};

struct Rules {
  bool known = false;
  std::int64_t lock_ms = 1;
  std::uint32_t deliveries_max = 1;
  bool dead_letter_on_expiry = false, duplicate_detection = false, requires_session = false;
  std::optional<std::uint64_t> left, left_dead;
};

}  // namespace

std::string_view name_of(SoakFinding::Kind kind) {
  switch (kind) {
    case Finding::lost:
      return "lost";
    case Finding::repeated:
      return "repeated";
    case Finding::reordered:
      return "reordered";
    case Finding::altered:
      return "altered";
    case Finding::resurrected:
      return "resurrected";
    case Finding::stray:
      return "stray";
    case Finding::miscounted:
      return "miscounted";
    case Finding::untimely:
      return "untimely";
    case Finding::misplaced:
      return "misplaced";
    case Finding::broker:
      return "broker";
  }
  return "?";
}

struct SoakAuditor::Impl {
  Texts texts;
  std::map<std::uint32_t, Rules> rules;  ///< by queue
  std::unordered_map<std::string, std::uint32_t> numbers;
  std::vector<std::pair<std::string, Message>> messages;  ///< in order of their first mention
  std::vector<Link> links;                                ///< by number
  std::int64_t first_us = std::numeric_limits<std::int64_t>::max(), last_us = 0;
  std::uint64_t facts = 0;
  SoakAudit audit;

  Message& message(const std::string& id) {
    const auto [at, fresh] = numbers.try_emplace(id, static_cast<std::uint32_t>(messages.size()));
    if (fresh) messages.emplace_back(id, Message{});
    return messages[at->second].second;
  }
  Link& link(std::uint32_t number) {
    if (number >= links.size()) links.resize(number + 1);
    return links[number];
  }

  void add(const Fact& fact);
  void add_received(const Fact& fact, Event& event);
  [[nodiscard]] std::vector<std::string> history(const Message& message) const;
  void find(Finding kind, std::size_t index, std::string what);
  void find_broker(std::string what);
  void judge_message(std::size_t index);
  void judge_content(std::size_t index);
  void judge_deliveries(std::size_t index, const Rules& rule);
  void judge_dead_letter(std::size_t index, const Rules& rule, const Event& receipt);
  void judge_end(std::size_t index, const Rules& rule, SoakQueueReport& report);
  void judge_sessions();
  [[nodiscard]] std::uint64_t failures_possible(const Message& message, const Rules& rule,
                                                const Event& receipt) const;
};

namespace {

/// The moment before which the broker cannot have handed this delivery out: its lock began then, or its
/// session's did.
std::int64_t given_out_ms(const Event& receipt, const Rules& rule) {
  return receipt.locked_until_ms - rule.lock_ms;
}

bool is_settled(const Event& event, How how, Outcome outcome) {
  return event.kind == Kind::settled && event.how == how && event.outcome == outcome;
}

/// Whether `receipt` came out of the broker after it had confirmed `settled`.
bool comes_after(const Event& receipt, const Event& settled, const Rules& rule) {
  if (receipt.link == settled.link) return receipt.position > settled.position;  // a link keeps its order
  return given_out_ms(receipt, rule) > settled.at_ms() + rounding_ms;
}

/// The answer to a settlement; null while it was never heard.
const Event* answer_to(const Message& message, const Event& settling) {
  for (const Event& event : message.events)
    if (event.kind == Kind::settled && event.link == settling.link && event.delivery == settling.delivery)
      return &event;
  return nullptr;
}

}  // namespace

void SoakAuditor::Impl::add(const Fact& fact) {
  ++facts;
  first_us = std::min(first_us, fact.at_us);
  last_us = std::max(last_us, fact.at_us);
  Event event;
  event.at_us = fact.at_us;
  event.position = facts;
  event.kind = fact.kind;
  event.link = fact.link;
  event.delivery = static_cast<std::uint32_t>(fact.delivery);
  event.how = fact.how;
  event.outcome = fact.outcome;
  event.note = texts.put(fact.note);
  switch (fact.kind) {
    case Kind::queue: {
      Rules& rule = rules[texts.put(fact.queue)];
      rule.known = true;
      rule.lock_ms = fact.lock_ms;
      rule.deliveries_max = fact.deliveries_max;
      rule.dead_letter_on_expiry = fact.dead_letter_on_expiry;
      rule.duplicate_detection = fact.duplicate_detection;
      rule.requires_session = fact.requires_session;
      return;
    }
    case Kind::opened: {
      Link& opened = link(fact.link);
      opened = {texts.put(fact.queue), fact.dead_letter, fact.by_number, fact.at_us, fact.locked_until_ms};
      return;
    }
    case Kind::ended:
      return;
    case Kind::left: {
      Rules& rule = rules[texts.put(fact.queue)];
      (fact.dead_letter ? rule.left_dead : rule.left) = fact.bytes;
      return;
    }
    case Kind::violated:
      find_broker(fact.note);
      return;
    case Kind::sent: {
      Message& made = message(fact.id);
      made.sent = true;
      made.made = {texts.put(fact.queue), texts.put(fact.session), fact.bytes, fact.checksum};
      made.order = fact.order;
      made.ttl_ms = fact.ttl_ms;
      break;
    }
    case Kind::received:
      add_received(fact, event);
      break;
    case Kind::published:
      break;
    case Kind::settling:
    case Kind::settled:
      event.dead_letter = link(fact.link).dead_letter;
      break;
  }
  message(fact.id).events.push_back(event);
}

void SoakAuditor::Impl::add_received(const Fact& fact, Event& event) {
  const Link& from = link(fact.link);
  event.locked_until_ms = fact.locked_until_ms;
  event.count = fact.count;
  event.dead_letter = from.dead_letter;
  Message& seen = message(fact.id);
  const Content found{from.queue, texts.put(fact.session), fact.bytes, fact.checksum};
  if (!seen.received) {
    seen.received = true;
    seen.found = found;
    seen.claimed = fact.claimed;
    seen.sequence = fact.sequence;
    seen.enqueued_ms = fact.enqueued_ms;
    return;
  }
  if (seen.sequence != fact.sequence) seen.other_sequence = fact.sequence;
  if (seen.found.queue != found.queue || seen.found.session != found.session ||
      seen.found.bytes != found.bytes || seen.found.checksum != found.checksum ||
      seen.claimed != fact.claimed ||
      (seen.sequence == fact.sequence && seen.enqueued_ms != fact.enqueued_ms))
    seen.found_differs = true;
}

std::vector<std::string> SoakAuditor::Impl::history(const Message& message) const {
  std::vector<Event> events = message.events;
  std::stable_sort(events.begin(), events.end(),
                   [](const Event& a, const Event& b) { return a.at_us < b.at_us; });
  std::vector<std::string> lines;
  if (message.sent)
    lines.push_back(fmt::format(
        "message of {} bytes, checksum {:016x}, session '{}', number {} of it, ttl {} ms", message.made.bytes,
        message.made.checksum, texts.get(message.made.session), message.order, message.ttl_ms));
  if (message.received)
    lines.push_back(fmt::format("sequence number {}, enqueued at {:+.3f} s", message.sequence,
                                static_cast<double>(message.enqueued_ms * 1000 - first_us) / 1e6));
  for (const Event& event : events) {
    std::string line = fmt::format("{:+12.6f} s  ", static_cast<double>(event.at_us - first_us) / 1e6);
    const std::string note = texts.get(event.note).empty() ? "" : " (" + texts.get(event.note) + ")";
    switch (event.kind) {
      case Kind::sent:
        line += "sent";
        break;
      case Kind::published:
        line += fmt::format("publish {}{}", name_of(event.outcome), note);
        break;
      case Kind::received:
        line += fmt::format("received{} by link {}, delivery {}, count {}, locked until {:+.3f} s{}",
                            event.dead_letter ? " from the dead-letter queue" : "", event.link,
                            event.delivery, event.count,
                            static_cast<double>(event.locked_until_ms * 1000 - first_us) / 1e6, note);
        break;
      case Kind::settling:
        line +=
            fmt::format("{} asked by link {}, delivery {}", name_of(event.how), event.link, event.delivery);
        break;
      case Kind::settled:
        line += fmt::format("{} {} for link {}, delivery {}{}", name_of(event.how), name_of(event.outcome),
                            event.link, event.delivery, note);
        break;
      default:
        break;
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

void SoakAuditor::Impl::find(Finding kind, std::size_t index, std::string what) {
  const auto& [id, message] = messages[index];
  if (++audit.counts[kind] > findings_max) return;
  const std::uint32_t queue = message.sent ? message.made.queue : message.found.queue;
  audit.findings.push_back(
      {kind, queue == none ? std::string() : texts.get(queue), id, std::move(what), history(message)});
}

void SoakAuditor::Impl::find_broker(std::string what) {
  if (++audit.counts[Finding::broker] > findings_max) return;
  audit.findings.push_back({Finding::broker, "", "", std::move(what), {}});
}

void SoakAuditor::Impl::judge_message(std::size_t index) {
  Message& message = messages[index].second;
  std::stable_sort(message.events.begin(), message.events.end(),
                   [](const Event& a, const Event& b) { return a.at_us < b.at_us; });
  if (!message.sent) {
    find(Finding::stray, index, "it was received, and nobody sent it");
    return;
  }
  const Rules& rule = rules[message.made.queue];
  SoakQueueReport& report = audit.queues[texts.get(message.made.queue)];
  if (message.received) judge_content(index);
  judge_deliveries(index, rule);
  judge_end(index, rule, report);
}

void SoakAuditor::Impl::judge_content(std::size_t index) {
  const Message& message = messages[index].second;
  if (message.found.queue != message.made.queue) {
    find(Finding::stray, index,
         "it was sent to " + texts.get(message.made.queue) + " and received from " +
             texts.get(message.found.queue));
    return;
  }
  if (message.other_sequence != 0)
    find(Finding::repeated, index,
         fmt::format("it is stored twice, under the sequence numbers {} and {}", message.sequence,
                     message.other_sequence));
  if (message.found_differs) {
    find(Finding::altered, index, "two of its deliveries differ in content");
  } else if (message.found.bytes != message.made.bytes || message.found.checksum != message.made.checksum ||
             message.found.session != message.made.session || message.claimed != message.made.checksum) {
    find(Finding::altered, index,
         fmt::format(
             "{} bytes with checksum {:016x} of session '{}' came, saying that its checksum is {:016x}",
             message.found.bytes, message.found.checksum, texts.get(message.found.session), message.claimed));
  }
}

/// How often its delivery may have failed before this one, seen or unseen: each abandonment or deferral that
/// was asked for and not refused, and a lock that ran out for each whole lock duration since it was first
/// sent. A session's lock may be older than the message: one more.
std::uint64_t SoakAuditor::Impl::failures_possible(const Message& message, const Rules& rule,
                                                   const Event& receipt) const {
  std::int64_t sent_us = receipt.at_us;
  std::uint64_t failures = rule.requires_session ? 1 : 0;
  for (const Event& event : message.events) {
    if (event.kind == Kind::sent) sent_us = std::min(sent_us, event.at_us);
    const bool counts = event.how == How::abandon || event.how == How::defer;
    if (event.kind != Kind::settling || !counts || event.dead_letter) continue;
    if (event.at_us > receipt.at_us) continue;
    const Event* answer = answer_to(message, event);
    if (answer == nullptr || answer->outcome != Outcome::refused) ++failures;
  }
  return failures +
         static_cast<std::uint64_t>(((receipt.at_us - sent_us) / 1000 + rounding_ms) / rule.lock_ms);
}

void SoakAuditor::Impl::judge_deliveries(std::size_t index, const Rules& rule) {
  const Message& message = messages[index].second;
  std::uint64_t completions = 0;
  bool resurrected = false, astray = false;
  for (const Event& receipt : message.events) {
    if (is_settled(receipt, How::complete, Outcome::confirmed)) ++completions;
    if (receipt.kind != Kind::received) continue;
    std::uint32_t failures_certain = 0;
    for (const Event& event : message.events) {
      const bool removed = is_settled(event, How::complete, Outcome::confirmed);
      const bool buried = is_settled(event, How::dead_letter, Outcome::confirmed) ||
                          (event.kind == Kind::received && event.dead_letter);
      if (!resurrected && (removed || (buried && !receipt.dead_letter && &event != &receipt)) &&
          comes_after(receipt, event, rule)) {
        resurrected = true;
        find(Finding::resurrected, index,
             fmt::format("link {} was given it {}", receipt.link,
                         removed ? "after its completion was confirmed"
                                 : "by the queue itself after it had gone to the dead-letter queue"));
      }
      const bool deferred = is_settled(event, How::defer, Outcome::confirmed) && !event.dead_letter;
      if ((deferred || is_settled(event, How::abandon, Outcome::confirmed)) && !event.dead_letter &&
          comes_after(receipt, event, rule))
        ++failures_certain;
      if (!astray && deferred && !receipt.dead_letter && !links[receipt.link].by_number &&
          comes_after(receipt, event, rule)) {
        astray = true;
        find(Finding::misplaced, index,
             fmt::format("link {} was given it by the queue itself after it had been put aside",
                         receipt.link));
      }
    }
    const std::uint64_t failures = failures_possible(message, rule, receipt);
    if (receipt.count > failures || receipt.count < failures_certain)
      find(Finding::miscounted, index,
           fmt::format("link {} was told a delivery count of {}; its history allows {} to {}", receipt.link,
                       receipt.count, failures_certain, failures));
    if (links[receipt.link].by_number &&
        std::none_of(message.events.begin(), message.events.end(), [&](const Event& event) {
          if (event.kind != Kind::settling || event.how != How::defer || event.at_us > receipt.at_us)
            return false;
          const Event* answer = answer_to(message, event);
          return answer == nullptr || answer->outcome != Outcome::refused;
        }))
      find(Finding::misplaced, index,
           fmt::format("link {} was given it by its number, and nobody had put it aside", receipt.link));
    if (receipt.dead_letter) {
      judge_dead_letter(index, rule, receipt);
      continue;
    }
    if (receipt.count >= rule.deliveries_max)
      find(Finding::misplaced, index,
           fmt::format(
               "its delivery failed {} times, the queue allows {}, and it is not in the dead-letter queue",
               receipt.count, rule.deliveries_max));
    if (message.ttl_ms > 0 &&
        given_out_ms(receipt, rule) > message.enqueued_ms + message.ttl_ms + rounding_ms)
      find(Finding::untimely, index,
           fmt::format("link {} was given it {} ms after it expired", receipt.link,
                       given_out_ms(receipt, rule) - message.enqueued_ms - message.ttl_ms));
  }
  if (completions > 1)
    find(Finding::repeated, index, fmt::format("its completion was confirmed {} times", completions));
}

void SoakAuditor::Impl::judge_dead_letter(std::size_t index, const Rules& rule, const Event& receipt) {
  const Message& message = messages[index].second;
  const std::string& reason = texts.get(receipt.note);
  if (reason == expired_reason) {
    if (message.ttl_ms == 0 || !rule.dead_letter_on_expiry)
      find(Finding::misplaced, index, "it is dead-lettered as expired, which it can't be");
    else if (receipt.at_ms() + rounding_ms < message.enqueued_ms + message.ttl_ms)
      find(Finding::untimely, index,
           fmt::format("it is dead-lettered as expired {} ms too early",
                       message.enqueued_ms + message.ttl_ms - receipt.at_ms()));
    return;
  }
  if (reason == count_reason) {
    if (failures_possible(message, rule, receipt) < rule.deliveries_max)
      find(Finding::misplaced, index,
           fmt::format("it is dead-lettered for {} failed deliveries; its history allows {}",
                       rule.deliveries_max, failures_possible(message, rule, receipt)));
    return;
  }
  const bool asked = std::any_of(message.events.begin(), message.events.end(), [&](const Event& event) {
    return event.kind == Kind::settling && event.how == How::dead_letter && event.at_us <= receipt.at_us;
  });
  if (!asked)
    find(Finding::misplaced, index,
         "it is dead-lettered with the reason '" + reason + "', and no client asked for that");
}

void SoakAuditor::Impl::judge_end(std::size_t index, const Rules& rule, SoakQueueReport& report) {
  const Message& message = messages[index].second;
  std::uint64_t attempts = 0, confirmed = 0, refused = 0, receipts = 0;
  std::int64_t confirmed_ms = 0;
  bool completed = false, dead = false, by_expiry = false, by_count = false;
  const Event* unheard = nullptr;
  for (const Event& event : message.events) {
    switch (event.kind) {
      case Kind::sent:
        ++attempts;
        break;
      case Kind::published:
        if (event.outcome == Outcome::confirmed && confirmed++ == 0) confirmed_ms = event.at_ms();
        if (event.outcome == Outcome::refused) ++refused;
        break;
      case Kind::received:
        ++receipts;
        if (links[event.link].by_number) ++report.by_number;
        if (!event.dead_letter) break;
        dead = true;
        by_expiry = by_expiry || texts.get(event.note) == expired_reason;
        by_count = by_count || texts.get(event.note) == count_reason;
        break;
      case Kind::settling: {
        if (event.how != How::complete) break;
        const Event* answer = answer_to(message, event);
        if (answer == nullptr || answer->outcome == Outcome::unknown) unheard = &event;
        break;
      }
      case Kind::settled:
        if (event.outcome == Outcome::refused) ++report.lock_lost;
        if (event.outcome != Outcome::confirmed) break;
        if (event.how == How::complete) completed = true;
        if (event.how == How::abandon) ++report.abandoned;
        if (event.how == How::release) ++report.released;
        if (event.how == How::defer) ++report.deferred;
        break;
      default:
        break;
    }
  }
  // A completion without an answer did not happen if the message was given out again afterwards.
  if (unheard != nullptr)
    for (const Event& event : message.events)
      if (event.kind == Kind::received && given_out_ms(event, rule) > unheard->at_ms() + rounding_ms) {
        unheard = nullptr;
        break;
      }
  report.resent += attempts - std::min<std::uint64_t>(attempts, 1);
  report.deliveries += receipts;
  if (receipts > 1) report.redelivered += receipts - 1;
  ++(confirmed > 0 ? report.acknowledged : report.uncertain);
  if (confirmed == 0 && message.received) {
    ++report.uncertain_stored;
    if (refused == attempts) find(Finding::stray, index, "every attempt to publish it was refused");
  }
  if (dead) ++report.dead_lettered;
  if (by_expiry) ++report.dead_by_expiry;
  if (by_count) ++report.dead_by_count;
  // What was delivered was committed, whether its publisher heard of it or not.
  if (confirmed == 0 && !message.received) return;
  if (completed) {
    ++report.completed;
    return;
  }
  if (unheard != nullptr) {
    ++report.completed_unheard;
    return;
  }
  const std::int64_t expired_ms =
      (message.received ? message.enqueued_ms : confirmed_ms) + message.ttl_ms + rounding_ms;
  if (message.ttl_ms > 0 && !rule.dead_letter_on_expiry && !dead && expired_ms <= last_us / 1000) {
    ++report.expired;
    return;
  }
  // Where nothing was drained, what is missing may still be there; that there is no end is a finding of its
  // own.
  if (!rule.left || !rule.left_dead) return;
  const std::uint64_t left = rule.left.value_or(0) + rule.left_dead.value_or(0);
  find(Finding::lost, index,
       fmt::format(
           "it was {} and neither completed nor {}; {}",
           confirmed > 0 ? "acknowledged" : "delivered, so stored,",
           rule.dead_letter_on_expiry || message.ttl_ms == 0 ? "handed out at the end" : "could expire",
           left > 0 ? fmt::format("the broker still counts {} messages in the queue or its dead-letter "
                                  "queue, and gave them to no one",
                                  left)
                    : std::string("the queue and its dead-letter queue are empty")));
}

void SoakAuditor::Impl::judge_sessions() {
  struct Receipt {
    std::int64_t held_ms, opened_us;
    std::uint64_t position;
    std::size_t message;
  };
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<std::size_t>> sessions;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i].second;
    if (message.sent && !texts.get(message.made.session).empty())
      sessions[{message.made.queue, message.made.session}].push_back(i);
  }
  for (auto& [key, members] : sessions) {
    ++audit.queues[texts.get(key.first)].sessions;
    std::sort(members.begin(), members.end(), [&](std::size_t a, std::size_t b) {
      return messages[a].second.order < messages[b].second.order;
    });
    std::size_t before = messages.size();
    std::vector<Receipt> receipts;
    for (const std::size_t i : members) {
      const Message& message = messages[i].second;
      if (!message.received) continue;
      if (before != messages.size() && messages[before].second.sequence >= message.sequence)
        find(Finding::reordered, i,
             fmt::format("it has sequence number {}, and {}, sent before it in the session, has {}",
                         message.sequence, messages[before].first, messages[before].second.sequence));
      before = i;
      for (const Event& event : message.events) {
        if (event.kind != Kind::received || event.dead_letter) continue;
        const Link& from = links[event.link];
        receipts.push_back({from.locked_until_ms, from.opened_us, event.position, i});
      }
    }
    // A session has one holder at a time, so its deliveries are in the order of its holders. When each was
    // read by its client says nothing: a slow one may read what another has been given since.
    std::sort(receipts.begin(), receipts.end(), [](const Receipt& a, const Receipt& b) {
      return std::tie(a.held_ms, a.opened_us, a.position) < std::tie(b.held_ms, b.opened_us, b.position);
    });
    std::vector<bool> seen(members.size());
    std::size_t latest = messages.size();
    for (const Receipt& receipt : receipts) {
      const std::uint64_t order = messages[receipt.message].second.order;
      const auto at = static_cast<std::size_t>(
          std::lower_bound(members.begin(), members.end(), order,
                           [&](std::size_t i, std::uint64_t o) { return messages[i].second.order < o; }) -
          members.begin());
      if (seen[at]) continue;
      seen[at] = true;
      if (latest != messages.size() && messages[latest].second.order > order)
        find(Finding::reordered, receipt.message,
             fmt::format("it was delivered for the first time after {}, sent later in the session",
                         messages[latest].first));
      else
        latest = receipt.message;
    }
  }
}

SoakAuditor::SoakAuditor() : impl_(std::make_unique<Impl>()) {}
SoakAuditor::~SoakAuditor() = default;

void SoakAuditor::add(const Fact& fact) {
  impl_->add(fact);
}

SoakAudit SoakAuditor::judge() {
  Impl& impl = *impl_;
  for (std::size_t i = 0; i < impl.messages.size(); ++i) impl.judge_message(i);
  impl.judge_sessions();
  for (const auto& [queue, rule] : impl.rules) {
    SoakQueueReport& report = impl.audit.queues[impl.texts.get(queue)];
    report.left = rule.left.value_or(0) + rule.left_dead.value_or(0);
    if (!rule.known)
      impl.find_broker("the history does not say by which rules " + impl.texts.get(queue) + " works");
    if (!rule.left || !rule.left_dead)
      impl.find_broker("the history does not say what " + impl.texts.get(queue) +
                       " held at the end: whether anything is lost cannot be judged");
    else if (report.left > 0)
      impl.find_broker(
          fmt::format("{} holds {} messages, its dead-letter queue {}, which the final drain was not given",
                      impl.texts.get(queue), *rule.left, *rule.left_dead));
  }
  impl.audit.facts = impl.facts;
  impl.audit.links = impl.links.empty() ? 0 : impl.links.size() - 1;
  return std::move(impl.audit);
}

}  // namespace mainstay::drills
