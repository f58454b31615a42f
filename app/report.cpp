// `tundra report`: the report of a run, made again from its files.
#include <fmt/format.h>

#include <memory>

#include "app/command.h"
#include "app/report/report.h"

namespace {

std::function<int()> add(CLI::App& app) {
    auto folder = std::make_shared<std::string>();
    app.add_option("RUN", *folder, "run folder")->required();
    return [folder] {
        fmt::print("{}\n", write_report(*folder).string());
        return 0;
    };
}

}  // namespace

Command report_command() {
    return {.name = "report",
            .summary = "Write report.html of a run, finished or under way.",
            .examples = {"tundra report runs/foxes"},
            .add = add};
}
