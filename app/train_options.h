// The options of a training configuration on a command line, made from the table of train/config.h.
#pragma once

#include "app/command.h"
#include "train/config.h"

class TrainOptions {
public:
    // `classifiers_only`: without options that only detectors use.
    void add_data(CLI::App& app, bool classifiers_only = false);  // DATA
    // --config, and one option per field: --image-size for image_size.
    void add_fields(CLI::App& app, bool classifiers_only = false);

    void set_data(const std::string& path) { data_ = path; }  // in place of DATA

    // The recipe, then the file of --config, then the options that were given.
    TrainConfig resolve(const CLI::App& app) const;

    std::string device(const CLI::App& app) const;  // as resolve() finds it, before DATA is known
    std::string given(const CLI::App& app) const;   // " --batch 64", as it was typed, without --lr

private:
    std::string data_, config_file_;
    std::map<std::string, std::string> texts_;  // per field
};
