// A node of a group in shared-store mode that does not lead: it listens for the leader, asks for the store's
// lock, and takes the store when it may (group/store_watch.h decides). It has no log open and serves no
// clients: their port is closed, so that they go to the next endpoint at once. Its control listener answers,
// 503 to /readyz.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "group/store_watch.h"
#include "http/control_api.h"
#include "io/http_server.h"
#include "io/loop.h"
#include "io/stream_hub.h"
#include "io/system_random.h"
#include "io/worker.h"
#include "node/options.h"
#include "node/packet_streams.h"
#include "node/store_lease.h"

namespace mainstay::node {

/// The answer to who would add or remove nodes in this mode.
[[nodiscard]] http::CommandResult store_has_no_members();
[[nodiscard]] http::CommandResult store_promotes_itself();

class StoreStandby final : public http::ControlBackend, public PacketEvents {
 public:
  /// @param left  why this process led before and does not any more; empty = it did not
  /// @param lost_lately  group::WatchOptions
  /// @param lead  called once, on the loop: the store is this node's
  [[nodiscard]] static Result<std::unique_ptr<StoreStandby>, Failure> start(
      const NodeOptions& options, const std::string& left, std::size_t lost_lately, io::Loop& loop,
      Clock& clock, LogSink log, std::function<void(std::shared_ptr<StoreLease>)> lead);
  ~StoreStandby() override;

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

  // PacketEvents: lines to the other nodes
  void on_peer_open(io::StreamId peer, const std::string& remote, bool outgoing) override;
  void on_packet(io::StreamId peer, BytesView packet) override;
  void on_peer_end(io::StreamId peer) override;

 private:
  StoreStandby(const NodeOptions& options, std::string left, std::size_t lost_lately, io::Loop& loop,
               Clock& clock, LogSink log, std::function<void(std::shared_ptr<StoreLease>)> lead);
  Result<void, Failure> begin();
  void tick();
  void act();
  void dial();
  void greet();
  void close_silent_lines();
  void on_store(std::function<std::function<void()>()> work);
  void try_lock();
  void look(bool make);
  void take(const group::TakeStore& what);
  void lead(const group::LeadOnStore& what);
  void ask_register();
  void change_register(const group::ChangeRegister& change);
  [[nodiscard]] std::string why();

  const NodeOptions& options_;
  const std::string left_;
  io::Loop& loop_;
  Clock& clock_;
  LogSink log_;
  std::function<void(std::shared_ptr<StoreLease>)> lead_;
  const Instant started_;
  io::SystemRandom random_;

  std::shared_ptr<Disk> disk_;
  std::unique_ptr<DiskLock> lock_;  // of the store worker while a job is out, else of the loop
  std::shared_ptr<coordination::GroupRegister> register_;
  group::StoreWatch watch_;
  std::string told_;  // why it does not lead, as last logged

  PacketStreams streams_;
  std::unique_ptr<io::StreamHub> hub_;
  struct Line {
    std::string node;  // "" = not introduced
    Instant heard;
  };
  std::map<io::StreamId, Line> lines_;
  std::size_t dialing_ = 0;
  bool connecting_ = false;
  std::map<std::size_t, io::StreamId> dialled_;
  Instant dial_at_{}, greet_at_{};

  std::unique_ptr<io::HttpServer> control_;
  io::Timer timer_;
  bool over_ = false;
  // Last: joined first.
  io::Worker store_worker_, register_worker_;
};

}  // namespace mainstay::node
