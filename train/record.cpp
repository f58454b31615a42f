// Writing and continuing the files of a run.
#include "train/record.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>

#include "base/cpu_level.h"
#include "base/error.h"
#include "base/file.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kNotMeasured = "not measured";

std::string utc_now() {
    time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    tm parts;
    gmtime_r(&now, &parts);
    char text[32];
    return {text, strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

std::string text_of(const fs::path& path) {
    std::error_code error;
    if (!fs::exists(path, error)) return "";
    FileBytes bytes = read_file(path);
    return {reinterpret_cast<const char*>(bytes.memory.get()), bytes.size};
}

json describe(const Machine& machine) {
    return {{"processor", machine.processor.model},
            {"cores", machine.processor.cores},
            {"isa", machine.processor.isa},
            {"level", cpu_level_name()},
            {"threads", machine.threads},
            {"memory_bytes", machine.memory_bytes},
            {"system", machine.system},
            {"kernel", machine.kernel}};
}

json describe(const Build& build) {
    return {{"version", build.version}, {"commit", build.commit}, {"compiler", build.compiler}, {"flags", build.flags}};
}

json describe(const std::vector<Library>& libraries) {
    json list = json::array();
    for (const Library& l : libraries)
        list.push_back({{"name", l.name}, {"compiled", l.compiled}, {"loaded", l.loaded}});
    return list;
}

bool is_up_to(std::string_view line, uint64_t step, uint64_t reported) {
    json parsed = json::parse(line, nullptr, false);
    if (!parsed.is_object()) return false;
    auto found = parsed.find("step");
    return found == parsed.end() || !found->is_number() || *found <= (parsed.contains("epoch_done") ? reported : step);
}

std::string header_of(const std::vector<std::string>& columns) {
    return fmt::format("step,{}", fmt::join(columns, ","));
}

}  // namespace

RunRecord::RunRecord(fs::path path, const json& session) : path_(std::move(path)) {
    std::string old = text_of(path_);
    record_ = json::parse(old, nullptr, false);
    bool continues = record_.is_object() && record_.value("sessions", json()).is_array();
    if (!continues) record_ = {{"format", 1}, {"sessions", json::array()}};
    if (!continues && !old.empty()) record_["note"] = "an earlier record could not be read";
    json fresh = {{"started", utc_now()},
                  {"machine", describe(this_machine())},
                  {"build", describe(this_build())},
                  {"libraries", describe(linked_libraries())},
                  {"events", json::array()}};
    for (const auto& [key, value] : session.items()) {
        if (key == "libraries")
            fresh[key].insert(fresh[key].end(), value.begin(), value.end());
        else
            fresh[key] = value;
    }
    record_["sessions"].push_back(std::move(fresh));
}

void RunRecord::count(uint64_t images, double seconds) {
    images_ += images;
    step_seconds_ += seconds;
    energy_.joules();  // before its counter wraps
}

void RunRecord::event(const std::string& kind, json details) {
    details["event"] = kind;
    details["time"] = utc_now();
    json& now = session();
    now["ended"] = details["time"];
    now["events"].push_back(std::move(details));
    now["wall_seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    now["pictures"] = images_;
    now["images_per_second"] = step_seconds_ > 0 ? json(double(images_) / step_seconds_) : json();
    now["peak_memory_bytes"] = peak_memory_bytes();
    std::optional<double> joules = energy_.joules();
    now["energy_joules"] = joules ? json(*joules) : json(kNotMeasured);

    double seconds = 0, energy = 0;
    uint64_t images = 0;
    bool all_measured = true;
    for (const json& each : record_["sessions"]) {
        seconds += each.value("wall_seconds", 0.0);
        images += each.value("pictures", uint64_t(0));
        const json& one = each.value("energy_joules", json());
        all_measured = all_measured && one.is_number();
        if (one.is_number()) energy += one.get<double>();
    }
    record_["wall_seconds"] = seconds;
    record_["pictures"] = images;
    record_["energy_joules"] = all_measured ? json(energy) : json(kNotMeasured);
    if (path_.empty()) return;
    std::string text = record_.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
    write_file_durably(path_, [&](FileWriter& writer) { writer.write(text); });
}

LineFile::LineFile(const fs::path& path, const std::function<bool(std::string_view)>& keep) : path_(path) {
    if (path.empty()) return;
    std::string old = text_of(path), kept;
    for (size_t begin = 0, end; (end = old.find('\n', begin)) != old.npos; begin = end + 1) {
        std::string_view line(old.data() + begin, end - begin);
        if (keep(line)) kept.append(line).push_back('\n');
    }
    if (kept != old) write_file_durably(path, [&](FileWriter& writer) { writer.write(kept); });
    empty_ = kept.empty();
    descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail(Fault::environment, "{}: cannot open: {}", path.string(), strerror(errno));
}

LineFile::~LineFile() {
    if (descriptor_ >= 0) close(descriptor_);
}

void LineFile::append(std::string line) {
    if (descriptor_ < 0) return;
    line.push_back('\n');
    FileCalls calls;
    FileWriter(descriptor_, path_, calls).write(line);
    empty_ = false;
}

RunLog::RunLog(const fs::path& path, uint64_t from_step, uint64_t reported_step)
    : file_(path, [=](std::string_view line) { return is_up_to(line, from_step, reported_step); }) {}

MetricsTable::MetricsTable(const fs::path& path, std::vector<std::string> columns, uint64_t from_step)
    : columns_(std::move(columns)), file_(path, [&, first = true](std::string_view line) mutable {
          if (std::exchange(first, false)) {
              if (line != header_of(columns_))
                  fail(Fault::usage, "{}: has other columns than this program writes; move it away", path.string());
              return true;
          }
          uint64_t step = 0;
          auto [stopped, error] = std::from_chars(line.data(), line.data() + line.size(), step);
          return error == std::errc() && stopped != line.data() + line.size() && *stopped == ',' && step <= from_step;
      }) {
    if (file_.empty()) file_.append(header_of(columns_));
}

void MetricsTable::append(uint64_t step, const std::vector<std::optional<double>>& values) {
    require(values.size() == columns_.size(), "metrics: {} values for {} columns", values.size(), columns_.size());
    std::string line = std::to_string(step);
    for (const std::optional<double>& value : values) line += value ? fmt::format(",{}", *value) : ",";
    file_.append(std::move(line));
}
