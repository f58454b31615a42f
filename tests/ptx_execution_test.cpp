// virtual_gpu/ptx: loads, stores, atomics, warp operations, branches that part and meet, barriers; what is refused at
// load and what is reported when it runs. Less than a second; needs neither nvcc nor a GPU.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <numeric>

#include "tests/ptx_fixture.h"
#include "virtual_gpu/ptx/fat_binary.h"
#include "virtual_gpu/ptx/forms.h"

namespace {

// %rd2 = out + 4 * thread, %r1 = thread
const std::string kThread =
    "mov.u32 %r1, %tid.x;\nmul.wide.u32 %rd1, %r1, 4;\nld.param.u64 %rd2, [p0];\nadd.s64 %rd2, %rd2, %rd1;\n";

std::vector<uint32_t> result_of(const std::string& body, unsigned threads = 32) {
    const DeviceArray<uint32_t> out(std::vector<uint32_t>(threads, 77));
    launch(kernel_text(kThread + body + "st.global.u32 [%rd2], %r9;\n"), {}, {threads}, {out.get()});
    return out.host();
}

std::string error_of(const std::string& text, unsigned threads = 32, size_t bytes = 128) {
    const DeviceArray<uint8_t> out(std::vector<uint8_t>(bytes, 0));
    try {
        launch(text, {}, {threads}, {out.get()});
    } catch (const ptx::Error& e) {
        return e.what();
    }
    return "no error";
}

void expect_in(const std::string& text, std::initializer_list<const char*> parts) {
    for (const char* part : parts) EXPECT_NE(text.find(part), text.npos) << "no \"" << part << "\" in: " << text;
}

}  // namespace

// 32 threads each load `load` and store it by `store`, elements of `size` bytes; with `wide` in registers of 64 bits,
// whose first is returned.
struct Moved {
    std::vector<uint8_t> out;
    std::vector<uint64_t> extended;
};
Moved moved(const std::vector<uint8_t>& bytes, const std::string& load, const std::string& store, const ptx::Form& form,
            bool wide) {
    const size_t size = form.out, all = size * form.elements;
    const bool from_shared = load.find("shared") != load.npos, to_shared = store.find("shared") != store.npos;
    std::string list, each_byte_in, each_byte_out;
    for (unsigned k = 1; k <= form.elements; ++k)
        list += (k > 1 ? ", " : "") +
                std::string(wide || size == 8 ? "%rd1"
                            : size <= 2       ? "%h"
                                              : "%r1") +
                std::to_string(k);
    if (form.elements > 1) list = "{" + list + "}";
    for (size_t k = 0; k < all; ++k) {
        const std::string at = "+" + std::to_string(k);
        each_byte_in += "ld.global.u8 %h9, [%rd2" + at + "];\nst.shared.u8 [%r3" + at + "], %h9;\n";
        each_byte_out += "ld.shared.u8 %h9, [%r3" + at + "];\nst.global.u8 [%rd3" + at + "], %h9;\n";
    }
    std::string body =
        ".shared .align 16 .b8 s[1024];\nmov.u32 %r1, %tid.x;\nmul.lo.s32 %r2, %r1, " + std::to_string(all) +
        ";\ncvt.u64.u32 %rd1, %r2;\nld.param.u64 %rd2, [in];\nld.param.u64 %rd3, [out];\n"
        "add.s64 %rd2, %rd2, %rd1;\nadd.s64 %rd3, %rd3, %rd1;\nmov.u32 %r3, s;\nadd.s32 %r3, %r3, %r2;\n";
    if (from_shared) body += each_byte_in;
    const bool parameter = form.space == ptx::Space::parameter;
    body += load + " " + list + ", [" + (from_shared ? "%r3" : parameter ? "data+16" : "%rd2") + "];\n";
    body += store + " [" + (to_shared ? "%r3" : "%rd3") + "], " + list + ";\n";
    if (to_shared) body += each_byte_out;
    if (wide)
        body +=
            "ld.param.u64 %rd5, [wide];\nmul.wide.u32 %rd6, %r1, 8;\nadd.s64 %rd5, %rd5, %rd6;\n"
            "st.global.u64 [%rd5], %rd11;\n";
    const DeviceArray<uint8_t> in(bytes), out(std::vector<uint8_t>(bytes.size(), 0));
    const DeviceArray<uint64_t> extended(std::vector<uint64_t>(32, 0));
    const auto module = ptx::parse(
        kernel_text(body, ".param .u64 in, .param .u64 out, .param .u64 wide, .param .align 16 .b8 data[64]"));
    ptx::Launch l{.kernel = module->kernels.at(0).get(), .grid = {}, .block = {32}};
    l.parameters.resize(32 + 64);
    void* const pointers[] = {in.get(), out.get(), extended.get()};
    std::memcpy(l.parameters.data(), pointers, sizeof pointers);
    std::memcpy(l.parameters.data() + 32, bytes.data(), 64);
    ptx::run(l);
    return {out.host(), extended.host()};
}

