// Folders and CSV files become the right table, the split leaks nothing, and mistakes are named.
#include "data/dataset.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/csv.h"
#include "base/error.h"
#include "base/random.h"
#include "data/listing.h"
#include "data/split.h"
#include "tests/images.h"

namespace {

const FileContent& small_jpeg() {
    static const FileContent file = jpeg_of(sample_image(4, 4));
    return file;
}

std::string error_of(const std::string& path) {
    try {
        (void)open_dataset(path);
    } catch (const Error& error) {
        EXPECT_EQ(error.fault, Fault::usage);
        return error.what();
    }
    return "no error";
}

void expect_error(const std::string& path, const std::string& part) {
    const std::string text = error_of(path);
    EXPECT_NE(text.find(part), std::string::npos) << "'" << text << "' does not say '" << part << "'";
}

}  // namespace

TEST(Dataset, folder_of_classes) {
    const TemporaryFolder folder;
    for (int i = 0; i < 50; ++i) {
        folder.write("good/day/image " + std::to_string(i) + ".jpg", small_jpeg());
        folder.write("Bad/b" + std::to_string(i) + ".PNG", small_jpeg());
    }
    folder.write("good/notes.txt", {1});
    folder.write("good/._macos.jpg", {1});
    folder.write("readme.md", {1});
    const Dataset data = open_dataset(folder.path.string());
    EXPECT_EQ(data.classes, (std::vector<std::string>{"Bad", "good"})) << "byte order: capitals first";
    EXPECT_EQ(data.samples.size(), 100u);
    EXPECT_EQ(data.samples[0].name, "Bad/b0.PNG");
    EXPECT_EQ(data.samples.back().camera, "day");
    EXPECT_TRUE(std::filesystem::exists(data.path(data.samples[99])));
    EXPECT_EQ(data.class_counts(Part::validation), (std::vector<size_t>{4, 4}));
    EXPECT_EQ(data.class_counts(Part::test), (std::vector<size_t>{1, 1}));
    EXPECT_EQ(data.fingerprint.images, 100u);
    EXPECT_EQ(data.fingerprint.bytes, 100 * small_jpeg().size());
    EXPECT_EQ(data.fingerprint.hash, open_dataset(folder.path.string(), {.threads = 3}).fingerprint.hash);
    folder.write("Bad/b0.PNG", {1, 2});
    EXPECT_NE(data.fingerprint.hash, open_dataset(folder.path.string()).fingerprint.hash);
}

TEST(Dataset, part_folders_in_any_case) {
    const TemporaryFolder folder;
    for (const char* part : {"Train", "VALIDATE", "test"})
        for (const char* name : {"a", "b"}) folder.write(std::string(part) + "/" + name + "/x.jpg", small_jpeg());
    const Dataset data = open_dataset(folder.path.string());
    EXPECT_EQ(data.classes.size(), 2u);
    for (const Part part : {Part::train, Part::validation, Part::test})
        EXPECT_EQ(data.class_counts(part), (std::vector<size_t>{1, 1})) << part_name(part);
    EXPECT_TRUE(data.notes.empty());

    std::filesystem::remove_all(folder.path / "VALIDATE");
    for (int i = 0; i < 20; ++i)
        for (const char* name : {"a", "b"})
            folder.write(std::string("Train/") + name + "/" + std::to_string(i) + ".jpg", small_jpeg());
    const Dataset carved = open_dataset(folder.path.string());
    EXPECT_EQ(carved.class_counts(Part::validation), (std::vector<size_t>{2, 2}));
    EXPECT_EQ(carved.class_counts(Part::test), (std::vector<size_t>{1, 1})) << "the given test part stays as it is";
    EXPECT_EQ(carved.notes.size(), 2u) << "how many were taken, and that they have no dates";
}

TEST(Dataset, a_class_may_be_called_train) {
    const TemporaryFolder folder;
    for (const char* name : {"train", "plane"})
        for (int i = 0; i < 4; ++i) folder.write(std::string(name) + "/" + std::to_string(i) + ".jpg", small_jpeg());
    EXPECT_EQ(open_dataset(folder.path.string()).classes, (std::vector<std::string>{"plane", "train"}));
}

