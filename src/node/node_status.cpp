// What /status and /metrics tell of a node.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "broker/effects.h"
#include "node/node.h"

namespace mainstay::node {
namespace {

std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage used{};
  if (getrusage(RUSAGE_SELF, &used) != 0) return 0;
  const auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return of(used.ru_utime) + of(used.ru_stime);
}

const char* role_name(replica::Role role) {
  switch (role) {
    case replica::Role::live:
      return "live";
    case replica::Role::standby:
      return "standby";
    case replica::Role::sealed:
      return "sealed";
  }
  return "?";
}

const char* phase_name(coordination::Phase phase) {
  switch (phase) {
    case coordination::Phase::active:
      return "active";
    case coordination::Phase::switching:
      return "switching";
    case coordination::Phase::recovering:
      return "recovering";
  }
  return "?";
}

}  // namespace

http::NodeStatus Node::status() {
  http::NodeStatus s;
  const WallTime wall = clock_.wall();
  s.version = options_.version;
  s.node = options_.name;
  s.region = options_.region;
  s.resident_bytes = resident_bytes();
  s.cpu_seconds = cpu_seconds();
  std::error_code no_space_told;
  if (const auto space = std::filesystem::space(options_.data_directory, no_space_told); !no_space_told) {
    s.disk_size_bytes = space.capacity;
    s.disk_free_bytes = space.available;
  }
  s.uptime_seconds = (clock_.now() - started_).seconds();
  s.active_region.active = region_.region;
  s.active_region.term = region_.term.value;
  s.active_region.phase = region_known_ ? phase_name(region_.phase) : "unknown";
  s.active_region.problem = register_problem_.empty() && behind_ ? behind_record() : register_problem_;
  if (group_ != nullptr) s.group = group_status();
  const replica::Role role = replica_->role();
  s.role = role_name(role);
  s.ready = leader() != nullptr;
  s.why = s.ready ? "" : not_live_reason();
  s.term = replica_->term().value;
  const journal::LogPosition durable = journal_->durable();
  s.durable_lsn = durable.lsn.value;
  s.log_hash = hex(durable.hash);
  s.epoch = replica_->epoch().value;
  s.committed_lsn = replica_->committed().value;
  s.applied_lsn = replica_->state().applied().value;
  s.last_lsn = std::max(s.applied_lsn, s.durable_lsn);
  s.state_hash = hex(replica_->state().hash());
  for (const broker::QueueId queue : replica_->state().queues()) {
    const broker::QueueStats stats =
        role == replica::Role::live ? replica_->leader().stats(queue) : replica_->state().stats(queue);
    http::QueueStatus q;
    q.name = stats.name;
    q.active = stats.active;
    q.dead_letter = stats.dead_letter;
    q.deferred = stats.deferred;
    q.scheduled = stats.scheduled;
    q.locked = stats.locked;
    q.sessions = stats.sessions;
    q.bytes = stats.bytes;
    q.duplicates_dropped = stats.duplicates_dropped;
    if (stats.oldest.ms != 0)
      q.oldest_seconds = static_cast<double>(std::max<std::int64_t>(0, wall.ms - stats.oldest.ms)) / 1e3;
    s.queues.push_back(std::move(q));
  }
  const replica::ReplicationStatus replication = replica_->status(clock_.now());
  s.replication.connected = replication.connected;
  s.replication.peer_region = replication.peer_region;
  s.replication.peer_node = replication.peer_node;
  s.replication.peer_durable_lsn = replication.peer_durable.value;
  s.replication.lag_records = replication.lag_records;
  s.replication.lag_bytes = replication.lag_bytes;
  s.replication.lag_seconds = replication.lag_seconds;
  s.replication.refusals = replication.refusals;
  s.replication.last_problem = replication.last_problem.empty() ? connect_problem_ : replication.last_problem;
  s.journal = {journal_->record_bytes_total(),
               journal_->disk_bytes(),
               journal_->room(),
               syncs_,
               batches_,
               records_,
               disk_full_,
               cleaned_bytes_,
               cleaned_messages_,
               journal_->set_aside_bytes() + disk_->kept_bytes()};
  const broker::State::MemoryUse use = replica_->state().memory_use();
  s.memory = {use.page_bytes,     use.directory_bytes, use.index_bytes, use.pages,
              use.pages_resident, use.page_loads,      use.page_stores, use.disk_bytes};
  const frontend::FrontendCounters& c = frontend_->counters();
  s.amqp = {frontend_->connections(),
            c.connections_opened,
            c.authentication_failures,
            c.published,
            c.publish_refused,
            c.delivered,
            c.settled,
            c.settle_refused,
            c.credit_stalls,
            c.held_publishes,
            c.malformed,
            c.oversize,
            c.requests_answered,
            c.requests_refused};
  const frontend::FlowStatus flow = frontend_->flow_status(clock_.now());
  s.flow.sending_links = flow.sending_links;
  s.flow.throttled_links = flow.throttled_links;
  s.flow.credit_granted = flow.credit_granted;
  s.flow.budget_bytes = flow.budget_bytes;
  s.flow.memory_bytes = flow.memory_bytes;
  s.flow.memory_limit_bytes = flow.memory_limit_bytes;
  s.flow.held_bytes = flow.held_bytes;
  s.flow.unfinished_bytes = flow.unfinished_bytes;
  s.flow.output_bytes = flow.output_bytes;
  s.flow.journal_backlog_bytes = flow.journal_backlog_bytes;
  s.flow.journal_backlog_limit_bytes = options_.limits.journal_bytes;
  s.flow.connections_limit = options_.connections_max;
  s.flow.links_cut = c.links_cut;
  s.flow.confirms_waiting = replica_->confirms_waiting();
  for (const auto& stall : flow.stalls) s.flow.stalls.push_back({stall.reason, stall.links, stall.seconds});
  s.commit_latency_buckets = commit_latency_.cumulative();
  s.commit_latency_count = commit_latency_.count();
  s.commit_latency_sum = commit_latency_.sum_seconds();
  s.recovery_seconds = static_cast<double>(recovery_took_.ns) / 1e9;
  s.commit_latency_longest = commit_longest_.seconds();
  for (std::size_t i = 0; i < kWorks; ++i) {
    const auto work = static_cast<Work>(i);
    const TurnMeter::Figures& turns = turns_.of(work);
    s.loop.push_back({work_name(work), turns.times.cumulative(), turns.times.count(),
                      turns.times.sum_seconds(), turns.longest.seconds()});
  }
  const BodyReader::Counters& bodies = body_reader_.counters();
  s.bodies = {bodies.served, bodies.reads, bodies.waits, bodies.read_ahead, bodies.bytes_read};
  return s;
}

