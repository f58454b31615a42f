#!/usr/bin/env bash
# `tundra quantize` and --precision int8 from outside: a classifier, a detector, journals, shards, a survey, refusals; 55 s of processor time, about half of that
# on two quiet cores.
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

# A classifier, with labels: of stripes that lie or stand, so that a short training is sure of its answers.
python3 - <<'PYTHON'
import os, random, struct
random.seed(1)
for name, count in (("lie", 210), ("stand", 100)):
    os.makedirs("shots/" + name)
    for i in range(count):
        width, phase = random.randint(3, 6), random.randint(0, 9)
        pixels = bytearray()
        for y in range(32):
            for x in range(32):
                on = ((y if name == "lie" else x) + phase) // width % 2
                pixels += bytes(min(255, max(0, int(60 + 130 * on + random.gauss(0, 25)))) for _ in range(3))
        head = b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 32, 32, 1, 24, 0, len(pixels), 0, 0, 0, 0)
        open(f"shots/{name}/{i}.bmp", "wb").write(head + pixels)
PYTHON
expect 0 "$tundra" train shots --out run --image-size 32 --batch 20 --epochs 3 --validation 0.1 --test 0 --lr 0.001 \
    --optimizer adam --device cpu --augment none -q
expect 0 "$tundra" quantize run --labels shots; says "accuracy"; says "same class"; says "52 convolutions in int8, 1 in float32 (conv1)"
says " of the 310 images are images of the training"
model=run/model.int8.safetensors
[ "$(stat -c %s $model)" -lt $(($(stat -c %s run/model.safetensors) * 3 / 10)) ] || bad "the file is not a quarter as large"
expect 0 "$tundra" inspect $model; says "52 convolutions; in float32: conv1"; says "run/model.safetensors"; says "layer1.0.conv1 0 to"; says "accuracy"
expect 0 "$tundra" eval $model shots --min-accuracy 0.95; says "accuracy"
expect 0 "$tundra" classify shots --model $model -o auto.csv; says "precision: int8 (auto: the file is quantized)"
expect 0 "$tundra" classify shots --model $model -o named.csv -q --precision int8 --threads 1
cmp -s auto.csv named.csv || bad "auto is not int8, or threads change bits"
TUNDRA_CPU_LEVEL=avx2 "$tundra" classify shots --model $model -o avx2.csv -q
python3 - auto.csv avx2.csv <<'PYTHON' || bad "another instruction level has other answers"
import csv, sys
a, b = (list(csv.reader(open(name))) for name in sys.argv[1:])
sys.exit(len(a) != len(b) or sum(x[1] != y[1] for x, y in zip(a, b)) > 1)
PYTHON

# A killed run goes on to the same bytes, and not in another precision or with another file.
"$tundra" classify shots --model $model -o killed.csv --batch 2 -q & pid=$!
for ((i = 0; i < 400; ++i)); do [ "$(wc -l 2>/dev/null <killed.csv.journal || echo 0)" -gt 5 ] && break; sleep 0.02; done
kill -INT $pid; wait $pid
[ -f killed.csv.journal ] || bad "the run was over before it was killed"
grep -q '"precision":"int8"' killed.csv.journal || bad "the journal does not say int8"
expect 2 "$tundra" classify shots --model run -o killed.csv --batch 2 -q; one_line
expect 0 "$tundra" classify shots --model $model -o killed.csv --batch 2 -q
expect 0 "$tundra" classify shots --model $model -o whole.csv --batch 2 -q
cmp -s killed.csv whole.csv || bad "a resumed run has other bytes"
for i in 1 2; do expect 0 "$tundra" classify shots --model $model -o $i.csv --shard $i/2 -q; done
expect 0 "$tundra" merge 1.csv 2.csv -o both.csv
expect 0 "$tundra" classify shots --model run -o 2.csv --shard 2/2 -q
expect 2 "$tundra" merge 1.csv 2.csv -o both.csv; one_line

# What does not go together.
for precision in fp32 bf16; do
    expect 2 "$tundra" classify shots --model $model -o x.csv --precision $precision; says "its original, run/model.safetensors"; one_line
