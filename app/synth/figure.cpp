// Builds the figures limb by limb.
#include "app/synth/figure.h"

#include <array>

namespace {

class Figure {
public:
    std::vector<Part> parts;
    void limb(Vec2 a, Vec2 b, float ra, float rb, Color albedo, float fur = 0.3f) {
        parts.push_back({.limb = {a, b, ra, rb}, .plate = {}, .albedo = albedo, .round = 1, .fur = fur});
    }
    void disc(Vec2 at, float radius, Color albedo, float fur = 0.3f) { limb(at, at, radius, radius, albedo, fur); }
    void plate(std::vector<Vec2> outline, Color albedo) {
        parts.push_back({.limb = {}, .plate = std::move(outline), .albedo = albedo, .round = 0, .fur = 0.05f});
    }
    void eye(Vec2 at, float radius) {
        disc(at, radius, {0.02f, 0.015f, 0.01f}, 0);
        parts.back().shines = true;
    }
    // Two segments from the hip to a foot; `swing` turns the thigh, and a leg that swings forward bends.
    struct Leg {
        Vec2 hip;
        float length, thick, swing;
        float knee = -1;  // -1: bends back like a hind leg seen from the side
        Color thigh, shin;
    };
    void leg(const Leg& l) {
        const float lift = std::max(0.0f, l.swing) * 0.5f;
        const Vec2 knee =
            l.hip + Vec2{std::sin(l.swing * 0.6f) + 0.08f * l.knee, -std::cos(l.swing * 0.6f)} * (l.length * 0.5f);
        const float bend = l.swing * 0.6f - lift - 0.05f * l.knee;
        const Vec2 foot{knee.x + std::sin(bend) * l.length * 0.5f,
                        std::max(l.thick * 0.5f, knee.y - std::cos(bend) * l.length * 0.5f)};
        limb(l.hip, knee, l.thick * 1.9f, l.thick, l.thigh);
        limb(knee, foot, l.thick, l.thick * 0.7f, l.shin);
        limb(foot, foot + Vec2{l.thick * 1.2f, 0}, l.thick * 0.8f, l.thick * 0.6f, l.shin * 0.6f);
    }
};

void antler(Figure& figure, Vec2 root, float size, Color bone) {
    const std::array<Vec2, 5> beam{root, root + Vec2{-0.12f, 0.10f} * size, root + Vec2{-0.20f, 0.28f} * size,
                                   root + Vec2{-0.10f, 0.48f} * size, root + Vec2{0.08f, 0.58f} * size};
    for (size_t i = 0; i + 1 < beam.size(); ++i)
        figure.limb(beam[i], beam[i + 1], 0.018f - 0.003f * float(i), 0.015f - 0.003f * float(i), bone, 0.1f);
    figure.limb(root, root + Vec2{0.13f, 0.10f} * size, 0.014f, 0.008f, bone, 0.1f);
    figure.limb(beam[2], beam[2] + Vec2{-0.09f, 0.09f} * size, 0.010f, 0.006f, bone, 0.1f);
    figure.limb(beam[3], beam[3] + Vec2{-0.02f, 0.14f} * size, 0.010f, 0.006f, bone, 0.1f);
    figure.limb(beam[4], beam[4] + Vec2{0.02f, 0.12f} * size, 0.010f, 0.006f, bone, 0.1f);
}

void reindeer(Figure& f, const Subject& s, Rng rng) {
    const Color coat =
        (s.winter ? Color{0.34f, 0.30f, 0.25f} : Color{0.15f, 0.105f, 0.07f}) * rng.uniform(0.75f, 1.25f);
    const Color pale = mix(coat, {0.58f, 0.55f, 0.50f}, s.winter ? 0.8f : 0.45f), dark = coat * 0.55f;
    const float w = 0.42f;
    const auto legs = [&](float side, float shade) {
        f.leg({.hip = {-0.46f, 0.80f},
               .length = 0.80f,
               .thick = 0.04f,
               .swing = w * std::sin(s.stride + side),
               .thigh = coat * shade,
               .shin = dark * shade});
        f.leg({.hip = {0.36f, 0.76f},
               .length = 0.76f,
               .thick = 0.038f,
               .swing = w * std::sin(s.stride + side + 2),
               .knee = 1,
               .thigh = coat * shade,
               .shin = dark * shade});
    };
    const Vec2 nape = mix(Vec2{0.80f, 0.40f}, Vec2{0.72f, 1.20f}, s.head);
    const float nod = mix(-1.0f, -0.35f, s.head);
    const Vec2 along{std::cos(nod), std::sin(nod)}, muzzle = nape + along * 0.27f;
    const bool bull = rng.chance(0.6f);
    const float rack = rng.uniform(0.6f, 1.15f);
    legs(3.14f, 0.6f);
    if (bull) antler(f, nape + Vec2{-0.05f, 0.06f}, rack * 0.95f, Color{0.20f, 0.16f, 0.11f});
    f.limb({-0.42f, 0.90f}, {0.34f, 0.92f}, 0.20f, 0.20f, coat);
    f.limb({-0.25f, 0.82f}, {0.22f, 0.81f}, 0.20f, 0.20f, coat * 0.92f);
    f.disc({-0.44f, 0.88f}, 0.21f, coat);
    f.limb({-0.60f, 0.96f}, {-0.63f, 0.86f}, 0.05f, 0.04f, pale * 1.1f);
    f.limb({0.36f, 0.93f}, nape, 0.16f, 0.085f, mix(coat, pale, 0.75f));
    f.limb(Vec2{0.42f, 0.82f}, nape + Vec2{-0.03f, -0.08f}, 0.09f, 0.05f, pale);
    legs(0, 1);
    f.limb(nape, muzzle, 0.085f, 0.052f, coat * 0.85f);
    f.disc(muzzle, 0.05f, pale * 0.8f);
    f.limb(nape + Vec2{-0.03f, 0.06f}, nape + Vec2{-0.14f, 0.11f}, 0.03f, 0.015f, coat);
    if (bull) antler(f, nape + Vec2{-0.02f, 0.07f}, rack, Color{0.30f, 0.24f, 0.17f});
    f.eye(nape + along * 0.08f + Vec2{0, 0.03f}, 0.014f);
}

void fox(Figure& f, const Subject& s, Rng rng) {
    const bool blue = rng.chance(0.15f);
    const Color coat = blue       ? Color{0.13f, 0.125f, 0.13f}
                       : s.winter ? Color{0.78f, 0.77f, 0.75f}
                                  : Color{0.17f, 0.125f, 0.085f} * rng.uniform(0.8f, 1.2f);
    const Color belly = s.winter || blue ? coat : Color{0.48f, 0.43f, 0.35f};
    const auto legs = [&](float side, float shade) {
        f.leg({.hip = {-0.20f, 0.21f},
               .length = 0.21f,
               .thick = 0.022f,
               .swing = 0.6f * std::sin(s.stride + side),
               .thigh = coat * shade,
               .shin = coat * (shade * 0.85f)});
        f.leg({.hip = {0.17f, 0.20f},
               .length = 0.20f,
               .thick = 0.02f,
               .swing = 0.6f * std::sin(s.stride + side + 2.2f),
               .knee = 1,
               .thigh = coat * shade,
               .shin = coat * (shade * 0.85f)});
    };
    const Vec2 head = mix(Vec2{0.35f, 0.14f}, Vec2{0.33f, 0.38f}, s.head);
    const float sway = 0.05f * std::sin(s.stride);
    legs(3.14f, 0.62f);
    f.limb({-0.26f, 0.28f}, {-0.44f, 0.22f + sway}, 0.045f, 0.08f, coat);
    f.limb({-0.44f, 0.22f + sway}, {-0.58f, 0.20f + sway}, 0.08f, 0.045f, coat * (s.winter ? 1.0f : 0.9f));
    f.limb({-0.20f, 0.26f}, {0.16f, 0.26f}, 0.095f, 0.09f, coat);
    f.limb({-0.14f, 0.20f}, {0.13f, 0.20f}, 0.06f, 0.06f, belly);
    f.limb({0.16f, 0.27f}, head, 0.085f, 0.06f, coat);
    legs(0, 1);
    f.disc(head, 0.068f, coat);
    f.limb(head + Vec2{0.04f, -0.015f}, head + Vec2{0.115f, -0.04f}, 0.04f, 0.016f, mix(coat, belly, 0.5f));
    f.disc(head + Vec2{0.125f, -0.04f}, 0.013f, {0.02f, 0.02f, 0.02f}, 0);
    f.limb(head + Vec2{-0.03f, 0.04f}, head + Vec2{-0.045f, 0.10f}, 0.028f, 0.008f, coat * 0.8f);
    f.limb(head + Vec2{0.015f, 0.05f}, head + Vec2{0.015f, 0.11f}, 0.028f, 0.008f, coat * 0.95f);
    f.eye(head + Vec2{0.045f, 0.015f}, 0.010f);
}

void hare(Figure& f, const Subject& s, Rng rng) {
    const Color coat = s.winter ? Color{0.80f, 0.79f, 0.77f} : Color{0.20f, 0.16f, 0.115f} * rng.uniform(0.8f, 1.2f);
    const float crouch = 0.03f * std::sin(s.stride);
    const Vec2 head = mix(Vec2{0.24f, 0.14f}, Vec2{0.20f, 0.33f}, s.head);
    f.limb({0.12f, 0.16f}, {0.15f, 0.02f}, 0.035f, 0.022f, coat * 0.6f);
    f.limb({-0.12f, 0.16f + crouch}, {0.08f, 0.20f}, 0.125f, 0.095f, coat);
    f.disc({-0.14f, 0.13f}, 0.115f, coat * 0.96f);
    f.limb({-0.16f, 0.035f}, {0.02f, 0.025f}, 0.035f, 0.028f, coat * 0.85f);
    f.disc({-0.27f, 0.12f}, 0.045f, s.winter ? coat : Color{0.6f, 0.58f, 0.55f});
    f.limb({0.08f, 0.21f}, head, 0.08f, 0.06f, coat);
    f.limb({0.10f, 0.17f}, {0.13f, 0.02f}, 0.035f, 0.024f, coat);
    f.limb(head, head + Vec2{0.06f, -0.025f}, 0.062f, 0.04f, coat);
    for (float side : {0.0f, 1.0f}) {
        const Vec2 root = head + Vec2{-0.02f - 0.03f * side, 0.04f}, tip = root + Vec2{-0.05f - 0.06f * side, 0.16f};
        f.limb(root, tip, 0.018f, 0.016f, coat * (1 - 0.15f * side));
        f.disc(tip, 0.016f, {0.03f, 0.03f, 0.03f});
    }
    f.eye(head + Vec2{0.03f, 0.015f}, 0.012f);
}

void ptarmigan(Figure& f, const Subject& s, Rng rng) {
    const Color coat = s.winter ? Color{0.84f, 0.84f, 0.83f} : Color{0.20f, 0.155f, 0.10f} * rng.uniform(0.8f, 1.2f);
    const Color dark{0.03f, 0.03f, 0.03f};
    const float fur = s.winter ? 0.1f : 0.9f;
    const Vec2 head = mix(Vec2{0.16f, 0.10f}, Vec2{0.125f, 0.25f}, s.head);
    f.limb({-0.14f, 0.12f}, {-0.22f, 0.10f}, 0.035f, 0.018f, dark);
    for (float side : {-0.01f, 0.04f})
        f.limb({side, 0.07f}, {side + 0.02f * std::sin(s.stride + side * 60), 0.012f}, 0.016f, 0.014f,
               mix(coat, {0.7f, 0.7f, 0.7f}, 0.5f));
    f.limb({-0.09f, 0.13f}, {0.05f, 0.14f}, 0.075f, 0.08f, coat, fur);
    f.limb({-0.11f, 0.14f}, {0.01f, 0.15f}, 0.045f, 0.05f, coat * 0.93f, fur);
    f.limb({0.06f, 0.16f}, head, 0.055f, 0.032f, coat, fur);
    f.disc(head, 0.036f, coat, fur);
    f.limb(head + Vec2{0.03f, 0}, head + Vec2{0.052f, -0.008f}, 0.010f, 0.005f, dark);
    if (rng.chance(0.6f)) f.disc(head + Vec2{0.008f, 0.028f}, 0.010f, {0.5f, 0.05f, 0.03f});
    f.eye(head + Vec2{0.014f, 0.008f}, 0.006f);
}

void raven(Figure& f, const Subject& s, Rng) {
    const Color black{0.022f, 0.023f, 0.028f};
    if (s.aloft > 0) {
        const float beat = std::sin(s.stride);
        for (float side : {1.0f, -1.0f}) {
            const Vec2 elbow{0.06f * side + 0.03f, 0.15f + 0.22f * beat},
                tip{-0.16f * side, 0.15f + 0.55f * beat + 0.12f};
            f.limb({0.02f, 0.16f}, elbow, 0.075f, 0.085f, black * (side > 0 ? 0.8f : 1.3f));
            f.limb(elbow, tip, 0.085f, 0.02f, black * (side > 0 ? 0.8f : 1.3f));
        }
        f.limb({-0.16f, 0.15f}, {0.16f, 0.17f}, 0.06f, 0.07f, black);
        f.limb({-0.18f, 0.15f}, {-0.34f, 0.13f}, 0.03f, 0.07f, black);
        f.limb({0.16f, 0.17f}, {0.26f, 0.19f}, 0.06f, 0.045f, black);
        f.limb({0.28f, 0.19f}, {0.35f, 0.175f}, 0.022f, 0.007f, black * 0.8f);
        return;
    }
    const Vec2 head = mix(Vec2{0.24f, 0.12f}, Vec2{0.20f, 0.38f}, s.head);
    for (float side : {-0.02f, 0.05f}) f.limb({side, 0.12f}, {side + 0.02f, 0.012f}, 0.017f, 0.012f, black);
    f.limb({-0.2f, 0.17f}, {-0.40f, 0.11f}, 0.045f, 0.035f, black);
    f.limb({-0.13f, 0.20f}, {0.10f, 0.24f}, 0.085f, 0.10f, black * 1.1f);
    f.limb({-0.24f, 0.17f}, {0.04f, 0.23f}, 0.03f, 0.06f, black * 1.8f);
    f.limb({0.11f, 0.27f}, head, 0.085f, 0.055f, black);
    f.disc(head, 0.06f, black * 1.2f);
    f.limb(head + Vec2{0.05f, 0}, head + Vec2{0.135f, -0.02f}, 0.028f, 0.008f, black * 0.8f);
    f.eye(head + Vec2{0.025f, 0.015f}, 0.009f);
}

void person(Figure& f, const Subject& s, Rng rng) {
    constexpr std::array<Color, 6> jackets{{{0.55f, 0.05f, 0.04f},
                                            {0.04f, 0.12f, 0.42f},
                                            {0.75f, 0.30f, 0.03f},
                                            {0.08f, 0.10f, 0.06f},
                                            {0.05f, 0.05f, 0.06f},
                                            {0.50f, 0.48f, 0.08f}}};
    const Color jacket = jackets[size_t(rng.below(int(jackets.size())))],
                hat = jackets[size_t(rng.below(int(jackets.size())))];
    const Color trousers = Color{0.06f, 0.065f, 0.075f} * rng.uniform(0.6f, 1.8f), skin{0.45f, 0.29f, 0.21f},
                boot{0.03f, 0.025f, 0.02f};
    const bool pack = rng.chance(0.6f);
    Vec2 hip{0, 0.92f};
    if (s.riding) {
        hip = {-0.22f, 0.86f};
        const Vec2 knee = hip + Vec2{0.42f, -0.02f};
        f.limb(hip, knee, 0.12f, 0.085f, trousers, 0.15f);
        f.limb(knee, knee + Vec2{0.02f, -0.40f}, 0.085f, 0.06f, trousers * 0.9f, 0.15f);
        f.limb(knee + Vec2{0.02f, -0.42f}, knee + Vec2{0.16f, -0.44f}, 0.06f, 0.05f, boot, 0.1f);
    } else {
        for (float side : {3.14f, 0.0f}) {
            const float shade = side > 0 ? 0.65f : 1.0f;
            f.leg({.hip = hip,
                   .length = 0.90f,
                   .thick = 0.065f,
                   .swing = 0.5f * std::sin(s.stride + side),
                   .knee = 1,
                   .thigh = trousers * shade,
                   .shin = trousers * shade});
            const Capsule shin = f.parts[f.parts.size() - 2].limb;
            f.limb(shin.b, shin.b + Vec2{0.14f, 0.0f}, 0.055f, 0.045f, boot, 0.1f);
            if (s.winter)
                f.limb(shin.b + Vec2{-0.75f, -0.03f}, shin.b + Vec2{0.85f, -0.02f}, 0.022f, 0.014f,
                       {0.45f, 0.36f, 0.08f}, 0);
        }
    }
    const Vec2 chest = hip + Vec2{s.riding ? 0.14f : 0.05f, 0.46f}, head = chest + Vec2{0.05f, 0.30f};
    const auto arm = [&](float swing, float shade) {
        const Vec2 shoulder = chest + Vec2{0, 0.06f};
        const Vec2 elbow =
            s.riding ? shoulder + Vec2{0.22f, -0.20f} : shoulder + Vec2{std::sin(swing), -std::cos(swing)} * 0.3f;
        const Vec2 hand = s.riding ? elbow + Vec2{0.26f, 0.02f}
                                   : elbow + Vec2{std::sin(swing + 0.6f), -std::cos(swing + 0.6f)} * 0.27f;
        f.limb(shoulder, elbow, 0.07f, 0.06f, jacket * shade, 0.15f);
        f.limb(elbow, hand, 0.06f, 0.045f, jacket * (shade * 0.9f), 0.15f);
        f.disc(hand, 0.05f, boot * 1.5f, 0.1f);
        if (s.winter && !s.riding) f.limb(hand, hand + Vec2{-0.22f, -0.78f}, 0.012f, 0.010f, {0.1f, 0.1f, 0.1f}, 0);
    };
    arm(-0.5f * std::sin(s.stride), 0.6f);
    if (pack)
        f.limb(chest + Vec2{-0.19f, -0.24f}, chest + Vec2{-0.17f, 0.10f}, 0.12f, 0.12f, Color{0.12f, 0.13f, 0.07f},
               0.2f);
    f.limb(hip + Vec2{0, 0.02f}, chest, 0.145f, 0.165f, jacket, 0.15f);
    f.limb(chest, head, 0.08f, 0.07f, skin, 0);
    f.disc(head, 0.105f, skin, 0.1f);
    if (s.riding) {
        f.disc(head + Vec2{0, 0.02f}, 0.135f, hat, 0.05f);
        f.limb(head + Vec2{0.08f, 0.03f}, head + Vec2{0.11f, 0.0f}, 0.05f, 0.04f, {0.02f, 0.02f, 0.03f}, 0);
    } else {
        f.limb(head + Vec2{-0.05f, 0.06f}, head + Vec2{0.03f, 0.07f}, 0.095f, 0.085f, hat, 0.2f);
    }
    arm(0.5f * std::sin(s.stride), 1);
}

void snowmobile(Figure& f, Rng rng) {
    constexpr std::array<Color, 4> paints{
        {{0.55f, 0.04f, 0.03f}, {0.05f, 0.06f, 0.08f}, {0.04f, 0.16f, 0.45f}, {0.62f, 0.42f, 0.03f}}};
    const Color paint = paints[size_t(rng.below(4))], rubber{0.025f, 0.025f, 0.027f}, steel{0.25f, 0.25f, 0.26f};
    f.limb({-1.25f, 0.18f}, {0.25f, 0.16f}, 0.17f, 0.15f, rubber, 0.4f);
    for (float x : {-1.15f, -0.75f, -0.35f, 0.05f}) f.disc({x, 0.15f}, 0.09f, steel * 0.5f, 0.1f);
    f.limb({0.45f, 0.05f}, {1.30f, 0.06f}, 0.045f, 0.035f, steel * 0.6f, 0);
    f.limb({1.30f, 0.06f}, {1.45f, 0.17f}, 0.035f, 0.025f, steel * 0.6f, 0);
    f.limb({0.70f, 0.40f}, {0.85f, 0.08f}, 0.035f, 0.03f, steel, 0);
    f.plate({{-1.3f, 0.34f}, {-1.35f, 0.58f}, {-0.1f, 0.56f}, {0.0f, 0.34f}}, paint * 0.7f);
    f.limb({-1.15f, 0.64f}, {-0.2f, 0.66f}, 0.10f, 0.11f, rubber * 1.6f, 0.1f);
    f.plate({{-0.15f, 0.30f},
             {-0.2f, 0.72f},
             {0.15f, 0.88f},
             {0.60f, 0.80f},
             {1.20f, 0.46f},
             {1.15f, 0.28f},
             {0.6f, 0.22f}},
            paint);
    f.plate({{0.1f, 0.50f}, {0.2f, 0.68f}, {0.7f, 0.62f}, {0.95f, 0.46f}}, paint * 1.4f);
    f.plate({{0.15f, 0.86f}, {0.02f, 1.15f}, {0.14f, 1.15f}, {0.48f, 0.82f}}, {0.20f, 0.23f, 0.25f});
    f.limb({0.0f, 0.86f}, {-0.10f, 0.98f}, 0.025f, 0.02f, rubber, 0);
    f.disc({1.08f, 0.50f}, 0.07f, {0.75f, 0.75f, 0.68f}, 0);
    f.parts.back().shines = true;
}

void atv(Figure& f, Rng rng) {
    constexpr std::array<Color, 3> paints{{{0.50f, 0.04f, 0.03f}, {0.06f, 0.11f, 0.05f}, {0.05f, 0.06f, 0.07f}}};
    const Color paint = paints[size_t(rng.below(3))], rubber{0.022f, 0.022f, 0.022f}, steel{0.25f, 0.25f, 0.25f};
    for (float x : {-0.58f, 0.62f}) {
        f.disc({x, 0.28f}, 0.28f, rubber, 0.5f);
        f.disc({x, 0.28f}, 0.12f, steel * 0.8f, 0.1f);
    }
    f.plate({{-0.5f, 0.35f}, {-0.5f, 0.62f}, {0.5f, 0.62f}, {0.45f, 0.32f}, {0.2f, 0.25f}, {-0.2f, 0.25f}}, rubber * 2);
    f.limb({-0.55f, 0.72f}, {0.0f, 0.72f}, 0.08f, 0.09f, rubber * 1.8f, 0.1f);
    f.plate({{-0.98f, 0.50f}, {-0.92f, 0.68f}, {-0.5f, 0.70f}, {-0.25f, 0.52f}, {-0.4f, 0.60f}, {-0.75f, 0.60f}},
            paint);
    f.plate(
        {{0.15f, 0.55f}, {0.10f, 0.86f}, {0.40f, 0.88f}, {0.95f, 0.68f}, {0.98f, 0.52f}, {0.8f, 0.60f}, {0.45f, 0.60f}},
        paint);
    f.limb({-0.9f, 0.76f}, {-0.5f, 0.78f}, 0.02f, 0.02f, steel * 0.5f, 0);
    f.limb({0.28f, 0.86f}, {0.12f, 1.04f}, 0.025f, 0.025f, steel * 0.6f, 0);
    f.disc({0.90f, 0.66f}, 0.06f, {0.75f, 0.75f, 0.68f}, 0);
    f.parts.back().shines = true;
}

// A boulder or a stump with a hump and a knob that may pass for a body and a head.
void rock(Figure& f, Rng rng) {
    const float tone = rng.uniform(0.05f, 0.16f), long_by = rng.uniform(0.25f, 0.5f);
    const Color stone = Color{1.05f, 0.98f, 0.88f} * tone, moss = Color{0.75f, 0.9f, 0.5f} * tone;
    f.limb({-long_by, 0.2f}, {long_by * 0.6f, 0.22f}, 0.2f, rng.uniform(0.18f, 0.26f), stone, 0.5f);
    f.limb({-0.1f, 0.3f}, {0.2f, rng.uniform(0.32f, 0.42f)}, 0.18f, 0.14f, mix(stone, moss, 0.5f), 0.6f);
    f.disc({long_by * 0.8f, rng.uniform(0.42f, 0.5f)}, 0.11f, stone * 0.9f, 0.4f);
}

}  // namespace

std::vector<Part> figure_of(const Subject& subject) {
    Figure figure;
    Rng rng(subject.key);
    switch (subject.kind) {
        case Kind::reindeer: reindeer(figure, subject, rng); break;
        case Kind::fox: fox(figure, subject, rng); break;
        case Kind::hare: hare(figure, subject, rng); break;
        case Kind::ptarmigan: ptarmigan(figure, subject, rng); break;
        case Kind::raven: raven(figure, subject, rng); break;
        case Kind::person: person(figure, subject, rng); break;
        case Kind::snowmobile: snowmobile(figure, rng); break;
        case Kind::atv: atv(figure, rng); break;
        case Kind::rock: rock(figure, rng); break;
    }
    return std::move(figure.parts);
}
