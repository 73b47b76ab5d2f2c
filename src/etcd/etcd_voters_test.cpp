// Real voters of which some are killed, stand still, or whose answers are lost.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <map>
#include <mutex>

#include "coordination/group_test_support.h"
#include "etcd/fake_member.h"
#include "etcd/test_etcd.h"

namespace mainstay::etcd {
namespace {

using coordination::CasOutcome;
using coordination::GroupRecord;
using coordination::GroupRegister;
using coordination::GroupState;
using coordination::Seen;
using testing::HasSubstr;
using testing::Not;

/// Kills members from the first to the last but `left`.
void kill_all_but(TestEtcd& voters, unsigned left) {
  for (unsigned i = 0; i + left < voters.members(); ++i) voters.kill(i);
}

class EtcdVotersOf : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Members, EtcdVotersOf, testing::Values(3U, 5U, 7U),
                         testing::PrintToStringParamName());

TEST_P(EtcdVotersOf, AnyMajorityServes) {
  const unsigned members = GetParam(), majority = members / 2 + 1;
  TestEtcd voters(members);
  NEED(voters);
  io::SystemClock clock;
  EtcdOptions options = voters.options("/k");
  options.most = seconds(20);  // a busy machine may take its time for what must succeed
  EtcdStore patient(options, clock);
  ASSERT_TRUE(TestEtcd::wait_for(patient));
  ASSERT_EQ(patient.compare_and_swap(0, "all", kNoRule)->outcome, CasOutcome::won);
  kill_all_but(voters, majority);
  ASSERT_TRUE(TestEtcd::wait_for(patient)) << "those that are left elect a leader";
  ASSERT_EQ(patient.compare_and_swap(1, "majority", kNoRule)->outcome, CasOutcome::won);
  options.most = seconds(2);
  EtcdStore store(options, clock);
  kill_all_but(voters, majority - 1);
  const auto fewer = store.read();
  ASSERT_FALSE(fewer) << "fewer know nothing for certain";
  EXPECT_THAT(fewer.error().what,
              HasSubstr("127.0.0.1:" + std::to_string(voters.port(0)) + "/v3/kv/range: cannot connect"));
  const auto swapped = store.compare_and_swap(2, "fewer", kNoRule);
  EXPECT_TRUE(!swapped || swapped->outcome == CasOutcome::unknown);
  voters.start(0);
  ASSERT_TRUE(TestEtcd::wait_for(store));
  EXPECT_EQ(store.read()->value, "majority") << "also with one that was away meanwhile";
}

TEST(EtcdVoters, AMemberThatStandsStillLeavesTimeForTheOthers) {
  TestEtcd voters(3);
  NEED(voters);
  io::SystemClock clock;
  EtcdOptions options = voters.options("/k");
  EtcdStore patient(options, clock);
  ASSERT_TRUE(TestEtcd::wait_for(patient));
  ASSERT_EQ(patient.compare_and_swap(0, "one", kNoRule)->outcome, CasOutcome::won);
  voters.pause(0);
  ASSERT_TRUE(TestEtcd::wait_for(patient)) << "the two others elect a leader";
  options.most = seconds(3);
  EtcdStore store(options, clock);  // asks member 0 first
  const auto swapped = store.compare_and_swap(1, "two", kNoRule);
  ASSERT_TRUE(swapped) << swapped.error().what;
  EXPECT_EQ(swapped->outcome, CasOutcome::won) << "the one that answered a read is asked for the change";
  const Instant begun = clock.now();
  ASSERT_TRUE(store.read());
  EXPECT_LT(clock.now() - begun, seconds(1)) << "the one that answered last is asked first";
  voters.resume(0);
}

/// The request as it came, to the real member; its whole answer.
std::string passed_on(const TestEtcd& voters, const std::string& request) {
  io::HttpCall call;
  call.to = {"127.0.0.1", voters.port(0)};
  call.method = "POST";
  call.target = request.substr(5, request.find(' ', 5) - 5);
  call.body = request.substr(request.find("\r\n\r\n") + 4);
  call.most = seconds(5);
  const auto answer = io::http_exchange(call);
  return answer ? FakeMember::ok(answer->body, answer->status) : std::string();
}
bool is_change(const std::string& request) {
  return request.find("/v3/kv/txn") != std::string::npos;
}

TEST(EtcdVoters, ALostAnswerIsUnknownAndTheNextReadTells) {
  TestEtcd& voters = etcd();
  NEED(voters);
  // The member's network, as the asking node has it: changes get through, their answers do not.
  FakeMember network([&](const std::string& request) {
    const std::string answer = passed_on(voters, request);
    return is_change(request) ? std::string() : answer;
  });
  io::SystemClock clock;
  EtcdOptions options = network.options();
  options.key = "/lost-answer";
  options.most = seconds(5);
  GroupRegister group(std::make_shared<EtcdStore>(options, clock), "g");
  const GroupRecord first = coordination::group_record(1, coordination::kNodeA, {coordination::kNodeA});
  const auto swapped = group.compare_and_swap({}, first, {});
  ASSERT_TRUE(swapped) << swapped.error().what;
  EXPECT_EQ(swapped->outcome, CasOutcome::unknown);
  const auto read = group.read({});
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->record, first) << "it had happened";
}

