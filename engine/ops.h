// All operations that a model can call. Shapes are checked here, when the graph is traced; the formulas are in
// kernels/<name>.h. Images and activations are (n, h, w, channels).
#pragma once

#include <array>

#include "engine/graph.h"
#include "kernels/image.h"
#include "kernels/optimizer.h"

// ---- images in: uint8 (n, h, w, 3) -> (n, out_h, out_w, out_channels) in the graph's type. Channels after the third
// are zero (Device::image_channels).
struct ImageBatchOptions {
    size_t out_h, out_w, out_channels = 3;
    Normalize normalize;
    size_t inner_h = 0, inner_w = 0;  // the rest, below or to the right, is grey; 0: no rest
    float grey = 0;                   // 0..255
};
Value image_batch(Value images, Value transform, Value color, const ImageBatchOptions&);
// JPEG images as planes of bytes, letterboxed into `images` where they have a place: CameraBatch of kernels/image.h.
// places: int32 (n, 7)  a CameraPlace each
Value camera_batch(Value images, Value planes, Value places);

// ---- layers
struct ConvOptions {
    size_t stride = 1, padding = 0;
    Value bias = {};                           // (c_out)
    Activation activation = Activation::none;  // with an activation or a residual there is no gradient: inference only
    Value residual = {};                       // added before the activation, or after it with residual_last
    bool residual_last = false;
};
Value conv(Value x, Value weight, const ConvOptions& = {});  // weight: (c_out, kernel_h, kernel_w, c_in)

struct BatchNormOptions {
    float eps = 1e-5f, momentum = 0.1f;  // momentum: weight of the new batch in the running statistics
    Value running_mean = {}, running_var = {};
    Activation activation = Activation::none;
    Value residual = {};
};
Value batch_norm(Value x, Value scale, Value shift, const BatchNormOptions& = {});  // training

// Layers of networks that are not trained here: they have no gradient.
struct DepthwiseOptions {
    Value bias = {};
    Activation activation = Activation::none;
    Value residual = {};  // added after the activation
};
Value depthwise_conv(Value x, Value weight, const DepthwiseOptions&);  // 3x3, weight: (c, 3, 3, 1)
struct AttentionResult {
    Value y, v;  // the result; the values alone; both (n, h, w, heads * value)
};
AttentionResult attention(Value qkv, size_t heads, size_t key);  // qkv: (n, h, w, heads * (2 key + value))
Value average_pool2(Value x);                                    // 2x2, stride 1 -> (n, h - 1, w - 1, channels)
Value slice(Value x, size_t first, size_t channels);             // channels [first, first + channels)

Value max_pool(Value x, size_t kernel, size_t stride, size_t padding);
Value global_average_pool(Value x);               // -> (n, channels)
Value linear(Value x, Value weight, Value bias);  // (rows, in) x (out, in) -> float (rows, out); bias may be empty
Value add(Value a, Value b);
Value concat(Values parts);  // along the channels
Value upsample2(Value x);    // nearest, twice as high and wide

// ---- boxes of a detector (kernels/detect.h): heads (n, h, w, 3 * (5 + classes)), one per level
struct BoxLevel {
    float stride = 0;
    std::array<std::array<float, 2>, 3> anchors = {};  // width and height in pixels of the input
    float mirror = 0;  // width of the input if it was mirrored, else 0: x counts from the right
};
Value decode_boxes(Values heads, std::span<const BoxLevel> levels, size_t classes);  // -> float (n, rows, 5 + classes)

// Heads of a detector without anchors: boxes (n, h, w, 64) and scores (n, h, w, classes), one of each per level. Only
// pixels with a score above the threshold get a box.
Value decode_distances(Values boxes, Values scores, std::span<const BoxLevel> levels, float threshold);

struct SelectBoxesOptions {
    float threshold, iou_threshold;
    size_t max_detections = 300;
};
struct SelectedBoxes {
    Value detections;  // float (n, max_detections, 6): x1 y1 x2 y2 score class, best first
    Value count;       // i32 (n)
};
SelectedBoxes select_boxes(Value boxes, const SelectBoxesOptions&);

// ---- loss of a detector (kernels/detect_loss.h): boxes (n, max_boxes, 5) float: class, x, y, w, h; class -1: none
struct DetectLossOptions {
    float box = 0.05f, objectness = 1, classes = 0.5f;  // gains
    float smoothing = 0, anchor_threshold = 4;
    std::vector<float> balance = {};  // of the levels' objectness; empty: equal
};
struct DetectLossResult {
    Value loss;     // (1)
    Value parts;    // (3): box, objectness, classes
    Value matches;  // (levels): number of matched pairs of cell and anchor
};
DetectLossResult detect_loss(Values heads, Value boxes, std::span<const BoxLevel> levels, size_t classes,
                             const DetectLossOptions& = {});

// ---- loss of a classifier: logits (rows, classes) float, labels (rows) i32, class_weight (classes) float or empty
struct CrossEntropyOptions {
    float smoothing = 0;
    Value class_weight = {};
};
struct CrossEntropyResult {
    Value loss;           // (1): mean over the rows with a label
    Value sample_loss;    // (rows)
    Value probabilities;  // (rows, classes)
    Value correct;        // (2): number of rows correct in the top 1, top 5
};
CrossEntropyResult cross_entropy(Value logits, Value labels, const CrossEntropyOptions& = {});

// ---- optimizer: flat arrays of one ParameterRole; `state` is a StepState (kernels/optimizer.h) as 8 floats
struct OptimizerOperands {
    Value state, gradient, parameter;
    std::array<Value, 2> moments;  // as many as the rule uses
    Value compute_copy;            // the parameter in the network's type; empty if that is float
};
struct OptimizerOptions {
    float weight_decay = 0;
    bool nesterov = false;                  // sgd
    float beta2 = 0.999f, epsilon = 1e-8f;  // adam, adamw
    AdamForm form = AdamForm::torch;
};
// An update rule. A new one is kernels/optimizer.{h,cpp,cu} and its row in engine/ops/optimizer.cpp; --optimizer and
// its help, the defaults of training and the content of checkpoints follow from the row.
struct OptimizerRule {
    std::string_view name;                         // as --optimizer spells it
    size_t moments;                                // number of arrays beside the parameter, also in checkpoints
    double learning_rate, detector_learning_rate;  // defaults of training
    double weight_decay;
    bool has_nesterov;
    void (*step)(const OptimizerOperands&, const OptimizerOptions&);  // adds its node
};
std::span<const OptimizerRule> optimizer_rules();
const OptimizerRule& optimizer_rule(std::string_view name);  // Fault::usage for another name

// average += rate * (parameter - average); float arrays of any ParameterRole, rate: (1)
void ema_update(Value state, Value rate, Value parameter, Value average);
void check_finite(Value state, Value gradient);
// For a graph with ranks: starts the sum of `values` over them in place (values = factor * sum), and waits for all
// sums.
void start_sum_over_ranks(Value values, float factor = 1);
void wait_for_ranks(Value any);
void finish_step(Value state, float growth_interval = 0, float max_scale = 65536);
