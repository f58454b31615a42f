// Which images lists and command lines mean: every kind of list, every spelling of a name. Below 2 s.
#include "app/jobs/image_list.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "tests/images.h"

namespace {

namespace fs = std::filesystem;

std::string utf16(const std::string& text) {
    std::string result = "\xff\xfe";
    for (const char c : text) result += {c, '\0'};
    return result;
}

class ImageListTest : public testing::Test {
protected:
    void SetUp() override {
        for (const char* name : {"a.jpg", "b.jpg", "deep/c.jpg"}) temporary_.write(name, text_content("x"));
        before_ = fs::current_path();
        fs::current_path(folder_);
    }
    void TearDown() override { fs::current_path(before_); }

    using Paths = std::vector<std::string>;
    static Paths found(const Paths& arguments) { return find_images(arguments, "none.journal").paths; }
    Paths listed(const std::string& name, const std::string& content) {
        temporary_.write(name, text_content(content));
        return found({name});
    }
    static Error refused(const Paths& arguments, const char* journal = "none.journal") {
        try {
            find_images(arguments, journal);
        } catch (const Error& e) {
            EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
            return e;
        }
        ADD_FAILURE() << "accepted: " << arguments[0];
        return {Fault::runtime, ""};
    }

    TemporaryFolder temporary_;
    fs::path folder_ = temporary_.path, before_;
    const Paths all_{"a.jpg", "b.jpg", "deep/c.jpg"};
};

TEST_F(ImageListTest, kinds_of_lists) {
    EXPECT_EQ(listed("l.txt", "a.jpg\nb.jpg\ndeep/c.jpg\n"), all_);
    EXPECT_EQ(listed("crlf.TXT",
                     "\xef\xbb\xbf"
                     "a.jpg\r\nb.jpg\r\n\r\ndeep\\c.jpg"),
              all_);
    EXPECT_EQ(listed("blanks.txt", " a.jpg \n\tb.jpg\t\ndeep/c.jpg  \n"), all_);
    EXPECT_EQ(listed("quotes.txt", "\"a.jpg\"\n'b.jpg' \n\"deep\\c.jpg\"\n"), all_);
    EXPECT_EQ(listed("utf16.txt", utf16("a.jpg\r\nb.jpg\r\ndeep\\c.jpg\r\n")), all_);
    EXPECT_EQ(listed("zero.txt", std::string("a.jpg\0b.jpg\0deep/c.jpg\0", 25)), all_);
    EXPECT_EQ(listed("names.json", "[\"a.jpg\", \"b.jpg\",\n \"deep/c.jpg\"]"), all_);
    EXPECT_EQ(listed("json.txt", "[\"a.jpg\", \"b.jpg\", \"deep/c.jpg\"]"), all_);
    EXPECT_EQ(listed("utf16.json", utf16("[\"a.jpg\", \"b.jpg\", \"deep/c.jpg\"]")), all_);
    EXPECT_EQ(listed("coco.json",
                     "{\"categories\": [], \"images\": [{\"id\": 1, \"file_name\": \"a.jpg\"}, {\"id\": 2, "
                     "\"file_name\": \"b.jpg\"}, {\"id\": 3, \"file_name\": \"deep\\\\c.jpg\"}]}"),
              all_);
    EXPECT_EQ(listed("detector.json",
                     "{\"images\": [{\"file\": \"a.jpg\", \"detections\": []}, {\"file\": \"b.jpg\"}, "
                     "{\"file\": \"deep/c.jpg\"}], \"info\": {}}"),
              all_);
    EXPECT_EQ(listed("lines.jsonl", "{\"path\":\"a.jpg\"}\n{\"path\":\"b.jpg\"}\n{\"path\":\"deep/c.jpg\"}\n"), all_);
    EXPECT_EQ(listed("classified.csv", "path,predicted\na.jpg,fox\nb.jpg,hare\ndeep/c.jpg,\n"), all_);
    EXPECT_EQ(listed("timelapse.csv", "File;RelativePath;Note\na.jpg;;x\nb.jpg;;\nc.jpg;deep;\n"), all_);
    EXPECT_EQ(listed("bare.csv", "a.jpg,fox\nb.jpg,hare\ndeep/c.jpg,fox\n"), all_);
    // A name that begins as JSON does, and one that truly ends in a blank.
    temporary_.write("[2024] d.jpg", text_content("x"));
    temporary_.write("e.jpg ", text_content("x"));
    EXPECT_EQ(listed("odd.lst", "[2024] d.jpg\ne.jpg \n"), (Paths{"[2024] d.jpg", "e.jpg "}));
}

TEST_F(ImageListTest, names_begin_at_the_current_folder_or_at_the_list) {
    temporary_.write("lists/a.jpg", text_content("other"));
    temporary_.write("lists/own.jpg", text_content("x"));
    EXPECT_EQ(listed("lists/l.txt", "a.jpg\nown.jpg\n"), (Paths{"a.jpg", "lists/own.jpg"}));
    EXPECT_EQ(listed("lists/m.txt", "own.jpg\nmissing.jpg\n"), (Paths{"lists/own.jpg", "lists/missing.jpg"}));
    EXPECT_EQ(listed("absolute.txt", (folder_ / "lists/own.jpg").string() + "\n"),
              Paths{(folder_ / "lists/own.jpg").string()});
    EXPECT_EQ(listed("some.txt", "a.jpg\nmissing.jpg\n"), (Paths{"a.jpg", "missing.jpg"}));
}

TEST_F(ImageListTest, what_is_no_list) {
    const auto says = [&](const std::string& name, const std::string& content, const char* words) {
        temporary_.write(name, text_content(content));
        const Error error = refused({name});
        EXPECT_EQ(error.fault, Fault::usage) << name;
        EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    };
    says("gone.txt", "x.jpg\ny.jpg\n", "none of its 2 images exists; the first would be x.jpg");
    says("windows.txt", "C:\\pictures\\x.jpg\n", "none of its 1 images");
    says("other.json", "{\"name\": 3}", "without a list of images");
    says("numbers.json", "[1, 2]", "without a list of images");
    says("broken.json", "[\"a.jpg\", ", "line 1: is not JSON");
    says("broken.jsonl", "{\"path\":\"a.jpg\"}\n{\"path\"\n", "line 2: is not JSON");
    says("columns.csv", "picture,species\nx,fox\n", "none of the columns 'picture', 'species'");
    says("empty.txt", "\n\n", "no images found");
    says("empty.json", "[]", "no images found");
    says("half.txt",
         "\xff\xfe"
         "a",
         "half a character");
    EXPECT_EQ(refused({"@nothing.txt"}).fault, Fault::usage);
    // An interrupted run had images there: their drive may be missing.
    temporary_.write("r.json.journal", text_content("x"));
    for (const char* argument : {"gone.txt", "nowhere", "nowhere/*.jpg"})
        EXPECT_EQ(refused({argument}, "r.json.journal").fault, Fault::environment) << argument;
    // A list that is wrong is no drive that went away.
    for (const char* argument : {"columns.csv", "broken.jsonl", "half.txt", "@nothing.txt"})
        EXPECT_EQ(refused({argument}, "r.json.journal").fault, Fault::usage) << argument;
}

TEST_F(ImageListTest, every_image_counts_once) {
    fs::create_directory_symlink("deep", folder_ / "link");
    fs::create_symlink("a.jpg", folder_ / "same.jpg");
    EXPECT_EQ(found({"a.jpg", "./a.jpg", "deep/../a.jpg", (folder_ / "a.jpg").string(), "b.jpg"}),
              (Paths{"a.jpg", "b.jpg"}));
    EXPECT_EQ(found({"deep", "link", "link/c.jpg", "deep//c.jpg"}), Paths{"deep/c.jpg"});
    EXPECT_EQ(found({"a.jpg", "same.jpg"}).size(), 2u) << "a link to an image is an image of its own, as in folders";
    EXPECT_EQ(listed("twice.txt", "a.jpg\n./a.jpg\na.jpg\n"), Paths{"a.jpg"});
    EXPECT_EQ(found({"*.jpg", "a.jpg", "."}).size(), 4u);
    const ImagePaths noted = find_images({"a.jpg", "a.jpg"}, "");
    ASSERT_EQ(noted.notes.size(), 1u);
    EXPECT_NE(noted.notes[0].find("1 names mean an image that was named before"), std::string::npos);
    for (const char* argument : {".", "./", "deep/.."})
        EXPECT_EQ(list_images_below({argument, "a.jpg"}, "").files.size(), 4u);
}

TEST_F(ImageListTest, videos_of_skipped_folders_do_not_count) {
    for (const char* name : {"v.mp4", "deep/w.AVI", "$RECYCLE.BIN/x.mp4", ".hidden/y.mp4", "@eaDir/z.mp4"})
        temporary_.write(name, text_content("x"));
    const std::vector<std::string> notes = find_images({"."}, "").notes;
    EXPECT_EQ(std::ranges::count_if(notes, [](const std::string& t) { return t.starts_with("2 videos"); }), 1);
}

TEST_F(ImageListTest, the_other_form_of_unicode) {
    const std::string nfc = "h\xc3\xa9ron.jpg", nfd = "he\xcc\x81ron.jpg";
    temporary_.write("Ca\xcc\x80/" + nfd, text_content("x"));
    const auto read = [&] { return listed("u.txt", "C\xc3\xa0/" + nfc + "\na.jpg\n"); };
    if (read()[0].find(nfd) == std::string::npos) GTEST_SKIP() << "built without utf8proc";
    EXPECT_EQ(read(), (Paths{"Ca\xcc\x80/" + nfd, "a.jpg"}));
    EXPECT_EQ(find_images({"u.txt"}, "").notes.size(), 1u);
    temporary_.write("Ca\xcc\x80/" + nfc, text_content("another"));
    EXPECT_EQ(read()[0], "Ca\xcc\x80/" + nfc) << "the same form goes first";
}

TEST_F(ImageListTest, long_lists_are_fast) {
    constexpr size_t kNames = 20'000;
    std::string list;
    for (size_t i = 0; i < kNames; ++i) list += fmt::format("cam{}/{:06}.jpg\n", i % 50, i);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(listed("many.txt", list + "a.jpg\n").size(), kNames + 1);
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 10);
}

}  // namespace
