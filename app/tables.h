// Metrics of a classifier or detector as tables for people, on standard output.
#pragma once

#include "predict/box_metrics.h"
#include "predict/metrics.h"

void print_metrics(const Metrics& metrics, const std::vector<std::string>& classes);
void print_box_metrics(const BoxMetrics& metrics, const std::vector<std::string>& classes);
