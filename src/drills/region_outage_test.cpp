#include "drills/region_outage.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "config/broker_config.h"
#include "config/pipeline_config.h"
#include "drills/directory_feed.h"
#include "drills/drill_monitor.h"
#include "drills/drill_workspace.h"
#include "drills/tsv.h"
#include "io/http_server.h"
#include "io/loop.h"
#include "io/system_clock.h"
#include "lab/test_directory.h"

namespace mainstay::drills {
namespace {

using ::testing::HasSubstr;

TEST(DrillWorkspace, ItsConfigurationFilesAreAccepted) {
  const lab::TestDirectory directory;
  const auto workspace = make_workspace(directory.path() + "/work");
  ASSERT_TRUE(workspace.has_value()) << workspace.error().what;
  for (const RegionPaths* region : {&workspace->east, &workspace->west}) {
    const auto broker = config::load_broker_config(region->broker_config());
    ASSERT_TRUE(broker.has_value()) << broker.error().what;
    EXPECT_EQ(broker->node.region, region->name);
    EXPECT_EQ(broker->node.data, region->journal());
    EXPECT_EQ(broker->region_register.initial_region, "east");
    ASSERT_EQ(broker->queues.size(), 1u);
    EXPECT_TRUE(broker->queues[0].requires_session);
    const auto builder = config::load_pipeline_config(region->builder_config());
    ASSERT_TRUE(builder.has_value()) << builder.error().what;
    EXPECT_TRUE(builder->pipeline.builds());
    EXPECT_FALSE(builder->pipeline.processes());
    EXPECT_EQ(builder->amqp.endpoints.at(0).port, region->ports.amqp);
    const auto processor = config::load_pipeline_config(region->processor_config());
    ASSERT_TRUE(processor.has_value()) << processor.error().what;
    EXPECT_TRUE(processor->pipeline.processes());
    EXPECT_EQ(processor->destination.directory, workspace->destination());
    EXPECT_NE(builder->pipeline.worker, processor->pipeline.worker);
  }
  EXPECT_EQ(config::load_broker_config(workspace->east.broker_config())->replication.peers.at(0).port,
            workspace->west.ports.replication);
}

TEST(DrillWorkspace, ADirectoryInUseIsRefused) {
  const lab::TestDirectory directory;
  std::ofstream(directory.path() + "/something") << "x";
  const auto workspace = make_workspace(directory.path());
  ASSERT_FALSE(workspace.has_value());
  EXPECT_THAT(workspace.error().what, HasSubstr("not empty"));
}

TEST(Seeds, AreANumberOrARange) {
  EXPECT_EQ(parse_seeds("7").value(), (std::pair<std::uint64_t, std::uint64_t>{7, 7}));
  EXPECT_EQ(parse_seeds("1..20").value(), (std::pair<std::uint64_t, std::uint64_t>{1, 20}));
  for (const char* wrong : {"", "x", "5..1", "1..", "..3", "1.2", "-1"})
    EXPECT_FALSE(parse_seeds(wrong).has_value()) << wrong;
}

std::string payment(const std::string& reference, int amount) {
  return "{1:F01AAAADEFFAXXX0001000001}{2:I103BBBBFRPPXXXXN}{4:\r\n:20:" + reference +
         "\r\n:23B:CRED\r\n:32A:261121EUR" + std::to_string(amount) +
         ",\r\n:50K:/123\r\nANNA\r\n:59:/456\r\nBERT\r\n:71A:SHA\r\n-}";
}

TEST(DirectoryFeed, FeedsFilesInOrderAndKnowsWhatTheyAre) {
  const lab::TestDirectory directory;
  const std::string source = directory.path() + "/source", inbox = directory.path() + "/inbox",
                    record = directory.path() + "/record";
  std::filesystem::create_directories(source + "/b");
  std::filesystem::create_directories(inbox);
  std::ofstream(source + "/a.fin", std::ios::binary) << payment("ONE", 1);
  std::ofstream(source + "/b/b.rje", std::ios::binary)
      << payment("TWO", 2) << "$" << payment("ONE", 1) << "$" << payment("TWO", 9);
  std::ofstream(source + "/c.fin", std::ios::binary) << "nothing";
  auto feed = feed_directory(source, inbox, record);
  ASSERT_TRUE(feed.has_value()) << feed.error().what;
  EXPECT_EQ((*feed)->total(), 5u);
  ASSERT_TRUE((*feed)->write_until(1).has_value());
  EXPECT_EQ((*feed)->entered(), 1u);
  ASSERT_TRUE((*feed)->write_until(99).has_value());
  EXPECT_TRUE((*feed)->finished());
  const auto entries = parse_ingest_record(*read_text_file(record));
  ASSERT_TRUE(entries.has_value());
  std::vector<std::string> kinds;
  for (const IngestEntry& entry : *entries) kinds.emplace_back(text(entry.kind));
  EXPECT_THAT(kinds, ::testing::ElementsAre("normal", "normal", "duplicate", "conflict", "malformed"));
  EXPECT_EQ(unique_keys((*feed)->entries()), 2u);
  EXPECT_EQ(*read_text_file(inbox + "/" + (*entries)[4].file), "nothing");
}

TEST(DirectoryFeed, AnEmptyOrMissingDirectoryIsNamed) {
  const lab::TestDirectory directory;
  for (const std::string& from : {directory.path(), directory.path() + "/no"}) {
    const auto feed = feed_directory(from, directory.path(), directory.path() + "/record");
    ASSERT_FALSE(feed.has_value());
    EXPECT_THAT(feed.error().what, HasSubstr(from));
  }
}

TEST(PacedFeedTest, KeepsThePaceAndEnds) {
  class Counting final : public Feed {
   public:
    std::uint64_t total() const override { return 50; }
    std::uint64_t entered() const override { return entered_; }
    Result<void, Failure> write_until(std::uint64_t due) override {
      entered_ = std::min<std::uint64_t>(std::max(entered_, due), 50);
      if (entered_ > fail_after) return Failure{"the disk is full"};
      return {};
    }
    const std::vector<IngestEntry>& entries() const override { return none_; }
    std::uint64_t fail_after = 100;

   private:
    std::uint64_t entered_ = 0;
    std::vector<IngestEntry> none_;
  };
  io::SystemClock clock;
  Counting feed;
  {
    PacedFeed paced(feed, 1e6, clock);
    while (!paced.ended()) std::this_thread::yield();
    EXPECT_EQ(paced.entered(), 50u);
    EXPECT_EQ(paced.failure(), "");
  }
  Counting longer;  // than needed
  {
    PacedFeed paced(longer, 1000, clock);
    paced.end_after(7);
    while (!paced.ended()) std::this_thread::yield();
    EXPECT_EQ(paced.entered(), 7u);
    EXPECT_FALSE(longer.finished());
  }
  Counting failing;
  failing.fail_after = 10;
  PacedFeed paced(failing, 1e6, clock);
  while (!paced.ended()) std::this_thread::yield();
  EXPECT_EQ(paced.failure(), "the disk is full");
}

TEST(NodeViewTest, NonsenseIsNoAnswer) {
  io::Loop loop;
  std::string body;
  io::HttpServer server(
      loop,
      [&](const io::HttpRequest&, const io::HttpServer::Respond& respond) {
        respond({.status = 200, .content_type = "application/json", .body = body});
      },
      1 << 20);
  const auto port = server.listen("127.0.0.1", 0);
  ASSERT_TRUE(port.has_value());
  std::thread serving([&] { loop.run(); });
  const std::string endpoint = "127.0.0.1:" + std::to_string(*port);
  const auto with = [&](std::string text) {
    loop.post([&body, text = std::move(text)] { body = text; });
    return view_node(endpoint, "");
  };
  EXPECT_FALSE(with("").answered);
  EXPECT_FALSE(with("[]").answered);
  EXPECT_FALSE(with(R"({"ready":true})").answered);
  const NodeView view = with(
      R"({"ready":true,"role":"live","region":"east","term":1,"durable_lsn":10,"committed_lsn":9,"applied_lsn":8,
    "log_hash":"ab","state_hash":"cd","queues":[{"active":2,"locked":1}],
    "replication":{"connected":true,"lag_records":4,"lag_seconds":0.5}})");
  EXPECT_TRUE(view.answered);
  EXPECT_EQ(view.queue_active, 2u);
  EXPECT_EQ(view.lag_records, 4u);
  EXPECT_EQ(view.durable_lsn, 10u);
  EXPECT_EQ(view.applied_lsn, 8u);
  EXPECT_EQ(view.log_hash, "ab");
  EXPECT_EQ(view.state_hash, "cd");
  loop.stop();
  serving.join();
}

}  // namespace
}  // namespace mainstay::drills
