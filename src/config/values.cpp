// Text forms of values: sizes, endpoints, ids, and the nearest word.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "config/reader.h"

namespace mainstay::config {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr Unit kUnits[] = {{"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"B", 1}};

template <class T>
std::optional<T> whole_number(std::string_view text, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Optimal string alignment: insertions, deletions, substitutions, and swaps of neighbours.
std::size_t edits_between(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0U : 1U;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t unit = 0;
  for (const Unit& u : kUnits)
    if (text.size() > u.name.size() && text.ends_with(u.name)) {
      unit = u.bytes;
      text.remove_suffix(u.name.size());
      break;
    }
  if (unit == 0) return std::nullopt;
  while (text.ends_with(' ')) text.remove_suffix(1);
  const auto count = whole_number<std::uint64_t>(text);
  const auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!count || *count > most / unit) return std::nullopt;
  return *count * unit;
}

std::string size_text(std::uint64_t bytes) {
  for (const Unit& u : kUnits)
    if (bytes != 0 && bytes % u.bytes == 0 && u.bytes > 1)
      return fmt::format("\"{}{}\"", bytes / u.bytes, u.name);
  return fmt::format("{}", bytes);
}

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const auto port = whole_number<std::uint16_t>(text.substr(colon + 1));
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!port || host.empty() || host.find_first_of(" \t/[]@") != std::string_view::npos) return std::nullopt;
  if (bracketed != (host.find(':') != std::string_view::npos)) return std::nullopt;
  return Endpoint{std::string(host), *port};
}

std::string Endpoint::text() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_edits = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::size_t edits = edits_between(word, candidate);
    // "lock_duration" for "lock_duration_s": the unit was left out.
    if (word.size() >= 3 && candidate.starts_with(word)) edits = std::min<std::size_t>(edits, 2);
    if (edits < best_edits && edits < candidate.size()) {
      best_edits = edits;
      best = candidate;
    }
  }
  return best;
}

}  // namespace mainstay::config