// Each type in each vector length and state space: what is loaded is what is stored, and a narrow signed number keeps
// its sign in a register of 64 bits.
TEST(PtxMemory, EveryLoadAndStore) {
    std::vector<uint8_t> bytes(1024);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = uint8_t(i * 37 + 200);
    for (const auto& [opcode, form] : ptx::forms()) {
        if (form.layout != ptx::Form::memory || form.run) continue;
        SCOPED_TRACE(opcode);
        const std::string type = opcode.substr(opcode.rfind('.')),
                          vector = form.elements > 1 ? ".v" + std::to_string(form.elements) : "",
                          load = form.store ? "ld.global" + vector + type : opcode,
                          store = form.store ? opcode : "st.global" + vector + type;
        const size_t size = form.out, all = size * form.elements;
        for (const bool wide : {false, true}) {
            Moved got;
            ASSERT_NO_THROW(got = moved(bytes, load, store, form, wide));
            for (size_t t = 0; t < 32; ++t) {
                const uint8_t* const from = bytes.data() + (form.space == ptx::Space::parameter ? 16 : t * all);
                ASSERT_EQ(std::memcmp(got.out.data() + t * all, from, all), 0) << "thread " << t;
                uint64_t want = 0;
                std::memcpy(&want, from, size);
                if (type[1] == 's') want = uint64_t(int64_t(want << (64 - 8 * size)) >> (64 - 8 * size));
                if (wide) {
                    ASSERT_EQ(got.extended[t], want);
                }
            }
        }
    }
}

TEST(PtxMemory, AtomicsAddInTheOrderOfTheLanes) {
    const DeviceArray<uint32_t> words(std::vector<uint32_t>{5, 100, 3, 0, 9, 0, 0, 0});
    launch(kernel_text(R"(ld.param.u64 %rd1, [p0];
mov.u32 %r1, %tid.x;
atom.global.add.u32 %r2, [%rd1], 2;
setp.eq.u32 %p1, %r1, 31;
@%p1 st.global.u32 [%rd1+20], %r2;
red.global.add.u32 [%rd1+4], %r1;
atom.global.max.u32 %r3, [%rd1+8], %r1;
atom.global.max.s32 %r3, [%rd1+12], %r1;
atom.global.cas.b32 %r4, [%rd1+16], 9, 42;
atom.global.exch.b32 %r5, [%rd1+24], %r1;
.shared .align 8 .b8 s[8];
mov.u32 %r6, s;
st.shared.u32 [%r6], 7;
atom.shared.add.u32 %r7, [%r6], 1;
ld.shared.u32 %r8, [%r6];
st.global.u32 [%rd1+28], %r8;
)"),
           {}, {32}, {words.get()});
    EXPECT_EQ(words.host(), (std::vector<uint32_t>{69, 100 + 496, 31, 31, 42, 67, 31, 39}));
    const DeviceArray<float> sum(std::vector<float>{0.5f});
    launch(kernel_text("ld.param.u64 %rd1, [p0];\nred.global.add.f32 [%rd1], 0f3F800000;\n"), {}, {64}, {sum.get()});
    EXPECT_EQ(sum.host()[0], 64.5f);
    const DeviceArray<uint64_t> wide(std::vector<uint64_t>{1, 0});
    launch(kernel_text("ld.param.u64 %rd1, [p0];\nmov.u64 %rd2, 4294967296;\nred.global.add.u64 [%rd1], %rd2;\n"
                       "atom.global.cas.b64 %rd3, [%rd1+8], 0, 3;\n"),
           {}, {2}, {wide.get()});
    EXPECT_EQ(wide.host(), (std::vector<uint64_t>{(uint64_t(1) << 33) + 1, 3}));
}

