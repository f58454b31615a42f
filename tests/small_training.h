// What training takes where kernels run on the CPU: few small images and narrow networks.
#pragma once

#include <filesystem>

#include "app/synth/synth.h"
#include "models/resnet.h"
#include "models/yolov5_start.h"
#include "predict/model_file.h"

// `shots` with labels of quality, `scenes` with boxes, and a narrow ResNet, narrow.safetensors, to start from.
inline void make_small_training(const std::filesystem::path& folder, size_t shots, size_t scenes) {
    SynthOptions options;
    options.width = 64, options.height = 64, options.seed = 2, options.cameras = 2;
    options.out = folder / "shots", options.images = int(shots);
    synthesize(options);
    options.out = folder / "scenes", options.images = int(scenes), options.task = SynthTask::detect;
    synthesize(options);
    const Model model = make_model(ResNetConfig{.depth = 50, .classes = 3, .width = 4});
    write_model(folder / "narrow.safetensors", {.model = model,
                                                .classes = {"a", "b", "c"},
                                                .input = {.fit = {.size = 32}, .normalize = "imagenet"},
                                                .state = initialize_state(model, 1),
                                                .steps = 0,
                                                .more = {}});
}

inline void make_small_detector(const std::filesystem::path& file) {
    DetectorModel model{.file_name = "m", .config = yolov5_config(true, 0.33, 0.125, 3), .classes = {"a", "b", "c"}};
    model.image_size = 64;
    model.state = initialize_yolov5(model.config, 5);
    write_detector(file, model);
}
