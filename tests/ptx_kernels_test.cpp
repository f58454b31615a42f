// Mistakes that only nvcc's output can have, planted in its PTX: each is found. And shapes that reach what nvcc
// unrolled and duplicated, for tests/ptx_coverage_test.cpp. 1 s.
#include "kernels/bias.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "tests/simt_fixture.h"

namespace {

// The places of `what` in the bodies of kernels whose mangled name contains `kernel`, last first, so that what is
// planted moves none of the others.
std::vector<size_t> places(const std::string& text, const std::string& kernel, const std::string& what) {
    std::vector<size_t> found;
    for (size_t entry = text.find(".entry"); entry != text.npos; entry = text.find(".entry", entry + 1)) {
        const size_t name_end = text.find('(', entry), end = std::min(text.find("\n}\n", entry), text.size());
        if (text.substr(entry, name_end - entry).find(kernel) == text.npos) continue;
        for (size_t at = text.find(what, text.find('{', entry)); at < end; at = text.find(what, at + 1))
            found.insert(found.begin(), at);
    }
    return found;
}

class PlantedMistakes : public testing::Test {
protected:
    ~PlantedMistakes() override { ptx::reload({}); }

    // edit(text, place) for each place; how many there were.
    static size_t plant(const std::string& kernel, const std::string& what,
                        const std::function<void(std::string&, size_t)>& edit) {
        size_t planted = 0;
        ptx::reload([&](std::string text) {
            for (const size_t place : places(text, kernel, what)) edit(text, place), ++planted;
            return text;
        });
        ptx::modules();
        return planted;
    }
    // The message of the error, or "".
    static std::string error_of(const std::function<void()>& f) {
        try {
            f();
        } catch (const std::exception& e) {
            return e.what();
        }
        return "";
    }

    PtxDevice gpu;
    CpuDevice cpu{1};
};

template <class T>
std::vector<T> sum_of(const PtxDevice& gpu, const Floats& a, const Floats& b) {
    const DeviceArray<T> x(stored<T>(a)), y(stored<T>(b)), sum(a.size());
    compute(gpu, Add<T>{a.size(), x.get(), y.get(), sum.get()});
    return sum.host();
}

}  // namespace

TEST_F(PlantedMistakes, SwappedOperandsOfAPairOfNumbers) {
    const Floats a = random_floats(64, 1), b = random_floats(64, 2);
    const auto right = sum_of<bf16>(gpu, a, b);
    EXPECT_GT(plant("add", "cvt.rn.bf16x2.f32",
                    [](std::string& text, size_t at) {  // "cvt.rn.bf16x2.f32 %r1, %f2, %f3;"
                        const size_t first = text.find(',', at) + 1, second = text.find(',', first) + 1,
                                     end = text.find(';', at);
                        text.replace(first, end - first,
                                     text.substr(second, end - second) + "," + text.substr(first, second - 1 - first));
                    }),
              0u);
    EXPECT_FALSE(same_bits(std::tuple(sum_of<bf16>(gpu, a, b)), std::tuple(right)));
}

TEST_F(PlantedMistakes, ARemovedBarrier) {
    const size_t rows = 9, classes = 300;
    Floats logits = random_floats(rows * classes, 1);
    for (size_t row = 0; row < rows; ++row) logits[row * classes + 2] = 4;  // the largest
    const std::vector<int32_t> labels(rows, 2);
    const auto losses = [&] {
        const DeviceArray<float> x(logits), loss(1), samples(rows), p(logits.size()), correct(2);
        const DeviceArray<int32_t> l(labels);
        compute(
            gpu,
            CrossEntropyForward{
                {rows, classes, 0.1f}, x.get(), l.get(), nullptr, loss.get(), samples.get(), p.get(), correct.get()});
        return std::tuple(loss.host(), samples.host(), p.host(), correct.host());
    };
    const auto right = losses();
    // Four reductions of two barriers each. The second of the first stands before an array of another type, and behind
    // the second of the last comes nothing: without those two the kernel is right.
    std::string found;
    for (size_t n = 0; n < 8; ++n) {
        size_t left = 8 - n;
        ASSERT_EQ(plant("12forward_rows", "bar.sync",
                        [&](std::string& text, size_t at) {
                            if (--left == 0) text.replace(at, 8, "// sync.");
                        }),
                  8u);
        bool differs = false;
        simt::for_each_schedule(3, [&] { differs |= !same_bits(losses(), right); });
        found += differs ? '1' : '0';
    }
    EXPECT_EQ(found, "10111110");
}

// The loop over a flat array takes one element more than there are.
TEST_F(PlantedMistakes, ARaggedEndOneTooFar) {
    for (const bool vectors : {false, true}) {
        const std::string kernel = vectors ? "3addILi4EfE" : "3addILi1EfE";
        EXPECT_EQ(plant(kernel, "_param_0];",  // where the count is loaded, the first field
                        [](std::string& text, size_t at) {
                            const size_t load = text.rfind("ld.param.u64", at), r = text.find("%rd", load);
                            const std::string count = text.substr(r, text.find(',', r) - r);
                            text.insert(text.find(';', at) + 1, "\nadd.s64 " + count + ", " + count + ", 1;");
                        }),
                  1u);
        const size_t n = vectors ? 33 : 32, first = vectors ? 0 : 1;
        const DeviceArray<float> x(Floats(33, 1)), y(40);
        const std::string error = error_of([&] {
            compute(gpu, Add<float>{n, x.get() + first, x.get() + first, y.get() + first});
        });
        for (const char* part : {"device memory out of bounds: access of 4 bytes", "0 behind the end of the 132 bytes",
                                 "add<", "PTX line", "vector.cuh:", "lane "})
            EXPECT_NE(error.find(part), error.npos) << part << " in " << error;
    }
}

TEST_F(PlantedMistakes, AnUnalignedVectorAccess) {
    EXPECT_GT(plant("3addILi4EfE", "ld.global.v4",
                    [](std::string& text, size_t at) { text.insert(text.find(']', at), "+4"); }),
              0u);
    const DeviceArray<float> x(Floats(64, 1)), y(64);
    const std::string error = error_of([&] { compute(gpu, Add<float>{60, x.get(), x.get(), y.get()}); });
    EXPECT_NE(error.find("misaligned access of 16 bytes"), error.npos) << error;
}

TEST_F(PlantedMistakes, ASharedArrayThatIsTooSmall) {
    EXPECT_GT(plant("12forward_rows", "7of_warp[",
                    [](std::string& text, size_t at) {
                        const size_t open = text.find('[', at), close = text.find(']', open);
                        if (text[at + 9] >= '0' && text[at + 9] <= '9') text.replace(open + 1, close - open - 1, "12");
                    }),
              0u);
    const DeviceArray<float> x(Floats(600, 1)), loss(1), samples(2), p(600), correct(2);
    const DeviceArray<int32_t> labels(std::vector<int32_t>{0, 1});
    const std::string error = error_of([&] {
        compute(gpu,
                CrossEntropyForward{
                    {2, 300, 0}, x.get(), labels.get(), nullptr, loss.get(), samples.get(), p.get(), correct.get()});
    });
    EXPECT_NE(error.find("shared memory out of bounds: access of 4 bytes"), error.npos) << error;
    EXPECT_NE(error.find("0 behind the end of the 12 bytes"), error.npos) << error;
    EXPECT_NE(error.find("reduce.cuh:"), error.npos) << error;
}