TEST(PtxWarp, Shuffles) {
    const auto shuffled = [](const std::string& mode, int offset, int clamp) {
        return result_of("shfl.sync." + mode + ".b32 %r9|%p1, %r1, " + std::to_string(offset) + ", " +
                         std::to_string(clamp) + ", -1;\n@!%p1 add.s32 %r9, %r9, 1000;\n");
    };
    const auto expected = [](const auto& lane) {
        std::vector<uint32_t> values(32);
        for (uint32_t l = 0; l < 32; ++l) values[l] = lane(l);
        return values;
    };
    EXPECT_EQ(shuffled("bfly", 5, 31), expected([](uint32_t l) { return l ^ 5; }));
    EXPECT_EQ(shuffled("idx", 7, 31), expected([](uint32_t) { return 7u; }));
    EXPECT_EQ(shuffled("up", 3, 0), expected([](uint32_t l) { return l < 3 ? 1000 + l : l - 3; }));
    EXPECT_EQ(shuffled("down", 3, 31), expected([](uint32_t l) { return l > 28 ? 1000 + l : l + 3; }));
    // Segments of 8 lanes: the upper half of the clamp holds what of a lane's number names its segment.
    EXPECT_EQ(shuffled("down", 3, 31 | 24 << 8), expected([](uint32_t l) { return l % 8 > 4 ? 1000 + l : l + 3; }));
    EXPECT_EQ(shuffled("up", 3, 24 << 8), expected([](uint32_t l) { return l % 8 < 3 ? 1000 + l : l - 3; }));
    EXPECT_EQ(shuffled("idx", 2, 31 | 24 << 8), expected([](uint32_t l) { return l / 8 * 8 + 2; }));
}

TEST(PtxWarp, Votes) {
    const std::string odd = "and.b32 %r3, %r1, 1;\nsetp.ne.u32 %p1, %r3, 0;\nsetp.lt.u32 %p2, %r1, 40;\n";
    EXPECT_EQ(result_of(odd + "vote.sync.ballot.b32 %r9, %p1, -1;\n"), std::vector<uint32_t>(32, 0xaaaaaaaa));
    const auto predicate = [&](const std::string& vote) {
        return result_of(odd + "vote.sync." + vote + ", -1;\nselp.u32 %r9, 1, 0, %p3;\n")[0];
    };
    EXPECT_EQ(predicate("all.pred %p3, %p1"), 0u);
    EXPECT_EQ(predicate("all.pred %p3, %p2"), 1u);
    EXPECT_EQ(predicate("any.pred %p3, %p1"), 1u);
    EXPECT_EQ(predicate("uni.pred %p3, %p1"), 0u);
    EXPECT_EQ(predicate("uni.pred %p3, %p2"), 1u);
}

// Lanes that looped for different times meet behind the loop; the shuffle there waits for all of them, also where nvcc
// put one lane's way behind it.
TEST(PtxWarp, LanesThatPartedMeetAgain) {
    const auto values = result_of(R"(mov.u32 %r3, 0;
mov.u32 %r4, %r1;
$L_loop:
add.s32 %r3, %r3, %r4;
setp.eq.u32 %p1, %r4, 0;
@%p1 bra $L_done;
sub.s32 %r4, %r4, 1;
bra $L_loop;
$L_done:
setp.eq.u32 %p2, %r1, 9;
@%p2 bra $L_far;
$L_meet:
shfl.sync.bfly.b32 %r9, %r3, 1, 31, -1;
bra.uni $L_end;
$L_far:
add.s32 %r3, %r3, 1000;
bra $L_meet;
$L_end:
bar.warp.sync -1;
)");
    for (uint32_t l = 0; l < 32; ++l) {
        const uint32_t other = l ^ 1;
        EXPECT_EQ(values[l], other * (other + 1) / 2 + (other == 9 ? 1000 : 0));
    }
}

TEST(PtxWarp, BarriersOrderSharedMemory) {
    const std::string body = R"(.shared .align 4 .b8 s[512];
mov.u32 %r2, s;
shl.b32 %r3, %r1, 2;
add.s32 %r3, %r2, %r3;
st.shared.u32 [%r3], %r1;
BARRIER
sub.s32 %r4, 127, %r1;
shl.b32 %r4, %r4, 2;
add.s32 %r4, %r2, %r4;
ld.shared.u32 %r9, [%r4];
)";
    std::vector<uint32_t> want(128);
    for (uint32_t t = 0; t < 128; ++t) want[t] = 127 - t;
    const auto with = [&](const std::string& barrier) {
        std::string text = body;
        return text.replace(text.find("BARRIER"), 7, barrier);
    };
    simt::for_each_schedule(3, [&] { EXPECT_EQ(result_of(with("bar.sync 0;"), 128), want); });
    EXPECT_NE(result_of(with(""), 128), want) << "shared memory holds nothing before it is written";
}

