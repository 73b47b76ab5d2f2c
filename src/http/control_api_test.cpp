#include "http/control_api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace mainstay::http {
namespace {

using ::testing::HasSubstr;

class FakeNode : public ControlBackend {
 public:
  NodeStatus status() override { return now; }
  void group_switch(const std::string& to, const std::string& by, const std::string& reason,
                    CommandDone done) override {
    switched_to = to + " by " + by + ": " + reason;
    done({409, "node " + to + " is not in the in-sync set", {}, {}, {}, {}});
  }
  void group_promote(const std::string& by, const std::string& reason, CommandDone done) override {
    switched_to = "promoted by " + by + ": " + reason;
    done({200, {}, {}, 77, {}, "node east-2 leads epoch 4"});
  }
  void group_reload(const std::string& by, bool force, CommandDone done) override {
    switched_to = "reload by " + by + (force ? ", forced" : "");
    done({200, {}, {}, {}, {}, "accepted: east-3"});
  }
  void group_remove(const std::string& gone, const std::string& by, const std::string& reason, bool force,
                    CommandDone done) override {
    switched_to = "without " + gone + " by " + by + ": " + reason + (force ? ", forced" : "");
    done({409, "one copy is left", {}, {}, {}, {}});
  }
  std::string switched_to;
  void region_command(const RegionCommand& command, CommandDone done) override {
    commands.push_back(command);
    done(answer);
  }
  Result<std::vector<bool>, Failure> known_messages(const std::string& queue,
                                                    const std::vector<std::string>& ids) override {
    if (queue != "payments") return Failure{"there is no queue '" + queue + "'"};
    std::vector<bool> known;
    for (const auto& id : ids) known.push_back(id == "m1");
    return known;
  }
  NodeStatus now;
  CommandResult answer;
  std::vector<RegionCommand> commands;
};

class ControlApi : public ::testing::Test {
 protected:
  Response ask(const std::string& method, const std::string& target, const std::string& body = "",
               const std::string& authorization = "Bearer secret") {
    Response got;
    handle({method, target, body, authorization}, node, "secret",
           [&](Response response) { got = std::move(response); });
    return got;
  }
  FakeNode node;
};

TEST_F(ControlApi, ReadyOnlyWhenTheNodeSaysSoAndOtherwiseWhy) {
  node.now.why = "standby for region west";
  EXPECT_EQ(ask("GET", "/livez").status, 200);
  EXPECT_EQ(ask("GET", "/readyz").status, 503);
  EXPECT_THAT(ask("GET", "/readyz").body, HasSubstr("standby for region west"));
  node.now.ready = true;
  EXPECT_EQ(ask("GET", "/readyz").status, 200);
}

TEST_F(ControlApi, CommandsNeedTheTokenAndNothingHappensWithoutIt) {
  for (const char* authorization : {"", "Bearer", "Bearer secreT", "Bearer secret2", "Basic secret"}) {
    EXPECT_EQ(ask("POST", "/region/promote", "{}", authorization).status, 401) << authorization;
  }
  EXPECT_TRUE(node.commands.empty());
  Response refused;
  handle({"POST", "/region/promote", "{}", "Bearer "}, node, "", [&](Response r) { refused = std::move(r); });
  EXPECT_EQ(refused.status, 403) << "no token configured means no commands, not open ones";
}

TEST_F(ControlApi, PromotePassesForceAndReasonAndGivesBackTheTerm) {
  node.answer.term = 7;
  const Response response =
      ask("POST", "/region/promote", R"({"force":true,"by":"operator","reason":"east is gone"})");
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(response.body, HasSubstr("\"term\":7"));
  ASSERT_EQ(node.commands.size(), 1U);
  EXPECT_TRUE(node.commands[0].force);
  EXPECT_EQ(node.commands[0].reason, "east is gone");
}

TEST_F(ControlApi, RefusedCommandTellsWhatTheNodeSaid) {
  node.answer.status = 409;
  node.answer.error = "this region is active already";
  const Response response = ask("POST", "/region/promote", "{}");
  EXPECT_EQ(response.status, 409);
  EXPECT_THAT(response.body, HasSubstr("active already"));
}

TEST_F(ControlApi, KnownMessagesAnswersInOrderAndBadBodiesAreRefused) {
  EXPECT_THAT(ask("POST", "/messages/known", R"({"queue":"payments","ids":["m1","m2"]})").body,
              HasSubstr("[true,false]"));
  EXPECT_EQ(ask("POST", "/messages/known", R"({"queue":"other","ids":[]})").status, 409);
  EXPECT_EQ(ask("POST", "/messages/known", R"({"queue":"payments","ids":[1]})").status, 400);
  EXPECT_EQ(ask("POST", "/messages/known", "[").status, 400);
  EXPECT_EQ(ask("PUT", "/status").status, 405);
  EXPECT_EQ(ask("GET", "/nothing").status, 404);
}

TEST_F(ControlApi, MetricsAndStatusShowWhatTheNodeTold) {
  node.now.role = "live";
  node.now.queues.push_back({"payments", 5, 1, 2, 3, 100, 0, 1.5});
  node.now.replication.lag_seconds = 0.25;
  node.now.commit_latency_buckets = {{0.001, 3}};
  node.now.commit_latency_count = 4;
  node.now.loop.push_back({"upkeep", {{0.016, 6}}, 7, 0.5, 0.125});
  const std::string metrics = ask("GET", "/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("mainstay_loop_turn_seconds_bucket{work=\"upkeep\",le=\"0.016\"} 6"));
  EXPECT_THAT(metrics, HasSubstr("mainstay_loop_turn_seconds_count{work=\"upkeep\"} 7"));
  EXPECT_THAT(metrics, HasSubstr("mainstay_loop_longest_turn_seconds{work=\"upkeep\"} 0.125"));
  EXPECT_THAT(metrics, HasSubstr("mainstay_queue_messages{queue=\"payments\"} 5"));
  EXPECT_THAT(metrics, HasSubstr("mainstay_replication_lag_seconds 0.25"));
  EXPECT_THAT(metrics, HasSubstr("mainstay_commit_latency_seconds_bucket{le=\"0.001\"} 3"));
  EXPECT_THAT(metrics, HasSubstr("mainstay_role{role=\"live\"} 1"));
  const auto status = boost::json::parse(ask("GET", "/status").body).as_object();
  EXPECT_EQ(status.at("queues").at(0).at("locked").as_int64(), 2);
}

TEST_F(ControlApi, UsedPartOfEachLimitIsTheSignalToScaleOn) {
  node.now.flow.memory_bytes = 64;
  node.now.flow.memory_limit_bytes = 256;
  node.now.flow.journal_backlog_bytes = 96;
  node.now.flow.journal_backlog_limit_bytes = 32;
  node.now.amqp.connections = 5;
  node.now.flow.connections_limit = 10;
  node.now.disk_size_bytes = 1000;
  node.now.disk_free_bytes = 100;
  node.now.journal.room_bytes = 100;
  node.now.journal.set_aside_bytes = 50;
  const std::string metrics = ask("GET", "/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("mainstay_limit_used_ratio{limit=\"memory\"} 0.25\n"));
  EXPECT_THAT(metrics, HasSubstr("mainstay_limit_used_ratio{limit=\"journal\"} 1\n")) << "never above 1";
  EXPECT_THAT(metrics, HasSubstr("mainstay_limit_used_ratio{limit=\"disk\"} 0.75\n"))
      << "neither room nor what waits to be given back is used";
  EXPECT_THAT(metrics, HasSubstr("mainstay_limit_used_ratio{limit=\"connections\"} 0.5\n"));
  node.now.journal.disk_full = true;
  EXPECT_THAT(ask("GET", "/metrics").body, HasSubstr("mainstay_limit_used_ratio{limit=\"disk\"} 1\n"));
  const auto status = boost::json::parse(ask("GET", "/status").body).as_object();
  EXPECT_EQ(status.at("flow").at("limits_used").at("memory").as_double(), 0.25);
}

TEST_F(ControlApi, LimitsThatAreNotKnownAreNotUsed) {
  for (const LimitUsed& used : limits_used(NodeStatus{})) EXPECT_EQ(used.part, 0) << used.limit;
}

TEST_F(ControlApi, NodesOfAGroupAreReloadedAndRemoved) {
  EXPECT_EQ(ask("POST", "/group/reload", R"({"by": "alice"})", "").status, 401);
  EXPECT_EQ(node.switched_to, "");
  const Response reloaded = ask("POST", "/group/reload", R"({"by": "alice", "force": true})");
  EXPECT_EQ(reloaded.status, 200);
  EXPECT_THAT(reloaded.body, HasSubstr("accepted: east-3"));
  EXPECT_EQ(node.switched_to, "reload by alice, forced");
  const Response removed =
      ask("POST", "/group/remove", R"({"node": "east-2", "by": "alice", "reason": "moved"})");
  EXPECT_EQ(removed.status, 409);
  EXPECT_THAT(removed.body, HasSubstr("one copy is left"));
  EXPECT_EQ(node.switched_to, "without east-2 by alice: moved");
}

TEST_F(ControlApi, ABodyThatLacksWhatTheCommandNeedsIsRefusedWithTheFieldsName) {
  struct Case {
    const char *target, *body, *field;
  };
  for (const Case& each : {
           Case{"/group/switch", R"({"by": "alice"})", "\"to\""},
           Case{"/group/switch", R"({"to": ""})", "\"to\""},
           Case{"/group/switch", R"({"to": 2})", "\"to\""},
           Case{"/group/switch", R"({"to": "east-2", "by": null})", "\"by\""},
           Case{"/group/switch", R"({"to": "east-2", "reason": ["a"]})", "\"reason\""},
           Case{"/group/promote", R"({"reason": 1})", "\"reason\""},
           Case{"/group/reload", R"({"force": "yes"})", "\"force\""},
           Case{"/group/reload", R"({"force": 1})", "\"force\""},
           Case{"/group/remove", "{}", "\"node\""},
           Case{"/group/remove", R"({"node": "east-2", "force": "no"})", "\"force\""},
           Case{"/region/promote", R"({"force": "true"})", "\"force\""},
           Case{"/region/switch", R"({"by": 7})", "\"by\""},
           Case{"/messages/known", R"({"ids": []})", "\"queue\""},
           Case{"/messages/known", R"({"queue": "payments"})", "\"ids\""},
       }) {
    const Response response = ask("POST", each.target, each.body);
    EXPECT_EQ(response.status, 400) << each.target << " " << each.body;
    const auto told = boost::json::parse(response.body).at("error").as_string();
    EXPECT_THAT(std::string(told), HasSubstr(each.field)) << each.target << " " << each.body;
  }
  EXPECT_EQ(node.switched_to, "") << "nothing of a command is done";
  EXPECT_TRUE(node.commands.empty());
}

TEST_F(ControlApi, WhoAndWhyMayBeLeftOut) {
  EXPECT_EQ(ask("POST", "/group/reload").status, 200);
  EXPECT_EQ(node.switched_to, "reload by ");
  EXPECT_EQ(ask("POST", "/group/switch", R"({"to": "east-2"})").status, 409);
  EXPECT_EQ(node.switched_to, "east-2 by : ");
}

TEST_F(ControlApi, ABackupIsPromotedWithWhoAndWhy) {
  const Response promoted = ask("POST", "/group/promote", R"({"by": "alice", "reason": "fire"})");
  EXPECT_EQ(promoted.status, 200);
  EXPECT_THAT(promoted.body, HasSubstr("node east-2 leads epoch 4"));
  EXPECT_EQ(node.switched_to, "promoted by alice: fire");
}

TEST_F(ControlApi, ACopyAndTheNodesOfAGroupAreTold) {
  EXPECT_THAT(ask("GET", "/status").body, ::testing::Not(HasSubstr("\"copy\"")));
  node.now.group = NodeStatus::Group{};
  EXPECT_THAT(ask("GET", "/status").body, HasSubstr("\"copy\":null"));
  EXPECT_THAT(ask("GET", "/metrics").body, HasSubstr("mainstay_group_copy_bytes_total 0"));
  node.now.group->copy = {"giving", "east-2", "copying", 3, 7};
  node.now.group->nodes = {{"east-1", "leader", 9}, {"east-2", "copying", 0}};
  EXPECT_THAT(
      ask("GET", "/status").body,
      HasSubstr(
          R"("copy":{"way":"giving","node":"east-2","phase":"copying","bytes_done":3,"bytes_total":7})"));
  EXPECT_THAT(ask("GET", "/status").body, HasSubstr(R"({"name":"east-2","state":"copying","lsn":0})"));
  const std::string metrics = ask("GET", "/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("mainstay_group_copy_bytes_total 7"));
  EXPECT_THAT(metrics, HasSubstr("mainstay_group_copy_bytes_done 3"));
  EXPECT_THAT(metrics, HasSubstr(R"(mainstay_group_node_in_sync{node="east-1"} 1)"));
  EXPECT_THAT(metrics, HasSubstr(R"(mainstay_group_node_in_sync{node="east-2"} 0)"));
}

TEST_F(ControlApi, WhoHasTheLockOfASharedStoreIsTold) {
  node.now.group = NodeStatus::Group{};
  EXPECT_THAT(ask("GET", "/status").body, HasSubstr("\"store\":null"));
  EXPECT_THAT(ask("GET", "/metrics").body, ::testing::Not(HasSubstr("store_lock_held")));
  node.now.group->store = {false, "process 71"};
  EXPECT_THAT(ask("GET", "/status").body,
              HasSubstr(R"("store":{"lock_held":false,"lock_holder":"process 71"})"));
  EXPECT_THAT(ask("GET", "/metrics").body, HasSubstr("\nmainstay_group_store_lock_held 0"));
}

TEST_F(ControlApi, ADamagedLogIsTold) {
  node.now.group = NodeStatus::Group{};
  EXPECT_THAT(ask("GET", "/status").body, HasSubstr(R"("damage":"","logs_set_aside":0)"));
  EXPECT_THAT(ask("GET", "/metrics").body, HasSubstr("mainstay_group_log_damaged 0"));
  node.now.group->damage = "LSN 7; no other node is in sync";
  node.now.group->logs_set_aside = 2;
  EXPECT_THAT(ask("GET", "/status").body,
              HasSubstr(R"("damage":"LSN 7; no other node is in sync","logs_set_aside":2)"));
  EXPECT_THAT(ask("GET", "/metrics").body, HasSubstr("mainstay_group_log_damaged 1"));
  EXPECT_THAT(ask("GET", "/metrics").body, HasSubstr("mainstay_group_logs_set_aside_total 2"));
}

}  // namespace
}  // namespace mainstay::http
