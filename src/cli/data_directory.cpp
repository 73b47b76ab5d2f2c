#include "cli/data_directory.h"

#include "group/shared_store.h"
#include "io/posix_disk.h"

namespace mainstay::cli {

Result<DataDirectory, Failure> open_data_directory(const std::string& directory) {
  auto disk = io::PosixDisk::open(directory);
  if (!disk) return Failure{disk.error().what};
  DataDirectory out;
  out.shown = directory;
  const auto claim = group::current_claim(**disk);
  if (!claim) return claim.error();
  if (*claim) {
    auto held = (*disk)->lock(group::kStoreLock);
    if (!held) {
      return Failure{"a node of the group uses this store, or a tool does (" + held.error().what +
                     "). Stop the group's nodes first"};
    }
    out.lock = std::move(*held);
    out.shown = (*disk)->describe(**claim);
    disk = io::PosixDisk::open(out.shown);
    if (!disk) return Failure{disk.error().what};
  }
  out.disk = std::move(*disk);
  return out;
}

}  // namespace mainstay::cli
