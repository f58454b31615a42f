// Loads, stores, atomics: 32 addresses at a time, each checked for its alignment and for what memory it hits.
#include <algorithm>

#include "lanes.h"
#include "launch.h"
#include "measure.h"

namespace ptx {
namespace {

std::string hexadecimal(uint64_t value) {
    char text[20];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

using Ranges = std::vector<simt::DeviceRange>;

// Whether [low, high) lies in one of the ranges; remembers which.
bool in_one(const Ranges& ranges, const Instruction& i, uint64_t low, uint64_t high) {
    if (i.range < ranges.size() && ranges[i.range].begin <= low && high <= ranges[i.range].end) return true;
    auto above = std::upper_bound(ranges.begin(), ranges.end(), low,
                                  [](uint64_t address, const simt::DeviceRange& r) { return address < r.begin; });
    if (above == ranges.begin() || high > (--above)->end) return false;
    i.range = size_t(above - ranges.begin());
    return true;
}

std::string nearest(const Ranges& ranges, uint64_t address) {
    const simt::DeviceRange* best = nullptr;
    const auto distance = [&](const simt::DeviceRange& r) {
        return address < r.begin ? r.begin - address : address >= r.end ? address - r.end + 1 : 0;
    };
    for (const simt::DeviceRange& r : ranges)
        if (!best || distance(r) < distance(*best)) best = &r;
    if (!best) return "nothing is allocated";
    const std::string what = std::to_string(best->end - best->begin) + " bytes at " + hexadecimal(best->begin);
    if (address < best->begin) return std::to_string(best->begin - address) + " before the " + what;
    if (address >= best->end) return std::to_string(address - best->end) + " behind the end of the " + what;
    return "within the " + what;
}

void check(const Warp& w, const Instruction& i, const uint64_t* addresses, size_t bytes) {
    uint64_t all = 0, low = ~uint64_t(0), high = 0;
    for (unsigned l = 0; l < 32; ++l) {
        const uint64_t active = w.lanes[l] ? ~uint64_t(0) : 0;
        all |= addresses[l] & active;
        low = std::min(low, addresses[l] | ~active);
        high = std::max(high, addresses[l] & active);
    }
    if (i.space == Space::parameter && !(all & (bytes - 1)) && high + bytes <= w.kernel->parameter_bytes) return;
    const Ranges parameters = i.space == Space::parameter ? Ranges{{0, w.kernel->parameter_bytes}} : Ranges{};
    const Ranges& ranges = i.space == Space::global   ? *w.memory
                           : i.space == Space::shared ? *w.shared_arrays
                                                      : parameters;
    const auto refuse = [&](const auto& wrong, const std::string& what) {
        for (unsigned l = 0; l < 32; ++l)
            if (w.lanes[l] && wrong(addresses[l]))
                w.fail(i,
                       what + " of " + std::to_string(bytes) + " bytes at " + hexadecimal(addresses[l]) + ", " +
                           nearest(ranges, addresses[l]),
                       l);
    };
    if (all & (bytes - 1)) refuse([&](uint64_t a) { return a & (bytes - 1); }, "misaligned access");
    if (in_one(ranges, i, low, high + bytes)) return;
    refuse([&](uint64_t a) { return !in_one(ranges, i, a, a + bytes); },
           (i.space == Space::global   ? "device memory"
            : i.space == Space::shared ? "shared memory"
                                       : std::string("the parameters")) +
               " out of bounds: access");
}

// Where each lane's access goes in host memory.
std::byte* addressed(Warp& w, const Instruction& i, size_t bytes, uint64_t* addresses) {
    if (i.wide_address) {
        const auto* lane = w.at<uint64_t>(i.in[0]);
        for (unsigned l = 0; l < 32; ++l) addresses[l] = lane[l] + uint64_t(i.offset);
    } else {
        const auto* lane = w.at<uint32_t>(i.in[0]);
        for (unsigned l = 0; l < 32; ++l) addresses[l] = uint64_t(lane[l]) + uint64_t(i.offset);
    }
    check(w, i, addresses, bytes);
    if (config().measure) measure(w, i, addresses, bytes);
    if (i.space == Space::shared) return w.shared;
    return i.space == Space::parameter ? const_cast<std::byte*>(w.parameters) : nullptr;
}
std::byte* host(std::byte* base, uint64_t address) { return reinterpret_cast<std::byte*>(uintptr_t(base) + address); }

template <class F>
void each_active(const Warp& w, const F& f) {
    if (w.mask == ~0u)
        for (unsigned l = 0; l < 32; ++l) f(l);
    else
        for (uint32_t m = w.mask; m; m &= m - 1) f(unsigned(std::countr_zero(m)));
}

template <class T, int n, class Register>
void load(Warp& w, const Instruction& i) {
    alignas(64) uint64_t addresses[32];
    std::byte* const base = addressed(w, i, sizeof(T) * n, addresses);
    Register* to[n];
    for (int k = 0; k < n; ++k) to[k] = w.at<Register>(i.element[k]);
    each_active(w, [&](unsigned l) {
        T values[n];
        std::memcpy(values, host(base, addresses[l]), sizeof values);
        for (int k = 0; k < n; ++k) to[k][l] = Register(values[k]);  // a signed T extends its sign
    });
}

template <class T, int n, class Register>
void store(Warp& w, const Instruction& i) {
    alignas(64) uint64_t addresses[32];
    std::byte* const base = addressed(w, i, sizeof(T) * n, addresses);
    const Register* from[n];
    for (int k = 0; k < n; ++k) from[k] = w.at<Register>(i.element[k]);
    each_active(w, [&](unsigned l) {
        T values[n];
        for (int k = 0; k < n; ++k) values[k] = T(from[k][l]);
        std::memcpy(host(base, addresses[l]), values, sizeof values);
    });
}

// Lane after lane, so the order of the additions is that of the lanes.
template <class T, class F>
void atomic(Warp& w, const Instruction& i) {
    alignas(64) uint64_t addresses[32];
    std::byte* const base = addressed(w, i, sizeof(T), addresses);
    each_active(w, [&](unsigned l) {
        T old;
        std::memcpy(&old, host(base, addresses[l]), sizeof old);
        const T b = from_lane<T>(w.at<Lane<T>>(i.in[1])[l]), c = from_lane<T>(w.at<Lane<T>>(i.in[2])[l]);
        const T fresh = F{}(old, b, c);
        std::memcpy(host(base, addresses[l]), &fresh, sizeof fresh);
        if (i.out) w.at<Lane<T>>(i.out)[l] = to_lane<T>(old);
    });
}

template <class T>
void add_element(Forms& table, const std::string& type) {
    const auto add = [&]<int n>() {
        Form form{.layout = Form::memory, .out = sizeof(T), .elements = n};
        Form read = form, write = form;
        write.store = true;
        if constexpr (sizeof(T) < 8) read.by_lane[0] = &load<T, n, uint32_t>, write.by_lane[0] = &store<T, n, uint32_t>;
        read.by_lane[1] = &load<T, n, uint64_t>, write.by_lane[1] = &store<T, n, uint64_t>;
        const std::string end = (n > 1 ? ".v" + std::to_string(n) : "") + "." + type;
        for (const auto& [space, name] : {std::pair{Space::global, ".global"},
                                          {Space::global, ""},  // generic: nothing here makes addresses of others
                                          {Space::shared, ".shared"},
                                          {Space::parameter, ".param"}}) {
            read.space = write.space = space;
            table["ld" + std::string(name) + end] = read;
            if (space != Space::parameter) table["st" + std::string(name) + end] = write;
            if (space == Space::global) {
                table["st" + std::string(name) + ".wb" + end] = write;
                table["ld" + std::string(name) + ".nc" + end] = read;
            }
        }
    };
    add.template operator()<1>();
    if constexpr (sizeof(T) <= 8) add.template operator()<2>();
    if constexpr (sizeof(T) <= 4) add.template operator()<4>();
}

template <class T, class F>
void add_atomic(Forms& table, const std::string& name, F) {
    for (const auto& [space, where] : {std::pair{Space::global, ".global."}, {Space::shared, ".shared."}}) {
        Form form{.layout = Form::memory, .run = &atomic<T, F>, .out = sizeof(T), .space = space};
        table["atom" + std::string(where) + name] = form;
        form.store = true;
        table["red" + std::string(where) + name] = form;
    }
}

}  // namespace

void add_memory(Forms& table) {
    for (const char* bits : {"u8", "b8"}) add_element<uint8_t>(table, bits);
    for (const char* bits : {"u16", "b16"}) add_element<uint16_t>(table, bits);
    for (const char* bits : {"u32", "b32", "f32"}) add_element<uint32_t>(table, bits);
    for (const char* bits : {"u64", "b64", "f64", "s64"}) add_element<uint64_t>(table, bits);
    add_element<int8_t>(table, "s8"), add_element<int16_t>(table, "s16"), add_element<int32_t>(table, "s32");
    add_atomic<uint32_t>(table, "add.u32", [](uint32_t a, uint32_t b, uint32_t) { return a + b; });
    add_atomic<uint64_t>(table, "add.u64", [](uint64_t a, uint64_t b, uint64_t) { return a + b; });
    add_atomic<float>(table, "add.f32", [](float a, float b, float) { return a + b; });
    add_atomic<uint32_t>(table, "max.u32", [](uint32_t a, uint32_t b, uint32_t) { return std::max(a, b); });
    add_atomic<int32_t>(table, "max.s32", [](int32_t a, int32_t b, int32_t) { return std::max(a, b); });
    add_atomic<uint32_t>(table, "cas.b32", [](uint32_t a, uint32_t b, uint32_t c) { return a == b ? c : a; });
    add_atomic<uint64_t>(table, "cas.b64", [](uint64_t a, uint64_t b, uint64_t c) { return a == b ? c : a; });
    add_atomic<uint32_t>(table, "exch.b32", [](uint32_t, uint32_t b, uint32_t) { return b; });
}

}  // namespace ptx
