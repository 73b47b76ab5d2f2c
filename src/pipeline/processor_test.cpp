#include "pipeline/processor.h"

#include <gmock/gmock.h>

#include "ledger/sqlite_ledger.h"
#include "pipeline/archive_replay.h"
#include "pipeline/folder_destination.h"
#include "pipeline/pipeline_test.h"

namespace mainstay::pipeline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Killed {};

/// A queue with sessions in memory: everything not settled for good comes again, at its place.
class MemorySessions final : public SessionSource {
 public:
  void add(std::uint64_t session, Buffer message) {
    messages_.push_back({session, next_++, std::move(message)});
  }
  std::vector<Incoming> receive(Duration, std::size_t most) override {
    std::vector<Incoming> out;
    for (const Incoming& message : messages_) {
      if (out.size() < most) out.push_back(message);
    }
    return out;
  }
  void complete(const Incoming& message) override {
    completed.push_back(message.handle);
    remove(message);
  }
  void abandon(const Incoming&) override { ++abandoned; }
  void release(const Incoming& message) override { released.push_back(message.handle); }
  void dead_letter(const Incoming& message, const std::string& reason, const std::string& why) override {
    dead.push_back(reason + ": " + why);
    remove(message);
  }
  void let_go() override { ++let_go_count; }
  [[nodiscard]] bool empty() const { return messages_.empty(); }

  std::vector<std::uint64_t> completed, released;
  std::vector<std::string> dead;
  int abandoned = 0, let_go_count = 0;

 private:
  void remove(const Incoming& message) {
    std::erase_if(messages_, [&](const Incoming& other) { return other.handle == message.handle; });
  }
  std::vector<Incoming> messages_;
  std::uint64_t next_ = 1;
};

class FailingDestination final : public Destination {
 public:
  explicit FailingDestination(Destination& real) : real_(real) {}
  std::vector<DeliveryResult> deliver(const std::vector<Delivery>& deliveries) override {
    std::vector<DeliveryResult> results;
    std::set<std::uint64_t> broken;
    for (const Delivery& delivery : deliveries) {
      const bool fails = std::any_of(fail_keys.begin(), fail_keys.end(), [&](const std::string& part) {
        return delivery.idempotency_key.find(part) != std::string::npos;
      });
      if (fails) broken.insert(delivery.lane);
      if (broken.contains(delivery.lane)) {
        results.push_back({false, {}, "the destination is away"});
        continue;
      }
      order.push_back(delivery.idempotency_key);
      results.push_back(real_.deliver({delivery})[0]);
    }
    return results;
  }
  std::set<std::string> fail_keys;
  std::vector<std::string> order;

 private:
  Destination& real_;
};

class ProcessorTest : public DirectoryTest {
 protected:
  void SetUp() override {
    DirectoryTest::SetUp();
    activate(region_register_, "east", 1);
    config_.region = "east";
    config_.worker = "east-p";
    ledger_ = ledger::SqliteLedger::open(at("ledger.sqlite")).value();
    folder_ = FolderDestination::open(at("out"), "east-p").value();
    destination_ = std::make_unique<FailingDestination>(*folder_);
  }
  Processor processor(const std::string& region = "east") {
    gate_ = std::make_unique<coordination::Gate>(region_register_, region);
    return Processor(config_, {*gate_, *ledger_, *destination_, parking_, sessions_, clock_, silent()});
  }
  static Buffer message(const std::string& text) {
    const auto read = identified(text);
    Envelope envelope;
    envelope.idempotency_key = read.idempotency_key;
    envelope.content_digest = read.content_digest;
    envelope.message_id = message_id_of(read.idempotency_key, read.content_digest);
    envelope.ordering_key = read.ordering_key;
    envelope.body = as_bytes(text);
    return encode(envelope);
  }
  void add(int number, int session, const std::string& amount = "1000,00") {
    sessions_.add(static_cast<std::uint64_t>(session), message(payment(number, session, amount)));
  }
  std::string file_of(int number, int session) const {
    return file_name_of(identified(payment(number, session)).idempotency_key);
  }
  std::vector<std::string> done_files() {
    std::vector<std::string> found;
    ledger_
        ->for_each(ledger::EntryState::done, [&](const ledger::Entry& e) { found.push_back(e.destination); })
        .value();
    return found;
  }

