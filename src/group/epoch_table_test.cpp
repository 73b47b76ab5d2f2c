#include "group/epoch_table.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/checksum.h"
#include "base/random.h"

namespace mainstay::group {
namespace {

using Entries = std::vector<EpochStart>;

EpochStart at(std::uint64_t epoch, std::uint64_t first) {
  return {Epoch{epoch}, Lsn{first}};
}
EpochTable table(Entries entries) {
  return EpochTable::from(std::move(entries)).value();
}
std::optional<Lsn> lsn(std::uint64_t value) {
  return Lsn{value};
}

TEST(EpochTable, HoldsTheFirstRecordOfEachEpoch) {
  EpochTable noted;
  for (std::uint64_t n = 1; n <= 9; ++n) noted.note(Epoch{n < 4 ? 1U : n < 6 ? 2U : 7U}, Lsn{n});
  EXPECT_EQ(noted.entries(), (Entries{at(1, 1), at(2, 4), at(7, 6)}));
  EXPECT_EQ(noted.last(), Epoch{7});
  EXPECT_EQ(noted.through(), Lsn{9});
}

TEST(EpochTable, ReadsABatchWithSeveralEpochs) {
  journal::LogBuilder log({}, Epoch{1});
  log.append(journal::RecordType::time_advanced, as_bytes("a"));
  log.append(journal::RecordType::time_advanced, as_bytes("another length"));
  log.start_epoch(Epoch{5});
  log.append(journal::RecordType::epoch_started, as_bytes("b"));
  log.append(journal::RecordType::time_advanced, BytesView{});
  EpochTable noted;
  noted.note(log.take());
  EXPECT_EQ(noted.entries(), (Entries{at(1, 1), at(5, 3)}));
  EXPECT_EQ(noted.through(), Lsn{4});
  noted.note(journal::Batch{});
  EXPECT_EQ(noted.through(), Lsn{4});
}

TEST(EpochTable, ForgetsWhatWasCut) {
  EpochTable noted = table({at(1, 1), at(2, 4), at(7, 6)});
  noted.cut(Lsn{6});
  EXPECT_EQ(noted.last(), Epoch{7}) << "its first record is still there";
  noted.cut(Lsn{5});
  EXPECT_EQ(noted.entries(), (Entries{at(1, 1), at(2, 4)}));
  EXPECT_EQ(noted.through(), Lsn{5});
  noted.cut(Lsn{0});
  EXPECT_TRUE(noted.entries().empty());
  EXPECT_EQ(noted.last(), Epoch{0});
}

TEST(EpochTable, NotingARecordAgainChangesNothing) {
  EpochTable noted = table({at(1, 1), at(2, 4), at(7, 6)});
  const EpochTable before = noted;
  for (const std::uint64_t n : {1U, 2U, 3U}) noted.note(Epoch{1}, Lsn{n});
  noted.note(Epoch{2}, Lsn{5});
  noted.note(Epoch{7}, Lsn{6});
  EXPECT_EQ(noted, before);
}

TEST(EpochTable, TheLogIsRightWhenItWasCutAndWrittenAnew) {
  EpochTable noted = table({at(1, 1), at(2, 4), at(7, 6)});
  noted.note(Epoch{9}, Lsn{5});
  EXPECT_EQ(noted.entries(), (Entries{at(1, 1), at(2, 4), at(9, 5)}));
  EXPECT_EQ(noted.through(), Lsn{5});
  noted = table({at(1, 1), at(2, 4), at(7, 6)});
  noted.note(Epoch{3}, Lsn{6});
  EXPECT_EQ(noted.entries(), (Entries{at(1, 1), at(2, 4), at(3, 6)})) << "a lower epoch at the same place";
  noted = table({at(2, 4), at(7, 6)});
  noted.note(Epoch{2}, Lsn{8});
  EXPECT_EQ(noted.entries(), (Entries{at(2, 4)}));
  noted = table({at(4, 4), at(7, 6)});
  noted.note(Epoch{5}, Lsn{3});
  EXPECT_EQ(noted.entries().back(), at(5, 3));
  EXPECT_EQ(noted.entries().size(), 1U);
}

TEST(EpochTable, WhatWasNeverNotedIsNotClaimedForTheEpochBefore) {
  EpochTable noted;
  for (std::uint64_t n = 1; n <= 9; ++n) noted.note(Epoch{1}, Lsn{n});
  noted.note(Epoch{2}, Lsn{20});  // epoch 2 may have begun anywhere from 10 on
  EXPECT_EQ(noted.entries(), Entries{at(2, 20)});
  EXPECT_EQ(common_end(noted, Lsn{30}, table({at(1, 1), at(3, 16)}), Lsn{30}), std::nullopt);
}

TEST(EpochTable, AGapInsideOneEpochIsNone) {
  EpochTable noted;
  noted.note(Epoch{1}, Lsn{1});
  noted.note(Epoch{1}, Lsn{20});  // epochs never go back, so all between is of epoch 1
  noted.note(Epoch{2}, Lsn{21});
  EXPECT_EQ(noted.entries(), (Entries{at(1, 1), at(2, 21)}));
}

TEST(EpochTable, RecordsFromBeforeAnyLeadershipAreNotNamed) {
  EpochTable noted;
  noted.note(Epoch{0}, Lsn{1});
  EXPECT_TRUE(noted.entries().empty());
}

TEST(EpochTable, KeepsTheNewestEntries) {
  EpochTable noted;
  const std::uint64_t all = EpochTable::kEntriesMax + 10;
  for (std::uint64_t n = 1; n <= all; ++n) noted.note(Epoch{n}, Lsn{n});
  ASSERT_EQ(noted.entries().size(), EpochTable::kEntriesMax);
  EXPECT_EQ(noted.entries().front(), at(11, 11));
  EXPECT_EQ(noted.entries().back(), at(all, all));
  const EpochTable before = noted;
  noted.note(Epoch{3}, Lsn{3});
  EXPECT_EQ(noted, before) << "what is forgotten stays forgotten";
}

TEST(EpochTable, RefusesWhatNoTableHolds) {
  EXPECT_TRUE(EpochTable::from({}));
  EXPECT_TRUE(EpochTable::from({at(1, 1), at(2, 2)}));
  EXPECT_FALSE(EpochTable::from({at(1, 1), at(1, 2)}));
  EXPECT_FALSE(EpochTable::from({at(1, 1), at(2, 1)}));
  EXPECT_FALSE(EpochTable::from({at(2, 1), at(1, 2)}));
  EXPECT_FALSE(EpochTable::from({at(0, 1)}));
  EXPECT_FALSE(EpochTable::from({at(1, 0)}));
  Entries many;
  for (std::uint64_t n = 1; n <= EpochTable::kEntriesMax; ++n) many.push_back(at(n, n));
  EXPECT_TRUE(EpochTable::from(many));
  many.push_back(at(100, 100));
  EXPECT_FALSE(EpochTable::from(many));
}

TEST(CommonEnd, IsTheShorterStretchOfTheLatestEpochInBoth) {
  const EpochTable ours = table({at(1, 1), at(2, 10), at(4, 20)});
  EXPECT_EQ(common_end(ours, Lsn{30}, ours, Lsn{25}), lsn(25));
  EXPECT_EQ(common_end(ours, Lsn{30}, table({at(1, 1), at(2, 10)}), Lsn{15}), lsn(15));
  EXPECT_EQ(common_end(ours, Lsn{30}, table({at(1, 1), at(2, 10)}), Lsn{50}), lsn(19));
  EXPECT_EQ(common_end(ours, Lsn{30}, table({at(1, 1), at(2, 10), at(3, 15)}), Lsn{50}), lsn(14));
  EXPECT_EQ(common_end(ours, Lsn{30}, table({at(1, 1), at(3, 5)}), Lsn{50}), lsn(4));
}

TEST(CommonEnd, OfAnEmptyLogIsNothing) {
  EXPECT_EQ(common_end({}, Lsn{0}, {}, Lsn{0}), lsn(0));
  EXPECT_EQ(common_end({}, Lsn{0}, table({at(3, 50)}), Lsn{60}), lsn(0));
  EXPECT_EQ(common_end(table({at(3, 50)}), Lsn{60}, {}, Lsn{0}), lsn(0));
}

TEST(CommonEnd, IsUnknownWhenTheTablesNoLongerReachBack) {
  EXPECT_EQ(common_end(table({at(70, 500)}), Lsn{600}, table({at(1, 1), at(3, 30)}), Lsn{40}), std::nullopt);
  EXPECT_EQ(common_end({}, Lsn{5}, table({at(1, 1)}), Lsn{5}), std::nullopt);
}

TEST(CommonEnd, OfLogsWithOtherFirstRecordsIsTheirBeginning) {
  EXPECT_EQ(common_end(table({at(1, 1)}), Lsn{5}, table({at(2, 1)}), Lsn{5}), lsn(0));
}

TEST(CommonEnd, FallsBackWhenAnEpochBeginsElsewhere) {
  EXPECT_EQ(common_end(table({at(1, 1), at(2, 10)}), Lsn{30}, table({at(1, 1), at(2, 12)}), Lsn{30}), lsn(9));
  EXPECT_EQ(common_end(table({at(2, 10)}), Lsn{30}, table({at(2, 12)}), Lsn{30}), std::nullopt);
}

TEST(CommonEnd, CountsOnlyWhatTheEndsReach) {
  const EpochTable ours = table({at(1, 1), at(2, 10)});
  EXPECT_EQ(common_end(ours, Lsn{5}, ours, Lsn{30}), lsn(5)) << "the table knows more than is durable";
  EXPECT_EQ(common_end(table({at(9, 100)}), Lsn{50}, table({at(9, 100)}), Lsn{200}), std::nullopt)
      << "an end before all that the table knows";
}

/// Several nodes' logs as leaderships leave them: whoever leads appends under an epoch of its own; some of
/// the others cut to what they have in common with it and take some of its records.
class Leaderships {
 public:
  struct Entry {
    Epoch epoch;
    std::uint64_t content{};
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  struct Node {
    std::vector<Entry> log;
    EpochTable noted;
    std::optional<Epoch> leads;
    [[nodiscard]] Lsn end() const { return Lsn{log.size()}; }
    void append(const Entry& entry) {
      log.push_back(entry);
      noted.note(entry.epoch, end());
    }
  };

