#include "group/packets.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/checksum.h"
#include "replication/fuzz_corpus_test_support.h"

namespace mainstay::group {
namespace {

using replication::PacketErrorCode;

Sender sender() {
  Sender of;
  of.cluster.bytes[0] = 7;
  of.member.node = "east-1";
  of.member.incarnation.bytes[15] = 8;
  of.epoch = Epoch{9};
  of.leads = true;
  of.sent = Instant{1'000'000'001};
  of.lease = milliseconds(800);
  of.heard = Instant{2'000'000'002};
  of.held = microseconds(3);
  of.granted = milliseconds(4);
  of.life = 6;
  return of;
}

Hello hello(std::size_t entries) {
  std::vector<EpochStart> table;
  for (std::uint64_t n = 1; n <= entries; ++n) table.push_back({Epoch{2 * n}, Lsn{10 * n}});
  return {{Lsn{4}, 5}, Lsn{3}, EpochTable::from(std::move(table)).value()};
}

Uuid cut() {
  Uuid id;
  id.bytes[3] = 5;
  return id;
}

CopyPlan plan() {
  CopyPlan plan;
  plan.cut = cut();
  plan.before = {Lsn{3}, 33};
  plan.end = {Lsn{40}, 44};
  plan.state_hash = 17;
  plan.region_term = RegionTerm{2};
  plan.epochs = EpochTable::from({{Epoch{2}, Lsn{1}}, {Epoch{5}, Lsn{20}}}, Lsn{40}).value();
  plan.items = {{CopyKind::root, 0, 100},
                {CopyKind::pages, 7, 1000},
                {CopyKind::pages, 9, 50},
                {CopyKind::records, 0, 5000}};
  return plan;
}

std::vector<Message> one_of_each(BytesView raw) {
  return {hello(2),
          Follow{{Lsn{4}, 5}},
          Accept{{Lsn{4}, 5}},
          Refuse{RefusalCode::impossible, "out of place"},
          Records{Lsn{8}, raw},
          Ack{{Lsn{4}, 5}},
          Beacon{Lsn{9}},
          TakeOver{},
          CopyAsk{cut(), 2, 77, 4096},
          plan(),
          CopyPart{cut(), 2, 77, raw},
          CopyRefused{CopyRefusal::later, "not now"}};
}

Buffer encoded(const Message& message) {
  Buffer bytes;
  encode(sender(), message, bytes);
  return bytes;
}
/// Makes the checksum right again.
void seal(Buffer& bytes) {
  store_le(bytes.data() + 8, checksum64(BytesView(bytes).subspan(16)));
}

TEST(GroupPackets, EveryKindComesBackAsItWasSent) {
  const Buffer raw(100, std::byte{42});
  for (const Message& message : one_of_each(raw)) {
    const Buffer bytes = encoded(message);
    const auto length = packet_bytes(bytes);
    ASSERT_TRUE(length && *length);
    EXPECT_EQ(**length, bytes.size());
    const auto packet = decode(bytes);
    ASSERT_TRUE(packet) << packet.error().what;
    EXPECT_EQ(packet->sender.cluster, sender().cluster);
    EXPECT_EQ(packet->sender.member, sender().member);
    EXPECT_EQ(packet->sender.epoch, Epoch{9});
    EXPECT_TRUE(packet->sender.leads);
    EXPECT_EQ(packet->sender.sent, sender().sent);
    EXPECT_EQ(packet->sender.lease, sender().lease);
    EXPECT_EQ(packet->sender.heard, sender().heard);
    EXPECT_EQ(packet->sender.held, sender().held);
    EXPECT_EQ(packet->sender.granted, sender().granted);
    EXPECT_EQ(packet->sender.life, sender().life);
    ASSERT_EQ(packet->message.index(), message.index());
    Buffer again;
    encode(packet->sender, packet->message, again);
    EXPECT_EQ(again, bytes) << "every field is in the encoding, so equal bytes are equal packets";
  }
}

TEST(GroupPackets, AHelloCarriesTheEpochTable) {
  for (const std::size_t entries : {std::size_t{0}, std::size_t{1}, EpochTable::kEntriesMax}) {
    const Hello sent = hello(entries);
    const Buffer bytes = encoded(sent);
    const auto packet = decode(bytes);
    ASSERT_TRUE(packet) << packet.error().what;
    const auto& got = std::get<Hello>(packet->message);
    EXPECT_EQ(got.end, sent.end);
    EXPECT_EQ(got.committed, sent.committed);
    EXPECT_EQ(got.epochs, sent.epochs);
  }
}

TEST(GroupPackets, RecordsAreAViewIntoThePacket) {
  const Buffer raw(1000, std::byte{42});
  const Buffer bytes = encoded(Records{Lsn{8}, raw});
  const auto packet = decode(bytes);
  ASSERT_TRUE(packet);
  const BytesView got = std::get<Records>(packet->message).raw;
  EXPECT_EQ(to_buffer(got), raw);
  EXPECT_EQ(got.data() + got.size(), bytes.data() + bytes.size());
}

TEST(GroupPackets, TheLongestNodeNameFits) {
  Sender of = sender();
  of.member.node.assign(255, 'n');
  Buffer bytes;
  encode(of, TakeOver{}, bytes);
  const auto packet = decode(bytes);
  ASSERT_TRUE(packet) << packet.error().what;
  EXPECT_EQ(packet->sender.member.node, of.member.node);
}

TEST(GroupPackets, AnyFlippedBitIsNoticed) {
  const Buffer raw(40, std::byte{42});
  for (const Message& message : one_of_each(raw)) {
    const Buffer bytes = encoded(message);
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      Buffer changed = bytes;
      changed[bit / 8] ^= std::byte{1} << (bit % 8);
      EXPECT_FALSE(decode(changed)) << "bit " << bit << " of kind " << message.index();
    }
  }
}

TEST(GroupPackets, AnyCutIsNoticed) {
  const Buffer raw(40, std::byte{42});
  for (const Message& message : one_of_each(raw)) {
    Buffer bytes = encoded(message);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const auto packet = decode(BytesView(bytes).first(size));
      ASSERT_FALSE(packet);
      EXPECT_EQ(packet.error().code, PacketErrorCode::incomplete) << size;
    }
    EXPECT_FALSE(*packet_bytes(BytesView(bytes).first(kPacketPrefixBytes - 1)));
    bytes.push_back({});
    EXPECT_FALSE(decode(bytes)) << "nor may anything follow";
  }
}

TEST(GroupPackets, ContentCutBehindARightLengthAndChecksumIsMalformed) {
  const Buffer raw(40, std::byte{42});
  for (const Message& message : one_of_each(raw)) {
    const Buffer whole = encoded(message);
    for (std::size_t size = 94; size < whole.size(); ++size) {
      Buffer bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      store_le(bytes.data() + 4, static_cast<std::uint32_t>(size));
      seal(bytes);
      const auto packet = decode(bytes);
      ASSERT_FALSE(packet) << size;
      EXPECT_EQ(packet.error().code, PacketErrorCode::malformed) << size;
    }
  }
}

TEST(GroupPackets, ImpossibleContentIsMalformed) {
  const auto refused = [](Buffer bytes, std::size_t at, std::uint64_t value, std::size_t size) {
    std::memcpy(bytes.data() + at, &value, size);
    seal(bytes);
    const auto packet = decode(bytes);
    return !packet && packet.error().code == PacketErrorCode::malformed;
  };
  const std::size_t content = 102 + sender().member.node.size();
  EXPECT_TRUE(refused(encoded(TakeOver{}), 18, 0, 2)) << "kind";
  EXPECT_TRUE(refused(encoded(TakeOver{}), 18, 13, 2)) << "kind";
  EXPECT_TRUE(refused(encoded(TakeOver{}), 20, 1, 4)) << "reserved";
  EXPECT_TRUE(refused(encoded(TakeOver{}), 100, 2, 1)) << "leads";
  EXPECT_TRUE(refused(encoded(TakeOver{}), 101, 7, 1)) << "length of the node";
  EXPECT_TRUE(refused(encoded(Refuse{RefusalCode::diverged, ""}), content, 0, 1)) << "code";
  EXPECT_TRUE(refused(encoded(Refuse{RefusalCode::diverged, ""}), content, 6, 1)) << "code";
  const std::size_t table = content + 25;
  EXPECT_TRUE(refused(encoded(hello(2)), table, 4, 8)) << "epochs stand still";
  EXPECT_TRUE(refused(encoded(hello(2)), table, 5, 8)) << "epochs fall";
  EXPECT_TRUE(refused(encoded(hello(2)), table + 8, 20, 8)) << "LSNs stand still";
  EXPECT_TRUE(refused(encoded(hello(2)), table, 0, 8)) << "epoch 0";
  EXPECT_TRUE(refused(encoded(hello(2)), table - 1, 1, 1)) << "fewer entries than bytes";
}

TEST(GroupPackets, APlanIsRootPagesAndRecordsAndNothingElse) {
  Buffer bytes;
  encode_plan(plan(), bytes);
  EXPECT_EQ(decode_plan(bytes), plan());
  EXPECT_EQ(plan().bytes(), 6150U);
  const auto refused = [](const std::function<void(CopyPlan&)>& change) {
    CopyPlan other = plan();
    change(other);
    Buffer changed;
    encode_plan(other, changed);
    return !decode_plan(changed);
  };
  EXPECT_TRUE(refused([](CopyPlan& p) { p.cut = {}; }));
  EXPECT_TRUE(refused([](CopyPlan& p) { p.before = p.end; })) << "no record";
  EXPECT_TRUE(refused([](CopyPlan& p) { p.items.pop_back(); })) << "no records";
  EXPECT_TRUE(refused([](CopyPlan& p) { p.items.erase(p.items.begin()); })) << "no root";
  EXPECT_TRUE(refused([](CopyPlan& p) { p.items.resize(1); }));
  EXPECT_TRUE(refused([](CopyPlan& p) { p.items.clear(); }));
  EXPECT_TRUE(refused([](CopyPlan& p) { p.items[2].number = 7; })) << "a file twice";
  EXPECT_TRUE(refused([](CopyPlan& p) { p.items[1].number = 0; })) << "no such file";
  EXPECT_TRUE(refused([](CopyPlan& p) { p.items[1].kind = CopyKind::root; }));
  EXPECT_TRUE(refused([](CopyPlan& p) { p.items[0].number = 1; }));
  EXPECT_TRUE(refused([](CopyPlan& p) { p.items[1].kind = static_cast<CopyKind>(9); }));
  EXPECT_TRUE(refused([](CopyPlan& p) { p.end.lsn = Lsn{10}; })) << "an epoch begins behind the end";
  Buffer longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode_plan(longer));
  // More items than bytes: refused before memory is taken for them.
  const std::size_t count_at = 16 + 16 + 16 + 8 + 8 + 1 + 2 * 16;
  store_le(bytes.data() + count_at, std::uint32_t{1U << 19});
  EXPECT_FALSE(decode_plan(bytes));
}

TEST(GroupPackets, MoreEpochsThanATableHoldsAreMalformed) {
  const std::size_t count_at = 94 + sender().member.node.size() + 24;
  Buffer bytes = encoded(hello(EpochTable::kEntriesMax));
  bytes[count_at] = std::byte{EpochTable::kEntriesMax + 1};
  ByteWriter out(bytes);
  out.u64_le(1000);
  out.u64_le(1000);
  store_le(bytes.data() + 4, static_cast<std::uint32_t>(bytes.size()));
  seal(bytes);
  const auto packet = decode(bytes);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, PacketErrorCode::malformed);
}

