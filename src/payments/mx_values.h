// Formats of the values in a Document, and the facts picked up on the way: one pass over the tree.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "payments/formats.h"
#include "payments/mx_document.h"

namespace mainstay::payments {

/// Views into the document.
struct MxFacts {
  std::string_view uetr;  ///< the first
  bool several_uetrs = false;
  std::string_view currency;
  std::string_view amount;
  std::string_view value_date;
  std::string_view original_reference;
  std::string_view priority;
};

/// Supplementary data is passed over: it may carry whole other messages.
class MxValues {
 public:
  explicit MxValues(const MxDocument& document) : document_(document) {}
  void scan(std::uint32_t root);
  /// Of several defects the one whose rule comes first, wherever it is.
  [[nodiscard]] const std::optional<Defect>& defect() const { return defect_; }
  [[nodiscard]] const MxFacts& facts() const { return facts_; }

 private:
  enum Rank : int { kIdLength, kUetr, kBic, kCurrency, kAmount, kDateTime, kNoDefect };
  void look_at(std::uint32_t i);
  void look_at_leaf(std::uint32_t i, std::string_view name);
  void look_at_amount(std::uint32_t i, std::string_view name);
  void report(Rank rank, std::string_view code, std::uint32_t i, std::string_view expected,
              std::string_view found);

  const MxDocument& document_;
  MxFacts facts_;
  std::optional<Defect> defect_;
  Rank rank_ = kNoDefect;
};

/// The account of a camt.052, 053 or 054 that is about exactly one; empty otherwise.
std::string_view statement_account(const MxDocument& document, std::uint32_t body, std::string_view type);

}  // namespace mainstay::payments
