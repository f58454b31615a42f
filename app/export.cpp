// `tundra export`: a survey in the exchange format of the field.
#include <fmt/format.h>

#include "app/command.h"
#include "app/export/camtrap_dp.h"
#include "app/export/copies.h"
#include "app/jobs/machine.h"
#include "app/terminal.h"
#include "base/error.h"
#include "base/signals.h"

namespace {

struct Options {
    std::string survey, out, deployments, package, taxa, copies, images;
    std::vector<std::string> blur;
    CamtrapOptions camtrap;
    bool quiet = false;
};

void camtrap(Options& o, Progress& progress) {
    if (o.deployments.empty())
        fail(Fault::usage, "--camtrap-dp needs --deployments FILE, the places and times of the cameras");
    o.camtrap.survey = o.survey, o.camtrap.out = o.out, o.camtrap.deployments = o.deployments;
    o.camtrap.package = o.package, o.camtrap.taxa = o.taxa;
    const CamtrapSummary made = write_camtrap_dp(o.camtrap);
    for (const std::string& note : made.notes) print_note(progress, note);
    if (!o.quiet)
        print_line(progress, fmt::format("{} deployments, {} images, {} observations: {}", made.deployments,
                                         count_text(made.media), count_text(made.observations), o.out));
}

int copies(Options& o, Progress& progress) {
    if (o.blur.empty()) fail(Fault::usage, "--copies needs --blur NAMES: what shall not be recognised, such as person");
    const StopSignals signals;
    bool stopped = false;
    const CopySummary made =
        write_copies({.source = o.survey, .out = o.copies, .images = o.images, .blur = {o.blur.begin(), o.blur.end()}},
                     [&](size_t done, size_t total) {
                         progress.count(done, total, "images");
                         stopped = signals.received();
                         return !stopped;
                     });
    progress.clear();
    for (const std::string& note : made.notes) print_note(progress, note);
    if (stopped) {
        print_note(progress, fmt::format("stopped after {} images; {} is not complete", made.copied, o.copies));
        return signals.exit_code();
    }
    if (!o.quiet)
        print_line(progress,
                   fmt::format("{} copies, {} of them blurred, {} images not copied: {}", count_text(made.copied),
                               count_text(made.blurred), count_text(made.left_out), o.copies));
    return 0;
}

int run(Options& o) {
    Progress progress(o.quiet);
    if (o.out.empty() && o.copies.empty())
        fail(Fault::usage, "export: nothing to write; give --camtrap-dp or --copies");
    if (!o.out.empty()) camtrap(o, progress);
    return o.copies.empty() ? 0 : copies(o, progress);
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    app.add_option("SURVEY", o->survey, "folder of a survey; for --copies a result file will do")->required();
    app.add_option("--camtrap-dp", o->out, "new folder for a Camera Trap Data Package (Camtrap DP 1.0.2)")
        ->type_name("FOLDER");
    app.add_option(
           "--deployments", o->deployments,
           "table of the cameras: deploymentID, latitude, longitude, deploymentStart, deploymentEnd (with zone), "
           "and other columns of the standard")
        ->type_name("FILE");
    app.add_option("--package", o->package, "JSON with what only you know: title, contributors, licenses, project")
        ->type_name("FILE");
    app.add_option("--taxa", o->taxa, "table class,scientificName")->type_name("FILE");
    app.add_option("--media-path", o->camtrap.media_path,
                   "what stands before each file's name in the package: a folder in it (media/) or a URL")
        ->type_name("TEXT");
    app.add_flag("--public", o->camtrap.public_media, "the files may be seen by everybody (filePublic)");
    app.add_flag("--without-people", o->camtrap.without_people, "leave out images with people or vehicles");
    app.add_option("--round-coordinates", o->camtrap.decimals,
                   "decimals of latitude and longitude: 2 is about a kilometre [as they are]")
        ->type_name("N")
        ->check(CLI::Range(0, 5));
    app.add_option("--copies", o->copies, "new folder for copies of the images")->type_name("FOLDER")->group("Copies");
    app.add_option("--blur", o->blur, "categories of boxes that shall not be recognised on the copies: person,vehicle")
        ->type_name("NAMES")
        ->delimiter(',')
        ->group("Copies");
    app.add_option("--images", o->images, "folder of the images [where the survey found them]")
        ->type_name("FOLDER")
        ->group("Copies");
    add_quiet_option(app, o->quiet);
    return [o] { return run(*o); };
}

}  // namespace

Command export_command() {
    return {
        .name = "export",
        .summary = "Write a survey as Camtrap DP, the format of exchange, or copies of its images with blurred people.",
        .examples = {"tundra export survey --camtrap-dp package --deployments deployments.csv",
                     "tundra export survey --camtrap-dp package --deployments deployments.csv --without-people",
                     "tundra export survey --copies shared --blur person,vehicle"},
        .add = add};
}
