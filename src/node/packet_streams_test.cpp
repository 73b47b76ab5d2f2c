#include "node/packet_streams.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "base/random.h"

namespace mainstay::node {
namespace {

struct Recorder : PacketEvents {
  void on_peer_open(io::StreamId peer, const std::string& remote, bool outgoing) override {
    opened.push_back(std::to_string(peer) + (outgoing ? " to " : " from ") + remote);
  }
  void on_packet(io::StreamId peer, BytesView packet) override {
    packets.emplace_back(as_text(packet));
    from.push_back(peer);
    if (streams != nullptr) streams->end_after_output(peer);
  }
  void on_peer_end(io::StreamId peer) override { ended.push_back(peer); }

  std::vector<std::string> opened, packets;
  std::vector<io::StreamId> from, ended;
  PacketStreams* streams = nullptr;  ///< set: the peer is ended by its first packet
};

std::uint64_t seed() {
  const char* given = std::getenv("MAINSTAY_SEED");
  const std::uint64_t value =
      given != nullptr ? std::strtoull(given, nullptr, 10) : static_cast<std::uint64_t>(std::time(nullptr));
  std::printf("MAINSTAY_SEED=%llu\n", static_cast<unsigned long long>(value));
  return value;
}

TEST(PacketStreams, AnySplitOfTheBytesGivesTheSamePackets) {
  SeededRandom random(seed());
  for (int round = 0; round < 50; ++round) {
    Recorder here, there;
    PacketStreams sender(here, 1U << 20), receiver(there, 1U << 20);
    const io::StreamId out = sender.on_open("b", true);
    const io::StreamId in = receiver.on_open("a", false);
    std::vector<std::string> sent;
    for (int i = 0; i < 40; ++i) {
      sent.emplace_back(random.chance(1, 10) ? random.below(100'000) : random.below(30),
                        static_cast<char>('a' + i % 26));
      if (random.chance(1, 2)) {
        sender.send(out, as_bytes(sent.back()));
      } else {
        const BytesView bytes = as_bytes(sent.back());
        sender.send(out, Buffer(bytes.begin(), bytes.end()));
      }
      while (random.chance(2, 3)) {
        const BytesView pending = sender.pending(out);
        const auto n = static_cast<std::size_t>(
            std::min<std::uint64_t>(pending.size(), 1 + random.below(random.chance(1, 2) ? 5 : 60'000)));
        receiver.on_bytes(in, pending.first(n));
        sender.on_written(out, n);
      }
    }
    while (!sender.pending(out).empty()) {
      const BytesView rest = sender.pending(out);
      receiver.on_bytes(in, rest);
      sender.on_written(out, rest.size());
    }
    EXPECT_EQ(there.packets, sent);
    EXPECT_FALSE(receiver.wants_close(in));
  }
}

TEST(PacketStreams, ALargePacketThatIsGivenAwayIsWrittenFromItsOwnMemory) {
  Recorder events;
  PacketStreams streams(events, 1U << 20);
  const io::StreamId peer = streams.on_open("b", true);
  Buffer large(100'000, std::byte{'x'});
  const std::byte* const memory = large.data();
  streams.send(peer, as_bytes("small"));
  streams.send(peer, std::move(large));
  const BytesView first = streams.pending(peer);
  EXPECT_EQ(first.size(), 4 + 5 + 4U) << "the small one, and how long the large one is";
  streams.on_written(peer, first.size());
  EXPECT_EQ(streams.pending(peer).data(), memory);
  EXPECT_EQ(streams.pending(peer).size(), 100'000U);
}

TEST(PacketStreams, ALongBacklogIsWrittenFrontToBackInPieces) {
  Recorder events;
  PacketStreams streams(events, 1U << 20);
  const io::StreamId peer = streams.on_open("b", true);
  std::string expected, written;
  for (int i = 0; i < 40; ++i) {
    const std::string packet(100'000, static_cast<char>('a' + i % 26));
    streams.send(peer, as_bytes(packet));
    expected += std::string("\xa0\x86\x01\x00", 4) + packet;
  }
  while (!streams.pending(peer).empty()) {
    const BytesView piece =
        streams.pending(peer).first(std::min<std::size_t>(streams.pending(peer).size(), 70'001));
    written += as_text(piece);
    streams.on_written(peer, piece.size());
  }
  EXPECT_TRUE(written == expected);
}

TEST(PacketStreams, AnOversizedLengthClosesTheStreamAndNothingAfterItIsRead) {
  Recorder events;
  PacketStreams streams(events, 1000);
  const io::StreamId peer = streams.on_open("b", false);
  Buffer bytes;
  ByteWriter writer(bytes);
  writer.sized_bytes(as_bytes(std::string(1000, 'x')));  // the largest allowed
  writer.u32_le(1001);
  writer.bytes(as_bytes(std::string(1001, 'y')));
  writer.sized_bytes(as_bytes("behind"));
  streams.on_bytes(peer, bytes);
  EXPECT_EQ(events.packets, std::vector<std::string>{std::string(1000, 'x')});
  EXPECT_TRUE(streams.wants_close(peer));
  streams.on_bytes(peer, as_bytes("more"));
  EXPECT_EQ(events.packets.size(), 1U);
}

TEST(PacketStreams, APeerThatIsEndedGetsItsOutputButIsNotHeardAnyMore) {
  Recorder events;
  PacketStreams streams(events, 1000);
  events.streams = &streams;
  const io::StreamId peer = streams.on_open("b", false);
  streams.send(peer, as_bytes("last words"));
  Buffer bytes;
  ByteWriter writer(bytes);
  writer.sized_bytes(as_bytes("first"));
  writer.sized_bytes(as_bytes("second"));
  streams.on_bytes(peer, bytes);
  EXPECT_EQ(events.packets, std::vector<std::string>{"first"});
  EXPECT_TRUE(streams.wants_close(peer));
  EXPECT_EQ(streams.pending(peer).size(), 4 + std::string("last words").size());
}

TEST(PacketStreams, PeersAreKeptApartAndAnEndIsTold) {
  Recorder events;
  PacketStreams streams(events, 1000);
  const io::StreamId one = streams.on_open("x", true);
  const io::StreamId two = streams.on_open("y", false);
  EXPECT_EQ(events.opened, (std::vector<std::string>{"1 to x", "2 from y"}));
  Buffer bytes;
  ByteWriter(bytes).sized_bytes(as_bytes("packet"));
  streams.on_bytes(one, BytesView(bytes).first(6));
  streams.on_bytes(two, bytes);
  EXPECT_EQ(events.from, std::vector<io::StreamId>{two});
  streams.on_bytes(one, BytesView(bytes).subspan(6));
  EXPECT_EQ(events.from, (std::vector<io::StreamId>{two, one}));
  streams.on_end(one);
  EXPECT_EQ(events.ended, std::vector<io::StreamId>{one});
  streams.send(one, as_bytes("to nobody"));
  streams.end_after_output(one);
  EXPECT_FALSE(streams.wants_close(two));
  EXPECT_TRUE(streams.pending(two).empty());
}

}  // namespace
}  // namespace mainstay::node
