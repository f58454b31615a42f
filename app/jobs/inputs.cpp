#include "app/jobs/inputs.h"

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "data/listing.h"

namespace {

namespace fs = std::filesystem;

void add_folder(const std::string& folder, Inputs& inputs) {
    Listing listing = list_images(folder);
    for (const std::string& file : listing.files) inputs.paths.push_back((fs::path(folder) / file).string());
    for (std::string& problem : listing.problems) inputs.notes.push_back(std::move(problem));
}

void add_list(const std::string& list, Inputs& inputs) {
    std::ifstream file(list);
    if (!file || fs::is_directory(list)) fail(Fault::usage, "{}: cannot read this list of images", list);
    bool first = true;
    for (std::string line; std::getline(file, line); first = false) {
        if (first && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);
        if (line.ends_with('\r')) line.pop_back();
        if (!line.empty()) inputs.paths.push_back(line);
    }
}

}  // namespace

Inputs collect_inputs(const std::vector<std::string>& arguments) {
    Inputs inputs;
    for (const std::string& argument : arguments) {
        std::error_code ignored;
        if (argument.starts_with('@') && !fs::exists(argument, ignored))
            add_list(argument.substr(1), inputs);
        else if (fs::is_directory(argument, ignored))
            add_folder(argument, inputs);
        else if (!fs::exists(argument, ignored))
            fail(Fault::usage, "{}: no such file or folder", argument);
        else if (argument.ends_with(".txt"))
            add_list(argument, inputs);
        else
            inputs.paths.push_back(argument);
    }
    if (inputs.paths.empty()) fail(Fault::usage, "{}: no images found", fmt::join(arguments, ", "));
    return inputs;
}
