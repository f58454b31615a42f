#include "app/review/survey_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/report/html.h"
#include "app/report/style.h"
#include "base/json.h"
#include "base/text.h"

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownDisagreements = 200;

double share(size_t part, size_t all) { return all ? double(part) / double(all) : std::nan(""); }

std::string number(double value) { return std::isnan(value) ? "-" : fmt::format("{:.3f}", value); }

size_t answers(const AnswerCounts& c) { return c.right + c.only_person; }

void add_rows(std::string& text, const std::map<std::string, AnswerCounts>& counts) {
    for (const auto& [name, c] : counts)
        text += fmt::format("  {:<20} {:>7}  {:>9}  {:>6}  {:>6}\n", printable(shortened(name, 20)), answers(c),
                            number(c.precision()), number(c.recall()), number(c.f1()));
}

Json json_of(const AnswerCounts& c) {
    const auto value = [](double v) { return std::isnan(v) ? Json(nullptr) : Json(v); };
    return {{"images", answers(c)},
            {"right", c.right},
            {"only_model", c.only_model},
            {"only_person", c.only_person},
            {"precision", value(c.precision())},
            {"recall", value(c.recall())},
            {"f1", value(c.f1())}};
}

std::string counts_table(const std::string& head, const std::map<std::string, AnswerCounts>& counts) {
    Rows rows;
    for (const auto& [name, c] : counts)
        rows.push_back({html_escaped(name), count_text(answers(c)), percent_text(c.precision()),
                        percent_text(c.recall()), fixed_text(c.f1(), 3)});
    return html_table("", {{head}, {"Images", true}, {"Precision", true}, {"Recall", true}, {"F1", true}}, rows);
}

std::string interval_text(const Estimate& e) {
    return std::isnan(e.accuracy) ? "not known yet"
                                  : fmt::format("{} (95{}% interval {} to {})", percent_text(e.accuracy), "\u202F",
                                                percent_text(e.low), percent_text(e.high));
}

// What made the survey, in words; survey.json has all of it.
Rows provenance_rows(const Json& record) {
    constexpr std::pair<const char*, const char*> kWords[] = {
        {"/base", "Folder of the images"},
        {"/written", "Tables written"},
        {"/tundra", "By the program"},
        {"/models/detector", "Detector"},
        {"/settings/model", "Detector: fingerprint of its weights, or of the file"},
        {"/categories", "Detector: what its boxes can be"},
        {"/settings/tta", "Detector: also mirrored and smaller"},
        {"/settings/tile", "Detector: also in tiles of this many pixels"},
        {"/settings/precision", "Detector: computed in"},
        {"/table/box_threshold", "Boxes count from the confidence"},
        {"/models/quality", "Quality model"},
        {"/settings/quality", "Quality model: fingerprint of its weights"},
        {"/quality", "Quality model: classes"},
        {"/table/bad_threshold", "An image is bad from the probability"},
        {"/models/species", "Species model"},
        {"/settings/classify", "Species model: fingerprint of its weights, or of the file"},
        {"/species", "Species model: classes"},
        {"/table/not_animals", "Classes that are no animals"},
        {"/table/burst_seconds", "Images at most this many seconds apart are a burst"},
        {"/table/event_seconds", "Visits at most this many seconds apart are one event"},
        {"/table/sample", "Share of each site and final class for a person"},
        {"/table/seed", "Random seed of that sample"},
    };
    Rows rows;
    for (const auto& [key, words] : kWords) {
        const Json::json_pointer at(key);
        if (!record.is_object() || !record.contains(at)) continue;
        const Json& value = record[at];
        std::string text = value.is_string() ? value.get<std::string>() : one_line(value);
        if (value.is_boolean()) text = value.get<bool>() ? "yes" : "no";
        if (value.is_array()) {
            text.clear();
            for (const Json& one : value)
                text += (text.empty() ? "" : ", ") + (one.is_string() ? one.get<std::string>() : one_line(one));
        }
        if (text.empty())
            text = at.back() == "detector" ? "the small one for synthetic scenes that comes with tundra" : "none";
        rows.push_back({words, html_escaped(shortened(text, 300))});
    }
    return rows;
}

std::string thresholds_table(const SurveyMeasures& m) {
    Rows rows;
    std::string none;
    for (const auto& [name, t] : m.thresholds)
        if (std::isnan(t.score))
            none += (none.empty() ? "" : ", ") + html_escaped(shortened(name, 60));
        else
            rows.push_back({html_escaped(name), fixed_text(t.score, 3), percent_text(t.precision),
                            count_text(t.reviewed), count_text(t.spared)});
    return (rows.empty() ? ""
                         : html_table("",
                                      {{"Species"},
                                       {"Score from", true},
                                       {"Right there", true},
                                       {"Reviewed", true},
                                       {"Images spared", true}},
                                      rows)) +
           (none.empty() ? "" : "<p class=\"quiet\">None yet for " + none + ".</p>");
}

}  // namespace

