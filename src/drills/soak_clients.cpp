#include "drills/soak_clients.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/assert.h"
#include "base/checksum.h"
#include "client/publish_queue.h"
#include "drills/soak_management.h"
#include "drills/soak_message.h"
#include "io/system_clock.h"

namespace mainstay::drills {
namespace {

using client::Connection;
using client::LinkState;
using Kind = Fact::Kind;
using How = Fact::How;
using Outcome = Fact::Outcome;

/// Bytes that wait for their confirmation, at most, per producer.
constexpr std::size_t window_bytes = std::size_t{8} << 20;
constexpr std::size_t window_messages = 64;
/// Larger messages do not come again on purpose.
constexpr std::size_t remembered_bytes = 4096;
/// After the end, for what is still without an outcome; then it counts as unknown.
constexpr std::int64_t resolve_s = 60;

void pause(Duration time) {
  ::poll(nullptr, 0, static_cast<int>(std::max<std::int64_t>(time.milliseconds(), 1)));
}

/// Ends the connection as a crash or a pulled cable would: no close, no detach.
void vanish(std::unique_ptr<Connection>& connection) {
  if (connection && connection->descriptor() >= 0) ::shutdown(connection->descriptor(), SHUT_RDWR);
  connection.reset();
}

/// What producers and consumers have in common.
class Client {
 protected:
  Client(SoakShared& shared, const SoakQueue& queue, const std::string& name)
      : shared_(shared),
        queue_(queue),
        name_(name),
        random_(mix64(shared.seed, checksum64(std::as_bytes(std::span(name))))) {
    auto journal = FactJournal::create(shared.directory + "/facts-" + name + ".tsv");
    MS_ASSERT(journal.has_value(), "the evidence can be written");
    journal_.emplace(std::move(*journal));
  }

  void connect() {
    client::ClientOptions options;
    options.endpoints = {{shared_.host, shared_.port}};
    options.user = shared_.user;
    options.password = shared_.password;
    options.container_id = name_;
    options.connect_timeout = seconds(2);
    auto made = Connection::connect(options);
    if (made)
      connection_ = std::move(*made);
    else
      pause(milliseconds(20));
  }

  SoakShared& shared_;
  const SoakQueue queue_;
  const std::string name_;
  SeededRandom random_;
  io::SystemClock clock_;
  std::optional<FactJournal> journal_;
  std::unique_ptr<Connection> connection_;
};

class Producer final : Client {
 public:
  Producer(SoakShared& shared, const SoakQueue& queue, unsigned number)
      : Client(shared, queue, fmt::format("{}-producer-{}", queue.name, number)),
        number_(number),
        orders_(queue.sessions),
        publishing_(
            {queue.duplicate_detection ? client::UnknownOutcome::resend : client::UnknownOutcome::report,
             window_messages, window_bytes}) {}

  void run() {
    const double rate_per_s = shared_.rate_per_s * queue_.share / queue_.producers;
    const Instant start = clock_.now();
    std::uint64_t made = 0;
    std::optional<Instant> resolve_until;
    while (!shared_.give_up) {
      if (shared_.stop) {
        if (!resolve_until) resolve_until = clock_.now() + seconds(resolve_s);
        if (items_.empty() || clock_.now() > *resolve_until) break;
      } else {
        // What could not be sent while the broker was away is not made up for: the load stays even.
        const auto due = static_cast<std::uint64_t>((clock_.now() - start).seconds() * rate_per_s);
        if (due > made + window_messages) made = due - window_messages;
        for (; made < due && publishing_.has_room(); ++made) make();
        while (shared_.hurry && publishing_.has_room()) make();
      }
      if (!sender_ && !open()) continue;
      send();
      journal_->flush();
      const auto polled = connection_->poll(milliseconds(5));
      take_outcomes();
      if (!polled || sender_->state() == LinkState::closed) {
        ++shared_.lost_connections;
        leave();
      } else if (!shared_.stop && random_.chance(1, 4000)) {
        ++shared_.vanished;
        vanish(connection_);
        take_outcomes();
        leave();
      }
    }
    leave();
    for (const auto& [tag, item] : items_)
      if (item.unheard) answer(item.id, Outcome::unknown, "given up at the end");
  }

 private:
  struct Item {
    std::string id;
    Fact fact;             ///< of being sent
    Buffer message;        ///< kept of those that may come again on purpose
    bool unheard = false;  ///< an attempt is under way
    Instant confirmed_at{};
    bool duplicate = false;  ///< confirmed before, sent again on purpose
  };

