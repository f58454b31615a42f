#include "app/review/corrections.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <map>

#include "app/jobs/names.h"
#include "app/review/csv_rows.h"
#include "base/error.h"
#include "base/text.h"

namespace {

constexpr std::string_view kHeader = "file,box,field,old,new,reviewer,time,place\n",
                           kHeaderWithoutPlace = "file,box,field,old,new,reviewer,time\n";
constexpr size_t kColumns = 8;
constexpr double kSamePlace = 0.9;  // IoU, as MegaDetector's tool takes boxes for the same
constexpr size_t kMaxNotes = 20;    // images that are reported one by one

bool is_box(std::string_view text) {
    if (text.starts_with('+')) text.remove_prefix(1);
    return !text.empty() && text.size() < 7 && text.find_first_not_of("0123456789") == text.npos && text[0] != '0';
}

std::optional<BoxPlace> place_in(const std::string& text) {
    BoxPlace at{};
    int used = 0;
    if (std::sscanf(text.c_str(), "%lf %lf %lf %lf%n", &at[0], &at[1], &at[2], &at[3], &used) != 4 ||
        size_t(used) != text.size())
        return {};
    return at;
}

bool is_inside(const std::optional<BoxPlace>& at) {
    if (!at) return false;
    const auto& [x, y, w, h] = *at;
    return x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= 1.0002 && y + h <= 1.0002;
}

// Intersection over union; 1 for the same place, also of a box without area.
double overlap(const BoxPlace& a, const BoxPlace& b) {
    if (place_text(a) == place_text(b)) return 1;
    const auto shared = [&](size_t k) {
        return std::max(0.0, std::min(a[k] + a[k + 2], b[k] + b[k + 2]) - std::max(a[k], b[k]));
    };
    const double both = shared(0) * shared(1), all = a[2] * a[3] + b[2] * b[3] - both;
    return all > 0 ? both / all : 0;
}

// The number of the box that a row means, among those of now; 0 if there is none, or if two fit equally well.
size_t box_now(const Correction& row, const std::vector<BoxPlace>& boxes) {
    const size_t number = std::stoul(row.box);
    const std::optional<BoxPlace> place = place_in(row.place);
    if (!place) return number <= boxes.size() ? number : 0;
    size_t found = 0, equal = 0;
    double best = kSamePlace;
    for (size_t k = 0; k < boxes.size(); ++k) {
        const double here = overlap(*place, boxes[k]);
        if (here < best) continue;
        equal = here > best ? 1 : equal + 1;
        if (here > best || !found || k + 1 == number) found = k + 1;
        best = here;
    }
    return equal > 1 && found != number ? 0 : found;
}

// Why this cannot be a row of ours; "" if it can.
std::string fault_of(const std::vector<std::string>& row) {
    if (row.size() != kColumns && row.size() != kColumns - 1)
        return fmt::format("{} fields instead of {}", row.size(), kColumns);
    const std::string &box = row[1], &field = row[2], &time = row[6];
    static const std::vector<std::string> of_image{"seen", "final", "quality", "species"},
        of_box{"category", "species", "bbox"};
    if (row[0].empty()) return "no file";
    if (!box.empty() && !is_box(box)) return fmt::format("box '{}' is neither a number nor '+' and a number", box);
    if (const auto& known = box.empty() ? of_image : of_box; std::ranges::find(known, field) == known.end())
        return fmt::format("field '{}' of {} is none of {}", field, box.empty() ? "an image" : "a box",
                           fmt::join(known, ", "));
    if (time.size() != 20 || time[10] != 'T' || time.back() != 'Z')
        return fmt::format("'{}' is no time such as 2026-11-30T08:00:00Z", time);
    if (row.size() == kColumns && !row[7].empty() && !place_in(row[7]))
        return fmt::format("place '{}' must be x y w h, shares of the sides such as 0.1 0.25 0.3 0.5", row[7]);
    return fault_of_answer(box, field, row[4]);
}

// Of a last row without its line feed, which may end anywhere.
bool is_whole(const std::vector<std::string>& row, bool has_places) {
    if (row.size() != kColumns - !has_places || !fault_of(row).empty()) return false;
    return !has_places || row[7].empty() || row[7].size() == place_text({}).size();
}

bool is_detectors(const std::string& box) { return !box.empty() && box[0] != '+'; }

std::string text_of(const Correction& r) {
    return csv_row({r.file, r.box, r.field, r.old, r.value, r.reviewer, r.time, r.place});
}

constexpr char kGone = '?';  // begins the number of a box that is no longer found

}  // namespace

std::string place_text(const BoxPlace& at) {
    return fmt::format("{:.4f} {:.4f} {:.4f} {:.4f}", at[0], at[1], at[2], at[3]);
}

