#include "peers/amqp_client.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "amqp/frame.h"
#include "amqp/message.h"
#include "amqp/performatives.h"
#include "amqp/value_reader.h"
#include "amqp/value_writer.h"
#include "io/system_clock.h"
#include "peers/load.h"
#include "peers/server.h"
#include "peers/unsettled.h"

namespace mainstay::bench {
namespace {

constexpr std::uint32_t kPrefetch = 1000;
constexpr std::uint32_t kOurMaxFrame = 1U << 16;
constexpr std::uint32_t kOurWindow = 1U << 30;
constexpr std::size_t kReadBytes = 256U << 10;
constexpr Duration kOpening = seconds(10);

/// The encoded outcome `accepted`, an empty described list.
constexpr std::array<std::uint8_t, 4> kAccepted{amqp::code::described, amqp::code::smallulong,
                                                amqp::descriptor::accepted, amqp::code::list0};

/// A connection with one session and one link.
class Link {
 public:
  Link(std::uint16_t port, const std::string& queue, amqp::Role role)
      : role_(role), socket_(connect_loopback(port)) {
    try {
      open(queue);
    } catch (...) {
      ::close(socket_);
      throw;
    }
  }
  virtual ~Link() { ::close(socket_); }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  /// Writes what waits and reads what has arrived; waits up to `most` for something.
  void turn(Duration most) {
    if (!out_.empty()) {
      write_all(socket_, reinterpret_cast<const char*>(out_.data()), out_.size());
      out_.clear();
    }
    if (!read_some() && most.ns > 0 && wait_readable(socket_, most)) read_some();
  }

 protected:
  virtual void on_transfer(const amqp::TransferFrame&, BytesView) {
    throw Trouble{"Mainstay sent a message on a sender's link"};
  }
  virtual void on_disposition(const amqp::DispositionFrame& disposition) = 0;

  /// Transfers that the server takes now.
  [[nodiscard]] std::uint32_t may_send() const {
    const auto credit = static_cast<std::int32_t>(credit_end_ - sent_);
    const auto window = static_cast<std::int32_t>(window_end_ - sent_);
    return static_cast<std::uint32_t>(std::max(0, std::min(credit, window)));
  }
  void write_frame(const std::byte* body, std::size_t bytes) {
    const std::size_t at = out_.size();
    out_.resize(at + amqp::kFrameHeaderBytes);
    amqp::write_frame_header(out_.data() + at, static_cast<std::uint32_t>(amqp::kFrameHeaderBytes + bytes),
                             amqp::FrameType::amqp, 0);
    out_.insert(out_.end(), body, body + bytes);
  }
  void grant(std::uint32_t credit) {
    amqp::FlowOut flow;
    flow.next_incoming_id = received_;
    flow.incoming_window = kOurWindow;
    flow.outgoing_window = kOurWindow;
    flow.has_link = true;
    flow.delivery_count = received_;
    flow.link_credit = credit;
    std::array<std::byte, amqp::kHotFrameBytes> body;
    write_frame(body.data(), amqp::encode_flow(body.data(), flow));
    credit_end_ = received_ + credit;
  }

  Buffer out_;
  std::uint32_t sent_ = 0, received_ = 0;  ///< transfers; the next delivery-id and delivery-count as well
  std::uint32_t credit_end_ = 0;           ///< the delivery-count up to which the sender may send

 private:
  template <class F>
  void frame(std::uint64_t code, F&& fields, amqp::FrameType type = amqp::FrameType::amqp) {
    const std::size_t start = out_.size();
    out_.resize(start + amqp::kFrameHeaderBytes);
    amqp::ValueWriter w(out_);
    w.descriptor(code);
    const auto list = w.list();
    w.close(list, fields(w));
    amqp::write_frame_header(out_.data() + start, static_cast<std::uint32_t>(out_.size() - start), type, 0);
  }

