// The formats of data/image.h that a build may lack: each is read through the library of its makers, and defined only
// where cmake/dependencies.cmake found that. The first page or frame counts.
#pragma once

#include "data/exif.h"
#include "data/image.h"

#ifdef TUNDRA_TIFF
bool is_tiff(Bytes file);
Decoded decode_tiff(Bytes file, const DecodeOptions& options);
Exif tiff_exif(Bytes file);
#endif
#ifdef TUNDRA_WEBP
bool is_webp(Bytes file);
Decoded decode_webp(Bytes file, const DecodeOptions& options);
Exif webp_exif(Bytes file);
#endif
#ifdef TUNDRA_GIF
bool is_gif(Bytes file);
Decoded decode_gif(Bytes file, const DecodeOptions& options);
#endif
#ifdef TUNDRA_HEIF
bool is_heif(Bytes file);
Decoded decode_heif(Bytes file, const DecodeOptions& options);
Exif heif_exif(Bytes file);
#endif
