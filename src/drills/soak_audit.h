// The audit of a soak: from what clients saw alone, what became of every message. It knows the promises of
// the queue semantics (docs/decisions/0004-service-bus-semantics.md) and no code of the broker.
//
// It judges one-sidedly: a finding is a breach that no ordering of unseen events could explain. What a client
// cannot know (a delivery it never read, an answer that a killed broker kept) is always taken in the broker's
// favour, and counted.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "drills/soak_history.h"

namespace mainstay::drills {

struct SoakFinding {
  enum class Kind : std::uint8_t {
    lost,         ///< acknowledged, and neither completed, nor expired by its rules, nor still there
    repeated,     ///< stored or completed more than once
    reordered,    ///< stored or first delivered before an earlier message of its session
    altered,      ///< body, session or checksum differ from what was sent
    resurrected,  ///< delivered after its completion or dead-lettering was confirmed
    stray,        ///< nobody sent it, it was refused, or it came from another queue
    miscounted,   ///< a delivery count that its history can't give
    untimely,     ///< delivered after it expired, or expired too early
    misplaced,  ///< in a dead-letter queue or put aside, which its history does not explain; or given out by
                ///< the queue while it is put aside
    broker,     ///< beside the messages: ended by itself, did not come back, over its limits
  };
  Kind kind{};
  std::string queue, id;
  std::string what;                  ///< a sentence
  std::vector<std::string> history;  ///< every fact about the message, a line each, in order of time
};
[[nodiscard]] std::string_view name_of(SoakFinding::Kind kind);

/// What happened, message by message, in one queue. Also the proof that the soak met what it set out to meet.
struct SoakQueueReport {
  std::uint64_t acknowledged{};                     ///< messages whose publish was confirmed
  std::uint64_t uncertain{};                        ///< never confirmed; may or may not have been stored
  std::uint64_t uncertain_stored{};                 ///< of these, seen
  std::uint64_t resent{};                           ///< attempts at an id that had been tried before
  std::uint64_t completed{};                        ///< with confirmation
  std::uint64_t completed_unheard{};                ///< completed, the answer never came, and gone
  std::uint64_t expired{};                          ///< acknowledged, never completed, its time to live over
  std::uint64_t dead_lettered{};                    ///< seen in the dead-letter queue
  std::uint64_t dead_by_expiry{}, dead_by_count{};  ///< of these
  std::uint64_t deliveries{};                       ///< received by clients, repeated ones included
  std::uint64_t redelivered{};                      ///< of these, beyond the first of their message
  std::uint64_t abandoned{}, released{};
  std::uint64_t deferred{};   ///< deferrals confirmed, of a message put aside already too
  std::uint64_t by_number{};  ///< deliveries of messages put aside
  std::uint64_t lock_lost{};  ///< settlements that came too late
  std::uint64_t sessions{};
  std::uint64_t left{};  ///< in the queue or its dead-letter queue at the end
};

struct SoakAudit {
  std::map<std::string, SoakQueueReport> queues;
  std::map<SoakFinding::Kind, std::uint64_t> counts;  ///< all findings
  std::vector<SoakFinding> findings;                  ///< at most findings_max of each kind
  std::uint64_t facts{}, links{};
  [[nodiscard]] bool clean() const { return counts.empty(); }
};

/// A table per queue and every finding, for people; the same for machines.
[[nodiscard]] std::string text_of(const SoakAudit& audit);
[[nodiscard]] std::string json_of(const SoakAudit& audit);

/// Takes facts in any order that keeps each thread's own, then judges. One thread.
class SoakAuditor {
 public:
  static constexpr std::size_t findings_max = 100;
  SoakAuditor();
  ~SoakAuditor();
  SoakAuditor(const SoakAuditor&) = delete;
  SoakAuditor& operator=(const SoakAuditor&) = delete;
  void add(const Fact& fact);
  /// Once, after the last fact.
  [[nodiscard]] SoakAudit judge();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mainstay::drills
