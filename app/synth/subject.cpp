// Projects, lights and composes the figures of an image and measures their boxes.
#include "app/synth/subject.h"

#include <array>

#include "app/synth/figure.h"

namespace {

struct Trait {
    const char* name;
    int category;
    float height;
};
constexpr std::array<Trait, kKinds> kTraits{{{"reindeer", 0, 1.5f},
                                             {"fox", 0, 0.45f},
                                             {"hare", 0, 0.5f},
                                             {"ptarmigan", 0, 0.28f},
                                             {"raven", 0, 0.44f},
                                             {"person", 1, 1.8f},
                                             {"snowmobile", 2, 1.15f},
                                             {"atv", 2, 1.05f},
                                             {"rock", 0, 0.6f}}};

bool alive(Kind kind) { return category_of(kind) == 0; }

// From metres of the figure to pixels of the image.
struct Stand {
    Vec2 foot;
    float scale, heading;
    Vec2 pixel(Vec2 metres) const { return {foot.x + metres.x * heading * scale, foot.y - metres.y * scale}; }
    Vec2 metres(Vec2 pixel) const { return {(pixel.x - foot.x) / scale, (foot.y - pixel.y) / scale}; }
};

Bounds joined(const Bounds& a, const Bounds& b) {
    return {std::min(a.left, b.left), std::min(a.top, b.top), std::max(a.right, b.right), std::max(a.bottom, b.bottom)};
}

// Calls use(shape) with the part's outline in pixels.
template <class Use>
void with_shape(const Part& part, const Stand& stand, Use use) {
    if (part.plate.empty()) {
        use(Capsule{stand.pixel(part.limb.a), stand.pixel(part.limb.b), part.limb.ra * stand.scale,
                    part.limb.rb * stand.scale});
        return;
    }
    std::vector<Vec2> outline;
    for (Vec2 corner : part.plate) outline.push_back(stand.pixel(corner));
    use(outline);
}

// A soft dark patch under the body holds it to the ground.
void cast_shadow(Raster& image, const Cutout& cutout, Vec2 foot, float scale, const Light& light,
                 const Subject& subject) {
    const float size = height_of(subject.kind), clear = std::exp(-subject.z / light.visibility);
    const float strength = clear * (light.infrared ? 0.25f : 0.30f + 0.25f * saturate(light.sun.luma()));
    const float wide = std::max(1.0f, 0.45f * float(cutout.area.right - cutout.area.left)),
                high = std::max(1.0f, size * 0.12f * scale);
    const Bounds area = Bounds{int(foot.x - 1.5f * wide), int(foot.y - 1.5f * high), int(foot.x + 1.5f * wide),
                               int(foot.y + 1.5f * high)}
                            .clipped(image.width, image.height);
    for (int y = area.top; y < area.bottom; ++y)
        for (int x = area.left; x < area.right; ++x) {
            const float u = (float(x) - foot.x) / wide, v = (float(y) - foot.y) / high;
            image.at(x, y) = image.at(x, y) * (1 - strength * (1 - smooth_step(0.1f, 1.0f, u * u + v * v)));
        }
}

struct Candidate {
    Subject subject;
    Cutout cutout;
    float whole = 0;  // pixels it would cover in an endless image without others
};

float area_of(const Cutout& cutout) {
    float sum = 0;
    for (float alpha : cutout.alpha) sum += alpha;
    return sum;
}

// Removes the part of `far` that `near` covers.
void hide(Cutout& far, const Cutout& near) {
    for (int y = std::max(far.area.top, near.area.top); y < std::min(far.area.bottom, near.area.bottom); ++y)
        for (int x = std::max(far.area.left, near.area.left); x < std::min(far.area.right, near.area.right); ++x)
            far.alpha[far.index(x, y)] *= 1 - near.alpha[near.index(x, y)];
}

}  // namespace

const char* name_of(Kind kind) { return kTraits[size_t(kind)].name; }
int category_of(Kind kind) { return kTraits[size_t(kind)].category; }
float height_of(Kind kind) { return kTraits[size_t(kind)].height; }

Bounds box_of(const Cutout& cutout) {
    Bounds box{cutout.area.right, cutout.area.bottom, cutout.area.left, cutout.area.top};
    for (int y = cutout.area.top; y < cutout.area.bottom; ++y)
        for (int x = cutout.area.left; x < cutout.area.right; ++x)
            if (cutout.alpha[cutout.index(x, y)] >= kSeen) box = joined(box, {x, y, x + 1, y + 1});
    return box.empty() ? Bounds{} : box;
}

