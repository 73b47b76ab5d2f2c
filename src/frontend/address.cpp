#include "frontend/address.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace mainstay::frontend {
namespace {

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return std::nullopt;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const auto high = hex_digit(text[i + 1]);
      const auto low = hex_digit(text[i + 2]);
      if (high && low) {
        out.push_back(static_cast<char>(*high * 16 + *low));
        i += 2;
        continue;
      }
    }
    out.push_back(text[i]);
  }
  return out;
}

/// Takes the suffix off when it is there in any case.
bool cut_suffix(std::string& text, std::string_view lower_suffix) {
  if (text.size() < lower_suffix.size()) return false;
  const bool there = std::equal(
      lower_suffix.begin(), lower_suffix.end(), text.end() - static_cast<std::ptrdiff_t>(lower_suffix.size()),
      [](char want, char have) { return want == std::tolower(static_cast<unsigned char>(have)); });
  if (there) text.resize(text.size() - lower_suffix.size());
  return there;
}

}  // namespace

Address read_address(std::string_view text) {
  if (const auto scheme = text.find("://"); scheme != std::string_view::npos && scheme < 8) {
    const auto path = text.find('/', scheme + 3);
    text = path == std::string_view::npos ? std::string_view() : text.substr(path);
  }
  if (!text.empty() && text.front() == '/') text.remove_prefix(1);
  Address out;
  out.entity = percent_decoded(text);
  out.management = cut_suffix(out.entity, "/$management");
  if (cut_suffix(out.entity, "/$deadletterqueue")) out.sub = broker::SubQueue::dead_letter;
  return out;
}

}  // namespace mainstay::frontend
