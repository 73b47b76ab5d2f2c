#include "coordination/memory_register.h"

#include <utility>

namespace mainstay::coordination {

Result<RegionRecord, RegisterError> MemoryRegister::read() {
  const std::lock_guard lock(mutex_);
  if (!available_) return RegisterError{"the register in memory is unavailable"};
  return record_;
}

Result<CasResult, RegisterError> MemoryRegister::compare_and_swap(std::uint64_t expected_revision,
                                                                  const RegionRecord& next) {
  const std::lock_guard lock(mutex_);
  if (!available_) return RegisterError{"the register in memory is unavailable"};
  if (expected_revision == record_.revision) {
    if (auto why = forbidden(record_, next)) return std::move(*why);
  }
  if (const auto unknown = std::exchange(next_unknown_, std::nullopt)) {
    if (*unknown == Unknown::applied) swap(expected_revision, next);
    if (*unknown == Unknown::late) late_ = Late{expected_revision, next};
    return CasResult{CasOutcome::unknown, {}};
  }
  return swap(expected_revision, next);
}

CasResult MemoryRegister::swap(std::uint64_t expected_revision, const RegionRecord& next) {
  if (expected_revision != record_.revision) return {CasOutcome::lost, record_};
  record_ = next;
  record_.revision = expected_revision + 1;
  return {CasOutcome::won, record_};
}

void MemoryRegister::set_available(bool available) {
  const std::lock_guard lock(mutex_);
  available_ = available;
}

void MemoryRegister::next_outcome_unknown(Unknown what) {
  const std::lock_guard lock(mutex_);
  next_unknown_ = what;
}

bool MemoryRegister::land_late() {
  const std::lock_guard lock(mutex_);
  const auto late = std::exchange(late_, std::nullopt);
  if (!late || late->expected_revision != record_.revision || forbidden(record_, late->next)) return false;
  return swap(late->expected_revision, late->next).outcome == CasOutcome::won;
}

void MemoryRegister::restore(const RegionRecord& older) {
  const std::lock_guard lock(mutex_);
  record_ = older;
}

}  // namespace mainstay::coordination
