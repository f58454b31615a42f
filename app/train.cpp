// `tundra train`: trains on labelled images and writes a run folder.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "app/command.h"
#include "app/jobs/machine.h"
#include "app/jobs/together.h"
#include "app/report/report.h"
#include "app/review/labels.h"
#include "app/terminal.h"
#include "app/train_options.h"
#include "base/error.h"
#include "base/processors.h"
#include "data/listing.h"
#include "train/ranks.h"
#include "train/run.h"

namespace {

struct Options {
    TrainOptions config;
    RunOptions run;
    std::string corrections, labels = "species", base;
    bool quiet = false;
};

std::string percent(double share) { return std::isnan(share) ? "-" : fmt::format("{:.1f} %", 100 * share); }

// "train_loss" and "validation_accuracy" as "loss 0.1234  validation accuracy  98.1 %".
std::string metrics_text(const NamedNumbers& metrics) {
    std::string text;
    for (const auto& [name, value] : metrics) {
        std::string words = name.starts_with("train_") ? name.substr(6) : name;
        std::ranges::replace(words, '_', ' ');
        const std::string number = name.ends_with("accuracy") ? fmt::format("{:>7}", percent(value))
                                   : std::isnan(value)        ? "-"
                                                              : fmt::format("{:.4f}", value);
        text += fmt::format("{}{} {}", text.empty() ? "" : "  ", words, number);
    }
    return text;
}

void print_plan(Progress& progress, const TrainConfig& c, const RunPlan& plan) {
    const auto line = [&](const char* what, const std::string& text) {
        print_line(progress, fmt::format("{:<10} {}", what, text));
    };
    line("images", fmt::format("{} to train, {} to validate, {} to test", count_text(plan.train_images),
                               count_text(plan.validation_images), count_text(plan.test_images)));
    line("classes", fmt::format("{}: {}", plan.classes.size(), fmt::join(plan.classes, ", ")));
    line("model", fmt::format("{} at {} px, {} parameters{}", c.model, c.image_size, count_text(plan.parameters),
                              c.init.empty() ? "" : ", from " + c.init));
    line("training", fmt::format("{} epochs x {} steps of {} images with {}", c.epochs,
                                 count_text(plan.steps_per_epoch), c.batch, c.optimizer));
    line("schedule", plan.schedule);
    line("device", fmt::format("{}, {}", plan.device, plan.precision));
    line("memory", fmt::format("{} for the network; decoded images {}", bytes_text(double(plan.memory_bytes)),
                               plan.cache_bytes ? bytes_text(double(plan.cache_bytes)) : "are not kept"));
}

// While it prints: a terminal that is held or a full pipe does not make a lost rank.
struct Unwatched {
    std::atomic<bool>& watched;
    const bool before = watched.exchange(false);
    ~Unwatched() { watched = before; }
};

RunEvents events_of(Options& o, const TrainConfig& config, Progress& progress) {
    RunEvents events;
    events.note = [&](const std::string& text) {
        const Unwatched now{o.run.ranks->process->watched};
        print_note(progress, text);
    };
    if (!o.run.ranks->first()) events.note = {};
    if (o.quiet) return events;
    events.planned = [&](const RunPlan& plan) {
        print_plan(progress, config, plan);
        if (o.run.ranks->count > 1)
            print_line(progress, fmt::format("{:<10} {}, each with {} of the {} images of a step", "ranks",
                                             o.run.ranks->count, config.batch / o.run.ranks->count, config.batch));
        for (const std::string& text : plan.notes) print_note(progress, text);
        if (!o.run.plan_only) return;
        print_line(progress, fmt::format("{:<10} {} in the run folder", "disk", bytes_text(double(plan.disk_bytes))));
        print_line(
            progress,
            fmt::format("{:<10} about {}: {} steps of {:.2f} s on this machine now; decoding and validation are extra",
                        "time", duration_text(plan.seconds_per_step * double(plan.total_steps)),
                        count_text(plan.total_steps), plan.seconds_per_step));
    };
    events.step = [&](const StepStats& stats, const RunProgress& p) {
        const double fraction = double(p.step) / double(p.total_steps);
        if (!progress.is_due(fraction)) return;
        const Unwatched now{o.run.ranks->process->watched};
        progress.show(fraction, fmt::format("epoch {}/{}  {:.1f} images/s  loss {:.4f}  {} left", p.epoch, p.epochs,
                                            p.images_per_second, stats.loss, duration_text(p.seconds_left)));
    };
    events.epoch = [&](const EpochReport& e) {
        const Unwatched now{o.run.ranks->process->watched};
        const bool known = o.run.ranks->count > 1 && !o.run.ranks->gpu_sums;
        const std::string waited = known ? fmt::format("  sums exposed {:.2f} s", e.waited) : "";
        print_line(progress, fmt::format("epoch {:>3}/{}  {}  {}{}{}", e.epoch, e.epochs, metrics_text(e.metrics),
                                         duration_text(e.seconds), waited, e.best ? "  best" : ""));
    };
    return events;
}

// The reviewed images of a survey as the data of this run, written into its folder once: corrections that come later
// belong to another run.
std::vector<std::string> take_corrections(Options& o, const CLI::App& app) {
    namespace fs = std::filesystem;
    if (o.run.plan_only)
        fail(Fault::usage, "--plan: writes nothing, and --corrections {} would write the labels; leave one of them out",
             o.corrections);
    if ((o.labels == "boxes") != (o.config.given(app).find(" --task detect") != std::string::npos))
        fail(Fault::usage, "--labels {}: {}", o.labels,
             o.labels == "boxes" ? "train a detector; add --task detect"
                                 : "train a classifier; --task detect needs --labels boxes");
    const fs::path labels = fs::path(o.run.folder) / "labels",
                   data = labels / (o.labels == "boxes" ? "labels.json" : "labels.csv");
    const std::string with = app.count("DATA") ? app.get_option("DATA")->as<std::string>() : "";
    o.config.set_data(data.string());
    if (!o.run.ranks->first()) return {};  // rank 0 writes them
    if (!o.run.fresh && fs::exists(fs::path(o.run.folder) / "config") && fs::exists(data)) return {};
    const bool is_file = fs::is_regular_file(o.corrections);
    const fs::path where = is_file ? fs::absolute(o.corrections).parent_path() : fs::path(o.corrections);
    const SurveyFolder survey(where, o.base);
    survey.require_images();
    fs::remove_all(labels);
    CorrectionLog corrections(is_file ? fs::path(o.corrections) : where / "corrections.csv");
    survey.match(corrections);
    TrainingLabels written = write_training_labels(survey, corrections, o.labels, labels, with);
    written.notes.insert(written.notes.begin(), corrections.notes.begin(), corrections.notes.end());
    return written.notes;
}

int train(Options& o, const CLI::App& app) {
    const std::filesystem::path& folder = o.run.folder;
    std::error_code ignored;
    std::vector<std::string> notes;
    if (!o.corrections.empty() && !std::filesystem::is_regular_file(folder, ignored)) notes = take_corrections(o, app);
    std::byte ready{};
    o.run.ranks->broadcast({&ready, 1});  // the other ranks wait for the labels
    const TrainConfig config = o.config.resolve(app);
    if (std::filesystem::exists(folder, ignored) && !std::filesystem::is_directory(folder, ignored))
        fail(Fault::usage, "--out {}: is a file; name a folder for the run", folder.string());
    if (std::filesystem::equivalent(folder, config.data, ignored))
        fail(Fault::usage, "--out {}: is the folder of the images; name another one for the run", folder.string());
    // As a run folder, a class folder would no longer be a class.
    if (std::filesystem::is_directory(folder, ignored) && !std::filesystem::exists(folder / "config", ignored))
        for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
            if (is_image_name(entry.path().filename().string()))
                fail(Fault::usage, "--out {}: holds images; name another folder for the run", folder.string());
    Progress progress(o.quiet);
    if (o.run.ranks->first())
        for (const std::string& text : notes) print_note(progress, text);
    const RunResult result = train_run(config, o.run, events_of(o, config, progress));
    const std::string& out = o.run.folder;
    std::string report;
    if (!o.run.ranks->first()) return result.exit_code;
    if (result.end != RunEnd::planned) try {
            report = write_report(out).string();
        } catch (const std::exception& e) {  // the run itself is saved already
            print_note(progress, fmt::format("the report could not be written: {}", e.what()));
        }
    switch (result.end) {
        case RunEnd::planned: break;
        case RunEnd::stopped:
            print_note(progress,
                       fmt::format("stopped at step {} and saved; run the same command again to resume", result.step));
            break;
        case RunEnd::already_finished:
            if (!o.quiet)
                print_line(progress,
                           fmt::format("{0}: this run has finished already; --fresh starts it over, and --init "
                                       "{0}/model.safetensors with another --out trains on from its model",
                                       out));
            break;
        case RunEnd::finished:
            if (o.quiet) break;
            print_line(progress, "result: " + metrics_text(result.metrics));
            if (result.bad_files)
                print_line(progress, fmt::format("{} files with problems: {}/bad_files.csv", result.bad_files, out));
            print_line(progress, fmt::format("model:  {}/model.safetensors", out));
            if (!report.empty()) print_line(progress, fmt::format("report: {}", report));
            break;
    }
    return result.exit_code;
}

// The launcher may have bound this process to a part of the machine that is smaller than its share.
void note_unused_processors(const Ranks& ranks) {
    const auto here = size_t(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))), mine = size_t(usable_processors());
    if (std::getenv("OMPI_COMM_WORLD_SIZE") && mine * ranks.on_machine < here)
        write_error(
            fmt::format("note: mpirun lets {} use {} of the {} processors; mpirun --bind-to none lets it use all\n",
                        ranks.count > 1 ? "each rank" : "this process", mine, here));
}

