#include "train/run_folder.h"

#include <fcntl.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "train/checkpoint.h"

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr size_t kMaxBadFileNotes = 10;

std::string content_of(const fs::path& path) {
    const FileBytes bytes = read_file(path);
    return {reinterpret_cast<const char*>(bytes.span().data()), bytes.size};
}

}  // namespace

std::optional<TrainConfig> RunFolder::config() const {
    const fs::path file = path_ / "config";
    if (fresh_ || !fs::exists(file)) return std::nullopt;
    TrainConfig config;
    const std::vector<Assignment> of_file = read_config(file.string());
    refuse_removed_settings(of_file);
    assign(config, of_file);
    return config;
}

bool RunFolder::holds(const TrainConfig& config) const {
    const std::optional<TrainConfig> before = this->config();
    if (!before) return false;
    if (const auto lines = config_differences(*before, config); !lines.empty())
        fail(Fault::usage,
             "{}: holds a run with another configuration; use --fresh to start over, or another --out\n  {}",
             path_.string(), fmt::join(lines, "\n  "));
    return true;
}

bool RunFolder::finished() const {
    if (!used_) return false;
    return member(record(), "finished") == json(true) && fs::exists(path_ / "model.safetensors");
}

std::string RunFolder::model_hash() const {
    return content_hash("", SafetensorsFile::open(path_ / "model.safetensors").tensors());
}

bool RunFolder::check_finished(const Note& note) const {
    const json about = record();
    if (!used_ || member(about, "finished") != json(true)) return false;
    const std::string model = (path_ / "model.safetensors").string(), evaluation = (path_ / "evaluation.json").string();
    const bool saved = !steps_in(path_ / "checkpoints").empty();
    if (!fs::exists(model)) {
        if (!saved)
            fail(Fault::damaged,
                 "{}: this run has finished, but its model is not there any more, nor a checkpoint to make it from; "
                 "copy it back, or start over with --fresh",
                 model);
        note(model + " is not there any more: it is made again from the last checkpoint");
        return false;
    }
    std::string problem;
    try {
        const std::string as_written = text_of(about, "model_hash");  // not in runs of earlier versions
        if (!as_written.empty() && model_hash() != as_written)
            problem = model + ": holds other weights than this run wrote";
        else if (as_written.empty())
            SafetensorsFile::open(model);
    } catch (const Error& e) {
        if (e.fault != Fault::damaged) throw;
        problem = e.what();
    }
    if (!problem.empty())
        fail(Fault::damaged, "{}. Without a copy of it, {}", problem,
             saved ? "delete the file: the same command then makes it again from the last checkpoint"
                   : "start over with --fresh");
    if (!fs::exists(evaluation) || !json::accept(content_of(evaluation)))
        note(fmt::format("{} is {}, so the report has no evaluation; tundra eval {} measures the model again",
                         evaluation, fs::exists(evaluation) ? "damaged" : "not there any more", path_.string()));
    return true;
}

json RunFolder::record() const {
    if (fresh_ || !fs::exists(path_ / "run.json")) return {};
    return json::parse(content_of(path_ / "run.json"), nullptr, false);
}

std::optional<RecordedData> RunFolder::recorded_data(const std::string& data) const try {
    const json about = record(), &before = about.at("data");
    if (before.at("path") != data) return std::nullopt;
    return RecordedData{.classes = about.at("classes"),
                        .images = before.at("pictures"),
                        .bytes = before.at("bytes"),
                        .hash = before.at("fingerprint")};
} catch (const json::exception&) {  // no record, or a damaged one
    return std::nullopt;
}

std::vector<std::string> RunFolder::start(const TrainConfig& config) {
    if (!used_) return {};
    std::error_code error;
    fs::create_directories(path_, error);
    if (error) fail(Fault::environment, "{}: cannot create the run folder: {}", path_.string(), error.message());
    lock_.emplace(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (lock_->number < 0) fail(Fault::environment, "{}: cannot open: {}", path_.string(), system_error_text());
    std::vector<std::string> notes;
    if (const std::string text = lock_file(lock_->number, path_, "another tundra is training in this folder");
        !text.empty())
        notes.push_back(text);
    // What writes leave that a kill interrupted; nothing else that may lie here.
    static const std::regex temporary(
        R"((config|run\.json|log\.jsonl|metrics\.csv|model\.safetensors|evaluation\.json|bad_files\.csv))"
        R"(\.\d+-\d+\.tmp)");
    for (fs::directory_iterator entry(path_, error), end; !error && entry != end; entry.increment(error))
        if (std::regex_match(entry->path().filename().string(), temporary)) {
            std::error_code ignored;
            fs::remove(entry->path(), ignored);
        }
    if (fresh_ && fs::exists(path_ / "config"))
        // The configuration last: while it exists, the remaining files belong to it.
        for (const char* part : {"checkpoints", "run.json", "log.jsonl", "metrics.csv", "model.safetensors",
                                 "evaluation.json", "bad_files.csv", "report.html", "config"})
            fs::remove_all(path_ / part);
    write_file_durably(path_ / "config", [&](FileWriter& out) { out.write(write_config(config)); });
    const std::string record = fs::exists(path_ / "run.json") ? content_of(path_ / "run.json") : "";
    for (const FormatLibrary& l : format_libraries())
        if (!*l.version && record.find(fmt::format("\"{}\"", l.library)) != record.npos)
            notes.push_back(
                fmt::format("the run was trained with {} images; this build cannot read them, because it lacks {}",
                            l.formats, l.library));
    return notes;
}

void read_log(const fs::path& log, const LoggedEpoch& where, const std::vector<std::string>& parts, StepStats& epoch,
              std::map<std::string, FailedImage>& bad) {
    if (!where.step || !fs::exists(log)) return;
    std::istringstream lines(content_of(log));
    for (std::string text; std::getline(lines, text);) {
        const json line = json::parse(text, nullptr, false);
        if (!line.is_object()) continue;
        if (line.contains("bad_file")) {
            const std::string path = line.at("bad_file");
            bad.insert({path,
                        {.path = path,
                         .code = line.value("code", ""),
                         .text = line.value("text", ""),
                         .used = line.value("used", false)}});
        }
        if (!where.position || !line.contains("skipped") || line.value("epoch", uint64_t(0)) != where.epoch ||
            line.value("step", uint64_t(0)) > where.step)
            continue;
        const bool lost = line.at("skipped");
        StepStats step{.images = line.value("pictures", size_t(0)), .seconds = line.value("seconds", 0.0)};
        if (!lost) step.loss = line.at("loss").get<double>();
        for (const std::string& part : parts) step.parts.emplace_back(part, lost ? 0 : line.value(part, 0.0));
        epoch.add(step, lost);
    }
}

void log_bad_files(const std::vector<FailedImage>& files, RunLog& log, std::map<std::string, FailedImage>& bad,
                   const fs::path& list, const Note& note) {
    for (const FailedImage& f : files) {
        if (!bad.insert({f.path, f}).second) continue;
        log.append({{"bad_file", f.path}, {"code", f.code}, {"used", f.used}, {"text", f.text}});
        if (bad.size() <= kMaxBadFileNotes) note(f.note());
        if (bad.size() == kMaxBadFileNotes) note("more files with problems will be listed in " + list.string());
    }
}