  void make() {
    // A message confirmed a while ago comes again, as from a producer that forgot.
    if (queue_.duplicate_detection && !confirmed_.empty() && random_.chance(1, 50)) {
      Item again = confirmed_[random_.below(confirmed_.size())];
      if (clock_.now() > again.confirmed_at + seconds(duplicate_window_s / 4)) return;
      again.duplicate = true;
      ++shared_.duplicates;
      publishing_.add(next_tag_, again.message);
      items_.emplace(next_tag_++, std::move(again));
      return;
    }
    SoakMessage message;
    message.id = fmt::format("{}-{}-{}", queue_.name, number_, ++made_);
    Item item;
    item.id = message.id;
    if (queue_.sessions > 0) {
      const auto session = static_cast<unsigned>(random_.below(queue_.sessions));
      message.session = fmt::format("s{}-{}", number_, session);
      item.fact.order = ++orders_[session];
    }
    message.bytes = size();
    std::int64_t ttl_ms = queue_.default_ttl_s * 1000;
    if (random_.chance(queue_.ttl_percent, 100)) {
      // Short enough to expire here, or so long that it must not.
      message.ttl_ms =
          random_.chance(9, 10) ? static_cast<std::uint32_t>(random_.between(20, 4000)) : 3'600'000;
      ttl_ms = ttl_ms == 0 ? message.ttl_ms : std::min<std::int64_t>(ttl_ms, message.ttl_ms);
    }
    EncodedSoakMessage encoded = encode_soak_message(message);
    item.fact.kind = Kind::sent;
    item.fact.queue = queue_.name;
    item.fact.id = message.id;
    item.fact.session = message.session;
    item.fact.bytes = message.bytes;
    item.fact.checksum = encoded.checksum;
    item.fact.ttl_ms = ttl_ms;
    if (queue_.duplicate_detection && encoded.message.size() <= remembered_bytes)
      item.message = encoded.message;
    publishing_.add(next_tag_, std::move(encoded.message));
    items_.emplace(next_tag_++, std::move(item));
  }

  /// Mostly small; now and then empty; a few as large as allowed.
  std::uint64_t size() {
    const std::uint64_t choice = random_.below(1000);
    const std::uint64_t most = choice < 20    ? 0
                               : choice < 850 ? 600
                               : choice < 985 ? 8'000
                               : choice < 998 ? 100'000
                                              : 1U << 20;
    if (choice == 999) return queue_.bytes_max;
    return random_.below(std::min(most, queue_.bytes_max) + 1);
  }

  bool open() {
    connect();
    if (!connection_) return false;
    sender_.emplace(connection_->open_sender(queue_.name));
    static_cast<void>(connection_->poll_until(
        [&] { return sender_->credit() > 0 || sender_->state() == LinkState::closed || shared_.give_up; },
        seconds(10)));
    if (sender_->credit() == 0) {
      leave();
      pause(milliseconds(50));
      return false;
    }
    // What is without an outcome goes again, in order, before anything new.
    link_open_ = publishing_.link_opened(sender_->duplicate_window()).has_value();
    if (!link_open_) {
      Fact fact;
      fact.kind = Kind::violated;
      fact.note = queue_.name + " does not say that it detects duplicates";
      journal_->add(fact);
      leave();
      return false;
    }
    return true;
  }

  void send() {
    while (sender_->credit() > 0) {
      const client::PublishQueue::Item* next = publishing_.next(clock_.now());
      if (next == nullptr || !sender_->send(next->tag, next->message)) return;
      Item& item = items_.at(next->tag);
      publishing_.sent(clock_.now());
      item.unheard = true;
      journal_->add(item.fact);
      ++shared_.sent;
    }
  }

  void answer(const std::string& id, Outcome outcome, const std::string& note) {
    Fact fact;
    fact.kind = Kind::published;
    fact.id = id;
    fact.outcome = outcome;
    fact.note = note;
    journal_->add(fact);
  }

