#include "payments/mt_frame.h"

namespace mainstay::payments {
namespace {

constexpr int kBraceDepthMax = 3;

/// The stricter form for the lines of block 4, where "{1:F01" may be part of a sentence.
bool opens_message_in_lines(std::string_view text, std::size_t at) {
  return opens_message(text, at) && text.size() - at >= 29 && text[at + 28] == '}';
}

ScannedBlock scan_lines(std::string_view text, ScannedBlock scanned) {
  MtBlock& block = scanned.block;
  block.lines = true;
  for (std::size_t line_end = text.find('\n', block.content_at); line_end != std::string_view::npos;
       line_end = text.find('\n', line_end + 1)) {
    const std::size_t line = line_end + 1;
    if (text.substr(line, 2) == "-}") {
      // The line break behind "{4:" may be the one in front of "-}": then there are no lines.
      block.content = text.substr(block.content_at, line - block.content_at);
      scanned.end = line + 2;
      return scanned;
    }
    if (line < text.size() && opens_message_in_lines(text, line)) {
      scanned.end = line;
      break;
    }
  }
  scanned.defect = Defect{"MT_B4_TERM", scanned.end, "block 4 is not ended by a line that begins with '-}'"};
  return scanned;
}

ScannedBlock scan_braces(std::string_view text, ScannedBlock scanned) {
  MtBlock& block = scanned.block;
  int depth = 1;
  for (std::size_t at = block.content_at; at < text.size(); ++at) {
    if (text[at] == '}' && --depth == 0) {
      block.content = text.substr(block.content_at, at - block.content_at);
      scanned.end = at + 1;
      return scanned;
    }
    if (text[at] != '{') continue;
    if (opens_message(text, at)) {
      scanned.end = at;
      break;
    }
    if (++depth > kBraceDepthMax) {
      scanned.end = at;
      scanned.defect = Defect{"MT_UNBALANCED", at, "braces nested deeper than 3"};
      return scanned;
    }
  }
  scanned.defect =
      Defect{"MT_UNBALANCED", block.at, std::string("block ") + block.id + " is never closed by '}'"};
  return scanned;
}

}  // namespace

bool opens_message(std::string_view text, std::size_t at) {
  return text.size() - at >= 6 && text.substr(at, 3) == "{1:" && is_capital(text[at + 3]) &&
         is_digit(text[at + 4]) && is_digit(text[at + 5]);
}

bool opens_block(std::string_view text, std::size_t at) {
  return text.size() - at >= 3 && text[at] == '{' && (is_digit(text[at + 1]) || is_capital(text[at + 1])) &&
         text[at + 2] == ':';
}

ScannedBlock scan_block(std::string_view text, std::size_t at) {
  ScannedBlock scanned;
  scanned.block.id = text[at + 1];
  scanned.block.at = at;
  scanned.block.content_at = at + 3;
  scanned.end = text.size();
  if (scanned.block.id != '4') return scan_braces(text, std::move(scanned));
  const std::string_view rest = text.substr(at + 3);
  if (rest.starts_with('\n') || rest.starts_with("\r\n")) {
    if (rest.front() == '\r') ++scanned.block.content_at;
    return scan_lines(text, std::move(scanned));
  }
  if (rest.starts_with('{') && !opens_message(text, at + 3)) return scan_braces(text, std::move(scanned));
  for (std::size_t next = text.find("{1:", at + 3); next != std::string_view::npos;
       next = text.find("{1:", next + 3)) {
    if (!opens_message(text, next)) continue;
    scanned.end = next;
    break;
  }
  scanned.defect = Defect{"MT_B4_START", at,
                          "block 4 must begin with a line break (or a {tag:} in system messages), not " +
                              shown(rest.substr(0, 12))};
  return scanned;
}

std::optional<Defect> read_frame(std::string_view item, MtFrame& frame) {
  std::size_t at = 0;
  while (at < item.size()) {
    if (is_space(item[at])) {
      ++at;
      continue;
    }
    if (!opens_block(item, at)) {
      return Defect{"MT_STRAY_TEXT", at,
                    "expected a block or the end, found text outside a block: " + shown(item.substr(at, 12))};
    }
    const char id = item[at + 1];
    if (!(id >= '1' && id <= '5') && id != 'S') {
      return Defect{"MT_STRAY_TEXT", at, "expected block 1 to 5 or S, found " + shown(item.substr(at, 12))};
    }
    ScannedBlock scanned = scan_block(item, at);
    if (scanned.defect) return std::move(scanned.defect);
    frame.blocks.push_back(scanned.block);
    at = scanned.end;
  }
  return std::nullopt;
}

std::size_t read_tag_list(std::string_view content, std::size_t content_at, bool (*is_tag)(std::string_view),
                          std::vector<TagValue>& into) {
  std::size_t at = 0;
  while (at < content.size()) {
    if (is_space(content[at])) {
      ++at;
      continue;
    }
    const std::size_t colon = content.find(':', at);
    if (content[at] != '{' || colon == std::string_view::npos ||
        !is_tag(content.substr(at + 1, colon - at - 1))) {
      return content_at + at;
    }
    const std::size_t end = content.find_first_of("{}", colon);
    if (end == std::string_view::npos || content[end] == '{') return content_at + at;
    into.push_back({content.substr(at + 1, colon - at - 1), content.substr(colon + 1, end - colon - 1),
                    content_at + at});
    at = end + 1;
  }
  return std::string_view::npos;
}

}  // namespace mainstay::payments
