// YOLOv9-C as it is used (GELAN-C): layers 0 to 21 and the head, without the branch that only training has.
#include "models/anchor_free.h"

std::vector<Value> yolov9c(Value x, const AnchorFreeLayers& net) {
    x = net.conv(x, "model.0", {3, 2});
    x = net.conv(x, "model.1", {3, 2});
    x = net.elan(x, "model.2");
    x = net.adown(x, "model.3");
    const Value c3 = net.elan(x, "model.4");
    x = net.adown(c3, "model.5");
    const Value c4 = net.elan(x, "model.6");
    x = net.adown(c4, "model.7");
    x = net.elan(x, "model.8");
    const Value c5 = net.pool(x, "model.9", "cv5");

    const Value down4 = net.elan(concat(std::array{upsample2(c5), c4}), "model.12");
    const Value p3 = net.elan(concat(std::array{upsample2(down4), c3}), "model.15");
    const Value p4 = net.elan(concat(std::array{net.adown(p3, "model.16"), down4}), "model.18");
    const Value p5 = net.elan(concat(std::array{net.adown(p4, "model.19"), c5}), "model.21");
    return net.heads(std::array{p3, p4, p5}, "model.22");
}