TEST(Dataset, csv_with_and_without_header) {
    const TemporaryFolder folder;
    for (int i = 0; i < 4; ++i) folder.write("images/p, " + std::to_string(i) + ".jpg", small_jpeg());
    const std::string plain = folder.write(
        "plain.csv", text_content("\"images/p, 0.jpg\",fox,train,c1\r\n\"./images/p, 1.jpg\",hare,train,c1\r\n"
                                  "\n\"images/p, 2.jpg\",fox,val,c2\n\"images/p, 3.jpg\",\"ha\"\"re\",Train,\n"));
    const Dataset data = open_dataset(plain);
    EXPECT_EQ(data.classes, (std::vector<std::string>{"fox", "ha\"re", "hare"}));
    EXPECT_EQ(data.samples[2].part, Part::validation);
    EXPECT_EQ(data.samples[1].name, "images/p, 1.jpg");
    EXPECT_EQ(data.samples[2].camera, "c2");
    EXPECT_GT(data.samples[0].bytes, 0u);

    const std::string named = folder.write(
        "named.csv",
        text_content("\xef\xbb\xbf"
                     "Label,Camera,File\nfox,north,\"images/p, 0.jpg\"\nhare,south,\"images/p, 1.jpg\"\n"));
    const Dataset other = open_dataset(named);
    EXPECT_EQ(other.samples[0].camera, "north");
    EXPECT_EQ(other.class_counts(Part::train), (std::vector<size_t>{1, 1})) << "one image of a class is for training";
}

TEST(Dataset, mistakes_are_named) {
    const TemporaryFolder folder;
    auto at = [&](const char* name) { return (folder.path / name).string(); };
    expect_error(at("nothing"), "no such folder");
    std::filesystem::create_directories(at("empty"));
    expect_error(at("empty"), "no images");
    folder.write("one/fox/a.jpg", small_jpeg());
    expect_error(at("one"), "only one class, 'fox'");
    std::filesystem::create_directories(at("one/hare"));
    expect_error(at("one"), "class 'hare' has no images");
    folder.write("loose/fox/a.jpg", small_jpeg());
    folder.write("loose/b.jpg", small_jpeg());
    expect_error(at("loose"), "b.jpg is not in a class folder");
    for (const char* name : {"train/a", "train/b", "val/a", "Validation/a", "val/c"})
        folder.write(std::string("twice/") + name + "/x.jpg", small_jpeg());
    expect_error(at("twice"), "both mean validation");
    std::filesystem::remove_all(at("twice/Validation"));
    expect_error(at("twice"), "class 'c' has no training images");
    folder.write("twice/fox/x.jpg", small_jpeg());
    expect_error(at("twice"), "folder fox is beside");

    auto csv = [&](const char* text) { return folder.write("x.csv", text_content(text)); };
    expect_error(csv(""), "no lines");
    expect_error(csv("a.jpg,fox\nb.jpg\n"), "line 2: path or label is empty");
    expect_error(csv("a.jpg,fox,train\nb.jpg,hare,holdout\n"), "line 2: unknown split 'holdout'");
    expect_error(csv("a.jpg,fox,train\nb.jpg,hare\n"), "line 2: no split");
    expect_error(csv("a.jpg,fox\nb.jpg,hare,val\n"), "line 2: split 'val'");
    expect_error(csv("a.jpg,fox\n./a.jpg,hare\n"), "line 2: a.jpg is already on line 1");
    expect_error(csv("a.jpg,fox\n\"b.jpg,hare\n"), "line 2: a quote");
    folder.write("set/a.jpg", small_jpeg());
    std::filesystem::create_directory_symlink("set", folder.path / "link");
    expect_error(csv("set/a.jpg,fox,train\nlink/a.jpg,hare,val\n"), "occurs twice, also as link/a.jpg");
    folder.write("a.jpg", small_jpeg());
    folder.write("b.jpg", small_jpeg());
    EXPECT_EQ(open_dataset(csv("a.jpg,fox\nb.jpg,hare\ngone.jpg,hare\n")).samples[2].bytes, 0u)
        << "one missing file is the loader's to report";
    expect_error(csv("a.jpg,fox\ngone.jpg,hare\ngone2.jpg,hare\n"),
                 "class 'hare': none of its 2 images can be read (first: ");
    folder.write("c.heic", text_content(std::string("\0\0\0\x18", 4) + "ftypheic"));
    expect_error(csv("a.jpg,fox\nc.heic,hare\n"), "c.heic: HEIC ");
    expect_error(csv("a.jpg,fox\nb.jpg,h\xe4re\n"), "line 2: the label is not UTF-8");
}

