// Camtrap DP out of a survey: the standard's own schemas, and what they do not check. 0.2 s.
#include "app/export/camtrap_dp.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <map>
#include <set>

#include "app/export/deployments.h"
#include "app/export/events.h"
#include "base/error.h"
#include "tests/table_schema.h"

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const char* const kDeployments =
    "cameraID,deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd,baitUse,colour\n"
    "cam01,first,north,70.12345,29.6789,2025-08-01T00:00:00+0200,2025-08-31T00:00:00+02:00,TRUE,red\n"
    "cam01,second,north,70.2,29.7,2025-08-31T00:00:01+02:00,2025-10-31T00:00:00+01:00,,\n"
    "cam01,elsewhere,south,69,-28.5,2025-08-01T00:00:00Z,2025-10-31T00:00:00Z,0,\n";

const char* const kImages =
    "file,site,camera,date,sequence,quality,quality_score,animal,person,vehicle,repeated,species,counts,scores,"
    "before_vote,final,reviewed,review,problem\n"
    "north/a/IMG..01.JPG,north,cam01,2025-08-02 10:00:00,north/a/IMG..01.JPG,good,0.1,2,0,0,0,vul_lag|ran_tar,1|1,"
    "0.9|0.8,,animal,,animal,\n"
    "north/a/2.jpg,north,cam01,2025-08-02 10:00:03,north/a/IMG..01.JPG,good,0.1,1,0,0,1,vul_lag,3,0.7,,animal,ann,"
    "animal,\n"
    "north/a/3.png,north,cam01,2025-09-02 10:00:00,north/a/3.png,good,0.1,0,0,0,0,,,,,empty,,,\n"
    "south/b/4.jpg,south,cam01,2018-01-02 10:00:00,south/b/4.jpg,bad,0.99,0,0,0,0,,,,,bad,,,\n"
    "south/b/5.jpg,south,cam01,2025-09-02 10:00:00,south/b/5.jpg,good,0.1,1,1,0,0,ran_tar,1,0.8,,human,,,\n"
    "south/b/6.jpg,south,cam01,,south/b/6.jpg,good,0.1,0,0,0,0,,,,,empty,,,\n"
    "south/b/7.jpg,south,cam01,,south/b/7.jpg,,,0,0,0,0,,,,,failed,,,truncated\n"
    ".hidden/8.jpg,south,cam01,2025-09-03 10:00:00,.hidden/8.jpg,good,0.1,0,0,0,1,,,,,repeated,,repeat,\n";

Json detection(const char* category, double conf, std::vector<double> box, Json classes = nullptr) {
    Json d{{"category", category}, {"conf", conf}, {"bbox", box}};
    if (!classes.is_null()) d["classifications"] = classes;
    return d;
}

