// A register in memory that misbehaves when told: for the simulator and for tests of everything that asks a
// register. Same rules as the real ones (register_conformance_test.cpp).
#pragma once

#include <mutex>
#include <optional>

#include "coordination/register.h"

namespace mainstay::coordination {

/// Thread-safe.
class MemoryRegister final : public Register {
 public:
  [[nodiscard]] Result<RegionRecord, RegisterError> read() override;
  [[nodiscard]] Result<CasResult, RegisterError> compare_and_swap(std::uint64_t expected_revision,
                                                                  const RegionRecord& next) override;

  /// Every call fails until set back.
  void set_available(bool available);

  /// What becomes of the next compare_and_swap(), which answers `unknown` either way.
  enum class Unknown : std::uint8_t {
    applied,  ///< it happened, only the answer was lost
    dropped,  ///< it never happens
    late,     ///< it happens at land_late(), if it then still can
  };
  void next_outcome_unknown(Unknown what);
  /// Lets a swap held back by Unknown::late take place. @return true when it won.
  bool land_late();

  /// Puts the record back to an earlier state, as restoring a backup of the store would. Deliberately not
  /// checked: what depends on the register must refuse a term that went back.
  void restore(const RegionRecord& older);

 private:
  CasResult swap(std::uint64_t expected_revision, const RegionRecord& next);

  std::mutex mutex_;
  RegionRecord record_;
  bool available_ = true;
  std::optional<Unknown> next_unknown_;
  struct Late {
    std::uint64_t expected_revision{};
    RegionRecord next;
  };
  std::optional<Late> late_;
};

}  // namespace mainstay::coordination
