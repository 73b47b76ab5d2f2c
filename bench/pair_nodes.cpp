#include "pair_nodes.h"

#include <chrono>
#include <filesystem>
#include <thread>

namespace mainstay::bench {

PairNodes::PairNodes(const Common& common, const Setup& setup)
    : setup_(setup), directory_(common.directory + "/" + setup.name) {
  std::filesystem::create_directories(directory_);
  ports_[0] = free_port();
  ports_[1] = free_port();
  if (setup.relayed) relay_ = std::make_unique<DelayRelay>(ports_[0]);
  for (int i = 0; i < 2; ++i) {
    Broker::Setup node;
    node.name = setup.name + "/n" + std::to_string(i + 1);
    node.more_config = setup.more_config;
    node.in_group = tables(i);
    node.log_level = "info";
    nodes_[i] = std::make_unique<Broker>(common, node);
  }
  wait_in_sync();
}

PairNodes::~PairNodes() {
  for (auto& node : nodes_) node.reset();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::string PairNodes::tables(int node) const {
  const int other = 1 - node;
  // The one whose name comes later dials, so one way through the relay is all of it.
  const std::uint16_t dialled = other == 0 && relay_ ? relay_->port : ports_[other];
  const auto name = [](int i) { return "\"n" + std::to_string(i + 1) + "\""; };
  return "[node]\nname = " + name(node) +
         "\nregion = \"bench\"\ndata = \"data\"\n"
         "cluster = \"6f1c2f3e-6a52-4b8e-9d0e-2f7f5a1c0b77\"\n" +
         (setup_.in_register.empty() ? "[register]\nfile = \"" + directory_ + "/register.db\"\n"
                                     : setup_.in_register) +
         "[group]\nlisten = \"127.0.0.1:" + std::to_string(ports_[node]) +
         "\"\ncreate = true\nmin_copies = 1\nallow_unsafe_layout = \"a benchmark on one machine\"\n" +
         setup_.more_group + "[[group.node]]\nname = " + name(other) +
         "\naddress = \"127.0.0.1:" + std::to_string(dialled) + "\"\n";
}

Broker& PairNodes::leader() {
  const double begin = seconds_now();
  while (seconds_now() - begin < 60) {
    for (const auto& node : nodes_) {
      if (!node->running()) continue;
      node->check_alive();
      if (node->ready()) return *node;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  throw CouldNotRun("no node of the pair leads after 60 s");
}

double PairNodes::wait_in_sync(double most_seconds) {
  const double begin = seconds_now();
  while (seconds_now() - begin < most_seconds) {
    for (const auto& node : nodes_) {
      node->check_alive();
      if (node->in_sync() == 2) return seconds_now() - begin;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  throw CouldNotRun("the nodes of the pair are not in sync after " + readable(most_seconds) + " s");
}

std::string PairNodes::told(std::size_t log_bytes) const {
  std::string all;
  for (const auto& node : nodes_)
    all += "\n" + std::string(node->running() ? "running" : "stopped") + ": " + node->log_tail(log_bytes) +
           (node->running() ? node->longest_waits() : "");
  return all;
}

void PairNodes::restart_with(const std::string& more_group) {
  setup_.more_group = more_group;
  for (const auto& node : nodes_) node->stop();
  for (int i = 0; i < 2; ++i) {
    nodes_[i]->configure(tables(i));
    nodes_[i]->spawn();
  }
  wait_in_sync();
}

}  // namespace mainstay::bench
