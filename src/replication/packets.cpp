#include "replication/packets.h"

#include "replication/framing.h"

namespace mainstay::replication {
namespace {

/// Up to and including the epoch; then the two names and the message.
constexpr std::size_t kFixedBytes = 56;
constexpr Framing kFraming{0x5052534d /* "MSRP" */, kPacketVersion, kFixedBytes, kPacketBytesMax,
                           "replication"};

/// On the wire: never renumber.
enum class Kind : std::uint16_t { hello = 1, follow, accept, refuse, records, heartbeat, ack };

NodeRole take_role(ByteReader& in) {
  const std::uint8_t role = in.u8();
  if (role > static_cast<std::uint8_t>(NodeRole::sealed)) in.fail();
  return static_cast<NodeRole>(role);
}

struct Put {
  ByteWriter& out;
  Kind operator()(const Hello& m) {
    out.u8(static_cast<std::uint8_t>(m.role));
    put_position(out, m.end);
    return Kind::hello;
  }
  Kind operator()(const Follow& m) {
    put_position(out, m.from);
    return Kind::follow;
  }
  Kind operator()(const Accept& m) {
    put_position(out, m.from);
    out.u64_le(m.committed.value);
    return Kind::accept;
  }
  Kind operator()(const Refuse& m) {
    out.u8(static_cast<std::uint8_t>(m.code));
    put_position(out, m.ours);
    put_position(out, m.theirs);
    out.sized_text(m.what);
    return Kind::refuse;
  }
  Kind operator()(const Records& m) {
    out.u64_le(m.committed.value);
    out.sized_bytes(m.raw);
    return Kind::records;
  }
  Kind operator()(const Heartbeat& m) {
    out.u8(static_cast<std::uint8_t>(m.role));
    out.u64_le(m.committed.value);
    return Kind::heartbeat;
  }
  Kind operator()(const Ack& m) {
    put_position(out, m.durable);
    out.u64_le(m.applied.value);
    out.u64_le(m.state_hash);
    return Kind::ack;
  }
};

std::optional<Message> take_message(Kind kind, ByteReader& in) {
  switch (kind) {
    case Kind::hello: {
      const NodeRole role = take_role(in);
      return Hello{role, take_position(in)};
    }
    case Kind::follow:
      return Follow{take_position(in)};
    case Kind::accept: {
      const auto from = take_position(in);
      return Accept{from, Lsn{in.u64_le()}};
    }
    case Kind::refuse: {
      Refuse refuse;
      const std::uint8_t code = in.u8();
      if (code < 1 || code > static_cast<std::uint8_t>(RefusalCode::state_differs)) in.fail();
      refuse.code = static_cast<RefusalCode>(code);
      refuse.ours = take_position(in);
      refuse.theirs = take_position(in);
      refuse.what = std::string(in.sized_text());
      return refuse;
    }
    case Kind::records: {
      const Lsn committed{in.u64_le()};
      return Records{committed, in.sized_bytes()};
    }
    case Kind::heartbeat: {
      const NodeRole role = take_role(in);
      return Heartbeat{role, Lsn{in.u64_le()}};
    }
    case Kind::ack: {
      Ack ack;
      ack.durable = take_position(in);
      ack.applied = Lsn{in.u64_le()};
      ack.state_hash = in.u64_le();
      return ack;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::optional<std::size_t>, PacketError> packet_bytes(BytesView stream) {
  return packet_bytes(kFraming, stream);
}

void encode(const Sender& sender, const Message& message, Buffer& to) {
  if (const auto* records = std::get_if<Records>(&message)) {
    to.reserve(to.size() + kFixedBytes + 2 * (kNameBytesMax + 1) + 16 + records->raw.size());
  }
  const std::size_t start = begin_packet(kFraming, to, kPacketVersion);
  ByteWriter out(to);
  out.uuid(sender.cluster.bytes);
  out.u64_le(sender.term.value);
  out.u64_le(sender.epoch.value);
  put_name(out, sender.region);
  put_name(out, sender.node);
  const Kind kind = std::visit(Put{out}, message);
  end_packet(kFraming, to, start, static_cast<std::uint16_t>(kind));
}

Result<Packet, PacketError> decode(BytesView bytes) {
  auto opened = open_packet(kFraming, bytes);
  if (!opened) return opened.error();
  ByteReader& in = opened->content;
  Packet packet;
  packet.sender.cluster = take_uuid(in);
  packet.sender.term = RegionTerm{in.u64_le()};
  packet.sender.epoch = Epoch{in.u64_le()};
  packet.sender.region = take_name(in);
  packet.sender.node = take_name(in);
  auto message = take_message(static_cast<Kind>(opened->kind), in);
  if (!message || !in.finished()) return malformed_packet(kFraming, opened->kind);
  packet.message = std::move(*message);
  return packet;
}

}  // namespace mainstay::replication
