// Files of detectors without anchors: what is refused, by which name, what is inert, and a copy as safetensors. The bad
// files are made from tests/golden/yolo11 and the fuzz corpus. About 10 s.
#include <functional>

#include "base/error.h"
#include "base/safetensors.h"
#include "kernels/types.h"
#include "models/files/detector_file.h"
#include "tests/checkpoints.h"
#include "tests/files.h"

namespace {

const std::filesystem::path kGolden = TUNDRA_TESTS "/golden/yolo11";
constexpr const char *kYolo11 = "yolo11_tiny_best", *kCedar = "yolov9c_cedar_tiny", *kNine = "yolov9c_ultralytics_tiny";

void replace_all(std::string& text, const std::string& from, const std::string& to) {
    size_t count = 0;
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size(), ++count)
        text.replace(at, from.size(), to);
    ASSERT_GT(count, 0u) << from;
}

// The first value behind the key, which other occurrences refer to; both as the pickle spells them.
void replace_value(std::string& pickle, const std::string& key, const std::string& from, const std::string& to) {
    size_t at = pickle.find(text_op(key));
    ASSERT_NE(at, std::string::npos) << key;
    at += text_op(key).size();
    at += pickle[at] == 'q' ? 2 : 5;  // BINPUT, LONG_BINPUT
    ASSERT_EQ(pickle.substr(at, from.size()), from) << key;
    pickle.replace(at, from.size(), to);
}

std::string numbers(std::initializer_list<float> values, bool half) {
    std::string bytes;
    for (const float v : values) bytes += half ? raw(fp16(v)) : raw(v);
    return bytes;
}
void replace_record(Records& records, const std::string& from, const std::string& to) {
    size_t count = 0;
    for (ZipRecord& r : records)
        if (r.content == from) r.content = to, ++count;
    ASSERT_GT(count, 0u);
}

// The message with which the file is refused, "" if it is not.
std::string refusal(const std::string& bytes, Fault* fault = nullptr) {
    try {
        detector_model(read_bytes(bytes));
    } catch (const Error& error) {
        if (fault) *fault = error.fault;
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
        return error.what();
    }
    return "";
}

void expect_refused(const std::string& bytes, Fault fault, const std::string& part) {
    SCOPED_TRACE(part);
    Fault found{};
    const std::string text = refusal(bytes, &found);
    EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_EQ(found, fault);
}

std::string changed(const char* name, const std::function<void(Records&)>& change) {
    Records records = records_of(kGolden / name / "model.pt");
    change(records);
    return zip_of(records);
}
std::string with_pickle(const char* name, const std::function<void(std::string&)>& change) {
    return changed(name, [&](Records& records) { change(pickle_in(records)); });
}
std::string with_class(const char* name, const std::string& from, const std::string& to) {
    return with_pickle(name, [&](std::string& p) { replace_all(p, "\n" + from + "\n", "\n" + to + "\n"); });
}
std::string with_value(const char* name, const std::string& key, const std::string& from, const std::string& to) {
    return with_pickle(name, [&](std::string& p) { replace_value(p, key, from, to); });
}

TEST(DetectorFile, ModulesThatComputeSomethingElseAreNamed) {
    const Fault usage = Fault::usage;
    expect_refused(with_class(kYolo11, "SiLU", "ReLU"), usage,
                   "module model.0.act is a torch.nn.modules.activation.ReLU where a YOLO11 has SiLU");
    expect_refused(with_class(kYolo11, "Identity", "SiLU"), usage, "where a YOLO11 has Identity");
    expect_refused(with_class(kYolo11, "DWConv", "Conv"), usage, "model.23.cv3.0.0.0.conv has");
    expect_refused(with_class(kYolo11, "PSABlock", "ABlock"), usage,
                   "model.10.m.0 is a ultralytics.nn.modules.block.ABlock");
    expect_refused(with_class(kNine, "RepConv", "QARepVGG"), usage, "QARepVGG where a YOLOv9-C has RepConv");
    expect_refused(with_class(kCedar, "SPPELAN", "SPPF"), usage, "module model.9 is a models.common.SPPF");
    expect_refused(with_class(kYolo11, "DetectionModel", "MyModel"), usage, "MyModel");
    const std::string one = "K\x01", two = "K\x02", pair = "\x86";
    expect_refused(with_value(kYolo11, "stride", two + two + pair, one + one + pair), usage,
                   "model.0.conv does not have a stride of 2");
    expect_refused(with_value(kYolo11, "padding", one + one + pair, two + two + pair), usage,
                   "model.0.conv does not have a padding of 1");
    expect_refused(with_value(kYolo11, "dilation", one + one + pair, two + two + pair), usage, "has a dilation");
    expect_refused(with_value(kYolo11, "groups", one, two), usage, "model.0.conv has 2 groups");
    expect_refused(with_value(kYolo11, "padding_mode", text_op("zeros"), text_op("reflect")), usage,
                   "does not pad with zeros");
    expect_refused(with_value(kYolo11, "add", "\x88", "\x89"), usage, "model.2.m.0 does not add its input");
    expect_refused(with_value(kYolo11, "ceil_mode", "\x89", "\x88"), usage,
                   "model.9.m is not a pooling of 5x5 windows");
    expect_refused(with_value(kYolo11, "num_heads", one, two), usage, "model.10.m.0.attn does not have 1 heads");
    expect_refused(with_value(kYolo11, "mode", text_op("nearest"), text_op("bilinear")), usage,
                   "model.11 does not repeat each pixel twice");
    expect_refused(with_value(kYolo11, "d", one, two), usage, "model.12 does not join channels");
    expect_refused(with_value(kYolo11, "reg_max", "K\x10", "K\x08"), usage, "model.23 has distances of 8 steps");
    expect_refused(with_pickle(kYolo11,
                               [](std::string& p) {  // torch runs layers in the order of the file; earlier: storages
                                   const size_t three = p.rfind(text_op("3")), five = p.rfind(text_op("5"));
                                   std::swap(p[three + 5], p[five + 5]);
                               }),
                   usage, "model.3 is not in its place");
    const std::string eps = raw(double(1e-3));
    expect_refused(with_value(kYolo11, "eps", "G" + std::string(eps.rbegin(), eps.rend()), real_op(1e-5)), usage,
                   "has an epsilon of 0.001, those before it 1e-05");
}

