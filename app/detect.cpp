// `tundra detect` and `tundra merge`: options, progress, summary.
#include <fmt/format.h>

#include "app/command.h"
#include "app/detect/job.h"
#include "app/detect/shard.h"
#include "app/jobs/long_run.h"
#include "app/merge_classified.h"
#include "app/survey/survey.h"
#include "app/terminal.h"
#include "base/error.h"
#include "base/text.h"

namespace {

struct Options {
    DetectJob job;
    size_t max_failures = SIZE_MAX;
    std::string render, crops, crops_format = "jpg";
    bool tile = false;
    size_t tile_size = 1280;
};

int run_detect(Options& o) {
    LongRun run(o.job.machine.quiet);
    o.job.outputs.render = o.render;
    o.job.outputs.crops = o.crops;
    o.job.outputs.png = o.crops_format == "png";
    o.job.tile = o.tile ? o.tile_size : 0;
    o.job.note = [&](const std::string& text) { run.note(text); };
    o.job.progress = [&](const DetectCounts& counts, size_t total) { return run.count(counts.done, total); };
    take_own_shard(o.job.shard, o.job.out);
    DetectOutcome outcome;
    o.job.handed = handed_work();
    if (const auto code = run.run([&] { return (outcome = detect(o.job)).finished; })) return *code;
    if (o.job.handed) return 0;
    const DetectCounts& c = outcome.counts;
    std::string line = fmt::format("{} images, {} with detections of confidence {} or more, {} failed, {} damaged",
                                   count_text(c.done), count_text(outcome.with_detections), outcome.threshold,
                                   count_text(c.failed), count_text(c.damaged));
    if (outcome.kept) line += fmt::format(", {} kept from the earlier file", count_text(outcome.kept));
    if (!o.job.machine.quiet) print_line(run.progress, line + ": " + o.job.out);
    if (c.failed && c.failed == c.done)
        fail(Fault::inputs, "detect: none of the {} images could be read; {} has the reasons", c.failed, o.job.out);
    if (c.failed <= o.max_failures) return 0;
    fail(Fault::inputs, "detect: {} of {} images failed, --max-failures is {}", c.failed, c.done, o.max_failures);
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    DetectJob& job = o->job;
    const auto fraction = CLI::Range(0.0, 1.0);
    app.add_option("IMAGES", job.images, "folders, images, quoted patterns, or lists (@LIST, LIST.txt, .json, .csv)")
        ->required();
    app.add_option("-o,--out", job.out, "result file; rerun an interrupted command to resume it")
        ->type_name("FILE")
        ->required();
    app.add_option(
           "--model", job.model,
           "a MegaDetector's .pt or another YOLO file, a run folder, or the JSON of an earlier run or of SpeciesNet [a "
           "small model for synthetic scenes]")
        ->type_name("FILE");
    app.add_option("--classify", job.classify,
                   "classifier for the animals' boxes, or the JSON of SpeciesNet or of an earlier run: classifications")
        ->type_name("MODEL");
    app.add_option("--quality", job.quality, "classifier for whole images: its answers are written for each image")
        ->type_name("MODEL");

    std::string group = "Results";
    app.add_option("--format", job.format, "megadetector, coco or csv [csv for FILE.csv, else megadetector]")
        ->type_name("NAME")
        ->group(group);
    app.add_option("--render", o->render, "write copies of the images with their boxes drawn to this folder")
        ->type_name("FOLDER")
        ->group(group);
    app.add_option("--crops", o->crops, "write a square crop of each detection to this folder")
        ->type_name("FOLDER")
        ->group(group);
    app.add_option("--crops-format", o->crops_format, "jpg, or png: without loss")
        ->type_name("NAME")
        ->check(CLI::IsMember({"jpg", "png"}))
        ->capture_default_str()
        ->group(group);
    app.add_option("--render-threshold", job.outputs.threshold,
                   "minimum confidence of detections that are drawn, cropped and counted [the model's recommendation, "
                   "else 0.2]")
        ->type_name("N")
        ->check(fraction)
        ->group(group);
    app.add_flag("--include-size", job.entry.size, "write width and height of every image")->group(group);
    app.add_flag("--include-date", job.entry.date, "write the EXIF date of every image")->group(group);
    app.add_option("--base", job.base, "folder to which the file names in the results are relative [the given folder]")
        ->type_name("FOLDER")
        ->group(group);

    group = "Detection";
    app.add_option("--threshold", job.threshold, "minimum confidence of detections that are written")
        ->type_name("N")
        ->capture_default_str()
        ->check(fraction)
        ->group(group);
    app.add_option("--iou,--overlap", job.iou,
                   "non-maximum suppression: drop a box whose IoU with a better box of its class "
                   "exceeds this")
        ->type_name("N")
        ->capture_default_str()
        ->check(fraction)
        ->group(group);
    app.add_option("--image-size", job.image_size, "longer side of the network's input in pixels [as in training]")
        ->type_name("N")
        ->check(CLI::Range(64, 8192))
        ->group(group);
    app.add_flag("--tta", job.tta,
                 "test-time augmentation (three scales, one of them mirrored): finds more, twice as slow")
        ->group(group);
    app.add_flag("--tile", o->tile,
                 "also run the network on overlapping tiles of large images: finds small animals, many times slower")
        ->group(group);
    app.add_option("--tile-size", o->tile_size, "side of a tile in pixels of the image")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(64, 8192))
        ->group(group);
    app.add_option("--tile-overlap", job.tile_overlap, "share of a tile's side that its neighbour also covers")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 0.9))
        ->group(group);

    group = "Many images";
    app.add_option("--update", job.update, "keep the results of this earlier file and process only images it lacks")
        ->type_name("FILE")
        ->group(group);
    app.add_option(
           "--shard", job.shard,
           "process only part I of N of the images; `tundra merge` joins the results. auto, auto/N: the part of this "
           "task of a Slurm array or rank of MPI, whose number takes the place of {shard} in --out")
        ->type_name("I/N")
        ->group(group);
    app.add_option("--max-failures", o->max_failures, "exit with code 3 if more images than this fail [no limit]")
        ->type_name("N")
        ->group(group);

    add_machine_options(app, job.machine, "cpu 1, cuda 8");
    return [o] { return run_on_gpus(o->job.machine, [&] { return run_detect(*o); }); };
}

