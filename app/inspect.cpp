// `tundra inspect`: what is in a weight file or a run folder.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/terminal.h"
#include "base/error.h"
#include "base/file.h"
#include "models/files/weights.h"
#include "train/checkpoint.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json read_json(const fs::path& path) {
    const FileBytes bytes = read_file(path);
    const json content =
        json::parse(std::string_view(reinterpret_cast<const char*>(bytes.memory.get()), bytes.size), nullptr, false);
    if (!content.is_object()) fail(Fault::damaged, "{}: is not JSON", path.string());
    return content;
}

// A field as text; files are edited and cut, so nothing is taken for granted.
std::string text_at(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end()) return "?";
    return found->is_string() ? found->get<std::string>() : found->dump(-1, ' ', false, json::error_handler_t::replace);
}

double number_at(const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number() ? found->get<double>() : std::nan("");
}

void inspect_run(const fs::path& folder) {
    Progress progress(true);
    const json run = read_json(folder / "run.json");
    say(progress, fmt::format("{}: a training run, {}", folder.string(),
                              text_at(run, "finished") == "true" ? "finished" : "not finished"));
    const auto line = [&](const char* what, const std::string& text) {
        say(progress, fmt::format("  {:<13} {}", what, text));
    };
    const json data = run.value("data", json::object());
    line("task", run.contains("task") ? text_at(run, "task") : "classify");
    line("model", text_at(run, "model"));
    line("classes", text_at(run, "classes"));
    line("data", fmt::format("{} images in {}, fingerprint {}", text_at(data, "pictures"), text_at(data, "path"),
                             text_at(data, "fingerprint")));
    line("seed", text_at(run, "seed"));
    line("trained on",
         fmt::format("{} images in {}", text_at(run, "pictures"), duration_text(number_at(run, "wall_seconds"))));
    size_t number = 0;
    if (const auto sessions = run.find("sessions"); sessions != run.end() && sessions->is_array())
        for (const json& session : *sessions)
            if (session.is_object())
                say(progress,
                    fmt::format("  session {:<5} {}, {}, {:.1f} images/s", ++number, text_at(session, "started"),
                                text_at(session, "device"), number_at(session, "images_per_second")));
    std::vector<std::string> notes;
    if (const auto checkpoint = load_newest_checkpoint(folder / "checkpoints", notes))
        say(progress, fmt::format("  checkpoint    {}: step {} of {}", checkpoint->path.filename().string(),
                                  checkpoint->state.step, checkpoint->state.total_steps));
    for (const std::string& text : notes) say(progress, "  note: " + text);
    if (fs::exists(folder / "model.safetensors")) fmt::print("\n{}", inspect_weights(folder / "model.safetensors"));
}

int run(const std::string& path) {
    if (!fs::exists(path)) fail(Fault::usage, "{}: no such file or folder", path);
    if (!fs::is_directory(path)) {
        fmt::print("{}", inspect_weights(path));
        return 0;
    }
    if (!fs::exists(fs::path(path) / "run.json")) fail(Fault::usage, "{}: is no run folder: it has no run.json", path);
    inspect_run(path);
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto path = std::make_shared<std::string>();
    app.add_option("FILE", *path, "weight file, or run folder")->required();
    return [path] { return run(*path); };
}

}  // namespace

Command inspect_command() {
    return {.name = "inspect",
            .summary = "Show what is in a weight file or a run folder.",
            .examples = {"tundra inspect runs/quality", "tundra inspect runs/quality/model.safetensors",
                         "tundra inspect md_v5a.0.0.pt"},
            .add = add};
}
