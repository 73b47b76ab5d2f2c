#include "journal/record.h"

#include <algorithm>
#include <array>

#include "base/assert.h"
#include "base/checksum.h"

namespace mainstay::journal {
namespace {

constexpr std::size_t kChecksumAt = 8;
constexpr std::size_t kCheckedFrom = 16;

bool all_zero(BytesView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

RecordHeader read_header(BytesView bytes) {
  RecordHeader header;
  ByteReader in(bytes.first(kRecordHeaderBytes));
  header.magic = in.u32_le();
  header.body_bytes = in.u32_le();
  header.checksum = in.u64_le();
  header.previous = in.u64_le();
  header.lsn = Lsn{in.u64_le()};
  header.epoch = Epoch{in.u64_le()};
  header.type = static_cast<RecordType>(in.u16_le());
  header.flags = in.u16_le();
  header.reserved = in.u32_le();
  return header;
}

}  // namespace

DecodeStatus decode_record(BytesView bytes, Record& out) {
  if (bytes.size() < 4 || load_le<std::uint32_t>(bytes.data()) != kRecordMagic) {
    return all_zero(bytes.first(std::min(bytes.size(), kRecordHeaderBytes))) ? DecodeStatus::end
                                                                             : DecodeStatus::damaged;
  }
  if (bytes.size() < kRecordHeaderBytes) return DecodeStatus::truncated;
  const RecordHeader header = read_header(bytes);
  if (header.body_bytes > kBodyBytesMax) return DecodeStatus::damaged;
  const std::size_t content = kRecordHeaderBytes + header.body_bytes;
  const std::size_t total = record_bytes(header.body_bytes);
  if (bytes.size() < total) return DecodeStatus::truncated;
  if (checksum64(bytes.subspan(kCheckedFrom, content - kCheckedFrom)) != header.checksum ||
      header.flags != 0 || header.reserved != 0 || !all_zero(bytes.subspan(content, total - content))) {
    return DecodeStatus::damaged;
  }
  out.header = header;
  out.body = bytes.subspan(kRecordHeaderBytes, header.body_bytes);
  out.raw = bytes.first(total);
  return DecodeStatus::ok;
}

Record view_record(BytesView raw) {
  const Record out = view_first_record(raw);
  MS_ASSERT(out.raw.size() == raw.size(), "the bytes are exactly one record");
  return out;
}

Record view_first_record(BytesView raw) {
  MS_ASSERT(raw.size() >= kRecordHeaderBytes, "a record has a header");
  Record out;
  out.header = read_header(raw);
  const std::size_t bytes = record_bytes(out.header.body_bytes);
  MS_ASSERT(out.header.magic == kRecordMagic && bytes <= raw.size(), "the bytes begin with a whole record");
  out.body = raw.subspan(kRecordHeaderBytes, out.header.body_bytes);
  out.raw = raw.first(bytes);
  return out;
}

std::uint64_t encode_record(Buffer& to, Lsn lsn, Epoch epoch, std::uint64_t previous, RecordType type,
                            std::span<const BytesView> body_parts) {
  std::size_t body_bytes = 0;
  for (const BytesView part : body_parts) body_bytes += part.size();
  MS_ASSERT(body_bytes <= kBodyBytesMax, "whoever makes a record keeps its body below the format's limit");

  std::array<std::byte, kRecordHeaderBytes> header{};
  store_le(header.data(), kRecordMagic);
  store_le(header.data() + 4, static_cast<std::uint32_t>(body_bytes));
  store_le(header.data() + 16, previous);
  store_le(header.data() + 24, lsn.value);
  store_le(header.data() + 32, epoch.value);
  store_le(header.data() + 40, static_cast<std::uint16_t>(type));

  // insert() rather than resize(): the bytes are written once, not zeroed first. Room for all of them at
  // once, or each part might move what is there to a larger place.
  const std::size_t at = to.size();
  if (const std::size_t needed = at + record_bytes(body_bytes); needed > to.capacity()) {
    to.reserve(std::max(needed, 2 * to.capacity()));
  }
  to.insert(to.end(), header.begin(), header.end());
  for (const BytesView part : body_parts) {
    if (!part.empty()) to.insert(to.end(), part.begin(), part.end());
  }
  const std::size_t content = kRecordHeaderBytes + body_bytes;
  const std::uint64_t checksum = checksum64(BytesView(to).subspan(at + kCheckedFrom, content - kCheckedFrom));
  store_le(to.data() + at + kChecksumAt, checksum);
  if (const std::size_t padding = record_bytes(body_bytes) - content; padding > 0) {
    static constexpr std::array<std::byte, kRecordHeaderBytes> kZeros{};
    to.insert(to.end(), kZeros.begin(), kZeros.begin() + padding);
  }
  return checksum;
}

const char* name_of(RecordType type) {
  switch (type) {
    case RecordType::epoch_started:
      return "epoch_started";
    case RecordType::sealed:
      return "sealed";
    case RecordType::forked:
      return "forked";
    case RecordType::state_hash:
      return "state_hash";
    case RecordType::queue_declared:
      return "queue_declared";
    case RecordType::message_stored:
      return "message_stored";
    case RecordType::messages_settled:
      return "messages_settled";
    case RecordType::delivery_failed:
      return "delivery_failed";
    case RecordType::message_dead_lettered:
      return "message_dead_lettered";
    case RecordType::time_advanced:
      return "time_advanced";
    case RecordType::message_moved:
      return "message_moved";
    case RecordType::message_deferred:
      return "message_deferred";
    case RecordType::message_scheduled:
      return "message_scheduled";
    case RecordType::message_activated:
      return "message_activated";
  }
  return "unknown";
}

}  // namespace mainstay::journal
