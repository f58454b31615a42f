#include "app/detect/advice.h"

#include <chrono>

#include "app/jobs/machine.h"
#include "predict/detector.h"

SuitableDetector suitable_detector(bool gpu) {
    return gpu ? SuitableDetector{"MDv1000-redwood", "yolov5x6", 960, 1280}
               : SuitableDetector{"MDv1000-sorrel", "yolo11s", 736, 960};
}

std::string detector_advice(bool gpu) {
    return fmt::format(
        "{} suits a machine {} a GPU; get it from https://github.com/agentmorris/MegaDetector/releases "
        "(docs/detectors.md "
        "compares them all)",
        suitable_detector(gpu).name, gpu ? "with" : "without");
}

double images_per_hour(Device& device, const SuitableDetector& d) {
    const size_t batch = MachineOptions{}.detector_batch(device);
    Detector detector(device, random_detector(device, d.form), {.batch = batch});
    std::vector<uint8_t> pixels(batch * d.h * d.w * 3);
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = uint8_t(i * 2654435761u >> 13);
    detector.run(pixels, d.h, d.w);  // compiles and packs
    const auto start = std::chrono::steady_clock::now();
    double seconds = 0;
    size_t images = 0;
    while (images < 3 * batch || seconds < 4) {
        detector.run(pixels, d.h, d.w);
        images += batch;
        seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    return 3600 * double(images) / seconds;
}
