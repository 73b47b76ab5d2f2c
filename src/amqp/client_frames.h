// For this room's tests and fuzz target: a client's bytes, made by hand, legal or not.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "amqp/frame.h"
#include "amqp/value_reader.h"
#include "amqp/value_writer.h"

namespace mainstay::amqp {

/// Appends protocol headers and frames to `bytes`.
class ClientFrames {
 public:
  Buffer bytes;

  ClientFrames& header(std::uint8_t protocol = 0) {
    auto text = kAmqpHeader;
    text[4] = protocol;
    return raw(std::as_bytes(std::span(text)));
  }
  ClientFrames& raw(BytesView more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return *this;
  }
  /// @param fields  writes the fields and returns how many
  template <class F>
  ClientFrames& frame(std::uint16_t channel, std::uint64_t code, F&& fields, BytesView payload = {},
                      FrameType type = FrameType::amqp) {
    const std::size_t start = bytes.size();
    bytes.resize(start + kFrameHeaderBytes);
    ValueWriter w(bytes);
    w.descriptor(code);
    const auto list = w.list();
    const std::uint32_t count = fields(w);
    w.close(list, count);
    raw(payload);
    write_frame_header(bytes.data() + start, static_cast<std::uint32_t>(bytes.size() - start), type, channel);
    return *this;
  }
  ClientFrames& empty_frame() {
    bytes.resize(bytes.size() + kFrameHeaderBytes);
    write_frame_header(bytes.data() + bytes.size() - kFrameHeaderBytes, kFrameHeaderBytes, FrameType::amqp,
                       0);
    return *this;
  }
  ClientFrames& sasl_init(std::string_view mechanism, std::string_view response) {
    return frame(
        0, descriptor::sasl_init,
        [&](ValueWriter& w) {
          w.symbol(mechanism);
          w.binary(as_bytes(response));
          return 2U;
        },
        {}, FrameType::sasl);
  }
  ClientFrames& open(std::uint32_t max_frame = 65536, std::uint32_t idle_ms = 0) {
    return frame(0, descriptor::open, [&](ValueWriter& w) {
      w.string("client");
      w.string("host");
      w.uint(max_frame);
      w.ushort(65535);
      idle_ms == 0 ? w.null() : w.uint(idle_ms);
      return 5U;
    });
  }
  ClientFrames& begin(std::uint16_t channel, std::uint32_t incoming_window = 1000,
                      std::uint32_t next_id = 0) {
    return frame(channel, descriptor::begin, [&](ValueWriter& w) {
      w.null();
      w.uint(next_id);
      w.uint(incoming_window);
      w.uint(1000);
      return 4U;
    });
  }
  ClientFrames& attach(std::uint16_t channel, std::uint32_t handle, bool client_receives,
                       std::string_view address, std::uint8_t receiver_mode = 0) {
    return frame(channel, descriptor::attach, [&](ValueWriter& w) {
      w.string("link-" + std::to_string(channel) + "-" + std::to_string(handle));
      w.uint(handle);
      w.boolean(client_receives);
      w.ubyte(2);
      w.ubyte(receiver_mode);
      terminus(w, descriptor::source, client_receives ? address : "me");
      terminus(w, descriptor::target, client_receives ? "me" : address);
      w.null();
      w.null();
      client_receives ? w.null() : w.uint(0);
      return 10U;
    });
  }
  ClientFrames& flow(std::uint16_t channel, std::uint32_t next_incoming, std::uint32_t window,
                     std::uint32_t next_outgoing, std::optional<std::uint32_t> handle = {},
                     std::uint32_t delivery_count = 0, std::uint32_t credit = 0, bool drain = false,
                     bool echo = false) {
    return frame(channel, descriptor::flow, [&](ValueWriter& w) {
      w.uint(next_incoming);
      w.uint(window);
      w.uint(next_outgoing);
      w.uint(1000);
      handle ? w.uint(*handle) : w.null();
      handle ? w.uint(delivery_count) : w.null();
      handle ? w.uint(credit) : w.null();
      w.null();
      w.boolean(drain);
      w.boolean(echo);
      return 10U;
    });
  }
  ClientFrames& transfer(std::uint16_t channel, std::uint32_t handle,
                         std::optional<std::uint32_t> delivery_id, std::string_view payload,
                         bool settled = false, bool more = false, bool aborted = false,
                         std::uint32_t message_format = 0) {
    return frame(
        channel, descriptor::transfer,
        [&](ValueWriter& w) {
          w.uint(handle);
          delivery_id ? w.uint(*delivery_id) : w.null();
          delivery_id ? w.binary(as_bytes("tag")) : w.null();
          delivery_id ? w.uint(message_format) : w.null();
          w.boolean(settled);
          w.boolean(more);
          w.null();
          w.null();
          w.null();
          w.boolean(aborted);
          return 10U;
        },
        as_bytes(payload));
  }
  ClientFrames& disposition(std::uint16_t channel, bool from_receiver, std::uint32_t first,
                            std::uint32_t last, bool settled, std::uint64_t state) {
    return frame(channel, descriptor::disposition, [&](ValueWriter& w) {
      w.boolean(from_receiver);
      w.uint(first);
      w.uint(last);
      w.boolean(settled);
      w.descriptor(state);
      w.close(w.list(), 0);
      return 5U;
    });
  }
  ClientFrames& detach(std::uint16_t channel, std::uint32_t handle, bool closed = true) {
    return frame(channel, descriptor::detach, [&](ValueWriter& w) {
      w.uint(handle);
      w.boolean(closed);
      return 2U;
    });
  }
  ClientFrames& end(std::uint16_t channel) {
    return frame(channel, descriptor::end, [](ValueWriter&) { return 0U; });
  }
  ClientFrames& close() {
    return frame(0, descriptor::close, [](ValueWriter&) { return 0U; });
  }

 private:
  static void terminus(ValueWriter& w, std::uint64_t code, std::string_view address) {
    w.descriptor(code);
    const auto list = w.list();
    w.string(address);
    w.close(list, 1);
  }
};

}  // namespace mainstay::amqp
