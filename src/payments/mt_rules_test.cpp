#include <gtest/gtest.h>

#include <ostream>

#include "payments/message.h"
#include "payments/sample_messages.h"

namespace mainstay::payments {
namespace {

using samples::code;
using samples::kBasic;
using samples::kMt103;
using samples::kOutput;
using samples::mt;
using samples::only;
using samples::with;

TEST(MtIdentity, InputMessageIsFromBlockOneToBlockTwo) {
  const Message message = only(kMt103);
  EXPECT_TRUE(message.valid) << message.why;
  EXPECT_EQ(message.kind, Kind::mt);
  EXPECT_EQ(message.type, "103");
  EXPECT_EQ(message.reference, "PAY1");
  EXPECT_EQ(message.uetr, samples::kUetr);
  EXPECT_EQ(message.sender, "AAAADEFFXXX") << "the terminal letter is not part of a BIC11";
  EXPECT_EQ(message.receiver, "BBBBFRPPXXX");
  EXPECT_EQ(message.direction, Direction::input);
  EXPECT_EQ(message.idempotency_key, "MT:103:AAAADEFFXXX:BBBBFRPPXXX:PAY1");
  EXPECT_EQ(message.ordering_key, "U:3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81");
  EXPECT_EQ(message.currency, "EUR");
  EXPECT_EQ(message.amount, "100,50");
  EXPECT_EQ(message.value_date, "2026-11-20");
  EXPECT_EQ(message.mur, "MUR1");
  EXPECT_EQ(message.priority, "N");
  EXPECT_EQ(message.content_digest.size(), 32U);
}

TEST(MtIdentity, OutputMessageIsFromTheMirToBlockOne) {
  const Message message = only(with(kMt103, "{2:I103BBBBFRPPXXXXN}", kOutput));
  EXPECT_TRUE(message.valid) << message.why;
  EXPECT_EQ(message.sender, "BBBBFRPPXXX");
  EXPECT_EQ(message.receiver, "AAAADEFFXXX");
  EXPECT_EQ(message.direction, Direction::output);
  EXPECT_EQ(message.mir, "261120BBBBFRPPCXXX0002000003");
  EXPECT_EQ(message.mor, "261120AAAADEFFAXXX0001000042");
}

TEST(MtIdentity, OrderingKeyIsPaymentElseAccountOfAStatementElseParties) {
  EXPECT_EQ(only(with(kMt103, "{121:3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81}", "")).ordering_key,
            "P:AAAADEFFXXX:BBBBFRPPXXX");
  const std::string statement =
      mt("940", ":20:S\r\n:25P:ACC/7\r\nAAAADEFF\r\n:28C:7/2\r\n:60F:C261120EUR1,\r\n:62F:C261120EUR1,\r\n");
  EXPECT_EQ(only(statement).ordering_key, "A:ACC/7") << "only the first line of the account field";
  EXPECT_EQ(only(statement).idempotency_key, "MT:940:AAAADEFFXXX:BBBBFRPPXXX:S:7/2")
      << "the page tells statements apart";
  const std::string debit = mt("900", ":20:D\r\n:21:R\r\n:25:ACC\r\n:32A:261120EUR1,\r\n");
  EXPECT_EQ(only(debit).ordering_key, "P:AAAADEFFXXX:BBBBFRPPXXX") << "a confirmation is no statement";
}

TEST(MtIdentity, SecuritiesMessageHasItsReferenceInSeme) {
  const Message message =
      only(mt("541", ":16R:GENL\r\n:20C::RELA//OTHER\r\n:20C::SEME//SEC1\r\n:28E:1/MORE\r\n:16S:GENL\r\n"));
  EXPECT_EQ(message.reference, "SEC1");
  EXPECT_EQ(message.idempotency_key, "MT:541:AAAADEFFXXX:BBBBFRPPXXX:SEC1:1/MORE");
  EXPECT_EQ(code(mt("541", ":16R:GENL\r\n:20C::RELA//OTHER\r\n:16S:GENL\r\n")), "MT_NO_REF");
  EXPECT_EQ(code(mt("199", ":20C::SEME//SEC1\r\n:79:X\r\n")), "MT_NO_REF") << "only category 5 has it there";
}

TEST(MtIdentity, OwnReferenceIsTheFirstEvenWhenAProprietaryTextLooksLikeTags) {
  EXPECT_EQ(only(mt("198", ":20:OWN\r\n:12:001\r\n:77E:\r\n:20:NESTED\r\n")).reference, "OWN");
}

TEST(MtIdentity, SystemMessageUsesField108ElseSessionAndSequence) {
  const std::string system = kBasic + "{2:I020BBBBFRPPXXXXN}{4:{102:AAAADEFFAXXX}{108:M1}}";
  EXPECT_EQ(only(system).idempotency_key, "MT:020:AAAADEFFXXX:BBBBFRPPXXX:M1");
  EXPECT_EQ(only(with(system, "{108:M1}", "")).idempotency_key, "MT:020:AAAADEFFXXX:BBBBFRPPXXX:0001000042");
  EXPECT_EQ(code(with(system, "I020", "I103")), "MT_B4_START") << "a payment has lines";
}

TEST(MtFlags, TrailersAreHintsAndTrainingIsMarked) {
  const Message message = only(with(kMt103, "{CHK:0123456789AB}",
                                    "{CHK:0123456789AB}{PDE:}{PDM:1200261120AAAADEFFAXXX0001000042}{TNG:}"));
  EXPECT_EQ(message.flags.text(), "PDE,PDM");
  EXPECT_TRUE(message.test);
  EXPECT_FALSE(only(kMt103).test);
  EXPECT_TRUE(only(with(kMt103, "I103BBBBFRPP", "I103BBBBFRP0")).test) << "0 as 8th character of a BIC";
}

TEST(MtContent, DigestKnowsFieldsOnly) {
  const std::string digest = only(kMt103).content_digest;
  std::string bare_lf;
  for (const char c : kMt103) {
    if (c != '\r') bare_lf += c;
  }
  EXPECT_EQ(only(bare_lf).content_digest, digest) << "line ends";
  EXPECT_EQ(only(with(kMt103, "0001000042", "7777000001")).content_digest, digest) << "block 1";
  EXPECT_EQ(only(with(kMt103, "{CHK:0123456789AB}", "{PDE:}")).content_digest, digest) << "block 5";
  EXPECT_EQ(only(with(kMt103, "{108:MUR1}", "")).content_digest, digest) << "block 3";
  EXPECT_NE(only(with(kMt103, "100,50", "100,51")).content_digest, digest);
  EXPECT_NE(only(with(kMt103, "BERT MEYER", "BERT MEYER ")).content_digest, digest);
}

struct Case {
  const char* code;
  std::string text;
};

void PrintTo(const Case& refused, std::ostream* os) {
  *os << refused.code;
}

class MtRule : public testing::TestWithParam<Case> {};

TEST_P(MtRule, IsRefusedWithItsCode) {
  const Message message = only(GetParam().text);
  EXPECT_FALSE(message.valid);
  EXPECT_EQ(message.code, GetParam().code) << message.why;
  EXPECT_EQ(message.why.substr(0, 5), "byte ") << message.why;
  EXPECT_TRUE(message.idempotency_key.empty()) << "nobody may act on an invalid message's key";
}

const std::string kUser = "{3:{108:MUR1}{121:3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81}}";
const std::string kAck = "{1:F21AAAADEFFAXXX0001000042}{4:{177:2611201200}{451:0}}";

INSTANTIATE_TEST_SUITE_P(
    Each, MtRule,
    testing::Values(
        Case{"MT_TOO_LONG", with(kMt103, "INVOICE 17", std::string(10'000, 'A'))},
        Case{"MT_STRAY_TEXT", kMt103 + ";"}, Case{"MT_STRAY_TEXT", kMt103 + "{Z:X}"},
        Case{"MT_STRAY_TEXT", with(kMt103, "}{2:", "} x {2:")},
        Case{"MT_UNBALANCED", with(kMt103, "AB}}", "AB}")},
        Case{"MT_UNBALANCED", with(kMt103, "XXXXN}", "XXXXN")},
        Case{"MT_B1_MISSING", kMt103.substr(kBasic.size())},
        Case{"MT_B1_FORMAT", with(kMt103, "0001000042", "000100004")},
        Case{"MT_B1_FORMAT", with(kMt103, "F01AAAA", "F05AAAA")},
        Case{"MT_B1_FORMAT", with(kMt103, "F01AAAA", "X01AAAA")},
        Case{"MT_B1_FORMAT", with(kMt103, "AAAADEFFA", "aaaadeffA")},
        Case{"MT_B1_FORMAT", with(kMt103, "0001000042", "000100004X")},
        Case{"MT_B2_MISSING", with(kMt103, "{2:I103BBBBFRPPXXXXN}", "")},
        Case{"MT_B2_FORMAT", with(kMt103, "I103", "X103")},
        Case{"MT_B2_FORMAT", with(kMt103, "I103", "I1O3")},
        Case{"MT_B2_FORMAT", with(kMt103, "XXXXN}", "XXXXQ}")},
        Case{"MT_B2_FORMAT", with(kMt103, "XXXXN}", "XXXXN4}")},
        Case{"MT_B2_FORMAT", with(kMt103, "XXXXN}", "XXXXN302}")},
        Case{"MT_B2_FORMAT", with(kMt103, "{2:I103BBBBFRPPXXXXN}", with(kOutput, "1031200", "1032500"))},
        Case{"MT_B2_FORMAT",
             with(kMt103, "{2:I103BBBBFRPPXXXXN}", with(kOutput, "261120BBBB", "261320BBBB"))},
        Case{"MT_B2_FORMAT",
             with(kMt103, "{2:I103BBBBFRPPXXXXN}", with(kOutput, "0002000003", "000200000X"))},
        Case{"MT_DUP_BLOCK", kMt103 + "{5:{TNG:}}"}, Case{"MT_DUP_BLOCK", with(kMt103, "{4:", kUser + "{4:")},
        Case{"MT_BLOCK_ORDER", with(with(kMt103, kUser, ""), "{2:", kUser + "{2:")},
        Case{"MT_B3_FORMAT", with(kMt103, "{108:MUR1}", "{108:ABCDEFGHIJKLMNOPQ}")},
        Case{"MT_B3_FORMAT", with(kMt103, "{108:MUR1}", "MUR1")},
        Case{"MT_B3_FORMAT", with(kMt103, "MUR1", "MU\x01R")},
        Case{"MT_UETR", with(kMt103, "3f1c7b0e", "3F1C7B0E")},
        Case{"MT_UETR", with(kMt103, "-4c1d-", "-1c1d-")}, Case{"MT_UETR", with(kMt103, "-8a7e-", "-7a7e-")},
        Case{"MT_UETR", with(kMt103, "7a81}", "7a8}")},
        Case{"MT_UETR", with(kMt103, "{108:MUR1}", "{121:3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a82}")}));

INSTANTIATE_TEST_SUITE_P(
    EachOfTheText, MtRule,
    testing::Values(
        Case{"MT_B4_MISSING", kMt103.substr(0, kMt103.find("{4:"))},
        Case{"MT_B4_START", with(kMt103, "{4:\r\n", "{4:")},
        Case{"MT_B4_START", with(kMt103, "{4:\r\n", "{4:\r\r\n")},
        Case{"MT_B4_TERM", with(kMt103, "\r\n-}", "-}")}, Case{"MT_B4_TERM", with(kMt103, "-}", "}")},
        Case{"MT_B4_TAG", with(kMt103, ":70:", ":7X:")}, Case{"MT_B4_TAG", with(kMt103, ":20:PAY1", "PAY1")},
        Case{"MT_B4_DASH", with(kMt103, "BERT", "-BERT")},
        Case{"MT_CHARSET", with(kMt103, "INVOICE", "INV\tICE")},
        Case{"MT_CHARSET", with(kMt103, "INVOICE", "INV}ICE")},
        Case{"MT_CHARSET", with(kMt103, "INVOICE", "INV\xc9ICE")},
        Case{"MT_CHARSET", with(kMt103, "INVOICE", "INV\rICE")},
        Case{"MT_CHARSET", with(kMt103, "INVOICE", std::string_view("INV\0ICE", 7))},
        Case{"MT_CHARSET", with(kMt103, "INVOICE 17", "PAY $ 17")},
        Case{"MT_NO_REF", with(kMt103, ":20:PAY1\r\n", "")},
        Case{"MT_NO_REF", with(kMt103, ":20:PAY1", ":20:  ")},
        Case{"MT_REF_FORMAT", with(kMt103, "PAY1", "ABCDEFGHIJKLMNOPQ")},
        Case{"MT_REF_FORMAT", with(kMt103, "PAY1", "PAY_1")},
        Case{"MT_REF_FORMAT", with(kMt103, "PAY1", "/PAY")},
        Case{"MT_REF_FORMAT", with(kMt103, "PAY1", "PAY/")},
        Case{"MT_REF_FORMAT", with(kMt103, "PAY1", "P//Y")},
        Case{"MT_REF_FORMAT", with(kMt103, "PAY1", "PAY1\r\nMORE")},
        Case{"MT_MISSING_TAG", with(kMt103, ":59:/DE02100100100006820101\r\n", "")},
        Case{"MT_MISSING_TAG", with(kMt103, ":23B:CRED\r\n", "")},
        Case{"MT_MISSING_TAG", mt("202", ":20:A\r\n:32A:261120EUR1,\r\n:58A:BBBBFRPP\r\n")},
        Case{"MT_MISSING_TAG",
             mt("202", ":20:A\r\n:21:B\r\n:32A:261120EUR1,\r\n:58A:BBBBFRPP\r\n", "{3:{119:COV}}")},
        Case{"MT_MISSING_TAG", mt("292", ":20:A\r\n:21:B\r\n")},
        Case{"MT_MISSING_TAG", mt("940", ":20:A\r\n:25:B\r\n:28C:1\r\n")},
        Case{"MT_AMOUNT", with(kMt103, "100,50", "100.50")}, Case{"MT_AMOUNT", with(kMt103, "100,50", "100")},
        Case{"MT_AMOUNT", with(kMt103, "100,50", ",50")},
        Case{"MT_AMOUNT", with(kMt103, "100,50", "1,000,50")},
        Case{"MT_AMOUNT", with(kMt103, "100,50", "1234567890123,45")},
        Case{"MT_AMOUNT", with(kMt103, "261120EUR", "261320EUR")},
        Case{"MT_AMOUNT", with(kMt103, "EUR", "eUR")}, Case{"MT_CODE", with(kMt103, ":CRED", ":CREX")},
        Case{"MT_CODE", with(kMt103, ":SHA", ":ALL")},
        Case{"MT_TRAILER", with(kMt103, "{CHK:0123456789AB}", "CHK")},
        Case{"MT_ACK_FORMAT", with(kAck, "{451:0}", "")}, Case{"MT_ACK_FORMAT", with(kAck, "451:0", "451:2")},
        Case{"MT_ACK_FORMAT", with(kAck, "2611201200", "26112012")},
        Case{"MT_ACK_FORMAT", kAck.substr(0, kAck.find("{4:"))}));

TEST(MtRules, SubtleFormsAreAccepted) {
  EXPECT_EQ(code(with(kMt103, "100,50", "100,")), "OK") << "no digit is needed behind the comma";
  EXPECT_EQ(code(with(kMt103, "XXXXN}", "XXXXU3003}")), "OK");
  EXPECT_EQ(code(with(kMt103, "{108:MUR1}", "{108: }")), "OK") << "a blank MUR is allowed";
  EXPECT_EQ(code(with(kMt103, "INVOICE 17", "A {B = C")), "OK") << "the text may hold an opening brace";
  EXPECT_EQ(code(kMt103 + "\r\n   \r\n"), "OK");
  EXPECT_EQ(code(kMt103 + "{S:{SAC:}{COP:P}}"), "OK");
  EXPECT_EQ(code(with(kMt103, "}{2:", "}\r\n{2:")), "OK") << "line breaks between blocks";
  EXPECT_EQ(code("\xef\xbb\xbf" + kMt103), "OK");
  EXPECT_EQ(code(with(kMt103, "PAY1", "PAY 1+")), "OK");
  EXPECT_EQ(code(with(kMt103, kUser, "")), "OK") << "a message without UETR is older, not wrong";
}

TEST(MtRules, ErrorNamesOffsetAndQuotesAtMost32PrintableCharacters) {
  const std::string text = with(kMt103, ":SHA", ":" + std::string(50, 'S') + "SECRET");
  const Message message = only(text);
  EXPECT_EQ(message.why.substr(0, message.why.find(':')), "byte " + std::to_string(text.find(":71A:")));
  EXPECT_NE(message.why.find("'" + std::string(32, 'S') + "'..."), std::string::npos) << message.why;
  EXPECT_EQ(message.why.find("SECRET"), std::string::npos);
}

TEST(MtRules, LengthLimitCountsLineEndsAsTwoAndIsConfigurable) {
  std::string lf;
  for (const char c : kMt103) {
    if (c != '\r') lf += c;
  }
  Limits limits;
  limits.mt_characters_max = kMt103.size();
  EXPECT_EQ(only(lf, limits).code, "OK");
  limits.mt_characters_max = kMt103.size() - 1;
  EXPECT_EQ(only(lf, limits).code, "MT_TOO_LONG");
  limits = {};
  limits.mt_fields_max = 3;
  EXPECT_EQ(only(kMt103, limits).code, "MT_TOO_LONG");
}

TEST(MtAcknowledgement, AloneItIsADeliveryReport) {
  const Message message = only(kAck);
  EXPECT_TRUE(message.valid) << message.why;
  EXPECT_EQ(message.kind, Kind::mt_ack);
  EXPECT_EQ(message.type, "F21-ACK");
  EXPECT_EQ(message.sender, "AAAADEFFXXX");
  EXPECT_EQ(message.receiver, "SWIFT");
  EXPECT_EQ(message.idempotency_key, "MT:F21-ACK:AAAADEFFXXX:0001000042:2611201200");
  EXPECT_EQ(only(with(kAck, "{451:0}", "{451:1}{405:T13001}{108:MUR1}")).type, "F21-NAK");
  EXPECT_EQ(only(with(kAck, "{451:0}", "{451:0}{108:MUR1}")).reference, "MUR1");
}

TEST(MtAcknowledgement, WithOurOwnMessageBehindItIsNoPayment) {
  const Message message = only(kAck + kMt103);
  EXPECT_TRUE(message.valid) << message.why;
  EXPECT_EQ(message.kind, Kind::mt_ack) << "taking the echoed text as new input would pay twice";
  EXPECT_EQ(message.reference, "PAY1");
  EXPECT_EQ(message.receiver, "BBBBFRPPXXX");
  EXPECT_EQ(message.ordering_key, "U:3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81");
  EXPECT_TRUE(only(kAck + with(kMt103, ":23B:CRED\r\n", "")).valid)
      << "the echoed original's defects do not matter";
}

TEST(MtAcknowledgement, InFrontOfAReceivedMessageItIsAFlagAndTheMessageCounts) {
  const std::string received = with(kMt103, "{2:I103BBBBFRPPXXXXN}", kOutput);
  const Message message = only(kAck + received);
  EXPECT_TRUE(message.valid) << message.why;
  EXPECT_EQ(message.kind, Kind::mt);
  EXPECT_EQ(message.flags.text(), "UAK");
  EXPECT_EQ(message.idempotency_key, only(received).idempotency_key);
  EXPECT_EQ(message.content_digest, only(received).content_digest);
  EXPECT_EQ(code(kAck + with(received, ":23B:CRED\r\n", "")), "MT_MISSING_TAG");
}

}  // namespace
}  // namespace mainstay::payments
