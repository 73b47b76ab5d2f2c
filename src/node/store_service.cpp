#include "node/store_service.h"

#include <utility>

#include "io/loop.h"
#include "io/posix_disk.h"
#include "io/stop_requests.h"
#include "node/node.h"
#include "node/store_lease.h"
#include "node/store_standby.h"
#include "paging/page_store.h"

namespace mainstay::node {
namespace {

struct StandbyEnd {
  std::shared_ptr<StoreLease> lease;  ///< null: asked_to_stop, or `failed`
  bool asked_to_stop = false;
  std::string failed;
};

constexpr Duration kLately = seconds(60);

StandbyEnd stand_by(const NodeOptions& options, const std::string& left, std::size_t lost_lately,
                    io::StopRequests& requests, Clock& clock, const LogSink& log) {
  StandbyEnd end;
  io::Loop loop;
  auto standby = StoreStandby::start(options, left, lost_lately, loop, clock, log,
                                     [&](std::shared_ptr<StoreLease> lease) {
                                       end.lease = std::move(lease);
                                       loop.stop();
                                     });
  if (!standby) {
    end.failed = standby.error().what;
    return end;
  }
  const io::StopRequests::Listener listener(requests, loop, [&] {
    end.asked_to_stop = true;
    loop.stop();
  });
  loop.run();
  return end;
}

ServiceEnd lead(const NodeOptions& options, StoreLease& lease, io::StopRequests& requests, Clock& clock,
                const LogSink& log) {
  ServiceEnd end;
  io::Loop loop;
  auto node = Node::start(options, loop, clock, log, [&](const std::string&, int status) {
    end.status = status;
    loop.stop();
  });
  if (!node) {
    static_cast<void>(lease.fence->check());
    if (!lease.fence->lost().empty()) {
      lease.left = lease.fence->lost();
      end.status = kStoreLeft;
      return end;
    }
    end.could_not_start = true;
    end.why = node.error().what;
    return end;
  }
  bool stopping = false;
  const io::StopRequests::Listener listener(requests, loop, [&] {
    if (stopping) return loop.stop();
    stopping = true;
    log(LogLevel::info, "shutting down");
    (*node)->shut_down([&] { loop.stop(); });
  });
  try {
    loop.run();
  } catch (const paging::PageLost& lost) {
    (*node)->page_lost(lost.what());
    if (end.status == 0) end.status = 70;
  }
  if (stopping && end.status == kStoreLeft) end.status = 0;  // asked to stop it is no standby either
  return end;
}

}  // namespace

ServiceEnd serve_store(const NodeOptions& options, Clock& clock, const LogSink& log) {
  log(LogLevel::warning, "shared-store mode: the nodes of this group have one copy of their log, in " +
                             options.data_directory + ". What the storage under it loses is lost");
  std::string left;
  std::size_t lost_lately = 0;
  Instant lost_at{};
  const auto lost = [&] {
    lost_lately = lost_lately > 0 && clock.now() - lost_at < kLately ? lost_lately + 1 : 1;
    lost_at = clock.now();
  };
  io::StopRequests requests;  // no loop runs between a standby's and a leader's, and taking over may be long
  for (;;) {
    StandbyEnd stood = stand_by(options, left, lost_lately, requests, clock, log);
    if (!stood.failed.empty()) return {true, 0, stood.failed};
    if (stood.asked_to_stop || requests.pending()) return {};
    StoreLease& lease = *stood.lease;
    const auto claim = io::PosixDisk::open(lease.path);
    Result<std::unique_ptr<group::StoreFence>, Failure> fence =
        claim ? group::StoreFence::open(**claim, lease.claim) : Failure{claim.error().what};
    if (!fence) {
      left = fence.error().what;
      log(LogLevel::error, "group: the store was lost before this node led: " + left);
      lost();
      continue;
    }
    lease.fence = std::move(*fence);
    NodeOptions leading = options;
    leading.data_directory = lease.path;
    leading.lease = stood.lease;
    leading.group->others.clear();  // nothing is shipped to them
    ServiceEnd end = lead(leading, lease, requests, clock, log);
    if (end.status != kStoreLeft) return end;
    left = lease.left;
    if (!lease.fence->lost().empty()) lost();
    log(LogLevel::info, "this node goes on as a standby");
  }
}

}  // namespace mainstay::node
