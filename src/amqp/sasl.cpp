#include "amqp/sasl.h"

#include <algorithm>

#include "amqp/value_writer.h"

namespace mainstay::amqp {

void SaslServer::encode_mechanisms(Buffer& to) const {
  ValueWriter w(to);
  w.descriptor(descriptor::sasl_mechanisms);
  const auto list = w.list();
  const std::vector<std::string_view> names(mechanisms_.begin(), mechanisms_.end());
  w.symbols(names);
  w.close(list, 1);
}

void SaslServer::encode_challenge(Buffer& to) {
  ValueWriter w(to);
  w.descriptor(descriptor::sasl_challenge);
  const auto list = w.list();
  w.binary({});
  w.close(list, 1);
}

void SaslServer::encode_outcome(Buffer& to, bool ok) {
  ValueWriter w(to);
  w.descriptor(descriptor::sasl_outcome);
  const auto list = w.list();
  w.ubyte(ok ? 0 : 1);  // 1: authentication failed
  w.close(list, 1);
}

SaslServer::Step SaslServer::take(const FrameBody& frame, std::string& problem) {
  if (frame.code == descriptor::sasl_response && challenged_) {
    Fields f(frame.fields);
    const BytesView response = f.required(f.binary());
    if (!f.ok()) {
      problem = "sasl-response: the response is missing or not binary";
      return Step::malformed;
    }
    return respond(response, problem);
  }
  if (frame.code != descriptor::sasl_init || challenged_) {
    problem = "a SASL frame came that is not expected now";
    return Step::malformed;
  }
  Fields f(frame.fields);
  const std::string_view mechanism = f.required(f.symbol());
  const auto response = f.binary();
  f.string();  // hostname
  if (!f.ok()) {
    problem = "sasl-init: field " + std::to_string(f.failed_at()) + " is missing or of the wrong type";
    return Step::malformed;
  }
  if (std::find(mechanisms_.begin(), mechanisms_.end(), mechanism) == mechanisms_.end()) {
    problem = "SASL mechanism '" + std::string(mechanism.substr(0, 64)) + "' is not offered here";
    return Step::refuse;
  }
  if (mechanism == "PLAIN") {
    request_.mechanism = "PLAIN";
    if (response) return respond(*response, problem);
    challenged_ = true;
    return Step::challenge;
  }
  if (mechanism == "ANONYMOUS" || mechanism == "MSSBCBS") {
    request_.mechanism = "ANONYMOUS";
    return Step::ask;
  }
  problem = "SASL mechanism '" + std::string(mechanism) + "' is offered but not known to the engine";
  return Step::refuse;
}

SaslServer::Step SaslServer::respond(BytesView response, std::string& problem) {
  // RFC 4616: [authzid] NUL authcid NUL passwd. The authorisation identity is ignored.
  const std::string_view text = as_text(response);
  const std::size_t first = text.find('\0');
  const std::size_t second = first == std::string_view::npos ? first : text.find('\0', first + 1);
  if (second == std::string_view::npos || second == first + 1 ||
      text.find('\0', second + 1) != std::string_view::npos) {
    problem = "SASL PLAIN: the response is not [authzid] NUL user NUL password";
    return Step::refuse;
  }
  request_.user = text.substr(first + 1, second - first - 1);
  request_.password = text.substr(second + 1);
  return Step::ask;
}

}  // namespace mainstay::amqp
