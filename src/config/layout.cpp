#include "config/layout.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "config/common.h"
#include "config/exposed.h"

namespace mainstay::config {
namespace {

using Where = LayoutProblem::Where;

constexpr std::size_t kVotersMin = 3, kVotersMax = 7;

class Checker {
 public:
  explicit Checker(const Layout& layout) : layout_(layout) {}

  std::vector<LayoutProblem> run() {
    names(layout_.nodes, Where::node);
    names(layout_.voters, Where::voter);
    addresses();
    contradictions();
    declarations();
    register_kind();
    if (layout_.kind == RegisterKind::voters) voters();
    zones();
    listeners();
    return std::move(problems_);
  }

 private:
  static std::string title(const Placed& it, Where kind) {
    const char* what = kind == Where::node ? "node" : "voter";
    return it.name.empty() ? fmt::format("{} {}", what, it.address.text())
                           : fmt::format("{} \"{}\"", what, it.name);
  }
  void add(LayoutRule rule, Where where, std::size_t index, std::string what) {
    problems_.push_back({rule, where, index, std::move(what)});
  }
  /// Calls `each(placed, kind, index)` for all nodes, then all voters.
  template <class Each>
  void all(const Each& each) const {
    for (std::size_t i = 0; i < layout_.nodes.size(); ++i) each(layout_.nodes[i], Where::node, i);
    for (std::size_t i = 0; i < layout_.voters.size(); ++i) each(layout_.voters[i], Where::voter, i);
  }

  void names(const std::vector<Placed>& of, Where kind) {
    std::set<std::string> seen;
    for (std::size_t i = 0; i < of.size(); ++i) {
      if (of[i].name.empty() || seen.insert(of[i].name).second) continue;
      add(LayoutRule::name_twice, kind, i,
          kind == Where::node && of[i].name == of.front().name
              ? fmt::format(
                    "{} is this node itself: [[group.node]] lists only the others; take it away, or correct "
                    "its name",
                    title(of[i], kind))
              : fmt::format("{} is listed twice: each {} has a name of its own, and is listed once",
                            title(of[i], kind), kind == Where::node ? "node" : "voter"));
    }
  }

  void addresses() {
    std::map<std::pair<std::string, std::uint16_t>, std::string> seen;
    all([&](const Placed& it, Where kind, std::size_t i) {
      if (it.address.port == 0) return;  // any free port: no address yet
      const auto [first, is_new] =
          seen.emplace(std::pair{lower(it.address.host), it.address.port}, title(it, kind));
      if (is_new) return;
      add(LayoutRule::address_twice, kind, i,
          fmt::format("{} and {} have the same address {}: two programs cannot listen there; correct one "
                      "of them",
                      first->second, title(it, kind), it.address.text()));
    });
  }

  /// A name of a zone or site that means two places would make every other check guess.
  void contradictions() {
    std::map<std::string, std::pair<std::string, std::string>> site_of_zone, region_of_site;
    const auto one_parent = [&](auto& parents, const char* what, const std::string& child, const char* of,
                                const std::string& parent, const Placed& it, Where kind, std::size_t i) {
      if (child.empty() || parent.empty()) return;
      const auto [first, is_new] = parents.emplace(child, std::pair{parent, title(it, kind)});
      if (is_new || first->second.first == parent) return;
      add(LayoutRule::domains_contradict, kind, i,
          fmt::format(
              "{} says that {} \"{}\" is in {} \"{}\", and {} says that it is in \"{}\": a {} lies in "
              "one {}; correct one of them, or give the two {}s names of their own",
              title(it, kind), what, child, of, parent, first->second.second, first->second.first, what, of,
              what));
    };
    all([&](const Placed& it, Where kind, std::size_t i) {
      one_parent(site_of_zone, "zone", it.at.zone, "site", it.at.site, it, kind, i);
      one_parent(region_of_site, "site", it.at.site, "region", it.at.region, it, kind, i);
    });
    for (std::size_t i = 1; i < layout_.nodes.size(); ++i) {
      const Placed &first = layout_.nodes.front(), &it = layout_.nodes[i];
      if (it.at.region.empty() || first.at.region.empty() || it.at.region == first.at.region) continue;
      add(LayoutRule::domains_contradict, Where::node, i,
          fmt::format(
              "{} is in region \"{}\", and {} in \"{}\": a group's nodes stand in one region; the other "
              "region has a group of its own and follows by [replication]",
              title(it, Where::node), it.at.region, title(first, Where::node), first.at.region));
    }
  }

