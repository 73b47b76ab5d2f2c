// `[group]` of a broker's file: what is read, each relation that is held, and the override.
#include "config/group_config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "config/broker_config.h"
#include "config/pipeline_config.h"

namespace mainstay::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kHead = R"([node]
name = "east-1"
region = "east"
data = "data"
cluster = "6f2c1d0e-8a4b-4c3d-9e5f-0123456789ab"
[[user]]
name = "u"
password = "p"
)";
constexpr std::string_view kVoters = R"([register]
group = "payments"
[[register.voter]]
name = "v1"
address = "10.0.1.1:2379"
zone = "a"
site = "dc-a"
region = "east"
[[register.voter]]
name = "v2"
address = "10.0.1.2:2379"
zone = "b"
site = "dc-b"
region = "east"
[[register.voter]]
name = "v3"
address = "10.0.1.3:2379"
zone = "c"
site = "dc-c"
region = "east"
)";
constexpr std::string_view kCluster = "cluster = \"6f2c1d0e-8a4b-4c3d-9e5f-0123456789ab\"\n";
constexpr std::string_view kFile = "[register]\nfile = \"r.db\"\n";
constexpr std::string_view kSelf = "[group]\nlisten = \"10.0.0.1:5690\"\nzone = \"a\"\nsite = \"dc-a\"\n";
constexpr std::string_view kOther =
    "[[group.node]]\nname = \"east-2\"\naddress = \"10.0.0.2:5690\"\nzone = \"b\"\nsite = \"dc-b\"\n";

std::string file_of(std::string_view voters, std::string_view self, std::string_view more,
                    std::string_view other = kOther) {
  return fmt::format("{}{}{}{}{}", kHead, voters, self, more, other);
}
std::string pair(std::string_view more = {}) {
  return file_of(kVoters, kSelf, more);
}
std::string problems(const std::string& text) {
  const auto config = parse_broker_config(text, "b.toml", "/etc/mainstay");
  return config ? std::string() : config.error().what;
}
GroupConfig group_of(const std::string& text) {
  auto config = parse_broker_config(text, "b.toml", "/etc/mainstay");
  if (!config || !config->group) {
    ADD_FAILURE() << (config ? "no group" : config.error().what);
    return {};
  }
  return *config->group;
}
std::string without(std::string text, std::string_view line) {
  const auto at = text.find(line);
  EXPECT_NE(at, std::string::npos) << line;
  return at == std::string::npos ? text : text.erase(at, line.size());
}
std::string with(std::string text, std::string_view old, std::string_view now) {
  const auto at = text.find(old);
  EXPECT_NE(at, std::string::npos) << old;
  return at == std::string::npos ? text : text.replace(at, old.size(), now);
}

TEST(GroupConfig, APairHasTheDocumentedDefaults) {
  const auto config = parse_broker_config(pair(), "b.toml", "/etc/mainstay");
  ASSERT_TRUE(config) << config.error().what;
  ASSERT_TRUE(config->group);
  const GroupConfig& group = *config->group;
  EXPECT_EQ(group.listen, (Endpoint{"10.0.0.1", 5690}));
  EXPECT_EQ(group.zone, "a");
  EXPECT_EQ(group.site, "dc-a");
  ASSERT_EQ(group.others.size(), 1U);
  EXPECT_EQ(group.others[0].name, "east-2");
  EXPECT_EQ(group.others[0].address, (Endpoint{"10.0.0.2", 5690}));
  EXPECT_EQ(group.others[0].zone, "b");
  EXPECT_EQ(group.others[0].site, "dc-b");
  EXPECT_FALSE(group.create);
  EXPECT_EQ(group.min_copies, 2U);
  EXPECT_EQ(group.alone_without_register_max, seconds(10));
  EXPECT_EQ(group.timeouts, GroupTimeouts());
  EXPECT_THAT(group.unsafe_layout, IsEmpty());
  EXPECT_THAT(layout_warnings(group), IsEmpty());
  const RegisterPlace& place = config->region_register;
  EXPECT_EQ(place.group, "payments");
  EXPECT_EQ(place.etcd, (std::vector<Endpoint>{{"10.0.1.1", 2379}, {"10.0.1.2", 2379}, {"10.0.1.3", 2379}}));
  ASSERT_EQ(place.voters.size(), 3U);
  EXPECT_EQ(place.voters[2].name, "v3");
  EXPECT_EQ(place.voters[2].at, (Domain{"c", "dc-c", "east"}));
}

