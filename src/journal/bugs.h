// Known bugs of such logs, each brought back by one line where its rule is kept: group/bugs.h says why. A
// product has none of them.
#pragma once

#include <cstdint>

namespace mainstay::journal {

enum class Bug : std::uint8_t {
  none,
  damage_as_torn_tail,  ///< R10: what was durable and cannot be read any more is cut like a torn tail
};

[[nodiscard]] bool resurrected(Bug bug);

}  // namespace mainstay::journal