TEST(Dataset, columns_are_known_or_refused) {
    const TemporaryFolder folder;
    for (const char* name : {"day/a.jpg", "day/b.jpg", "without_extension"}) folder.write(name, small_jpeg());
    const auto csv = [&](const std::string& text) { return folder.write("x.csv", text_content(text)); };
    const Dataset windows = open_dataset(csv("Species,File,RelativePath\nfox,a.jpg,day\nhare,b.jpg,.\\day\n"));
    EXPECT_EQ(windows.samples[0].name, "day/a.jpg");
    EXPECT_EQ(open_dataset(csv("day\\a.jpg,fox\nday\\b.jpg,hare\n")).samples[1].name, "day/b.jpg");
    EXPECT_EQ(open_dataset(csv("without_extension,fox\nday/b.jpg,hare\n")).classes.size(), 2u);
    const Dataset spaced = open_dataset(csv("path, label , camera\nday/a.jpg, fox,\"c1 \"\nday/b.jpg,\" hare\",c1\n"));
    EXPECT_EQ(spaced.classes, (std::vector<std::string>{"fox", "hare"}));
    EXPECT_EQ(spaced.samples[0].camera, spaced.samples[1].camera);
    EXPECT_EQ(open_dataset(csv(",path,label\n0,day/a.jpg,fox\n1,day/b.jpg,hare\n")).classes.size(), 2u);
    expect_error(csv("picture,genus\nday/a.jpg,fox\n"),
                 "line 1: none of the columns 'picture', 'genus' is the path; known columns are path (or file");
    expect_error(csv("path,genus\nday/a.jpg,fox\n"), "is the label; known columns");
    expect_error(csv("fox,day/a.jpg\nhare,day/b.jpg\n"), "line 1: none of the columns");
    expect_error(csv("path,class,species\nday/a.jpg,Mammalia,fox\n"), "columns 'class' and 'species' mean the same");
    expect_error(csv("path,label\nday/a.jpg,fox, red\nday/b.jpg,hare\n"),
                 "line 2: has 3 fields, the first line names 2");
    EXPECT_EQ(open_dataset(csv("path,label,\nday/a.jpg,fox,,\nday/b.jpg,hare,\n")).classes.size(), 2u) << "Excel's";
    expect_error(csv("path,label\n"), "no lines below the names of the columns");
}

TEST(Dataset, one_class_written_in_two_ways) {
    const TemporaryFolder folder;
    for (const char* name : {"a.jpg", "b.jpg", "c.jpg"}) folder.write(name, small_jpeg());
    const auto csv = [&](const std::string& text) { return folder.write("x.csv", text_content(text)); };
    // A non-breaking space, as in what is copied from a web page.
    const Dataset hard =
        open_dataset(csv("a.jpg,fox\nb.jpg,hare\nc.jpg,\xc2\xa0"
                         "fox\xc2\xa0 \n"));
    EXPECT_EQ(hard.classes, (std::vector<std::string>{"fox", "hare"}));
    const Dataset two = open_dataset(csv("a.jpg,Red fox\nb.jpg,hare\nc.jpg,red_fox\n"));
    EXPECT_EQ(two.classes.size(), 3u);
    ASSERT_GE(two.notes.size(), 1u);
    EXPECT_EQ(two.notes[0], "'Red fox' and 'red_fox' are two classes; if they mean the same, give them one name");
    expect_error(csv("a.jpg,fox\nb.jpg,ha" + std::string(1, '\0') + "re\n"), "line 2: the label 'ha");
}

TEST(Dataset, folders_that_are_no_classes) {
    const TemporaryFolder folder;
    for (const char* name : {"fox/a.jpg", "hare/b.jpg", "fox/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "@eaDir/c.jpg",
                             "$Recycle.Bin/d.jpg", "FOUND.000/f.jpg", "fox/~snapshot/a.jpg", "run/checkpoints/e.jpg"})
        folder.write(name, small_jpeg());
    folder.write("run/run.json", {1});
    folder.write("run/config", {1});
    const Dataset data = open_dataset(folder.path.string());
    EXPECT_EQ(data.classes, (std::vector<std::string>{"fox", "hare"}));
    EXPECT_EQ(data.samples.size(), 2u);
    ASSERT_GE(data.notes.size(), 2u);
    EXPECT_NE(data.notes[0].find("run: is a run folder of tundra"), std::string::npos) << data.notes[0];
    EXPECT_NE(data.notes[1].find("5 system folders were left out (first: "), std::string::npos);
    if (geteuid() == 0) return;  // nothing is closed to root
    std::filesystem::permissions(folder.path / "hare", std::filesystem::perms::none);
    expect_error(folder.path.string(), "class 'hare' has no images: ");
    expect_error(folder.path.string(), "hare: Permission denied");
    std::filesystem::permissions(folder.path / "hare", std::filesystem::perms::owner_all);
}