int run(Options& o, const CLI::App& app) {
    if (const std::optional<int> code =
            run_on_each_gpu(o.config.device(app), std::filesystem::path(o.run.folder) / "checkpoints"))
        return *code;
    const std::unique_ptr<Ranks> ranks = open_ranks();
    o.run.ranks = ranks.get();
    if (ranks->first()) note_unused_processors(*ranks);
    if (!ranks->first()) o.quiet = true;
    return run_together(*ranks, [&] { return train(o, app); });
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    o->config.add_data(app);
    app.add_option("-o,--out", o->run.folder, "run folder; rerun an interrupted command to resume it")
        ->required()
        ->type_name("RUN");
    app.add_option("--corrections", o->corrections,
                   "train on what people said in the review of this survey, and on DATA, if it is given")
        ->type_name("SURVEY");
    app.add_option("--labels", o->labels, "of the corrections: quality, species (crops) or boxes")
        ->type_name("NAME")
        ->capture_default_str()
        ->check(CLI::IsMember({"quality", "species", "boxes"}));
    app.add_option("--base", o->base, "folder of the survey's images, if they moved")->type_name("FOLDER");
    app.add_flag("--plan", o->run.plan_only, "print the images, memory, disk space and time of the training, and exit");
    app.add_flag("--fresh", o->run.fresh, "start over even if the run folder already holds a run");
    o->config.add_fields(app);
    app.add_flag("--eager", o->run.eager, "run operations one by one, for debuggers and profilers")->group("Machine");
    app.add_option("--steps-per-graph", o->run.steps_per_graph,
                   "steps that a GPU starts as one; 0: 8 where the first steps show that it is faster")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(0, 64))
        ->group("Machine");
    app.add_option("--join-gradients", o->run.join_gradients,
                   "add gradients that meet in the convolution that gives one of them; auto: where that is faster")
        ->type_name("on|off|auto")
        ->capture_default_str()
        ->check(CLI::IsMember({"on", "off", "auto"}))
        ->group("Machine");
    app.add_flag("--deterministic", o->run.deterministic,
                 "give bit-identical results in every run (cuda), and on fewer ranks")
        ->group("Machine");
    add_quiet_option(app, o->quiet);
    return [o, &app] { return run(*o, app); };
}

}  // namespace

Command train_command() {
    return {.name = "train",
            .summary = "Train a classifier on folders of classes, or a detector on images with boxes.",
            .examples = {"tundra train shots -o runs/quality",
                         "tundra train shots -o runs/small --image-size 64 --epochs 8 --batch 32",
                         "tundra train shots -o runs/paper --recipe celis2024",
                         "tundra train shots -o runs/tuned --init resnet50.safetensors --lr 0.01",
                         "tundra train labels.json --task detect -o runs/my-cameras",
                         "tundra train shots -o runs/quality --plan        memory, disk, time",
                         "Rerun an interrupted command to resume it."},
            .add = add,
            .short_help = {"--task", "--plan", "--fresh", "--config", "--recipe", "--model", "--init", "--freeze",
                           "--image-size", "--epochs", "--batch", "--optimizer", "--lr", "--schedule", "--seed",
                           "--device", "--threads", "--quiet"}};
}
