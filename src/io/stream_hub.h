// TCP byte streams for one protocol: accepted and connected ones alike. Their sockets are read and written
// on the loop's thread or on threads beside it; the protocol sees no difference. It keeps its own output
// buffers, and an idle connection costs little more than its socket.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "io/loop.h"

namespace mainstay::io {

using StreamId = std::uint64_t;

/// The protocol behind the streams. Called on the loop's thread, never from inside flush() of the same stream
/// except pending() and on_written().
class StreamEvents {
 public:
  virtual ~StreamEvents() = default;
  /// A stream opened. @return the id it is known by from now on; 0 refuses it (closed at once).
  virtual StreamId on_open(const std::string& remote, bool outgoing) = 0;
  virtual void on_bytes(StreamId stream, BytesView bytes) = 0;
  /// What is to be written, front to back; stays valid until on_written() or on_bytes().
  virtual BytesView pending(StreamId stream) = 0;
  virtual void on_written(StreamId stream, std::size_t bytes) = 0;
  /// True when the protocol is done with the stream: closed once pending() is empty.
  virtual bool wants_close(StreamId stream) = 0;
  /// The stream is gone, whoever ended it. Called exactly once per opened stream.
  virtual void on_end(StreamId stream) = 0;
};

/// On the loop's thread.
class StreamHub {
 public:
  /// No on_end() follows for streams that are open.
  virtual ~StreamHub() = default;

  /// Listens on a numeric address. @param port  0 picks a free one. @return the port.
  /// The failure names the address and, for a port in use, what to do.
  [[nodiscard]] virtual Result<std::uint16_t, Failure> listen(const std::string& host,
                                                              std::uint16_t port) = 0;
  /// Connects; on success on_open() follows, else `failed` with the reason.
  virtual void connect(const std::string& host, std::uint16_t port,
                       std::function<void(const std::string& why)> failed) = 0;
  /// Writes what pending() has, as far as there is room for it; the rest follows by itself.
  virtual void flush(StreamId stream) = 0;
  /// The same for many, which may be cheaper than one by one.
  virtual void flush(std::span<const StreamId> streams) {
    for (const StreamId stream : streams) flush(stream);
  }
  /// Reads what has arrived on every stream by now, without waiting for its turn in the loop: on_bytes() and
  /// on_end() come from within. For who judges by what was said, after the loop was busy or the process stood
  /// still. Never from within a call of the hub. A threaded hub's threads read all the time: nothing to do.
  virtual void read_arrived() = 0;
  /// Ends the stream now; on_end() follows.
  virtual void close(StreamId stream) = 0;
  virtual void stop_listening() = 0;
};

/// Sockets on the loop's thread: output is written from the protocol's buffers without copying, input is read
/// into one buffer that all streams share.
[[nodiscard]] std::unique_ptr<StreamHub> make_stream_hub(Loop& loop, StreamEvents& events);

/// Sockets on `threads` threads, at least one: reading, writing and closing them is not the loop's work.
/// Bytes go through rings of fixed size between it and each thread. on_written() then means "copied, and
/// will be written": the hub keeps at most 256 KiB of a stream whose socket takes nothing, 4 KiB once it
/// keeps 8 MiB of all of a thread, and leaves the rest with pending().
/// @param spin  how long a thread looks for work before it sleeps (Loop::spin_before_sleep()).
[[nodiscard]] std::unique_ptr<StreamHub> make_threaded_stream_hub(Loop& loop, StreamEvents& events,
                                                                  unsigned threads, Duration spin);

/// "host:port" with a numeric or "localhost" host; IPv6 in brackets.
struct HostPort {
  std::string host;
  std::uint16_t port{};
};
[[nodiscard]] Result<HostPort, Failure> parse_host_port(const std::string& text);

}  // namespace mainstay::io
