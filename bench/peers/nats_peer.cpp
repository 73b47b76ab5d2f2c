// NATS JetStream: one stream in files, work-queue retention, messages published with an acknowledgement
// expected; a durable push consumer with explicit acknowledgement.
//
// Acknowledgements of publishes come to one inbox that is read here directly: the same exchange as
// js_PublishAsync(), without its callback thread.
#include <nats/nats.h>

#include <string_view>

#include "peers/server.h"

namespace mainstay::bench {
namespace {

void need(natsStatus status, const char* what) {
  if (status != NATS_OK)
    throw Trouble{std::string("NATS cannot ") + what + ": " + natsStatus_GetText(status)};
}

class Link {
 public:
  Link(std::uint16_t port, Eagerness eagerness) {
    natsOptions* options = nullptr;
    need(natsOptions_Create(&options), "make options");
    const std::string url = "nats://127.0.0.1:" + std::to_string(port);
    natsOptions_SetURL(options, url.c_str());
    natsOptions_SetAllowReconnect(options, false);
    natsOptions_SetIOBufSize(options, 256 << 10);
    natsOptions_SetSendAsap(options, eagerness == Eagerness::at_once);
    const natsStatus status = natsConnection_Connect(&connection_, options);
    natsOptions_Destroy(options);
    need(status, "connect");
  }
  ~Link() {
    natsConnection_Close(connection_);
    natsConnection_Destroy(connection_);
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  [[nodiscard]] natsConnection* get() const { return connection_; }

 private:
  natsConnection* connection_ = nullptr;
};

class JetStream {
 public:
  explicit JetStream(natsConnection* connection) {
    jsOptions options;
    jsOptions_Init(&options);
    options.Wait = 10'000;
    need(natsConnection_JetStream(&context_, connection, &options), "use JetStream");
  }
  ~JetStream() { jsCtx_Destroy(context_); }
  JetStream(const JetStream&) = delete;
  JetStream& operator=(const JetStream&) = delete;
  [[nodiscard]] jsCtx* get() const { return context_; }

 private:
  jsCtx* context_ = nullptr;
};

/// Messages of a subscription that this thread reads; `take` gets each.
class Subscription {
 public:
  ~Subscription() { natsSubscription_Destroy(subscription_); }
  Subscription() = default;
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;
  [[nodiscard]] natsSubscription** out() { return &subscription_; }
  void no_limits() { natsSubscription_SetPendingLimits(subscription_, -1, -1); }

  template <class Take>
  void read(Duration most, Take take) {
    std::int64_t wait_ms = (most.ns + 999'999) / 1'000'000;
    for (;;) {
      natsMsg* message = nullptr;
      const natsStatus status = natsSubscription_NextMsg(&message, subscription_, wait_ms);
      if (status == NATS_TIMEOUT) return;
      need(status, "receive");
      wait_ms = 0;
      const std::unique_ptr<natsMsg, decltype(&natsMsg_Destroy)> owner(message, &natsMsg_Destroy);
      take(message);
    }
  }

 private:
  natsSubscription* subscription_ = nullptr;
};

class NatsPublisher final : public Publisher {
 public:
  NatsPublisher(std::uint16_t port, Eagerness eagerness) : link_(port, eagerness) {
    natsInbox* inbox = nullptr;
    need(natsInbox_Create(&inbox), "make an inbox");
    inbox_ = inbox;
    natsInbox_Destroy(inbox);
    need(natsConnection_SubscribeSync(confirms_.out(), link_.get(), (inbox_ + ".*").c_str()), "subscribe");
    confirms_.no_limits();
    need(natsConnection_Flush(link_.get()), "reach the server");
  }
  bool send(BytesView body) override {
    const std::string reply = inbox_ + "." + std::to_string(++sent_);
    need(natsConnection_PublishRequest(link_.get(), "bench", reply.c_str(), body.data(),
                                       static_cast<int>(body.size())),
         "publish");
    return true;
  }
  std::uint64_t poll(Duration most) override {
    std::uint64_t confirmed = 0;
    confirms_.read(most, [&](natsMsg* message) {
      const std::string_view answer(natsMsg_GetData(message),
                                    static_cast<std::size_t>(natsMsg_GetDataLength(message)));
      if (answer.find("\"seq\"") == std::string_view::npos)
        throw Trouble{"NATS did not store a message: " + std::string(answer)};
      ++confirmed;
    });
    return confirmed;
  }

