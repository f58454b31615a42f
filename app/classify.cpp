// `tundra classify`: the class of each of many images, by a trained classifier.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/command.h"
#include "app/detect/shard.h"
#include "app/jobs/helpers.h"
#include "app/jobs/image_list.h"
#include "app/jobs/journal.h"
#include "app/jobs/long_run.h"
#include "app/jobs/model.h"
#include "app/jobs/names.h"
#include "app/merge_classified.h"
#include "app/terminal.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "data/loader.h"
#include "predict/in_turn.h"

namespace {

using nlohmann::ordered_json;

struct Options {
    std::vector<std::string> images, thresholds;
    std::string model, out, shard;
    size_t max_failures = SIZE_MAX;
    InputOptions input;
    MachineOptions machine;
};

// --threshold by class; 0 for a class that has none.
std::vector<float> class_thresholds(const std::vector<std::string>& texts, const std::vector<std::string>& classes) {
    std::vector<float> thresholds(classes.size(), 0);
    for (const std::string& text : texts) {
        const size_t equals = text.rfind('=');
        const std::string name = text.substr(0, equals);
        const auto found = std::ranges::find(classes, name);
        float value = -1;
        if (equals != std::string::npos) try {
                size_t used = 0;
                value = std::stof(text.substr(equals + 1), &used);
                if (used + equals + 1 != text.size()) value = -1;
            } catch (const std::exception&) {
            }
        if (!(value > 0 && value <= 1))
            fail(Fault::usage, "--threshold {}: must be CLASS=X with X above 0 and at most 1", text);
        if (found == classes.end())
            fail(Fault::usage, "--threshold {}: the model has no class '{}'; it knows {}", text, name,
                 fmt::join(classes, ", "));
        thresholds[size_t(found - classes.begin())] = value;
    }
    if (std::ranges::find(thresholds, 0.0f) == thresholds.end())
        fail(Fault::usage,
             "--threshold: at least one class must have no threshold, so that it can be predicted where no other class "
             "reaches its threshold");
    return thresholds;
}

// The most probable class among those that reach their threshold.
size_t predicted_class(std::span<const float> probabilities, std::span<const float> thresholds) {
    size_t best = SIZE_MAX;
    for (size_t c = 0; c < probabilities.size(); ++c)
        if (probabilities[c] >= thresholds[c] && (best == SIZE_MAX || probabilities[c] > probabilities[best])) best = c;
    return best;
}

struct Prediction {
    std::string reason = {}, detail = {};   // set if the image had a problem
    std::vector<float> probabilities = {};  // empty if it could not be read
};

// The predictions of whole batches in a journal beside the result. Which class they mean is decided only when the table
// is written, so thresholds are not part of the settings. A record holds the number of its batch, because several GPUs
// finish theirs in any order; records of earlier versions have none and come in the order of the images.
class PredictionLog {
public:
    // handed->records: the numbers that the batches of a helper have in the whole run.
    PredictionLog(const std::string& path, const std::string& settings, size_t batches, const HandedWork* handed)
        : handed_(handed),
          journal_(
              path, settings, batches, [this](const RecordJournal::Json& record) { return number_of(record); },
              [this](const RecordJournal::Json& record) { visit(record); }, handed_ ? &kNothing : nullptr) {}

    size_t images() const { return images_; }  // that have a prediction
    bool has(size_t batch) const { return journal_.has(batch); }
    bool has_read_one() const { return has_read_one_; }  // an image, before it was resumed

    void add(size_t number, const std::vector<Prediction>& batch) {
        ordered_json images = ordered_json::array();
        for (const Prediction& p : batch) images.push_back({p.reason, p.detail, p.probabilities});
        images_ += batch.size();
        journal_.add(number,
                     {{"batch", handed_ ? std::stoull(handed_->records.at(number)) : number}, {"images", images}});
    }
    void take(const RecordJournal::Json& record, const std::string& line) {  // of a helper, as it sent it
        journal_.add_line(number_of(record), line);
        visit(record);
    }

    std::vector<Prediction> batch(size_t i) const {
        const RecordJournal::Json record = journal_.at(i);
        std::vector<Prediction> batch;
        for (const ordered_json& p : images_of(record))
            batch.push_back({p[0].get<std::string>(), p[1].get<std::string>(), p[2].get<std::vector<float>>()});
        return batch;
    }

