// What a long run has done so far: one line per image or batch, appended as soon as it is known, each with a
// checksum. A kill at any moment leaves whole lines and at most one torn line, which is cut off when the run goes on.
//
// Line: 16 hex digits of XXH3 over the rest, a blank, JSON. The first line is the header: settings that must not
// change.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

class Journal {
public:
    // Goes on with the file if it is there; `visit` gets the JSON of every whole line after the header and the line's
    // offset. Fault::usage if the header is another one.
    Journal(const std::filesystem::path& path, const std::string& header,
            const std::function<void(std::string_view, uint64_t)>& visit);
    ~Journal();
    Journal(const Journal&) = delete;
    Journal& operator=(const Journal&) = delete;

    uint64_t append(std::string_view json);   // one line; returns its offset. Reaches the disk within two seconds
    std::string line(uint64_t offset) const;  // its JSON
    void remove();                            // the run is finished

private:
    void write(std::string_view line);
    void sync();

    std::filesystem::path path_;
    int file_ = -1;
    uint64_t end_ = 0;
    std::chrono::steady_clock::time_point synced_ = std::chrono::steady_clock::now();
};
