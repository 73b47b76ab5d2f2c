// Opens the registers that a configuration names.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "coordination/group_register.h"
#include "coordination/register.h"
#include "etcd/etcd_store.h"

namespace mainstay::etcd {

/// Where a group's register is: a file, or voters.
struct RegisterPlace {
  std::string file;                  ///< of the embedded store; not used when etcd is given
  std::optional<EtcdOptions> etcd;   ///< `key` is made here
  std::string prefix = "/mainstay";  ///< of keys in etcd
  std::string group = "main";

  /// For messages: "the register /path/register.db", "the register in etcd (10.0.0.1:2379, …)".
  [[nodiscard]] std::string text() const;
};

/// Opening a file may fail. Voters are asked only when the register is: a broker starts while they are away.
/// @param clock  outlives the register
[[nodiscard]] Result<std::unique_ptr<coordination::Register>, coordination::RegisterError> open_register(
    const RegisterPlace& place, Clock& clock);

/// The register of who leads the group's nodes of one region. In the same place, under a name of its own.
[[nodiscard]] Result<std::unique_ptr<coordination::GroupRegister>, coordination::RegisterError>
open_group_register(const RegisterPlace& place, const std::string& region, Clock& clock);

}  // namespace mainstay::etcd
