// Result files of earlier runs and of other programs, for the images of this run.
#pragma once

#include <filesystem>

#include "app/detect/result_file.h"
#include "app/jobs/image_list.h"

// Renames the entries of `old` as this run names its images. An image under two names would be in the result twice, so
// the run ends if the earlier file seems to hold none of its images.
// `option`: with which the file was named, for messages.
void use_names_of(const ImageList& list, const std::string& option, const std::string& file, ResultFile& old);

// What a file says instead of a model: MegaDetector's JSON, or SpeciesNet's. Its categories and classes are numbered
// anew, from 1 and from 0. SpeciesNet 4 has one answer for an image, which each of its animals gets; SpeciesNet 5 has
// one for each box.
struct GivenResults {
    ResultHead head;                        // with the categories
    std::vector<std::string> species = {};  // classes of the boxes; empty: the file has none
    double typical_threshold = 0.2;
    std::string hash = {};                           // of the file
    std::map<std::string, ImageResult> images = {};  // by the names that this run gives them
};

bool is_result_name(const std::string& model);  // a JSON file where a model could stand

// Fault::usage if the file lacks an image of the list or holds none; Fault::damaged if it is neither format.
GivenResults read_given(const std::string& option, const std::string& path, const ImageList& list);

// Gives the boxes of `result` the classes of those that `given` has in the same places (IoU of at least 0.5).
void take_classes(const ImageResult& given, ImageResult& result);

// The header of a survey's journal, and the images that it has under the first key of its run (DetectOptions::keys).
inline const std::string kSurveyJournal = R"({"survey":1})";
std::vector<std::string> survey_names(const std::filesystem::path& journal, const std::string& key);
