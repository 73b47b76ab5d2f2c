#include "pipeline/queue_builder.h"

#include <gmock/gmock.h>

#include "pipeline/pipeline_test.h"

namespace mainstay::pipeline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Kind = client::SendOutcome::Kind;

struct Killed {};

class QueueBuilderTest : public DirectoryTest {
 protected:
  void SetUp() override {
    DirectoryTest::SetUp();
    activate(region_register_, "east", 1);
    std::filesystem::create_directories(at("source/inbox"));
  }

  /// A builder and everything it holds, as one process would.
  struct Process {
    QueueBuilderConfig config;
    std::unique_ptr<coordination::Gate> gate;
    std::unique_ptr<FolderSource> source;
    std::unique_ptr<Spool> spool;
    std::unique_ptr<Archive> archive;
    std::unique_ptr<MemorySender> sender;
    std::unique_ptr<QueueBuilder> builder;
  };
  std::unique_ptr<Process> start(const std::string& region = "east", std::uint64_t term = 1) {
    auto made = std::make_unique<Process>();
    made->config.region = region;
    made->config.worker = region + "-1";
    made->config.batch_items_max = 4;
    made->gate = std::make_unique<coordination::Gate>(region_register_, region);
    made->source = FolderSource::open(at("source"), made->config.worker, RegionTerm{term}).value();
    made->spool = Spool::open(at("spool-" + region), RegionTerm{term}, silent(), {}).value();
    made->archive = Archive::open(at("archive"), made->config.worker).value();
    made->sender = std::make_unique<MemorySender>(broker_);
    made->builder = std::make_unique<QueueBuilder>(
        made->config, RegionTerm{term},
        QueueBuilder::Parts{*made->gate, *made->source, *made->spool, *made->archive, *made->sender, clock_,
                            random_, [this](Level, const std::string& text) { said_.push_back(text); }});
    return made;
  }
  /// Steps until nothing is left to do.
  void finish(Process& process, int steps_max = 1000) {
    for (int i = 0; i < steps_max; ++i) {
      clock_.advance(milliseconds(10));
      const auto step = process.builder->step({0}).value();
      ASSERT_NE(step, QueueBuilder::Step::closed) << process.builder->why_closed();
      if (step == QueueBuilder::Step::idle && process.builder->at_rest()) return;
    }
    FAIL() << "the builder does not come to rest";
  }
  std::vector<std::string> references() const {
    std::vector<std::string> found;
    for (const Envelope& envelope : broker_.accepted) found.push_back(envelope.reference);
    return found;
  }
  std::vector<std::string> references_of(const std::string& ordering_key) const {
    std::vector<std::string> found;
    for (const Envelope& envelope : broker_.accepted) {
      if (envelope.ordering_key == ordering_key) found.push_back(envelope.reference);
    }
    return found;
  }

  coordination::MemoryRegister region_register_;
  ManualClock clock_;
  SeededRandom random_{20261121};
  MemoryBroker broker_;
  std::vector<std::string> said_;
};

TEST_F(QueueBuilderTest, BringsEveryPaymentOfAFileToTheQueueOnceWithItsExactBytes) {  // P9
  put("source/inbox/a.fin", payment(1, 1) + payment(2, 2) + payment(3, 1));
  const auto process = start();
  finish(*process);
  EXPECT_THAT(references(), ::testing::UnorderedElementsAre("REF1", "REF2", "REF3"));
  for (const Envelope& envelope : broker_.accepted) {
    EXPECT_EQ(envelope.message_id, message_id_of(envelope.idempotency_key, envelope.content_digest));
    EXPECT_TRUE(process->archive->find(envelope.message_id).value().has_value());
  }
  EXPECT_EQ(as_text(broker_.accepted[0].body), payment(1, 1));
  EXPECT_THAT(names("source/done"), ElementsAre("a.fin"));
  EXPECT_THAT(names("source/claimed"), IsEmpty());
  const auto lines = read_ingest_record(at("source")).value();
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_EQ(lines[1].source, "a.fin#2");
  EXPECT_EQ(lines[1].ingest, first_ingest(RegionTerm{1}) + 1);
  EXPECT_EQ(lines[1].message_id, broker_.accepted[1].message_id);
  EXPECT_EQ(process->builder->counters().acked, 3U);
}

