#include "group/packets.h"

#include <algorithm>

#include "base/assert.h"
#include "replication/framing.h"

namespace mainstay::group {
namespace {

using replication::put_position;
using replication::take_position;

/// Up to and including the length of the node's name; then the name and the message.
constexpr std::size_t kFixedBytes = 102;
constexpr std::size_t kUsualBytes = 256;  // what a packet that carries no records fits in, usually
constexpr std::size_t kTimesBytes = 36;   // of them what packets say about time
constexpr replication::Framing kFraming{0x5247534d /* "MSGR" */, kPacketVersion, kFixedBytes - kTimesBytes,
                                        kPacketBytesMax,         "group",        kPacketVersionOldest};

void put_us(ByteWriter& out, Duration d) {
  constexpr std::int64_t most = 0xffff'ffff;
  out.u32_le(static_cast<std::uint32_t>(std::clamp<std::int64_t>(d.ns / 1'000, 0, most)));
}
Duration take_us(ByteReader& in) {
  return microseconds(in.u32_le());
}
Instant take_instant(ByteReader& in) {
  return {static_cast<std::int64_t>(in.u64_le())};
}

/// On the wire: never renumber.
enum class Kind : std::uint16_t {
  hello = 1,
  follow,
  accept,
  refuse,
  records,
  ack,
  beacon,
  take_over,
  copy_ask,
  copy_plan,
  copy_part,
  copy_refused
};

void put_epochs(ByteWriter& out, const EpochTable& epochs) {
  out.u8(static_cast<std::uint8_t>(epochs.entries().size()));
  for (const EpochStart& entry : epochs.entries()) {
    out.u64_le(entry.epoch.value);
    out.u64_le(entry.first.value);
  }
}

EpochTable take_epochs(ByteReader& in, bool with_end, Lsn end) {
  std::vector<EpochStart> entries(in.u8());
  for (EpochStart& entry : entries) {
    entry.epoch = Epoch{in.u64_le()};
    entry.first = Lsn{in.u64_le()};
  }
  auto table = EpochTable::from(std::move(entries), with_end ? end : Lsn{});
  if (!table || (with_end && table->through() > end)) {
    in.fail();
    return {};
  }
  return std::move(*table);
}

void put_plan(ByteWriter& out, const CopyPlan& m) {
  out.uuid(m.cut.bytes);
  put_position(out, m.before);
  put_position(out, m.end);
  out.u64_le(m.state_hash);
  out.u64_le(m.region_term.value);
  put_epochs(out, m.epochs);
  out.u32_le(static_cast<std::uint32_t>(m.items.size()));
  for (const CopyItem& item : m.items) {
    out.u8(static_cast<std::uint8_t>(item.kind));
    out.u32_le(item.number);
    out.u64_le(item.bytes);
  }
}

/// Root, pages in rising order, records: nothing else is a copy.
bool is_whole(const CopyPlan& plan) {
  if (plan.cut.is_nil() || plan.before.lsn >= plan.end.lsn || plan.items.size() < 2) return false;
  std::uint32_t before = 0;
  for (std::size_t i = 0; i < plan.items.size(); ++i) {
    const CopyItem& item = plan.items[i];
    const CopyKind kind = i == 0                      ? CopyKind::root
                          : i + 1 < plan.items.size() ? CopyKind::pages
                                                      : CopyKind::records;
    if (item.kind != kind) return false;
    if (kind == CopyKind::pages ? item.number <= before : item.number != 0) return false;
    before = item.number;
  }
  return true;
}

CopyPlan take_plan(ByteReader& in) {
  constexpr std::size_t kItemBytes = 13;
  CopyPlan plan;
  plan.cut = replication::take_uuid(in);
  plan.before = take_position(in);
  plan.end = take_position(in);
  plan.state_hash = in.u64_le();
  plan.region_term = RegionTerm{in.u64_le()};
  plan.epochs = take_epochs(in, true, plan.end.lsn);
  const std::size_t count = in.u32_le();
  if (count > kCopyItemsMax || in.remaining() < count * kItemBytes) {
    in.fail();
    return plan;
  }
  plan.items.resize(count);
  for (CopyItem& item : plan.items) {
    item.kind = static_cast<CopyKind>(in.u8());
    item.number = in.u32_le();
    item.bytes = in.u64_le();
  }
  if (!is_whole(plan)) in.fail();
  return plan;
}

struct Put {
  ByteWriter& out;
  Kind operator()(const Hello& m) {
    put_position(out, m.end);
    out.u64_le(m.committed.value);
    put_epochs(out, m.epochs);
    return Kind::hello;
  }
  Kind operator()(const Follow& m) {
    put_position(out, m.from);
    return Kind::follow;
  }
  Kind operator()(const Accept& m) {
    put_position(out, m.from);
    return Kind::accept;
  }
  Kind operator()(const Refuse& m) {
    out.u8(static_cast<std::uint8_t>(m.code));
    out.sized_text(m.what);
    return Kind::refuse;
  }
  Kind operator()(const Records& m) {
    out.u64_le(m.committed.value);
    out.sized_bytes(m.raw);
    return Kind::records;
  }
  Kind operator()(const Ack& m) {
    put_position(out, m.durable);
    return Kind::ack;
  }
  Kind operator()(const Beacon& m) {
    out.u64_le(m.committed.value);
    return Kind::beacon;
  }
  Kind operator()(const TakeOver& /*m*/) { return Kind::take_over; }
  Kind operator()(const CopyAsk& m) {
    out.uuid(m.cut.bytes);
    out.u32_le(m.item);
    out.u64_le(m.offset);
    out.u32_le(m.bytes);
    return Kind::copy_ask;
  }
  Kind operator()(const CopyPlan& m) {
    put_plan(out, m);
    return Kind::copy_plan;
  }
  Kind operator()(const CopyPart& m) {
    out.uuid(m.cut.bytes);
    out.u32_le(m.item);
    out.u64_le(m.offset);
    out.sized_bytes(m.bytes);
    return Kind::copy_part;
  }
  Kind operator()(const CopyRefused& m) {
    out.u8(static_cast<std::uint8_t>(m.code));
    out.sized_text(m.what);
    return Kind::copy_refused;
  }
};

Hello take_hello(ByteReader& in) {
  Hello hello;
  hello.end = take_position(in);
  hello.committed = Lsn{in.u64_le()};
  hello.epochs = take_epochs(in, false, {});
  return hello;
}

std::optional<Message> take_message(Kind kind, ByteReader& in) {
  switch (kind) {
    case Kind::hello:
      return take_hello(in);
    case Kind::follow:
      return Follow{take_position(in)};
    case Kind::accept:
      return Accept{take_position(in)};
    case Kind::refuse: {
      const std::uint8_t code = in.u8();
      if (code < 1 || code > static_cast<std::uint8_t>(RefusalCode::impossible)) in.fail();
      return Refuse{static_cast<RefusalCode>(code), std::string(in.sized_text())};
    }
    case Kind::records: {
      const Lsn committed{in.u64_le()};
      return Records{committed, in.sized_bytes()};
    }
    case Kind::ack:
      return Ack{take_position(in)};
    case Kind::beacon:
      return Beacon{Lsn{in.u64_le()}};
    case Kind::take_over:
      return TakeOver{};
    case Kind::copy_ask: {
      CopyAsk ask;
      ask.cut = replication::take_uuid(in);
      ask.item = in.u32_le();
      ask.offset = in.u64_le();
      ask.bytes = in.u32_le();
      return ask;
    }
    case Kind::copy_plan:
      return take_plan(in);
    case Kind::copy_part: {
      CopyPart part;
      part.cut = replication::take_uuid(in);
      part.item = in.u32_le();
      part.offset = in.u64_le();
      part.bytes = in.sized_bytes();
      return part;
    }
    case Kind::copy_refused: {
      const std::uint8_t code = in.u8();
      if (code < 1 || code > static_cast<std::uint8_t>(CopyRefusal::later)) in.fail();
      return CopyRefused{static_cast<CopyRefusal>(code), std::string(in.sized_text())};
    }
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t CopyPlan::bytes() const {
  std::uint64_t sum = 0;
  for (const CopyItem& item : items) sum += item.bytes;
  return sum;
}

void encode_plan(const CopyPlan& plan, Buffer& to) {
  ByteWriter out(to);
  put_plan(out, plan);
}

std::optional<CopyPlan> decode_plan(BytesView bytes) {
  ByteReader in(bytes);
  CopyPlan plan = take_plan(in);
  if (!in.finished()) return std::nullopt;
  return plan;
}

Result<std::optional<std::size_t>, replication::PacketError> packet_bytes(BytesView stream) {
  return replication::packet_bytes(kFraming, stream);
}

bool speaks(std::uint16_t version, const Message& message) {
  const bool of_copies =
      std::holds_alternative<CopyAsk>(message) || std::holds_alternative<CopyPlan>(message) ||
      std::holds_alternative<CopyPart>(message) || std::holds_alternative<CopyRefused>(message);
  return version >= 2 || !of_copies;
}

void encode(const Sender& sender, const Message& message, Buffer& to, std::uint16_t version) {
  MS_ASSERT(speaks(version, message), "an older release is sent what it knows");
  if (const auto* records = std::get_if<Records>(&message)) {
    to.reserve(to.size() + kFixedBytes + sender.member.node.size() + 12 + records->raw.size());
  } else if (const auto* part = std::get_if<CopyPart>(&message)) {
    to.reserve(to.size() + kFixedBytes + sender.member.node.size() + 32 + part->bytes.size());
  } else {
    to.reserve(to.size() + kUsualBytes);
  }
  const std::size_t start = replication::begin_packet(kFraming, to, version);
  ByteWriter out(to);
  out.uuid(sender.cluster.bytes);
  out.u64_le(sender.epoch.value);
  out.uuid(sender.member.incarnation.bytes);
  if (version >= kPacketVersionOfTimes) {
    out.u64_le(static_cast<std::uint64_t>(sender.sent.ns));
    put_us(out, sender.lease);
    out.u64_le(static_cast<std::uint64_t>(sender.heard.ns));
    put_us(out, sender.held);
    put_us(out, sender.granted);
    out.u64_le(sender.life);
  }
  out.u8(sender.leads ? 1 : 0);
  replication::put_name(out, sender.member.node);
  const Kind kind = std::visit(Put{out}, message);
  replication::end_packet(kFraming, to, start, static_cast<std::uint16_t>(kind));
}

Result<Packet, replication::PacketError> decode(BytesView bytes) {
  auto opened = replication::open_packet(kFraming, bytes);
  if (!opened) return opened.error();
  ByteReader& in = opened->content;
  Packet packet;
  packet.version = opened->version;
  packet.sender.cluster = replication::take_uuid(in);
  packet.sender.epoch = Epoch{in.u64_le()};
  packet.sender.member.incarnation = replication::take_uuid(in);
  if (packet.version >= kPacketVersionOfTimes) {
    packet.sender.sent = take_instant(in);
    packet.sender.lease = take_us(in);
    packet.sender.heard = take_instant(in);
    packet.sender.held = take_us(in);
    packet.sender.granted = take_us(in);
    packet.sender.life = in.u64_le();
  }
  const std::uint8_t leads = in.u8();
  packet.sender.leads = leads == 1;
  packet.sender.member.node = replication::take_name(in);
  auto message = take_message(static_cast<Kind>(opened->kind), in);
  if (!message || !in.finished() || leads > 1) {
    return replication::malformed_packet(kFraming, opened->kind);
  }
  packet.message = std::move(*message);
  return packet;
}

}  // namespace mainstay::group
