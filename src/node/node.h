// One broker process: `mainstay serve`.
//
// Threads: the loop (broker, AMQP engines, replication, control: the group's single writer; small batches on
// a quick disk are written and synced here too, see commit_policy.h), a journal worker (write and sync of the
// other batches, one at a time), a spare worker (zero-writes segments ahead of use, stores checkpoints,
// removes segments), a pages worker (syncs the state's pages), a read worker (reads old bodies ahead of
// consumers, and the log for followers that are far behind), a register worker (the register's file may
// block); with NodeOptions::io_threads, that many own the AMQP connections' sockets and hand bytes to the
// loop and back (io/stream_hub.h). Shut-down order is the reverse of the members' order below.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/deferred_removal.h"
#include "base/random.h"
#include "base/result.h"
#include "base/wire.h"
#include "coordination/register.h"
#include "frontend/frontend.h"
#include "group/full_copy.h"
#include "group/log_repair.h"
#include "http/control_api.h"
#include "io/http_server.h"
#include "io/loop.h"
#include "io/stream_hub.h"
#include "io/system_random.h"
#include "io/worker.h"
#include "journal/journal.h"
#include "node/body_cache.h"
#include "node/body_reader.h"
#include "node/catch_up_pace.h"
#include "node/commit_policy.h"
#include "node/latency_histogram.h"
#include "node/options.h"
#include "node/packet_streams.h"
#include "node/record_reader.h"
#include "node/release_policy.h"
#include "node/turn_meter.h"
#include "paging/page_store.h"
#include "replica/replica.h"

namespace mainstay::node {

class AmqpStreams;

class Node final : public frontend::Backend, public http::ControlBackend, public PacketEvents {
 public:
  /// Recovers the journal, opens the listeners and starts. Everything after that happens in loop.run().
  /// @param fatal  called (once, on the loop) when the node must end: what to tell, exit status.
  [[nodiscard]] static Result<std::unique_ptr<Node>, Failure> start(
      NodeOptions options, io::Loop& loop, Clock& clock, LogSink log,
      std::function<void(const std::string&, int)> fatal);
  ~Node() override;

  /// A page of the state cannot be had (paging::PageLost came out of the loop): ends the node. The loop's
  /// owner calls it, because any call on the loop may touch the state.
  void page_lost(const std::string& why);

  /// Tells clients to go elsewhere, lets the batch under way finish, then calls `done`.
  void shut_down(std::function<void()> done);

  // frontend::Backend
  broker::Leader* leader() override;
  const broker::State& state() override;
  std::vector<broker::Output>& leader_outputs() override;
  std::string not_live_reason() override;
  frontend::AdmissionAnswer admit(std::size_t bytes, bool replay) override;
  frontend::Payload payload(Lsn lsn) override;
  bool authenticate(const amqp::SaslRequest& request) override;
  std::optional<amqp::Condition> durability_refusal(broker::Durability level) override;
  frontend::CreditFigures flow() override;

  // http::ControlBackend
  http::NodeStatus status() override;
  void group_switch(const std::string& to, const std::string& by, const std::string& reason,
                    http::CommandDone done) override;
  void group_promote(const std::string& by, const std::string& reason, http::CommandDone done) override;
  void group_reload(const std::string& by, bool force, http::CommandDone done) override;
  void group_remove(const std::string& node, const std::string& by, const std::string& reason, bool force,
                    http::CommandDone done) override;
  void region_command(const http::RegionCommand& command, http::CommandDone done) override;
  Result<std::vector<bool>, Failure> known_messages(const std::string& queue,
                                                    const std::vector<std::string>& ids) override;

  /// Whether the record at `lsn` holds a message with this id.
  [[nodiscard]] Result<bool, Failure> has_message_id(RecordReader& reader, Lsn lsn,
                                                     const std::string& id) const;

  // PacketEvents
  void on_peer_open(io::StreamId peer, const std::string& remote, bool outgoing) override;
  void on_packet(io::StreamId peer, BytesView packet) override;
  void on_peer_end(io::StreamId peer) override;

 private:
  friend class AmqpStreams;
  Node(NodeOptions options, io::Loop& loop, Clock& clock, LogSink log,
       std::function<void(const std::string&, int)> fatal);

