// What the engine keeps for a session and a link. Data only; engine_impl.h acts on it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "amqp/delivery_ring.h"
#include "amqp/engine.h"

namespace mainstay::amqp {

/// How far `to` is ahead of `from`, both serial numbers (RFC 1982); negative when behind.
inline std::int32_t ahead(std::uint32_t to, std::uint32_t from) {
  return static_cast<std::int32_t>(to - from);
}

/// A message arriving over several frames.
struct PartialMessage {
  Buffer bytes;
  std::uint64_t bytes_seen = 0;  ///< also those discarded
  DeliveryRef delivery{};
  std::uint32_t delivery_id = 0;
  std::uint32_t message_format = 0;
  bool settled = false;
  bool discarding = false;  ///< over the link's limit: only counted
};

struct Link {
  LinkId id{};
  std::uint16_t channel = 0;
  std::uint32_t handle = 0;  ///< both sides': the client's number is answered with the same
  Role client_role{};
  enum class State : std::uint8_t {
    requested,  ///< attach came, neither accepted nor refused yet
    attached,
    detach_sent,  ///< ended from our side: what still comes is ignored until the client's detach
  };
  State state = State::requested;
  bool dirty = false;          ///< a flow is due
  bool drain = false;          ///< client receiver: asked to use up its credit
  bool drained_early = false;  ///< drained() came before accept() or before the last message had left
  SenderSettleMode sender_settle_mode{};
  ReceiverSettleMode receiver_settle_mode{};

  // Invariant: delivery_count counts deliveries begun in the link's direction (a serial number, wraps).
  std::uint32_t delivery_count = 0;
  std::uint32_t credit = 0;  ///< the receiving side's grant, still open
  /// Client sender: the largest grant not used up. Transfers under way when credit was cut are no violation.
  std::uint32_t credit_tolerated = 0;
  std::uint64_t message_bytes_max = 0;
  std::unique_ptr<PartialMessage> partial;
  std::size_t last_partial_bytes = 0;  ///< the next one is likely as long: room for it is made at once

  // Kept until answered.
  std::string name;
  Buffer source, target, properties;
};

struct IncomingDelivery {
  LinkId link{};
  bool live = false;
  bool second = false;  ///< receiver settle mode second: the client settles after our outcome
  bool told = false;    ///< our outcome was sent; the client's settlement is awaited
};

struct OutgoingDelivery {
  LinkId link{};
  bool live = false;
  bool told = false;  ///< the client told an outcome without settling; ours is due
};

/// Dispositions that are one on the wire.
struct PendingDisposition {
  bool set = false;
  bool settled = false;
  std::uint32_t first = 0, last = 0;
  BytesView state;  ///< static memory: equal states have equal addresses
};

/// The part of an outgoing message that the client's session window did not let through yet.
struct OutgoingRest {
  LinkId link{};
  std::uint32_t handle = 0, delivery_id = 0, message_format = 0;
  bool settled = false;
  Buffer tag, payload;
  std::size_t sent = 0;
};

struct Session {
  Session(std::uint16_t number, std::uint64_t first_incoming, std::uint64_t first_outgoing)
      : channel(number), incoming(first_incoming), outgoing(first_outgoing) {}

  std::uint16_t channel;
  bool end_sent = false;  ///< ended from our side: what still comes is ignored until the client's end
  bool dirty = false;     ///< in the engine's list of sessions with something to flush
  bool flow_due = false;
  bool first_delivery_seen = false;
  bool starved = false;  ///< the last word to the handler was that nothing may be sent

  std::uint32_t next_incoming_id = 0;  ///< transfer number expected next
  std::uint32_t incoming_left = 0;     ///< transfers the client may still send before our next flow
  std::uint32_t next_outgoing_id = 0;
  std::uint32_t outgoing_left = 0;  ///< transfers the client's window still takes

  /// Delivery ids on the wire are 32-bit serial numbers; those of incoming.next() and outgoing.next():
  std::uint32_t next_incoming_delivery_id = 0;
  std::uint32_t next_outgoing_delivery_id = 0;
  DeliveryRing<IncomingDelivery> incoming;
  DeliveryRing<OutgoingDelivery> outgoing;
  PendingDisposition told_incoming;  ///< role receiver: answers to what the client sent
  PendingDisposition told_outgoing;  ///< role sender: answers to the client's outcomes
  std::optional<OutgoingRest> rest;

  std::vector<Link*> links;  ///< by handle; null = free
  std::vector<LinkId> dirty_links;
};

}  // namespace mainstay::amqp
