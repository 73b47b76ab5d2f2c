// A store in memory that misbehaves when told: for the simulator and for tests of everything that asks a
// register. faulty_calls.h puts time between it and who asks. Same promises as the real ones
// (store_conformance_test.cpp).
#pragma once

#include <mutex>
#include <optional>
#include <vector>

#include "coordination/register.h"

namespace mainstay::coordination {

/// Thread-safe.
class MemoryStore final : public Store {
 public:
  [[nodiscard]] Result<Stored, RegisterError> read() override;
  [[nodiscard]] Result<StoreSwap, RegisterError> compare_and_swap(std::uint64_t expected_revision,
                                                                  const std::string& value,
                                                                  const Rule& rule) override;

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
  [[nodiscard]] bool has_late() const;

  /// Puts the record back to an earlier state, as restoring a backup of the store would. Deliberately not
  /// checked: what depends on the register must refuse a term that went back.
  void restore(Stored older);
  /// Everything that was ever stored, oldest first: what a backup may hold.
  [[nodiscard]] std::vector<Stored> history() const;

 private:
  StoreSwap swap(std::uint64_t expected_revision, const std::string& value);

  mutable std::mutex mutex_;
  Stored stored_;
  std::vector<Stored> history_;
  bool available_ = true;
  std::optional<Unknown> next_unknown_;
  struct Late {
    std::uint64_t expected_revision{};
    std::string value;
  };
  std::optional<Late> late_;
};

/// A register kept in one.
class MemoryRegister final : public Register {
 public:
  using Unknown = MemoryStore::Unknown;
  MemoryRegister() : MemoryRegister(std::make_shared<MemoryStore>()) {}
  void set_available(bool available) { store_->set_available(available); }
  void next_outcome_unknown(Unknown what) { store_->next_outcome_unknown(what); }
  bool land_late() { return store_->land_late(); }
  /// A swap that may still take place.
  [[nodiscard]] bool has_late() const { return store_->has_late(); }
  /// Everything that was ever stored, oldest first.
  [[nodiscard]] std::vector<RegionRecord> history() const;
  void restore(const RegionRecord& older) { store_->restore({older.revision, encode_region_record(older)}); }

 private:
  explicit MemoryRegister(std::shared_ptr<MemoryStore> store) : Register(store), store_(std::move(store)) {}
  std::shared_ptr<MemoryStore> store_;
};

}  // namespace mainstay::coordination
