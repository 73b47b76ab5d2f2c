// What the pipeline's components are told. Plain values; the command line reads them from TOML.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "client/connection.h"
#include "client/endpoint_choice.h"

namespace mainstay::pipeline {

/// Where the broker is and how to get in.
struct BrokerAccess {
  std::vector<client::Endpoint> endpoints;  ///< tried in order
  std::string user, password;
  std::string queue;                      ///< address
  Duration connect_timeout = seconds(3);  ///< per endpoint: TCP, SASL and open together
  Duration idle_timeout = seconds(10);    ///< silence after which a broker counts as lost
  client::ReconnectOptions reconnect;
  [[nodiscard]] client::ClientOptions client_options(std::string container_id) const {
    client::ClientOptions options;
    options.endpoints = endpoints;
    options.user = user;
    options.password = password;
    options.container_id = std::move(container_id);
    options.connect_timeout = connect_timeout;
    options.idle_timeout = idle_timeout;
    return options;
  }
};

struct QueueBuilderConfig {
  std::string region;  ///< of this builder
  std::string
      worker;  ///< name in claims and archive packs: letters, digits, '-', '_', '.'; keep it over restarts
  std::string source_dir;   ///< folder_source.h; survives the region
  std::string spool_dir;    ///< region-local
  std::string archive_dir;  ///< survives the region
  std::string status_file;  ///< empty: none
  BrokerAccess broker;
  std::uint64_t file_bytes_max = 256U << 20;
  std::size_t batch_items_max = 256;     ///< items made durable together
  std::size_t pending_items_max = 4096;  ///< taken and not yet with the broker
  std::size_t pending_bytes_max = 64U << 20;
  Duration gate_interval = milliseconds(100);    ///< how often a closed gate is asked again
  Duration status_interval = milliseconds(250);  ///< how often the status file is written
};

struct ProcessorConfig {
  std::string region, worker;
  std::string ledger_path;      ///< SQLite file; survives the region
  std::string destination_dir;  ///< folder_destination.h
  std::string parked_dir;       ///< conflicts
  std::string status_file;
  BrokerAccess broker;
  std::size_t sessions_max = 32;          ///< held at the same time
  std::size_t batch_max = 256;            ///< messages claimed together
  std::uint32_t session_batch = 32;       ///< messages taken from a session before it is given back
  Duration session_timeout = seconds(5);  ///< how long the broker may look for a session with messages
  Duration gate_interval = milliseconds(100);
  Duration status_interval = milliseconds(250);
};

struct ArchiveReplayConfig {
  std::string region;  ///< the promoted one
  std::string archive_dir;
  std::string ledger_path;
  BrokerAccess broker;
  std::size_t in_flight_max = 1024;
  Duration give_up_after = seconds(60);  ///< without any progress
};

}  // namespace mainstay::pipeline