 private:
  Link link_;
  Subscription confirms_;
  std::string inbox_;
  std::uint64_t sent_ = 0;
};

class NatsConsumer final : public Consumer {
 public:
  explicit NatsConsumer(std::uint16_t port) : link_(port, Eagerness::at_once), js_(link_.get()) {
    jsSubOptions options;
    jsSubOptions_Init(&options);
    options.ManualAck = true;
    options.Stream = "BENCH";
    options.Consumer = "C";
    options.Queue = "G";
    need(js_SubscribeSync(messages_.out(), js_.get(), "bench", nullptr, &options, nullptr), "subscribe");
    messages_.no_limits();
  }
  void poll(Duration most, std::vector<std::uint64_t>& stamps) override {
    messages_.read(most, [&](natsMsg* message) {
      if (static_cast<std::size_t>(natsMsg_GetDataLength(message)) < kStampBytes)
        throw Trouble{"a message arrived that nobody sent"};
      stamps.push_back(from_stamp(natsMsg_GetData(message)));
      replies_.emplace_back(natsMsg_GetReply(message));
    });
  }
  void acknowledge() override {
    for (const std::string& reply : replies_)
      need(natsConnection_Publish(link_.get(), reply.c_str(), "+ACK", 4), "acknowledge");
    done_ += replies_.size();
    replies_.clear();
  }
  [[nodiscard]] std::uint64_t acknowledged() const override { return done_; }

 private:
  Link link_;
  JetStream js_;
  Subscription messages_;
  std::vector<std::string> replies_;
  std::uint64_t done_ = 0;
};

class Nats final : public Peer {
 public:
  [[nodiscard]] std::string name() const override { return "nats"; }
  [[nodiscard]] std::string title() const override { return "NATS JetStream"; }
  [[nodiscard]] std::string version() const override { return package_version("nats-server"); }
  [[nodiscard]] std::string note() const override {
    return "file store, work-queue retention, default sync interval of 2 minutes (2.9 has no sync before the "
           "confirm); libnats, push consumer, each message acknowledged, which it does not answer";
  }

  void start(const Place& place) override {
    port_ = own_ports(1).front();
    server_ = std::make_unique<Server>(
        "nats-server", place.environment,
        std::vector<std::string>{"/usr/sbin/nats-server", "-a", "127.0.0.1", "-p", std::to_string(port_),
                                 "-js", "-sd", place.directory + "/data"},
        place.directory + "/log");
    server_->wait_for_port(port_, seconds(20));
    make_stream();
  }
  void stop() override { server_.reset(); }
  void empty_queue() override {
    const Link link(port_, Eagerness::at_once);
    const JetStream js(link.get());
    need(js_DeleteStream(js.get(), "BENCH", nullptr, nullptr), "delete the stream");
    make_stream();
  }
  [[nodiscard]] std::unique_ptr<Publisher> publisher(Eagerness eagerness) override {
    return std::make_unique<NatsPublisher>(port_, eagerness);
  }
  [[nodiscard]] std::unique_ptr<Consumer> consumer() override {
    return std::make_unique<NatsConsumer>(port_);
  }
  [[nodiscard]] std::uint16_t port() const override { return port_; }
  [[nodiscard]] std::vector<int> processes() const override { return server_->processes(); }

 private:
  void make_stream() {
    const Link link(port_, Eagerness::at_once);
    const JetStream js(link.get());
    jsStreamConfig stream;
    jsStreamConfig_Init(&stream);
    const char* subject = "bench";
    stream.Name = "BENCH";
    stream.Subjects = &subject;
    stream.SubjectsLen = 1;
    stream.Storage = js_FileStorage;
    stream.Retention = js_WorkQueuePolicy;
    need(js_AddStream(nullptr, js.get(), &stream, nullptr, nullptr), "make a stream");
    jsConsumerConfig consumer;
    jsConsumerConfig_Init(&consumer);
    consumer.Durable = "C";
    consumer.DeliverSubject = "deliver";
    consumer.DeliverGroup = "G";
    consumer.AckPolicy = js_AckExplicit;
    consumer.AckWait = 60'000'000'000;
    consumer.MaxAckPending = 4000;
    need(js_AddConsumer(nullptr, js.get(), "BENCH", &consumer, nullptr, nullptr), "make a consumer");
  }
  std::uint16_t port_ = 0;
  std::unique_ptr<Server> server_;
};

}  // namespace

std::unique_ptr<Peer> make_nats() {
  return std::make_unique<Nats>();
}

}  // namespace mainstay::bench