  void declarations() {
    if (!several()) return;
    all([&](const Placed& it, Where kind, std::size_t i) {
      std::vector<std::string_view> missing;
      if (it.at.zone.empty()) missing.emplace_back("zone");
      if (it.at.site.empty()) missing.emplace_back("site");
      if (it.at.region.empty()) missing.emplace_back("region");
      if (missing.empty()) return;
      add(LayoutRule::not_declared, kind, i,
          fmt::format(
              "{} does not say its {}: what fails together with it cannot be known; add {}", title(it, kind),
              fmt::join(missing, " and "),
              kind == Where::voter && it.name.empty()
                  ? std::string("a [[register.voter]] with its name, address, zone, site and region in the "
                                "place of its entry in \"etcd\"")
                  : fmt::format("\"{}\" to it", fmt::join(missing, "\" and \""))));
    });
  }

  void register_kind() {
    if (!several() || layout_.kind == RegisterKind::voters) return;
    add(LayoutRule::register_is_a_file, Where::group, 0,
        fmt::format(
            "the group has {} nodes and its register is a file: with the machine that has the file, no node "
            "can take over; list 3, 5 or 7 voters as [[register.voter]] instead of \"file\"",
            layout_.nodes.size()));
  }

  void voters() {
    const std::size_t count = layout_.voters.size();
    // One node that asks voters needs nothing of them but an answer.
    if (!several() && !any_declared(layout_.voters)) return;
    if (count < kVotersMin) {
      add(LayoutRule::too_few_voters, Where::group, 0,
          fmt::format(
              "the register has {} voter{}: it stops deciding when one of them is lost; list 3, 5 or 7 in "
              "at least 3 sites",
              count, count == 1 ? "" : "s"));
    } else if (count > kVotersMax) {
      add(LayoutRule::too_many_voters, Where::group, 0,
          fmt::format(
              "the register has {} voters: each decision waits for {} of them, and more than 3 are never "
              "lost at once by chance; list 3, 5 or 7",
              count, count / 2 + 1));
    } else if (count % 2 == 0) {
      add(LayoutRule::even_voters, Where::group, 0,
          fmt::format(
              "the register has {} voters, an even number: it survives the loss of {}, as {} voters do, and "
              "a cut in half leaves no majority; take one away or add one in another site",
              count, (count - 1) / 2, count - 1));
    }
    // Two voters of whatever layout are each half of them: the message above is the one that helps.
    if (count < kVotersMin) return;
    std::map<std::string, std::vector<std::size_t>> by_site;
    for (std::size_t i = 0; i < count; ++i)
      if (const std::string& site = layout_.voters[i].at.site; !site.empty()) by_site[site].push_back(i);
    for (const auto& [site, there] : by_site) {
      if (there.size() * 2 <= count) continue;
      std::vector<std::string> who;
      for (const std::size_t i : there) who.push_back(title(layout_.voters[i], Where::voter));
      add(LayoutRule::majority_in_a_site, Where::voter, there.back(),
          fmt::format(
              "site \"{}\" has {} of {} voters ({}): when it is lost no node can take over anywhere; move "
              "voters to other sites until none has more than {}",
              site, there.size(), count, fmt::join(who, ", "), (count - 1) / 2));
    }
  }

