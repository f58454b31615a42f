// Turns linear light into bytes the way a cheap camera does.
#include "app/synth/develop.h"

#include <array>

namespace {

// 3 x 5 dots per letter, the top row in the highest bits.
uint16_t glyph(char letter) {
    constexpr std::array<uint16_t, 10> digits{075557, 026227, 071747, 071717, 055711,
                                              074717, 074757, 071111, 075757, 075717};
    constexpr std::array<uint16_t, 26> letters{025755, 065656, 034443, 065556, 074647, 074644, 034553, 055755, 072227,
                                               011152, 055655, 044447, 057755, 065555, 025552, 065644, 025571, 065655,
                                               034216, 072222, 055557, 055552, 055775, 055255, 055222, 071247};
    if (letter >= '0' && letter <= '9') return digits[size_t(letter - '0')];
    if (letter >= 'A' && letter <= 'Z') return letters[size_t(letter - 'A')];
    if (letter == '-') return 000700;
    if (letter == ':') return 002020;
    if (letter == '*') return 075700;  // degree
    return 0;
}

void draw_strip(std::vector<uint8_t>& bytes, int width, int height, const std::string& text) {
    const int high = strip_height(height), top = height - high, dot = std::max(1, high / 8);
    std::fill(bytes.begin() + std::ptrdiff_t(top) * width * 3, bytes.end(), uint8_t(12));
    const auto put = [&](int x, int y) {
        if (x >= 0 && x < width && y >= 0 && y < height)
            std::fill_n(bytes.begin() + (std::ptrdiff_t(y) * width + x) * 3, 3, uint8_t(225));
    };
    int pen = 2 * dot;
    for (char letter : text) {
        const uint16_t bits = glyph(letter);
        for (int i = 0; i < 15; ++i)
            if (bits >> (14 - i) & 1)
                for (int k = 0; k < dot * dot; ++k)
                    put(pen + (i % 3) * dot + k % dot, top + (high - 5 * dot) / 2 + (i / 3) * dot + k / dot);
        pen += 4 * dot;
    }
}

constexpr int kCurve = 4096;
constexpr float kCurveEnd = 4;

// Display gamma with a shoulder, so that bright snow keeps its relief.
std::array<float, kCurve + 1> tone_curve() {
    std::array<float, kCurve + 1> curve;
    for (int i = 0; i <= kCurve; ++i) {
        const float light = float(i) * kCurveEnd / kCurve;
        const float held = light < 0.5f ? light : 0.5f + 0.5f * (1 - std::exp(-(light - 0.5f) / 0.5f));
        const float coded = std::pow(held, 1 / 2.2f);
        curve[size_t(i)] = 255 * (coded + 0.45f * coded * (1 - coded) * (2 * coded - 0.9f));
    }
    return curve;
}

}  // namespace

int strip_height(int height) { return std::max(8, height / 26); }

std::vector<uint8_t> develop(Raster& image, const Development& options) {
    static const std::array<float, kCurve + 1> curve = tone_curve();
    // Metering weights the middle and caps the influence of a bright spot.
    float sum = 0, weights = 0;
    Color cast;
    for (int y = 0; y < image.height; y += 3)
        for (int x = 0; x < image.width; x += 3) {
            const float u = float(x) / float(image.width) - 0.5f, v = float(y) / float(image.height) - 0.5f;
            const float weight = 1.2f - u * u - v * v;
            sum += weight * std::min(image.at(x, y).luma(), 3.0f);
            weights += weight;
            cast = cast + image.at(x, y);
        }
    constexpr float kAim = 0.29f, kLargestGain = 16;
    const float gain = std::min(
        (options.grey ? 0.65f * kAim : kAim) * options.exposure / std::max(sum / weights, 1e-4f), kLargestGain);
    const float noise = 1.5f + 1.3f * std::sqrt(gain);
    // The automatic white balance takes most of the light's colour away.
    const auto towards_grey = [&](float channel) {
        return std::pow(std::max(cast.luma(), 1e-4f) / std::max(channel, 1e-4f), 0.7f);
    };
    const Color balance =
        Color{options.tone * towards_grey(cast.r), towards_grey(cast.g), towards_grey(cast.b) / options.tone} * gain;
    const float to_curve = kCurve / kCurveEnd;
    const auto coded = [&](float light) {
        return curve[size_t(std::clamp(light * to_curve + 0.5f, 0.0f, float(kCurve)))];
    };
    std::vector<uint8_t> bytes(image.pixels.size() * 3);
    const uint64_t seed = splitmix64(options.key);
    for (size_t i = 0; i < image.pixels.size(); ++i) {
        const Color light = image.pixels[i] * balance;
        // Four bytes of one hash give grain that is near enough to normal.
        const uint64_t h = (seed + i) * 0x9e3779b97f4a7c15u;
        const uint64_t bits = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
        const float grain = (float((bits >> 40) & 255) + float((bits >> 48) & 255) - 255) / 128 * noise;
        const float hue = (float((bits >> 32) & 255) - 128) / 128 * noise * 0.5f;
        uint8_t* out = &bytes[i * 3];
        if (options.grey) {
            const float value = coded(light.luma()) + grain;
            out[0] = out[1] = out[2] = uint8_t(std::clamp(value, 0.0f, 255.0f));
        } else {
            out[0] = uint8_t(std::clamp(coded(light.r) + grain + hue, 0.0f, 255.0f));
            out[1] = uint8_t(std::clamp(coded(light.g) + grain, 0.0f, 255.0f));
            out[2] = uint8_t(std::clamp(coded(light.b) + grain - hue, 0.0f, 255.0f));
        }
    }
    if (!options.strip.empty()) draw_strip(bytes, image.width, image.height, options.strip);
    return bytes;
}
