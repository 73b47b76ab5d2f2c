#include "frontend/conditions.h"

#include <gtest/gtest.h>

#include <map>

#include "amqp/value_reader.h"
#include "amqp/value_writer.h"

namespace mainstay::frontend {
namespace {

using broker::ErrorCode;

TEST(Conditions, EveryBrokerErrorHasASymbolAndKeepsItsSentence) {
  const std::map<ErrorCode, std::string> symbols = {
      {ErrorCode::queue_not_found, "amqp:not-found"},
      {ErrorCode::session_required, "amqp:not-allowed"},
      {ErrorCode::session_not_supported, "amqp:not-allowed"},
      {ErrorCode::session_locked, "com.microsoft:session-cannot-be-locked"},
      {ErrorCode::session_timeout, "com.microsoft:timeout"},
      {ErrorCode::session_lock_lost, "com.microsoft:session-lock-lost"},
      {ErrorCode::message_lock_lost, "com.microsoft:message-lock-lost"},
      {ErrorCode::message_not_found, "com.microsoft:message-not-found"},
      {ErrorCode::id_too_long, "amqp:invalid-field"},
      {ErrorCode::cannot_dead_letter, "amqp:not-allowed"},
      {ErrorCode::publish_not_allowed, "amqp:not-allowed"},
      {ErrorCode::bad_queue_options, "amqp:invalid-field"},
  };
  EXPECT_EQ(symbols.size(), static_cast<std::size_t>(ErrorCode::bad_queue_options) + 1)
      << "an error code was added: say here what clients are told";
  for (const auto& [code, symbol] : symbols) {
    const amqp::Condition condition = condition_of({code, "what happened to what"});
    EXPECT_EQ(condition.symbol, symbol);
    EXPECT_EQ(condition.description, "what happened to what");
  }
}

/// Writes a map: `fill` writes keys and values and returns how many.
template <class F>
Buffer map_of(F&& fill) {
  Buffer out;
  amqp::ValueWriter w(out);
  const auto open = w.map();
  w.close(open, fill(w));
  return out;
}

/// Keys (strings only) and values as text.
std::map<std::string, std::string> read(const Buffer& encoded) {
  std::map<std::string, std::string> out;
  EXPECT_TRUE(amqp::well_formed(encoded));
  amqp::ValueReader reader(encoded);
  const amqp::Value map = reader.next();
  EXPECT_EQ(map.kind, amqp::Kind::map);
  amqp::ValueReader entries = amqp::ValueReader::inside(map);
  while (!entries.at_end()) {
    const amqp::Value key = entries.next();
    const amqp::Value value = entries.next();
    EXPECT_EQ(key.kind, amqp::Kind::string);
    out[std::string(key.text())] = value.is_null()                    ? "null"
                                   : value.kind == amqp::Kind::string ? "'" + std::string(value.text()) + "'"
                                   : value.kind == amqp::Kind::timestamp
                                       ? "ms " + std::to_string(value.number)
                                       : std::to_string(value.number);
  }
  EXPECT_TRUE(entries.ok());
  return out;
}

amqp::Outcome rejected(amqp::Condition error, Buffer map = {}) {
  amqp::Outcome outcome;
  outcome.type = amqp::Outcome::Type::rejected;
  outcome.error = std::move(error);
  outcome.map = std::move(map);
  return outcome;
}

TEST(DeadLetterRequests, TakeReasonAndDescriptionFromTheInfoMap) {
  const auto request =
      dead_letter_request(rejected({"com.microsoft:dead-letter", "ignored"}, map_of([](auto& w) {
                                     w.symbol("DeadLetterReason");
                                     w.string("bad BIC");
                                     w.string("DeadLetterErrorDescription");
                                     w.string("field 57A");
                                     w.symbol("attempt");
                                     w.uint(3);
                                     w.string("when");
                                     w.timestamp(1700);
                                     return 8U;
                                   })));
  EXPECT_EQ(request.reason, "bad BIC");
  EXPECT_EQ(request.description, "field 57A");
  EXPECT_EQ(read(request.properties),
            (std::map<std::string, std::string>{{"attempt", "3"}, {"when", "ms 1700"}}));
}

TEST(DeadLetterRequests, NullsMeanNotGivenAndLeaveNoProperty) {
  const auto request = dead_letter_request(rejected({"app:other", "said elsewhere"}, map_of([](auto& w) {
                                                      w.symbol("DeadLetterReason");
                                                      w.null();
                                                      w.symbol("DeadLetterErrorDescription");
                                                      w.null();
                                                      return 4U;
                                                    })));
  EXPECT_EQ(request.reason, "");
  EXPECT_EQ(request.description, "");
  EXPECT_TRUE(request.properties.empty());
}

TEST(DeadLetterRequests, AGenericClientsErrorIsTheReason) {
  const auto request = dead_letter_request(rejected({"app:invalid", "no such account"}));
  EXPECT_EQ(request.reason, "app:invalid");
  EXPECT_EQ(request.description, "no such account");
  const auto sdk = dead_letter_request(rejected({"com.microsoft:dead-letter", "x"}));
  EXPECT_EQ(sdk.reason, "") << "the SDK's own condition is no reason";
  amqp::Outcome bare;
  bare.type = amqp::Outcome::Type::rejected;
  EXPECT_EQ(dead_letter_request(bare).reason, "");
}

TEST(ModifiedProperties, KeysBecomeStringsAndValuesStayAsTheyWere) {
  amqp::Outcome outcome;
  outcome.type = amqp::Outcome::Type::modified;
  EXPECT_TRUE(modified_properties(outcome).empty());
  outcome.map = map_of([](auto& w) {
    w.symbol("retry");
    w.uint(2);
    w.string("note");
    w.string("later");
    w.symbol("cleared");
    w.null();
    w.uint(7);  // no text: cannot be an application property's name
    w.string("dropped");
    return 8U;
  });
  EXPECT_EQ(read(modified_properties(outcome)),
            (std::map<std::string, std::string>{{"retry", "2"}, {"note", "'later'"}, {"cleared", "null"}}));
}

TEST(ModifiedProperties, WhatIsNoMapGivesNone) {
  amqp::Outcome outcome;
  outcome.type = amqp::Outcome::Type::modified;
  amqp::ValueWriter(outcome.map).string("not a map");
  EXPECT_TRUE(modified_properties(outcome).empty());
  outcome.map = map_of([](auto& w) {
    w.symbol("key");
    w.string("value");
    return 2U;
  });
  outcome.map.resize(outcome.map.size() - 3);
  EXPECT_TRUE(modified_properties(outcome).empty());
}

}  // namespace
}  // namespace mainstay::frontend
