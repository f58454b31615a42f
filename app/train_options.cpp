#include "app/train_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "app/jobs/machine.h"
#include "base/error.h"

namespace {

// "--image-size" for image_size. The file of a run keeps the key `average`, which the configuration's hash contains.
std::string option_name(std::string_view key) {
    std::string name(key == "average" ? "ema_decay" : key);
    std::ranges::replace(name, '_', '-');
    return "--" + name;
}

bool is_flag(const ConfigField& field) { return std::holds_alternative<bool TrainConfig::*>(field.member); }

// DATA is a positional argument, and the classes follow from it.
bool is_option(const ConfigField& field) { return field.key != "data" && field.key != "classes"; }

std::string type_name(const ConfigField& field) {
    if (field.key == "init") return "FILE";
    return std::holds_alternative<std::string TrainConfig::*>(field.member) ? "NAME" : "N";
}

// "0.05; detect 0.01; adam 0.001; adamw 0.001" where task or optimizer bring another default.
std::string default_text(const ConfigField& field, bool classifiers_only) {
    const std::string plain = value_text(TrainConfig{}, field);
    std::string text = plain;
    const auto add = [&](std::string_view key, const std::string& value) {
        if (field.key == key || (key == "task" && classifiers_only)) return;
        TrainConfig config;
        assign(config, {{std::string(key), value, ""}});
        if (const std::string other = value_text(config, field); other != plain)
            text += fmt::format("; {} {}", value, other);
    };
    add("task", "detect");
    add("optimizer", "adam");
    add("optimizer", "adamw");
    std::erase(text, '"');
    return text;
}

bool is_for_detectors(std::string_view choice) {
    return choice.starts_with("yolov5") || choice == "square" || choice == "frame" || choice == "mosaic";
}

bool is_given(const CLI::App& app, const ConfigField& field) {
    return app.get_option_no_throw(option_name(field.key)) && app.count(option_name(field.key));
}

}  // namespace

void TrainOptions::add_data(CLI::App& app, bool classifiers_only) {
    const std::string text = "folder of class folders, or CSV of path,label";
    app.add_option("DATA", data_,
                   text + (classifiers_only ? "" : "; detect: COCO JSON or YOLO labels") + " [as in --config]");
}

void TrainOptions::add_fields(CLI::App& app, bool classifiers_only) {
    app.add_option("--config", config_file_, "read settings from this file, such as RUN/config; options override it")
        ->type_name("FILE")
        ->group("Data");
    for (const ConfigField& field : config_fields()) {
        if (!is_option(field)) continue;
        std::string& text = texts_[std::string(field.key)];
        const std::string name = option_name(field.key);
        std::string help(field.key == "device" ? kDeviceHelp : field.key == "threads" ? kThreadsHelp : field.help);
        std::vector<std::string_view> choices = field.choices;
        if (classifiers_only) {
            std::erase_if(choices, is_for_detectors);
            help = help.substr(0, help.find("; detect:"));
        }
        if (!choices.empty() && field.key != "device") help += fmt::format(" ({})", fmt::join(choices, ", "));
        CLI::Option* option = is_flag(field)
                                  ? app.add_flag(fmt::format("{},!--no-{}", name, name.substr(2)), text, help)
                                  : app.add_option(field.key == "average" ? name + ",--average" : name, text, help);
        std::string group(field.group == "pictures" ? "images" : field.group);
        group[0] = char(std::toupper(group[0]));
        option->group(group)->type_name(type_name(field))->default_str(default_text(field, classifiers_only));
        // Accepted without being shown; another task than classify is refused later.
        if (classifiers_only && (field.key == "task" || field.key == "average")) option->group("");
    }
}

TrainConfig TrainOptions::resolve(const CLI::App& app) const {
    TrainConfig config;
    if (!config_file_.empty()) {
        const std::vector<Assignment> of_file = read_config(config_file_);
        refuse_removed_settings(of_file);
        assign(config, of_file);
    }
    std::vector<Assignment> given;
    for (const ConfigField& field : config_fields()) {
        if (!is_option(field)) continue;
        const std::string name = option_name(field.key);
        if (is_given(app, field)) given.push_back({std::string(field.key), texts_.at(std::string(field.key)), name});
    }
    assign(config, given);
    if (!data_.empty()) config.data = data_;
    if (config.data.empty())
        fail(
            Fault::usage,
            "no DATA: name a folder of class folders, a CSV of path,label, or for a detector COCO JSON or YOLO labels");
    return config;
}

std::string TrainOptions::device(const CLI::App& app) const {
    if (app.count("--device")) return texts_.at("device");
    if (!config_file_.empty())
        for (const Assignment& a : read_config(config_file_))
            if (a.key == "device") return a.text;
    return TrainConfig{}.device;
}

std::string TrainOptions::given(const CLI::App& app) const {
    std::string text = config_file_.empty() ? "" : " --config " + config_file_;
    for (const ConfigField& field : config_fields()) {
        const std::string name = option_name(field.key);
        if (!is_option(field) || field.key == "lr" || !is_given(app, field)) continue;
        const std::string& value = texts_.at(std::string(field.key));
        text += " " + name + (is_flag(field) ? "=" : " ") + value;
    }
    return text;
}