std::string accepted_answer(std::span<const Correction> said) {
    std::string accepted;
    for (const Correction& c : said) {
        if (!c.box.empty()) return "";
        if (c.field == "seen") accepted = c.old;
    }
    return accepted.starts_with("failed") ? "" : accepted;
}

std::string fault_of_answer(const std::string& box, const std::string& field, const std::string& value) {
    static const std::vector<std::string> finals{"animal", "empty", "bad", "human"};
    if (value.empty()) return "";
    if (field == "seen" && value != "yes") return fmt::format("seen is '{}', it must be yes", value);
    if (field == "final" && std::ranges::find(finals, value) == finals.end())
        return fmt::format("final '{}' must be one of {}", value, fmt::join(finals, ", "));
    if (field == "bbox" && !is_inside(place_in(value)))
        return fmt::format("bbox '{}' must be x y w h, shares of the sides such as 0.1 0.25 0.3 0.5", value);
    if (field == "species" && box.empty() && named_counts(value).empty())
        return fmt::format("species '{}' must be like fox:2|hare:1", value);
    if (field == "species" && !box.empty() && value.find_first_of("|:") != value.npos)
        return fmt::format("species '{}' of a box must be one name without | and :", value);
    return "";
}

std::vector<std::pair<std::string, size_t>> named_counts(std::string_view text) {
    std::vector<std::pair<std::string, size_t>> counts;
    for (size_t at = 0; at <= text.size();) {
        const size_t end = std::min(text.find('|', at), text.size());
        const std::string one(text.substr(at, end - at));
        const size_t colon = one.rfind(':');
        const std::string name = one.substr(0, colon), count = colon == one.npos ? "1" : one.substr(colon + 1);
        if (name.empty() || count.empty() || count.size() > 6 || count.find_first_not_of("0123456789") != count.npos)
            return {};
        counts.emplace_back(name, std::stoul(count));
        if (counts.back().second == 0) return {};
        at = end + 1;
    }
    return counts;
}

std::string time_now() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[32];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

CorrectionLog::CorrectionLog(const std::filesystem::path& file, Use use) : path_(file) {
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) return;
    const FileBytes bytes = read_file(file);
    std::string_view text = bytes.text();
    std::string converted;
    const auto is_ours = [](std::string_view t) {
        return t.starts_with(kHeader) || t.starts_with(kHeaderWithoutPlace);
    };
    if (!is_ours(text) && !kHeader.starts_with(text) &&
        !kHeaderWithoutPlace.starts_with(text)) {  // such as after a kill while the first row was written
        converted = with_commas(text, file.string());
        if (!is_ours(converted))
            fail(Fault::damaged, "{}: does not begin with the line {}; it is no file of corrections", file.string(),
                 kHeader.substr(0, kHeader.size() - 1));
        text = converted;
    }
    has_places_ = !text.starts_with(kHeaderWithoutPlace);
    std::vector<std::string> row;
    size_t position = 0;
    size_t number = 1;
    const auto take_row = [&] {
        row.resize(kColumns);
        rows_.push_back({row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], number});
        take(rows_.back());
    };
    for (; next_row(text, position, row); ++number) {
        if (number == 1) continue;
        if (const std::string fault = fault_of(row); !fault.empty())
            fail(Fault::damaged, "{}: row {}: {}; correct or delete this row", file.string(), number, fault);
        take_row();
    }
    size_ = position;
    if (position < text.size()) {
        const std::string rest(text.substr(position));
        size_t start = 0;
        if (next_row(rest + "\n", start, row) && start == rest.size() + 1 && is_whole(row, has_places_)) {
            take_row();
            size_ = text.size();
            needs_newline_ = true;
        } else {
            notes.push_back(fmt::format("{}: the last row is half written, as a kill leaves it, and does not count: {}",
                                        file.string(), printable(shortened(rest, 80))));
        }
    }
    if (converted.empty() || use == Use::reading) return;
    notes.push_back(fmt::format("{}: was saved by another program; it is written again with commas", file.string()));
    write_file_durably(file, [&](FileWriter& out) { out.write(text.substr(0, size_)); });
}

void CorrectionLog::take(Correction row) {
    const std::string file = json_name(row.file);
    std::vector<Correction>& rows = said_[file];
    std::erase_if(rows, [&](const Correction& other) { return other.box == row.box && other.field == row.field; });
    if (!row.value.empty()) rows.push_back(std::move(row));
    if (rows.empty()) said_.erase(file);
}

bool CorrectionLog::lacks_places() const {
    return !has_places_ ||
           std::ranges::any_of(rows_, [](const Correction& row) { return is_detectors(row.box) && row.place.empty(); });
}

