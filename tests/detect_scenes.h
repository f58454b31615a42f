// Small images with red and blue rectangles on noise, and where they are: something for a tiny detector to learn.
#pragma once

#include <random>

#include "models/yolov5_start.h"
#include "predict/model_file.h"
#include "train/trainer.h"

struct DetectScenes {
    Batch data;
    std::pmr::vector<uint8_t>& images = data.images;
    std::vector<float>& boxes = data.boxes;  // (n, 4, 5), in pixels

    DetectScenes(size_t n, size_t size, unsigned seed) {
        std::mt19937 random(seed);
        const auto below = [&](size_t limit) { return size_t(random() % limit); };
        for (size_t p = 0; p < n; ++p) {
            data.transform.insert(data.transform.end(), {1, 0, 0, 0, 1, 0});
            data.color.insert(data.color.end(), {1, 0});
            const size_t first = images.size();
            for (size_t i = 0; i < size * size * 3; ++i) images.push_back(uint8_t(90 + below(60)));
            const size_t objects = 1 + below(2);
            for (size_t m = 0; m < 4; ++m) {
                if (m >= objects) {
                    boxes.insert(boxes.end(), {-1, 0, 0, 0, 0});
                    continue;
                }
                const size_t label = below(2), w = size / 5 + below(size / 5), h = size / 5 + below(size / 5);
                const size_t left = m * size / 2 + below(size / 2 - w), top = below(size - h);  // they do not meet
                for (size_t i = top; i < top + h; ++i)
                    for (size_t j = left; j < left + w; ++j)
                        for (size_t c = 0; c < 3; ++c)
                            images[first + (i * size + j) * 3 + c] = (label ? c == 2 : c == 0) ? 230 : 30;
                boxes.insert(boxes.end(),
                             {float(label), float(left) + float(w) / 2, float(top) + float(h) / 2, float(w), float(h)});
            }
        }
    }
    const Batch& batch() const { return data; }
};
