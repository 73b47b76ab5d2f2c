// Bodies that have left the cache, read back from the journal: sequential readers get chunks of whole
// records, read ahead of them on another thread; everyone else gets single records.
//
// A stream is a reader that lags behind: its next record is found a little behind the chunk it has used up.
// A queue that drains alone asks for every record of a chunk. In a log shared by many queues it asks for few
// of them: chunks shrink as their use does, down to single records. Two chunks per stream (the one being
// used, the one being read); all of them together stay within a bound.
//
// The strand never waits for the disk: what the system has in memory is read at once, anything else is "not
// here yet", goes out as a read like those ahead, and is there when it has arrived.
//
// Sans-I/O: the journal comes in with each call, and a chunk to read goes out as a value that is read
// wherever the owner likes. One strand, except read(ReadAhead&).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "journal/journal.h"

namespace mainstay::node {

struct BodyReaderOptions {
  std::uint64_t bytes_max = 4ULL << 20;      ///< of all chunks, less one longer record
  std::size_t chunk_bytes_min = 32U << 10;   ///< below this a single record is read
  std::size_t chunk_bytes_max = 512U << 10;  ///< also how long one read may hold up everybody
};

class BodyReader {
 public:
  static constexpr std::size_t kStreamsMax = 32;
  /// Out at a time: bounds the memory of single long records, and what stands before a sync at the disk.
  static constexpr std::size_t kReadingMax = 8;

  /// Whole records, each checked by Journal::read().
  struct Chunk {
    Lsn first{};
    Buffer bytes;
    std::vector<std::uint32_t> offsets;
    [[nodiscard]] Lsn behind() const { return Lsn{first.value + offsets.size()}; }
    [[nodiscard]] bool has(Lsn lsn) const { return lsn >= first && lsn < behind(); }
  };
  /// A chunk to be read on any thread, then given back.
  struct ReadAhead {
    std::size_t stream{};
    std::uint64_t generation{};  ///< of the stream: a stale chunk is dropped
    std::size_t bytes{};
    Chunk chunk;                                  ///< `first` set; the rest empty (its memory is reused)
    bool awaited = false;                         ///< somebody waits for its first record
    std::optional<journal::JournalError> failed;  ///< why that one could not be read
    /// LSN up to which the reader has gone by itself meanwhile: not read again.
    std::shared_ptr<const std::atomic<std::uint64_t>> reached;
  };
  struct Counters {
    std::uint64_t served{};      ///< get()
    std::uint64_t reads{};       ///< by get() itself, from what the system had in memory
    std::uint64_t waits{};       ///< reads that somebody waits for
    std::uint64_t bytes_read{};  ///< by them and ahead of them
    std::uint64_t read_ahead{};  ///< chunks that were there when they were needed
  };

  explicit BodyReader(const BodyReaderOptions& options = {}) : options_(options) {}

  /// The raw record at `lsn`; valid until the next call of get() or forget(). Errors are the journal's.
  /// nullopt: not here yet. At least one read is out then, or among those wanted(); ask again each time that
  /// one has arrived.
  [[nodiscard]] Result<std::optional<BytesView>, journal::JournalError> get(journal::Journal& journal,
                                                                            Lsn lsn);
  /// What is to be read next, or worth it; ask after get(), until there is nothing. Every answer comes back
  /// by arrived().
  [[nodiscard]] std::optional<ReadAhead> wanted();
  /// Reads it. Any thread. A failure leaves the chunk empty: get() tells who asks for the record.
  static void read(journal::Journal& journal, ReadAhead& ahead);
  void arrived(ReadAhead ahead);
  /// Reads that are out: the journal must stay until they are back.
  [[nodiscard]] std::size_t reading() const { return reading_; }
  /// Drops all chunks (another journal follows).
  void forget();
  /// Memory of all chunks, those being read included.
  [[nodiscard]] std::uint64_t bytes() const;
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  struct Stream {
    Chunk now, next;
    std::uint64_t generation = 0;
    std::uint64_t used_at = 0;    // the number of the get() that used it last
    std::size_t used_bytes = 0;   // of `now`, by get()
    Lsn last{};                   // the latest one of `now` that was asked for
    std::size_t chunk_bytes = 0;  // 0: single records
    int dense = 0;                // single records in a row that were close together
    std::shared_ptr<std::atomic<std::uint64_t>> reached;
    bool reading = false;  // `next` is out
    bool tried = false;    // what follows `now` has been asked for
    // Somebody waits for this record: being read, or here and not yet taken.
    std::optional<Lsn> awaited;
    std::uint64_t awaited_at = 0;                 // the number of the get() that asked for it last
    std::optional<journal::JournalError> failed;  // of the read for `awaited`
  };
  Stream* holder(Lsn lsn);
  Stream* predecessor(Lsn lsn);
  Stream& oldest();
  [[nodiscard]] bool is_pending() const;
  [[nodiscard]] bool is_awaited(const Stream& stream) const;
  [[nodiscard]] bool is_free(const Stream& stream) const { return !stream.reading && !is_awaited(stream); }
  std::optional<ReadAhead> due();
  void adapt(Stream& stream, Lsn lsn);
  BytesView serve(Stream& stream, Lsn lsn);
  [[nodiscard]] std::size_t chunk_limit() const;
  void make_room(const Stream& stream);
  static void drop(Stream& stream);
  static std::uint64_t memory_of(const Stream& stream);
  enum class Wait : bool { no, yes };
  static Result<void, journal::JournalError> fill(journal::Journal& journal, std::size_t bytes, Chunk& chunk,
                                                  Wait wait);
  void wait_for(Stream* stream, Lsn lsn);
  ReadAhead send_out(std::size_t stream, Lsn first, std::size_t bytes);

  BodyReaderOptions options_;
  std::array<Stream, kStreamsMax> streams_;
  std::size_t latest_ = 0;  // stream of the last get(): asked first
  std::uint64_t gets_ = 0;
  std::size_t reading_ = 0;
  Counters counters_;
};

}  // namespace mainstay::node