  void zones() {
    if (!several()) return;
    std::map<std::string, std::size_t> first_in;
    for (std::size_t i = 0; i < layout_.nodes.size(); ++i) {
      const Placed& it = layout_.nodes[i];
      if (it.at.zone.empty()) continue;
      const auto [first, is_new] = first_in.emplace(it.at.zone, i);
      if (is_new) continue;
      add(LayoutRule::nodes_share_a_zone, Where::node, i,
          fmt::format(
              "{} and {} both stand in zone \"{}\": live and backup would be lost together; move one of "
              "them to another zone",
              title(layout_.nodes[first->second], Where::node), title(it, Where::node), it.at.zone));
    }
    std::set<std::string> sites;
    bool known = true;
    all([&](const Placed& it, Where, std::size_t) {
      known = known && !it.at.site.empty();
      sites.insert(it.at.site);
    });
    if (!known || sites.size() != 1) return;
    add(LayoutRule::lone_site, Where::group, 0,
        fmt::format(
            "all nodes{} stand in site \"{}\": its loss is the loss of the region; spread them over at least "
            "3 sites (nodes over 2 of them)",
            layout_.voters.empty() ? "" : " and voters", *sites.begin()));
  }

  /// Whoever reaches a group listener can read and write the log.
  void listeners() {
    for (std::size_t i = 0; i < layout_.nodes.size(); ++i) {
      const Placed& it = layout_.nodes[i];
      const std::string_view where = exposed(it.address.host);
      if (where.empty()) continue;
      add(LayoutRule::public_listener, Where::node, i,
          fmt::format("the group listener of {} is at {}, {}: replication belongs on a private network; name "
                      "a private "
                      "address or a host name that stands for one",
                      title(it, Where::node), it.address.text(), where));
    }
  }

  [[nodiscard]] bool several() const { return layout_.nodes.size() > 1; }
  static bool any_declared(const std::vector<Placed>& of) {
    return std::any_of(of.begin(), of.end(), [](const Placed& it) { return it.at != Domain{}; });
  }

  const Layout& layout_;
  std::vector<LayoutProblem> problems_;
};

struct RuleInfo {
  LayoutRule rule;
  std::string_view name;
  bool may_be_allowed;
};
constexpr std::array kRules = {
    RuleInfo{LayoutRule::name_twice, "name-twice", false},
    RuleInfo{LayoutRule::address_twice, "address-twice", false},
    RuleInfo{LayoutRule::domains_contradict, "domains-contradict", false},
    RuleInfo{LayoutRule::not_declared, "not-declared", true},
    RuleInfo{LayoutRule::register_is_a_file, "register-is-a-file", true},
    RuleInfo{LayoutRule::too_few_voters, "too-few-voters", true},
    RuleInfo{LayoutRule::too_many_voters, "too-many-voters", true},
    RuleInfo{LayoutRule::even_voters, "even-voters", true},
    RuleInfo{LayoutRule::majority_in_a_site, "majority-in-a-site", true},
    RuleInfo{LayoutRule::nodes_share_a_zone, "nodes-share-a-zone", true},
    RuleInfo{LayoutRule::lone_site, "lone-site", true},
    RuleInfo{LayoutRule::public_listener, "public-listener", true},
};
constexpr bool in_order() {
  for (std::size_t i = 0; i < kRules.size(); ++i)
    if (kRules[i].rule != static_cast<LayoutRule>(i)) return false;
  return true;
}
static_assert(in_order());

}  // namespace

std::string_view name_of(LayoutRule rule) {
  return kRules[static_cast<std::size_t>(rule)].name;
}
bool may_be_allowed(LayoutRule rule) {
  return kRules[static_cast<std::size_t>(rule)].may_be_allowed;
}

std::vector<LayoutProblem> check_layout(const Layout& layout) {
  return Checker(layout).run();
}

}  // namespace mainstay::config
