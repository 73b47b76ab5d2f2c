// What a pipeline process is told: `mainstay pipeline --config FILE`. Plain values with their defaults; the
// reference for users is docs/configuration.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/reader.h"
#include "config/register_place.h"

namespace mainstay::config {

struct PipelineConfig {
  enum class Role : std::uint8_t { both, queue_builder, processor };
  struct Pipeline {
    std::string region;
    std::string worker;  ///< unique among the processes that share a ledger
    Role role = Role::both;
    [[nodiscard]] bool builds() const { return role != Role::processor; }
    [[nodiscard]] bool processes() const { return role != Role::queue_builder; }
  } pipeline;
  struct Amqp {
    std::vector<Endpoint> endpoints;  ///< tried in order, at least one
    std::string user;                 ///< empty: anonymous
    std::string password;             ///< never log it
    std::string queue;
    std::int64_t connect_timeout_ms = 3000;  ///< per endpoint: TCP, SASL and open together
    std::int64_t idle_timeout_ms = 10'000;   ///< silence after which a broker counts as lost
    std::int64_t reconnect_min_ms = 25;      ///< the shortest wait between two tries of an endpoint
    std::int64_t reconnect_max_ms = 5000;    ///< the longest
  } amqp;
  RegisterPlace region_register;
  struct Source {
    std::string directory;  ///< set when builds(); holds inbox/, quarantine/, parked/ and more
  } source;
  struct Spool {
    std::string directory;  ///< set when builds()
  } spool;
  struct Archive {
    std::string directory;  ///< set when builds()
  } archive;
  struct Ledger {
    std::string file;  ///< set when processes()
  } ledger;
  struct Destination {
    std::string directory;  ///< set when processes()
    std::string parked;     ///< conflicting messages; default: `directory` + ".parked"
  } destination;
  struct Status {
    std::string file;  ///< empty: no status is written
  } status;
  struct Control {
    std::optional<Endpoint> endpoint;  ///< of the broker's control listener
    std::string token;
  } control;
  struct Limits {
    std::uint32_t batch_items_max = 256;            ///< queue builder: items made durable together
    std::uint32_t pending_items_max = 4096;         ///< queue builder: taken, not yet with the broker
    std::uint64_t pending_bytes_max = 64ULL << 20;  ///< the same in bytes
    std::uint64_t file_bytes_max = 256ULL << 20;    ///< of one source file
    std::uint32_t sessions_max = 32;                ///< processor: held at once
    std::uint32_t session_batch = 32;               ///< processor: taken from a session before it goes back
    std::int64_t session_timeout_s = 5;             ///< processor: how long the broker may look for a session
    std::uint32_t batch_max = 256;                  ///< processor: messages per ledger transaction
    std::int64_t gate_interval_ms = 100;            ///< how often a closed gate is asked again
  } limits;
};

/// Reads and checks the file. The Failure holds every problem, one line each: file:line:column, what was
/// found, what is allowed. Relative paths are taken from the file's directory; password_file is read here.
[[nodiscard]] Result<PipelineConfig, Failure> load_pipeline_config(const std::string& path);

/// The same from text. @param directory  what relative paths are relative to.
[[nodiscard]] Result<PipelineConfig, Failure> parse_pipeline_config(std::string_view text,
                                                                    const std::string& file,
                                                                    const std::string& directory);

/// Every key of the file, in the reader's order.
[[nodiscard]] std::vector<KeyInfo> pipeline_config_keys();

}  // namespace mainstay::config
