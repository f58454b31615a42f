// For tests of whole detections: a folder of images, networks that follow from the pixels, and the rules of the
// result file.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <set>

#include "app/detect/job.h"
#include "base/hash.h"
#include "tests/files.h"
#include "tests/golden.h"
#include "tests/images.h"

// Boxes that follow from the pixels and from nothing else.
inline std::vector<std::vector<Box>> stub(std::span<const uint8_t> images, size_t h, size_t w) {
    std::vector<std::vector<Box>> result;
    for (size_t at = 0; at < images.size(); at += h * w * 3) {
        Hash hash;
        hash.add(std::as_bytes(images.subspan(at, h * w * 3)));
        std::mt19937_64 random(hash.value());
        std::vector<Box>& boxes = result.emplace_back();
        for (size_t i = random() % 4; i > 0; --i) {
            const float x = float(random() % w), y = float(random() % h);
            boxes.push_back({x, y, x + 40, y + 30, float(i) / 4 - 0.001f, int(random() % 3)});
        }
    }
    return result;
}

// A network that sees a whole batch of pixels and answers at once.
inline Network at_once(std::function<Boxes(std::span<const uint8_t> images, size_t h, size_t w)> network) {
    return [network = std::move(network)](std::span<const DetectorImage> images, size_t h, size_t w) {
        std::vector<uint8_t> pixels;
        for (const DetectorImage& image : images) pixels.insert(pixels.end(), image.bytes.begin(), image.bytes.end());
        return [boxes = network(pixels, h, w)] { return boxes; };
    };
}

// Sees what is magenta: one box around all of it. Large ones score better than small ones, and cut ones best: the worst
// case for tiles.
inline std::vector<std::vector<Box>> magenta_network(std::span<const uint8_t> images, size_t h, size_t w) {
    std::vector<std::vector<Box>> result;
    for (size_t at = 0; at < images.size(); at += h * w * 3) {
        size_t x1 = w, y1 = h, x2 = 0, y2 = 0;
        for (size_t i = 0; i < h * w; ++i) {
            const uint8_t* p = &images[at + i * 3];
            if (p[0] < 180 || p[1] > 90 || p[2] < 180) continue;
            x1 = std::min(x1, i % w), x2 = std::max(x2, i % w + 1), y1 = std::min(y1, i / w),
            y2 = std::max(y2, i / w + 1);
        }
        std::vector<Box>& boxes = result.emplace_back();
        if (x2 > x1)
            boxes.push_back({float(x1), float(y1), float(x2), float(y2),
                             x1 == 0 || y1 == 0 || x2 == w || y2 == h
                                 ? 0.95f
                                 : 0.5f + 0.4f * float((x2 - x1) * (y2 - y1)) / float(h * w),
                             0});
    }
    return result;
}

inline Image with_magenta(size_t h, size_t w, const ImageRegion& where) {
    Image image{.h = h, .w = w, .rgb = std::vector<uint8_t>(h * w * 3, 60)};
    for (size_t y = where.top; y < where.top + where.h; ++y)
        for (size_t x = where.left; x < where.left + where.w; ++x)
            for (size_t c = 0; c < 3; ++c) image.rgb[(y * w + x) * 3 + c] = c == 1 ? 0 : 255;
    return image;
}

