// The report of a run made by hand: hostile names, files that are missing, damaged or not there yet.
#include "app/report/report.h"

#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <cstring>
#include <regex>

#include "app/report/html.h"
#include "app/report/sections.h"
#include "app/report/svg.h"
#include "app/report/thumbnail.h"
#include "base/error.h"
#include "tests/images.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Empty if `page` is well-formed: tags balanced, attributes quoted, no bare < or &; otherwise what is wrong.
std::string fault_in(const std::string& page) {
    static const std::regex tag(R"(^<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z][a-zA-Z0-9:-]*="")*)\s*(/?)>)");
    static const std::regex entity(R"(^&(amp|lt|gt|quot|#39);)");
    std::vector<std::string> open;
    size_t at = std::string("<!DOCTYPE html>").size();
    if (page.substr(0, at) != "<!DOCTYPE html>") return "no doctype";
    while (at < page.size()) {
        const std::string around = page.substr(at, 60);
        if (page[at] == '&' && !std::regex_search(page.substr(at, 8), entity)) return "bare & at " + around;
        if (page[at] == '>') return "bare > at " + around;
        if (page[at] != '<') {
            ++at;
            continue;
        }
        const size_t end = page.find('>', at);
        if (end == page.npos) return "tag without end at " + around;
        std::string whole = page.substr(at, end - at + 1);
        if (whole.find('<', 1) != whole.npos) return "< within a tag at " + around;
        if (const size_t url = whole.find("data:image"); url != whole.npos) {
            for (size_t i = url; i < whole.size() && whole[i] != '"'; ++i)
                if (!std::isalnum(uint8_t(whole[i])) && !std::strchr("+/=:;,", whole[i])) return "bad data url";
            if (whole.substr(0, 10) != "<img src=\"" || whole.substr(whole.size() - 2) != "/>")
                return "bad img at " + around;
            at = end + 1;
            continue;
        }
        // Values go: std::regex recurses per character, and they are long.
        for (size_t quote = whole.find('"'); quote != whole.npos; quote = whole.find('"', quote + 2)) {
            const size_t close = whole.find('"', quote + 1);
            if (close == whole.npos) return "open quote at " + around;
            whole.erase(quote + 1, close - quote - 1);
        }
        std::smatch found;
        if (!std::regex_search(whole, found, tag)) return "bad tag at " + around;
        const std::string name = found[2];
        if (found[1] == "/") {
            if (open.empty() || open.back() != name)
                return "</" + name + "> closes " + (open.empty() ? "nothing" : open.back());
            open.pop_back();
        } else if (found[4] != "/") {
            open.push_back(name);
        }
        at = end + 1;
        if (name == "style" && found[1] != "/") at = page.find("</style>", at);
    }
    return open.empty() ? "" : "<" + open.back() + "> is never closed";
}

const std::string kHostile = "<script>alert(1)</script>\"'&\xE2\x80\xAE gpj.jpg";

class Report : public testing::Test {
protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / ("tundra_report_" + std::to_string(getpid()));
        fs::remove_all(folder_);
        fs::create_directories(folder_ / "pictures");
    }
    void TearDown() override { fs::remove_all(folder_); }

    void write(const std::string& name, const std::string& text) {
        std::ofstream(folder_ / name, std::ios::binary) << text;
    }

    std::string report() {
        const fs::path path = write_report(folder_);
        EXPECT_EQ(path, folder_ / "report.html");
        EXPECT_LT(fs::file_size(path), 20u << 20);
        std::ifstream in(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }

    // 200 test images, 3 classes; image i is of class i % 3, and each 20th is wrong with confidence 0.95.
    void write_run() {
        write("config", "data = \"shots & more\"\nmodel = \"resnet50\"\nimage_size = 64\nepochs = 2\nbatch = 8\n");
        json event = {{"event", "finish"}, {"time", "2026-11-23T09:10:00Z"}, {"step", 40}};
        json session = {
            {"started", "2026-11-23T09:00:00Z"},
            {"device", "cpu <fast>"},
            {"precision", "fp32"},
            {"threads", 2},
            {"pictures", 320},
            {"wall_seconds", 600},
            {"images_per_second", 12.5},
            {"peak_memory_bytes", 1u << 30},
            {"energy_joules", "not measured"},
            {"events", {event}},
            {"machine", {{"processor", "Thing 9000"}, {"cores", 2}, {"threads", 2}, {"memory_bytes", 8589934592}}},
            {"build", {{"version", "0.1.0"}, {"commit", "abc123"}}},
            {"libraries", {{{"name", "oneDNN"}, {"compiled", "2.6"}, {"loaded", "2.6.3"}}}}};
        json record = {
            {"format", 1},
            {"finished", true},
            {"wall_seconds", 600},
            {"energy_joules", "not measured"},
            {"waited_for_pictures_seconds", 0.256},
            {"data", {{"path", "shots & more"}, {"pictures", 1234}, {"bytes", 5000000}, {"fingerprint", "cafe"}}},
            {"sessions", {session}}};
        write("run.json", record.dump());
        std::string log;
        for (int step = 1; step <= 40; ++step)
            log += json({{"step", step},
                         {"loss", step == 7 ? std::nan("") : 2.0 / step},
                         {"rate", 0.01},
                         {"momentum", 0.9}})
                       .dump() +
                   "\n";
        write("log.jsonl", log + "{\"step\": 41, \"lo");
        write("metrics.csv",
              "step,epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,rate,seconds\n20,1,1.5,0.5,,,0."
              "01,10\n40,2,0.5,0.9,0.7,0.85,0.01,10\n");
        json rows = json::array();
        const std::vector<std::string> classes = {"fox", "<b>hare</b>", "nothing & co"};
        for (int i = 0; i < 200; ++i) {
            const int label = i % 3, predicted = i % 20 == 0 ? (label + 1) % 3 : label;
            rows.push_back(
                {{"file", (folder_ / "pictures" /
                           (i == 0 ? kHostile.substr(0, 8) + kHostile.substr(26) : std::to_string(i) + ".jpg"))
                              .string()},
                 {"label", classes[size_t(label)]},
                 {"predicted", classes[size_t(predicted)]},
                 {"confidence", i % 20 == 0 ? 0.9 : 0.97},
                 {"loss", i == 0 ? 9.5 : 0.1},
                 {"camera", i % 2 ? "<i>north</i>" : "south"}});
        }
        rows.push_back({{"file", "x"}, {"label", "no such class"}, {"predicted", "fox"}, {"confidence", 0.5}});
        rows.push_back({{"file", "x"}, {"label", "fox"}, {"predicted", "fox"}, {"confidence", nullptr}});
        write("evaluation.json",
              json({{"classes", classes}, {"parts", {{"test", {{"loss", 0.2}, {"predictions", rows}}}}}}).dump());
        write("bad_files.csv", "path,code,used,text\n\"" + std::string("<script>.jpg") +
                                   "\",truncated,yes,ends & stops\nb.jpg,empty_file,no,no bytes\n");
    }

    fs::path folder_;
};

}  // namespace

