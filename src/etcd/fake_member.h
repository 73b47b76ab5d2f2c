// For tests: a member of voters that answers what the test says.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "etcd/etcd_store.h"

namespace mainstay::etcd {

/// Answers each HTTP request with what the test says, one connection each; an empty answer closes without
/// one.
class FakeMember {
 public:
  explicit FakeMember(std::function<std::string(const std::string& request)> answer)
      : answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    auto* address = reinterpret_cast<sockaddr*>(&at);
    EXPECT_EQ(::bind(listener_, address, size), 0);
    EXPECT_EQ(::listen(listener_, 16), 0);
    EXPECT_EQ(::getsockname(listener_, address, &size), 0);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeMember() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int asked(const std::string& path) {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(std::count(paths_.begin(), paths_.end(), path));
  }
  static std::string ok(const std::string& body, int status = 200) {
    return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\nConnection: close\r\n\r\n" + body;
  }
  [[nodiscard]] EtcdOptions options() const {
    EtcdOptions options;
    options.endpoints = {{"127.0.0.1", port_}};
    options.key = "/k";
    options.most = milliseconds(500);
    return options;
  }

 private:
  void serve() {
    for (;;) {
      const int peer = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (peer < 0) return;
      std::string request;
      char some[4096];
      std::size_t length = 0, head = std::string::npos;
      while (head == std::string::npos || request.size() < head + 4 + length) {
        const ssize_t got = ::recv(peer, some, sizeof some, 0);
        if (got <= 0) break;
        request.append(some, static_cast<std::size_t>(got));
        head = request.find("\r\n\r\n");
        if (const auto at = request.find("Content-Length: "); at != std::string::npos)
          length = std::stoul(request.substr(at + 16));
      }
      {
        const std::lock_guard lock(mutex_);
        paths_.push_back(request.substr(5, request.find(' ', 5) - 5));
      }
      const std::string answer = answer_(request);
      if (!answer.empty()) ::send(peer, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::close(peer);
    }
  }
  std::function<std::string(const std::string&)> answer_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::thread thread_;
  std::mutex mutex_;
  std::vector<std::string> paths_;
};

}  // namespace mainstay::etcd
