// Fixed pieces of work whose instructions are counted (bench/instructions.py): what one message, record or
// document costs each room, without disk, socket, thread or clock. They are deterministic, so the same code
// gives the same number on every machine of one kind.
#pragma once

#include <cstdint>
#include <vector>

namespace mainstay::bench {

struct Scenario {
  const char* name;  ///< "leader.publish": names the line of bench/instructions.json
  const char* unit;  ///< of what is counted per: "message"
  /// Does it `count` times, after a set-up that does not depend on count. Aborts when something goes wrong.
  void (*run)(std::uint64_t count);
};
const std::vector<Scenario>& scenarios();

}  // namespace mainstay::bench