TEST_F(Report, says_the_figures_of_a_finished_run) {
    write_run();
    const std::string page = report();
    EXPECT_EQ(fault_in(page), "");
    for (const char* said : {"95.0\u202F% of 200 test images right", "Finished at step 40 of 40", "1,234 images",
                             "10 min 00 s", "1.1 GB", "not measured", "abc123", "oneDNN 2.6.3", "Thing 9000",
                             "2 predictions on test images are invalid", "Proposal: look at images below 0.91.",
                             "10 images (5.0\u202F%) are below 0.91",  // exactly the ten errors
                             "1.0\u202F% of the steps", "2 images had problems", "ResNet-50 tells apart 3 classes",
                             "2026-11-23 09:10 UTC"})
        EXPECT_NE(page.find(said), page.npos) << said;
}

TEST_F(Report, escapes_what_files_say_and_loads_nothing) {
    write_run();
    write_jpeg((folder_ / "pictures" / (kHostile.substr(0, 8) + kHostile.substr(26))).string(),
               sample_image(300, 400).rgb.data(), 300, 400);
    const std::string page = report();
    EXPECT_EQ(fault_in(page), "");
    for (const char* never : {"<script", "<b>hare", "<i>north", "http://", "https://", "\xE2\x80\xAE", "javascript:"})
        EXPECT_EQ(page.find(never), page.npos) << never;
    for (const char* said : {"&lt;script&gt;", "&lt;b&gt;hare&lt;/b&gt;", "nothing &amp; co", "&lt;i&gt;north",
                             "cpu &lt;fast&gt;", "ends &amp; stops"})
        EXPECT_NE(page.find(said), page.npos) << said;
    // One image is there and comes as a JPEG of 240 x 180; the others are not, and say so.
    EXPECT_NE(page.find("src=\"data:image/jpeg;base64,/9j/"), page.npos);
    EXPECT_NE(page.find("width=\"240\" height=\"180\""), page.npos);
    EXPECT_NE(page.find("class=\"gone\""), page.npos);
}

TEST_F(Report, a_run_that_has_just_started_and_one_that_was_stopped) {
    write("config", "data = \"x\"\nepochs = 3\n");
    std::string page = report();
    EXPECT_EQ(fault_in(page), "");
    EXPECT_NE(page.find("No accuracy yet"), page.npos);
    EXPECT_NE(page.find("Under way before its first step"), page.npos);
    EXPECT_NE(page.find("run.json is not there"), page.npos);

    write_run();
    fs::remove(folder_ / "evaluation.json");
    fs::remove(folder_ / "bad_files.csv");
    write("run.json", R"({"sessions": [{"events": [{"event": "stop", "step": 40}]}]})");
    page = report();
    EXPECT_EQ(fault_in(page), "");
    EXPECT_NE(page.find("Stopped at step 40 of 40"), page.npos);
    EXPECT_NE(page.find("85.0\u202F% of the validation images right after epoch 2"), page.npos);
    EXPECT_NE(page.find("There is no evaluation yet"), page.npos);
}