TEST(DetectorFile, FilesThatContradictThemselvesAreRefused) {
    expect_refused(with_value(kYolo11, "nc", "K\x03", "K\x05"), Fault::usage,
                   "model.23 speaks of 5 classes, its tensors have 3");
    expect_refused(with_value(kCedar, "nc", "K\x03", "K\x05"), Fault::usage,
                   "model.22 speaks of 5 classes, its tensors have 3");
    expect_refused(with_pickle(kYolo11,
                               [](std::string& p) {
                                   const auto real = [](double v) {
                                       const std::string b = raw(v);
                                       return "G" + std::string(b.rbegin(), b.rend());
                                   };
                                   replace_all(p, real(0.125), real(0.25));
                               }),
                   Fault::damaged, "its description gives layer 0 16 channels, model.0.conv.weight has 8");
    expect_refused(with_pickle(kYolo11, [](std::string& p) { replace_all(p, text_op("names"), text_op("nomes")); }),
                   Fault::usage, "does not name its 3 classes; tundra import");
    for (const char* name : {kYolo11, kCedar, kNine}) {
        SCOPED_TRACE(name);
        expect_refused(changed(name,
                               [](Records& records) {
                                   size_t count = 0;
                                   for (const bool half : {true, false})
                                       for (ZipRecord& r : records)
                                           if (r.content == numbers({8, 16, 32}, half))
                                               r.content = numbers({8, 16, 64}, half), ++count;
                                   ASSERT_GT(count, 0u);
                               }),
                       Fault::usage, "has the strides 8, 16, 64 where the network has 8, 16, 32");
        expect_refused(changed(name,
                               [](Records& records) {
                                   for (ZipRecord& r : records)
                                       if (r.content.size() > 4000 && r.name.find("/data/") != r.name.npos) {
                                           r.content.replace(0, 2, raw(uint16_t(0x7e00)));
                                           return;
                                       }
                               }),
                       Fault::damaged, "is nan; download or train the weights again");
    }
    expect_refused(changed(kCedar,
                           [](Records& records) {
                               std::string bins, others;
                               for (int i = 0; i < 16; ++i)
                                   bins += raw(fp16(float(i))), others += raw(fp16(float(i + 1)));
                               replace_record(records, bins, others);
                           }),
                   Fault::usage, "dfl.conv.weight is not 0 to 15");
}

