// Any sequence of records, well-formed or not: apply() answers, never crashes, and the state stays one.
// Input: records as (type u8, body length u16, body)…, in front of them two queues are declared.
#include <algorithm>
#include <cstdint>

#include "base/assert.h"
#include "broker/effects.h"
#include "broker/state.h"

using namespace mainstay;
using broker::QueueId;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto pages = paging::memory_page_store();
  const broker::StateLimits limits{size % 2 == 0 ? std::size_t{8} << 10 : std::size_t{32} << 20};
  broker::State state(pages.get(), limits);
  const auto apply = [&](journal::RecordType type, BytesView body) {
    journal::Record record;
    record.header.lsn = state.applied().next();
    record.header.type = type;
    record.body = body;
    return state.apply(record).has_value();
  };
  journal::LogBuilder log({}, Epoch{1});
  broker::QueueOptions with_sessions;
  with_sessions.requires_session = with_sessions.duplicate_detection = true;
  broker::append(log, broker::QueueDeclared{{1000}, QueueId{1}, with_sessions, "s"});
  broker::append(log, broker::QueueDeclared{{1000}, QueueId{2}, {}, "p"});
  const journal::Batch batch = log.take();
  for (const std::uint32_t at : batch.offsets) {
    journal::Record record;
    MS_ASSERT(journal::decode_record(BytesView(batch.bytes).subspan(at), record) == journal::DecodeStatus::ok,
              "own records are well-formed");
    MS_ASSERT(state.apply(record).has_value(), "own records apply");
  }
  ByteReader reader(std::as_bytes(std::span(data, size)));
  bool all_applied = true;
  while (reader.remaining() > 3) {
    const auto type = static_cast<journal::RecordType>(reader.u8());
    const std::size_t length = std::min<std::size_t>(reader.u16_le(), reader.remaining());
    all_applied = apply(type, reader.bytes(length)) && all_applied;
  }
  // A refused record may have been applied in part: the replica stops there. Until then all must hold.
  if (all_applied) {
    state.check_invariants();
    const auto checkpoint = state.checkpoint();
    MS_ASSERT(checkpoint.has_value(), "pages in memory have room");
    auto restored = broker::State::restore(checkpoint->root, *pages, limits);
    MS_ASSERT(restored.has_value() && restored->hash() == state.hash(),
              "a checkpoint restores an equal state");
    restored->check_invariants();
  }
  return 0;
}
