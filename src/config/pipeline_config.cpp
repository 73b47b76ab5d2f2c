#include "config/pipeline_config.h"

#include <fmt/format.h>

#include "config/common.h"

namespace mainstay::config {
namespace {

using Need = TableReader::Need;
using Role = PipelineConfig::Role;

/// A path that only some roles need: absent is a problem for those.
std::string role_path(TableReader& t, std::string_view table, std::string_view key, bool needed,
                      const std::string& directory, bool listing, Report& report) {
  std::string path = read_path(t, key, Need::optional, directory);
  if (needed && !listing && !t.has(key))
    report.add(t.place(),
               fmt::format("\"{}\" in [{}] is missing; this role needs it (see \"role\" in [pipeline])", key,
                           table));
  return path;
}

PipelineConfig read(const Node* root, const std::string& directory, Report& report) {
  const bool listing = root == nullptr;
  PipelineConfig c;
  TableReader top(report, root, "", {});
  {
    TableReader t = top.table("pipeline");
    c.pipeline.region = read_name(t, "region", Need::required);
    c.pipeline.worker = read_name(t, "worker", Need::required);
    const std::string role = t.choice("role", {"both", "queue-builder", "processor"}, "both");
    c.pipeline.role = role == "queue-builder" ? Role::queue_builder
                      : role == "processor"   ? Role::processor
                                              : Role::both;
  }
  const bool builds = c.pipeline.builds();
  const bool processes = c.pipeline.processes();
  {
    TableReader t = top.table("amqp");
    c.amqp.endpoints = t.endpoints("endpoints", 1);
    for (const Endpoint& endpoint : c.amqp.endpoints)
      if (endpoint.port == 0)
        t.problem("endpoints",
                  fmt::format("\"{}\" has port 0: a client needs the broker's port", endpoint.text()));
    c.amqp.user = read_name(t, "user", Need::optional);
    c.amqp.password = read_password(t, directory, t.has("user"));
    if (!t.has("user") && (t.has("password") || t.has("password_file")))
      t.problem(t.has("password") ? "password" : "password_file", "a password needs \"user\" in [amqp]");
    c.amqp.queue = read_queue_name(t, "queue");
  }
  {
    TableReader t = top.table("register");
    c.region_register.file = read_path(t, "file", Need::required, directory);
    c.region_register.group = read_name(t, "group", Need::optional, c.region_register.group);
  }
  {
    TableReader t = top.table("source");
    c.source.directory = role_path(t, "source", "directory", builds, directory, listing, report);
    c.source.quarantine = read_path(t, "quarantine", Need::optional, directory);
    if (c.source.quarantine.empty() && !c.source.directory.empty())
      c.source.quarantine = c.source.directory + ".quarantine";
    c.source.poll_ms = t.integer("poll_ms", 10, 3'600'000, c.source.poll_ms);
  }
  {
    TableReader t = top.table("spool");
    c.spool.directory = role_path(t, "spool", "directory", builds, directory, listing, report);
  }
  {
    TableReader t = top.table("archive");
    c.archive.directory = role_path(t, "archive", "directory", builds, directory, listing, report);
  }
  {
    TableReader t = top.table("ledger");
    c.ledger.file = role_path(t, "ledger", "file", processes, directory, listing, report);
  }
  {
    TableReader t = top.table("destination");
    c.destination.directory = role_path(t, "destination", "directory", processes, directory, listing, report);
    c.destination.parked = read_path(t, "parked", Need::optional, directory);
    if (c.destination.parked.empty() && !c.destination.directory.empty())
      c.destination.parked = c.destination.directory + ".parked";
  }
  {
    TableReader t = top.table("status");
    c.status.file = read_path(t, "file", Need::optional, directory);
  }
  {
    TableReader t = top.table("control");
    c.control.endpoint = t.endpoint("endpoint");
    c.control.token = t.secret("token");
  }
  {
    TableReader t = top.table("limits");
    auto& l = c.limits;
    l.sessions_max = static_cast<std::uint32_t>(t.integer("sessions_max", 1, 1024, l.sessions_max));
    l.batch_max = static_cast<std::uint32_t>(t.integer("batch_max", 1, 10'000, l.batch_max));
    l.in_flight_max = static_cast<std::uint32_t>(t.integer("in_flight_max", 1, 100'000, l.in_flight_max));
    l.message_bytes_max = t.size("message_bytes_max", 1024, 32ULL << 20, l.message_bytes_max);
    l.spool_bytes_max = t.size("spool_bytes_max", 1ULL << 20, 1ULL << 50, l.spool_bytes_max);
    l.retry_min_ms = t.integer("retry_min_ms", 1, 3'600'000, l.retry_min_ms);
    l.retry_max_ms = t.integer("retry_max_ms", 1, 3'600'000, l.retry_max_ms);
    if (l.retry_min_ms > l.retry_max_ms)
      t.problem("retry_min_ms",
                fmt::format("\"retry_min_ms\" ({}) must not be greater than \"retry_max_ms\" ({})",
                            l.retry_min_ms, l.retry_max_ms));
  }
  return c;
}

}  // namespace

Result<PipelineConfig, Failure> parse_pipeline_config(std::string_view text, const std::string& file,
                                                      const std::string& directory) {
  const auto document = parse_document(text, file);
  if (!document) return document.error();
  Report report(file);
  PipelineConfig config = read(&*document, directory, report);
  if (!report.empty()) return report.failure();
  return config;
}

Result<PipelineConfig, Failure> load_pipeline_config(const std::string& path) {
  const auto text = read_text_file(path, kConfigBytesMax);
  if (!text)
    return Failure{
        text.error().what +
        "\nname the pipeline's configuration with --config FILE; docs/configuration.md has an example"};
  return parse_pipeline_config(*text, path, directory_of(path));
}

std::vector<KeyInfo> pipeline_config_keys() {
  Report report("");
  (void)read(nullptr, "", report);
  return report.keys();
}

}  // namespace mainstay::config
