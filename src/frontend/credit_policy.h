// How much publish credit each sending link gets: the bytes that may still be taken in, shared fairly.
//
// Pure: figures in, credits out. The budget is what the scarcest resource leaves (memory, the journal's
// backlog, its room). It is shared max-min fair: first among
// connections, then among the links of each, so that a hundred links of one producer count like one of
// another. Links that publish come first, idle ones get what is left. No connection and no queue gets more
// than its own limit, whatever is free. A share is bytes; credit is that many messages of the size expected
// on the link, so that large messages get few.
//
// When the other region falls behind, the windows shrink, down to one message: that slows, and never stops.
// While a node of the group catches up, the budget may be what publishers' pace leaves
// (node/catch_up_pace.h).
//
// Only publishes are throttled: settlements, acknowledgements and deliveries take nothing from this budget.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mainstay::frontend {

/// Why somebody waits. Values are names in metrics (stall_reason_name()).
enum class StallReason : std::uint8_t {
  memory,       ///< publishers: messages on their way fill the memory set aside for them
  journal,      ///< publishers: the disk takes longer than they send, or the next segment is being prepared
  disk_full,    ///< publishers: there is no room for a next segment
  replication,  ///< publishers: the other region is too far behind (soft_lag_records)
  catch_up,     ///< publishers: a node of the group catches up, to be the second copy (catch_up_within_s)
  consumer_window,  ///< consumers: messages are there and the client does not read, or its window is closed
  link_credit,      ///< consumers: messages are there and the client has given no credit
};
inline constexpr std::size_t kStallReasons = 7;
[[nodiscard]] const char* stall_reason_name(StallReason reason);

struct CreditLimits {
  std::uint64_t memory_bytes = 256ULL << 20;     ///< of messages on their way in and out, all connections
  std::uint64_t connection_bytes = 64ULL << 20;  ///< of these, of one connection
  std::uint64_t queue_bytes = 128ULL << 20;      ///< publish credit of all links to one queue
  std::uint64_t journal_bytes = 32ULL << 20;     ///< ordered and not durable yet
  std::uint32_t link_credit = 1000;              ///< messages, of one link
};

/// What is in use.
struct CreditFigures {
  std::uint64_t memory_bytes = 0;   ///< held publishes, unfinished messages, output buffers, whatever else
                                    ///< cannot be written out
  std::uint64_t journal_bytes = 0;  ///< ordered and not durable
  /// What the journal can still take before publishes must wait, and what it takes when all is well.
  std::uint64_t journal_room = ~std::uint64_t{0}, journal_room_full = ~std::uint64_t{0};
  /// What publishers may send now while a node catches up, and at once at most.
  std::uint64_t pace_room = ~std::uint64_t{0}, pace_room_full = ~std::uint64_t{0};
  double held_back = 0;    ///< part of each link's window to keep back for the other region's sake, 0 to 1
  bool disk_full = false;  ///< publishes are refused: a credit of 1 stays, so that the client is told why
  friend bool operator==(const CreditFigures&, const CreditFigures&) = default;
};

/// What may still be promised, and what bounds it.
struct CreditBudget {
  std::uint64_t bytes = 0;
  std::uint64_t capacity = 0;     ///< `bytes` when nothing is in use
  std::uint32_t link_credit = 0;  ///< messages, at most, of one link: at least 1
  StallReason bound_by = StallReason::memory;
};
[[nodiscard]] CreditBudget credit_budget(const CreditLimits& limits, const CreditFigures& figures);

struct CreditLink {
  std::uint64_t connection{};
  std::uint32_t queue{};
  std::uint64_t message_bytes = 1;    ///< expected; ≥ 1. The largest allowed while none was seen
  std::uint64_t connection_used = 0;  ///< bytes that its connection has in memory now
  bool active = false;                ///< has published lately
};

/// @param links  in an order that does not change between calls (ties go by it); links of a connection stand
/// together
/// @return a share of the budget in bytes for each link
[[nodiscard]] std::vector<std::uint64_t> share_credit(const CreditLimits& limits, std::uint64_t budget_bytes,
                                                      std::span<const CreditLink> links);

/// Messages a link may have under way with this share. At least 1 while the budget is not as good as used
/// up, so that nobody is locked out; 0 then.
[[nodiscard]] std::uint32_t credit_of(const CreditBudget& budget, std::uint64_t share_bytes,
                                      std::uint64_t message_bytes);

/// The size to expect of a link's next messages: at once as large as the largest seen, forgetting slowly.
class MessageSize {
 public:
  explicit MessageSize(std::uint64_t largest_allowed) : bytes_(largest_allowed) {}
  void seen(std::uint64_t bytes) {
    const bool larger = bytes >= bytes_;
    bytes_ = !known_ || larger ? bytes : bytes_ - (bytes_ - bytes) / 64;
    if (bytes_ == 0) bytes_ = 1;
    known_ = true;
  }
  [[nodiscard]] std::uint64_t expected() const { return bytes_; }

 private:
  std::uint64_t bytes_;
  bool known_ = false;
};

}  // namespace mainstay::frontend
