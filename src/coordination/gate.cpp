#include "coordination/gate.h"

namespace mainstay::coordination {

GateAnswer Gate::ask(Step step) {
  return decide(register_.read(), region_, step);
}

GateAnswer decide(const Result<RegionRecord, RegisterError>& read, const std::string& region, Step step) {
  if (!read) return {false, {}, false, "cannot tell which region is active: " + read.error().what};
  const RegionRecord& record = *read;
  if (record.revision == 0) return {false, {}, true, "no region has been made active yet"};
  if (record.region != region) {
    return {false,
            {},
            true,
            "region " + record.region + " is active (term " + std::to_string(record.term.value) + "), not " +
                region};
  }
  switch (record.phase) {
    case Phase::active:
      if (step != Step::replay) return {true, record.term, true, {}};
      return {false, {}, true, "region " + region + " is fully active: nothing is to be replayed"};
    case Phase::switching:
      return {false, {}, true, "region " + region + " is being switched: " + record.reason};
    case Phase::recovering:
      if (step != Step::produce) return {true, record.term, true, {}};
      return {false,
              {},
              true,
              "region " + region +
                  " recovers after a forced promotion: producers wait until the archive's missing messages "
                  "are in"};
  }
  return {false, {}, false, "the register holds a phase this program does not know; update it"};
}

}  // namespace mainstay::coordination
