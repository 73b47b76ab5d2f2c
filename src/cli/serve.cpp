// `mainstay serve --config FILE`: one broker node.
#include <iostream>

#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/log.h"
#include "cli/register_place.h"
#include "cli/version.h"
#include "config/broker_config.h"
#include "io/loop.h"
#include "io/system_clock.h"
#include "node/node.h"
#include "node/store_service.h"

namespace mainstay::cli {
namespace {

node::Listener listener(const config::Endpoint& endpoint) {
  return {endpoint.host, endpoint.port};
}

node::GroupOptions group_options(const config::GroupConfig& from) {
  node::GroupOptions to;
  to.listen = listener(from.listen);
  for (const auto& other : from.others) to.others.push_back({other.name, listener(other.address)});
  to.member.may_create = from.create;
  to.member.promotes_itself = from.promotion == config::Promotion::automatic;
  to.member.beacon_every = from.timeouts.beacon_interval;
  to.member.drop_after = from.timeouts.drop_after;
  to.member.lease = from.timeouts.lease;
  to.member.suspect_after = from.timeouts.suspect_after;
  to.member.suspect_after_max = from.timeouts.suspect_after_max;
  to.member.register_every = from.timeouts.register_interval;
  to.member.register_retry = from.timeouts.register_retry;
  to.member.rejoin_after = from.timeouts.rejoin_after;
  to.member.alone_without_register_max = from.alone_without_register_max;
  to.copies_min = from.min_copies;
  for (const config::LayoutProblem& problem : from.unsafe_layout)
    to.layout_warnings.push_back(std::string(config::name_of(problem.rule)) + ": " + problem.what);
  to.keep_log_bytes = from.keep_log_bytes;
  to.copy_bytes_per_second = from.copy_bytes_per_second;
  to.pace.publish_percent = from.catch_up_publish_percent;
  to.pace.within = from.catch_up_within;
  if (from.mode == config::GroupMode::shared_store)
    to.store = node::GroupOptions::Store{from.lock == config::StoreLockPolicy::required};
  return to;
}

node::NodeOptions node_options(const config::BrokerConfig& from) {
  node::NodeOptions to;
  to.version = kVersion;
  to.name = from.node.name;
  to.region = from.node.region;
  to.data_directory = from.node.data;
  if (from.node.cluster) to.cluster = *from.node.cluster;
  to.amqp = listener(from.amqp.listen);
  to.control = listener(from.control.listen);
  to.control_token = from.control.token;
  if (from.replication.listen) {
    to.has_replication = true;
    to.replication = listener(*from.replication.listen);
  }
  for (const config::Endpoint& peer : from.replication.peers) to.peers.push_back(listener(peer));
  to.lag_records_soft = from.replication.soft_lag_records;
  to.lag_records_hard = from.replication.hard_lag_records;
  to.allow_anonymous = from.amqp.anonymous;
  to.message_bytes_max = from.amqp.max_message_bytes;
  to.frame_bytes_max = from.amqp.max_frame_bytes;
  to.idle_timeout_ms = from.amqp.idle_timeout_s * 1000;
  to.connections_max = from.amqp.connections_max;
  for (const auto& user : from.users) to.users.push_back({user.name, user.password});
  for (const auto& queue : from.queues) {
    broker::QueueOptions options;
    options.requires_session = queue.requires_session;
    options.duplicate_detection = queue.duplicate_detection;
    options.duplicate_window_ms = queue.duplicate_window_ms;
    options.lock_duration_ms = queue.lock_duration_ms;
    options.max_delivery_count = queue.max_delivery_count;
    options.default_ttl_ms = queue.default_ttl_ms;
    options.dead_letter_on_expiry = queue.dead_letter_on_expiry;
    options.durability = broker::durability_of(queue.durability).value();
    options.producers_choose_durability = queue.producers_choose_durability;
    to.queues.push_back({queue.name, options});
  }
  to.register_place = register_place(from.region_register);
  to.initial_region = from.region_register.initial_region.value_or("");
  if (from.group) to.group = group_options(*from.group);
  to.segment_bytes = from.journal.segment_bytes;
  to.reserve_bytes = from.journal.reserve_bytes;
  to.checkpoint_every_records = from.journal.checkpoint_every_records;
  to.body_cache_bytes = from.journal.body_cache_bytes;
  to.limits = {from.limits.memory_bytes, from.limits.connection_bytes, from.limits.queue_bytes,
               from.limits.journal_bytes, from.limits.link_credit};
  to.delivery_window = from.limits.delivery_window;
  to.index_bytes = from.memory.index_bytes;
  to.index_hot_bytes = from.memory.index_hot_bytes;
  to.io_threads = from.threads.io;
  to.spin = microseconds(from.threads.spin_us);
  return to;
}

/// Of the file as it is now: [[group.node]], when nothing else would have to change with it.
Result<std::vector<node::GroupOptions::Other>, Failure> reread_nodes(const std::string& file,
                                                                     const config::BrokerConfig& was) {
  const auto now = config::load_broker_config(file);
  if (!now) return Failure{now.error().what};
  const auto refuse = [&](const std::string& what) {
    return Failure{file + ": " + what +
                   " has changed since this node was started: only [[group.node]] is taken over "
                   "by a reload, start the node again for the rest"};
  };
  if (!now->group) return refuse("[group], which is gone,");
  if (now->node.name != was.node.name || now->node.region != was.node.region ||
      now->node.cluster != was.node.cluster) {
    return refuse("\"name\", \"region\" or \"cluster\" of [node]");
  }
  if (now->group->listen.text() != was.group->listen.text()) return refuse("\"listen\" of [group]");
  if (now->group->min_copies != was.group->min_copies)
    return Failure{file + ": \"min_copies\" of [group] would change from " +
                   std::to_string(was.group->min_copies) + " to " + std::to_string(now->group->min_copies) +
                   " (where the file does not say it, it is 1 with one node and 2 with several), and only "
                   "[[group.node]] is taken over by a reload. Write min_copies = " +
                   std::to_string(was.group->min_copies) +
                   (now->group->others.empty() && was.group->min_copies > 1
                        ? " and leave another node listed, or, to go on with one node, start it again with "
                          "this file"
                        : " under [group] and reload; start the node again to change it")};
  return group_options(*now->group).others;
}

int serve(const std::string& file) {
  const auto config = config::load_broker_config(file);
  if (!config) {
    std::cerr << config.error().what << "\n";
    return kConfiguration;
  }
  const node::LogSink log = stderr_log(config->log.level, config->node.name);
  for (const std::string& warning : config::exposed_listeners(*config)) log(node::LogLevel::warning, warning);
  if (config->group) {
    for (const std::string& warning : config::layout_warnings(*config->group))
      log(node::LogLevel::warning, warning);
    if (config->replication.listen || !config->replication.peers.empty()) {
      std::cerr << file
                << ": [group] and [replication] are both given: this version keeps a log on the nodes of one "
                   "region "
                   "or ships it to another region, not both. Take one of the sections away\n";
      return kConfiguration;
    }
  }
  io::SystemClock clock;
  if (config->group && config->group->mode == config::GroupMode::shared_store) {
    const node::ServiceEnd end = node::serve_store(node_options(*config), clock, log);
    if (end.could_not_start) std::cerr << "mainstay serve: " << end.why << "\n";
    return end.could_not_start ? kCouldNotRun : end.status;
  }
  io::Loop loop;
  int status = kOk;
  node::NodeOptions options = node_options(*config);
  if (options.group) options.group->reread = [&file, &config] { return reread_nodes(file, *config); };
  auto node = node::Node::start(std::move(options), loop, clock, log, [&](const std::string&, int code) {
    status = code;
    loop.stop();
  });
  if (!node) {
    std::cerr << "mainstay serve: " << node.error().what << "\n";
    return kCouldNotRun;
  }
  bool stopping = false;
  loop.on_signals([&](int) {
    if (stopping) return loop.stop();  // the second signal does not wait
    stopping = true;
    log(node::LogLevel::info, "shutting down");
    (*node)->shut_down([&] { loop.stop(); });
  });
  try {
    loop.run();
  } catch (const paging::PageLost& lost) {
    (*node)->page_lost(lost.what());
  }
  return status;
}

}  // namespace

void add_serve(CLI::App& app, int& status) {
  auto file = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("serve", "run a broker node");
  command->add_option("--config", *file, "the node's configuration (docs/configuration.md)")->required();
  command->footer(
      "Runs until SIGTERM or SIGINT; the log goes to standard error. /readyz on the control listener answers "
      "200 once the\n"
      "node is recovered and live.\n"
      "Exit status: 0 asked to stop, 2 could not start (port, disk, journal), 70 stopped itself because it "
      "could not trust its\n"
      "disk or log any more, 78 wrong configuration.\n"
      "Example: mainstay serve --config east-1.toml");
  command->callback([file, &status] { status = serve(*file); });
}

}  // namespace mainstay::cli