  void take_outcomes() {
    if (!sender_) return;
    using Told = client::SendOutcome::Kind;
    sender_->take_outcomes(outcomes_);
    for (const client::SendOutcome& told : outcomes_) {
      const auto at = items_.find(told.tag);
      MS_ASSERT(at != items_.end(), "every outcome is that of an item");
      Item& item = at->second;
      item.unheard = false;
      answer(item.id,
             told.kind == Told::accepted  ? Outcome::confirmed
             : told.kind == Told::unknown ? Outcome::unknown
                                          : Outcome::refused,
             told.kind == Told::accepted ? "" : told.error.condition);
      if (told.kind == Told::accepted) {
        if (!item.duplicate) ++shared_.confirmed;
        remember(item);
      }
      if (told.kind == Told::unknown) ++shared_.uncertain;
      publishing_.outcome(told, clock_.now(), random_);
    }
    end_items();
  }

  void end_items() {
    for (const client::PublishResult& result : publishing_.take_results()) items_.erase(result.tag);
  }

  void remember(const Item& item) {
    if (!queue_.duplicate_detection || item.duplicate || item.message.empty()) return;
    const std::size_t at = confirmed_.size() < 256 ? confirmed_.size() : random_.below(confirmed_.size());
    if (at == confirmed_.size()) confirmed_.emplace_back();
    confirmed_[at] = item;
    confirmed_[at].confirmed_at = clock_.now();
  }

  void leave() {
    if (connection_ && connection_->is_open()) connection_->close(milliseconds(200));
    connection_.reset();
    take_outcomes();  // what the end of the connection left unknown
    sender_.reset();
    if (std::exchange(link_open_, false))
      publishing_.link_lost({client::condition::lost, "the link is gone"});
    end_items();
    journal_->flush();
  }

  const unsigned number_;
  std::vector<std::uint64_t> orders_;  ///< last one given, by session
  std::uint64_t made_ = 0;
  std::map<std::uint64_t, Item> items_;  ///< without a final outcome, by tag: in order of sending
  client::PublishQueue publishing_;
  bool link_open_ = false;
  std::uint64_t next_tag_ = 1;
  std::vector<Item> confirmed_;
  std::optional<client::Sender> sender_;
  std::vector<client::SendOutcome> outcomes_;
};

class Consumer final : Client {
 public:
  Consumer(SoakShared& shared, const SoakQueue& queue, bool dead_letter, bool draining, unsigned number)
      : Client(shared, queue,
               fmt::format("{}{}-{}-{}", queue.name, dead_letter ? "-dead" : "",
                           draining ? "drain" : "consumer", number)),
        dead_letter_(dead_letter),
        draining_(draining) {}

  void run() {
    const Instant start = clock_.now();
    while (!over()) {
      if (!draining_ && queue_.in_waves && !dead_letter_ &&
          (clock_.now() - start).ns % shared_.wave.ns < shared_.wave.ns * 7 / 10) {
        pause(milliseconds(50));
        continue;
      }
      stint();
    }
    vanish_or_close(false);
    journal_->flush();
  }

 private:
  enum class Manner : std::uint8_t { steady, slow, silent, vanishing };

  [[nodiscard]] bool over() const {
    return shared_.give_up || (draining_ ? shared_.drained.load() : shared_.stop.load());
  }

  /// One link's life.
  void stint() {
    if (!connection_ || !connection_->is_open()) {
      connection_.reset();
      connect();
      if (!connection_) return;
    }
    if (queue_.defer_percent > 0 && !dead_letter_) {
      by_number();
      if (!connection_ || !connection_->is_open()) return;
    }
    Manner manner = Manner::steady;
    if (!draining_ && !queue_.in_waves) {
      const std::uint64_t choice = random_.below(100);
      manner = choice < 70   ? Manner::steady
               : choice < 80 ? Manner::slow
               : choice < 88 ? Manner::silent
                             : Manner::vanishing;
    }
    if (!open()) return;
    const std::uint32_t credit = draining_ || queue_.in_waves ? 200
                                 : manner == Manner::slow
                                     ? 20
                                     : static_cast<std::uint32_t>(random_.between(1, 80));
    Instant until = clock_.now() + milliseconds(static_cast<std::int64_t>(random_.between(300, 6000)));
    if (draining_) until = clock_.now() + seconds(3600);
    // What is put aside is looked for between two links.
    if (draining_ && queue_.defer_percent > 0) until = clock_.now() + milliseconds(500);
    receiver_->add_credit(credit);
    if (manner == Manner::silent) stay_silent(until);
    if (manner == Manner::slow) ++shared_.slow;
    Instant last = clock_.now();
    while (!over() && clock_.now() < until) {
      journal_->flush();
      const auto polled = connection_->poll(milliseconds(20));
      const std::size_t some = take(manner);
      if (!polled || receiver_->state() != LinkState::open) break;
      if (receiver_->credit() <= credit / 2)
        receiver_->add_credit(credit - static_cast<std::uint32_t>(receiver_->credit()));
      if (some > 0) last = clock_.now();
      // A session without messages is left to the next.
      if (queue_.requires_session && !dead_letter_ && clock_.now() > last + milliseconds(150)) break;
      if (manner == Manner::slow) pause(milliseconds(static_cast<std::int64_t>(random_.between(20, 200))));
    }
    vanish_or_close(manner == Manner::vanishing && !over());
  }

