// HEIC, HEIF and AVIF through libheif, from memory. The library is opened when the first such file comes: it brings a
// dozen others with it, which would make every start of the program longer.
#include "data/optional_readers.h"

#ifdef TUNDRA_HEIF
#include <dlfcn.h>
#include <fmt/format.h>
#include <libheif/heif.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "data/exif.h"

namespace {

void* symbol(const char* name) {
    static void* const library = dlopen(TUNDRA_HEIF, RTLD_NOW | RTLD_LOCAL);
    return library ? dlsym(library, name) : nullptr;
}

// Everything of the library that is used below.
#define LOADED(name) (*reinterpret_cast<decltype(&::name)>(symbol(#name)))
#define heif_context_alloc LOADED(heif_context_alloc)
#define heif_context_free LOADED(heif_context_free)
#define heif_context_get_primary_image_handle LOADED(heif_context_get_primary_image_handle)
#define heif_context_read_from_memory_without_copy LOADED(heif_context_read_from_memory_without_copy)
#define heif_context_set_max_decoding_threads LOADED(heif_context_set_max_decoding_threads)
#define heif_decode_image LOADED(heif_decode_image)
#define heif_decoding_options_alloc LOADED(heif_decoding_options_alloc)
#define heif_decoding_options_free LOADED(heif_decoding_options_free)
#define heif_image_get_height LOADED(heif_image_get_height)
#define heif_image_get_plane_readonly LOADED(heif_image_get_plane_readonly)
#define heif_image_get_width LOADED(heif_image_get_width)
#define heif_image_handle_get_height LOADED(heif_image_handle_get_height)
#define heif_image_handle_get_list_of_metadata_block_IDs LOADED(heif_image_handle_get_list_of_metadata_block_IDs)
#define heif_image_handle_get_metadata LOADED(heif_image_handle_get_metadata)
#define heif_image_handle_get_metadata_size LOADED(heif_image_handle_get_metadata_size)
#define heif_image_handle_get_width LOADED(heif_image_handle_get_width)
#define heif_image_handle_release LOADED(heif_image_handle_release)
#define heif_image_release LOADED(heif_image_release)

struct Free {
    void operator()(heif_context* context) const { heif_context_free(context); }
    void operator()(heif_image_handle* handle) const { heif_image_handle_release(handle); }
    void operator()(heif_image* image) const { heif_image_release(image); }
    void operator()(heif_decoding_options* options) const { heif_decoding_options_free(options); }
};
using Context = std::unique_ptr<heif_context, Free>;
using Handle = std::unique_ptr<heif_image_handle, Free>;

// The image that a file shows first.
struct Primary {
    Context context;
    Handle handle;
    heif_error error = {};
};

Primary primary_of(Bytes file) {
    Primary primary{.context = Context(heif_context_alloc()), .handle = {}};
    if (!primary.context) throw std::bad_alloc();
    heif_context_set_max_decoding_threads(primary.context.get(), 0);  // images are decoded side by side already
    primary.error =
        heif_context_read_from_memory_without_copy(primary.context.get(), file.data(), file.size(), nullptr);
    heif_image_handle* handle = nullptr;
    if (primary.error.code == heif_error_Ok)
        primary.error = heif_context_get_primary_image_handle(primary.context.get(), &handle);
    primary.handle.reset(handle);
    return primary;
}

DecodeStatus trouble_of(const heif_error& error) {
    if (error.subcode == heif_suberror_End_of_data) return DecodeStatus::truncated;
    if (error.subcode == heif_suberror_Security_limit_exceeded) return DecodeStatus::too_large;
    switch (error.code) {
        case heif_error_Unsupported_feature:
        case heif_error_Unsupported_filetype: return DecodeStatus::unsupported;
        case heif_error_Memory_allocation_error: return DecodeStatus::out_of_memory;
        default: return DecodeStatus::corrupt;
    }
}

std::string text_of(const heif_error& error) {
    if (error.subcode == heif_suberror_Unsupported_codec)
        return fmt::format("HEIC or AVIF: {}; this libheif has no decoder for it, convert the image to JPEG",
                           error.message);
    return fmt::format("HEIC or AVIF: {}", error.message ? error.message : "damaged");
}

}  // namespace

