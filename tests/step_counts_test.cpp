// Counts that no noise disturbs: a replayed step allocates nothing and creates no primitive, memory is what was
// planned, and ResNet-50 moves the bytes that its shapes say.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <new>

#include "engine/meta_device.h"
#include "engine/op.h"
#include "kernels/conv/cpu.h"
#include "models/resnet.h"
#include "predict/classifier.h"
#include "predict/detector.h"
#include "predict/model_file.h"
#include "train/trainer.h"

namespace {
std::atomic<size_t> heap_calls{0};
}

[[gnu::noinline]] void* operator new(size_t bytes) {
    ++heap_calls;
    if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
    ++heap_calls;
    return std::malloc(bytes);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace {

Model small_network() { return make_model(ResNetConfig{.classes = 10, .width = 16}); }

struct Training {
    size_t batch, size;
    std::unique_ptr<Device> device = open_device("cpu", {.threads = 2});
    Arena arena{*device};
    Trainer trainer;
    Batch data;

    Training(const Model& model, size_t batch, size_t size)
        : batch(batch),
          size(size),
          trainer(*device, arena,
                  {.model = model,
                   .batch = batch,
                   .height = size,
                   .width = size,
                   .normalize = {{0.01f, 0.01f, 0.01f}, {-1, -1, -1}},
                   .loss = classification_loss()},
                  initialize_state(model, 1)),
          data(blank_batch({.batch = batch, .fit = {.size = size}})) {
        for (size_t i = 0; i < data.images.size(); ++i) data.images[i] = uint8_t(i * 2654435761u >> 24);
        for (size_t i = 0; i < batch; ++i) data.labels[i] = int32_t(i % model.classes);
    }
    void step(size_t number) { trainer.step(data, 0.01, 0.9, number); }
};

size_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    size_t all = 0, resident = 0;
    file >> all >> resident;
    return resident * 4096;
}

}  // namespace

// oneDNN makes a list of arguments at every call; no other operation touches the heap.
TEST(StepCounts, training_allocates_nothing_after_the_first_steps) {
    Training t(small_network(), 4, 64);
    t.step(1);
    t.step(2);
    const size_t allocations = t.device->allocations(), primitives = conv_primitives_created(), heap = heap_calls;
    t.step(3);
    const size_t heap_in_one = heap_calls - heap;
    t.step(4);
    EXPECT_EQ(t.device->allocations(), allocations);
    EXPECT_EQ(conv_primitives_created(), primitives);
    EXPECT_EQ(heap_calls - heap, 2 * heap_in_one) << "steps differ in what they allocate";
    for (size_t i = 0; i < t.trainer.program().steps().size(); ++i) {
        const std::string_view name = t.trainer.program().steps()[i].op->name();
        if (name.starts_with("conv") || name.starts_with("linear")) continue;
        const size_t before = heap_calls;
        t.trainer.program().run_step(i);
        EXPECT_EQ(heap_calls, before) << name;
    }
}

TEST(StepCounts, memory_is_what_was_planned) {
    initialize_state(small_network(), 1);  // libraries and code are resident before counting
    const size_t before = resident_bytes();
    Training t(make_model("resnet50", 10), 8, 96);
    t.step(1);
    t.step(2);
    const double planned = double(t.trainer.memory_bytes());
    const double measured = double(t.device->allocated());
    // What the device gave out: the plan and the optimizer's few words.
    EXPECT_NEAR(measured, planned, 0.01 * planned);
    // What the machine gave: the host's copies of images, oneDNN's scratch and its code come on top.
    const double resident = double(resident_bytes()) - double(before);
    EXPECT_GT(resident, 0.5 * planned);
#if !defined(__SANITIZE_ADDRESS__)  // shadow memory and freed blocks in quarantine count too
    EXPECT_LT(resident, 1.1 * planned + 100e6);
#endif
}

