// What a connection keeps for each of its links: in order of their ids, so that whatever is done to all of
// them is done in the same order every time, and found at once, however many there are.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "amqp/engine.h"
#include "base/assert.h"

namespace mainstay::frontend {

template <class T>
class LinkTable {
 public:
  using Map = std::map<amqp::LinkId, T>;
  using iterator = typename Map::iterator;
  using const_iterator = typename Map::const_iterator;

  LinkTable() = default;
  LinkTable(const LinkTable&) = delete;
  LinkTable& operator=(const LinkTable&) = delete;

  [[nodiscard]] iterator find(amqp::LinkId id) {
    const std::size_t slot = amqp::link_slot(id);
    if (slot >= by_slot_.size() || by_slot_[slot] == links_.end() || by_slot_[slot]->first != id)
      return links_.end();
    return by_slot_[slot];
  }
  [[nodiscard]] T& at(amqp::LinkId id) {
    const iterator found = find(id);
    MS_ASSERT(found != links_.end(), "only a link that is there is asked for");
    return found->second;
  }
  /// @param id  of a link of this connection; none that is there has its slot
  void emplace(amqp::LinkId id, T link) {
    const std::size_t slot = amqp::link_slot(id);
    if (slot >= by_slot_.size()) by_slot_.resize(slot + 1, links_.end());
    MS_ASSERT(by_slot_[slot] == links_.end(), "a slot is one link's at a time");
    by_slot_[slot] = links_.emplace(id, std::move(link)).first;
  }
  iterator erase(iterator link) {
    by_slot_[amqp::link_slot(link->first)] = links_.end();
    return links_.erase(link);
  }
  void clear() {
    links_.clear();
    by_slot_.clear();
  }
  [[nodiscard]] bool empty() const { return links_.empty(); }
  [[nodiscard]] std::size_t size() const { return links_.size(); }
  [[nodiscard]] iterator begin() { return links_.begin(); }
  [[nodiscard]] iterator end() { return links_.end(); }
  [[nodiscard]] const_iterator begin() const { return links_.begin(); }
  [[nodiscard]] const_iterator end() const { return links_.end(); }

 private:
  Map links_;
  std::vector<iterator> by_slot_;  ///< by amqp::link_slot(); links_.end() = none
};

}  // namespace mainstay::frontend
