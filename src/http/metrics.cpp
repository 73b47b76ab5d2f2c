// /metrics: NodeStatus as Prometheus text. Names: mainstay_<what>_<unit>, counters end in _total.
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <sstream>

#include "http/control_api.h"

namespace mainstay::http {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

class Families {
 public:
  void gauge(const char* name, const char* help, double value) {
    add(name, help, MetricType::Gauge, {}, value);
  }
  void counter(const char* name, const char* help, std::uint64_t value) {
    add(name, help, MetricType::Counter, {}, static_cast<double>(value));
  }
  void gauge(const char* name, const char* help, const std::string& queue, double value) {
    add(name, help, MetricType::Gauge, {{"queue", queue}}, value);
  }
  void counter(const char* name, const char* help, const std::string& queue, std::uint64_t value) {
    add(name, help, MetricType::Counter, {{"queue", queue}}, static_cast<double>(value));
  }
  void histogram(const char* name, const char* help, std::vector<ClientMetric::Label> labels,
                 const std::vector<std::pair<double, std::uint64_t>>& cumulative, std::uint64_t count,
                 double sum) {
    ClientMetric metric;
    metric.label = std::move(labels);
    for (const auto& [bound, below] : cumulative) {
      ClientMetric::Bucket bucket;
      bucket.upper_bound = bound;
      bucket.cumulative_count = below;
      metric.histogram.bucket.push_back(bucket);
    }
    metric.histogram.sample_count = count;
    metric.histogram.sample_sum = sum;
    family(name, help, MetricType::Histogram).metric.push_back(std::move(metric));
  }
  void add(const char* name, const char* help, MetricType type, std::vector<ClientMetric::Label> labels,
           double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    if (type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    family(name, help, type).metric.push_back(std::move(metric));
  }
  MetricFamily& family(const char* name, const char* help, MetricType type) {
    for (MetricFamily& known : families_) {
      if (known.name == name) return known;
    }
    families_.push_back({name, help, type, {}});
    return families_.back();
  }
  [[nodiscard]] std::string text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return out.str();
  }

 private:
  std::vector<MetricFamily> families_;
};

}  // namespace

std::vector<LimitUsed> limits_used(const NodeStatus& s) {
  const auto part = [](std::uint64_t used, std::uint64_t of) {
    return of == 0 ? 0.0 : std::min(1.0, static_cast<double>(used) / static_cast<double>(of));
  };
  // Space that the journal holds as prepared room, or has not given back yet, is not free, and not used
  // either.
  const std::uint64_t free =
      std::min(s.disk_size_bytes, s.disk_free_bytes + s.journal.room_bytes + s.journal.set_aside_bytes);
  return {{"memory", part(s.flow.memory_bytes, s.flow.memory_limit_bytes)},
          {"journal", part(s.flow.journal_backlog_bytes, s.flow.journal_backlog_limit_bytes)},
          {"disk", s.journal.disk_full ? 1.0 : part(s.disk_size_bytes - free, s.disk_size_bytes)},
          {"connections", part(s.amqp.connections, s.flow.connections_limit)}};
}

