// Checkpoints of a small ResNet-50 for tests: every tensor holds one number of its own, so that a tensor in another's
// place is seen.
#pragma once

#include <algorithm>
#include <array>
#include <stdexcept>

#include "models/files/zip_file.h"
#include "tests/files.h"
#include "tests/pickle_writer.h"

struct Item {
    std::string name;
    std::vector<int32_t> shape;
};
using Items = std::vector<Item>;

constexpr int32_t kFloats = 1000;

// torchvision's names of a ResNet-50 with a stem of one channel.
inline Items resnet50(int32_t classes = 5) {
    Items items{{"conv1.weight", {1, 3, 7, 7}}};
    const auto norm = [&](const std::string& name, int32_t n) {
        for (const char* part : {"weight", "bias", "running_mean", "running_var"})
            items.push_back({name + "." + part, {n}});
    };
    norm("bn1", 1);
    int32_t before = 1;
    for (int stage = 0; stage < 4; ++stage)
        for (int block = 0; block < std::array{3, 4, 6, 3}[size_t(stage)]; ++block) {
            const std::string name = fmt::format("layer{}.{}.", stage + 1, block);
            const int32_t middle = 1 << stage, out = 4 * middle;
            items.push_back({name + "conv1.weight", {middle, before, 1, 1}}), norm(name + "bn1", middle);
            items.push_back({name + "conv2.weight", {middle, middle, 3, 3}}), norm(name + "bn2", middle);
            items.push_back({name + "conv3.weight", {out, middle, 1, 1}}), norm(name + "bn3", out);
            if (block == 0)
                items.push_back({name + "downsample.0.weight", {out, before, 1, 1}}), norm(name + "downsample.1", out);
            before = out;
        }
    items.push_back({"fc.weight", {classes, 32}}), items.push_back({"fc.bias", {classes}});
    return items;
}

inline Items operator+(Items a, const Items& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}
inline Items prefixed(const std::string& prefix, Items items) {
    for (Item& item : items) item.name = prefix + item.name;
    return items;
}
inline Items without(const std::string& part, Items items) {
    std::erase_if(items, [&](const Item& item) { return item.name.find(part) != std::string::npos; });
    return items;
}
inline Items renamed(const std::string& from, const std::string& to, Items items) {
    for (Item& item : items)
        if (item.name.starts_with(from)) item.name.replace(0, from.size(), to);
    return items;
}

// Number `index` of the only storage, repeated.
inline std::string tensor_op(const std::vector<int32_t>& shape, size_t index, const std::string& legacy = "") {
    return "ctorch._utils\n_rebuild_tensor_v2\n((" + text_op("storage") + "ctorch\nFloatStorage\n" + text_op("0") +
           text_op("cpu") + int_op(kFloats) + legacy + "tQ" + int_op(int32_t(index)) + tuple_op(shape) +
           tuple_op(std::vector<int32_t>(shape.size(), 0)) + "\x89}tR";
}
inline std::string entry(const std::string& key, const std::string& value) { return text_op(key) + value; }
inline std::string state_op(const Items& items, size_t first = 0) {
    std::string entries;
    for (size_t i = 0; i < items.size(); ++i) entries += entry(items[i].name, tensor_op(items[i].shape, first + i));
    return dict_op(entries);
}

inline std::string floats() {
    std::string values;
    for (int32_t i = 0; i < kFloats; ++i) values += raw(float(i + 1));
    return values;
}
inline std::string zip(const std::string& body) {
    return zip_of({{"a/data.pkl", pickle_of(body)}, {"a/data/0", floats()}});
}
inline std::string legacy(const std::string& pickle) {
    return pickle_of("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") + pickle_of("M\xe9\x03") +
           pickle_of(dict_op(entry("little_endian", "\x88"))) + pickle + pickle_of("](" + text_op("0") + "e") +
           raw(int64_t(kFloats)) + floats();
}

// That `file` is the ResNet-50 whose tensors are items[i] under `names[i]`, torchvision's.
inline void expect_resnet50(const WeightFile& file, const Items& items, const Items& names, size_t classes = 5) {
    ASSERT_TRUE(file.model.model) << file.model.text;
    EXPECT_EQ(file.model.lacks, "");
    EXPECT_EQ(file.model.classes, classes) << file.model.text;
    EXPECT_EQ(file.state.size(), resnet50().size());
    for (const Item& wanted : resnet50()) {
        const auto at = std::ranges::find(names, wanted.name, &Item::name);
        ASSERT_NE(at, names.end()) << wanted.name;
        const size_t index = size_t(at - names.begin());
        ASSERT_TRUE(file.state.contains(wanted.name)) << items[index].name;
        EXPECT_EQ(file.state.at(wanted.name).values[0], float(index + 1)) << items[index].name;
    }
}
inline void expect_text(const WeightFile& file, const std::string& part) {
    EXPECT_FALSE(file.model.model) << file.model.text;
    EXPECT_NE(file.model.text.find(part), std::string::npos) << file.model.text;
}
inline void expect_lacks(const WeightFile& file, const std::string& part) {
    ASSERT_TRUE(file.model.model) << file.model.text;
    EXPECT_NE(file.model.lacks.find(part), std::string::npos) << file.model.lacks;
}

inline std::string real_op(double value) {
    std::string bytes = raw(value);
    std::ranges::reverse(bytes);
    return "G" + bytes;
}

// The records of a checkpoint, to change them.
using Records = std::vector<ZipRecord>;
inline Records records_of(const std::filesystem::path& path) {
    const std::string bytes = content(path);
    const ZipFile archive(std::as_bytes(std::span(bytes)), "model.pt");
    Records records;
    for (const std::string& record : archive.names()) {
        const std::vector<std::byte> part = archive.read(record);
        records.push_back({record, {reinterpret_cast<const char*>(part.data()), part.size()}});
    }
    return records;
}

inline std::string& pickle_in(Records& records) {
    for (ZipRecord& r : records)
        if (r.name.ends_with("/data.pkl")) return r.content;
    throw std::runtime_error("no pickle");
}