class Export : public testing::Test {
protected:
    Export() {
        std::string pattern = (fs::temp_directory_path() / "export_XXXXXX").string();
        folder = mkdtemp(pattern.data());
        fs::create_directory(folder / "survey");
        write("deployments.csv", kDeployments);
        write("survey/images.csv", kImages);
        write("survey/repeats.csv", "group,file,box\n1,north/a/2.jpg,1\n1,.hidden/8.jpg,1\n");
        write("survey/corrections.csv",
              "file,box,field,old,new,reviewer,time\n"
              "north/a/2.jpg,2,bbox,,0.5 0.5 0.5 0.1,ann,2025-11-01T08:00:00Z\n"
              "north/a/2.jpg,2,category,,none,ann,2025-11-01T08:00:01Z\n"
              "north/a/2.jpg,2,category,,,ann,2025-11-01T08:00:02Z\n"
              "north/a/2.jpg,3,category,animal,none,ann,2025-11-01T08:00:03Z\n");
        Json images = Json::array();
        const auto add = [&](const char* file, Json detections) {
            images.push_back({{"file", file}, {"detections", std::move(detections)}});
        };
        add("north/a/IMG..01.JPG",
            {detection("1", 0.9, {0.99996, 0.2, 0.00004, 0.3}, Json::parse(R"([["0", 0.93], ["1", 0.02]])")),
             detection("1", 0.8, {-0.01, 0.7, 0.5, 0.4}, Json::parse(R"([["1", 0.6]])")),
             detection("1", 0.05, {0.1, 0.1, 0.1, 0.1})});
        add("north/a/2.jpg", {detection("1", 0.95, {0.2, 0.2, 0.1, 0.1}),
                              detection("1", 0.9, {0.1, 0.1, 0.2, 0.2}, Json::parse(R"([["0", 0.7]])")),
                              detection("1", 0.8, {0.3, 0.3, 0.1, 0.1})});
        add("north/a/3.png", Json::array());
        add("south/b/4.jpg", Json::array());
        add("south/b/5.jpg", {detection("2", 0.9, {0.1, 0.1, 0.2, 0.2}),
                              detection("1", 0.5, {0.5, 0.5, 0.2, 0.2}, Json::parse(R"([["1", 0.8]])"))});
        add("south/b/6.jpg", Json::array());
        images.push_back({{"file", "south/b/7.jpg"}, {"failure", "image access failure"}, {"detections", nullptr}});
        add(".hidden/8.jpg", {detection("1", 0.95, {0.2, 0.2, 0.1, 0.1})});
        write("survey/results.json",
              Json{{"images", images},
                   {"detection_categories", {{"1", "animal"}, {"2", "person"}, {"3", "vehicle"}}},
                   {"classification_categories", {{"0", "vul_lag"}, {"1", "ran_tar"}}},
                   {"info", {{"format_version", "1.6"}, {"detector", "md_v5a.0.0.pt"}, {"classifier", "species"}}}}
                  .dump());
        options = {.survey = folder / "survey",
                   .out = folder / "out",
                   .deployments = folder / "deployments.csv",
                   .package = {},
                   .taxa = {},
                   .media_path = ""};
    }
    ~Export() override { fs::remove_all(folder); }

    void write(const std::string& name, const std::string& text) { std::ofstream(folder / name) << text; }
    CheckedTable table(const char* name) {
        CheckedTable checked = check_table((folder / "out" / name).string() + ".csv",
                                           TUNDRA_TESTS "/data/camtrap-dp/" + std::string(name) + "-table-schema.json");
        EXPECT_EQ(checked.errors, std::vector<std::string>()) << name;
        return checked;
    }
    Json package() {
        std::ifstream in(folder / "out/datapackage.json");
        return Json::parse(in);
    }
    std::string refusal() {
        try {
            write_camtrap_dp(options);
        } catch (const Error& e) {
            EXPECT_EQ(e.fault, Fault::usage) << e.what();
            return e.what();
        }
        return "";
    }

    fs::path folder;
    CamtrapOptions options;
};

}  // namespace