std::string measures_text(const SurveyMeasures& m) {
    std::string text = fmt::format(
        "{} images, {} to look at ({:.1f} %), {} reviewed ({:.1f} %)\n"
        "final class: {} of {} reviewed images right, accuracy {}\n"
        "species: {} of {} animal images right, accuracy {}\n",
        count_text(m.images), count_text(m.to_review), 100 * share(m.to_review, m.images), count_text(m.reviewed),
        100 * share(m.reviewed, m.images), m.right, m.measured, number(share(m.right, m.measured)), m.right_species,
        m.with_species, number(share(m.right_species, m.with_species)));
    const Estimate& e = m.everything;
    text += std::isnan(e.accuracy) ? "all images: no stratum (site x final class) has a reviewed image\n"
                                   : fmt::format(
                                         "all images, estimated: accuracy {:.4f}, 95 % interval {:.4f} to {:.4f}; {} "
                                         "of {} images lie in strata "
                                         "with a reviewed one\n",
                                         e.accuracy, e.low, e.high, count_text(e.covered), count_text(m.images));
    if (m.unseen_of_those_to_review)
        text += fmt::format(
            "the review is not finished ({} images to look at are unseen): until then the estimate is too low where "
            "the images in doubt came first\n",
            count_text(m.unseen_of_those_to_review));
    const char* head = "images  precision  recall      F1\n";
    text += fmt::format("\n{:<22} {}", "Final class", head);
    add_rows(text, m.finals);
    if (!m.species.empty()) text += fmt::format("\n{:<22} {}", "Species", head);
    add_rows(text, m.species);
    text += fmt::format("\n{:<22} {}", "Site", "reviewed   right\n");
    for (const auto& [name, c] : m.sites)
        text += fmt::format("  {:<20} {:>8}  {:>6}\n", printable(shortened(name, 20)), c.right + c.only_model,
                            number(c.precision()));
    if (!m.thresholds.empty())
        text += "\nProposed threshold: from this score on at least 95 % of 20 or more reviewed images were right\n";
    std::string none;
    for (const auto& [name, t] : m.thresholds)
        if (std::isnan(t.score))
            none += (none.empty() ? "" : ", ") + printable(shortened(name, 40));
        else
            text += fmt::format("  {:<20} {:.3f}  ({} images need no look)\n", printable(shortened(name, 20)), t.score,
                                count_text(t.spared));
    if (!none.empty()) text += fmt::format("  none yet for {}\n", none);
    text += fmt::format("\n{} images on which people and models disagree\n", count_text(m.disagreements.size()));
    return text;
}

Json measures_json(const SurveyFolder& survey, const SurveyMeasures& m) {
    const auto value = [](double v) { return std::isnan(v) ? Json(nullptr) : Json(v); };
    Json out{{"images", m.images},
             {"to_review", m.to_review},
             {"reviewed", m.reviewed},
             {"measured", m.measured},
             {"right", m.right},
             {"accuracy", value(share(m.right, m.measured))},
             {"species_right", m.right_species},
             {"species_images", m.with_species},
             {"estimate",
              {{"accuracy", value(m.everything.accuracy)},
               {"low", value(m.everything.low)},
               {"high", value(m.everything.high)},
               {"images", m.everything.covered}}}};
    for (const auto& [key, counts] : {std::pair{"final", &m.finals}, std::pair{"species", &m.species}}) {
        out[key] = Json::object();
        for (const auto& [name, c] : *counts) out[key][name] = json_of(c);
    }
    out["sites"] = Json::object();
    for (const auto& [site, finals] : m.site_finals) {
        const AnswerCounts& c = m.sites.at(site);
        Json classes = Json::object();
        for (const auto& [name, counts] : finals) classes[name] = json_of(counts);
        out["sites"][site] = {
            {"reviewed", c.right + c.only_model}, {"accuracy", value(c.precision())}, {"final", classes}};
    }
    out["thresholds"] = Json::object();
    for (const auto& [name, t] : m.thresholds)
        out["thresholds"][name] = {{"score", value(t.score)},
                                   {"precision", value(t.precision)},
                                   {"reviewed", t.reviewed},
                                   {"images", t.spared}};
    out["disagreements"] = Json::array();
    for (const Disagreement& d : m.disagreements)
        out["disagreements"].push_back({{"file", survey.file(d.image)}, {"model", d.model}, {"person", d.person}});
    return out;
}

