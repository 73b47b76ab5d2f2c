// What a publisher has been given and the peer has not answered for, in order: what to send next, what to
// send again after a connection is lost, and what became of each. Without sockets and clocks.
//
// What is guaranteed, per PublishQueue, between peers that take a link's messages in order (ours do; ours
// also refuse everything behind a message they cannot take, until a new link):
//  * A message leaves for the first time only when all before it have left at least once on that link, so
//    messages, and so those of a session, are stored in the order of add().
//  * After a loss everything without an outcome is sent again under the same message-id, in the original
//    order, before anything new. Duplicate detection removes what had been stored: stored once.
//  * Each message gets exactly one result. `confirmed`: it is stored. `rejected`: the peer refuses it for
//    good. `unknown`: it may or may not be stored, once, and it will not be sent again.
//  * A queue without duplicate detection would store repeats. UnknownOutcome decides: see there. Nor is a
//    message sent again when its first attempt without answer is older than the queue's memory for ids.
//
// Pure, one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/random.h"
#include "client/connection.h"

namespace mainstay::client {

/// What becomes of a message whose outcome a lost connection left unknown.
enum class UnknownOutcome : std::uint8_t {
  /// Sent again. Needs duplicate detection: a queue that says it has none is not published to at all
  /// (condition::no_duplicate_detection); a peer that says nothing (any other broker) is trusted.
  resend,
  /// Never sent again: the result is `unknown`. For queues without duplicate detection: at most once.
  report,
  /// Sent again in any case: at least once. A repeat is flagged in the result.
  resend_anyway,
};

namespace condition {
inline constexpr const char* no_duplicate_detection = "mainstay:no-duplicate-detection";
/// The id would have been sent again later than the queue remembers it.
inline constexpr const char* window_passed = "mainstay:duplicate-window-passed";
}  // namespace condition

struct PublishResult {
  enum class Kind : std::uint8_t { confirmed, rejected, unknown };
  std::uint64_t tag{};  ///< as given to add()
  Kind kind{};
  unsigned attempts = 0;  ///< times it was sent
  /// An earlier attempt's outcome stayed unknown. With a queue that detects duplicates that is of no
  /// consequence for `confirmed`; without, it may be stored more than once. `rejected` tells of the last
  /// attempt: an earlier one may have been stored.
  bool earlier_unknown = false;
  ClientError error;  ///< for rejected and unknown
};

struct PublishQueueOptions {
  UnknownOutcome on_unknown = UnknownOutcome::resend;
  std::size_t messages_max = 4096;    ///< taken and without result
  std::size_t bytes_max = 64U << 20;  ///< the same; one message more may go beyond it
  Duration retry_floor = milliseconds(20), retry_ceiling = seconds(2);  ///< for a message not taken for now
};

class PublishQueue {
 public:
  struct Item {
    std::uint64_t tag{};
    Buffer message;
    unsigned attempts = 0;
    bool on_its_way = false;
    bool earlier_unknown = false;
    Instant first_sent{};  ///< of the attempts that have no answer
  };

  explicit PublishQueue(const PublishQueueOptions& options) : options_(options) {}

  /// Behind all others. @return false, and nothing was taken, when there is no room.
  bool add(std::uint64_t tag, Buffer message);
  [[nodiscard]] bool has_room() const {
    return items_.size() < options_.messages_max && bytes_ < options_.bytes_max;
  }

  /// A link is open; everything without outcome goes again. @param duplicate_window  as
  /// Sender::duplicate_window(). @return an error when this queue must not be published to.
  Result<void, ClientError> link_opened(std::optional<Duration> duplicate_window);
  /// What is to be sent next on this link, or null: nothing is left, no link is open, or it is too early.
  const Item* next(Instant now);
  /// It was handed to the link.
  void sent(Instant now);
  /// What the link said about one of them. Outcomes of kind `unknown` are those of link_lost().
  void outcome(const SendOutcome& outcome, Instant now, Random& random);
  /// The link is over: what it left without answer goes again, or its result is `unknown`.
  void link_lost(const ClientError& why);

  /// Results since the last call, in the order in which they became known.
  [[nodiscard]] std::vector<PublishResult> take_results();
  [[nodiscard]] std::size_t size() const { return items_.size(); }
  [[nodiscard]] std::size_t on_its_way() const { return on_its_way_; }
  /// When next() may have something again; nothing when that does not depend on time.
  [[nodiscard]] std::optional<Instant> next_retry() const;
  /// Attempts beyond each message's first.
  [[nodiscard]] std::uint64_t resent() const { return resent_; }
  /// Ends every item with `unknown` (sent) or `rejected` (never sent), for a publisher that gives up.
  void give_up(const ClientError& why);

 private:
  [[nodiscard]] bool forgotten(const Item& item, Instant now) const {
    return window_ && item.earlier_unknown && now - item.first_sent >= *window_;
  }
  using Items = std::map<std::uint64_t, Item>;  ///< by place in the order
  void finish(Items::iterator at, PublishResult::Kind kind, const ClientError& error);

  const PublishQueueOptions options_;
  Items items_;
  std::map<std::uint64_t, std::uint64_t> places_;  ///< tag → place, of those on their way
  std::uint64_t next_place_ = 0;
  std::uint64_t cursor_ = 0;  ///< the place from which on nothing has left on this link
  std::size_t bytes_ = 0, on_its_way_ = 0;
  bool link_open_ = false;
  bool refused_ = false;   ///< on this link: nothing more leaves before all outcomes are in
  unsigned refusals_ = 0;  ///< in a row
  Instant not_before_{};
  std::optional<Duration> window_;  ///< of the link's queue, where it matters
  std::vector<PublishResult> results_;
  std::uint64_t resent_ = 0;
};

}  // namespace mainstay::client