TEST_F(Export, EveryTableMeetsItsSchema) {
    const CamtrapSummary made = write_camtrap_dp(options);
    const CheckedTable deployments = table("deployments"), media = table("media"), observations = table("observations");
    ASSERT_EQ(media.rows.size(), 6u);  // one failed, one without a date
    EXPECT_EQ(made.media, 6u);
    EXPECT_EQ(made.observations, observations.rows.size());
    std::map<std::string, std::vector<std::string>> by_name;
    for (const auto& row : media.rows) by_name[row[6]] = row;
    EXPECT_EQ(by_name["IMG..01.JPG"][1], "first");
    EXPECT_EQ(by_name["IMG..01.JPG"][4], "north/a/IMG.%2E01.JPG");
    EXPECT_EQ(by_name["IMG..01.JPG"][3], "2025-08-02T10:00:00+02:00");
    EXPECT_EQ(by_name["3.png"][1], "second");
    EXPECT_EQ(by_name["3.png"][7], "image/png");
    EXPECT_EQ(by_name["4.jpg"][1], "elsewhere");
    EXPECT_EQ(by_name["8.jpg"][4], "%2Ehidden/8.jpg");
    const size_t issues = deployment_column("timestampIssues"), bait = deployment_column("baitUse");
    EXPECT_EQ(deployments.rows[2][issues], "true");
    EXPECT_EQ(deployments.rows[0][issues], "");
    EXPECT_EQ(deployments.rows[0][bait], "true");
    EXPECT_EQ(deployments.rows[0][deployment_column("deploymentStart")], "2025-08-01T00:00:00+02:00");

    std::set<std::string> media_ids, deployment_ids;
    for (const auto& row : media.rows) media_ids.insert(row[0]);
    for (const auto& row : deployments.rows) deployment_ids.insert(row[0]);
    std::map<std::string, std::vector<std::vector<std::string>>> of_image;
    std::map<std::string, std::vector<std::string>> of_event;  // by deployment, type, name
    for (const auto& row : observations.rows) {
        if (row[6] == "event") {
            EXPECT_EQ(row[2] + row[18], "");
            EXPECT_TRUE(of_event.emplace(row[1] + " " + row[7] + " " + row[9], row).second) << row[9];
            continue;
        }
        EXPECT_TRUE(media_ids.contains(row[2]) && deployment_ids.contains(row[1]));
        EXPECT_EQ(row[4], row[5]);
        EXPECT_EQ(row[6], "media");
        if (!row[18].empty()) {
            EXPECT_LE(std::stod(row[18]) + std::stod(row[20]), 1 + 1e-12);
            EXPECT_LE(std::stod(row[19]) + std::stod(row[21]), 1 + 1e-12);
            EXPECT_GE(std::stod(row[20]), 0.0001);
        }
        for (const auto& image : media.rows)
            if (image[0] == row[2]) of_image[image[6]].push_back(row);
    }
    const auto& foxes = of_image["IMG..01.JPG"];
    ASSERT_EQ(foxes.size(), 2u);  // not the box below the threshold
    EXPECT_EQ(foxes[0][9], "vul_lag");
    EXPECT_EQ(foxes[0][18], "0.9999");
    EXPECT_EQ(foxes[0][25], "0.9300");
    EXPECT_EQ(foxes[0][23], "species");
    EXPECT_EQ(foxes[1][9], "ran_tar");
    EXPECT_EQ(foxes[1][18] + " " + foxes[1][20], "0.0000 0.4900");
    EXPECT_EQ(foxes[0][3], of_image["2.jpg"][0][3]);  // one event
    // Reviewed: a repeated box, a removed one, one moved to the edge; the count says two more.
    const auto& checked = of_image["2.jpg"];
    ASSERT_EQ(checked.size(), 2u);
    EXPECT_EQ(checked[0][18] + " " + checked[0][20], "0.5000 0.5000");
    EXPECT_EQ(checked[1][10] + checked[1][18], "2");
    EXPECT_EQ(checked[0][22] + " " + checked[0][23] + " " + checked[0][24], "human ann 2025-11-01T08:00:03Z");
    EXPECT_EQ(checked[0][25], "");
    // Two looks at the same foxes are one visit, with the count of the image that shows the most.
    ASSERT_EQ(of_event.size(), 4u);
    const auto& visit = of_event["first animal vul_lag"];
    EXPECT_EQ(visit[10], "3");
    EXPECT_EQ(visit[4] + " " + visit[5], "2025-08-02T10:00:00+02:00 2025-08-02T10:00:03+02:00");
    EXPECT_EQ(visit[22] + " " + visit[23] + " " + visit[25], "machine species 0.9300");
    EXPECT_EQ(visit[3], foxes[0][3]);
    EXPECT_EQ(visit[3], checked[0][3]);
    EXPECT_NE(visit[3], foxes[1][3]);  // a reindeer
    EXPECT_EQ(of_event["first animal ran_tar"][10], "1");
    EXPECT_EQ(of_event["elsewhere human "][3], of_image["5.jpg"][1][3]);
    EXPECT_EQ(of_image["3.png"][0][7], "blank");
    EXPECT_EQ(of_image["4.jpg"][0][7], "unknown");
    EXPECT_EQ(of_image["8.jpg"][0][7] + of_image["8.jpg"][0][18], "blank");
    ASSERT_EQ(of_image["5.jpg"].size(), 2u);
    EXPECT_EQ(of_image["5.jpg"][1][7] + of_image["5.jpg"][1][23], "humanmd_v5a.0.0.pt");
    EXPECT_EQ(made.notes.size(), 7u) << Json(made.notes).dump(1);  // colour, 4 kinds of images, taxa, package

    const Json about = package();
    for (const char* key :
         {"resources", "profile", "created", "contributors", "project", "spatial", "temporal", "taxonomic"})
        EXPECT_TRUE(about.contains(key)) << key;
    EXPECT_EQ(about["temporal"], Json({{"start", "2025-08-01"}, {"end", "2025-10-31"}}));
    EXPECT_EQ(about["spatial"]["coordinates"][0][0], Json({-28.5, 69}));
    EXPECT_EQ(about["project"]["observationLevel"], Json({"media", "event"}));
    EXPECT_EQ(about["taxonomic"].size(), 2u);
    for (const Json& resource : about["resources"])
        EXPECT_NE(std::string(resource["schema"]).find("/1.0.2/"), std::string::npos);
}

