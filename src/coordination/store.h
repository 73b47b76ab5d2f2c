// Where a register's record is kept: one key, changed only by compare-and-swap on its revision. Three
// implementations: sqlite_store.h (the processes of one machine), etcd_store.h (a quorum of voters),
// memory_store.h (misbehaves when told). store_conformance_test.cpp is what each must pass.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"

namespace mainstay::coordination {

struct RegisterError {
  std::string what;  ///< names the store and the system's reason
};
[[noreturn]] void throw_exception_from_error(const RegisterError& error, const boost::source_location& where);

enum class CasOutcome : std::uint8_t {
  won,
  lost,     ///< somebody changed the record first; `current` holds what is there
  unknown,  ///< may or may not have happened, or may still happen: read again before acting
};

/// The record as bytes.
struct Stored {
  std::uint64_t revision{};  ///< counts its changes; 0 = it does not exist yet
  std::string value;         ///< text (JSON), so that a person can read it with the store's own tools
};
struct StoreSwap {
  CasOutcome outcome{};
  Stored current;  ///< won: as stored; lost: what is there; unknown: empty
};

/// Thread-safe. Each call is linearizable and bounded in time; a failure to answer is an error, never a
/// guess.
class Store {
 public:
  /// Asked about what is there before it is replaced. @return why it must not be.
  using Rule = std::function<std::optional<RegisterError>(const Stored&)>;

  virtual ~Store() = default;
  /// Revision 0 when nobody has written it.
  [[nodiscard]] virtual Result<Stored, RegisterError> read() = 0;
  /// Stores `value` if the revision is `expected_revision` and `rule` has nothing against it. An error:
  /// certainly not stored, the rule's refusal included.
  [[nodiscard]] virtual Result<StoreSwap, RegisterError> compare_and_swap(std::uint64_t expected_revision,
                                                                          const std::string& value,
                                                                          const Rule& rule) = 0;
};

}  // namespace mainstay::coordination
