#include "voters.h"

#include <unistd.h>

#include <filesystem>

namespace mainstay::bench {
namespace {

constexpr const char* kEtcd = "/usr/bin/etcd";

}  // namespace

Voters::Voters(const Common& common, int members) : directory_(common.directory + "/voters") {
  if (::access(kEtcd, X_OK) != 0)
    throw CouldNotRun(
        std::string("there is no ") + kEtcd +
        " (Debian package etcd-server): install it, or give --voters 0 for a register in a file");
  std::filesystem::create_directories(directory_);
  const auto count = static_cast<std::size_t>(members);
  const auto ports = lab::free_loopback_ports(2 * count);
  if (!ports) throw CouldNotRun(ports.error().what);
  const auto name = [](std::size_t i) { return "v" + std::to_string(i + 1); };
  const auto peer = [&](std::size_t i) { return "http://127.0.0.1:" + std::to_string((*ports)[count + i]); };
  std::string cluster;
  for (std::size_t i = 0; i < count; ++i) {
    clients_.push_back("127.0.0.1:" + std::to_string((*ports)[i]));
    cluster += (i == 0 ? "" : ",") + name(i) + "=" + peer(i);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::string client = "http://" + clients_[i];
    auto member =
        lab::Process::start({.name = "voter " + name(i),
                             .arguments = {kEtcd, "--name", name(i), "--data-dir", directory_ + "/" + name(i),
                                           "--listen-client-urls", client, "--advertise-client-urls", client,
                                           "--listen-peer-urls", peer(i), "--initial-advertise-peer-urls",
                                           peer(i), "--initial-cluster", cluster, "--log-level", "error"},
                             .log = directory_ + "/" + name(i) + ".log"});
    if (!member) throw CouldNotRun(member.error().what);
    members_.push_back(std::move(*member));
  }
}

Voters::~Voters() {
  members_.clear();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::string Voters::table() const {
  std::string list;
  for (const std::string& client : clients_) list += (list.empty() ? "\"" : ", \"") + client + "\"";
  return "[register]\netcd = [" + list + "]\n";
}

void Voters::check_alive() {
  for (const auto& member : members_) {
    if (const auto end = member->end())
      throw CouldNotRun(member->name() + " ended with " + end->text() + ": " + member->log_tail());
  }
}

}  // namespace mainstay::bench
