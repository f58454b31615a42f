// Help texts: what `tundra -h` and `tundra COMMAND -h` or `--help` print.
#pragma once

#include <span>

#include "app/command.h"

std::string program_help(std::span<const Command> commands, size_t width);
// full: every option with its default, in groups; else the ones that Command::short_help names.
std::string command_help(const Command& command, const CLI::App& app, bool full, size_t width);
