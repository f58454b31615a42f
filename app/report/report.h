// report.html: what a run did, for people. One file that needs no network and no script, made from the run's files
// alone.
#pragma once

#include <filesystem>

// Writes `run_folder`/report.html and returns its path. A run under way or files that are missing or damaged leave
// parts of the page out; the page says which. Sample images are read from where the evaluation found them. Errors:
// Fault::usage for a folder that holds no run, Fault::environment if the page cannot be written.
std::filesystem::path write_report(const std::filesystem::path& run_folder);
