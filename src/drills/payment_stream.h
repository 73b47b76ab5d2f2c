// An endless, seeded stream of realistic payment messages in the order in which a bank's gateway would hand
// them on: payments whose order, cover, status and return follow each other under one UETR with other traffic
// in between; statements of busy accounts; and the rest between pairs of banks.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "drills/payment_population.h"
#include "payments/templates.h"

namespace mainstay::drills {

/// A message and how it was made, so that another content under the same key can be made from it.
struct Draft {
  const payments::Template* made_from{};
  payments::Template::Values values;
  [[nodiscard]] std::string bytes() const { return made_from->fill(values); }
};

/// The templates of a directory, by file name.
[[nodiscard]] Result<std::vector<payments::Template>, Failure> load_templates(const std::string& directory);

class PaymentStream {
 public:
  /// @param templates  at least one statement, one template without UETR in MT and one in MX; outlives the
  /// stream.
  /// @param random  outlives the stream.
  [[nodiscard]] static Result<PaymentStream, Failure> make(const std::vector<payments::Template>& templates,
                                                           Random& random);

  enum class Want : std::uint8_t { mt, mx };
  Draft next(Want want);

  /// Another amount in the same message: same key, other content.
  [[nodiscard]] Draft altered(const Draft& draft);

 private:
  /// One payment under way: the same UETR, parties and amount in each of its messages.
  struct Payment {
    std::vector<const payments::Template*> steps;
    std::size_t at = 0;
    std::string uetr, first_reference, first_message_id;
    std::size_t debtor{}, creditor{};
    std::uint64_t cents{};
    std::string remittance, end_to_end;
  };

  explicit PaymentStream(Random& random) : random_(&random), population_(random) {}
  Payment& open_payment(Want want);
  Draft next_of_payment(Want want);
  Draft next_statement(Want want);
  Draft next_other(Want want);
  /// Everything that is new in each message or follows from its parties.
  payments::Template::Values values(std::size_t sender_bank, std::size_t receiver_bank, const Account& debtor,
                                    const Account& creditor, std::uint64_t cents);

  Random* random_;
  PaymentPopulation population_;
  std::vector<std::vector<const payments::Template*>> chains_;
  std::map<Want, std::vector<const payments::Template*>> statements_, others_;
  std::vector<Payment> open_;
  std::uint64_t made_ = 0;
};

}  // namespace mainstay::drills
