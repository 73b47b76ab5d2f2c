// Envelopes and bodies of `$management` requests and responses.
#include <gtest/gtest.h>

#include "frontend/management_test_support.h"

namespace mainstay::frontend {
namespace {

using testing::encode_request;
using testing::entry;
using testing::lock_tokens;
using testing::number;
using testing::read_response;
using testing::sequence_numbers;
using testing::text;

Result<ManagementOperation, ManagementStatus> operation_of(const Buffer& request) {
  return read_management_operation(read_management_request(request).value());
}
template <class Operation>
Operation read(const Buffer& request) {
  return std::get<Operation>(operation_of(request).value());
}
ManagementStatus refusal(const testing::RequestText& request) {
  const Buffer bytes = encode_request(request);
  return operation_of(bytes).error();
}

TEST(ManagementCodec, TokensAreTheDeliveryTagWithItsFirstThreeGroupsTurned) {
  Uuid tag;
  for (std::size_t i = 0; i < 16; ++i) tag.bytes[i] = static_cast<std::uint8_t>(i);
  EXPECT_EQ(lock_token_as_uuid(tag).text(), "03020100-0504-0706-0809-0a0b0c0d0e0f");
  EXPECT_EQ(lock_token_as_uuid(lock_token_as_uuid(tag)), tag);
}

TEST(ManagementCodec, TokensComeAsAListOrAsAnArrayOfUuids) {
  Uuid a, b;
  a.bytes[0] = 1;
  b.bytes[15] = 2;
  const Buffer listed = encode_request({"com.microsoft:renew-lock", "1", "", lock_tokens({a, b})});
  EXPECT_EQ(read<RenewLock>(listed).tokens, (std::vector<Uuid>{a, b}));
  const Buffer array =
      encode_request({"com.microsoft:renew-lock", "1", "", [&](amqp::ValueWriter& w) {
                        w.symbol("lock-tokens");
                        Buffer raw{std::byte{0xe0}, std::byte{34}, std::byte{2}, std::byte{0x98}};
                        for (const Uuid& token : {a, b}) {
                          const Uuid uuid = lock_token_as_uuid(token);
                          for (const std::uint8_t byte : uuid.bytes) raw.push_back(std::byte{byte});
                        }
                        w.encoded(raw);
                        return 2U;
                      }});
  EXPECT_EQ(read<RenewLock>(array).tokens, (std::vector<Uuid>{a, b})) << "and a symbol will do as key";
}

TEST(ManagementCodec, EachOperationIsRead) {
  const Buffer peek = encode_request(
      {"com.microsoft:peek-message", "1", "",
       number("from-sequence-number", 7, number("message-count", 3, text("session-id", "s")))});
  const auto peeked = read<PeekMessages>(peek);
  EXPECT_EQ(peeked.from, 7U);
  EXPECT_EQ(peeked.max, 3U);
  EXPECT_EQ(peeked.session_id, "s");
  EXPECT_FALSE(peeked.omit_body);
  for (const int mode : {0, 1}) {
    const Buffer receive = encode_request({"com.microsoft:receive-by-sequence-number", "1", "",
                                           sequence_numbers({1, 900}, number("receiver-settle-mode", mode))});
    const auto received = read<ReceiveBySequenceNumber>(receive);
    EXPECT_EQ(received.mode == broker::ReceiveMode::peek_lock, mode == 1);
    EXPECT_EQ(received.sequences, (std::vector<broker::SequenceNumber>{{1}, {900}}));
    EXPECT_FALSE(received.session_id);
  }
  const Buffer update = encode_request(
      {"com.microsoft:update-disposition", "1", "",
       lock_tokens({Uuid{}}, text("disposition-status", "suspended",
                                  text("deadletter-reason", "r", text("deadletter-description", "d"))))});
  const auto updated = read<UpdateDisposition>(update);
  EXPECT_EQ(updated.status, UpdateDisposition::Status::suspended);
  EXPECT_EQ(updated.reason, "r");
  EXPECT_EQ(updated.description, "d");
  const Buffer cancel =
      encode_request({"com.microsoft:cancel-scheduled-message", "1", "", sequence_numbers({5})});
  EXPECT_EQ(read<CancelScheduledMessages>(cancel).sequences.at(0).value, 5U);
  const Buffer schedule =
      encode_request({"com.microsoft:schedule-message", "1", "", [](amqp::ValueWriter& w) {
                        w.string("messages");
                        const auto list = w.list();
                        const auto map = w.map();
                        w.string("message");
                        w.binary(as_bytes("encoded"));
                        w.string("message-id");
                        w.string("m");
                        w.close(map, 4);
                        w.close(list, 1);
                        return 2U;
                      }});
  EXPECT_EQ(as_text(read<ScheduleMessages>(schedule).messages.at(0)), "encoded");
}

TEST(ManagementCodec, WhatIsMissingOrOfAnotherTypeIsNamed) {
  const ManagementStatus none = refusal({"com.microsoft:renew-lock", "1", "", {}});
  EXPECT_EQ(none.code, 400);
  EXPECT_EQ(none.condition, "com.microsoft:argument-error");
  EXPECT_NE(none.description.find("lock-tokens"), std::string::npos) << none.description;
  EXPECT_EQ(refusal({"com.microsoft:renew-lock", "1", "", lock_tokens({})}).code, 400) << "an empty list";
  EXPECT_EQ(refusal({"com.microsoft:renew-lock", "1", "", text("lock-tokens", "x")}).code, 400);
  EXPECT_EQ(
      refusal({"com.microsoft:renew-lock", "1", "", lock_tokens(std::vector<Uuid>(kManagementItemsMax + 1))})
          .code,
      400);
  EXPECT_EQ(refusal({"com.microsoft:renew-session-lock", "1", "", number("session-id", 3)}).code, 400);
  EXPECT_EQ(refusal({"com.microsoft:update-disposition", "1", "",
                     lock_tokens({Uuid{}}, text("disposition-status", "done"))})
                .code,
            400);
  EXPECT_EQ(refusal({"com.microsoft:receive-by-sequence-number", "1", "",
                     sequence_numbers({1}, number("receiver-settle-mode", 2))})
                .code,
            400);
  EXPECT_EQ(refusal({"com.microsoft:peek-message", "1", "",
                     number("from-sequence-number", 1, number("message-count", 0))})
                .code,
            400);
}

TEST(ManagementCodec, AnOperationThatIsNotHereIsToldAsSuch) {
  for (const char* name :
       {"com.microsoft:get-session-state", "com.microsoft:add-rule", "renew-lock", "READ"}) {
    const ManagementStatus status = refusal({name, "1", "", {}});
    EXPECT_EQ(status.code, 501) << name;
    EXPECT_EQ(status.condition, "amqp:not-implemented");
    EXPECT_NE(status.description.find(name), std::string::npos) << status.description;
  }
  const ManagementStatus missing = refusal({"", "1", "", {}});
  EXPECT_EQ(missing.code, 400);
}

TEST(ManagementCodec, TheResponseRepeatsTheIdInItsType) {
  Buffer bytes;
  amqp::ValueWriter w(bytes);
  w.descriptor(amqp::descriptor::properties);
  const auto properties = w.list();
  w.int_(77);  // pyamqp counts its requests
  w.close(properties, 1);
  w.descriptor(amqp::descriptor::amqp_value);
  w.null();
  const auto request = read_management_request(bytes).value();
  const Buffer response =
      encode_management_response(ManagementReply(request), {404, "amqp:not-found", "none"});
  amqp::ValueReader reader(response);
  amqp::Fields fields(amqp::described(reader.next())->value);
  fields.skip(5);
  const amqp::Value id = fields.any();
  EXPECT_EQ(id.kind, amqp::Kind::int_);
  EXPECT_EQ(id.signed_number(), 77);
}

TEST(ManagementCodec, AResponseHasStatusAndAMap) {
  const Buffer request = encode_request({"x", "id-9", "reply", {}});
  const auto read_back = read_management_request(request).value();
  const auto good = read_response(encode_management_response(
      ManagementReply(read_back), {}, expirations_body(std::array<std::int64_t, 2>{5, 6})));
  EXPECT_EQ(good.status, 200);
  EXPECT_EQ(good.condition, "") << "its presence reads as a failure";
  EXPECT_EQ(good.correlation_id, "id-9");
  EXPECT_EQ(good.to, "reply");
  EXPECT_EQ(good.tracking_id, "track");
  const amqp::Value times = entry(good.body(), "expirations");
  EXPECT_EQ(times.kind, amqp::Kind::array);
  EXPECT_EQ(testing::numbers_of(times), (std::vector<std::int64_t>{5, 6}));
  const auto bad =
      read_response(encode_management_response(ManagementReply(read_back), {410, "a:b", "gone"}));
  EXPECT_EQ(bad.status, 410);
  EXPECT_EQ(bad.condition, "a:b");
  EXPECT_EQ(bad.description, "gone");
  EXPECT_EQ(bad.body().kind, amqp::Kind::map);
}

TEST(ManagementCodec, BytesThatAreNoRequestAreRefused) {
  EXPECT_FALSE(read_management_request(as_bytes("no message")));
  Buffer bytes;
  amqp::ValueWriter w(bytes);
  w.descriptor(amqp::descriptor::properties);
  const auto properties = w.list();
  w.boolean(true);  // no type of an id
  w.close(properties, 1);
  EXPECT_FALSE(read_management_request(bytes));
}

}  // namespace
}  // namespace mainstay::frontend
