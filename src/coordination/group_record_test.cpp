// The record of who leads a group: which are valid, which may follow which, and what its text may be.
#include "coordination/group_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace mainstay::coordination {
namespace {

using testing::HasSubstr;

Uuid uuid(std::uint8_t last) {
  Uuid id;
  id.bytes[0] = 0xab;
  id.bytes[15] = last;
  return id;
}
const Member kA{"a-1", uuid(1)}, kB{"b.2", uuid(2)}, kC{"c_3", uuid(3)};

GroupRecord pair_of_a_and_b() {
  GroupRecord record;
  record.cluster = uuid(9);
  record.epoch = Epoch{7};
  record.leader = kA;
  record.isr = {kA, kB};
  record.region_term = RegionTerm{3};
  record.by = "node a-1";
  record.reason = "back again";
  record.at = WallTime{-5};
  return record;
}
GroupRecord changed(const std::function<void(GroupRecord&)>& change) {
  GroupRecord record = pair_of_a_and_b();
  change(record);
  return record;
}

TEST(GroupRecord, ComesBackFromItsTextWhole) {
  const GroupRecord whole = pair_of_a_and_b();
  const std::string text = encode_group_record(whole);
  const auto back = decode_group_record(text);
  ASSERT_TRUE(back) << back.error().why;
  EXPECT_EQ(*back, whole);
  EXPECT_EQ(text, R"({"format":1,"cluster":"ab000000-0000-0000-0000-000000000009","epoch":7,)"
                  R"("leader":{"node":"a-1","incarnation":"ab000000-0000-0000-0000-000000000001"},)"
                  R"("isr":[{"node":"a-1","incarnation":"ab000000-0000-0000-0000-000000000001"},)"
                  R"({"node":"b.2","incarnation":"ab000000-0000-0000-0000-000000000002"}],)"
                  R"("mode":"serving","region_term":3,"by":"node a-1","reason":"back again","at_ms":-5})")
      << "what other versions have stored";
  const GroupRecord extreme = changed([](GroupRecord& r) {
    r.epoch = Epoch{~0ULL};
    r.region_term = RegionTerm{~0ULL};
    r.isr = {kA};
    r.mode = GroupMode::draining;
    r.by = "operator J\xc3\xbcrg \"the\" \\ \n";
  });
  EXPECT_EQ(decode_group_record(encode_group_record(extreme)).value(), extreme);
}

TEST(GroupRecord, RemovedNodesAreOfFormatTwo) {
  const GroupRecord record = changed([](GroupRecord& r) { r.removed = {"c_3", "d"}; });
  const std::string text = encode_group_record(record);
  EXPECT_EQ(decode_group_record(text).value(), record);
  EXPECT_THAT(text, HasSubstr(R"({"format":2,)"));
  EXPECT_THAT(text, HasSubstr(R"("removed":["c_3","d"])"));
  const auto with = [&](std::string from, const std::string& to) {
    std::string other = text;
    other.replace(other.find(from), from.size(), to);
    return decode_group_record(other).has_value();
  };
  EXPECT_FALSE(with(R"("format":2)", R"("format":1)"));
  EXPECT_FALSE(with(R"("format":2)", R"("format":3)"));
  EXPECT_FALSE(with(R"(["c_3","d"])", R"([])"));
  EXPECT_FALSE(with(R"(["c_3","d"])", R"(["c_3","c_3"])"));
  EXPECT_FALSE(with(R"(["c_3","d"])", R"(["c_3",4])"));
  EXPECT_FALSE(with(R"(["c_3","d"])", R"("c_3")"));
  EXPECT_FALSE(with(R"(,"removed":["c_3","d"])", ""));
  EXPECT_THAT(invalid(changed([](auto& r) { r.removed = {"b.2"}; })),
              HasSubstr("removed and in the in-sync set"));
  EXPECT_THAT(invalid(changed([](auto& r) { r.removed = {"no name"}; })), HasSubstr("no name of a node"));
  EXPECT_THAT(forbidden(pair_of_a_and_b(), changed([](auto& r) {
                          r.leader = kB;
                          r.removed = {"c_3"};
                        })),
              HasSubstr("leaves the removed nodes as they are"));
  EXPECT_EQ(forbidden(pair_of_a_and_b(), changed([](auto& r) { r.removed = {"c_3"}; })), "");
}

TEST(GroupRecord, InvalidOnesAreNamed) {
  EXPECT_EQ(invalid(pair_of_a_and_b()), "");
  EXPECT_THAT(invalid(changed([](auto& r) { r.cluster = {}; })), HasSubstr("no cluster"));
  EXPECT_THAT(invalid(changed([](auto& r) { r.epoch = {}; })), HasSubstr("epoch is 0"));
  EXPECT_THAT(invalid(changed([](auto& r) { r.isr.clear(); })), HasSubstr("is empty"));
  EXPECT_THAT(invalid(changed([](auto& r) { r.leader = kC; })), HasSubstr("not in its in-sync set"));
  EXPECT_THAT(invalid(changed([](auto& r) { r.leader.incarnation = uuid(4); })),
              HasSubstr("not in its in-sync set"))
      << "the same node on another disk is another member";
  EXPECT_THAT(invalid(changed([](auto& r) { r.isr.insert({"a-1", uuid(4)}); })), HasSubstr("with two disks"));
  EXPECT_THAT(invalid(changed([](auto& r) { r.isr.insert({"c", {}}); })), HasSubstr("has no disk"));
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("a/b"), std::string(65, 'a')})
    EXPECT_THAT(invalid(changed([&](auto& r) {
                  r.isr.insert({name, uuid(4)});
                })),
                HasSubstr("no name of a node"));
  EXPECT_THAT(invalid(changed([](auto& r) {
                for (std::uint8_t i = 0; i < 15; ++i) r.isr.insert({"m" + std::to_string(i), uuid(i)});
              })),
              HasSubstr("more than 16"));
  EXPECT_THAT(invalid(changed([](auto& r) { r.reason = std::string(1025, 'x'); })),
              HasSubstr("longer than 1024"));
  EXPECT_THAT(invalid(changed([](auto& r) { r.by = "Z\xfcrich"; })), HasSubstr("not UTF-8"));
}

