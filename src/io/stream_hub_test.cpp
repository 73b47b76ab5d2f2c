#include "io/stream_hub.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <map>
#include <set>
#include <thread>

#include "io/loop.h"

namespace mainstay::io {
namespace {

// Echoes what it gets; a peer that sends "bye" is closed after the echo.
class Echo : public StreamEvents {
 public:
  StreamId on_open(const std::string&, bool outgoing) override {
    if (refuse) return 0;
    const StreamId id = next_++;
    out_[id];
    if (outgoing) {
      connected = id;
      out_[id] = to_buffer(as_bytes("hello"));
    }
    return id;
  }
  void on_bytes(StreamId id, BytesView bytes) override {
    EXPECT_TRUE(out_.count(id) == 1) << "bytes of a stream that ended";
    ++pieces[id];
    largest_piece = std::max(largest_piece, bytes.size());
    if (on_any) on_any(id, bytes);
    if (id == connected) {
      received += as_text(bytes);
      if (received == "hello") out_[id] = to_buffer(as_bytes("bye"));
      return;
    }
    if (out_.count(id) == 0) return;
    auto& out = out_[id];
    out.insert(out.end(), bytes.begin(), bytes.end());
    if (as_text(bytes) == "bye") closing_ = id;
  }
  BytesView pending(StreamId id) override { return BytesView(out_.at(id)).subspan(done_[id]); }
  void on_written(StreamId id, std::size_t bytes) override {
    written[id] += bytes;
    done_[id] += bytes;
    if (done_[id] < out_.at(id).size()) return;
    out_.at(id).clear();
    done_[id] = 0;
  }
  bool wants_close(StreamId id) override { return id == closing_; }
  void on_end(StreamId id) override {
    EXPECT_EQ(out_.erase(id), 1U) << "a stream ended twice";
    done_.erase(id);
    ended.insert(id);
    if (id == connected && when_done) when_done();
    if (on_ended) on_ended(id);
  }

  void say(StreamId id, std::string_view text) {
    auto& out = out_.at(id);
    out.insert(out.end(), as_bytes(text).begin(), as_bytes(text).end());
  }
  void close_after_output(StreamId id) { closing_ = id; }
  [[nodiscard]] std::size_t open() const { return out_.size(); }

  std::function<void()> when_done;
  std::function<void(StreamId, BytesView)> on_any;
  std::function<void(StreamId)> on_ended;
  StreamId connected = 0;
  std::string received;
  std::set<StreamId> ended;
  std::map<StreamId, std::size_t> pieces, written;
  std::size_t largest_piece = 0;
  bool refuse = false;

