// Who is one of the group: reload and removal while the node runs, and what is told of each node.
#include <algorithm>
#include <utility>

#include "node/node.h"
#include "node/store_standby.h"

namespace mainstay::node {
namespace {

constexpr Duration kRegisterMax = seconds(15);

std::string list(const std::set<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::set<std::string> names_of(const std::vector<GroupOptions::Other>& others) {
  std::set<std::string> names;
  for (const GroupOptions::Other& other : others) names.insert(other.name);
  return names;
}

std::set<std::string> without(const std::set<std::string>& all, const std::set<std::string>& gone) {
  std::set<std::string> out;
  std::set_difference(all.begin(), all.end(), gone.begin(), gone.end(), std::inserter(out, out.begin()));
  return out;
}

}  // namespace

/// R11: why these nodes cannot go; empty: they can.
std::string Node::too_few_without(const std::set<std::string>& gone) const {
  const std::vector<std::string> in_sync = replica_->member()->status().in_sync;
  const auto left = std::count_if(in_sync.begin(), in_sync.end(),
                                  [&](const std::string& name) { return !gone.contains(name); });
  if (left == static_cast<std::ptrdiff_t>(in_sync.size()) ||
      left >= static_cast<std::ptrdiff_t>(options_.group->copies_min))
    return {};
  return "without " + list(gone) + " the nodes in sync would be " + std::to_string(left) +
         ", and min_copies is " + std::to_string(options_.group->copies_min) +
         ": publishes would be refused. Add another node first, or say --force";
}

void Node::group_remove(const std::string& node, const std::string& by, const std::string& reason, bool force,
                        http::CommandDone done) {
  if (group_ == nullptr) {
    return done(http::refused(409, "this node is in no group: its configuration has no [group]"));
  }
  if (store_ != nullptr) return done(store_has_no_members());
  if (rejoining_ || replica_->role() != replica::Role::live) {
    return done(http::refused(409, not_live_reason() + ". Ask the node that leads"));
  }
  if (member_change_) return done(http::refused(409, "another change of the group's nodes is under way"));
  const group::MemberStatus status = replica_->member()->status();
  const bool known = names_of(options_.group->others).contains(node) || has(status.connected, node) ||
                     has(status.in_sync, node);
  if (!known && node != options_.name) {
    return done(
        http::refused(409, "there is no node " + node + " in this group: neither listed here nor connected"));
  }
  if (!force && node != options_.name) {
    if (const std::string why = too_few_without({node}); !why.empty()) return done(http::refused(409, why));
  }
  if (const auto why = replica_->remove_node(node, clock_.now(), clock_.wall())) {
    return done(http::refused(409, "node " + node + " cannot be removed: " + *why));
  }
  log(LogLevel::warning, "group: node " + node + " is removed, asked for by " + by +
                             (reason.empty() ? "" : " (" + reason + ")"));
  member_change_ = MemberChange{{node},
                                {node},
                                {},
                                "node " + node +
                                    " is removed: no leader takes it in until it is "
                                    "listed anew",
                                clock_.now() + kRegisterMax,
                                std::move(done)};
  schedule_pump();
}

void Node::group_reload(const std::string& by, bool force, http::CommandDone done) {
  if (store_ != nullptr) return done(store_has_no_members());
  if (group_ == nullptr || !options_.group->reread) {
    return done(http::refused(409, "this node is in no group: its configuration has no [group]"));
  }
  if (rejoining_)
    return done(http::refused(409, "this node is beginning anew from its log: try again in a moment"));
  if (member_change_) return done(http::refused(409, "another change of the group's nodes is under way"));
  auto read = options_.group->reread();
  if (!read) return done(http::refused(409, read.error().what));
  const bool leads = replica_->role() == replica::Role::live;
  const group::MemberStatus status = replica_->member()->status();
  std::set<std::string> before = names_of(options_.group->others);
  const std::set<std::string> after = names_of(*read);
  const std::set<std::string> fresh = without(after, before);
  // A leader may keep a copy that its file never listed: a reload drops that one, too.
  if (leads) before.insert(status.in_sync.begin(), status.in_sync.end());
  before.erase(options_.name);
  const std::set<std::string> gone = without(before, after);
  if (leads && !force) {
    if (const std::string why = too_few_without(gone); !why.empty()) return done(http::refused(409, why));
  }
  std::set<std::string> back;
  for (const std::string& name : after)
    if (status.removed.contains(name)) back.insert(name);

  options_.group->others = std::move(*read);
  forget_dialled(gone);
  replica_->list_nodes({after.begin(), after.end()}, clock_.now(), clock_.wall());
  std::string note = "the group's other nodes are " + (after.empty() ? std::string("none") : list(after));
  if (!fresh.empty()) note += "; new: " + list(fresh);
  if (!gone.empty()) note += "; no longer: " + list(gone);
  if (!back.empty()) {
    note += leads ? "; taken in again after its removal: " + list(back)
                  : "; still removed, until the node that leads is told to reload: " + list(back);
  }
  log(LogLevel::warning, "group: reloaded, asked for by " + by + ": " + note);
  if (!leads) {
    http::CommandResult result;
    result.note = note;
    return done(result);
  }
  member_change_ =
      MemberChange{gone, {}, std::move(back), note, clock_.now() + kRegisterMax, std::move(done)};
  schedule_pump();
}

/// A change that the register must have before it is told as done.
void Node::tick_members(Instant now) {
  if (!member_change_) return;
  const auto answer = [&](http::CommandResult result) {
    const auto done = std::move(member_change_->done);
    member_change_.reset();
    done(std::move(result));
  };
  if (rejoining_ || replica_->member()->role() != group::Role::leader) {
    return answer(
        http::refused(504,
                      "this node no longer leads: whether the register has the change, `mainstay group "
                      "status` tells"));
  }
  const group::MemberStatus status = replica_->member()->status();
  const MemberChange& change = *member_change_;
  const bool dropped = std::none_of(status.in_sync.begin(), status.in_sync.end(),
                                    [&](const std::string& name) { return change.gone.contains(name); });
  const bool taken_out = std::includes(status.removed.begin(), status.removed.end(), change.removed.begin(),
                                       change.removed.end());
  const bool taken_in = std::none_of(change.back.begin(), change.back.end(),
                                     [&](const std::string& name) { return status.removed.contains(name); });
  if (dropped && taken_out && taken_in) {
    http::CommandResult result;
    result.lsn = replica_->committed().value;
    result.note = change.note;
    return answer(result);
  }
  if (now >= change.deadline) {
    answer(http::refused(
        504, "the register has not taken the change yet; it is tried on. See `mainstay group status`"));
  }
}

void Node::tell_nodes(http::NodeStatus::Group& group) const {
  const group::MemberStatus status = replica_->member()->status();
  std::set<std::string> names = names_of(options_.group->others);
  names.insert(options_.name);
  names.insert(status.in_sync.begin(), status.in_sync.end());
  names.insert(status.removed.begin(), status.removed.end());
  const auto& ends = replica_->member()->known_ends();
  for (const std::string& name : names) {
    http::NodeStatus::Group::Node node;
    node.name = name;
    // The register says so; whether it still is there only its leader can tell.
    const bool there =
        status.role == group::Role::leader || name == options_.name || has(status.connected, name);
    const bool in_sync = has(status.in_sync, name) && there;
    const bool copies = group.copy.way == "giving" ? group.copy.node == name
                                                   : group.copy.way == "taking" && name == options_.name;
    node.state = name == status.leader                                  ? "leader"
                 : status.removed.contains(name)                        ? "removed"
                 : copies                                               ? "copying"
                 : in_sync                                              ? "in sync"
                 : status.following.contains(name)                      ? "catching up"
                 : has(status.connected, name) || name == options_.name ? "connected"
                                                                        : "away";
    if (name == options_.name) {
      node.lsn = status.durable.value;
    } else if (const auto end = ends.find(name); end != ends.end()) {
      node.lsn = end->second.value;
    }
    group.nodes.push_back(std::move(node));
  }
}

}  // namespace mainstay::node
