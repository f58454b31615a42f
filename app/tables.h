// Figures of a classifier as tables for people, on standard output.
#pragma once

#include "train/metrics.h"

void print_metrics(const Metrics& metrics, const std::vector<std::string>& classes);
