#include "cli/member_reports.h"

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <iterator>

#include "group/shared_store.h"
#include "group/superblock.h"
#include "io/posix_disk.h"

namespace mainstay::cli {

namespace {

constexpr int kTries = 5;

DirectoryReport report_of(group::LoadedSuperblock loaded, const std::string& directory, Clock& clock) {
  group::Superblock& block = *loaded.block;
  DirectoryReport out;
  out.report = {{block.node, block.incarnation}, block.cluster, block.promised, block.seen,
                std::move(block.record),         clock.wall(),  directory};
  out.committed = block.committed;
  out.damaged = std::move(loaded.damaged);
  return out;
}

Result<std::optional<DirectoryReport>, Failure> read_store(Disk& disk, const std::string& directory,
                                                           Clock& clock) {
  for (int tries = 0; tries < kTries; ++tries) {
    const auto sight = group::look_at_store(disk);
    if (!sight) return sight.error();
    if (sight->highest == Epoch{}) return std::optional<DirectoryReport>();
    DirectoryReport out;
    if (sight->current == Epoch{}) {
      // Nobody has led on it yet; epochs were had for it all the same.
      out.report = {{group::kStoreNode, sight->identity->incarnation},
                    sight->identity->cluster,
                    {},
                    {},
                    {},
                    clock.wall(),
                    directory};
    } else {
      auto loaded = group::read_superblock(disk, group::claim_directory(sight->current));
      if (!loaded) return loaded.error();
      if (!loaded->block) continue;  // taken and removed meanwhile
      out = report_of(std::move(*loaded), directory, clock);
    }
    out.report.seen = std::max(out.report.seen, sight->highest);
    return std::optional(std::move(out));
  }
  return Failure{directory + ": nodes take the store from each other while this looks at it; try again"};
}

}  // namespace

Result<std::optional<DirectoryReport>, Failure> read_member_directory(const std::string& directory,
                                                                      Clock& clock) {
  auto disk = io::PosixDisk::open(directory);
  if (!disk) return Failure{disk.error().what};
  const auto names = (*disk)->list("");
  if (!names) return Failure{names.error().what};
  for (const std::string& name : *names)
    if (name == group::kStoreIdentity || group::parse_claim_directory(name))
      return read_store(**disk, directory, clock);
  auto loaded = group::read_superblock(**disk, "");
  if (!loaded) return loaded.error();
  if (!loaded->block) return std::optional<DirectoryReport>();
  return std::optional(report_of(std::move(*loaded), directory, clock));
}

Result<coordination::MemberReport, Failure> read_member_report(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return Failure{file + ": cannot be opened"};
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  boost::system::error_code failed;
  const boost::json::value value = boost::json::parse(text, failed);
  const boost::json::value* inner =
      !failed && value.is_object() ? value.get_object().if_contains("report") : nullptr;
  if (inner != nullptr && inner->is_null())
    return Failure{
        file +
        ": the node had no superblock of a group when this was written; if its disk is new, leave the "
        "file away and say --without with the node's name"};
  auto report = coordination::decode_member_report(inner != nullptr ? boost::json::serialize(*inner) : text);
  if (!report)
    return Failure{
        file + ": is no report of a node (" + report.error().what +
        "); make one on the node's machine with `mainstay group status --config NODE.toml --json`"};
  report->from = file;
  return report;
}

}  // namespace mainstay::cli
