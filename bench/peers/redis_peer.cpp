// Redis: a stream with one consumer group, every write appended to a file and synced (appendonly yes,
// appendfsync always). hiredis, commands pipelined.
#include <hiredis/hiredis.h>

#include "peers/server.h"

namespace mainstay::bench {
namespace {

/// One connection with commands in flight.
class Link {
 public:
  explicit Link(std::uint16_t port) : context_(redisConnect("127.0.0.1", port)) {
    if (context_ == nullptr || context_->err != 0)
      throw Trouble{std::string("no connection to Redis: ") +
                    (context_ == nullptr ? "no memory" : context_->errstr)};
    redisEnableKeepAlive(context_);
  }
  ~Link() { redisFree(context_); }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  /// Appends an encoded command to what is sent next.
  void append(const std::string& command) {
    if (redisAppendFormattedCommand(context_, command.data(), command.size()) != REDIS_OK) fail();
  }
  void flush() {
    for (int done = 0; done == 0;) {
      if (redisBufferWrite(context_, &done) != REDIS_OK) fail();
    }
  }
  /// Waits up to `most` when no reply is there yet, then gives each complete reply to `take`.
  template <class Take>
  void read(Duration most, Take take) {
    if (!wait_readable(context_->fd, most)) return;
    if (redisBufferRead(context_) != REDIS_OK) fail();
    for (;;) {
      void* raw = nullptr;
      if (redisReaderGetReply(context_->reader, &raw) != REDIS_OK)
        throw Trouble{"Redis sent what is no reply"};
      if (raw == nullptr) return;
      const std::unique_ptr<redisReply, decltype(&freeReplyObject)> reply(static_cast<redisReply*>(raw),
                                                                          &freeReplyObject);
      if (reply->type == REDIS_REPLY_ERROR) throw Trouble{std::string("Redis refuses: ") + reply->str};
      take(*reply);
    }
  }
  /// One command, one reply.
  void ask(const char* command) {
    void* raw = redisCommand(context_, command);
    if (raw == nullptr) fail();
    auto* reply = static_cast<redisReply*>(raw);
    const std::string refused = reply->type == REDIS_REPLY_ERROR ? reply->str : "";
    freeReplyObject(reply);
    if (!refused.empty()) throw Trouble{"Redis refuses: " + refused};
  }

 private:
  [[noreturn]] void fail() {
    throw Trouble{std::string("the connection to Redis ended: ") + context_->errstr};
  }
  redisContext* context_;
};

class RedisPublisher final : public Publisher {
 public:
  explicit RedisPublisher(std::uint16_t port) : link_(port) {}
  bool send(BytesView body) override {
    if (body.size() != body_bytes_) {
      command_ =
          "*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nb\r\n$" + std::to_string(body.size()) + "\r\n";
      body_at_ = command_.size();
      body_bytes_ = body.size();
      command_.append(body_bytes_, ' ');
      command_ += "\r\n";
    }
    command_.replace(body_at_, body.size(), reinterpret_cast<const char*>(body.data()), body.size());
    link_.append(command_);
    waiting_ = true;
    return true;
  }
  std::uint64_t poll(Duration most) override {
    if (waiting_) link_.flush();
    waiting_ = false;
    std::uint64_t confirmed = 0;
    link_.read(most, [&](const redisReply&) { ++confirmed; });
    return confirmed;
  }

 private:
  Link link_;
  std::string command_;
  std::size_t body_at_ = 0, body_bytes_ = 0;
  bool waiting_ = false;
};

class RedisConsumer final : public Consumer {
 public:
  explicit RedisConsumer(std::uint16_t port) : link_(port) { ask_for_more(); }