TEST(StepCounts, resnet50_moves_the_bytes_of_its_shapes) {
    Training t(make_model("resnet50", 1000), 2, 224);
    std::map<std::string, double> bytes;
    double flops = 0;
    for (const Step& step : t.trainer.program().steps()) {
        bytes[std::string(step.op->name())] += step.op->bytes(step.in, step.out);
        flops += step.op->flops();
    }
    // 11.11 M outputs of convolutions per image, 23.45 M weights of theirs (torchvision's resnet50 at 224 px).
    const double outputs = 4 * 2 * 11.1132e6, weights = 4 * 23.4548e6;
    double inputs = 4 * 2 * 3 * 224 * 224;  // of convolutions: what the pool and 16 blocks give, some of it twice
    for (const Step& step : t.trainer.program().steps())
        if (step.op->name() == "conv_backward_data") inputs += double(step.out[0].bytes());
    EXPECT_NEAR(bytes["conv"], inputs + outputs + weights, 1e-3 * bytes["conv"]);
    EXPECT_NEAR(bytes["conv_backward_weight"], inputs + outputs + weights, 1e-3 * bytes["conv_backward_weight"]);
    // Forward: x twice, y once, and the residuals of 16 block ends (2.76 M elements per image).
    const double block_ends = 4 * 2 * (3 * 56 * 56 * 256 + 4 * 28 * 28 * 512 + 6 * 14 * 14 * 1024 + 3 * 7 * 7 * 2048);
    const double vectors = 4 * 6 * 26560.0;  // scales, shifts and four statistics of 26,560 channels
    EXPECT_NEAR(bytes["batch_norm"], 3 * outputs + block_ends + vectors, 2e-3 * bytes["batch_norm"]);
    // Parameter and momentum read and written, gradient read: 25.557 M parameters.
    EXPECT_NEAR(bytes["sgd_step"], 4 * 5 * 25.557032e6, 1e-3 * bytes["sgd_step"]);
    EXPECT_NEAR(flops / 2, 24.3e9, 0.02 * 24.3e9);
}

// The bytes of the step that a GPU runs, traced as it traces it: 102 GB when block ends still moved 10es, relu's mask
// was read from y and the gradients behind the max pool met in a node of their own. `joined`: the 15 ends of blocks
// whose two gradients meet in a convolution move 7es instead of 8es, e = 92.5 M elements together for each.
double bytes_of_a_gpu_step(bool joined) {
    MetaDevice device(device_facts("cuda"));
    Arena arena(device);
    const Model model = make_model("resnet50", 1000);
    Trainer trainer(device, arena,
                    {.model = model,
                     .batch = 256,
                     .height = 224,
                     .width = 224,
                     .normalize = {{1, 1, 1}, {0, 0, 0}},
                     .loss = classification_loss(),
                     .precision = DType::bf16,
                     .join_gradients = joined},
                    initialize_state(model, 1));
    std::map<std::string, double> bytes;
    double sum = 0;
    for (const Step& step : trainer.program().steps()) {
        bytes[std::string(step.op->name())] += step.op->bytes(step.in, step.out);
        sum += step.op->bytes(step.in, step.out);
    }
    for (const auto& [name, of] : bytes) std::printf("%-28s %6.2f GB\n", name.c_str(), of / 1e9);
    std::printf("%zu steps, %.2f GB, arena %.2f GB\n", trainer.program().steps().size(), sum / 1e9,
                double(trainer.program().plan().bytes) / 1e9);
    EXPECT_EQ(bytes.count("add"), 0u) << "gradients that meet are added by the operation that reads them";
    return sum;
}

TEST(StepCounts, a_gpu_step_of_resnet50_moves_at_most_92_GB) { EXPECT_LE(bytes_of_a_gpu_step(false), 92.5e9); }
TEST(StepCounts, a_gpu_step_with_joined_gradients_moves_at_most_90_GB) { EXPECT_LE(bytes_of_a_gpu_step(true), 89.6e9); }

// Pixels to boxes: after the second image of a size nothing is allocated on the device, no primitive is created, and
// each image takes as many calls of the heap as the one before.
void expect_images_without_allocations(Device& device, const DetectorModel& model) {
    Detector detector(device, model, {.threshold = 0.2f});
    const std::vector<uint8_t> image(128 * 192 * 3, 90);
    detector.run(image, 128, 192);
    detector.run(image, 128, 192);
    const size_t allocations = device.allocations(), primitives = conv_primitives_created(),
                 allocated = device.allocated();
    const size_t before = heap_calls;
    detector.run(image, 128, 192);
    const size_t heap_in_one = heap_calls - before;
    detector.run(image, 128, 192);
    EXPECT_EQ(device.allocations(), allocations);
    EXPECT_EQ(device.allocated(), allocated);
    EXPECT_EQ(conv_primitives_created(), primitives);
    EXPECT_EQ(heap_calls - before, 2 * heap_in_one) << "images differ in what they allocate";
}

TEST(StepCounts, detection_allocates_nothing_after_the_first_image) {
    const auto device = open_device("cpu", {.threads = 2});
    DetectorModel model{.file_name = "random",
                        .config = yolov5_config(true, 0.33, 0.125, 3),
                        .classes = {"animal", "person", "vehicle"}};
    {
        Graph graph;
        yolov5(graph.input("x", {1, 64, 64, 3}, DType::f32), model.config);
        Parameters parameters(*device, graph);
        initialize(parameters, 1);
        model.state = download(parameters);
    }
    expect_images_without_allocations(*device, model);
    for (const char* name : {"yolo11n", "yolov9c"})
        expect_images_without_allocations(*device, random_detector(*device, name));
}

