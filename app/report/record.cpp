// Headline, curves, provenance and configuration of a run.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "app/report/html.h"
#include "app/report/sections.h"
#include "app/report/svg.h"

namespace {

using nlohmann::json;

constexpr size_t kCurvePoints = 400, kClassesNamed = 12;

std::string model_text(const std::string& model) {
    const bool keras = model.ends_with("-keras");
    if (model.starts_with("yolov5")) return "YOLOv5" + html_escaped(model.substr(6));
    if (model.starts_with("resnet"))
        return fmt::format("ResNet-{}{}", html_escaped(model.substr(6, model.size() - 6 - (keras ? 6 : 0))),
                           keras ? " (Keras form)" : "");
    return model.empty() ? "A model" : html_escaped(shortened(model, 80));
}

std::string class_list(const std::vector<std::string>& classes) {
    std::string out;
    for (size_t i = 0; i < std::min(classes.size(), kClassesNamed); ++i)
        out += (i ? ", " : "") + html_escaped(shortened(classes[i], 40));
    return classes.size() > kClassesNamed ? out + ", \u2026" : out;
}

std::string state_text(const RunFiles& run) {
    const double step = run.last_step(), total = run.steps_per_epoch() * double(run.config.epochs);
    const std::string at =
        !std::isfinite(step) ? "before its first step"
        : total < 1e15 && run.has_config
            ? fmt::format("at step {} of {}", count_text(uint64_t(step)), count_text(uint64_t(std::llround(total))))
            : fmt::format("at step {}", count_text(uint64_t(step)));
    const std::string event = run.last_event();
    if (run.finished()) return fmt::format("<p class=\"state done\">Finished {}</p>\n", at);
    if (event == "stop")
        return fmt::format("<p class=\"state\">Stopped {}. Rerun the same command to resume it.</p>\n", at);
    if (event == "not finite")
        return fmt::format("<p class=\"state failed\">Stopped {}: loss or gradients were no longer finite.</p>\n", at);
    return fmt::format("<p class=\"state\">Under way {} when this page was made, or ended without notice.</p>\n", at);
}

std::string headline_card(const std::string& value, const std::string& what, const std::string& more) {
    return fmt::format("<li><b>{}</b><span>{}</span><small>{}</small></li>\n", value, what, more);
}

std::string part_card(const EvaluatedPart& part) {
    const Counts& all = part.metrics.all;
    const auto [low, high] = accuracy_range(all.correct, all.images);
    return headline_card(percent_text(all.accuracy()), fmt::format("of {} right", part_images(part)),
                         fmt::format("95\u202F% range {:.1f}\u2013{:.1f}\u202F%", 100 * low, 100 * high));
}

std::string box_cards(const EvaluatedBoxes& part) {
    const json& m = part.metrics;
    const double threshold = number_of(m, "proposed_threshold");
    std::string out =
        headline_card(percent_text(number_of(m, "map50")), "mAP50 on " + part_images(part.name, part.images.size()),
                      fmt::format("{} as the mean over IoU 0.5 to 0.95", percent_text(number_of(m, "map"))));
    if (const json& rows = member(m, "thresholds"); rows.is_array())
        for (const json& row : rows)
            if (number_of(row, "threshold") == threshold)
                out += headline_card(fmt::format("{} / {}", percent_text(number_of(row, "recall")),
                                                 percent_text(number_of(row, "precision"))),
                                     "recall / precision of boxes",
                                     fmt::format("for confidence {:.2f} or more, the best F1", threshold));
    return out;
}

std::string headline_cards(const RunFiles& run) {
    std::string out = "<ul class=\"figures\">\n";
    if (const EvaluatedBoxes* part = run.main_boxes()) out += box_cards(*part);
    for (const EvaluatedPart& part : run.parts) out += part_card(part);
    if (const EvaluatedPart* part = run.main_part())
        if (const auto work = proposed_work(*part, 0.99))
            out +=
                headline_card(percent_text(work->share()), "to look at by a person",
                              fmt::format("below confidence {:.2f}, for 99\u202F% right of the rest", work->threshold));
    const double seconds = number_of(run.record, "wall_seconds");
    if (const double speed = number_of(run.last_session(), "images_per_second");
        std::isfinite(seconds) && std::isfinite(speed))
        out += headline_card(duration_text(seconds), "of training",
                             fmt::format("{} images/s in the last session", fixed_text(speed, 1)));
    return out.ends_with("</li>\n") ? out + "</ul>\n" : "";
}

std::string headline(const RunFiles& run) {
    if (const EvaluatedPart* part = run.main_part())
        return fmt::format("{} of {} right", percent_text(part->metrics.all.accuracy()), part_images(*part));
    if (const EvaluatedBoxes* part = run.main_boxes())
        return fmt::format("mAP50 {} on {}", percent_text(number_of(part->metrics, "map50")),
                           part_images(part->name, part->images.size()));
    for (auto epoch = run.epochs.rbegin(); run.is_detector() && epoch != run.epochs.rend(); ++epoch)
        if (std::isfinite(epoch->map50))
            return fmt::format("mAP50 {} on the validation images after epoch {}", percent_text(epoch->map50),
                               fixed_text(epoch->epoch, 0));
    for (auto epoch = run.epochs.rbegin(); epoch != run.epochs.rend(); ++epoch)
        if (std::isfinite(epoch->validation_accuracy))
            return fmt::format("{} of the validation images right after epoch {}",
                               percent_text(epoch->validation_accuracy), fixed_text(epoch->epoch, 0));
    return run.is_detector() ? "No mAP yet" : "No accuracy yet";
}

// The minimum and maximum of each of some hundred stretches, which look the same as all the points.
std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points) {
    const size_t stretch = (points.size() + kCurvePoints - 1) / kCurvePoints;
    if (stretch <= 2) return points;
    std::vector<std::pair<double, double>> out;
    for (size_t begin = 0; begin < points.size(); begin += stretch) {
        const auto end = points.begin() + ptrdiff_t(std::min(points.size(), begin + stretch));
        auto [low, high] = std::minmax_element(points.begin() + ptrdiff_t(begin), end,
                                               [](auto& a, auto& b) { return a.second < b.second; });
        if (high < low) std::swap(low, high);
        out.push_back(*low);
        if (high != low) out.push_back(*high);
    }
    return out;
}

