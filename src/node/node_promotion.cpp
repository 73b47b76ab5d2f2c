// Promotion within a group by an operator: `[group] promotion = "operator"`, or sooner than by itself.
#include <utility>

#include "node/node.h"
#include "node/store_standby.h"

namespace mainstay::node {
namespace {

constexpr Duration kPromotionMax = seconds(15);
constexpr std::size_t kTextMax = 900;  // with what is put around it as coordination::GroupRecord allows

}  // namespace

http::CommandResult store_promotes_itself() {
  return http::refused(
      409,
      "in shared-store mode the standby that finds the store's lock and lease free leads by itself: "
      "nothing is promoted");
}

void Node::group_promote(const std::string& by, const std::string& reason, http::CommandDone done) {
  if (group_ == nullptr)
    return done(http::refused(409, "this node is in no group: its configuration has no [group]"));
  if (store_ != nullptr) return done(store_promotes_itself());
  if (rejoining_)
    return done(http::refused(409, "this node is beginning anew from its log: try again in a moment"));
  if (promotion_) return done(http::refused(409, "a promotion of this node is under way"));
  const std::string who = by + (reason.empty() ? "" : ": " + reason);
  if (who.size() > kTextMax)
    return done(
        http::refused(409, "\"by\" and \"reason\" are longer than " + std::to_string(kTextMax) + " bytes"));
  if (auto why = replica_->promote_node(who, kPromotionMax, clock_.now(), clock_.wall()))
    return done(http::refused(409, "node " + options_.name + " is not promoted: " + *why));
  log(LogLevel::warning, "group: this node asks to lead, promoted by " + who);
  promotion_ = Promotion{clock_.now() + kPromotionMax, std::move(done)};
  schedule_pump();
}

/// Answers a promotion when it is known who leads, or when it has taken too long.
void Node::tick_promotion(Instant now) {
  if (!rejoining_ && !replica_->member()->over()) {
    const bool waits = replica_->member()->waits_for_operator();
    if (waits && !std::exchange(operator_wanted_, waits))
      log(LogLevel::warning, "group: " + replica_->member()->status().last_problem);
    operator_wanted_ = waits;
  }
  if (!promotion_) return;
  const auto answer = [&](http::CommandResult result) {
    std::exchange(promotion_, std::nullopt)->done(std::move(result));
  };
  std::string problem = "it is beginning anew from its log";
  if (!rejoining_ && !replica_->member()->over()) {
    const group::MemberStatus status = replica_->member()->status();
    if (replica_->role() == replica::Role::live) {
      http::CommandResult result;
      result.status = 200;
      result.lsn = replica_->committed().value;
      result.note = "node " + options_.name + " leads epoch " + std::to_string(status.epoch.value);
      return answer(std::move(result));
    }
    // Itself: it does, and does not serve yet.
    if (!status.leader.empty() && status.leader != options_.name)
      return answer(http::refused(409, "node " + status.leader + " leads"));
    problem = status.last_problem;
  }
  if (now < promotion_->deadline) return;
  answer(http::refused(504, "node " + options_.name + " does not lead so far" +
                                (problem.empty() ? "" : ": " + problem) +
                                ". It may still become the leader: `mainstay group status` tells"));
}

}  // namespace mainstay::node
