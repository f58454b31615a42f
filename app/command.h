// A command of the binary: its name, its help, its options, and the function that runs it.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <string>
#include <vector>

struct Command {
    std::string name, summary;
    std::vector<std::string> examples;  // whole command lines
    // Adds the options to `app` and returns what runs once they are parsed; its result is the exit code.
    std::function<int()> (*add)(CLI::App& app);
    std::vector<std::string> short_help = {};  // the options that -h shows, "--lr"; empty: all
};

Command train_command();
Command lr_find_command();
Command eval_command();
Command classify_command();
Command synth_command();
Command inspect_command();
Command report_command();
Command detect_command();
Command merge_command();
Command survey_command();
Command review_command();
Command tidy_command();
Command export_command();
Command import_command();
Command quantize_command();
Command doctor_command();
Command version_command();
