#include "fat_binary.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstring>

#include "module.h"

namespace ptx {
namespace {

template <class T>
T field(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

// libzstd by its name at run time: every Debian has it, and only this device wants it.
size_t decompress(std::string& to, const std::byte* from, size_t bytes) {
    static void* const library = dlopen("libzstd.so.1", RTLD_NOW);
    if (!library) throw Error("the PTX in this program is compressed, and there is no libzstd.so.1 to read it");
    using Decompress = size_t (*)(void*, size_t, const void*, size_t);
    using IsError = unsigned (*)(size_t);
    static const auto run = reinterpret_cast<Decompress>(dlsym(library, "ZSTD_decompress"));
    static const auto is_error = reinterpret_cast<IsError>(dlsym(library, "ZSTD_isError"));
    if (!run || !is_error) throw Error("libzstd.so.1 has no ZSTD_decompress");
    const size_t got = run(to.data(), to.size(), from, bytes);
    if (is_error(got)) throw Error("the PTX in this program cannot be decompressed");
    return got;
}

}  // namespace

std::vector<Embedded> embedded_ptx(const void* fat_binary) {
    constexpr uint32_t kMagic = 0xba55ed50;
    constexpr uint16_t kPtx = 1;
    constexpr uint64_t kZstd = 0x8000, kLz4 = 0x2000;
    const auto* at = static_cast<const std::byte*>(fat_binary);
    if (field<uint32_t>(at) != kMagic) throw Error("not a fat binary of nvcc");
    const std::byte* const end = at + field<uint16_t>(at + 6) + field<uint64_t>(at + 8);
    std::vector<Embedded> found;
    for (at += field<uint16_t>(at + 6); at < end;) {
        const size_t header = field<uint32_t>(at + 4), stored = field<uint64_t>(at + 8);
        const auto flags = field<uint64_t>(at + 40);
        if (field<uint16_t>(at) == kPtx) {
            if (flags & kLz4) throw Error("the PTX in this program is compressed by LZ4, as nvcc before 12.8 did");
            const bool zstd = flags & kZstd;
            found.push_back({.architecture = field<int32_t>(at + 28),
                             .data = at + header,
                             .stored = zstd ? field<uint32_t>(at + 16) : stored,
                             .bytes = zstd ? field<uint64_t>(at + 56) : stored,
                             .compressed = zstd});
        }
        at += header + stored;
    }
    return found;
}

std::string text_of(const Embedded& ptx) {
    std::string text(ptx.bytes, '\0');
    if (ptx.compressed)
        text.resize(decompress(text, ptx.data, ptx.stored));
    else
        std::memcpy(text.data(), ptx.data, ptx.bytes);
    text.resize(std::min(text.find('\0'), text.size()));
    return text;
}

}  // namespace ptx
