#include "payments/mx_header.h"

#include <array>

namespace mainstay::payments {
namespace {

using Rule = std::optional<Defect>;
constexpr std::uint32_t kNone = MxDocument::kNone;
constexpr std::string_view kLegacyHeader = "urn:swift:xsd:$ahV10";

bool is_business_header(std::string_view name_space) {
  constexpr std::string_view kHead = "head.001.001.0";
  const std::size_t at = name_space.find(kHead);
  if (at == std::string_view::npos || at + kHead.size() + 1 != name_space.size()) return false;
  return name_space.back() >= '1' && name_space.back() <= '4';
}

/// Element names of the header in its two generations.
struct Names {
  std::string_view from, to, reference, definition, created;
};
constexpr Names kBusiness{"Fr", "To", "BizMsgIdr", "MsgDefIdr", "CreDt"};
constexpr Names kLegacy{"From", "To", "MsgRef", "MsgName", "CrDate"};

/// The third last part of "swift.cbprplus.cov.03" or the end of "pacs.009.001.08COV".
std::string variant_of(std::string_view service, std::string_view definition) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kVariants{
      {{".cov.", "COV"}, {".adv.", "ADV"}, {".stp.", "STP"}}};
  for (const auto& [part, name] : kVariants) {
    if (service.find(part) != std::string_view::npos || definition.ends_with(name)) return std::string(name);
  }
  return {};
}

}  // namespace

std::string_view party_identifier(const MxDocument& document, std::uint32_t party) {
  constexpr int kRanks = 4;
  std::array<std::string_view, kRanks> found{};
  for (std::uint32_t i = party; i < document.end(party); ++i) {
    const std::string_view name = document.name(i);
    int rank = kRanks;
    if (name == "AnyBIC" || name == "BICFI" || name == "BIC" || name == "BICOrBEI") rank = 0;
    if (name == "MmbId" || name == "LEI") rank = 1;
    if (name == "Id") rank = 2;
    if (name == "Nm") rank = 3;
    if (rank == kRanks || !document.is_leaf(i)) continue;
    std::string_view& best = found[static_cast<std::size_t>(rank)];
    if (best.empty()) best = document.text(i);
  }
  for (const std::string_view identifier : found) {
    if (!identifier.empty()) return identifier;
  }
  return {};
}

Rule read_business_header(const MxDocument& document, std::uint32_t header, std::string_view type,
                          Message& message) {
  const std::string_view name_space = document.name_space(header);
  const bool legacy = name_space == kLegacyHeader;
  if (!legacy && !is_business_header(name_space)) {
    return Defect{"MX_BAH_NAMESPACE", document.at(header),
                  "the namespace of AppHdr must be head.001.001.01 to .04, found " + shown(name_space)};
  }
  const Names& names = legacy ? kLegacy : kBusiness;
  const auto missing = [&](std::string_view name) {
    return Defect{"MX_BAH_MISSING", document.at(header),
                  "AppHdr must have a " + std::string(name) + " with content"};
  };

  const std::uint32_t reference = document.child(header, names.reference);
  message.reference = document.text_at(reference);
  for (const auto& [name, party] :
       {std::pair(names.from, &message.sender), std::pair(names.to, &message.receiver)}) {
    const std::uint32_t element = document.child(header, name);
    if (element == kNone) return missing(name);
    *party = bic11(party_identifier(document, element));
    if (party->empty()) return missing(name);
  }
  if (reference == kNone) return missing(names.reference);
  const std::uint32_t definition = document.child(header, names.definition);
  const std::uint32_t created = document.child(header, names.created);
  if (definition == kNone && !legacy) return missing(names.definition);
  if (created == kNone && !legacy) return missing(names.created);
  if (definition != kNone && !document.text(definition).starts_with(type)) {
    return Defect{"MX_MSGDEF_MISMATCH", document.at(definition),
                  std::string(names.definition) + " must begin with the type of the Document, " +
                      std::string(type) + ", found " + shown(document.text(definition))};
  }
  const std::size_t length = utf8_length(message.reference);
  if (length < 1 || length > 35) {
    return Defect{
        "MX_ID_LEN", document.at(reference),
        std::string(names.reference) + " must have 1 to 35 characters, found " + shown(message.reference)};
  }
  if (!legacy && !is_mx_datetime(document.text(created), true)) {
    return Defect{"MX_DATETIME", document.at(created),
                  "CreDt must be a date and time with offset, found " + shown(document.text(created))};
  }
  message.service = document.text_at(document.child(header, "BizSvc"));
  message.variant = variant_of(message.service, document.text_at(definition));
  message.priority = document.text_at(document.child(header, "Prty"));
  message.related_reference = document.text_at(document.path(header, {"Rltd", "BizMsgIdr"}));
  return std::nullopt;
}

}  // namespace mainstay::payments
