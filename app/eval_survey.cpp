// `tundra eval` of a survey: the models' answers against what people said in `tundra review`.
#include <initializer_list>

#include "app/eval.h"
#include "app/review/survey_report.h"
#include "app/terminal.h"
#include "base/error.h"
#include "base/file.h"

int eval_survey(const EvalOptions& o) {
    if (!o.data.empty())
        fail(Fault::usage, "eval: {} is a survey, which has its own images; leave {} out", o.model, o.data);
    const SurveyFolder survey(o.model, "");
    CorrectionLog corrections(survey.folder / "corrections.csv");
    survey.match(corrections);
    Progress progress(o.machine.quiet);
    for (const auto* notes : std::initializer_list<const std::vector<std::string>*>{&survey.notes, &corrections.notes})
        for (const std::string& text : *notes) print_note(progress, text);
    const SurveyMeasures measures = measure_survey(survey, corrections);
    const std::filesystem::path page = write_survey_report(survey, measures);
    if (!measures.measured)
        fail(Fault::usage, "eval: nobody has looked at an image of {} yet; `tundra review {}` opens a page for it",
             o.model, o.model);
    if (!o.machine.quiet) print_output("{}\n{}\n", measures_text(measures), page.string());
    if (!o.out.empty())
        write_file_durably(o.out,
                           [&](FileWriter& file) { file.write(measures_json(survey, measures).dump(1) + "\n"); });
    const double accuracy = measures.everything.accuracy;
    if (accuracy >= o.min_accuracy || o.min_accuracy == 0) return 0;
    fail(Fault::runtime, "eval: the estimated accuracy {:.4f} is below --min-accuracy {}", accuracy, o.min_accuracy);
}
