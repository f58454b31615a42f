// Detection on devices that letterbox JPEG files themselves: the boxes are those of the host's way, whatever the file.
// 10 s.
#include <map>

#include "models/yolov5_start.h"
#include "tests/detect_fixture.h"

namespace {

class DetectDevice : public DetectTest {
protected:
    // Several samplings, grey, four inks, turned, other formats, damaged, unreadable; of two shapes.
    void make_all_kinds() {
        const Image wide = sample_image(90, 120, 1), high = sample_image(121, 91, 2);
        for (const auto& [name, image] : {std::pair("wide", &wide), {"high", &high}}) {
            const auto write = [&, shape = name](const std::string& kind, const FileContent& file) {
                temporary_.write(fmt::format("in/{}_{}", shape, kind), file);
            };
            const FileContent plain = jpeg_of(*image);
            write("plain.jpg", plain);
            write("progressive.jpg", jpeg_of(*image, {.progressive = true}));
            for (const int sampling : {TJSAMP_444, TJSAMP_422, TJSAMP_440, TJSAMP_GRAY})
                write(fmt::format("sampling{}.jpg", sampling),
                      jpeg_of_samples(image->rgb, image->h, image->w, TJPF_RGB, sampling));
            for (const int orientation : {1, 3, 6}) {
                const Exif exif{.date = "2024:07:31 13:05:59", .orientation = orientation};
                write(fmt::format("turned{}.jpg", orientation), jpeg_of(*image, {}, &exif));
            }
            write("cut.jpg", FileContent(plain.begin(), plain.end() - ptrdiff_t(plain.size() / 3)));
            write("png.png", png_of(*image));
            write("broken.jpg", text_content("no image"));
        }
    }

    struct Answer {
        std::map<std::string, std::string> results;  // by file, as the journal has them
        size_t planes = 0, pixels = 0;               // images that reached the network
    };
    // `on_host`: decoded and letterboxed there, as it is where somebody wants the pixels.
    Answer answer(Device& device, size_t batch, bool on_host) {
        DetectorModel model = read_detector((golden_folder("yolo") / "yolov5_p6_tiny/model.pt").string());
        Detector detector(device, model, {.batch = batch, .threshold = 0.001f});
        Answer answer;
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(folder_ / "in"))
            names.push_back(entry.path().filename());
        std::ranges::sort(names);
        DetectOptions options{.base = folder_ / "in",
                              .files = Names(names),
                              .journal = folder_ / "journal",
                              .settings = "{}",
                              .image_size = 128,
                              .stride = 64,
                              .batch = batch,
                              .threads = 2,
                              .network = {},
                              .device = &device};
        options.network = [&](std::span<const DetectorImage> images, size_t h, size_t w) {
            for (const DetectorImage& image : images) ++(image.place.h ? answer.planes : answer.pixels);
            return [&, started = detector.start(images, h, w)] { return detector.finish(started); };
        };
        if (on_host) options.on_image = [](const ImageResult&, const Image&, const Exif&) {};
        DetectRun run(std::move(options));
        EXPECT_TRUE(run.run());
        for (size_t i = 0; i < names.size(); ++i) answer.results[names[i]] = to_json(run.result(i)).dump();
        run.remove_journal();
        return answer;
    }
};

TEST_F(DetectDevice, PlanesGiveTheBoxesOfPixels) {
    make_all_kinds();
    const auto device = open_device("simt");
    const Answer host = answer(*device, 1, true);
    EXPECT_EQ(host.planes, 0u);
    size_t boxes = 0;
    for (const auto& [name, result] : host.results) boxes += result.find("bbox") != result.npos;
    EXPECT_GT(boxes, 15u) << "the network finds nothing";
    EXPECT_NE(host.results.at("wide_broken.jpg").find("failure"), std::string::npos);
    EXPECT_NE(host.results.at("wide_cut.jpg").find("\"damaged\":true"), std::string::npos);
    for (const size_t batch : {1, 3}) {  // with three, planes and pixels come in one batch
        const Answer got = answer(*device, batch, false);
        EXPECT_EQ(got.planes, 6u) << "plain, progressive and turned by nothing, of two shapes";
        EXPECT_EQ(got.planes + got.pixels, host.pixels);
        for (const auto& [name, result] : host.results) EXPECT_EQ(got.results.at(name), result) << name;
    }
    const auto cpu = open_device("cpu", {.threads = 1});
    EXPECT_EQ(answer(*cpu, 2, false).planes, 0u);
}

}  // namespace
