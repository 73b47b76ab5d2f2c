// ActiveMQ Classic: a persistent queue in KahaDB that syncs each write.
//
// Debian's package has no AMQP connector; its STOMP connector (NIO) is spoken here directly: SEND with a
// receipt, which comes after the sync. STOMP 1.2.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "peers/server.h"

namespace mainstay::bench {
namespace {

struct Frame {
  std::string_view command, headers, body;
  [[nodiscard]] std::string_view header(std::string_view name) const {
    for (std::size_t at = 0; at < headers.size();) {
      const std::size_t end = std::min(headers.find('\n', at), headers.size());
      const std::string_view line = headers.substr(at, end - at);
      if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':')
        return line.substr(name.size() + 1);
      at = end + 1;
    }
    return {};
  }
};

class Stomp {
 public:
  explicit Stomp(std::uint16_t port) : socket_(connect_loopback(port)) {
    send(std::string("CONNECT\naccept-version:1.2\nhost:bench\nheart-beat:0,0\n\n") + '\0');
    bool connected = false;
    for (int turn = 0; turn < 100 && !connected; ++turn) {
      flush();
      read(milliseconds(100), [&](const Frame& frame) { connected |= frame.command == "CONNECTED"; });
    }
    if (!connected) throw Trouble{"ActiveMQ does not answer a STOMP connect in 10 s"};
  }
  ~Stomp() { ::close(socket_); }
  Stomp(const Stomp&) = delete;
  Stomp& operator=(const Stomp&) = delete;

  void send(std::string_view bytes) { out_ += bytes; }
  void flush() {
    if (!out_.empty()) write_all(socket_, out_.data(), out_.size());
    out_.clear();
  }
  /// Waits up to `most` for bytes, then gives each complete frame to `take`.
  template <class Take>
  void read(Duration most, Take take) {
    if (!wait_readable(socket_, most)) return;
    const std::size_t had = in_.size();
    in_.resize(had + (256 << 10));
    const ssize_t got = ::recv(socket_, in_.data() + had, in_.size() - had, MSG_DONTWAIT);
    in_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got <= 0) throw Trouble{"ActiveMQ closed the connection"};
    std::size_t at = 0;
    while (at < in_.size()) {
      if (in_[at] == '\n') {  // heart-beat, or the line behind a frame
        ++at;
        continue;
      }
      const std::size_t head_end = in_.find("\n\n", at);
      if (head_end == std::string::npos) break;
      const std::string_view head = std::string_view(in_).substr(at, head_end - at);
      const std::size_t line = std::min(head.find('\n'), head.size());
      Frame frame{head.substr(0, line), head.substr(std::min(line + 1, head.size())), {}};
      const std::string_view length = frame.header("content-length");
      const std::size_t body = head_end + 2;
      const std::size_t end = length.empty() ? in_.find('\0', body) : body + std::stoul(std::string(length));
      if (end == std::string::npos || end >= in_.size()) break;
      frame.body = std::string_view(in_).substr(body, end - body);
      if (frame.command == "ERROR")
        throw Trouble{"ActiveMQ refuses: " + std::string(frame.header("message"))};
      take(frame);
      at = end + 1;
    }
    in_.erase(0, at);
  }

 private:
  int socket_;
  std::string out_, in_;
};

class ActiveMqPublisher final : public Publisher {
 public:
  ActiveMqPublisher(std::uint16_t port, const std::string& queue)
      : stomp_(port),
        head_("SEND\ndestination:/queue/" + queue + "\npersistent:true\nreceipt:r\ncontent-length:") {}
  bool send(BytesView body) override {
    stomp_.send(head_);
    stomp_.send(std::to_string(body.size()));
    stomp_.send("\n\n");
    stomp_.send({reinterpret_cast<const char*>(body.data()), body.size()});
    stomp_.send(std::string_view("\0", 1));
    return true;
  }
  std::uint64_t poll(Duration most) override {
    stomp_.flush();
    std::uint64_t confirmed = 0;
    stomp_.read(most, [&](const Frame& frame) { confirmed += frame.command == "RECEIPT" ? 1U : 0U; });
    return confirmed;
  }

 private:
  Stomp stomp_;
  std::string head_;
};

