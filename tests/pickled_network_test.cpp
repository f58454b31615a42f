// Networks pickled whole: every layer's class and settings are checked, and code in a pickle is reported. About 1 s.
#include <set>

#include "base/error.h"
#include "models/files/detector_file.h"
#include "tests/checkpoints.h"
#include "tests/files.h"

namespace {

// A ResNet-50 pickled whole, as torchvision's classes; `changes` by path: another class, or (PATH.ATTRIBUTE) a value.
class Pickled {
public:
    explicit Pickled(std::map<std::string, std::string> changes, std::string class_prefix = "")
        : changes_(std::move(changes)), class_prefix_(std::move(class_prefix)) {
        for (const Item& item : items_) {
            std::string path = item.name.substr(0, item.name.rfind('.'));
            for (size_t dot = path.find('.'); dot != path.npos; dot = path.find('.', dot + 1))
                children_[parent(path.substr(0, dot))].insert(path.substr(0, dot));
            children_[parent(path)].insert(path);
            if (path.ends_with("conv3")) children_[parent(path)].insert(parent(path) + ".relu");
        }
        for (const char* name : {"relu", "maxpool", "avgpool"}) children_[""].insert(name);
    }
    std::string op(const std::string& path = "") const {
        const auto wrapped = wrappers.find(path);
        return wrapped == wrappers.end() ? plain_op(path) : wrapped->second(plain_op(path));
    }
    void use_legacy() { legacy_ = "N"; }
    std::map<std::string, std::string (*)(const std::string&)> wrappers{};  // put around modules, by path

private:
    std::string plain_op(const std::string& path) const {
        std::string parameters, buffers, modules, attributes = attributes_of(path);
        for (size_t i = 0; i < items_.size(); ++i)
            if (parent(items_[i].name) == path) {
                const std::string part = items_[i].name.substr(path.size() + 1);
                (part.starts_with("running") ? buffers : parameters) +=
                    entry(part, tensor_op(items_[i].shape, i, legacy_));
            }
        if (const auto found = children_.find(path); found != children_.end())
            for (const std::string& child : found->second)
                modules += entry(child.substr(path.empty() ? 0 : path.size() + 1), op(child));
        const auto changed = changes_.find(path);
        const std::string type = class_op(changed == changes_.end() ? class_of(path) : changed->second);
        return (class_prefix_.empty() ? type : "(" + text_op("module") + type + "NNtQ") + ")\x81" +
               dict_op(entry("_parameters", dict_op(parameters)) + entry("_buffers", dict_op(buffers)) +
                       entry("_modules", dict_op(modules)) + attributes) +
               "b";
    }
    static std::string parent(const std::string& path) {
        const size_t dot = path.rfind('.');
        return dot == path.npos ? "" : path.substr(0, dot);
    }
    static std::string class_of(const std::string& path) {
        const std::string last = path.substr(path.rfind('.') + 1);
        if (path.empty()) return "torchvision.models.resnet.ResNet";
        if (last.starts_with("conv") || path.ends_with("downsample.0")) return "torch.nn.modules.conv.Conv2d";
        if (last.starts_with("bn") || path.ends_with("downsample.1")) return "torch.nn.modules.batchnorm.BatchNorm2d";
        if (last == "relu") return "torch.nn.modules.activation.ReLU";
        if (last == "maxpool") return "torch.nn.modules.pooling.MaxPool2d";
        if (last == "avgpool") return "torch.nn.modules.pooling.AdaptiveAvgPool2d";
        if (last == "fc") return "torch.nn.modules.linear.Linear";
        return path.size() > 6 && last != "downsample" ? "torchvision.models.resnet.Bottleneck"
                                                       : "torch.nn.modules.container.Sequential";
    }
    std::string attributes_of(const std::string& path) const {
        std::map<std::string, std::string> all;
        const std::string type = class_of(path);
        const auto both = [](int32_t n) { return tuple_op({n, n}); };
        if (type.ends_with("Conv2d")) {
            const bool halves =
                path == "conv1" || (path[5] > '1' && (path.ends_with(".0.conv2") || path.ends_with("downsample.0")));
            const int32_t kernel = path == "conv1" ? 7 : path.ends_with("conv2") ? 3 : 1;
            all = {{"stride", both(halves ? 2 : 1)}, {"padding", both(kernel / 2)}, {"dilation", both(1)},
                   {"kernel_size", both(kernel)},    {"groups", int_op(1)},         {"padding_mode", text_op("zeros")}};
        } else if (type.ends_with("BatchNorm2d")) {
            all = {{"eps", real_op(1e-5)}};
        } else if (type.ends_with("MaxPool2d")) {
            all = {{"kernel_size", int_op(3)},
                   {"stride", int_op(2)},
                   {"padding", int_op(1)},
                   {"dilation", int_op(1)},
                   {"ceil_mode", "\x89"}};
        } else if (type.ends_with("AvgPool2d")) {
            all = {{"output_size", both(1)}};
        }
        for (const char* code : {"forward", "_forward_hooks"})
            if (changes_.contains((path.empty() ? "" : path + ".") + code)) all.emplace(code, "");
        std::string text;
        for (auto& [name, value] : all) {
            const auto changed = changes_.find((path.empty() ? "" : path + ".") + name);
            text += entry(name, changed == changes_.end() ? value : changed->second);
        }
        return text;
    }