double highest(const std::vector<std::pair<double, double>>& points) {
    double max = kUnknown;
    for (const auto& point : points) max = std::fmax(max, point.second);
    return max;
}

std::string step_label(const RunFiles& run) {
    return std::isfinite(run.steps_per_epoch())
               ? fmt::format("step ({} per epoch)", count_text(uint64_t(std::llround(run.steps_per_epoch()))))
               : "step";
}

std::string loss_chart(const RunFiles& run) {
    std::vector<std::pair<double, double>> steps, validation;
    size_t lost = 0;
    for (const StepLine& line : run.steps) {
        if (std::isfinite(line.loss))
            steps.push_back({line.step, line.loss});
        else
            ++lost;
    }
    for (const EpochLine& line : run.epochs)
        if (std::isfinite(line.validation_loss)) validation.push_back({line.step, line.validation_loss});
    const auto smooth = smoothed(steps);
    // A validation loss that jumps early in a run must not flatten the curve: the frame ends at twice the training's.
    const double y_max = std::fmax(highest(smooth), std::fmin(highest(validation), 2 * highest(smooth)));
    LineChart chart{
        .title = "Loss",
        .description = "",
        .x_label = step_label(run),
        .series = {{.name = "", .css = "s0 faint", .points = thinned(steps)},
                   {.name = "training, smoothed", .css = "s0", .points = smooth},
                   {.name = "validation", .css = "s1", .points = validation, .dots = validation.size() <= 60}},
        .x_low = 0,
        .y_low = 0,
        .y_high = y_max > 0 ? y_max * 1.05 : kUnknown};
    if (!steps.empty())
        chart.description = fmt::format("Training loss goes from {} to {}.", fixed_text(smooth.front().second, 3),
                                        fixed_text(smooth.back().second, 3));
    if (!validation.empty()) {
        const auto best = std::min_element(validation.begin(), validation.end(),
                                           [](auto& a, auto& b) { return a.second < b.second; });
        chart.description +=
            fmt::format(" Validation loss is lowest with {} at step {:.0f} and ends at {}.",
                        fixed_text(best->second, 3), best->first, fixed_text(validation.back().second, 3));
    }
    std::string out = line_chart(chart);
    if (lost) out += fmt::format("<p class=\"quiet\">{} of the steps had no finite loss.</p>\n", count_text(lost));
    return out;
}

