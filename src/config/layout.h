// Where a group's nodes and voters stand, and which placements are refused. Pure: values in, problems out.
//
// Three domains, one inside the other: a region (what a disaster takes), a site in it (a data centre: what a
// fire or a cut cable takes), a zone in that (a section with power and network of its own). Where a provider
// has availability zones, each is a site and a zone of its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/endpoint.h"

namespace mainstay::config {

/// An empty member is not declared.
struct Domain {
  std::string zone, site, region;
  [[nodiscard]] bool declared() const { return !zone.empty() && !site.empty() && !region.empty(); }
  friend bool operator==(const Domain&, const Domain&) = default;
};

/// A node of the group or a voter of its register.
struct Placed {
  std::string name;  ///< may be empty for a voter known by its address only
  Endpoint address;  ///< of a node: its group listener; of a voter: its client port
  Domain at;
};

/// Where the register's record is kept.
enum class RegisterKind : std::uint8_t {
  file,    ///< one file on one machine
  voters,  ///< a quorum of `Layout::voters`
};

struct Layout {
  std::vector<Placed> nodes;  ///< of the group, this one first
  RegisterKind kind = RegisterKind::file;
  std::vector<Placed> voters;
};

enum class LayoutRule : std::uint8_t {
  name_twice,          ///< two nodes, or two voters, with one name
  address_twice,       ///< two of all nodes and voters at one address
  domains_contradict,  ///< a zone in two sites, a site in two regions, a node outside the group's region
  not_declared,        ///< a node or voter without zone, site or region
  register_is_a_file,  ///< several nodes, and a register that ends with one machine
  too_few_voters,      ///< fewer than 3: the loss of any one stops every decision
  too_many_voters,     ///< more than 7
  even_voters,         ///< one voter more to ask, none more that may fail
  majority_in_a_site,  ///< the loss of that site stops every decision
  nodes_share_a_zone,  ///< the loss of that zone takes every copy in it at once
  lone_site,           ///< all nodes and voters in one site
  public_listener,     ///< a group listener at every address of its machine, or at a public one
};
/// As text, for logs and metrics: "even-voters".
[[nodiscard]] std::string_view name_of(LayoutRule rule);
/// Whether an operator may allow it (`allow_unsafe_layout`). What cannot work at all is never allowed.
[[nodiscard]] bool may_be_allowed(LayoutRule rule);

struct LayoutProblem {
  enum class Where : std::uint8_t { group, node, voter };
  LayoutRule rule{};
  Where where = Where::group;
  std::size_t index{};  ///< of the node or voter that the message is about
  std::string what;     ///< names who stands where, why that is refused and what to change
};

/// Everything that is wrong, in order of the rules. A group of one node may have its register in a file and
/// stands in one zone; voters are checked whenever there are any.
[[nodiscard]] std::vector<LayoutProblem> check_layout(const Layout& layout);

}  // namespace mainstay::config
