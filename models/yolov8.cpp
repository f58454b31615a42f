// YOLOv8 in all its sizes: layers 0 to 21 and the head.
#include "models/anchor_free.h"

std::vector<Value> yolov8(Value x, const AnchorFreeLayers& net) {
    x = net.conv(x, "model.0", {3, 2});
    x = net.conv(x, "model.1", {3, 2});
    x = net.c3k2(x, "model.2");
    x = net.conv(x, "model.3", {3, 2});
    const Value c3 = net.c3k2(x, "model.4");
    x = net.conv(c3, "model.5", {3, 2});
    const Value c4 = net.c3k2(x, "model.6");
    x = net.conv(c4, "model.7", {3, 2});
    x = net.c3k2(x, "model.8");
    const Value c5 = net.pool(x, "model.9", "cv2");

    const Value down4 = net.c3k2(concat(std::array{upsample2(c5), c4}), "model.12", false);
    const Value p3 = net.c3k2(concat(std::array{upsample2(down4), c3}), "model.15", false);
    const Value p4 = net.c3k2(concat(std::array{net.conv(p3, "model.16", {3, 2}), down4}), "model.18", false);
    const Value p5 = net.c3k2(concat(std::array{net.conv(p4, "model.19", {3, 2}), c5}), "model.21", false);
    return net.heads(std::array{p3, p4, p5}, "model.22");
}
