// Weight files as other programs write them: where the weights are, which tensor is which, which network it is, and
// what is refused. About 1 s.
#include "base/safetensors.h"
#include "tests/checkpoints.h"

namespace {

TEST(ForeignWeights, AnyPrefixAndAnyPlaceInACheckpoint) {
    const Items items = resnet50();
    for (const char* prefix : {"", "model.", "module._orig_mod.", "net.feature.", "a.b.c.d.", "timm_model."}) {
        SCOPED_TRACE(prefix);
        const Items named = prefixed(prefix, items) + Items{{"n_averaged", {}}, {"loss.weight", {5}}};
        const std::string state = state_op(named);
        for (const std::string& body :
             {state, dict_op(entry("state_dict", state)), dict_op(entry("anything", state) + entry("epoch", int_op(3))),
              dict_op(entry("state", dict_op(entry("model", state)))),                   // Composer
              "(" + state + dict_op(entry("exp_avg", tensor_op({2, 2}, 900))) + "t"}) {  // with an optimizer
            const WeightFile file = read_bytes(zip(body));
            expect_resnet50(file, named, items);
            EXPECT_TRUE(file.prefix.ends_with(prefix)) << file.prefix;
            EXPECT_TRUE(
                std::ranges::any_of(file.notes, [](const std::string& n) { return n.starts_with("loss.weight"); }));
        }
    }
}

// What torch.compile, activation checkpointing and FSDP put into names, of the network or of any of its layers.
TEST(ForeignWeights, WrappersInsideNames) {
    const Items items = resnet50();
    for (const char* wrapper : {"_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module._fpw_module."})
        for (const char* front : {"", "module.", "module._orig_mod."}) {
            Items named = prefixed(front, items);
            for (const char* layer : {"conv1.", "layer1.", "layer2.1.", "layer2.1._orig_mod.bn3.", "layer4.2.", "fc."})
                named = renamed(std::string(front) + layer, std::string(front) + layer + wrapper, named);
            ASSERT_EQ(named.back().name, std::string(front) + "fc." + wrapper + "bias");
            const WeightFile file = read_bytes(zip(dict_op(entry("state_dict", state_op(named)))));
            SCOPED_TRACE(std::string(front) + wrapper + file.model.text);
            expect_resnet50(file, named, items);
            EXPECT_EQ(file.prefix, front);
        }
    for (const char* again : {"layer1.0._orig_mod.conv1.weight", "_orig_mod.bn1.bias"})
        expect_text(read_bytes(zip(state_op(items + Items{{again, {1}}}))), "twice");
    const Items both = items + prefixed("_orig_mod.", items);
    expect_text(read_bytes(zip(state_op(both))), "twice");
    // A layer that is left out is named without its wrappers; a last layer in two forms is none.
    expect_lacks(read_bytes(zip(state_op(items + Items{{"fc._orig_mod.weight", {5, 32}}}))), "fc.*");
}

TEST(ForeignWeights, OneOfTwoNetworks) {
    const Items items = resnet50();
    const std::string first = state_op(items), second = state_op(items, 500);
    const WeightFile averaged = read_bytes(zip(dict_op(entry("model", second) + entry("ema", first))));
    expect_resnet50(averaged, items, items);
    EXPECT_EQ(averaged.source, "ema");
    EXPECT_EQ(averaged.notes, std::vector<std::string>{"another network, behind 'model.', is not used"});
    expect_text(read_bytes(zip(dict_op(entry("student", first) + entry("teacher", second)))),
                "two networks, behind 'student.' and behind 'teacher.'");
    const Items moco = prefixed("encoder_q.", items) + prefixed("encoder_k.", items);
    expect_lacks(read_bytes(zip(state_op(moco))), "momentum");
}

TEST(ForeignWeights, TheLastLayer) {
    const Items items = resnet50(), body = without("fc.", items), head{{"fc.weight", {5, 32}}, {"fc.bias", {5}}};
    for (const char* name : {"fc.1.", "classifier.", "head.fc.", "classifier.1.", "whatever."}) {
        SCOPED_TRACE(name);
        const Items named = renamed("fc.", name, items);
        expect_resnet50(read_bytes(zip(state_op(named))), named, items);
        const Items wrapped = prefixed("backbone.", body) + renamed("fc.", name, head);
        expect_resnet50(read_bytes(zip(state_op(wrapped))), wrapped, items);
    }
    // PyTorch-Wildlife: the fc inside is a left-over, the layer outside takes the features.
    const Items wildlife = prefixed("net.feature.", body) + renamed("fc.", "net.classifier.", head) +
                           Items{{"net.feature.fc.weight", {8, 32}}, {"net.feature.fc.bias", {8}}};
    expect_resnet50(read_bytes(zip(state_op(wildlife))), wildlife, body + head);

    const Items other{{"aux.weight", {3, 32}}, {"aux.bias", {3}}};
    const WeightFile two = read_bytes(zip(state_op(items + other)));
    expect_lacks(two, "aux.*, fc.*");
    EXPECT_FALSE(two.state.contains("fc.weight"));
    const std::string stated = entry("hyper_parameters", dict_op(entry("num_classes", int_op(5))));
    expect_resnet50(read_bytes(zip(dict_op(entry("state_dict", state_op(items + other)) + stated))), items, items);

    const Items deep{{"fc.0.weight", {16, 32}}, {"fc.0.bias", {16}}, {"fc.2.weight", {5, 16}}, {"fc.2.bias", {5}}};
    expect_lacks(read_bytes(zip(state_op(body))), "last layer is missing");
    expect_lacks(read_bytes(zip(state_op(body + deep))), "fc.*");
    expect_lacks(read_bytes(zip(state_op(body + Items{{"fc.weight", {5, 32}}}))), "fc.weight");  // no bias
    const Items further{{"fc2.weight", {3, 5}}, {"fc2.bias", {3}}};
    expect_lacks(read_bytes(zip(state_op(prefixed("backbone.", items) + further))), "backbone.fc.*, fc2.*");
    expect_lacks(read_bytes(zip(state_op(prefixed("model.", items) + Items{{"temperature", {1}}}))), "temperature");
    const Items between{{"neck.weight", {32, 32}}, {"neck.bias", {32}}, {"fc.weight", {5, 32}}, {"fc.bias", {5}}};
    expect_lacks(read_bytes(zip(state_op(prefixed("net.", body) + between))), "neck.*");
    // Its inputs are the features and something more, so the fc inside is a left-over.
    const Items joined{{"classifier.weight", {5, 40}}, {"classifier.bias", {5}}};
    expect_lacks(read_bytes(zip(state_op(prefixed("net.", items) + joined))), "net.fc.*, classifier.*");
    const Items projector = renamed("fc.", "projector.", items);
    const auto with_count = [&](const Items& all, int32_t n) {
        return read_bytes(zip(dict_op(entry("state_dict", state_op(all)) + entry("num_classes", int_op(n)))));
    };
    expect_lacks(with_count(projector, 10), "projector.* has 5 outputs");
    const WeightFile contradiction = with_count(items, 10);
    expect_resnet50(contradiction, items, items);
    ASSERT_FALSE(contradiction.notes.empty());
    EXPECT_NE(contradiction.notes[0].find("speaks of 10 classes"), std::string::npos);
}

TEST(ForeignWeights, OtherNamesOfTheSameNetwork) {
    const Items items = resnet50();
    Items children = items, transformers = items;
    for (Item& item : children) {
        for (const auto& [from, to] : std::map<std::string, std::string>{{"conv1.", "0."},
                                                                         {"bn1.", "1."},
                                                                         {"layer1.", "4."},
                                                                         {"layer2.", "5."},
                                                                         {"layer3.", "6."},
                                                                         {"layer4.", "7."}})
            if (item.name.starts_with(from)) item.name = "features." + to + item.name.substr(from.size());
        if (item.name.starts_with("fc.")) item.name.replace(0, 2, "classifier");
    }
    expect_resnet50(read_bytes(zip(state_op(children))), children, items);
    for (Item& item : transformers) {
        std::string& name = item.name;
        const std::string kind = name.find("conv") != name.npos || name.find("downsample.0") != name.npos
                                     ? "convolution."
                                     : "normalization.";
        const std::string part = name.substr(name.rfind('.') + 1);
        if (name.starts_with("layer")) {
            const size_t at = name.find('.', 7) + 1;
            const std::string layer = name.substr(at, name.find('.', at) - at);
            name = fmt::format("resnet.encoder.stages.{}.layers.{}.{}.{}{}", int(name[5] - '1'), name.substr(7, at - 8),
                               layer == "downsample" ? "shortcut" : fmt::format("layer.{}", int(layer.back() - '1')),
                               kind, part);
        } else {
            name = name.starts_with("fc.") ? "classifier.1." + part : "resnet.embedder.embedder." + kind + part;
        }
    }
    expect_resnet50(read_bytes(zip(state_op(transformers))), transformers, items);
    const std::string block = "resnet.encoder.stages.0.layers.0.";
    for (const char* name : {"shortcut.lora.convolution.weight", "adapter.1.convolution.weight"})
        EXPECT_FALSE(read_bytes(zip(state_op(transformers + Items{{block + name, {1, 1, 1, 1}}}))).model.model) << name;
    // A key of this name need not be the settings of transformers.
    const std::string settings = entry("config.json", int_op(7));
    expect_resnet50(read_bytes(zip(dict_op(entry("state_dict", state_op(transformers)) + settings))), transformers,
                    items);
}

TEST(ForeignWeights, OtherNetworksAreNamed) {
    const Items items = resnet50();
    const auto with = [&](const std::string& name, const std::vector<int32_t>& shape) {
        Items changed = items;
        std::erase_if(changed, [&](const Item& item) { return item.name == name; });
        changed.push_back({name, shape});
        return read_bytes(zip(state_op(prefixed("model.", changed))));
    };
    expect_text(with("layer2.1.se.fc1.weight", {1, 8, 1, 1}),
                "has layer2.1.se.fc1.weight, which a resnet50 does not have");
    expect_text(with("ca.fc1.weight", {1, 1, 1, 1}), "ca.fc1.weight");
    expect_text(with("layer1.0.conv2.weight", {1, 2, 3, 3}), "layer1.0.conv2.weight of shape (1, 2, 3, 3)");
    expect_text(with("conv1.weight", {1, 1, 7, 7}), "images of 1 channels");
    expect_text(read_bytes(zip(state_op(without("layer3.5.bn2.bias", items)))), "has no layer3.5.bn2.bias");
    expect_text(read_bytes(zip(state_op(without("layer4.2", items)))), "3, 4, 6, 2 bottleneck blocks");
    // Layers that prepare the images.
    for (const auto& [name, shape] : {std::pair("norm.running_mean", std::vector<int32_t>{3}),
                                      std::pair("normalize.mean", std::vector<int32_t>{1, 3, 1, 1})}) {
        Items prepared = prefixed("net.", items);
        prepared.push_back({name, shape});
        expect_text(read_bytes(zip(state_op(prepared))), std::string(name) + ", and tundra does not know how");
    }
    Items folded = without("downsample.1", without("bn", items));
    for (const char* conv : {"conv1.bias", "layer1.0.conv1.bias"}) folded.push_back({conv, {1}});
    expect_text(read_bytes(zip(state_op(folded))), "folded");
    const WeightFile parameters = read_bytes(zip(state_op(without("running_", items))));
    expect_lacks(parameters, "statistics");
    EXPECT_EQ(parameters.model.text.find("torchvision"), std::string::npos);
    for (const auto& [arch, known] : std::map<std::string, bool>{{"resnet50", true},
                                                                 {"timm/resnet50.a1_in1k", true},
                                                                 {"tv_resnet50", true},
                                                                 {"ResNet", true},
                                                                 {"baseline", true},
                                                                 {"resnetaa50", false},
                                                                 {"resnetblur50", false},
                                                                 {"seresnet50", false},
                                                                 {"wide_resnet50_2", false}}) {
        const WeightFile file =
            read_bytes(zip(dict_op(entry("arch", text_op(arch)) + entry("state_dict", state_op(items)))));
        EXPECT_EQ(file.model.model.has_value(), known) << arch << ": " << file.model.text;
    }
}

TEST(ForeignWeights, UnusedTensorsOfOtherTypesStopNothing) {
    const Items items = resnet50();
    std::string complex = tensor_op({2}, 0);
    complex.replace(complex.find("FloatStorage"), 12, "ComplexFloatStorage");
    complex.replace(complex.find(text_op("0")), text_op("0").size(), text_op("1"));
    const WeightFile file = read_bytes(zip(dict_op(entry("model", state_op(items)) + entry("fft", complex))));
    expect_resnet50(file, items, items);
}

// What Python 2 and torch below 1.6 wrote.
TEST(ForeignWeights, OldPickles) {
    const Items items = resnet50();
    std::string pairs;  // OrderedDict([[name, tensor], ...]), names as byte strings, an identity as text
    for (size_t i = 0; i < items.size(); ++i)
        pairs += "](U" + std::string(1, char(items[i].name.size())) + items[i].name +
                 tensor_op(items[i].shape, i, "N") + "e";
    const std::string ordered = "ccollections\nOrderedDict\n](" + pairs + "e\x85R}(U\x09_metadataNu" + "b";
    expect_resnet50(read_bytes(legacy(pickle_of(ordered))), items, items);
    expect_resnet50(read_bytes(legacy(pickle_of("}(U\x05"
                                                "state" +
                                                ordered +
                                                "U\x09"
                                                "optimizer]I140234567890123\nau"))),
                    items, items);
    // Protocol 0: everything as lines of text.
    std::string rest;
    for (size_t i = 0; i < items.size(); ++i) rest += entry(items[i].name, tensor_op(items[i].shape, i));
    const WeightFile file =
        read_bytes(zip("(dp0\nS'it\\'s \\x41'\np1\nI7\nsVn\\u00e4me\nF0.5\nsS'long'\nL12L\nsS'true'\nI01\ns"
                       "S'w'\n" +
                       dict_op(rest) + "s"));
    expect_resnet50(file, items, items);
    EXPECT_EQ(file.metadata.at("it's A"), "7");
    EXPECT_EQ(file.metadata.at("n\xc3\xa4me"), "0.5");
    EXPECT_EQ(file.metadata.at("long"), "12");
    EXPECT_EQ(file.metadata.at("true"), "1");
}

// As NumPy pickles itself; the type as in its own text, "i8" or "U6", the bytes as Python 3 has them.
std::string numpy_type(const std::string& type) {
    return "cnumpy\ndtype\n(" + text_op(type) + "\x89\x88tR(" + int_op(3) + text_op(type == "O8" ? "|" : "<") + "NNN" +
           int_op(-1) + int_op(-1) + int_op(0) + "tb";
}
std::string numpy_scalar(const std::string& type, const std::string& bytes) {
    return "cnumpy.core.multiarray\nscalar\n(" + numpy_type(type) + "C" + char(bytes.size()) + bytes + "tR";
}
std::string numpy_array(const std::string& type, const std::string& content) {
    return "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + tuple_op({0}) +
           "C\x01"
           "btR(" +
           int_op(1) + tuple_op({5}) + numpy_type(type) + "\x89" +
           (type == "O8" ? content : "C" + std::string(1, char(content.size())) + content) + "tb";
}

TEST(ForeignWeights, NamesOfClasses) {
    const std::vector<std::string> names = {"badger", "deer", "empty", "fox", "hare"};
    const auto list = [&](std::vector<std::string> texts) {
        std::string op = "](";
        for (const std::string& text : texts) op += text_op(text);
        return op + "e";
    };
    const auto hydra = [](const std::string& type, const std::string& key, const std::string& value) {
        return class_op("omegaconf." + type) + ")\x81" + dict_op(entry(key, value)) + "b";
    };
    std::string by_name, by_number, nodes = "](", coco = "](", numpy_numbers, characters;
    for (const std::string& name : names) nodes += hydra("nodes.AnyNode", "_val", text_op(name));
    for (const std::string& name : names)
        for (size_t c = 0; c < 6; ++c) characters += raw(uint32_t(c < name.size() ? name[c] : 0));
    for (const size_t i : {3, 1, 4, 0, 2}) {
        coco += dict_op(entry("id", int_op(int32_t(i))) + entry("name", text_op(names[i])));
        numpy_numbers += text_op(names[i]) + numpy_scalar("i8", raw(int64_t(i)));
        by_name += text_op(names[i]) + int_op(int32_t(i));
        by_number += int_op(int32_t(i)) + text_op(names[i]);
    }
    const std::string state = entry("state_dict", state_op(resnet50()));
    const auto read_names = [&](const std::string& more) {
        return read_bytes(zip(dict_op(state + more))).model.class_names;
    };
    for (const std::string& more :
         {entry("class_to_idx", dict_op(by_name)), entry("idx_to_class", dict_op(by_number)),
          entry("classes", list(names)), entry("id2label", dict_op(by_number)),
          entry("hyper_parameters", dict_op(entry("class_names", list(names)))),
          entry("args", "cargparse\nNamespace\n)\x81" + dict_op(entry("labels", list(names))) + "b"),
          entry("Label-to-Idx", dict_op(by_name)), entry("species", list(names)),
          entry("meta", dict_op(entry("dataset_meta", dict_op(entry("classes", list(names)))))),
          entry("cfg", hydra("dictconfig.DictConfig", "_content",
                             dict_op(entry("classes", hydra("listconfig.ListConfig", "_content", nodes + "e"))))),
          entry("categories", coco + "e"), entry("classes", numpy_array("U6", characters)),
          entry("classes", numpy_array("O8", list(names))), entry("class_to_idx", dict_op(numpy_numbers))}) {
        EXPECT_EQ(read_names(more), names);
    }
    EXPECT_TRUE(read_names(entry("classes", list({"fox", "hare"}))).empty());
    const std::string gap = dict_op(by_name + text_op("wolf") + int_op(7));
    const WeightFile with_gap = read_bytes(zip(dict_op(state + entry("class_to_idx", gap))));
    EXPECT_TRUE(with_gap.model.class_names.empty());
    ASSERT_EQ(with_gap.notes.size(), 1u);
    EXPECT_EQ(with_gap.notes[0],
              "class_to_idx is not used: it is not a list of different names, nor names with the numbers 0, 1, 2, ...");
    EXPECT_TRUE(read_names(entry("classes", list({"a", "b", "c", "d", "a"}))).empty());
    EXPECT_EQ(read_names(entry("Classes", int_op(5)) + entry("classes", list(names))), names);
    const std::string turned = list({"hare", "fox", "empty", "deer", "badger"});
    EXPECT_TRUE(read_names(entry("CLASSES", turned) + entry("classes", list(names))).empty());
    std::string levels;
    for (const char* level : {"a", "b", "c"}) levels += entry(level, dict_op(entry("classes", list({"fox", "hare"}))));
    const WeightFile many = read_bytes(zip(dict_op(state + entry("meta", dict_op(levels)))));
    ASSERT_EQ(many.notes.size(), 1u);
    EXPECT_NE(many.notes[0].find("2 more such cases"), std::string::npos) << many.notes[0];
    EXPECT_TRUE(read_names(entry("class_to_idx", dict_op(by_name)) + entry("classes", turned)).empty());
}

TEST(ForeignWeights, StatedPreprocessingIsMetadata) {
    const auto three = [](double a, double b, double c) { return "(" + real_op(a) + real_op(b) + real_op(c) + "t"; };
    const std::string config =
        dict_op(entry("mean", three(0.5, 0.25, 0.125)) + entry("std", three(0.5, 0.5, 0.5)) +
                entry("input_size", tuple_op({3, 160, 160})) + entry("crop_pct", real_op(0.875)));
    const WeightFile file =
        read_bytes(zip(dict_op(entry("state_dict", state_op(resnet50())) + entry("pretrained_cfg", config))));
    EXPECT_EQ(file.metadata.at("preprocess.mean"), "[0.5,0.25,0.125]");
    EXPECT_EQ(file.metadata.at("preprocess.input_size"), "[3,160,160]");
    EXPECT_EQ(file.metadata.at("preprocess.crop_pct"), "0.875");
    EXPECT_EQ(file.metadata.at("preprocess.source"), "pretrained_cfg");
}

TEST(ForeignWeights, SettingsBesideTheWeights) {
    const auto with = [](const std::string& key, const std::string& settings) {
        return read_bytes(zip(dict_op(entry("state_dict", state_op(resnet50())) + entry(key, dict_op(settings)))));
    };
    // Layers that leave no trace in the tensors.
    expect_text(with("args", entry("gp", text_op("avgmax"))), "a ResNet with args.gp = \"avgmax\"");
    expect_text(with("config", entry("model_args", dict_op(entry("act_layer", text_op("silu"))))),
                "config.model_args.act_");
    expect_text(with("args", entry("model_kwargs", dict_op(entry("output_stride", int_op(16))))), "output_stride");
    expect_text(with("hyper_parameters", entry("aa_layer", text_op("blurpc"))), "aa_layer");
    const std::string silu = "ctorch.nn.modules.activation\nSiLU\n", relu = "ctorch.nn.modules.activation\nReLU\n";
    for (const std::string& made : {silu, "cfunctools\npartial\n(" + silu + "tR", silu + ")R"})
        expect_text(with("args", entry("model_kwargs", dict_op(entry("act_layer", made)))), "act_layer = \"torch.nn");
    expect_text(with("args", entry("aa_layer", dict_op(""))), "aa_layer");
    for (const std::string& act : {text_op("relu"), text_op("torch.nn.ReLU(inplace=True)"), relu, std::string("N")}) {
        const std::string other = entry("projector", dict_op(entry("act_layer", text_op("gelu"))));
        const WeightFile usual =
            with("args", entry("gp", text_op("AdaptiveAvgPool2d")) + entry("aa_layer", text_op("none")) + other +
                             entry("model_kwargs", dict_op(entry("act_layer", act))));
        EXPECT_EQ(usual.model.classes, 5u) << usual.model.text;
    }
    // What prepares the images.
    const auto all = [](const std::string& value) { return "](" + value + "e"; };
    const auto stated = [&](const std::string& settings, const std::string& key) {
        const WeightFile file = with("data", settings);
        const auto found = file.metadata.find("preprocess." + key);
        return found == file.metadata.end() ? "" : found->second;
    };
    const std::string half = all(real_op(0.5));
    const auto both = [](const std::string& m, const std::string& d) { return entry("mean", m) + entry("std", d); };
    const std::string tensors = both(tensor_op({3}, 1), tensor_op({3}, 2)), nested = all(half + half + half);
    const std::string numpy = numpy_array("f2", "\x66\x2e\x66\x2e\x66\x2e");
    const std::string null = class_op("omegaconf.nodes.AnyNode") + ")\x81" + dict_op(entry("_val", "N")) + "b";
    EXPECT_EQ(stated(both(half, half), "mean"), "[0.5]");
    EXPECT_EQ(stated(both(real_op(0.5), real_op(0.5)), "mean"), "0.5 (not three numbers)");
    EXPECT_EQ(stated(tensors, "mean"), "(a tensor)");
    EXPECT_EQ(stated(tensors + entry("pretrained_cfg", dict_op(both(half, half))), "mean"), "(a tensor)");
    EXPECT_TRUE(stated(both(nested, nested), "mean").starts_with("(in a form"));
    EXPECT_TRUE(stated(both(numpy, numpy), "mean").starts_with("[0.09997"));
    EXPECT_EQ(stated(both(null, null), "mean"), "");
    EXPECT_EQ(stated(both(real_op(3), real_op(2)) + entry("image_mean", half) + entry("image_std", half), "std"),
              "[0.5]");
    EXPECT_EQ(stated(both(half, half) + entry("rescale_factor", real_op(-1)), "mean"), "[0.5] with rescale_factor -1");
    const auto side = [](int32_t n) { return dict_op(entry("img_size", int_op(n))); };
    EXPECT_EQ(stated(entry("train", side(160)) + entry("val", side(224)), "input_size"), "224");
    EXPECT_EQ(stated(entry("train_args", side(160)), "input_size"), "160");
    EXPECT_EQ(stated(entry("more", dict_op(both(half, half))), "source"), "data.more");
    EXPECT_EQ(stated(entry("do_normalize", "\x89"), "normalize"), "0,0,0/255,255,255");
    EXPECT_EQ(stated(entry("do_normalize", "\x89") + entry("do_rescale", "\x89"), "normalize"), "0,0,0/1,1,1");
    EXPECT_EQ(stated(both(half, half) + entry("do_rescale", "\x89"), "normalize"), "0.5,0.5,0.5/0.5,0.5,0.5");
    EXPECT_EQ(stated(entry("val_crop_size", int_op(192)) + entry("val_resize_size", int_op(232)), "resize"), "232");
    const std::string resize = entry("do_resize", "\x88");
    EXPECT_EQ(stated(resize + entry("size", dict_op(entry("shortest_edge", int_op(224)))), "crop_pct"), "0.875");
    EXPECT_EQ(stated(resize + entry("size", int_op(224)), "crop_mode"), "squash");
    const std::string convnext = entry("feature_extractor_type", text_op("ConvNextFeatureExtractor"));
    EXPECT_EQ(stated(resize + convnext + entry("size", int_op(224)), "crop_pct"), "0.875");
    EXPECT_EQ(stated(resize + entry("resample", int_op(1)), "interpolation"), "lanczos");
    const std::string crop = dict_op(entry("height", int_op(224)) + entry("width", int_op(160)));
    const std::string cropped = resize + entry("do_center_crop", "\x88") + entry("crop_size", crop);
    EXPECT_EQ(stated(cropped + entry("size", int_op(256)), "input_size"), "[224,160]");
    EXPECT_EQ(
        stated(resize + entry("size", dict_op(entry("height", int_op(96)) + entry("width", int_op(96)))), "input_size"),
        "[96,96]");
}

// An object inside an object and so on, without a list or dict between: no recursion may follow them all.
TEST(ForeignWeights, ALongChainOfObjects) {
    std::string chain = "ctorch\nSize\nq" + std::string(1, '\0') + "0h" + std::string(1, '\0') + "K\x01\x85R";
    for (int i = 0; i < 200'000; ++i)
        chain +=
            "q\x01"
            "0h" +
            std::string(1, '\0') + "h\x01\x85R";
    EXPECT_EQ(read_bytes(zip(dict_op(entry("size", chain) + entry("model", state_op(resnet50()))))).model.classes, 5u);
}

TEST(ForeignWeights, ATrainingCheckpointSaysWhatToName) {
    const std::vector<float> one{1};
    const FileTensor tensor{"model.conv1.weight", DType::f32, {1}, std::as_bytes(std::span(one))};
    const std::filesystem::path path =
        std::filesystem::temp_directory_path() / fmt::format("step-{}.safetensors", getpid());
    write_safetensors(path, {&tensor, 1}, {{"state", "{}"}, {"xxh3", "0"}});
    expect_text(read_weights(path), "name its run folder");
    std::filesystem::remove(path);
}

}  // namespace
