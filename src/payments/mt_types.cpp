#include "payments/mt_types.h"

#include <algorithm>
#include <array>
#include <string>

namespace mainstay::payments {
namespace {

struct Mandatory {
  std::string_view type;
  std::string_view tags;  ///< separated by blanks; 'a' for any option letter
};

constexpr std::array kMandatory = {
    Mandatory{"101", "28D 30 21 32B 59a 71A"},
    Mandatory{"103", "23B 32A 50a 59a 71A"},
    Mandatory{"200", "32A 57a"},
    Mandatory{"202", "21 32A 58a"},
    Mandatory{"204", "21"},
    Mandatory{"205", "21 32A 52a 58a"},
    Mandatory{"210", "30 21 32B"},
    Mandatory{"900", "21 25a 32A"},
    Mandatory{"910", "21 25a 32A"},
    Mandatory{"920", "12 25a"},
    Mandatory{"940", "25a 28C 60a 62a"},
    Mandatory{"942", "25a 28C 34F 13D"},
    Mandatory{"950", "25a 28C 60a 62a"},
};

/// Common group messages exist in every category: the first digit of the type says which.
constexpr std::array kMandatoryOfGroup = {
    Mandatory{"90", "21"},    Mandatory{"91", "21 32B"}, Mandatory{"92", "21 11a"}, Mandatory{"95", "21 75"},
    Mandatory{"96", "21 76"}, Mandatory{"98", "12 77E"}, Mandatory{"99", "79"},
};

constexpr std::array<std::string_view, 6> kWithAmount = {"103", "200", "202", "205", "900", "910"};
constexpr std::array<std::string_view, 5> kBankOperationCodes = {"CRED", "CRTS", "SPAY", "SPRI", "SSTD"};
constexpr std::array<std::string_view, 3> kChargeCodes = {"BEN", "OUR", "SHA"};
constexpr std::array<std::string_view, 6> kStatements = {"940", "941", "942", "950", "970", "972"};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& values, std::string_view value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

std::string_view mandatory_tags(std::string_view type) {
  for (const Mandatory& entry : kMandatory) {
    if (entry.type == type) return entry.tags;
  }
  for (const Mandatory& entry : kMandatoryOfGroup) {
    if (entry.type == type.substr(1)) return entry.tags;
  }
  return {};
}

std::optional<Defect> check_mandatory(std::string_view type, std::string_view tags, const Fields& fields) {
  while (!tags.empty()) {
    const std::size_t end = std::min(tags.find(' '), tags.size());
    const std::string_view tag = tags.substr(0, end);
    tags.remove_prefix(std::min(end + 1, tags.size()));
    if (find_field(fields, tag) != nullptr) continue;
    return Defect{"MT_MISSING_TAG", fields.empty() ? 0 : fields.front().at,
                  "MT " + std::string(type) + " must have a field :" + std::string(tag) + ": and has none"};
  }
  return std::nullopt;
}

}  // namespace

bool is_system_type(std::string_view type) {
  return type.starts_with('0');
}
bool is_statement_type(std::string_view type) {
  return contains(kStatements, type);
}

std::optional<DatedAmount> read_dated_amount(std::string_view value) {
  if (value.size() < 10) return std::nullopt;
  const DatedAmount read{value.substr(0, 6), value.substr(6, 3), value.substr(9)};
  if (!is_mt_date(read.date) || !is_currency(read.currency) || !is_mt_amount(read.amount))
    return std::nullopt;
  return read;
}

std::optional<Defect> check_type(std::string_view type, std::string_view variant, const Fields& fields) {
  if (auto defect = check_mandatory(type, mandatory_tags(type), fields)) return defect;
  if (variant == "COV" && (type == "202" || type == "205")) {
    if (auto defect = check_mandatory(type, "50a 59a", fields)) return defect;
  }
  if (contains(kWithAmount, type)) {
    const Field* field = find_field(fields, "32A");
    if (!read_dated_amount(trimmed(field->value))) {
      return Defect{
          "MT_AMOUNT", field->at,
          ":32A: must be YYMMDD, a currency and an amount of at most 15 characters with one comma, found " +
              shown(field->value)};
    }
  }
  if (type == "103") {
    const Field* operation = find_field(fields, "23B");
    if (!contains(kBankOperationCodes, trimmed(operation->value))) {
      return Defect{"MT_CODE", operation->at,
                    ":23B: must be CRED, CRTS, SPAY, SPRI or SSTD, found " + shown(operation->value)};
    }
    const Field* charges = find_field(fields, "71A");
    if (!contains(kChargeCodes, trimmed(charges->value))) {
      return Defect{"MT_CODE", charges->at, ":71A: must be BEN, OUR or SHA, found " + shown(charges->value)};
    }
  }
  return std::nullopt;
}

}  // namespace mainstay::payments