TEST(GroupConfig, EveryKeyIsRead) {
  const GroupConfig group = group_of(pair(
      "create = true\nmin_copies = 1\nalone_without_register_max_s = 3\nprofile = \"fast\"\n"
      "beacon_interval_ms = 11\ndrop_after_ms = 101\nlease_ms = 202\nsuspect_after_ms = 303\n"
      "suspect_after_max_ms = 404\nregister_interval_ms = 55\nregister_retry_ms = 6\nrejoin_after_ms = 7\n"));
  EXPECT_TRUE(group.create);
  EXPECT_EQ(group.min_copies, 1U);
  EXPECT_EQ(group.alone_without_register_max, seconds(3));
  GroupTimeouts t;
  t.beacon_interval = milliseconds(11);
  t.drop_after = milliseconds(101);
  t.lease = milliseconds(202);
  t.suspect_after = milliseconds(303);
  t.suspect_after_max = milliseconds(404);
  t.register_interval = milliseconds(55);
  t.register_retry = milliseconds(6);
  t.rejoin_after = milliseconds(7);
  EXPECT_EQ(group.timeouts, t);
}

TEST(GroupConfig, WithoutTheTableThereIsNoGroupAndNothingIsMissing) {
  const auto config = parse_broker_config(fmt::format("{}{}", kHead, kFile), "b.toml", "/");
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_FALSE(config->group);
}

TEST(GroupConfig, ANodeAloneMayHaveItsRegisterInAFile) {
  const GroupConfig group = group_of(file_of(kFile, "[group]\nlisten = \"127.0.0.1:0\"\n", "", ""));
  EXPECT_THAT(group.others, IsEmpty());
  EXPECT_EQ(group.min_copies, 1U) << "there is no second copy to wait for";
}

TEST(GroupConfig, TwoCopiesWithOneNodeNeedAnotherRegion) {
  const std::string lone = file_of(kFile, "[group]\nlisten = \"127.0.0.1:5690\"\nmin_copies = 2\n", "", "");
  EXPECT_THAT(problems(lone),
              HasSubstr("no publish could ever be confirmed; list the other nodes as [[group.node]]"));
  EXPECT_EQ(problems(lone + "[replication]\nlisten = \"127.0.0.1:5691\"\n"), "");
}

TEST(GroupConfig, AddressesThatNobodyCouldUseAreRefused) {
  EXPECT_THAT(problems(without(pair(), "listen = \"10.0.0.1:5690\"\n")),
              HasSubstr("\"listen\" in [group] is missing"));
  EXPECT_THAT(problems(with(pair(), "10.0.0.1:5690", "10.0.0.1:0")),
              HasSubstr("\"10.0.0.1:0\" has port 0: the other nodes must know the port"));
  EXPECT_THAT(problems(with(pair(), "10.0.0.2:5690", "10.0.0.2:0")),
              HasSubstr("\"10.0.0.2:0\" has port 0: name"));
  EXPECT_THAT(problems(without(pair(), "address = \"10.0.0.2:5690\"\n")),
              HasSubstr("\"address\" in [[group.node]] is missing"));
  for (const char* table : {"amqp", "control", "replication"}) {
    const std::string same = fmt::format("{}[{}]\nlisten = \"10.0.0.1:5690\"\n", pair(), table);
    EXPECT_THAT(problems(same),
                HasSubstr(fmt::format("\"listen\" in [group] and in [{}] are both 10.0.0.1:5690", table)));
  }
}

TEST(GroupConfig, AGroupWithoutAClusterIsRefusedInBothModes) {
  EXPECT_THAT(problems(without(pair(), kCluster)),
              AllOf(StartsWith("b.toml:28:1: [group] needs \"cluster\" under [node], the same UUID in every "
                               "node's file: by it the nodes know that their logs are of one cluster"),
                    Not(HasSubstr("\n"))));
  EXPECT_THAT(problems(without(pair("mode = \"shared-store\"\n"), kCluster)),
              AllOf(StartsWith("b.toml:32:1: [group] needs \"cluster\""),
                    HasSubstr("by it a node tells its group's store from another's")));
  EXPECT_THAT(problems(without(file_of(kFile, "[group]\nlisten = \"127.0.0.1:5690\"\n", "", ""), kCluster)),
              StartsWith("b.toml:10:1: [group] needs \"cluster\""))
      << "a node alone, too";
}

