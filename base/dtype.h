// Types of tensor elements, in memory and in files, with the names that safetensors gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

enum class DType : uint8_t {
    f64,
    f32,
    f16,
    bf16,
    i64,
    i32,
    i16,
    i8,
    u8,
    boolean,
    // Files may hold these; nothing here reads their elements.
    u64,
    u32,
    u16,
    c64,
    f8_e5m2,
    f8_e4m3,
    f8_e8m0,
    f8_e4m3fnuz,
    f8_e5m2fnuz,
    f6_e2m3,
    f6_e3m2,
    f4,
    count
};

struct DTypeInfo {
    std::string_view name;
    size_t bits;
};

constexpr DTypeInfo info(DType type) {
    constexpr DTypeInfo infos[] = {
        {"F64", 64},        {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"I64", 64},    {"I32", 32},
        {"I16", 16},        {"I8", 8},      {"U8", 8},      {"BOOL", 8},    {"U64", 64},    {"U32", 32},
        {"U16", 16},        {"C64", 64},    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
        {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4}};
    return infos[size_t(type)];
}

constexpr bool is_readable(DType type) { return type <= DType::boolean; }
constexpr size_t size_of(DType type) { return info(type).bits / 8; }  // 0 for elements of less than a byte
constexpr std::string_view to_string(DType type) { return info(type).name; }