done
expect 2 "$tundra" classify shots --model $model -o x.csv --device simt; says "--device cpu"; one_line
expect 2 "$tundra" classify shots --model run -o x.csv --precision int8; says "tundra quantize"; one_line
expect 2 "$tundra" eval $model shots --check-bf16; says "check its original"; one_line
expect 2 "$tundra" train shots --out more --init $model --image-size 32; says "its original"; one_line
expect 2 "$tundra" import $model -o x.safetensors; says "quantized"; one_line
expect 2 "$tundra" quantize $model --labels shots; says "quantized already"; one_line
expect 2 "$tundra" quantize run; says "--images"; one_line
expect 2 "$tundra" quantize run --images nowhere; says "nowhere"; one_line
mkdir empty; expect 2 "$tundra" quantize run --images empty; one_line
expect 2 "$tundra" quantize nothing.pt --images shots; says "nothing.pt"; one_line
expect 2 "$tundra" quantize run --images shots -o x.safetensors; says "1200 are needed, 200 to set the ranges and 1000 to check"; one_line
expect 2 "$tundra" quantize run --labels shots --images shots/stand -o x.safetensors; says "shots in shots/stand has 100 images; 125 are needed"; one_line
expect 2 "$tundra" quantize run --labels shots --images 'shots/stand/*.bmp' -o x.safetensors; says "beside --labels it must be a folder"; one_line
cp -r shots broken; find broken -name '*.bmp' | sed -n '1~5!p' | while read -r file; do echo no image >"$file"; done
expect 3 "$tundra" quantize run --labels broken -o x.safetensors; says "are needed"
[ ! -e x.safetensors ] || bad "a file was written"

# Where the parts that the training has not seen suffice, only they are used. Links to files lie where the links are.
cp -rs "$PWD/shots" linked
{ echo path,label,split; find linked -name '*.bmp' | sort | awk -F/ '{ print $0 "," $2 "," (NR % 2 ? "train" : "test") }'; } >parts.csv
expect 0 "$tundra" quantize run --labels parts.csv --images linked -o x.safetensors; says "31 images set the ranges, 124 others check"
! grep -q "images of the training" out err || bad "images of the training were used"
rm x.safetensors

# Without labels.
mkdir alike; cp shots/lie/0.bmp first.bmp
for ((i = 0; i < 1200; ++i)); do cp first.bmp alike/$i.bmp; done
expect 0 "$tundra" quantize run --images alike -o x.safetensors; says "same class"; says "holds"
expect 0 "$tundra" inspect x.safetensors; says "without labels"
rm x.safetensors
python3 - <<'PYTHON'
data = bytearray(open("first.bmp", "rb").read())
data[54:] = bytes([128]) * (len(data) - 54)
for i in range(1200): open(f"alike/{i}.bmp", "wb").write(data)
PYTHON
LC_ALL=C sed 's/image_size\\":[0-9]\{3\}/image_size\\": 64/' "$sources/share/synth_detector.safetensors" >detector.safetensors  # 40 times less work
! cmp -s detector.safetensors "$sources/share/synth_detector.safetensors" || bad "the detector's image size was not found"
cp detector.safetensors before.safetensors
expect 2 "$tundra" quantize detector.safetensors --images alike -o x.safetensors; says "float32 finds no object on the 1000 images"; one_line
expect 2 "$tundra" eval detector.safetensors alike --check-bf16 --unlabelled; says "float32 finds no object on the 1200 images"; one_line
cmp -s detector.safetensors before.safetensors || bad "a check of nothing was stored"
for ((i = 0; i < 1200; ++i)); do echo no image >alike/$i.bmp; done
expect 3 "$tundra" quantize run --images alike -o x.safetensors; says "none of the 200 images that were to set the ranges could be read"
[ "$(grep -c '^note: alike/' err)" = 200 ] || bad "not every image that could not be read is named"
[ ! -e x.safetensors ] || bad "a file was written"

# One channel a thousand times as large as the others, and no one in float32 sees it: the check does. It passes with the
# two layers that read this channel in float32. The file lies in the run's folder, which knows what was trained on.
python3 - run/model.safetensors run/uneven.safetensors <<'PYTHON'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
n = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + n])
def scale(name, factor, pick):
    begin, end = header[name]["data_offsets"]
    values = list(struct.unpack(f"<{(end - begin) // 4}f", data[8 + n + begin:8 + n + end]))
    for i in pick(len(values), header[name]["shape"]): values[i] *= factor
    data[8 + n + begin:8 + n + end] = struct.pack(f"<{len(values)}f", *values)