TEST(EtcdVoters, AChangeThatLandsLateLosesAgainstAnEarlierOne) {
  TestEtcd& voters = etcd();
  NEED(voters);
  std::mutex mutex;
  std::string held;
  FakeMember network([&](const std::string& request) {
    if (!is_change(request)) return passed_on(voters, request);
    const std::lock_guard lock(mutex);
    held = request;
    return std::string();
  });
  io::SystemClock clock;
  EtcdOptions slow = network.options(), direct = voters.options("/late");
  slow.key = "/late";
  slow.most = seconds(5);
  GroupRegister old_leader(std::make_shared<EtcdStore>(slow, clock), "g");
  GroupRegister backup(std::make_shared<EtcdStore>(direct, clock), "g");
  using coordination::kNodeA;
  using coordination::kNodeB;
  const auto first = backup.compare_and_swap({}, coordination::group_record(1, kNodeA, {kNodeA, kNodeB}), {});
  ASSERT_EQ(first->outcome, CasOutcome::won);
  const auto alone =
      old_leader.compare_and_swap(first->current, coordination::group_record(2, kNodeA, {kNodeA}), {});
  ASSERT_EQ(alone->outcome, CasOutcome::unknown);
  EXPECT_EQ(backup.read({})->epoch(), Epoch{1}) << "it is still on its way";
  const GroupRecord promoted = coordination::group_record(2, kNodeB, {kNodeA, kNodeB});
  ASSERT_EQ(backup.compare_and_swap(first->current, promoted, {})->outcome, CasOutcome::won);
  {
    const std::lock_guard lock(mutex);
    EXPECT_THAT(passed_on(voters, held), Not(HasSubstr("\"succeeded\":true")));
  }
  EXPECT_EQ(old_leader.read({})->record, promoted);
}

/// One node that changes the record again and again, and writes down what it was told.
class Contender {
 public:
  Contender(const TestEtcd& voters, const std::string& key, unsigned number, Clock& clock)
      : number_(number), group_(std::make_shared<EtcdStore>(options(voters, key, number), clock), "g") {}
  void step() {
    const auto there = group_.read(seen_);
    if (!there) {
      EXPECT_EQ(there.error().kind, coordination::GroupProblem::unavailable) << there.error().what;
      ++away;
      return;
    }
    note(*there);
    const coordination::Member& me = number_ == 0 ? coordination::kNodeA : coordination::kNodeB;
    GroupRecord next = coordination::group_record(there->epoch().value + 1, me,
                                                  {coordination::kNodeA, coordination::kNodeB});
    next.reason = std::to_string(number_) + "/" + std::to_string(++attempts);
    next.by = there->record ? there->record->reason : std::string();  // the chain
    const auto swapped = group_.compare_and_swap(*there, next, seen_);
    if (!swapped) {
      EXPECT_EQ(swapped.error().kind, coordination::GroupProblem::unavailable) << swapped.error().what;
      never.push_back(next);
      ++away;
      return;
    }
    if (swapped->outcome == CasOutcome::won) won.push_back(next);
    if (swapped->outcome == CasOutcome::lost) never.push_back(next);
    if (swapped->outcome == CasOutcome::unknown) ++unknown;
    if (swapped->outcome != CasOutcome::unknown) note(swapped->current);
  }

