// The files of an evaluation: evaluation.json for programs and the report, and the list of unreadable images.
//
// evaluation.json: {"classes": [...], "parts": {"validation": {"loss", "metrics": to_json(Metrics), "predictions":
//   [{"file", "label", "predicted", "confidence", "loss", "camera"}]}, "test": ...}}; parts without images
//   are left out. With `input`, {"input": input}: how the images were prepared, for people.
#pragma once

#include <filesystem>

#include "predict/predict.h"

void write_evaluation(const std::filesystem::path& path, const Dataset& data,
                      const std::vector<std::pair<std::string, const Predictions*>>& parts,
                      const std::string& input = "");

// CSV: path,code,used,text
void write_bad_files(const std::filesystem::path& path, const std::vector<FailedImage>& files);