TEST(GroupConfig, AClusterThatIsNoUuidIsToldOnce) {
  const std::string told = problems(with(pair(), "6f2c1d0e-8a4b-4c3d-9e5f-0123456789ab", "payments"));
  EXPECT_THAT(told, AllOf(StartsWith("b.toml:5:11: \"cluster\" in [node] must be a UUID"),
                          Not(HasSubstr("needs \"cluster\""))));
}

TEST(GroupConfig, AnInitialRegionThatIsNotTheNodesOwnIsRefused) {
  const auto naming = [](std::string_view region, std::string_view more = {}) {
    return with(pair(more), "group = \"payments\"\n",
                fmt::format("group = \"payments\"\ninitial_region = \"{}\"\n", region));
  };
  EXPECT_EQ(problems(naming("east")), "");
  EXPECT_THAT(
      problems(naming("west")),
      StartsWith("b.toml:11:1: \"initial_region\" in [register] is \"west\", and a group leads in its "
                 "nodes' own region, \"east\", and in no other: take it away"));
  EXPECT_THAT(problems(naming("west", "mode = \"shared-store\"\n")),
              StartsWith("b.toml:11:1: \"initial_region\" in [register] is \"west\""));
  EXPECT_EQ(problems(fmt::format("{}{}initial_region = \"west\"\n", kHead, kFile)), "")
      << "without a group it is the region that leads first";
}

TEST(GroupConfig, AGroupHasAtMostSixteenNodes) {
  std::string text = pair();
  for (int i = 3; i <= 17; ++i)
    text += fmt::format(
        "[[group.node]]\nname = \"n{}\"\naddress = \"h{}:1\"\nzone = \"z{}\"\nsite = \"s{}\"\n", i, i, i, i);
  EXPECT_THAT(problems(text), HasSubstr("a group has at most 16 nodes, found 17"));
  EXPECT_EQ(problems(text.substr(0, text.rfind("[[group.node]]"))), "");
}

// --- layout
// ----------------------------------------------------------------------------------------------------

TEST(GroupConfig, ABadPlacementIsRefusedAtTheLineOfWhomItIsAbout) {
  EXPECT_THAT(
      problems(with(pair(), "zone = \"b\"\nsite = \"dc-b\"\n", "zone = \"c2\"\nsite = \"dc-c\"\n")),
      AllOf(StartsWith("b.toml:23:1: site \"dc-c\" has 2 of 3 voters"),
            HasSubstr("(majority-in-a-site; to run without that safety: allow_unsafe_layout = \"why\" in "
                      "[group])")));
  const std::string zone = file_of(
      kVoters, kSelf, "", with(std::string(kOther), "\"b\"\nsite = \"dc-b\"", "\"a\"\nsite = \"dc-a\""));
  EXPECT_THAT(problems(zone),
              StartsWith("b.toml:33:1: node \"east-1\" and node \"east-2\" both stand in zone \"a\""));
  EXPECT_THAT(problems(file_of(kFile, kSelf, "")),
              StartsWith("b.toml:11:1: the group has 2 nodes and its register is a file"));
}

TEST(GroupConfig, VotersGivenAsAddressesDoNotSayWhereTheyStand) {
  const std::string text =
      file_of("[register]\netcd = [\"10.0.1.1:2379\", \"10.0.1.2:2379\", \"10.0.1.3:2379\"]\n", kSelf, "");
  EXPECT_THAT(problems(text),
              AllOf(HasSubstr("b.toml:10:1: voter 10.0.1.1:2379 does not say its zone and site and region"),
                    HasSubstr("voter 10.0.1.3:2379"), HasSubstr("[[register.voter]]")));
}

TEST(GroupConfig, AnOverrideAllowsUnsafePlacementsAndTellsThem) {
  const std::string laptop =
      file_of(kFile, "[group]\nlisten = \"127.0.0.1:5690\"\n", "allow_unsafe_layout = \"laptop\"\n",
              "[[group.node]]\nname = \"east-2\"\naddress = \"127.0.0.1:5691\"\n");
  const GroupConfig group = group_of(laptop);
  EXPECT_EQ(group.unsafe_layout_reason, "laptop");
  EXPECT_EQ(group.unsafe_layout.size(), 3U);
  const auto warnings = layout_warnings(group);
  ASSERT_EQ(warnings.size(), 3U);
  EXPECT_THAT(warnings[0],
              StartsWith("the group's layout is unsafe and was allowed (\"laptop\"): not-declared: node "
                         "\"east-1\" does not say its zone and site"));
  EXPECT_THAT(problems(without(laptop, "allow_unsafe_layout = \"laptop\"\n")),
              HasSubstr("register-is-a-file"));
  EXPECT_THAT(problems(with(laptop, "\"laptop\"", "\"\"")), HasSubstr("must be a text that is not empty"));
}

