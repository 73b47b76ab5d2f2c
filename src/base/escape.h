// How a text is written inside another one, and read back.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mainstay {

/// Appends a field of a tab-separated line: tab, line feed, carriage return and backslash become \t \n \r \\,
/// everything else stays, so that a line has as many tabs as it has fields less one.
void append_tsv_field(std::string& to, std::string_view field);
/// The text that was escaped so. Nothing when a backslash begins anything else.
[[nodiscard]] std::optional<std::string> unescaped_tsv_field(std::string_view field);

/// For text and attribute values of XML, SVG and HTML: & < > " ' as entities that all three have, control
/// characters, which XML has not at all, as spaces; line feeds stay.
[[nodiscard]] std::string escaped_xml(std::string_view text);

}  // namespace mainstay