  void poll(Duration most, std::vector<std::uint64_t>& stamps) override {
    if (waiting_) link_.flush();
    waiting_ = false;
    link_.read(most, [&](const redisReply& reply) {
      if (reply.type == REDIS_REPLY_INTEGER) {
        done_ += static_cast<std::uint64_t>(reply.integer);  // XACK
        return;
      }
      if (reply.type != REDIS_REPLY_ARRAY || reply.elements != 1)
        throw Trouble{"Redis answers XREADGROUP with something else"};
      const redisReply& entries = *reply.element[0]->element[1];  // [[key, [[id, [field, value]], …]]]
      for (std::size_t i = 0; i < entries.elements; ++i) {
        const redisReply& entry = *entries.element[i];
        ids_.emplace_back(entry.element[0]->str, entry.element[0]->len);
        const redisReply& value = *entry.element[1]->element[1];
        if (value.len < kStampBytes) throw Trouble{"a message arrived that nobody sent"};
        stamps.push_back(from_stamp(value.str));
      }
    });
  }

  void acknowledge() override {
    if (ids_.empty()) return;
    command_ = "*" + std::to_string(ids_.size() + 3) + "\r\n$4\r\nXACK\r\n$5\r\nbench\r\n$1\r\ng\r\n";
    for (const std::string& id : ids_) command_ += "$" + std::to_string(id.size()) + "\r\n" + id + "\r\n";
    ids_.clear();
    link_.append(command_);
    ask_for_more();
  }

  [[nodiscard]] std::uint64_t acknowledged() const override { return done_; }

 private:
  void ask_for_more() {
    static const std::string kRead =
        "*11\r\n$10\r\nXREADGROUP\r\n$5\r\nGROUP\r\n$1\r\ng\r\n$1\r\nc\r\n$5\r\nCOUNT\r\n$4\r\n1000\r\n"
        "$5\r\nBLOCK\r\n$1\r\n0\r\n$7\r\nSTREAMS\r\n$5\r\nbench\r\n$1\r\n>\r\n";
    link_.append(kRead);
    waiting_ = true;
  }
  Link link_;
  std::vector<std::string> ids_;
  std::string command_;
  std::uint64_t done_ = 0;
  bool waiting_ = false;
};

class Redis final : public Peer {
 public:
  [[nodiscard]] std::string name() const override { return "redis"; }
  [[nodiscard]] std::string title() const override { return "Redis stream"; }
  [[nodiscard]] std::string version() const override { return package_version("redis-server"); }
  [[nodiscard]] std::string note() const override {
    return "appendonly yes, appendfsync always, no snapshots; hiredis, pipelined XADD, XREADGROUP, XACK; "
           "acknowledged messages stay in the stream (no XDEL), which spares it work";
  }
  [[nodiscard]] std::vector<std::size_t> connection_counts() const override { return {1, 4, 16}; }

  void start(const Place& place) override {
    port_ = own_ports(1).front();
    server_ = std::make_unique<Server>(
        "redis-server", place.environment,
        std::vector<std::string>{"/usr/bin/redis-server", "--port", std::to_string(port_), "--bind",
                                 "127.0.0.1", "--dir", place.directory, "--appendonly", "yes",
                                 "--appendfsync", "always", "--save", "", "--daemonize", "no",
                                 // Rewriting the file in the background would only cost it throughput here.
                                 "--auto-aof-rewrite-percentage", "0"},
        place.directory + "/log");
    server_->wait_for_port(port_, seconds(20));
    empty_queue();
  }
  void stop() override { server_.reset(); }
  void empty_queue() override {
    Link link(port_);
    link.ask("DEL bench");
    link.ask("XGROUP CREATE bench g 0 MKSTREAM");
  }
  [[nodiscard]] std::unique_ptr<Publisher> publisher(Eagerness) override {
    return std::make_unique<RedisPublisher>(port_);
  }
  [[nodiscard]] std::unique_ptr<Consumer> consumer() override {
    return std::make_unique<RedisConsumer>(port_);
  }
  [[nodiscard]] std::uint16_t port() const override { return port_; }
  [[nodiscard]] std::vector<int> processes() const override { return server_->processes(); }

 private:
  std::uint16_t port_ = 0;
  std::unique_ptr<Server> server_;
};

}  // namespace

std::unique_ptr<Peer> make_redis() {
  return std::make_unique<Redis>();
}

}  // namespace mainstay::bench
