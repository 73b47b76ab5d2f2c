// Known bugs of brokers, each brought back by one line where its rule is kept: group/bugs.h says why. A
// product has none of them.
#pragma once

#include <cstdint>

namespace mainstay::broker {

enum class Bug : std::uint8_t {
  none,
  duplicates_by_watermark,  ///< every id below the highest one seen counts as seen, also over a gap
};

[[nodiscard]] bool resurrected(Bug bug);

}  // namespace mainstay::broker
