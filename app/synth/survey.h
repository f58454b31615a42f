// `tundra synth --task survey`: a season of several sites as it comes from the cards of the cameras, with the truth.
//
// images/SITE/CAMERA/IMG_0001.JPG   two cameras at a site; bursts of 1 to 4 images, visits of several bursts, bad
//                      images, people, vehicles; rocks at fixed places. The clock of the last camera started in 2018.
// truth.csv            one row per box, and one for an image without boxes: image, site, camera, time (the true one),
//                      clock (EXIF), sequence, quality (good, bad), fault, label (species, person, vehicle's name or
//                      rock), category (animal, person, vehicle, rock), x, y, width, height (shares of the sides)
// detector.json        what a detector might answer that takes rocks for animals, in MegaDetector's format: every box
//                      of a good image and a third of those of bad ones, moved a little; rocks in 7 of 10 images
// sites.csv            site, latitude, longitude, and the species that occur there, joined with "|"
// deployments.csv      the cameras as Camtrap DP's deployments
#pragma once

#include <string>
#include <vector>

#include "app/synth/plan.h"

void plan_season(const SynthOptions& options, ShotPlan& plan);
// `placed`: the boxes of each shot of the plan.
void write_season(const SynthOptions& options, const ShotPlan& plan, const std::vector<std::vector<Placed>>& placed);
