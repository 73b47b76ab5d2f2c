// What the disk itself takes and gives: writes and syncs into a file that was allocated and written with
// zeros beforehand, as the journal's are. The floor that benchmarks compare with.
#pragma once

#include <memory>
#include <string>

#include "base/disk.h"
#include "harness.h"

namespace mainstay::bench {

/// For what must not fail: the error's text as CouldNotRun.
template <class T, class E>
T need(Result<T, E> result) {
  if (!result) throw CouldNotRun(result.error().what);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class BareFile {
 public:
  /// @param bytes  its length. When it is full it is written again from its beginning: overwriting written
  /// blocks costs what overwriting zeros costs, and making new files all the time would measure those.
  BareFile(Disk& disk, std::string name, std::uint64_t bytes);
  ~BareFile();
  BareFile(const BareFile&) = delete;
  BareFile& operator=(const BareFile&) = delete;
  /// One write and one sync of it behind the last. @return seconds.
  double write_and_sync(BytesView bytes);

 private:
  Disk& disk_;
  std::string name_;
  std::uint64_t length_, at_ = 0;
  std::unique_ptr<File> file_;
};

}  // namespace mainstay::bench
