// Messages from parts: text, numbers, places in a kernel.
#pragma once

#include <sstream>
#include <string>

#include "cpu_flavour.h"

namespace simt {

inline std::ostream& operator<<(std::ostream& out, uint3 i) {
    return out << '(' << i.x << ',' << i.y << ',' << i.z << ')';
}
inline std::ostream& operator<<(std::ostream& out, dim3 d) { return out << d.x << 'x' << d.y << 'x' << d.z; }
inline std::ostream& operator<<(std::ostream& out, Site site) {
    out << site.file;
    return site.line ? out << ':' << site.line : out;
}

struct Mask {
    uint64_t bits;
};
inline std::ostream& operator<<(std::ostream& out, Mask mask) {
    return out << "0x" << std::hex << mask.bits << std::dec;
}

template <class... Parts>
std::string join(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

}  // namespace simt