// The rules of MegaDetector's format 1.6 and of its validator, and what Timelapse needs beside them; text of the first
// breach, or "".
inline std::string breach_of_format(const nlohmann::json& file) {
    using nlohmann::json;
    const auto text = [](const json& v) { return v.is_string() && !v.get<std::string>().empty(); };
    for (const char* key : {"images", "detection_categories", "info"})
        if (!file.contains(key)) return std::string("no ") + key;
    const json& info = file["info"];
    if (info.value("format_version", json()) != "1.6") return "format_version is not the text 1.6";
    if (!text(info["detector"])) return "no detector";
    if (const std::string at = info.value("detection_completion_time", "");
        at.size() != 19 || at[4] != '-' || at[10] != ' ' || at[13] != ':')
        return "completion time " + at;
    for (const char* key : {"typical_detection_threshold", "conservative_detection_threshold"})
        if (!info["detector_metadata"][key].is_number_float()) return std::string("no ") + key;
    std::set<std::string> names;
    for (const auto& [id, name] : file["detection_categories"].items()) {
        if (id.empty() || id.find_first_not_of("0123456789") != std::string::npos || id == "0")
            return "category id " + id;
        if (!text(name) || name.get<std::string>().find_first_not_of(" \t") == std::string::npos)
            return "a blank category";
        if (!names.insert(name).second) return "two categories are called " + name.get<std::string>();
    }
    std::string last;
    for (const json& image : file["images"]) {
        if (!image.is_object() || !text(image["file"])) return "an image without a name";
        const std::string name = image["file"];
        if (name.front() == '/' || name.find('\\') != name.npos || ("/" + name + "/").find("/../") != name.npos ||
            ("/" + name).find("/./") != name.npos || name.find("//") != name.npos)
            return "the name " + name;
        if (!last.empty() && name <= last) return name + " out of order, or twice";
        last = name;
        const bool failed = image.contains("failure") && !image["failure"].is_null();
        if (failed) {
            if (image["failure"] != "image access failure" && image["failure"] != "inference failure")
                return name + ": failure text";
            if (image.contains("detections") && !image["detections"].is_null())
                return name + ": a failure with detections";
            continue;
        }
        if (!image.contains("detections") || !image["detections"].is_array()) return name + ": no detections";
        double before = 2;
        for (const json& d : image["detections"]) {
            if (!text(d["category"]) || !file["detection_categories"].contains(d["category"].get<std::string>()))
                return name + ": category";
            if (!d["conf"].is_number_float() || d["conf"] < 0 || d["conf"] > 1)
                return name + ": conf is no float from 0 to 1";
            if (d["conf"] > before) return name + ": detections out of order";
            before = d["conf"];
            if (!d["bbox"].is_array() || d["bbox"].size() != 4) return name + ": bbox";
            for (const json& v : d["bbox"])
                if (!v.is_number_float() || v < 0 || v > 1) return name + ": bbox is no four floats from 0 to 1";
            for (size_t k = 0; k < 2; ++k)
                if (d["bbox"][k].get<double>() + d["bbox"][k + 2].get<double>() > 1.0001)
                    return name + ": a box leaves the image";
        }
    }
    return "";
}

class DetectTest : public testing::Test {
protected:
    // But for the completion time.
    static std::string comparable(const std::filesystem::path& path) {
        std::string text = content(path);
        const size_t at = text.find("\"detection_completion_time\":\"");
        EXPECT_NE(at, text.npos);
        return text.erase(at, 29 + 19);
    }
    // A MegaDetector file, which has to keep the format's rules.
    static nlohmann::json results(const std::filesystem::path& path) {
        const nlohmann::json file = nlohmann::json::parse(content(path));
        EXPECT_EQ(breach_of_format(file), "");
        return file;
    }
    static nlohmann::json image(const nlohmann::json& file, const std::string& name) {
        for (const nlohmann::json& image : file.at("images"))
            if (image.at("file") == name) return image;
        ADD_FAILURE() << "no " << name;
        return {};
    }

    // Images of two sizes in two folders.
    void make_images(size_t n, const std::string& prefix = "p") {
        std::mt19937 random(7);
        for (size_t i = 0; i < n; ++i) {
            const size_t h = i % 3 ? 48 : 64, w = i % 3 ? 64 : 48;
            Image image{.h = h, .w = w, .rgb = std::vector<uint8_t>(h * w * 3)};
            for (uint8_t& v : image.rgb) v = uint8_t(random() % 64 + 3 * i);
            temporary_.write(fmt::format("in/{}/{}{:03}.jpg", i % 2 ? "a" : "b", prefix, i), jpeg_of(image));
        }
    }
    DetectJob job(const std::string& out) const {
        DetectJob j;
        j.images = {(folder_ / "in").string()};
        j.model = (golden_folder("yolo") / "yolov5_p6_tiny/model.pt").string();
        j.out = (folder_ / out).string();
        j.image_size = 64;
        j.machine.batch = 2;
        j.machine.threads = 2;
        j.network = at_once(stub);
        return j;
    }
    const TemporaryFolder temporary_;
    const std::filesystem::path folder_ = temporary_.path;
};
