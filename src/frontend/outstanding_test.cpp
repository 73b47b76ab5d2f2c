#include "frontend/outstanding.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"

namespace mainstay::frontend {
namespace {

broker::LockToken token_of(std::uint64_t n) {
  broker::LockToken token;
  for (std::size_t i = 0; i < 8; ++i) token.bytes[i] = static_cast<std::uint8_t>(n >> (8 * i));
  return token;
}

TEST(Outstanding, FindsWhatIsThereAndNothingElseWhateverCameAndWent) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRandom random(seed);
    Outstanding outstanding;
    std::map<amqp::DeliveryRef, amqp::LinkId> model;
    std::uint64_t next[3] = {};  // of three sessions
    for (int step = 0; step < 3000; ++step) {
      const std::uint64_t kind = random.below(100);
      if (kind < 52) {
        const std::uint64_t session = random.below(3);
        const amqp::DeliveryRef delivery = session << 48 | next[session]++;
        const auto link = static_cast<amqp::LinkId>(1 + random.below(4));
        outstanding.add(delivery, link, token_of(delivery));
        model.emplace(delivery, link);
      } else if (kind < 99 && !model.empty()) {
        auto at = model.begin();
        std::advance(at, static_cast<std::ptrdiff_t>(random.below(model.size())));
        const Outstanding::Entry* found = outstanding.find(at->first);
        ASSERT_NE(found, nullptr);
        outstanding.remove(found);
        model.erase(at);
      } else {
        const auto link = static_cast<amqp::LinkId>(1 + random.below(4));
        outstanding.remove_link(link);
        std::erase_if(model, [link](const auto& entry) { return entry.second == link; });
      }
      ASSERT_EQ(outstanding.size(), model.size());
    }
    for (std::uint64_t session = 0; session < 3; ++session) {
      for (std::uint64_t n = 0; n < next[session] + 10; ++n) {
        const amqp::DeliveryRef delivery = session << 48 | n;
        const Outstanding::Entry* found = outstanding.find(delivery);
        const auto expected = model.find(delivery);
        ASSERT_EQ(found != nullptr, expected != model.end()) << delivery;
        if (found == nullptr) continue;
        EXPECT_EQ(found->link, expected->second);
        EXPECT_EQ(found->token, token_of(delivery));
      }
    }
  }
}

TEST(Outstanding, GivesBackWhatManyUnsettledDeliveriesTook) {
  Outstanding outstanding;
  constexpr std::uint64_t kMany = 60'000;
  for (std::uint64_t n = 0; n < kMany; ++n) outstanding.add(n, 1, token_of(n));
  EXPECT_LE(outstanding.memory_bytes(), kMany * 256);
  for (std::uint64_t n = 0; n < kMany; ++n) outstanding.remove(outstanding.find(n));
  EXPECT_EQ(outstanding.size(), 0U);
  EXPECT_LE(outstanding.memory_bytes(), 64U * 1024);
  outstanding.add(kMany, 1, token_of(kMany));
  EXPECT_NE(outstanding.find(kMany), nullptr);
}

}  // namespace
}  // namespace mainstay::frontend
