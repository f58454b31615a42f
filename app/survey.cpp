// `tundra survey`: options, progress, summary.
#include "app/survey/survey.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/command.h"
#include "app/detect/shard.h"
#include "app/jobs/long_run.h"
#include "app/terminal.h"
#include "base/error.h"

namespace {

int run_survey(SurveyJob& job) {
    LongRun run(job.detect.machine.quiet);
    job.detect.note = [&](const std::string& text) { run.note(text); };
    job.detect.progress = [&](const DetectCounts& counts, size_t total) { return run.count(counts.done, total); };
    take_own_shard(job.detect.shard, job.detect.out);
    SurveyOutcome outcome;
    job.detect.handed = handed_work();
    if (const auto code = run.run([&] { return (outcome = survey(job)).detect.finished; })) return *code;
    if (job.detect.handed) return 0;
    const DetectCounts& c = outcome.detect.counts;
    if (!job.detect.machine.quiet) {
        for (const auto& [name, count] : outcome.finals)
            print_line(run.progress, fmt::format("{:>9} {}", count_text(count), name));
        print_line(run.progress,
                   fmt::format("{} images, {} of them ({:.1f} %) to be looked at by a person: {}",
                               count_text(outcome.images), count_text(outcome.to_review),
                               100.0 * double(outcome.to_review) / double(std::max<size_t>(1, outcome.images)),
                               job.detect.out));
    }
    if (c.failed && c.failed == c.done)
        fail(Fault::inputs, "survey: none of the {} images could be read; images.csv has the reasons", c.failed);
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<SurveyJob>();
    DetectJob& job = o->detect;
    const auto fraction = CLI::Range(0.0, 1.0);
    app.add_option("IMAGES", job.images, "folders, images, quoted patterns, or lists (@LIST, LIST.txt, .json, .csv)")
        ->required();
    app.add_option("-o,--out", job.out,
                   "folder of the survey; the same command resumes it, or looks at the images that were added")
        ->type_name("FOLDER")
        ->required();
    app.add_option("--detector", job.model,
                   "a MegaDetector's .pt or another YOLO file, a run folder, or the JSON of MegaDetector or SpeciesNet "
                   "[a small model for synthetic scenes]")
        ->type_name("FILE");
    app.add_option("--quality", job.quality, "classifier of good and bad images")->type_name("MODEL");
    app.add_option(
           "--species", job.classify,
           "classifier of the animals' crops, or the JSON of SpeciesNet or of MegaDetector with classifications")
        ->type_name("MODEL");
    app.add_option("--sites", o->sites, "table of sites: site,latitude,longitude,classes,not_classes")
        ->type_name("FILE.csv");
    std::string group = "Decisions";
    const auto number = [&](const char* name, double& value, const char* help) {
        return app.add_option(name, value, help)->type_name("N")->check(fraction)->group(group);
    };
    number("--box-threshold", job.outputs.threshold,
           "minimum confidence of boxes that count and are classified [the model's recommendation, else 0.2]");
    number("--bad-threshold", o->table.bad_threshold, "an image is bad at this probability or above")
        ->capture_default_str();
    app.add_option("--bad-class", o->table.bad, "the class of bad images in the quality model")
        ->type_name("NAME")
        ->capture_default_str()
        ->group(group);
    app.add_option("--not-animals", o->not_animals,
                   "species classes that are no animals, a,b,c [those called empty, rock, bait, background, ...]")
        ->type_name("NAMES")
        ->delimiter(',')
        ->group(group);
    app.add_option("--burst", o->table.burst_seconds,
                   "images of a camera at most this many seconds apart belong together")
        ->type_name("SECONDS")
        ->check(CLI::Range(0, 86400))
        ->capture_default_str()
        ->group(group);
    app.add_option("--event", o->table.event_seconds,
                   "visits of a species at most this many seconds apart are one event")
        ->type_name("SECONDS")
        ->check(CLI::Range(0, 86400 * 30))
        ->capture_default_str()
        ->group(group);
    number("--sample", o->table.sample, "share of each site and final class that a person checks")
        ->capture_default_str();
    app.add_option("--seed", o->table.seed, "random seed of that sample")
        ->type_name("N")
        ->capture_default_str()
        ->group(group);
    group = "Many images";
    app.add_option("--base", job.base, "folder to which the file names are relative [the given folder]")
        ->type_name("FOLDER")
        ->group(group);
    app.add_option(
           "--shard", job.shard,
           "process only part I of N of the images; `tundra merge` joins the folders. auto, auto/N: the part of this "
           "task of a Slurm array or rank of MPI, whose number takes the place of {shard} in --out")
        ->type_name("I/N")
        ->group(group);
    add_machine_options(app, job.machine, "detector: cpu 1, cuda 8; classifiers: 16");
    return [o] { return run_on_gpus(o->detect.machine, [&] { return run_survey(*o); }); };
}

}  // namespace

Command survey_command() {
    return {.name = "survey",
            .summary = "From cards full of images to one table: quality, boxes, species, sequences, what to check.",
            .examples = {"tundra survey cards --out 2026 --detector md_v5a.0.0.pt --species runs/crops",
                         "tundra survey cards --out 2026 --quality runs/quality --sites sites.csv"},
            .add = add,
            .short_help = {"--out", "--detector", "--quality", "--species", "--sites", "--device"}};
}
