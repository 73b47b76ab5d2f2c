// What the clients of a soak saw, as facts in files: one file per thread, one line per fact, written before
// what it announces leaves the process. The audit (soak_audit.h) reads nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace mainstay::drills {

/// Microseconds since 1970-01-01T00:00:00Z of this machine, to be compared with what its broker tells.
[[nodiscard]] std::int64_t wall_clock_us();

/// One thing that happened to a client. Which members mean something is said per kind.
struct Fact {
  enum class Kind : std::uint8_t {
    queue,      ///< the rules of `queue`: lock_ms, deliveries_max and the three flags
    sent,       ///< `id` goes to `queue`: session, order, bytes, checksum, ttl_ms. Again for each attempt
    published,  ///< the answer to one attempt at `id`: outcome, note
    opened,     ///< `link` receives from `queue` (dead_letter: its dead-letter queue, by_number: put-aside
                ///< messages, asked for one by one); session, locked_until_ms
    received,   ///< `id` came by `link`: delivery, sequence, count, enqueued_ms, locked_until_ms, bytes,
                ///< checksum, claimed, session, note (the dead-letter reason)
    settling,   ///< `id`, `delivery` of `link` is being settled: how
    settled,    ///< the answer: how, outcome, note
    ended,      ///< `link` is over: note
    left,  ///< at the end the broker says `queue` (dead_letter: its dead-letter queue) holds `bytes` messages
    violated,  ///< something beside the messages is wrong with the broker: note
  };
  enum class How : std::uint8_t { complete, abandon, release, dead_letter, defer };
  enum class Outcome : std::uint8_t { confirmed, refused, unknown };

  Kind kind{};
  std::int64_t at_us{};
  std::uint32_t link{};  ///< unique within a history, from 1
  std::string queue;
  bool dead_letter = false, by_number = false;
  std::string id;
  std::string session;    ///< empty = none
  std::uint64_t order{};  ///< of sending within its session, from 1
  std::uint64_t bytes{};
  std::uint64_t checksum{};  ///< of the body: as made, as found in what was received
  std::uint64_t claimed{};   ///< the checksum that the message itself carries
  std::int64_t ttl_ms{};     ///< effective: the shorter of the message's and the queue's; 0 = does not expire
  std::uint64_t delivery{};  ///< unique within its link
  std::uint64_t sequence{};
  std::uint32_t count{};
  std::int64_t enqueued_ms{};
  std::int64_t locked_until_ms{};
  How how{};
  Outcome outcome{};
  std::string note;

  std::int64_t lock_ms{};
  std::uint32_t deliveries_max{};
  bool dead_letter_on_expiry = false, duplicate_detection = false, requires_session = false;
};

[[nodiscard]] std::string_view name_of(Fact::How how);
[[nodiscard]] std::string_view name_of(Fact::Outcome outcome);

/// Appends the fact as one line.
void append_fact(std::string& to, const Fact& fact);
/// One line without its line feed.
[[nodiscard]] Result<Fact, Failure> parse_fact(std::string_view line);

/// Facts of one thread, appended to one file. What flush() has written survives this process, not this
/// machine. One thread.
class FactJournal {
 public:
  [[nodiscard]] static Result<FactJournal, Failure> create(const std::string& path);
  FactJournal(FactJournal&& other) noexcept;
  FactJournal& operator=(FactJournal&&) = delete;
  ~FactJournal();
  /// `fact.at_us` becomes now.
  void add(Fact fact);
  /// To be called before anything a fact announces can leave the process. Aborts when the file cannot be
  /// written: a soak without evidence proves nothing.
  void flush();

 private:
  FactJournal(int file, std::string path) : file_(file), path_(std::move(path)) {}
  int file_;
  std::string path_, waiting_;
};

/// Calls `each` for every fact of every facts-*.tsv in `directory`, file by file in the order of their names,
/// each file in its own order.
[[nodiscard]] Result<void, Failure> read_history(const std::string& directory,
                                                 const std::function<void(const Fact&)>& each);

}  // namespace mainstay::drills
