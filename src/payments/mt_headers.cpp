#include "payments/mt_headers.h"

namespace mainstay::payments {
namespace {

Defect b1(const MtBlock& block, std::size_t offset, std::string what, std::string_view found) {
  return {"MT_B1_FORMAT", block.content_at + offset, "block 1: " + what + ", found " + shown(found)};
}

Defect b2(const MtBlock& block, std::size_t offset, std::string what, std::string_view found) {
  return {"MT_B2_FORMAT", block.content_at + offset, "block 2: " + what + ", found " + shown(found)};
}

bool is_priority(char c) {
  return c == 'S' || c == 'U' || c == 'N';
}

std::optional<Defect> read_input(const MtBlock& block, ApplicationHeader& header) {
  const std::string_view text = block.content;
  if (text.size() != 17 && text.size() != 18 && text.size() != 21) {
    return b2(block, 0, "an input header has 17, 18 or 21 characters, not " + std::to_string(text.size()),
              text);
  }
  header.terminal = text.substr(4, 12);
  if (!is_logical_terminal(header.terminal)) {
    return b2(block, 4, "expected the receiver's logical terminal, 12 characters", header.terminal);
  }
  if (text.size() >= 18 && (text[17] < '1' || text[17] > '3')) {
    return b2(block, 17, "delivery monitoring must be 1, 2 or 3", text.substr(17, 1));
  }
  if (text.size() == 21 && !all_digits(text.substr(18, 3))) {
    return b2(block, 18, "the obsolescence period must be three digits", text.substr(18, 3));
  }
  header.priority = text.substr(16, 1);
  return std::nullopt;
}

std::optional<Defect> read_output(const MtBlock& block, ApplicationHeader& header) {
  const std::string_view text = block.content;
  if (text.size() != 47) {
    return b2(block, 0, "an output header has 47 characters, not " + std::to_string(text.size()), text);
  }
  header.mir = text.substr(8, 28);
  header.terminal = header.mir.substr(6, 12);
  header.output_date = text.substr(36, 6);
  if (!is_mt_time(text.substr(4, 4))) return b2(block, 4, "expected the input time HHMM", text.substr(4, 4));
  if (!is_mt_date(header.mir.substr(0, 6)))
    return b2(block, 8, "expected the input date YYMMDD", header.mir.substr(0, 6));
  if (!is_logical_terminal(header.terminal)) {
    return b2(block, 14, "expected the sender's logical terminal, 12 characters", header.terminal);
  }
  if (!all_digits(header.mir.substr(18))) {
    return b2(block, 26, "session and sequence number must be ten digits", header.mir.substr(18));
  }
  if (!is_mt_date(header.output_date))
    return b2(block, 36, "expected the output date YYMMDD", header.output_date);
  if (!is_mt_time(text.substr(42, 4)))
    return b2(block, 42, "expected the output time HHMM", text.substr(42, 4));
  header.priority = text.substr(46, 1);
  return std::nullopt;
}

}  // namespace

std::optional<Defect> read_basic_header(const MtBlock& block, BasicHeader& header) {
  const std::string_view text = block.content;
  if (text.size() != 25) {
    return b1(block, 0, "expected 25 characters, not " + std::to_string(text.size()), text);
  }
  if (text[0] != 'F' && text[0] != 'A' && text[0] != 'L') {
    return b1(block, 0, "the application must be F, A or L", text.substr(0, 1));
  }
  header.service = text.substr(1, 2);
  header.terminal = text.substr(3, 12);
  header.session_and_sequence = text.substr(15);
  if (header.service != "01" && header.service != "21") {
    return b1(block, 1, "the service must be 01 or 21", header.service);
  }
  if (!is_logical_terminal(header.terminal)) {
    return b1(block, 3, "expected a logical terminal of 12 characters", header.terminal);
  }
  if (!all_digits(header.session_and_sequence)) {
    return b1(block, 15, "session and sequence number must be ten digits", header.session_and_sequence);
  }
  return std::nullopt;
}

std::optional<Defect> read_application_header(const MtBlock& block, ApplicationHeader& header) {
  const std::string_view text = block.content;
  if (text.empty() || (text[0] != 'I' && text[0] != 'O')) {
    return b2(block, 0, "the direction must be I or O", text.substr(0, 1));
  }
  header.direction = text[0] == 'I' ? Direction::input : Direction::output;
  if (text.size() < 4 || !all_digits(text.substr(1, 3))) {
    return b2(block, 1, "the message type must be three digits", text.substr(1, 3));
  }
  header.type = text.substr(1, 3);
  auto defect = header.direction == Direction::input ? read_input(block, header) : read_output(block, header);
  if (defect) return defect;
  if (!is_priority(header.priority[0]))
    return b2(block, 16, "the priority must be S, U or N", header.priority);
  return std::nullopt;
}

}  // namespace mainstay::payments
