// `tundra report`: writes the report of a run again from its files.
#include <fmt/format.h>

#include <memory>

#include "app/command.h"
#include "app/report/report.h"
#include "app/terminal.h"

namespace {

std::function<int()> add(CLI::App& app) {
    auto folder = std::make_shared<std::string>();
    app.add_option("RUN", *folder, "a run folder")->required();
    return [folder] {
        print_output("{}\n", write_report(*folder).string());
        return 0;
    };
}

}  // namespace

Command report_command() {
    return {.name = "report",
            .summary = "Write report.html of a run, finished or still training.",
            .examples = {"tundra report runs/foxes"},
            .add = add};
}
