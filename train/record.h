// The records of a run for people and programs: run.json, log.jsonl and metrics.csv.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>

#include "train/machine.h"

// run.json: the provenance of a run. One session per start of the program, because a run can be resumed elsewhere:
//   {"format": 1, ...facts..., "sessions": [{"started", "ended" (or last heard of), "machine", "build", "libraries",
//    "device", "gpu", ..., "pictures", "wall_seconds", "images_per_second", "peak_memory_bytes", "energy_joules",
//    "events": [...]}], "wall_seconds", "pictures", "energy_joules": of all sessions}
// energy_joules is a number or "not measured". Times are UTC. Every write replaces the file as a whole (base/file.h).
class RunRecord {
public:
    // An empty path, here and below: nothing is written. Adds a session to the file, which may exist. `session` holds
    // the caller's facts (device, precision, libraries that come with the device, ...) and is merged into it.
    RunRecord(std::filesystem::path path, const nlohmann::json& session);

    // Facts of the whole run: seed, data, config_hash, classes, ... Takes effect with the next event.
    void fact(const std::string& key, nlohmann::json value) { record_[key] = std::move(value); }
    // Images that went through training steps since the last call, and the time that took.
    void count(uint64_t images, double seconds);
    // "start", "resume", "epoch", "stop", "finish", ...; writes the file.
    void event(const std::string& kind, nlohmann::json details = nlohmann::json::object());

    const nlohmann::json& content() const { return record_; }

private:
    nlohmann::json& session() { return record_["sessions"].back(); }

    std::filesystem::path path_;
    nlohmann::json record_;
    EnergyMeter energy_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    uint64_t images_ = 0;
    double step_seconds_ = 0;
};

// An append-only file of lines; after a kill only the last line may be incomplete.
class LineFile {
public:
    // Drops an incomplete last line and the lines that `keep` refuses, then appends.
    LineFile(const std::filesystem::path& path, const std::function<bool(std::string_view line)>& keep);
    ~LineFile();
    LineFile(const LineFile&) = delete;
    LineFile& operator=(const LineFile&) = delete;

    void append(std::string line);  // without the line feed
    bool empty() const { return empty_; }

private:
    std::filesystem::path path_;
    int descriptor_ = -1;
    bool empty_ = true;
};

// log.jsonl: one JSON object per line; "step" is the number of optimizer steps done. Lines of later steps than the one
// that the run resumes from are dropped, so that no step occurs twice, and reports of epochs ("epoch_done") behind
// `reported_step`, which come again; lines without "step" stay.
class RunLog {
public:
    RunLog(const std::filesystem::path& path, uint64_t from_step, uint64_t reported_step);
    void append(const nlohmann::json& line) {
        file_.append(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    }

private:
    LineFile file_;
};

// metrics.csv: a header, then one row per report, its first column "step"; dropped on resume like the log.
class MetricsTable {
public:
    // columns: the ones after "step". Errors: Fault::usage if the file has others.
    MetricsTable(const std::filesystem::path& path, std::vector<std::string> columns, uint64_t from_step);
    void append(uint64_t step, const std::vector<std::optional<double>>& values);  // nullopt: an empty cell

private:
    std::vector<std::string> columns_;
    LineFile file_;
};
