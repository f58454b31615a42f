// JPEG and EXIF written here are read back by libexif and keep their fields.
#include "data/jpeg_writer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace {

std::vector<uint8_t> ramp(size_t h, size_t w) {
    std::vector<uint8_t> rgb(h * w * 3);
    for (size_t i = 0; i < rgb.size(); ++i) rgb[i] = uint8_t(i * 7 % 251);
    return rgb;
}

}  // namespace

TEST(JpegWriter, keeps_exif) {
    const Exif wanted{
        .date = "2024:07:31 13:05:59", .make = "TUNDRA", .model = "Cam 3", .serial = "H-0042", .orientation = 6};
    const std::vector<uint8_t> rgb = ramp(9, 13), bytes = encode_jpeg(rgb.data(), 9, 13, {}, &wanted);
    const Exif got = read_exif(bytes);
    EXPECT_EQ(got.date, wanted.date);
    EXPECT_EQ(got.make, wanted.make);
    EXPECT_EQ(got.model, wanted.model);
    EXPECT_EQ(got.serial, wanted.serial);
    EXPECT_EQ(got.orientation, 6);
    EXPECT_EQ(encode_jpeg(rgb.data(), 9, 13, {}, &wanted), bytes) << "the same pixels gave other bytes";
}

TEST(JpegWriter, no_exif_is_no_error) {
    const std::vector<uint8_t> rgb = ramp(5, 5), bytes = encode_jpeg(rgb.data(), 5, 5);
    EXPECT_EQ(read_exif(bytes).orientation, 1);
    EXPECT_EQ(read_exif(bytes).date, "");
    EXPECT_EQ(read_exif({}).make, "");
}

TEST(JpegWriter, damaged_exif_never_fails) {
    const Exif exif{
        .date = "2024:07:31 13:05:59", .make = "TUNDRA", .model = "Cam 3", .serial = "H-0042", .orientation = 6};
    const std::vector<uint8_t> rgb = ramp(8, 8), sound = encode_jpeg(rgb.data(), 8, 8, {}, &exif);
    for (size_t at = 0; at < std::min<size_t>(sound.size(), 260); ++at) {
        std::vector<uint8_t> bytes = sound;
        for (const uint8_t value : {0x00, 0xff, 0x7f}) {
            bytes[at] = value;
            const Exif got = read_exif(bytes);
            EXPECT_GE(got.orientation, 1);
            EXPECT_LE(got.orientation, 8);
            EXPECT_LE(got.make.size(), 64u);
        }
        bytes.resize(at);
        (void)read_exif(bytes);
    }
}

TEST(JpegWriter, names_the_path_that_failed) {
    const std::vector<uint8_t> rgb = ramp(2, 2);
    try {
        write_jpeg("/nonexistent/folder/x.jpg", rgb.data(), 2, 2);
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("/nonexistent/folder/x.jpg"), std::string::npos);
    }
}

TEST(Exif, dates) {
    EXPECT_EQ(exif_seconds("1970:01:02 00:00:01"), 86401);
    EXPECT_EQ(exif_seconds("2024:02:29 12:00:00"), 1709208000);
    EXPECT_EQ(exif_seconds("2023:02:29 12:00:00"), -1);
    EXPECT_EQ(exif_seconds("0000:00:00 00:00:00"), -1);
    EXPECT_EQ(exif_seconds(""), -1);
}