std::string accuracy_chart(const RunFiles& run) {
    Series training{.name = "training", .css = "s0", .points = {}},
        validation{.name = "validation", .css = "s1", .points = {}};
    for (const EpochLine& line : run.epochs) {
        training.points.push_back({line.epoch, line.train_accuracy});
        validation.points.push_back({line.epoch, line.validation_accuracy});
    }
    training.dots = validation.dots = run.epochs.size() <= 60;
    double min = 1;
    for (const Series* s : {&training, &validation})
        for (const auto& [x, y] : s->points)
            if (y < min) min = y;
    std::string description = "No epoch has ended.";
    if (!run.epochs.empty())
        description = fmt::format("After epoch {}: training {}, validation {}.", fixed_text(run.epochs.back().epoch, 0),
                                  percent_text(run.epochs.back().train_accuracy),
                                  percent_text(run.epochs.back().validation_accuracy));
    return line_chart({.title = "Accuracy per epoch",
                       .description = description,
                       .x_label = "epoch",
                       .series = {training, validation},
                       .y_low = std::floor(std::max(0.0, min) * 10 - 1e-9) / 10,
                       .y_high = 1,
                       .percent = true});
}

std::string value_chart(const RunFiles& run, const char* title, double StepLine::*value, const char* css) {
    std::vector<std::pair<double, double>> points;
    for (const StepLine& line : run.steps)
        if (std::isfinite(line.*value)) points.push_back({line.step, line.*value});
    const auto drawn = thinned(points);
    std::string description;
    double low = kUnknown, high = highest(drawn);
    for (const auto& point : drawn) low = std::fmin(low, point.second);
    if (!drawn.empty())
        description = fmt::format("From {:g} to {:g}, between {:g} and {:g}.", drawn.front().second,
                                  drawn.back().second, low, high);
    const bool rate = value == &StepLine::rate;
    return line_chart({.title = title,
                       .description = description,
                       .x_label = step_label(run),
                       .series = {{.name = "", .css = css, .points = drawn}},
                       .x_low = 0,
                       .y_low = rate || !(low > 0.5) ? 0
                                : low < high         ? low - 0.1 * (high - low)
                                                     : low - 0.05,
                       .y_high = rate || drawn.empty() ? kUnknown
                                 : low < high          ? high + 0.1 * (high - low)
                                                       : high + 0.05,
                       .height = 140});
}

std::string device_text(const json& session) {
    const std::string device = text_of(session, "device");
    return device.empty() ? "not recorded" : html_escaped(shortened(device, 200));
}

std::string waited_text(const RunFiles& run) {
    const json& session = run.last_session();
    const double waited = number_of(run.record, "waited_for_pictures_seconds");
    const double stepping = number_of(session, "pictures") / number_of(session, "images_per_second");
    if (!std::isfinite(waited) || !(stepping > 0)) return "not recorded";
    return fmt::format("{} of the steps' time ({})", percent_text(waited / stepping), duration_text(waited));
}