TEST(Dataset, bursts_by_exif_stay_together) {
    const TemporaryFolder folder;
    const Image image = sample_image(4, 4);
    for (int burst = 0; burst < 60; ++burst)
        for (int shot = 0; shot < 3; ++shot) {
            char date[32];
            snprintf(date, sizeof date, "2024:07:%02d %02d:%02d:%02d", 1 + burst / 20, burst % 20, 59, 20 * shot);
            const Exif exif{.date = date, .make = "TUNDRA", .model = "Cam", .serial = burst % 2 ? "s1" : "s2"};
            const std::string name = (burst / 2 % 2 ? "fox/" : "hare/") + std::to_string(burst * 3 + shot) + ".jpg";
            folder.write(name, jpeg_of(image, {}, &exif));
        }
    const Dataset data = open_dataset(folder.path.string(), {.seed = 3, .threads = 2});
    std::map<int, std::set<Part>> parts;
    for (const Sample& sample : data.samples) {
        EXPECT_TRUE(sample.camera == "s1" || sample.camera == "s2");
        parts[std::stoi(sample.name.substr(sample.name.find('/') + 1)) / 3].insert(sample.part);
    }
    EXPECT_EQ(parts.size(), 60u);
    for (const auto& [burst, in] : parts) EXPECT_EQ(in.size(), 1u) << "burst " << burst << " is in two parts";
    for (const size_t count : data.class_counts(Part::validation)) EXPECT_NEAR(double(count), 7.2, 2.2);
    for (const size_t count : data.class_counts(Part::test)) EXPECT_NEAR(double(count), 1.8, 1.8);

    const Dataset by_camera = open_dataset(folder.path.string(), {.split_by = SplitBy::camera});
    std::map<std::string, std::set<Part>> cameras;
    for (const Sample& sample : by_camera.samples) cameras[sample.camera].insert(sample.part);
    for (const auto& [camera, in] : cameras) EXPECT_EQ(in.size(), 1u) << camera;
}

TEST(Dataset, names_in_the_other_form_of_unicode) {
    const TemporaryFolder folder;
    const std::string nfc = "\xc3\xa9", nfd = "e\xcc\x81";
    std::string lines = "path,label\n";
    for (int i = 0; i < 12; ++i) {
        folder.write("ba" + nfd + "/" + std::to_string(i) + nfd + ".jpg", small_jpeg());
        lines += "ba" + nfc + "/" + std::to_string(i) + nfc + ".jpg," + (i % 2 ? "fox" : i % 4 ? nfc : nfd) + "\n";
    }
    folder.write("labels.csv", text_content(lines));
    if (error_of((folder.path / "labels.csv").string()) != "no error") GTEST_SKIP() << "built without utf8proc";
    const Dataset data = open_dataset((folder.path / "labels.csv").string());
    for (const Sample& sample : data.samples) EXPECT_TRUE(std::filesystem::exists(data.path(sample))) << sample.name;
    for (const char* part : {"12 names were found in another", "are two classes; if they mean the same"})
        EXPECT_TRUE(std::ranges::any_of(data.notes, [&](const std::string& t) { return t.find(part) != t.npos; }));
    folder.write("labels.csv", text_content(lines + "ba" + nfd + "/3" + nfd + ".jpg,fox\n"));
    expect_error((folder.path / "labels.csv").string(), "is already on line");
}

TEST(Dataset, dates_of_png) {
    const TemporaryFolder folder;
    const FileContent plain = png_of(sample_image(4, 4));
    const std::vector<uint8_t> segment = exif_segment({.date = "2024:07:31 13:05:59", .serial = "s7"});
    FileContent dated(plain.begin(), plain.begin() + 33);
    append_chunk(dated, "eXIf", {segment.begin() + 6, segment.end()});
    dated.insert(dated.end(), plain.begin() + 33, plain.end());
    for (const char* name : {"a/1.png", "a/2.png", "b/1.png", "b/2.png"}) folder.write(name, dated);
    for (const Sample& sample : open_dataset(folder.path.string(), {.for_training = false}).samples) {
        EXPECT_EQ(sample.time, exif_seconds("2024:07:31 13:05:59"));
        EXPECT_EQ(sample.camera, "s7");
    }
}

