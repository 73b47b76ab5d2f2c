#include "replication/packets.h"

#include <gtest/gtest.h>

#include "replication/fuzz_corpus_test_support.h"

namespace mainstay::replication {
namespace {

Sender sender() {
  Sender of;
  of.cluster.bytes[0] = 7;
  of.region = "east";
  of.node = "east-1";
  of.term = RegionTerm{3};
  of.epoch = Epoch{9};
  return of;
}

std::vector<Message> one_of_each(BytesView raw) {
  return {Hello{NodeRole::live, {Lsn{4}, 5}},
          Follow{{Lsn{4}, 5}},
          Accept{{Lsn{4}, 5}, Lsn{11}},
          Refuse{RefusalCode::diverged, {Lsn{4}, 5}, {Lsn{6}, 7}, "diverged"},
          Records{Lsn{8}, raw},
          Heartbeat{NodeRole::sealed, Lsn{9}},
          Ack{{Lsn{4}, 5}, Lsn{3}, 99}};
}

TEST(Packets, EveryKindComesBackAsItWasSent) {
  const Buffer raw(100, std::byte{42});
  const auto messages = one_of_each(raw);
  for (const Message& message : messages) {
    Buffer bytes;
    encode(sender(), message, bytes);
    const auto length = packet_bytes(bytes);
    ASSERT_TRUE(length && *length);
    EXPECT_EQ(**length, bytes.size());
    const auto packet = decode(bytes);
    ASSERT_TRUE(packet) << packet.error().what;
    EXPECT_EQ(packet->sender.cluster, sender().cluster);
    EXPECT_EQ(packet->sender.region, "east");
    EXPECT_EQ(packet->sender.node, "east-1");
    EXPECT_EQ(packet->sender.term, RegionTerm{3});
    EXPECT_EQ(packet->sender.epoch, Epoch{9});
    EXPECT_EQ(packet->message.index(), message.index());
    Buffer again;
    encode(packet->sender, packet->message, again);
    EXPECT_EQ(again, bytes) << "every field is in the encoding, so equal bytes are equal packets";
  }
}

TEST(Packets, AnyChangedByteIsNoticed) {
  Buffer bytes;
  encode(sender(), Ack{{Lsn{4}, 5}, Lsn{3}, 99}, bytes);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    Buffer changed = bytes;
    changed[at] ^= std::byte{0x10};
    EXPECT_FALSE(decode(changed)) << "byte " << at;
  }
}

TEST(Packets, AnyCutIsNoticed) {
  Buffer bytes;
  encode(sender(), Hello{}, bytes);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto packet = decode(BytesView(bytes).first(size));
    ASSERT_FALSE(packet);
    EXPECT_EQ(packet.error().code, PacketErrorCode::incomplete) << size;
  }
  EXPECT_FALSE(*packet_bytes(BytesView(bytes).first(kPacketPrefixBytes - 1)));
  bytes.push_back({});
  EXPECT_FALSE(decode(bytes)) << "nor may anything follow";
}

TEST(Packets, ForeignStreamAndGiantLengthAreRefusedFromThePrefixAlone) {
  EXPECT_FALSE(packet_bytes(as_bytes("GET / HTTP/1.1")));
  Buffer bytes;
  encode(sender(), Hello{}, bytes);
  store_le(bytes.data() + 4, static_cast<std::uint32_t>(kPacketBytesMax + 1));
  EXPECT_FALSE(packet_bytes(BytesView(bytes).first(kPacketPrefixBytes)));
}

TEST(Packets, AnotherVersionIsNamed) {
  Buffer bytes;
  encode(sender(), Hello{}, bytes);
  store_le(bytes.data() + 16, std::uint16_t{kPacketVersion + 1});
  const auto packet = decode(bytes);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, PacketErrorCode::version);
  EXPECT_NE(packet.error().what.find("version 2"), std::string::npos) << packet.error().what;
}

// Keeps the fuzz target's starting points in step with the format.
TEST(Packets, FuzzCorpusHoldsOneOfEachKind) {
  const Buffer raw(100, std::byte{42});
  for (const Message& message : one_of_each(raw)) {
    Buffer bytes;
    encode(sender(), message, bytes);
    testing::expect_in_corpus("src/replication/fuzz_corpus/packets_fuzz", message.index(), bytes);
  }
}

}  // namespace
}  // namespace mainstay::replication
