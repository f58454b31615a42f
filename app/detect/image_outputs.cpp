#include "app/detect/image_outputs.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "data/jpeg_writer.h"
#include "data/listing.h"
#include "data/png_writer.h"

namespace {

namespace fs = std::filesystem;

struct PixelBox {
    ptrdiff_t left, top, right, bottom;  // pixels; right and bottom are the first outside
};

PixelBox pixel_box(const Detection& d, const Image& p) {
    const auto at = [](double v, size_t side) { return ptrdiff_t(std::nearbyint(v * double(side))); };
    return {at(d.x, p.w), at(d.y, p.h), at(d.x + d.w, p.w), at(d.y + d.h, p.h)};
}

void draw(Image& image, const Detection& d) {
    // Distinguishable for colour-blind eyes too: Okabe and Ito 2008, https://jfly.uni-koeln.de/color/
    constexpr std::array<std::array<uint8_t, 3>, 6> kColours{
        {{230, 159, 0}, {86, 180, 233}, {0, 158, 115}, {240, 228, 66}, {213, 94, 0}, {204, 121, 167}}};
    const auto& colour = kColours[size_t(d.category - 1) % kColours.size()];
    const PixelBox a = pixel_box(d, image);
    const ptrdiff_t line = std::max<ptrdiff_t>(2, ptrdiff_t(std::max(image.h, image.w)) / 400);
    for (ptrdiff_t y = std::max<ptrdiff_t>(0, a.top - line); y < std::min(ptrdiff_t(image.h), a.bottom + line); ++y)
        for (ptrdiff_t x = std::max<ptrdiff_t>(0, a.left - line); x < std::min(ptrdiff_t(image.w), a.right + line); ++x)
            if (y < a.top || y >= a.bottom || x < a.left || x >= a.right)
                std::ranges::copy(colour, &image.rgb[(size_t(y) * image.w + size_t(x)) * 3]);
}

// "a/b.JPG" -> "a/b" and ".JPG"; "a/b.png" -> "a/b.png" and ".jpg".
std::pair<std::string, std::string> jpeg_name(const std::string& file) {
    const std::string extension = fs::path(file).extension().string();
    if (!is_jpeg_name(extension)) return {file, ".jpg"};
    return {file.substr(0, file.size() - extension.size()), extension};
}

void write(const fs::path& path, const Image& image, const Exif& exif, bool png = false) {
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error)
        fail(Fault::environment, "{}: cannot create the folder: {}", path.parent_path().string(), error.message());
    if (png) return write_png(path.string(), image.rgb.data(), image.h, image.w);
    write_jpeg(path.string(), image.rgb.data(), image.h, image.w, {.quality = 92}, &exif);
}

}  // namespace

Image square_crop(const Image& image, const Detection& d) {
    const PixelBox a = pixel_box(d, image);
    const double longer = double(std::max(a.right - a.left, a.bottom - a.top)) * (1 + 2 * kCropMargin);
    const auto side = std::max<ptrdiff_t>(1, ptrdiff_t(std::nearbyint(longer)));
    const auto start = [&](ptrdiff_t from, ptrdiff_t to, size_t whole) {
        const ptrdiff_t centred = (from + to - side) / 2;
        return side > ptrdiff_t(whole) ? centred : std::clamp<ptrdiff_t>(centred, 0, ptrdiff_t(whole) - side);
    };
    const ptrdiff_t left = start(a.left, a.right, image.w), top = start(a.top, a.bottom, image.h);
    Image square{.h = size_t(side), .w = size_t(side), .rgb = std::vector<uint8_t>(size_t(side * side) * 3)};
    const ptrdiff_t from = std::max<ptrdiff_t>(left, 0), to = std::min(left + side, ptrdiff_t(image.w));
    for (ptrdiff_t y = std::max<ptrdiff_t>(top, 0); y < std::min(top + side, ptrdiff_t(image.h)); ++y)
        std::copy_n(&image.rgb[(size_t(y) * image.w + size_t(from)) * 3], size_t(to - from) * 3,
                    &square.rgb[size_t((y - top) * side + from - left) * 3]);
    return square;
}

std::vector<std::string> check_folders(const ImageOutputs& out, const fs::path& base, bool resumes, bool extends) {
    std::vector<std::string> notes;
    std::error_code ignored;
    for (const auto& [option, folder] : {std::pair{"--render", &out.render}, {"--crops", &out.crops}}) {
        if (folder->empty()) continue;
        const fs::path inside = fs::weakly_canonical(*folder).lexically_relative(fs::weakly_canonical(base));
        if (!inside.empty() && *inside.begin() != "..")
            fail(Fault::usage, "{} {}: lies inside the folder of the images ({}); choose one outside of it", option,
                 folder->string(), base.string());
        if (fs::exists(*folder, ignored) && !fs::is_directory(*folder, ignored))
            fail(Fault::usage, "{} {}: is not a folder", option, folder->string());
        if (resumes || !fs::exists(*folder, ignored) || fs::is_empty(*folder, ignored)) continue;
        if (extends)
            notes.push_back(fmt::format("{}: holds files already, which stay", folder->string()));
        else
            fail(Fault::usage,
                 "{} {}: holds files, with which those of this run would mix; name a new folder or empty this one",
                 option, folder->string());
    }
    if (!out.render.empty() && fs::weakly_canonical(out.render) == fs::weakly_canonical(out.crops))
        fail(Fault::usage, "--render and --crops need different folders");
    return notes;
}

void write_images(const ImageOutputs& out, const ImageResult& result, const Image& image, Exif exif) {
    exif.orientation = 1;
    const auto [name, extension] = jpeg_name(result.file);
    Image drawn;
    size_t number = 0;
    for (const Detection& d : result.detections) {
        if (d.confidence < out.threshold) continue;
        ++number;
        if (!out.crops.empty() && d.w > 0 && d.h > 0)
            write(out.crops / fmt::format("{}_{}{}", name, number, out.png ? ".png" : extension), square_crop(image, d),
                  exif, out.png);
        if (out.render.empty()) continue;
        if (drawn.rgb.empty()) drawn = image;
        draw(drawn, d);
    }
    if (!out.render.empty()) write(out.render / (name + extension), number ? drawn : image, exif);
}
