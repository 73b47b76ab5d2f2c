// TCP byte streams for one protocol: accepted and connected ones alike. The protocol keeps its own output
// buffers; the hub writes from them without copying and reads into one buffer shared by all streams, so an
// idle connection costs only its socket.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
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

class StreamHub {
 public:
  StreamHub(Loop& loop, StreamEvents& events);
  ~StreamHub();

  /// Listens on a numeric address. @param port  0 picks a free one. @return the port.
  /// The failure names the address and, for a port in use, what to do.
  [[nodiscard]] Result<std::uint16_t, Failure> listen(const std::string& host, std::uint16_t port);
  /// Connects; on success on_open() follows, else `failed` with the reason.
  void connect(const std::string& host, std::uint16_t port,
               std::function<void(const std::string& why)> failed);
  /// Writes what pending() has, as far as the socket takes it; the rest follows by itself.
  void flush(StreamId stream);
  /// Ends the stream now; on_end() follows.
  void close(StreamId stream);
  void stop_listening();

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;  // shared with handlers still queued in the loop
};

/// "host:port" with a numeric or "localhost" host; IPv6 in brackets.
struct HostPort {
  std::string host;
  std::uint16_t port{};
};
[[nodiscard]] Result<HostPort, Failure> parse_host_port(const std::string& text);

}  // namespace mainstay::io