// The detector called a person an animal; the species model, or a reviewer, knew better.
TEST_F(Export, PeopleInAnimalBoxesAreNoAnimals) {
    std::string images = kImages;
    const std::string row = "good,0.1,1,1,0,0,ran_tar,1,0.8,,human,,,";
    images.replace(images.find(row), row.size(), "good,0.1,1,0,0,0,,,,,human,ann,,");
    write("survey/images.csv", images);
    write_camtrap_dp(options);
    size_t people = 0;
    for (const auto& one : table("observations").rows) {
        people += one[7] == "human" && one[6] == "media";
        if (one[7] == "human") {
            EXPECT_EQ(one[9] + one[22], "human");
        }
    }
    EXPECT_EQ(people, 1u);
}

TEST_F(Export, PeopleAndPlacesCanStayPrivate) {
    options.without_people = true;
    options.decimals = 1;
    options.media_path = "https://example.org/";
    options.public_media = true;
    write("taxa.csv", "class,scientificName\nvul_lag,Vulpes lagopus\nran_tar,Rangifer tarandus\n");
    write("about.json", R"({"title": "A season", "contributors": [{"title": "Ann", "role": "contact"}],
        "licenses": [{"name": "CC0-1.0", "scope": "data"}, {"name": "CC-BY-4.0", "scope": "media"}],
        "project": {"samplingDesign": "targeted"}, "profile": "mine"})");
    options.taxa = folder / "taxa.csv";
    options.package = folder / "about.json";
    write_camtrap_dp(options);
    const CheckedTable deployments = table("deployments"), media = table("media"), observations = table("observations");
    EXPECT_EQ(media.rows.size(), 5u);
    for (const auto& row : observations.rows) EXPECT_TRUE(row[7] != "human" && row[7] != "vehicle");
    for (const auto& row : media.rows)
        EXPECT_TRUE(row[4].starts_with("https://example.org/") && row[5] == "true") << row[4];
    EXPECT_EQ(deployments.rows[0][3] + " " + deployments.rows[0][4] + " " + deployments.rows[0][5], "70.1 29.7 7872");
    const Json about = package();
    EXPECT_EQ(about["coordinatePrecision"], 0.1);
    EXPECT_EQ(about["spatial"]["coordinates"][0][2], Json({29.7, 70.2}));
    EXPECT_EQ(about["taxonomic"][1]["scientificName"], "Vulpes lagopus");
    EXPECT_EQ(about["project"]["samplingDesign"], "targeted");
    EXPECT_EQ(about["project"]["individualAnimals"], false);
    EXPECT_NE(std::string(about["profile"]).find("camtrap-dp-profile.json"), std::string::npos);
}