  coordination::MemoryRegister region_register_;
  ProcessorConfig config_;
  ManualClock clock_;
  std::unique_ptr<coordination::Gate> gate_;
  std::unique_ptr<ledger::SqliteLedger> ledger_;
  std::unique_ptr<FolderDestination> folder_;
  std::unique_ptr<FailingDestination> destination_;
  FolderParking parking_{"unset"};
  MemorySessions sessions_;
};

TEST_F(ProcessorTest, DeliversMarksDoneAndCompletesInOrder) {
  add(1, 1);
  add(2, 2);
  add(3, 1);
  Processor made = processor();
  EXPECT_EQ(made.step({0}), Processor::Step::worked);
  EXPECT_THAT(names("out"), SizeIs(3));
  EXPECT_EQ(get("out/" + file_of(3, 1)), payment(3, 1)) << "the exact bytes";
  EXPECT_THAT(done_files(), ElementsAre(file_of(1, 1), file_of(2, 2), file_of(3, 1)));
  EXPECT_THAT(sessions_.completed, ElementsAre(1, 2, 3));
  EXPECT_EQ(made.counters().delivered, 3U);
  EXPECT_EQ(made.step({0}), Processor::Step::idle);
}

TEST_F(ProcessorTest, FailedMessageHoldsItsSessionBackAndNoOther) {  // P4, P15.8
  add(1, 1);
  add(2, 1);
  add(3, 2);
  add(4, 1);
  destination_->fail_keys = {"REF2"};
  Processor made = processor();
  EXPECT_EQ(made.step({0}), Processor::Step::failed);
  EXPECT_THAT(made.why(), HasSubstr("destination is away"));
  EXPECT_THAT(sessions_.completed, ElementsAre(1, 3));
  EXPECT_THAT(sessions_.released, ElementsAre(2, 4)) << "given back in order, not counted as deliveries";
  EXPECT_EQ(sessions_.abandoned, 0);
  EXPECT_THAT(names("out"), SizeIs(2));
  destination_->fail_keys.clear();
  EXPECT_EQ(made.step({0}), Processor::Step::worked);
  EXPECT_THAT(done_files(), ElementsAre(file_of(1, 1), file_of(3, 2), file_of(2, 1), file_of(4, 1)));
}

TEST_F(ProcessorTest, SecondDeliveryHasNoSecondEffect) {  // D13, P15.9
  add(1, 1);
  Processor made = processor();
  made.step({0});
  add(1, 1);
  EXPECT_EQ(made.step({0}), Processor::Step::worked);
  EXPECT_EQ(made.counters().already_done, 1U);
  EXPECT_THAT(destination_->order, SizeIs(1));
  EXPECT_TRUE(sessions_.empty());
}

TEST_F(ProcessorTest, SameMessageTwiceInABatchIsDeliveredOnce) {
  add(1, 1);
  add(1, 1);
  add(2, 1);
  Processor made = processor();
  EXPECT_EQ(made.step({0}), Processor::Step::worked);
  EXPECT_THAT(destination_->order, SizeIs(2));
  EXPECT_EQ(made.counters().delivered, 2U);
  EXPECT_EQ(made.counters().already_done, 1U);
  EXPECT_TRUE(sessions_.empty());
}

TEST_F(ProcessorTest, RepeatOfAMessageThatFailsInTheSameBatchIsNotCompleted) {
  add(1, 1);
  add(1, 2);
  destination_->fail_keys = {"REF1"};
  // Two sessions can only hold one key when a client sends it so; both must stay until it is delivered.
  Processor made = processor();
  EXPECT_EQ(made.step({0}), Processor::Step::failed);
  EXPECT_THAT(sessions_.completed, IsEmpty());
}

TEST_F(ProcessorTest, ConflictIsParkedCountedAndCompletedNeverDropped) {  // P3
  parking_ = FolderParking(at("parked"));
  add(1, 1);
  add(1, 1, "7,00");
  Processor made = processor();
  EXPECT_EQ(made.step({0}), Processor::Step::worked);
  EXPECT_EQ(made.counters().conflicts, 1U);
  EXPECT_TRUE(sessions_.empty());
  const auto parked = names("parked");
  ASSERT_THAT(parked, SizeIs(2));
  EXPECT_EQ(get("parked/" + parked[0]), payment(1, 1, "7,00"));
  EXPECT_EQ(ledger_->count(ledger::EntryState::parked).value(), 1U);
  EXPECT_THAT(names("out"), SizeIs(1));
}

