// Dates where cameras write them; and no note calls a validation clean that shares scenes with training.
#include "data/bursts.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/exif.h"
#include "tests/exif_tags.h"

namespace {

const FileContent& small_jpeg() {
    static const FileContent file = jpeg_of(sample_image(4, 4));
    return file;
}

std::string all_notes(const Dataset& data) {
    std::string text;
    for (const std::string& note : data.notes) text += note + "\n";
    return text;
}

void says(const Dataset& data, const std::string& part, bool yes = true) {
    const std::string notes = all_notes(data);
    EXPECT_EQ(notes.find(part) != notes.npos, yes) << part << " in:\n" << notes;
}

// 30 bursts of 4 images in each of two classes; `tags` of the image at a second since the first of July.
template <class Tags>
void write_bursts(const TemporaryFolder& folder, Tags&& tags, int between = 86388) {
    for (int burst = 0; burst < 30; ++burst)
        for (int shot = 0; shot < 4; ++shot)
            for (const char* name : {"fox", "hare"}) {
                const int seconds = burst * between + shot * 4 + (name[0] == 'h' ? between / 2 : 0);
                char date[32];
                snprintf(date, sizeof date, "2024:07:%02d %02d:%02d:%02d", 1 + seconds / 86400, seconds / 3600 % 24,
                         seconds / 60 % 60, seconds % 60);
                folder.write(fmt::format("{}/{:02}_{}.jpg", name, burst, shot), with_exif(small_jpeg(), tags(date)));
            }
}

size_t torn_bursts(const Dataset& data) {
    std::map<std::string, std::set<Part>> parts;
    for (const Sample& s : data.samples) parts[s.name.substr(0, s.name.rfind('_'))].insert(s.part);
    return size_t(std::ranges::count_if(parts, [](const auto& burst) { return burst.second.size() > 1; }));
}

void put(std::string& bytes, size_t at, std::initializer_list<int> numbers, size_t step) {
    for (const int number : numbers) {
        bytes[at] = char(number);
        if (step == 2) bytes[at + 1] = char(number >> 8);
        at += step;
    }
}

}  // namespace

TEST(Dates, stand_in_every_tag_that_cameras_use) {
    const std::string a = "2024:05:01 06:10:00", b = "2024:05:02 06:10:00", c = "2024:05:03 06:10:00";
    const auto date = [](const std::vector<ExifTagBytes>& tags) {
        return read_exif(with_exif(small_jpeg(), tags)).date;
    };
    EXPECT_EQ(date({{true, 0x0132, c}, {false, 0x9003, a}, {false, 0x9004, b}}), a);
    EXPECT_EQ(date({{true, 0x0132, c}, {false, 0x9004, b}}), b);
    EXPECT_EQ(date({{true, 0x0132, c}}), c);
    EXPECT_EQ(date({{true, 0x0132, c}, {false, 0x9003, "0000:00:00 00:00:00"}}), c) << "a clock that was never set";
    EXPECT_EQ(date({{true, 0x0132, c}, {false, 0x9003, "    :  :     :  :  "}}), c);
    EXPECT_EQ(date({}), "");
    for (const char* other :
         {"2024-05-01 06:10:00", "2024/05/01 06:10:00", "2024-05-01T06:10:00", "2024:05:01 06:10:00Z"})
        EXPECT_EQ(exif_seconds(other), exif_seconds(a)) << other;
    EXPECT_EQ(exif_seconds("2024+05+01 06:10:00"), -1);
}

