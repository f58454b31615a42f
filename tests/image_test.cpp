// Every kind of good, odd and broken image file decodes to the right pixels or to its reason.
#include "data/image.h"

#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <random>

#include "tests/images.h"

namespace {

void expect_close(const Image& got, const Image& want, double mean, int largest) {
    ASSERT_EQ(got.h, want.h);
    ASSERT_EQ(got.w, want.w);
    const Difference d = difference(got.rgb, want.rgb);
    EXPECT_LE(d.mean, mean);
    EXPECT_LE(d.largest, largest);
}

Decoded decoded(const FileContent& file, const DecodeOptions& options = {}) { return decode_image(file, options); }

// Where orientation o takes the image, straight from the table of the standard: row 0 and column 0 of what is stored
// are the named sides of what a person sees.
Image by_table(const Image& stored, int o) {
    Image seen{.h = o >= 5 ? stored.w : stored.h, .w = o >= 5 ? stored.h : stored.w, .rgb = {}};
    seen.rgb.resize(stored.rgb.size());
    for (size_t r = 0; r < stored.h; ++r)
        for (size_t c = 0; c < stored.w; ++c) {
            const size_t last_r = stored.h - 1 - r, last_c = stored.w - 1 - c;
            size_t y = 0, x = 0;
            switch (o) {
                case 1: y = r, x = c; break;            // top, left
                case 2: y = r, x = last_c; break;       // top, right
                case 3: y = last_r, x = last_c; break;  // bottom, right
                case 4: y = last_r, x = c; break;       // bottom, left
                case 5: y = c, x = r; break;            // left, top
                case 6: y = c, x = last_r; break;       // right, top: row 0 is the right side
                case 7: y = last_c, x = last_r; break;  // right, bottom
                case 8: y = last_c, x = r; break;       // left, bottom
            }
            for (size_t k = 0; k < 3; ++k) seen.rgb[(y * seen.w + x) * 3 + k] = stored.rgb[(r * stored.w + c) * 3 + k];
        }
    return seen;
}

}  // namespace

TEST(Image, jpeg_kinds) {
    const Image image = sample_image(61, 83);
    for (const bool progressive : {false, true})
        for (const bool full_chroma : {false, true}) {
            const Decoded got =
                decoded(jpeg_of(image, {.quality = 95, .progressive = progressive, .full_chroma = full_chroma}));
            EXPECT_EQ(got.trouble, DecodeStatus::none) << got.text;
            expect_close(got.image, image, 2, 60);  // chroma at half size blurs the disc's edge
        }
    FileContent grey(61 * 83);
    for (size_t i = 0; i < grey.size(); ++i) grey[i] = image.rgb[3 * i];
    const Decoded got = decoded(jpeg_of_samples(grey, 61, 83, TJPF_GRAY, TJSAMP_GRAY));
    ASSERT_TRUE(got.usable());
    for (size_t i = 0; i < grey.size(); ++i) {
        ASSERT_NEAR(got.image.rgb[3 * i], grey[i], 12);
        ASSERT_EQ(got.image.rgb[3 * i], got.image.rgb[3 * i + 1]);
        ASSERT_EQ(got.image.rgb[3 * i], got.image.rgb[3 * i + 2]);
    }
}

TEST(Image, cmyk_with_and_without_adobe_mark) {
    const Image image = sample_image(40, 56);
    FileContent adobe(40 * 56 * 4);
    for (size_t i = 0; i < 40 * 56; ++i) {  // black ink of a fifth everywhere, inverted as Adobe keeps it
        for (size_t c = 0; c < 3; ++c) adobe[4 * i + c] = image.rgb[3 * i + c];
        adobe[4 * i + 3] = 204;
    }
    Image darker = image;
    for (uint8_t& value : darker.rgb) value = uint8_t(value * 204 / 255);
    const FileContent file = jpeg_of_samples(adobe, 40, 56, TJPF_CMYK, TJSAMP_444);
    ASSERT_FALSE(find_segment(file, 0xee, "Adobe").empty());
    expect_close(decoded(file).image, darker, 3, 30);

    // Without the mark the decoder takes the stored luma and chroma (200, 128, 128) for inks; 255 is no ink there too,
    // as for Pillow and OpenCV.
    FileContent plain;
    for (size_t i = 0; i < 16 * 16; ++i) plain.insert(plain.end(), {55, 55, 55, 51});
    FileContent unmarked = jpeg_of_samples(plain, 16, 16, TJPF_CMYK, TJSAMP_444);
    const Bytes mark = find_segment(unmarked, 0xee, "Adobe");
    ASSERT_FALSE(mark.empty());
    unmarked[size_t(mark.data() - unmarked.data())] = 'X';
    const Decoded got = decoded(unmarked);
    ASSERT_TRUE(got.usable());
    EXPECT_NEAR(got.image.rgb[0], 200 * 51 / 255, 2);
    EXPECT_NEAR(got.image.rgb[1], 128 * 51 / 255, 2);
}