TEST(DetectorFile, OtherNetworksAreNamed) {
    const auto refused = [](const char* name, const char* from, const char* to, const char* part) {
        expect_refused(with_class(name, from, to), Fault::usage, std::string(part));
    };
    refused(kYolo11, "Detect", "v10Detect", "a YOLOv10");
    refused(kYolo11, "Detect", "Segment", "a YOLO for segmentation");
    refused(kYolo11, "Detect", "Pose", "a YOLO for poses");
    refused(kYolo11, "Detect", "OBB", "a YOLO for oriented boxes");
    refused(kYolo11, "Detect", "Classify", "a YOLO for whole images");
    refused(kYolo11, "Detect", "RTDETRDecoder", "an RT-DETR");
    refused(kYolo11, "Detect", "WorldDetect", "a YOLO-World");
    refused(kYolo11, "C3k2", "A2C2f", "a YOLOv12");
    refused(kYolo11, "C3k2", "C3", "a YOLOv5 with a head without anchors");
    refused(kNine, "SPPELAN", "CBLinear", "a YOLOv9-E");
    refused(kCedar, "DDetect", "DualDDetect", "a YOLOv9 with the second branch that only training uses");
    refused(kCedar, "RepNCSPELAN4", "ELAN1", "a YOLOv9-T or -S");
    refused(kCedar, "ADown", "AConv", "a YOLOv9-T, -S or -M");
    // Their tensors alone.
    const auto tensors = [](const Items& items) { return zip(state_op(items)); };
    const Items start{{"model.0.conv.weight", {8, 3, 3, 3}}, {"model.1.conv.weight", {8, 8, 3, 3}}};
    const std::string dfl = "model.22.dfl.conv.weight";
    for (const auto& [items, part] : std::vector<std::pair<Items, const char*>>{
             {{{"model.0.stem1.conv.weight", {8, 3, 3, 3}}, {"model.28.enc_score_head.weight", {3, 8}}}, "an RT-DETR"},
             {{{"0.conv.weight", {8, 3, 3, 3}},
               {"22.heads.0.anchor_conv.0.conv.weight", {8, 8, 3, 3}},
               {"22.heads.0.class_conv.0.conv.weight", {8, 8, 3, 3}}},
              "a YOLOv9 of MIT's code"},
             {start + Items{{dfl, {1, 16, 1, 1}}, {"model.22.proto.cv1.conv.weight", {8, 8, 3, 3}}}, "segmentation"},
             {start + Items{{dfl, {1, 16, 1, 1}}, {"model.22.cv4.0.0.conv.weight", {8, 8, 3, 3}}}, "poses or oriented"},
             {start + Items{{dfl, {1, 16, 1, 1}}, {"model.22.one2one_cv2.0.0.conv.weight", {8, 8, 3, 3}}}, "a YOLOv10"},
             {start + Items{{dfl, {1, 16, 1, 1}}, {"model.22.dfl2.conv.weight", {1, 16, 1, 1}}}, "second branch"}}) {
        expect_refused(tensors(items), Fault::usage, part);
        expect_refused(tensors(items), Fault::usage, "it runs YOLOv5, YOLOv8, YOLOv9-C and YOLO11 for detection");
    }
}

TEST(DetectorFile, FilesThatAreNone) {
    const std::string whole = content(kGolden / kYolo11 / "model.pt");
    expect_refused(whole.substr(0, whole.size() / 2), Fault::damaged, "damaged zip archive");
    expect_refused(whole.substr(0, whole.size() - 20), Fault::damaged, "damaged zip archive");
    std::string flipped = whole;
    flipped[flipped.size() / 2] ^= 0x55;
    expect_refused(flipped, Fault::damaged, "damaged zip archive");
    expect_refused("weights: see the other file\n", Fault::damaged, "is not a weight file that tundra knows");
    expect_refused(
        "\x08\x08\x12\x07pytorch\x1a\x05"
        "2.7.1",
        Fault::damaged, "is an ONNX export");
    expect_refused(zip_of({{"best/constants.pkl", "x"}, {"best/data.pkl", pickle_of("}")}}), Fault::damaged,
                   "is a TorchScript file");
}

TEST(DetectorFile, OnlyForeignCodeIsReported) {
    const auto notes = [](const std::string& more) {  // an entry more in the outermost dict
        return detector_model(
                   read_bytes(with_pickle(
                       kNine, [&](std::string& p) { p.insert(p.size() - 1, text_op("more") + more + "s"); })))
            .notes;
    };
    const std::string object = "cultralytics.nn.modules.conv\nConv\n)\x81", builtins = "c__builtin__\ngetattr\n";
    EXPECT_TRUE(notes("cdill._dill\n_load_type\n" + text_op("set") + "\x85R)R").empty());
    EXPECT_TRUE(notes(builtins + object + text_op("forward_fuse") + "\x86R").empty());
    for (const std::string& code :
         {"cposix\nsystem\n" + text_op("rm") + "\x85R", "cdill._dill\n_create_function\n" + text_op("set") + "\x85R",
          "cdill._dill\n_load_type\n" + text_op("CodeType") + "\x85R", builtins + object + text_op("system") + "\x86R",
          builtins + "cos\npath\n" + text_op("forward_fuse") + "\x86R"}) {
        const std::vector<std::string> found = notes(code);
        ASSERT_EQ(found.size(), 1u) << code;
        EXPECT_NE(found[0].find("which tundra never runs; the weights are complete without it"), std::string::npos);
    }
}

