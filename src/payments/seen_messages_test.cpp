#include "payments/seen_messages.h"

#include <gtest/gtest.h>

#include "payments/sample_messages.h"

namespace mainstay::payments {
namespace {

using samples::kMt103;
using samples::kPacs008;
using samples::only;
using samples::with;

const std::string kNoUetr = with(kMt103, "{121:3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81}", "");
const std::string kOtherPayment = with(kMt103, "7a81}", "7a82}");

TEST(SeenMessages, ResendIsADuplicateWithOrWithoutAFlag) {
  SeenMessages seen;
  EXPECT_EQ(seen.add("a", only(kMt103)).text(), "");
  EXPECT_EQ(seen.add("b", only(with(kMt103, "0001000042", "0002000001"))).text(), "dup:a#1");
  EXPECT_EQ(seen.add("c", only(with(kMt103, "AB}}", "AB}{PDE:}}"))).text(), "dup:a#1");
}

TEST(SeenMessages, FlaggedMessageWhoseOriginalNeverCameIsNew) {
  SeenMessages seen;
  EXPECT_EQ(seen.add("a", only(with(kMt103, "AB}}", "AB}{PDM:}}"))).to, Relation::To::none);
}

TEST(SeenMessages, OtherContentUnderTheSameKeyIsAConflictWithTheFirst) {
  SeenMessages seen;
  seen.add("a", only(kMt103));
  const std::string changed = with(kMt103, "100,50", "900,50");
  EXPECT_EQ(seen.add("b", only(changed)).text(), "conflict:a#1");
  EXPECT_EQ(seen.add("c", only(changed)).text(), "dup:b#1") << "a second copy of the conflicting one";
  EXPECT_EQ(seen.add("d", only(with(kMt103, "100,50", "1,"))).text(), "conflict:a#1");
}

TEST(SeenMessages, TwoUetrsAreAConflictOneMissingIsNot) {
  SeenMessages seen;
  seen.add("a", only(kMt103));
  EXPECT_EQ(seen.add("b", only(kNoUetr)).text(), "dup:a#1");
  EXPECT_EQ(seen.add("c", only(kOtherPayment)).text(), "conflict:a#1");
}

TEST(SeenMessages, TwinWithoutUetrDoesNotHideThatTwoPaymentsDiffer) {
  SeenMessages seen;
  seen.add("a", only(kNoUetr));
  EXPECT_EQ(seen.add("b", only(kMt103)).text(), "dup:a#1");
  EXPECT_EQ(seen.add("c", only(kOtherPayment)).text(), "conflict:b#1");
  EXPECT_EQ(seen.add("d", only(kMt103)).text(), "dup:a#1");
}

TEST(SeenMessages, MxComparesContentAndKeepsCopiesApart) {
  SeenMessages seen;
  seen.add("a", only(kPacs008));
  EXPECT_EQ(seen.add("b", only(with(kPacs008, "12:00:00+01:00", "13:00:00+01:00"))).text(), "dup:a#1");
  EXPECT_EQ(seen.add("c", only(with(kPacs008, "100.50", "101.50"))).text(), "conflict:a#1");
  EXPECT_EQ(seen.add("d", only(with(kPacs008, "</CreDt>", "</CreDt><CpyDplct>COPY</CpyDplct>"))).to,
            Relation::To::none);
}

TEST(SeenMessages, InvalidMessagesRelateToNothingAndAreForgotten) {
  SeenMessages seen;
  const std::string invalid = with(kMt103, ":SHA", ":ALL");
  EXPECT_EQ(seen.add("a", only(invalid)).to, Relation::To::none);
  EXPECT_EQ(seen.add("b", only(invalid)).to, Relation::To::none);
  EXPECT_EQ(seen.add("c", only(kMt103)).to, Relation::To::none);
}

}  // namespace
}  // namespace mainstay::payments
