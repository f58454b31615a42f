// PNG and BMP decoding for data/image.h.
#pragma once

#include "data/image.h"

bool is_png(Bytes file);
bool is_bmp(Bytes file);
Decoded decode_png_or_bmp(Bytes file, const DecodeOptions& options);
