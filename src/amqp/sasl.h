// The server's side of SASL (part 5 of the standard, section 5.3): which mechanisms, whose name, what answer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "amqp/performatives.h"

namespace mainstay::amqp {

class SaslServer {
 public:
  explicit SaslServer(std::vector<std::string> mechanisms) : mechanisms_(std::move(mechanisms)) {}

  /// Appends the body of the sasl-mechanisms frame.
  void encode_mechanisms(Buffer& to) const;

  enum class Step : std::uint8_t {
    ask,        ///< request() is complete: put it to the handler
    challenge,  ///< the client gave no initial response: send encode_challenge()
    refuse,     ///< unknown mechanism, or a response that is none
    malformed,
  };
  /// Takes a frame of the client. `problem` explains refuse and malformed.
  Step take(const FrameBody& frame, std::string& problem);
  /// Valid until the frame's bytes are gone.
  [[nodiscard]] const SaslRequest& request() const { return request_; }

  static void encode_challenge(Buffer& to);
  static void encode_outcome(Buffer& to, bool ok);

 private:
  Step respond(BytesView response, std::string& problem);

  std::vector<std::string> mechanisms_;
  bool challenged_ = false;
  SaslRequest request_;
};

}  // namespace mainstay::amqp
