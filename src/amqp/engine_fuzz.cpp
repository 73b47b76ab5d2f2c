// Any bytes into the engine, in any pieces, with a handler that answers everything in some way. The first
// byte's lowest bit puts a legal beginning before them, so that inputs need not find one by themselves.
#include <array>
#include <cstdlib>

#include "amqp/client_frames.h"
#include "amqp/engine.h"
#include "amqp/message.h"
#include "base/assert.h"

namespace {
using namespace mainstay;        // NOLINT: a program of its own
using namespace mainstay::amqp;  // NOLINT

constexpr std::uint64_t kMemoryMax = 4U << 20;

class Answering final : public EngineHandler {
 public:
  explicit Answering(std::uint8_t mood) : mood_(mood) {}
  Engine* engine = nullptr;
  int closed = 0;

  bool on_sasl(const SaslRequest& request) override { return request.password != "no"; }
  void on_open(std::string_view, std::string_view) override { MS_ASSERT(closed == 0, "open after the end"); }
  void on_attach(LinkId link, const AttachRequest& request) override {
    MS_ASSERT(closed == 0, "attach after the end");
    ++live_;
    const auto which = (mood_ + attaches_++) % 6;
    if (which == 4) {
      --live_;
      engine->refuse(link, {"amqp:not-found", "no"});
    } else if (which != 5) {  // 5: never answered
      AttachReply reply;
      reply.credit = 10;
      reply.max_message_size = 2000;
      if (request.session_filter != AttachRequest::SessionFilter::absent) reply.session_id = "session";
      if (request.dynamic || request.address_is_null) reply.assigned_address = "assigned";
      if (which == 1) reply.session_locked_until_ticks = 5;
      engine->accept(link, reply);
    }
  }
  void on_transfer(const IncomingTransfer& transfer) override {
    MS_ASSERT(closed == 0, "transfer after the end");
    MS_ASSERT(transfer.payload.size() <= 2000, "a message over its link's limit came through");
    (void)view_message(transfer.payload);
    Outcome outcome;
    outcome.type = static_cast<Outcome::Type>(1 + transfer.delivery % 4);
    if (transfer.delivery % 8 == 1) outcome.error = Condition{"x", "y"};
    if (transfer.delivery % 5 != 0) engine->settle_incoming(transfer.delivery, outcome);
    engine->grant_credit(transfer.link, 10);
  }
  void on_oversize(LinkId link, std::uint64_t) override { engine->grant_credit(link, 5); }
  void on_credit(LinkId link, std::uint32_t, bool drain) override {
    static const std::array<std::byte, 16> tag{};
    static const Buffer payload(3000);
    const std::array<BytesView, 2> parts{BytesView(payload), BytesView(payload).first(sent_ % 100)};
    for (int i = 0; i < 20 && engine->can_send(link); ++i) {
      last_ = engine->send(link, tag, 0, ++sent_ % 3 == 0, parts);
    }
    if (drain) engine->drained(link);
  }
  void on_disposition(LinkId link, DeliveryRef delivery, const Outcome& outcome, bool settled) override {
    MS_ASSERT(closed == 0, "disposition after the end");
    if (!settled) engine->settle_outgoing(delivery, outcome);
    if (++told_ % 64 == 0) {
      --live_;
      engine->detach(link, {"amqp:link:detach-forced", "enough"});
    }
    engine->settle_outgoing(last_, outcome);
  }
  void on_detach(LinkId, bool) override { --live_; }
  void on_closed(const std::optional<Condition>&) override { MS_ASSERT(++closed == 1, "closed once"); }

 private:
  std::uint8_t mood_;
  int live_ = 0;
  unsigned attaches_ = 0, told_ = 0;
  std::uint64_t sent_ = 0;
  DeliveryRef last_ = 0;
};

const Buffer& prologue() {
  static const Buffer bytes = [] {
    ClientFrames f;
    f.header().open(512, 1000).begin(0, 50).attach(0, 0, false, "in").attach(0, 1, true, "out", 1);
    f.flow(0, 0, 50, 0, 1, 0, 30).transfer(0, 0, 0, "abc").begin(1, 5);
    return f.bytes;
  }();
  return bytes;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint8_t mood = data[0];
  const std::size_t piece = data[1] == 0 ? size : data[1];
  BytesView bytes = std::as_bytes(std::span(data, size)).subspan(2);
  EngineOptions options;
  options.container_id = "fuzz";
  options.limits.max_frame_bytes = 4096;
  options.limits.links_max = 20;
  options.limits.handle_max = 15;
  options.limits.channel_max = 300;
  options.limits.incoming_window = 20;
  options.limits.unsettled_max = 50;
  options.limits.partial_bytes_max = 10'000;
  options.limits.output_bytes_max = 100'000;
  options.limits.output_bytes_hard = 1'000'000;
  options.allow_skipped_sasl = (mood & 2U) == 0 || (mood & 1U) != 0;
  Answering handler(mood >> 2);
  Instant now{1'000'000'000};
  const auto engine = Engine::create(options, handler, now);
  handler.engine = engine.get();
  if ((mood & 1U) != 0) engine->input(prologue(), now);
  while (!bytes.empty()) {
    const std::size_t n = std::min(piece, bytes.size());
    engine->input(bytes.first(n), now);
    bytes = bytes.subspan(n);
    if (n % 3 == 0) engine->consumed(engine->output().size());
    MS_ASSERT(engine->memory_bytes() < kMemoryMax, "the connection's memory is bounded");
    now = now + milliseconds(100);
    if (n % 2 == 0) (void)engine->tick(now);
  }
  engine->input_closed(now);
  MS_ASSERT(handler.closed == 1, "every connection ends with on_closed");
  MS_ASSERT(engine->finished(), "nothing is left to write when the socket is gone");
  return 0;
}