TEST(GroupConfig, NoOverrideAllowsWhatCannotWork) {
  const std::string text = file_of(kVoters, kSelf, "allow_unsafe_layout = \"laptop\"\n");
  EXPECT_THAT(problems(with(text, "name = \"east-2\"", "name = \"east-1\"")),
              AllOf(HasSubstr("this node itself"), HasSubstr("(name-twice)")));
  EXPECT_THAT(problems(with(text, "10.0.0.2:5690", "10.0.0.1:5690")), HasSubstr("(address-twice)"));
}

TEST(GroupConfig, AnOverrideThatAllowsNothingIsTold) {
  const GroupConfig group = group_of(pair("allow_unsafe_layout = \"was needed once\"\n"));
  EXPECT_THAT(group.unsafe_layout, IsEmpty());
  EXPECT_THAT(layout_warnings(group), ::testing::ElementsAre(HasSubstr("allows nothing")));
}

TEST(GroupConfig, ThePipelineReadsTheSameVoters) {
  const auto config = parse_pipeline_config(
      fmt::format(
          "[pipeline]\nregion = \"east\"\nworker = \"w\"\nrole = \"processor\"\n[amqp]\nendpoints = "
          "[\"h:5672\"]\nqueue = \"q\"\n{}[ledger]\nfile = \"l.db\"\n[destination]\ndirectory = \"out\"\n",
          kVoters),
      "p.toml", "/");
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_EQ(config->region_register.etcd.size(), 3U);
}

// --- timeouts
// --------------------------------------------------------------------------------------------------

TEST(GroupTimeouts, TheProfileIsTheDefaultOfEachOfThem) {
  const GroupTimeouts fast = group_of(pair("profile = \"fast\"\n")).timeouts;
  EXPECT_LT(fast.suspect_after, GroupTimeouts().suspect_after);
  const GroupTimeouts mixed = group_of(pair("profile = \"fast\"\nsuspect_after_ms = 500\n")).timeouts;
  EXPECT_EQ(mixed.suspect_after, milliseconds(500));
  EXPECT_EQ(mixed.lease, fast.lease);
  EXPECT_THAT(problems(pair("profile = \"fsat\"\n")), HasSubstr("did you mean \"fast\"?"));
}

TEST(GroupTimeouts, EveryRelationIsHeldAndSaysWhatToDo) {
  struct Case {
    const char* lines;
    const char* says;
  };
  for (const Case& it : std::vector<Case>{
           {"drop_after_ms = 299\n",
            "3 times \"beacon_interval_ms\" (100 ms, from the profile \"default\") must be not longer than "
            "\"drop_after_ms\" (299 ms): else one or two lost packets count as a dead node; raise the second "
            "or "
            "lower the first"},
           {"drop_after_ms = 800\n",
            "\"drop_after_ms\" (800 ms) must be shorter than \"lease_ms\" (800 ms, from"},
           {"lease_ms = 1200\n",
            "\"lease_ms\" (1200 ms) must be shorter than \"suspect_after_ms\" (1200 ms, from"},
           {"suspect_after_ms = 700\n",
            "\"lease_ms\" (800 ms, from the profile \"default\") must be shorter than "
            "\"suspect_after_ms\" (700 ms)"},
           {"suspect_after_ms = 7000\nsuspect_after_max_ms = 6999\n",
            "\"suspect_after_ms\" (7000 ms) must be not longer than \"suspect_after_max_ms\" (6999 ms)"},
           {"register_interval_ms = 800\n",
            "\"register_interval_ms\" (800 ms) must be shorter than \"lease_ms\" (800 ms, from"},
           {"register_retry_ms = 501\n",
            "\"register_retry_ms\" (501 ms) must be not longer than \"register_interval_ms\" (500 ms, from"},
       }) {
    EXPECT_THAT(problems(pair(it.lines)), HasSubstr(it.says)) << it.lines;
  }
  // The nearest values that hold.
  EXPECT_EQ(problems(pair("drop_after_ms = 300\n")), "");
  EXPECT_EQ(problems(pair("drop_after_ms = 799\n")), "");
  EXPECT_EQ(problems(pair("lease_ms = 1199\n")), "");
  EXPECT_EQ(problems(pair("suspect_after_ms = 801\n")), "");
  EXPECT_EQ(problems(pair("suspect_after_ms = 7000\n")), "") << "a default never contradicts a chosen value";
  EXPECT_EQ(problems(pair("register_interval_ms = 799\n")), "");
  EXPECT_EQ(problems(pair("register_retry_ms = 500\n")), "");
}

