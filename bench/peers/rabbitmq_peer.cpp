// RabbitMQ: one durable quorum queue with one member or one on each of several local nodes, persistent
// messages, publisher confirms.
//
// librabbitmq makes three system calls per message in amqp_basic_publish; here the frames of many messages
// are encoded with its functions and written at once, so that the client costs the server no throughput.
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>

#include <cstring>

#include "peers/server.h"

namespace mainstay::bench {
namespace {

constexpr amqp_channel_t kChannel = 1;
constexpr std::uint16_t kPrefetch = 2000;

amqp_bytes_t bytes(const char* text) {
  return amqp_cstring_bytes(text);
}

class Channel {
 public:
  explicit Channel(std::uint16_t port) : state_(amqp_new_connection()) {
    amqp_socket_t* socket = amqp_tcp_socket_new(state_);
    if (socket == nullptr || amqp_socket_open(socket, "127.0.0.1", port) != AMQP_STATUS_OK) {
      amqp_destroy_connection(state_);
      throw Trouble{"no connection to RabbitMQ"};
    }
    const amqp_rpc_reply_t reply =
        amqp_login(state_, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
      amqp_destroy_connection(state_);
      throw Trouble{"RabbitMQ refuses the connection"};
    }
    amqp_channel_open(state_, kChannel);
    check("open a channel");
  }
  ~Channel() { amqp_destroy_connection(state_); }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  [[nodiscard]] amqp_connection_state_t state() const { return state_; }
  [[nodiscard]] int socket() const { return amqp_get_sockfd(state_); }
  void check(const char* what) const {
    const amqp_rpc_reply_t reply = amqp_get_rpc_reply(state_);
    if (reply.reply_type == AMQP_RESPONSE_NORMAL) return;
    std::string why = amqp_error_string2(reply.library_error);
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
      const auto* close = static_cast<const amqp_channel_close_t*>(reply.reply.decoded);
      why.assign(static_cast<const char*>(close->reply_text.bytes), close->reply_text.len);
    }
    throw Trouble{std::string("RabbitMQ cannot ") + what + ": " + why};
  }