TEST(PtxErrors, AtLoad) {
    const auto refused = [](const std::string& body) { return error_of(kernel_text(body)); };
    expect_in(refused("add.s32 %r1, %r2, 3;\nmagic.f32 %r1, %r2;\n"),
              {"test: PTX line 11", "unknown opcode magic.f32", "magic.f32 %r1, %r2"});
    expect_in(refused("add.ftz.f32 %r1, %r2, %r3;\n"), {"unknown opcode add.ftz.f32"});
    expect_in(refused("add.s64 %rd1, %r2, %rd3;\n"), {"%r2 is read as 64 bits"});
    expect_in(refused("add.s32 %rd1, %r2, %r3;\n"), {"another size than the result"});
    expect_in(refused("mov.u32 %r1, %laneid;\n"), {"unknown register %laneid"});
    expect_in(refused("bra $L_nowhere;\n"), {"unknown label $L_nowhere"});
    expect_in(refused("bar.sync 1, 64;\n"), {"only barrier 0"});
    expect_in(refused("ld.global.v2.u32 %r1, [%rd1];\n"), {"another number of elements"});
    expect_in(refused("call f;\n"), {"unknown opcode call"});
    expect_in(error_of(kHeader + ".global .align 4 .b8 g[4];\n" + kernel_text("").substr(kHeader.size())),
              {".global is not known"});
}

TEST(PtxErrors, OfMemory) {
    const auto of = [](const std::string& body, size_t bytes = 128) {
        return error_of(kernel_text(kThread + body), 32, bytes);
    };
    EXPECT_EQ(of("st.global.u32 [%rd2], %r1;\n"), "no error");
    expect_in(of("st.global.u32 [%rd2+4], %r1;\n"),
              {"test", "out of bounds", "4 bytes", "0 behind the end of the 128 bytes", "PTX line 14",
               "st.global.u32 [%rd2+4], %r1", "block (0,0,0) warp 0 lane 31"});
    expect_in(of("ld.global.u32 %r3, [%rd2+-8];\n"), {"out of bounds", "8 before the 128 bytes", "lane 0"});
    expect_in(of("ld.global.v2.u32 {%r3, %r4}, [%rd2];\n", 256), {"misaligned access of 8 bytes", "lane 1"});
    expect_in(of("ld.global.u32 %r3, [%rd2];\n", 126), {"within the 126 bytes"});
    expect_in(of(".shared .align 4 .b8 s[64];\nmov.u32 %r3, s;\nshl.b32 %r4, %r1, 2;\nadd.s32 %r3, %r3, %r4;\n"
                 "st.shared.u32 [%r3], %r1;\n"),
              {"out of bounds", "shared memory out of bounds: access of 4 bytes", "0 behind the end of the 64 bytes",
               "lane 16"});
    expect_in(of(".loc 1 12 0\nst.global.u32 [%rd2+4], %r1;\n"), {"PTX line 15"});
    const std::string with_file =
        kernel_text(kThread + ".loc\t1 12 0\nst.global.u32 [%rd2+4], %r1;\n") + ".file\t1 \"example.cu\"\n";
    expect_in(error_of(with_file), {"example.cu:12"});
    const DeviceArray<uint32_t> gap(std::vector<uint32_t>(32));
    simt::poison(gap.get() + 8, 4);
    EXPECT_THROW(launch(kernel_text(kThread + "st.global.u32 [%rd2], %r1;\n"), {}, {32}, {gap.get()}), ptx::Error);
    simt::unpoison(gap.get() + 8, 4);
    EXPECT_NO_THROW(launch(kernel_text(kThread + "st.global.u32 [%rd2], %r1;\n"), {}, {32}, {gap.get()}));
}

