// Casts the weather, the mishaps and the subjects of a burst. All of it follows from the Rng.
#pragma once

#include <vector>

#include "app/synth/fault.h"
#include "app/synth/subject.h"

// Season and weather of a moment whose day and hour are set.
void cast_weather(Moment& moment, Rng& rng);
Spoil cast_mishap(Rng& rng);  // never Spoil::none
// `spare_lens`: good images have nothing on the lens.
Blemish cast_blemish(Spoil spoil, bool spare_lens, Rng rng);
Kind cast_animal(Rng& rng);
Subject cast_subject(Kind kind, const SynthSite& site, const Moment& moment, Rng rng);
// Adds one subject of that kind and those that come with it: a herd, the rider of a vehicle.
void cast_party(std::vector<Subject>& party, Kind kind, const SynthSite& site, const Moment& moment, Rng rng);
// The subjects `seconds` later.
std::vector<Subject> moved(std::vector<Subject> party, float seconds);