TEST_F(ProcessorTest, ConflictThatCannotBeParkedStaysInTheQueue) {
  put("file", "in the way");
  parking_ = FolderParking(at("file/parked"));
  add(1, 1);
  add(1, 1, "7,00");
  Processor made = processor();
  EXPECT_EQ(made.step({0}), Processor::Step::failed);
  EXPECT_THAT(sessions_.released, ElementsAre(2));
  EXPECT_FALSE(sessions_.empty());
}

TEST_F(ProcessorTest, WhatIsNoPaymentOfOursIsDeadLetteredWithTheReason) {
  sessions_.add(1, to_buffer(as_bytes("garbage")));
  add(1, 1);
  Processor made = processor();
  EXPECT_EQ(made.step({0}), Processor::Step::worked);
  ASSERT_THAT(sessions_.dead, SizeIs(1));
  EXPECT_THAT(sessions_.dead[0], HasSubstr("NotAPayment: not an AMQP message"));
  EXPECT_THAT(names("out"), SizeIs(1));
}

TEST_F(ProcessorTest, PassiveRegionTouchesNothing) {  // P5, P7
  add(1, 1);
  Processor made = processor("west");
  EXPECT_EQ(made.step({0}), Processor::Step::closed);
  EXPECT_THAT(made.why(), HasSubstr("east is active"));
  EXPECT_THAT(names("out"), IsEmpty());
  EXPECT_EQ(sessions_.let_go_count, 1);
}

TEST_F(ProcessorTest, GateThatClosesBetweenAnyTwoStepsGivesEverythingBack) {  // P7
  for (const char* point : {"claimed", "delivered"}) {
    SCOPED_TRACE(point);
    sessions_.released.clear();
    sessions_.completed.clear();
    add(1, 1);
    Processor made = processor();
    made.probe = [&](std::string_view at) {
      if (at == point) region_register_.set_available(false);
    };
    EXPECT_EQ(made.step({0}), Processor::Step::closed);
    EXPECT_THAT(sessions_.completed, IsEmpty());
    EXPECT_THAT(sessions_.released, SizeIs(1));
    EXPECT_EQ(ledger_->count(ledger::EntryState::done).value(), 0U);
    region_register_.set_available(true);
    sessions_ = {};
  }
  EXPECT_THAT(names("out"), SizeIs(1)) << "written before the gate closed; the next claim finds it there";
}

TEST_F(ProcessorTest, OvertakenTermIsFencedByTheLedger) {  // B7
  add(1, 1);
  Processor made = processor();
  made.probe = [&](std::string_view point) {
    // Between the gate's answer and the ledger's done, another region is promoted and writes.
    if (point != "delivered") return;
    ledger_->claim({{"other", "d", "o"}}, RegionTerm{2}, "west", "w", {}).value();
  };
  EXPECT_EQ(made.step({0}), Processor::Step::closed);
  EXPECT_EQ(made.counters().fenced, 1U);
  EXPECT_THAT(sessions_.completed, IsEmpty());
  EXPECT_EQ(ledger_->count(ledger::EntryState::done).value(), 0U);
}

TEST_F(ProcessorTest, KilledAtAnyPointTheEffectHappensOnceAndInOrder) {  // P10, D1
  for (const char* point : {"claimed", "delivered", "done"}) {
    SCOPED_TRACE(point);
    TearDown();
    region_register_.restore({});
    SetUp();
    sessions_ = {};
    for (int i = 0; i < 9; ++i) add(i, i % 3);
    {
      Processor made = processor();
      made.probe = [&](std::string_view at) {
        if (at == point) throw Killed();
      };
      EXPECT_THROW(made.step({0}), Killed);
    }
    ledger_ = ledger::SqliteLedger::open(at("ledger.sqlite")).value();
    Processor made = processor();
    EXPECT_EQ(made.step({0}), Processor::Step::worked);
    EXPECT_THAT(names("out"), SizeIs(9));
    std::vector<std::string> wanted;
    for (int i = 0; i < 9; ++i) wanted.push_back(file_of(i, i % 3));
    EXPECT_EQ(done_files(), wanted);
    EXPECT_TRUE(sessions_.empty());
  }
}

