// The PNG and BMP half of data/picture.h.
#pragma once

#include "data/picture.h"

bool is_png(Bytes file);
bool is_bmp(Bytes file);
Decoded decode_png_or_bmp(Bytes file, const DecodeOptions& options);
