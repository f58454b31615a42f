// Number formats and tables.
#include "app/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace {

constexpr std::string_view kDash = "\u2013", kThinSpace = "\u202F";

}  // namespace

std::string percent_text(double share) {
    if (!std::isfinite(share)) return std::string(kDash);
    double shown = std::round(share * 1000) / 10;
    if (share < 1 && shown >= 100) shown = 99.9;
    if (share > 0 && shown <= 0) shown = 0.1;
    return fmt::format("{:.1f}{}%", shown, kThinSpace);
}

std::string fixed_text(double value, int digits) {
    return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : std::string(kDash);
}

std::string images_text(uint64_t count) { return count_text(count) + (count == 1 ? " image" : " images"); }

std::string time_text(std::string_view utc) {
    if (utc.size() != 20 || utc[10] != 'T' || utc.back() != 'Z') return std::string(utc);
    return fmt::format("{} {} UTC", utc.substr(0, 10), utc.substr(11, 5));
}

std::string html_table(const std::string& caption, const std::vector<Column>& columns, const Rows& rows) {
    std::string out = "<table>";
    if (!caption.empty()) out += fmt::format("<caption>{}</caption>", caption);
    const auto style = [&](size_t i) { return columns[i].number ? " class=\"number\"" : ""; };
    out += "\n<thead><tr>";
    for (size_t i = 0; i < columns.size(); ++i)
        out += fmt::format("<th scope=\"col\"{}>{}</th>", style(i), columns[i].head);
    out += "</tr></thead>\n<tbody>\n";
    for (const std::vector<std::string>& row : rows) {
        out += "<tr>";
        for (size_t i = 0; i < row.size(); ++i)
            out += i ? fmt::format("<td{}>{}</td>", style(i), row[i])
                     : fmt::format("<th scope=\"row\"{}>{}</th>", style(i), row[i]);
        out += "</tr>\n";
    }
    return out + "</tbody></table>\n";
}