TEST(GroupRecord, ANewLeaderComesFromTheSetBeforeOnTheSameDiskAndLeavesTheSetAsItIs) {
  const GroupRecord from = pair_of_a_and_b();
  const auto said = [&](const std::function<void(GroupRecord&)>& change) {
    const GroupRecord to = changed(change);
    EXPECT_EQ(invalid(to), "");
    return forbidden(from, to);
  };
  EXPECT_EQ(said([](auto&) {}), "") << "a leader may begin a leadership anew";
  EXPECT_EQ(said([](auto& r) { r.leader = kB; }), "");
  EXPECT_EQ(said([](auto& r) { r.isr = {kA}; }), "");
  EXPECT_EQ(said([](auto& r) { r.isr = {kA, kB, kC}; }), "");
  EXPECT_EQ(said([](auto& r) { r.mode = GroupMode::draining; }), "");
  EXPECT_EQ(said([](auto& r) { r.region_term = RegionTerm{4}; }), "");
  EXPECT_THAT(said([](auto& r) {
                r.leader = kC;
                r.isr = {kA, kB, kC};
              }),
              HasSubstr("may miss what was acknowledged"));
  EXPECT_THAT(said([](auto& r) {
                r.leader = {kB.node, uuid(5)};
                r.isr = {kA, r.leader};
              }),
              HasSubstr("may miss what was acknowledged"))
      << "the disk it had is gone";
  EXPECT_THAT(said([](auto& r) {
                r.leader = kB;
                r.isr = {kB};
              }),
              HasSubstr("leaves the in-sync set as it is"));
  EXPECT_THAT(said([](auto& r) { r.region_term = RegionTerm{2}; }), HasSubstr("region term 2 is lower"));
  EXPECT_THAT(said([](auto& r) { r.cluster = uuid(8); }), HasSubstr("is about cluster"));
}