struct MergeOptions {
    std::vector<std::string> files;
    std::string out;
};

std::function<int()> add_merge(CLI::App& app) {
    auto o = std::make_shared<MergeOptions>();
    app.add_option("FILES", o->files, "result files, or folders of surveys, of all shards")->required();
    app.add_option("-o,--out", o->out, "result file or folder of all images")->required()->type_name("FILE");
    return [o] {
        const bool surveys = std::filesystem::is_directory(o->files[0]);
        Progress progress(true);
        const auto note = [&](const std::string& text) { print_note(progress, text); };
        const std::string end = lower(std::filesystem::path(o->files[0]).extension().string());
        const size_t n = surveys                            ? merge_surveys(o->files, o->out, note).images
                         : end == ".csv" || end == ".jsonl" ? merge_classified(o->files, o->out)
                                                            : merge_results(o->files, o->out);
        print_line(progress,
                   fmt::format("{} images from {} shards, none missing: {}", count_text(n), o->files.size(), o->out));
        return 0;
    };
}

}  // namespace

Command detect_command() {
    return {.name = "detect",
            .summary = "Find animals, people and vehicles in images with a MegaDetector or another YOLO.",
            .examples = {"tundra detect images -o results.json --model md_v5a.0.0.pt",
                         "tundra detect images -o results.json --model md_v5a.0.0.pt --crops crops --tta",
                         "tundra detect 'night/*.jpg' -o results.json --model runs/my-cameras",
                         "tundra detect @list.txt -o 3.json --model md_v5a.0.0.pt --shard 3/8"},
            .add = add,
            .short_help = {"--out", "--model", "--render", "--crops", "--threshold", "--tta", "--tile", "--update",
                           "--device"}};
}

Command merge_command() {
    return {.name = "merge",
            .summary = "Join the results of all shards and check that no image is missing.",
            .examples = {"tundra merge 1.json 2.json 3.json -o results.json", "tundra merge s1 s2 -o survey"},
            .add = add_merge};
}