TEST_F(Report, nonsense_in_any_file_is_left_out) {
    write_run();
    for (const char* name : {"run.json", "config", "log.jsonl", "metrics.csv", "evaluation.json", "bad_files.csv"})
        for (const std::string content :
             {"", "{", "[1, 2]", "\xFF\xFE\x00 \"", "{\"sessions\": 7, \"classes\": [\"a\", \"a\"], \"parts\": []}",
              "{\"sessions\": [3, null], \"classes\": [1], \"data\": [], \"step\": -1e300, \"loss\": 1e300}\n",
              "step,epoch\n1e308,0\nnan,inf\n"}) {
            write_run();
            write(name, content);
            EXPECT_EQ(fault_in(report()), "") << name << " holds " << content;
        }
    fs::remove(folder_ / "run.json");
    fs::remove(folder_ / "config");
    try {
        report();
        FAIL() << "a folder without a run has a report";
    } catch (const Error& e) {
        EXPECT_EQ(e.fault, Fault::usage);
    }
}

TEST_F(Report, stays_small_with_many_steps_classes_and_bad_files) {
    write_run();
    std::string log, bad = "path,code,used,text\n";
    for (int step = 1; step <= 100'000; ++step)
        log += fmt::format("{{\"step\":{},\"loss\":{},\"rate\":0.1,\"momentum\":0.9}}\n", step, 1.0 / step);
    for (int i = 0; i < 20'000; ++i) bad += fmt::format("{}{}.jpg,corrupt,no,bad\n", std::string(200, 'n'), i);
    write("log.jsonl", log);
    write("bad_files.csv", bad);
    json classes = json::array(), rows = json::array();
    for (int c = 0; c < 150; ++c) classes.push_back(fmt::format("class {}", c));
    for (int i = 0; i < 3000; ++i)
        rows.push_back({{"file", "gone"},
                        {"label", classes[size_t(i % 150)]},
                        {"predicted", classes[size_t(i * 7 % 150)]},
                        {"confidence", 0.5},
                        {"loss", 1},
                        {"camera", ""}});
    write("evaluation.json", json({{"classes", classes}, {"parts", {{"validation", {{"predictions", rows}}}}}}).dump());
    const std::string page = report();
    EXPECT_EQ(fault_in(page), "");
    EXPECT_LT(page.size(), 2u << 20);
    EXPECT_NE(page.find("The other 19,800 are in bad_files.csv"), page.npos);
}

TEST(report_numbers, read_as_people_write_them) {
    EXPECT_EQ(percent_text(0.961), "96.1\u202F%");
    EXPECT_EQ(percent_text(0.9999), "99.9\u202F%");  // not all are right
    EXPECT_EQ(percent_text(1), "100.0\u202F%");
    EXPECT_EQ(percent_text(std::nan("")), "\u2013");
    EXPECT_EQ(count_text(1234567), "1,234,567");
    EXPECT_EQ(duration_text(59.97), "1 min 00 s");
    EXPECT_EQ(duration_text(3900), "1 h 05 min");
    EXPECT_EQ(bytes_text(1536), "1.5 kB");
    EXPECT_EQ(time_text("2026-11-23T08:50:21Z"), "2026-11-23 08:50 UTC");
    EXPECT_EQ(html_escaped("a\xFF\x01<"), "a\uFFFD\uFFFD&lt;");
    EXPECT_EQ(shortened("\u00E4\u00F6\u00FCabc", 5), "\u00E4\u00F6\u2026bc");
    EXPECT_EQ(base64(reinterpret_cast<const unsigned char*>("fooba"), 5), "Zm9vYmE=");  // RFC 4648, section 10
    EXPECT_EQ(base64(reinterpret_cast<const unsigned char*>("foob"), 4), "Zm9vYg==");
    EXPECT_EQ(base64(reinterpret_cast<const unsigned char*>("foobar"), 6), "Zm9vYmFy");
    EXPECT_EQ(round_ticks(0, 1.05, 5), (std::vector<double>{0, 0.5, 1}));
}

TEST(report_numbers, range_of_an_accuracy) {  // the formula by hand
    const auto [low, high] = accuracy_range(298, 310);
    EXPECT_NEAR(low, 0.9336, 1e-4);
    EXPECT_NEAR(high, 0.9777, 1e-4);
    EXPECT_EQ(accuracy_range(3, 3)[1], 1);
}

TEST(report_numbers, manual_work_counts_what_is_below_the_threshold) {
    EvaluatedPart part{.name = "test", .images = {}, .metrics = {}};
    for (auto [right, confidence] : {std::pair(true, 0.55), {false, 0.6}, {true, 0.7}, {true, 0.9}})
        part.images.push_back({"", 0, right ? 0u : 1u, double(float(confidence)), 0});
    const ManualWork work = manual_work(part, 0.6);
    EXPECT_EQ(work.looked_at, 1u);
    EXPECT_EQ(work.errors_left, 1u);
    EXPECT_DOUBLE_EQ(work.accuracy_of_rest(), 2.0 / 3);
    EXPECT_EQ(proposed_work(part, 0.99)->threshold, 0.61);
    EXPECT_TRUE(std::isnan(manual_work(part, 0.99).accuracy_of_rest()));
}