// Multiply-adds and parameters as the networks' descriptions give them, at the sizes of MegaDetector's sorrel, larch
// and cedar on a picture of 4:3. Of cedar's, the small kernels of its RepConvs are folded into the large ones, and the
// convolutions in groups of its head are run with zeros between the groups. 1 s.
TEST(StepCounts, networks_without_anchors_do_the_work_of_their_descriptions) {
    struct Form {
        const char* name;
        size_t h, w;
        double multiply_adds;
        size_t parameters;
    };
    for (const Form& form :
         {Form{"yolo11s", 736, 960, 18.55e9, 9'413'945}, Form{"yolo11l", 480, 640, 32.53e9, 25'281'609},
          Form{"yolov9c", 480, 640, 38.43e9 - 0.255e9 + 0.193e9, 25'321'545}}) {
        SCOPED_TRACE(form.name);
        MetaDevice device(device_facts("cpu"));
        const DetectorModel model = random_detector(device, form.name);
        size_t parameters = 0;
        for (const auto& [name, tensor] : model.state) parameters += numel(tensor.shape);
        EXPECT_EQ(parameters, form.parameters);
        Detector detector(device, model, {});
        double flops = 0;
        for (const Step& step : detector.program(form.h, form.w).steps()) flops += step.op->flops();
        EXPECT_NEAR(flops / 2, form.multiply_adds, 3e-3 * form.multiply_adds);
        EXPECT_LT(detector.arena_bytes(), 52e6);  // 49.5, 44.2 and 42.4 MB
    }
}

// What a cold start lives from: weights stay where the file was read to, a network that runs once keeps no packed copy
// of them, and what the second run keeps is all there is. The numbers are the same each time.
TEST(StepCounts, a_network_that_runs_once_copies_no_weight) {
    const Model model = small_network();
    const auto file =
        std::filesystem::temp_directory_path() / fmt::format("tundra-step-counts-{}.safetensors", getpid());
    write_model(file, {.model = model,
                       .classes = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
                       .input = {.fit = {.size = 64}},
                       .state = initialize_state(model, 1)});
    const ModelFile read = read_model(file);
    std::filesystem::remove(file);
    size_t apart = 0;
    for (const auto& [name, tensor] : read.state)
        for (const auto& [other, later] : read.state)
            apart = std::max(apart, size_t(std::abs(tensor.values.data() - later.values.data())));
    size_t numbers = 0;
    for (const auto& [name, tensor] : read.state) numbers += tensor.values.size();
    EXPECT_LE(apart, numbers) << "not one block";

    const auto device = open_device("cpu", {.threads = 2});
    Arena arena(*device);
    Classifier classifier(*device, arena,
                          {.model = model, .batch = 2, .size = 64, .normalize = normalize_named("imagenet")});
    classifier.load(read.state, "file");
    const size_t primitives = conv_primitives_created();
    const std::vector<uint8_t> images(2 * 64 * 64 * 3, 90);
    const std::vector<float> first = classifier.run(images);
    EXPECT_EQ(conv_primitives_created(), primitives) << "load() prepares them";
    EXPECT_EQ(packed_weight_count(), 0u);
    EXPECT_EQ(classifier.run(images), first);
    const size_t kept = packed_weight_count();
    EXPECT_GT(kept, 40u);
    EXPECT_EQ(classifier.run(images), first);
    EXPECT_EQ(packed_weight_count(), kept);
    classifier.load(read.state, "file");
    EXPECT_EQ(packed_weight_count(), 0u) << "new weights at the same addresses";
}

// Copies of a state share its numbers until one of them is written to.
TEST(StepCounts, a_state_is_copied_where_it_is_written) {
    StateDict a{{"w", {{2}, std::vector<float>{1, 2}}}}, b = a;
    EXPECT_EQ(a.at("w").values.data(), b.at("w").values.data());
    b.at("w").values.mutable_data()[0] = 5;
    EXPECT_EQ(a.at("w").values, SharedFloats(std::vector<float>{1, 2}));
    EXPECT_EQ(b.at("w").values, SharedFloats(std::vector<float>{5, 2}));
    const float* const before = b.at("w").values.data();
    b.at("w").values.mutable_data()[1] = 6;
    EXPECT_EQ(b.at("w").values.data(), before) << "nobody else sees it";
}

// YOLOv5x6 at 1280x960: 624 GFLOP and MegaDetector v5's 139.9 M parameters.
TEST(StepCounts, yolov5x6_computes_what_its_shapes_say) {
    Graph graph;
    yolov5(graph.input("x", {1, 960, 1280, 3}, DType::f32), yolov5_config("x6", 3));
    double flops = 0, parameters = 0;
    for (const Node& node : graph.nodes) flops += node.op->flops();
    for (const ValueInfo& value : graph.values)
        if (value.kind == ValueKind::parameter) parameters += double(numel(value.shape));
    EXPECT_NEAR(flops, 623.7e9, 0.5e9);
    EXPECT_NEAR(parameters, 139.9e6, 0.5e6);
}
