#include "drills/control_client.h"

#include <gmock/gmock.h>

#include <thread>

#include "io/http_server.h"
#include "io/loop.h"
#include "lab/processes.h"

namespace mainstay::drills {
namespace {

using ::testing::HasSubstr;

TEST(ControlClient, SendsMethodTokenAndBodyAndReadsTheReply) {
  io::Loop loop;
  io::HttpServer server(
      loop,
      [](const io::HttpRequest& request, const io::HttpServer::Respond& respond) {
        respond({.status = 202,
                 .content_type = "text/plain",
                 .body = request.method + " " + request.target + " " + request.authorization + " " +
                         request.body});
      },
      1 << 20);
  const auto port = server.listen("127.0.0.1", 0);
  ASSERT_TRUE(port.has_value());
  std::thread serving([&] { loop.run(); });
  const std::string endpoint = "127.0.0.1:" + std::to_string(*port);
  const auto reply = http_request("POST", endpoint, "/region", "secret", "{}", seconds(20));
  loop.stop();
  serving.join();
  ASSERT_TRUE(reply.has_value()) << reply.error().what;
  EXPECT_EQ(reply->status, 202);
  EXPECT_EQ(reply->body, "POST /region Bearer secret {}");
}

TEST(ControlClient, AnUnreachableNodeIsNamed) {
  const auto ports = lab::free_loopback_ports(1);
  const auto reply =
      http_request("GET", "127.0.0.1:" + std::to_string(ports->front()), "/livez", "", "", seconds(5));
  ASSERT_FALSE(reply.has_value());
  EXPECT_THAT(reply.error().what, HasSubstr("/livez"));
  EXPECT_FALSE(http_request("GET", "nonsense", "/", "", "", seconds(5)).has_value());
}

}  // namespace
}  // namespace mainstay::drills
