// `tundra review`: a page on which a person looks at what a survey found and corrects it.
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <memory>

#include "app/command.h"
#include "app/jobs/machine.h"
#include "app/review/server.h"
#include "app/review/static_page.h"
#include "app/survey/survey.h"
#include "app/terminal.h"
#include "base/error.h"
#include "base/signals.h"

namespace {

struct Options {
    std::string folder, base, reviewer, page, add;
    int port = 0;
    size_t images = 1000;
    bool quiet = false;
};

// The tables, after answers were added to corrections.csv.
void refresh(const SurveyFolder& survey, bool quiet, Progress& progress) {
    try {
        if (refresh_survey(survey.folder) && !quiet)
            print_note(progress,
                       fmt::format("{} and events.csv hold the corrections", (survey.folder / "images.csv").string()));
    } catch (const Error& e) {  // every answer is on the disk all the same
        print_note(progress, fmt::format("images.csv does not hold the corrections yet: {}; run `tundra survey` again",
                                         e.what()));
    }
}

int add_answers(const Options& o, const SurveyFolder& survey, ReviewSession& session, Progress& progress) {
    if (!std::filesystem::is_regular_file(o.add)) fail(Fault::usage, "--add {}: is no file", o.add);
    CorrectionLog other(o.add, CorrectionLog::Use::reading);
    if (other.rows().empty()) fail(Fault::usage, "--add {}: has no answers", o.add);
    survey.match(other);
    const ReviewSession::Added added = session.add(other);
    if (!added.unknown.empty() && added.unknown.size() == other.all().size())
        fail(Fault::usage, "--add {}: belongs to another survey: {} has none of its {} images, such as {}", o.add,
             o.folder, added.unknown.size(), added.unknown[0]);
    for (const std::string& text : other.notes) print_note(progress, text);
    if (!added.unknown.empty())
        print_note(progress, fmt::format("{}: {} of its images are not in this survey and are left out (first: {})",
                                         o.add, added.unknown.size(), added.unknown[0]));
    if (!other.lost().empty())
        print_note(progress, fmt::format("{}: what it says of {} images is left out, because boxes in it are not found "
                                         "now (first: {}); keep the file, it can be added again",
                                         o.add, other.lost().size(), other.lost()[0]));
    if (added.older)
        print_note(progress,
                   fmt::format("{}: {} answers are left out, because the survey has later ones", o.add, added.older));
    if (!added.replaced.empty())
        print_note(progress, fmt::format("{} images had an answer of another person, which is older and no longer "
                                         "holds (first: {})",
                                         added.replaced.size(), added.replaced[0]));
    if (!o.quiet)
        print_line(progress, fmt::format("{} answers about {} images were added to {}", count_text(added.rows),
                                         count_text(added.images), (survey.folder / "corrections.csv").string()));
    refresh(survey, o.quiet, progress);
    return 0;
}

std::string user_name() {
    for (const char* name : {"USER", "LOGNAME"})
        if (const char* value = std::getenv(name); value && *value) return value;
    return "reviewer";
}

int run(const Options& o) {
    const SurveyFolder survey(o.folder, o.base);
    if (o.add.empty()) survey.require_images();
    CorrectionLog corrections(survey.folder / "corrections.csv");
    survey.match(corrections);
    Progress progress(o.quiet);
    if (o.page.empty()) corrections.open_for_writing();
    size_t strange = 0;
    for (const auto& [file, rows] : corrections.all()) strange += survey.find(file) == survey.images.size();
    for (const auto* notes : std::initializer_list<const std::vector<std::string>*>{&survey.notes, &corrections.notes})
        for (const std::string& text : *notes) print_note(progress, text);
    if (strange)
        print_note(progress, fmt::format("{}: {} images in it are not in this survey; their rows stay as they are",
                                         corrections.path().string(), strange));
    const std::string reviewer = o.reviewer.empty() ? user_name() : o.reviewer;
    ReviewSession session(survey, corrections, reviewer);
    if (!o.add.empty()) return add_answers(o, survey, session, progress);
    if (!o.page.empty()) {
        check_output("--static", o.page,
                     {survey.folder / "images.csv", survey.folder / "results.json", corrections.path()});
        const StaticPage page = write_static_page(
            o.page, survey, session, o.images, [&](size_t done, size_t all) { progress.count(done, all, "images"); });
        progress.clear();
        if (page.unreadable)
            print_note(progress, fmt::format("{} of {} images could not be read and show only their name",
                                             page.unreadable, page.images));
        if (!o.quiet)
            print_line(progress, fmt::format("{}: {} of {} images to look at", o.page, count_text(page.images),
                                             count_text(page.of)));
        return 0;
    }
    ReviewServer server(survey, session, o.port);
    const auto before = session.about().at("progress");
    print_output("{}\n", server.address());
    (void)output_error();  // flushes: a script may wait for the address
    if (!o.quiet)
        print_note(progress, fmt::format("{} images, {} to look at, {} of them seen; open this address in a browser of "
                                         "this machine; Ctrl-C ends",
                                         count_text(before.at("images")), count_text(before.at("to_review")),
                                         count_text(before.at("done"))));
    const StopSignals signals;
    server.run([&] { return signals.received() != 0; });
    const auto after = session.about().at("progress");
    if (!o.quiet)
        print_note(progress, fmt::format("{} of {} images to look at are seen; {}", count_text(after.at("done")),
                                         count_text(after.at("to_review")), corrections.path().string()));
    refresh(survey, o.quiet, progress);
    return 0;  // Ctrl-C is how a review ends, and everything is on the disk
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    app.add_option("FOLDER", o->folder, "the folder that `tundra survey --out` wrote")->required();
    app.add_option("--reviewer", o->reviewer, "name in the rows of corrections.csv [the user's]")->type_name("NAME");
    app.add_option("--base", o->base, "folder of the images, if they moved since the survey")->type_name("FOLDER");
    app.add_option("--port", o->port, "port on 127.0.0.1 [any that is free]")
        ->type_name("N")
        ->check(CLI::Range(1, 65535));
    app.add_option("--static", o->page,
                   "write one HTML file that works without tundra, such as on a USB stick, and exit")
        ->type_name("FILE");
    app.add_option("--images", o->images, "the most images in that file")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(size_t(1), size_t(20'000)));
    app.add_option("--add", o->add, "take in the corrections.csv that such a page saved, and exit")
        ->type_name("FILE")
        ->excludes("--static");
    add_quiet_option(app, o->quiet);
    return [o] { return run(*o); };
}

}  // namespace

Command review_command() {
    return {.name = "review",
            .summary = "Look at what a survey found, in a browser, and correct it.",
            .examples = {"tundra review season                               prints the address to open",
                         "tundra review season --reviewer Ann --port 8080",
                         "tundra review season --base /media/card            the images moved",
                         "tundra review season --static review.html          one file for a USB stick",
                         "tundra review season --add corrections.csv         the answers that it saved"},
            .add = add};
}