  // node.cpp: life and the loop's turn
  Result<void, Failure> recover();
  [[nodiscard]] journal::JournalOptions journal_options() const;
  Result<void, Failure> listen();
  void schedule_pump();
  void pump();
  void handle(replica::Output& output, Instant now, WallTime wall);
  void handle_outputs();
  void apply_received();
  void flush_connections();
  /// @return true when a batch was committed on the loop; what waited for it is among the outputs now.
  bool start_write(TurnMeter::Laps& laps);
  [[nodiscard]] bool may_be_silent(Instant now) const;
  void tell_lately(const std::string& text, LogLevel level, std::size_t most = 1);
  void tell_problem();
  /// Once a round: slows publishers while a node catches up, or lets them go.
  void pace_publishers(Instant now);
  /// On the loop or on the journal's thread, never on both at once.
  Result<void, journal::JournalError> write_and_sync(const replica::Replica::PendingWrite& pending);
  void committed(replica::Replica::PendingWrite done, const Result<void, journal::JournalError>& result,
                 Instant started, Duration took);
  void maintain();
  void space_again();
  [[nodiscard]] bool has_space_to_release() const;
  void release_space();
  void start_checkpoint();
  void store_checkpoint();
  [[nodiscard]] bool log_is_long() const;
  void clean();
  void checkpoint_finished(const std::shared_ptr<paging::PageStore::Sealed>& stored, bool fatal,
                           const std::string& problem);
  void read_ahead();
  void body_arrived(BodyReader::ReadAhead ahead);
  void tick();
  void arm_timer();
  void role_changed(const replica::RoleChanged& change);
  void end_fatally(const std::string& why);
  void declare_queues();
  void connect_to_peer();
  void log(LogLevel level, const std::string& text) const;

  // node_group.cpp: the other nodes of the group, its register, the superblock
  [[nodiscard]] Result<void, Failure> prepare_group(group::Superblock& block);
  [[nodiscard]] replica::ReplicaOptions::InGroup in_group(group::Superblock block);
  [[nodiscard]] Result<void, Failure> listen_to_group();
  [[nodiscard]] bool handle_group(replica::Output& output);
  void ask_group_register();
  void group_register_heard(const std::string& problem);
  void change_group_register(const group::ChangeRegister& change);
  void store_block(const group::Superblock& block);
  void read_group_arrived();
  [[nodiscard]] std::size_t lines_to(const std::string& node) const;
  void tick_group(Instant now);
  void tell_epoch();
  void review_fence(Instant now);
  void probe_disk(Instant now);
  /// A backup whose disk has no space for what its leader shipped: nothing of it was written.
  void backup_is_full(std::size_t bytes, const std::string& problem);
  [[nodiscard]] bool waits_for_room();
  void restart_in_group(const group::Restart& restart);
  void on_group_open(io::StreamId peer, const std::string& remote, bool outgoing);
  void on_group_bytes(io::StreamId peer);
  void on_group_packet(io::StreamId peer, BytesView packet);
  void on_group_end(io::StreamId peer);
  [[nodiscard]] std::optional<std::string> fenced_now(Instant now) const;
  [[nodiscard]] Result<void, Failure> cut_for_group();
  void close_group_lines();
  void send_to_group(io::StreamId peer, BytesView packet);
  [[nodiscard]] std::string not_leading() const;
  [[nodiscard]] std::string too_few_copies() const;
  [[nodiscard]] http::NodeStatus::Group group_status() const;
  void tell_member(http::NodeStatus::Group& group) const;
  [[nodiscard]] const std::string& group_fence() const;
  // node_members.cpp: who is one of the group
  void tell_nodes(http::NodeStatus::Group& group) const;
  void tick_members(Instant now);
  void tick_promotion(Instant now);
  void forget_dialled(const std::set<std::string>& gone);
  void decide_move(Instant now);
  [[nodiscard]] std::string too_few_without(const std::set<std::string>& gone) const;
  [[nodiscard]] bool keep_for_group();
  friend class GroupStreams;

  // node_copy.cpp: full copies of log and state between nodes of the group
  struct Copying;
  struct CopyingDeleter {
    void operator()(Copying* copying) const;
  };
  [[nodiscard]] Copying& copying();
  template <class Job, class Then>
  void copy_job(Job job, Then then);
  void copy_heard(const group::CopyHeard& heard);
  void copy_needed(const group::NeedCopy& need);
  void read_for_follower(const group::ReadLog& wanted);
  void copy_line_gone(io::StreamId peer);
  void act_on_copy();
  void give_copy(group::CopyGiver::Output output);
  void take_copy(group::CopyTaker::Output output);
  void drop_copy(bool asked);
  void tick_copy(Instant now);
  [[nodiscard]] Result<Buffer, Failure> read_part(const group::CopyItem& item, const group::CopyAsk& ask,
                                                  Lsn end, const replica::Replica::Checkpoint& cut);
  [[nodiscard]] bool cut_is_wanted() const;
  void cut_begins(const replica::Replica::Checkpoint* made);
  void cut_stored(const std::shared_ptr<replica::Replica::Checkpoint>& made, const std::string& problem);
  [[nodiscard]] std::optional<Lsn> copy_keeps() const;
  [[nodiscard]] bool copy_is_quiet() const;
  void end_copying();
  [[nodiscard]] Result<void, Failure> install_copy();
  void tell_copy(http::NodeStatus::Group& group) const;

