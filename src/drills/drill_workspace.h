// Where a drill with two regions lives: what belongs to a region and is lost with it, what survives, and the
// configuration of every process.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace mainstay::drills {

struct RegionPorts {
  std::uint16_t amqp{}, control{}, replication{};
};

/// One region's own directory: lost with it.
struct RegionPaths {
  std::string name, directory;
  std::string host;  ///< IPv4 address that its broker listens on
  RegionPorts ports;
  [[nodiscard]] std::string broker_config() const { return directory + "/broker.toml"; }
  [[nodiscard]] std::string builder_config() const { return directory + "/builder.toml"; }
  [[nodiscard]] std::string processor_config() const { return directory + "/processor.toml"; }
  [[nodiscard]] std::string journal() const { return directory + "/journal"; }
  [[nodiscard]] std::string control() const { return host + ":" + std::to_string(ports.control); }
  [[nodiscard]] std::string log(const std::string& process) const {
    return directory + "/" + process + ".log";
  }
};

struct Workspace {
  std::string directory;
  RegionPaths east, west;
  std::string control_token;

  // Outside both regions: the bank's own systems, geo-replicated storage, and the witness's evidence.
  [[nodiscard]] std::string shared() const { return directory + "/shared"; }
  [[nodiscard]] std::string source() const { return shared() + "/source"; }
  [[nodiscard]] std::string inbox() const { return source() + "/inbox"; }
  [[nodiscard]] std::string claimed() const { return source() + "/claimed"; }
  [[nodiscard]] std::string quarantine() const { return source() + "/quarantine"; }
  [[nodiscard]] std::string parked_at_source() const { return source() + "/parked"; }
  [[nodiscard]] std::string archive() const { return shared() + "/archive"; }
  [[nodiscard]] std::string ledger() const { return shared() + "/ledger.db"; }
  [[nodiscard]] std::string region_register() const { return shared() + "/register.db"; }
  [[nodiscard]] std::string destination() const { return shared() + "/destination"; }
  [[nodiscard]] std::string parked() const { return shared() + "/parked"; }
  [[nodiscard]] std::string generated() const { return directory + "/generated.tsv"; }
  [[nodiscard]] std::string arrivals() const { return directory + "/arrivals.tsv"; }
};

inline constexpr const char* drill_queue = "payments";

/// Makes the directories and writes the configuration files. @param directory  absolute; must be empty or
/// absent.
/// @param east_host, west_host  addresses of the brokers.
[[nodiscard]] Result<Workspace, Failure> make_workspace(const std::string& directory,
                                                        const std::string& east_host = "127.0.0.1",
                                                        const std::string& west_host = "127.0.0.1");

}  // namespace mainstay::drills
