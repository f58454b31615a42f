// `tundra report`: writes the report of a run again from its files.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "app/command.h"
#include "app/report/report.h"
#include "app/review/survey_report.h"
#include "app/terminal.h"

namespace {

std::function<int()> add(CLI::App& app) {
    auto folder = std::make_shared<std::string>();
    app.add_option("RUN", *folder, "a run folder, or a survey")->required();
    return [folder] {
        if (std::filesystem::exists(std::filesystem::path(*folder) / "survey.json")) {
            const SurveyFolder survey(*folder, "");
            CorrectionLog corrections(survey.folder / "corrections.csv");
            survey.match(corrections);
            Progress progress(false);
            for (const std::string& text : corrections.notes) print_note(progress, text);
            const SurveyMeasures measures = measure_survey(survey, corrections);
            print_output("{}\n", write_survey_report(survey, measures).string());
            return 0;
        }
        print_output("{}\n", write_report(*folder).string());
        return 0;
    };
}

}  // namespace

Command report_command() {
    return {.name = "report",
            .summary = "Write report.html of a run, or survey.html of a survey.",
            .examples = {"tundra report runs/foxes"},
            .add = add};
}
