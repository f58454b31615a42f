// A command that several ranks run together.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/ranks.h"

// The exit code of `work`; `error` is the text of what it threw, if it threw.
int run_caught(const std::function<int()>& work, std::optional<std::string>& error);

// Runs `work` on this rank. An error is told in one line that names the rank, and ends all ranks with its exit code.
int run_together(Ranks& ranks, const std::function<int()>& work);
