// Finds files installed beside the program.
#pragma once

#include <filesystem>

// The small detector that scripts/train_detector.sh made, in ../share/tundra or ../share relative to the program; empty
// if there is none.
std::filesystem::path shipped_detector();
