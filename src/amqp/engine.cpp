#include "amqp/engine.h"

#include <algorithm>
#include <cstring>

#include "amqp/engine_impl.h"
#include "base/assert.h"

namespace mainstay::amqp {
namespace {

/// How long a peer may take to answer our close.
constexpr Duration kCloseGrace = seconds(5);
/// The shortest interval at which empty frames are sent, whatever the peer asks.
constexpr Duration kHeartbeatMin = milliseconds(25);
/// Twice what the standard grants: some put a token into PLAIN's password.
constexpr std::uint32_t kSaslFrameBytesMax = 8192;
/// Buffers larger than this are given back when idle.
constexpr std::size_t kKeepBytes = 16384;

std::string printable(BytesView bytes) {
  return hex(bytes.first(std::min<std::size_t>(bytes.size(), 8)));
}

}  // namespace

std::unique_ptr<Engine> Engine::create(const EngineOptions& options, EngineHandler& handler, Instant now) {
  return std::make_unique<EngineImpl>(options, handler, now);
}

EngineImpl::EngineImpl(const EngineOptions& options, EngineHandler& handler, Instant now)
    : options_(options),
      handler_(handler),
      sasl_(options.sasl_mechanisms),
      now_(now),
      started_(now),
      last_input_(now),
      last_output_(now) {
  const auto& limits = options_.limits;
  MS_ASSERT(limits.max_frame_bytes >= kMinMaxFrameBytes, "the standard's smallest max-frame-size is 512");
  MS_ASSERT(limits.links_max <= 32768, "a link id has 16 bits for its slot");
  MS_ASSERT(limits.message_bytes_max > 0, "a limit of 0 would let no message in");
  MS_ASSERT(limits.incoming_window >= 2, "a session needs a window");
}

void EngineImpl::input(BytesView bytes, Instant now) {
  now_ = now;
  last_input_ = now;
  counters_.bytes_in += bytes.size();
  while (!bytes.empty() && phase_ != Phase::finished && !stream_broken_) {
    if (held_.empty()) {
      const auto unit = unit_bytes(bytes);
      if (phase_ == Phase::finished || stream_broken_) break;
      if (!unit || *unit > bytes.size()) {
        held_ = to_buffer(bytes);
        break;
      }
      unit_stays_ = true;
      handle_unit(bytes.first(*unit));
      unit_stays_ = false;
      bytes = bytes.subspan(*unit);
      continue;
    }
    const auto before = unit_bytes(held_);
    const std::size_t want = before.value_or(kFrameHeaderBytes) - held_.size();
    const BytesView more = bytes.first(std::min(want, bytes.size()));
    held_.insert(held_.end(), more.begin(), more.end());
    bytes = bytes.subspan(more.size());
    const auto unit = unit_bytes(held_);
    if (unit && *unit == held_.size() && phase_ != Phase::finished && !stream_broken_) {
      handle_unit(held_);
      held_.clear();
    }
  }
  if (phase_ == Phase::finished || stream_broken_) held_ = Buffer();
  handler_.on_input_end();
  enforce_output_limit();
}

/// Size of the protocol header or frame at the front of `from`; nullopt while too little of it is there.
/// Ends the connection when there can be none.
std::optional<std::size_t> EngineImpl::unit_bytes(BytesView from) {
  if (phase_ == Phase::header) {
    const std::size_t compare = std::min<std::size_t>(from.size(), 4);
    if (std::memcmp(from.data(), kAmqpHeader.data(), compare) != 0) {
      refuse_before_open(kSaslHeader, "the peer does not speak AMQP: its first bytes are " + printable(from));
      return std::nullopt;
    }
    if (from.size() < kProtocolHeaderBytes) return std::nullopt;
    return kProtocolHeaderBytes;
  }
  if (from.size() < kFrameHeaderBytes) return std::nullopt;
  const FrameHeader header = read_frame_header(from.data());
  const bool sasl = phase_ == Phase::sasl;
  const std::uint32_t most = sasl ? kSaslFrameBytesMax : options_.limits.max_frame_bytes;
  std::string problem;
  if (header.size < kFrameHeaderBytes || header.data_offset < 2 || header.data_offset * 4U > header.size) {
    problem = "a frame of " + std::to_string(header.size) + " bytes with data offset " +
              std::to_string(header.data_offset) + " cannot be";
  } else if (header.size > most) {
    problem = "a frame of " + std::to_string(header.size) + " bytes exceeds the limit of " +
              std::to_string(most) + " bytes";
  } else if (header.type != static_cast<std::uint8_t>(sasl ? FrameType::sasl : FrameType::amqp)) {
    problem = "a frame of type " + std::to_string(header.type) + " is not expected here";
  } else {
    return header.size;
  }
  stream_broken_ = true;
  fail(condition::framing_error, std::move(problem));
  return std::nullopt;
}

void EngineImpl::handle_unit(BytesView unit) {
  if (phase_ == Phase::header) {
    handle_protocol_header(unit);
    return;
  }
  ++counters_.frames_in;
  const FrameHeader header = read_frame_header(unit.data());
  const BytesView body = unit.subspan(std::size_t{header.data_offset} * 4);
  if (phase_ != Phase::sasl) {
    if (!body.empty()) handle_frame(header.channel, body);
    return;
  }
  const auto frame = read_frame_body(body);
  if (!frame) {
    malformed("a SASL frame does not hold a described list");
    return;
  }
  handle_sasl_frame(*frame);
}

void EngineImpl::handle_protocol_header(BytesView header) {
  const bool amqp = std::memcmp(header.data(), kAmqpHeader.data(), header.size()) == 0;
  const bool sasl = std::memcmp(header.data(), kSaslHeader.data(), header.size()) == 0;
  if (sasl && !sasl_done_) {
    phase_ = Phase::sasl;
    output_.append(std::as_bytes(std::span(kSaslHeader)));
    scratch_.clear();
    sasl_.encode_mechanisms(scratch_);
    send_frame(FrameType::sasl, 0, scratch_);
    return;
  }
  if (!amqp) {
    // Also for TLS (protocol id 2): the header says what is spoken here, then the connection ends.
    refuse_before_open(sasl_done_ ? kAmqpHeader : kSaslHeader,
                       "the peer asked for protocol " + printable(header) + ", spoken here is AMQP 1.0 " +
                           (sasl_done_ ? "after SASL" : "with or without SASL"));
    return;
  }
  if (!sasl_done_ && !options_.allow_skipped_sasl) {
    refuse_before_open(kSaslHeader, "the peer skipped SASL, which is required here");
    return;
  }
  output_.append(std::as_bytes(std::span(kAmqpHeader)));
  phase_ = Phase::await_open;
  if (!sasl_done_ && !ask_handler({"ANONYMOUS", {}, {}})) {
    fail(condition::unauthorized_access, "a peer without a name is not let in here: authenticate with SASL");
  }
}

bool EngineImpl::ask_handler(const SaslRequest& request) {
  sasl_done_ = true;
  return handler_.on_sasl(request);
}

void EngineImpl::handle_sasl_frame(const FrameBody& body) {
  std::string problem;
  const auto step = sasl_.take(body, problem);
  scratch_.clear();
  switch (step) {
    case SaslServer::Step::challenge:
      SaslServer::encode_challenge(scratch_);
      send_frame(FrameType::sasl, 0, scratch_);
      return;
    case SaslServer::Step::malformed:
      malformed(std::move(problem));
      return;
    case SaslServer::Step::ask:
      if (ask_handler(sasl_.request())) {
        SaslServer::encode_outcome(scratch_, true);
        send_frame(FrameType::sasl, 0, scratch_);
        phase_ = Phase::header;
        return;
      }
      problem = "user name or password is wrong, or the peer is not let in";
      [[fallthrough]];
    case SaslServer::Step::refuse:
      SaslServer::encode_outcome(scratch_, false);
      send_frame(FrameType::sasl, 0, scratch_);
      phase_ = Phase::finished;
      report_end(Condition{std::string(condition::unauthorized_access), std::move(problem)});
      return;
  }
}

void EngineImpl::handle_frame(std::uint16_t channel, BytesView body) {
  const auto frame = read_frame_body(body);
  if (!frame) {
    malformed("a frame on channel " + std::to_string(channel) + " does not start with a performative");
    return;
  }
  if (phase_ == Phase::closing) {
    if (frame->code == descriptor::close) handle_close(*frame);
    return;
  }
  if (phase_ == Phase::await_open) {
    if (frame->code == descriptor::open) {
      handle_open(*frame);
    } else {
      fail(condition::illegal_state, "the first frame of a connection is open");
    }
    return;
  }
  switch (frame->code) {
    case descriptor::close:
      handle_close(*frame);
      return;
    case descriptor::begin:
      handle_begin(channel, *frame);
      return;
    case descriptor::open:
      fail(condition::illegal_state, "open was sent twice");
      return;
    default:
      break;
  }
  Session* session = session_on(channel);
  if (session == nullptr) {
    fail(condition::not_allowed,
         "a frame came on channel " + std::to_string(channel) + ", on which no session has begun");
    return;
  }
  if (session->end_sent && frame->code != descriptor::end) return;
  switch (frame->code) {
    case descriptor::transfer:
      handle_transfer(*session, *frame);
      return;
    case descriptor::flow:
      handle_flow(*session, *frame);
      return;
    case descriptor::disposition:
      handle_disposition(*session, *frame);
      return;
    case descriptor::attach:
      handle_attach(*session, *frame);
      return;
    case descriptor::detach:
      handle_detach(*session, *frame);
      return;
    case descriptor::end:
      handle_end(*session, *frame);
      return;
    default:
      malformed("a frame on channel " + std::to_string(channel) + " holds no performative known to AMQP 1.0");
  }
}

void EngineImpl::handle_open(const FrameBody& body) {
  OpenFrame open;
  std::string problem;
  if (!decode(body.fields, open, problem)) {
    malformed(std::move(problem));
    return;
  }
  // Frames larger than our own limit bring nothing and would let one message hold up the others.
  peer_max_frame_ = std::clamp(open.max_frame_size, kMinMaxFrameBytes,
                               std::max(kMinMaxFrameBytes, options_.limits.max_frame_bytes));
  peer_channel_max_ = open.channel_max;
  peer_idle_timeout_ = milliseconds(open.idle_timeout_ms);
  send_open();
  phase_ = Phase::open;
  handler_.on_open(open.container_id, open.hostname);
}

void EngineImpl::handle_close(const FrameBody& body) {
  EndFrame frame;
  std::string problem;
  if (!decode(body.fields, frame, problem)) {
    malformed(std::move(problem));
    return;
  }
  if (!close_sent_) {
    flush();
    scratch_.clear();
    encode_end(scratch_, descriptor::close, nullptr);
    send_frame(FrameType::amqp, 0, scratch_);
    close_sent_ = true;
    close_condition_ = frame.error;
  }
  phase_ = Phase::finished;
  report_end(close_condition_);
}

void EngineImpl::send_open() {
  open_sent_ = true;
  scratch_.clear();
  encode_open(scratch_, options_);
  send_frame(FrameType::amqp, 0, scratch_);
}

void EngineImpl::send_frame(FrameType type, std::uint16_t channel, BytesView body) {
  const std::size_t size = kFrameHeaderBytes + body.size();
  if (type == FrameType::amqp && open_sent_ && body.size() > 3 && size > peer_max_frame_ &&
      phase_ == Phase::open) {
    close({std::string(condition::frame_size_too_small),
           "an answer of " + std::to_string(size) + " bytes does not fit into the peer's frames of " +
               std::to_string(peer_max_frame_)},
          now_);
    return;
  }
  std::byte* to = output_.reserve(size);
  write_frame_header(to, static_cast<std::uint32_t>(size), type, channel);
  if (!body.empty()) std::memcpy(to + kFrameHeaderBytes, body.data(), body.size());
  output_.commit(size);
  ++counters_.frames_out;
  last_output_ = now_;
}

/// Completes a frame whose body stands in reserved output behind room for its header.
void EngineImpl::send_hot(std::uint16_t channel, std::size_t body_bytes) {
  const std::size_t size = kFrameHeaderBytes + body_bytes;
  write_frame_header(output_.reserve(size), static_cast<std::uint32_t>(size), FrameType::amqp, channel);
  output_.commit(size);
  ++counters_.frames_out;
  last_output_ = now_;
}

/// Ends the connection because of what the peer did.
void EngineImpl::fail(std::string_view symbol, std::string description) {
  if (phase_ == Phase::closing || phase_ == Phase::finished) return;
  handler_.on_input_end();
  const Condition condition{std::string(symbol), std::move(description)};
  if (phase_ == Phase::header || phase_ == Phase::sasl) {  // no frame could carry the reason yet
    phase_ = Phase::finished;
  } else {
    close(condition, now_);
  }
  report_end(condition);
}

void EngineImpl::refuse_before_open(std::span<const std::uint8_t, 8> header, std::string description) {
  output_.append(std::as_bytes(header));
  phase_ = Phase::finished;
  report_end(Condition{std::string(condition::framing_error), std::move(description)});
}

/// Tells the handler, once, that every link and the connection are over.
void EngineImpl::report_end(const std::optional<Condition>& condition) {
  if (reported_) return;
  reported_ = true;
  for (auto& channel : channels_) {
    if (!channel.session) continue;
    for (Link* link : channel.session->links) {
      if (link == nullptr || link->state == Link::State::detach_sent) continue;
      link->state = Link::State::detach_sent;
      drop_partial(*link);
      handler_.on_detach(link->id, true);
    }
  }
  handler_.on_closed(condition);
}

void EngineImpl::close(const Condition& condition, Instant now) {
  now_ = now;
  if (phase_ == Phase::closing || phase_ == Phase::finished) return;
  if (phase_ == Phase::header || phase_ == Phase::sasl) {
    // Nothing can be said before open; tick() or input_closed() tells the handler.
    close_condition_ = condition;
    phase_ = Phase::closing;
    stream_broken_ = true;
    close_deadline_ = now;
    return;
  }
  flush();
  if (!open_sent_) send_open();
  phase_ = Phase::closing;
  close_sent_ = true;
  close_condition_ = condition;
  close_deadline_ = now + kCloseGrace;
  scratch_.clear();
  encode_end(scratch_, descriptor::close, &condition);
  send_frame(FrameType::amqp, 0, scratch_);
}

void EngineImpl::input_closed(Instant now) {
  now_ = now;
  if (phase_ != Phase::finished && !close_condition_) {
    close_condition_ =
        Condition{"amqp:connection:forced", "the peer's end of the connection closed without an AMQP close"};
  }
  phase_ = Phase::finished;
  output_.clear();
  held_ = Buffer();
  report_end(close_condition_);
}

BytesView EngineImpl::output() {
  flush();
  return output_.view();
}

void EngineImpl::consumed(std::size_t bytes) {
  output_.consume(bytes);
  counters_.bytes_out += bytes;
}

bool EngineImpl::finished() const {
  return phase_ == Phase::finished && output_.size() == 0;
}

void EngineImpl::enforce_output_limit() {
  if (phase_ == Phase::finished || output_.size() <= options_.limits.output_bytes_hard) return;
  close_condition_ =
      Condition{std::string(condition::resource_limit_exceeded),
                "the peer left " + std::to_string(output_.size()) + " bytes unread, more than the limit of " +
                    std::to_string(options_.limits.output_bytes_hard)};
  phase_ = Phase::finished;
  output_.clear();
  output_.shrink(0);
  report_end(close_condition_);
}

std::optional<Instant> EngineImpl::tick(Instant now) {
  now_ = now;
  const auto& limits = options_.limits;
  enforce_output_limit();
  if (phase_ == Phase::closing && now >= close_deadline_) {
    phase_ = Phase::finished;
    report_end(close_condition_);
  }
  if (phase_ == Phase::finished) return std::nullopt;
  if (phase_ == Phase::closing) return close_deadline_;

  if (phase_ != Phase::open) {
    const Instant deadline = started_ + limits.handshake_timeout;
    if (now < deadline) return deadline;
    fail(condition::resource_limit_exceeded, "the peer did not open the connection within " +
                                                 std::to_string(limits.handshake_timeout.milliseconds()) +
                                                 " ms");
    return phase_ == Phase::closing ? std::optional(close_deadline_) : std::nullopt;
  }

  const Instant silent_until = last_input_ + limits.idle_timeout + limits.idle_timeout;
  if (now >= silent_until) {
    fail(condition::resource_limit_exceeded, "nothing came for twice the idle time-out of " +
                                                 std::to_string(limits.idle_timeout.milliseconds()) + " ms");
    return close_deadline_;
  }
  Instant next = silent_until;
  if (peer_idle_timeout_.ns > 0) {
    const Duration interval = std::max(Duration{peer_idle_timeout_.ns / 2}, kHeartbeatMin);
    if (now >= last_output_ + interval) {
      if (output().empty()) send_frame(FrameType::amqp, 0, {});
      last_output_ = now;  // with output waiting, an empty frame behind it would not get there sooner
    }
    next = std::min(next, last_output_ + interval);
  }
  if (held_.empty() && held_.capacity() > kKeepBytes) held_ = Buffer();
  output_.shrink(kKeepBytes);
  return next;
}

void EngineImpl::flush() {
  if (phase_ != Phase::open) {
    dirty_sessions_.clear();
    return;
  }
  for (std::size_t i = 0; i < dirty_sessions_.size(); ++i) {
    Session* session = session_on(dirty_sessions_[i]);
    if (session != nullptr && session->dirty) flush_session(*session);
  }
  dirty_sessions_.clear();
}

std::uint64_t EngineImpl::memory_bytes() const {
  std::uint64_t bytes = sizeof *this + held_.capacity() + output_.capacity() + scratch_.capacity() +
                        channels_.capacity() * sizeof(Channel) + slots_.capacity() * sizeof(LinkSlot) +
                        free_slots_.size() * sizeof(std::uint32_t);
  for (const auto& channel : channels_) {
    if (!channel.session) continue;
    const Session& session = *channel.session;
    bytes += sizeof session + session.incoming.memory_bytes() + session.outgoing.memory_bytes() +
             session.links.capacity() * sizeof(void*);
    if (session.rest) bytes += session.rest->payload.capacity();
  }
  for (const auto& slot : slots_) {
    if (!slot.link) continue;
    const Link& link = *slot.link;
    bytes += sizeof link + link.name.capacity() + link.source.capacity() + link.target.capacity() +
             link.properties.capacity();
    if (link.partial) bytes += sizeof *link.partial + link.partial->bytes.capacity();
  }
  return bytes;
}

}  // namespace mainstay::amqp
