// The precision in which a detection runs, and how its settings say it.
#pragma once

#include "app/detect/job.h"
#include "app/jobs/model.h"
#include "models/files/detector_file.h"

// Puts the precision in place of "precision" and "instructions". float32 is not named: earlier versions have it so.
void set_precision(nlohmann::ordered_json& settings, DType type, const std::string& instructions);

// Identifies, among the records of a survey, those whose boxes were found with these settings.
std::string key_of_boxes(nlohmann::ordered_json settings, size_t image_size, bool given_species);

// `auto` keeps to what the journal, or else the file of --update, holds already. Fault::usage for a survey in bf16 that
// another kind of processor has begun. `key_of`: key_of_boxes() of settings.
using KeyOf = std::function<std::string(const nlohmann::ordered_json& settings)>;
PrecisionChoice choose_for_detector(const DetectJob& job, const DetectorModel& model, Device& device,
                                    const std::string& journal, const nlohmann::ordered_json& settings,
                                    const KeyOf& key_of);