  // node_damage.cpp: what of the own log cannot be read
  void record_unreadable(Lsn first, std::size_t bytes, const std::string& why);
  void read_once_more();
  void damage_is_certain(Lsn lsn, const std::string& what);
  [[nodiscard]] bool repairs_itself() const;
  void tick_damage(Instant now);
  [[nodiscard]] std::optional<coordination::GroupRecord> who_is_in_sync(const group::Superblock& block) const;
  enum class Damage : bool { suspected, certain };
  [[nodiscard]] bool set_damage_aside(const group::Superblock& block, const std::string& why, Damage damage);
  void forget_damage_of_log();

  // node_shared_store.cpp: one that leads on a store that others can take
  [[nodiscard]] Result<std::unique_ptr<Disk>, Failure> open_disk();
  void tick_store(Instant now);
  void act_on_store();
  void check_fence();
  void try_store_lock();
  void tell_store(http::NodeStatus::Group& s) const;
  void store_heard(io::StreamId peer, BytesView packet);
  [[nodiscard]] bool store_lost();
  void leave_store(const std::string& why);
  void store_is_quiet();
  void store_switch(const std::string& to, const std::string& by, const std::string& reason,
                    http::CommandDone done);
  void await_successor();

  // node_region.cpp: the register's answers
  using RegisterRead = Result<coordination::RegionRecord, coordination::RegisterError>;
  using RegisterCas = Result<coordination::CasResult, coordination::RegisterError>;
  void poll_register();
  /// @param seen  highest term that this node knew when it asked
  void register_read(const RegisterRead& read, RegionTerm seen);
  void register_is_behind(const coordination::RegionRecord& there);
  void register_is_well();
  [[nodiscard]] std::string behind_record() const;
  void compare_and_swap(const coordination::RegionRecord& expected, coordination::RegionRecord next,
                        std::function<void(const RegisterCas&)> then);
  void claim(const coordination::RegionRecord& seen);
  void lead(RegionTerm term, bool forced, const std::string& by, const std::string& reason);
  void rejoin();
  void rejoin_when_quiet();

  // node_region_commands.cpp: what an operator asks of the regions
  void start_switch(const http::RegionCommand& command, http::CommandDone done);
  void switch_ready(journal::LogPosition at);
  void confirm_switch(journal::LogPosition at);
  void finish_switch(journal::LogPosition at, RegionTerm term);
  void fail_switch(int status, const std::string& why);
  void lead_on_after_switch();
  void start_promotion(const http::RegionCommand& command, http::CommandDone done);
  void write_register_again(const http::RegionCommand& command, http::CommandDone done);
  void admit_producers(const http::RegionCommand& command, http::CommandDone done);

  NodeOptions options_;
  io::Loop& loop_;
  Clock& clock_;
  LogSink log_;
  std::function<void(const std::string&, int)> fatal_;
  bool ended_ = false;
  Instant started_{};
  Duration recovery_took_{};  // of the log, the latest time

  std::unique_ptr<Random> random_ = std::make_unique<io::SystemRandom>();
  std::unique_ptr<DeferredRemoval> disk_;
  std::unique_ptr<journal::Journal> journal_;
  std::unique_ptr<paging::PageStore> pages_;
  std::unique_ptr<replica::Replica> replica_;
  std::unique_ptr<frontend::Frontend> frontend_;
  std::unique_ptr<AmqpStreams> amqp_streams_;
  std::unique_ptr<PacketStreams> packet_streams_;
  std::unique_ptr<io::StreamHub> amqp_hub_, peer_hub_;
  std::unique_ptr<Wire> wire_;
  std::unique_ptr<io::HttpServer> control_;
  io::Timer timer_, register_timer_, retry_timer_, rejoin_timer_, retry_read_;
  std::shared_ptr<coordination::Register> register_;

  // the loop's turn
  bool pump_scheduled_ = false;
  bool writing_ = false;
  Instant write_begun_{};
  bool maintain_due_ = false;  // something was written
  std::vector<replica::Output> outputs_;
  std::optional<journal::Batch> received_;  // in a group: written here, not yet applied
  std::vector<frontend::ConnectionId> dirty_;
  BodyCache bodies_;
  BodyReader body_reader_;
  std::size_t reads_for_followers_ = 0;  ///< out, on the read worker
  LatencyHistogram commit_latency_;
  Duration commit_longest_{};
  TurnMeter turns_;
  Instant pump_due_{};
  CommitPolicy commit_policy_;
  CatchUpPace pace_;
  std::uint64_t batches_ = 0, records_ = 0, syncs_ = 0;

