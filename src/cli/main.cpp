#include <iostream>

#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/version.h"

int main(int argc, char** argv) {
  using namespace mainstay::cli;
  CLI::App app{
      "Mainstay: a geo-redundant message broker and disaster-recovery pipeline for messages that must not "
      "be\n"
      "lost, repeated or reordered."};
  app.set_version_flag("--version", std::string("mainstay ") + kVersion);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  mainstay drill region-outage                      kill a region, prove nothing went missing\n"
      "  mainstay serve --config east.toml                 run a broker\n"
      "  mainstay region status --config east.toml         who leads, how far behind is the other region\n"
      "  mainstay group status --config east-1.toml        which node of the region leads, whose copies "
      "count\n"
      "  mainstay payment inspect payments.rje --tsv       what a file of payments holds\n"
      "\n"
      "Exit status: 0 done or clean; 1 a check found something; 2 could not run; 64 wrong command line;\n"
      "             70 a node stopped itself; 78 wrong configuration.");
  int status = kOk;
  add_serve(app, status);
  add_region(app, status);
  add_group(app, status);
  add_pipeline(app, status);
  add_archive(app, status);
  add_messages(app, status);
  add_drill(app, status);
  add_audit(app, status);
  add_payment(app, status);
  add_verify(app, status);
  add_capacity(app, status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? kOk : kUsage;
  }
  return status;
}
