#include "coordination/register.h"

#include "base/assert.h"

namespace mainstay::coordination {

void throw_exception_from_error(const RegisterError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

std::optional<RegisterError> forbidden(const RegionRecord& stored, const RegionRecord& next) {
  if (next.region.empty()) return RegisterError{"the register was asked to store a record without a region"};
  if (next.term < stored.term) {
    return RegisterError{"the register holds term " + std::to_string(stored.term.value) +
                         " and was asked to go back to term " + std::to_string(next.term.value) +
                         "; terms never go back"};
  }
  if (stored.revision != 0 && next.term == stored.term && next.region != stored.region) {
    return RegisterError{"term " + std::to_string(stored.term.value) + " belongs to region " + stored.region +
                         "; region " + next.region + " needs a higher one"};
  }
  return std::nullopt;
}

}  // namespace mainstay::coordination
