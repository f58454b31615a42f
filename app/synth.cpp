// `tundra synth`: procedural camera-trap images to train, test and demonstrate with.
#include "app/synth/synth.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "app/command.h"
#include "app/jobs/machine.h"
#include "app/terminal.h"
#include "base/error.h"

namespace {

struct Options {
    SynthOptions synth;
    std::string out, task = "quality", size = "640x480";
    size_t threads = 0;
    bool quiet = false;
};

void read_size(const std::string& text, SynthOptions& synth) {
    int used = 0;
    if (std::sscanf(text.c_str(), "%dx%d%n", &synth.width, &synth.height, &used) != 2 || size_t(used) != text.size())
        fail(Fault::usage, "--size {}: must be like 640x480", text);
}

int run(Options& o) {
    o.synth.out = o.out;
    o.synth.threads = int(o.threads);
    read_size(o.size, o.synth);
    o.synth.task = o.task == "detect"    ? SynthTask::detect
                   : o.task == "species" ? SynthTask::species
                   : o.task == "survey"  ? SynthTask::survey
                                         : SynthTask::quality;
    // Two data sets in one folder would mix.
    if (std::error_code none; std::filesystem::exists(o.out, none) && !std::filesystem::is_empty(o.out, none))
        fail(Fault::usage, "{}: is not empty; name a new folder", o.out);
    Progress progress(o.quiet);
    const SynthSummary made =
        synthesize(o.synth, [&](int done, int total) { progress.count(size_t(done), size_t(total), "images"); });
    progress.clear();
    if (!o.quiet) {
        const std::string boxes = made.boxes ? fmt::format(" with {} boxes", count_text(uint64_t(made.boxes))) : "";
        print_line(progress, fmt::format("{} images{} of {} cameras: {}", count_text(uint64_t(made.images)), boxes,
                                         made.cameras, o.out));
    }
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    app.add_option("OUT", o->out, "new folder to write to")->required();
    app.add_option("--task", o->task,
                   "labels: good and bad images (quality), animals (species), objects with boxes (detect), or a season "
                   "of several sites with the truth in tables (survey)")
        ->check(CLI::IsMember({"quality", "species", "detect", "survey"}))
        ->type_name("NAME")
        ->capture_default_str();
    app.add_option("--images,--pictures", o->synth.images, "number of images")->type_name("N")->capture_default_str();
    app.add_option("--size", o->size, "width and height in pixels")->type_name("WxH")->capture_default_str();
    app.add_option("--cameras", o->synth.cameras, "number of cameras, each with a scene of its own")
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--seed", o->synth.seed, "random seed")->type_name("N")->capture_default_str();
    app.add_option("--jpeg-quality", o->synth.jpeg_quality, "quality of the JPEG files, 1 to 100")
        ->type_name("N")
        ->capture_default_str();
    add_threads_option(app, o->threads);
    add_quiet_option(app, o->quiet);
    return [o] { return run(*o); };
}

}  // namespace

Command synth_command() {
    return {.name = "synth",
            .summary = "Make a data set of synthetic camera-trap images.",
            .examples = {"tundra synth shots                                 2,400 images, good and bad",
                         "tundra synth shots --task species --images 500     folders of animals",
                         "tundra synth shots --task detect                   boxes in COCO format",
                         "tundra synth season --task survey --cameras 6      cards of three sites, and the truth"},
            .add = add};
}
