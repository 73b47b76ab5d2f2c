#include "node/body_reader.h"

#include <algorithm>
#include <string>
#include <utility>

namespace mainstay::node {
namespace {

/// A reader that goes on this close behind what it had is asking for one record after the other.
constexpr std::uint64_t kDense = 16;
/// So often in a row, before it gets chunks: readers of random places meet by chance.
constexpr int kDenseReads = 2;
/// How far behind its chunk a reader may go on and still be the same one, at least.
constexpr std::uint64_t kGapMin = 64;
/// A stream that nobody used for this many bodies shares no memory any more.
constexpr std::uint64_t kIdleAfter = 16384;
constexpr std::size_t kStep = 4;
/// A record that was read for somebody who has not asked again for so many calls is nobody's any more.
constexpr std::uint64_t kForgottenAfter = 65536;

void release_if_large(Buffer& bytes, std::size_t kept) {
  bytes.clear();
  if (bytes.capacity() > kept) bytes = Buffer();
}

}  // namespace

BodyReader::Stream* BodyReader::holder(Lsn lsn) {
  if (streams_[latest_].now.has(lsn)) return &streams_[latest_];
  for (Stream& stream : streams_) {
    if (stream.now.has(lsn) || stream.next.has(lsn)) return &stream;
  }
  return nullptr;
}

BodyReader::Stream* BodyReader::predecessor(Lsn lsn) {
  Stream* nearest = nullptr;
  for (Stream& stream : streams_) {
    const Lsn behind = stream.now.behind();
    if (stream.now.offsets.empty() || lsn < behind) continue;
    const std::uint64_t records = stream.now.offsets.size();
    if (lsn.value - behind.value > std::max(kGapMin, 4 * records)) continue;
    // Still in the middle of its chunk: it is another reader's.
    if (2 * (stream.last.value - stream.now.first.value + 1) < records) continue;
    if (nearest == nullptr || nearest->now.behind() < behind) nearest = &stream;
  }
  return nearest;
}

bool BodyReader::is_awaited(const Stream& stream) const {
  return stream.awaited && gets_ - stream.awaited_at <= kForgottenAfter;
}

/// Something is out or due, so that who waits will be told to ask again.
bool BodyReader::is_pending() const {
  return reading_ > 0 || std::any_of(streams_.begin(), streams_.end(), [](const Stream& stream) {
           return stream.awaited && !stream.failed && !stream.next.has(*stream.awaited);
         });
}

/// Free ones first: a record that came for somebody must not go before it is taken.
BodyReader::Stream& BodyReader::oldest() {
  return *std::min_element(streams_.begin(), streams_.end(), [this](const Stream& a, const Stream& b) {
    if (is_free(a) != is_free(b)) return is_free(a);
    return a.used_at < b.used_at;
  });
}

std::size_t BodyReader::chunk_limit() const {
  std::size_t sharing = 1;
  for (const Stream& stream : streams_) {
    if (stream.chunk_bytes > 0 && gets_ - stream.used_at < kIdleAfter) ++sharing;
  }
  const std::size_t share = options_.bytes_max / (2 * sharing);
  return std::min(options_.chunk_bytes_max, share);
}

/// The stream has used up its chunk and goes on at `lsn`: how much to read now?
void BodyReader::adapt(Stream& stream, Lsn lsn) {
  const std::uint64_t gap = lsn.value - stream.now.behind().value;
  if (stream.chunk_bytes == 0) {
    stream.dense = gap <= kDense ? stream.dense + 1 : 0;
    if (stream.dense >= kDenseReads) stream.chunk_bytes = options_.chunk_bytes_min;
  } else {
    // Reading a record that nobody asks for costs about a sixteenth of reading one by itself.
    const std::size_t bytes = stream.now.bytes.size();
    if (stream.used_bytes >= bytes / 4) {
      stream.chunk_bytes *= kStep;
    } else if (stream.used_bytes < bytes / 16) {
      stream.chunk_bytes /= kStep;
    }
  }
  stream.chunk_bytes = std::min(stream.chunk_bytes, chunk_limit());
  if (stream.chunk_bytes < options_.chunk_bytes_min) stream.chunk_bytes = 0;
}

/// The stream's two chunks must fit in: whoever was not heard of for longest loses its own.
void BodyReader::make_room(const Stream& stream) {
  const auto held = [&] {
    std::uint64_t sum = 2 * stream.chunk_bytes;
    for (const Stream& other : streams_) {
      if (&other != &stream) sum += memory_of(other);
    }
    return sum;
  };
  while (held() > options_.bytes_max) {
    Stream* out = nullptr;
    for (Stream& other : streams_) {
      if (&other == &stream || memory_of(other) == 0 || !is_free(other)) continue;
      if (out == nullptr || other.used_at < out->used_at) out = &other;
    }
    if (out == nullptr) return;
    drop(*out);
  }
}

std::uint64_t BodyReader::memory_of(const Stream& stream) {
  return stream.now.bytes.capacity() + (stream.reading ? stream.chunk_bytes : stream.next.bytes.capacity());
}

void BodyReader::drop(Stream& stream) {
  const bool reading = stream.reading;
  const std::uint64_t generation = stream.generation + 1;
  stream = Stream{};
  stream.reading = reading;
  stream.generation = generation;
}

BytesView BodyReader::serve(Stream& stream, Lsn lsn) {
  const std::size_t index = lsn.value - stream.now.first.value;
  const std::size_t from = stream.now.offsets[index];
  const std::size_t to =
      index + 1 < stream.now.offsets.size() ? stream.now.offsets[index + 1] : stream.now.bytes.size();
  stream.used_bytes += to - from;
  stream.used_at = gets_;
  stream.last = std::max(stream.last, lsn);
  latest_ = static_cast<std::size_t>(&stream - streams_.data());
  ++counters_.served;
  return BytesView(stream.now.bytes).subspan(from, to - from);
}

Result<std::optional<BytesView>, journal::JournalError> BodyReader::get(journal::Journal& journal, Lsn lsn) {
  ++gets_;
  Stream* stream = holder(lsn);
  if (stream != nullptr && stream->now.has(lsn)) return std::optional(serve(*stream, lsn));
  if (stream != nullptr) {
    const bool awaited = stream->awaited == lsn;
    for (Stream& waiting : streams_) {
      if (waiting.awaited == lsn) waiting.awaited.reset();
    }
    if (!awaited) {  // else how far to read was decided when it was asked for
      ++counters_.read_ahead;
      adapt(*stream, lsn);
    }
    std::swap(stream->now, stream->next);
  } else {
    for (Stream& waiting : streams_) {
      if (waiting.awaited != lsn) continue;
      waiting.awaited_at = gets_;
      if (waiting.reading) return std::optional<BytesView>();
      waiting.awaited.reset();
      if (auto failed = std::exchange(waiting.failed, std::nullopt)) return *std::move(failed);
    }
    stream = predecessor(lsn);
    std::size_t bytes = 0;
    if (stream != nullptr && stream->reading && stream->chunk_bytes > 0) {
      // The chunk that it needs is on its way: no more than what helps until then.
      bytes = options_.chunk_bytes_min;
    } else {
      if (stream != nullptr) {
        adapt(*stream, lsn);
      } else {
        stream = &oldest();
        if (!is_free(*stream) && is_pending()) return std::optional<BytesView>();
        stream->chunk_bytes = 0;
        stream->dense = 0;
        ++stream->generation;  // what is still out for it is not what it needs
      }
      bytes = stream->chunk_bytes;
    }
    make_room(*stream);
    stream->now.first = lsn;
    auto filled = fill(journal, bytes, stream->now, Wait::no);
    const bool would_wait = !filled && filled.error().code == journal::JournalErrorCode::would_wait;
    if (!filled && !would_wait && bytes > 0) {
      // Damage further on in the chunk does not keep back what is whole before it.
      stream->chunk_bytes = 0;
      stream->dense = 0;
      filled = fill(journal, 0, stream->now, Wait::no);
    }
    if (!filled && filled.error().code == journal::JournalErrorCode::would_wait) {
      wait_for(stream, lsn);
      return std::optional<BytesView>();
    }
    if (!filled) return filled.error();
    ++counters_.reads;
    counters_.bytes_read += stream->now.bytes.size();
    if (stream->reading && stream->reached) stream->reached->store(stream->now.behind().value);
  }
  release_if_large(stream->next.bytes, stream->chunk_bytes + stream->chunk_bytes / 2);
  stream->next.offsets.clear();
  stream->used_bytes = 0;
  stream->last = stream->now.first;
  stream->tried = false;
  return std::optional(serve(*stream, lsn));
}

/// Notes that `lsn` is to be read, unless the stream is busy with what another one waits for: who asks now
/// asks again when that has arrived.
void BodyReader::wait_for(Stream* stream, Lsn lsn) {
  if (is_awaited(*stream)) {
    if (stream->reading) return;
    stream = &oldest();
    if (!is_free(*stream) && is_pending()) return;
    drop(*stream);
  }
  // When a chunk is on its way it is most likely in there.
  stream->awaited = lsn;
  stream->awaited_at = stream->used_at = gets_;
  stream->failed.reset();
}

BodyReader::ReadAhead BodyReader::send_out(std::size_t index, Lsn first, std::size_t bytes) {
  Stream& stream = streams_[index];
  make_room(stream);
  stream.reading = stream.tried = true;
  ++reading_;
  ReadAhead ahead;
  ahead.stream = index;
  ahead.generation = stream.generation;
  ahead.bytes = bytes;
  ahead.chunk = std::exchange(stream.next, Chunk{});
  ahead.chunk.first = first;
  stream.reached = std::make_shared<std::atomic<std::uint64_t>>(0);
  ahead.reached = stream.reached;
  return ahead;
}

/// The read that somebody has waited for longest.
std::optional<BodyReader::ReadAhead> BodyReader::due() {
  Stream* next = nullptr;
  for (Stream& stream : streams_) {
    if (!stream.awaited || stream.reading || stream.failed || stream.next.has(*stream.awaited)) continue;
    if (next == nullptr || stream.used_at < next->used_at) next = &stream;
  }
  if (next == nullptr) return std::nullopt;
  ++counters_.waits;
  ReadAhead ahead = send_out(static_cast<std::size_t>(next - streams_.data()), *next->awaited,
                             std::min(next->chunk_bytes, chunk_limit()));
  ahead.awaited = true;
  return ahead;
}

std::optional<BodyReader::ReadAhead> BodyReader::wanted() {
  if (reading_ >= kReadingMax) return std::nullopt;
  if (auto awaited = due()) return awaited;
  Stream& stream = streams_[latest_];
  // Of single records nobody knows what follows.
  if (stream.chunk_bytes == 0 || stream.reading || stream.tried) return std::nullopt;
  // Two of the longest records at once would be more than all the rest may hold.
  if (stream.now.bytes.size() > options_.bytes_max / 2) return std::nullopt;
  return send_out(latest_, stream.now.behind(), std::min(stream.chunk_bytes, chunk_limit()));
}

void BodyReader::read(journal::Journal& journal, ReadAhead& ahead) {
  ahead.chunk.first = std::max(ahead.chunk.first, Lsn{ahead.reached->load()});
  auto filled = fill(journal, ahead.bytes, ahead.chunk, Wait::yes);
  if (!filled && ahead.awaited && ahead.bytes > 0) filled = fill(journal, 0, ahead.chunk, Wait::yes);
  if (filled) return;
  // Behind the log's end there is nothing; damage is told to whoever asks for the damaged record.
  ahead.chunk.offsets.clear();
  if (ahead.awaited) ahead.failed = filled.error();
}

void BodyReader::arrived(ReadAhead ahead) {
  --reading_;
  Stream& stream = streams_[ahead.stream];
  stream.reading = false;
  counters_.bytes_read += ahead.chunk.bytes.size();
  if (stream.generation != ahead.generation) {
    ahead.chunk = {};
    ahead.failed.reset();
  }
  if (stream.awaited) stream.failed = std::move(ahead.failed);
  stream.next = std::move(ahead.chunk);
}

void BodyReader::forget() {
  for (Stream& stream : streams_) drop(stream);
}

std::uint64_t BodyReader::bytes() const {
  std::uint64_t sum = 0;
  for (const Stream& stream : streams_) sum += memory_of(stream);
  return sum;
}

Result<void, journal::JournalError> BodyReader::fill(journal::Journal& journal, std::size_t bytes,
                                                     Chunk& chunk, Wait wait) {
  chunk.offsets.clear();
  release_if_large(chunk.bytes, std::max<std::size_t>(bytes + bytes / 2, 16384));
  const Lsn last = bytes == 0 ? chunk.first : Lsn{UINT64_MAX};
  const auto read = wait == Wait::yes ? journal.read(chunk.first, last, bytes, chunk.bytes)
                                      : journal.read_if_cached(chunk.first, last, bytes, chunk.bytes);
  if (!read) return read.error();
  if (chunk.bytes.empty()) {
    return journal::JournalError{journal::JournalErrorCode::not_found,
                                 "LSN " + std::to_string(chunk.first.value) + " is not durable yet"};
  }
  for (std::size_t at = 0; at < chunk.bytes.size();) {
    chunk.offsets.push_back(static_cast<std::uint32_t>(at));
    at += journal::record_bytes(load_le<std::uint32_t>(chunk.bytes.data() + at + 4));
  }
  return {};
}

}  // namespace mainstay::node
