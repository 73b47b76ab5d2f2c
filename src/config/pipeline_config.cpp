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
    auto& a = c.amqp;
    a.connect_timeout_ms = t.integer("connect_timeout_ms", 100, 60'000, a.connect_timeout_ms);
    a.idle_timeout_ms = t.integer("idle_timeout_ms", 1000, 600'000, a.idle_timeout_ms);
    a.reconnect_min_ms = t.integer("reconnect_min_ms", 1, 10'000, a.reconnect_min_ms);
    a.reconnect_max_ms = t.integer("reconnect_max_ms", 1, 600'000, a.reconnect_max_ms);
    if (a.reconnect_max_ms < a.reconnect_min_ms)
      t.problem("reconnect_max_ms",
                fmt::format("\"reconnect_max_ms\" ({}) must not be less than \"reconnect_min_ms\" ({})",
                            a.reconnect_max_ms, a.reconnect_min_ms));
  }
  {
    TableReader t = top.table("register");
    std::vector<Place> voters;  // where they stand matters to brokers only
    c.region_register = read_register(t, directory, voters);
  }
  {
    TableReader t = top.table("source");
    c.source.directory = role_path(t, "source", "directory", builds, directory, listing, report);
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
    const auto count = [&](std::string_view key, std::uint32_t& value, std::int64_t most) {
      value = static_cast<std::uint32_t>(t.integer(key, 1, most, value));
    };
    count("batch_items_max", l.batch_items_max, 10'000);
    count("pending_items_max", l.pending_items_max, 1'000'000);
    l.pending_bytes_max = t.size("pending_bytes_max", 1ULL << 20, 1ULL << 36, l.pending_bytes_max);
    l.file_bytes_max = t.size("file_bytes_max", 1024, 1ULL << 32, l.file_bytes_max);
    count("sessions_max", l.sessions_max, 1024);
    count("session_batch", l.session_batch, 10'000);
    l.session_timeout_s = t.integer("session_timeout_s", 1, 300, l.session_timeout_s);
    count("batch_max", l.batch_max, 10'000);
    l.gate_interval_ms = t.integer("gate_interval_ms", 1, 60'000, l.gate_interval_ms);
    if (l.batch_items_max > l.pending_items_max)
      t.problem("batch_items_max",
                fmt::format("\"batch_items_max\" ({}) must not be greater than \"pending_items_max\" ({})",
                            l.batch_items_max, l.pending_items_max));
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
