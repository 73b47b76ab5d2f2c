// Each refusal of a placement, that it can be seen alone, and over many random layouts that exactly the
// placements are accepted that survive what they promise to survive.
#include "config/layout.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <ostream>
#include <set>

#include "base/random.h"

namespace mainstay::config {

void PrintTo(LayoutRule rule, std::ostream* out) {
  *out << name_of(rule);
}

namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Placed node(const std::string& name, const std::string& zone, const std::string& site,
            std::uint16_t port = 5690) {
  return {name, {"10.0.0." + name.substr(name.size() - 1), port}, {zone, site, "east"}};
}
Placed voter(const std::string& name, const std::string& zone, const std::string& site,
             const std::string& region = "east") {
  return {name, {"10.0.1." + name.substr(name.size() - 1), 2379}, {zone, site, region}};
}
/// Two nodes and three voters in three sites.
Layout sound() {
  return {{node("east-1", "a", "dc-a"), node("east-2", "b", "dc-b")},
          RegisterKind::voters,
          {voter("v1", "a", "dc-a"), voter("v2", "b", "dc-b"), voter("v3", "c", "dc-c")}};
}
std::vector<LayoutRule> rules(const Layout& layout) {
  std::vector<LayoutRule> out;
  for (const LayoutProblem& problem : check_layout(layout)) out.push_back(problem.rule);
  return out;
}

TEST(Layout, TwoNodesAndThreeVotersInThreeSitesAreSound) {
  EXPECT_THAT(rules(sound()), IsEmpty());
}

TEST(Layout, ANodeAloneNeedsNeitherVotersNorDeclarations) {
  EXPECT_THAT(rules({{{"n1", {"127.0.0.1", 0}, {}}}, RegisterKind::file, {}}), IsEmpty());
  EXPECT_THAT(
      rules({{{"n1", {"127.0.0.1", 5690}, {}}}, RegisterKind::voters, {{"", {"127.0.0.1", 2379}, {}}}}),
      IsEmpty());
}

TEST(Layout, VotersThatSayWhereTheyStandAreCheckedForOneNodeToo) {
  Layout layout = sound();
  layout.nodes.pop_back();
  EXPECT_THAT(rules(layout), IsEmpty());
  layout.voters.pop_back();
  EXPECT_THAT(rules(layout), ElementsAre(LayoutRule::too_few_voters));
}

struct Broken {
  const char* title;
  std::function<void(Layout&)> break_it;
  LayoutRule rule;
  LayoutProblem::Where where;
  std::size_t index;
  std::vector<const char*> says;
};

std::vector<Broken> broken() {
  using W = LayoutProblem::Where;
  using R = LayoutRule;
  return {
      {"this node among the others",
       [](Layout& l) { l.nodes[1].name = "east-1"; },
       R::name_twice,
       W::node,
       1,
       {"node \"east-1\" is this node itself", "lists only the others"}},
      {"a node listed twice",
       [](Layout& l) {
         l.nodes.push_back(node("east-3", "c", "dc-c"));
         l.nodes[2].name = "east-2";
       },
       R::name_twice,
       W::node,
       2,
       {"node \"east-2\" is listed twice"}},
      {"two voters with one name",
       [](Layout& l) { l.voters[2].name = "v1"; },
       R::name_twice,
       W::voter,
       2,
       {"voter \"v1\" is listed twice"}},
      {"two nodes at one address",
       [](Layout& l) { l.nodes[1].address = l.nodes[0].address; },
       R::address_twice,
       W::node,
       1,
       {"node \"east-1\" and node \"east-2\" have the same address 10.0.0.1:5690"}},
      {"a voter at a node's address",
       [](Layout& l) {
         l.nodes[0].address.host = "db.example";
         l.voters[1].address = {"DB.example", 5690};
       },
       R::address_twice,
       W::voter,
       1,
       {"node \"east-1\" and voter \"v2\"", "DB.example:5690"}},
      {"a zone in two sites",
       [](Layout& l) { l.voters[2].at.zone = "a"; },
       R::domains_contradict,
       W::voter,
       2,
       {"voter \"v3\" says that zone \"a\" is in site \"dc-c\"", "node \"east-1\"", "\"dc-a\""}},
      {"a site in two regions",
       [](Layout& l) { l.voters[1].at.region = "west"; },
       R::domains_contradict,
       W::voter,
       1,
       {"site \"dc-b\" is in region \"west\"", "node \"east-2\"", "\"east\""}},
      {"a node of another region",
       [](Layout& l) {
         l.nodes[1].at = {"w", "dc-w", "west"};
       },
       R::domains_contradict,
       W::node,
       1,
       {"node \"east-2\" is in region \"west\"", "[replication]"}},
      {"a voter that says nothing",
       [](Layout& l) { l.voters[1].at = {}; },
       R::not_declared,
       W::voter,
       1,
       {"voter \"v2\" does not say its zone and site and region",
        "add \"zone\" and \"site\" and \"region\""}},
      {"a voter known by its address only",
       [](Layout& l) {
         l.voters[1].at = {};
         l.voters[1].name.clear();
       },
       R::not_declared,
       W::voter,
       1,
       {"voter 10.0.1.2:2379 does not say", "[[register.voter]]"}},
      {"a node without a zone",
       [](Layout& l) { l.nodes[1].at.zone.clear(); },
       R::not_declared,
       W::node,
       1,
       {"node \"east-2\" does not say its zone", "add \"zone\" to it"}},
      {"a register in a file",
       [](Layout& l) {
         l.kind = RegisterKind::file;
         l.voters.clear();
       },
       R::register_is_a_file,
       W::group,
       0,
       {"has 2 nodes and its register is a file", "[[register.voter]]"}},
      {"two voters",
       [](Layout& l) { l.voters.pop_back(); },
       R::too_few_voters,
       W::group,
       0,
       {"has 2 voters", "list 3, 5 or 7"}},
      {"one voter", [](Layout& l) { l.voters.resize(1); }, R::too_few_voters, W::group, 0, {"has 1 voter:"}},
      {"four voters",
       [](Layout& l) { l.voters.push_back(voter("v4", "d", "dc-d")); },
       R::even_voters,
       W::group,
       0,
       {"has 4 voters, an even number", "loss of 1, as 3 voters do"}},
      {"nine voters in nine sites",
       [](Layout& l) {
         for (int i = 4; i <= 9; ++i) {
           const std::string at = fmt::format("{}", i);
           l.voters.push_back(voter("v" + at, at, "dc-" + at));
         }
       },
       R::too_many_voters,
       W::group,
       0,
       {"has 9 voters", "waits for 5"}},
      {"two of three voters in one site",
       [](Layout& l) {
         l.voters[2].at = {"a2", "dc-a", "east"};
       },
       R::majority_in_a_site,
       W::voter,
       2,
       {"site \"dc-a\" has 2 of 3 voters (voter \"v1\", voter \"v3\")", "none has more than 1"}},
      {"live and backup in one zone",
       [](Layout& l) { l.nodes[1].at = l.nodes[0].at; },
       R::nodes_share_a_zone,
       W::node,
       1,
       {"node \"east-1\" and node \"east-2\" both stand in zone \"a\"", "lost together"}},
      {"a listener at every address",
       [](Layout& l) { l.nodes[0].address.host = "0.0.0.0"; },
       R::public_listener,
       W::node,
       0,
       {"node \"east-1\"", "0.0.0.0:5690", "every address of the machine"}},
      {"a listener at a public address",
       [](Layout& l) { l.nodes[1].address.host = "2001:4860::8888"; },
       R::public_listener,
       W::node,
       1,
       {"node \"east-2\"", "[2001:4860::8888]:5690", "a public address"}},
  };
}

TEST(Layout, EachMistakeIsRefusedAloneAndNamesWhoAndWhatToDo) {
  std::set<LayoutRule> reached;
  for (const Broken& broken : broken()) {
    SCOPED_TRACE(broken.title);
    Layout layout = sound();
    broken.break_it(layout);
    const auto problems = check_layout(layout);
    ASSERT_EQ(problems.size(), 1U) << (problems.size() > 1 ? problems[1].what : "nothing was refused");
    EXPECT_EQ(problems[0].rule, broken.rule) << name_of(problems[0].rule);
    EXPECT_EQ(problems[0].where, broken.where);
    EXPECT_EQ(problems[0].index, broken.index);
    for (const char* says : broken.says) EXPECT_THAT(problems[0].what, HasSubstr(says));
    reached.insert(problems[0].rule);
  }
  reached.insert(LayoutRule::lone_site);  // the next test's
  EXPECT_EQ(reached.size(), static_cast<std::size_t>(LayoutRule::public_listener) + 1)
      << "a rule has no case";
}

TEST(Layout, ALoneSiteIsRefusedBesideTheMajorityInIt) {
  Layout layout = sound();
  for (auto* all : {&layout.nodes, &layout.voters})
    for (Placed& it : *all) it.at.site = "dc";
  const auto problems = check_layout(layout);
  ASSERT_THAT(rules(layout), ElementsAre(LayoutRule::majority_in_a_site, LayoutRule::lone_site));
  EXPECT_THAT(problems[1].what,
              AllOf(HasSubstr("all nodes and voters stand in site \"dc\""), HasSubstr("3 sites")));
  layout.nodes[1].at = {"far", "dc-2", "east"};
  EXPECT_THAT(rules(layout), ElementsAre(LayoutRule::majority_in_a_site));
}

TEST(Layout, PrivateAddressesAndHostNamesAreNoPublicListeners) {
  for (const char* host :
       {"10.1.2.3", "172.16.0.1", "172.31.255.254", "192.168.0.1", "127.0.0.1", "100.64.0.1", "169.254.1.1",
        "::1", "fd00::1", "fe80::1", "node-1.mainstay.svc", "1.example"}) {
    Layout layout = sound();
    layout.nodes[0].address.host = host;
    EXPECT_THAT(rules(layout), IsEmpty()) << host;
  }
  for (const char* host : {"0.0.0.0", "::", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1",
                           "100.128.0.1", "192.169.0.1", "2001:db8::1"}) {
    Layout layout = sound();
    layout.nodes[0].address.host = host;
    EXPECT_THAT(rules(layout), ElementsAre(LayoutRule::public_listener)) << host;
  }
}

TEST(Layout, WhatCannotWorkIsNeverAllowed) {
  for (int i = 0; i <= static_cast<int>(LayoutRule::public_listener); ++i) {
    const auto rule = static_cast<LayoutRule>(i);
    EXPECT_EQ(may_be_allowed(rule), rule != LayoutRule::name_twice && rule != LayoutRule::address_twice &&
                                        rule != LayoutRule::domains_contradict)
        << name_of(rule);
  }
}

// --- random layouts
// --------------------------------------------------------------------------------------------

std::uint64_t seed() {
  const char* given = std::getenv("MAINSTAY_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 20'240'611;
}

/// A few zones in a few sites, each zone in one site; now and then somebody says nothing.
Layout random_layout(Random& random) {
  Layout layout;
  const std::uint64_t sites = random.between(1, 6), zones_per_site = random.between(1, 3);
  const auto place = [&]() -> Domain {
    const std::uint64_t site = random.below(sites), zone = random.below(zones_per_site);
    Domain at{fmt::format("z{}{}", site, zone), fmt::format("s{}", site), "east"};
    if (random.chance(1, 100)) at.site.clear();
    return at;
  };
  const std::uint64_t nodes = random.between(2, 4);
  for (std::uint64_t i = 0; i < nodes; ++i)
    layout.nodes.push_back({fmt::format("n{}", i), {fmt::format("10.0.0.{}", i + 1), 5690}, place()});
  layout.kind = random.chance(1, 20) ? RegisterKind::file : RegisterKind::voters;
  const std::uint64_t voters = layout.kind == RegisterKind::file ? 0 : random.between(1, 9);
  for (std::uint64_t i = 0; i < voters; ++i)
    layout.voters.push_back({fmt::format("v{}", i), {fmt::format("10.0.1.{}", i + 1), 2379}, place()});
  return layout;
}

/// Told from what the layout promises, by losing things, not from the rules.
bool survives_what_it_promises(const Layout& layout) {
  std::set<std::string> sites, zones;
  for (const auto* all : {&layout.nodes, &layout.voters})
    for (const Placed& it : *all) {
      if (!it.at.declared()) return false;
      sites.insert(it.at.site);
      zones.insert(it.at.zone);
    }
  const auto voters_left = [&](const std::string& lost_site) {
    return static_cast<std::size_t>(std::count_if(layout.voters.begin(), layout.voters.end(),
                                                  [&](const Placed& it) { return it.at.site != lost_site; }));
  };
  const std::size_t count = layout.voters.size();
  if (count != 3 && count != 5 && count != 7) return false;
  for (const std::string& site : sites)
    if (voters_left(site) * 2 <= count) return false;
  for (const std::string& zone : zones) {
    const auto lost = std::count_if(layout.nodes.begin(), layout.nodes.end(),
                                    [&](const Placed& it) { return it.at.zone == zone; });
    if (lost > 1) return false;
  }
  return true;
}

TEST(LayoutProperty, AcceptedExactlyWhenEverySiteAndZoneMayBeLost) {
  const std::uint64_t from = seed();
  SCOPED_TRACE(fmt::format("MAINSTAY_SEED={}", from));
  SeededRandom random(from);
  int accepted = 0, refused = 0;
  std::map<LayoutRule, int> reached;
  for (int i = 0; i < 20'000; ++i) {
    const Layout layout = random_layout(random);
    const auto problems = check_layout(layout);
    std::string told;
    for (const LayoutProblem& problem : problems) {
      ++reached[problem.rule];
      told += problem.what + "\n";
    }
    ASSERT_EQ(problems.empty(), survives_what_it_promises(layout)) << "layout " << i << "\n" << told;
    ++(problems.empty() ? accepted : refused);
  }
  EXPECT_GT(accepted, 200);
  EXPECT_GT(refused, 200);
  for (const LayoutRule rule :
       {LayoutRule::not_declared, LayoutRule::register_is_a_file, LayoutRule::too_few_voters,
        LayoutRule::too_many_voters, LayoutRule::even_voters, LayoutRule::majority_in_a_site,
        LayoutRule::nodes_share_a_zone, LayoutRule::lone_site})
    EXPECT_GT(reached[rule], 20) << name_of(rule) << " was hardly reached";
}

TEST(LayoutProperty, TheOrderOfTheListsDoesNotMatter) {
  const std::uint64_t from = seed();
  SCOPED_TRACE(fmt::format("MAINSTAY_SEED={}", from));
  SeededRandom random(from);
  const auto sorted = [](std::vector<LayoutRule> list) {
    std::sort(list.begin(), list.end());
    return list;
  };
  for (int i = 0; i < 3'000; ++i) {
    Layout layout = random_layout(random);
    const auto before = sorted(rules(layout));
    for (auto* all : {&layout.nodes, &layout.voters})
      for (std::size_t k = all->size(); k > 1; --k) std::swap((*all)[k - 1], (*all)[random.below(k)]);
    ASSERT_EQ(sorted(rules(layout)), before) << "layout " << i;
  }
}

TEST(LayoutProperty, EachMessageIsAboutSomebodyWhoIsThere) {
  const std::uint64_t from = seed();
  SCOPED_TRACE(fmt::format("MAINSTAY_SEED={}", from));
  SeededRandom random(from);
  for (int i = 0; i < 3'000; ++i) {
    const Layout layout = random_layout(random);
    for (const LayoutProblem& problem : check_layout(layout)) {
      if (problem.where == LayoutProblem::Where::group) continue;
      const auto& all = problem.where == LayoutProblem::Where::node ? layout.nodes : layout.voters;
      ASSERT_LT(problem.index, all.size());
      EXPECT_THAT(problem.what, HasSubstr("\"" + all[problem.index].name + "\""));
    }
  }
}

}  // namespace
}  // namespace mainstay::config
