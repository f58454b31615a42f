// Images to look at: the worst errors, some that are right, and the list of those that could not be read.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include <fmt/format.h>

#include "app/report/html.h"
#include "app/report/sections.h"
#include "app/report/thumbnail.h"

namespace {

constexpr size_t kErrors = 16, kRight = 8, kUnreadable = 200, kReasons = 12;
constexpr size_t kSide = 240;  // of a thumbnail that is shown at up to 160 px: sharp on dense screens

std::string card(const RunFiles& run, const ClassifiedImage& image) {
    const bool right = image.label == image.predicted;
    const std::string label = html_escaped(shortened(run.classes[image.label], 40)),
                      said = html_escaped(shortened(run.classes[image.predicted], 40));
    const std::string name = std::filesystem::path(image.file).filename().string();
    const Thumbnail small = make_thumbnail(image.file, kSide);
    const std::string what =
        right ? fmt::format("{}, recognised", label) : fmt::format("{}, taken for {}", label, said);
    const std::string figure =
        small.data_url.empty()
            ? fmt::format("<div class=\"gone\">{}</div>", html_escaped(shortened(small.trouble, 120)))
            : fmt::format("<img src=\"{}\" width=\"{}\" height=\"{}\" alt=\"{}\"/>", small.data_url, small.w, small.h,
                          what);
    const std::string verdict =
        right ? fmt::format("<strong class=\"right\">{}</strong>", label)
              : fmt::format("is <strong>{}</strong><br/>said <strong class=\"wrong\">{}</strong>", label, said);
    return fmt::format("<li>{}<p>{} <span class=\"quiet\">{}</span></p><p class=\"file\" title=\"{}\">{}</p></li>\n",
                       figure, verdict, percent_text(image.confidence), html_escaped(image.file),
                       html_escaped(shortened(name, 48)));
}

std::vector<const ClassifiedImage*> worst_errors(const EvaluatedPart& part) {
    std::vector<const ClassifiedImage*> wrong;
    for (const ClassifiedImage& p : part.images)
        if (p.label != p.predicted) wrong.push_back(&p);
    const auto objective = [](const ClassifiedImage* p) { return std::isfinite(p->loss) ? p->loss : p->confidence; };
    std::stable_sort(wrong.begin(), wrong.end(), [&](auto* a, auto* b) { return objective(a) > objective(b); });
    return wrong;
}

// Class by class in turn, spread over the images of each.
std::vector<const ClassifiedImage*> some_right(const EvaluatedPart& part, size_t wanted) {
    std::map<size_t, std::vector<const ClassifiedImage*>> by_class;
    for (const ClassifiedImage& p : part.images)
        if (p.label == p.predicted) by_class[p.label].push_back(&p);
    std::vector<const ClassifiedImage*> chosen;
    const size_t rounds = by_class.empty() ? 0 : (wanted + by_class.size() - 1) / by_class.size();
    for (size_t round = 0; round < rounds; ++round)
        for (const auto& [label, images] : by_class)
            if (chosen.size() < wanted && round < images.size())
                chosen.push_back(images[round * images.size() / std::min(rounds, images.size())]);
    return chosen;
}

std::string cards(const RunFiles& run, const std::vector<const ClassifiedImage*>& images, size_t max) {
    std::string out = "<ul class=\"images\">\n";
    for (size_t i = 0; i < std::min(images.size(), max); ++i) out += card(run, *images[i]);
    return out + "</ul>\n";
}

}  // namespace

std::string images_section(const RunFiles& run, const EvaluatedPart& part) {
    const auto wrong = worst_errors(part);
    const auto right = some_right(part, kRight);
    std::string out = "<section><h2>Images to look at</h2>\n";
    if (wrong.empty()) {
        out += fmt::format("<p>All {} are right.</p>\n", part_images(part));
    } else {
        out += fmt::format(
            "<h3>Worst errors</h3>\n<p>{} of {} are wrong{}. The most confident errors come first. In some the label "
            "may be wrong.</p>\n",
            count_text(wrong.size()), part_images(part),
            wrong.size() > kErrors ? fmt::format("; these are the {} worst", kErrors) : "");
        out += cards(run, wrong, kErrors);
    }
    if (!right.empty()) out += "<h3>Correct examples</h3>\n" + cards(run, right, kRight);
    return out + "</section>\n";
}

std::string unreadable_section(const RunFiles& run) {
    std::string out = "<section><h2>Unreadable images</h2>\n";
    if (!run.has_bad_files) return out + "<p class=\"quiet\">The list is written when a run ends.</p></section>\n";
    if (run.bad_files.empty()) return out + "<p>Every image could be read.</p></section>\n";
    std::map<std::string, size_t> reasons;
    size_t used = 0;
    for (const UnreadableFile& f : run.bad_files) ++reasons[f.code], used += f.used;
    std::string counts;
    size_t named = 0;
    for (const auto& [code, count] : reasons)
        if (named++ < kReasons)
            counts += fmt::format("{}{} {}", counts.empty() ? "" : ", ", count_text(count),
                                  html_escaped(shortened(code, 40)));
    out += fmt::format("<p>{} had problems: {}. {} could be used in part.</p>\n", images_text(run.bad_files.size()),
                       counts, count_text(used));
    Rows rows;
    for (size_t i = 0; i < std::min(run.bad_files.size(), kUnreadable); ++i) {
        const UnreadableFile& f = run.bad_files[i];
        rows.push_back({"<span class=\"path\">" + html_escaped(shortened(f.path, 200)) + "</span>",
                        html_escaped(shortened(f.code, 40)), html_escaped(shortened(f.text, 200)),
                        f.used ? "in part" : "no"});
    }
    out += fmt::format("<details{}><summary>List</summary>{}</details>\n", rows.size() <= 8 ? " open=\"open\"" : "",
                       html_table("", {{"File"}, {"Reason"}, {"Details"}, {"Used"}}, rows));
    if (run.bad_files.size() > kUnreadable)
        out +=
            fmt::format("<p>The other {} are in bad_files.csv.</p>\n", count_text(run.bad_files.size() - kUnreadable));
    return out + "</section>\n";
}
