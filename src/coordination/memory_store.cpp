#include "coordination/memory_store.h"

#include <utility>

namespace mainstay::coordination {

Result<Stored, RegisterError> MemoryStore::read() {
  const std::lock_guard lock(mutex_);
  if (!available_) return RegisterError{"the register in memory is unavailable"};
  return stored_;
}

Result<StoreSwap, RegisterError> MemoryStore::compare_and_swap(std::uint64_t expected_revision,
                                                               const std::string& value, const Rule& rule) {
  const std::lock_guard lock(mutex_);
  if (!available_) return RegisterError{"the register in memory is unavailable"};
  if (expected_revision == stored_.revision) {
    if (auto why = rule(stored_)) return std::move(*why);
  }
  if (const auto unknown = std::exchange(next_unknown_, std::nullopt)) {
    if (*unknown == Unknown::applied) swap(expected_revision, value);
    if (*unknown == Unknown::late) late_ = Late{expected_revision, value};
    return StoreSwap{CasOutcome::unknown, {}};
  }
  return swap(expected_revision, value);
}

StoreSwap MemoryStore::swap(std::uint64_t expected_revision, const std::string& value) {
  if (expected_revision != stored_.revision) return {CasOutcome::lost, stored_};
  stored_ = {expected_revision + 1, value};
  history_.push_back(stored_);
  return {CasOutcome::won, stored_};
}

void MemoryStore::set_available(bool available) {
  const std::lock_guard lock(mutex_);
  available_ = available;
}

void MemoryStore::next_outcome_unknown(Unknown what) {
  const std::lock_guard lock(mutex_);
  next_unknown_ = what;
}

bool MemoryStore::land_late() {
  const std::lock_guard lock(mutex_);
  const auto late = std::exchange(late_, std::nullopt);
  if (!late) return false;
  return swap(late->expected_revision, late->value).outcome == CasOutcome::won;
}

bool MemoryStore::has_late() const {
  const std::lock_guard lock(mutex_);
  return late_.has_value();
}

std::vector<RegionRecord> MemoryRegister::history() const {
  std::vector<RegionRecord> all;
  for (const Stored& stored : store_->history()) all.push_back(decode_region_record(stored).value());
  return all;
}

void MemoryStore::restore(Stored older) {
  const std::lock_guard lock(mutex_);
  stored_ = std::move(older);
}

std::vector<Stored> MemoryStore::history() const {
  const std::lock_guard lock(mutex_);
  return history_;
}

}  // namespace mainstay::coordination
