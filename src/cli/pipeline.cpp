// `mainstay pipeline builder|processor` and `mainstay archive replay`: the disaster-recovery pipeline's
// processes.
#include <atomic>
#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.h"
#include "cli/control_client.h"
#include "cli/exit_codes.h"
#include "cli/log.h"
#include "cli/register_place.h"
#include "cli/stop_signals.h"
#include "config/pipeline_config.h"
#include "io/system_clock.h"
#include "io/system_random.h"
#include "pipeline/archive_replay.h"
#include "pipeline/processor.h"
#include "pipeline/queue_builder.h"

namespace mainstay::cli {
namespace {

namespace json = boost::json;

pipeline::Log log_of(const config::PipelineConfig& config, const std::string& component) {
  return [sink = stderr_log("info", config.pipeline.region + "/" + component)](pipeline::Level level,
                                                                               const std::string& text) {
    sink(level == pipeline::Level::info      ? node::LogLevel::info
         : level == pipeline::Level::warning ? node::LogLevel::warning
                                             : node::LogLevel::error,
         text);
  };
}

pipeline::BrokerAccess broker_access(const config::PipelineConfig& from) {
  pipeline::BrokerAccess to;
  for (const config::Endpoint& endpoint : from.amqp.endpoints)
    to.endpoints.push_back({endpoint.host, endpoint.port});
  to.user = from.amqp.user;
  to.password = from.amqp.password;
  to.queue = from.amqp.queue;
  to.connect_timeout = milliseconds(from.amqp.connect_timeout_ms);
  to.idle_timeout = milliseconds(from.amqp.idle_timeout_ms);
  to.reconnect.floor = milliseconds(from.amqp.reconnect_min_ms);
  to.reconnect.ceiling = milliseconds(from.amqp.reconnect_max_ms);
  return to;
}

// Loads the file and runs `work` with it; the failure is told here.
template <class Work>
int with_config(const std::string& file, const char* command, Work work) {
  const auto config = config::load_pipeline_config(file);
  if (!config) {
    std::cerr << config.error().what << "\n";
    return kConfiguration;
  }
  const Result<void, Failure> result = work(*config, stop_on_signals());
  if (!result) {
    std::cerr << "mainstay " << command << ": " << result.error().what << "\n";
    return kCouldNotRun;
  }
  return kOk;
}

Result<void, Failure> need(const std::string& value, const char* key) {
  if (value.empty()) return Failure{std::string("the configuration needs ") + key};
  return {};
}

int builder(const std::string& file) {
  return with_config(
      file, "pipeline builder",
      [](const config::PipelineConfig& config, const std::atomic<bool>& stop) -> Result<void, Failure> {
        for (const auto& [value, key] : {std::pair(&config.source.directory, "[source] directory"),
                                         std::pair(&config.spool.directory, "[spool] directory"),
                                         std::pair(&config.archive.directory, "[archive] directory")}) {
          if (auto there = need(*value, key); !there) return there;
        }
        pipeline::QueueBuilderConfig to;
        to.region = config.pipeline.region;
        to.worker = config.pipeline.worker;
        to.source_dir = config.source.directory;
        to.spool_dir = config.spool.directory;
        to.archive_dir = config.archive.directory;
        to.status_file = config.status.file;
        to.broker = broker_access(config);
        to.file_bytes_max = config.limits.file_bytes_max;
        to.batch_items_max = config.limits.batch_items_max;
        to.pending_items_max = config.limits.pending_items_max;
        to.pending_bytes_max = config.limits.pending_bytes_max;
        to.gate_interval = milliseconds(config.limits.gate_interval_ms);
        io::SystemClock clock;
        io::SystemRandom random;
        const auto opened = etcd::open_register(register_place(config.region_register), clock);
        if (!opened) return Failure{opened.error().what};
        return pipeline::run_queue_builder(to, **opened, stop, clock, random, log_of(config, "builder"));
      });
}

int processor(const std::string& file) {
  return with_config(
      file, "pipeline processor",
      [](const config::PipelineConfig& config, const std::atomic<bool>& stop) -> Result<void, Failure> {
        for (const auto& [value, key] :
             {std::pair(&config.ledger.file, "[ledger] file"),
              std::pair(&config.destination.directory, "[destination] directory")}) {
          if (auto there = need(*value, key); !there) return there;
        }
        pipeline::ProcessorConfig to;
        to.region = config.pipeline.region;
        to.worker = config.pipeline.worker;
        to.ledger_path = config.ledger.file;
        to.destination_dir = config.destination.directory;
        to.parked_dir = config.destination.parked;
        to.status_file = config.status.file;
        to.broker = broker_access(config);
        to.sessions_max = config.limits.sessions_max;
        to.batch_max = config.limits.batch_max;
        to.session_batch = config.limits.session_batch;
        to.session_timeout = seconds(config.limits.session_timeout_s);
        to.gate_interval = milliseconds(config.limits.gate_interval_ms);
        io::SystemClock clock;
        io::SystemRandom random;
        const auto opened = etcd::open_register(register_place(config.region_register), clock);
        if (!opened) return Failure{opened.error().what};
        return pipeline::run_processor(to, **opened, stop, clock, random, log_of(config, "processor"));
      });
}

// The broker's own knowledge of message ids, asked over its control listener.
class ControlKnownMessages final : public pipeline::KnownMessages {
 public:
  ControlKnownMessages(ControlEndpoint node, std::string queue)
      : node_(std::move(node)), queue_(std::move(queue)) {}

