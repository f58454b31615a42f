// Every kernel that nvcc compiles has an instance for rows of 4 or 8 numbers that moves 16 bytes per access, or says
// here why not. 1 s.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <string>

#include "bench/op_cases.h"
#include "virtual_gpu/ptx/runtime.h"

namespace {

const std::map<std::string, std::string> kNarrow = {
    {"attention", "each number is a lane's of a row of 32 to 128, side by side; its tiles lie in shared memory"},
    {"forward_merge", "at most 1 MB of partial sums, all launch"},
    {"forward_ranks", "two numbers of a channel and rank"},
    {"mean_of_ranks", "as forward_ranks"},
    {"backward_merge", "at most 1 MB of partial sums, all launch"},
    {"bias_merge", "at most 1 MB of partial sums, all launch"},
    {"add_parts", "adds what one block in hundreds leaves, in order"},
    {"forward_rows", "2 MB in all, all launch; any number of classes"},
    {"forward_batch", "a number per row"},
    {"backward_rows", "as forward_rows"},
    {"candidate_keys", "of nearly every row only objectness is read"},
    {"select_boxes", "8-byte keys, side by side; waiting for the rounds is what counts"},
    {"detect_sums", "of nearly every row only objectness is read"},
    {"detect_merge", "a row of sums per block"},
    {"detect_gradient", "rows of 5 + classes numbers, seldom 16 bytes; walking over the boxes is what counts"},
    {"camera_batch", "single bytes of the planes, as the reduction picks them; stores are words"},
    {"product", "the reference beside cuBLASLt; tiles turn on their way into shared memory"},
    {"add_lost", "a number per block"},
    {"finish_step", "one thread"},
};

// What need not be wide. Sums leave single numbers, lanes side by side. Four floats become 8 bytes in 16 bits. Images
// are read by words of four bytes, at places that a transform gives. Rows of boxes have any length.
const std::map<std::string, std::string> kNotWide = {
    {"forward_sums", "stores"}, {"backward_sums", "stores"}, {"bias_sums", "stores"},       {"check_finite", "stores"},
    {"cast", "stores"},         {"image_batch", "loads"},    {"decode_distances", "stores"}};

}  // namespace

TEST(PtxWidths, SixteenBytesPerAccess) {
    ASSERT_FALSE(op_cases().empty());  // so that the operations, and with them all kernels, are in this program
    // Every instance of decode_distances reads rows of 64 numbers.
    static const std::regex width("[<,] ?[48][,>]|^decode_distances"), wide("\\.(v4\\.[a-z]32|v2\\.[a-z]64)");
    std::set<std::string> kernels, with_width;
    for (const ptx::Module* module : ptx::modules())
        for (const auto& kernel : module->kernels) {
            const std::string instance = ptx::readable(kernel->name), name = instance.substr(0, instance.find('<'));
            kernels.insert(name);
            if (!std::regex_search(instance, width)) continue;
            with_width.insert(name);
            std::set<std::string> found;
            for (const ptx::Instruction& i : kernel->code) {
                const std::string statement(module->statement(i));
                if (i.space != ptx::Space::global || !std::regex_search(statement, wide)) continue;
                found.insert(statement.find("st.global") != statement.npos ? "stores" : "loads");
            }
            const auto excused = kNotWide.find(name);
            for (const std::string what : {"loads", "stores"}) {
                if (excused != kNotWide.end() && excused->second == what) continue;
                EXPECT_TRUE(found.contains(what)) << instance << " never " << what << " 16 bytes at a time";
            }
        }
    for (const std::string& name : kernels)
        EXPECT_NE(with_width.contains(name), kNarrow.contains(name))
            << name << ": has neither an instance for rows of 4 or 8 numbers nor a row in kNarrow, or has both";
    for (const auto& [name, reason] : kNarrow) EXPECT_TRUE(kernels.contains(name)) << name << " is not there";
    for (const auto& [name, what] : kNotWide) EXPECT_TRUE(with_width.contains(name)) << name << " is not there";
}