bool related(const GroupTimeouts& t) {
  return 3 * t.beacon_interval.ns <= t.drop_after.ns && t.drop_after < t.lease && t.lease < t.suspect_after &&
         t.suspect_after <= t.suspect_after_max && t.register_retry <= t.register_interval &&
         t.register_interval < t.lease;
}

TEST(GroupTimeouts, BothProfilesHoldTheRelations) {
  EXPECT_TRUE(related(GroupTimeouts()));
  EXPECT_TRUE(related(group_of(pair("profile = \"fast\"\n")).timeouts));
}

TEST(GroupConfig, WhoPromotesIsChosen) {
  EXPECT_EQ(group_of(pair()).promotion, Promotion::automatic);
  EXPECT_EQ(group_of(pair("promotion = \"operator\"\n")).promotion, Promotion::by_operator);
  EXPECT_THAT(problems(pair("promotion = \"nobody\"\n")), HasSubstr("promotion"));
  EXPECT_THAT(problems(pair("mode = \"shared-store\"\npromotion = \"operator\"\n")),
              HasSubstr("the standby that finds the store free leads by itself"));
}

// ---- shared-store mode

std::string shared_store(std::string_view more, std::string_view other = kOther) {
  return fmt::format("{}{}{}mode = \"shared-store\"\n{}{}", kHead, kVoters, kSelf, more, other);
}
std::string refusal(const std::string& text) {
  const auto config = parse_broker_config(text, "east-1.toml", "/etc");
  return config ? "" : config.error().what;
}

TEST(SharedStoreConfig, ReadsModeAndLock) {
  const auto config = parse_broker_config(shared_store(""), "east-1.toml", "/etc");
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_EQ(config->group->mode, GroupMode::shared_store);
  EXPECT_EQ(config->group->lock, StoreLockPolicy::required);
  EXPECT_EQ(config->group->min_copies, 1U);
  const auto other = parse_broker_config(shared_store("lock = \"preferred\"\n"), "east-1.toml", "/etc");
  ASSERT_TRUE(other) << other.error().what;
  EXPECT_EQ(other->group->lock, StoreLockPolicy::preferred);
  const auto replicated = parse_broker_config(pair(), "east-1.toml", "/etc");
  ASSERT_TRUE(replicated) << replicated.error().what;
  EXPECT_EQ(replicated->group->mode, GroupMode::replicated);
}

TEST(SharedStoreConfig, RefusesWhatHasNoMeaningOnOneCopy) {
  EXPECT_THAT(refusal(shared_store("min_copies = 2\n")), HasSubstr("all nodes have one copy"));
  EXPECT_THAT(refusal(shared_store("", "")), HasSubstr("several nodes with one directory"));
  EXPECT_THAT(refusal(shared_store("") + "[replication]\nlisten = \"10.0.0.1:5681\"\n"),
              HasSubstr("does not ship a shared store"));
  EXPECT_THAT(refusal(shared_store("") + "[[queue]]\nname = \"q\"\ndurability = \"region\"\n"),
              HasSubstr("no second disk"));
  EXPECT_THAT(refusal(pair("lock = \"required\"\n")), HasSubstr("mode = \"shared-store\""));
}

TEST(SharedStoreConfig, PlacementIsCheckedAsForAnyGroup) {
  constexpr std::string_view kSameZone =
      "[[group.node]]\nname = \"east-2\"\naddress = \"10.0.0.2:5690\"\nzone = \"a\"\nsite = \"dc-a\"\n";
  EXPECT_THAT(refusal(shared_store("", kSameZone)), HasSubstr("nodes-share-a-zone"));
}

}  // namespace
}  // namespace mainstay::config
