// The FIN frame: blocks in braces, {1:..}{2:..}{3:..}{4:..}{5:..}, and the local block S.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "payments/formats.h"

namespace mainstay::payments {

struct MtBlock {
  char id = 0;
  std::string_view content;  ///< between "{n:" and the closing brace; of block 4 with lines: the lines
  std::size_t at = 0;        ///< of the opening brace, in the item
  std::size_t content_at = 0;
  bool lines = false;  ///< block 4 in its text form, ended by a line "-}"
};

struct ScannedBlock {
  MtBlock block;
  std::size_t end = 0;           ///< just behind the block; with a defect: where the next message may begin
  std::optional<Defect> defect;  ///< the block does not end as it should
};

/// True when a block may open at `at`: "{", a digit or capital, ":".
bool opens_block(std::string_view text, std::size_t at);

/// True when a basic header opens at `at`: "{1:", a capital, two digits. No FIN character set has the closing
/// brace of one.
bool opens_message(std::string_view text, std::size_t at);

/// Reads the block that opens at `at`. Never runs into a following message: a basic header inside a block
/// means that the block was not closed. In the lines of block 4, which may hold braces, only a whole one at
/// the start of a line counts.
ScannedBlock scan_block(std::string_view text, std::size_t at);

/// The blocks of one item. Order and repetition are not judged here.
struct MtFrame {
  std::vector<MtBlock> blocks;
};
std::optional<Defect> read_frame(std::string_view item, MtFrame& frame);

/// "{tag:value}{tag:value}", values without braces.
struct TagValue {
  std::string_view tag;
  std::string_view value;
  std::size_t at = 0;  ///< of the brace, in the item
};
/// @return position of the first character that does not fit, or npos. Blanks between tags are accepted.
std::size_t read_tag_list(std::string_view content, std::size_t content_at, bool (*is_tag)(std::string_view),
                          std::vector<TagValue>& into);

}  // namespace mainstay::payments
