// YOLO networks without anchors: YOLO11 (Jocher and Qiu 2024, https://github.com/ultralytics/ultralytics), YOLOv9-C
// (Wang et al. 2024, https://arxiv.org/abs/2402.13616) and YOLOv8. For detection only: weights arrive folded.
//
// The blocks, with the names that weight files give their convolutions. Conv is silu(conv(x)) with a bias, of one pixel
// where nothing is said; [a, b] joins channels.
//   Bottleneck   x + Conv3x3(Conv3x3(x))
//   C3k          Conv([Bottleneck(Bottleneck(Conv(x))), Conv(x)])
//   C3k2         Conv([y0, y1, y2, ...]), y0 and y1 the halves of Conv(x), each further one a C3k or Bottleneck of
//                the one before (YOLOv8 calls it C2f, and leaves out the addition outside the backbone)
//   SPPF, SPPELAN   Conv([a, p(a), p(p(a)), p(p(p(a)))]) with a = Conv(x) and p a 5x5 max pool of stride 1
//   C2PSA        Conv([u, PSA(v)]), u and v the halves of Conv(x)
//   PSA          z + ffn(z), z = x + proj(attention(qkv(x)) + depthwise3x3(values))
//   RepCSP       C3k of any number of bottlenecks whose first convolution is a RepConv: the sum of a 3x3 and a 1x1
//                convolution, which arrives as one
//   ELAN         Conv([y0, y1, y2, y3]), y0 and y1 the halves of Conv(x), y2 = Conv3x3(RepCSP(y1)), y3 of y2 alike
//   ADown        [Conv3x3/2(u), Conv(maxpool3x3/2(v))], u and v the halves of the 2x2 mean of x
// A head gives per level the distribution of the distances to the four sides (4 x 16) and the scores of the classes.
#pragma once

#include "models/model.h"

struct AnchorFreeConfig {
    std::string_view family;               // "YOLO11", "YOLOv9-C" or "YOLOv8"
    std::map<std::string, size_t> widths;  // output channels of each convolution, by its name: "model.0.conv"
    size_t classes = 0;
    // The first convolution of SPPF has no activation: ultralytics 8.4.0 to 8.4.120 made it so, under the same names.
    bool plain_pool = false;
};

// The message about networks of other kinds, "a YOLOv10, which tundra does not run; ...".
std::string not_covered(std::string_view what);

// "yolo11n" to "yolo11x", "yolov9c". Errors (usage): an unknown name.
AnchorFreeConfig anchor_free_config(std::string_view name, size_t classes);

// Errors when it is traced (damaged): a convolution that the network needs has no width.
Model make_model(const AnchorFreeConfig& config);

// The convolutions of a network as its file has them.
class AnchorFreeLayers {
public:
    AnchorFreeLayers(const AnchorFreeConfig& config) : config_(config) {}

    struct Conv {
        size_t kernel = 1, stride = 1;
        Activation activation = Activation::silu;
        Value residual = {};  // added after the activation
    };
    Value conv(Value x, const std::string& name) const { return conv(x, name, Conv()); }
    Value conv(Value x, const std::string& name, const Conv& c) const;
    Value depthwise(Value x, const std::string& name, Activation activation, Value residual = {}) const;

    Value c3k2(Value x, const std::string& name, bool add = true) const;
    Value pool(Value x, const std::string& name, const char* last) const;  // SPPF, SPPELAN
    Value c2psa(Value x, const std::string& name) const;
    Value elan(Value x, const std::string& name) const;
    Value adown(Value x, const std::string& name) const;
    // First the boxes of all levels, then the scores of all levels.
    std::vector<Value> heads(std::span<const Value> levels, const std::string& name) const;

    bool has(const std::string& name) const { return config_.widths.contains(name); }

private:
    size_t width(const std::string& name) const;
    Value convolution(Value x, const std::string& name, const Conv& c) const;  // NAME.weight, NAME.bias
    Value bottleneck(Value x, const std::string& name, bool add) const;
    Value c3k(Value x, const std::string& name) const;
    Value psa(Value x, const std::string& name) const;
    Value rep_csp(Value x, const std::string& name) const;

    const AnchorFreeConfig& config_;
};

// x: (n, h, w, 3 or more channels), sides multiples of 32
std::vector<Value> yolo11(Value x, const AnchorFreeLayers& layers);
std::vector<Value> yolov9c(Value x, const AnchorFreeLayers& layers);
std::vector<Value> yolov8(Value x, const AnchorFreeLayers& layers);
