// What the page of `tundra review` asks and answers, without HTTP: lists of images, what is known of them, answers.
// All members may be called from several threads.
#pragma once

#include <cstdint>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/review/corrections.h"
#include "app/review/folder.h"

struct ReviewFilter {
    std::string state = "todo";                                    // todo: to be looked at and not yet seen; all; done
    std::string site = {}, final = {}, species = {}, reason = {};  // "": any
    double min = 0, max = 1;                                       // of SurveyImage::score
    std::string order = "doubt";  // the least certain final class first; species: the most wrong ones expected first;
                                  // file; newest: last seen first
};

class ReviewSession {
public:
    using Json = nlohmann::json;

    ReviewSession(const SurveyFolder& survey, CorrectionLog& corrections, const std::string& reviewer);

    Json about() const;                                            // the survey: names for filters and keys, progress
    std::vector<uint32_t> list(const ReviewFilter& filter) const;  // Fault::usage for an unknown state or order
    Json items(const std::vector<uint32_t>& images) const;         // numbers without an image are passed over
    // {"images": [{"id": 3, "set": [{"box": "1", "field": "species", "value": "fox"}]}]}: one answer of the reviewer,
    // on the disk when this returns. Every image counts as seen. Throws Fault::usage and saves nothing if a part is no
    // possible answer, and as CorrectionLog::append(). Returns {"items": [...], "progress": ...}.
    Json save(const Json& answer);
    // Takes the answers of another file of corrections in, such as the one that a static page saved, after
    // SurveyFolder::match(); they are on the disk when this returns. Of two people's answers about one image the later
    // one holds as a whole, because each was given without the other. Fault::usage, with the image, and nothing is
    // taken, if one is not possible here.
    struct Added {
        size_t images = 0, rows = 0, older = 0;  // rows: without those that take an answer back
        std::vector<std::string> unknown = {};   // images that this survey does not have
        std::vector<std::string> replaced = {};  // images whose answer of another person no longer holds
    };
    Added add(const CorrectionLog& other);
    Json undo();  // takes the last answer of this session back; as save(). Without one: {"items": []}

private:
    Json item(uint32_t image) const;
    Json progress() const;
    Json write(const std::vector<Correction>& rows);

    const SurveyFolder& survey_;
    CorrectionLog& corrections_;
    std::string reviewer_;
    mutable std::mutex mutex_;
    std::vector<char> seen_;
    size_t to_review_ = 0, reviewed_ = 0, reviewed_of_those_ = 0;
    std::vector<std::vector<Correction>> done_;  // answers of this session, as rows that take them back
};