  void open(const std::string& queue) {
    const auto header = [&](const std::array<std::uint8_t, 8>& bytes) {
      const BytesView view = std::as_bytes(std::span(bytes));
      out_.insert(out_.end(), view.begin(), view.end());
    };
    header(amqp::kSaslHeader);
    frame(
        amqp::descriptor::sasl_init,
        [](amqp::ValueWriter& w) {
          w.symbol("ANONYMOUS");
          return 1U;
        },
        amqp::FrameType::sasl);
    header(amqp::kAmqpHeader);
    frame(amqp::descriptor::open, [](amqp::ValueWriter& w) {
      w.string("mainstay-bench");
      w.string("127.0.0.1");
      w.uint(kOurMaxFrame);
      return 3U;
    });
    frame(amqp::descriptor::begin, [](amqp::ValueWriter& w) {
      w.null();
      w.uint(0);
      w.uint(kOurWindow);
      w.uint(kOurWindow);
      return 4U;
    });
    const bool receives = role_ == amqp::Role::receiver;
    frame(amqp::descriptor::attach, [&](amqp::ValueWriter& w) {
      w.string("bench");
      w.uint(0);
      w.boolean(receives);
      w.ubyte(0);  // unsettled
      w.ubyte(receives ? 1 : 0);
      terminus(w, amqp::descriptor::source, receives ? queue : "bench");
      terminus(w, amqp::descriptor::target, receives ? "bench" : queue);
      w.null();
      w.null();
      receives ? w.null() : w.uint(0);
      return 10U;
    });
    const Instant until = clock_.now() + kOpening;
    while (!attached_ || (role_ == amqp::Role::sender && may_send() == 0)) {
      if (clock_.now() >= until) throw Trouble{"Mainstay did not open the link in 10 s"};
      turn(milliseconds(100));
    }
  }
  static void terminus(amqp::ValueWriter& w, std::uint64_t code, const std::string& address) {
    w.descriptor(code);
    const auto list = w.list();
    w.string(address);
    w.close(list, 1);
  }

  /// Takes what the socket has. @return false when it has nothing.
  bool read_some() {
    bool any = false;
    for (;;) {
      if (to_ + kReadBytes > in_.size()) {
        std::memmove(in_.data(), in_.data() + from_, to_ - from_);
        to_ -= from_;
        from_ = 0;
        if (to_ + kReadBytes > in_.size()) in_.resize(to_ + 2 * kReadBytes);
      }
      const ssize_t got = ::recv(socket_, in_.data() + to_, kReadBytes, MSG_DONTWAIT);
      if (got == 0) throw Trouble{"Mainstay closed the connection"};
      if (got < 0) {
        if (errno == EINTR) continue;
        if (errno == EAGAIN) return any;
        throw Trouble{std::string("the connection to Mainstay ended: ") + std::strerror(errno)};
      }
      any = true;
      to_ += static_cast<std::size_t>(got);
      take();
      if (static_cast<std::size_t>(got) < kReadBytes) return true;
    }
  }

  void take() {
    while (to_ - from_ >= amqp::kFrameHeaderBytes) {
      const std::byte* at = in_.data() + from_;
      if (std::memcmp(at, "AMQP", 4) == 0) {
        from_ += amqp::kProtocolHeaderBytes;
        continue;
      }
      const amqp::FrameHeader header = amqp::read_frame_header(at);
      if (header.size < amqp::kFrameHeaderBytes || header.size > 1U << 20)
        throw Trouble{"Mainstay sent a frame of " + std::to_string(header.size) + " bytes"};
      if (to_ - from_ < header.size) return;
      from_ += header.size;
      const std::size_t body = std::size_t{header.data_offset} * 4;
      if (header.size > body) on_frame({at + body, header.size - body});
    }
    if (from_ == to_) from_ = to_ = 0;
  }

