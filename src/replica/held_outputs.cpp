#include "replica/held_outputs.h"

#include <algorithm>
#include <optional>

#include "base/assert.h"

namespace mainstay::replica {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

Lsn after_of(const broker::Output& output) {
  return std::visit(
      Overloaded{[](const broker::PublishDone& o) { return o.error ? Lsn{} : o.after; },
                 [](const broker::Deliver& o) { return o.after; },
                 [](const broker::SettleDone& o) { return o.after; },
                 [](const broker::Fetched& o) { return o.after; }, [](const auto&) { return Lsn{}; }},
      output);
}

std::optional<broker::ConsumerId> consumer_of(const broker::Output& output) {
  using Found = std::optional<broker::ConsumerId>;
  return std::visit(Overloaded{[](const broker::PublishDone&) { return Found{}; },
                               [](const broker::SettleDone&) { return Found{}; },
                               [](const broker::Fetched&) { return Found{}; },
                               [](const broker::Deliver& o) { return Found{o.delivery.consumer}; },
                               [](const auto& o) { return Found{o.consumer}; }},
                    output);
}

broker::Durability wanted(const broker::Output& output) {
  const auto* published = std::get_if<broker::PublishDone>(&output);
  return published == nullptr || published->error ? broker::Durability::journal : published->durability;
}

}  // namespace

void HeldOutputs::Line::tidy() {
  constexpr std::size_t kKept = 8192;
  if (empty()) {
    held_.clear();
    first_ = 0;
    if (held_.capacity() > kKept) held_.shrink_to_fit();
  } else if (first_ > held_.size() / 2) {  // what is moved is less than what was popped
    held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
}

void HeldOutputs::Line::clear() {
  std::vector<Held>().swap(held_);
  first_ = 0;
}

void HeldOutputs::add(std::vector<broker::Output>& made, Lsn committed, std::vector<Output>& released,
                      const Reach& reach) {
  for (broker::Output& output : made) {
    const Lsn after = after_of(output);
    broker::Durability durability = wanted(output);
    if (durability < floor_ && std::holds_alternative<broker::PublishDone>(output)) durability = floor_;
    if (durability == broker::Durability::region && after > std::min(reach.region, committed)) {
      region_.push(after, std::move(output));
      continue;
    }
    if (durability == broker::Durability::global && after > std::min(reach.global, committed)) {
      global_.push(after, std::move(output));
      continue;
    }
    const auto consumer = consumer_of(output);
    if (after <= committed && (!consumer || !held_per_consumer_.contains(*consumer))) {
      released.emplace_back(std::move(output));
      continue;
    }
    if (consumer) ++held_per_consumer_[*consumer];
    held_.push(after, std::move(output));
  }
  made.clear();
}

void HeldOutputs::release(Lsn committed, std::vector<Output>& released) {
  while (!held_.empty() && held_.front().after <= committed) {
    if (const auto consumer = consumer_of(held_.front().output)) {
      const auto entry = held_per_consumer_.find(*consumer);
      if (--entry->second == 0) held_per_consumer_.erase(entry);
    }
    released.emplace_back(std::move(held_.front().output));
    held_.pop();
  }
  held_.tidy();
}

void HeldOutputs::release_far(const Reach& reach, std::vector<Output>& released) {
  const auto release = [&released](Line& line, Lsn up_to) {
    while (!line.empty() && line.front().after <= up_to) {
      released.emplace_back(std::move(line.front().output));
      line.pop();
    }
    line.tidy();
  };
  release(region_, reach.region);
  release(global_, reach.global);
}

void HeldOutputs::drop() {
  held_.clear();
  region_.clear();
  global_.clear();
  held_per_consumer_.clear();
}

}  // namespace mainstay::replica