// Source: ISO/IEC 23008-12 and the AV1 Image File Format, brands of still images and of sequences with a cover image.
bool is_heif(Bytes file) {
    constexpr std::array kBrands{"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1", "avif", "avis"};
    const auto is_brand = [&](const char* brand) { return std::memcmp(file.data() + 8, brand, 4) == 0; };
    return file.size() >= 12 && std::memcmp(file.data() + 4, "ftyp", 4) == 0 && std::ranges::any_of(kBrands, is_brand);
}

Decoded decode_heif(Bytes file, const DecodeOptions& options) {
    Decoded result;
    const auto refuse = [&](DecodeStatus trouble, std::string text) {
        result.trouble = trouble;
        result.text = std::move(text);
        return result;
    };
    if (!symbol("heif_context_alloc"))
        return refuse(DecodeStatus::unsupported, "HEIC and AVIF need libheif, which is not installed here");
    const Primary primary = primary_of(file);
    if (primary.error.code != heif_error_Ok) return refuse(trouble_of(primary.error), text_of(primary.error));
    // The file's own rotation and mirroring (irot, imir) are in these numbers and in the pixels. The standard has them
    // replace the orientation in EXIF, which many cameras write as well.
    const int h = heif_image_handle_get_height(primary.handle.get()),
              w = heif_image_handle_get_width(primary.handle.get());
    if (h < 1 || w < 1) return refuse(DecodeStatus::corrupt, fmt::format("claims {} x {} pixels", w, h));
    result.full_h = size_t(h), result.full_w = size_t(w);
    if (result.full_h > options.max_pixels / result.full_w)
        return refuse(DecodeStatus::too_large,
                      fmt::format("{} x {} pixels; at most {} are decoded", w, h, options.max_pixels));
    if (options.size_only) return result;
    const std::unique_ptr<heif_decoding_options, Free> how(heif_decoding_options_alloc());
    if (!how) throw std::bad_alloc();
    how->convert_hdr_to_8bit = 1;
    how->ignore_transformations = !options.orient;
    heif_image* decoded = nullptr;
    const heif_error error =
        heif_decode_image(primary.handle.get(), &decoded, heif_colorspace_RGB, heif_chroma_interleaved_RGB, how.get());
    const std::unique_ptr<heif_image, Free> image(decoded);
    if (error.code != heif_error_Ok) return refuse(trouble_of(error), text_of(error));
    int stride = 0;
    const uint8_t* rows = heif_image_get_plane_readonly(image.get(), heif_channel_interleaved, &stride);
    const int decoded_h = heif_image_get_height(image.get(), heif_channel_interleaved),
              decoded_w = heif_image_get_width(image.get(), heif_channel_interleaved);
    if (!rows || decoded_h < 1 || decoded_w < 1 || size_t(decoded_h) > options.max_pixels / size_t(decoded_w))
        return refuse(DecodeStatus::corrupt, "decodes to nothing");
    result.full_h = size_t(decoded_h), result.full_w = size_t(decoded_w);
    result.image = {.h = result.full_h, .w = result.full_w, .rgb = {}};
    result.image.rgb.reserve(result.full_h * result.full_w * 3);
    for (size_t y = 0; y < result.full_h; ++y) {
        const uint8_t* row = rows + y * size_t(stride);
        result.image.rgb.insert(result.image.rgb.end(), row, row + result.full_w * 3);
    }
    return result;
}

Exif heif_exif(Bytes file) {
    if (!symbol("heif_context_alloc")) return {};
    const Primary primary = primary_of(file);
    heif_item_id item = 0;
    if (!primary.handle ||
        heif_image_handle_get_list_of_metadata_block_IDs(primary.handle.get(), "Exif", &item, 1) != 1)
        return {};
    std::vector<uint8_t> block(heif_image_handle_get_metadata_size(primary.handle.get(), item));
    if (block.size() < 4 ||
        heif_image_handle_get_metadata(primary.handle.get(), item, block.data()).code != heif_error_Ok)
        return {};
    // It begins with the distance from here to the TIFF header.
    const size_t start = 4 + (size_t(block[0]) << 24 | size_t(block[1]) << 16 | size_t(block[2]) << 8 | block[3]);
    return start < block.size() ? read_exif_block(Bytes(block).subspan(start)) : Exif{};
}
#endif
