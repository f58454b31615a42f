// JPEG through TurboJPEG; the EXIF segment follows the start marker, as its standard requires.
#include "data/jpeg_writer.h"

#include <turbojpeg.h>

#include <memory>

#include "base/error.h"
#include "base/file.h"

std::vector<uint8_t> encode_jpeg(const uint8_t* rgb, size_t h, size_t w, const JpegSettings& settings,
                                 const Exif* exif) {
    require(h >= 1 && w >= 1 && h <= 65500 && w <= 65500, "encode_jpeg: a JPEG cannot have {} x {} pixels", w, h);
    const std::unique_ptr<void, decltype(&tjDestroy)> handle(tjInitCompress(), &tjDestroy);
    if (!handle) fail(Fault::memory, "encode_jpeg: {}", tjGetErrorStr2(nullptr));
    unsigned char* bytes = nullptr;
    unsigned long size = 0;
    const int status = tjCompress2(handle.get(), rgb, int(w), 0, int(h), TJPF_RGB, &bytes, &size,
                                   settings.full_chroma ? TJSAMP_444 : TJSAMP_420, settings.quality,
                                   TJFLAG_ACCURATEDCT | (settings.progressive ? TJFLAG_PROGRESSIVE : 0));
    const std::unique_ptr<unsigned char, decltype(&tjFree)> owner(bytes, &tjFree);
    if (status != 0) fail(Fault::runtime, "encode_jpeg: {}", tjGetErrorStr2(handle.get()));

    std::vector<uint8_t> file(bytes, bytes + 2);
    if (exif) {
        const std::vector<uint8_t> segment = exif_segment(*exif);
        const size_t length = segment.size() + 2;
        require(length <= 0xffff, "encode_jpeg: an EXIF segment of {} bytes does not fit", length);
        file.insert(file.end(), {0xff, 0xe1, uint8_t(length >> 8), uint8_t(length)});
        file.insert(file.end(), segment.begin(), segment.end());
    }
    file.insert(file.end(), bytes + 2, bytes + size);
    return file;
}

void write_jpeg(const std::string& path, const uint8_t* rgb, size_t h, size_t w, const JpegSettings& settings,
                const Exif* exif) {
    const std::vector<uint8_t> bytes = encode_jpeg(rgb, h, w, settings, exif);
    // Not durable: whoever needs the file after a power cut makes it again.
    write_file_durably(
        path, [&](FileWriter& file) { file.write(std::as_bytes(std::span(bytes))); }, false);
}
