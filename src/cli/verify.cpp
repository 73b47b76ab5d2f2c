// `mainstay verify DIR`: checks a journal offline, without changing anything.
#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "io/posix_disk.h"
#include "journal/journal.h"

namespace mainstay::cli {
namespace {

struct VerifyArguments {
  std::string directory;
  bool json = false;
};

int verify(const VerifyArguments& arguments) {
  auto disk = io::PosixDisk::open(arguments.directory);
  if (!disk) {
    std::cerr << "mainstay verify: " << disk.error().what << "\n";
    return kCouldNotRun;
  }
  const journal::VerifyReport report = journal::verify(**disk, "");
  if (arguments.json) {
    boost::json::array problems;
    for (const std::string& problem : report.problems) problems.push_back(boost::json::value(problem));
    std::cout << boost::json::serialize(boost::json::object{{"ok", report.ok},
                                                            {"first_lsn", report.first.value},
                                                            {"last_lsn", report.end.lsn.value},
                                                            {"hash", hex(report.end.hash)},
                                                            {"records", report.records},
                                                            {"segments", report.segments},
                                                            {"torn_bytes", report.torn_bytes},
                                                            {"problems", problems}})
              << "\n";
  } else {
    std::cout << "segments  " << report.segments << "\nrecords   " << report.records << "  (LSN "
              << report.first.value << " to " << report.end.lsn.value << ")\nhash      "
              << hex(report.end.hash) << "\n";
    if (report.torn_bytes > 0) {
      std::cout << "torn tail " << report.torn_bytes
                << " bytes, never acknowledged; the next start cuts it\n";
    }
    for (const std::string& problem : report.problems) std::cout << "PROBLEM   " << problem << "\n";
    std::cout << (report.ok ? "every record is whole and in its place\n" : "the journal is damaged\n");
  }
  return report.ok ? kOk : kNotClean;
}

}  // namespace

void add_verify(CLI::App& app, int& status) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* command =
      app.add_subcommand("verify", "check a journal offline: every checksum, every link of the hash chain");
  command->add_option("directory", arguments->directory, "the node's data directory")->required();
  command->add_flag("--json", arguments->json, "print the result as JSON");
  command->footer(
      "Reads only; safe beside a running node (records being written may show as a torn tail).\n"
      "Exit status: 0 whole, 1 damaged (each problem names file, offset and what to do), 2 cannot be read.\n"
      "Example: mainstay verify /var/lib/mainstay/east-1 --json");
  command->callback([arguments, &status] { status = verify(*arguments); });
}

}  // namespace mainstay::cli
