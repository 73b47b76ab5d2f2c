// Why bytes from another node are no packet.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace mainstay::replication {

enum class PacketErrorCode : std::uint8_t {
  incomplete,  ///< fewer bytes than the packet announces
  damaged,     ///< no packet of ours, or a checksum that does not match
  version,     ///< another version of the protocol
  malformed,   ///< checksum right, content impossible: a peer with a bug
};
struct PacketError {
  PacketErrorCode code{};
  std::string what;
};
[[noreturn]] void throw_exception_from_error(const PacketError& error, const boost::source_location& where);

}  // namespace mainstay::replication