TEST(GroupRecord, AnotherNodeMayLeadOnADiskThatIsTheWholeSet) {
  const GroupRecord from = changed([](auto& r) { r.isr = {kA}; });
  const auto said = [&](const Member& leader, const std::set<Member>& set) {
    return forbidden(from, changed([&](auto& r) {
                       r.leader = leader;
                       r.isr = set;
                     }));
  };
  const Member other{"c-1", kA.incarnation};
  EXPECT_EQ(said(other, {other}), "");
  EXPECT_THAT(said({"c-1", uuid(5)}, {{"c-1", uuid(5)}}), HasSubstr("may miss what was acknowledged"));
  EXPECT_NE(said(other, {other, kB}), "");
  EXPECT_NE(forbidden(pair_of_a_and_b(), changed([&](auto& r) {
                        r.leader = other;
                        r.isr = {other, kB};
                      })),
            "")
      << "a set of several disks is for nodes with a disk each";
}

TEST(GroupRecord, TextThatIsNotExactlyOneIsRefusedWithTheReason) {
  const std::string good = encode_group_record(pair_of_a_and_b());
  const auto said = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) text.replace(at, from.size(), to);
    const auto record = decode_group_record(text);
    return record ? std::string("nothing") : record.error().why;
  };
  EXPECT_EQ(said("{", " {\n"), "nothing") << "white space is the operator's";
  const std::string member = R"({"node":"b.2","incarnation":"ab000000-0000-0000-0000-000000000002"})";
  struct Case {
    const char *from, *to, *why;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"\"format\":1", "\"format\":3", "use the newer program"},
           {"\"format\":1", "\"format\":2", "\"removed\" of the record is missing"},
           {"\"format\":1", "\"format\":0", "is not 1"},
           {"\"format\":1,", "", "\"format\" of the record is missing"},
           {"\"epoch\":7", "\"epoch\":0", "epoch is 0"},
           {"\"epoch\":7", "\"epoch\":7.0", "\"epoch\" of the record is no whole number"},
           {"\"epoch\":7", "\"epoch\":-7", "\"epoch\" of the record is no whole number"},
           {"\"epoch\":7", "\"epoch\":\"7\"", "\"epoch\" of the record is no whole number"},
           {"\"epoch\":7", "\"epoch\":18446744073709551616", "\"epoch\" of the record is no whole number"},
           {"\"at_ms\":-5", "\"at_ms\":9223372036854775808", "\"at_ms\" of the record is no whole number"},
           {"\"cluster\":\"ab", "\"cluster\":\"xb", "\"cluster\" of the record is no UUID"},
           {"\"mode\":\"serving\"", "\"mode\":\"resting\"", "'resting', which is not known"},
           {"\"mode\"", "\"mood\"", "\"mode\" of the record is missing"},
           {"\"mode\"", "\"more\":1,\"mode\"", "has a key that is not known"},
           {"\"node\":\"a-1\",", "", "\"node\" of a member is missing"},
           {"\"node\":\"a-1\",", "\"node\":\"a-1\",\"x\":0,", "a member has a key that is not known"},
           {"\"isr\":[", "\"isr\":[7,", "a member is no object"},
           {"\"isr\":[", "\"isr\":{},\"x\":[", "has a key that is not known"},
           {"\"leader\":{\"node\":\"a-1\"", "\"leader\":{\"node\":\"c\"", "not in its in-sync set"},
           {"{", "[", ""},
           {"}],", "}],,", ""}}) {
    const std::string why = said(c.from, c.to);
    EXPECT_NE(why, "nothing") << c.from << " → " << c.to;
    EXPECT_THAT(why, HasSubstr(c.why)) << c.from << " → " << c.to;
  }
  EXPECT_THAT(said(member, member + "," + member), HasSubstr("names a member twice"));
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), good + good, good.substr(0, good.size() - 1),
        std::string(100, '['), std::string("\xff")})
    EXPECT_FALSE(decode_group_record(text)) << text;
  EXPECT_THAT(decode_group_record(good + std::string(65536, ' ')).error().why,
              HasSubstr("longer than 65536"));
}

}  // namespace
}  // namespace mainstay::coordination
