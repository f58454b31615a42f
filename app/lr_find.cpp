// `tundra lr-find`: proposes a learning rate from a short training in which it grows.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "app/command.h"
#include "app/report/lr_plot.h"
#include "app/terminal.h"
#include "app/train_options.h"
#include "base/error.h"
#include "base/file.h"
#include "train/lr_finder.h"
#include "train/setup.h"

namespace {

namespace fs = std::filesystem;

struct Options {
    TrainOptions config;
    LrFinderOptions test;
    std::string out;
    bool quiet = false;
};

// On a network that is thrown away afterwards.
LrFinder range_test(const Options& o, const TrainConfig& config, Progress& progress) {
    if (config.task != "classify")
        fail(Fault::usage,
             "lr-find is for classifiers; train a detector with --lr 0.01, or with 0.001 if --init is a trained one");
    const Dataset data = open_dataset(config.data, dataset_options(config));
    const auto device = open_device(config.device, {.threads = int(config.threads)});
    Arena arena(*device);
    const InitialModel initial =
        initial_classifier(config, data.classes.size(), [&](const std::string& text) { print_note(progress, text); });
    Trainer trainer(*device, arena, trainer_config(config, data, initial.model, precision_on(config, *device)),
                    initial.state);
    Cache cache(data, fit_of(config), config.cache == "off" ? CacheMode::off : CacheMode::memory, "");
    LoaderOptions loading = loader_options(config, true);
    loading.memory = &device->host_memory();
    Loader loader(data, data.part(Part::train), loading, &cache);
    LrFinder finder(o.test);
    size_t empty = 0;  // batches in a row without a readable image, which are left out
    for (size_t step = 1; step <= o.test.steps;) {
        const Batch& batch = loader.next();
        if (std::ranges::all_of(batch.labels, [](int32_t label) { return label < 0; })) {
            if (++empty < loader.steps()) continue;
            fail(Fault::usage, "lr-find: none of the training images of {} could be read (first: {})", config.data,
                 loader.bad_files().at(0).note());
        }
        empty = 0;
        trainer.step(batch, finder.next_learning_rate(), config.momentum, step);
        const double loss = trainer.stats().loss;
        progress.show(double(step) / double(o.test.steps),
                      fmt::format("step {}/{}  learning rate {:.2e}  loss {:.4f}", step, o.test.steps,
                                  finder.next_learning_rate(), loss));
        if (!finder.add(loss)) break;
        ++step;
    }
    progress.clear();
    return finder;
}

fs::path with_extension(fs::path path, const char* extension) { return path.replace_extension(extension); }

void write_files(const std::string& out, const LrFinder& finder, const LrSuggestion& suggestion) {
    const fs::path csv = with_extension(out, ".csv"), svg = with_extension(out, ".svg");
    write_file_durably(csv, [&](FileWriter& file) {
        file.write("rate,loss,smooth\n");
        for (const LrPoint& p : finder.points())
            file.write(fmt::format("{:.6g},{:.6f},{:.6f}\n", p.learning_rate, p.loss, p.smooth));
    });
    write_file_durably(svg, [&](FileWriter& file) { file.write(lr_plot(finder.points(), suggestion)); });
}

int run(const Options& o, const CLI::App& app) {
    const TrainConfig config = o.config.resolve(app);
    Progress progress(o.quiet);
    if (!o.out.empty())
        for (const fs::path& file : {fs::path(o.out), with_extension(o.out, ".csv"), with_extension(o.out, ".svg")})
            check_output("--out", file, {config.data});
    const LrFinder finder = range_test(o, config, progress);
    const LrSuggestion s = finder.suggest();
    if (!o.out.empty()) {
        write_files(o.out, finder, s);
        print_note(progress, fmt::format("curve: {}", fs::path(o.out).replace_extension(".svg").string()));
    }
    print_line(progress, fmt::format("steepest descent  {:.2g}", s.steepest));
    print_line(progress, fmt::format("valley            {:.2g}", s.valley));
    print_line(progress, fmt::format("minimum / 10      {:.2g}", s.minimum_tenth));
    if (o.quiet) return 0;
    print_line(progress, "");
    print_line(progress, fmt::format("Next:  tundra train {} --out RUN{} --lr {:.2g}", config.data, o.config.given(app),
                                     s.valley));
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    o->config.add_data(app, true);
    app.add_option("-o,--out", o->out, "write the curve to FILE.csv and FILE.svg")->type_name("FILE");
    app.add_option("--steps", o->test.steps, "number of training steps, at least 50")
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--first", o->test.first, "lowest learning rate")->type_name("X")->capture_default_str();
    app.add_option("--last", o->test.last, "highest learning rate")->type_name("X")->capture_default_str();
    o->config.add_fields(app, true);
    app.add_flag("-q,--quiet", o->quiet, "print only the three learning rates")->group("Machine");
    return [o, &app] { return run(*o, app); };
}

}  // namespace

Command lr_find_command() {
    return {.name = "lr-find",
            .summary = "Find a learning rate for a classifier with a short range test.",
            .examples = {"tundra lr-find shots --image-size 64 --batch 32",
                         "tundra lr-find shots -o lr                 writes lr.csv and lr.svg",
                         "tundra lr-find shots --optimizer adam --last 0.1"},
            .add = add,
            .short_help = {"--out", "--steps", "--first", "--last", "--config", "--recipe", "--model", "--init",
                           "--image-size", "--batch", "--optimizer", "--seed", "--device", "--threads", "--quiet"}};
}
