// One chunk of zlib's, lines as they are (filter 0). Source: PNG 1.2, https://www.w3.org/TR/png-3/
#include "data/png_writer.h"

#include <zlib.h>

#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace {

void add_number(std::string& bytes, size_t value) {
    for (const int shift : {24, 16, 8, 0}) bytes += char(uint8_t(value >> shift));
}

void add_chunk(std::string& file, std::string_view type, std::string_view content) {
    add_number(file, content.size());
    const size_t checked = file.size();
    file.append(type).append(content);
    add_number(file, crc32_z(0, reinterpret_cast<const Bytef*>(&file[checked]), file.size() - checked));
}

}  // namespace

void write_png(const std::string& path, const uint8_t* rgb, size_t h, size_t w) {
    std::vector<uint8_t> lines;
    lines.reserve(h * (w * 3 + 1));
    for (size_t y = 0; y < h; ++y) {
        lines.push_back(0);
        lines.insert(lines.end(), rgb + y * w * 3, rgb + (y + 1) * w * 3);
    }
    uLongf size = compressBound(lines.size());
    std::string packed(size, '\0');
    if (compress2(reinterpret_cast<Bytef*>(packed.data()), &size, lines.data(), lines.size(), 1) != Z_OK)
        fail(Fault::memory, "{}: not enough memory to compress it", path);
    packed.resize(size);
    std::string header, file("\x89PNG\r\n\x1a\n");
    add_number(header, w);
    add_number(header, h);
    header.append("\x08\x02\x00\x00\x00", 5);  // 8 bits, RGB, the only compression and filters, not interlaced
    add_chunk(file, "IHDR", header);
    add_chunk(file, "IDAT", packed);
    add_chunk(file, "IEND", {});
    // Not durable: whoever needs the file after a power cut makes it again.
    write_file_durably(
        path, [&](FileWriter& out) { out.write(file); }, false);
}