    void remove() { journal_.remove(); }
    const std::string& note() const { return journal_.note(); }

private:
    static const ordered_json& images_of(const ordered_json& record) {
        return record.is_array() ? record : record.at("images");
    }
    size_t number_of(const ordered_json& record) {
        return record.is_array() ? without_number_++ : record.at("batch").get<size_t>();
    }
    void visit(const ordered_json& record) {
        images_ += images_of(record).size();
        for (const ordered_json& p : images_of(record)) has_read_one_ = has_read_one_ || !p[2].empty();
    }

    static inline const HandedWork kNothing{};
    const HandedWork* handed_;
    size_t without_number_ = 0, images_ = 0;
    bool has_read_one_ = false;
    RecordJournal journal_;
};

class Table {
public:
    // `about`: the settings of a shard, or null.
    Table(FileWriter& out, const std::vector<std::string>& classes, bool as_csv, const ordered_json& about)
        : out_(out), classes_(classes), as_csv_(as_csv) {
        if (!about.is_null()) out_.write(shard_line(about, as_csv));
        if (!as_csv_) return;
        std::string head = "path,predicted,confidence";
        for (const std::string& name : classes_) head += "," + csv_field("p_" + name);
        out_.write(head + ",reason,detail\n");
    }

    void write(const std::string& path, const Prediction& a, size_t predicted) {
        out_.write(as_csv_ ? csv_line(path, a, predicted) : json_line(path, a, predicted));
    }

private:
    std::string csv_line(const std::string& path, const Prediction& a, size_t predicted) const {
        std::string line = csv_field(path);
        if (a.probabilities.empty())
            line += "," + std::string(1 + classes_.size(), ',');
        else
            line += fmt::format(",{},{:.6f}", csv_field(classes_[predicted]), a.probabilities[predicted]);
        for (const float p : a.probabilities) line += fmt::format(",{:.6f}", p);
        return line + fmt::format(",{},{}\n", a.reason, csv_field(a.detail));
    }
    std::string json_line(const std::string& path, const Prediction& a, size_t predicted) const {
        ordered_json line = {{"path", path}};
        if (!a.probabilities.empty()) {
            line["predicted"] = classes_[predicted];
            line["confidence"] = a.probabilities[predicted];
            for (size_t c = 0; c < classes_.size(); ++c) line["probabilities"][classes_[c]] = a.probabilities[c];
        }
        if (!a.reason.empty()) line["reason"] = a.reason, line["detail"] = a.detail;
        return one_line(line) + "\n";
    }