std::filesystem::path write_survey_report(const SurveyFolder& survey, const SurveyMeasures& m) {
    const std::string name =
        html_escaped(shortened(std::filesystem::weakly_canonical(survey.folder).filename().string(), 80));
    std::map<std::string, size_t> sites;
    for (const SurveyImage& image : survey.images) ++sites[survey.sites[image.site]];
    const auto table = [&](const std::string& head, const std::map<std::string, size_t>& counts) {
        std::vector<std::pair<std::string, size_t>> sorted(counts.begin(), counts.end());
        std::ranges::stable_sort(sorted, [](const auto& a, const auto& b) { return a.second > b.second; });
        Rows rows;
        for (const auto& [each, n] : sorted)
            rows.push_back(
                {html_escaped(each.empty() ? "(none)" : each), count_text(n), percent_text(share(n, m.images))});
        return html_table("", {{head}, {"Images", true}, {"Share", true}}, rows);
    };
    const auto figure = [](const std::string& what, const std::string& value, const std::string& small) {
        return fmt::format("<li><span>{}</span><b>{}</b><small>{}</small></li>\n", what, value, small);
    };
    std::string body = fmt::format(
        "<header><p class=\"eyebrow\">Survey</p><h1>{}</h1>\n<ul class=\"figures\">{}{}{}{}</ul></header>\n<main>\n",
        name,
        figure("Images", count_text(m.images),
               sites.size() == 1 ? "1 site" : fmt::format("{} sites", count_text(sites.size()))),
        figure("For a person", percent_text(share(m.to_review, m.images)), images_text(m.to_review)),
        figure("Seen", percent_text(share(m.to_review - m.unseen_of_those_to_review, m.to_review)),
               images_text(m.reviewed)),
        figure("Final class right", percent_text(m.everything.accuracy),
               std::isnan(m.everything.accuracy)
                   ? "known after the first looks"
                   : fmt::format("{} to {}", percent_text(m.everything.low), percent_text(m.everything.high))));
    body += "<section><h2>What was found</h2><div class=\"grid\"><div>" + table("Final class", m.found_finals) +
            "<p></p>" + table("Site", sites) + "</div><div>" + table("Species", m.found_species) +
            "</div></div></section>\n";
    if (!m.measured) {
        body +=
            "<section><h2>How right the models were</h2><p class=\"quiet\">Nobody has looked at an image yet: "
            "<code>tundra review</code> opens a page for it.</p></section>\n";
    } else {
        body += fmt::format(
            "<section><h2>How right the models were</h2><p>Of {} that people looked at, the final class was right in "
            "{}{}. Estimated for "
            "all {}: {}.{}</p><p class=\"quiet\">The estimate weighs the looked-at images of each site and final class "
            "by the number of "
            "images there (stratified sampling, Cochran 1977, chapter 5; 95{}% interval after Wilson 1927). {} of the "
            "images have a looked-at one of their site and class.</p>\n<div "
            "class=\"grid\"><div>{}</div><div>{}</div></div></section>\n",
            images_text(m.measured), percent_text(share(m.right, m.measured)),
            m.with_species ? ", the species with their counts in " +
                                 percent_text(share(m.right_species, m.with_species)) + " of those with animals"
                           : "",
            images_text(m.images), interval_text(m.everything),
            m.unseen_of_those_to_review
                ? " The review is not finished; where the images in doubt came first, this is too low."
                : "",
            "\u202F", percent_text(share(m.everything.covered, m.images)), counts_table("Final class", m.finals),
            counts_table("Species", m.species));
        Rows rows;
        for (const auto& [site, c] : m.sites)
            rows.push_back({html_escaped(site.empty() ? "(none)" : site), count_text(c.right + c.only_model),
                            percent_text(c.precision())});
        body += "<section><h2>Per site</h2>" + html_table("", {{"Site"}, {"Looked at", true}, {"Right", true}}, rows) +
                "</section>\n";
        body +=
            "<section><h2>Scores from which nobody needs to look</h2><p>From this score on, at least 95\u202F% of 20 "
            "or more looked-at "
            "images with one species were right.</p>" +
            thresholds_table(m) + "</section>\n";
        Rows wrong;
        for (size_t i = 0; i < std::min(m.disagreements.size(), kShownDisagreements); ++i)
            wrong.push_back({"<span class=\"path\">" + html_escaped(survey.file(m.disagreements[i].image)) + "</span>",
                             html_escaped(m.disagreements[i].model), html_escaped(m.disagreements[i].person)});
        body += fmt::format(
            "<section><h2>Disagreements</h2><p>{}.</p><details{}><summary>List</summary>{}</details>{}</section>\n",
            images_text(m.disagreements.size()), wrong.size() <= 12 ? " open=\"open\"" : "",
            html_table("", {{"File"}, {"Models"}, {"Person"}}, wrong),
            m.disagreements.size() > wrong.size()
                ? "<p class=\"quiet\"><code>tundra eval FOLDER --out FILE</code> lists all.</p>"
                : "");
    }
    const auto record = parse_foreign<Json>(read_file(survey.folder / "survey.json").text());
    body += "<section><h2>Provenance</h2>" + html_table("", {{"What"}, {"Value"}}, provenance_rows(record)) +
            "<p class=\"quiet\">survey.json in the folder of the survey has every setting.</p></section>\n</main>\n";
    const std::filesystem::path path = survey.folder / "survey.html";
    write_file_durably(path, [&](FileWriter& out) {
        out.write(fmt::format(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" "
            "content=\"width=device-width, initial-scale=1\"/>\n<meta http-equiv=\"Content-Security-Policy\" "
            "content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n<title>{}: Tundra survey</title>\n"
            "<style>{}</style>\n</head>\n<body>\n{}<footer>Made from the files of the survey's folder; nothing in this "
            "page needs a network.</footer>\n</body>\n</html>\n",
            name, kReportStyle, body));
    });
    return path;
}