  /// Gives each frame that has arrived to `take`; waits up to `most` for the first.
  template <class Take>
  void read(Duration most, Take take) {
    timeval time{static_cast<time_t>(most.ns / 1'000'000'000),
                 static_cast<suseconds_t>(most.ns % 1'000'000'000 / 1000)};
    amqp_frame_t frame;
    for (;;) {
      const int status = amqp_simple_wait_frame_noblock(state_, &frame, &time);
      if (status == AMQP_STATUS_TIMEOUT) break;
      if (status != AMQP_STATUS_OK)
        throw Trouble{std::string("the connection to RabbitMQ ended: ") + amqp_error_string2(status)};
      if (frame.frame_type == AMQP_FRAME_METHOD && (frame.payload.method.id == AMQP_CHANNEL_CLOSE_METHOD ||
                                                    frame.payload.method.id == AMQP_CONNECTION_CLOSE_METHOD))
        throw Trouble{"RabbitMQ closed the channel"};
      take(frame);
      time = {0, 0};
    }
    amqp_maybe_release_buffers(state_);
  }

 private:
  amqp_connection_state_t state_;
};

/// basic.publish, content header and body as frames, for bodies of one size.
class FrameTemplate {
 public:
  explicit FrameTemplate(std::size_t body_bytes) {
    amqp_basic_publish_t publish{};
    publish.exchange = amqp_empty_bytes;
    publish.routing_key = bytes("bench");
    std::array<char, 512> buffer{};
    const amqp_bytes_t room{buffer.size(), buffer.data()};
    const int method = amqp_encode_method(AMQP_BASIC_PUBLISH_METHOD, &publish, room);
    std::string payload;
    number(payload, AMQP_BASIC_PUBLISH_METHOD, 4);
    payload.append(buffer.data(), encoded(method));
    frame(AMQP_FRAME_METHOD, payload);

    amqp_basic_properties_t properties{};
    properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
    properties.delivery_mode = AMQP_DELIVERY_PERSISTENT;
    const int header = amqp_encode_properties(AMQP_BASIC_CLASS, &properties, room);
    payload.clear();
    number(payload, AMQP_BASIC_CLASS, 2);
    number(payload, 0, 2);
    number(payload, body_bytes, 8);
    payload.append(buffer.data(), encoded(header));
    frame(AMQP_FRAME_HEADER, payload);

    frame(AMQP_FRAME_BODY, std::string(body_bytes, ' '));
    body_at_ = text_.size() - 1 - body_bytes;
  }
  [[nodiscard]] const std::string& with(BytesView body) {
    std::memcpy(text_.data() + body_at_, body.data(), body.size());
    return text_;
  }

 private:
  static std::size_t encoded(int result) {
    if (result < 0) throw Trouble{"librabbitmq cannot encode a message"};
    return static_cast<std::size_t>(result);
  }
  static void number(std::string& into, std::uint64_t value, int width) {
    for (int shift = 8 * (width - 1); shift >= 0; shift -= 8)
      into.push_back(static_cast<char>((value >> shift) & 0xff));
  }
  void frame(std::uint8_t type, const std::string& payload) {
    number(text_, type, 1);
    number(text_, kChannel, 2);
    number(text_, payload.size(), 4);
    text_ += payload;
    text_.push_back(static_cast<char>(AMQP_FRAME_END));
  }
  std::string text_;
  std::size_t body_at_ = 0;
};

class RabbitPublisher final : public Publisher {
 public:
  explicit RabbitPublisher(std::uint16_t port) : channel_(port), frames_(0) {
    amqp_confirm_select(channel_.state(), kChannel);
    channel_.check("confirm");
  }
  bool send(BytesView body) override {
    if (body.size() != body_bytes_) {
      frames_ = FrameTemplate(body.size());
      body_bytes_ = body.size();
    }
    out_ += frames_.with(body);
    return true;
  }
  std::uint64_t poll(Duration most) override {
    if (!out_.empty()) write_all(channel_.socket(), out_.data(), out_.size());
    out_.clear();
    std::uint64_t now = 0;
    channel_.read(most, [&](const amqp_frame_t& frame) {
      if (frame.frame_type != AMQP_FRAME_METHOD) return;
      if (frame.payload.method.id == AMQP_BASIC_NACK_METHOD) throw Trouble{"RabbitMQ refused a message"};
      if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD) return;
      const auto* ack = static_cast<const amqp_basic_ack_t*>(frame.payload.method.decoded);
      // Not in order: `multiple` confirms what is below and not confirmed yet.
      now += confirm(ack->delivery_tag, ack->multiple != 0);
    });
    return now;
  }

 private:
  std::uint64_t confirm(std::uint64_t tag, bool multiple) {
    std::uint64_t count = 0;
    const auto mark = [&](std::uint64_t one) {
      const std::uint64_t at = one - first_open_;
      if (at >= done_.size()) done_.resize(at + 1);
      if (!done_[at]) ++count;
      done_[at] = true;
    };
    if (tag < first_open_) return 0;
    if (multiple) {
      for (std::uint64_t one = first_open_; one <= tag; ++one) mark(one);
    } else {
      mark(tag);
    }
    std::size_t leading = 0;
    while (leading < done_.size() && done_[leading]) ++leading;
    done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(leading));
    first_open_ += leading;
    return count;
  }

  Channel channel_;
  FrameTemplate frames_;
  std::size_t body_bytes_ = 0;
  std::string out_;
  std::uint64_t first_open_ = 1;  // RabbitMQ counts from 1
  std::vector<bool> done_;        // from first_open_ on
};

class RabbitConsumer final : public Consumer {
 public:
  explicit RabbitConsumer(std::uint16_t port) : channel_(port) {
    amqp_basic_qos(channel_.state(), kChannel, 0, kPrefetch, 0);
    channel_.check("set the prefetch");
    amqp_basic_consume(channel_.state(), kChannel, bytes("bench"), amqp_empty_bytes, 0, 0, 0,
                       amqp_empty_table);
    channel_.check("consume");
  }
  void poll(Duration most, std::vector<std::uint64_t>& stamps) override {
    channel_.read(most, [&](const amqp_frame_t& frame) {
      if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_DELIVER_METHOD) {
        tag_ = static_cast<const amqp_basic_deliver_t*>(frame.payload.method.decoded)->delivery_tag;
      } else if (frame.frame_type == AMQP_FRAME_BODY) {
        if (frame.payload.body_fragment.len < kStampBytes)
          throw Trouble{"a message arrived that nobody sent"};
        stamps.push_back(from_stamp(static_cast<const char*>(frame.payload.body_fragment.bytes)));
        ++received_;
      }
    });
  }
  void acknowledge() override {
    // All up to here are done: one frame says so for all, which is the cheapest RabbitMQ offers.
    if (received_ == done_) return;
    if (amqp_basic_ack(channel_.state(), kChannel, tag_, 1) != AMQP_STATUS_OK)
      throw Trouble{"RabbitMQ takes no acknowledgement"};
    done_ = received_;
  }
  [[nodiscard]] std::uint64_t acknowledged() const override { return done_; }

 private:
  Channel channel_;
  std::uint64_t tag_ = 0, received_ = 0, done_ = 0;
};

class RabbitMq final : public Peer {
 public:
  explicit RabbitMq(std::size_t nodes) : nodes_(nodes) {}
  [[nodiscard]] std::string name() const override { return "rabbitmq"; }
  [[nodiscard]] std::string title() const override {
    return nodes_ == 1 ? "RabbitMQ quorum" : "RabbitMQ quorum, " + std::to_string(nodes_) + " nodes";
  }
  [[nodiscard]] std::string version() const override { return package_version("rabbitmq-server"); }
  [[nodiscard]] std::string note() const override {
    return "quorum queue with " +
           std::string(nodes_ == 1 ? "one member" : std::to_string(nodes_) + " members") +
           ", persistent, publisher confirms; librabbitmq, frames of many messages per write" +
           (nodes_ == 1 ? "; prefetch 2000, acknowledged in multiples, which it does not answer"
                        : "; clients at the node whose queue member leads");
  }

