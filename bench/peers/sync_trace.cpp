#include "peers/sync_trace.h"

#include <signal.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "lab/processes.h"
#include "peers/load.h"

namespace mainstay::bench {
namespace {

class Strace {
 public:
  Strace(const std::vector<int>& processes, const std::string& calls, const std::string& directory)
      : file_(directory + "/strace.out") {
    std::vector<std::string> arguments{"/usr/bin/strace", "-f", "-yy", "-s", "4096", "-e",
                                       "trace=" + calls,  "-o", file_};
    for (const int process : processes) {
      arguments.emplace_back("-p");
      arguments.push_back(std::to_string(process));
    }
    auto started = lab::Process::start({"strace", arguments, directory + "/strace.log"});
    if (!started) throw Trouble{started.error().what};
    process_ = std::move(*started);
    for (int turn = 0; turn < 250; ++turn) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      if (process_->end()) throw Trouble{"strace ended: " + process_->log_tail()};
      std::size_t attached = 0;
      std::ifstream log(directory + "/strace.log");
      for (std::string line; std::getline(log, line);) {
        if (line.find(" attached") != std::string::npos) ++attached;
      }
      if (attached >= processes.size()) break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // threads follow their process
  }
  std::string stop() {
    process_->signal(SIGINT);  // strace lets go of what it watches
    if (!process_->wait(seconds(10))) throw Trouble{"strace does not end"};
    process_.reset();
    std::ifstream file(file_);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

 private:
  std::string file_;
  std::unique_ptr<lab::Process> process_;
};

constexpr const char* kSyncs = "fsync,fdatasync,sync_file_range,msync";
constexpr const char* kSyncsAndData =
    "fsync,fdatasync,sync_file_range,msync,read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,"
    "pwritev2,sendto,sendmsg";

}  // namespace

SyncOrder trace_sync_order(Peer& peer, const std::string& directory, std::uint64_t count) {
  constexpr std::uint64_t kFirst = 0x5afe0000;
  static_cast<void>(one_in_flight(peer, 100));
  Strace strace(peer.processes(), kSyncsAndData, directory);
  static_cast<void>(one_in_flight(peer, count, kFirst));
  return read_sync_order(strace.stop(), peer.port(), kFirst, count);
}

SyncCount trace_sync_count(Peer& peer, const std::string& directory, Duration time) {
  Strace strace(peer.processes(), kSyncs, directory);
  SyncCount counted;
  counted.messages = publish_for(peer, {}, time).messages;
  counted.syncs = count_syncs(strace.stop());
  return counted;
}

}  // namespace mainstay::bench
