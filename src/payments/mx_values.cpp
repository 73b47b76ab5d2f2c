#include "payments/mx_values.h"

#include <algorithm>
#include <array>

namespace mainstay::payments {
namespace {

constexpr std::uint32_t kNone = MxDocument::kNone;
constexpr std::array<std::string_view, 6> kIds = {"BizMsgIdr",  "MsgId", "InstrId",
                                                  "EndToEndId", "TxId",  "PmtInfId"};
constexpr std::array<std::string_view, 4> kBics = {"BICFI", "BIC", "AnyBIC", "BICOrBEI"};
constexpr std::array<std::string_view, 5> kAmounts = {"IntrBkSttlmAmt", "RtrdIntrBkSttlmAmt", "InstdAmt",
                                                      "OrgnlIntrBkSttlmAmt", "Amt"};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& values, std::string_view value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

}  // namespace

void MxValues::scan(std::uint32_t root) {
  for (std::uint32_t i = root + 1; i < document_.end(root);) {
    if (document_.name(i) == "SplmtryData") {
      i = document_.end(i);
      continue;
    }
    look_at(i);
    ++i;
  }
}

void MxValues::look_at(std::uint32_t i) {
  const std::string_view name = document_.name(i);
  if (document_.has_currency(i)) look_at_amount(i, name);
  if (document_.is_leaf(i)) look_at_leaf(i, name);
}

void MxValues::look_at_leaf(std::uint32_t i, std::string_view name) {
  const std::string_view text = document_.text(i);
  if (contains(kIds, name)) {
    const std::size_t length = utf8_length(text);
    if (length < 1 || length > 35) report(kIdLength, "MX_ID_LEN", i, "1 to 35 characters", text);
  } else if (name == "UETR" || name == "OrgnlUETR") {
    if (!is_uetr(text)) report(kUetr, "MX_UETR", i, "a UUID version 4 in lower case", text);
    if (facts_.uetr.empty()) facts_.uetr = text;
    facts_.several_uetrs = facts_.several_uetrs || facts_.uetr != text;
  } else if (contains(kBics, name)) {
    if (!is_bic(text)) report(kBic, "MX_BIC", i, "a BIC of 8 or 11 characters", text);
  } else if (name == "CreDtTm") {
    if (!is_mx_datetime(text, false)) report(kDateTime, "MX_DATETIME", i, "a date and time", text);
  } else if (facts_.value_date.empty() &&
             (name == "IntrBkSttlmDt" || name == "ReqdExctnDt" || name == "ReqdColltnDt")) {
    facts_.value_date = text;
  } else if (facts_.original_reference.empty() && name == "OrgnlMsgId") {
    facts_.original_reference = text;
  } else if (facts_.priority.empty() && name == "InstrPrty") {
    facts_.priority = text;
  }
}

void MxValues::look_at_amount(std::uint32_t i, std::string_view name) {
  const std::string_view currency = document_.currency(i);
  const std::string_view amount = document_.text(i);
  if (!is_currency(currency)) report(kCurrency, "MX_CCY", i, "a currency of three capitals", currency);
  if (!is_mx_amount(amount)) {
    report(kAmount, "MX_AMOUNT", i, "digits with a decimal point, at most 18 of which 5 behind it", amount);
  }
  if (facts_.currency.empty() && contains(kAmounts, name)) {
    facts_.currency = currency;
    facts_.amount = amount;
  }
}

void MxValues::report(Rank rank, std::string_view code, std::uint32_t i, std::string_view expected,
                      std::string_view found) {
  if (rank >= rank_) return;
  rank_ = rank;
  defect_ = Defect{
      code, document_.at(i),
      std::string(document_.name(i)) + " must be " + std::string(expected) + ", found " + shown(found)};
}

std::string_view statement_account(const MxDocument& document, std::uint32_t body, std::string_view type) {
  std::string_view statement;
  if (type.starts_with("camt.052")) statement = "Rpt";
  if (type.starts_with("camt.053")) statement = "Stmt";
  if (type.starts_with("camt.054")) statement = "Ntfctn";
  if (statement.empty() || body == kNone) return {};
  std::string_view only;
  for (std::uint32_t i = body + 1; i < document.end(body); i = document.end(i)) {
    if (document.name(i) != statement) continue;
    const std::uint32_t id = document.path(i, {"Acct", "Id"});
    std::string_view account = document.text_at(document.child(id, "IBAN"));
    if (account.empty()) account = document.text_at(document.path(id, {"Othr", "Id"}));
    if (account.empty() || (!only.empty() && only != account)) return {};
    only = account;
  }
  return only;
}

}  // namespace mainstay::payments