TEST(Image, png_kinds) {
    const Image image = sample_image(17, 23);
    expect_close(decoded(png_of(image)).image, image, 0, 0);

    FileContent sixteen, alpha;
    for (size_t i = 0; i < image.rgb.size(); ++i) {
        sixteen.insert(sixteen.end(), {image.rgb[i], uint8_t(i)});
        alpha.push_back(image.rgb[i]);
        if (i % 3 == 2) alpha.push_back(uint8_t(i));
    }
    expect_close(decoded(png_of({.w = 23, .h = 17, .depth = 16, .colour = 2, .rows = sixteen})).image, image, 0, 0);
    expect_close(decoded(png_of({.w = 23, .h = 17, .depth = 8, .colour = 6, .rows = alpha})).image, image, 0, 0);

    const FileContent palette{10, 20, 30, 200, 100, 50};
    const Decoded got =
        decoded(png_of({.w = 3, .h = 1, .depth = 1, .colour = 3, .rows = {0b01000000}, .palette = palette}));
    EXPECT_EQ(got.image.rgb, (FileContent{10, 20, 30, 200, 100, 50, 10, 20, 30})) << got.text;
    const Decoded grey = decoded(png_of({.w = 2, .h = 1, .depth = 16, .colour = 0, .rows = {7, 255, 90, 0}}));
    EXPECT_EQ(grey.image.rgb, (FileContent{7, 7, 7, 90, 90, 90})) << grey.text;
}

TEST(Image, all_orientations) {
    const Image stored = sample_image(5, 7);
    for (int o = 1; o <= 8; ++o) EXPECT_EQ(turned(stored, o).rgb, by_table(stored, o).rgb) << "orientation " << o;
    const Image larger = sample_image(48, 64);
    for (int o = 1; o <= 8; ++o) {
        const Exif exif{.orientation = o};
        const FileContent file = jpeg_of(larger, {.quality = 95, .full_chroma = true}, &exif);
        expect_close(decoded(file).image, by_table(larger, o), 2, 40);
        expect_close(decoded(file, {.orient = false}).image, larger, 2, 40);
        EXPECT_EQ(decoded(file).full_h, o >= 5 ? 64u : 48u);
    }
}

TEST(Image, reduced_decode_is_near_the_full_one) {
    const Image image = sample_image(600, 800);
    const FileContent file = jpeg_of(image, {.quality = 90});
    const Decoded half = decoded(file, {.enough_h = 300, .enough_w = 400});
    EXPECT_EQ(half.image.h, 300u);
    EXPECT_EQ(half.full_h, 600u);
    EXPECT_EQ(decoded(file, {.enough_h = 301, .enough_w = 400}).image.h, 600u) << "smaller than asked for";
    EXPECT_EQ(decoded(file, {.enough_h = 70, .enough_w = 90}).image.h, 75u);
    EXPECT_EQ(decoded(file, {.enough_h = 70, .enough_w = 101}).image.h, 150u);
    const Exif exif{.orientation = 6};
    EXPECT_EQ(decoded(jpeg_of(image, {}, &exif), {.enough_h = 400, .enough_w = 300}).image.h, 400u);
}

TEST(Image, truncated_files_come_as_far_as_they_go) {
    const Image image = sample_image(120, 160);
    for (const bool progressive : {false, true}) {
        const FileContent whole = jpeg_of(image, {.quality = 95, .progressive = progressive});
        FileContent cut(whole.begin(), whole.begin() + long(whole.size() * 6 / 10));
        const Decoded got = decoded(cut);
        EXPECT_EQ(got.trouble, DecodeStatus::truncated) << got.text;
        ASSERT_TRUE(got.usable());
        if (!progressive) {  // the upper third is sound
            const size_t third = image.rgb.size() / 3;
            const FileContent upper(got.image.rgb.begin(), got.image.rgb.begin() + long(third));
            EXPECT_LT(difference(upper, FileContent(image.rgb.begin(), image.rgb.begin() + long(third))).mean, 2);
        }
        const Decoded refused = decoded(cut, {.accept_damaged = false});
        EXPECT_EQ(refused.trouble, DecodeStatus::truncated);
        EXPECT_FALSE(refused.usable());
    }
    FileContent png = png_of(image);
    png.resize(png.size() / 2);
    EXPECT_EQ(decoded(png).trouble, DecodeStatus::truncated);
}

