#include "amqp/performatives.h"

#include "amqp/hot_writer.h"
#include "amqp/value_writer.h"
#include "base/assert.h"

namespace mainstay::amqp {
namespace {

bool report(const Fields& fields, std::string_view performative, std::string& problem) {
  if (fields.ok()) return true;
  problem = std::string(performative) + ": field " + std::to_string(fields.failed_at()) +
            " is missing, malformed or of the wrong type";
  return false;
}

/// At most `bytes_max` bytes, not cutting a UTF-8 character in two.
std::string_view shortened(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t cut = bytes_max;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0U) == 0x80U) --cut;
  return text.substr(0, cut);
}

}  // namespace

std::optional<FrameBody> read_frame_body(BytesView body) {
  // Every client writes small numeric descriptors this way.
  if (body.size() > 3 && body[0] == std::byte{code::described} && body[1] == std::byte{code::smallulong}) {
    ValueReader reader(body.subspan(3));
    FrameBody out{std::to_integer<std::uint64_t>(body[2]), reader.next(), {}};
    if (!reader.ok()) return std::nullopt;
    out.payload = reader.rest();
    return out;
  }
  ValueReader reader(body);
  const auto value = described(reader.next());
  if (!value) return std::nullopt;
  return FrameBody{value->code, value->value, reader.rest()};
}

bool decode(const Value& list, OpenFrame& out, std::string& problem) {
  Fields f(list);
  out.container_id = f.required(f.string());
  out.hostname = f.string().value_or("");
  out.max_frame_size = f.uint().value_or(out.max_frame_size);
  out.channel_max = f.ushort().value_or(out.channel_max);
  out.idle_timeout_ms = f.uint().value_or(0);
  f.skip(5);  // locales, capabilities, properties
  return report(f, "open", problem);
}

bool decode(const Value& list, BeginFrame& out, std::string& problem) {
  Fields f(list);
  out.remote_channel = f.ushort();
  out.next_outgoing_id = f.required(f.uint());
  out.incoming_window = f.required(f.uint());
  out.outgoing_window = f.required(f.uint());
  out.handle_max = f.uint().value_or(out.handle_max);
  f.skip(3);
  return report(f, "begin", problem);
}

bool decode(const Value& list, AttachFrame& out, std::string& problem) {
  Fields f(list);
  out.name = f.required(f.string());
  out.handle = f.required(f.uint());
  out.role = f.required(f.boolean()) ? Role::receiver : Role::sender;
  const auto sender_mode = f.ubyte().value_or(2);
  if (sender_mode > 2) f.fail();
  out.sender_settle_mode = static_cast<SenderSettleMode>(sender_mode);
  const auto receiver_mode = f.ubyte().value_or(0);
  if (receiver_mode > 1) f.fail();
  out.receiver_settle_mode = static_cast<ReceiverSettleMode>(receiver_mode);
  out.source = f.of(Kind::described);
  out.target = f.of(Kind::described);
  f.of(Kind::map);  // unsettled: nothing is resumed here
  f.boolean();
  out.initial_delivery_count = f.uint();
  out.max_message_size = f.ulong();
  f.any();
  out.desired_capabilities = f.any();
  out.properties = f.of(Kind::map);
  if (!out.properties.is_null() && !well_formed(out.properties.encoded)) f.fail();
  return report(f, "attach", problem);
}

bool decode(const Value& list, FlowFrame& out, std::string& problem) {
  Fields f(list);
  out.next_incoming_id = f.uint();
  out.incoming_window = f.required(f.uint());
  out.next_outgoing_id = f.required(f.uint());
  out.outgoing_window = f.required(f.uint());
  out.handle = f.uint();
  out.delivery_count = f.uint();
  out.link_credit = f.uint();
  f.uint();  // available: a hint
  out.drain = f.boolean().value_or(false);
  out.echo = f.boolean().value_or(false);
  f.any();
  return report(f, "flow", problem);
}

bool decode(const Value& list, TransferFrame& out, std::string& problem) {
  Fields f(list);
  out.handle = f.required(f.uint());
  out.delivery_id = f.uint();
  out.delivery_tag = f.binary();
  out.message_format = f.uint();
  out.settled = f.boolean().value_or(false);
  out.more = f.boolean().value_or(false);
  out.receiver_settle_mode = f.ubyte();
  f.any();      // state
  f.boolean();  // resume
  out.aborted = f.boolean().value_or(false);
  f.boolean();  // batchable: every answer is batched
  return report(f, "transfer", problem);
}

bool decode(const Value& list, DispositionFrame& out, std::string& problem) {
  Fields f(list);
  out.role = f.required(f.boolean()) ? Role::receiver : Role::sender;
  out.first = f.required(f.uint());
  out.last = f.uint().value_or(out.first);
  out.settled = f.boolean().value_or(false);
  out.state = f.of(Kind::described);
  f.boolean();
  return report(f, "disposition", problem);
}

bool decode(const Value& list, DetachFrame& out, std::string& problem) {
  Fields f(list);
  out.handle = f.required(f.uint());
  out.closed = f.boolean().value_or(false);
  out.error = read_condition(f.any());
  return report(f, "detach", problem);
}

bool decode(const Value& list, EndFrame& out, std::string& problem) {
  Fields f(list);
  out.error = read_condition(f.any());
  return report(f, "end or close", problem);
}