  bool open() {
    client::ReceiverOptions options;
    if (queue_.requires_session && !dead_letter_) {
      options.session = client::ReceiverOptions::Session::next_available;
      options.session_timeout = milliseconds(1000);
      if (!draining_ && random_.chance(1, 5)) {
        options.session = client::ReceiverOptions::Session::named;
        options.session_id =
            fmt::format("s{}-{}", random_.below(queue_.producers), random_.below(queue_.sessions));
      }
    }
    const std::string address = queue_.name + (dead_letter_ ? "/$DeadLetterQueue" : "");
    receiver_.emplace(connection_->open_receiver(address, options));
    const auto opened =
        connection_->poll_until([&] { return receiver_->state() != LinkState::opening; }, seconds(10));
    if (!opened || receiver_->state() != LinkState::open) {
      receiver_.reset();
      if (!opened) {
        connection_.reset();
        ++shared_.lost_connections;
      }
      pause(milliseconds(10));
      return false;
    }
    link_ = shared_.next_link++;
    Fact fact;
    fact.kind = Kind::opened;
    fact.link = link_;
    fact.queue = queue_.name;
    fact.dead_letter = dead_letter_;
    fact.session = receiver_->session_id().value_or("");
    if (const auto until = receiver_->session_locked_until()) fact.locked_until_ms = until->ms;
    journal_->add(fact);
    return true;
  }

  /// Grants credit and does not read, longer than most locks last.
  void stay_silent(Instant& until) {
    ++shared_.silent;
    static_cast<void>(connection_->poll({0}));
    const Instant silent_until =
        clock_.now() + milliseconds(static_cast<std::int64_t>(random_.between(500, 8000)));
    while (!over() && clock_.now() < silent_until) pause(milliseconds(50));
    until = std::max(until, clock_.now() + milliseconds(200));  // then it reads what is stale by now
  }

  std::size_t take(Manner manner) {
    receiver_->take(received_);
    for (const client::Received& message : received_) receive(message, manner);
    take_settlements();
    return received_.size();
  }

  void receive(const client::Received& message, Manner manner) {
    ++shared_.received;
    if (const auto fact = received_fact(message.message, link_, message.handle)) decide(*fact, manner);
  }

  /// The fact of a receipt, journaled; nothing when it is no message of a soak's, which is a violation.
  std::optional<Fact> received_fact(BytesView message, std::uint32_t link, std::uint64_t delivery) {
    const auto read = decode_soak_message(message);
    Fact fact;
    if (!read) {
      fact.kind = Kind::violated;
      fact.note = queue_.name + " gave out " + read.error().what;
      journal_->add(fact);
      return std::nullopt;
    }
    fact.kind = Kind::received;
    fact.link = link;
    fact.delivery = delivery;
    fact.id = read->id;
    fact.sequence = read->sequence;
    fact.count = read->count;
    fact.enqueued_ms = read->enqueued_ms;
    fact.locked_until_ms = read->locked_until_ms;
    fact.bytes = read->bytes;
    fact.checksum = read->checksum;
    fact.claimed = read->claimed;
    fact.session = read->session;
    fact.note = read->dead_letter_reason;
    journal_->add(fact);
    return fact;
  }

