#include "broker/types.h"

#include <algorithm>

#include "base/assert.h"

namespace mainstay::broker {

namespace {

std::optional<std::string> outside(const char* option, std::int64_t value, std::int64_t low,
                                   std::int64_t high) {
  if (value >= low && value <= high) return std::nullopt;
  return std::string(option) + " is " + std::to_string(value) + ", allowed is " + std::to_string(low) +
         " to " + std::to_string(high);
}

}  // namespace

std::optional<std::string> queue_declaration_problem(std::string_view name, const QueueOptions& options) {
  if (name.empty() || name.size() > 260) {
    return "a queue's name has 1 to 260 bytes, this one has " + std::to_string(name.size());
  }
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u > 0x20 && u != 0x7f;
  });
  if (!printable || name.find('$') != std::string_view::npos) {
    return "a queue's name has no spaces, control characters or '$'";
  }
  constexpr std::int64_t kMinute = 60'000, kDay = 24 * 60 * kMinute;
  if (auto p = outside("duplicate_window_ms", options.duplicate_window_ms, 20'000, 7 * kDay)) return p;
  if (auto p = outside("lock_duration_ms", options.lock_duration_ms, 1'000, 5 * kMinute)) return p;
  if (auto p = outside("max_delivery_count", options.max_delivery_count, 1, 2000)) return p;
  if (auto p = outside("default_ttl_ms", options.default_ttl_ms, 0, 36'500 * kDay)) return p;
  return std::nullopt;
}

const char* durability_name(Durability level) {
  switch (level) {
    case Durability::journal:
      return "journal";
    case Durability::region:
      return "region";
    case Durability::global:
      return "global";
  }
  return "?";
}

std::optional<Durability> durability_of(std::string_view name) {
  for (const Durability level : {Durability::journal, Durability::region, Durability::global}) {
    if (name == durability_name(level)) return level;
  }
  return std::nullopt;
}

void throw_exception_from_error(const BrokerError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

}  // namespace mainstay::broker
