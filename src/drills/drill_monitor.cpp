#include "drills/drill_monitor.h"

#include <poll.h>

#include <algorithm>
#include <boost/json.hpp>

#include "drills/control_client.h"

namespace mainstay::drills {
namespace {

namespace json = boost::json;

void pause_ms(std::int64_t ms) {
  if (ms > 0) ::poll(nullptr, 0, static_cast<int>(ms));
}

}  // namespace

NodeView view_node(const std::string& endpoint, const std::string& token) {
  NodeView view;
  const auto reply = http_request("GET", endpoint, "/status", token, "", milliseconds(1000));
  if (!reply || reply->status != 200) return view;
  // The node is another process: what it says may be anything. Boost.JSON's throwing access is the short way
  // to read it; nothing leaves this function.
  try {
    const json::value status = json::parse(reply->body);
    view.ready = status.at("ready").as_bool();
    view.role = status.at("role").as_string();
    view.region = status.at("region").as_string();
    view.term = status.at("term").to_number<std::uint64_t>();
    view.durable_lsn = status.at("durable_lsn").to_number<std::uint64_t>();
    view.committed_lsn = status.at("committed_lsn").to_number<std::uint64_t>();
    view.applied_lsn = status.at("applied_lsn").to_number<std::uint64_t>();
    view.log_hash = status.at("log_hash").as_string();
    view.state_hash = status.at("state_hash").as_string();
    for (const json::value& queue : status.at("queues").as_array()) {
      view.queue_active += queue.at("active").to_number<std::uint64_t>();
      view.queue_locked += queue.at("locked").to_number<std::uint64_t>();
    }
    const json::value& replication = status.at("replication");
    view.connected = replication.at("connected").as_bool();
    view.lag_records = replication.at("lag_records").to_number<std::uint64_t>();
    view.lag_s = replication.at("lag_seconds").to_number<double>();
    view.answered = true;
  } catch (const std::exception&) {
    view = NodeView{};
  }
  return view;
}

PacedFeed::PacedFeed(Feed& feed, double rate_per_s, Clock& clock)
    : feed_(feed), clock_(clock), end_after_(feed.total()) {
  thread_ = std::thread([this, rate_per_s] { run(rate_per_s); });
}

PacedFeed::~PacedFeed() {
  stop_ = true;
  thread_.join();
}

void PacedFeed::run(double rate_per_s) {
  const Instant start = clock_.now();
  while (!stop_ && !feed_.finished() && feed_.entered() < total() && failure_.empty()) {
    const double due = (clock_.now() - start).seconds() * rate_per_s;
    if (const auto written = feed_.write_until(std::min(static_cast<std::uint64_t>(due), total())); !written)
      failure_ = written.error().what;
    entered_.store(feed_.entered(), std::memory_order_release);
    pause_ms(5);
  }
  ended_.store(true, std::memory_order_release);
}

DrillMonitor::DrillMonitor(const PacedFeed& feed, const DestinationObserver& observer,
                           std::vector<std::string> endpoints, std::string token, Clock& clock, Instant start)
    : feed_(feed),
      observer_(observer),
      endpoints_(std::move(endpoints)),
      token_(std::move(token)),
      clock_(clock),
      start_(start) {
  thread_ = std::thread([this] { run(); });
}

DrillMonitor::~DrillMonitor() {
  stop();
}

void DrillMonitor::run() {
  constexpr std::int64_t interval_ms = 100;
  for (std::int64_t number = 0; !stop_; ++number) {
    Sample sample;
    sample.at_s = (clock_.now() - start_).seconds();
    sample.entered = feed_.entered();
    sample.delivered = observer_.count();
    for (const std::string& endpoint : endpoints_) {
      const NodeView view = view_node(endpoint, token_);
      if (!view.answered || !view.ready || !view.connected) continue;
      sample.lag_records = view.lag_records;
      sample.lag_s = view.lag_s;
    }
    {
      const std::lock_guard lock(mutex_);
      samples_.push_back(sample);
    }
    const Instant next =
        start_ +
        milliseconds(interval_ms * (static_cast<std::int64_t>(sample.at_s * 1000) / interval_ms + 1));
    pause_ms((next - clock_.now()).milliseconds() + 1);
  }
}

Sample DrillMonitor::last() const {
  const std::lock_guard lock(mutex_);
  return samples_.empty() ? Sample{} : samples_.back();
}

std::optional<Sample> DrillMonitor::last_lag_before(double at_s) const {
  const std::lock_guard lock(mutex_);
  for (auto sample = samples_.rbegin(); sample != samples_.rend(); ++sample)
    if (sample->at_s <= at_s && sample->lag_records) return *sample;
  return std::nullopt;
}

std::vector<Sample> DrillMonitor::stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  return samples_;
}

}  // namespace mainstay::drills
