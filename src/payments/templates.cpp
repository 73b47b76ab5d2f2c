#include "payments/templates.h"

#include <algorithm>

#include "base/assert.h"
#include "payments/formats.h"

namespace mainstay::payments {
namespace {

std::string with_network_line_ends(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    out += take_line(text);
    if (!text.empty()) out += "\r\n";
  }
  return out;
}

}  // namespace

const std::vector<std::string>& template_placeholders() {
  static const std::vector<std::string> kNames = {
      "ACCOUNT",      "AMOUNT_MT",      "AMOUNT_MX",  "CCY",          "CREDITOR",    "DATE",
      "DATE6",        "DATE8",          "DATETIME",   "DEBTOR",       "E2E",         "IBAN",
      "MSGID",        "ORIGINAL_MSGID", "PAGE",       "RECEIVER_BIC", "RECEIVER_LT", "REF",
      "RELATED_REF",  "REMITTANCE",     "SENDER_BIC", "SENDER_LT",    "SEQUENCE",    "SESSION",
      "STATEMENT_NO", "TIME4",          "TXREF",      "UETR"};
  return kNames;
}

Result<Template, Failure> Template::parse(std::string_view name, std::string_view text) {
  Template made;
  made.name_ = name;
  text = trimmed(text);
  if (text.empty()) return Failure{"template " + made.name_ + " is empty"};
  made.is_mx_ = text.front() == '<';
  const std::string source = made.is_mx_ ? std::string(text) : with_network_line_ends(text);
  std::string_view rest = source;
  while (true) {
    const std::size_t open = rest.find("{{");
    if (open == std::string_view::npos) break;
    const auto line = 1 + std::count(source.data(), rest.data() + open, '\n');
    const std::string where = "template " + made.name_ + ", line " + std::to_string(line) + ": ";
    const std::size_t close = rest.find("}}", open);
    if (close == std::string_view::npos) return Failure{where + "'{{' without '}}'"};
    std::string placeholder(rest.substr(open + 2, close - open - 2));
    const auto& known = template_placeholders();
    if (!std::binary_search(known.begin(), known.end(), placeholder)) {
      return Failure{where + "unknown placeholder " + shown(placeholder) +
                     "; samples/README.md lists the known ones"};
    }
    made.placeholders_.push_back(placeholder);
    made.pieces_.push_back({std::string(rest.substr(0, open)), std::move(placeholder)});
    rest.remove_prefix(close + 2);
  }
  made.pieces_.push_back({std::string(rest), {}});
  std::sort(made.placeholders_.begin(), made.placeholders_.end());
  made.placeholders_.erase(std::unique(made.placeholders_.begin(), made.placeholders_.end()),
                           made.placeholders_.end());
  return made;
}

std::string Template::fill(const Values& values) const {
  std::string out;
  for (const Piece& piece : pieces_) {
    out += piece.text;
    if (piece.placeholder.empty()) continue;
    const auto value = values.find(piece.placeholder);
    MS_ASSERT(value != values.end(), "every placeholder of the template has a value");
    out += value->second;
  }
  return out;
}

std::string Template::type() const {
  std::string_view type = name_;
  type = type.substr(0, type.find('_'));
  if (!is_mx_ && type.starts_with("mt")) type.remove_prefix(2);
  return std::string(type);
}

bool Template::uses(std::string_view placeholder) const {
  return std::binary_search(placeholders_.begin(), placeholders_.end(), placeholder, std::less<>());
}

}  // namespace mainstay::payments