  template <class Frame>
  static Frame decoded(const amqp::FrameBody& body) {
    Frame frame;
    std::string problem;
    if (!amqp::decode(body.fields, frame, problem)) throw Trouble{"Mainstay sent a malformed " + problem};
    return frame;
  }
  [[noreturn]] static void ended(const char* what, const std::optional<amqp::Condition>& error) {
    throw Trouble{std::string("Mainstay ended the ") + what + ": " +
                  (error ? error->symbol + " " + error->description : "without a reason")};
  }

  void on_frame(BytesView bytes) {
    const auto body = amqp::read_frame_body(bytes);
    if (!body) throw Trouble{"Mainstay sent a frame without a performative"};
    switch (body->code) {
      case amqp::descriptor::transfer: {
        ++received_;
        return on_transfer(decoded<amqp::TransferFrame>(*body), body->payload);
      }
      case amqp::descriptor::disposition:
        return on_disposition(decoded<amqp::DispositionFrame>(*body));
      case amqp::descriptor::flow: {
        const auto flow = decoded<amqp::FlowFrame>(*body);
        window_end_ = flow.next_incoming_id.value_or(0) + flow.incoming_window;
        if (role_ == amqp::Role::sender && flow.handle)
          credit_end_ = flow.delivery_count.value_or(0) + flow.link_credit.value_or(0);
        return;
      }
      case amqp::descriptor::begin:
        window_end_ = decoded<amqp::BeginFrame>(*body).incoming_window;
        return;
      case amqp::descriptor::attach:
        attached_ = true;
        return;
      case amqp::descriptor::detach:
        ended("link", decoded<amqp::DetachFrame>(*body).error);
      case amqp::descriptor::end:
        ended("session", decoded<amqp::EndFrame>(*body).error);
      case amqp::descriptor::close:
        ended("connection", decoded<amqp::EndFrame>(*body).error);
      default:
        return;  // open, SASL
    }
  }

  amqp::Role role_;
  int socket_;
  io::SystemClock clock_;
  bool attached_ = false;
  std::uint32_t window_end_ = 0;  ///< the transfer up to which the session's window reaches
  Buffer in_;
  std::size_t from_ = 0, to_ = 0;  ///< of in_: not yet taken
};

std::uint64_t settled_ids(Unsettled& open, const amqp::DispositionFrame& disposition) {
  if (!disposition.settled) return 0;
  const auto state = amqp::described(disposition.state);
  if (!state || state->code != amqp::descriptor::accepted)
    throw Trouble{"Mainstay did not accept delivery " + std::to_string(disposition.first)};
  return open.settle(disposition.first, disposition.last);
}

class AmqpPublisher final : public Publisher, private Link {
 public:
  AmqpPublisher(std::uint16_t port, const std::string& queue) : Link(port, queue, amqp::Role::sender) {}

  bool send(BytesView body) override {
    if (may_send() == 0 || unsettled_.count() + 1 >= Unsettled::kMost) return false;
    if (body.size() != body_bytes_) prepare(body);
    store_be(frame_.data() + id_at_, sent_);
    store_be(frame_.data() + tag_at_, sent_);
    std::memcpy(frame_.data() + frame_.size() - body.size(), body.data(), body.size());
    out_.insert(out_.end(), frame_.begin(), frame_.end());
    unsettled_.add(sent_++);
    return true;
  }
  std::uint64_t poll(Duration most) override {
    turn(most);
    return std::exchange(confirmed_, 0);
  }