TEST_F(QueueBuilderTest, EqualTextUnderOneReferenceWithAnotherUetrIsParkedNotDropped) {  // P3, P16
  const auto with_uetr = [](char last) {
    std::string text = payment(1, 1);
    const std::string uetr = std::string("{121:180f1e65-90e0-44d5-a49a-92b55eb3025") + last + "}";
    const auto user_header = text.find("{3:");
    if (user_header == std::string::npos) return text.insert(text.find("{4:"), "{3:" + uetr + "}");
    const auto old = text.find("{121:");
    return old == std::string::npos ? text.insert(user_header + 3, uetr)
                                    : text.replace(old, uetr.size(), uetr);
  };
  ASSERT_TRUE(identified(with_uetr('a')).valid) << identified(with_uetr('a')).why;
  ASSERT_EQ(identified(with_uetr('a')).content_digest, identified(with_uetr('b')).content_digest);
  put("source/inbox/a.fin", with_uetr('a'));
  put("source/inbox/b.fin", with_uetr('b'));
  put("source/inbox/c.fin", with_uetr('a'));
  const auto process = start();
  finish(*process);
  EXPECT_EQ(process->builder->counters().parked, 1U);
  EXPECT_EQ(get("source/parked/b.fin#1"), with_uetr('b'));
  ASSERT_FALSE(broker_.accepted.empty());
  EXPECT_EQ(as_text(broker_.accepted[0].body), with_uetr('a'));
}

TEST_F(QueueBuilderTest, FilesAreTakenInTheOrderOfTheirNames) {
  put("source/inbox/2.fin", payment(2, 1));
  put("source/inbox/1.fin", payment(1, 1));
  put("source/inbox/3.fin", payment(3, 1));
  finish(*start());
  EXPECT_THAT(references(), ElementsAre("REF1", "REF2", "REF3"));
}

TEST_F(QueueBuilderTest, MalformedItemsEndInQuarantineWithTheReasonBesideThem) {  // P16
  put("source/inbox/a.fin", payment(1, 1));
  put("source/inbox/b.fin", "{1:F01BANKBEBBAXXX0000000000}{2:I103BANKDEFFXXXXN}{4:\r\n:23B:CRED\r\n-}");
  put("source/inbox/c.txt", "what is this?");
  const auto process = start();
  finish(*process);
  EXPECT_THAT(references(), ElementsAre("REF1"));
  EXPECT_THAT(names("source/quarantine"),
              ElementsAre("b.fin#1", "b.fin#1.reason.json", "c.txt#1", "c.txt#1.reason.json"));
  EXPECT_EQ(get("source/quarantine/c.txt#1"), "what is this?");
  EXPECT_THAT(get("source/quarantine/b.fin#1.reason.json"), HasSubstr("\"code\":\"MT_NO_REF\""));
  EXPECT_EQ(process->builder->counters().quarantined, 2U);
  EXPECT_THAT(names("source/done"), ElementsAre("a.fin", "b.fin", "c.txt"));
}

TEST_F(QueueBuilderTest, SameMessageAgainIsADuplicateAndOtherContentIsParked) {  // P3
  put("source/inbox/a.fin", payment(1, 1));
  put("source/inbox/b.fin", payment(1, 1));
  put("source/inbox/c.fin", payment(1, 1, "999,00"));
  put("source/inbox/d.fin", payment(2, 1) + payment(2, 1, "5,00"));
  const auto process = start();
  finish(*process);
  EXPECT_THAT(references(), ElementsAre("REF1", "REF2"));
  EXPECT_EQ(broker_.duplicates, 1U) << "a true duplicate is sent with the same id";
  EXPECT_EQ(process->builder->counters().duplicates, 1U);
  EXPECT_EQ(process->builder->counters().parked, 2U);
  EXPECT_EQ(get("source/parked/c.fin#1"), payment(1, 1, "999,00"));
  EXPECT_EQ(get("source/parked/d.fin#2"), payment(2, 1, "5,00"));
  EXPECT_THAT(get("source/parked/c.fin#1.reason.json"), HasSubstr("CONFLICT"));
  EXPECT_THAT(names("source/done"), SizeIs(4));
}

TEST_F(QueueBuilderTest, TwoFilesOfOneNameAreBothTaken) {
  put("source/inbox/a.fin", payment(1, 1));
  put("source/quarantine/a.fin#2", "an item of an earlier file");
  auto process = start();
  finish(*process);
  put("source/inbox/a.fin", payment(2, 1) + "{1:broken");
  process.reset();
  process = start();
  finish(*process);
  EXPECT_THAT(references(), ElementsAre("REF1", "REF2"));
  EXPECT_THAT(names("source/done"), ElementsAre("a.fin", "a.fin~2"));
  EXPECT_EQ(get("source/quarantine/a.fin#2"), "an item of an earlier file");
  EXPECT_EQ(get("source/quarantine/a.fin#2~2"), "{1:broken");
}

