#include "base/result.h"

#include "base/assert.h"

namespace mainstay {

void throw_exception_from_error(const Failure& failure, const boost::source_location& where) {
  assertion_failed("result.has_value()", failure.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

}  // namespace mainstay
