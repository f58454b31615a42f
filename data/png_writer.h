// Writes RGB pixels to a PNG file: without loss, and large.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

// rgb: (h, w, 3). Throws an Error that names `path` if that fails.
void write_png(const std::string& path, const uint8_t* rgb, size_t h, size_t w);