 private:
  StreamId next_ = 1;
  StreamId closing_ = 0;
  std::map<StreamId, Buffer> out_;
  std::map<StreamId, std::size_t> done_;
};

/// A blocking socket of a client that nobody here wrote.
class Client {
 public:
  explicit Client(std::uint16_t port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void reset() {
    const linger now{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  void send(std::string_view text) {
    while (!text.empty()) {
      const auto sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  /// As many bytes as asked for, fewer when the stream ended.
  std::string receive(std::size_t bytes) {
    std::string out(bytes, '\0');
    std::size_t got = 0;
    while (got < bytes) {
      const auto more = ::recv(fd_, out.data() + got, bytes - got, 0);
      if (more <= 0) break;
      got += static_cast<std::size_t>(more);
    }
    out.resize(got);
    return out;
  }
  bool ended() { return receive(1).empty(); }

 private:
  int fd_;
};

std::string pattern(std::size_t bytes, unsigned from) {
  std::string out(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>('!' + (i * 7 + i / 251 + from) % 90);
  return out;
}

/// Threads that own sockets; 0: the loop does.
class StreamHubModes : public testing::TestWithParam<unsigned> {
 protected:
  static std::unique_ptr<StreamHub> make(Loop& loop, StreamEvents& events) {
    return GetParam() == 0 ? make_stream_hub(loop, events)
                           : make_threaded_stream_hub(loop, events, GetParam(), microseconds(20));
  }
  /// Runs the loop here and `client` beside it; ends when the client has.
  static void run(Loop& loop, const std::function<void()>& client) {
    std::thread beside([&] {
      client();
      loop.post([&loop] { loop.stop(); });
    });
    loop.run();
    beside.join();
  }
};

TEST_P(StreamHubModes, BytesGoBothWaysAndTheProtocolsCloseEndsBothSides) {
  Loop loop;
  Echo echo;
  const auto hub = make(loop, echo);
  const auto port = hub->listen("127.0.0.1", 0);
  ASSERT_TRUE(port.has_value()) << port.error().what;
  echo.when_done = [&] { loop.stop(); };
  hub->connect("127.0.0.1", *port, [&](const std::string& why) {
    ADD_FAILURE() << why;
    loop.stop();
  });
  loop.run();
  EXPECT_EQ(echo.received, "hellobye");
}

TEST_P(StreamHubModes, PortInUseSaysWhatToDo) {
  Loop loop;
  Echo echo;
  const auto first = make(loop, echo);
  const auto second = make(loop, echo);
  const auto port = first->listen("127.0.0.1", 0);
  ASSERT_TRUE(port.has_value());
  const auto again = second->listen("127.0.0.1", *port);
  ASSERT_FALSE(again.has_value());
  EXPECT_NE(again.error().what.find("another process has the port"), std::string::npos) << again.error().what;
}

TEST_P(StreamHubModes, FailedConnectTellsWhy) {
  Loop loop;
  Echo echo;
  const auto hub = make(loop, echo);
  std::string told;
  std::uint16_t closed_port = 0;
  {
    const auto brief = make(loop, echo);
    closed_port = *brief->listen("127.0.0.1", 0);
  }
  hub->connect("127.0.0.1", closed_port, [&](const std::string& why) {
    told = why;
    loop.stop();
  });
  loop.run();
  EXPECT_NE(told.find("Connection refused"), std::string::npos) << told;
}

TEST_P(StreamHubModes, ManyStreamsEachGetTheirOwnBytesInOrder) {
  Loop loop;
  Echo echo;
  const auto hub = make(loop, echo);
  const auto port = *hub->listen("127.0.0.1", 0);
  constexpr std::size_t kBytes = 3U << 20;  // more than a ring, a window and a socket's buffer hold
  run(loop, [&] {
    std::vector<std::thread> clients;
    for (unsigned i = 0; i < 6; ++i) {
      clients.emplace_back([&, i] {
        Client client(port);
        const std::string sent = pattern(kBytes, i);
        std::thread sender([&] { client.send(sent); });
        EXPECT_TRUE(client.receive(kBytes) == sent) << "stream " << i;
        sender.join();
      });
    }
    for (auto& client : clients) client.join();
  });
}

TEST_P(StreamHubModes, WhoReadsNothingKeepsNobodyWaitingAndLittleMemory) {
  Loop loop;
  Echo echo;
  const auto hub = make(loop, echo);
  const auto port = *hub->listen("127.0.0.1", 0);
  const std::string much = pattern(12U << 20, 0);
  StreamId stalled = 0;
  echo.on_any = [&](StreamId id, BytesView bytes) {
    if (as_text(bytes) != "feed me") return;
    stalled = id;
    echo.say(id, much);
  };
  run(loop, [&] {
    Client deaf(port, 4096);
    deaf.send("feed me");
    EXPECT_EQ(deaf.receive(4), much.substr(0, 4));
    Client other(port);
    for (unsigned i = 0; i < 200; ++i) {
      const std::string text = pattern(1000, i);
      other.send(text);
      ASSERT_EQ(other.receive(text.size()), text);
    }
    // What the kernel's buffers take is not the hub's; the rest must still be with the protocol.
    std::size_t gone = 0;
    std::promise<void> asked;
    loop.post([&] {
      gone = echo.written[stalled];
      asked.set_value();
    });
    asked.get_future().wait();
    EXPECT_LT(gone, 8U << 20) << "of " << much.size();
    // It is not lost either: after the echo of its request all of it comes.
    EXPECT_TRUE(deaf.receive(much.size() - 4) == much.substr(4));
  });
}

TEST_P(StreamHubModes, AFloodFromOneStreamDoesNotStarveAnother) {
  Loop loop;
  Echo echo;
  const auto hub = make(loop, echo);
  const auto port = *hub->listen("127.0.0.1", 0);
  std::atomic<bool> stop{false};
  // Each chunk of the flood takes long, as a broker would: whoever waits behind all of it waits for seconds.
  StreamId flooding = 0;
  std::size_t flooded = 0;
  std::promise<void> under_way;
  echo.on_any = [&](StreamId id, BytesView bytes) {
    if (as_text(bytes.first(std::min<std::size_t>(bytes.size(), 5))) == "flood") flooding = id;
    if (id != flooding) return;
    std::this_thread::sleep_for(std::chrono::microseconds(bytes.size() / 64));
    const bool early = flooded < (2U << 20);
    flooded += bytes.size();
    if (early && flooded >= (2U << 20)) under_way.set_value();
  };
  run(loop, [&] {
    Client loud(port);
    std::thread flood([&] {
      const std::string text = "flood" + pattern(1U << 20, 0);
      while (!stop) loud.send(text);
    });
    std::thread drain([&] {
      while (!loud.receive(1U << 20).empty()) {
      }
    });
    under_way.get_future().wait();
    Client quiet(port);
    for (unsigned i = 0; i < 20; ++i) {
      const std::string text = pattern(100, i);
      const auto begun = std::chrono::steady_clock::now();
      quiet.send(text);
      ASSERT_EQ(quiet.receive(text.size()), text);
      EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
    }
    stop = true;
    flood.join();
    std::promise<void> closed;
    loop.post([&] {
      hub->close(flooding);
      closed.set_value();
    });
    closed.get_future().wait();
    drain.join();
  });
}

TEST_P(StreamHubModes, EveryStreamEndsOnceHoweverItEnds) {
  Loop loop;
  Echo echo;
  const auto hub = make(loop, echo);
  const auto port = *hub->listen("127.0.0.1", 0);
  // Streams whose first byte says how they end, with bytes on their way in and out.
  echo.on_any = [&](StreamId id, BytesView bytes) {
    switch (as_text(bytes).front()) {
      case 'c':
        hub->close(id);
        break;
      case 'o':
        echo.say(id, "o");
        echo.close_after_output(id);
        break;
      case 'b':
        echo.say(id, pattern(1U << 20, 0));
        hub->flush(id);
        hub->close(id);
        break;
      default:
        break;
    }
  };
  constexpr unsigned kEach = 60;
  std::promise<void> all;
  echo.on_ended = [&](StreamId) {
    if (echo.ended.size() == 5 * kEach) all.set_value();
  };
  run(loop, [&] {
    for (unsigned i = 0; i < kEach; ++i) {
      Client closed(port), after_output(port), busy(port), left(port), reset(port);
      closed.send("c" + pattern(100'000, i));
      busy.send("b" + pattern(100'000, i));
      after_output.send("o");
      left.send("l" + pattern(70'000, i));
      reset.send("r" + pattern(1000, i));
      left.close();
      reset.reset();
      EXPECT_EQ(after_output.receive(3), "oo");
      EXPECT_TRUE(after_output.ended());
    }
    all.get_future().wait();
  });
  EXPECT_EQ(echo.ended.size(), 5 * kEach);
  EXPECT_EQ(echo.open(), 0U);
}

// While the loop is busy, floods fill what is between it and the threads; others become readable meanwhile.
TEST_P(StreamHubModes, ManyThatBecameReadableMeanwhileAreAllRead) {
  Loop loop;
  Echo echo;
  const auto hub = make(loop, echo);
  const auto port = *hub->listen("127.0.0.1", 0);
  std::promise<void> blocked, go_on;
  echo.on_any = [&](StreamId, BytesView bytes) {
    if (as_text(bytes) != "block") return;
    blocked.set_value();
    go_on.get_future().wait();
  };
  run(loop, [&] {
    const std::string much = pattern(1U << 20, 0);
    std::vector<std::unique_ptr<Client>> floods, others;
    for (int i = 0; i < 20; ++i) floods.push_back(std::make_unique<Client>(port));
    for (int i = 0; i < 150; ++i) others.push_back(std::make_unique<Client>(port));
    for (const auto& other : others) {
      other->send("x");
      EXPECT_EQ(other->receive(1), "x");
    }
    Client first(port);
    first.send("block");
    blocked.get_future().wait();
    std::vector<std::thread> flooding;
    for (const auto& flood : floods) {
      flooding.emplace_back([&] {
        std::thread sender([&] { flood->send(much); });
        EXPECT_TRUE(flood->receive(much.size()) == much);
        sender.join();
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // floods come first; not needed to pass
    for (const auto& other : others) other->send("y");
    go_on.set_value();
    for (const auto& other : others) EXPECT_EQ(other->receive(1), "y");
    for (auto& thread : flooding) thread.join();
  });
}

TEST_P(StreamHubModes, WhatHasArrivedIsReadWithinATurnWhenAskedFor) {
  Loop loop;
  Echo echo;
  std::string heard;
  echo.on_any = [&](StreamId, BytesView bytes) { heard += as_text(bytes); };
  const auto hub = make(loop, echo);
  const auto port = hub->listen("127.0.0.1", 0);
  ASSERT_TRUE(port.has_value()) << port.error().what;
  run(loop, [&] {
    Client client(*port), other(*port);
    client.send("a");
    EXPECT_EQ(client.receive(1), "a");
    other.send("x");
    EXPECT_EQ(other.receive(1), "x");
    std::promise<void> turn;
    loop.post([&] {  // a long turn, in which a peer says something and another goes
      client.send("bc");
      other.close();
      hub->read_arrived();
      if (GetParam() == 0) {
        EXPECT_EQ(heard.size(), 4U);
        EXPECT_EQ(heard.substr(2), "bc");
        EXPECT_EQ(echo.ended.size(), 1U);
      }
      turn.set_value();
    });
    turn.get_future().wait();
    EXPECT_EQ(client.receive(2), "bc") << "it is answered as ever";
    client.send("d");
    EXPECT_EQ(client.receive(1), "d") << "and what comes later is noticed";
  });
}

TEST_P(StreamHubModes, ARefusedStreamIsClosedAtOnce) {
  Loop loop;
  Echo echo;
  echo.refuse = true;
  const auto hub = make(loop, echo);
  const auto port = *hub->listen("127.0.0.1", 0);
  run(loop, [&] { EXPECT_TRUE(Client(port).ended()); });
  EXPECT_TRUE(echo.ended.empty());
}

TEST_P(StreamHubModes, CanGoWhileStreamsAreBusy) {
  for (int round = 0; round < 8; ++round) {
    Loop loop;
    Echo echo;
    auto hub = make(loop, echo);
    const auto port = *hub->listen("127.0.0.1", 0);
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(std::make_unique<Client>(port));
    std::vector<std::thread> busy;
    for (auto& client : clients) {
      busy.emplace_back([&client] {
        const std::string text = pattern(256U << 10, 0);
        client->send(text);
        while (!client->receive(4096).empty()) client->send(text.substr(0, 4096));
      });
    }
    std::size_t seen = 0;
    echo.on_any = [&](StreamId, BytesView bytes) {
      seen += bytes.size();
      if (seen > 600'000) loop.stop();
    };
    loop.run();
    hub.reset();
    for (auto& thread : busy) thread.join();
    EXPECT_TRUE(echo.ended.empty());
  }
}

TEST_P(StreamHubModes, WhatWasFlushedIsWrittenBeforeTheHubGoes) {
  Loop loop;
  Echo echo;
  auto hub = make(loop, echo);
  const auto port = *hub->listen("127.0.0.1", 0);
  Client client(port);
  echo.on_any = [&](StreamId id, BytesView) {
    echo.say(id, "last words");
    hub->flush(id);
    loop.stop();
  };
  client.send("x");
  loop.run();
  hub.reset();
  EXPECT_EQ(client.receive(100).substr(0, 10), "last words");
}

TEST_P(StreamHubModes, IdleStreamsCostNoThreadItsTime) {
  Loop loop;
  Echo echo;
  const auto hub = make(loop, echo);
  const auto port = *hub->listen("127.0.0.1", 0);
  run(loop, [&] {
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 50; ++i) {
      clients.push_back(std::make_unique<Client>(port));
      clients.back()->send("x");
      EXPECT_EQ(clients.back()->receive(1), "x");
    }
    const auto cpu = [] {
      rusage use{};
      getrusage(RUSAGE_SELF, &use);
      return use.ru_utime.tv_sec * 1'000'000L + use.ru_utime.tv_usec + use.ru_stime.tv_sec * 1'000'000L +
             use.ru_stime.tv_usec;
    };
    const long before = cpu();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_LT(cpu() - before, 100'000);
  });
}

INSTANTIATE_TEST_SUITE_P(Threads, StreamHubModes, testing::Values(0U, 1U, 3U),
                         [](const auto& mode) { return "io" + std::to_string(mode.param); });

TEST(HostPort, IsParsedOrRefusedWithAnExample) {
  EXPECT_EQ(parse_host_port("127.0.0.1:5672")->port, 5672);
  EXPECT_EQ(parse_host_port("[::1]:1")->host, "::1");
  for (const char* bad : {"", "5672", "host", "host:", "host:x", "host:99999", ":1"}) {
    EXPECT_FALSE(parse_host_port(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace mainstay::io
