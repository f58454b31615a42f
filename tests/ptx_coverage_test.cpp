// What the tests execute of the kernels that ship, by their PTX: every kernel, 95 % of the source lines and of the
// instructions outside of the reference convolutions. The tests named in CMakeLists.txt leave files with what they
// executed; ctest runs them first. 1 s.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "bench/op_cases.h"
#include "virtual_gpu/ptx/runtime.h"

namespace {

namespace fs = std::filesystem;

// By kernel: one 0 or 1 per instruction.
std::map<std::string, std::string> executed_kernels(const std::string& folder, const std::string& target) {
    std::map<std::string, std::string> kernels;
    for (const auto& file : fs::directory_iterator(folder)) {
        std::ifstream in(file.path());
        for (std::string t, name, bits; in >> t >> name >> bits;) {
            if (t != target) continue;
            std::string& all = kernels[name];
            if (all.size() != bits.size()) all.assign(bits.size(), '0');
            for (size_t i = 0; i < bits.size(); ++i)
                if (bits[i] == '1') all[i] = '1';
        }
    }
    return kernels;
}

bool is_reference_convolution(const std::string& kernel) {  // those of kernels/conv/direct.cu
    return kernel.starts_with("conv_") || kernel.starts_with("add_parts");
}

struct Share {
    size_t executed = 0, all = 0;
    void add(bool was) { ++all, executed += was; }
    double percent() const { return all ? 100.0 * double(executed) / double(all) : 100; }
};

}  // namespace

TEST(PtxCoverage, TestsExecuteWhatShips) {
    const char* const folder = std::getenv("PTX_COVERAGE_READ");
    if (!folder) GTEST_SKIP() << "run by ctest: the other tests leave what is counted";
    ASSERT_FALSE(op_cases().empty());  // so that the operations, and with them all kernels, are in this program
    const char* const detail = std::getenv("PTX_COVERAGE_OF");  // a kernel whose unexecuted instructions to print
    Share kernels, instructions, lines;
    std::map<std::string, Share> by_kernel;
    std::map<std::string, bool> by_line;
    std::set<std::string> missing;
    for (const ptx::Module* module : ptx::modules()) {
        const auto executed = executed_kernels(folder, module->target);
        for (const auto& kernel : module->kernels) {
            const auto found = executed.find(kernel->name);
            const bool ran = found != executed.end() && found->second.size() == kernel->code.size();
            const std::string name = ptx::readable(kernel->name);
            kernels.add(ran);
            if (!ran) missing.insert(name);
            for (size_t i = 0; i < kernel->code.size(); ++i) {
                const bool was = ran && found->second[i] == '1';
                const std::string source = module->source(kernel->code[i]);
                if (source.find(".cu") != source.npos && kernel->code[i].file_line) by_line[source] |= was;
                if (detail && name == detail && !was)
                    fmt::print("{} {}: {}\n", kernel->code[i].line, source, module->statement(kernel->code[i]));
                if (is_reference_convolution(name)) continue;
                instructions.add(was);
                by_kernel[name].add(was);
            }
        }
    }
    std::string holes;
    for (const auto& [line, was] : by_line) {
        lines.add(was);
        if (!was) holes += "\n  " + line.substr(line.find("kernels/"));
    }
    fmt::print(
        "kernels {} of {}, source lines {} of {} ({:.1f} %), instructions outside reference convolutions {} of {} "
        "({:.1f} %)\nlines without a test:{}\nthe least executed kernels:\n",
        kernels.executed, kernels.all, lines.executed, lines.all, lines.percent(), instructions.executed,
        instructions.all, instructions.percent(), holes);
    std::multimap<size_t, std::string> least;
    for (const auto& [name, share] : by_kernel)
        least.emplace(share.all - share.executed,
                      fmt::format("{:5.1f} % of {:5} {}", share.percent(), share.all, name));
    size_t shown = 0;
    for (auto it = least.rbegin(); it != least.rend() && shown < 25; ++it, ++shown) fmt::print("  {}\n", it->second);
    EXPECT_GT(kernels.all, 200u);
    EXPECT_TRUE(missing.empty()) << fmt::format("never run: {}", fmt::join(missing, ", "));
    EXPECT_GE(lines.percent(), 95);
    EXPECT_GE(instructions.percent(), 95);
}
