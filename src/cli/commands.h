// Every subcommand adds itself. A command's work runs in the parse callback and sets `status`.
#pragma once

#include <CLI/CLI.hpp>

namespace mainstay::cli {

void add_serve(CLI::App& app, int& status);
void add_region(CLI::App& app, int& status);
void add_group(CLI::App& app, int& status);
void add_pipeline(CLI::App& app, int& status);
void add_archive(CLI::App& app, int& status);
void add_drill(CLI::App& app, int& status);
void add_audit(CLI::App& app, int& status);
void add_payment(CLI::App& app, int& status);
void add_verify(CLI::App& app, int& status);
void add_messages(CLI::App& app, int& status);
void add_capacity(CLI::App& app, int& status);

}  // namespace mainstay::cli
