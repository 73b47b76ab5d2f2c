#include "payments/inspect.h"

#include <gtest/gtest.h>

#include "payments/sample_messages.h"

namespace mainstay::payments {
namespace {

using samples::kMt103;
using samples::only;
using samples::with;

TEST(Inspect, TsvRowHasTheColumnsOfItsHeader) {
  std::string out;
  write_tsv_header(out);
  write_tsv(out, "in/a.fin", only(kMt103), {Relation::To::duplicate, "in/b.fin#2"});
  EXPECT_EQ(
      out,
      "file\tkind\ttype\tref\tuetr\tverdict\twhy\tn\tcontainer\tlevel\tcode\tsender\treceiver\tidkey\tordkey"
      "\tflags\t"
      "relation\n"
      "in/"
      "a.fin\tmt\t103\tPAY1\t3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81\tvalid\t-\t1\tsingle\t-\tOK\tAAAADEFFXXX\t"
      "BBBBFRPPXXX\tMT:103:AAAADEFFXXX:BBBBFRPPXXX:PAY1\tU:3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81\t-\tdup:in/"
      "b.fin#2\n");
}

TEST(Inspect, InvalidRowSaysWhy) {
  std::string out;
  write_tsv(out, "a", only(with(kMt103, ":SHA", ":ALL")), {});
  EXPECT_NE(out.find("\tinvalid\tbyte "), std::string::npos) << out;
  EXPECT_NE(out.find("must be BEN, OUR or SHA, found 'ALL'\t1\tsingle\t-\tMT_CODE\t"), std::string::npos)
      << out;
}

TEST(Inspect, ControlCharactersCannotBreakARow) {
  Message message = only(kMt103);
  message.reference = "A\tB\nC\\D\x7f";
  std::string out;
  write_tsv(out, "a", message, {});
  EXPECT_NE(out.find("\tA\\tB\\nC\\\\D\\x7f\t"), std::string::npos) << out;
}

TEST(Inspect, JsonLineIsAsciiWithRoutingFacts) {
  Message message = only(kMt103);
  message.reference = "\"\\\n\xd0\x90\xf0\x9f\x92\xb6\xff\xed\xa0\x80";
  std::string out;
  write_json(out, "a.fin", message, {});
  EXPECT_NE(out.find(R"("ref":"\"\\\u000a\u0410\ud83d\udcb6\ufffd\ufffd\ufffd\ufffd")"), std::string::npos)
      << out;
  EXPECT_TRUE(out.starts_with(
      R"({"file":"a.fin","n":1,"kind":"mt","container":"single","verdict":"valid","code":"OK",)"))
      << out;
  EXPECT_NE(
      out.find(
          R"("direction":"input","test":false,"currency":"EUR","amount":"100,50","value_date":"2026-11-20")"),
      std::string::npos)
      << out;
  EXPECT_TRUE(out.ends_with("}\n"));
}

}  // namespace
}  // namespace mainstay::payments
