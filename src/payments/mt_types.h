// What a message type must carry. These are the cheap checks that find damage and mix-ups, not the full
// format rules.
#pragma once

#include <optional>
#include <string_view>

#include "payments/formats.h"
#include "payments/mt_text.h"

namespace mainstay::payments {

/// Category 0: messages to and from the network itself.
bool is_system_type(std::string_view type);
/// Messages whose order is that of an account, not of a payment.
bool is_statement_type(std::string_view type);

/// Mandatory fields, amounts and codes of the type. `variant` is field 119.
std::optional<Defect> check_type(std::string_view type, std::string_view variant, const Fields& fields);

/// Date, currency and amount of a field 32A. Empty parts when the field does not have that form.
struct DatedAmount {
  std::string_view date;  ///< YYMMDD
  std::string_view currency;
  std::string_view amount;
};
std::optional<DatedAmount> read_dated_amount(std::string_view value);

}  // namespace mainstay::payments
