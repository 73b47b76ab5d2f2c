// The spool: a region-local, durable list of messages taken from the source and not yet acknowledged by the
// broker. What is in it can be sent whatever happens to source or bus.
//
// Segments `spool-<n>.seg`, append-only, of checksummed records; a torn record at the end of the last one is
// cut off when opened (it was never reported as durable). A segment is removed once everything in it is
// acknowledged. A spool of an older term is set aside, never sent: since then another region has taken over
// the source's unfinished files.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "pipeline/files.h"
#include "pipeline/log.h"

namespace mainstay::pipeline {

struct SpoolEntry {
  std::uint64_t position = 0;  ///< 1, 2, 3, … in this spool; given by append()
  std::string id;              ///< message id
  std::string ordering_key;
  std::string file;  ///< the source's name for it
  std::uint32_t item = 0;
  Buffer message;  ///< encoded, as it is sent
};

/// One thread; one process per directory (locked).
class Spool {
 public:
  struct Limits {
    std::uint64_t segment_bytes = 32U << 20;
  };
  static Result<std::unique_ptr<Spool>, Failure> open(const std::string& directory, RegionTerm term,
                                                      const Log& log, Limits limits);

  /// Adds the entries, sets their positions and makes them durable.
  Result<void, Failure> append(std::vector<SpoolEntry>& entries);
  /// The broker has it, or it was put aside. Written with the next append or flush; forgetting it in a crash
  /// only means sending the message again with the same id.
  void settled(std::uint64_t position);
  /// Writes (without sync) what settled() noted, and removes finished segments.
  Result<void, Failure> flush();

  /// What was there when it was opened: entries without acknowledgement, in order. Empties the list.
  std::vector<SpoolEntry> take_recovered() { return std::move(recovered_); }
  /// Was this item spooled and acknowledged before this spool was opened (and its segment not yet removed)?
  [[nodiscard]] bool was_settled(const std::string& file, std::uint32_t item, const std::string& id) const {
    return settled_items_.contains({file, item, id});
  }
  [[nodiscard]] std::size_t outstanding() const { return segment_of_.size(); }

 private:
  struct Segment {
    std::uint64_t number = 0;
    std::size_t outstanding = 0;
  };
  Spool(std::string directory, files::ProcessLock lock, Limits limits)
      : directory_(std::move(directory)), lock_(std::move(lock)), limits_(limits) {}
  Result<void, Failure> set_aside_older(RegionTerm term, const Log& log);
  Result<void, Failure> recover(const Log& log);
  Result<void, Failure> roll();
  [[nodiscard]] std::string path_of(std::uint64_t number) const;

  std::string directory_;
  files::ProcessLock lock_;
  Limits limits_;
  std::deque<Segment> segments_;  ///< oldest first; the last is the one being written
  files::AppendFile file_;
  std::uint64_t next_position_ = 1;
  std::map<std::uint64_t, std::uint64_t> segment_of_;  ///< outstanding position → segment number
  Buffer notes_;                                       ///< settled() records not yet written
  std::vector<SpoolEntry> recovered_;
  std::set<std::tuple<std::string, std::uint32_t, std::string>> settled_items_;
};

}  // namespace mainstay::pipeline