TEST_F(QueueBuilderTest, RejectionsAndLostConnectionsKeepTheOrderOfAKey) {  // P4, P15.5
  std::string file;
  for (int i = 0; i < 60; ++i) file += payment(i, i % 3);
  put("source/inbox/a.fin", file);
  const auto process = start();
  SeededRandom chaos(7);
  process->sender->decide = [&](std::uint64_t tag, const Envelope&) {
    process->sender->arrives_although_unknown = chaos.chance(1, 2);
    switch (chaos.below(4)) {
      case 0:
        return client::SendOutcome{tag, Kind::rejected, {"com.microsoft:server-busy", "later"}};
      case 1:
        return client::SendOutcome{tag, Kind::unknown, {"mainstay:connection-lost", "cut"}};
      case 2:
        return client::SendOutcome{tag, Kind::released, {}};
      default:
        return client::SendOutcome{tag, Kind::accepted, {}};
    }
  };
  for (int i = 0; i < 20'000 && !(process->builder->counters().acked == 60); ++i) {
    clock_.advance(milliseconds(100));
    process->builder->step({0}).value();
  }
  finish(*process);
  EXPECT_EQ(broker_.in_flight_of_key_max, 1U);
  EXPECT_GT(process->builder->counters().retries, 0U);
  ASSERT_THAT(broker_.accepted, SizeIs(60));
  for (int account = 0; account < 3; ++account) {
    const auto got = references_of(identified(payment(account, account)).ordering_key);
    ASSERT_THAT(got, SizeIs(20));
    for (int i = 0; i < 20; ++i)
      EXPECT_EQ(got[static_cast<std::size_t>(i)], "REF" + std::to_string(account + 3 * i));
  }
}

TEST_F(QueueBuilderTest, WhatTheBrokerRefusesForGoodIsQuarantinedAndItsKeyGoesOn) {
  put("source/inbox/a.fin", payment(1, 1) + payment(2, 1));
  const auto process = start();
  process->sender->decide = [](std::uint64_t tag, const Envelope& envelope) {
    if (envelope.reference != "REF1") return client::SendOutcome{tag, Kind::accepted, {}};
    return client::SendOutcome{tag, Kind::rejected, {"amqp:link:message-size-exceeded", "too large"}};
  };
  finish(*process);
  EXPECT_THAT(references(), ElementsAre("REF2"));
  EXPECT_EQ(get("source/quarantine/a.fin#1"), payment(1, 1));
  EXPECT_THAT(get("source/quarantine/a.fin#1.reason.json"), HasSubstr("too large"));
  EXPECT_THAT(names("source/done"), ElementsAre("a.fin"));
}

TEST_F(QueueBuilderTest, ClosedGateStopsBeforeAnythingIsTouched) {  // P7
  put("source/inbox/a.fin", payment(1, 1));
  const auto process = start();
  region_register_.set_available(false);
  EXPECT_EQ(process->builder->step({0}).value(), QueueBuilder::Step::closed);
  EXPECT_THAT(process->builder->why_closed(), HasSubstr("cannot tell"));
  region_register_.set_available(true);
  activate(region_register_, "west", 2);
  EXPECT_EQ(process->builder->step({0}).value(), QueueBuilder::Step::closed);
  EXPECT_THAT(names("source/inbox"), ElementsAre("a.fin"));
  EXPECT_THAT(broker_.arrivals, IsEmpty());
}

TEST_F(QueueBuilderTest, GateThatClosesInMidFlowStopsSending) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += payment(i, i);
  put("source/inbox/a.fin", file);
  const auto process = start();
  process->builder->probe = [&](std::string_view at) {
    if (at == "archived") region_register_.set_available(false);
  };
  EXPECT_EQ(process->builder->step({0}).value(), QueueBuilder::Step::closed);
  EXPECT_THAT(broker_.arrivals, IsEmpty());
}

TEST_F(QueueBuilderTest, KilledAtAnyPointNothingIsLostRepeatedOrReordered) {  // P10, D1
  for (const char* point : {"claimed", "ingested", "spooled", "archived", "sent", "acked", "finishing"}) {
    for (const int nth : {1, 3}) {
      SCOPED_TRACE(std::string(point) + " " + std::to_string(nth));
      TearDown();
      SetUp();
      broker_ = {};
      region_register_.restore({});
      activate(region_register_, "east", 1);
      for (int f = 0; f < 3; ++f) {
        std::string file;
        for (int i = 0; i < 7; ++i) file += payment(f * 10 + i, i % 2);
        put("source/inbox/" + std::to_string(f) + ".fin", file + "{1:broken");
      }
      int reached = 0;
      bool killed = false;
      {
        const auto process = start();
        process->builder->probe = [&](std::string_view at) {
          if (at == point && ++reached == nth) throw Killed();
        };
        try {
          finish(*process);
        } catch (const Killed&) {
          killed = true;
        }
      }
      EXPECT_TRUE(killed);
      const auto process = start();
      finish(*process);
      EXPECT_THAT(broker_.accepted, SizeIs(21));
      for (int account = 0; account < 2; ++account) {
        const auto got = references_of(identified(payment(account, account)).ordering_key);
        std::vector<std::string> wanted;
        for (int f = 0; f < 3; ++f) {
          for (int i = account; i < 7; i += 2) wanted.push_back("REF" + std::to_string(f * 10 + i));
        }
        EXPECT_EQ(got, wanted);
      }
      const auto lines = read_ingest_record(at("source")).value();
      ASSERT_THAT(lines, SizeIs(21)) << "each message is recorded once";
      for (std::size_t i = 0; i < lines.size(); ++i) {
        EXPECT_EQ(lines[i].ingest, first_ingest(RegionTerm{1}) + i);
        EXPECT_EQ(lines[i].status, "new");
      }
      EXPECT_EQ(process->archive->count().value(), 21U);
      EXPECT_THAT(names("source/done"), SizeIs(3));
      EXPECT_THAT(names("source/claimed"), IsEmpty());
      EXPECT_THAT(names("source/quarantine"), SizeIs(6));
    }
  }
}

