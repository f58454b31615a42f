// `tundra inspect`: shows the content of a weight file or a run folder.
#include <fmt/format.h>

#include <filesystem>

#include "app/command.h"
#include "app/terminal.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "models/files/detector_file.h"
#include "models/int8.h"
#include "predict/model_file.h"
#include "train/checkpoint.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Every text of a file reaches the terminal through this: print_line() escapes it.
class Page {
public:
    template <class... Parts>
    void line(fmt::format_string<Parts...> text, Parts&&... parts) {
        print_line(progress_, fmt::format(text, std::forward<Parts>(parts)...));
    }

private:
    Progress progress_{true};
};

// What `tundra quantize` has stored.
void inspect_int8(Page& page, const WeightFile& file) {
    const json report = parse_foreign(file.metadata.at(kInt8)), check = member(report, "check");
    std::vector<std::string> kept;
    for (const json& name : member(report, "float32")) kept.push_back(name.is_string() ? name.get<std::string>() : "?");
    const auto scales = std::ranges::count_if(file.int8, [](const auto& e) { return e.first.ends_with(kWeightScale); });
    const double share = 100 * number_of(report, "float32_share"), checks = number_of(report, "checks");
    page.line("  int8    {} convolutions; in float32: {}{}", scales, fmt::join(kept, ", "),
              share > 0 ? fmt::format(", {:.1f} % of the arithmetic", share) : "");  // earlier files do not say
    page.line("  of      {}, quantized on {} images{}, checked on {}{}{}", text_of(report, "original"),
              number_of(report, "calibration_images"),
              member(report, "labelled") == json(true) ? " with labels" : " without labels", number_of(check, "images"),
              member(check, "passed") == json(true) ? ", passed" : "",
              checks > 1 ? fmt::format(" at check {}", checks) : "");
    for (const json& row : member(check, "rows"))
        if (row.is_array() && row.size() == 5 && row[0].is_string() && row[2].is_number() && row[3].is_number())
            page.line("          {:<24} float32 {:.4f}  int8 {:.4f}", row[0].get<std::string>(), row[2].get<double>(),
                      row[3].get<double>());
    page.line("  ranges of what layers give:");
    for (const auto& [name, tensor] : file.int8)
        if (name.ends_with(kRange) && tensor.values.size() == 2)
            page.line("          {} {:.4g} to {:.4g}", printable(name.substr(0, name.size() - kRange.size())),
                      tensor.values[0], tensor.values[1]);
}

void inspect_weights(Page& page, const fs::path& path) {
    const WeightFile file = read_weights(path);
    page.line("{}", file.path);
    page.line("  layout  {}{}{}", file.layout, file.source.empty() ? "" : ", weights under '" + file.source + "'",
              file.prefix.empty() ? "" : ", names begin with '" + file.prefix + "'");
    page.line("  model   {}", file.model.text);
    if (file.model.model) {
        const bool keras = file.model.model->name.ends_with("-keras");
        try {
            const StatedPreprocessing input = preprocessing_of(file.metadata, keras, {}, file.path);
            page.line("  input   {}", input.note.empty() ? input_text(input.used) : input.note);
        } catch (const Error& error) {  // still a file to look at
            page.line("  input   {}", error.what());
        }
    }
    if (!file.int8.empty()) inspect_int8(page, file);
    std::string cannot_detect, size_note;
    if (file.model.task == "detect") try {
            const DetectorModel model = read_detector(path);
            page.line("  input   {} pixels on the long side, padded to multiples of {}", model.image_size,
                      model.letterbox_stride());
            size_note = model.size_note;
        } catch (const Error& error) {
            cannot_detect = error.what();
        }
    for (const auto& [key, value] : file.metadata)
        if (key != kInt8 || file.int8.empty())
            page.line("  {}: {}", key, value.size() > 200 ? value.substr(0, 200) + "..." : value);
    size_t widest = 0, elements = 0, bytes = 0;
    for (const StoredTensor& tensor : file.tensors)
        widest = std::clamp<size_t>(printable(tensor.name).size(), widest, 60);
    page.line("");
    for (const StoredTensor& tensor : file.tensors) {
        const size_t n = numel(tensor.shape);
        elements += n;
        bytes += n * size_of(tensor.dtype);
        page.line("  {:<{}}  {:<4}  {}", printable(tensor.name), widest, to_string(tensor.dtype),
                  tensor.shape.empty() ? "scalar" : fmt::format("{}", fmt::join(tensor.shape, " x ")));
    }
    page.line("");
    page.line("  {} tensors, {} elements, {}", file.tensors.size(), count_text(elements), bytes_text(double(bytes)));
    if (!file.model.lacks.empty()) page.line("  note: it cannot predict: {}", file.model.lacks);
    if (!cannot_detect.empty()) page.line("  note: it cannot detect: {}", cannot_detect);
    if (!size_note.empty()) page.line("  note: {}", size_note);
    for (const std::string& text : file.notes) page.line("  note: {}", text);
    for (const std::string& number : bad_numbers(file.state)) page.line("  note: {}", number);
}

