// The deliveries of a connection that its client has not settled, and the lock of each. One block of memory
// that grows with the most there are; no allocation per delivery.
#pragma once

#include <cstdint>
#include <vector>

#include "amqp/engine.h"
#include "base/assert.h"
#include "broker/types.h"

namespace mainstay::frontend {

class Outstanding {
 public:
  struct Entry {
    amqp::DeliveryRef delivery{};
    broker::LockToken token{};
    amqp::LinkId link{};
    bool live = false;
  };

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t memory_bytes() const { return slots_.capacity() * sizeof(Entry); }

  /// @param delivery  not among them: the engine never repeats one
  void add(amqp::DeliveryRef delivery, amqp::LinkId link, const broker::LockToken& token) {
    if ((size_ + 1) * 2 > slots_.size()) resize(slots_.empty() ? 16 : slots_.size() * 2);
    put({delivery, token, link, true});
    ++size_;
  }
  /// nullptr when it is not among them. Good until the next call that changes anything.
  [[nodiscard]] const Entry* find(amqp::DeliveryRef delivery) const {
    if (size_ == 0) return nullptr;
    for (std::size_t at = home(delivery); slots_[at].live; at = next(at)) {
      if (slots_[at].delivery == delivery) return &slots_[at];
    }
    return nullptr;
  }
  /// @param entry  as find() gave it
  void remove(const Entry* entry) {
    auto hole = static_cast<std::size_t>(entry - slots_.data());
    MS_ASSERT(hole < slots_.size() && slots_[hole].live, "only what is there is removed");
    // What stands behind it because its place was taken moves up: nothing is ever marked as gone.
    for (std::size_t at = next(hole); slots_[at].live; at = next(at)) {
      if (((at - home(slots_[at].delivery)) & mask()) < ((at - hole) & mask())) continue;
      slots_[hole] = slots_[at];
      hole = at;
    }
    slots_[hole].live = false;
    if (--size_ == 0 && slots_.size() > kSlotsKept) std::vector<Entry>().swap(slots_);
  }
  void remove_link(amqp::LinkId link) {
    std::vector<Entry> old;
    old.swap(slots_);
    size_ = 0;
    for (const Entry& entry : old) {
      if (entry.live && entry.link != link) add(entry.delivery, entry.link, entry.token);
    }
  }

 private:
  static constexpr std::size_t kSlotsKept = 1024;  ///< while empty

  [[nodiscard]] std::size_t mask() const { return slots_.size() - 1; }
  [[nodiscard]] std::size_t next(std::size_t at) const { return (at + 1) & mask(); }
  /// Numbers that follow each other are spread: else many old ones would be one long run.
  [[nodiscard]] std::size_t home(amqp::DeliveryRef delivery) const {
    return static_cast<std::size_t>((delivery * 0x9e3779b97f4a7c15ULL) >> 32) & mask();
  }
  void put(const Entry& entry) {
    std::size_t at = home(entry.delivery);
    while (slots_[at].live) at = next(at);
    slots_[at] = entry;
  }
  void resize(std::size_t slots) {
    std::vector<Entry> old(slots);
    old.swap(slots_);
    for (const Entry& entry : old) {
      if (entry.live) put(entry);
    }
  }

  std::vector<Entry> slots_;  ///< a power of two, at most half of them live
  std::size_t size_ = 0;
};

}  // namespace mainstay::frontend