TEST(Split, depends_on_the_seed_alone) {
    std::vector<Sample> samples;
    for (uint32_t i = 0; i < 1000; ++i)
        samples.push_back(
            {.name = fmt::format("{:04}.jpg", i), .label = i % 10 == 0, .camera = i % 3 ? "a" : "", .time = -1});
    auto parted = [&](uint64_t seed) {
        std::vector<Sample> copy = samples;
        split_samples(copy, {.seed = seed, .by = SplitBy::sequence, .validation = 0.08, .test = 0.02, .classes = 2});
        std::string parts;
        for (const Sample& sample : copy) parts += part_name(sample.part)[0] == 't' ? part_name(sample.part)[1] : 'v';
        return parts;
    };
    EXPECT_EQ(parted(1), parted(1));
    EXPECT_NE(parted(1), parted(2));
    const std::string parts = parted(5);
    EXPECT_EQ(std::count(parts.begin(), parts.end(), 'v'), 72 + 8);
    EXPECT_EQ(std::count(parts.begin(), parts.end(), 'e'), 18 + 2);
}

// An image and a link to it, in whatever folders: training and validation would see the same.
TEST(Dataset, links_to_files) {
    const TemporaryFolder folder;
    for (const char* name : {"train/fox/a.jpg", "train/hare/b.jpg", "val/fox/c.jpg", "val/hare/d.jpg"})
        folder.write(name, small_jpeg());
    EXPECT_EQ(open_dataset(folder.path.string()).samples.size(), 4u) << "equal bytes are no links";
    const std::filesystem::path original = folder.path / "train/fox/a.jpg", other = folder.path / "val/hare/x.jpg";
    for (const bool hard : {false, true}) {
        hard ? create_hard_link(original, other) : create_symlink(original, other);
        expect_error(folder.path.string(), "val/hare/x.jpg: is one file with " + original.string());
        std::filesystem::remove(other);
    }
    create_symlink(original, folder.path / "train/fox/z.jpg");
    expect_error(folder.path.string(), "train/fox/z.jpg: is one file with");
    const Dataset allowed = open_dataset(folder.path.string(), {.links = true});
    EXPECT_EQ(allowed.samples.size(), 5u);
    EXPECT_TRUE(std::ranges::any_of(allowed.notes, [](const std::string& note) {
        return note.starts_with("1 images are links to others of them: they count twice");
    }));
    // Results per name, as of detect, are only told.
    create_symlink("a.jpg", folder.path / "train/fox/y.jpg");
    const Listing listing = list_images((folder.path / "train").string());
    EXPECT_EQ(listing.files.size(), 4u);
    EXPECT_EQ(listing.problems, std::vector<std::string>{"2 images are links to others of them, and count as images of "
                                                         "their own (first: fox/y.jpg is fox/a.jpg)"});
}

TEST(Dataset, labels_that_are_missing) {
    const TemporaryFolder folder;
    for (const char* name : {"a.jpg", "b.jpg", "c.jpg"}) folder.write(name, small_jpeg());
    const std::string csv = folder.write("x.csv", text_content("file,label,site,camera\na.jpg,NA,NA,<NA>\n"
                                                               "b.jpg,fox,NA,c1\nc.jpg,NA,north,NA\n"));
    const Dataset data = open_dataset(csv);
    ASSERT_FALSE(data.notes.empty());
    EXPECT_TRUE(data.notes[0].starts_with("'NA' is a class of 2 images (first: a.jpg), and what other programs write"));
    EXPECT_EQ(data.samples[0].camera, "");
    EXPECT_EQ(data.samples[1].camera, "c1");
    EXPECT_EQ(data.samples[2].camera, "north");
}