  void decide(const Fact& received, Manner manner) {
    const std::uint64_t handle = received.delivery;
    const std::uint64_t choice = draining_ ? 0 : random_.below(100);
    How how = How::complete;
    if (!draining_ && !dead_letter_ && random_.chance(queue_.defer_percent, 100))
      how = How::defer;
    else if (choice >= 97 || (manner == Manner::vanishing && choice >= 70))
      return;  // its lock will end
    else if (choice >= 93)
      how = How::abandon;
    else if (choice >= 90)
      how = How::release;
    else if (choice >= 88 && !dead_letter_)
      how = How::dead_letter;
    Fact fact;
    fact.kind = Kind::settling;
    fact.link = link_;
    fact.delivery = handle;
    fact.id = received.id;
    fact.sequence = received.sequence;
    fact.how = how;
    journal_->add(fact);
    asked_.emplace(handle, std::move(fact));
    switch (how) {
      case How::complete:
        receiver_->complete(handle);
        break;
      case How::abandon:
        receiver_->abandon(handle);
        break;
      case How::release:
        receiver_->release(handle);
        break;
      case How::dead_letter:
        receiver_->dead_letter(handle, "soak", "a consumer asked for it");
        break;
      case How::defer:
        receiver_->defer(handle);
        break;
    }
  }

  void take_settlements() {
    receiver_->take_settlements(settlements_);
    const bool open = receiver_->state() == LinkState::open;
    for (const client::Settlement& settlement : settlements_) {
      const auto at = asked_.find(settlement.handle);
      if (at == asked_.end()) continue;
      Fact fact = std::move(at->second);
      asked_.erase(at);
      fact.kind = Kind::settled;
      // What a link's end answers is no answer of the broker's.
      fact.outcome = settlement.ok ? Outcome::confirmed : open ? Outcome::refused : Outcome::unknown;
      if (!settlement.ok) fact.note = settlement.error.condition;
      if (settlement.ok && fact.how == How::complete) ++shared_.completed;
      if (settlement.ok && fact.how == How::defer) {
        ++shared_.deferred;
        shared_.deferred_numbers.put(queue_.name, fact.sequence);
      }
      journal_->add(fact);
    }
  }

  /// Takes some messages that were put aside, or, to drain, all that the queue shows.
  void by_number() {
    SoakManagement management(*connection_, queue_.name);
    std::vector<std::uint64_t> numbers;
    bool open = management.open();
    if (!draining_) numbers = shared_.deferred_numbers.take(queue_.name, 1 + random_.below(8));
    for (std::uint64_t from = 1; draining_ && open;) {
      const auto seen = management.peek(from, 100);
      open = seen.has_value();
      if (!seen || seen->empty()) break;
      for (const SoakManagement::Seen& message : *seen)
        if (message.state == 1) numbers.push_back(message.sequence);
      from = seen->back().sequence + 1;
    }
    if (open && !numbers.empty()) {
      const std::uint32_t link = shared_.next_link++;
      Fact fact;
      fact.kind = Kind::opened;
      fact.link = link;
      fact.queue = queue_.name;
      fact.by_number = true;
      journal_->add(fact);
      std::uint64_t delivery = 0;
      for (std::size_t at = 0; at < numbers.size(); at += 8) {
        const std::span some = std::span(numbers).subspan(at, std::min<std::size_t>(8, numbers.size() - at));
        if (!take_by_number(management, link, delivery, some)) {
          // One that is locked or gone keeps the others: each by itself.
          for (const std::uint64_t& one : some)
            if (!take_by_number(management, link, delivery, {&one, 1}) && !draining_)
              shared_.deferred_numbers.put(queue_.name, one);
        }
      }
      fact.kind = Kind::ended;
      fact.note = "closed";
      journal_->add(fact);
    } else if (!draining_) {
      for (const std::uint64_t number : numbers) shared_.deferred_numbers.put(queue_.name, number);
    }
    journal_->flush();
    if (connection_->is_open()) return;
    connection_.reset();
    ++shared_.lost_connections;
  }

  /// @return false when none was given.
  bool take_by_number(SoakManagement& management, std::uint32_t link, std::uint64_t& delivery,
                      std::span<const std::uint64_t> numbers) {
    journal_->flush();
    const auto given = management.receive(numbers);
    if (!given) {
      if (given.error().status != 0 && given.error().condition != "com.microsoft:message-not-found") {
        Fact fact;
        fact.kind = Kind::violated;
        fact.note = fmt::format("{}: receive-by-sequence-number was answered {} {}: {}", queue_.name,
                                given.error().status, given.error().condition, given.error().description);
        journal_->add(fact);
      }
      return false;
    }
    for (const SoakManagement::Given& message : *given) {
      ++shared_.received;
      ++shared_.by_number;
      const auto fact = received_fact(message.message, link, ++delivery);
      if (fact) settle_by_number(management, message.token, *fact);
    }
    return true;
  }

