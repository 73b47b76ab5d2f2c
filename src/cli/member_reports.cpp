#include "cli/member_reports.h"

#include <boost/json.hpp>
#include <fstream>
#include <iterator>

#include "group/shared_store.h"
#include "group/superblock.h"
#include "io/posix_disk.h"

namespace mainstay::cli {

Result<std::optional<DirectoryReport>, Failure> read_member_directory(const std::string& directory,
                                                                      Clock& clock) {
  auto disk = io::PosixDisk::open(directory);
  if (!disk) return Failure{disk.error().what};
  auto claim = group::current_claim(**disk);
  if (!claim) return claim.error();
  auto loaded = group::read_superblock(**disk, claim->value_or(""));
  if (!loaded) return loaded.error();
  if (!loaded->block) return std::optional<DirectoryReport>();
  group::Superblock& block = *loaded->block;
  DirectoryReport out;
  out.report = {{block.node, block.incarnation}, block.cluster, block.promised, block.seen,
                std::move(block.record),         clock.wall(),  directory};
  out.committed = block.committed;
  out.damaged = std::move(loaded->damaged);
  return std::optional(std::move(out));
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
