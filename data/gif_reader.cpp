// The first frame of a GIF through giflib, from memory.
#include "data/optional_readers.h"

#ifdef TUNDRA_GIF
#include <fmt/format.h>
#include <gif_lib.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace {

struct Close {
    void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};
using Gif = std::unique_ptr<GifFileType, Close>;

int read_bytes(GifFileType* gif, GifByteType* out, int wanted) {
    Bytes& left = *static_cast<Bytes*>(gif->UserData);
    const size_t count = std::min(size_t(wanted), left.size());
    std::copy_n(left.begin(), count, out);
    left = left.subspan(count);
    return int(count);
}

// Up to the description of the first frame.
bool find_frame(GifFileType* gif) {
    GifRecordType kind;
    while (DGifGetRecordType(gif, &kind) == GIF_OK && kind != TERMINATE_RECORD_TYPE) {
        if (kind == IMAGE_DESC_RECORD_TYPE) return DGifGetImageDesc(gif) == GIF_OK;
        int code;
        GifByteType* block = nullptr;
        if (kind != EXTENSION_RECORD_TYPE || DGifGetExtension(gif, &code, &block) != GIF_OK) return false;
        while (block)
            if (DGifGetExtensionNext(gif, &block) != GIF_OK) return false;
    }
    return false;
}

void put_row(const std::vector<GifPixelType>& row, const ColorMapObject& colours, uint8_t* out) {
    for (const GifPixelType pixel : row) {
        const GifColorType colour = pixel < colours.ColorCount ? colours.Colors[pixel] : GifColorType{};
        *out++ = colour.Red, *out++ = colour.Green, *out++ = colour.Blue;
    }
}

// Reads the rows of the frame into `image`; returns how many could be read.
size_t read_rows(GifFileType* gif, const ColorMapObject& colours, Image& image) {
    const GifImageDesc& frame = gif->Image;
    std::vector<GifPixelType> row(size_t(frame.Width));
    size_t rows = 0;
    const auto read = [&](int from, int step) {
        for (int y = from; y < frame.Height; y += step, ++rows) {
            if (DGifGetLine(gif, row.data(), frame.Width) != GIF_OK) return false;
            put_row(row, colours, &image.rgb[(size_t(frame.Top + y) * image.w + size_t(frame.Left)) * 3]);
        }
        return true;
    };
    if (frame.Interlace)
        (void)(read(0, 8) && read(4, 8) && read(2, 4) && read(1, 2));
    else
        read(0, 1);
    return rows;
}

}  // namespace

bool is_gif(Bytes file) { return file.size() >= 6 && std::memcmp(file.data(), "GIF8", 4) == 0; }

Decoded decode_gif(Bytes file, const DecodeOptions& options) {
    Decoded result;
    int error = 0;
    const auto refuse = [&](DecodeStatus trouble, std::string text) {
        result.trouble = trouble;
        result.text = std::move(text);
        return result;
    };
    Bytes left = file;
    const Gif gif(DGifOpen(&left, read_bytes, &error));
    if (!gif) return refuse(DecodeStatus::truncated, "ends before the image begins");
    const auto h = size_t(gif->SHeight), w = size_t(gif->SWidth);
    if (!h || !w) return refuse(DecodeStatus::corrupt, fmt::format("claims {} x {} pixels", w, h));
    result.full_h = h, result.full_w = w;
    if (h * w > options.max_pixels)
        return refuse(DecodeStatus::too_large,
                      fmt::format("{} x {} pixels; at most {} are decoded", w, h, options.max_pixels));
    if (options.size_only) return result;
    if (!find_frame(gif.get()))
        return refuse(left.empty() ? DecodeStatus::truncated : DecodeStatus::corrupt, "contains no image");
    const GifImageDesc& frame = gif->Image;
    const ColorMapObject* colours = frame.ColorMap ? frame.ColorMap : gif->SColorMap;
    if (!colours || frame.Left < 0 || frame.Top < 0 || frame.Width < 1 || frame.Height < 1 ||
        size_t(frame.Left + frame.Width) > w || size_t(frame.Top + frame.Height) > h)
        return refuse(DecodeStatus::corrupt, "a frame without colours or beyond the image");
    result.image = {.h = h, .w = w, .rgb = std::vector<uint8_t>(h * w * 3)};
    if (const size_t rows = read_rows(gif.get(), *colours, result.image); rows < size_t(frame.Height)) {
        result.trouble = left.empty() ? DecodeStatus::truncated : DecodeStatus::corrupt;
        result.text = fmt::format("{} of {} rows", rows, frame.Height);
    }
    return result;
}
#endif
