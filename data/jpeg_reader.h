// The JPEG half of data/picture.h.
#pragma once

#include "data/picture.h"

bool is_jpeg(Bytes file);
Decoded decode_jpeg(Bytes file, const DecodeOptions& options);