class FolderDestinationTest : public DirectoryTest {
 protected:
  std::vector<DeliveryResult> deliver(std::vector<std::pair<std::string, std::string>> items,
                                      std::uint64_t lane = 1) {
    std::vector<Delivery> deliveries;
    for (const auto& [key, content] : items) deliveries.push_back({lane, key, as_bytes(content)});
    return FolderDestination::open(at("out"), "w").value()->deliver(deliveries);
  }
};

TEST_F(FolderDestinationTest, SameContentAgainSucceedsOtherContentIsAnErrorAndNothingIsReplaced) {
  EXPECT_TRUE(deliver({{"k", "one"}})[0].ok);
  EXPECT_TRUE(deliver({{"k", "one"}})[0].ok);
  const auto other = deliver({{"k", "two"}, {"later", "x"}});
  EXPECT_FALSE(other[0].ok);
  EXPECT_THAT(other[0].why, HasSubstr("other content"));
  EXPECT_FALSE(other[1].ok) << "the lane stops";
  EXPECT_FALSE(deliver({{"k", "longer than one"}})[0].ok);
  EXPECT_FALSE(deliver({{"k", "o"}})[0].ok);
  ASSERT_THAT(names("out"), SizeIs(1));
  EXPECT_EQ(get("out/" + names("out")[0]), "one");
}

TEST_F(FolderDestinationTest, LeftoverOfAKilledRunIsNoObstacle) {
  FolderDestination::open(at("out"), "w").value();
  put("out/.tmp/w~" + file_name_of("k"), "half a fi");
  EXPECT_TRUE(deliver({{"k", "whole file"}})[0].ok);
  EXPECT_EQ(get("out/" + file_name_of("k")), "whole file");
}

TEST_F(FolderDestinationTest, NamesAreReadableSafeAndDistinct) {
  EXPECT_THAT(file_name_of("MT|BANK/../X"), ::testing::StartsWith("MT_BANK_.._X-"));
  EXPECT_EQ(file_name_of("../../etc/passwd").find('/'), std::string::npos);
  EXPECT_NE(file_name_of("")[0], '.');
  EXPECT_NE(file_name_of(".hidden")[0], '.');
  EXPECT_NE(file_name_of("a b"), file_name_of("a_b"));
  EXPECT_NE(file_name_of("ABC"), file_name_of("abc"));
  EXPECT_LE(file_name_of(std::string(500, 'k')).size(), 120U);
}

TEST_F(FolderDestinationTest, MissingFolderFailsWithItsName) {
  const auto destination = FolderDestination::open(at("out"), "w").value();
  std::filesystem::remove_all(at("out"));
  const auto results = destination->deliver({{1, "k", as_bytes("x")}});
  EXPECT_FALSE(results[0].ok);
  EXPECT_THAT(results[0].why, HasSubstr(at("out")));
}

class KnownIds final : public KnownMessages {
 public:
  Result<std::vector<bool>, Failure> known(std::span<const std::string> ids) override {
    if (!answers) return Failure{"the control listener does not answer"};
    std::vector<bool> told;
    for (const std::string& id : ids) told.push_back(has.contains(id));
    return told;
  }
  bool answers = true;
  std::set<std::string> has;
};

class ArchiveReplayTest : public ProcessorTest {
 protected:
  void SetUp() override {
    ProcessorTest::SetUp();
    archive_ = Archive::open(at("archive"), "east-1").value();
    std::vector<ArchiveEntry> entries;
    for (int i = 0; i < 10; ++i) {
      const std::string text = payment(i, i % 2);
      const auto read = identified(text);
      ArchiveEntry entry;
      entry.id = message_id_of(read.idempotency_key, read.content_digest);
      entry.idempotency_key = read.idempotency_key;
      entry.content_digest = read.content_digest;
      entry.ordering_key = read.ordering_key;
      entry.source = "a.fin#" + std::to_string(i + 1);
      entry.ingest = first_ingest(RegionTerm{1}) + static_cast<std::uint64_t>(i);
      entry.term = RegionTerm{1};
      entry.message = message(text);
      ids_.push_back(entry.id);
      keys_.push_back({entry.idempotency_key, entry.content_digest, entry.ordering_key});
      entries.push_back(std::move(entry));
    }
    archive_->store(entries, {1'700'000'000'000}).value();
    // Done before the disaster: 0 and 1. In the promoted region's queue: 2 and 3.
    ledger_->claim({keys_[0], keys_[1], keys_[2]}, RegionTerm{1}, "east", "p", {}).value();
    ASSERT_TRUE(ledger_->done({{keys_[0].key, "f"}, {keys_[1].key, "f"}}, RegionTerm{1}, {}).value());
    known_.has = {ids_[2], ids_[3]};
    activate(region_register_, "west", 2, coordination::Phase::recovering);
    replay_config_.region = "west";
    sender_.clock = &clock_;
  }
  Result<ReplayReport, Failure> replay() {
    coordination::Gate gate(region_register_, "west");
    return replay_missing(replay_config_,
                          {*archive_, *ledger_, known_, sender_, gate, clock_, random_, silent()}, stop_);
  }

