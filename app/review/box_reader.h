// Boxes and classes of MegaDetector's results.json, read event by event: a tree of 200,000 images would take gigabytes.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "app/review/folder.h"

struct BoxReader {
    explicit BoxReader(SurveyFolder& survey) : survey(survey) {}

    // Fills categories, and first_box and boxes of every image; "" or what is wrong with the text.
    std::string read(std::string_view json);

    SurveyFolder& survey;
    std::vector<SurveyBox> boxes;
    size_t unknown = 0;  // images that images.csv lacks
};
