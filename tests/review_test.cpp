// `tundra review` without a browser: the survey folder, corrections.csv, what answers do, and the server. 3 s, of which
// two wait for a lock.
#include "app/review/server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "app/review/corrections.h"
#include "app/review/page.h"
#include "app/review/session.h"
#include "app/review/state.h"
#include "base/error.h"
#include "tests/files.h"
#include "tests/survey_folder.h"

namespace {

using Json = nlohmann::json;

const std::string kHeader = "file,box,field,old,new,reviewer,time,place\n";

template <class Work>
std::pair<Fault, std::string> error_of(const Work& work) {
    try {
        work();
    } catch (const Error& error) {
        return {error.fault, error.what()};
    }
    ADD_FAILURE() << "no error";
    return {Fault::runtime, ""};
}

struct Opened {
    SurveyFolder survey;
    CorrectionLog corrections;
    ReviewSession session;
    explicit Opened(const TrialSurvey& trial, const std::string& reviewer = "Ann")
        : survey(trial.folder, ""),
          corrections(trial.folder / "corrections.csv"),
          session(survey, (corrections.open_for_writing(), corrections), reviewer) {}
};

Json answer(int id, std::vector<std::array<const char*, 3>> set) {
    Json parts = Json::array();
    for (const auto& [box, field, value] : set) parts.push_back({{"box", box}, {"field", field}, {"value", value}});
    return {{"images", {{{"id", id}, {"set", parts}}}}};
}

TEST(SurveyFolder, ReadsTableBoxesAndGroups) {
    const TrialSurvey trial("review_folder");
    const SurveyFolder survey(trial.folder, "");
    ASSERT_EQ(survey.images.size(), 6u);
    EXPECT_EQ(survey.file(3), "A/4, \"x\".jpg");
    EXPECT_EQ(survey.find("A/4, \"x\".jpg"), 3u);
    EXPECT_EQ(survey.categories, (std::vector<std::string>{"animal", "person", "vehicle"}));
    ASSERT_EQ(survey.boxes(1).size(), 3u);
    EXPECT_EQ(survey.species[size_t(survey.boxes(1)[1].species)], "hare");
    EXPECT_FLOAT_EQ(survey.boxes(1)[1].score, 0.6f);
    EXPECT_FLOAT_EQ(survey.boxes(1)[1].at[3], 0.5f);
    EXPECT_EQ(survey.boxes(1)[2].species, -1);
    EXPECT_TRUE(survey.boxes(3).empty());
    EXPECT_EQ(survey.sequence(1), (std::vector<uint32_t>{0, 1, 2}));
    EXPECT_EQ(survey.repeats(5).size(), 1u);
    EXPECT_EQ(survey.species_of(1), "fox:1|hare:1");
    EXPECT_TRUE(survey.notes.empty());
}

TEST(SurveyFolder, RefusesWhatIsNone) {
    const TrialSurvey trial("review_none");
    EXPECT_EQ(error_of([&] { SurveyFolder(trial.folder / "no", ""); }).first, Fault::usage);
    EXPECT_EQ(error_of([&] { SurveyFolder(trial.folder / "images", ""); }).second,
              (trial.folder / "images").string() +
                  ": is no survey: it has no survey.json; `tundra survey IMAGES --out FOLDER` makes one");
    const auto moved = error_of([&] { SurveyFolder(trial.folder, "/nowhere/at/all").require_images(); });
    EXPECT_EQ(moved.first, Fault::usage);
    EXPECT_TRUE(moved.second.starts_with("--base /nowhere/at/all: is no folder")) << moved.second;
    std::filesystem::rename(trial.folder / "images", trial.folder / "moved");
    EXPECT_NE(error_of([&] { SurveyFolder(trial.folder, "").require_images(); }).second.find("with --base"),
              std::string::npos);
    SurveyFolder(trial.folder, (trial.folder / "moved").string()).require_images();
    std::filesystem::rename(trial.folder / "moved", trial.folder / "images");
    const std::string table = content(trial.folder / "images.csv");
    trial.write("images.csv", table.substr(0, table.size() - 5));
    EXPECT_EQ(error_of([&] { SurveyFolder(trial.folder, ""); }).first, Fault::damaged);
    trial.write("images.csv", table);
    const std::string boxes = content(trial.folder / "results.json");
    trial.write("results.json", boxes.substr(0, boxes.size() / 2));
    EXPECT_EQ(error_of([&] { SurveyFolder(trial.folder, ""); }).first, Fault::damaged);
}

TEST(Corrections, LastRowHoldsAndAnEmptyOneTakesBack) {
    const TrialSurvey trial("review_rows");
    const auto path = trial.folder / "corrections.csv";
    trial.write("corrections.csv", kHeader +
                                       "a,,final,animal,bad,Ann,2026-11-30T08:00:00Z\n"
                                       "a,,final,bad,empty,Bob,2026-11-30T08:00:01Z\r\n"
                                       "\"b,c\",1,species,fox,\"say \"\"hare\"\"\",Ann,2026-11-30T08:00:02Z\n"
                                       "d,,seen,empty,yes,Ann,2026-11-30T08:00:03Z\n"
                                       "d,,seen,empty,,Ann,2026-11-30T08:00:04Z\n");
    const CorrectionLog read(path);
    ASSERT_TRUE(read.of("a"));
    EXPECT_EQ(read.of("a")->front().value, "empty");
    EXPECT_EQ(read.of("b,c")->front().value, "say \"hare\"");
    EXPECT_FALSE(read.of("d"));
}

TEST(Corrections, HalfARowIsCutOffAndNothingElse) {
    const TrialSurvey trial("review_torn");
    const auto path = trial.folder / "corrections.csv";
    const std::string whole = kHeader + "a,,seen,animal fox:1,yes,Ann,2026-11-30T08:00:00Z,\n";
    const std::string next = "\"b,\n2\",,final,animal,bad,Ann,2026-11-30T08:00:00Z,";
    for (size_t cut = 0; cut <= next.size(); ++cut) {
        trial.write("corrections.csv", whole + next.substr(0, cut));
        CorrectionLog corrections(path);
        const bool complete = cut == next.size();  // only its line feed is missing: somebody's editor
        EXPECT_EQ(corrections.of("b,\n2") != nullptr, complete) << cut;
        EXPECT_EQ(corrections.notes.size(), size_t(cut > 0 && !complete)) << cut;
        corrections.open_for_writing();
        corrections.append(std::vector<Correction>{{"c", "", "seen", "empty", "yes", "Ann", "2026-11-30T08:00:05Z"}});
        EXPECT_EQ(content(path),
                  whole + (complete ? next + "\n" : "") + "c,,seen,empty,yes,Ann,2026-11-30T08:00:05Z,\n");
    }
    for (size_t cut = 0; cut < kHeader.size(); ++cut) {  // a kill while the very first answer was written
        trial.write("corrections.csv", kHeader.substr(0, cut));
        CorrectionLog corrections(path);
        corrections.open_for_writing();
        corrections.append(std::vector<Correction>{{"c", "", "seen", "empty", "yes", "Ann", "2026-11-30T08:00:05Z"}});
        EXPECT_EQ(content(path), kHeader + "c,,seen,empty,yes,Ann,2026-11-30T08:00:05Z,\n") << cut;
    }
}

TEST(Corrections, SpreadsheetsMaySaveThem) {
    const TrialSurvey trial("review_sheet");
    trial.write("corrections.csv",
                "\xef\xbb\xbf"
                "file;box;field;old;new;reviewer;time\r\n"
                "A/1.jpg;;final;animal;bad;Ann;2026-11-30T08:00:00Z\r\n");
    const CorrectionLog read(trial.folder / "corrections.csv");
    EXPECT_EQ(read.of("A/1.jpg")->front().value, "bad");
    EXPECT_EQ(content(trial.folder / "corrections.csv"),
              "file,box,field,old,new,reviewer,time\nA/1.jpg,,final,animal,bad,Ann,2026-11-30T08:00:00Z\n");
}

TEST(Corrections, NamesTheRowThatIsNone) {
    const TrialSurvey trial("review_bad_rows");
    for (const char* row : {"a,,colour,x,y,Ann,2026-11-30T08:00:00Z\n", "a,x1,species,x,y,Ann,2026-11-30T08:00:00Z\n",
                            "a,,final,x,y,Ann\n", ",,final,x,y,Ann,2026-11-30T08:00:00Z\n",
                            "a,,final,x,y,Ann,yesterday\n", "a,2,final,x,y,Ann,2026-11-30T08:00:00Z\n"}) {
        trial.write("corrections.csv", kHeader + row);
        const auto [fault, text] = error_of([&] { CorrectionLog(trial.folder / "corrections.csv"); });
        EXPECT_EQ(fault, Fault::damaged) << row;
        EXPECT_NE(text.find("corrections.csv: row 2: "), std::string::npos) << text;
    }
    trial.write("corrections.csv", "something,else\n1,2\n");
    EXPECT_EQ(error_of([&] { CorrectionLog(trial.folder / "corrections.csv"); }).first, Fault::damaged);
}

TEST(Corrections, FullDiskLosesNothing) {
    const TrialSurvey trial("review_full");
    Opened opened(trial);
    opened.session.save(answer(0, {}));
    const std::string before = content(opened.corrections.path());
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit small{before.size() + 20, limit.rlim_max};  // half of the row fits
    setrlimit(RLIMIT_FSIZE, &small);
    const auto [fault, text] = error_of([&] { opened.session.save(answer(1, {{{"", "final", "bad"}}})); });
    setrlimit(RLIMIT_FSIZE, &limit);
    EXPECT_EQ(fault, Fault::environment);
    EXPECT_NE(text.find("not saved"), std::string::npos);
    EXPECT_EQ(content(opened.corrections.path()), before);
    EXPECT_FALSE(opened.session.items({1}).at("items")[0].at("seen").get<bool>());
    opened.session.save(answer(1, {{{"", "final", "bad"}}}));
    EXPECT_EQ(CorrectionLog(opened.corrections.path()).all().size(), 2u);
}

TEST(Corrections, AnotherProgramsChangeIsNoticed) {
    const TrialSurvey trial("review_changed");
    Opened opened(trial);
    opened.session.save(answer(0, {}));
    EXPECT_EQ(error_of([&] { CorrectionLog(opened.corrections.path()).open_for_writing(); }).first, Fault::usage);
    std::ofstream(opened.corrections.path(), std::ios::app) << "B/1.jpg,,seen,human,yes,Bob,2026-11-30T08:00:00Z\n";
    const std::string theirs = content(opened.corrections.path());
    EXPECT_EQ(error_of([&] { opened.session.save(answer(1, {})); }).first, Fault::usage);
    EXPECT_EQ(content(opened.corrections.path()), theirs);
}

TEST(ReviewSession, SurveyWrittenAnewIsNoticed) {
    const TrialSurvey trial("review_anew");
    Opened opened(trial);
    trial.write("results.json", content(trial.folder / "results.json") + " ");
    EXPECT_EQ(error_of([&] { opened.session.save(answer(0, {})); }).first, Fault::usage);
    EXPECT_FALSE(std::filesystem::file_size(opened.corrections.path()));
}

TEST(ReviewSession, AnswersChangeTheImage) {
    const TrialSurvey trial("review_answers");
    Opened opened(trial);
    const auto item = [&](int id) { return opened.session.items({uint32_t(id)}).at("items")[0]; };
    EXPECT_EQ(item(1).at("species"), "fox:1|hare:1");
    opened.session.save(answer(1, {{{"2", "species", "fox"}}}));
    EXPECT_EQ(item(1).at("species"), "fox:2");
    opened.session.save(answer(1, {{{"1", "category", "none"}}}));
    EXPECT_EQ(item(1).at("species"), "fox:1");
    opened.session.save(
        answer(1, {{{"+1", "category", "animal"}, {"+1", "bbox", "0.1 0.1 0.2 0.2"}, {"+1", "species", "lynx"}}}));
    EXPECT_EQ(item(1).at("species"), "fox:1|lynx:1");
    EXPECT_EQ(opened.session.about().at("species").back()[0], "lynx");
    opened.session.save(answer(1, {{{"2", "category", "person"}}}));
    EXPECT_EQ(item(1).at("final"), "human");
    opened.session.save(answer(1, {{{"", "final", "bad"}}}));
    EXPECT_EQ(item(1).at("final"), "bad");
    for (int i = 0; i < 5; ++i) opened.session.undo();
    EXPECT_EQ(item(1).at("species"), "fox:1|hare:1");
    EXPECT_FALSE(item(1).at("seen").get<bool>());
    EXPECT_TRUE(opened.session.undo().at("items").empty());
    opened.session.save(answer(5, {{{"1", "category", "animal"}}}));  // no repeat: it is an animal after all
    EXPECT_EQ(item(5).at("final"), "animal");
    opened.session.save(answer(3, {{{"", "quality", "good"}}}));
    EXPECT_EQ(item(3).at("final"), "empty");
}

TEST(ReviewSession, EveryRowSaysWhatTheModelsSaid) {
    const TrialSurvey trial("review_old");
    Opened opened(trial);
    opened.session.save(answer(1, {{{"2", "species", "fox"}}}));
    opened.session.save(answer(1, {{{"2", "species", "fox"}}}));  // says nothing new
    std::string text = content(opened.corrections.path());
    for (size_t at; (at = text.find(",20")) != std::string::npos;) text.erase(at, 21);
    EXPECT_EQ(text, kHeader +
                        "A/2.jpg,2,species,hare,fox,Ann,0.5000 0.5000 0.5000 0.5000\n"
                        "A/2.jpg,,seen,animal fox:1|hare:1,yes,Ann,\n");
}

TEST(ReviewSession, RefusesWhatIsNoAnswer) {
    const TrialSurvey trial("review_no_answer");
    Opened opened(trial);
    for (const Json& bad :
         {answer(99, {}), answer(0, {{{"", "final", "fish"}}}), answer(0, {{{"7", "species", "fox"}}}),
          answer(0, {{{"1", "bbox", "0 0 2 2"}}}), answer(0, {{{"1", "species", "a|b"}}}),
          answer(0, {{{"", "final", "bad\nx"}}}), answer(0, {{{"", "colour", "red"}}}),
          answer(0, {{{"+0", "category", "animal"}}}), Json::object(), Json("x"), Json{{"images", {{{"id", "0"}}}}},
          Json{{"images", {{{"id", 0}}, {{"id", 0}}}}}})
        EXPECT_EQ(error_of([&] { opened.session.save(bad); }).first, Fault::usage) << bad;
    EXPECT_FALSE(std::filesystem::file_size(opened.corrections.path()));
}

TEST(ReviewSession, ListsAndFilters) {
    const TrialSurvey trial("review_lists");
    Opened opened(trial);
    using List = std::vector<uint32_t>;
    EXPECT_EQ(opened.session.list({.order = "file"}), (List{0, 1, 2, 5}));
    EXPECT_EQ(opened.session.list({}), (List{0, 1, 2, 5}));  // a burst with an image that may be bad; a rock
    EXPECT_EQ(opened.session.list({.order = "species"}).front(), 0u);
    EXPECT_NEAR(opened.survey.images[1].wrong, 1 - 0.98 * 0.8, 1e-6);
    EXPECT_NEAR(opened.survey.images[1].species_doubt, 0.6, 1e-6);
    EXPECT_EQ(opened.session.list({.state = "all", .site = "B"}).size(), 2u);
    EXPECT_EQ(opened.session.list({.state = "all", .final = "bad"}), (List{3}));
    EXPECT_EQ(opened.session.list({.species = "hare"}), (List{1}));
    EXPECT_EQ(opened.session.list({.reason = "sample"}), (List{2}));
    EXPECT_EQ(opened.session.list({.state = "all", .min = 0.85, .order = "file"}), (List{0, 4}));
    opened.session.save(answer(1, {{{"", "final", "bad"}}}));
    EXPECT_EQ(opened.session.list({.order = "file"}), (List{0, 2, 5}));
    EXPECT_EQ(opened.session.list({.state = "all", .final = "bad", .order = "file"}), (List{1, 3}));
    EXPECT_TRUE(opened.session.list({.state = "all", .species = "hare"}).empty());
    EXPECT_EQ(opened.session.about().at("progress").at("done"), 1);
}

// ---- the server
int connection(int port) {
    const int number = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(uint16_t(port)), .sin_addr = {}, .sin_zero = {}};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(number, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    return number;
}

struct Running {
    Opened opened;
    ReviewServer server;
    std::atomic<bool> stop = false;
    std::thread thread;
    int port;
    std::string token;

