#include "drills/payment_population.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace mainstay::drills {
namespace {

struct Country {
  std::string_view code, currency;
  int bban_digits;
};
constexpr std::array<Country, 8> countries{{{"DE", "EUR", 18},
                                            {"FR", "EUR", 23},
                                            {"ES", "EUR", 20},
                                            {"BE", "EUR", 12},
                                            {"CH", "CHF", 17},
                                            {"PL", "PLN", 24},
                                            {"SE", "SEK", 20},
                                            {"DK", "DKK", 14}}};
constexpr std::array<std::string_view, 16> first_names{"ANNA",  "BERT",   "CLARA", "DAVID", "ELENA", "FELIX",
                                                       "GRETA", "HUGO",   "IRIS",  "JONAS", "KLARA", "LEO",
                                                       "MARTA", "NIKLAS", "OLGA",  "PAUL"};
constexpr std::array<std::string_view, 16> last_names{
    "ALDER", "BRANDT", "CASTRO", "DUBOIS", "EKLUND",  "FISCHER", "GARCIA", "HANSEN",
    "IVERS", "JANSEN", "KOWAL",  "LINDT",  "MERTENS", "NOWAK",   "OLSEN",  "PEETERS"};
constexpr std::array<std::string_view, 12> trades{"SHIPPING", "STEEL",  "FOODS",  "TEXTILES",
                                                  "OPTICS",   "TIMBER", "PAPER",  "GLASS",
                                                  "BEARINGS", "PHARMA", "ENERGY", "MOTORS"};

template <std::size_t N>
std::string_view one_of(const std::array<std::string_view, N>& list, Random& random) {
  return list[random.below(N)];
}

/// ISO 13616: the check digits make the number (country and check digits last, letters as 10 … 35) 1
/// modulo 97.
std::string iban(const Country& country, Random& random) {
  std::string bban;
  for (int i = 0; i < country.bban_digits; ++i) bban += static_cast<char>('0' + random.below(10));
  unsigned remainder = 0;
  const auto take = [&](unsigned value) { remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97; };
  for (const char digit : bban) take(static_cast<unsigned>(digit - '0'));
  for (const char letter : country.code) take(static_cast<unsigned>(letter - 'A' + 10));
  take(0);
  take(0);
  return fmt::format("{}{:02}{}", country.code, 98 - remainder, bban);
}

}  // namespace

std::string Bank::lt(char terminal) const {
  return bic11.substr(0, 8) + terminal + bic11.substr(8);
}

ZipfRanks::ZipfRanks(std::size_t count) {
  std::uint64_t sum = 0;
  for (std::size_t rank = 0; rank < count; ++rank) cumulative_.push_back(sum += 1'000'000 / (rank + 1));
}

std::size_t ZipfRanks::draw(Random& random) const {
  return static_cast<std::size_t>(std::ranges::upper_bound(cumulative_, random.below(cumulative_.back())) -
                                  cumulative_.begin());
}

PaymentPopulation::PaymentPopulation(Random& random, std::size_t accounts)
    : bank_ranks_(24), account_ranks_(accounts) {
  for (std::size_t i = 0; i < 24; ++i)
    banks_.push_back({fmt::format("MS{}{}{}2XXXX", static_cast<char>('A' + i / 6),
                                  static_cast<char>('K' + i % 6), countries[i % countries.size()].code)});
  for (std::size_t i = 0; i < accounts; ++i) {
    Account& account = accounts_.emplace_back();
    account.bank = bank_ranks_.draw(random);
    const Country& country = countries[account.bank % countries.size()];
    account.number = fmt::format("{:010}", 1'000'000'000 + i * 7919 + random.below(7919));
    account.iban = iban(country, random);
    account.currency = country.currency;
    account.owner = random.chance(1, 3)
                        ? fmt::format("{} {}", one_of(last_names, random), one_of(trades, random))
                        : fmt::format("{} {}", one_of(first_names, random), one_of(last_names, random));
  }
}

std::string PaymentPopulation::draw_remittance(Random& random) {
  switch (random.below(4)) {
    case 0:
      return fmt::format("INVOICE {}", random.between(1000, 99999));
    case 1:
      return fmt::format("RENT {:02}/2026 FLAT {}", random.between(1, 12), random.between(1, 60));
    case 2:
      return fmt::format("ORDER {}, THANK YOU", random.between(100000, 999999));
    default:
      return fmt::format("SALARY {:02}/2026", random.between(1, 12));
  }
}

}  // namespace mainstay::drills
