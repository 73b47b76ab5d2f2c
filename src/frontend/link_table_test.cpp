#include "frontend/link_table.h"

#include <gtest/gtest.h>

namespace mainstay::frontend {
namespace {

constexpr amqp::LinkId in_slot(std::uint32_t slot, std::uint32_t generation) {
  return (generation << amqp::kLinkSlotBits) | slot;
}

TEST(LinkTable, FindsByIdAndGoesThroughInOrder) {
  LinkTable<int> links;
  links.emplace(in_slot(2, 1), 21);
  links.emplace(in_slot(0, 2), 2);
  links.emplace(in_slot(1, 0), 10);
  EXPECT_EQ(links.at(in_slot(2, 1)), 21);
  EXPECT_EQ(links.at(in_slot(0, 2)), 2);
  std::vector<int> seen;
  for (const auto& [id, value] : links) seen.push_back(value);
  EXPECT_EQ(seen, (std::vector<int>{10, 21, 2}));
}

TEST(LinkTable, ALinkThatWentIsNotTheNextOneInItsSlot) {
  LinkTable<int> links;
  links.emplace(in_slot(3, 0), 1);
  EXPECT_EQ(links.find(in_slot(3, 1)), links.end());
  links.erase(links.find(in_slot(3, 0)));
  EXPECT_EQ(links.find(in_slot(3, 0)), links.end());
  links.emplace(in_slot(3, 1), 2);
  EXPECT_EQ(links.find(in_slot(3, 0)), links.end());
  EXPECT_EQ(links.at(in_slot(3, 1)), 2);
}

TEST(LinkTable, IsEmptyAfterClear) {
  LinkTable<int> links;
  links.emplace(in_slot(0, 0), 1);
  links.clear();
  EXPECT_TRUE(links.empty());
  EXPECT_EQ(links.find(in_slot(0, 0)), links.end());
  links.emplace(in_slot(0, 0), 2);
  EXPECT_EQ(links.at(in_slot(0, 0)), 2);
}

}  // namespace
}  // namespace mainstay::frontend
