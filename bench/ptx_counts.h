// What launches on ptx ask of a GPU's memory system and of its lanes, per kernel: exact counts of nvcc's own code.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "virtual_gpu/ptx/runtime.h"

struct KernelCounts {
    std::string kernel;
    double warp_instructions = 0, thread_instructions = 0;
    double sectors = 0, least_sectors = 0;        // of global memory; sectors of 32 bytes
    double wavefronts = 0, least_wavefronts = 0;  // of shared memory
    struct Worst {                                // the instruction with the most sectors or wavefronts to spare
        std::string source, statement;
        double extra = 0, times = 1;
    } worst = {};

    double bytes() const { return 32 * sectors; }  // requested of L1; what repeats does not reach memory
    double lanes() const { return thread_instructions / (32 * warp_instructions); }
    double sectors_ratio() const { return least_sectors > 0 ? sectors / least_sectors : 1; }
    double wavefronts_ratio() const { return least_wavefronts > 0 ? wavefronts / least_wavefronts : 1; }
};

// The kernels that `run` launched, in the order of their names. `run` has a ptx::Session.
inline std::vector<KernelCounts> count_kernels(const std::function<void()>& run) {
    const auto each = [](const auto& f) {
        for (const ptx::Module* module : ptx::decoded_modules())
            for (const auto& kernel : module->kernels) f(*module, *kernel);
    };
    each([](const ptx::Module&, const ptx::Kernel& kernel) {
        kernel.launches = 0;
        for (const ptx::Instruction& i : kernel.code) i.counts = {};
    });
    ptx::config().measure = true;
    run();
    ptx::config().measure = false;
    std::vector<KernelCounts> all;
    each([&](const ptx::Module& module, const ptx::Kernel& kernel) {
        if (!kernel.launches) return;
        KernelCounts& k = all.emplace_back();
        k.kernel = ptx::readable(kernel.name);
        for (const ptx::Instruction& i : kernel.code) {
            const ptx::Counts& c = i.counts;
            k.warp_instructions += double(c.executed), k.thread_instructions += double(c.lanes);
            if (i.space == ptx::Space::global) k.sectors += double(c.transfers), k.least_sectors += double(c.least);
            if (i.space == ptx::Space::shared)
                k.wavefronts += double(c.transfers), k.least_wavefronts += double(c.least);
            if (const double extra = double(c.transfers) - double(c.least); extra > k.worst.extra)
                k.worst = {module.source(i), std::string(module.statement(i)), extra,
                           double(c.transfers) / double(c.least)};
        }
    });
    return all;
}
