// The business application header (head.001) and the parties it names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "payments/message.h"
#include "payments/mx_document.h"

namespace mainstay::payments {

/// Under `party`: a BIC, else a clearing member or LEI, else another identification, else a name. Empty if
/// none.
std::string_view party_identifier(const MxDocument& document, std::uint32_t party);

/// Reads head.001.001.01 to .04, or the older SWIFT header, and checks it against the type of the Document.
std::optional<Defect> read_business_header(const MxDocument& document, std::uint32_t header,
                                           std::string_view type, Message& message);

}  // namespace mainstay::payments
