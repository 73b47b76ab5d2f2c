// `mainstay payment inspect FILE…`: what a file of MT or MX messages holds.
#include <fstream>
#include <iostream>
#include <iterator>

#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "payments/inspect.h"
#include "payments/message.h"
#include "payments/seen_messages.h"

namespace mainstay::cli {
namespace {

struct InspectArguments {
  std::vector<std::string> files;
  bool json = false;
  bool tsv = false;
};

int inspect(const InspectArguments& arguments) {
  payments::SeenMessages seen;
  std::string out;
  int status = kOk;
  if (!arguments.json) payments::write_tsv_header(out);
  for (const std::string& file : arguments.files) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) {
      std::cerr << "mainstay payment inspect: cannot read " << file << "\n";
      return kCouldNotRun;
    }
    const std::string content{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    for (const payments::Message& message : payments::read_messages(as_bytes(content))) {
      const auto relation = seen.add(file, message);
      if (arguments.json) {
        payments::write_json(out, file, message, relation);
      } else {
        payments::write_tsv(out, file, message, relation);
      }
      if (!message.valid) status = kNotClean;
    }
    std::cout << out;
    out.clear();
  }
  return status;
}

}  // namespace

void add_payment(CLI::App& app, int& status) {
  CLI::App* payment = app.add_subcommand("payment", "look into SWIFT MT and ISO 20022 MX messages");
  payment->require_subcommand(1);
  auto arguments = std::make_shared<InspectArguments>();
  CLI::App* command = payment->add_subcommand(
      "inspect", "identity, ordering key, type, validity and relation of each message");
  command->add_option("files", arguments->files, "FIN, RJE, DOS-PCC or XML files")->required();
  auto* tsv = command->add_flag("--tsv", arguments->tsv, "tab-separated, one line a message (the default)");
  command->add_flag("--json", arguments->json, "one JSON object a line")->excludes(tsv);
  command->footer(
      "The relation column compares a message with those before it on the same command line.\n"
      "Exit status: 0 all valid, 1 at least one invalid, 2 a file cannot be read.\n"
      "Example: mainstay payment inspect inbox/*.rje --json");
  command->callback([arguments, &status] { status = inspect(*arguments); });
}

}  // namespace mainstay::cli