for part in ("weight", "bias"): scale("bn1." + part, 4096, lambda n, shape: [0])
for name in ("layer1.0.conv1.weight", "layer1.0.downsample.0.weight"):
    scale(name, 1 / 4096, lambda n, shape: range(0, n, shape[1]))
open(sys.argv[2], "wb").write(data)
PYTHON
expect 0 "$tundra" quantize run/uneven.safetensors --labels shots -o x.safetensors; says "loses more than"; says "more layers in float32"
says "the same on the other half, which decides"; says "images of the training"
expect 0 "$tundra" inspect x.safetensors; says "layer1.0.conv1"; says "layer1.0.downsample.0"; says "passed at check"; says "% of the arithmetic"
expect 0 "$tundra" eval x.safetensors shots --min-accuracy 0.95
rm x.safetensors
expect 1 "$tundra" quantize run/uneven.safetensors --labels parts.csv --images linked -o x.safetensors; says "loses more than"; says "(250 or more let it try"; one_line
[ ! -e x.safetensors ] || bad "a file was written that did not pass"

# A detector, with and without labels.
LC_ALL=C sed 's/image_size\\":[0-9]\{3\}/image_size\\":256/' "$sources/share/synth_detector.safetensors" >sized.safetensors  # 4 times less work
detector=sized.safetensors
"$tundra" synth scenes --task detect --images 300 --cameras 20 --size 160x120 --seed 7 -q >/dev/null || exit 1
mkdir few; for file in $(find scenes/images -name '*.jpg' | sort | head -40); do cp "$file" few; done
expect 0 "$tundra" quantize "$detector" --images scenes --labels scenes/annotations.json -o int8.safetensors; says "recall, small objects"; says "in float32 (model.0.conv, model.24.m.0"
detect=("$tundra" detect few --device cpu --model int8.safetensors --image-size 544)
expect 0 "${detect[@]}" -o int8.json; says ", int8 (auto"
is "$(said_of int8.json info/custom_metadata/tundra/precision)" int8 "the result's settings"
expect 0 "$tundra" eval int8.safetensors scenes/annotations.json --part all --min-map50 0.3
expect 2 "${detect[@]}" -o x.json --precision fp32; says "sized.safetensors"; one_line
"${detect[@]}" -o killed.json -q & pid=$!
for ((i = 0; i < 400; ++i)); do [ "$(wc -l 2>/dev/null <killed.json.journal || echo 0)" -gt 5 ] && break; sleep 0.02; done
kill -INT $pid; wait $pid
[ -f killed.json.journal ] || bad "the detection was over before it was killed"
expect 0 "${detect[@]}" -o killed.json --threads 1; says "resumed after"
python3 - int8.json killed.json <<'PYTHON' || bad "the resumed run has other boxes"
import json, sys
a, b = (json.load(open(file))["images"] for file in sys.argv[1:])
sys.exit(a != b)
PYTHON
expect 0 "${detect[@]}" --update int8.json -o more.json
expect 2 "$tundra" detect few --device cpu --model "$detector" --update int8.json -o more.json; one_line
expect 0 "${detect[@]}" -o 1.json --shard 1/2 -q
expect 0 "${detect[@]}" -o 2.json --shard 2/2 -q
expect 0 "$tundra" merge 1.json 2.json -o both.json
expect 0 "$tundra" detect few --device cpu --model "$detector" -o 2.json --shard 2/2 -q
expect 2 "$tundra" merge 1.json 2.json -o both.json; one_line
expect 0 "${detect[@]}" -o tta.json --tta --tile --tile-size 96 -q

# A survey with a quantized detector and a quantized quality model, whatever --precision says to the detector.
"$tundra" synth season --task survey --images 20 --cameras 2 --size 160x120 --seed 4 -q >/dev/null || exit 1
expect 0 "$tundra" survey season --out survey --detector int8.safetensors --quality $model --bad-class lie --device cpu -q
is "$(said_of survey/survey.json settings/precision)" int8 "survey.json"
key=$(said_of survey/survey.json keys)
expect 0 "$tundra" survey season --out survey --detector int8.safetensors --quality $model --bad-class lie --device cpu --precision int8 -q
is "$(said_of survey/survey.json keys)" "$key" "the survey was looked at again"
expect 0 "$tundra" survey season --out plain --detector "$detector" --quality $model --bad-class lie --precision fp32 --device cpu -q
[ "$failures" = 0 ]
