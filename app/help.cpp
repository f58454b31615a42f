#include "app/help.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace {

constexpr size_t kIndent = 2;

// `left` in a column of `column` characters, `right` wrapped beside it.
std::string row(const std::string& left, const std::string& right, size_t column, size_t width) {
    std::string text = std::string(kIndent, ' ') + left;
    if (left.size() + kIndent + 1 > column)
        text += "\n" + std::string(column, ' ');
    else
        text.resize(column, ' ');
    size_t used = column;
    std::istringstream words(right);
    for (std::string word; words >> word; used += word.size() + 1) {
        if (used > column && used + word.size() > width) {
            while (text.ends_with(' ')) text.pop_back();
            text += "\n" + std::string(column, ' ');
            used = column;
        }
        text += word + " ";
    }
    while (text.ends_with(' ')) text.pop_back();
    return text + "\n";
}

// Without the validators that CLI11 appends.
std::string value_name(const CLI::Option& option) {
    const std::string name = option.get_type_name();
    return name.substr(0, name.find(':'));
}

std::string left_of(const CLI::Option& option) {
    if (option.get_positional()) return option.get_name(true);
    std::string names;
    for (const std::string& name : option.get_snames()) names += "-" + name + ", ";
    const bool may_be_on = option.get_default_str().find("true") != std::string::npos;  // "true; detect false"
    // The first long name; others are earlier spellings, which are accepted and not shown.
    if (const auto& longs = option.get_lnames(); !longs.empty())
        names += (may_be_on ? "--[no-]" : "--") + longs.front();
    if (names.ends_with(", ")) names.resize(names.size() - 2);
    if (option.get_expected_max() > 0) names += " " + value_name(option);
    return names;
}

std::string right_of(const CLI::Option& option) {
    const std::string value = option.get_default_str();
    const bool is_flag = option.get_expected_max() == 0;
    return option.get_description() + (value.empty() || (is_flag && value == "false") ? "" : " [" + value + "]");
}

std::string usage_line(const Command& command, const CLI::App& app) {
    std::string line = "Usage: tundra " + command.name;
    for (const CLI::Option* option : app.get_options())
        if (option->get_positional()) {
            const std::string name = option->get_name(true) + (option->get_expected_max() > 1 ? "..." : "");
            line += option->get_required() ? " " + name : " [" + name + "]";
        } else if (option->get_required()) {
            line += fmt::format(
                " {} {}",
                option->get_snames().empty() ? "--" + option->get_lnames().front() : "-" + option->get_snames().front(),
                value_name(*option));
        }
    return line + " [options]\n";
}

}  // namespace

std::string program_help(std::span<const Command> commands, size_t width) {
    std::string text =
        "Train and use detectors and classifiers for camera-trap images.\n\n"
        "Examples:\n"
        "  tundra synth shots                              make synthetic images to try\n"
        "  tundra train shots -o runs/quality              train on a folder of class folders\n"
        "  tundra classify new/ --model runs/quality -o new.csv\n"
        "  tundra detect new/ -o new.json --model md_v5a.0.0.pt\n\n"
        "Commands:\n";
    for (const Command& command : commands) text += row(command.name, command.summary, 12, width);
    text +=
        "\n`tundra COMMAND -h` shows the main options of a command, `--help` all of them.\n\n"
        "Exit codes:\n"
        "   0  done                                           5  out of memory\n"
        "   1  error, or eval below --min-accuracy            6  loss or gradients not finite\n"
        "   2  wrong option, configuration or input          75  disk full, device or terminal lost: try again\n"
        "   3  too many images failed                       130  stopped by Ctrl-C, resumable\n"
        "   4  damaged model, checkpoint or result file     141  nobody reads the results (`| head`)\n"
        "                                                   143  stopped by SIGTERM, resumable\n";
    return text;
}

std::string command_help(const Command& command, const CLI::App& app, bool full, size_t width) {
    std::string text = command.summary + "\n\nExamples:\n";
    for (const std::string& example : command.examples) text += "  " + example + "\n";
    text += "\n" + usage_line(command, app);

    const auto is_shown = [&](const CLI::Option& option) {
        if (option.get_group().empty()) return false;  // an old spelling
        if (full || command.short_help.empty() || option.get_positional() || option.get_required()) return true;
        return std::ranges::any_of(option.get_lnames(), [&](const std::string& name) {
            return std::ranges::find(command.short_help, "--" + name) != command.short_help.end();
        });
    };
    std::vector<const CLI::Option*> options = app.get_options();
    std::stable_partition(options.begin(), options.end(),
                          [](const CLI::Option* option) { return option->get_group() != "Help"; });
    std::stable_partition(options.begin(), options.end(),
                          [](const CLI::Option* option) { return option->get_positional(); });
    std::vector<std::string> groups;
    size_t column = 0;
    for (const CLI::Option* option : options)
        if (is_shown(*option)) {
            if (const std::string group = full ? option->get_group() : "Options";
                std::ranges::find(groups, group) == groups.end())
                groups.push_back(group);
            column = std::max(column, std::min<size_t>(left_of(*option).size(), 28));
        }
    column += kIndent + 2;
    for (const std::string& group : groups) {
        text += "\n" + group + ":\n";
        for (const CLI::Option* option : options)
            if (is_shown(*option) && (!full || option->get_group() == group))
                text += row(left_of(*option), right_of(*option), column, width);
    }
    if (!full && !command.short_help.empty())
        text += fmt::format("\n`tundra {} --help` shows all options.\n", command.name);
    return text;
}