std::string metrics_text(const NodeStatus& s) {
  Families f;
  f.add("mainstay_build_info", "Version, as a label.", MetricType::Gauge, {{"version", s.version}}, 1);
  for (const char* role : {"live", "standby", "sealed"}) {
    f.add("mainstay_role", "1 for the role this node has.", MetricType::Gauge, {{"role", role}},
          s.role == role ? 1 : 0);
  }
  f.gauge("mainstay_ready", "1 when recovered and live.", s.ready ? 1 : 0);
  f.gauge("mainstay_recovery_seconds", "How long this process took to recover its log, the latest time.",
          s.recovery_seconds);
  f.gauge("mainstay_region_term", "Highest region term this node has seen.", static_cast<double>(s.term));
  f.gauge("mainstay_epoch", "Epoch of the log's end.", static_cast<double>(s.epoch));
  f.gauge("mainstay_register_reachable", "1 when the register of who may lead answers.",
          s.active_region.problem.empty() ? 1 : 0);

  if (s.group) {
    for (const char* role : {"leader", "backup", "candidate", "stopped", "standby"}) {
      f.add("mainstay_group_role", "1 for what this node is in its group.", MetricType::Gauge,
            {{"role", role}}, s.group->role == role ? 1 : 0);
    }
    f.gauge("mainstay_group_in_sync", "Nodes whose copies a commit needs, this one included, as last known.",
            static_cast<double>(s.group->in_sync.size()));
    f.gauge("mainstay_group_fenced",
            "1 while the leader serves nobody because it cannot know that it still leads.",
            s.group->fenced.empty() ? 0 : 1);
    f.gauge("mainstay_group_waits_for_operator",
            "1 while the leader is silent and only an operator promotes (`mainstay group promote`).",
            s.group->waits_for_operator ? 1 : 0);
    f.gauge("mainstay_group_nodes", "Nodes of the group as configured, this one included.",
            static_cast<double>(s.group->others.size() + 1));
    f.gauge("mainstay_group_min_copies", "Copies that a confirmed message has, as configured.",
            static_cast<double>(s.group->copies_min));
    f.gauge("mainstay_group_publish_pace",
            "Messages a second that publishers are slowed to while a node catches up; 0: not slowed.",
            s.group->publish_pace);
    f.gauge("mainstay_group_drop_after_seconds",
            "A leader goes on without a backup that was silent so long; in force.",
            s.group->drop_after_seconds);
    f.gauge("mainstay_group_lease_seconds",
            "A leader that was not answered for so long delivers nothing; in force.", s.group->lease_seconds);
    f.gauge("mainstay_group_suspect_after_seconds",
            "A backup that has not heard its leader for so long asks to lead; in force.",
            s.group->suspect_after_seconds);
    f.gauge(
        "mainstay_group_round_trip_seconds",
        "Round trip between the nodes (p95, with hysteresis) that the times follow from; 0: not known yet.",
        s.group->round_trip_seconds);
    for (const NodeStatus::Group::Other& other : s.group->others) {
      f.add("mainstay_group_connected", "1 while there is a connection to that node.", MetricType::Gauge,
            {{"node", other.node}}, other.connected ? 1 : 0);
      f.add("mainstay_group_lag_records",
            "Records of this node's log that are not known to be on that node's disk.", MetricType::Gauge,
            {{"node", other.node}}, static_cast<double>(other.lag_records));
    }
    f.gauge("mainstay_group_register_refused",
            "1 while the register is older than what this node has seen, or is about another cluster.",
            s.group->register_refused ? 1 : 0);
    f.counter("mainstay_group_alarms_total", "Alarms raised.", s.group->alarms);
    f.gauge("mainstay_group_log_damaged",
            "1 while this node knows that its log is damaged and has not begun anew yet.",
            s.group->damage.empty() ? 0 : 1);
    f.counter("mainstay_group_logs_set_aside_total",
              "Damaged logs of this node that were set aside; each was replaced by what the others have.",
              s.group->logs_set_aside);
    f.gauge(
        "mainstay_group_disk_probe_seconds",
        "How long the last write and sync of the disk probe took, or the one under way when that is longer.",
        s.group->disk_probe_seconds);
    f.gauge("mainstay_group_layout_unsafe",
            "Rules of the layout that allow_unsafe_layout allowed to be broken.",
            static_cast<double>(s.group->layout_warnings.size()));
    for (const auto& node : s.group->nodes) {
      f.add("mainstay_group_node_in_sync", "1 when the node counts as in sync, as far as this one knows.",
            MetricType::Gauge, {{"node", node.name}},
            node.state == "in sync" || node.state == "leader" ? 1 : 0);
    }
    if (s.group->store) {
      f.gauge("mainstay_group_store_lock_held", "Shared-store mode: 1 while this node has the store's lock.",
              s.group->store->lock_held ? 1 : 0);
    }
    const auto& copy = s.group->copy;
    f.gauge("mainstay_group_copy_bytes_total", "Of a full copy that this node takes or gives; 0: none.",
            static_cast<double>(copy.bytes_total));
    f.gauge("mainstay_group_copy_bytes_done", "How much of it has been transferred.",
            static_cast<double>(copy.bytes_done));
  }

  f.gauge("mainstay_log_last_lsn", "Last ordered LSN.", static_cast<double>(s.last_lsn));
  f.gauge("mainstay_log_committed_lsn", "Last committed LSN.", static_cast<double>(s.committed_lsn));
  f.gauge("mainstay_journal_record_bytes", "Bytes of records in the journal.",
          static_cast<double>(s.journal.record_bytes));
  f.gauge("mainstay_journal_disk_bytes", "Bytes of the journal's files.",
          static_cast<double>(s.journal.disk_bytes));
  f.gauge("mainstay_journal_room_bytes", "Bytes that can be written without new space.",
          static_cast<double>(s.journal.room_bytes));
  f.gauge("mainstay_journal_set_aside_bytes",
          "Bytes of files that are no longer needed: given back when nobody waits for the disk.",
          static_cast<double>(s.journal.set_aside_bytes));
  f.gauge("mainstay_journal_disk_full", "1 while publishes are refused because the disk is full.",
          s.journal.disk_full ? 1 : 0);
  f.gauge("mainstay_index_page_bytes", "Bytes of the state's pages in memory.",
          static_cast<double>(s.memory.page_bytes));
  f.gauge("mainstay_index_directory_bytes", "Bytes of what is known of pages, and of indexes.",
          static_cast<double>(s.memory.directory_bytes + s.memory.index_bytes));
  f.gauge("mainstay_index_pages", "Pages of the state, in memory or on disk.",
          static_cast<double>(s.memory.pages));
  f.gauge("mainstay_index_pages_resident", "Pages of the state in memory.",
          static_cast<double>(s.memory.pages_resident));
  f.gauge("mainstay_index_disk_bytes", "Bytes of the page files.",
          static_cast<double>(s.memory.page_disk_bytes));
  f.counter("mainstay_index_page_loads_total", "Pages read back into memory.", s.memory.page_loads);
  f.counter("mainstay_index_page_stores_total", "Pages stored.", s.memory.page_stores);
  f.counter("mainstay_journal_cleaned_bytes_total", "Bytes of old messages moved to the log's end.",
            s.journal.cleaned_bytes);
  f.counter("mainstay_journal_cleaned_messages_total", "Old messages moved to the log's end.",
            s.journal.cleaned_messages);
  f.counter("mainstay_journal_syncs_total", "Syncs of the journal.", s.journal.syncs);
  f.counter("mainstay_journal_records_total", "Records made durable.", s.journal.records);

  f.histogram("mainstay_commit_latency_seconds",
              "Time from handing a batch to the journal until it is durable.", {}, s.commit_latency_buckets,
              s.commit_latency_count, s.commit_latency_sum);
  f.gauge("mainstay_commit_longest_seconds", "The longest of them since the start.",
          s.commit_latency_longest);
  for (const NodeStatus::LoopWork& loop : s.loop) {
    f.histogram("mainstay_loop_turn_seconds", "How long the loop's thread was busy at a time, by work.",
                {{"work", loop.work}}, loop.buckets, loop.count, loop.sum);
    f.add("mainstay_loop_longest_turn_seconds", "The longest of them since the start, by work.",
          MetricType::Gauge, {{"work", loop.work}}, loop.longest);
  }
  f.counter("mainstay_body_served_total", "Bodies that were asked of the journal.", s.bodies.served);
  f.counter("mainstay_body_reads_total", "Reads at once, of what the system had in memory.", s.bodies.reads);
  f.counter("mainstay_body_waits_total", "Reads from the disk that a delivery waited for.", s.bodies.waits);
  f.counter("mainstay_body_read_ahead_total", "Chunks that had been read when they were asked for.",
            s.bodies.read_ahead);
  f.counter("mainstay_body_read_bytes_total", "Bytes of the journal read for bodies.", s.bodies.read_bytes);

  for (const QueueStatus& q : s.queues) {
    f.gauge("mainstay_queue_messages", "Messages in the queue, locked ones included.", q.name,
            static_cast<double>(q.active));
    f.gauge("mainstay_queue_dead_letter_messages", "Messages in the dead-letter queue.", q.name,
            static_cast<double>(q.dead_letter));
    f.gauge("mainstay_queue_deferred_messages", "Deferred messages, those of the dead-letter queue included.",
            q.name, static_cast<double>(q.deferred));
    f.gauge("mainstay_queue_scheduled_messages", "Messages whose time has not come.", q.name,
            static_cast<double>(q.scheduled));
    f.gauge("mainstay_queue_unacked_messages", "Messages given out and not settled.", q.name,
            static_cast<double>(q.locked));
    f.gauge("mainstay_queue_sessions", "Sessions with at least one message.", q.name,
            static_cast<double>(q.sessions));
    f.gauge("mainstay_queue_bytes", "Payload bytes of the queue's messages.", q.name,
            static_cast<double>(q.bytes));
    f.gauge("mainstay_queue_oldest_message_age_seconds", "Age of the oldest message in the queue.", q.name,
            q.oldest_seconds);
    f.counter("mainstay_queue_duplicates_dropped_total", "Publishes dropped as duplicates.", q.name,
              q.duplicates_dropped);
  }

  f.gauge("mainstay_replication_connected", "1 while the other region is connected.",
          s.replication.connected ? 1 : 0);
  f.gauge("mainstay_replication_lag_records", "Committed records not yet durable in the other region.",
          static_cast<double>(s.replication.lag_records));
  f.gauge("mainstay_replication_lag_bytes", "Their bytes, or a little more.",
          static_cast<double>(s.replication.lag_bytes));
  f.gauge("mainstay_replication_lag_seconds", "Age of the oldest of them: the RPO if this region died now.",
          s.replication.lag_seconds);
  f.counter("mainstay_replication_refusals_total", "Connections or data refused.", s.replication.refusals);

  f.gauge("mainstay_amqp_connections", "Open AMQP connections.", static_cast<double>(s.amqp.connections));
  f.counter("mainstay_amqp_connections_total", "AMQP connections opened.", s.amqp.connections_opened);
  f.counter("mainstay_amqp_authentication_failures_total", "Wrong user or password.",
            s.amqp.authentication_failures);
  f.counter("mainstay_amqp_published_total", "Messages accepted.", s.amqp.published);
  f.counter("mainstay_amqp_publish_refused_total", "Messages refused.", s.amqp.publish_refused);
  f.counter("mainstay_amqp_delivered_total", "Messages handed to consumers.", s.amqp.delivered);
  f.counter("mainstay_amqp_settled_total", "Settlements committed.", s.amqp.settled);
  f.counter("mainstay_amqp_settle_refused_total", "Settlements refused (lock lost).", s.amqp.settle_refused);
  f.counter("mainstay_amqp_credit_stalls_total",
            "Times a consumer's link could not take a dispatched message at once.", s.amqp.credit_stalls);
  f.counter("mainstay_amqp_held_publishes_total", "Publishes that waited for journal room.",
            s.amqp.held_publishes);
  f.counter("mainstay_amqp_requests_answered_total", "Requests of $management nodes that were carried out.",
            s.amqp.requests_answered);
  f.counter("mainstay_amqp_requests_refused_total",
            "Requests of $management nodes that were answered with an error.", s.amqp.requests_refused);
  f.counter("mainstay_amqp_malformed_total", "Messages refused as malformed.", s.amqp.malformed);
  f.counter("mainstay_amqp_oversize_total", "Messages over the size limit.", s.amqp.oversize);

  const auto& flow = s.flow;
  for (const NodeStatus::Flow::Stall& stall : flow.stalls) {
    f.add("mainstay_flow_stalled_links", "Links that wait now, by reason.", MetricType::Gauge,
          {{"reason", stall.reason}}, static_cast<double>(stall.links));
    f.add("mainstay_flow_stall_seconds_total", "Time in which any link waited, by reason.",
          MetricType::Counter, {{"reason", stall.reason}}, stall.seconds);
  }
  for (const LimitUsed& used : limits_used(s)) {
    f.add("mainstay_limit_used_ratio", "Part of a limit that is used, 0 to 1: at 1 clients are held back.",
          MetricType::Gauge, {{"limit", used.limit}}, used.part);
  }
  f.gauge("mainstay_flow_sending_links", "Links on which clients publish.",
          static_cast<double>(flow.sending_links));
  f.gauge("mainstay_flow_throttled_links", "Of these, those with a smaller window than configured.",
          static_cast<double>(flow.throttled_links));
  f.gauge("mainstay_flow_credit_granted", "Messages that publishers may send now.",
          static_cast<double>(flow.credit_granted));
  f.gauge("mainstay_flow_budget_bytes", "What publish credit is given from.",
          static_cast<double>(flow.budget_bytes));
  f.gauge("mainstay_flow_memory_bytes", "Messages on their way in and out, in memory.",
          static_cast<double>(flow.memory_bytes));
  f.gauge("mainstay_flow_memory_limit_bytes", "What they may take.",
          static_cast<double>(flow.memory_limit_bytes));
  f.gauge("mainstay_flow_held_bytes", "Publishes that came and wait for journal room.",
          static_cast<double>(flow.held_bytes));
  f.gauge("mainstay_flow_unfinished_bytes", "Messages that have begun to arrive.",
          static_cast<double>(flow.unfinished_bytes));
  f.gauge("mainstay_flow_output_bytes", "Output that clients have not read.",
          static_cast<double>(flow.output_bytes));
  f.gauge("mainstay_flow_journal_backlog_bytes", "Ordered and not durable yet.",
          static_cast<double>(flow.journal_backlog_bytes));
  f.gauge("mainstay_flow_confirms_waiting", "Publishes that wait until the other region has them.",
          static_cast<double>(flow.confirms_waiting));
  f.counter("mainstay_flow_links_cut_total",
            "Links and connections ended because their unfinished or unread messages took too much memory.",
            flow.links_cut);

  f.add("mainstay_process_cpu_seconds_total", "CPU time, user and system.", MetricType::Counter, {},
        s.cpu_seconds);
  f.gauge("mainstay_disk_size_bytes", "Size of the file system that has the journal.",
          static_cast<double>(s.disk_size_bytes));
  f.gauge("mainstay_disk_free_bytes", "Free there.", static_cast<double>(s.disk_free_bytes));
  f.gauge("mainstay_process_resident_bytes", "Resident memory.", static_cast<double>(s.resident_bytes));
  f.gauge("mainstay_process_uptime_seconds", "Seconds since start.", s.uptime_seconds);
  return f.text();
}

}  // namespace mainstay::http