    explicit Running(const TrialSurvey& trial, int port_wanted = 0)
        : opened(trial),
          server(opened.survey, opened.session, port_wanted),
          thread([this] { server.run([this] { return stop.load(); }); }) {
        const std::string address = server.address();
        port = std::stoi(address.substr(17));
        token = address.substr(address.find('/', 17));
    }
    ~Running() {
        stop = true;
        thread.join();
    }
    // The whole answer to a request; `more`: further header lines.
    std::string get(const std::string& path, const std::string& more = "", const std::string& body = "",
                    const std::string& host = "") {
        const int number = connection(port);
        const std::string request =
            (body.empty() ? "GET " : "POST ") + path +
            " HTTP/1.1\r\nConnection: close\r\nHost: " + (host.empty() ? "127.0.0.1:" + std::to_string(port) : host) +
            "\r\n" + more + (body.empty() ? "" : "Content-Length: " + std::to_string(body.size()) + "\r\n") + "\r\n" +
            body;
        EXPECT_EQ(::send(number, request.data(), request.size(), 0), ssize_t(request.size()));
        std::string answer;
        char buffer[65536];
        for (ssize_t n; (n = ::recv(number, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, size_t(n));
        ::close(number);
        return answer;
    }
};

int status(const std::string& answer) { return answer.size() > 12 ? std::stoi(answer.substr(9, 3)) : 0; }
const std::string kJson = "Content-Type: application/json\r\n";
TEST(ReviewServer, AnswersItsOwnPageOnly) {
    const TrialSurvey trial("review_server");
    Running r(trial);
    const std::string here = "http://127.0.0.1:" + std::to_string(r.port), wrong = "/" + std::string(32, '0') + "/";
    EXPECT_EQ(status(r.get(r.token)), 200);
    EXPECT_EQ(status(r.get(r.token + "about", "Origin: " + here + "\r\n")), 200);
    EXPECT_EQ(status(r.get(r.token.substr(0, r.token.size() - 1))), 302);
    EXPECT_EQ(status(r.get(wrong)), 403);
    EXPECT_EQ(status(r.get("/")), 403);
    EXPECT_EQ(status(r.get("/" + r.token)), 403);
    EXPECT_EQ(status(r.get(r.token, "", "", "evil.example:" + std::to_string(r.port))), 403);
    EXPECT_EQ(status(r.get(r.token, "", "", "127.0.0.1")), 403);
    EXPECT_EQ(status(r.get(r.token + "about", "Origin: http://evil.example\r\n")), 403);
    EXPECT_EQ(status(r.get(r.token + "about", "Origin: null\r\n")), 403);
    EXPECT_EQ(status(r.get(r.token + "about", "Sec-Fetch-Site: cross-site\r\n")), 403);
    EXPECT_EQ(status(r.get(r.token + "save", kJson + "Origin: http://evil.example\r\n", answer(0, {}).dump())), 403);
    EXPECT_EQ(status(r.get(r.token + "save", "Content-Type: text/plain\r\n", answer(0, {}).dump())), 409);
    EXPECT_EQ(status(r.get(r.token + "nothing")), 404);
    EXPECT_EQ(status(r.get(r.token + "image/0/777")), 404);
    EXPECT_EQ(status(r.get(r.token + "image/../../survey.json")), 404);
    EXPECT_FALSE(std::filesystem::file_size(trial.folder / "corrections.csv"));
    const std::string page = r.get(r.token);
    EXPECT_NE(page.find("X-Frame-Options: DENY"), std::string::npos);
    EXPECT_EQ(page.find("http://"), page.find("http://www.w3.org/2000/svg"));  // nothing from elsewhere
}

TEST(ReviewServer, AnswersAreOnDiskBeforeTheReply) {
    const TrialSurvey trial("review_server_save");
    Running r(trial);
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(status(r.get(r.token + "save", kJson, answer(i, {{{"", "final", "empty"}}}).dump())), 200);
        EXPECT_EQ(CorrectionLog(trial.folder / "corrections.csv").all().size(), size_t(i + 1));
    }
    EXPECT_EQ(status(r.get(r.token + "undo", kJson, "{}")), 200);
    EXPECT_EQ(CorrectionLog(trial.folder / "corrections.csv").all().size(), 2u);
    EXPECT_EQ(status(r.get(r.token + "save", kJson, "{nonsense")), 409);
    const std::string list = r.get(r.token + "list?state=all&order=file");
    EXPECT_EQ(list.size() - list.find("\r\n\r\n") - 4, 6 * sizeof(uint32_t));
    EXPECT_EQ(status(r.get(r.token + "list?state=weird")), 409);
}

TEST(ReviewServer, PicturesMayBeKept) {
    const TrialSurvey trial("review_server_pictures");
    Running r(trial);
    const std::string first = r.get(r.token + "image/0/240");
    EXPECT_EQ(status(first), 200);
    EXPECT_NE(first.find("Cache-Control: private, max-age="), std::string::npos);
    const size_t at = first.find("ETag: ") + 6;
    const std::string tag = first.substr(at, first.find('\r', at) - at);
    EXPECT_EQ(status(r.get(r.token + "image/0/240", "If-None-Match: " + tag + "\r\n")), 304);
    const std::string gone = r.get(r.token + "image/3/240");
    EXPECT_EQ(status(gone), 404);
    EXPECT_NE(gone.find("no-store"), std::string::npos);
}

TEST(ReviewServer, IdleConnectionsKeepNobodyOut) {
    const TrialSurvey trial("review_server_idle");
    Running r(trial);
    std::vector<int> idle;
    for (int i = 0; i < 100; ++i) idle.push_back(connection(r.port));
    EXPECT_EQ(status(r.get(r.token + "about")), 200);
    for (const int number : idle) ::close(number);
}

TEST(ReviewServer, PortInUse) {
    const TrialSurvey trial("review_port"), other("review_port_other");
    Running r(trial);
    const auto [fault, text] = error_of([&] { Running(other, r.port); });
    EXPECT_EQ(fault, Fault::environment);
    EXPECT_NE(text.find("is in use"), std::string::npos) << text;
}

}  // namespace
