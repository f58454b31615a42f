#include "app/jobs/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "app/jobs/helpers.h"
#include "base/error.h"
#include "base/hash.h"

namespace {

constexpr size_t kChecksum = 17;  // 16 digits and a space
constexpr auto kSyncEvery = std::chrono::seconds(2);

// The JSON of a line, or an empty text if the line is torn or damaged.
std::string_view content(std::string_view line) {
    if (line.size() <= kChecksum || line[kChecksum - 1] != ' ') return {};
    const std::string_view json = line.substr(kChecksum);
    return hash_hex(json) == line.substr(0, kChecksum - 1) ? json : std::string_view{};
}

// "threshold: 0.005 -> 0.1", of two JSON objects.
std::string differences(std::string_view before, std::string_view now) {
    const nlohmann::json a = nlohmann::json::parse(before, nullptr, false),
                         b = nlohmann::json::parse(now, nullptr, false);
    if (!a.is_object() || !b.is_object()) return "unknown";
    nlohmann::json all = a;
    all.update(b);
    std::vector<std::string> parts;
    for (const auto& [key, value] : all.items())
        if (const auto old = a.value(key, nlohmann::json()), wanted = b.value(key, nlohmann::json()); old != wanted)
            parts.push_back(fmt::format("{}: {} -> {}", key, old.dump(), wanted.dump()));
    return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

std::string header_of_journal(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::string line;
    std::getline(in, line);
    return std::string(content(line));
}

Journal::Journal(const std::filesystem::path& path, const std::string& header,
                 const std::function<void(std::string_view, uint64_t)>& visit)
    : path_(path), file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    if (file_.number < 0) fail(Fault::environment, "{}: cannot be opened: {}", path.string(), system_error_text());
    note_ = lock_file(file_.number, path, "another run is writing to it");
    std::ifstream in(path, std::ios::binary);
    std::string line;
    for (bool first = true; std::getline(in, line) && !in.eof(); first = false) {  // a line without a line feed is torn
        const std::string_view json = content(line);
        if (json.empty()) break;
        if (first && json != header)
            fail(Fault::usage,
                 "{}: was left by a run with other settings ({}); use those again, or delete the file to start over",
                 path.string(), differences(json, header));
        if (!first) visit(json, end_);
        end_ += line.size() + 1;
    }
    if (in.bad()) fail(Fault::environment, "{}: cannot be read: {}", path.string(), system_error_text());
    if (::ftruncate(file_.number, off_t(end_)) != 0)
        fail(Fault::environment, "{}: cannot be written: {}", path.string(), system_error_text());
    if (end_ == 0) append(header);
}

Journal::Journal(const HandedWork& handed, const std::function<void(std::string_view, uint64_t)>& visit)
    : handed_(&handed) {
    for (size_t i = 0; i < handed.records.size(); ++i) visit(handed.records[i], i);
}

uint64_t Journal::append(std::string_view json) {
    if (handed_) {
        send_record(std::string(json));
        return handed_->records.size();  // nobody reads it here
    }
    const uint64_t offset = end_;
    write(fmt::format("{} {}\n", hash_hex(json), json));
    if (std::chrono::steady_clock::now() - synced_ >= kSyncEvery) sync();
    return offset;
}

void Journal::write(std::string_view line) {
    while (!line.empty()) {
        const ssize_t n = ::pwrite(file_.number, line.data(), line.size(), off_t(end_));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) fail(Fault::environment, "{}: cannot be written: {}", path_.string(), system_error_text());
        line.remove_prefix(size_t(n));
        end_ += uint64_t(n);
    }
}

void Journal::sync() {
    if (!sync_descriptor(file_.number))
        fail(Fault::environment, "{}: cannot be written: {}", path_.string(), system_error_text());
    synced_ = std::chrono::steady_clock::now();
}

std::string Journal::line(uint64_t offset) const {
    if (handed_) return handed_->records.at(offset);
    std::string text;
    char buffer[4096];
    for (;;) {
        const ssize_t n = ::pread(file_.number, buffer, sizeof buffer, off_t(offset + text.size()));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            fail(Fault::environment, "{}: cannot be read back: {}", path_.string(),
                 n ? system_error_text() : "it ends too early");
        const size_t end = std::string_view(buffer, size_t(n)).find('\n');
        text.append(buffer, std::min(end, size_t(n)));
        if (end != std::string_view::npos) break;
    }
    const std::string_view json = content(text);
    if (json.empty()) fail(Fault::damaged, "{}: the line at {} is damaged", path_.string(), offset);
    return std::string(json);
}

void Journal::remove() { ::unlink(path_.c_str()); }

RecordJournal::RecordJournal(const std::filesystem::path& path, const std::string& settings, size_t count,
                             const std::function<size_t(const Json&)>& number_of,
                             const std::function<void(const Json&)>& resumed, const HandedWork* handed)
    : offsets_(count, kNone),
      journal_(handed ? Journal(*handed, visitor(number_of, resumed))
                      : Journal(path, settings, visitor(number_of, resumed))) {}

std::function<void(std::string_view, uint64_t)> RecordJournal::visitor(
    const std::function<size_t(const Json&)>& number_of, const std::function<void(const Json&)>& resumed) {
    return [&, this](std::string_view line, uint64_t offset) {
        const Json record = Json::parse(line);
        const size_t number = number_of(record);
        if (number >= offsets_.size()) return;
        offsets_[number] = offset;
        resumed(record);
    };
}
