// A system's saturated rows: the shape (connections, messages in flight) that tries before the first round
// chose, and one connection. Both were measured in every round, so the rounds know better than the tries
// which suits the system best.
#pragma once

#include "figures.h"

namespace mainstay::bench {

/// In a record of `peers`: each system's row of its best shape becomes that of one connection where this has
/// the higher median over all rounds; its note says so, and ratios are made of the new rows, round by round.
/// For all systems alike. Nothing happens to a row whose rounds do not match those of its ratios (a system
/// that failed on the way), to other records, and to one that was through here before.
void prefer_better_rows(Record& record);

}  // namespace mainstay::bench