    FileWriter& out_;
    const std::vector<std::string>& classes_;
    bool as_csv_;
};

struct Counts {
    size_t images = 0, failures = 0;
    std::vector<size_t> of_class;
};

// Everything that the predictions depend on.
ordered_json settings(const ReadyModel& model, const Dataset& data) {
    const Fit& fit = model.file.input.fit;
    const ClassifierConfig& config = model.classifier->config();
    ordered_json json{
        {"model", model.fingerprint},
        {"classes", model.file.classes},
        {"input", fmt::format("{} {} {} {}", fit.size, int(fit.mode), int(fit.filter), model.file.input.normalize)},
        {"device", model.device->kind()},
        {"batch", config.batch},
        {"pictures", data.samples.size()},
        {"list", list_hash(data.samples.size(), [&](size_t i) { return data.samples[i].name; })}};
    if (fit.shorter) json["resize"] = fit.shorter;
    if (config.precision != model.device->default_precision()) json["precision"] = precision_name(config.precision);
    if (const std::string level = model.device->instructions(config.precision); !level.empty())
        json["instructions"] = level;
    return json;
}

// Returns the batches of this process.
std::vector<size_t> hand_over(const std::vector<size_t>& batches, const Dataset& data, size_t batch_size,
                              Helpers& helpers) {
    const size_t parts = helpers.parts(batches.size());
    std::vector<size_t> own;
    for (size_t part = 0; part < parts; ++part) {
        HandedWork work;
        for (size_t j = part; j < batches.size(); j += parts) {
            if (part == 0) own.push_back(batches[j]);
            if (part == 0) continue;
            work.records.push_back(std::to_string(batches[j]));
            for (size_t i = batches[j] * batch_size; i < std::min((batches[j] + 1) * batch_size, data.samples.size());
                 ++i)
                work.images.push_back(data.samples[i].name);
        }
        if (part) helpers.start(work);
    }
    return own;
}

// Makes the predictions that are still missing; false if a signal stopped it.
bool classify(ReadyModel& model, const Dataset& data, PredictionLog& log, LongRun& run, Helpers& helpers) {
    const size_t batch_size = model.classifier->config().batch, classes = model.file.classes.size(),
                 total = data.samples.size();
    std::vector<size_t> batches;
    for (size_t b = 0; b * batch_size < total; ++b)
        if (!log.has(b)) batches.push_back(b);
    if (batches.empty()) return true;
    if (log.images()) {
        run.note(fmt::format("resumed after {} of {} images", log.images(), total));
        run.count(log.images(), total);
        if (log.has_read_one()) data.drive->require_any();
    }
    batches = hand_over(batches, data, batch_size, helpers);
    std::vector<uint32_t> numbers;
    for (const size_t b : batches)
        for (size_t i = b * batch_size; i < std::min((b + 1) * batch_size, total); ++i) numbers.push_back(uint32_t(i));
    const auto take = [&](const std::string& line) {
        const auto record = ordered_json::parse(line);
        size_t sample = record.at("batch").get<size_t>() * batch_size;
        for (const ordered_json& image : record.at("images")) {  // the helper may have begun when the drive was away
            const std::string file = data.path(data.samples[sample++]);
            if (image[0] == "missing" || image[0] == "unreadable") data.drive->require_drive(file);
        }
        log.take(record, line);
    };
    Loader loader(data, std::move(numbers),
                  {.batch = batch_size,
                   .fit = model.file.input.fit,
                   .epochs = 1,
                   .threads = model.threads,
                   .accept_damaged = true,
                   .memory = &model.device->host_memory()});
    Classifier& classifier = model.ready();
    bool stopped = false;
    auto next = batches.begin();
    const auto start = [&](const Batch& batch) { return classifier.start(batch.images); };
    for_each_batch(loader, *model.device, start, [&](const Batch& batch, const Classifier::Started& started) {
        const std::vector<float> probabilities = classifier.finish(started).probabilities;
        std::vector<Prediction> found;
        for (size_t row = 0; row < batch.samples.size() && batch.samples[row] >= 0; ++row) {
            const auto sample = uint32_t(batch.samples[row]);
            Prediction& prediction = found.emplace_back();
            if (const std::optional<FailedImage> problem = loader.bad_file(sample))
                prediction.reason = problem->code, prediction.detail = problem->text;
            if (batch.labels[row] < 0) continue;
            const auto p = std::span(probabilities).subspan(row * classes, classes);
            if (!std::ranges::all_of(p, [](float x) { return std::isfinite(x); }))
                fail(Fault::not_finite, "{}: the network's output is not finite", data.samples[sample].name);
            prediction.probabilities.assign(p.begin(), p.end());
        }
        log.add(*next++, found);
        helpers.take(take, false);
        stopped = !run.count(log.images(), total) && log.images() < total;
        return !stopped;
    });
    while (!stopped && helpers.take(take, true)) stopped = !run.count(log.images(), total) && log.images() < total;
    if (stopped) helpers.stop(take), run.count(log.images(), total);
    return !stopped;
}

Counts write_table(Table& table, const PredictionLog& log, const Dataset& data, std::span<const float> thresholds) {
    Counts counts{.of_class = std::vector<size_t>(data.classes.size())};
    for (size_t i = 0; counts.images < data.samples.size(); ++i)
        for (const Prediction& prediction : log.batch(i)) {
            const size_t predicted = predicted_class(prediction.probabilities, thresholds);
            table.write(data.samples[counts.images++].name, prediction, predicted);
            ++(prediction.probabilities.empty() ? counts.failures : counts.of_class[predicted]);
        }
    return counts;
}

// Keeps the images of the shard. Returns what the first line of its table says.
ordered_json take_shard(const Options& o, const ReadyModel& model, Dataset& data) {
    if (o.shard.empty()) return nullptr;
    const Shard shard = parse_shard(o.shard);
    ordered_json about = settings(model, data);
    about["list"] =
        list_hash(data.samples.size(), [&](size_t i) { return one_line(ordered_json(data.samples[i].name)); });
    about["thresholds"] = o.thresholds;
    about["shard"] = fmt::format("{}/{}", shard.number, shard.of);
    std::vector<Sample> own;
    for (size_t i = shard.number - 1; i < data.samples.size(); i += shard.of) own.push_back(std::move(data.samples[i]));
    data.samples = std::move(own);
    return about;
}

int run_classify(Options& o) {
    const HandedWork* const handed = handed_work();
    take_own_shard(o.shard, o.out);
    const std::string extension = lower(std::filesystem::path(o.out).extension().string());
    const bool as_csv = extension == ".csv";
    if (!as_csv && extension != ".jsonl") fail(Fault::usage, "--out {}: must end in .csv or .jsonl", o.out);
    check_output("--out", o.out, named_files(o.images));
    ImagePaths images = handed ? ImagePaths{handed->images, {}} : find_images(o.images, o.out + ".journal");
    Dataset data;
    for (std::string& path : images.paths) data.samples.push_back({.name = std::move(path)});
    ReadyModel model = open_model(
        o.model, o.machine, handed ? SIZE_MAX : data.samples.size(), o.input,  // a helper: the batch of the whole run
        {.name = precision_of_journal(o.out + ".journal"), .alone = o.shard.empty() ? "" : "shards must agree"});
    data.classes = model.file.classes;
    const ordered_json about = handed ? ordered_json() : take_shard(o, model, data);
    data.watch_drive();
    const std::vector<float> thresholds = class_thresholds(o.thresholds, data.classes);
    LongRun run(o.machine.quiet);
    for (const std::vector<std::string>* notes : {&images.notes, &model.file.notes})
        for (const std::string& text : *notes) run.note(text);
    if (!model.precision.why.empty()) run.note("precision: " + to_text(model.precision));
    const size_t batch = model.classifier->config().batch;
    ordered_json fixed = settings(model, data);
    if (!about.is_null()) fixed["shard"] = about["shard"], fixed["all"] = about["list"];
    PredictionLog log(o.out + ".journal", one_line(fixed), (data.samples.size() + batch - 1) / batch, handed);
    if (!log.note().empty()) run.note(log.note());
    Helpers helpers(handed ? std::vector<int>() : o.machine.gpus);
    if (const auto code = run.run([&] { return classify(model, data, log, run, helpers); })) return *code;
    if (handed) return 0;
    Counts counts;
    write_file_durably(o.out, [&](FileWriter& out) {
        Table table(out, data.classes, as_csv, about);
        counts = write_table(table, log, data, thresholds);
    });
    log.remove();
    if (!o.machine.quiet) {
        for (size_t c = 0; c < counts.of_class.size(); ++c)
            if (counts.of_class[c])
                print_line(run.progress, fmt::format("{:>9} {}", count_text(counts.of_class[c]), data.classes[c]));
        print_line(run.progress, fmt::format("{} images, {} failed: {}", count_text(counts.images),
                                             count_text(counts.failures), o.out));
    }
    if (counts.failures && counts.failures == counts.images)
        fail(Fault::inputs, "classify: none of the {} images could be read; {} has the reasons", counts.failures,
             o.out);
    if (counts.failures > o.max_failures)
        fail(Fault::inputs, "classify: {} of {} images failed, --max-failures is {}; {} has the reasons",
             counts.failures, counts.images, o.max_failures, o.out);
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    app.add_option("IMAGES", o->images, "folders, images, quoted patterns, or lists (@LIST, LIST.txt, .json, .csv)")
        ->required();
    app.add_option("--model", o->model, "a run folder or a weight file")->required()->type_name("MODEL");
    app.add_option("-o,--out", o->out,
                   "result file, FILE.csv or FILE.jsonl, one line per image; rerun an interrupted command to resume it")
        ->required()
        ->type_name("FILE");
    app.add_option("--threshold", o->thresholds,
                   "predict CLASS only at this probability or above, otherwise the next most probable class; may be "
                   "repeated for other classes")
        ->type_name("CLASS=X")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_option(
           "--shard", o->shard,
           "process only part I of N of the images; `tundra merge` joins the results. auto, auto/N: the part of this "
           "task of a Slurm array or rank of MPI, whose number takes the place of {shard} in --out")
        ->type_name("I/N");
    app.add_option("--max-failures", o->max_failures, "exit with code 3 if more images than this fail [no limit]")
        ->type_name("N");
    add_input_options(app, o->input);
    add_machine_options(app, o->machine, "16");
    return [o] { return run_on_gpus(o->machine, [&] { return run_classify(*o); }); };
}

}  // namespace

Command classify_command() {
    return {.name = "classify",
            .summary = "Predict the class of each image.",
            .examples = {"tundra classify new/ --model runs/quality -o new.csv",
                         "tundra classify 'dir/*.jpg' --model model.safetensors -o dir.jsonl",
                         "tundra classify @list.txt --model runs/q -o out.csv --threshold bad=0.95",
                         "tundra classify new/ --model keras.h5 -o new.csv --normalize unit --classes fox,hare"},
            .add = add,
            .short_help = {"--threshold", "--max-failures", "--image-size", "--fit", "--normalize", "--classes",
                           "--device", "--batch", "--threads", "--quiet"}};
}
