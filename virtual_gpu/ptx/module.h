// PTX in the form in which it runs: each kernel decoded once, from text to functions over the lanes of a warp.
//
// PTX ISA: https://docs.nvidia.com/cuda/parallel-thread-execution/
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ptx {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Warp;
struct Instruction;
using Handler = void (*)(Warp&, const Instruction&);

enum class Kind : uint8_t {
    plain,
    branch,
    exit,
    barrier,
    collective
};                                  // collective: works on several lanes' registers
constexpr size_t kSharedGap = 128;  // all 32 banks

enum class Space : uint8_t { none, global, shared, parameter };

// What an instruction's execution counted, over all launches. Requests and what follows: of loads and stores, and only
// while config().measure is set.
struct Counts {
    uint64_t executed = 0;  // by warps
    uint64_t lanes = 0;     // by threads
    uint64_t requests = 0;
    uint64_t transfers = 0;  // global: sectors of 32 bytes; shared: passes through the 32 banks
    uint64_t least = 0;      // transfers that as many distinct bytes need at least
};

// Registers are named by their byte offset in the registers of a warp: 32 lanes of 4 or 8 bytes, side by side.
// Constants and special registers are registers too. 0 is none.
struct Instruction {
    Handler run = nullptr;  // of Kind::plain and Kind::collective
    Kind kind = Kind::plain;
    Space space = Space::none;
    bool negated = false;       // the guard
    bool wide_address = false;  // 64 bits
    uint32_t guard = 0;
    uint32_t out = 0, in[3] = {};
    uint32_t element[4] = {};          // registers of a vector; shfl: the lanes that take part and the predicate
    uint32_t target = 0;               // of a branch: index of an instruction
    int64_t offset = 0;                // added to the address in in[0]
    uint32_t line = 0;                 // in the PTX
    uint32_t file = 0, file_line = 0;  // in the source, by .loc: the file's number
    mutable Counts counts = {};
    mutable size_t range = 0;  // of device memory, where the last access went
};

struct Kernel {
    struct Parameter {
        size_t offset, bytes;
    };
    std::string name;  // mangled
    std::vector<Parameter> parameters;
    size_t parameter_bytes = 0, register_bytes = 0, shared_bytes = 0;
    // Static arrays and, from `dynamic_shared` on, the dynamic one. Between two lie kSharedGap bytes more than on a
    // GPU, so that an overrun is seen and the banks stay the same.
    std::vector<std::pair<size_t, size_t>> shared_arrays;  // offset, bytes
    size_t dynamic_shared = 0;
    std::vector<Instruction> code;
    std::vector<std::pair<uint32_t, uint32_t>> constants32;  // register, value
    std::vector<std::pair<uint32_t, uint64_t>> constants64;
    std::vector<std::pair<std::string, uint32_t>> special;  // "%tid.x", register
    const struct Module* module = nullptr;
    mutable uint64_t launches = 0, threads = 0;
};

struct Module {
    std::string target;              // "sm_100"
    std::vector<std::string> files;  // by their number in .loc
    std::vector<std::unique_ptr<Kernel>> kernels;
    std::vector<std::string_view> lines;  // of text
    std::string text;

    std::string_view statement(const Instruction& i) const;
    std::string source(const Instruction& i) const;  // "kernels/pool.cu:34", or "" where the PTX does not say
};

// Errors: an opcode that is not known, or anything else that cannot be decoded, with kernel, line and statement.
std::unique_ptr<Module> parse(std::string text);

std::string readable(const std::string& mangled);

}  // namespace ptx
