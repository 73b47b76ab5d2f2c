#include "payments/formats.h"

#include <algorithm>
#include <array>

namespace mainstay::payments {
namespace {

constexpr bool is_bic_character(char c) {
  return is_digit(c) || is_capital(c);
}
constexpr bool is_lower_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f');
}

bool all_of(std::string_view text, bool (*test)(char)) {
  return std::all_of(text.begin(), text.end(), test);
}

int two_digits(std::string_view text) {
  return (text[0] - '0') * 10 + (text[1] - '0');
}

bool in_range(std::string_view two, int low, int high) {
  if (!all_digits(two)) return false;
  const int value = two_digits(two);
  return value >= low && value <= high;
}

enum : std::uint8_t { kSetX = 1, kSetZ = 2 };
constexpr std::array<std::uint8_t, 256> kSets = [] {
  std::array<std::uint8_t, 256> sets{};
  const auto add = [&sets](std::string_view characters, std::uint8_t bits) {
    for (const char c : characters) sets[static_cast<unsigned char>(c)] |= bits;
  };
  for (char c = '0'; c <= '9'; ++c) sets[static_cast<unsigned char>(c)] = kSetX | kSetZ;
  for (char c = 'A'; c <= 'Z'; ++c) sets[static_cast<unsigned char>(c)] = kSetX | kSetZ;
  for (char c = 'a'; c <= 'z'; ++c) sets[static_cast<unsigned char>(c)] = kSetX | kSetZ;
  add("/-?:().,'+ ", kSetX | kSetZ);
  add("=!\"%&*<>;{@#_", kSetZ);
  return sets;
}();

}  // namespace

std::string shown(std::string_view value) {
  constexpr std::size_t kCharactersMax = 32;
  std::string out = "'";
  for (const char c : value.substr(0, kCharactersMax)) out += c >= ' ' && c <= '~' ? c : '.';
  out += '\'';
  if (value.size() > kCharactersMax) out += "...";
  return out;
}

bool all_digits(std::string_view text) {
  return !text.empty() && all_of(text, is_digit);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string_view take_line(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  std::string_view line = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  if (end != std::string_view::npos && !line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

bool is_bic(std::string_view text) {
  return (text.size() == 8 || text.size() == 11) && all_of(text, is_bic_character) && is_capital(text[4]) &&
         is_capital(text[5]);
}

bool is_logical_terminal(std::string_view text) {
  return text.size() == 12 && all_of(text, is_bic_character) && is_bic(text.substr(0, 8));
}

std::string bic11_of_terminal(std::string_view terminal) {
  std::string out(terminal.substr(0, 8));
  out += terminal.substr(9, 3);
  return out;
}

std::string bic11(std::string_view identifier) {
  std::string out(identifier);
  if (identifier.size() == 8 && is_bic(identifier)) out += "XXX";
  return out;
}

bool is_test_bic(std::string_view bic) {
  return bic.size() >= 8 && is_bic(bic.substr(0, 8)) && bic[7] == '0';
}

bool is_uetr(std::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    if (hyphen ? text[i] != '-' : !is_lower_hex(text[i])) return false;
  }
  return text[14] == '4' && (text[19] == '8' || text[19] == '9' || text[19] == 'a' || text[19] == 'b');
}

bool is_currency(std::string_view text) {
  return text.size() == 3 && all_of(text, is_capital);
}

bool is_mt_date(std::string_view yymmdd) {
  return yymmdd.size() == 6 && all_digits(yymmdd) && in_range(yymmdd.substr(2, 2), 1, 12) &&
         in_range(yymmdd.substr(4, 2), 1, 31);
}

bool is_mt_time(std::string_view hhmm) {
  return hhmm.size() == 4 && in_range(hhmm.substr(0, 2), 0, 23) && in_range(hhmm.substr(2, 2), 0, 59);
}

std::string iso_date(std::string_view yymmdd) {
  std::string out = two_digits(yymmdd) >= 80 ? "19" : "20";
  out += yymmdd.substr(0, 2);
  out += '-';
  out += yymmdd.substr(2, 2);
  out += '-';
  out += yymmdd.substr(4, 2);
  return out;
}

bool is_mt_amount(std::string_view text) {
  const std::size_t comma = text.find(',');
  if (text.size() > 15 || comma == std::string_view::npos || comma == 0) return false;
  const std::string_view fraction = text.substr(comma + 1);
  return all_digits(text.substr(0, comma)) && (fraction.empty() || all_digits(fraction));
}

bool is_mx_amount(std::string_view text) {
  const std::size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view fraction =
      point == std::string_view::npos ? std::string_view() : text.substr(point + 1);
  return whole.size() + fraction.size() >= 1 && whole.size() + fraction.size() <= 18 &&
         fraction.size() <= 5 && all_of(whole, is_digit) && all_of(fraction, is_digit);
}

bool is_mx_datetime(std::string_view text, bool offset_required) {
  if (text.size() < 19 || !all_digits(text.substr(0, 4)) || text[4] != '-' ||
      !in_range(text.substr(5, 2), 1, 12) || text[7] != '-' || !in_range(text.substr(8, 2), 1, 31) ||
      text[10] != 'T' || !in_range(text.substr(11, 2), 0, 24) || text[13] != ':' ||
      !in_range(text.substr(14, 2), 0, 59) || text[16] != ':' || !in_range(text.substr(17, 2), 0, 59)) {
    return false;
  }
  std::string_view rest = text.substr(19);
  if (!rest.empty() && rest.front() == '.') {
    rest.remove_prefix(1);
    const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    if (digits == 0 || digits > 9) return false;
    rest.remove_prefix(digits);
  }
  if (rest.empty()) return !offset_required;
  if (rest == "Z") return true;
  return rest.size() == 6 && (rest[0] == '+' || rest[0] == '-') && in_range(rest.substr(1, 2), 0, 14) &&
         rest[3] == ':' && in_range(rest.substr(4, 2), 0, 59);
}

bool is_mt_reference_set(std::string_view text) {
  return all_of(text, [](char c) { return (kSets[static_cast<unsigned char>(c)] & kSetX) != 0; });
}

std::size_t first_outside_fin_set(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((kSets[static_cast<unsigned char>(c)] & kSetZ) != 0 || c == '\n') continue;
    if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    return i;
  }
  return std::string_view::npos;
}

std::size_t utf8_length(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace mainstay::payments
