// Where the register is, as `[register]` of both configuration files says it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/endpoint.h"
#include "config/layout.h"

namespace mainstay::config {

struct RegisterPlace {
  std::string file;            ///< embedded; empty when `etcd` is given
  std::vector<Endpoint> etcd;  ///< members; empty: embedded
  /// The same members in the same order, and where they stand; nameless and undeclared when only their
  /// addresses were given.
  std::vector<Placed> voters;
  std::string group = "main";
  std::string prefix = "/mainstay";  ///< of keys in etcd
  std::string user;                  ///< empty: etcd's authentication is off
  std::string password;              ///< never log it
  bool tls = false;
  std::string ca_file, certificate_file, key_file;  ///< empty ca_file: the system's authorities
  std::uint32_t timeout_ms = 2000;                  ///< of one call, all members tried
};

}  // namespace mainstay::config
