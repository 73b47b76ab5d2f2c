// The gate: "is my region active, in which term, and am I sure?", asked before every step of processing. No,
// or no answer, means stop (P7: fail closed).
#pragma once

#include <string>

#include "coordination/register.h"

namespace mainstay::coordination {

enum class Step : std::uint8_t {
  produce,  ///< take from the source, archive, send
  consume,  ///< receive, claim, write to the destination, complete
  replay,   ///< send archived messages that a promoted region lacks
};

struct GateAnswer {
  bool open = false;
  RegionTerm term{};  ///< valid when open; carry it into every write that can be fenced
  bool sure = false;  ///< false: the register could not be asked
  std::string why;    ///< when closed: one sentence for a log line
};

/// Asks the register each time, and waits for it as long as that takes (store.h bounds it); holds nothing.
/// Thread-safe, as the register is, which outlives it.
class Gate {
 public:
  Gate(Register& of, std::string region) : register_(of), region_(std::move(region)) {}
  /// active: all steps but replay; recovering: consume and replay; switching: none.
  [[nodiscard]] GateAnswer ask(Step step);

 private:
  Register& register_;
  std::string region_;
};

/// The pure decision behind ask().
[[nodiscard]] GateAnswer decide(const Result<RegionRecord, RegisterError>& read, const std::string& region,
                                Step step);

}  // namespace mainstay::coordination