Result<std::vector<bool>, Failure> Node::known_messages(const std::string& name,
                                                        const std::vector<std::string>& ids) {
  if (replica_->role() != replica::Role::live) {
    return Failure{"only the live node knows what the queue has: " + not_live_reason()};
  }
  const auto queue = replica_->state().find_queue(name);
  if (!queue) return Failure{"there is no queue '" + name + "'"};
  const auto answers = replica_->state().look_up_ids(*queue, ids);
  std::vector<bool> known(ids.size());
  struct Candidate {
    Lsn lsn;
    std::size_t id{};
  };
  std::vector<Candidate> candidates;  // in the log's order, which is how it is read quickly
  for (std::size_t i = 0; i < ids.size(); ++i) {
    known[i] = answers[i].in_window;
    if (known[i]) continue;
    for (const Lsn lsn : answers[i].candidates) candidates.push_back({lsn, i});
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::pair(a.lsn, a.id) < std::pair(b.lsn, b.id);
  });
  RecordReader reader(*journal_);
  for (const Candidate& candidate : candidates) {
    if (known[candidate.id]) continue;
    const auto has = has_message_id(reader, candidate.lsn, ids[candidate.id]);
    if (!has) {
      if (candidate.lsn <= journal_->durable().lsn) record_unreadable(candidate.lsn, 0, has.error().what);
      return has.error();
    }
    known[candidate.id] = *has;
  }
  return known;
}

/// Equal hashes are not equal ids: the log has the text.
Result<bool, Failure> Node::has_message_id(RecordReader& reader, Lsn lsn, const std::string& id) const {
  if (lsn > journal_->durable().lsn) return Failure{"message '" + id + "' is being stored: ask again"};
  const auto record = reader.get(lsn);
  if (!record) return Failure{"message '" + id + "' cannot be looked up: " + record.error().what};
  broker::StoredMessage message;
  if (!broker::read_stored_message(*record, message)) {
    return Failure{"LSN " + std::to_string(lsn.value) + " does not hold a whole message"};
  }
  return message.message_id == id;
}

}  // namespace mainstay::node
