// Mistakes that only nvcc's output can have, planted in its PTX: each is found. And shapes that reach what nvcc
// unrolled and duplicated, for tests/ptx_coverage_test.cpp. 1 s.
#include <fmt/format.h>

#include "kernels/bias.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "tests/simt_fixture.h"

namespace {

// Replaces the first `from` behind the beginning of a kernel whose mangled name contains `kernel`; all of them with
// `all`.
struct Edit {
    std::string kernel, from, to;
    size_t occurrence = 0;
};
bool apply(const Edit& edit, std::string& text) {
    bool changed = false;
    for (size_t entry = text.find(".entry"); entry != text.npos; entry = text.find(".entry", entry + 1)) {
        const size_t name_end = text.find('(', entry);
        if (text.substr(entry, name_end - entry).find(edit.kernel) == std::string::npos) continue;
        const size_t end = std::min(text.find("\n}\n", entry), text.size());
        size_t at = text.find(edit.from, name_end);
        for (size_t n = 0; n < edit.occurrence && at < end; ++n) at = text.find(edit.from, at + 1);
        if (at >= end) continue;
        text.replace(at, edit.from.size(), edit.to);
        changed = true;
    }
    return changed;
}

class PlantedMistakes : public testing::Test {
protected:
    ~PlantedMistakes() override { ptx::reload({}); }

    // Whether it was planted somewhere.
    bool plant(const Edit& edit) {
        planted_ = false;
        ptx::reload([this, edit](std::string text) {
            planted_ |= apply(edit, text);
            return text;
        });
        ptx::modules();
        return planted_;
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

private:
    bool planted_ = false;
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
    ASSERT_TRUE(plant({"3addILi8E4bf16", "cvt.rn.bf16x2.f32 %r", "cvt.rn.bf16x2.f32 %r"}));
    ptx::reload([](std::string text) {  // "cvt.rn.bf16x2.f32 %r1, %f2, %f3;"
        for (size_t at = text.find("cvt.rn.bf16x2.f32"); at != text.npos; at = text.find("cvt.rn.bf16x2.f32", at + 1)) {
            const size_t first = text.find(',', at) + 1, second = text.find(',', first) + 1, end = text.find(';', at);
            const std::string one = text.substr(first, second - 1 - first), other = text.substr(second, end - second);
            text.replace(first, end - first, other + "," + one);
        }
        return text;
    });
    EXPECT_FALSE(same_bits(std::tuple(sum_of<bf16>(gpu, a, b)), std::tuple(right)));
}

TEST_F(PlantedMistakes, ARemovedBarrier) {
    const size_t rows = 9, classes = 300;
    const Floats logits = random_floats(rows * classes, 1, 0, 3);
    const std::vector<int32_t> labels(rows, 2);
    const auto losses = [&] {
        const DeviceArray<float> x(logits), loss(1), samples(rows), p(logits.size()), correct(2);
        const DeviceArray<int32_t> l(labels);
        compute(
            gpu,
            CrossEntropyForward{
                {rows, classes, 0.1f}, x.get(), l.get(), nullptr, loss.get(), samples.get(), p.get(), correct.get()});
        return std::tuple(loss.host(), samples.host(), p.host());
    };
    const auto right = losses();
    size_t barriers = 0;
    for (; plant({"12forward_rows", "bar.sync", "// bar.sync", barriers}); ++barriers) {
        bool found = false;
        simt::for_each_schedule(3, [&] { found |= !same_bits(losses(), right); });
        EXPECT_TRUE(found) << "barrier " << barriers << " of forward_rows is missed by nobody";
    }
    EXPECT_GE(barriers, 4u);
}

// Every kernel over flat arrays takes one element more than there are.
TEST_F(PlantedMistakes, ARaggedEndOneTooFar) {
    for (const std::string kernel : {"3addILi1EfE", "3addILi4EfE"}) {
        ASSERT_TRUE(plant({kernel, "_param_0];", "_param_0];\nCOUNT"}));
        ptx::reload([&](std::string text) {  // the register that the count, the first field, is loaded into
            for (size_t entry = text.find(kernel); entry != text.npos; entry = text.find(kernel, entry + 1)) {
                const size_t load = text.find("ld.param.u64", entry), end = text.find(';', load);
                if (load == text.npos || text.find("_param_0];", load) + 9 != end) continue;
                const size_t r = text.find("%rd", load);
                const std::string count = text.substr(r, text.find(',', r) - r);
                text.insert(end + 1, "\nadd.s64 " + count + ", " + count + ", 1;");
                entry = end;
            }
            return text;
        });
        const size_t n = 33;
        const DeviceArray<float> x(Floats(n, 1)), y(n + 1);
        const bool vectors = kernel.find("Li4") != kernel.npos;
        const std::string error = error_of([&] {
            compute(gpu, Add<float>{vectors ? n : n - 1, x.get() + !vectors, x.get() + !vectors, y.get() + !vectors});
        });
        EXPECT_NE(error.find("device memory out of bounds: access of 4 bytes"), error.npos) << error;
        EXPECT_NE(error.find("add<"), error.npos) << error;
        EXPECT_NE(error.find("vector.cuh:"), error.npos) << error;
    }
}

TEST_F(PlantedMistakes, AnUnalignedVectorAccess) {
    ptx::reload([](std::string text) {
        for (const char* wide : {"ld.global.v4.u32", "ld.global.v4.f32"})
            for (size_t at = text.find(wide); at != text.npos; at = text.find(wide, at + 1)) {
                const size_t bracket = text.find(']', at), plus = text.find('+', at);
                if (plus > bracket) text.insert(bracket, "+4");
            }
        return text;
    });
    const DeviceArray<float> x(Floats(64, 1)), y(64);
    const std::string error = error_of([&] { compute(gpu, Add<float>{64, x.get(), x.get(), y.get()}); });
    EXPECT_NE(error.find("misaligned access of 16 bytes"), error.npos) << error;
}

TEST_F(PlantedMistakes, ASharedArrayThatIsTooSmall) {
    ptx::reload([](std::string text) {
        for (size_t at = text.find(".shared .align 4 .b8 _ZZ12block_reduce"); at != text.npos;
             at = text.find(".shared .align 4 .b8 _ZZ12block_reduce", at + 1)) {
            const size_t open = text.find('[', at), close = text.find(']', at);
            text.replace(open + 1, close - open - 1, "12");
        }
        return text;
    });
    const DeviceArray<float> x(Floats(600, 1)), loss(1), samples(2), p(600), correct(2);
    const DeviceArray<int32_t> labels(std::vector<int32_t>{0, 1});
    const std::string error = error_of([&] {
        compute(gpu,
                CrossEntropyForward{
                    {2, 300, 0}, x.get(), labels.get(), nullptr, loss.get(), samples.get(), p.get(), correct.get()});
    });
    EXPECT_NE(error.find("bytes shared"), error.npos) << error;
    EXPECT_NE(error.find("reduce.cuh:"), error.npos) << error;
}
