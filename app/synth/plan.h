// Plans the shots: subject, time, camera and file of each; and renders one of them.
#pragma once

#include <string>
#include <vector>

#include "app/synth/fault.h"
#include "app/synth/subject.h"
#include "app/synth/synth.h"

struct Shot {
    std::string split, label;  // the folders of the image; the label is empty for detection
    std::string name;          // of the file
    int site = 0;
    int burst = 0, frame = 0;
    int64_t seconds = 0;  // since 1970, by the camera's clock
    int64_t fast = 0;     // by how many seconds that clock is ahead of the true time
    Moment moment;
    Blemish blemish;
    std::vector<Subject> subjects;
    float exposure = 1, tone = 1;
    std::string strip;
    uint64_t noise = 0;
};

struct ShotPlan {
    std::vector<SynthSite> sites;
    std::vector<Shot> shots;  // sorted by camera, then by burst
};
ShotPlan plan_shots(const SynthOptions& options);

struct SynthImage {
    std::vector<uint8_t> rgb;    // (h, w, 3)
    std::vector<Placed> placed;  // the visible subjects, from far to near
};
SynthImage render_shot(const Scene& scene, const Shot& shot);

// "2025:03:12 14:30:05", as EXIF writes it.
std::string exif_date(int64_t seconds);
// What the camera writes into the strip at the bottom.
std::string strip_text(const Shot& shot, const SynthSite& site);
