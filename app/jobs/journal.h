// The results of a long run so far: one line per image or batch, appended as soon as it is known, each with a checksum.
// A kill at any moment leaves whole lines and at most one torn line, which is cut off when the run is resumed.
//
// Line: 16 hex digits of XXH3 over the rest, a space, JSON. The first line is the header: the fixed settings.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"

struct HandedWork;  // app/jobs/helpers.h

std::string header_of_journal(const std::filesystem::path& path);  // "" if there is none

class Journal {
public:
    // Resumes the file if it exists; `visit` gets the JSON of every whole line after the header and the line's offset.
    // Fault::usage if the header is another one.
    Journal(const std::filesystem::path& path, const std::string& header,
            const std::function<void(std::string_view, uint64_t)>& visit);

    // Of a helper: what it was handed, and what it sends back.
    Journal(const HandedWork& handed, const std::function<void(std::string_view, uint64_t)>& visit);

    uint64_t append(std::string_view json);   // one line; returns its offset. Reaches the disk within two seconds
    std::string line(uint64_t offset) const;  // its JSON
    void remove();                            // the run is finished
    const std::string& note() const { return note_; }  // why it has no lock; "" if it has one

private:
    void write(std::string_view line);
    void sync();

    const HandedWork* handed_ = nullptr;
    std::filesystem::path path_;
    std::string note_;
    Descriptor file_{-1};
    uint64_t end_ = 0;
    std::chrono::steady_clock::time_point synced_ = std::chrono::steady_clock::now();
};

// A fixed number of records, 0 to count - 1, that arrive in any order and are kept in a journal; the last of a number
// counts. Memory: 8 bytes each.
class RecordJournal {
public:
    using Json = nlohmann::ordered_json;

    // `number_of` tells which record a line of an interrupted run holds; `count` or more if it is no longer
    // needed. `resumed` is called once for each record found. A helper has the records that it was handed.
    RecordJournal(const std::filesystem::path& path, const std::string& settings, size_t count,
                  const std::function<size_t(const Json&)>& number_of, const std::function<void(const Json&)>& resumed,
                  const HandedWork* handed = nullptr);

    size_t size() const { return offsets_.size(); }
    bool has(size_t number) const { return offsets_[number] != kNone; }
    void add(size_t number, const Json& record) { add_line(number, one_line(record)); }
    void add_line(size_t number, std::string_view json) { offsets_.at(number) = journal_.append(json); }
    Json at(size_t number) const { return Json::parse(line(number)); }  // of a record that it has
    std::string line(size_t number) const { return journal_.line(offsets_.at(number)); }
    void remove() { journal_.remove(); }
    const std::string& note() const { return journal_.note(); }

private:
    std::function<void(std::string_view, uint64_t)> visitor(const std::function<size_t(const Json&)>& number_of,
                                                            const std::function<void(const Json&)>& resumed);

    static constexpr uint64_t kNone = ~uint64_t(0);
    std::vector<uint64_t> offsets_;
    Journal journal_;
};
