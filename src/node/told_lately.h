// What happens again and again is logged a few times, and then once a minute.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>

#include "base/clock.h"

namespace mainstay::node {

/// One strand. Remembers a minute's kinds: as many as there are causes, not as many as there are events.
class ToldLately {
 public:
  /// @param kind  what counts as the same: without port numbers and times
  /// @param most  of one kind in a minute
  /// @return what to log; nothing where there were `most` already
  std::optional<std::string> tell(const std::string& kind, const std::string& text, Instant now,
                                  std::size_t most = 1) {
    constexpr Duration kMinute = seconds(60);
    std::erase_if(told_, [&](const auto& each) { return now - each.second.begin >= kMinute; });
    Told& told = told_.try_emplace(kind, Told{now, 0}).first->second;
    if (++told.count > most) return std::nullopt;
    return told.count == most && most > 1 ? text + " (that much of it: no more for a minute)" : text;
  }

 private:
  struct Told {
    Instant begin;
    std::size_t count;
  };
  std::map<std::string, Told> told_;
};

}  // namespace mainstay::node
