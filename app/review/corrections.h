// What people said about the answers of a survey: FOLDER/corrections.csv, one row per answer, only ever appended.
//
//   file,box,field,old,new,reviewer,time,place
//
// The last row for (file, box, field) holds; an empty `new` takes the answer back. `box` is empty for the image, "1",
// "2", ... for the boxes of results.json in their order, "+1", "+2", ... for boxes that a person drew. `place` says
// where a box of results.json stood when it was named, so that the answer never goes to another box of a later
// detector; files of earlier versions lack this column.
//   image: seen = yes (looked at; `old` has the models' answer: final class, a space, species); final; quality;
//          species = "fox:2|hare:1"
//   box:   category (a name, or none: no such thing), species, bbox = "x y w h" as shares of the sides
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file.h"

struct Correction {
    std::string file, box, field, old, value, reviewer, time;
    std::string place = {};  // "x y w h" as shares of the sides; "": of no box of the detector, or not known
    size_t row = 0;          // of the file, from 1
};

using BoxPlace = std::array<double, 4>;  // left, top, width, height as shares of the sides
inline BoxPlace place_of(const std::array<float, 4>& at) { return {at[0], at[1], at[2], at[3]}; }
std::string place_text(const BoxPlace& at);

class CorrectionLog {
public:
    // Reads the file; without one there are no corrections. A last row that a kill left half written is no answer: it
    // is passed over, with a note. Fault::damaged, with file and row, for a row that cannot be one of ours; what only
    // the models can tell, such as a category that the detector lacks, is the caller's to check.
    // What a spreadsheet saved in another form is written again as ours, unless it is for reading only.
    enum class Use { of_survey, reading };
    explicit CorrectionLog(const std::filesystem::path& file, Use use = Use::of_survey);

    // Gives every answer about a box the number of the box that stands there now (IoU of at least 0.9). Where none
    // does, nothing counts that was said of this image until then, because answers about an image belong together:
    // the rows stay in the file, `notes` and lost() have them. A yes to an image that could not be read then does not
    // count once it can be read. `boxes_now`: of an image by its json_name(), in the order of results.json; nothing
    // if the survey lacks the image or cannot read it, which leaves its answers as they are.
    void match(const std::function<std::optional<std::vector<BoxPlace>>(const std::string& file)>& boxes_now);
    const std::vector<std::string>& lost() const { return lost_; }  // images of which nothing counts any more

    // Opens the file for append(), cuts a half-written last row off, and adds the column `place` where it lacks it.
    // Fault::usage if another process has opened it.
    void open_for_writing();

    // All rows are on the disk when this returns. Throws without having changed anything: Fault::environment if they
    // cannot be written, Fault::usage if another program changed the file since it was read.
    void append(std::span<const Correction> rows);

    // What holds now, in the order in which it was said; undone answers are absent. nullptr: nothing was said.
    const std::vector<Correction>* of(const std::string& file) const;
    // By json_name() of the file.
    const std::unordered_map<std::string, std::vector<Correction>>& all() const { return said_; }
    const std::vector<Correction>& rows() const { return rows_; }  // of the file, also those that no longer hold
    const std::filesystem::path& path() const { return path_; }
    bool lacks_places() const;  // of boxes, as rows of earlier versions do
    std::vector<std::string> notes;

private:
    void take(Correction row);
    void lock();

    std::filesystem::path path_;
    std::vector<Correction> rows_;
    std::vector<std::string> lost_;
    std::unordered_map<std::string, std::vector<Correction>> said_;
    std::unique_ptr<Descriptor> descriptor_;
    uint64_t size_ = 0;           // of the whole rows
    bool has_places_ = true;      // the file has the column `place`
    bool filled_ = false;         // match() gave places to rows that the file has without
    bool needs_newline_ = false;  // the last row is whole, but somebody saved it without its line feed
};

// The answer that a person looked at, such as "animal fox:2", which holds whatever models say that look at the image
// later, but for what this person corrected. "": not known, boxes were changed, or the image could not be read.
std::string accepted_answer(std::span<const Correction> said);

// Why no image (box "") or box can have this answer; "" if one can. An empty one takes an answer back.
std::string fault_of_answer(const std::string& box, const std::string& field, const std::string& value);

// "fox:2|hare:1": names and counts; a name without a number counts one. Nothing if the text is not of this form.
std::vector<std::pair<std::string, size_t>> named_counts(std::string_view text);

std::string time_now();  // "2026-11-30T08:00:00Z"
