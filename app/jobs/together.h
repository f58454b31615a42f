// A command that several ranks run together.
#pragma once

#include <functional>

#include "base/ranks.h"

// Runs `work` on this rank. An error is told in one line that names the rank, and ends all ranks with its exit code.
int run_together(Ranks& ranks, const std::function<int()>& work);
