// Which bug the simulations of this thread look for.
#pragma once

#include "group/bugs.h"

namespace mainstay::sim {

class Resurrect {
 public:
  explicit Resurrect(group::Bug bug);
  ~Resurrect();
  Resurrect(const Resurrect&) = delete;
  Resurrect& operator=(const Resurrect&) = delete;
};

}  // namespace mainstay::sim
