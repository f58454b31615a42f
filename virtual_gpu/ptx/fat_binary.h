// The PTX inside what nvcc embeds in an object file.
#pragma once

#include <string>
#include <vector>

namespace ptx {

enum class Compression { none, zstd, lz4 };  // lz4: nvcc before 12.8, or with --compress-mode=speed

struct Embedded {
    int architecture;  // 80, 100
    const std::byte* data;
    size_t stored, bytes;  // in the file, and as text
    Compression compression;
};

// The layout is not documented: read off what nvcc 13.0 writes. Throws Error where it is something else.
std::vector<Embedded> embedded_ptx(const void* fat_binary);
std::string text_of(const Embedded&);

}  // namespace ptx