  ArchiveReplayConfig replay_config_;
  std::unique_ptr<Archive> archive_;
  std::vector<std::string> ids_;
  std::vector<ledger::Claim> keys_;
  KnownIds known_;
  MemoryBroker broker_;
  MemorySender sender_{broker_};
  SeededRandom random_{3};
  std::atomic<bool> stop_ = false;
};

TEST_F(ArchiveReplayTest, SendsWhatIsNeitherDoneNorKnownInOrderMarkedWithTheSameIds) {  // RPO 0
  const ReplayReport report = replay().value();
  EXPECT_EQ(report.archived, 10U);
  EXPECT_EQ(report.done, 2U);
  EXPECT_EQ(report.known, 2U);
  EXPECT_EQ(report.recovered, 6U);
  ASSERT_THAT(broker_.accepted, SizeIs(6));
  std::map<std::string, std::vector<std::string>> by_key;
  for (const Envelope& envelope : broker_.accepted) {
    EXPECT_TRUE(envelope.replayed);
    by_key[envelope.ordering_key].push_back(envelope.message_id);
  }
  EXPECT_EQ(by_key[keys_[0].ordering_key], (std::vector<std::string>{ids_[4], ids_[6], ids_[8]}));
  EXPECT_EQ(by_key[keys_[1].ordering_key], (std::vector<std::string>{ids_[5], ids_[7], ids_[9]}));
  EXPECT_EQ(as_text(broker_.accepted[0].body), payment(4, 0));
}

TEST_F(ArchiveReplayTest, AgainAfterwardsThereIsNothingToDo) {
  replay().value();
  known_.has.insert(broker_.seen.begin(), broker_.seen.end());
  EXPECT_EQ(replay().value().recovered, 0U);
}

TEST_F(ArchiveReplayTest, BrokerThatCannotTellGetsEverythingNotDone) {
  known_.answers = false;
  const ReplayReport report = replay().value();
  EXPECT_EQ(report.recovered, 0U) << "nobody can say what was missing";
  EXPECT_EQ(report.resent_unknown, 8U);
}

TEST_F(ArchiveReplayTest, TroubleOnTheWayChangesNeitherOrderNorCount) {
  int n = 0;
  sender_.decide = [&](std::uint64_t tag, const Envelope&) {
    const auto kind = ++n % 3 == 0 ? client::SendOutcome::Kind::accepted : client::SendOutcome::Kind::unknown;
    clock_.advance(milliseconds(5));
    return client::SendOutcome{tag, kind, {"mainstay:connection-lost", "cut"}};
  };
  EXPECT_EQ(replay().value().recovered, 6U);
  EXPECT_EQ(broker_.in_flight_of_key_max, 1U);
}

TEST_F(ArchiveReplayTest, OnlyTheRecoveringRegionMayReplay) {
  activate(region_register_, "west", 2, coordination::Phase::active);
  const auto result = replay();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().what, HasSubstr("fully active"));
  EXPECT_THAT(broker_.arrivals, IsEmpty());
}

TEST_F(ArchiveReplayTest, NoProgressEndsWithAnErrorThatSaysWhatIsLeft) {
  sender_.decide = [&](std::uint64_t tag, const Envelope&) {
    clock_.advance(seconds(10));
    return client::SendOutcome{tag, client::SendOutcome::Kind::rejected, {"amqp:not-allowed", "sealed"}};
  };
  const auto result = replay();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().what, HasSubstr("6 messages to go (last: amqp:not-allowed: sealed)"));
}

}  // namespace
}  // namespace mainstay::pipeline
