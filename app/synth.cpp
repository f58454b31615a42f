// `tundra synth`: procedural camera-trap images to train, test and demonstrate with.
#include "app/synth/synth.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "app/command.h"
#include "app/terminal.h"
#include "base/error.h"

namespace {

struct Options {
    SynthOptions synth;
    std::string out, task = "quality", size = "640x480";
    bool quiet = false;
};

void read_size(const std::string& text, SynthOptions& synth) {
    int used = 0;
    if (std::sscanf(text.c_str(), "%dx%d%n", &synth.width, &synth.height, &used) != 2 || size_t(used) != text.size())
        fail(Fault::usage, "--size {}: must be like 640x480", text);
}

int run(Options& o) {
    o.synth.out = o.out;
    read_size(o.size, o.synth);
    o.synth.task = o.task == "detect"    ? SynthTask::detect
                   : o.task == "species" ? SynthTask::species
                                         : SynthTask::quality;
    // Two sets in one folder would be mixed, and both spoilt.
    if (std::error_code none; std::filesystem::exists(o.out, none) && !std::filesystem::is_empty(o.out, none))
        fail(Fault::usage, "{}: there is something in it; name a new folder", o.out);
    Progress progress(o.quiet);
    const SynthSummary made =
        synthesize(o.synth, [&](int done, int total) { progress.count(size_t(done), size_t(total), "pictures"); });
    progress.clear();
    if (!o.quiet) {
        const std::string boxes = made.boxes ? fmt::format(" with {} boxes", count_text(uint64_t(made.boxes))) : "";
        say(progress, fmt::format("{} images{} of {} cameras in {}", count_text(uint64_t(made.images)), boxes,
                                  made.cameras, o.out));
    }
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    app.add_option("OUT", o->out, "folder to write to")->required();
    app.add_option("--task", o->task, "what is labelled: quality (good, bad), species (animals), detect (boxes)")
        ->check(CLI::IsMember({"quality", "species", "detect"}))
        ->type_name("NAME")
        ->capture_default_str();
    app.add_option("--pictures", o->synth.images, "how many")->type_name("N")->capture_default_str();
    app.add_option("--size", o->size, "in pixels")->type_name("WxH")->capture_default_str();
    app.add_option("--cameras", o->synth.cameras, "each with its own scene")->type_name("N")->capture_default_str();
    app.add_option("--seed", o->synth.seed, "another seed, other images")->type_name("N")->capture_default_str();
    app.add_option("--jpeg-quality", o->synth.jpeg_quality, "1 to 100")->type_name("N")->capture_default_str();
    app.add_option("--threads", o->synth.threads, "0: all processors")->type_name("N")->capture_default_str();
    app.add_flag("-q,--quiet", o->quiet, "print errors only");
    return [o] { return run(*o); };
}

}  // namespace

Command synth_command() {
    return {.name = "synth",
            .summary = "Make a data set of procedural camera-trap images.",
            .examples = {"tundra synth shots                                 2,400 images, good and bad",
                         "tundra synth shots --task species --pictures 500   folders of animals",
                         "tundra synth shots --task detect                   boxes in COCO's format"},
            .add = add};
}
