// PNG and BMP decoding for data/image.h.
#pragma once

#include "data/image.h"

bool is_png(Bytes file);
bool is_bmp(Bytes file);
Exif png_exif(Bytes file);  // of the chunk eXIf, which has to come before the pixels
Decoded decode_png_or_bmp(Bytes file, const DecodeOptions& options);