  void settle_by_number(SoakManagement& management, const ManagementToken& token, const Fact& received) {
    const std::uint64_t choice = draining_ ? 0 : random_.below(100);
    Fact fact;
    fact.kind = Kind::settling;
    fact.link = received.link;
    fact.delivery = received.delivery;
    fact.id = received.id;
    fact.how = choice < 70   ? How::complete
               : choice < 80 ? How::abandon
               : choice < 90 ? How::defer
               : choice < 95 ? How::dead_letter
                             : How::release;
    const bool left = choice >= 98;  // its lock will end
    if (!left) {
      journal_->add(fact);
      journal_->flush();
      const auto done = management.settle(token, fact.how == How::complete      ? "completed"
                                                 : fact.how == How::abandon     ? "abandoned"
                                                 : fact.how == How::defer       ? "defered"
                                                 : fact.how == How::dead_letter ? "suspended"
                                                                                : "unlocked");
      fact.kind = Kind::settled;
      fact.outcome = done                       ? Outcome::confirmed
                     : done.error().status != 0 ? Outcome::refused
                                                : Outcome::unknown;
      if (!done) fact.note = done.error().condition;
      if (done && fact.how == How::complete) ++shared_.completed;
      journal_->add(fact);
      if (done && (fact.how == How::complete || fact.how == How::dead_letter)) return;
    }
    if (!draining_) shared_.deferred_numbers.put(queue_.name, received.sequence);
  }

  void vanish_or_close(bool vanishing) {
    if (!receiver_) return;
    journal_->flush();
    if (vanishing) {
      ++shared_.vanished;
      vanish(connection_);
    } else if (connection_ && connection_->is_open() && receiver_->state() == LinkState::open) {
      static_cast<void>(connection_->poll_until(
          [&] {
            take_settlements();
            return asked_.empty() || receiver_->state() != LinkState::open;
          },
          seconds(2)));
      if (random_.chance(1, 2)) connection_->close(milliseconds(500));  // else only the link ends
    }
    take_settlements();
    receiver_->close();
    if (connection_ && connection_->is_open()) static_cast<void>(connection_->poll({0}));
    take_settlements();
    if (connection_ && !connection_->is_open()) connection_.reset();
    asked_.clear();
    receiver_.reset();
    Fact fact;
    fact.kind = Kind::ended;
    fact.link = link_;
    fact.note = vanishing ? "vanished" : "closed";
    journal_->add(fact);
    journal_->flush();
  }

  const bool dead_letter_, draining_;
  std::uint32_t link_ = 0;
  std::optional<client::Receiver> receiver_;
  std::vector<client::Received> received_;
  std::vector<client::Settlement> settlements_;
  std::map<std::uint64_t, Fact> asked_;  ///< by delivery, without an answer
};

}  // namespace

void DeferredNumbers::put(const std::string& queue, std::uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  numbers_[queue].push_back(sequence);
}

std::vector<std::uint64_t> DeferredNumbers::take(const std::string& queue, std::size_t most) {
  const std::lock_guard lock(mutex_);
  std::deque<std::uint64_t>& waiting = numbers_[queue];
  const auto end = waiting.begin() + static_cast<std::ptrdiff_t>(std::min(most, waiting.size()));
  std::vector<std::uint64_t> taken(waiting.begin(), end);
  waiting.erase(waiting.begin(), end);
  return taken;
}

SoakClient::SoakClient(std::function<void()> work)
    : ended_(std::make_shared<std::atomic<bool>>(false)), thread_([ended = ended_, work = std::move(work)] {
        work();
        ended->store(true, std::memory_order_release);
      }) {}

SoakClient::~SoakClient() {
  join();
}

void SoakClient::join() {
  if (thread_.joinable()) thread_.join();
}

SoakClient start_producer(SoakShared& shared, const SoakQueue& queue, unsigned number) {
  return SoakClient([&shared, queue, number] { Producer(shared, queue, number).run(); });
}

SoakClient start_consumer(SoakShared& shared, const SoakQueue& queue, bool dead_letter, unsigned number) {
  return SoakClient(
      [&shared, queue, dead_letter, number] { Consumer(shared, queue, dead_letter, false, number).run(); });
}

SoakClient start_drain(SoakShared& shared, const SoakQueue& queue, bool dead_letter, unsigned number) {
  return SoakClient(
      [&shared, queue, dead_letter, number] { Consumer(shared, queue, dead_letter, true, number).run(); });
}

}  // namespace mainstay::drills
