#include "replication/packets.h"

#include "base/assert.h"
#include "base/checksum.h"

namespace mainstay::replication {
namespace {

constexpr std::uint32_t kMagic = 0x5052534d;  // "MSRP"
constexpr std::size_t kChecksumAt = 8;
constexpr std::size_t kCheckedFrom = 16;
/// Up to and including the epoch; then the two names and the message.
constexpr std::size_t kFixedBytes = 56;

/// On the wire: never renumber.
enum class Kind : std::uint16_t { hello = 1, follow, accept, refuse, records, heartbeat, ack };

void put_position(ByteWriter& out, const journal::LogPosition& position) {
  out.u64_le(position.lsn.value);
  out.u64_le(position.hash);
}
journal::LogPosition take_position(ByteReader& in) {
  const Lsn lsn{in.u64_le()};
  return {lsn, in.u64_le()};
}
void put_name(ByteWriter& out, const std::string& name) {
  MS_ASSERT(name.size() <= kNameBytesMax, "configuration limits the names of regions and nodes");
  out.u8(static_cast<std::uint8_t>(name.size()));
  out.bytes(as_bytes(name));
}
std::string take_name(ByteReader& in) {
  return std::string(as_text(in.bytes(in.u8())));
}
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

void throw_exception_from_error(const PacketError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

Result<std::optional<std::size_t>, PacketError> packet_bytes(BytesView stream) {
  if (stream.size() < kPacketPrefixBytes) return std::optional<std::size_t>{};
  if (load_le<std::uint32_t>(stream.data()) != kMagic) {
    return PacketError{PacketErrorCode::damaged, "the peer does not speak Mainstay's replication protocol"};
  }
  const std::size_t bytes = load_le<std::uint32_t>(stream.data() + 4);
  if (bytes < kFixedBytes || bytes > kPacketBytesMax) {
    return PacketError{PacketErrorCode::damaged, "a replication packet announces " + std::to_string(bytes) +
                                                     " bytes; allowed are " + std::to_string(kFixedBytes) +
                                                     " to " + std::to_string(kPacketBytesMax)};
  }
  return std::optional<std::size_t>{bytes};
}

void encode(const Sender& sender, const Message& message, Buffer& to) {
  const std::size_t start = to.size();
  if (const auto* records = std::get_if<Records>(&message)) {
    to.reserve(start + kFixedBytes + 2 * (kNameBytesMax + 1) + 16 + records->raw.size());
  }
  ByteWriter out(to);
  out.u32_le(kMagic);
  out.u32_le(0);  // length and checksum are filled in below
  out.u64_le(0);
  out.u16_le(kPacketVersion);
  out.u16_le(0);  // kind, below
  out.u32_le(0);  // reserved
  out.uuid(sender.cluster.bytes);
  out.u64_le(sender.term.value);
  out.u64_le(sender.epoch.value);
  put_name(out, sender.region);
  put_name(out, sender.node);
  const Kind kind = std::visit(Put{out}, message);
  const std::size_t bytes = to.size() - start;
  MS_ASSERT(bytes <= kPacketBytesMax, "the shipper keeps packets within the limit");
  std::byte* const packet = to.data() + start;
  store_le(packet + 18, static_cast<std::uint16_t>(kind));
  store_le(packet + 4, static_cast<std::uint32_t>(bytes));
  store_le(packet + kChecksumAt, checksum64(BytesView(packet + kCheckedFrom, bytes - kCheckedFrom)));
}

Result<Packet, PacketError> decode(BytesView bytes) {
  const auto announced = packet_bytes(bytes);
  if (!announced) return announced.error();
  if (!*announced || **announced > bytes.size()) {
    return PacketError{PacketErrorCode::incomplete, "a replication packet is cut short"};
  }
  if (**announced < bytes.size()) {
    return PacketError{PacketErrorCode::damaged, "bytes follow a replication packet's end"};
  }
  // The version first: a newer one may have another checksum or layout behind it.
  const auto version = load_le<std::uint16_t>(bytes.data() + 16);
  if (version != kPacketVersion) {
    return PacketError{PacketErrorCode::version, "the peer speaks version " + std::to_string(version) +
                                                     " of the replication protocol, this node version " +
                                                     std::to_string(kPacketVersion)};
  }
  if (load_le<std::uint64_t>(bytes.data() + kChecksumAt) != checksum64(bytes.subspan(kCheckedFrom))) {
    return PacketError{PacketErrorCode::damaged, "a replication packet's checksum does not match its bytes"};
  }
  ByteReader in(bytes.subspan(18));
  const auto kind = static_cast<Kind>(in.u16_le());
  const std::uint32_t reserved = in.u32_le();
  Packet packet;
  const BytesView cluster = in.bytes(packet.sender.cluster.bytes.size());
  if (in.ok()) std::memcpy(packet.sender.cluster.bytes.data(), cluster.data(), cluster.size());
  packet.sender.term = RegionTerm{in.u64_le()};
  packet.sender.epoch = Epoch{in.u64_le()};
  packet.sender.region = take_name(in);
  packet.sender.node = take_name(in);
  auto message = take_message(kind, in);
  if (!message || !in.finished() || reserved != 0) {
    return PacketError{PacketErrorCode::malformed, "a replication packet of kind " +
                                                       std::to_string(static_cast<unsigned>(kind)) +
                                                       " has impossible content"};
  }
  packet.message = std::move(*message);
  return packet;
}

}  // namespace mainstay::replication