class ActiveMqConsumer final : public Consumer {
 public:
  ActiveMqConsumer(std::uint16_t port, const std::string& queue) : stomp_(port) {
    stomp_.send("SUBSCRIBE\nid:0\ndestination:/queue/" + queue +
                "\nack:client\nactivemq.prefetchSize:1000\n\n" + std::string(1, '\0'));
    stomp_.flush();
  }
  void poll(Duration most, std::vector<std::uint64_t>& stamps) override {
    stomp_.flush();
    stomp_.read(most, [&](const Frame& frame) {
      if (frame.command == "RECEIPT") {
        done_ = std::stoull(std::string(frame.header("receipt-id")));
        return;
      }
      if (frame.command != "MESSAGE" || frame.body.size() < kStampBytes)
        throw Trouble{"a message arrived that nobody sent"};
      stamps.push_back(from_stamp(frame.body.data()));
      last_ = frame.header("ack");
      ++received_;
    });
  }
  void acknowledge() override {
    // With ack:client one ACK is for all up to this message.
    stomp_.send("ACK\nid:" + last_ + "\nreceipt:" + std::to_string(received_) + "\n\n" +
                std::string(1, '\0'));
    stomp_.flush();
  }
  [[nodiscard]] std::uint64_t acknowledged() const override { return done_; }

 private:
  Stomp stomp_;
  std::string last_;
  std::uint64_t received_ = 0, done_ = 0;
};

class ActiveMq final : public Peer {
 public:
  [[nodiscard]] std::string name() const override { return "activemq"; }
  [[nodiscard]] std::string title() const override { return "ActiveMQ Classic"; }
  [[nodiscard]] std::string version() const override { return package_version("activemq"); }
  [[nodiscard]] std::string note() const override {
    return "KahaDB, journalDiskSyncStrategy always; STOMP over NIO, its own C++ client, because Debian's "
           "package has no AMQP connector; receipts for messages and acknowledgements";
  }
  [[nodiscard]] std::vector<std::size_t> connection_counts() const override { return {1, 4, 16}; }
  /// It syncs for each message, so more of them only wait longer.
  [[nodiscard]] std::vector<std::uint64_t> windows() const override { return {200, 1000}; }

  /// Its code is interpreted until the virtual machine has compiled it.
  [[nodiscard]] int warm_up_times() const override { return 4; }

  void start(const Place& place) override {
    const std::string& home = place.directory;
    port_ = own_ports(1).front();
    queue_ = 0;
    write_file(home + "/activemq.xml",
               R"(<beans xmlns="http://www.springframework.org/schema/beans"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans-2.0.xsd
  http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
<broker xmlns="http://activemq.apache.org/schema/core" useJmx="false" brokerName="bench" dataDirectory=")" +
                   home + R"(/data">
 <destinationPolicy><policyMap><policyEntries>
  <policyEntry queue=">" producerFlowControl="false"/>
 </policyEntries></policyMap></destinationPolicy>
 <persistenceAdapter><kahaDB directory=")" +
                   home + R"(/data/kahadb" journalDiskSyncStrategy="always"/></persistenceAdapter>
 <systemUsage><systemUsage>
  <memoryUsage><memoryUsage percentOfJvmHeap="60"/></memoryUsage>
  <storeUsage><storeUsage limit="20 gb"/></storeUsage>
 </systemUsage></systemUsage>
 <transportConnectors><transportConnector name="stomp" uri="stomp+nio://127.0.0.1:)" +
                   std::to_string(port_) + R"(?transport.tcpNoDelay=true"/></transportConnectors>
</broker></beans>
)");
    server_ = std::make_unique<Server>(
        "activemq", place.environment,
        std::vector<std::string>{"/usr/bin/java", "-Xms1g", "-Xmx1g", "-Dactivemq.home=/usr/share/activemq",
                                 "-Dactivemq.base=" + home, "-Dactivemq.data=" + home + "/data", "-jar",
                                 "/usr/share/activemq/bin/activemq.jar", "start",
                                 "xbean:file:" + home + "/activemq.xml"},
        home + "/log");
    server_->wait_for_port(port_, seconds(60));
  }
  void stop() override { server_.reset(); }
  void empty_queue() override { ++queue_; }
  [[nodiscard]] std::unique_ptr<Publisher> publisher(Eagerness) override {
    return std::make_unique<ActiveMqPublisher>(port_, queue());
  }
  [[nodiscard]] std::unique_ptr<Consumer> consumer() override {
    return std::make_unique<ActiveMqConsumer>(port_, queue());
  }
  [[nodiscard]] std::uint16_t port() const override { return port_; }
  [[nodiscard]] std::vector<int> processes() const override { return server_->processes(); }

 private:
  [[nodiscard]] std::string queue() const { return "bench-" + std::to_string(queue_); }
  std::uint16_t port_ = 0;
  int queue_ = 0;
  std::unique_ptr<Server> server_;
};

}  // namespace

std::unique_ptr<Peer> make_activemq() {
  return std::make_unique<ActiveMq>();
}

}  // namespace mainstay::bench
