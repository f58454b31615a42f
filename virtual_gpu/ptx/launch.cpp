#include "launch.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <numeric>
#include <random>

namespace ptx {
namespace {

struct AlignedBytes {  // keeps its memory from launch to launch
    std::vector<std::byte> memory;
    std::byte* take(size_t bytes) {
        if (memory.size() < bytes + 64) memory.resize(bytes + 64);
        return reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
    }
};

template <class T>
void fill(Warp& w, uint32_t offset, T value) {
    std::fill_n(w.at<T>(offset), 32, value);
}

uint32_t Dim::*axis(char name) { return name == 'x' ? &Dim::x : name == 'y' ? &Dim::y : &Dim::z; }

class Grid {
public:
    explicit Grid(const Launch& launch)
        : launch_(launch), kernel_(*launch.kernel), random_(unsigned(simt::config().seed)) {
        const auto [x, y, z] = launch.block;
        threads_ = x * y * z;
        if (threads_ < 1 || threads_ > 1024 || z > 64) throw Error("a block has 1 to 1024 threads");
        if (!launch.grid.x || !launch.grid.y || !launch.grid.z || launch.grid.y > 65535 || launch.grid.z > 65535)
            throw Error("an impossible grid");
        if (launch.parameters.size() < kernel_.parameter_bytes) throw Error("too few parameters");
        static AlignedBytes registers, shared;
        const size_t stride = (kernel_.register_bytes + 4095) / 4096 * 4096 + 256;  // not all in the same cache sets
        warps_.resize((threads_ + 31) / 32);
        std::byte* const memory = registers.take(stride * warps_.size());
        shared_bytes_ = kernel_.dynamic_shared + launch.dynamic_shared;
        shared_ = shared.take(shared_bytes_);
        for (const auto& [offset, bytes] : kernel_.shared_arrays) shared_arrays_.push_back({offset, offset + bytes});
        if (launch.dynamic_shared) shared_arrays_.push_back({kernel_.dynamic_shared, shared_bytes_});
        for (unsigned n = 0; n < warps_.size(); ++n) {
            Warp& w = warps_[n];
            w.kernel = &kernel_, w.index = n;
            w.registers = memory + n * stride;
            w.parameters = launch.parameters.data();
            w.shared = shared_;
            w.memory = &simt::device_ranges(), w.shared_arrays = &shared_arrays_;
            for (const auto& [offset, value] : kernel_.constants32) fill(w, offset, value);
            for (const auto& [offset, value] : kernel_.constants64) fill(w, offset, value);
            for (const auto& [name, offset] : kernel_.special) set_special(w, name, offset);
        }
        turns_.resize(warps_.size());
        std::iota(turns_.begin(), turns_.end(), 0u);
    }

    void run() {
        ++kernel_.launches;
        const Dim grid = launch_.grid;
        const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
        kernel_.threads += blocks * threads_;
        const simt::Order order = simt::config().order;
        std::vector<uint64_t> shuffled(order == simt::Order::shuffle ? blocks : 0);
        std::iota(shuffled.begin(), shuffled.end(), uint64_t(0));
        std::shuffle(shuffled.begin(), shuffled.end(), random_);
        if (order == simt::Order::reverse) std::reverse(turns_.begin(), turns_.end());
        for (uint64_t n = 0; n < blocks; ++n) {
            const uint64_t b = order == simt::Order::reverse ? blocks - 1 - n : shuffled.empty() ? n : shuffled[n];
            run_block({uint32_t(b % grid.x), uint32_t(b / grid.x % grid.y), uint32_t(b / grid.x / grid.y)});
        }
    }

private:
    void set_special(Warp& w, const std::string& name, uint32_t offset) {
        const auto along = axis(name.back());
        const Dim block = launch_.block;
        if (name.starts_with("%ntid")) return fill(w, offset, block.*along);
        if (name.starts_with("%nctaid")) return fill(w, offset, launch_.grid.*along);
        if (name.starts_with("%ctaid")) return block_index_.push_back({offset, along}), void();
        for (unsigned l = 0; l < 32; ++l) {
            const uint32_t thread = w.index * 32 + l;
            const Dim at{thread % block.x, thread / block.x % block.y, thread / block.x / block.y};
            w.at<uint32_t>(offset)[l] = at.*along;
        }
    }

    void run_block(Dim block) {
        std::memset(shared_, 0xff, shared_bytes_);  // NaN
        for (Warp& w : warps_) {
            const unsigned count = threads_ - w.index * 32;
            w.block = block;
            w.live = count >= 32 ? ~0u : (1u << count) - 1;
            w.groups.assign(1, {0, w.live});
            for (const auto& [offset, along] : block_index_) fill(w, offset, block.*along);
        }
        do {
            if (simt::config().order == simt::Order::shuffle) std::shuffle(turns_.begin(), turns_.end(), random_);
            for (const unsigned n : turns_) run_until_barrier(warps_[n]);
        } while (release_barrier());
    }

    // False when the block is done.
    bool release_barrier() {
        const Warp* first = nullptr;
        for (const Warp& w : warps_)
            if (!w.groups.empty() && !first) first = &w;
        if (!first) return false;
        const uint32_t at = first->groups[0].at;
        for (Warp& w : warps_) {
            const unsigned count = threads_ - w.index * 32;
            const uint32_t all = count >= 32 ? ~0u : (1u << count) - 1;
            if (w.live != all && !simt::config().allow_exit_before_barrier)
                first->fail(kernel_.code[at], "threads of warp " + std::to_string(w.index) +
                                                  " returned while others wait at this barrier");
            for (Group& group : w.groups) {
                if (group.at != at)
                    first->fail(kernel_.code[at], "others wait at another barrier, PTX line " +
                                                      std::to_string(kernel_.code[group.at].line));
                ++group.at;
                group.state = Group::ready;
            }
        }
        return true;
    }

    const Launch& launch_;
    const Kernel& kernel_;
    std::mt19937 random_;
    unsigned threads_ = 0;
    std::vector<Warp> warps_;
    std::vector<unsigned> turns_;
    std::byte* shared_ = nullptr;
    size_t shared_bytes_ = 0;
    std::vector<simt::DeviceRange> shared_arrays_;
    std::vector<std::pair<uint32_t, uint32_t Dim::*>> block_index_;  // registers, the same in all warps
};

}  // namespace

Config& config() {
    static Config config;
    return config;
}

void run(Launch launch) {
    static std::mutex one;
    const std::lock_guard lock(one);
    simt::resolve(launch.parameters.data(), launch.parameters.size());
    Grid(launch).run();
}

}  // namespace ptx