std::string energy_text(const json& record) {
    const double joules = number_of(record, "energy_joules");
    return std::isfinite(joules) ? fmt::format("{} Wh, measured at the processor", fixed_text(joules / 3600, 1))
                                 : "not measured";
}

std::string sessions_table(const json& sessions) {
    Rows rows;
    for (const json& session : sessions) {
        const json& events = member(session, "events");
        rows.push_back({html_escaped(time_text(text_of(session, "started"))),
                        events.is_array() && !events.empty() ? html_escaped(text_of(events.back(), "event")) : "",
                        duration_text(number_of(session, "wall_seconds")),
                        fixed_text(number_of(session, "images_per_second"), 1)});
        if (rows.size() == 100) break;
    }
    return "<h3>Sessions</h3>\n" +
           html_table("", {{"Started"}, {"Last event"}, {"Time", true}, {"Images/s", true}}, rows);
}

}  // namespace

std::vector<std::pair<double, double>> smoothed(const std::vector<std::pair<double, double>>& points) {
    std::vector<double> sums{0};
    for (const auto& [x, y] : points) sums.push_back(sums.back() + y);
    const size_t half = points.size() / 80, stride = std::max<size_t>(1, points.size() / kCurvePoints);
    std::vector<std::pair<double, double>> out;
    for (size_t i = 0; i < points.size(); i += stride) {
        const size_t reach = std::min({half, i, points.size() - 1 - i});
        out.push_back({points[i].first, (sums[i + reach + 1] - sums[i - reach]) / double(2 * reach + 1)});
    }
    return out;
}

std::string headline_section(const RunFiles& run) {
    const json& data = member(run.record, "data");
    const std::string path = !run.config.data.empty() ? run.config.data : text_of(data, "path");
    std::vector<std::string> classes = run.classes.empty() ? run.config.classes : run.classes;
    std::string what =
        fmt::format("{} {} {}", model_text(run.has_config ? run.config.model : text_of(run.record, "model")),
                    run.is_detector() ? "finds" : "tells apart",
                    classes.empty() ? std::string("classes that are not recorded")
                                    : fmt::format("{} classes: {}", count_text(classes.size()), class_list(classes)));
    if (run.has_config)
        what +=
            fmt::format(", at {0}{1} pixels", run.config.image_size,
                        run.is_detector() ? std::string() : fmt::format("\u202F\u00D7\u202F{}", run.config.image_size));
    const double images = number_of(data, "pictures");
    if (images >= 0 && images < 1e15)
        what += fmt::format(". {} in <span class=\"path\">{}</span>", images_text(uint64_t(images)),
                            html_escaped(shortened(path, 200)));
    return fmt::format(
        "<header><p class=\"eyebrow\">Tundra, report of the run <span class=\"path\">{}</span></p>\n<h1>{}</h1>\n<p "
        "class=\"lead\">{}.</p>\n{}{}</header>\n",
        html_escaped(shortened(
            std::filesystem::absolute(run.folder / "").lexically_normal().parent_path().filename().string(), 80)),
        headline(run), what, state_text(run), headline_cards(run));
}

std::string curves_section(const RunFiles& run) {
    if (run.steps.empty() && run.epochs.empty())
        return "<section><h2>Training curves</h2><p class=\"quiet\">The log has no steps yet.</p></section>\n";
    return fmt::format(
        "<section><h2>Training curves</h2>\n<div "
        "class=\"grid\"><div>{}</div><div>{}</div><div>{}</div><div>{}</div></div></section>\n",
        run.is_detector() ? box_losses_chart(run, step_label(run)) : loss_chart(run),
        run.is_detector() ? map_chart(run) : accuracy_chart(run),
        value_chart(run, "Learning rate", &StepLine::rate, "s0"),
        value_chart(run, "Momentum", &StepLine::momentum, "s0"));
}

