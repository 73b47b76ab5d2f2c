#include <gtest/gtest.h>

#include <ostream>

#include "payments/message.h"
#include "payments/sample_messages.h"

namespace mainstay::payments {
namespace {

using samples::code;
using samples::kPacs008;
using samples::only;
using samples::with;

const std::string kDocument =
    kPacs008.substr(kPacs008.find("<Document"), kPacs008.find("</Envelope>") - kPacs008.find("<Document"));
const std::string kHeader =
    kPacs008.substr(kPacs008.find("<AppHdr"), kPacs008.find("<Document") - kPacs008.find("<AppHdr"));

TEST(MxIdentity, ComesFromTheBusinessHeader) {
  const Message message = only(kPacs008);
  EXPECT_TRUE(message.valid) << message.why;
  EXPECT_EQ(message.kind, Kind::mx);
  EXPECT_EQ(message.type, "pacs.008.001.08");
  EXPECT_EQ(message.reference, "MSG1");
  EXPECT_EQ(message.sender, "AAAADEFFXXX") << "a BIC8 gets its XXX";
  EXPECT_EQ(message.receiver, "BBBBFRPPXXX");
  EXPECT_EQ(message.idempotency_key, "MX:pacs.008:AAAADEFFXXX:BBBBFRPPXXX:MSG1") << "without the version";
  EXPECT_EQ(message.ordering_key, "U:3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81");
  EXPECT_EQ(message.variant, "STP");
  EXPECT_EQ(message.service, "swift.cbprplus.stp.02");
  EXPECT_EQ(message.currency, "EUR");
  EXPECT_EQ(message.amount, "100.50");
  EXPECT_EQ(message.value_date, "2026-11-20");
  EXPECT_EQ(message.transactions, "1");
}

TEST(MxIdentity, WithoutAHeaderItComesFromTheBody) {
  const std::string bare =
      with(kDocument, "<PmtId>",
           "<InstgAgt><FinInstnId><ClrSysMmbId><MmbId>021040078</MmbId></ClrSysMmbId></FinInstnId></InstgAgt>"
           "<InstdAgt><FinInstnId><Nm>Bank B</Nm><Othr><Id>B7</Id></Othr></FinInstnId></InstdAgt><PmtId>");
  EXPECT_EQ(only(bare).idempotency_key, "MX:pacs.008:021040078:B7:MSG1");
  EXPECT_EQ(only(kDocument).idempotency_key, "MX:pacs.008:-:-:MSG1");
  EXPECT_EQ(only(with(kDocument, "<UETR>3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81</UETR>", "")).ordering_key,
            "P:-:-");
}

TEST(MxIdentity, FalseIdentifiersInCommentsCdataAndNestedMessagesDoNotCount) {
  const std::string nested = with(kPacs008, "</CdtTrfTxInf>",
                                  "<SplmtryData><Envlp><Document><BizMsgIdr></BizMsgIdr><UETR>x</UETR></"
                                  "Document></Envlp></SplmtryData></CdtTrfTxInf>");
  EXPECT_EQ(only(nested).idempotency_key, only(kPacs008).idempotency_key) << only(nested).why;
  EXPECT_EQ(only(with(kPacs008, "<BizMsgIdr>", "<!-- <BizMsgIdr>FALSE</BizMsgIdr> --><BizMsgIdr>")).reference,
            "MSG1");
  EXPECT_EQ(only(with(kPacs008, "Anna Schmidt", "<![CDATA[<BizMsgIdr>FALSE</BizMsgIdr>]]>")).reference,
            "MSG1");
  EXPECT_EQ(only(with(kPacs008, ">MSG1<", "><![CDATA[MS]]>&#71;1<")).reference, "MSG1");
}

TEST(MxIdentity, StatementsAreOrderedByTheirOnlyAccount) {
  const auto statement = [](const std::string& accounts) {
    std::string text =
        "<Document "
        "xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.08\"><BkToCstmrStmt><GrpHdr><MsgId>S</MsgId></"
        "GrpHdr>";
    return text + accounts + "</BkToCstmrStmt></Document>";
  };
  const std::string one = "<Stmt><Acct><Id><IBAN>DE02100100100006820101</IBAN></Id></Acct></Stmt>";
  const std::string other = "<Stmt><Acct><Id><Othr><Id>4711</Id></Othr></Id></Acct></Stmt>";
  EXPECT_EQ(only(statement(one + one)).ordering_key, "A:DE02100100100006820101");
  EXPECT_EQ(only(statement(other)).ordering_key, "A:4711");
  EXPECT_EQ(only(statement(one + other)).ordering_key, "P:-:-");
}

TEST(MxIdentity, SeveralPaymentsHaveNoCommonUetr) {
  const std::size_t from = kDocument.find("<CdtTrfTxInf>");
  const std::size_t to = kDocument.find("</FIToFICstmrCdtTrf>");
  const std::string second = with(kDocument.substr(from, to - from), "7a81", "7a82");
  const std::string two = with(with(kPacs008, "</FIToFICstmrCdtTrf>", second + "</FIToFICstmrCdtTrf>"),
                               "<NbOfTxs>1", "<NbOfTxs>2");
  const Message message = only(two);
  EXPECT_TRUE(message.valid) << message.why;
  EXPECT_TRUE(message.flags.has(Flag::multi_uetr));
  EXPECT_EQ(message.ordering_key, "P:AAAADEFFXXX:BBBBFRPPXXX");
  EXPECT_EQ(message.uetr, "");
}

TEST(MxFlags, CopiesHaveTheirOwnKeyAndDuplicatesDoNot) {
  const auto flagged = [](const std::string& elements) {
    return only(with(kPacs008, "</CreDt>", "</CreDt>" + elements));
  };
  EXPECT_EQ(flagged("<CpyDplct>COPY</CpyDplct>").idempotency_key,
            "MX:pacs.008:AAAADEFFXXX:BBBBFRPPXXX:MSG1:COPY");
  const Message codu = flagged("<CpyDplct>CODU</CpyDplct><PssblDplct>true</PssblDplct>");
  EXPECT_EQ(codu.flags.text(), "PDUP,CODU");
  EXPECT_TRUE(codu.idempotency_key.ends_with(":COPY"));
  const Message dupl = flagged("<CpyDplct>DUPL</CpyDplct>");
  EXPECT_EQ(dupl.flags.text(), "DUPL");
  EXPECT_EQ(dupl.idempotency_key, only(kPacs008).idempotency_key);
  EXPECT_TRUE(flagged("<PssblDplct>0</PssblDplct>").flags.empty());
}

TEST(MxContent, DigestKnowsTheDocumentNotItsSpelling) {
  const std::string digest = only(kPacs008).content_digest;
  EXPECT_EQ(only(kDocument).content_digest, digest) << "header and wrapper";
  EXPECT_EQ(only(with(kPacs008, "2026-11-20T12:00:00+01:00", "2026-11-21T08:00:00Z")).content_digest, digest)
      << "CreDt";
  std::string tight;
  for (const char c : kDocument) {
    if (c != '\n') tight += c;
  }
  EXPECT_EQ(only(tight).content_digest, digest) << "white space between elements";
  EXPECT_EQ(only(with(kDocument, "Anna Schmidt", "<![CDATA[Anna]]> <!-- c -->Schmidt<?p i?>")).content_digest,
            digest);
  EXPECT_EQ(only(with(kDocument, "<Document ",
                      "<Document xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
                      "xsi:schemaLocation=\"a b\" "))
                .content_digest,
            digest);
  std::string prefixed;
  for (std::size_t i = 0; i < kDocument.size(); ++i) {
    prefixed += kDocument[i];
    if (kDocument[i] == '<') {
      if (kDocument[i + 1] == '/') prefixed += kDocument[++i];
      prefixed += "p:";
    }
  }
  EXPECT_EQ(only(with(prefixed, "xmlns=", "xmlns:p=")).content_digest, digest) << "prefixes";
  EXPECT_NE(only(with(kDocument, "100.50", "100.5")).content_digest, digest)
      << "the same value in another text is not compared";
  EXPECT_NE(only(with(kDocument, "\"EUR\"", "\"CHF\"")).content_digest, digest);
  EXPECT_NE(only(with(kDocument, "<Nm>Anna Schmidt</Nm>", "<Nm>Anna </Nm><Nm>Schmidt</Nm>")).content_digest,
            digest);
}

struct Case {
  const char* code;
  std::string text;
};

void PrintTo(const Case& refused, std::ostream* os) {
  *os << refused.code;
}

class MxRule : public testing::TestWithParam<Case> {};

TEST_P(MxRule, IsRefusedWithItsCode) {
  const Message message = only(GetParam().text);
  EXPECT_FALSE(message.valid);
  EXPECT_EQ(message.code, GetParam().code) << message.why;
  EXPECT_TRUE(message.idempotency_key.empty());
}

std::string nested(int depth) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += "<a>";
  for (int i = 0; i < depth; ++i) text += "</a>";
  return text;
}

INSTANTIATE_TEST_SUITE_P(
    Each, MxRule,
    testing::Values(
        Case{"MX_ENCODING", with(kPacs008, "UTF-8", "ISO-8859-1")},
        Case{"MX_ENCODING", std::string("\xff\xfe<\0a\0", 6)},
        Case{"MX_DTD", with(kPacs008, "<Envelope>", "<!DOCTYPE Envelope [<!ENTITY a \"b\">]><Envelope>")},
        Case{"MX_DTD",
             with(kPacs008, "<Envelope>", "<!DOCTYPE Envelope SYSTEM \"http://127.0.0.1/x\"><Envelope>")},
        Case{"MX_DEPTH", nested(65)}, Case{"MX_NO_DOCUMENT", nested(64)},
        Case{"MX_NOT_WELLFORMED", with(kPacs008, "</Cdtr>", "</Cdt>")},
        Case{"MX_NOT_WELLFORMED", kPacs008.substr(0, kPacs008.size() / 2)},
        Case{"MX_NOT_WELLFORMED", with(kPacs008, "Anna", "An\xffna")},
        Case{"MX_NOT_WELLFORMED", with(kPacs008, "Anna", std::string_view("An\0na", 5))},
        Case{"MX_NOT_WELLFORMED", with(kPacs008, "Ccy=\"EUR\"", "Ccy=\"EUR\" Ccy=\"EUR\"")},
        Case{"MX_NOT_WELLFORMED", with(kPacs008, "<Nm>", "<x:Nm>")},
        Case{"MX_NOT_WELLFORMED", kHeader + kDocument},
        Case{"MX_NOT_WELLFORMED", with(kPacs008, "Anna", "&unknown;")},
        Case{"MX_NO_DOCUMENT", "<Envelope>" + kHeader + "</Envelope>"},
        Case{"MX_MULTI_DOCUMENT", with(kPacs008, "</Envelope>", kDocument + "</Envelope>")},
        Case{"MX_MULTI_BAH", with(kPacs008, "<Document", kHeader + "<Document")},
        Case{"MX_NAMESPACE", with(kPacs008, " xmlns=\"urn:iso:std:iso:20022:tech:xsd:pacs.008.001.08\"", "")},
        Case{"MX_NAMESPACE", with(kPacs008, "xsd:pacs.008.001.08\"", "xsd:pacs.008\"")},
        Case{"MX_BAH_NAMESPACE", with(kPacs008, "head.001.001.02", "head.001.001.05")},
        Case{"MX_BAH_NAMESPACE", with(kPacs008, "head.001.001.02", "head.002.001.02")},
        Case{"MX_BAH_MISSING", with(kPacs008, "<BICFI>AAAADEFF</BICFI>", "")},
        Case{"MX_BAH_MISSING", with(kPacs008, "<BizMsgIdr>MSG1</BizMsgIdr>", "")},
        Case{"MX_BAH_MISSING", with(kPacs008, "<MsgDefIdr>pacs.008.001.08</MsgDefIdr>", "")},
        Case{"MX_BAH_MISSING", with(kPacs008, "<CreDt>2026-11-20T12:00:00+01:00</CreDt>", "")},
        Case{"MX_MSGDEF_MISMATCH",
             with(kPacs008, "<MsgDefIdr>pacs.008.001.08", "<MsgDefIdr>pacs.008.001.09")},
        Case{"MX_NO_MSGID", with(kPacs008, "<MsgId>MSG1</MsgId>", "")},
        Case{"MX_ID_LEN", with(kPacs008, "<BizMsgIdr>MSG1", "<BizMsgIdr>")},
        Case{"MX_ID_LEN",
             with(kPacs008, "<BizMsgIdr>MSG1", "<BizMsgIdr>123456789012345678901234567890123456")},
        Case{"MX_ID_LEN", with(kPacs008, "<InstrId>I1", "<InstrId> ")},
        Case{"MX_ID_LEN", with(kDocument, ">MSG1<", "><")}));

INSTANTIATE_TEST_SUITE_P(
    EachOfTheValues, MxRule,
    testing::Values(Case{"MX_UETR", with(kPacs008, "3f1c7b0e", "3F1C7B0E")},
                    Case{"MX_UETR", with(kPacs008, "-4c1d-", "-5c1d-")},
                    Case{"MX_BIC", with(kPacs008, "BBBBFRPPXXX", "BBBBFRPPX")},
                    Case{"MX_BIC", with(kDocument, "AAAADEFF", "aaaadeff")},
                    Case{"MX_BIC", with(kDocument, "AAAADEFF", "")},
                    Case{"MX_CCY", with(kPacs008, "\"EUR\"", "\"eur\"")},
                    Case{"MX_CCY", with(kPacs008, "\"EUR\"", "\"\"")},
                    Case{"MX_AMOUNT", with(kPacs008, "100.50", "100,50")},
                    Case{"MX_AMOUNT", with(kPacs008, "100.50", "1.123456")},
                    Case{"MX_AMOUNT", with(kPacs008, "100.50", "-1")},
                    Case{"MX_AMOUNT", with(kPacs008, "100.50", "1e3")},
                    Case{"MX_AMOUNT", with(kPacs008, "100.50", "1234567890123456789")},
                    Case{"MX_AMOUNT", with(kPacs008, "100.50", ".")},
                    Case{"MX_DATETIME", with(kPacs008, "12:00:00+01:00", "12:00:00")},
                    Case{"MX_DATETIME", with(kPacs008, "2026-11-20T12:00:00<", "2026-11-20<")},
                    Case{"MX_DATETIME", with(kPacs008, "2026-11-20T12:00:00<", "2026-13-20T12:00:00<")},
                    Case{"MX_NBOFTXS", with(kPacs008, "<NbOfTxs>1", "<NbOfTxs>2")},
                    Case{"MX_MISSING", with(kPacs008, "<EndToEndId>E1</EndToEndId>", "")},
                    Case{"MX_MISSING", with(kPacs008, "<Cdtr><Nm>Bert Meyer</Nm></Cdtr>", "")},
                    Case{"MX_CODE", with(kPacs008, "</CreDt>", "</CreDt><CpyDplct>DUPE</CpyDplct>")},
                    Case{"MX_CODE", with(kPacs008, "</CreDt>", "</CreDt><PssblDplct>yes</PssblDplct>")}));

TEST(MxRules, SubtleFormsAreAccepted) {
  EXPECT_EQ(code(with(kPacs008, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "\xef\xbb\xbf  ")), "OK")
      << "BOM, no declaration";
  EXPECT_EQ(code(with(kPacs008, "UTF-8", "us-ascii")), "OK");
  EXPECT_EQ(code(with(kPacs008, "<MsgDefIdr>pacs.008.001.08", "<MsgDefIdr>pacs.008.001.08STP")), "OK");
  EXPECT_EQ(code(with(kPacs008, "<NbOfTxs>1", "<NbOfTxs>001")), "OK");
  EXPECT_EQ(code(with(kPacs008, "MSG1</BizMsgIdr>", "OTHER</BizMsgIdr>")), "OK")
      << "they differ in some markets";
  EXPECT_EQ(code(with(kPacs008, "100.50", "1234567890123.45678")), "OK");
  EXPECT_EQ(code(with(kPacs008, "2026-11-20T12:00:00<", "2026-11-20T12:00:00.123456Z<")), "OK");
  EXPECT_EQ(code(with(kPacs008, "Anna Schmidt", "\xd0\x90\xd0\xbd\xd0\xbd\xd0\xb0")), "OK");
}

TEST(MxLimits, EveryBoundHolds) {
  Limits limits;
  limits.mx_bytes_max = kPacs008.size() - 1;
  EXPECT_EQ(only(kPacs008, limits).code, "MX_TOO_LONG");
  limits = {};
  limits.elements_max = 10;
  EXPECT_EQ(only(kPacs008, limits).code, "MX_TOO_LONG");
  limits = {};
  limits.attributes_max = 0;
  EXPECT_EQ(only(kPacs008, limits).code, "MX_TOO_LONG");
  limits = {};
  limits.text_bytes_max = 20;
  EXPECT_EQ(only(kPacs008, limits).code, "MX_TOO_LONG");
  limits = {};
  limits.depth_max = 3;
  EXPECT_EQ(only(kPacs008, limits).code, "MX_DEPTH");
  EXPECT_EQ(code("<" + std::string(300, 'a') + "/>"), "MX_TOO_LONG");
  EXPECT_EQ(code("<a xmlns=\"" + std::string(300, 'a') + "\"/>"), "MX_TOO_LONG");
}

}  // namespace
}  // namespace mainstay::payments
