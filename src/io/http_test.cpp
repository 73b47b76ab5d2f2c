#include <gtest/gtest.h>

#include <thread>

#include "io/http_client.h"
#include "io/http_server.h"

namespace mainstay::io {
namespace {

TEST(Http, RequestReachesTheHandlerAndTheAnswerComesBack) {
  Loop loop;
  HttpServer server(
      loop,
      [](const HttpRequest& request, const HttpServer::Respond& respond) {
        respond({request.authorization == "Bearer t" ? 200 : 401, "text/plain",
                 request.method + " " + request.target + " " + request.body});
      },
      100);
  const auto port = server.listen("127.0.0.1", 0);
  ASSERT_TRUE(port.has_value());
  std::thread thread([&] { loop.run(); });
  const HostPort to{"127.0.0.1", *port};
  const auto answer = http_request(to, "POST", "/x?y", "body", "t", seconds(5));
  const auto refused = http_request(to, "GET", "/", "", "", seconds(5));
  const auto too_long = http_request(to, "POST", "/", std::string(101, 'x'), "t", seconds(5));
  loop.stop();
  thread.join();
  ASSERT_TRUE(answer.has_value()) << answer.error().what;
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "POST /x?y body");
  EXPECT_EQ(refused->status, 401);
  EXPECT_EQ(too_long->status, 413);
}

TEST(Http, NobodyThereAndNobodyAnsweringAreToldApart) {
  Loop loop;
  std::uint16_t port = 0;
  {
    HttpServer brief(
        loop, [](const HttpRequest&, const HttpServer::Respond&) {}, 100);
    port = *brief.listen("127.0.0.1", 0);
  }
  const auto nobody = http_request({"127.0.0.1", port}, "GET", "/", "", "", seconds(5));
  ASSERT_FALSE(nobody.has_value());
  EXPECT_NE(nobody.error().what.find("cannot connect"), std::string::npos) << nobody.error().what;
  HttpServer silent(
      loop, [](const HttpRequest&, const HttpServer::Respond&) {}, 100);
  port = *silent.listen("127.0.0.1", 0);  // the loop does not run: accepted by the system, never answered
  const auto silence = http_request({"127.0.0.1", port}, "GET", "/", "", "", milliseconds(100));
  ASSERT_FALSE(silence.has_value());
  EXPECT_NE(silence.error().what.find("timed out"), std::string::npos) << silence.error().what;
}

}  // namespace
}  // namespace mainstay::io
