// One HTTP request, blocking, with a bound on the time it may take: for commands and drills that ask a
// control listener, and for the JSON gateway of etcd.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "io/stream_hub.h"

namespace mainstay::io {

struct HttpAnswer {
  int status{};
  std::string body;
};

/// Files are PEM. The server's certificate is checked, against its name or address, always.
struct TlsFiles {
  std::string ca;                ///< who may sign the server's certificate; empty = the system's authorities
  std::string certificate, key;  ///< ours; both or none
};

struct HttpCall {
  HostPort to;  ///< host: an address or a name. Looking up a name may take longer than `most`
  std::string method, target, body;
  std::string authorization;  ///< value of the header; empty = none
  std::optional<TlsFiles> tls;
  Duration most;  ///< for connect, request and answer together
};

struct HttpFailure {
  std::string what;   ///< names method, address and reason
  bool sent = false;  ///< the server may have got the request
};

/// An answer with an error status is an answer.
[[nodiscard]] Result<HttpAnswer, HttpFailure> http_exchange(const HttpCall& request);

/// Plain HTTP. @param token  sent as `Authorization: Bearer …` unless empty.
[[nodiscard]] Result<HttpAnswer, Failure> http_request(const HostPort& to, const std::string& method,
                                                       const std::string& target, const std::string& body,
                                                       const std::string& token, Duration most);

}  // namespace mainstay::io
