#include "io/listen.h"

namespace mainstay::io {

Result<std::uint16_t, Failure> open_listener(boost::asio::ip::tcp::acceptor& acceptor,
                                             const std::string& host, std::uint16_t port) {
  using boost::asio::ip::tcp;
  const std::string name = host + ":" + std::to_string(port);
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
  if (error) return Failure{"cannot listen on " + name + ": '" + host + "' is not a numeric IP address"};
  const tcp::endpoint endpoint(address, port);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(1024, error);
  if (error) {
    std::string what = "cannot listen on " + name + ": " + error.message();
    if (error == boost::asio::error::address_in_use) {
      what +=
          "; another process has the port: end it, or give this listener another port in the configuration "
          "(`ss -ltnp` shows who has it)";
    }
    acceptor.close(error);
    return Failure{what};
  }
  return acceptor.local_endpoint().port();
}

}  // namespace mainstay::io
