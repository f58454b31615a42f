#!/usr/bin/env bash
# --precision bf16 and auto on the device cpu from outside: training, the check of bf16, journals, shards, surveys; 30 s.
# Arguments: the binary, the folder of the sources.
set -uo pipefail
tundra=$(realpath "$1") sources=$(realpath "$2")
. "$(dirname "$0")/expect.sh"

said_of() { python3 - "$1" "$2" <<'PYTHON'
import json, sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2].split("/"): value = value.get(key, "") if isinstance(value, dict) else ""
print(value)
PYTHON
}
is() { [ "$1" = "$2" ] || bad "'$1' is not '$2': $3"; }

# A classifier: trained in bf16, with a validation set that is large enough for the check.
"$tundra" synth all --images 400 --size 64x64 --cameras 4 --seed 1 -q >/dev/null || exit 1
mv all/train shots || exit 1  # without parts of its own
settings=(--image-size 32 --batch 20 --epochs 1 --validation 0.5 --test 0 --lr 0.001 --optimizer adam --device cpu)
expect 0 "$tundra" train shots --out run "${settings[@]}" --precision bf16; says ", bf16"; says "its check on"
is "$(said_of run/run.json precision/type)" bf16 "run.json"
[ -n "$(said_of run/run.json precision/instructions)" ] || bad "run.json does not say the instructions"
grep -qa '"tundra.bf16":' run/model.safetensors || bad "the model does not hold the check"
expect 0 "$tundra" train shots --out small "${settings[@]}" --validation 0.1; says ", fp32"
grep -qa '"tundra.bf16":' small/model.safetensors && bad "28 images are no check"
expect 2 "$tundra" train shots --out half "${settings[@]}" --precision fp16; says "fp32 or bf16"; one_line
expect 2 "$tundra" train shots --out run "${settings[@]}"; says 'precision: "bf16" -> "auto"'

expect 0 "$tundra" eval run --precision bf16; says "accuracy"
expect 0 "$tundra" eval run --part all --check-bf16; says "same class"; says "280"
expect 0 "$tundra" eval run; says "float32's time here"
expect 1 "$tundra" eval small --check-bf16; says "28 images are too few: 100 are needed"; one_line
expect 1 "$tundra" eval run shots --check-bf16 --unlabelled; says "1000 are needed"
expect 2 "$tundra" eval run --unlabelled; says "--check-bf16"; one_line
expect 0 "$tundra" eval run --part all --check-bf16 -q; [ ! -s out ] || bad "-q is not quiet"
expect 0 "$tundra" classify shots --model run -o auto.csv; says "float32's time here"
expect 0 "$tundra" classify shots --model small -o plain.csv; ! grep -q precision err || bad "a model without a check has nothing to say"
expect 0 "$tundra" train shots --out more "${settings[@]}" --init run/model.safetensors; says "float32's time here"
[ -n "$(said_of more/run.json precision/why)" ] || bad "run.json does not say why"

# A detector. What begins in bf16 stays so, whatever a timing would say.
cp "$sources/share/synth_detector.safetensors" detector.safetensors
"$tundra" synth scenes --task detect --images 120 --cameras 4 --size 320x240 --seed 4 -q >/dev/null || exit 1
detect=("$tundra" detect scenes --model detector.safetensors --device cpu)
expect 0 "${detect[@]}" -o fp32.json; ! grep -q auto: err || bad "a model without a check has nothing to say"
is "$(said_of fp32.json info/custom_metadata/tundra/precision)" "" "float32 is not named, as before"
expect 0 "$tundra" eval detector.safetensors scenes/annotations.json --part all --check-bf16; says "recall, small objects"
expect 1 "$tundra" eval detector.safetensors scenes --check-bf16 --unlabelled; says "recall, small objects"; says "1000 are needed"
expect 0 "$tundra" eval detector.safetensors scenes/annotations.json --part all --check-bf16 -q
expect 0 "${detect[@]}" -o bf16.json --precision bf16; says ", bf16"
is "$(said_of bf16.json info/custom_metadata/tundra/precision)" bf16 "the result's settings"
"${detect[@]}" -o killed.json --precision bf16 -q >/dev/null 2>&1 & pid=$!
for ((i = 0; i < 200; ++i)); do [ "$(wc -l 2>/dev/null <killed.json.journal || echo 0)" -gt 5 ] && break; sleep 0.05; done
kill -INT $pid; wait $pid
[ -f killed.json.journal ] || bad "the run was over before it was killed"
expect 2 "${detect[@]}" -o killed.json --precision fp32; one_line
expect 0 "${detect[@]}" -o killed.json; says "bf16 (auto: as the run began)"
python3 - bf16.json killed.json <<'PYTHON' || bad "the resumed run has other boxes"
import json, sys
a, b = (json.load(open(file))["images"] for file in sys.argv[1:])
sys.exit(a != b)
PYTHON
sed -i 's/"instructions":"[a-z0-9_]*"/"instructions":"another"/' bf16.json && grep -q another bf16.json || sed -i 's/"instructions": "[a-z0-9_]*"/"instructions": "another"/' bf16.json
expect 2 "${detect[@]}" --update bf16.json -o more.json; says "instructions"; one_line
expect 0 "${detect[@]}" -o 1.json --shard 1/2; says "fp32 (auto: shards must agree"
expect 0 "${detect[@]}" -o 2.json --shard 2/2 --precision bf16
expect 2 "$tundra" merge 1.json 2.json -o both.json; one_line
expect 0 "${detect[@]}" -o 1.json --shard 1/2 --precision bf16
expect 0 "$tundra" merge 1.json 2.json -o both.json

# A survey that began in bf16 is extended in bf16, also with a model without a check.
"$tundra" synth season --task survey --images 20 --cameras 2 --size 160x120 --seed 4 -q >/dev/null || exit 1
expect 0 "$tundra" survey season --out survey --detector "$sources/share/synth_detector.safetensors" --precision bf16 --device cpu -q
key=$(said_of survey/survey.json keys)
expect 0 "$tundra" survey season --out survey --detector "$sources/share/synth_detector.safetensors" --device cpu; says "as the run began"
is "$(said_of survey/survey.json keys)" "$key" "the survey was looked at again"
is "$(said_of survey/survey.json settings/precision)" bf16 "survey.json"
[ "$failures" = 0 ]
