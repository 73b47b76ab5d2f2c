#include "payments/templates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "payments/message.h"
#include "payments/seen_messages.h"

namespace mainstay::payments {
namespace {

Template parsed(std::string_view name, std::string_view text) {
  auto made = Template::parse(name, text);
  EXPECT_TRUE(made.has_value()) << made.error().what;
  return *made;
}

/// Two sets of values differ in everything that tells one message from another, not in the parties.
Template::Values values(int n) {
  const std::string two = (n < 10 ? "0" : "") + std::to_string(n);
  return {{"ACCOUNT", "00123456" + two},
          {"AMOUNT_MT", "12" + two + ",75"},
          {"AMOUNT_MX", "12" + two + ".75"},
          {"CCY", "EUR"},
          {"CREDITOR", "MEYER ET FILS (LYON)"},
          {"DATE", "2026-11-21"},
          {"DATE6", "261121"},
          {"DATE8", "20261121"},
          {"DATETIME", "2026-11-21T14:30:00+01:00"},
          {"DEBTOR", "ANNA SCHMIDT"},
          {"E2E", "INVOICE-" + two},
          {"IBAN", "DE021001001000068201" + two},
          {"MSGID", "MAIN-20261121-00000000000000000000" + two.substr(1)},
          {"ORIGINAL_MSGID", "MAIN-20261120-" + two},
          {"PAGE", "1"},
          {"RECEIVER_BIC", "BBBBFRPPXXX"},
          {"RECEIVER_LT", "BBBBFRPPXXXX"},
          {"REF", "PAY00000000000" + two},
          {"RELATED_REF", "PAY-RELATED-0" + two},
          {"REMITTANCE", "INVOICES 17, 18 + 19 / 2026"},
          {"SENDER_BIC", "AAAADEFFXXX"},
          {"SENDER_LT", "AAAADEFFAXXX"},
          {"SEQUENCE", "0000" + two},
          {"SESSION", "0001"},
          {"STATEMENT_NO", "123"},
          {"TIME4", "1430"},
          {"TXREF", "TX000000000000" + two},
          {"UETR", "3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a" + two}};
}

std::map<std::string, Template> shipped() {
  std::map<std::string, Template> templates;
  for (const auto& entry : std::filesystem::directory_iterator("samples/templates")) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    const std::string name = entry.path().stem().string();
    templates.emplace(name, parsed(name, text));
    EXPECT_EQ(entry.path().extension(), templates.at(name).is_mx() ? ".xml" : ".fin") << name;
  }
  return templates;
}

TEST(Template, FillsPlaceholdersBetweenTheBracesOfFinBlocks) {
  const Template made = parsed("mt103", "{3:{108:{{REF}}}{121:{{UETR}}}}{4:\n:20:{{REF}}\n-}\n");
  EXPECT_EQ(made.fill({{"REF", "A"}, {"UETR", "B"}}), "{3:{108:A}{121:B}}{4:\r\n:20:A\r\n-}");
  EXPECT_EQ(made.placeholders(), (std::vector<std::string>{"REF", "UETR"}));
  EXPECT_TRUE(made.uses("UETR"));
  EXPECT_FALSE(made.uses("IBAN"));
  EXPECT_EQ(made.type(), "103");
}

TEST(Template, RefusesUnknownAndUnclosedPlaceholdersNamingTheLine) {
  const auto unknown = Template::parse("mt103", "{4:\n:20:{{REFERENCE}}\n-}");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_NE(unknown.error().what.find("line 2: unknown placeholder 'REFERENCE'"), std::string::npos)
      << unknown.error().what;
  const auto open = Template::parse("mt103", "{4:\n\n:20:{{REF");
  ASSERT_FALSE(open.has_value());
  EXPECT_NE(open.error().what.find("line 3"), std::string::npos) << open.error().what;
  EXPECT_FALSE(Template::parse("mt103", " \n").has_value());
}

TEST(Templates, AtLeastFortyFourDifferentTypesAndVariantsAreShipped) {
  const auto templates = shipped();
  EXPECT_GE(templates.size(), 44U);
  std::set<std::string> types;
  for (const auto& [name, made] : templates) types.insert(made.type());
  EXPECT_GE(types.size(), 40U);
}

TEST(Templates, EveryShippedOneMakesAValidMessageOfItsTypeAndVariant) {
  for (const auto& [name, made] : shipped()) {
    const std::string text = made.fill(values(42));
    const std::vector<Message> messages = read_messages(as_bytes(text));
    ASSERT_EQ(messages.size(), 1U) << name;
    const Message& message = messages[0];
    EXPECT_TRUE(message.valid) << name << ": " << message.code << " " << message.why << "\n" << text;
    EXPECT_EQ(message.kind, made.is_mx() ? Kind::mx : Kind::mt) << name;
    EXPECT_EQ(message.type, made.type()) << name;
    EXPECT_EQ(message.sender, "AAAADEFFXXX") << name;
    EXPECT_EQ(message.receiver, "BBBBFRPPXXX") << name;
    std::string variant = name.find('_') == std::string::npos ? "" : name.substr(name.find('_') + 1);
    std::transform(variant.begin(), variant.end(), variant.begin(),
                   [](char c) { return static_cast<char>(c - 'a' + 'A'); });
    EXPECT_EQ(message.variant, variant) << name;
    EXPECT_TRUE(message.flags.empty()) << name;
    EXPECT_FALSE(message.test) << name;
  }
}

TEST(Templates, OrderingKeysAreByAccountForStatementsByPaymentWithUetrElseByParties) {
  static const std::set<std::string> kStatements = {
      "940", "941", "942", "950", "camt.052.001.08", "camt.053.001.08", "camt.054.001.08"};
  int by_account = 0;
  int by_payment = 0;
  int by_parties = 0;
  for (const auto& [name, made] : shipped()) {
    const Message message = read_messages(as_bytes(made.fill(values(42)))).at(0);
    const std::string& key = message.ordering_key;
    if (kStatements.contains(made.type())) {
      ++by_account;
      EXPECT_TRUE(key == "A:0012345642" || key == "A:DE02100100100006820142") << name << " " << key;
    } else if (made.uses("UETR")) {
      ++by_payment;
      EXPECT_EQ(key, "U:3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a42") << name;
    } else {
      ++by_parties;
      EXPECT_EQ(key, "P:AAAADEFFXXX:BBBBFRPPXXX") << name;
    }
  }
  EXPECT_EQ(by_account, 7);
  EXPECT_GE(by_payment, 15);
  EXPECT_GE(by_parties, 15);
}

TEST(Templates, DifferentValuesNeverShareAKeyAndEqualOnesAreDuplicates) {
  SeenMessages seen;
  std::set<std::string> keys;
  std::size_t made_count = 0;
  for (const auto& [name, made] : shipped()) {
    for (int n = 10; n < 15; ++n) {
      const std::string text = made.fill(values(n));
      const Message message = read_messages(as_bytes(text)).at(0);
      // A variant has its base type's key: the same reference may not be used for both.
      if (name.find('_') == std::string::npos) {
        EXPECT_EQ(seen.add(name, message).to, Relation::To::none) << name;
        keys.insert(message.idempotency_key);
        ++made_count;
      }
      EXPECT_EQ(seen.add(name, message).text().substr(0, 3),
                name.find('_') == std::string::npos ? "dup" : "con")
          << name;
    }
  }
  EXPECT_EQ(keys.size(), made_count);
}

}  // namespace
}  // namespace mainstay::payments