  void start(const Place& place) override {
    const std::string& home = place.directory;
    const std::vector<std::uint16_t> ports = own_ports(1 + 2 * nodes_);
    port_ = ports[1];
    common_ = {"HOME=" + home, "LANG=C.UTF-8", "ERL_EPMD_PORT=" + std::to_string(ports[0]),
               "ERL_EPMD_ADDRESS=127.0.0.1"};
    // Left to itself, Erlang starts a port mapper that outlives everything.
    mapper_ = std::make_unique<Server>("epmd", common_, std::vector<std::string>{"/usr/bin/epmd"},
                                       home + "/epmd.log");
    mapper_->wait_for_port(ports[0], seconds(10));
    std::string settings = "log.console.level = warning\n";
    if (nodes_ > 1) {
      // Each joins the first, which runs alone until then.
      settings +=
          "cluster_formation.peer_discovery_backend = classic_config\n"
          "cluster_formation.discovery_retry_limit = 1\n"
          "cluster_formation.classic_config.nodes.1 = " +
          node_name(ports[1]) + "\n";
    }
    write_file(home + "/rabbitmq.conf", settings);
    for (std::size_t i = 0; i < nodes_; ++i) {
      const std::uint16_t port = ports[1 + 2 * i];
      std::vector<std::string> environment = common_;
      environment.insert(environment.end(), place.environment.begin(), place.environment.end());
      for (const std::string& line :
           {"RABBITMQ_NODENAME=" + node_name(port), std::string("RABBITMQ_NODE_IP_ADDRESS=127.0.0.1"),
            "RABBITMQ_NODE_PORT=" + std::to_string(port),
            "RABBITMQ_DIST_PORT=" + std::to_string(ports[2 + 2 * i]),
            "RABBITMQ_MNESIA_BASE=" + home + "/data", "RABBITMQ_LOG_BASE=" + home + "/logs",
            std::string("RABBITMQ_LOGS=-"), std::string("RABBITMQ_CONF_ENV_FILE=/dev/null"),
            "RABBITMQ_CONFIG_FILE=" + home + "/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE=" + home + "/plugins"})
        environment.push_back(line);
      servers_.push_back(std::make_unique<Server>(
          "rabbitmq-server", environment, std::vector<std::string>{"/usr/lib/rabbitmq/bin/rabbitmq-server"},
          home + "/log" + (i == 0 ? "" : std::to_string(i + 1))));
      servers_.back()->wait_for_port(port, seconds(60));
    }
    empty_queue();
    if (nodes_ > 1) check_members(home);
  }
  void stop() override {
    servers_.clear();
    mapper_.reset();
  }
  void empty_queue() override {
    Channel channel(port_);
    amqp_queue_delete(channel.state(), kChannel, bytes("bench"), 0, 0);
    channel.check("delete the queue");
    amqp_table_entry_t type{};
    type.key = bytes("x-queue-type");
    type.value.kind = AMQP_FIELD_KIND_UTF8;
    type.value.value.bytes = bytes("quorum");
    const amqp_table_t arguments{1, &type};
    amqp_queue_declare(channel.state(), kChannel, bytes("bench"), 0, 1, 0, 0, arguments);
    channel.check("declare a quorum queue");
  }
  [[nodiscard]] std::unique_ptr<Publisher> publisher(Eagerness) override {
    return std::make_unique<RabbitPublisher>(port_);
  }
  [[nodiscard]] std::unique_ptr<Consumer> consumer() override {
    return std::make_unique<RabbitConsumer>(port_);
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
  static std::string node_name(std::uint16_t port) { return "bench" + std::to_string(port) + "@localhost"; }
  /// The queue has a member on each node, and all are there: else it would not be the replicated queue it is
  /// said to be.
  void check_members(const std::string& home) {
    std::vector<std::string> environment = common_;
    environment.push_back("RABBITMQ_CONF_ENV_FILE=/dev/null");
    const auto told = lab::run_to_end(
        {"rabbitmqctl",
         {"/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", node_name(port_), "list_queues", "name", "online"},
         home + "/ctl.log",
         environment},
        seconds(60));
    if (!told) throw Trouble{told.error().what};
    std::size_t online = 0;
    for (std::size_t at = 0; (at = told->output.find("@localhost", at)) != std::string::npos; ++at) ++online;
    if (online != nodes_)
      throw Trouble{"the quorum queue has not " + std::to_string(nodes_) +
                    " members online: " + told->output};
  }

  const std::size_t nodes_;
  std::uint16_t port_ = 0;
  std::vector<std::string> common_;
  std::unique_ptr<Server> mapper_;
  std::vector<std::unique_ptr<Server>> servers_;
};

}  // namespace

std::unique_ptr<Peer> make_rabbitmq(std::size_t nodes) {
  return std::make_unique<RabbitMq>(nodes);
}

}  // namespace mainstay::bench
