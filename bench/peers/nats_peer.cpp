// NATS JetStream: one stream in files, work-queue retention, messages published with an acknowledgement
// expected; a durable push consumer with explicit acknowledgement.
//
// Acknowledgements of publishes come to one inbox that is read here directly: the same exchange as
// js_PublishAsync(), without its callback thread.
#include <nats/nats.h>

#include <chrono>
#include <string_view>
#include <thread>

#include "io/system_clock.h"
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
  explicit Nats(std::size_t nodes) : nodes_(nodes) {}
  [[nodiscard]] std::string name() const override { return "nats"; }
  [[nodiscard]] std::string title() const override {
    return nodes_ == 1 ? "NATS JetStream" : "NATS JetStream, " + std::to_string(nodes_) + " replicas";
  }
  [[nodiscard]] std::string version() const override { return package_version("nats-server"); }
  [[nodiscard]] std::string note() const override {
    return "file store, work-queue retention, default sync interval of 2 minutes (2.9 has no sync before the "
           "confirm); libnats, push consumer, each message acknowledged, which it does not answer" +
           std::string(nodes_ == 1 ? "" : "; clients at the node that leads the stream");
  }

  void start(const Place& place) override {
    ports_ = own_ports(2 * nodes_);
    std::string routes;
    for (std::size_t i = 0; i < nodes_; ++i)
      routes += (i == 0 ? "" : ",") + ("nats://127.0.0.1:" + std::to_string(ports_[nodes_ + i]));
    for (std::size_t i = 0; i < nodes_; ++i) {
      const std::string number = i == 0 ? "" : std::to_string(i + 1);
      std::vector<std::string> command{
          "/usr/sbin/nats-server",   "-a",  "127.0.0.1", "-p",
          std::to_string(ports_[i]), "-js", "-sd",       place.directory + "/data" + number};
      if (nodes_ > 1) {
        const std::string cluster = "nats://127.0.0.1:" + std::to_string(ports_[nodes_ + i]);
        for (const std::string& more :
             {std::string("-n"), server_name(i), std::string("--cluster_name"), std::string("bench"),
              std::string("--cluster"), cluster, std::string("--routes"), routes})
          command.push_back(more);
      }
      servers_.push_back(std::make_unique<Server>("nats-server", place.environment, command,
                                                  place.directory + "/log" + number));
    }
    for (std::size_t i = 0; i < nodes_; ++i) servers_[i]->wait_for_port(ports_[i], seconds(20));
    port_ = ports_[0];
    if (nodes_ == 1) return make_stream();
    io::SystemClock clock;  // until the nodes have agreed on who leads them
    for (const Instant until = clock.now() + seconds(30);;) {
      try {
        return make_stream();
      } catch (const Trouble&) {
        if (clock.now() > until) throw;
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
      }
    }
  }
  void stop() override { servers_.clear(); }
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
  [[nodiscard]] std::vector<int> processes() const override {
    std::vector<int> all;
    for (const auto& server : servers_) {
      const std::vector<int> some = server->processes();
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

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
    stream.Replicas = static_cast<std::int64_t>(nodes_);
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
    if (nodes_ > 1) find_leader(js);
  }
  static std::string server_name(std::size_t i) { return "bench-" + std::to_string(i + 1); }
  /// Its way is the shortest: the others would pass everything on to it.
  void find_leader(const JetStream& js) {
    jsStreamInfo* found = nullptr;
    need(js_GetStreamInfo(&found, js.get(), "BENCH", nullptr, nullptr), "tell of the stream");
    const std::unique_ptr<jsStreamInfo, decltype(&jsStreamInfo_Destroy)> info(found, &jsStreamInfo_Destroy);
    if (info->Cluster == nullptr || info->Cluster->Leader == nullptr ||
        info->Cluster->ReplicasLen + 1 != static_cast<int>(nodes_))
      throw Trouble{"the stream has no leader or not " + std::to_string(nodes_) + " replicas"};
    for (std::size_t i = 0; i < nodes_; ++i) {
      if (server_name(i) == info->Cluster->Leader) port_ = ports_[i];
    }
  }

  const std::size_t nodes_;
  std::vector<std::uint16_t> ports_;
  std::uint16_t port_ = 0;
  std::vector<std::unique_ptr<Server>> servers_;
};

}  // namespace

std::unique_ptr<Peer> make_nats(std::size_t nodes) {
  return std::make_unique<Nats>(nodes);
}

}  // namespace mainstay::bench
