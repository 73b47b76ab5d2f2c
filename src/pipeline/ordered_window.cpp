#include "pipeline/ordered_window.h"

#include <utility>

#include "base/assert.h"

namespace mainstay::pipeline {

void OrderedWindow::add(Item item) {
  auto& queue = keys_[item.ordering_key];
  if (queue.empty()) ready_.push_back(item.ordering_key);
  ++size_;
  bytes_ += item.message.size();
  queue.push_back(std::move(item));
}

const OrderedWindow::Item* OrderedWindow::next(Instant now) {
  while (!waiting_.empty() && waiting_.begin()->first <= now) {
    ready_.push_back(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
  }
  if (ready_.empty()) return nullptr;
  const std::string key = std::move(ready_.front());
  ready_.pop_front();
  const Item& head = keys_.at(key).front();
  MS_ASSERT(on_way_.emplace(head.position, key).second, "an item is on its way once");
  return &head;
}

OrderedWindow::Item OrderedWindow::settled(std::uint64_t position) {
  const auto way = on_way_.find(position);
  MS_ASSERT(way != on_way_.end(), "only what was sent can be settled");
  const auto queue = keys_.find(way->second);
  MS_ASSERT(queue->second.front().position == position, "the item on its way is the first of its key");
  Item item = std::move(queue->second.front());
  queue->second.pop_front();
  if (queue->second.empty()) {
    keys_.erase(queue);
  } else {
    ready_.push_back(queue->first);
  }
  on_way_.erase(way);
  --size_;
  bytes_ -= item.message.size();
  return item;
}

void OrderedWindow::failed(std::uint64_t position, Instant again) {
  const auto way = on_way_.find(position);
  MS_ASSERT(way != on_way_.end(), "only what was sent can fail");
  waiting_.emplace(again, way->second);
  on_way_.erase(way);
}

const OrderedWindow::Item* OrderedWindow::in_flight(std::uint64_t position) const {
  const auto way = on_way_.find(position);
  return way == on_way_.end() ? nullptr : &keys_.at(way->second).front();
}

std::optional<Instant> OrderedWindow::next_retry() const {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.begin()->first;
}

}  // namespace mainstay::pipeline