void CorrectionLog::match(const std::function<std::optional<std::vector<BoxPlace>>(const std::string&)>& boxes_now) {
    std::map<std::string, std::vector<size_t>> files;  // numbers of their rows
    for (size_t i = 0; i < rows_.size(); ++i) files[json_name(rows_[i].file)].push_back(i);
    said_.clear();
    for (const auto& [file, numbers] : files) {
        const std::optional<std::vector<BoxPlace>> boxes = boxes_now(file);
        for (const size_t i : numbers) {
            Correction row = rows_[i];
            if (boxes && is_detectors(row.box)) {
                const size_t box = box_now(row, *boxes);
                if (box && row.place.empty()) {
                    row.place = rows_[i].place = place_text((*boxes)[box - 1]);
                    filled_ = true;
                }
                row.box = box ? std::to_string(box) : kGone + row.place + row.box;
            }
            take(std::move(row));
        }
        const auto held = said_.find(file);
        if (!boxes || held == said_.end()) continue;
        size_t gone = 0;
        for (const Correction& row : held->second)
            if (row.box.starts_with(kGone)) gone = std::max(gone, row.row);
        if (gone) {
            const auto first = std::ranges::find(rows_, gone, &Correction::row);
            for (const size_t i : numbers)  // the rest of the same answer
                if (rows_[i].row > gone && rows_[i].time == first->time && rows_[i].reviewer == first->reviewer)
                    gone = rows_[i].row;
            std::erase_if(held->second, [&](const Correction& row) { return row.row <= gone; });
            if (held->second.empty()) {
                lost_.push_back(file);
                if (lost_.size() <= kMaxNotes)
                    notes.push_back(fmt::format(
                        "{}: row {}: the detector no longer finds box {} of {}, so what {} said of this image does "
                        "not count; look at it again",
                        path_.string(), first->row, first->box, file, first->reviewer));
            }
        }
        std::erase_if(held->second,
                      [](const Correction& row) { return row.field == "seen" && row.old.starts_with("failed"); });
        if (held->second.empty()) said_.erase(held);
    }
    if (lost_.size() > kMaxNotes)
        notes.push_back(fmt::format("{}: and {} more such images", path_.string(), lost_.size() - kMaxNotes));
}

const std::vector<Correction>* CorrectionLog::of(const std::string& file) const {
    const auto found = said_.find(json_name(file));
    return found == said_.end() ? nullptr : &found->second;
}

void CorrectionLog::lock() {
    descriptor_ = std::make_unique<Descriptor>(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (descriptor_->number < 0)
        fail(Fault::environment, "{}: cannot be written: {}", path_.string(), system_error_text());
    if (const std::string note = lock_file(descriptor_->number, path_, "another tundra review writes to it");
        !note.empty() && std::ranges::find(notes, note) == notes.end())
        notes.push_back(note);
}

void CorrectionLog::open_for_writing() {
    lock();
    if (!has_places_ || filled_) {
        std::string text(kHeader);
        for (const Correction& row : rows_) text += text_of(row);
        write_file_durably(path_, [&](FileWriter& out) { out.write(text); });
        has_places_ = true, filled_ = needs_newline_ = false, size_ = text.size();
        lock();  // the new file
    }
    if (::ftruncate(descriptor_->number, off_t(size_)) != 0)
        fail(Fault::environment, "{}: cannot be written: {}", path_.string(), system_error_text());
}

void CorrectionLog::append(std::span<const Correction> rows) {
    struct stat opened {
    }, named{};
    if (::fstat(descriptor_->number, &opened) != 0 || ::stat(path_.c_str(), &named) != 0 ||
        opened.st_ino != named.st_ino || uint64_t(opened.st_size) != size_)
        fail(Fault::usage, "{}: another program changed or moved it; end this review and start it again",
             path_.string());
    std::string text(size_ ? "" : kHeader);
    if (needs_newline_) text += "\n";
    for (const Correction& row : rows) text += text_of(row);
    const auto give_up = [&] {
        const std::string why = system_error_text();
        (void)!::ftruncate(descriptor_->number, off_t(size_));  // half a row must not stay before the next one
        fail(Fault::environment, "{}: cannot be written: {}; this answer is not saved", path_.string(), why);
    };
    for (uint64_t done = 0; done < text.size();) {
        const ssize_t n = ::pwrite(descriptor_->number, text.data() + done, text.size() - done, off_t(size_ + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) give_up();
        done += uint64_t(n);
    }
    if (!sync_descriptor(descriptor_->number)) give_up();
    size_ += text.size();
    needs_newline_ = false;
    for (const Correction& row : rows) {
        rows_.push_back(row);
        rows_.back().row = rows_.size() + 1;
        take(rows_.back());
    }
}
