// Help texts of `tundra -h`, `tundra COMMAND -h` and `tundra COMMAND --help`.
#pragma once

#include <span>

#include "app/command.h"

std::string program_help(std::span<const Command> commands, size_t width);
// `full`: all options with their defaults, in groups; otherwise those of Command::short_help.
std::string command_help(const Command& command, const CLI::App& app, bool full, size_t width);