 private:
  void on_disposition(const amqp::DispositionFrame& disposition) override {
    confirmed_ += settled_ids(unsettled_, disposition);
  }
  /// A transfer with its message, of which delivery-id, delivery-tag and body change.
  void prepare(BytesView body) {
    body_bytes_ = body.size();
    amqp::SimpleMessage simple;
    simple.message_id = "bench";
    simple.body = body;
    const Buffer message = amqp::encode_message(simple);  // the data section ends it
    constexpr std::uint32_t kId = 0x61626364, kTag = 0x65666768;
    std::array<std::byte, 4> tag;
    store_be(tag.data(), kTag);
    amqp::TransferOut transfer;
    transfer.delivery_id = kId;
    transfer.tag = tag;
    std::array<std::byte, amqp::kHotFrameBytes> performative;
    const std::size_t bytes = amqp::encode_transfer(performative.data(), transfer);
    frame_.resize(amqp::kFrameHeaderBytes);
    amqp::write_frame_header(frame_.data(),
                             static_cast<std::uint32_t>(amqp::kFrameHeaderBytes + bytes + message.size()),
                             amqp::FrameType::amqp, 0);
    frame_.insert(frame_.end(), performative.begin(),
                  performative.begin() + static_cast<std::ptrdiff_t>(bytes));
    const auto place_of = [&](std::uint32_t value) {
      for (std::size_t at = 0; at + 4 <= frame_.size(); ++at) {
        if (load_be<std::uint32_t>(frame_.data() + at) == value) return at;
      }
      throw Trouble{"the encoded transfer does not hold its own delivery-id"};
    };
    id_at_ = place_of(kId);
    tag_at_ = place_of(kTag);
    frame_.insert(frame_.end(), message.begin(), message.end());
    if (frame_.size() > amqp::kMinMaxFrameBytes * 8)
      throw Trouble{"this client sends a message in one frame only"};
  }

  Unsettled unsettled_;
  std::uint64_t confirmed_ = 0;
  Buffer frame_;
  std::size_t body_bytes_ = ~std::size_t{0}, id_at_ = 0, tag_at_ = 0;
};

class AmqpConsumer final : public Consumer, private Link {
 public:
  AmqpConsumer(std::uint16_t port, const std::string& queue) : Link(port, queue, amqp::Role::receiver) {
    grant(kPrefetch);
    turn({0});
  }
  void poll(Duration most, std::vector<std::uint64_t>& stamps) override {
    stamps_ = &stamps;
    turn(most);
    if (credit_end_ - received_ < kPrefetch / 2) grant(kPrefetch);
  }
  void acknowledge() override {
    if (next_ == first_) return;
    std::array<std::byte, amqp::kHotFrameBytes> body;
    write_frame(body.data(), amqp::encode_disposition(body.data(), true, first_, next_ - 1, false,
                                                      std::as_bytes(std::span(kAccepted))));
    first_ = next_;
  }
  [[nodiscard]] std::uint64_t acknowledged() const override { return done_; }

 private:
  void on_transfer(const amqp::TransferFrame& transfer, BytesView payload) override {
    if (transfer.more || transfer.settled || !transfer.delivery_id)
      throw Trouble{"this client takes whole messages under peek-lock only"};
    if (first_ == next_) first_ = next_ = *transfer.delivery_id;
    if (*transfer.delivery_id != next_) throw Trouble{"delivery-ids of one link do not follow each other"};
    unsettled_.add(next_++);
    const amqp::MessageView view = amqp::view_sections(payload);
    if (view.body.size() < kMessageBytes) throw Trouble{"a message arrived that nobody sent"};
    // The data section: descriptor and length, then the body to the section's end.
    stamps_->push_back(from_stamp(reinterpret_cast<const char*>(view.body.data() + view.body.size()) -
                                  static_cast<std::ptrdiff_t>(kMessageBytes)));
  }
  void on_disposition(const amqp::DispositionFrame& disposition) override {
    done_ += settled_ids(unsettled_, disposition);
  }

  Unsettled unsettled_;
  std::vector<std::uint64_t> ignored_;
  std::vector<std::uint64_t>* stamps_ = &ignored_;
  std::uint32_t first_ = 0, next_ = 0;  ///< deliveries not yet acknowledged
  std::uint64_t done_ = 0;
};

}  // namespace

std::unique_ptr<Publisher> amqp_publisher(std::uint16_t port, const std::string& queue) {
  return std::make_unique<AmqpPublisher>(port, queue);
}

std::unique_ptr<Consumer> amqp_consumer(std::uint16_t port, const std::string& queue) {
  return std::make_unique<AmqpConsumer>(port, queue);
}

}  // namespace mainstay::bench
