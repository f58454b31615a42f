// Checking builds see a kernel that leaves a value of the arena, also when several programs share the arena.
#include <gtest/gtest.h>

#include "engine/device.h"
#include "engine/ops.h"
#include "engine/program.h"
#include "virtual_gpu/simt/runtime.h"

namespace {

struct Session {
    std::unique_ptr<Device> device = open_device("simt");
    Arena arena{*device};

    std::unique_ptr<Program> program(size_t count, Value& x, Value& y) {
        auto graph = std::make_unique<Graph>(DType::f32, false);
        x = graph->input("x", {1, 1, 1, count}, DType::f32);
        y = add(add(x, x), x);
        const Parameters parameters(*device, *graph);
        const Value keep[] = {y};
        return std::make_unique<Program>(arena, std::move(graph), parameters, keep);
    }
};

TEST(Guard, ProgramsThatShareAnArenaKeepTheirOwnGaps) {
    Session session;
    Value x, y, x_large, y_large;
    const auto small = session.program(33, x, y), large = session.program(1000, x_large, y_large);
    for (int round = 0; round < 2; ++round) {
        small->write<float>(x, std::vector<float>(33, 1.5f));
        small->run();
        EXPECT_EQ(small->read<float>(y), std::vector<float>(33, 4.5f));
        large->write<float>(x_large, std::vector<float>(1000, -1.0f));
        large->run();
        EXPECT_EQ(large->read<float>(y_large), std::vector<float>(1000, -3.0f));
    }
}

TEST(Guard, BehindAValueComesAGap) {
#if !defined(__SANITIZE_ADDRESS__)
    GTEST_SKIP() << "needs -DTUNDRA_SANITIZE=ON";
#endif
    Session session;
    Value x, y;
    const auto program = session.program(33, x, y);
    program->run();
    const Tensor& first = program->steps()[0].out[0];
    float beyond = 0;
    const std::byte* end = static_cast<std::byte*>(first.data) + first.bytes();
    EXPECT_DEATH(simt::copy(&beyond, end, sizeof beyond), "use-after-poison");
}

}  // namespace