  // journal upkeep
  bool spare_wanted_ = false;
  bool releasing_ = false;
  ReleasePolicy release_policy_;
  Instant ask_free_at_{};
  std::uint64_t free_bytes_ = 0;  // of the disk, when it was asked last
  bool disk_full_ = false;
  Instant spare_retry_at_{};
  Lsn checkpoint_at_{};
  Lsn written_ahead_at_{};
  bool checkpoint_running_ = false;  // made, or being stored
  /// Made, not yet durable in the log; what must stay of the log as far as the state knew then.
  std::optional<replica::Replica::Checkpoint> checkpoint_made_;
  Lsn keep_from_{};
  std::uint64_t checkpoint_bytes_at_ = 0;  // of the log, when one was made last
  std::uint64_t root_bytes_ = 0;
  bool cleaned_ = false;  // a round has ended since
  Instant clean_at_{};
  std::uint64_t cleaned_messages_ = 0, cleaned_bytes_ = 0;
  std::uint64_t round_messages_ = 0, round_bytes_ = 0;
  std::string clean_problem_;
  Instant checkpoint_retry_at_{};

  // replication connections
  bool connecting_ = false;
  io::StreamId outgoing_peer_ = 0;
  std::set<io::StreamId> peers_;
  std::size_t next_peer_ = 0;
  Instant reconnect_at_{};
  std::string connect_problem_;

  // the group
  std::uint64_t alarms_ = 0;
  struct Group;
  struct GroupDeleter {
    void operator()(Group* group) const;
  };
  std::unique_ptr<Group, GroupDeleter> group_;
  /// Of the group's nodes, by an operator; answered when the register has it.
  struct MemberChange {
    std::set<std::string> gone, removed, back;  // from the in-sync set; taken out; taken in again
    std::string note;
    Instant deadline{};
    http::CommandDone done;
  };
  std::optional<MemberChange> member_change_;
  /// node_promotion.cpp: asked for by an operator, and answered when it is known who leads.
  struct Promotion {
    Instant deadline{};
    http::CommandDone done;
  };
  std::optional<Promotion> promotion_;
  bool operator_wanted_ = false;  ///< it waits for one, and has said so
  bool install_copy_ = false;     // a full copy is ready to take the place of what is here
  /// A part of the log that could not be read: being read again.
  struct Doubt {
    Lsn first{};
    std::size_t bytes{};
    std::string why;
    int failed = 1;
    bool reading = false;
    Instant again_at{};
  };
  std::deque<Doubt> doubts_;  // the first one is read again
  std::set<Lsn> unreadable_;  // found to be so, and told
  group::LogRepair repair_;
  bool set_aside_due_ = false;  // before the next recovery
  std::uint64_t set_aside_ = 0;
  struct Store;
  struct StoreDeleter {
    void operator()(Store* store) const;
  };
  std::unique_ptr<Store, StoreDeleter> store_;

  // who leads
  coordination::RegionRecord region_;  // last read
  bool region_known_ = false;
  bool decided_at_start_ = false;
  bool register_busy_ = false;
  bool changing_region_ = false;  // a compare-and-swap of ours is under way
  std::string register_problem_;  // nothing new is taken
  Instant register_answered_at_{};
  /// The register was lost or put back, and holds this now: region_ stays what it said before.
  std::optional<coordination::RegionRecord> behind_;
  std::string not_live_reason_ = "the node is starting";
  struct Switch {
    http::CommandDone done;
    coordination::RegionRecord marked;  // the register's record with phase switching
    std::string to_region, by, reason;
    Instant deadline{};
  };
  std::optional<Switch> switch_;
  bool promoting_ = false;        // a term is ours, its first record not yet durable
  bool rejoining_ = false;        // sealed: waiting for the disk to be quiet, then recover as standby
  bool switch_draining_ = false;  // commands are no longer fed to the leader
  bool stopping_ = false;
  std::function<void()> stopped_;

  // Last: joined first, while everything their jobs touch is still there.
  std::unique_ptr<io::Worker> register_worker_;
  std::unique_ptr<io::Worker> block_worker_;  // in a group: its superblock, probes of the disk
  std::unique_ptr<io::Worker> journal_worker_;
  std::unique_ptr<io::Worker> spare_worker_;
  std::unique_ptr<io::Worker> pages_worker_;  // gives jobs to spare_worker_
  std::unique_ptr<io::Worker> read_worker_;
  std::unique_ptr<Copying, CopyingDeleter> copying_;  // has a worker
};

}  // namespace mainstay::node
