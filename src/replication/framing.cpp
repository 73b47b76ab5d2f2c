#include "replication/framing.h"

#include "base/assert.h"
#include "base/checksum.h"

namespace mainstay::replication {
namespace {

constexpr std::size_t kPrefixBytes = 8;  // magic and length
constexpr std::size_t kChecksumAt = 8;
constexpr std::size_t kVersionAt = 16;  // the checksum is of everything from here on
constexpr std::size_t kKindAt = 18;

std::string one(const Framing& framing) {
  return std::string("a ") + framing.name + " packet";
}

}  // namespace

void throw_exception_from_error(const PacketError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

Result<std::optional<std::size_t>, PacketError> packet_bytes(const Framing& framing, BytesView stream) {
  if (stream.size() < kPrefixBytes) return std::optional<std::size_t>{};
  if (load_le<std::uint32_t>(stream.data()) != framing.magic) {
    return PacketError{PacketErrorCode::damaged,
                       std::string("the peer does not speak Mainstay's ") + framing.name + " protocol"};
  }
  const std::size_t bytes = load_le<std::uint32_t>(stream.data() + 4);
  if (bytes < framing.bytes_min || bytes > framing.bytes_max) {
    return PacketError{PacketErrorCode::damaged,
                       one(framing) + " announces " + std::to_string(bytes) + " bytes; allowed are " +
                           std::to_string(framing.bytes_min) + " to " + std::to_string(framing.bytes_max)};
  }
  return std::optional<std::size_t>{bytes};
}

std::size_t begin_packet(const Framing& framing, Buffer& to, std::uint16_t version) {
  MS_ASSERT(version >= framing.version_oldest && version <= framing.version, "a version that is spoken");
  const std::size_t start = to.size();
  ByteWriter out(to);
  out.u32_le(framing.magic);
  out.u32_le(0);  // length and checksum are filled in at the end
  out.u64_le(0);
  out.u16_le(version);
  out.u16_le(0);  // kind, too
  out.u32_le(0);  // reserved
  return start;
}

void end_packet(const Framing& framing, Buffer& to, std::size_t start, std::uint16_t kind) {
  const std::size_t bytes = to.size() - start;
  MS_ASSERT(bytes <= framing.bytes_max, "whoever ships keeps packets within the limit");
  std::byte* const packet = to.data() + start;
  store_le(packet + kKindAt, kind);
  store_le(packet + 4, static_cast<std::uint32_t>(bytes));
  store_le(packet + kChecksumAt, checksum64(BytesView(packet + kVersionAt, bytes - kVersionAt)));
}

Result<OpenedPacket, PacketError> open_packet(const Framing& framing, BytesView bytes) {
  const auto announced = packet_bytes(framing, bytes);
  if (!announced) return announced.error();
  if (!*announced || **announced > bytes.size()) {
    return PacketError{PacketErrorCode::incomplete, one(framing) + " is cut short"};
  }
  if (**announced < bytes.size()) {
    return PacketError{PacketErrorCode::damaged, "bytes follow the end of " + one(framing)};
  }
  // The version first: a newer one may have another checksum or layout behind it.
  const auto version = load_le<std::uint16_t>(bytes.data() + kVersionAt);
  if (version < framing.version_oldest || version > framing.version) {
    return PacketError{PacketErrorCode::version,
                       "the peer speaks version " + std::to_string(version) + " of the " + framing.name +
                           " protocol, this node " +
                           (framing.version_oldest < framing.version
                                ? "versions " + std::to_string(framing.version_oldest) + " to "
                                : "version ") +
                           std::to_string(framing.version)};
  }
  if (load_le<std::uint64_t>(bytes.data() + kChecksumAt) != checksum64(bytes.subspan(kVersionAt))) {
    return PacketError{PacketErrorCode::damaged, one(framing) + "'s checksum does not match its bytes"};
  }
  ByteReader frame(bytes.subspan(kKindAt));
  const std::uint16_t kind = frame.u16_le();
  if (frame.u32_le() != 0) return malformed_packet(framing, kind);  // reserved
  return OpenedPacket{version, kind, ByteReader(bytes.subspan(kFrameBytes))};
}

PacketError malformed_packet(const Framing& framing, std::uint16_t kind) {
  return {PacketErrorCode::malformed,
          one(framing) + " of kind " + std::to_string(kind) + " has impossible content"};
}

void put_position(ByteWriter& out, const journal::LogPosition& position) {
  out.u64_le(position.lsn.value);
  out.u64_le(position.hash);
}
journal::LogPosition take_position(ByteReader& in) {
  const Lsn lsn{in.u64_le()};
  return {lsn, in.u64_le()};
}
void put_name(ByteWriter& out, const std::string& name) {
  MS_ASSERT(name.size() <= 255, "configuration limits the names of regions and nodes");
  out.u8(static_cast<std::uint8_t>(name.size()));
  out.bytes(as_bytes(name));
}
std::string take_name(ByteReader& in) {
  return std::string(as_text(in.bytes(in.u8())));
}
Uuid take_uuid(ByteReader& in) {
  Uuid id;
  const BytesView bytes = in.bytes(id.bytes.size());
  if (in.ok()) std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
  return id;
}

}  // namespace mainstay::replication
