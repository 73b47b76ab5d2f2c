// P1, P14, N1: the report tells what happened, whatever happened.
#include "drills/report.h"

#include <expat.h>
#include <gmock/gmock.h>

#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>

#include "drills/figures.h"
#include "drills/tsv.h"

namespace mainstay::drills {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

DrillReport clean_report() {
  DrillReport report;
  report.drill = "region outage";
  report.summary =
      "20,000 payments through two regions on this machine. In mid-flow every process of region east was "
      "killed and its disk "
      "taken away; region west was promoted, what was missing came from the archive, and the flow went on.";
  report.audit.in = 20000;
  report.audit.unique = 19783;
  report.audit.delivered = 19783;
  report.audit.duplicates = 119;
  report.audit.conflicts = report.audit.conflicts_parked = 38;
  report.audit.malformed = 60;
  report.audit.quarantined = 60;
  report.audit.ordering_keys = 5213;
  report.audit.order_evidence = OrderEvidence::arrivals;
  report.recovered_from_archive = 37;
  report.unreplicated_records = 212;
  report.unreplicated_s = 0.041;
  report.rto_s = 1.934;
  report.seed = 7;
  report.command = "mainstay drill region-outage --messages 20000 --seed 7";
  report.started_wall_ms = 1'795'270'000'000;
  report.duration_s = 31.4;
  report.environment = describe_environment("/tmp", "mainstay 0.1.0");
  report.marks = {{12.3, MarkKind::kill, "region east killed"},
                  {13.1, MarkKind::promotion, "west promoted"},
                  {13.5, MarkKind::replay, "archive replayed: 37"},
                  {14.234, MarkKind::first_delivery, "first delivery by west"}};
  report.steps = {{0, "brokers, builders and processors of both regions started"},
                  {12.3, "SIGKILL to 3 processes of region east; its directory moved away"},
                  {13.1, "mainstay region promote --force: west is active in term 2"},
                  {13.5, "mainstay archive replay --missing: 37 messages sent"}};
  double in = 0, out = 0;
  for (int i = 0; i <= 314; ++i) {
    const double at = i / 10.0;
    const bool gap = at > 12.3 && at < 14.2;
    if (in < 20000) in += 80 + 30 * std::sin(at * 7);
    if (!gap && out < in) out += std::min(in - out, at > 14 ? 130.0 : 78 + 20 * std::sin(at * 5));
    Sample sample{.at_s = at,
                  .entered = static_cast<std::uint64_t>(std::min(in, 20000.0)),
                  .delivered = static_cast<std::uint64_t>(std::min(out, 19783.0))};
    if (!gap) {
      sample.lag_records = at < 12.4 ? static_cast<std::uint64_t>(90 + 80 * std::sin(at * 3)) : 0;
      sample.lag_s = 0.01;
    }
    report.samples.push_back(sample);
  }
  return report;
}

DrillReport bad_report() {
  DrillReport report = clean_report();
  report.audit.delivered -= 3;
  report.audit.lost = {{"MT:103:MSAKDE2XXXX:MSBLFR2XXXX:<script>alert(1)</script>",
                        "entered (number 17) & is not at the destination"},
                       {"MX:pacs.008:A:B:C", "entered and is not there"},
                       {"k\x01", "\"quoted\" 'text'"}};
  report.audit.reordered = {{"MT:940:X:Y:Z:1/1", "number 5 of ordering key A:1 arrived after number 9"}};
  report.audit.conflicts_parked = 37;
  report.audit.quarantined = 59;
  report.rto_s = 75;
  return report;
}

DrillReport stuck_report() {
  DrillReport report;
  report.drill = "region outage";
  report.failure = "the broker of region east was not ready within 20 s:\nport 127.0.0.1:5672 is in use";
  report.command = "mainstay drill region-outage";
  return report;
}

DrillReport long_report() {
  DrillReport report = clean_report();
  report.duration_s = 4000;
  report.samples.clear();
  for (int i = 0; i <= 40000; ++i)
    report.samples.push_back({.at_s = i / 10.0,
                              .entered = static_cast<std::uint64_t>(i) * 100,
                              .delivered = static_cast<std::uint64_t>(i) * 100,
                              .lag_records = 1000000 + i % 7,
                              .lag_s = 1.0});
  report.marks = {{3990, MarkKind::kill, "region east killed"},
                  {3991, MarkKind::promotion, "west promoted"},
                  {3992, MarkKind::first_delivery, "first delivery by west"}};
  return report;
}

/// The page is also well-formed XML but for its void elements and raw script: check what we draw ourselves.
bool well_formed(const std::string& xml) {
  XML_Parser parser = XML_ParserCreate(nullptr);
  const bool good = XML_Parse(parser, xml.data(), static_cast<int>(xml.size()), 1) == XML_STATUS_OK;
  XML_ParserFree(parser);
  return good;
}

TEST(DrillReport, ACleanDrillSaysSoEverywhere) {
  const DrillReport report = clean_report();
  EXPECT_TRUE(report.clean());
  EXPECT_THAT(text_of(report), HasSubstr("CLEAN: nothing was lost"));
  EXPECT_THAT(html_of(report), HasSubstr("verdict good"));
  EXPECT_TRUE(boost::json::parse(json_of(report)).at("clean").as_bool());
}

TEST(DrillReport, AFindingMakesItNotCleanAndIsNamed) {
  const DrillReport report = bad_report();
  EXPECT_FALSE(report.clean());
  EXPECT_THAT(text_of(report), HasSubstr("NOT CLEAN"));
  EXPECT_THAT(text_of(report), HasSubstr("MX:pacs.008:A:B:C"));
  EXPECT_THAT(html_of(report), HasSubstr("MX:pacs.008:A:B:C"));
  const auto json = boost::json::parse(json_of(report));
  EXPECT_FALSE(json.at("clean").as_bool());
  EXPECT_EQ(json.at("audit").at("lost").as_array().size(), 3u);
  EXPECT_EQ(json.at("rpo_messages").to_number<int>(), 3);
}

TEST(DrillReport, ABrokenPromiseMakesItNotCleanThoughEveryMessageArrived) {
  DrillReport report = clean_report();
  report.broken = {"standby's log: at LSN 7 its hash is <a>, the live's b"};
  EXPECT_FALSE(report.clean());
  EXPECT_THAT(text_of(report), HasSubstr("broken: standby's log: at LSN 7"));
  EXPECT_THAT(text_of(report), HasSubstr("NOT CLEAN"));
  EXPECT_THAT(html_of(report), HasSubstr("at LSN 7 its hash is &lt;a&gt;"));
  EXPECT_EQ(boost::json::parse(json_of(report)).at("broken").as_array().size(), 1u);
}

TEST(DrillReport, WithoutALostRegionItSpeaksOfItsOwnFiguresAndNotOfRecovery) {
  DrillReport report = clean_report();
  report.region_lost = false;
  report.figures = {{"kills", "60", "started again", {}}};
  report.marks = {{3, MarkKind::process_kill, "east <broker>"}};
  EXPECT_THAT(text_of(report), HasSubstr("kills"));
  EXPECT_THAT(html_of(report), HasSubstr("a process killed"));
  EXPECT_THAT(timeline_svg(report), HasSubstr("east &lt;broker&gt; killed"));
  EXPECT_TRUE(well_formed(timeline_svg(report)));
  for (const std::string& text : {text_of(report), html_of(report)}) {
    EXPECT_THAT(text, Not(HasSubstr("RTO")));
    EXPECT_THAT(text, Not(HasSubstr("RPO")));
  }
  EXPECT_EQ(boost::json::parse(json_of(report)).at("figures").as_array().size(), 1u);
}

TEST(DrillReport, ADrillThatCouldNotFinishIsNotCleanThoughItsAuditFoundNothing) {
  const DrillReport report = stuck_report();
  EXPECT_TRUE(report.audit.clean());
  EXPECT_FALSE(report.clean());
  EXPECT_THAT(text_of(report), HasSubstr("COULD NOT FINISH: the broker of region east"));
  EXPECT_THAT(text_of(report), Not(HasSubstr("CLEAN:")));
  EXPECT_THAT(html_of(report), HasSubstr("port 127.0.0.1:5672 is in use"));
  EXPECT_THAT(html_of(report), Not(HasSubstr("verdict good")));
}

TEST(DrillReport, WhatMessagesContainCannotBecomeMarkup) {
  const std::string html = html_of(bad_report());
  EXPECT_THAT(html, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

TEST(DrillReport, ThePageNeedsNothingFromElsewhere) {
  const std::string html = html_of(clean_report());
  for (const char* outside : {"http://", "https://", "src=", "@import", "url("})
    EXPECT_THAT(html, Not(HasSubstr(outside)));
}

TEST(DrillReport, TheTimelineIsWellFormedForEveryShapeOfData) {
  DrillReport nothing;
  DrillReport no_lag = clean_report();
  for (Sample& sample : no_lag.samples) sample.lag_records.reset();
  DrillReport one_sample = clean_report();
  one_sample.samples.resize(1);
  for (const DrillReport& report :
       {clean_report(), bad_report(), stuck_report(), long_report(), nothing, no_lag, one_sample}) {
    const std::string svg = timeline_svg(report);
    EXPECT_TRUE(well_formed(svg));
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
    EXPECT_LT(svg.size(), 100'000u);
  }
  EXPECT_THAT(timeline_svg(clean_report()), HasSubstr("no delivery for 1.93 s"));
}

TEST(DrillReport, TheTableHasItsNumbersInLine) {
  std::size_t end_of_values = 0;
  for (const ResultRow& row : result_rows(clean_report())) {
    const std::string text = text_of(clean_report());
    const std::size_t line = text.find("  " + row.name + " ");
    ASSERT_NE(line, std::string::npos) << row.name;
    const std::size_t end = text.find(" " + row.value + " ", line) + 1 + row.value.size() - line;
    if (end_of_values == 0) end_of_values = end;
    EXPECT_EQ(end, end_of_values) << row.name;
  }
}

TEST(Figures, AreReadable) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(readable_seconds(0), "0 ms");
  EXPECT_EQ(readable_seconds(0.41999), "420 ms");
  EXPECT_EQ(readable_seconds(0.9999), "1.00 s");
  EXPECT_EQ(readable_seconds(59.999), "1 min 00 s");
  EXPECT_EQ(readable_seconds(12 * 3600), "12 h 00 min");
  EXPECT_EQ(readable_time(1'795'270'000'000), "2026-11-21 14:06:40 UTC");
}

// Pages to look at: MAINSTAY_REPORT_SAMPLES=DIR writes them there.
TEST(DrillReport, SamplePagesAreWrittenWhenAskedFor) {
  const char* directory = std::getenv("MAINSTAY_REPORT_SAMPLES");
  if (directory == nullptr) GTEST_SKIP() << "MAINSTAY_REPORT_SAMPLES is not set";
  const std::string to = directory;
  ASSERT_TRUE(write_text_file(to + "/clean.html", html_of(clean_report())).has_value());
  ASSERT_TRUE(write_text_file(to + "/bad.html", html_of(bad_report())).has_value());
  ASSERT_TRUE(write_text_file(to + "/stuck.html", html_of(stuck_report())).has_value());
  ASSERT_TRUE(write_text_file(to + "/long.html", html_of(long_report())).has_value());
}

}  // namespace
}  // namespace mainstay::drills
