// Ids are types: an epoch is no LSN. Ordered, hashable, printable as their value.
#pragma once

#include <array>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace mainstay {

template <class Tag, std::unsigned_integral Rep = std::uint64_t>
struct Id {
  using Value = Rep;
  Rep value{};
  friend constexpr auto operator<=>(Id, Id) = default;
  [[nodiscard]] constexpr Id next() const { return Id{static_cast<Rep>(value + 1)}; }
};

/// Dense position in a group's log. The first record is 1; 0 means "before the first record".
using Lsn = Id<struct LsnTag>;
/// Number of a leadership within a group, never reused. 0 means "none yet".
using Epoch = Id<struct EpochTag>;
/// Number of a region's leadership, never reused. 0 means "none yet".
using RegionTerm = Id<struct RegionTermTag>;

/// 128 random bits: identity of a cluster, a disk (incarnation), a lock.
struct Uuid {
  std::array<std::uint8_t, 16> bytes{};
  friend constexpr auto operator<=>(const Uuid&, const Uuid&) = default;
  [[nodiscard]] bool is_nil() const { return *this == Uuid{}; }
  /// Lower-case 8-4-4-4-12 form.
  [[nodiscard]] std::string text() const;
};
/// The 8-4-4-4-12 form, in either case. Nothing when it is not that.
[[nodiscard]] std::optional<Uuid> parse_uuid(std::string_view text);

}  // namespace mainstay

template <class Tag, class Rep>
struct std::hash<mainstay::Id<Tag, Rep>> {
  std::size_t operator()(mainstay::Id<Tag, Rep> id) const noexcept { return std::hash<Rep>{}(id.value); }
};

template <>
struct std::hash<mainstay::Uuid> {
  std::size_t operator()(const mainstay::Uuid& id) const noexcept {
    std::uint64_t h = 0;
    for (std::size_t i = 0; i < 8; ++i)
      h = (h << 8) | static_cast<std::uint64_t>(id.bytes[i] ^ id.bytes[i + 8]);
    return static_cast<std::size_t>(h * 0x9e3779b97f4a7c15ULL);
  }
};
