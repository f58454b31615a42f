#include "app/export/events.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <span>

#include "app/export/deployments.h"
#include "base/hash.h"

using namespace observation;

namespace {

bool is_visit(const Row& row) { return row[type] == "animal" || row[type] == "human" || row[type] == "vehicle"; }

std::string key(const std::string& of, const Row& row) { return of + "\n" + row[type] + "\n" + row[scientific_name]; }

}  // namespace

void Events::add(const AnsweredImage& image, const std::string& zone, const std::vector<Row>& rows) {
    for (const Row& row : rows) {
        if (!is_visit(row)) continue;
        std::vector<Sighting>& all = sightings_[key(row[deployment], row)];
        if (all.empty() || all.back().media != row[media])
            all.push_back({.time = image.time,
                           .zone = zone,
                           .media = row[media],
                           .burst = image.sequence,
                           .method = row[method],
                           .by = row[classified_by],
                           .at = row[classified_at],
                           .count = 0,
                           .probability = 0});
        Sighting& one = all.back();
        one.count += size_t(std::max(0, std::atoi(row[observation::count].c_str())));
        if (const double p = std::atof(row[probability].c_str()); p > one.probability)
            one.probability = p, one.by = row[classified_by];
    }
}

std::vector<Row> Events::rows() {
    std::vector<Row> rows;
    for (auto& [kind, all] : sightings_) {
        const size_t middle = kind.find('\n'), end = kind.find('\n', middle + 1);
        std::ranges::stable_sort(all, {}, &Sighting::time);
        for (size_t first = 0, last = 1; first < all.size(); first = last++) {
            while (last < all.size() && (all[last].time - all[last - 1].time <= gap_ ||
                                         (!all[last].burst.empty() && all[last].burst == all[last - 1].burst)))
                ++last;
            const auto event = std::span(all).subspan(first, last - first);
            Row row(kObservationColumns);
            row[id] = row[observation::event] = hash_hex(kind + "\n" + event.front().media);
            row[deployment] = kind.substr(0, middle);
            row[type] = kind.substr(middle + 1, end - middle - 1);
            row[scientific_name] = kind.substr(end + 1);
            row[level] = "event";
            row[start] = camtrap_time(event.front().time, event.front().zone);
            row[observation::end] = camtrap_time(event.back().time, event.back().zone);
            size_t most = 0;
            const Sighting* machine = nullptr;  // the surest
            for (const Sighting& s : event) {
                most = std::max(most, s.count);
                if (s.method == "machine" && (!machine || s.probability > machine->probability)) machine = &s;
                row[classified_at] = std::max(row[classified_at], s.at);
                events_[key(s.media, row)] = row[id];
            }
            if (most) row[observation::count] = std::to_string(most);
            row[method] = machine ? "machine" : "human";
            row[classified_by] = machine ? machine->by : event.back().by;
            if (machine) row[classified_at].clear();
            if (machine && machine->probability > 0) row[probability] = fmt::format("{:.4f}", machine->probability);
            rows.push_back(std::move(row));
        }
    }
    return rows;
}

std::string Events::of(const Row& row) const {
    if (!is_visit(row)) return "";
    const auto found = events_.find(key(row[media], row));
    return found == events_.end() ? "" : found->second;
}
