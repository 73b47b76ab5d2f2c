// Known bugs of such protocols, each brought back by one line where its rule is kept. A product has none of
// them: resurrected() is `false` there. The simulator links one that says yes to the bug it looks for
// (sim/group_bugs.cpp), because a checker that has never found one proves nothing.
#pragma once

#include <cstdint>

namespace mainstay::group {

/// The names M1 … are those of model/README.md.
enum class Bug : std::uint8_t {
  none,
  ack_before_shrink_is_known,   ///< M1
  no_promise,                   ///< M2
  join_without_union,           ///< M3
  member_by_name,               ///< M4
  promote_outside_set,          ///< M5
  resume_epoch,                 ///< M6
  ack_before_sync,              ///< M7
  add_before_catch_up,          ///< M8
  promise_not_durable,          ///< M9: kept in memory only
  match_by_name,                ///< M10
  trust_older_register,         ///< a register that was put back is believed
  add_by_remembered_commit,     ///< joins are measured by what a restart remembers as committed
  believe_replaced_connection,  ///< what comes late on an old connection counts as news
  // Of a replica with its broker.
  checkpoint_of_uncommitted,    ///< a checkpoint holds what a restart may have to take back
  deliver_under_stale_lease,    ///< R8 is not kept
  answer_when_durable_here,     ///< answers wait for the own disk only
  deliver_before_first_commit,  ///< a leader serves before its first record is committed
  remove_what_peers_need,       ///< segments go with the own checkpoint
  checkpoint_without_epochs,    ///< stored before the superblock tells the epochs that it passes over
  keep_by_diverged_end,         ///< a peer is taken to have what it will cut
};

[[nodiscard]] bool resurrected(Bug bug);

}  // namespace mainstay::group
