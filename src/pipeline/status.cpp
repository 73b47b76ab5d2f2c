#include "pipeline/status.h"

#include <unistd.h>

#include <boost/json.hpp>

#include "pipeline/files.h"

namespace mainstay::pipeline {

std::string to_json(const Status& status, WallTime now) {
  boost::json::object counters;
  for (const auto& [name, value] : status.counters) {
    counters.emplace(boost::json::string_view(name.data(), name.size()), value);
  }
  const boost::json::object all{{"component", status.component},
                                {"region", status.region},
                                {"worker", status.worker},
                                {"state", status.state},
                                {"why", status.why},
                                {"term", status.term},
                                {"at_ms", now.ms},
                                {"pid", ::getpid()},
                                {"counters", counters}};
  return boost::json::serialize(all) + "\n";
}

void StatusFile::write(const Status& status, Clock& clock) {
  if (path_.empty()) return;
  next_ = clock.now() + interval_;
  const auto written = files::replace_unsynced(path_, as_bytes(to_json(status, clock.wall())));
  static_cast<void>(written);
}

}  // namespace mainstay::pipeline