TEST(GroupPackets, ForeignStreamAndGiantLengthAreRefusedFromThePrefixAlone) {
  EXPECT_FALSE(packet_bytes(as_bytes("GET / HTTP/1.1")));
  replication::Sender region;
  Buffer other;
  replication::encode(region, replication::Heartbeat{}, other);
  const auto refused = packet_bytes(other);
  ASSERT_FALSE(refused) << "the protocol between regions is another one";
  EXPECT_NE(refused.error().what.find("group protocol"), std::string::npos) << refused.error().what;
  Buffer bytes = encoded(TakeOver{});
  store_le(bytes.data() + 4, static_cast<std::uint32_t>(kPacketBytesMax + 1));
  EXPECT_FALSE(packet_bytes(BytesView(bytes).first(kPacketPrefixBytes)));
  store_le(bytes.data() + 4, std::uint32_t{65});
  EXPECT_FALSE(packet_bytes(BytesView(bytes).first(kPacketPrefixBytes)));
}

TEST(GroupPackets, AnotherVersionIsNamed) {
  Buffer bytes = encoded(TakeOver{});
  store_le(bytes.data() + 16, std::uint16_t{kPacketVersion + 1});
  const auto packet = decode(bytes);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, PacketErrorCode::version);
  EXPECT_NE(packet.error().what.find("version 3 of the group protocol"), std::string::npos)
      << packet.error().what;
}

TEST(GroupPackets, BytesAreThoseOfTheFormatPage) {
  const Buffer bytes = encoded(Ack{{Lsn{4}, 5}});
  EXPECT_EQ(hex(BytesView(bytes)),
            "4d5347527c00000093ef2647fa921b800200060000000000"
            "07000000000000000000000000000000090000000000000000000000000000000000000000000008"
            "01ca9a3b0000000000350c00029435770000000003000000a00f0000"
            "0600000000000000"
            "0106656173742d31"
            "04000000000000000500000000000000");
}

// Keeps the fuzz target's starting points in step with the format.
TEST(GroupPackets, FuzzCorpusHoldsOneOfEachKind) {
  const Buffer raw(100, std::byte{42});
  for (const Message& message : one_of_each(raw)) {
    replication::testing::expect_in_corpus("src/group/fuzz_corpus/group_packets_fuzz", message.index(),
                                           encoded(message));
  }
}

}  // namespace
}  // namespace mainstay::group
