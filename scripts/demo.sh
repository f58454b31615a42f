#!/usr/bin/env bash
# The main job on real JPEG files, from a fresh machine: installs what is missing, builds, makes a data set, trains an
# image-quality ResNet-50 on it, evaluates it on held-out images, classifies a folder, finds animals on another, and
# makes the table of a season.
#
#   scripts/demo.sh [--device auto|cpu|cuda]        leaves everything in demo/
#
# Exits non-zero when fewer than 90 % of the held-out images are right, or when the detector's mAP50 is below 0.85.
set -euo pipefail
cd "$(dirname "$0")/.."
device=auto
case "${1:-}" in
    "") ;;
    --device) device=${2:?--device needs a name: auto, cpu or cuda} ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

say() { printf '\n== %s\n' "$*"; }
start=$SECONDS

say "1 of 7: packages and build"
scripts/setup.sh demo || echo "trying with what is installed"
scripts/build.sh build --target tundra -- -DCMAKE_BUILD_TYPE=Release
tundra=build/tundra
echo "built $($tundra version | head -1) in $((SECONDS - start)) s"

say "2 of 7: a small data set of camera-trap images, good and bad (tundra synth)"
rm -rf demo && mkdir -p demo
$tundra synth demo/images --images 3000 --cameras 24 --size 320x240 --seed 1

say "3 of 7: training ResNet-50 at 64 px (tundra train)"
$tundra train demo/images -o demo/run --image-size 64 --batch 32 --epochs 9 --optimizer adam --lr 0.001 --device "$device"

say "4 of 7: evaluation on held-out images (tundra eval)"
$tundra eval demo/run --part test --min-accuracy 0.9 --device "$device" | tee demo/classifier.txt

say "5 of 7: classifying a folder of new images (tundra classify)"
$tundra synth demo/new --images 60 --size 640x480 --seed 2 >/dev/null
$tundra classify demo/new --model demo/run -o demo/new.csv --device "$device"
head -4 demo/new.csv

say "6 of 7: finding and counting animals, people and vehicles (tundra detect, with the detector that comes with it)"
$tundra synth demo/scenes --task detect --images 40 --cameras 4 --size 320x240 --seed 3 >/dev/null
$tundra detect demo/scenes/images -o demo/boxes.json --render demo/boxes --device "$device"
$tundra eval share/synth_detector.safetensors demo/scenes/annotations.json --part all --min-map50 0.85 --device "$device" |
    tee demo/detector.txt

say "7 of 7: a season of several sites in one table: bad images, animals, people, rocks, what is left to a person (tundra survey)"
$tundra synth demo/season --task survey --images 400 --cameras 4 --size 320x240 --seed 4 >/dev/null
$tundra survey demo/season/images --out demo/survey --quality demo/run --device "$device"
$tundra tidy demo/survey/results.json | tail -1  # rocks: the table follows
head -3 demo/survey/images.csv
# Final classes against the truth of every box, in the order of the paper: animal or empty, then bad, then human. What
# the models alone get right, and what is right once a person has looked at the images that ask for it.
season=$(awk -F, 'FNR == 1 { file++; for (i = 1; i <= NF; i++) column[file, $i] = i; next }
    file == 1 { name = $1; if (!(name in truth)) truth[name] = "empty"
        category = $column[1, "category"]
        if (category == "animal" && truth[name] == "empty") truth[name] = "animal"
        if ($column[1, "quality"] == "bad" && truth[name] != "human") truth[name] = "bad"
        if (category == "person" || category == "vehicle") truth[name] = "human"
        next }
    { all++; final = $column[2, "final"]; if (final == "repeated") final = "empty"
      right += truth[$1] == final; look = $column[2, "review"] != ""; looks += look
      reached += look || truth[$1] == final }
    END { printf "%.1f %% by the models alone; %.1f %% once a person has looked at %.1f %% of %d images",
          100 * right / all, 100 * reached / all, 100 * looks / all, all }' demo/season/truth.csv demo/survey/images.csv)

# The share of images that a person has to look at is worked out in the report, from the test images.
by_hand=$(sed -n 's/.*<b>\([^<]*\)<\/b><span>to look at by a person<.*/\1/p' demo/run/report.html | sed -n 1p)
say "Done"
printf 'Accuracy on held-out images:  %s\n' "$(sed -n 's/^accuracy //p' demo/classifier.txt)"
printf 'Images left to a person:      %s, for 99 %% right of the rest\n' "${by_hand:-not known}"
printf 'Detection, mAP50:             %s (boxes: %s)\n' "$(sed -n 's/^mAP50 \([0-9.]*\).*/\1/p' demo/detector.txt)" "$PWD/demo/boxes"
printf 'Survey, final classes right:  %s (table: %s)\n' "$season" "$PWD/demo/survey/images.csv"
printf 'Time:                         %d min %02d s\n' $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60))
printf 'Report, for any browser:      %s\n' "$PWD/demo/run/report.html"
