// `tundra detect` and `tundra merge`: options, progress, the last line.
#include <fmt/format.h>

#include "app/command.h"
#include "app/detect/job.h"
#include "app/terminal.h"
#include "base/error.h"
#include "base/signals.h"

namespace {

struct Options {
    DetectJob job;
    size_t max_failures = SIZE_MAX;
    std::string render, crops;
    bool tile = false;
    size_t tile_size = 1280;
    bool quiet = false;
};

int run(Options& o) {
    const StopSignals signals;
    Progress progress(o.quiet);
    o.job.images_out.render = o.render;
    o.job.images_out.crops = o.crops;
    o.job.tile = o.tile ? o.tile_size : 0;
    o.job.note = [&](const std::string& text) {
        if (!o.quiet) note(progress, text);
    };
    size_t done = 0;
    o.job.progress = [&](const DetectCounts& counts, size_t total) {
        done = counts.done;
        progress.count(counts.done, total, "pictures");
        return !signals.received();
    };
    DetectOutcome outcome;
    try {
        outcome = detect(o.job);
    } catch (const Error& e) {  // a full disk, a lost GPU
        if (e.fault != Fault::environment || !done) throw;
        fail(e.fault, "{}; the same command goes on where it was", e.what());
    }
    progress.clear();
    const DetectCounts& c = outcome.counts;
    if (!outcome.finished) {
        note(progress,
             fmt::format("stopped after {} of {} images; the same command goes on from there", c.done, outcome.images));
        return signals.exit_code();
    }
    std::string line = fmt::format("{} images, {} with detections from {}, {} could not be read, {} were damaged",
                                   count_text(c.done), count_text(outcome.with_detections), outcome.threshold,
                                   count_text(c.failed), count_text(c.damaged));
    if (outcome.kept) line += fmt::format(", {} kept from before", count_text(outcome.kept));
    say(progress, line + ": " + o.job.out);
    if (c.failed <= o.max_failures) return 0;
    note(progress, fmt::format("{} images failed, more than --max-failures {}", c.failed, o.max_failures));
    return int(Fault::inputs);
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    DetectJob& job = o->job;
    const auto fraction = CLI::Range(0.0, 1.0);
    app.add_option("PICTURES", job.images, "folders, images, patterns, or lists of paths (@LIST or LIST.txt)")
        ->required();
    app.add_option("-o,--out", job.out, "the result file")->type_name("FILE")->required();
    app.add_option("--model", job.model,
                   "md_v5a.0.0.pt, another YOLOv5 file, or a run folder [a small one for synthetic scenes]")
        ->type_name("FILE");

    std::string group = "Results";
    app.add_option("--format", job.format, "megadetector, coco or csv [by the file's name]")
        ->type_name("NAME")
        ->group(group);
    app.add_option("--render", o->render, "copies with boxes drawn on them go here")->type_name("FOLDER")->group(group);
    app.add_option("--crops", o->crops, "square crops of the detections go here")->type_name("FOLDER")->group(group);
    app.add_option("--render-threshold", job.images_out.threshold,
                   "least confidence of what is drawn, cropped and counted [what the model says, else 0.2]")
        ->type_name("N")
        ->check(fraction)
        ->group(group);
    app.add_flag("--include-size", job.entry.size, "write width and height of every image")->group(group);
    app.add_flag("--include-date", job.entry.date, "write the EXIF date of every image")->group(group);
    app.add_option("--base", job.base, "where the file names in the results start [the folder given]")
        ->type_name("FOLDER")
        ->group(group);

    group = "Detection";
    app.add_option("--threshold", job.threshold, "least confidence of what is written")
        ->type_name("N")
        ->capture_default_str()
        ->check(fraction)
        ->group(group);
    app.add_option("--overlap", job.overlap, "boxes of a class that overlap more are one (IoU)")
        ->type_name("N")
        ->capture_default_str()
        ->check(fraction)
        ->group(group);
    app.add_option("--image-size", job.image_size, "long side in pixels [what the model was trained for]")
        ->type_name("N")
        ->check(CLI::Range(64, 8192))
        ->group(group);
    app.add_flag("--tta", job.tta, "look three times, at other sizes and mirrored: finds more, takes twice as long")
        ->group(group);
    app.add_flag("--tile", o->tile,
                 "also look at large images in overlapping tiles: finds small animals, takes many times as long")
        ->group(group);
    app.add_option("--tile-size", o->tile_size, "side of a tile in pixels of the image")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(64, 8192))
        ->group(group);
    app.add_option("--tile-overlap", job.tile_overlap, "part of a tile that its neighbour sees too")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 0.9))
        ->group(group);

    group = "Many images";
    app.add_option("--update", job.update, "an earlier result file: only images that it lacks are looked at")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--shard", job.shard, "only this part of the images, for `tundra merge`")
        ->type_name("I/N")
        ->group(group);
    app.add_option("--max-failures", o->max_failures, "exit with 3 if more images could not be read")
        ->type_name("N")
        ->group(group);

    group = "Machine";
    app.add_option("--device", job.device, "cpu, cuda, simt, or auto: cuda where there is a usable GPU")
        ->type_name("NAME")
        ->check(CLI::IsMember({"auto", "cpu", "cuda", "simt"}))
        ->capture_default_str()
        ->group(group);
    app.add_option("--precision", job.precision,
                   "of the network; auto is fp32, MegaDetector's own (auto, fp32, bf16, fp16)")
        ->type_name("NAME")
        ->check(CLI::IsMember({"auto", "fp32", "bf16", "fp16"}))
        ->capture_default_str()
        ->group(group);
    app.add_option("--batch", job.batch, "images that go through the network at once [cpu 1, cuda 8]")
        ->type_name("N")
        ->check(CLI::Range(1, 256))
        ->group(group);
    app.add_option("--threads", job.threads, "[all processors]")
        ->type_name("N")
        ->check(CLI::Range(1, 1024))
        ->group(group);
    app.add_flag("--quiet", o->quiet, "no progress and no notes")->group(group);
    return [o] { return run(*o); };
}

struct MergeOptions {
    std::vector<std::string> files;
    std::string out;
};

std::function<int()> add_merge(CLI::App& app) {
    auto o = std::make_shared<MergeOptions>();
    app.add_option("FILES", o->files, "the result files of all shards")->required();
    app.add_option("-o,--out", o->out, "the result file of the whole")->required();
    return [o] {
        const size_t n = merge_results(o->files, o->out);
        Progress progress(true);
        say(progress, fmt::format("{} images from {} shards, complete: {}", count_text(n), o->files.size(), o->out));
        return 0;
    };
}

}  // namespace

Command detect_command() {
    return {.name = "detect",
            .summary = "Find animals, people and vehicles on images with MegaDetector v5 or another YOLOv5.",
            .examples = {"tundra detect images -o results.json --model md_v5a.0.0.pt",
                         "tundra detect images -o results.json --model md_v5a.0.0.pt --crops crops --tta",
                         "tundra detect images -o results.json --model runs/own-cameras",
                         "tundra detect @list.txt -o 3.json --model md_v5a.0.0.pt --shard 3/8"},
            .add = add,
            .short_help = {"--out", "--model", "--render", "--crops", "--threshold", "--tta", "--tile", "--update",
                           "--device"}};
}

Command merge_command() {
    return {.name = "merge",
            .summary = "Join the result files of all shards, and prove that nothing is missing.",
            .examples = {"tundra merge 1.json 2.json 3.json -o results.json"},
            .add = add_merge};
}
