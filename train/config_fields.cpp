// The table of settings: keys, help, limits. Options, the text form, checks and hash follow from it.
#include "models/model.h"
#include "train/config.h"

namespace {

using Words = std::vector<std::string_view>;

Words model_names() {
    Words names;
    for (const ModelFamily& family : model_families())
        names.insert(names.end(), family.names.begin(), family.names.end());
    return names;
}

Words optimizer_names() {
    Words names;
    for (const OptimizerRule& rule : optimizer_rules()) names.push_back(rule.name);
    return names;
}

const Words none = {};  // a number has limits instead of choices

template <class... Choice>  // a call, because clang-format spreads nested braces over many lines
Words one_of(Choice... choices) {
    return {choices...};
}

}  // namespace

std::span<const ConfigField> config_fields() {
    using C = TrainConfig;
    constexpr bool result = true, execution = false;
    static const std::vector<ConfigField> fields = {
        {"task", "data", "train a classifier or a detector", result, &C::task, one_of("classify", "detect")},
        {"recipe", "data", "preset for all other settings", result, &C::recipe, one_of("default", "celis2024")},
        {"data", "data", "folder of class folders, CSV of path,label; detect: COCO JSON or YOLO labels", execution,
         &C::data},
        {"classes", "data", "names in the order of the outputs; filled in from the data", result, &C::classes},
        {"split_by", "data", "keep each sequence (or camera) within one split", result, &C::split_by,
         one_of("sequence", "camera")},
        {"validation", "data", "share for validation if the data has no parts", result, &C::validation, none, 0, 0.9},
        {"test", "data", "share for testing if the data has no parts", result, &C::test, none, 0, 0.9},

        {"model", "model", "network", result, &C::model, model_names()},
        {"image_size", "model", "side of the network's input in pixels; detect: the longer side", result,
         &C::image_size, none, 32, 4096},
        {"init", "model", "weight file to start from; empty: random weights", result, &C::init},
        {"freeze", "model", "train only the last layer; detect: everything but the backbone", result, &C::freeze},

        {"epochs", "length", "passes over the training images", result, &C::epochs, none, 1, 1e6},
        {"batch", "length", "images per step", result, &C::batch, none, 1, 65536},
        {"drop_last", "length", "leave out the last images of an epoch that do not fill a batch", result,
         &C::drop_last},
        {"seed", "length", "random seed (initial weights, shuffling, augmentation)", result, &C::seed, none, 0, 1.8e19},

        {"optimizer", "optimizer", "update rule", result, &C::optimizer, optimizer_names()},
        {"lr", "optimizer", "peak learning rate", result, &C::learning_rate, none, 1e-12, 1000},
        {"momentum", "optimizer", "momentum, or beta1 of Adam, unless the schedule cycles it", result, &C::momentum,
         none, 0, 0.9999},
        {"nesterov", "optimizer", "use Nesterov momentum", result, &C::nesterov},
        {"weight_decay", "optimizer", "L2 penalty", result, &C::weight_decay, none, 0, 1},
        {"decay_norm_and_bias", "optimizer", "apply weight decay to normalization and bias parameters as well", result,
         &C::decay_norm_and_bias},
        {"average", "optimizer",
         "decay of the moving average of the weights (EMA) that becomes the model (detect); 0: none", result,
         &C::ema_decay, none, 0, 0.99999},
        {"beta2", "optimizer", "beta2 of Adam", result, &C::beta2, none, 0, 0.999999},
        {"epsilon", "optimizer", "epsilon of Adam", result, &C::epsilon, none, 1e-16, 1},
        {"adam_form", "optimizer", "whether Adam adds epsilon after (torch) or before (keras) the bias correction",
         result, &C::adam_form, one_of("torch", "keras")},

        {"schedule", "schedule", "one-cycle curve", result, &C::schedule,
         one_of("torch", "fastai", "smith", "triangle")},
        {"start_div", "schedule", "learning rate of the first step = lr / start_div", result, &C::div_factor, none, 1,
         1e12},
        {"end_div", "schedule", "learning rate of the last step = lr / end_div", result, &C::final_div, none, 1, 1e12},
        {"rise", "schedule", "share of the steps in which the learning rate grows", result, &C::warmup_fraction, none,
         0, 1},
        {"anneal", "schedule", "shape of the rise and the fall (torch)", result, &C::anneal,
         one_of("cosine", "linear")},
        {"three_phase", "schedule", "fall to the first learning rate, then to the last (torch)", result,
         &C::three_phase},
        {"cycle_momentum", "schedule", "cycle momentum inversely to the learning rate", result, &C::cycle_momentum},
        {"momentum_high", "schedule", "momentum at the lowest learning rate", result, &C::momentum_high, none, 0,
         0.9999},
        {"momentum_low", "schedule", "momentum at the peak learning rate", result, &C::momentum_low, none, 0, 0.9999},

        {"scale_lr", "schedule",
         "linear: peak learning rate = lr * batch / 32 (detect: 16), with warm-up over 5 epochs (Goyal et al. 2017)",
         result, &C::scale_lr, one_of("none", "linear")},

        {"label_smoothing", "loss", "share of each label that is spread over all classes", result, &C::label_smoothing,
         none, 0, 0.99},
        {"class_weights", "loss", "weights of the classes in the loss: none, balanced, or one number per class (1,2.5)",
         result, &C::class_weights},

        {"fit", "pictures",
         "stretch to the square or crop the middle; detect: letterbox into a square or a frame of the data's shape",
         result, &C::fit, one_of("stretch", "crop", "square", "frame")},
        {"filter", "pictures", "interpolation when images are resized", result, &C::filter,
         one_of("antialias", "linear", "nearest")},
        {"normalize", "pictures",
         "pixel normalization: ImageNet's mean and deviation, x / 255, x / 127.5 - 1, BGR minus mean, or x", result,
         &C::normalize, one_of("imagenet", "unit", "tf", "caffe", "raw")},
        {"augment", "pictures", "data augmentation preset", result, &C::augment,
         one_of("none", "standard", "keras", "mosaic")},
        {"accept_damaged", "pictures", "use truncated and corrupt images as far as they can be decoded", result,
         &C::accept_damaged},

        {"select", "length", "which weights become the model: the last, or the best by validation", result, &C::select,
         one_of("last", "best")},
        {"sync_batch_norm", "machine", "several ranks: batch norm over the images of all of them, not of each", result,
         &C::sync_batch_norm},
        {"micro_batch", "machine",
         "divide the batch into parts of N images, so that any number of ranks gives the same bits; 0: one part per "
         "rank",
         result, &C::micro_batch, none, 0, 65536},
        {"precision", "machine", "number format of activations and gradients", result, &C::precision,
         one_of("auto", "fp32", "bf16", "fp16")},
        {"device", "machine", "device to run on", execution, &C::device, one_of("auto", "cpu", "cuda", "simt", "ptx")},
        {"threads", "machine", "number of threads; 0: all processors", execution, &C::threads, none, 0, 4096},
        {"cache", "machine", "where decoded images are kept after the first epoch", execution, &C::cache,
         one_of("auto", "memory", "disk", "off")},
        {"save_minutes", "machine", "minutes between checkpoints", execution, &C::save_minutes, none, 0.001, 1e5},
        {"keep", "machine", "number of checkpoints to keep, besides the best", execution, &C::keep, none, 1, 1000},
    };
    return fields;
}
