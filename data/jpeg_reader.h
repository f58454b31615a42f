// JPEG decoding for data/image.h.
#pragma once

#include "data/image.h"

bool is_jpeg(Bytes file);
Decoded decode_jpeg(Bytes file, const DecodeOptions& options);
