// Classifiers as stages of a run, and their classes in result files.
#pragma once

#include "app/detect/result_file.h"
#include "app/detect/stages.h"
#include "app/jobs/model.h"

// `note` gets what had to be assumed of the file. The batch of `machine` is the detector's and does not count.
ReadyModel open_classifier(const std::string& path, MachineOptions machine,
                           const std::function<void(const std::string&)>& note);

// Tables and corrections join species with | and count them after a colon, "fox:2|hare:1": other signs for these.
void name_for_tables(std::vector<std::string>& names, const std::function<void(const std::string&)>& note);

ClassStage stage_of(ReadyModel& model);  // which must stay where it is

// Names and numbers of the classes in result files. Timelapse refuses files whose first class has the name of a
// detection category, and merges classes of one name.
void name_classes(const std::vector<std::string>& names, ResultHead& head);
