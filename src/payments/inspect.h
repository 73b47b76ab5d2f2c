// How messages are listed: one row each, as tab-separated values or as JSON lines. Pure functions over
// values.
#pragma once

#include <string>
#include <string_view>

#include "payments/message.h"
#include "payments/seen_messages.h"

namespace mainstay::payments {

/// file kind type ref uetr verdict why n container level code sender receiver idkey ordkey flags relation
///
/// Fields are not quoted; "-" is empty; tabs, line ends, other control characters and backslashes inside a
/// field are written as \t, \n, \r, \xNN and \\. The level is always "-": it is known to test material only.
/// For an invalid message type, ref and uetr are what could be read; there are no keys.
void write_tsv_header(std::string& to);
void write_tsv(std::string& to, std::string_view file, const Message& message, const Relation& relation);

/// One JSON object (RFC 8259, ASCII) and a line feed. The same names and also what the row has no room for:
/// offset, bytes, digest, direction, test and the routing facts. Empty text is left out. Bytes that are not
/// UTF-8 become U+FFFD.
void write_json(std::string& to, std::string_view file, const Message& message, const Relation& relation);

}  // namespace mainstay::payments
