// Blocks 1 and 2: who sends what to whom, as the network numbers it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "payments/message.h"
#include "payments/mt_frame.h"

namespace mainstay::payments {

/// Block 1. The logical terminal is our own side: sender of an input message, receiver of an output message.
struct BasicHeader {
  std::string_view service;   ///< "01" user or system message, "21" acknowledgement
  std::string_view terminal;  ///< 12 characters
  std::string_view session_and_sequence;
};
std::optional<Defect> read_basic_header(const MtBlock& block, BasicHeader& header);

/// Block 2.
struct ApplicationHeader {
  Direction direction = Direction::unknown;
  std::string_view type;
  std::string_view terminal;  ///< the other side's
  std::string_view priority;
  std::string_view mir;          ///< output only
  std::string_view output_date;  ///< output only
};
std::optional<Defect> read_application_header(const MtBlock& block, ApplicationHeader& header);

}  // namespace mainstay::payments
