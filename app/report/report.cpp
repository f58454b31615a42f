// The page as a whole.
#include "app/report/report.h"

#include <fmt/format.h>

#include "app/report/html.h"
#include "app/report/sections.h"
#include "app/report/style.h"
#include "base/file.h"

namespace {

std::string results(const RunFiles& run) {
    if (run.is_detector()) {
        const EvaluatedBoxes* boxes = run.main_boxes();
        if (boxes) return boxes_sections(run, *boxes);
        return "<section><h2>Results</h2><p class=\"quiet\">There is no evaluation yet: precision, classes and sample "
               "images appear when the run has finished.</p></section>\n";
    }
    const EvaluatedPart* part = run.main_part();
    if (!part)
        return "<section><h2>Results</h2><p class=\"quiet\">There is no evaluation yet: confusion, confidence, cameras "
               "and sample images appear when the run has finished.</p></section>\n";
    std::string out;
    if (run.parts.size() > 1 && part->name != "test")
        out = "<p class=\"quiet\">The details below use the validation images because there are few test images.</p>\n";
    return out + confusion_section(run, *part) + confidence_section(*part) + cameras_section(*part) +
           images_section(run, *part);
}

std::string missing_section(const RunFiles& run) {
    if (run.missing.empty()) return "";
    std::string out = "<section><h2>Missing from this report</h2>\n<ul>";
    for (const std::string& sentence : run.missing) out += "<li>" + html_escaped(shortened(sentence, 400)) + "</li>\n";
    return out + "</ul></section>\n";
}

}  // namespace

std::filesystem::path write_report(const std::filesystem::path& run_folder) {
    const RunFiles run = read_run_files(run_folder);
    // The policy keeps the browser from loading anything, even if a file name smuggles in markup.
    const std::string page = fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\"/>\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src "
        "data:\"/>\n"
        "<title>{}: Tundra report</title>\n<style>{}</style>\n</head>\n<body>\n{}<main>\n{}{}{}{}{}{}</main>\n"
        "<footer>Made from the files of the run folder; nothing in this page needs a "
        "network.</footer>\n</body>\n</html>\n",
        html_escaped(shortened(run_folder.filename().string(), 80)), kReportStyle, headline_section(run),
        curves_section(run), results(run), unreadable_section(run), provenance_section(run), config_section(run),
        missing_section(run));
    const std::filesystem::path path = run_folder / "report.html";
    write_file_durably(path, [&](FileWriter& out) { out.write(page); });
    return path;
}
