#include "payments/message.h"

#include <array>
#include <utility>

namespace mainstay::payments {

std::string_view text(Kind kind) {
  switch (kind) {
    case Kind::mt:
      return "mt";
    case Kind::mt_ack:
      return "mt-ack";
    case Kind::mx:
      return "mx";
    case Kind::unknown:
      break;
  }
  return "unknown";
}

std::string_view text(Container container) {
  switch (container) {
    case Container::single:
      return "single";
    case Container::concat:
      return "concat";
    case Container::rje:
      return "rje";
    case Container::pcc:
      return "pcc";
    case Container::xml:
      return "xml";
    case Container::empty:
      return "empty";
    case Container::unknown:
      break;
  }
  return "unknown";
}

std::string Flags::text() const {
  static constexpr std::array<std::pair<Flag, std::string_view>, 8> kNames{
      {{Flag::pde, "PDE"},
       {Flag::pdm, "PDM"},
       {Flag::pdup, "PDUP"},
       {Flag::copy, "COPY"},
       {Flag::codu, "CODU"},
       {Flag::dupl, "DUPL"},
       {Flag::uak, "UAK"},
       {Flag::multi_uetr, "MULTI_UETR"}}};
  std::string out;
  for (const auto& [flag, name] : kNames) {
    if (!has(flag)) continue;
    if (!out.empty()) out += ',';
    out += name;
  }
  return out;
}

}  // namespace mainstay::payments