// megadetector_info.json beside the pickle.
TEST(DetectorFile, WhatMegaDetectorWritesBesideIt) {
    const auto with_info = [](const char* info) {
        return changed(kYolo11, [&](Records& records) {
            for (ZipRecord& r : records)
                if (r.name.ends_with("/megadetector_info.json")) r.content = info;
        });
    };
    const auto refused = [&](const char* info, const char* part) {
        expect_refused(with_info(info), Fault::damaged, std::string("its megadetector_info.json ") + part);
    };
    for (const char* none : {"", "see the page", "[]", "{\"image_size\": 960", "{\"image_size\": NaN}"})
        refused(none, "is not a JSON object");
    const std::string deep = "{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}";
    refused(deep.c_str(), "is not a JSON object");
    refused(R"({"image_size": "960"})", R"(states image_size = "960", not a number from 64 to 8192)");
    refused(R"({"image_size": 9600})", "states image_size = 9600");
    refused(R"({"image_size": -1})", "states image_size = -1");
    refused(R"({"typical_detection_threshold": 30})",
            "states typical_detection_threshold = 30, not a number from 0 to 1");
    refused(R"({"conservative_detection_threshold": -0.1})", "states conservative_detection_threshold = -0.1");
    refused(R"({"typical_detection_threshold": [0.2]})", "states typical_detection_threshold = [0.2]");
    const DetectorModel said =
        detector_model(read_bytes(with_info(R"({"image_size": 960, "typical_detection_threshold": 0.35})")));
    EXPECT_EQ(said.image_size, 960u);
    EXPECT_EQ(said.typical_threshold, 0.35);
    EXPECT_TRUE(said.size_note.empty() && said.whole_padding);
    EXPECT_EQ(detector_model(read_bytes(with_info("{}"))).size_note, "");  // the settings of its training say it
}

// A size that is assumed is said, and a copy does not claim it.
TEST(DetectorFile, SizesThatNobodyStates) {
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / fmt::format("tundra_sizes_{}", getpid());
    std::filesystem::create_directories(folder);
    const std::filesystem::path source = TUNDRA_TESTS "/golden/yolo/yolov5_p6_tiny/model.pt";
    const DetectorModel model = read_detector(source);
    EXPECT_EQ(model.image_size, 1280u);
    EXPECT_TRUE(model.size_note.starts_with("states no image size and runs at 1280 pixels")) << model.size_note;
    write_detector(folder / "copy.safetensors", model);
    EXPECT_EQ(read_detector(folder / "copy.safetensors").size_note, model.size_note);
    EXPECT_NE(read_weights(folder / "copy.safetensors").metadata.at("megadetector_info.json").find(R"("yolov5")"),
              std::string::npos);
    std::filesystem::copy_file(source, folder / "md_v5a.0.1.pt");  // known by its name
    EXPECT_EQ(read_detector(folder / "md_v5a.0.1.pt").size_note, "");
    std::filesystem::remove_all(folder);
}

// Also with the first convolution of SPPF as ultralytics 8.4.0 to 8.4.120 made it.
TEST(DetectorFile, TheCopyAsSafetensorsIsTheSame) {
    const std::filesystem::path path =
        std::filesystem::temp_directory_path() / fmt::format("tundra_detector_{}.safetensors", getpid());
    for (const char* name : {kYolo11, kCedar, kNine}) {
        SCOPED_TRACE(name);
        DetectorModel model = read_detector(kGolden / name / "model.pt");
        EXPECT_FALSE(model.others->plain_pool);
        model.others->plain_pool = name == kYolo11;
        write_detector(path, model);
        const DetectorModel copy = read_detector(path);
        EXPECT_EQ(copy.others->family, model.others->family);
        EXPECT_EQ(copy.others->widths, model.others->widths);
        EXPECT_EQ(copy.others->plain_pool, model.others->plain_pool);
        EXPECT_EQ(copy.classes, model.classes);
        EXPECT_EQ(copy.image_size, model.image_size);
        EXPECT_EQ(copy.letterbox_stride(), model.letterbox_stride());
        EXPECT_EQ(copy.whole_padding, model.whole_padding);
        EXPECT_EQ(copy.version, model.version);
        ASSERT_EQ(copy.state.size(), model.state.size());
        for (const auto& [key, tensor] : model.state) {
            EXPECT_EQ(copy.state.at(key).shape, tensor.shape) << key;
            EXPECT_EQ(copy.state.at(key).values, tensor.values) << key;
        }
        EXPECT_THROW(read_detector_unfolded(path), Error);
        // The same tensors without what identifies them.
        const WeightFile kept = read_weights(path);
        std::vector<FileTensor> tensors;
        for (const auto& [key, t] : kept.state)
            tensors.push_back({key, DType::f32, t.shape, std::as_bytes(std::span(t.values))});
        write_safetensors(path, tensors, {});
        expect_refused(content(path), Fault::usage, "alone, which do not say its settings");
        std::filesystem::remove(path);
    }
}

}  // namespace
