// The folder of a run: which run it holds, whether it is in use, and whether the run has finished.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "base/file.h"
#include "data/loader.h"
#include "train/config.h"
#include "train/record.h"
#include "train/task.h"

struct RecordedData {  // of a run, from its run.json
    std::vector<std::string> classes;
    size_t images;
    uint64_t bytes;
    std::string hash;  // Fingerprint
};

class RunFolder {
public:
    // `fresh`: ignores the content of the folder; start() deletes it. `used`: false for a rank that neither reads nor
    // writes it; its files then have empty names.
    RunFolder(std::filesystem::path path, bool fresh, bool used = true)
        : path_(std::move(path)), fresh_(fresh || !used), used_(used) {}

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(const char* name) const { return used_ ? path_ / name : ""; }

    // Of the run that it holds.
    std::optional<TrainConfig> config() const;
    // True if it holds a run of this configuration. Fault::usage, with the differences, if it holds another one.
    bool holds(const TrainConfig& config) const;
    bool finished() const;
    // The same, after a look at what the run left: Fault::damaged if its model is damaged, or gone together with the
    // checkpoints. Notes: that the model is made again, or what else is missing.
    bool check_finished(const Note& note) const;
    std::string model_hash() const;  // of the tensors in the file; Fault::damaged if it cannot be read
    nlohmann::json record() const;   // run.json, or null
    // Nothing if it holds no run of this data set that has begun.
    std::optional<RecordedData> recorded_data(const std::string& data) const;

    // Creates it, locks it until this object is destroyed, because two runs in one folder would delete each other's
    // checkpoints, and writes the configuration. Returns notes for people: that it cannot be locked, that this
    // build lacks the library of an image format that the run had so far.
    std::vector<std::string> start(const TrainConfig& config);

private:
    std::filesystem::path path_;
    bool fresh_, used_;
    std::optional<Descriptor> lock_;
};

// Reads the log of a run that is resumed: the sums of the current epoch, and the bad files found so far. `parts`: names
// of StepStats::parts.
struct LoggedEpoch {
    uint64_t epoch, position, step;  // of the checkpoint; position 0: the epoch has not begun
};
void read_log(const std::filesystem::path& log, const LoggedEpoch& where, const std::vector<std::string>& parts,
              StepStats& epoch, std::map<std::string, FailedImage>& bad);

// Adds files to those that are known; a new one is logged, and of the first ones people are told. `list`: where the
// rest will be.
void log_bad_files(const std::vector<FailedImage>& files, RunLog& log, std::map<std::string, FailedImage>& bad,
                   const std::filesystem::path& list, const Note& note);
