#include "report.h"

#include <gtest/gtest.h>

namespace mainstay::bench {
namespace {

std::vector<Record> records() {
  Figure ratio{"journal.ratio_64", "journal over bare", "ratio", {{0.9, 0.8, 0.95}}, 0.85, {}, ""};
  Figure memory{"backlog.rss_10m_mib", "  memory <peak>", "MiB", {{512}}, {}, 256, "smaller | than asked"};
  Figure shown{"publish.rate", "publish", "messages/s", {{200'000}}, {}, {}, ""};
  return {{"journal", "./dev bench journal", "cpu x\n", {ratio}},
          {"backlog", "./dev bench backlog", "cpu x\n", {memory, shown}}};
}

TEST(BenchReport, PageTellsEachFigureItsTargetAndItsVerdict) {
  const std::string page = markdown(records());
  EXPECT_NE(page.find("| journal over bare | journal.ratio_64 | 0.9 | 0.8 … 0.95 | ≥ 0.85 | reached |"),
            std::string::npos)
      << page;
  EXPECT_NE(page.find("| memory <peak> (1) | backlog.rss_10m_mib | 512 MiB |  | ≤ 256 | MISSED |"),
            std::string::npos)
      << page;
  EXPECT_NE(page.find("| publish | publish.rate | 200,000 messages/s |  |  |  |"), std::string::npos) << page;
  EXPECT_EQ(page.find("cpu x"), page.rfind("cpu x")) << "an environment is told once";
}

TEST(BenchReport, PageTellsWhichRecordIsNotWholeAndWhy) {
  std::vector<Record> some = records();
  some[1].trouble = "the broker ended";
  const std::string page = markdown(some);
  EXPECT_NE(page.find("### backlog\n\n`./dev bench backlog`\n\nNot whole: the broker ended\n"),
            std::string::npos)
      << page;
  EXPECT_NE(page.find("backlog.rss_10m_mib"), std::string::npos) << "what was measured stays";
}

TEST(BenchReport, OnlyWhatIsBetweenTheMarkersIsReplaced) {
  const std::string page =
      std::string("before\n") + kGeneratedBegin + "\nold\n" + kGeneratedEnd + "\nafter\n";
  const auto once = with_generated(page, "new\n");
  ASSERT_TRUE(once);
  EXPECT_EQ(once->find("old"), std::string::npos);
  EXPECT_EQ(once->rfind("before\n", 0), 0U);
  EXPECT_NE(once->find("after\n"), std::string::npos);
  EXPECT_EQ(*with_generated(*once, "new\n"), *once);
  EXPECT_FALSE(with_generated("no markers", "new"));
  EXPECT_FALSE(with_generated(std::string(kGeneratedEnd) + kGeneratedBegin, "new"));
}

TEST(BenchReport, ChartHasABarForEachTargetInTheColourOfItsVerdict) {
  const std::string svg = chart_svg(records());
  const auto count = [&](const std::string& what) {
    int n = 0;
    for (std::size_t at = svg.find(what); at != std::string::npos; at = svg.find(what, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("fill=\"#2b7a4b\""), 1);
  EXPECT_EQ(count("fill=\"#b3402a\""), 1);
  EXPECT_EQ(count("memory &lt;peak&gt;"), 1);
  EXPECT_EQ(count("publish"), 0) << "without a target it is not in the chart";
}

}  // namespace
}  // namespace mainstay::bench
