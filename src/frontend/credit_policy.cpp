#include "frontend/credit_policy.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace mainstay::frontend {
namespace {

// A link that publishes is given room for messages twice as large as expected, before it must be shared anew.
constexpr std::uint64_t kHeadroom = 2;
// The budget counts as used up below this part of it, unless one more message fits.
constexpr std::uint64_t kUsedUpPart = 16;

std::uint64_t less(std::uint64_t from, std::uint64_t taken) {
  return from > taken ? from - taken : 0;
}

/// Max-min fair: nobody gets more than asked for, and what one does not need goes to the others in equal
/// parts.
void fair_shares(std::uint64_t budget, std::span<const std::uint64_t> asked, std::span<std::uint64_t> given) {
  const std::uint64_t all = std::accumulate(asked.begin(), asked.end(), std::uint64_t{0});
  if (all <= budget) {
    std::copy(asked.begin(), asked.end(), given.begin());
    return;
  }
  std::vector<std::uint32_t> order(asked.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return asked[a] < asked[b]; });
  std::size_t left = order.size();
  for (const std::uint32_t i : order) {
    given[i] = std::min(asked[i], budget / left);
    budget -= given[i];
    --left;
  }
}

/// A run of links [first, last) of one connection.
struct Run {
  std::size_t first, last;
};

/// Shares `budget` among connections, each at most its room, then among the links of each.
void share_by_connection(std::uint64_t budget, std::span<const Run> runs, std::span<const std::uint64_t> room,
                         std::span<const std::uint64_t> asked, std::span<std::uint64_t> given) {
  std::vector<std::uint64_t> wanted(runs.size()), got(runs.size());
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const auto [first, last] = runs[r];
    const auto sum = std::accumulate(asked.begin() + static_cast<std::ptrdiff_t>(first),
                                     asked.begin() + static_cast<std::ptrdiff_t>(last), std::uint64_t{0});
    wanted[r] = std::min(sum, room[r]);
  }
  fair_shares(budget, wanted, got);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const auto [first, last] = runs[r];
    fair_shares(got[r], asked.subspan(first, last - first), given.subspan(first, last - first));
  }
}

bool used_up(const CreditBudget& budget, std::uint64_t message_bytes) {
  return budget.bytes == 0 || budget.bytes < std::min(message_bytes, budget.capacity / kUsedUpPart);
}

}  // namespace

const char* stall_reason_name(StallReason reason) {
  switch (reason) {
    case StallReason::memory:
      return "memory";
    case StallReason::journal:
      return "journal";
    case StallReason::disk_full:
      return "disk_full";
    case StallReason::replication:
      return "replication";
    case StallReason::catch_up:
      return "catch_up";
    case StallReason::consumer_window:
      return "consumer_window";
    case StallReason::link_credit:
      return "link_credit";
  }
  return "?";
}

CreditBudget credit_budget(const CreditLimits& limits, const CreditFigures& figures) {
  CreditBudget budget{less(limits.memory_bytes, figures.memory_bytes), limits.memory_bytes,
                      limits.link_credit, StallReason::memory};
  const auto bound = [&](std::uint64_t bytes, std::uint64_t capacity, StallReason by) {
    if (bytes >= budget.bytes) return;
    budget = {bytes, std::min(capacity, budget.capacity), limits.link_credit, by};
  };
  bound(less(limits.journal_bytes, figures.journal_bytes), limits.journal_bytes, StallReason::journal);
  bound(figures.journal_room, figures.journal_room_full, StallReason::journal);
  bound(figures.pace_room, figures.pace_room_full, StallReason::catch_up);
  if (figures.disk_full && budget.bound_by == StallReason::journal) budget.bound_by = StallReason::disk_full;
  if (figures.held_back > 0) {
    const double part = 1 - std::min(1.0, figures.held_back);
    budget.link_credit = std::max(1U, static_cast<std::uint32_t>(limits.link_credit * part));
    if (!used_up(budget, budget.bytes)) budget.bound_by = StallReason::replication;
  }
  return budget;
}

std::vector<std::uint64_t> share_credit(const CreditLimits& limits, std::uint64_t budget_bytes,
                                        std::span<const CreditLink> links) {
  std::vector<std::uint64_t> shares(links.size(), 0);
  std::vector<Run> runs;
  std::vector<std::uint64_t> room;
  for (std::size_t i = 0; i < links.size(); ++i) {
    if (i == 0 || links[i].connection != links[i - 1].connection) {
      runs.push_back({i, i});
      room.push_back(less(limits.connection_bytes, links[i].connection_used));
    }
    runs.back().last = i + 1;
  }
  std::map<std::uint32_t, std::uint64_t> queue_room;
  for (const CreditLink& link : links) queue_room.emplace(link.queue, limits.queue_bytes);

  std::vector<std::uint64_t> asked(links.size()), given(links.size());
  for (const bool active : {true, false}) {
    std::map<std::uint32_t, std::uint64_t> by_queue;
    for (std::size_t i = 0; i < links.size(); ++i) {
      asked[i] = links[i].active == active ? kHeadroom * limits.link_credit * links[i].message_bytes : 0;
      given[i] = 0;
    }
    share_by_connection(budget_bytes, runs, room, asked, given);
    for (std::size_t i = 0; i < links.size(); ++i) by_queue[links[i].queue] += given[i];
    for (auto& [queue, sum] : by_queue) {
      if (sum <= queue_room[queue]) continue;
      // The queue's own limit, shared by connection again: only its links ask.
      std::vector<std::uint64_t> only(links.size(), 0), cut(links.size(), 0);
      for (std::size_t i = 0; i < links.size(); ++i) {
        if (links[i].queue == queue) only[i] = given[i];
      }
      share_by_connection(queue_room[queue], runs, room, only, cut);
      for (std::size_t i = 0; i < links.size(); ++i) {
        if (links[i].queue == queue) given[i] = cut[i];
      }
      sum = queue_room[queue];
    }
    for (std::size_t r = 0; r < runs.size(); ++r) {
      for (std::size_t i = runs[r].first; i < runs[r].last; ++i) {
        shares[i] += given[i];
        budget_bytes = less(budget_bytes, given[i]);
        room[r] = less(room[r], given[i]);
      }
    }
    for (const auto& [queue, sum] : by_queue) queue_room[queue] = less(queue_room[queue], sum);
  }
  return shares;
}

std::uint32_t credit_of(const CreditBudget& budget, std::uint64_t share_bytes, std::uint64_t message_bytes) {
  const std::uint64_t messages = share_bytes / std::max<std::uint64_t>(message_bytes, 1);
  if (messages > 0) return static_cast<std::uint32_t>(std::min<std::uint64_t>(messages, budget.link_credit));
  return used_up(budget, message_bytes) && budget.bound_by != StallReason::disk_full ? 0 : 1;
}

}  // namespace mainstay::frontend