json read_json(const fs::path& path) {
    const FileBytes bytes = read_file(path);
    json content = json::parse(bytes.text(), nullptr, false);
    if (!content.is_object()) fail(Fault::damaged, "{}: is not JSON", path.string());
    return content;
}

// A field as text; run.json may have been edited or cut, so any type is possible.
std::string text_at(const json& object, const char* key) {
    const json& value = member(object, key);
    return value.is_null() ? "?" : value.is_string() ? value.get<std::string>() : one_line(value);
}

void inspect_run(Page& page, const fs::path& folder) {
    const json run = read_json(folder / "run.json"), data = member(run, "data");
    page.line("{}: a training run, {}", folder.string(),
              member(run, "finished") == json(true) ? "finished" : "not finished");
    const auto line = [&](const char* what, const std::string& text) { page.line("  {:<13} {}", what, text); };
    line("task", run.contains("task") ? text_at(run, "task") : "classify");
    line("model", text_at(run, "model"));
    line("classes", text_at(run, "classes"));
    line("data", fmt::format("{} images in {}, fingerprint {}", text_at(data, "pictures"), text_at(data, "path"),
                             text_at(data, "fingerprint")));
    line("seed", text_at(run, "seed"));
    line("trained on",
         fmt::format("{} images in {}", text_at(run, "pictures"), duration_text(number_of(run, "wall_seconds"))));
    size_t number = 0;
    if (const json& sessions = member(run, "sessions"); sessions.is_array())
        for (const json& session : sessions)
            if (session.is_object())
                page.line("  session {:<5} {}, {}, {:.1f} images/s", ++number, text_at(session, "started"),
                          text_at(session, "device"), number_of(session, "images_per_second"));
    std::vector<std::string> notes;
    if (const auto checkpoint = load_newest_checkpoint(folder / "checkpoints", notes))
        page.line("  checkpoint    {}: step {} of {}", checkpoint->path.filename().string(), checkpoint->state.step,
                  checkpoint->state.total_steps);
    for (const std::string& text : notes) page.line("  note: {}", text);
    if (!fs::exists(folder / "model.safetensors")) return;
    page.line("");
    inspect_weights(page, folder / "model.safetensors");
}

int run(const std::string& path) {
    Page page;
    if (!fs::exists(path)) fail(Fault::usage, "{}: no such file or folder", path);
    if (!fs::is_directory(path))
        inspect_weights(page, path);
    else if (fs::exists(fs::path(path) / "run.json"))
        inspect_run(page, path);
    else
        fail(Fault::usage, "{}: is not a run folder: it has no run.json", path);
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto path = std::make_shared<std::string>();
    app.add_option("FILE", *path, "a weight file or a run folder")->required();
    return [path] { return run(*path); };
}

}  // namespace

Command inspect_command() {
    return {.name = "inspect",
            .summary = "Show the content of a weight file or a run folder.",
            .examples = {"tundra inspect runs/quality", "tundra inspect runs/quality/model.safetensors",
                         "tundra inspect md_v5a.0.0.pt"},
            .add = add};
}
