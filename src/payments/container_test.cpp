#include <gtest/gtest.h>

#include "payments/message.h"
#include "payments/sample_messages.h"

namespace mainstay::payments {
namespace {

using samples::kMt103;
using samples::kPacs008;
using samples::with;

std::string numbered(int n) {
  return with(kMt103, "PAY1", "PAY" + std::to_string(n));
}
const std::string kBroken = with(kMt103, "\r\n-}", "-}{");

/// What is where: "container: reference or code, …".
std::string summary(const std::string& file, const Limits& limits = {}) {
  const std::vector<Message> messages = read_messages(as_bytes(file), limits);
  std::string out(text(messages[0].container));
  out += ":";
  for (const Message& message : messages) {
    out += " " + (message.valid ? message.reference : message.code);
    EXPECT_EQ(as_text(message.raw), file.substr(message.offset, message.raw.size()))
        << "raw bytes are the file's";
  }
  return out;
}

TEST(Container, NothingAndNonsenseGiveOneInvalidItem) {
  EXPECT_EQ(summary(""), "empty: FMT_EMPTY");
  EXPECT_EQ(summary(" \r\n\t"), "empty: FMT_EMPTY");
  EXPECT_EQ(summary("\xef\xbb\xbf"), "empty: FMT_EMPTY");
  EXPECT_EQ(summary("Hello"), "unknown: FMT_UNKNOWN");
  EXPECT_EQ(summary("{\"json\": 1}"), "unknown: FMT_UNKNOWN");
  EXPECT_EQ(summary(":20:STARTUMS\r\n:25:1\r\n-"), "unknown: FMT_UNKNOWN")
      << "a statement without FIN headers";
  EXPECT_EQ(summary("\x01 \x03"), "pcc: FMT_EMPTY");
}

TEST(Container, SingleMessagesOfBothWorlds) {
  EXPECT_EQ(summary("  " + kMt103 + "\r\n"), "single: PAY1");
  EXPECT_EQ(summary(kPacs008), "xml: MSG1");
  const std::vector<Message> padded = read_messages(as_bytes("\r\n" + kMt103 + "\r\n"));
  EXPECT_EQ(padded[0].offset, 2U);
  EXPECT_EQ(padded[0].raw.size(), kMt103.size());
}

TEST(Container, MessagesInARowStartAtTheBasicHeader) {
  EXPECT_EQ(summary(numbered(1) + numbered(2) + "\r\n" + numbered(3)), "concat: PAY1 PAY2 PAY3");
}

TEST(Container, DefectiveMessageInARowDoesNotTakeItsNeighboursAlong) {
  EXPECT_EQ(summary(numbered(1) + kBroken + "\n" + numbered(3)), "concat: PAY1 MT_B4_TERM PAY3");
  EXPECT_EQ(summary(numbered(1).substr(0, 60) + numbered(2)), "concat: MT_UNBALANCED PAY2")
      << "cut in block 2 or 3";
  EXPECT_EQ(summary("{2:I103" + numbered(2)), "concat: MT_UNBALANCED PAY2");
  EXPECT_EQ(summary(with(numbered(1), "{4:\r\n", "{4:^~") + numbered(2)), "concat: MT_B4_START PAY2");
  EXPECT_EQ(summary(numbered(1) + " junk " + numbered(2)), "concat: MT_STRAY_TEXT PAY2");
  EXPECT_EQ(summary(numbered(1) + "{S:{A:{B:{C:{D:}}}}}" + numbered(2)), "concat: MT_UNBALANCED PAY2");
}

TEST(Container, TextThatLooksLikeAHeaderDoesNotStartAMessage) {
  const std::string inside = with(kMt103, "INVOICE 17", "SEE {1:F01AAAADEFFAXXX0001000042} OF TODAY");
  EXPECT_EQ(summary(inside), "single: MT_CHARSET") << "no new message out of a customer's text";
}

TEST(Container, RjeIsSplitAtDollarsBetweenMessagesOnly) {
  EXPECT_EQ(summary(numbered(1) + "$" + numbered(2)), "rje: PAY1 PAY2");
  EXPECT_EQ(summary(numbered(1) + "\r\n$\r\n" + numbered(2) + "$$" + numbered(3) + "$\r\n"),
            "rje: PAY1 PAY2 PAY3");
  EXPECT_EQ(summary(numbered(1) + "$"), "rje: PAY1");
  EXPECT_EQ(summary(numbered(1) + "$" + kBroken + "$" + numbered(3)), "rje: PAY1 MT_B4_TERM PAY3");
  EXPECT_EQ(summary(numbered(1) + "$" + with(kMt103, "INVOICE 17", "PAY $ 17") + "$" + numbered(3)),
            "rje: PAY1 MT_CHARSET PAY3");
  EXPECT_EQ(summary(numbered(1).substr(0, 150) + "\r\n$" + numbered(2)), "rje: MT_B4_TERM PAY2")
      << "cut before its end" << summary(numbered(1).substr(0, 150) + "\r\n$" + numbered(2));
}

TEST(Container, DollarInXmlIsText) {
  EXPECT_EQ(summary(with(kPacs008, "Anna", "}$ Anna")), "xml: MSG1");
}

TEST(Container, PccIsBetweenItsMarksWithOrWithoutPadding) {
  std::string padded = "\x01" + numbered(1) + "\x03";
  padded.resize(512 * (padded.size() / 512 + 1), ' ');
  EXPECT_EQ(summary(padded + "\x01" + numbered(2) + "\x03"), "pcc: PAY1 PAY2");
  EXPECT_EQ(summary("\x01" + numbered(1) + "\x03\x01" + numbered(2)), "pcc: PAY1 PAY2")
      << "the last mark is missing";
  EXPECT_EQ(summary("\x01" + kBroken + "\x01" + numbered(2) + "\x03\x1a"), "pcc: MT_B4_TERM PAY2")
      << "resynchronises";
  EXPECT_EQ(summary("\x01" + numbered(1) + "\x03 lost \x01" + numbered(2) + "\x03"),
            "pcc: PAY1 MT_STRAY_TEXT PAY2")
      << "what stands between the frames is not dropped silently";
  const std::vector<Message> messages = read_messages(as_bytes(padded));
  EXPECT_EQ(as_text(messages[0].raw), numbered(1)) << "without marks and padding";
}

TEST(Container, AcknowledgementAndItsMessageAreOneItem) {
  const std::string ack = "{1:F21AAAADEFFAXXX0001000042}{4:{177:2611201200}{451:0}}";
  EXPECT_EQ(read_messages(as_bytes(ack + kMt103)).size(), 1U);
  EXPECT_EQ(read_messages(as_bytes(ack + kMt103 + ack + kMt103 + kMt103)).size(), 3U);
  EXPECT_EQ(read_messages(as_bytes(ack + ack)).size(), 2U);
}

TEST(Container, NumberOfItemsIsBounded) {
  Limits limits;
  limits.items_max = 2;
  EXPECT_EQ(summary(numbered(1) + numbered(2) + numbered(3) + numbered(4), limits),
            "concat: PAY1 PAY2 FMT_TOO_MANY");
}

}  // namespace
}  // namespace mainstay::payments
