#!/usr/bin/env bash
# Makes share/synth_detector.safetensors, the detector that comes with tundra: synthetic scenes, our own training, a check on
# images that training never saw, half of them from cameras that it never saw either. What it was made from and how well it does
# is written into share/synth_detector.md. Works in detector-work/; run it again to resume.
#
#   scripts/train_detector.sh [TUNDRA]       default: build/tundra
set -euo pipefail
cd "$(dirname "$0")/.."
tundra=${1:-build/tundra}
work=detector-work
minimum=0.7  # mAP50 on the test images

scenes="--task detect --images 3600 --cameras 40 --size 320x240 --seed 7"
settings="--task detect --model yolov5n --image-size 320 --batch 8 --epochs 16 --optimizer adamw --lr 0.0015 --weight-decay 0.0005 --ema-decay 0.999"

mkdir -p $work share
[ -e $work/scenes/annotations.json ] || $tundra synth $work/scenes $scenes
$tundra train $work/scenes --out $work/run $settings
$tundra eval $work/run --part test --min-map50 $minimum --json $work/metrics.json | tee $work/metrics.txt
cp $work/run/model.safetensors share/synth_detector.safetensors

cat >share/synth_detector.md <<END
# synth_detector.safetensors

A YOLOv5n for animals, people and vehicles on the drawn scenes of \`tundra synth\`, for demonstrations and tests. It knows synthetic
scenes only and is worthless on real images. Made by \`scripts/train_detector.sh\`; no image or weight from elsewhere is in it, and
the licence is that of the repository.

- made with: $($tundra version | head -1)
- scenes: \`tundra synth $scenes\`
- training: \`tundra train $settings\`
- data fingerprint: $(sed -n 's/.*"fingerprint": "\([0-9a-f]*\)".*/\1/p' $work/run/run.json | head -1)
- sha256: $(sha256sum share/synth_detector.safetensors | cut -d' ' -f1)

What \`tundra eval\` says about the test images, which are not those it was trained on; half of them are from cameras that it never saw:

\`\`\`
$(sed '1d;/^note/d' $work/metrics.txt)
\`\`\`
END
echo "share/synth_detector.safetensors: $(stat -c %s share/synth_detector.safetensors) bytes"
