// The file of a checkpoint, its hash, and which files are kept.
#include "train/checkpoint.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kPrefix = "step-", kSuffix = ".safetensors";
constexpr int kFormat = 1;

std::string write_state(const TrainingState& state) {
    return json{{"format", kFormat},
                {"step", state.step},
                {"total_steps", state.total_steps},
                {"epoch", state.epoch},
                {"position", state.position},
                {"seed", state.seed},
                {"loss_scale", state.loss_scale},
                {"best_step", state.best_step},
                {"best_metric", state.best_metric},
                {"data_fingerprint", state.data_fingerprint},
                {"config_hash", state.config_hash}}
        .dump();
}

TrainingState read_state(const std::string& text) {
    json j = json::parse(text);
    if (j.at("format") != kFormat)
        throw std::runtime_error(fmt::format("format {}, this program reads {}", j["format"].dump(), kFormat));
    return {.step = j.at("step"),
            .total_steps = j.at("total_steps"),
            .epoch = j.at("epoch"),
            .position = j.at("position"),
            .seed = j.at("seed"),
            .loss_scale = j.at("loss_scale"),
            .best_step = j.at("best_step"),
            .best_metric = j.at("best_metric"),
            .data_fingerprint = j.at("data_fingerprint"),
            .config_hash = j.at("config_hash")};
}

const std::string& metadata_at(const SafetensorsFile& file, const fs::path& path, const std::string& key) {
    auto found = file.metadata().find(key);
    if (found == file.metadata().end())
        fail(Fault::damaged, "{}: not a checkpoint: it has no '{}'", path.string(), key);
    return found->second;
}

}  // namespace

std::string content_hash(const std::string& text, std::span<const FileTensor> tensors) {
    std::map<std::string_view, const FileTensor*> sorted;
    for (const FileTensor& tensor : tensors) sorted.emplace(tensor.name, &tensor);
    Hash hash;
    hash.add(text);
    hash.add(uint64_t(sorted.size()));
    for (const auto& [tensor_name, tensor] : sorted) {
        hash.add(tensor_name);
        hash.add(to_string(tensor->dtype));
        hash.add(uint64_t(tensor->shape.size()));
        for (size_t dimension : tensor->shape) hash.add(uint64_t(dimension));
        hash.add(tensor->data);
    }
    return hash.hex();
}

fs::path checkpoint_path(const fs::path& folder, uint64_t step) {
    return folder / fmt::format("{}{}{}", kPrefix, step, kSuffix);
}

std::set<uint64_t> steps_in(const fs::path& folder) {
    std::set<uint64_t> steps;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
        std::string name = entry.path().filename().string();
        if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix) || name.size() <= kPrefix.size() + kSuffix.size())
            continue;
        uint64_t step = 0;
        const char *begin = name.data() + kPrefix.size(), *end = name.data() + name.size() - kSuffix.size();
        auto [stopped, error] = std::from_chars(begin, end, step);
        if (error == std::errc() && stopped == end && checkpoint_path(folder, step).filename() == name)
            steps.insert(step);
    }
    return steps;
}

Checkpoint load_checkpoint(const fs::path& path) {
    SafetensorsFile file = SafetensorsFile::open(path);
    const std::string& state = metadata_at(file, path, "state");
    if (content_hash(state, file.tensors()) != metadata_at(file, path, "xxh3"))
        fail(Fault::damaged, "{}: damaged: its content does not match its hash", path.string());
    try {
        return {.state = read_state(state), .file = std::move(file), .path = path};
    } catch (const std::exception& error) {
        fail(Fault::damaged, "{}: not a checkpoint of this program: {}", path.string(), error.what());
    }
}

std::optional<Checkpoint> load_newest_checkpoint(const fs::path& folder, std::vector<std::string>& notes) {
    std::set<uint64_t> steps = steps_in(folder);
    bool damaged = false;
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) try {
            Checkpoint checkpoint = load_checkpoint(checkpoint_path(folder, *step));
            if (checkpoint.state.step != *step)
                fail(Fault::damaged, "{}: holds step {}", checkpoint.path.string(), checkpoint.state.step);
            if (damaged) notes.push_back(fmt::format("{} is used instead", checkpoint.path.string()));
            return checkpoint;
        } catch (const Error& error) {
            notes.push_back(error.what());
            damaged = true;
        }
    if (damaged)
        fail(Fault::damaged, "{}: none of {} checkpoints can be used: {}; --fresh starts over", folder.string(),
             steps.size(), notes.back());
    return std::nullopt;
}

CheckpointWriter::CheckpointWriter(fs::path folder, size_t keep, FileCalls calls)
    : folder_(std::move(folder)), keep_(keep), calls_(std::move(calls)) {
    require(keep_ > 0, "checkpoints: at least one must be kept");
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error) fail(Fault::environment, "{}: cannot create the folder: {}", folder_.string(), error.message());
    for (const auto& entry : fs::directory_iterator(folder_, error))
        if (entry.path().extension() == ".tmp") fs::remove(entry.path(), error);
    for (uint64_t step : steps_in(folder_)) try {
            best_step_of_[step] = load_checkpoint(checkpoint_path(folder_, step)).state.best_step;
        } catch (const Error&) {  // load_newest_checkpoint() tells the user
        }
}

void CheckpointWriter::save(const TrainingState& state, std::span<const FileTensor> tensors) {
    require(std::isfinite(state.best_metric) && std::isfinite(state.loss_scale),
            "checkpoint: metric {} and loss scale {}", state.best_metric, state.loss_scale);
    const std::string text = write_state(state);
    const fs::path path = checkpoint_path(folder_, state.step);
    write_safetensors(path, tensors, {{"state", text}, {"xxh3", content_hash(text, tensors)}}, true, calls_);
    try {
        load_checkpoint(path);
    } catch (const Error& error) {
        fail(Fault::environment, "the disk does not return the data that was written: {}; older checkpoints were kept",
             error.what());
    }
    best_step_of_[state.step] = state.best_step;
    best_step_of_.erase(best_step_of_.upper_bound(state.step), best_step_of_.end());

    std::set<uint64_t> kept;
    auto newest = best_step_of_.end();
    for (size_t i = 0; i < keep_ && newest != best_step_of_.begin(); i++) {
        --newest;
        kept.insert({newest->first, newest->second});
    }
    for (uint64_t step : steps_in(folder_)) {
        if (kept.contains(step)) continue;
        best_step_of_.erase(step);
        std::error_code ignored;  // deletion is tried again after the next save
        fs::remove(checkpoint_path(folder_, step), ignored);
    }
}
