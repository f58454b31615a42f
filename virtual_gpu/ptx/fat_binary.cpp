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

// A library by its name at run time: every Debian has both, and only this device wants them.
template <class F>
F function(const char* library, const char* name) {
    void* const opened = dlopen(library, RTLD_NOW);
    void* const found = opened ? dlsym(opened, name) : nullptr;
    if (!found)
        throw Error("the PTX in this program is compressed, and there is no " + std::string(library) + " to read it");
    return reinterpret_cast<F>(found);
}

size_t decompress(Compression how, std::string& to, const std::byte* from, size_t bytes) {
    if (how == Compression::lz4) {
        static const auto run = function<int (*)(const void*, void*, int, int)>("liblz4.so.1", "LZ4_decompress_safe");
        if (const int got = run(from, to.data(), int(bytes), int(to.size())); got >= 0) return size_t(got);
    } else {
        static const auto run =
            function<size_t (*)(void*, size_t, const void*, size_t)>("libzstd.so.1", "ZSTD_decompress");
        static const auto is_error = function<unsigned (*)(size_t)>("libzstd.so.1", "ZSTD_isError");
        if (const size_t got = run(to.data(), to.size(), from, bytes); !is_error(got)) return got;
    }
    throw Error("the PTX in this program cannot be decompressed");
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
            const Compression how = flags & kZstd  ? Compression::zstd
                                    : flags & kLz4 ? Compression::lz4
                                                   : Compression::none;
            const bool compressed = how != Compression::none;
            found.push_back({.architecture = field<int32_t>(at + 28),
                             .data = at + header,
                             .stored = compressed ? field<uint32_t>(at + 16) : stored,
                             .bytes = compressed ? field<uint64_t>(at + 56) : stored,
                             .compression = how});
        }
        at += header + stored;
    }
    return found;
}

std::string text_of(const Embedded& ptx) {
    std::string text(ptx.bytes, '\0');
    if (ptx.compression != Compression::none)
        text.resize(decompress(ptx.compression, text, ptx.data, ptx.stored));
    else
        std::memcpy(text.data(), ptx.data, ptx.bytes);
    text.resize(std::min(text.find('\0'), text.size()));
    return text;
}

}  // namespace ptx
