#include "pipeline/envelope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <proton/message.h>

#include "amqp/message.h"
#include "base/random.h"

namespace mainstay::pipeline {
namespace {

using ::testing::HasSubstr;

Envelope sample(BytesView body) {
  Envelope envelope;
  envelope.idempotency_key = "MT|BANKBEBBXXX|103|REF1";
  envelope.content_digest = "0123456789abcdef0123456789abcdef";
  envelope.message_id = message_id_of(envelope.idempotency_key, envelope.content_digest);
  envelope.ordering_key = "A:DE89370400440532013000";
  envelope.kind = "mt";
  envelope.type = "103";
  envelope.reference = "REF1";
  envelope.ingest = 42;
  envelope.body = body;
  return envelope;
}

TEST(Envelope, ReadsBackWhatItWrites) {
  const std::string body(70'000, 'b');
  Envelope envelope = sample(as_bytes(body));
  envelope.reference = std::string(300, 'r');
  envelope.replayed = true;
  const Buffer encoded = encode(envelope);
  const Envelope read = decode(encoded).value();
  EXPECT_EQ(read.message_id, envelope.message_id);
  EXPECT_EQ(read.idempotency_key, envelope.idempotency_key);
  EXPECT_EQ(read.content_digest, envelope.content_digest);
  EXPECT_EQ(read.ordering_key, envelope.ordering_key);
  EXPECT_EQ(read.kind, "mt");
  EXPECT_EQ(read.type, "103");
  EXPECT_EQ(read.reference, envelope.reference);
  EXPECT_EQ(read.uetr, "");
  EXPECT_EQ(read.ingest, 42U);
  EXPECT_TRUE(read.replayed);
  EXPECT_EQ(as_text(read.body), body);
}

TEST(Envelope, ProtonReadsIt) {
  const Buffer encoded = encode(sample(as_bytes("body")));
  pn_message_t* message = pn_message();
  ASSERT_EQ(pn_message_decode(message, reinterpret_cast<const char*>(encoded.data()), encoded.size()), 0);
  EXPECT_STREQ(pn_message_get_group_id(message), "A:DE89370400440532013000");
  EXPECT_STREQ(pn_message_get_subject(message), "103");
  EXPECT_EQ(pn_message_get_id(message).u.as_bytes.size, 65U);
  pn_data_t* body = pn_message_body(message);
  pn_data_next(body);
  EXPECT_EQ(std::string(pn_data_get_binary(body).start, pn_data_get_binary(body).size), "body");
  pn_message_free(message);
}

TEST(Envelope, SectionsThatABrokerPutsInFrontAreSkipped) {
  const Buffer encoded = encode(sample(as_bytes("body")));
  amqp::DeliveryHead head;
  head.delivery_count = 3;
  head.sequence_number = 7;
  head.locked_until_ms = 1;
  Buffer front, delivered;
  for (const BytesView part :
       amqp::encode_for_delivery(encoded, amqp::view_message(encoded).value(), head, front)) {
    delivered.insert(delivered.end(), part.begin(), part.end());
  }
  ASSERT_GT(delivered.size(), encoded.size());
  EXPECT_EQ(decode(delivered).value().idempotency_key, "MT|BANKBEBBXXX|103|REF1");
}

TEST(Envelope, EveryTruncationIsAnErrorAndNoneReadsOutside) {
  const Buffer encoded = encode(sample(as_bytes("body")));
  for (std::size_t size = 0; size < encoded.size(); ++size) {
    const Buffer cut(encoded.begin(), encoded.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(decode(cut)) << size;
  }
  SeededRandom random(99);
  for (int round = 0; round < 20'000; ++round) {
    Buffer damaged = encoded;
    damaged[random.below(damaged.size())] = static_cast<std::byte>(random.below(256));
    static_cast<void>(decode(damaged));
  }
}

TEST(Envelope, MissingIdentityIsNamed) {
  Envelope envelope = sample(as_bytes("body"));
  envelope.idempotency_key.clear();
  EXPECT_THAT(decode(encode(envelope)).error().what, HasSubstr("idempotency-key"));
  EXPECT_THAT(decode(as_bytes("garbage")).error().what, HasSubstr("not an AMQP message"));
}

TEST(Envelope, IdsTellConflictsFromDuplicatesAndSessionsFit) {
  EXPECT_EQ(message_id_of("k", "d"), message_id_of("k", "d"));
  EXPECT_NE(message_id_of("k", "d"), message_id_of("k", "e"));
  EXPECT_EQ(message_id_of("k", std::string(32, 'd')).size(), 65U);
  EXPECT_EQ(session_of("A:1"), "A:1");
  const std::string longer(129, 'x');
  EXPECT_EQ(session_of(longer).size(), 34U);
  EXPECT_NE(session_of(longer), session_of(longer + "y"));
}

}  // namespace
}  // namespace mainstay::pipeline
