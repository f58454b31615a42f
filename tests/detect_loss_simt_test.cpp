// The CUDA kernels of the detector's loss on simt: against the CPU loops, for every type, in every order of threads,
// and as a node of a graph.
#include <fmt/format.h>

#include "engine/ops.h"
#include "engine/program.h"
#include "tests/detect_loss_cases.h"
#include "tests/simt_fixture.h"

namespace {

struct Result {
    Floats loss, parts, matches;
    std::vector<Floats> dhead;
};

Result on_cpu(const Cpu& cpu, const DetectLossCase& c, float dloss) {
    Result r{unwritten(1), unwritten(3), unwritten(c.levels.size()), {}};
    for (const auto& level : c.levels) r.dhead.push_back(unwritten(level.head.size()));
    DetectLossForward<float> forward{.shape = c.shape,
                                     .level = {},
                                     .boxes = c.boxes.data(),
                                     .loss = r.loss.data(),
                                     .parts = r.parts.data(),
                                     .matches = r.matches.data()};
    set_levels(
        forward, c, [&](size_t l) { return c.levels[l].head.data(); }, [](size_t) { return nullptr; });
    compute(cpu, forward);
    DetectLossBackward<float> backward{
        .shape = c.shape, .level = {}, .boxes = c.boxes.data(), .matches = r.matches.data(), .dloss = &dloss};
    set_levels(
        backward, c, [&](size_t l) { return c.levels[l].head.data(); }, [&](size_t l) { return r.dhead[l].data(); });
    compute(cpu, backward);
    return r;
}

}  // namespace

TYPED_TEST(SimtKernels, DetectLoss) {
    using T = typename TypeParam::Type;
    std::vector<DetectLossCase> cases = {
        random_detect_loss_case({.n = 1, .h = 1, .w = 1, .classes = 1, .most = 1, .levels = 1}, 1),
        random_detect_loss_case({.n = 3, .h = 7, .w = 5, .classes = 2, .most = 9, .levels = 3}, 2),
        random_detect_loss_case({.n = 2, .h = 33, .w = 3, .classes = 7, .most = 5, .levels = 4, .smoothing = 0.1f}, 3),
        random_detect_loss_case({.n = 1, .h = 24, .w = 24, .classes = 3, .most = 40, .levels = 2}, 5)};
    for (DetectLossCase& stored_case : stored_detect_loss_cases())
        if (stored_case.name == "crowded" || stored_case.name == "borders") cases.push_back(stored_case);
    for (DetectLossCase& c : cases) {
        SCOPED_TRACE(c.name);
        for (auto& level : c.levels) level.head = representable<T>(level.head);
        const float dloss = 16;
        const Result want = on_cpu(this->cpu, c, dloss);
        const DeviceArray<float> boxes(c.boxes), device_dloss(Floats{dloss});
        std::vector<std::unique_ptr<DeviceArray<T>>> heads;
        for (const auto& level : c.levels) heads.push_back(std::make_unique<DeviceArray<T>>(stored<T>(level.head)));
        const auto [loss, parts, matches, dhead] = in_every_order([&] {
            const DeviceArray<float> loss(1), parts(3), matches(c.levels.size());
            std::vector<std::unique_ptr<DeviceArray<T>>> dheads;
            for (const auto& level : c.levels) dheads.push_back(std::make_unique<DeviceArray<T>>(level.head.size()));
            DetectLossForward<T> forward{.shape = c.shape,
                                         .level = {},
                                         .boxes = boxes.get(),
                                         .loss = loss.get(),
                                         .parts = parts.get(),
                                         .matches = matches.get()};
            set_levels(
                forward, c, [&](size_t l) { return heads[l]->get(); }, [](size_t) { return nullptr; });
            compute(this->gpu, forward);
            DetectLossBackward<T> backward{.shape = c.shape,
                                           .level = {},
                                           .boxes = boxes.get(),
                                           .matches = matches.get(),
                                           .dloss = device_dloss.get()};
            set_levels(
                backward, c, [&](size_t l) { return heads[l]->get(); }, [&](size_t l) { return dheads[l]->get(); });
            compute(this->gpu, backward);
            std::vector<T> all;
            for (const auto& d : dheads)
                for (const T& x : d->host()) all.push_back(x);
            return std::tuple(loss.host(), parts.host(), matches.host(), all);
        });
        EXPECT_EQ(matches, want.matches);
        expect_stored(want.loss, loss, 5e-6, "loss");
        expect_stored(want.parts, parts, 5e-6, "parts");
        Floats all;
        for (const Floats& d : want.dhead) all.insert(all.end(), d.begin(), d.end());
        expect_stored(all, dhead, 1e-5, "gradient");
    }
}

// The operation in a graph, in an arena full of NaN: both devices, and a gradient that starts with a loss scale.
TEST(DetectLossSimt, IsAnOperation) {
    const std::vector<BoxLevel> levels = {{8, {{{10, 13}, {16, 30}, {33, 23}}}},
                                          {16, {{{30, 61}, {62, 45}, {59, 119}}}}};
    std::vector<std::vector<Floats>> results;
    for (const char* kind : {"cpu", "simt"}) {
        const auto device = open_device(kind, {.threads = 2});
        auto owned = std::make_unique<Graph>(DType::f32, true);
        Graph& graph = *owned;
        const std::vector<Value> heads = {graph.input("a", {2, 6, 8, 24}, DType::f32),
                                          graph.input("b", {2, 3, 4, 24}, DType::f32)};
        const Value boxes = graph.input("boxes", {2, 3, 5}, DType::f32), scale = graph.input("scale", {1}, DType::f32);
        const DetectLossResult loss = detect_loss(heads, boxes, levels, 3, {.smoothing = 0.1f, .balance = {4, 1}});
        std::vector<Value> kept = gradients(loss.loss, scale, heads);
        for (const Value v : {loss.loss, loss.parts, loss.matches}) kept.push_back(v);
        Parameters parameters(*device, graph);
        Arena arena(*device);
        Program program(arena, std::move(owned), parameters, kept);
        const Floats nans(arena.bytes() / sizeof(float), NAN);
        device->upload(arena.data(), nans.data(), nans.size() * sizeof(float));
        for (size_t l = 0; l < 2; ++l)
            program.write<float>(heads[l], random_floats(numel(heads[l].shape()), unsigned(l)));
        program.write<float>(boxes, Floats{2,  20, 21, 15, 20, 0, 40, 30, 50, 44, -1, 9, 9, 9, 9,
                                           -1, 0,  0,  0,  0,  1, 50, 40, 28, 30, -1, 0, 0, 0, 0});
        program.write<float>(scale, Floats{8});
        program.run();
        results.emplace_back();
        for (Value v : kept) results.back().push_back(program.read<float>(v));
    }
    for (size_t k = 0; k < results[0].size(); ++k)
        expect_close(results[0][k], results[1][k], 1e-5, fmt::format("value {}", k).c_str());
    EXPECT_GT(results[0].back()[0], 0);
    EXPECT_GT(results[0].back()[1], 0);
}
