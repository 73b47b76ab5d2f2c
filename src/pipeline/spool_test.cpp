#include "pipeline/spool.h"

#include <gmock/gmock.h>

#include "pipeline/pipeline_test.h"

namespace mainstay::pipeline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr RegionTerm term1{1}, term2{2};

std::vector<SpoolEntry> some(int from, int to) {
  std::vector<SpoolEntry> made;
  for (int i = from; i < to; ++i) {
    made.push_back({0, "id" + std::to_string(i), "A:" + std::to_string(i % 2), "file",
                    static_cast<std::uint32_t>(i), to_buffer(as_bytes("message " + std::to_string(i)))});
  }
  return made;
}

class SpoolTest : public DirectoryTest {
 protected:
  std::unique_ptr<Spool> open(RegionTerm term = term1, Spool::Limits limits = {}) {
    return Spool::open(at("spool"), term, silent(), limits).value();
  }
  static std::vector<std::string> ids(const std::vector<SpoolEntry>& entries) {
    std::vector<std::string> found;
    for (const SpoolEntry& entry : entries) found.push_back(entry.id);
    return found;
  }
};

TEST_F(SpoolTest, WhatIsNotSettledComesBackInOrder) {  // P15.5
  {
    const auto spool = open();
    auto entries = some(1, 5);
    spool->append(entries).value();
    EXPECT_EQ(entries[0].position, 1U);
    spool->settled(2);
    spool->flush().value();
  }
  const auto spool = open();
  const auto recovered = spool->take_recovered();
  EXPECT_THAT(ids(recovered), ElementsAre("id1", "id3", "id4"));
  EXPECT_EQ(as_text(recovered[1].message), "message 3");
  EXPECT_TRUE(spool->was_settled("file", 2, "id2"));
  EXPECT_FALSE(spool->was_settled("file", 2, "another message")) << "a later file of the same name";
  EXPECT_FALSE(spool->was_settled("file", 3, "id3"));
  auto more = some(5, 6);
  spool->append(more).value();
  EXPECT_EQ(more[0].position, 5U) << "positions are never used twice";
}

TEST_F(SpoolTest, CrashAtAnyByteOfAnAppendKeepsEverythingBefore) {
  {
    auto entries = some(1, 3);
    open()->append(entries).value();
  }
  const std::string segment = at("spool/spool-00000001.seg");
  const auto whole = std::filesystem::file_size(segment);
  {
    const auto spool = open();
    auto entries = some(3, 4);
    spool->append(entries).value();
  }
  const std::string second = get("spool/spool-00000002.seg");
  for (std::size_t bytes = 0; bytes <= second.size(); ++bytes) {
    for (const std::string& name : names("spool")) {
      if (name.ends_with(".seg") && name != "spool-00000001.seg")
        std::filesystem::remove(at("spool/" + name));
    }
    ASSERT_EQ(std::filesystem::file_size(segment), whole);
    put("spool/spool-00000002.seg", second.substr(0, bytes));
    const auto recovered = open()->take_recovered();
    EXPECT_EQ(recovered.size(), bytes == second.size() ? 3U : 2U) << bytes;
  }
}

TEST_F(SpoolTest, FinishedSegmentsAreRemoved) {
  const auto spool = open(term1, {100});
  for (int i = 1; i < 20; ++i) {
    auto entries = some(i, i + 1);
    spool->append(entries).value();
    spool->settled(entries[0].position);
    spool->flush().value();
  }
  EXPECT_LE(names("spool").size(), 3U);
  EXPECT_EQ(spool->outstanding(), 0U);
}

TEST_F(SpoolTest, AnUnsettledEntryKeepsItsSegment) {
  {
    const auto spool = open(term1, {100});
    auto first = some(1, 2);
    spool->append(first).value();
    for (int i = 2; i < 10; ++i) {
      auto entries = some(i, i + 1);
      spool->append(entries).value();
      spool->settled(entries[0].position);
      spool->flush().value();
    }
  }
  EXPECT_THAT(ids(open()->take_recovered()), ElementsAre("id1"));
}

TEST_F(SpoolTest, SpoolOfAnOlderTermIsSetAsideNotSent) {
  {
    auto entries = some(1, 3);
    open()->append(entries).value();
  }
  EXPECT_TRUE(open(term2)->take_recovered().empty());
  EXPECT_TRUE(std::filesystem::exists(at("spool/set-aside/term-1/spool-00000001.seg")));
  const auto back = Spool::open(at("spool"), term1, silent(), {});
  ASSERT_FALSE(back);
  EXPECT_THAT(back.error().what, HasSubstr("terms never go back"));
}

TEST_F(SpoolTest, SecondProcessOnTheSameSpoolIsRefused) {
  const auto spool = open();
  const auto second = Spool::open(at("spool"), term1, silent(), {});
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().what, HasSubstr("another queue builder"));
}

}  // namespace
}  // namespace mainstay::pipeline