std::optional<Condition> read_condition(const Value& error) {
  const auto value = described(error);
  if (!value) return std::nullopt;
  Fields f(value->value);
  Condition out;
  out.symbol = f.symbol().value_or("");
  out.description = f.string().value_or("");
  return out;
}

void encode_error(ValueWriter& to, const Condition& error, BytesView info) {
  to.descriptor(descriptor::error);
  const auto list = to.list();
  to.symbol(shortened(error.symbol, kConditionSymbolBytesMax));
  to.string(
      shortened(error.description.empty() ? error.symbol : error.description, kConditionDescriptionBytesMax));
  if (!info.empty()) to.encoded(info);
  to.close(list, info.empty() ? 2 : 3);
}

void encode_open(Buffer& to, const EngineOptions& options) {
  ValueWriter w(to);
  w.descriptor(descriptor::open);
  const auto list = w.list();
  w.string(options.container_id);
  w.null();  // hostname
  w.uint(options.limits.max_frame_bytes);
  w.ushort(options.limits.channel_max);
  w.uint(static_cast<std::uint32_t>(options.limits.idle_timeout.milliseconds()));
  w.close(list, 5);
}

void encode_begin(Buffer& to, std::uint16_t remote_channel, std::uint32_t next_outgoing_id,
                  std::uint32_t incoming_window, std::uint32_t outgoing_window, std::uint32_t handle_max) {
  ValueWriter w(to);
  w.descriptor(descriptor::begin);
  const auto list = w.list();
  w.ushort(remote_channel);
  w.uint(next_outgoing_id);
  w.uint(incoming_window);
  w.uint(outgoing_window);
  w.uint(handle_max);
  w.close(list, 5);
}

void encode_detach(Buffer& to, std::uint32_t handle, bool closed, const Condition* error) {
  ValueWriter w(to);
  w.descriptor(descriptor::detach);
  const auto list = w.list();
  w.uint(handle);
  w.boolean(closed);
  if (error != nullptr) encode_error(w, *error);
  w.close(list, error != nullptr ? 3 : 2);
}

void encode_end(Buffer& to, std::uint64_t code, const Condition* error) {
  ValueWriter w(to);
  w.descriptor(code);
  const auto list = w.list();
  if (error != nullptr) encode_error(w, *error);
  w.close(list, error != nullptr ? 1 : 0);
}

void encode_attach(Buffer& to, const AttachAnswer& answer) {
  ValueWriter w(to);
  const auto encoded_or_null = [&w](BytesView value) {
    if (value.empty()) {
      w.null();
    } else {
      w.encoded(value);
    }
  };
  w.descriptor(descriptor::attach);
  const auto list = w.list();
  w.string(answer.name);
  w.uint(answer.handle);
  w.boolean(answer.client_role == Role::sender);  // our role: true = receiver
  w.ubyte(static_cast<std::uint8_t>(answer.sender_settle_mode));
  w.ubyte(static_cast<std::uint8_t>(answer.receiver_settle_mode));
  encoded_or_null(answer.source);
  encoded_or_null(answer.target);
  w.null();  // unsettled
  w.null();  // incomplete-unsettled
  if (answer.client_role == Role::receiver) {
    w.uint(0);  // initial-delivery-count
  } else {
    w.null();
  }
  w.ulong(answer.max_message_size);
  if (answer.offered_capabilities.empty()) {
    w.null();
  } else {
    const std::vector<std::string_view> symbols(answer.offered_capabilities.begin(),
                                                answer.offered_capabilities.end());
    w.symbols(symbols);
  }
  w.null();  // desired-capabilities
  encoded_or_null(answer.properties);
  w.close(list, 14);
}

std::size_t encode_flow(std::byte* to, const FlowOut& flow) {
  // Every field up to the last is written: rhea reads a missing number as NaN.
  HotWriter w(to);
  w.begin(descriptor::flow, flow.has_link ? 9 : 4);
  w.uint(flow.next_incoming_id);
  w.uint(flow.incoming_window);
  w.uint(flow.next_outgoing_id);
  w.uint(flow.outgoing_window);
  if (flow.has_link) {
    w.uint(flow.handle);
    w.uint(flow.delivery_count);
    w.uint(flow.link_credit);
    w.uint(0);  // available
    w.boolean(flow.drain);
  }
  return w.finish();
}

std::size_t encode_transfer(std::byte* to, const TransferOut& transfer) {
  MS_ASSERT(transfer.tag.size() <= 32, "a delivery-tag has at most 32 bytes");
  HotWriter w(to);
  w.begin(descriptor::transfer, 6);
  w.uint(transfer.handle);
  w.uint(transfer.delivery_id);
  w.binary(transfer.tag);
  w.uint(transfer.message_format);
  w.boolean(transfer.settled);
  w.boolean(transfer.more);
  return w.finish();
}

std::size_t encode_disposition(std::byte* to, bool from_receiver, std::uint32_t first, std::uint32_t last,
                               bool settled, BytesView state) {
  MS_ASSERT(state.size() <= 64, "long states are written by encode_long_disposition");
  HotWriter w(to);
  w.begin(descriptor::disposition, 5);
  w.boolean(from_receiver);
  w.uint(first);
  w.uint(last);
  w.boolean(settled);
  if (state.empty()) {
    w.null();
  } else {
    w.bytes(state);
  }
  return w.finish();
}

}  // namespace mainstay::amqp
