// `tundra import`: turns any weight file into safetensors, so that the original is no longer needed.
#include <fmt/format.h>

#include "app/command.h"
#include "app/jobs/model.h"
#include "app/terminal.h"
#include "base/file.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "base/text.h"
#include "models/files/detector_file.h"

namespace {

using nlohmann::json;

// Every tensor under its name; floats as float32, integers as int64.
void write_plain(const std::string& path, const WeightFile& file, const ModelFile* classifier) {
    std::vector<FileTensor> tensors;
    for (const StoredTensor& t : file.tensors) {
        if (as_utf8(t.name) != t.name)
            fail(Fault::damaged, "{}: the name of its tensor {} is not UTF-8", file.path, printable(t.name));
        if (const auto floats = file.state.find(t.name); floats != file.state.end())
            tensors.push_back({t.name, DType::f32, t.shape, std::as_bytes(std::span(floats->second.values))});
        else if (const auto integers = file.integers.find(t.name); integers != file.integers.end())
            tensors.push_back({t.name, DType::i64, t.shape, std::as_bytes(std::span(integers->second))});
    }
    std::map<std::string, std::string> metadata;
    for (const auto& [key, value] : file.metadata)  // texts of the file may be anything, safetensors wants UTF-8
        metadata[as_utf8(key)] = as_utf8(value);
    metadata["format"] = "pt";
    if (classifier)
        store(*classifier, metadata);
    else if (!file.model.class_names.empty())
        metadata["class_names"] = one_line(json(file.model.class_names));
    write_safetensors(path, tensors, metadata);
}

struct Options {
    std::string from, to;
    InputOptions input;
};

int run(const Options& o) {
    check_output("--out", o.to, {o.from});
    WeightFile file = read_weights(o.from);
    if (!file.int8.empty()) fail(Fault::usage, "{}: is quantized and a safetensors file already; copy it", o.from);
    Progress progress(true);
    std::string what = file.model.text;
    std::vector<std::string> notes;
    for (const std::string& text : file.notes) notes.push_back(fmt::format("{}: {}", o.from, text));
    if (file.model.task == "detect") {
        if (o.input != InputOptions{.classes = o.input.classes})
            fail(Fault::usage, "{}: is a detector, for which import takes no option but --classes", o.from);
        if (!o.input.classes.empty()) file.model.class_names = class_names(o.input.classes, file.model.classes, o.from);
        write_detector(o.to, detector_model(std::move(file)));
    } else if (what.find(", which tundra does not run; it runs YOLO") != what.npos) {
        fail(Fault::usage, "{}: holds {}", o.from, what);
    } else if (file.model.model && file.model.lacks.empty()) {
        ModelFile classifier = read_model(o.from, {.input = o.input});
        notes = classifier.notes;  // those of the file too
        write_plain(o.to, file, &classifier);
        if (!o.input.classes.empty()) {
            const std::string before = fmt::format(": {}", fmt::join(file.model.class_names, ", "));
            if (what.ends_with(before)) what.resize(what.size() - before.size());
            if (classifier.classes.size() <= 10) what += fmt::format(": {}", fmt::join(classifier.classes, ", "));
        }
    } else if (o.input != InputOptions{}) {
        fail(Fault::usage, "{}: holds {}, and the options of import are for classifiers", o.from, what);
    } else {
        write_plain(o.to, file, nullptr);
    }
    for (const std::string& text : notes) print_note(progress, text);
    print_line(progress, fmt::format("{}: {}", o.to, what));
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    app.add_option("FILE", o->from, "weight file of PyTorch (.pt, .pth), Keras (.h5, .keras) or safetensors")
        ->required();
    app.add_option("-o,--out", o->to, "safetensors file to write")->required()->type_name("FILE");
    add_input_options(app, o->input);
    return [o] { return run(*o); };
}

}  // namespace

Command import_command() {
    return {.name = "import",
            .summary = "Turn a weight file of PyTorch or Keras into safetensors.",
            .examples = {"tundra import md_v5a.0.0.pt -o megadetector.safetensors",
                         "tundra import keras.h5 -o mine.safetensors --normalize caffe --classes fox,hare,empty"},
            .add = add};
}