TEST(Image, broken_files_have_reasons) {
    const FileContent whole = jpeg_of(sample_image(120, 160));
    EXPECT_EQ(decoded({}).trouble, DecodeStatus::empty_file);
    EXPECT_EQ(decoded({0xff, 0xd8}).trouble, DecodeStatus::not_an_image);
    EXPECT_EQ(decoded({0xff, 0xd8, 0xff}).trouble, DecodeStatus::truncated);
    EXPECT_FALSE(decoded({0xff, 0xd8, 0xff, 0xd9}).usable());
    for (size_t size = 3; size < 600; ++size)  // cut within the header
        EXPECT_EQ(decoded(FileContent(whole.begin(), whole.begin() + long(size))).trouble, DecodeStatus::truncated)
            << size;
    EXPECT_EQ(decoded(FileContent(100, 0)).trouble, DecodeStatus::not_an_image);
    EXPECT_EQ(decoded(text_content("just a note, named .jpg")).trouble, DecodeStatus::not_an_image);
    for (const char* cut : {"GIF89a and some more", "RIFF....WEBPVP8 ", "II*"}) {
        EXPECT_NE(decoded(text_content(cut)).trouble, DecodeStatus::none) << cut;
        EXPECT_FALSE(decoded(text_content(cut)).usable()) << cut;
    }
    const DecodeStatus heic = decoded(text_content("....ftypheic")).trouble;  // cut off, where libheif looks at it
    EXPECT_TRUE(heic == DecodeStatus::unsupported || heic == DecodeStatus::truncated || heic == DecodeStatus::corrupt);
    EXPECT_NE(decoded(text_content("....ftypheic")).text.find("HEIC"), std::string::npos);

    FileContent hole = whole;
    std::fill(hole.begin() + long(hole.size() / 2), hole.begin() + long(hole.size() / 2) + 400, 0);
    const Decoded got = decoded(hole);
    EXPECT_NE(got.trouble, DecodeStatus::none);
    EXPECT_TRUE(got.usable());

    FileContent png = png_of(sample_image(30, 30));
    png[png.size() / 2] ^= 0x10;
    EXPECT_EQ(decoded(png).trouble, DecodeStatus::corrupt) << "a flipped bit in a PNG";
}

TEST(Image, every_reason_is_documented) {
    std::ifstream file(std::string(TUNDRA_TESTS) + "/../docs/reference.md");
    const std::string page{std::istreambuf_iterator<char>(file), {}};
    for (int trouble = 1; trouble <= int(DecodeStatus::out_of_memory); ++trouble) {
        const std::string code = trouble_code(DecodeStatus(trouble));
        EXPECT_NE(page.find("\n| `" + code + "` | "), page.npos) << code;
    }
}