  Result<std::vector<bool>, Failure> known(std::span<const std::string> ids) override {
    json::array list;
    for (const std::string& id : ids) list.push_back(json::value(id));
    const auto answer = ask(node_, "POST", "/messages/known",
                            json::serialize(json::object{{"queue", queue_}, {"ids", list}}), seconds(30));
    if (!answer) return answer.error();
    const auto* known = answer->as_object().if_contains("known");
    if (known == nullptr || !known->is_array() || known->as_array().size() != ids.size()) {
      return Failure{"the node's answer about known messages does not fit the question"};
    }
    std::vector<bool> out;
    for (const json::value& one : known->as_array()) out.push_back(one.is_bool() && one.as_bool());
    return out;
  }

 private:
  ControlEndpoint node_;
  std::string queue_;
};

struct ReplayArguments {
  std::string config;
  bool missing = false;
  bool json = false;
};

int replay(const ReplayArguments& arguments) {
  return with_config(
      arguments.config, "archive replay",
      [&](const config::PipelineConfig& config, const std::atomic<bool>& stop) -> Result<void, Failure> {
        if (!arguments.missing)
          return Failure{"say --missing: only what the promoted region lacks can be replayed"};
        for (const auto& [value, key] : {std::pair(&config.archive.directory, "[archive] directory"),
                                         std::pair(&config.ledger.file, "[ledger] file")}) {
          if (auto there = need(*value, key); !there) return there;
        }
        if (!config.control.endpoint) {
          return Failure{
              "the configuration needs [control] endpoint and token: the broker is asked what it has"};
        }
        pipeline::ArchiveReplayConfig to;
        to.region = config.pipeline.region;
        to.archive_dir = config.archive.directory;
        to.ledger_path = config.ledger.file;
        to.broker = broker_access(config);
        const ControlEndpoint node{{config.control.endpoint->host, config.control.endpoint->port},
                                   config.control.token};
        ControlKnownMessages known(node, config.amqp.queue);
        io::SystemClock clock;
        io::SystemRandom random;
        const auto opened = etcd::open_register(register_place(config.region_register), clock);
        if (!opened) return Failure{opened.error().what};
        const auto report =
            pipeline::run_archive_replay(to, **opened, known, stop, clock, random, log_of(config, "replay"));
        if (!report) return report.error();
        const auto admitted =
            ask(node, "POST", "/region/admit-producers",
                json::serialize(json::object{
                    {"by", "archive replay of region " + to.region},
                    {"reason", std::to_string(report->recovered) + " missing messages replayed"}}),
                seconds(30));
        if (!admitted)
          return Failure{"everything was replayed, but producers are not admitted: " + admitted.error().what};
        if (arguments.json) {
          json::array ids;
          for (const std::string& id : report->recovered_ids) ids.push_back(json::value(id));
          std::cout << json::serialize(json::object{{"term", report->term.value},
                                                    {"archived", report->archived},
                                                    {"done", report->done},
                                                    {"known", report->known},
                                                    {"recovered", report->recovered},
                                                    {"conflicts", report->conflicts},
                                                    {"resent_unknown", report->resent_unknown},
                                                    {"recovered_ids", ids}})
                    << "\n";
        } else {
          std::cout << "archived under earlier terms   " << report->archived
                    << "\n  finished already             " << report->done
                    << "\n  known to the broker          " << report->known
                    << "\n  recovered from the archive   " << report->recovered
                    << "\n  conflicts, left to a person   " << report->conflicts
                    << "\nproducers are admitted\n";
        }
        return {};
      });
}

}  // namespace

void add_pipeline(CLI::App& app, int& status) {
  CLI::App* pipeline = app.add_subcommand("pipeline", "run a process of the disaster-recovery pipeline");
  pipeline->require_subcommand(1);
  pipeline->footer(
      "Both run until SIGTERM or SIGINT and may be killed at any instant: what they had begun is finished by "
      "the next.\n"
      "Exit status: 0 asked to stop, 2 could not start, 78 wrong configuration.");
  auto builder_file = std::make_shared<std::string>();
  CLI::App* build =
      pipeline->add_subcommand("builder", "QueueBuilder: source folder → spool → archive → queue");
  build->add_option("--config", *builder_file, "pipeline configuration (docs/configuration.md)")->required();
  build->footer("Example: mainstay pipeline builder --config east-pipeline.toml");
  build->callback([builder_file, &status] { status = builder(*builder_file); });
  auto processor_file = std::make_shared<std::string>();
  CLI::App* process = pipeline->add_subcommand("processor", "Processor: queue → ledger → destination folder");
  process->add_option("--config", *processor_file, "pipeline configuration (docs/configuration.md)")
      ->required();
  process->footer("Example: mainstay pipeline processor --config east-pipeline.toml");
  process->callback([processor_file, &status] { status = processor(*processor_file); });
}

void add_archive(CLI::App& app, int& status) {
  CLI::App* archive = app.add_subcommand("archive", "the copies kept outside the broker");
  archive->require_subcommand(1);
  auto arguments = std::make_shared<ReplayArguments>();
  CLI::App* command =
      archive->add_subcommand("replay", "after a forced promotion: send in what the promoted region lacks");
  command->add_option("--config", arguments->config, "pipeline configuration of the promoted region")
      ->required();
  command
      ->add_flag("--missing", arguments->missing,
                 "what is neither done in the ledger nor known to the broker")
      ->required();
  command->add_flag("--json", arguments->json, "print the report as JSON, with every recovered id");
  command->footer(
      "Sends in order per ordering key, with the same ids, then admits producers. May be killed and run "
      "again.\n"
      "Exit status: 0 all of it is in, 2 it could not finish (the reason is told), 78 wrong configuration.\n"
      "Example: mainstay archive replay --missing --config west-pipeline.toml");
  command->callback([arguments, &status] { status = replay(*arguments); });
}

}  // namespace mainstay::cli
