#include "models/model.h"

// The table: one line per family, defined in models/<family>.cpp.
#define FAMILIES(FAMILY) \
    FAMILY(resnet)       \
    FAMILY(anchor_free)  \
    FAMILY(yolov5)

#define DECLARE(family) ModelFamily family##_family();
#define MAKE(family) family##_family(),
FAMILIES(DECLARE)

std::span<const ModelFamily> model_families() {
    static const ModelFamily families[] = {FAMILIES(MAKE)};
    return families;
}

const ModelFamily& family_of(std::string_view name) {
    std::vector<std::string_view> known;
    for (const ModelFamily& family : model_families())
        for (const std::string& one : family.names) {
            if (one == name) return family;
            known.push_back(one);
        }
    fail(Fault::usage, "--model {}: the models are {}", name, fmt::join(known, ", "));
}

Model make_model(std::string_view name, size_t classes) { return family_of(name).make(name, classes); }

std::map<std::string, Shape> parameter_shapes(const Model& model, bool training) {
    Graph graph(DType::f32, training);
    const size_t side = std::max<size_t>(64, 2 * model.stride);  // the parameters do not depend on it
    model.trace(graph.input("x", {1, side, side, 3}, DType::f32));
    std::map<std::string, Shape> shapes;
    for (const ValueInfo& v : graph.values)
        if (v.kind == ValueKind::parameter) {
            const Shape& s = v.shape;
            shapes[v.name] = s.size() == 4 ? Shape{s[0], s[3] - v.spec.padding, s[1], s[2]} : s;
        }
    return shapes;
}

StateDict initialize_state(const Model& model, uint64_t seed) {
    const auto host = open_device("cpu");
    Graph graph(DType::f32, true);
    const size_t side = std::max<size_t>(64, 2 * model.stride);  // the parameters do not depend on it
    model.trace(graph.input("x", {1, side, side, 3}, DType::f32));
    Parameters parameters(*host, graph);
    initialize(parameters, seed);
    return download(parameters);
}
