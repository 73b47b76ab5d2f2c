// `mainstay verify DIR`: checks a journal and the state's pages beside it offline, without changing anything.
#include <boost/json.hpp>
#include <iostream>
#include <optional>

#include "cli/commands.h"
#include "cli/data_directory.h"
#include "cli/exit_codes.h"
#include "cli/member_reports.h"
#include "cli/verify_compare.h"
#include "io/system_clock.h"
#include "journal/journal.h"
#include "replica/verify_pages.h"

namespace mainstay::cli {
namespace {

struct VerifyArguments {
  std::string directory;
  bool json = false;
  std::string compare;
  std::optional<std::uint64_t> at;
};

boost::json::array texts(const std::vector<std::string>& from) {
  boost::json::array out;
  for (const std::string& text : from) out.push_back(boost::json::value(text));
  return out;
}

/// null: the node has never been in a group.
boost::json::value group_object(const Result<std::optional<DirectoryReport>, Failure>& group) {
  if (!group) return boost::json::object{{"problem", group.error().what}, {"report", nullptr}};
  if (!*group) return nullptr;
  return boost::json::object{
      {"problem", (*group)->damaged},
      {"committed_lsn", (*group)->committed.value},
      {"report", boost::json::parse(coordination::encode_member_report((*group)->report))}};
}

int verify(const VerifyArguments& arguments) {
  auto opened = open_data_directory(arguments.directory);
  if (!opened) {
    std::cerr << "mainstay verify: " << opened.error().what << "\n";
    return kCouldNotRun;
  }
  const std::string& shown = opened->shown;
  Disk& disk = *opened->disk;
  const journal::VerifyReport report = journal::verify(disk, "");
  const replica::PagesReport pages = replica::verify_pages(disk, "");
  io::SystemClock clock;
  const auto group = read_member_directory(arguments.directory, clock);
  const bool ok = report.ok && pages.ok && group && (!*group || (*group)->damaged.empty());
  if (arguments.json) {
    std::cout << boost::json::serialize(boost::json::object{{"ok", ok},
                                                            {"directory", shown},
                                                            {"first_lsn", report.first.value},
                                                            {"last_lsn", report.end.lsn.value},
                                                            {"hash", hex(report.end.hash)},
                                                            {"records", report.records},
                                                            {"segments", report.segments},
                                                            {"torn_bytes", report.torn_bytes},
                                                            {"problems", texts(report.problems)},
                                                            {"pages",
                                                             {{"ok", pages.ok},
                                                              {"checkpoint_lsn", pages.checkpoint.value},
                                                              {"checkpoints", pages.checkpoints},
                                                              {"pages", pages.pages},
                                                              {"files", pages.files},
                                                              {"bytes", pages.bytes},
                                                              {"problems", texts(pages.problems)},
                                                              {"unused", texts(pages.unused)}}},
                                                            {"group", group_object(group)}})
              << "\n";
  } else {
    if (shown != arguments.directory) std::cout << "store     its content is in " << shown << "\n";
    std::cout << "segments  " << report.segments << "\nrecords   " << report.records << "  (LSN "
              << report.first.value << " to " << report.end.lsn.value << ")\nhash      "
              << hex(report.end.hash) << "\n";
    if (report.torn_bytes > 0) {
      std::cout << "torn tail " << report.torn_bytes
                << " bytes, never acknowledged; the next start cuts it\n";
    }
    std::cout << "pages     " << pages.pages << " of checkpoint " << pages.checkpoint.value << "; "
              << pages.checkpoints << " checkpoints can be used; " << pages.files << " files, " << pages.bytes
              << " bytes\n";
    if (group && *group) {
      const coordination::MemberReport& it = (*group)->report;
      std::cout << "group     promised epoch " << it.promised.value << ", seen epoch " << it.seen.value
                << ", LSN " << (*group)->committed.value << " committed at least\n";
      if (it.record)
        std::cout << "          last record believed: epoch " << it.record->epoch.value << ", led by "
                  << it.record->leader.text() << "\n";
      if (!(*group)->damaged.empty()) std::cout << "GROUP     " << (*group)->damaged << "\n";
    } else if (!group) {
      std::cout << "GROUP     " << group.error().what << "\n";
    }
    for (const std::string& problem : report.problems) std::cout << "PROBLEM   " << problem << "\n";
    for (const std::string& problem : pages.problems) std::cout << "PAGES     " << problem << "\n";
    for (const std::string& unused : pages.unused) std::cout << "unused    " << unused << "\n";
    std::cout << (report.ok ? "every record is whole and in its place\n" : "the journal is damaged\n");
    if (!pages.ok) std::cout << "state pages are damaged: no message is lost by it, a start takes longer\n";
  }
  return ok ? kOk : kNotClean;
}

}  // namespace

void add_verify(CLI::App& app, int& status) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* command = app.add_subcommand(
      "verify",
      "check a journal offline: every checksum, every link of the hash chain, every page of the state");
  command->add_option("directory", arguments->directory, "the node's data directory")->required();
  command->add_flag("--json", arguments->json, "print the result as JSON");
  CLI::Option* compare = command->add_option(
      "--compare", arguments->compare,
      "another data directory: are both the same log and the same state of it? Instead of the check above");
  command
      ->add_option("--at", arguments->at,
                   "LSN at which to compare the states; default: the highest that can be")
      ->needs(compare);
  command->footer(
      "Reads only; safe beside a running node (records being written may show as a torn tail). A directory "
      "that "
      "the nodes\n"
      "of a group share is refused while a node holds its lock.\n"
      "Exit status: 0 whole, 1 damaged (each problem names file, offset and what to do), 2 cannot be read.\n"
      "\n"
      "--compare takes the directories of two nodes that are stopped, or copies of them, on one machine. It "
      "reads both\n"
      "logs with every checksum, compares their hashes where both end, names the first LSN that differs, and "
      "makes both\n"
      "states of one LSN, from a checkpoint or the first record. Nothing is changed. Progress is told after "
      "2 s.\n"
      "Exit status: 0 the same as far as both go, 1 they differ or one is damaged, 2 logs or states have no "
      "LSN at which\n"
      "they can be compared or one cannot be read, 64 they are of two clusters or the same directory.\n"
      "\n"
      "Examples: mainstay verify /var/lib/mainstay/east-1 --json\n"
      "          mainstay verify /var/lib/mainstay/east-1 --compare /mnt/east-2\n"
      "          mainstay verify east-1 --compare east-2 --at 250000 --json");
  command->callback([arguments, &status] {
    status = arguments->compare.empty()
                 ? verify(*arguments)
                 : verify_compare({arguments->directory, arguments->compare, arguments->at, arguments->json});
  });
}

}  // namespace mainstay::cli