TEST(Image, bombs_are_refused_before_memory_is_taken) {
    FileContent file = jpeg_of(sample_image(120, 160));
    size_t sof = 2;
    while (file[sof + 1] != 0xc0) sof += 2 + (size_t(file[sof + 2]) << 8 | file[sof + 3]);
    for (const size_t at : {sof + 5, sof + 7}) file[at] = 0xff, file[at + 1] = 0xdc;  // 65500
    const Decoded got = decoded(file);
    EXPECT_EQ(got.trouble, DecodeStatus::too_large);
    EXPECT_NE(got.text.find("65500"), std::string::npos);
    EXPECT_EQ(decoded(jpeg_of(sample_image(20, 20)), {.max_pixels = 399}).trouble, DecodeStatus::too_large);

    FileContent header;
    append_big_endian(header, 60000);
    append_big_endian(header, 60000);
    header.insert(header.end(), {8, 2, 0, 0, 0});
    FileContent png{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    append_chunk(png, "IHDR", header);
    EXPECT_EQ(decoded(png).trouble, DecodeStatus::too_large) << decoded(png).text;

    // 1 x 1 pixels by the header, 16 MB when unpacked.
    const FileContent zeros(16 << 20, 0);
    const Decoded bomb = decoded(png_of({.w = 1, .h = 1, .depth = 8, .colour = 0, .rows = zeros}));
    EXPECT_EQ(bomb.trouble, DecodeStatus::too_large) << bomb.text;
}

TEST(Image, scan_bombs_end) {
    const FileContent whole = jpeg_of(sample_image(64, 64), {.progressive = true});
    size_t last = whole.size();  // the last scan, repeated: each repetition is legal by itself
    for (size_t i = 0; i + 1 < whole.size(); ++i)
        if (whole[i] == 0xff && whole[i + 1] == 0xda) last = i;
    FileContent file(whole.begin(), whole.end() - 2);
    const FileContent scan(whole.begin() + long(last), whole.end() - 2);
    for (int i = 0; i < 2000; ++i) file.insert(file.end(), scan.begin(), scan.end());
    file.insert(file.end(), {0xff, 0xd9});
    EXPECT_EQ(decoded(file).trouble, DecodeStatus::corrupt);
}

TEST(Image, files_of_every_kind) {
    const TemporaryFolder folder;
    const Image image = sample_image(20, 30);
    for (const char* name :
         {"plain.jpg", "with space.JPG", "r\xc3\xa9ve \xe9\x9b\xaa.jpg", "not utf8 \xff.jpg", "-dash;$(x).jpg"})
        EXPECT_TRUE(read_image(folder.write(name, jpeg_of(image))).usable()) << name;
    EXPECT_EQ(read_image(folder.write("png inside.jpg", png_of(image))).image.rgb, image.rgb);
    EXPECT_EQ(read_image((folder.path / "gone.jpg").string()).trouble, DecodeStatus::missing);
    EXPECT_EQ(read_image(folder.write("empty.jpg", {})).trouble, DecodeStatus::empty_file);
    std::filesystem::create_directory(folder.path / "folder.jpg");
    EXPECT_EQ(read_image((folder.path / "folder.jpg").string()).trouble, DecodeStatus::unreadable);
    EXPECT_EQ(read_image(folder.write("large.jpg", jpeg_of(image)), {.max_file_bytes = 100}).trouble,
              DecodeStatus::too_large);
    ASSERT_EQ(mkfifo((folder.path / "pipe.jpg").c_str(), 0600), 0);
    EXPECT_EQ(read_image((folder.path / "pipe.jpg").string()).trouble, DecodeStatus::unreadable);
    std::filesystem::create_symlink("nowhere", folder.path / "dangling.jpg");
    EXPECT_EQ(read_image((folder.path / "dangling.jpg").string()).trouble, DecodeStatus::missing);
    if (geteuid() != 0) {  // root reads everything
        const std::string secret = folder.write("secret.jpg", jpeg_of(image));
        chmod(secret.c_str(), 0);
        EXPECT_EQ(read_image(secret).trouble, DecodeStatus::unreadable);
    }
    EXPECT_STREQ(trouble_code(DecodeStatus::not_an_image), "not_a_picture");
}

TEST(Image, bmp) {
    FileContent bmp = text_content("BM");
    auto little = [&](uint32_t value, int bytes) {
        for (int i = 0; i < bytes; ++i) bmp.push_back(i < 4 ? uint8_t(value >> (8 * i)) : 0);
    };
    little(54 + 16, 4), little(0, 4), little(54, 4), little(40, 4), little(2, 4), little(uint32_t(-2), 4);
    little(1, 2), little(24, 2), little(0, 4), little(16, 4), little(0, 16);
    bmp.insert(bmp.end(), {3, 2, 1, 6, 5, 4, 0, 0, 9, 8, 7, 12, 11, 10, 0, 0});
    const Decoded got = decoded(bmp);
    EXPECT_EQ(got.image.rgb, (FileContent{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})) << got.text;
    for (const auto& [compression, name] : {std::pair(1, "RLE"), {2, "RLE"}, {4, "JPEG inside"}, {5, "PNG inside"}}) {
        FileContent rare = bmp;
        rare[30] = uint8_t(compression);
        EXPECT_EQ(decoded(rare).trouble, DecodeStatus::unsupported);
        EXPECT_EQ(decoded(rare, {.size_only = true}).trouble, DecodeStatus::unsupported);
        EXPECT_NE(decoded(rare).text.find(name), std::string::npos) << decoded(rare).text;
    }
    bmp.resize(bmp.size() - 4);
    EXPECT_EQ(decoded(bmp).trouble, DecodeStatus::truncated);
}

// Damage of every kind: no crash (the sanitizer run watches), and an image or a reason each time.
TEST(Image, random_damage) {
    std::mt19937 random(7);
    const Image image = sample_image(40, 40);
    const Exif exif{.date = "2024:07:31 13:05:59", .make = "TUNDRA", .orientation = 5};
    const FileContent sound[] = {jpeg_of(image, {}, &exif), jpeg_of(image, {.progressive = true}), png_of(image)};
    for (const FileContent& start : sound)
        for (int round = 0; round < 400; ++round) {
            FileContent file = start;
            for (unsigned n = 1 + random() % 4; n > 0; --n) file[random() % file.size()] = uint8_t(random());
            if (random() % 4 == 0) file.resize(random() % file.size());
            const Decoded got = decoded(file, {.max_pixels = 1'000'000});
            EXPECT_TRUE(got.usable() || got.trouble != DecodeStatus::none);
            EXPECT_EQ(got.image.rgb.size(), got.image.h * got.image.w * 3);
        }
}
