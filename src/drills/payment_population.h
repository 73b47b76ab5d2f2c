// Who pays whom in a drill: invented banks, customers and accounts. A few are very busy, most are quiet, as
// in life: that is what makes some ordering keys long and hot.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/random.h"

namespace mainstay::drills {

struct Bank {
  std::string bic11;
  std::string lt(char terminal) const;  ///< logical terminal, 12 characters
};

struct Account {
  std::size_t bank{};
  std::string number;
  std::string iban;
  std::string currency;
  std::string owner;
  std::uint32_t statements = 0;  ///< made so far
};

/// Draws ranks 0 … count-1, rank r about 1/(r+1) as often as rank 0 (Zipf), in integers: the same on every
/// machine.
class ZipfRanks {
 public:
  explicit ZipfRanks(std::size_t count);
  [[nodiscard]] std::size_t draw(Random& random) const;

 private:
  std::vector<std::uint64_t> cumulative_;
};

class PaymentPopulation {
 public:
  explicit PaymentPopulation(Random& random, std::size_t accounts = 600);

  [[nodiscard]] const std::vector<Bank>& banks() const { return banks_; }
  [[nodiscard]] std::vector<Account>& accounts() { return accounts_; }
  [[nodiscard]] std::size_t draw_account(Random& random) const { return account_ranks_.draw(random); }
  [[nodiscard]] std::size_t draw_bank(Random& random) const { return bank_ranks_.draw(random); }
  /// What a payment is for: fits a FIN text line.
  [[nodiscard]] static std::string draw_remittance(Random& random);

 private:
  std::vector<Bank> banks_;
  std::vector<Account> accounts_;
  ZipfRanks bank_ranks_, account_ranks_;
};

}  // namespace mainstay::drills
