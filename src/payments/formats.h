// Formats of single values, and how a value is shown in an error. Every check is linear in the text and
// bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mainstay::payments {

/// A rule that failed. `at` is a byte offset in the item; the file's offset is added where the message is put
/// together.
struct Defect {
  std::string_view code;  ///< string literal
  std::size_t at = 0;
  std::string why;
};

/// In quotes, cut to 32 characters, what does not print as '.': customer data does not leak into logs at
/// length.
std::string shown(std::string_view value);

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_capital(char c) {
  return c >= 'A' && c <= 'Z';
}
constexpr bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}
bool all_digits(std::string_view text);  ///< false for an empty text
std::string_view trimmed(std::string_view text);
/// "\n", "\r\n" and ends of the text end a line. Takes the first line off `rest`, without its line end.
std::string_view take_line(std::string_view& rest);

bool is_bic(std::string_view text);               ///< BIC8 or BIC11
bool is_logical_terminal(std::string_view text);  ///< BIC8, terminal, branch
/// The BIC11 of a logical terminal: without the terminal letter, for a resend may leave through another one.
std::string bic11_of_terminal(std::string_view terminal);
/// A BIC8 gets its "XXX"; anything else stays as it is.
std::string bic11(std::string_view identifier);
bool is_test_bic(std::string_view bic);  ///< '0' as 8th character

bool is_uetr(std::string_view text);      ///< RFC 4122 version 4, lower case
bool is_currency(std::string_view text);  ///< three capitals
bool is_mt_date(std::string_view yymmdd);
bool is_mt_time(std::string_view hhmm);
std::string iso_date(std::string_view yymmdd);  ///< years 80 to 99 are 19yy
bool is_mt_amount(std::string_view text);       ///< one comma, 15 characters at most
bool is_mx_amount(std::string_view text);       ///< decimal point, 18 digits of which 5 fraction, no sign
bool is_mx_datetime(std::string_view text, bool offset_required);
bool is_mt_reference_set(std::string_view text);  ///< only characters of set x
/// First character outside set z and line ends, npos if none.
std::size_t first_outside_fin_set(std::string_view text);
/// Characters (code points) of well-formed UTF-8.
std::size_t utf8_length(std::string_view text);

}  // namespace mainstay::payments