TEST_F(QueueBuilderTest, NewTermTakesOverUnfinishedClaimsAndSendsThemWithTheSameIds) {  // P15.1
  std::string file;
  for (int i = 0; i < 12; ++i) file += payment(i, i % 2);
  put("source/inbox/a.fin", file);
  put("source/inbox/b.fin", payment(100, 0));
  auto east = start();
  int sends = 0;
  east->builder->probe = [&](std::string_view point) {
    if (point == "acked" && ++sends == 2) throw Killed();
  };
  EXPECT_THROW(finish(*east), Killed);
  const std::vector<std::string> before = broker_.arrivals;
  ASSERT_FALSE(before.empty());
  activate(region_register_, "west", 2);
  const auto west = start("west", 2);
  finish(*west);
  EXPECT_THAT(broker_.accepted, SizeIs(13));
  EXPECT_GT(broker_.duplicates, 0U) << "what east had sent is sent again with the same id";
  EXPECT_EQ(references_of(identified(payment(0, 0)).ordering_key),
            (std::vector<std::string>{"REF0", "REF2", "REF4", "REF6", "REF8", "REF10", "REF100"}));
  EXPECT_EQ(west->builder->counters().files_taken_over, 1U);
  EXPECT_EQ(west->builder->counters().duplicates, 0U) << "not a duplicate: the same item again";
  EXPECT_THAT(read_ingest_record(at("source")).value(), SizeIs(13));
  // East wakes up: its claim is gone, the gate tells it so.
  EXPECT_EQ(east->builder->step({0}).value(), QueueBuilder::Step::closed);
}

TEST_F(QueueBuilderTest, UnreadableSourceIsAnErrorAndGoesOnLater) {
  const auto process = start();
  put("source/inbox/a.fin", payment(1, 1));
  std::filesystem::rename(at("source/inbox"), at("source/away"));
  const auto step = process->builder->step({0});
  ASSERT_FALSE(step);
  EXPECT_THAT(step.error().what, HasSubstr("source/inbox"));
  std::filesystem::rename(at("source/away"), at("source/inbox"));
  finish(*process);
  EXPECT_THAT(references(), ElementsAre("REF1"));
}

TEST(OrderedWindowTest, OneOnItsWayPerKeyAndKeysTakeTurns) {
  OrderedWindow window;
  window.add({1, "A", {}});
  window.add({2, "A", {}});
  window.add({3, "B", {}});
  const Instant t{1000};
  EXPECT_EQ(window.next(t)->position, 1U);
  EXPECT_EQ(window.next(t)->position, 3U);
  EXPECT_EQ(window.next(t), nullptr);
  window.failed(1, t + seconds(1));
  EXPECT_EQ(window.next(t), nullptr);
  EXPECT_EQ(window.next_retry(), t + seconds(1));
  EXPECT_EQ(window.next(t + seconds(1))->position, 1U) << "never 2 before 1";
  EXPECT_EQ(window.settled(1).position, 1U);
  EXPECT_EQ(window.next(t)->position, 2U);
  window.settled(2);
  window.settled(3);
  EXPECT_EQ(window.size(), 0U);
  EXPECT_EQ(window.bytes(), 0U);
}

TEST(IngestRecordTest, FieldsWithTabsAndLineFeedsReadBack) {
  const IngestLine line{7, "a\tb\\c", "d", "e\nf\r", "g", "h i#2", "new"};
  const auto read = parse_ingest_line(to_line(line));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->idempotency_key, line.idempotency_key);
  EXPECT_EQ(read->ordering_key, line.ordering_key);
  EXPECT_EQ(read->source, line.source);
  EXPECT_EQ(read->ingest, 7U);
  EXPECT_FALSE(parse_ingest_line("x\ty").has_value());
}

}  // namespace
}  // namespace mainstay::pipeline
