// What the pipeline's tests share: a directory that goes away, payments, a register, a broker in memory.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/checksum.h"
#include "coordination/memory_store.h"
#include "payments/message.h"
#include "pipeline/envelope.h"
#include "pipeline/log.h"
#include "pipeline/message_sender.h"

namespace mainstay::pipeline {

class DirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "mainstay-pipeline-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  [[nodiscard]] std::string at(const std::string& name) const { return directory_ + "/" + name; }
  void put(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(at(name)).parent_path());
    std::ofstream(at(name), std::ios::binary) << content;
  }
  [[nodiscard]] std::string get(const std::string& name) const {
    std::ifstream file(at(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  [[nodiscard]] std::vector<std::string> names(const std::string& folder) const {
    std::vector<std::string> found;
    if (!std::filesystem::exists(at(folder))) return found;
    for (const auto& entry : std::filesystem::directory_iterator(at(folder))) {
      const std::string name = entry.path().filename().string();
      if (entry.is_regular_file() && name[0] != '.') found.push_back(name);
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  std::string directory_;
};

/// Sentences go nowhere; a test that wants them keeps them.
inline Log silent() {
  return [](Level, const std::string&) {};
}

/// An MT103 that is valid, with its own reference; messages of one `account` share an ordering key.
inline std::string payment(int number, int account, const std::string& amount = "1000,00") {
  char uetr[64];
  std::snprintf(uetr, sizeof uetr, "180f1e65-90e0-44d5-a49a-%012d", account);
  return "{1:F01BANKBEBBAXXX0000000000}{2:I103BANKDEFFXXXXN}{3:{121:" + std::string(uetr) +
         "}}{4:\r\n:20:REF" + std::to_string(number) + "\r\n:23B:CRED\r\n:32A:250615EUR" + amount +
         "\r\n:50K:/DE89370400440532013000\r\nJOHN DOE\r\n:59:/GB82WEST12345698765432\r\nJANE SMITH\r\n"
         ":71A:OUR\r\n-}";
}

inline payments::Message identified(const std::string& text) {
  const auto messages = payments::read_messages(as_bytes(text));
  EXPECT_EQ(messages.size(), 1U);
  EXPECT_TRUE(messages[0].valid) << messages[0].code << " " << messages[0].why;
  return messages[0];
}

inline void activate(coordination::Register& in, const std::string& region, std::uint64_t term,
                     coordination::Phase phase = coordination::Phase::active) {
  const auto before = in.read().value();
  coordination::RegionRecord next;
  next.term = RegionTerm{term};
  next.region = region;
  next.phase = phase;
  next.by = "test";
  ASSERT_EQ(in.compare_and_swap(before.revision, next).value().outcome, coordination::CasOutcome::won);
}

/// A broker that keeps what is sent, removes duplicates by message id, and misbehaves when told. Outlives the
/// senders to it.
struct MemoryBroker {
  std::vector<Envelope> accepted;     ///< in order, without duplicates; bodies are in `kept`
  std::vector<std::string> arrivals;  ///< message id of everything that arrived, duplicates too
  std::deque<Buffer> kept;
  std::set<std::string> seen;
  std::uint64_t duplicates = 0;
  std::size_t in_flight_of_key_max = 0;

  void take(BytesView message) {
    kept.push_back(to_buffer(message));
    const Envelope envelope = decode(kept.back()).value();
    arrivals.push_back(envelope.message_id);
    if (!seen.insert(envelope.message_id).second) {
      ++duplicates;
      return;
    }
    accepted.push_back(envelope);
  }
};

class MemorySender final : public MessageSender {
 public:
  explicit MemorySender(MemoryBroker& broker) : broker_(broker) {}
  std::size_t credit() override {
    return connected && waiting_.size() < credit_max ? credit_max - waiting_.size() : 0;
  }
  bool send(std::uint64_t tag, BytesView message) override {
    if (credit() == 0) return false;
    const Envelope envelope = decode(message).value();
    std::size_t same_key = 1;
    for (const auto& [other, bytes] : waiting_) {
      same_key += decode(bytes).value().ordering_key == envelope.ordering_key ? 1U : 0U;
    }
    broker_.in_flight_of_key_max = std::max(broker_.in_flight_of_key_max, same_key);
    waiting_.emplace_back(tag, to_buffer(message));
    return true;
  }
  std::vector<client::SendOutcome> poll(Duration wait) override {
    if (waiting_.empty() && clock != nullptr) clock->advance(wait);
    std::vector<client::SendOutcome> outcomes;
    for (auto& [tag, message] : waiting_) {
      client::SendOutcome outcome{tag, client::SendOutcome::Kind::accepted, {}};
      if (decide) outcome = decide(tag, decode(message).value());
      const bool lost_answer = outcome.kind == client::SendOutcome::Kind::unknown && arrives_although_unknown;
      if (outcome.kind == client::SendOutcome::Kind::accepted || lost_answer) broker_.take(message);
      outcomes.push_back(outcome);
    }
    waiting_.clear();
    return outcomes;
  }

  bool connected = true;
  ManualClock* clock = nullptr;  ///< moved by the time poll() waits for nothing
  bool arrives_although_unknown = true;
  std::size_t credit_max = 100;
  std::function<client::SendOutcome(std::uint64_t, const Envelope&)> decide;

 private:
  MemoryBroker& broker_;
  std::vector<std::pair<std::uint64_t, Buffer>> waiting_;
};

}  // namespace mainstay::pipeline
