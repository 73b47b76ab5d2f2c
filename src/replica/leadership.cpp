#include "replica/leadership.h"

namespace mainstay::replica {
namespace {

/// First byte of every body: raised when a field is added. Older ones stay readable.
constexpr std::uint8_t kBodyVersion = 1;

}  // namespace

Buffer encode(const EpochStarted& body) {
  Buffer bytes;
  ByteWriter out(bytes);
  out.u8(kBodyVersion);
  out.u64_le(body.term.value);
  out.i64_le(body.at.ms);
  out.sized_text(body.region);
  out.sized_text(body.node);
  out.sized_text(body.by);
  out.sized_text(body.reason);
  return bytes;
}

Buffer encode(const Sealed& body) {
  Buffer bytes;
  ByteWriter out(bytes);
  out.u8(kBodyVersion);
  out.u64_le(body.term.value);
  out.i64_le(body.at.ms);
  out.u64_le(body.state_hash);
  return bytes;
}

Buffer encode(const Forked& body) {
  Buffer bytes;
  ByteWriter out(bytes);
  out.u8(kBodyVersion);
  out.u64_le(body.term.value);
  out.i64_le(body.at.ms);
  out.u64_le(body.primary_committed.value);
  out.sized_text(body.region);
  out.sized_text(body.node);
  out.sized_text(body.by);
  out.sized_text(body.reason);
  return bytes;
}

bool read(const journal::Record& record, EpochStarted& out) {
  if (record.header.type != journal::RecordType::epoch_started) return false;
  ByteReader in(record.body);
  if (in.u8() != kBodyVersion) return false;
  out.term = RegionTerm{in.u64_le()};
  out.at = WallTime{in.i64_le()};
  out.region = in.sized_text();
  out.node = in.sized_text();
  out.by = in.sized_text();
  out.reason = in.sized_text();
  return in.finished();
}

bool read(const journal::Record& record, Sealed& out) {
  if (record.header.type != journal::RecordType::sealed) return false;
  ByteReader in(record.body);
  if (in.u8() != kBodyVersion) return false;
  out.term = RegionTerm{in.u64_le()};
  out.at = WallTime{in.i64_le()};
  out.state_hash = in.u64_le();
  return in.finished();
}

bool read(const journal::Record& record, Forked& out) {
  if (record.header.type != journal::RecordType::forked) return false;
  ByteReader in(record.body);
  if (in.u8() != kBodyVersion) return false;
  out.term = RegionTerm{in.u64_le()};
  out.at = WallTime{in.i64_le()};
  out.primary_committed = Lsn{in.u64_le()};
  out.region = in.sized_text();
  out.node = in.sized_text();
  out.by = in.sized_text();
  out.reason = in.sized_text();
  return in.finished();
}

RegionTerm term_of(const journal::Record& record) {
  EpochStarted started;
  Sealed sealed;
  Forked forked;
  if (read(record, started)) return started.term;
  if (read(record, sealed)) return sealed.term;
  if (read(record, forked)) return forked.term;
  return {};
}

}  // namespace mainstay::replica
