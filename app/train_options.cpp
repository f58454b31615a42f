#include "app/train_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace {

std::string option_name(std::string_view key) {
    std::string name(key);
    std::ranges::replace(name, '_', '-');
    return "--" + name;
}

bool is_flag(const ConfigField& field) { return std::holds_alternative<bool TrainConfig::*>(field.member); }

// DATA is a positional, and the classes follow from it.
bool is_option(const ConfigField& field) { return field.key != "data" && field.key != "classes"; }

std::string type_name(const ConfigField& field) {
    if (field.key == "init") return "FILE";
    return std::holds_alternative<std::string TrainConfig::*>(field.member) ? "NAME" : "N";
}

std::string default_text(const ConfigField& field) {
    std::string text = value_text(TrainConfig{}, field);
    std::erase(text, '"');
    return text;
}

}  // namespace

void TrainOptions::add_data(CLI::App& app) {
    app.add_option("DATA", data_,
                   "folder of class folders, CSV of path,label; detect: COCO JSON or YOLO labels; or in --config");
}

void TrainOptions::add_fields(CLI::App& app) {
    app.add_option("--config", config_file_, "settings from a file, as a run folder has them; options win")
        ->type_name("FILE")
        ->group("Data");
    for (const ConfigField& field : config_fields()) {
        if (!is_option(field)) continue;
        std::string& text = texts_[std::string(field.key)];
        const std::string name = option_name(field.key);
        std::string help(field.help);
        if (!field.choices.empty()) help += fmt::format(" ({})", fmt::join(field.choices, ", "));
        CLI::Option* option = is_flag(field)
                                  ? app.add_flag(fmt::format("{},!--no-{}", name, name.substr(2)), text, help)
                                  : app.add_option(name, text, help);
        std::string group(field.group);
        group[0] = char(std::toupper(group[0]));
        option->group(group)->type_name(type_name(field))->default_str(default_text(field));
    }
}

TrainConfig TrainOptions::resolve(const CLI::App& app) const {
    TrainConfig config;
    if (!config_file_.empty()) assign(config, read_config(config_file_));
    std::vector<Assignment> given;
    for (const ConfigField& field : config_fields()) {
        if (!is_option(field)) continue;
        const std::string name = option_name(field.key);
        if (app.count(name)) given.push_back({std::string(field.key), texts_.at(std::string(field.key)), name});
    }
    assign(config, given);
    if (!data_.empty()) config.data = data_;
    if (config.data.empty())
        fail(
            Fault::usage,
            "no DATA: name a folder of class folders, a CSV of path,label, or for a detector COCO JSON or YOLO labels");
    return config;
}

std::string TrainOptions::given(const CLI::App& app) const {
    std::string text = config_file_.empty() ? "" : " --config " + config_file_;
    for (const ConfigField& field : config_fields()) {
        const std::string name = option_name(field.key);
        if (!is_option(field) || field.key == "lr" || !app.count(name)) continue;
        const std::string& value = texts_.at(std::string(field.key));
        text += " " + name + (is_flag(field) ? "=" : " ") + value;
    }
    return text;
}
