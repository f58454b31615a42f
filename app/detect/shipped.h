// What is installed beside the program.
#pragma once

#include <filesystem>

// The small detector that scripts/train_detector.sh made; empty where it is not found. Looked for in ../share/tundra
// and
// ../share as seen from the program.
std::filesystem::path shipped_detector();
