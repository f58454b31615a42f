// The published sizes: YOLO11 n to x, and YOLOv9-C with the head of ultralytics or of MegaDetector's cedar, which are
// one where all groups are joined.
#include <algorithm>
#include <array>
#include <cmath>

#include "models/anchor_free.h"

namespace {

// Output channels of every convolution, by the names of weight files.
struct Widths {
    std::map<std::string, size_t> of = {};

    void conv(const std::string& name, size_t channels) { of[name + ".conv"] = channels; }
    void convs(const std::string& name, std::initializer_list<std::pair<const char*, size_t>> parts) {
        for (const auto& [part, channels] : parts) conv(name + part, channels);
    }
    void c3k2(const std::string& name, size_t out, double expansion, bool c3k, size_t repeats) {
        const size_t h = size_t(double(out) * expansion);
        convs(name, {{".cv1", 2 * h}, {".cv2", out}});
        for (size_t k = 0; k < repeats; ++k) {
            const std::string m = fmt::format("{}.m.{}", name, k);
            if (!c3k) {
                convs(m, {{".cv1", h / 2}, {".cv2", h}});
                continue;
            }
            convs(m, {{".cv1", h / 2}, {".cv2", h / 2}, {".cv3", h}});
            for (const char* part : {".m.0.cv1", ".m.0.cv2", ".m.1.cv1", ".m.1.cv2"}) conv(m + part, h / 2);
        }
    }
    void c2psa(const std::string& name, size_t out, size_t repeats) {
        const size_t c = out / 2;
        convs(name, {{".cv1", out}, {".cv2", out}});
        for (size_t k = 0; k < repeats; ++k)
            convs(fmt::format("{}.m.{}", name, k),
                  {{".attn.qkv", 2 * c}, {".attn.proj", c}, {".attn.pe", c}, {".ffn.0", 2 * c}, {".ffn.1", c}});
    }
    void elan(const std::string& name, size_t out, size_t p, size_t q) {
        convs(name, {{".cv1", p}, {".cv4", out}});
        for (const char* part : {".cv2", ".cv3"})
            convs(name + part, {{".0.cv1", q / 2},
                                {".0.cv2", q / 2},
                                {".0.cv3", q},
                                {".0.m.0.cv1", q / 2},
                                {".0.m.0.cv2", q / 2},
                                {".1", q}});
    }
    void head(const std::string& name, std::span<const size_t> levels, size_t score, bool depthwise, size_t classes) {
        for (size_t l = 0; l < levels.size(); ++l) {
            const std::string box = fmt::format("{}.cv2.{}", name, l), cls = fmt::format("{}.cv3.{}", name, l);
            convs(box, {{".0", 64}, {".1", 64}});
            if (depthwise)
                convs(cls, {{".0.0", levels[l]}, {".0.1", score}, {".1.0", score}, {".1.1", score}});
            else
                convs(cls, {{".0", score}, {".1", score}});
            of[box + ".2"] = 64, of[cls + ".2"] = classes;
        }
    }
};

Widths yolo11_widths(char size, size_t classes) {
    struct Scale {
        char size;
        double width;
        size_t repeats, most;
        bool c3k;
    };
    static constexpr Scale scales[] = {{'n', 0.25, 1, 1024, false},
                                       {'s', 0.5, 1, 1024, false},
                                       {'m', 1, 1, 512, true},
                                       {'l', 1, 2, 512, true},
                                       {'x', 1.5, 2, 512, true}};
    const auto s = std::ranges::find(scales, size, &Scale::size);
    if (s == std::end(scales)) fail(Fault::usage, "there is no yolo11{}", size);
    const auto c = [&](size_t base) { return size_t(std::ceil(double(std::min(base, s->most)) * s->width / 8)) * 8; };
    Widths w;
    constexpr size_t kConvs[][2] = {{0, 64}, {1, 128}, {3, 256}, {5, 512}, {7, 1024}, {17, 256}, {20, 512}};
    for (const auto& [layer, base] : kConvs) w.conv(fmt::format("model.{}", layer), c(base));
    w.c3k2("model.2", c(256), 0.25, s->c3k, s->repeats);
    w.c3k2("model.4", c(512), 0.25, s->c3k, s->repeats);
    w.c3k2("model.6", c(512), 0.5, true, s->repeats);
    w.c3k2("model.8", c(1024), 0.5, true, s->repeats);
    w.convs("model.9", {{".cv1", c(1024) / 2}, {".cv2", c(1024)}});
    w.c2psa("model.10", c(1024), s->repeats);
    w.c3k2("model.13", c(512), 0.5, s->c3k, s->repeats);
    w.c3k2("model.16", c(256), 0.5, s->c3k, s->repeats);
    w.c3k2("model.19", c(512), 0.5, s->c3k, s->repeats);
    w.c3k2("model.22", c(1024), 0.5, true, s->repeats);
    w.head("model.23", std::array{c(256), c(512), c(1024)}, std::max(c(256), std::min<size_t>(classes, 100)), true,
           classes);
    return w;
}

Widths yolov9c_widths(size_t classes) {
    Widths w;
    w.conv("model.0", 64), w.conv("model.1", 128);
    w.elan("model.2", 256, 128, 64);
    w.elan("model.4", 512, 256, 128);
    for (const size_t layer : {6, 8, 12, 18, 21}) w.elan(fmt::format("model.{}", layer), 512, 512, 256);
    w.elan("model.15", 256, 256, 128);
    constexpr size_t kDowns[][2] = {{3, 128}, {5, 256}, {7, 256}, {16, 128}, {19, 256}};
    for (const auto& [layer, half] : kDowns) w.convs(fmt::format("model.{}", layer), {{".cv1", half}, {".cv2", half}});
    w.convs("model.9", {{".cv1", 256}, {".cv5", 512}});
    w.head("model.22", std::array<size_t, 3>{256, 512, 512}, std::max<size_t>(256, std::min<size_t>(2 * classes, 128)),
           false, classes);
    return w;
}

}  // namespace

AnchorFreeConfig anchor_free_config(std::string_view name, size_t classes) {
    const bool yolo11 = name.starts_with("yolo11") && name.size() == 7;
    if (!yolo11 && name != "yolov9c") fail(Fault::usage, "--model {}: there is yolo11n to yolo11x, and yolov9c", name);
    return {.family = yolo11 ? "YOLO11" : "YOLOv9-C",
            .widths = (yolo11 ? yolo11_widths(name.back(), classes) : yolov9c_widths(classes)).of,
            .classes = classes};
}