  std::map<std::uint64_t, GroupRecord> observed;
  std::vector<GroupRecord> won, never;
  std::uint64_t attempts = 0, unknown = 0, away = 0;

 private:
  static EtcdOptions options(const TestEtcd& voters, const std::string& key, unsigned number) {
    EtcdOptions options = voters.options(key);
    options.most = seconds(1);
    std::rotate(options.endpoints.begin(), options.endpoints.begin() + number, options.endpoints.end());
    return options;
  }
  void note(const GroupState& state) {
    EXPECT_GE(state.epoch(), seen_.epoch);
    seen_.epoch = state.epoch();
    if (!state.record) return;
    const auto [before, first] = observed.emplace(state.epoch().value, *state.record);
    EXPECT_TRUE(first || before->second == *state.record) << "an epoch has one record";
  }
  const unsigned number_;
  GroupRegister group_;
  Seen seen_;
};

TEST(EtcdVoters, NoOutcomeIsWrongWhileMembersAreKilledUnderSwaps) {
  TestEtcd voters(3);
  NEED(voters);
  io::SystemClock clock;
  {
    EtcdStore store(voters.options("/ready"), clock);
    ASSERT_TRUE(TestEtcd::wait_for(store));
  }
  Contender one(voters, "/contended", 0, clock), two(voters, "/contended", 1, clock);
  std::atomic<bool> enough = false;
  std::atomic<std::uint64_t> wins = 0;
  {
    const auto contend = [&](Contender& contender) {
      while (!enough) {
        const std::size_t before = contender.won.size();
        contender.step();
        wins += contender.won.size() - before;
      }
    };
    std::jthread first([&] { contend(one); }), second([&] { contend(two); });
    const auto more_wins = [&](std::uint64_t more) {
      const std::uint64_t target = wins + more;
      const Instant most = clock.now() + seconds(30);
      while (wins < target && clock.now() < most) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      EXPECT_GE(wins, target) << "no progress in 30 s";
    };
    for (unsigned round = 0; round < 6; ++round) {
      more_wins(5);
      voters.kill(round % 3);
      more_wins(5);  // the two others go on
      voters.start(round % 3);
    }
    more_wins(5);
    enough = true;
  }
  std::map<std::uint64_t, GroupRecord> all = one.observed;
  for (const auto& [epoch, record] : two.observed) {
    const auto [before, first] = all.emplace(epoch, record);
    EXPECT_TRUE(first || before->second == record) << "epoch " << epoch << " has one record";
  }
  std::map<std::uint64_t, std::string> winners;
  for (const Contender* contender : {&one, &two}) {
    for (const GroupRecord& record : contender->won) {
      EXPECT_TRUE(winners.emplace(record.epoch.value, record.reason).second)
          << "epoch " << record.epoch.value << " was won twice";
      EXPECT_EQ(all.at(record.epoch.value), record) << "what was won was there";
    }
    for (const GroupRecord& record : contender->never) {
      const auto there = all.find(record.epoch.value);
      EXPECT_TRUE(there == all.end() || there->second != record) << "what certainly did not happen was there";
    }
  }
  std::string before;
  for (const auto& [epoch, record] : all) {
    if (all.contains(epoch - 1)) {
      EXPECT_EQ(record.by, before) << "epoch " << epoch << " was made from the one before";
    }
    before = record.reason;
  }
  std::cout << "won " << wins << ", unknown " << one.unknown + two.unknown << ", voters away "
            << one.away + two.away << "\n";
}

}  // namespace
}  // namespace mainstay::etcd