TEST(Dates, maker_notes_of_Reconyx) {
    std::string hyperfire(0x56, 0), ultrafire(0x70, 0), hyperfire2(0xa0, 0);
    hyperfire.replace(0, 2, "\x01\xf1");
    put(hyperfire, 0x16, {7, 30, 23, 12, 31, 2019}, 2);
    put(hyperfire, 0x2a, {'H', '1', '2'}, 2);
    ultrafire.replace(0, 9, "RECONYXUF");
    put(ultrafire, 0x3b, {7, 30, 23, 31, 12, 2019 & 255, 2019 >> 8}, 1);
    put(ultrafire, 0x4b, {'H', '1', '2'}, 1);
    hyperfire2.replace(0, 9, "RECONYXH2");
    put(hyperfire2, 0x3e, {7, 30, 23, 31, 12, 2019}, 2);
    put(hyperfire2, 0x7e, {'H', '1', '2'}, 2);
    std::string swapped = hyperfire;
    for (size_t at = 0x16; at < 0x22; at += 2) std::swap(swapped[at], swapped[at + 1]);
    for (const std::string& note : {hyperfire, ultrafire, hyperfire2, swapped}) {
        const auto with = [&](const std::string& make, const std::string& content) {
            return read_exif(with_exif(small_jpeg(), {{true, 0x010f, make}, {false, 0x927c, content, false}}));
        };
        EXPECT_EQ(with("RECONYX", note).date, "2019:12:31 23:30:07");
        EXPECT_EQ(with("RECONYX", note).serial, "H12");
        EXPECT_EQ(with("OTHER", note).date, "");
        EXPECT_EQ(with("RECONYX", note.substr(0, 0x44)).date, "") << "cut off";
        std::string unset = note;
        std::fill(unset.begin() + 0x16, unset.end(), 0);
        EXPECT_EQ(with("RECONYX", unset).date, "");
    }
}

TEST(Bursts, stay_together_by_every_date) {
    for (const bool main : {true, false}) {
        const TemporaryFolder folder;
        write_bursts(folder, [&](const char* date) {
            return std::vector<ExifTagBytes>{{main, uint16_t(main ? 0x0132 : 0x9004), date}};
        });
        const Dataset data = open_dataset(folder.path.string(), {.validation = 0.2, .test = 0.2});
        EXPECT_EQ(torn_bursts(data), 0u);
        EXPECT_EQ(data.notes.size(), 1u) << all_notes(data);
        says(data, "split by seed 0, bursts kept together: ");
    }
}

TEST(Bursts, without_dates_are_never_said_to_be_kept) {
    const TemporaryFolder folder;
    write_bursts(folder, [](const char*) { return std::vector<ExifTagBytes>{}; });
    const Dataset data = open_dataset(folder.path.string(), {.validation = 0.2});
    EXPECT_GT(torn_bursts(data), 0u);
    says(data, "bursts kept together", false);
    says(data, "240 of 240 images have no date: their bursts cannot be told apart");
    says(data, "use --split-by camera");
    says(open_dataset(folder.path.string(), {.split_by = SplitBy::camera}), "240 of 240 images name no camera");

    folder.write("fox/dated.jpg", with_exif(small_jpeg(), {{true, 0x0132, "2024:05:01 06:10:00"}}));
    const Dataset some = open_dataset(folder.path.string());
    says(some, "bursts kept together");
    says(some, "240 of 241 images have no date");
    EXPECT_EQ(open_dataset(folder.path.string(), {.validation = 0, .test = 0}).notes.size(), 1u) << "nothing is parted";
}

TEST(Bursts, time_lapse_is_named) {
    const auto dated = [](const char* date) { return std::vector<ExifTagBytes>{{true, 0x0132, date}}; };
    const TemporaryFolder gapless, regular;
    write_bursts(gapless, dated, 60);
    says(open_dataset(gapless.path.string()), "240 of 240 images follow each other without a gap of 60 s");
    says(open_dataset(gapless.path.string()), "no images are left for validation");
    write_bursts(regular, dated, 600);
    says(open_dataset(regular.path.string()),
         "1 cameras took images at a fixed interval (time-lapse; first: '', every");
    says(open_dataset(regular.path.string(), {.split_by = SplitBy::camera}), "fixed interval", false);
}

TEST(Bursts, that_given_parts_tear_are_counted) {
    const TemporaryFolder folder;
    const std::pair<const char*, const char*> images[] = {{"train/fox/a.jpg", "2024:05:01 06:10:00"},
                                                          {"val/fox/b.jpg", "2024:05:01 06:10:05"},
                                                          {"train/hare/c.jpg", "2024:05:01 08:10:00"},
                                                          {"val/hare/d.jpg", "2024:05:01 09:10:00"}};
    for (const auto& [name, date] : images) folder.write(name, with_exif(small_jpeg(), {{true, 0x0132, date}}));
    const Dataset data = open_dataset(folder.path.string());
    ASSERT_EQ(data.notes.size(), 1u) << all_notes(data);
    EXPECT_EQ(
        data.notes[0],
        "1 bursts lie in several parts (first: train/fox/a.jpg in train, val/fox/b.jpg in validation): validation and "
        "test metrics are too optimistic");
}