std::string provenance_section(const RunFiles& run) {
    const json &record = run.record, &session = run.last_session(), &machine = member(session, "machine"),
               &build = member(session, "build"), &data = member(record, "data"),
               &sessions = member(record, "sessions");
    if (!sessions.is_array() || sessions.empty())
        return "<section><h2>Provenance</h2><p class=\"quiet\">run.json does not record it.</p></section>\n";
    double peak = kUnknown;
    for (const json& each : sessions) peak = std::fmax(peak, number_of(each, "peak_memory_bytes"));
    const auto said = [](const json& object, const char* key) {
        return html_escaped(shortened(text_of(object, key), 400));
    };
    const auto count = [](const json& object, const char* key) {
        const double value = number_of(object, key);
        return value >= 0 && value < 1e15 ? count_text(uint64_t(value)) : std::string("?");
    };
    std::string isa, libraries;
    if (const json& list = member(machine, "isa"); list.is_array())
        for (const json& each : list)
            if (each.is_string()) isa += (isa.empty() ? "" : " ") + html_escaped(each.get<std::string>());
    if (const json& list = member(session, "libraries"); list.is_array())
        for (const json& each : list) {
            const std::string loaded = said(each, "loaded"), compiled = said(each, "compiled");
            libraries += fmt::format("{}{} {}", libraries.empty() ? "" : ", ", said(each, "name"),
                                     loaded.empty() ? compiled : loaded);
        }
    const json& events = member(session, "events");
    const std::string ended = events.is_array() && !events.empty() ? text_of(events.back(), "time") : "";
    const Rows rows = {
        {"Device", device_text(session)},
        {"Processor", fmt::format("{}, {} cores, {} threads usable; {}", said(machine, "processor"),
                                  count(machine, "cores"), count(machine, "threads"), isa)},
        {"Memory", bytes_text(number_of(machine, "memory_bytes"))},
        {"System", fmt::format("{}, kernel {}", said(machine, "system"), said(machine, "kernel"))},
        {"Precision, threads", fmt::format("{}, {} threads", said(session, "precision"), count(session, "threads"))},
        {"Time", fmt::format("{} to {}", html_escaped(time_text(text_of(sessions.front(), "started"))),
                             html_escaped(time_text(ended)))},
        {"Wall time", fmt::format("{} in {} session{}", duration_text(number_of(record, "wall_seconds")),
                                  sessions.size(), sessions.size() == 1 ? "" : "s")},
        {"Speed", fmt::format("{} images/s in training steps", fixed_text(number_of(session, "images_per_second"), 1))},
        {"Waited for images", waited_text(run)},
        {"Energy", energy_text(record)},
        {"Peak memory", bytes_text(peak)},
        {"Images", fmt::format("{}, {}, fingerprint <code>{}</code>", count(data, "pictures"),
                               bytes_text(number_of(data, "bytes")), said(data, "fingerprint"))},
        {"Seed", count(record, "seed")},
        {"Tundra", fmt::format("{}, commit <code>{}</code>", said(build, "version"), said(build, "commit"))},
        {"Compiler", fmt::format("{} <span class=\"path\">{}</span>", said(build, "compiler"), said(build, "flags"))},
        {"Libraries", libraries},
    };
    std::string out = "<section><h2>Provenance</h2>\n<div class=\"facts\">" +
                      html_table("", {{"Item"}, {"Value"}}, rows) + "</div>\n";
    if (sessions.size() > 1) out += sessions_table(sessions);
    return out + "</section>\n";
}

std::string config_section(const RunFiles& run) {
    constexpr size_t kMaxShown = 64 << 10;
    if (run.config_text.empty()) return "";
    return fmt::format(
        "<section><details><summary>The full configuration; <code>tundra train --config</code> makes the same "
        "run</summary>\n<pre>{}</pre></details></section>\n",
        html_escaped(std::string_view(run.config_text).substr(0, kMaxShown)));
}