  Leaderships(std::uint64_t seed, std::size_t count) : nodes(count), random_(seed) {}

  void lead() {
    Node& leader = nodes[random_.below(nodes.size())];
    // One that has not heard that it was replaced may go on under its epoch.
    if (!leader.leads || !random_.chance(1, 4)) {
      epochs_ += random_.between(1, 3);
      leader.leads = Epoch{epochs_};
    }
    for (std::uint64_t n = random_.below(6); n > 0; --n) leader.append({*leader.leads, random_.next()});
    for (Node& node : nodes) {
      if (&node == &leader || random_.chance(1, 2)) continue;
      node.leads.reset();
      const std::size_t common = common_of(node, leader);
      node.log.resize(common);
      node.noted.cut(Lsn{common});
      const std::size_t end = random_.between(common, leader.log.size());
      for (std::size_t i = common; i < end; ++i) node.append(leader.log[i]);
    }
  }
  /// By what is in the logs.
  [[nodiscard]] static std::size_t common_of(const Node& a, const Node& b) {
    std::size_t n = 0;
    while (n < a.log.size() && n < b.log.size() && a.log[n] == b.log[n]) ++n;
    return n;
  }

  std::vector<Node> nodes;

 private:
  SeededRandom random_;
  std::uint64_t epochs_ = 0;
};

std::uint64_t seed_of_run() {
  const char* given = std::getenv("MAINSTAY_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
}

TEST(CommonEnd, IsWhereTheLogsPartWhateverLeadershipsDid) {
  std::size_t parted = 0;
  std::size_t equal_at_zero = 0;
  for (std::uint64_t round = 0; round < 400; ++round) {
    const std::uint64_t seed = seed_of_run() + round;
    SCOPED_TRACE("MAINSTAY_SEED=" + std::to_string(seed));
    Leaderships group(seed, 3);
    for (int step = 0; step < 40; ++step) {
      group.lead();
      for (const auto& a : group.nodes) {
        for (const auto& b : group.nodes) {
          const std::size_t common = Leaderships::common_of(a, b);
          const auto found = common_end(a.noted, a.end(), b.noted, b.end());
          ASSERT_EQ(found, lsn(common)) << "step " << step;
          if (common < a.log.size() && common < b.log.size()) ++parted;
          if (common == 0 && !a.log.empty() && !b.log.empty()) ++equal_at_zero;
        }
      }
    }
  }
  EXPECT_GT(parted, 1000U) << "the rounds must reach logs that part";
  EXPECT_GT(equal_at_zero, 100U);
}

TEST(CommonEnd, OfTablesThatForgotIsRightOrUnknown) {
  std::size_t unknown = 0;
  std::size_t known = 0;
  for (std::uint64_t round = 0; round < 40; ++round) {
    const std::uint64_t seed = seed_of_run() + round;
    SCOPED_TRACE("MAINSTAY_SEED=" + std::to_string(seed));
    Leaderships group(seed, 2);
    // One node alone for so long that the table forgets where the other one is.
    for (int step = 0; step < 300; ++step) group.lead();
    for (std::uint64_t n = 0; n < 70 * (round % 2); ++n) {
      group.nodes[0].append({Epoch{10'000 + n}, n});
      const auto found =
          common_end(group.nodes[0].noted, group.nodes[0].end(), group.nodes[1].noted, group.nodes[1].end());
      if (found) {
        ASSERT_EQ(found, lsn(Leaderships::common_of(group.nodes[0], group.nodes[1])));
        ++known;
      } else {
        ++unknown;
      }
    }
    const auto found =
        common_end(group.nodes[0].noted, group.nodes[0].end(), group.nodes[1].noted, group.nodes[1].end());
    if (found) {
      ASSERT_EQ(found, lsn(Leaderships::common_of(group.nodes[0], group.nodes[1])));
    }
  }
  EXPECT_GT(unknown, 100U);
  EXPECT_GT(known, 100U);
}

TEST(EpochTable, NotedAnewFromTheLogIsTheSame) {
  for (std::uint64_t round = 0; round < 100; ++round) {
    const std::uint64_t seed = seed_of_run() + round;
    SCOPED_TRACE("MAINSTAY_SEED=" + std::to_string(seed));
    Leaderships group(seed, 3);
    for (int step = 0; step < 20; ++step) group.lead();
    for (const auto& node : group.nodes) {
      EpochTable anew;
      for (std::size_t i = 0; i < node.log.size(); ++i) anew.note(node.log[i].epoch, Lsn{i + 1});
      EXPECT_EQ(anew, node.noted);
    }
  }
}

}  // namespace
}  // namespace mainstay::group
