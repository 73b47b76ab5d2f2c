#include "io/stream_hub.h"

#include <gtest/gtest.h>

#include <map>

#include "io/http_server.h"
#include "io/loop.h"

namespace mainstay::io {
namespace {

// Echoes what it gets; a peer that sends "bye" is closed after the echo.
class Echo : public StreamEvents {
 public:
  StreamId on_open(const std::string&, bool outgoing) override {
    const StreamId id = next_++;
    out_[id];
    if (outgoing) {
      connected = id;
      out_[id] = to_buffer(as_bytes("hello"));
    }
    return id;
  }
  void on_bytes(StreamId id, BytesView bytes) override {
    if (id == connected) {
      received += as_text(bytes);
      if (received == "hello") out_[id] = to_buffer(as_bytes("bye"));
      return;
    }
    auto& out = out_[id];
    out.insert(out.end(), bytes.begin(), bytes.end());
    if (as_text(bytes) == "bye") closing_ = id;
  }
  BytesView pending(StreamId id) override { return out_[id]; }
  void on_written(StreamId id, std::size_t bytes) override {
    out_[id].erase(out_[id].begin(), out_[id].begin() + static_cast<std::ptrdiff_t>(bytes));
  }
  bool wants_close(StreamId id) override { return id == closing_; }
  void on_end(StreamId id) override {
    ++ended;
    if (id == connected && when_done) when_done();
  }

  std::function<void()> when_done;
  StreamId connected = 0;
  std::string received;
  int ended = 0;

 private:
  StreamId next_ = 1;
  StreamId closing_ = 0;
  std::map<StreamId, Buffer> out_;
};

TEST(StreamHub, BytesGoBothWaysAndTheProtocolsCloseEndsBothSides) {
  Loop loop;
  Echo echo;
  StreamHub hub(loop, echo);
  const auto port = hub.listen("127.0.0.1", 0);
  ASSERT_TRUE(port.has_value()) << port.error().what;
  echo.when_done = [&] { loop.stop(); };
  hub.connect("127.0.0.1", *port, [&](const std::string& why) {
    ADD_FAILURE() << why;
    loop.stop();
  });
  loop.run();
  EXPECT_EQ(echo.received, "hellobye");
}

TEST(StreamHub, PortInUseSaysWhatToDo) {
  Loop loop;
  Echo echo;
  StreamHub first(loop, echo);
  StreamHub second(loop, echo);
  const auto port = first.listen("127.0.0.1", 0);
  ASSERT_TRUE(port.has_value());
  const auto again = second.listen("127.0.0.1", *port);
  ASSERT_FALSE(again.has_value());
  EXPECT_NE(again.error().what.find("another process has the port"), std::string::npos) << again.error().what;
}

TEST(StreamHub, FailedConnectTellsWhy) {
  Loop loop;
  Echo echo;
  StreamHub hub(loop, echo);
  std::string told;
  std::uint16_t closed_port = 0;
  {
    StreamHub brief(loop, echo);
    closed_port = *brief.listen("127.0.0.1", 0);
  }
  hub.connect("127.0.0.1", closed_port, [&](const std::string& why) {
    told = why;
    loop.stop();
  });
  loop.run();
  EXPECT_NE(told.find("Connection refused"), std::string::npos) << told;
}

TEST(HostPort, IsParsedOrRefusedWithAnExample) {
  EXPECT_EQ(parse_host_port("127.0.0.1:5672")->port, 5672);
  EXPECT_EQ(parse_host_port("[::1]:1")->host, "::1");
  for (const char* bad : {"", "5672", "host", "host:", "host:x", "host:99999", ":1"}) {
    EXPECT_FALSE(parse_host_port(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace mainstay::io
