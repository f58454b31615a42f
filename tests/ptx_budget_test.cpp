// What kernels ask of memory and lanes, counted exactly on nvcc's code: bytes per element, sectors and bank passes
// against the least, active lanes, instructions per element. A change that coalesces worse fails here, with the
// instruction. The shapes are small ones of the same kind as in docs/kernels.md, which has the table of bench/ptx. 1 s.
#include <fmt/format.h>

#include "bench/ptx_counts.h"
#include "kernels/batch_norm.h"
#include "kernels/elementwise.h"
#include "kernels/image.h"
#include "kernels/optimizer.h"
#include "kernels/pool.h"
#include "tests/simt_fixture.h"

namespace {

struct Budget {  // upper bounds; lanes: a lower one
    std::string kernel;
    double instructions, bytes, sectors, wavefronts, lanes;
};

void expect_within(const std::vector<Budget>& budgets, double elements, const std::function<void()>& run) {
    const auto counted = count_kernels(run);
    for (const KernelCounts& k : counted) {
        const auto budget = std::ranges::find(budgets, k.kernel, &Budget::kernel);
        const std::string about = fmt::format(
            "{}: {:.1f} instructions and {:.1f} bytes per element, sectors {:.3f}, wavefronts {:.2f}, lanes {:.2f}; "
            "worst: {} ({})",
            k.kernel, k.thread_instructions / elements, k.bytes() / elements, k.sectors_ratio(), k.wavefronts_ratio(),
            k.lanes(), k.worst.source, k.worst.statement);
        if (budget == budgets.end()) continue;  // a merge: few numbers
        fmt::print("{}\n", about);
        if (!std::getenv("PTX_ARCH")) {  // the older generator of nvcc needs up to 1.6 times as many
            EXPECT_LE(k.thread_instructions / elements, budget->instructions) << about;
        }
        EXPECT_LE(k.bytes() / elements, budget->bytes) << about;
        EXPECT_LE(k.sectors_ratio(), budget->sectors) << about;
        EXPECT_LE(k.wavefronts_ratio(), budget->wavefronts) << about;
        EXPECT_GE(k.lanes(), budget->lanes) << about;
    }
    for (const Budget& b : budgets)
        EXPECT_EQ(std::ranges::count(counted, b.kernel, &KernelCounts::kernel), 1) << b.kernel;
}

class PtxBudget : public testing::Test {
protected:
    template <class T>
    static T* array(size_t count) {
        return static_cast<T*>(keep(std::make_unique<DeviceArray<T>>(std::vector<T>(count, T(1.0f)))));
    }
    PtxDevice gpu{size_t(16) << 20};

private:
    template <class T>
    static void* keep(std::unique_ptr<DeviceArray<T>> made) {
        static std::vector<std::unique_ptr<DeviceArray<T>>> all;
        all.push_back(std::move(made));
        return all.back()->get();
    }
};

}  // namespace

TEST_F(PtxBudget, FlatArrays) {
    const size_t n = 1 << 16;
    const DeviceArray<StepState> state(std::vector<StepState>{{.learning_rate = 0.1f, .momentum = 0.9f}});
    bf16 *g = array<bf16>(n), *copy = array<bf16>(n);
    float *p = array<float>(n), *m = array<float>(n), *v = array<float>(n);
    expect_within({{"add<8, bf16>", 12, 6, 1, 1, 1}}, double(n), [&] { compute(gpu, Add<bf16>{n, g, copy, copy}); });
    expect_within({{"sgd<4, bf16>", 26.5, 21, 1, 1, 1}}, double(n), [&] {
        compute(gpu, SgdStep<bf16>{n, 1e-4f, false, state.get(), g, p, m, copy});
    });
    expect_within({{"adam<4, bf16>", 40, 29.6, 1, 1, 1}}, double(n), [&] {
        compute(gpu, AdamStep<bf16>{n, 1e-4f, 0.999f, 1e-8f, false, AdamForm::torch, state.get(), g, p, m, v, copy});
    });
}

TEST_F(PtxBudget, BatchNorm) {
    for (const auto& [rows, channels] : {std::pair<size_t, size_t>{3136, 64}, {392, 512}}) {
        const size_t n = rows * channels;
        BatchNormForward<bf16> f{};
        f.shape = {.rows = rows, .channels = channels, .activation = Activation::relu};
        f.x = array<bf16>(n), f.y = array<bf16>(n);
        f.scale = array<float>(channels), f.shift = array<float>(channels);
        f.mean = array<float>(channels), f.rstd = array<float>(channels);
        const bool wide = channels == 512;
        expect_within({{"forward_sums<8, bf16>", 71, wide ? 5.1 : 4.3, 1.001, 1.001, 0.98},
                       {"forward_elements<8, bf16>", 27, wide ? 6.1 : 4.6, 1.001, 1, 0.99}},
                      double(n), [&] { compute(gpu, f); });
        BatchNormBackward<bf16> b{};
        b.shape = f.shape, b.x = f.x, b.y = f.y, b.dy = array<bf16>(n), b.scale = f.scale, b.shift = f.shift;
        b.mean = f.mean, b.rstd = f.rstd, b.dx = array<bf16>(n);
        b.dscale = array<float>(channels), b.dshift = array<float>(channels);
        expect_within({{"backward_sums<8, (Gradient)0, bf16>", 56, wide ? 7.1 : 4.9, 1.001, 1.001, 0.98},
                       {"backward_elements<8, (Gradient)0, bf16>", 36, wide ? 9.1 : 6.9, 1.001, 1, 0.99}},
                      double(n), [&] { compute(gpu, b); });
    }
}

// Pixels as they are: lanes side by side read side by side.
TEST_F(PtxBudget, Images) {
    const size_t n = 1, side = 64;
    const DeviceArray<float> transform(std::vector<float>{1, 0, 0, 0, 1, 0}), color(std::vector<float>{1, 0});
    for (const size_t channels : {3, 8}) {
        ImageBatch<bf16> op{};
        op.n = n, op.h = op.w = op.out_h = op.out_w = side, op.out_c = channels;
        op.normalize = {{0.02f, 0.03f, 0.02f}, {-2, -1, -2}};
        op.images = array<uint8_t>(n * side * side * 3), op.transform = transform.get(), op.color = color.get();
        op.y = array<bf16>(n * side * side * channels);
        expect_within({{fmt::format("image_batch<bf16, {}>", channels), 261, 46, channels == 3 ? 1.67 : 1.17, 1, 0.95}},
                      double(n * side * side), [&] { compute(gpu, op); });
    }
}

TEST_F(PtxBudget, Pools) {
    const MaxPoolShape s{1, 56, 56, 64, 3, 2, 1};
    const size_t in = s.n * s.h * s.w * s.c, out = s.n * s.out_h() * s.out_w() * s.c;
    bf16 *x = array<bf16>(in), *y = array<bf16>(out);
    uint8_t* const argmax = array<uint8_t>(out);
    expect_within({{"max_pool_forward<8, 3, 2, bf16>", 24, 5.2, 1.01, 1, 0.98}}, double(in), [&] {
        compute(gpu, MaxPoolForward<bf16>{s, x, y, argmax});
    });
    expect_within({{"max_pool_backward<8, 3, 2, bf16>", 33, 6.5, 1.01, 1, 0.84}}, double(in), [&] {
        compute(gpu, MaxPoolBackward<bf16>{s, y, nullptr, argmax, x});
    });
}
