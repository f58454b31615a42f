// The curve of a learning rate range test as one SVG file.
#pragma once

#include <string>

#include "train/lr_finder.h"

std::string lr_plot(const std::vector<LrPoint>& points, const LrSuggestion& suggestion);