// What nvcc 13.0 made of `extern "C" __global__ void doubled(float* x) { x[threadIdx.x] *= 2; }` with -arch=compute_80
// --fatbin --compress-mode=default (zstd) and =speed (LZ4, which nvcc before 12.8 writes always).
TEST(PtxFatBinary, BothCompressionsOfNvcc) {
    for (const char* name : {"zstd", "lz4"}) {
        SCOPED_TRACE(name);
        std::ifstream file(std::string(TUNDRA_TESTS "/data/") + name + ".fatbin", std::ios::binary);
        std::string bytes{std::istreambuf_iterator<char>(file), {}};
        const std::vector<ptx::Embedded> found = ptx::embedded_ptx(bytes.data());
        ASSERT_EQ(found.size(), 1u);
        EXPECT_EQ(found[0].architecture, 80);
        const DeviceArray<float> x(std::vector<float>{1, -3});
        launch(ptx::text_of(found[0]), {}, {2}, {x.get()});
        EXPECT_EQ(x.host(), (std::vector<float>{2, -6}));
        bytes.resize(bytes.size() - 1);
        bytes.insert(bytes.size() / 2, 1, '\xff');  // damaged
        EXPECT_THROW(ptx::text_of(ptx::embedded_ptx(bytes.data())[0]), ptx::Error);
    }
}

TEST(PtxErrors, OfThreadsThatDoNotMeet) {
    const std::string half = "mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 16;\n";
    expect_in(error_of(kernel_text(half + "@%p1 ret;\nbar.sync 0;\n")), {"returned while others wait", "bar.sync 0"});
    expect_in(error_of(kernel_text(half + "@%p1 bar.sync 0;\n")), {"barrier for some threads"});
    expect_in(error_of(kernel_text(half + "@%p1 bra $L_a;\nbar.sync 0;\nbra $L_b;\n$L_a:\nbar.sync 0;\n$L_b:\n")),
              {"others wait at another barrier"});
    expect_in(error_of(kernel_text(half + "@%p1 bra $L_a;\nshfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;\n$L_a:\n"
                                          "bar.sync 0;\n")),
              {"waits for lanes that never come"});
    expect_in(error_of(kernel_text(half + "@%p1 bra $L_a;\nshfl.sync.bfly.b32 %r2, %r1, 16, 31, 0xffff0000;\n$L_a:\n")),
              {"reads lane 0, which takes no part"});
    EXPECT_EQ(error_of(kernel_text(half + "@%p1 ret;\nshfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;\n")), "no error");
}

TEST(PtxMeasure, SectorsAndBanks) {
    ptx::config().measure = true;
    const auto counted = [](const std::string& body, size_t instruction) {
        const auto module = ptx::parse(kernel_text(kThread + body));
        const DeviceArray<uint32_t> out(std::vector<uint32_t>(4096));
        ptx::Launch l{.kernel = module->kernels[0].get(), .grid = {}, .block = {32}};
        l.parameters.resize(8);
        uint32_t* const pointer = out.get();
        std::memcpy(l.parameters.data(), &pointer, 8);
        ptx::run(l);
        return module->kernels[0]->code.at(instruction).counts;
    };
    ptx::Counts c = counted("st.global.u32 [%rd2], %r1;\n", 4);
    EXPECT_EQ(c.transfers, 4u);
    EXPECT_EQ(c.least, 4u);
    EXPECT_EQ(c.lanes, 32u);
    c = counted(
        "mul.lo.s32 %r2, %r1, 32;\nmul.wide.u32 %rd3, %r2, 4;\nadd.s64 %rd3, %rd2, %rd3;\n"
        "ld.global.u32 %r5, [%rd3];\n",
        7);
    EXPECT_EQ(c.transfers, 32u);
    EXPECT_EQ(c.least, 4u);
    const std::string shared =
        ".shared .align 4 .b8 s[16384];\nmul.lo.s32 %r2, %r1, STRIDE;\nmov.u32 %r3, s;\n"
        "add.s32 %r3, %r3, %r2;\nst.shared.u32 [%r3], %r1;\n";
    const auto banks = [&](const std::string& stride) {
        std::string body = shared;
        return counted(body.replace(body.find("STRIDE"), 6, stride), 7).transfers;
    };
    EXPECT_EQ(banks("4"), 1u);
    EXPECT_EQ(banks("8"), 2u);
    EXPECT_EQ(banks("128"), 32u);
    EXPECT_EQ(banks("132"), 1u);
    EXPECT_EQ(banks("0"), 1u) << "all lanes at one word: it is spread";
    ptx::config().measure = false;
}