TEST(Listing, links_and_names) {
    const TemporaryFolder folder;
    folder.write("a/b/z.jpeg", {1});
    folder.write("a/.hidden/y.jpg", {1});
    folder.write("folder.jpg/x.TIFF", {1});
    std::filesystem::create_directory_symlink(folder.path / "a", folder.path / "a" / "b" / "loop");
    EXPECT_EQ(list_images(folder.path.string()).files, (std::vector<std::string>{"a/b/z.jpeg", "folder.jpg/x.TIFF"}));
    // A link keeps no name from a folder below, wherever it stands; of two links to a folder elsewhere the first wins.
    const TemporaryFolder elsewhere;
    elsewhere.write("x.jpg", {1});
    std::filesystem::create_directory_symlink("a", folder.path / "0_link");
    std::filesystem::create_directory_symlink(elsewhere.path, folder.path / "y_link");
    std::filesystem::create_directory_symlink(elsewhere.path, folder.path / "a" / "w_link");
    std::filesystem::create_directory_symlink(elsewhere.path, folder.path / "x_link");
    EXPECT_EQ(list_images(folder.path.string()).files,
              (std::vector<std::string>{"a/b/z.jpeg", "a/w_link/x.jpg", "folder.jpg/x.TIFF"}));
    EXPECT_FALSE(is_image_name("noextension"));
    EXPECT_FALSE(is_image_name("a.jpg/readme"));
    EXPECT_TRUE(is_image_name("IMG.0001.JPG"));
}

TEST(Csv, round_trip) {
    const std::vector<std::string> fields{"plain", "with, comma", "with \"quotes\"", "two\nlines", ""};
    std::string text;
    for (const std::string& field : fields) text += (text.empty() ? "" : ",") + csv_field(field);
    const std::vector<CsvRow> rows = parse_csv(text + "\n", "x");
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(rows[0].fields, fields);
}

TEST(Csv, as_spreadsheets_save_it) {
    using Fields = std::vector<std::vector<std::string>>;
    const auto fields = [](const std::string& text) {
        Fields fields;
        for (const CsvRow& row : parse_csv(text, "x.csv")) fields.push_back(row.fields);
        return fields;
    };
    const Fields expected{{"path", "label"}, {"a, b.jpg", "f\xc3\xbc\xf0\x9f\xa6\x8a"}};
    EXPECT_EQ(fields("path;label\r\na, b.jpg;f\xc3\xbc\xf0\x9f\xa6\x8a\r\n;\r\n"), expected);
    EXPECT_EQ(fields("sep=|\r\npath|label\r\na, b.jpg|f\xc3\xbc\xf0\x9f\xa6\x8a"), expected);
    EXPECT_EQ(fields("\"SEP=|\"\r\npath|label\r\na, b.jpg|f\xc3\xbc\xf0\x9f\xa6\x8a"), expected);
    EXPECT_EQ(fields("#TYPE System.IO.FileInfo\r\n\"path\";\"label\"\r\n\"a, b.jpg\";\"f\xc3\xbc\xf0\x9f\xa6\x8a\""),
              expected)
        << "PowerShell's";
    EXPECT_THROW(fields("PK\x03\x04 workbook"), Error);
    EXPECT_EQ(fields("path\tlabel\ra, b.jpg\tf\xc3\xbc\xf0\x9f\xa6\x8a\r"), expected);
    EXPECT_EQ(fields(" path , label\n \"a, b.jpg\" ,f\xc3\xbc\xf0\x9f\xa6\x8a \n"), expected);
    EXPECT_EQ(fields("a;1.jpg,fox\nb.jpg,hare\n"), (Fields{{"a;1.jpg", "fox"}, {"b.jpg", "hare"}}));
    EXPECT_EQ(fields("a, 1.jpg;fox\nb.jpg;hare\n"), (Fields{{"a, 1.jpg", "fox"}, {"b.jpg", "hare"}}));
    EXPECT_EQ(fields("\" a \", b\n"), (Fields{{" a ", "b"}}));

    std::string little;
    for (const int unit :
         std::initializer_list<int>{'p', 'a', 't', 'h', '\t', 'l', 'a', 'b',  'e', 'l',  '\r',   '\n',  'a',
                                    ',', ' ', 'b', '.', 'j',  'p', 'g', '\t', 'f', 0xfc, 0xd83e, 0xdd8a})
        (little += char(unit & 0xff)) += char(unit >> 8);
    std::string big = little;
    for (size_t i = 0; i < big.size(); i += 2) std::swap(big[i], big[i + 1]);
    EXPECT_EQ(fields("\xff\xfe" + little), expected);
    EXPECT_EQ(fields("\xfe\xff" + big), expected);
    EXPECT_EQ(fields(little), expected) << "without a mark";
    EXPECT_EQ(fields(big), expected);
    for (const size_t cut : {1, 2}) EXPECT_THROW(fields(little.substr(0, little.size() - cut)), Error);
}
