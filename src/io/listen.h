// Private to the io room: opening a listener with an error that says what to do.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace mainstay::io {

/// Opens, binds and listens. @return the port bound.
[[nodiscard]] Result<std::uint16_t, Failure> open_listener(boost::asio::ip::tcp::acceptor& acceptor,
                                                           const std::string& host, std::uint16_t port);

}  // namespace mainstay::io
