// report.html: the results of a run for people. One file without scripts that needs no network, made only from the
// files of the run.
#pragma once

#include <filesystem>

// Writes `run_folder`/report.html and returns its path. An unfinished run or missing or damaged files leave
// parts of the page out; the page says which. Sample images are read from the paths in the evaluation. Errors:
// Fault::usage for a folder without a run, Fault::environment if the page cannot be written.
std::filesystem::path write_report(const std::filesystem::path& run_folder);