TEST_F(Export, BadInputIsNamed) {
    const std::string good = kDeployments;
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string text = good;
        text.replace(text.find(from), from.size(), to);
        write("deployments.csv", text);
        return refusal();
    };
    EXPECT_NE(with("+0200", "").find("line 2: deploymentStart '2025-08-01T00:00:00' is not a date"), std::string::npos);
    EXPECT_NE(with("00:00:00+0200", "00:00:00.5+0200").find("whole seconds"), std::string::npos);
    EXPECT_NE(with("2025-08-01", "2025-02-30").find("is not a date"), std::string::npos);
    EXPECT_NE(with("first", "NA").find("line 2: deploymentID is missing"), std::string::npos);
    EXPECT_NE(with("second", "first").find("line 3: deployment 'first' is there twice"), std::string::npos);
    EXPECT_NE(with("70.12345", "\"70,1\"").find("is not a number"), std::string::npos);
    EXPECT_NE(with("70.12345", "97").find("from -90 to 90"), std::string::npos);
    EXPECT_NE(with("TRUE", "yes").find("is not true or false"), std::string::npos);
    EXPECT_NE(with("longitude", "lon").find("has no column 'longitude'"), std::string::npos);
    EXPECT_NE(with("2025-08-31T00:00:00+02:00", "2025-07-31T00:00:00+02:00").find("ends before it starts"),
              std::string::npos);
    EXPECT_NE(with("elsewhere,south", "elsewhere,west").find("no deployment for 1 cameras"), std::string::npos);
    EXPECT_FALSE(fs::exists(options.out));
    write("deployments.csv", good);
    write("about.json", R"({"licenses": [{"name": "CC0-1.0", "scope": "data"}]})");
    options.package = folder / "about.json";
    EXPECT_NE(refusal().find("scope"), std::string::npos);
    options.package.clear();
    write_camtrap_dp(options);
    EXPECT_NE(refusal().find("is not empty"), std::string::npos);
    fs::remove(folder / "survey/images.csv");
    options.out = folder / "other";
    EXPECT_NE(refusal().find("it has no images.csv"), std::string::npos);
}

// Half an hour between visits; a burst is one visit however long it lasts; another camera has visits of its own.
TEST_F(Export, VisitsAreEvents) {
    const auto image = [](const char* name, int64_t time, const char* burst) {
        return AnsweredImage{.file = name, .sequence = burst, .time = time, .final = "animal"};
    };
    const auto fox = [](const char* name, const char* camera, const char* number, const char* how) {
        Row row(kObservationColumns);
        row[observation::media] = name, row[observation::deployment] = camera;
        row[observation::type] = "animal", row[observation::scientific_name] = "Vulpes vulpes";
        row[observation::count] = number, row[observation::method] = how;
        row[observation::classified_by] = how == std::string("human") ? "Ann" : "model";
        return row;
    };
    Events events(1800);
    events.add(image("c", 4000, "c"), "Z", {fox("c", "one", "1", "machine")});
    events.add(image("a", 100, "a"), "Z", {fox("a", "one", "1", "human"), fox("a", "one", "1", "human")});
    events.add(image("b", 1900, "b"), "Z", {fox("b", "one", "1", "human")});
    events.add(image("d", 9000, "c"), "Z", {fox("d", "one", "3", "machine")});
    events.add(image("e", 100, "e"), "Z", {fox("e", "two", "", "machine")});
    const std::vector<Row> rows = events.rows();
    ASSERT_EQ(rows.size(), 3u);
    using namespace observation;
    EXPECT_EQ(rows[0][observation::count] + rows[1][observation::count] + rows[2][observation::count], "23");
    EXPECT_EQ(rows[0][method] + rows[0][classified_by] + rows[1][method], "humanAnnmachine");
    EXPECT_EQ(rows[0][start] + rows[0][end], "1970-01-01T00:01:40Z1970-01-01T00:31:40Z");
    EXPECT_EQ(rows[1][end], "1970-01-01T02:30:00Z");
    EXPECT_EQ(events.of(fox("b", "one", "1", "human")), rows[0][id]);
    EXPECT_EQ(events.of(fox("e", "two", "1", "human")), rows[2][id]);
    EXPECT_EQ(events.of(fox("z", "two", "1", "human")), "");
}
