// `mainstay drill region-outage`: two regions on this machine, payments flowing through one of them; every
// process of it is killed at once and its disk taken away; the other is promoted as an operator would do it,
// the archive brings what had not been replicated, the flow ends, and the audit says what became of every
// message (P1-P4, P14, P15.1, N1, N2).
#pragma once

#include <string>

#include "drills/drill_series.h"

namespace mainstay::drills {

struct RegionOutageOptions : DrillOptions {
  std::string source;  ///< directory to feed instead of generated messages; empty: generate
};

/// See run_series() for output, thread and exit status.
int run_region_outage(const RegionOutageOptions& options);

}  // namespace mainstay::drills