Cutout cut_out(const Subject& subject, const Scene& scene, const Moment& moment) {
    const Light light = light_of(moment, scene.site());
    const float scale = scene.pixels_per_metre(subject.z) * subject.size;
    const bool clear = subject.aloft > 0 || subject.kind == Kind::rock;  // nothing hides its lowest part
    const float sunk = clear ? 0.0f : 0.05f * saturate(moment.snow) * scene.pixels_per_metre(subject.z);
    const Vec2 ground = scene.project(subject.x, subject.z, moment) + Vec2{0, -subject.aloft * scale};
    const Stand stand{{ground.x, ground.y + sunk}, scale, subject.heading};
    const std::vector<Part> parts = figure_of(subject);

    Bounds reach{1 << 20, 1 << 20, -(1 << 20), -(1 << 20)};
    for (const Part& part : parts)
        with_shape(part, stand, [&](const auto& shape) { reach = joined(reach, bounds_of(shape)); });
    Cutout cutout;
    cutout.area = reach.clipped(scene.width(), scene.height());
    if (cutout.area.empty()) {
        cutout.area = {};
        return cutout;
    }
    const size_t count = size_t(cutout.area.right - cutout.area.left) * size_t(cutout.area.bottom - cutout.area.top);
    cutout.color.resize(count);
    cutout.alpha.resize(count);

    const uint32_t seed = uint32_t(subject.key);
    // Stalks and loose snow in front of the feet.
    const float weeds = clear ? 0.0f : 0.09f * (1 - 0.7f * saturate(moment.snow));
    for (const Part& part : parts) {
        const auto paint = [&](int x, int y, const Coverage& covered) {
            const Vec2 at = stand.metres({float(x) + 0.5f, float(y) + 0.5f});
            const float hair = value_noise(at.x * 70 / subject.size, at.y * 28 / subject.size, seed) - 0.5f;
            const float blotch = value_noise(at.x * 13, at.y * 11, seed + 1) - 0.5f;
            Color albedo = part.albedo * (1 + part.fur * (0.8f * hair + 0.7f * blotch));
            if (light.infrared && alive(subject.kind)) albedo = mix(albedo, Color{0.5f, 0.5f, 0.5f}, 0.35f);
            const Vec2 normal = part.round > 0 ? Vec2{covered.normal.x, -covered.normal.y} * part.round : Vec2{0, 0.3f};
            // A limb turns away from the viewer towards its rim, and its underside sees little of the sky.
            const float rim = 1 - 0.35f * part.round * saturate(dot(covered.normal, covered.normal));
            const float under = 1 - 0.35f * part.round * saturate(covered.normal.y);
            Color lit = light.reflected(albedo, normal, subject.z) * (rim * under);
            if (part.shines && light.infrared) lit = Color{1, 1, 1} * (light.flash_at(subject.z) * 1.8f);
            lit = light.through_air(lit, subject.z);
            const float stalk = weeds * lattice_noise(int(std::floor(at.x * 90)), 0, seed + 2);
            const float seen = at.y * subject.size < stalk + (sunk > 0 ? sunk / scale : 0) ? 0.0f : covered.alpha;
            const size_t i = cutout.index(x, y);
            cutout.color[i] = mix(cutout.color[i], lit, cutout.alpha[i] > 0 ? seen : 1);
            cutout.alpha[i] = 1 - (1 - cutout.alpha[i]) * (1 - seen);
        };
        with_shape(part, stand, [&](const auto& shape) { for_covered(shape, scene.width(), scene.height(), paint); });
    }
    return cutout;
}

std::vector<Placed> draw_subjects(Raster& image, std::vector<Subject> subjects, const Scene& scene,
                                  const Moment& moment) {
    std::stable_sort(subjects.begin(), subjects.end(), [](const Subject& a, const Subject& b) { return a.z > b.z; });
    std::vector<Candidate> shown;
    for (const Subject& subject : subjects) {
        Candidate one{subject, cut_out(subject, scene, moment), 0};
        const float scale = scene.pixels_per_metre(subject.z) * subject.size;
        const Bounds box = box_of(one.cutout);
        const Vec2 at = scene.project(subject.x, subject.z, moment);
        const bool cut = at.x < 0.25f * scale * height_of(subject.kind) ||
                         at.x > float(scene.width()) - 0.25f * scale * height_of(subject.kind) ||
                         at.y - 0.3f * scale > float(scene.height());
        if (box.empty() || cut || box.right - box.left < 4 || box.bottom - box.top < 4) continue;
        one.whole = area_of(one.cutout);
        shown.push_back(std::move(one));
    }
    // Nearest first: a subject that is mostly hidden is taken out before it can hide others.
    std::vector<Candidate> kept;
    for (size_t i = shown.size(); i-- > 0;) {
        for (const Candidate& near : kept) hide(shown[i].cutout, near.cutout);
        const Bounds box = box_of(shown[i].cutout);
        const bool tiny = box.right - box.left < 4 || box.bottom - box.top < 4;
        if (!tiny && area_of(shown[i].cutout) >= 0.4f * shown[i].whole) kept.push_back(std::move(shown[i]));
    }
    const Light light = light_of(moment, scene.site());
    std::vector<Placed> placed;
    for (size_t i = kept.size(); i-- > 0;) {
        const Candidate& one = kept[i];
        const float scale = scene.pixels_per_metre(one.subject.z) * one.subject.size;
        if (one.subject.aloft <= 0)
            cast_shadow(image, one.cutout, scene.project(one.subject.x, one.subject.z, moment), scale, light,
                        one.subject);
        const Bounds& area = one.cutout.area;
        for (int y = area.top; y < area.bottom; ++y)
            for (int x = area.left; x < area.right; ++x) {
                const size_t k = one.cutout.index(x, y);
                if (one.cutout.alpha[k] > 0)
                    image.at(x, y) = mix(image.at(x, y), one.cutout.color[k], one.cutout.alpha[k]);
            }
        placed.push_back({one.subject.kind, box_of(one.cutout)});
    }
    return placed;
}