    Items items_ = resnet50();
    std::map<std::string, std::string> changes_;
    std::string class_prefix_, legacy_;
    std::map<std::string, std::set<std::string>> children_;
};

TEST(PickledNetwork, EveryLayerOfAPickledNetworkIsChecked) {
    const Items items = resnet50();
    expect_resnet50(read_bytes(zip(Pickled({}).op())), items, items);
    expect_resnet50(read_bytes(zip(dict_op(entry("model", Pickled({}).op())))), items, items);
    Pickled old({}, "module");  // the older layout names classes by persistent ids
    old.use_legacy();
    expect_resnet50(read_bytes(legacy(pickle_of(old.op()))), items, items);

    const std::string leaky = "torch.nn.modules.activation.LeakyReLU", nothing = "torch.nn.modules.linear.Identity";
    const std::map<std::string, std::map<std::string, std::string>> other = {
        {"'relu' is a torch.nn.modules.activation.LeakyReLU", {{"relu", leaky}}},
        {"'layer3.2.relu' is a torch.nn.modules.activation.LeakyReLU", {{"layer3.2.relu", leaky}}},
        {"'layer1.1.relu' is a torch.nn.modules.linear.Identity", {{"layer1.1.relu", nothing}}},
        {"'maxpool' is a torch.nn.modules.linear.Identity", {{"maxpool", nothing}}},
        {"'avgpool'", {{"avgpool", "torch.nn.modules.pooling.AdaptiveMaxPool2d"}}},
        {"'layer2.0' is a posix.system", {{"layer2.0", "posix.system"}}},
        {"'layer2.0' is a mine.Bottleneck", {{"layer2.0", "mine.Bottleneck"}}},
        {"its outermost module is a mine.ResNet", {{"", "mine.ResNet"}}},
        {"'layer4.0.conv2' does not have a stride of 2", {{"layer4.0.conv2.stride", tuple_op({1, 1})}}},
        {"'layer4.0.conv1' does not have a stride of 1", {{"layer4.0.conv1.stride", tuple_op({2, 2})}}},
        {"'layer4.1.conv2' has a dilation", {{"layer4.1.conv2.dilation", tuple_op({2, 2})}}},
        {"'layer1.0.conv2' has 2 groups", {{"layer1.0.conv2.groups", int_op(2)}}},
        {"'conv1' does not pad with zeros", {{"conv1.padding_mode", text_op("reflect")}}},
        {"'conv1' does not have a padding of 3", {{"conv1.padding", text_op("same")}}},
        {"'maxpool' is a pooling of another kind", {{"maxpool.ceil_mode", "\x88"}}},
        {"'layer2.0.bn1' has an epsilon of 0.1", {{"layer2.0.bn1.eps", real_op(0.1)}}},
        {"its outermost module has hooks", {{"_forward_hooks", dict_op(entry("7", class_op("mine.hook")))}}},
        {"'layer3.0' has hooks", {{"layer3.0._forward_hooks", dict_op(entry("7", class_op("mine.hook")))}}},
        {"'fc' has a forward() of its own", {{"fc.forward", class_op("mine.forward")}}},
    };
    for (const auto& [part, changes] : other) expect_text(read_bytes(zip(Pickled(changes).op())), part);

    std::map<std::string, std::string> epsilons;
    for (const Item& item : items)
        if (item.name.ends_with("running_var"))
            epsilons[item.name.substr(0, item.name.size() - 11) + "eps"] = real_op(1e-3);
    const WeightFile file = read_bytes(zip(Pickled(epsilons).op()));
    expect_resnet50(file, items, items);
    EXPECT_FLOAT_EQ(float(file.model.model->folding.eps), 1e-3f);
}

// A module as torch pickles one that wraps another.
std::string wrapper(const char* type, const std::string& children, const std::string& more = "") {
    return class_op(type) + ")\x81" +
           dict_op(entry("_parameters", "}") + entry("_buffers", "}") + entry("_modules", dict_op(children)) + more) +
           "b";
}
std::string compiled(const std::string& inner) {
    return class_op("torch._dynamo.eval_frame.OptimizedModule") + "(" + inner + "}tR";
}
std::string compiled_before(const std::string& inner) {
    return wrapper("torch._dynamo.eval_frame.OptimizedModule", entry("_orig_mod", inner));
}
constexpr const char* kCheckpoint = "torch.distributed.algorithms._checkpoint.checkpoint_wrapper.CheckpointWrapper";
std::string checkpointed(const std::string& inner) {
    return wrapper(kCheckpoint, entry("_checkpoint_wrapped_module", inner));
}
std::string hooked(const std::string& inner) {
    return wrapper(kCheckpoint, entry("_checkpoint_wrapped_module", inner),
                   entry("_forward_hooks", dict_op(entry("7", class_op("mine.hook")))));
}

TEST(PickledNetwork, WrappedModulesAreTheOnesInside) {
    const Items items = resnet50();
    const std::map<std::string, std::string> leaky{{"layer1.1.relu", "torch.nn.modules.activation.LeakyReLU"}};
    Pickled layers({}), outermost({}), other(leaky), hooks({});
    layers.wrappers = {{"conv1", compiled},
                       {"layer1", compiled_before},
                       {"layer3.1", checkpointed},
                       {"fc", compiled},
                       {"layer4", [](const std::string& inner) { return compiled(checkpointed(inner)); }}};
    expect_resnet50(read_bytes(zip(layers.op())), items, items);
    for (const auto& wrap : {compiled, compiled_before, checkpointed}) {
        outermost.wrappers = {{"", wrap}};
        expect_resnet50(read_bytes(zip(outermost.op())), items, items);
        expect_resnet50(read_bytes(zip(dict_op(entry("model", outermost.op())))), items, items);
        other.wrappers = {{"layer1.1", wrap}};  // what is inside is checked as everything else
        expect_text(read_bytes(zip(other.op())), "'layer1.1.relu' is a torch.nn.modules.activation.LeakyReLU");
    }
    hooks.wrappers = {{"layer3.1", hooked}};
    EXPECT_FALSE(read_bytes(zip(hooks.op())).model.model);
}

TEST(PickledNetwork, AYoloWithAnotherActivationIsRefused) {
    const std::filesystem::path path = std::filesystem::path(TUNDRA_TESTS "/golden/yolo/yolov5_p6_tiny/model.pt");
    const std::string bytes = content(path);
    const ZipFile archive(std::as_bytes(std::span(bytes)), "model.pt");
    std::vector<ZipRecord> records;
    size_t changed = 0;
    for (const std::string& name : archive.names()) {
        const std::vector<std::byte> part = archive.read(name);
        ZipRecord& record =
            records.emplace_back(ZipRecord{name, {reinterpret_cast<const char*>(part.data()), part.size()}});
        if (!name.ends_with("/data.pkl")) continue;
        for (size_t at; (at = record.content.find("SiLU")) != std::string::npos; ++changed)
            record.content.replace(at, 4, "ReLU");
    }
    ASSERT_GT(changed, 0u);
    const WeightFile file = read_bytes(zip_of(records));
    EXPECT_EQ(file.model.task, "");
    EXPECT_NE(file.model.text.find("torch.nn.modules.activation.ReLU"), std::string::npos) << file.model.text;
    EXPECT_THROW(detector_model(read_bytes(zip_of(records))), Error);
}

TEST(PickledNetwork, ForeignCodeIsReported) {
    const Items items = resnet50();
    const std::string call = "cposix\nsystem\n" + text_op("rm -r /") + "\x85R";
    const WeightFile file = read_bytes(zip(dict_op(entry("state_dict", state_op(items)) + entry("x", call))));
    expect_resnet50(file, items, items);
    ASSERT_EQ(file.notes.size(), 1u);
    EXPECT_EQ(file.notes[0],
              "the file asks Python for posix.system('rm -r /'), which tundra never runs; the weights are complete "
              "without it");
    const std::string instead = dict_op(entry("fc.bias", call) + state_op(without("fc.bias", items)).substr(2));
    expect_lacks(read_bytes(zip(instead.substr(0, instead.size() - 1))), "fc.weight");
    // Objects of known classes are no code.
    const std::string known = "cargparse\nNamespace\n)\x81}b";
    EXPECT_TRUE(read_bytes(zip(dict_op(entry("state_dict", state_op(items)) + entry("args", known)))).notes.empty());
}

}  // namespace
