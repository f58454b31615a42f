#!/usr/bin/env bash
# Detectors without anchors through every command, and bad files: exit code, one line, nothing written. About 30 s.
# Arguments: the binary, the folder of the sources.
set -uo pipefail
tundra=$(realpath "$1") sources=$(realpath "$2")
golden=$sources/tests/golden/yolo11
. "$(dirname "$0")/expect.sh"
images() { grep -v '"detector"\|completion_time\|"model"\|custom_metadata' "$1"; }

"$tundra" synth scenes --task detect --images 12 --cameras 2 --size 320x240 --seed 3 -q >/dev/null || exit 1
kinds=(yolo11_tiny_best:YOLO11 yolov9c_cedar_tiny:YOLOv9-C yolov9c_ultralytics_tiny:YOLOv9-C)
for pair in "${kinds[@]}"; do
    name=${pair%:*} file=$golden/${pair%:*}/model.pt
    expect 0 "$tundra" inspect "$file"
    says "model   ${pair#*:}"; says "3 classes: animal, person, vehicle"
    says "320 pixels on the long side, padded to multiples of 32"
    grep -q 'note' out && bad "inspect has a note about a good file"
    expect 0 "$tundra" detect scenes/images -o "$name.json" --model "$file" -q
    # Only the line of every run.
    [ -s out ] || grep -qv '^note: model.pt: 3 classes, 320 pixels, on ' err &&
        bad "detect says something about a good file"
    grep -q "v0.0.0-$name" "$name.json" || bad "the version is not in the results"
    grep -q '"conf"' "$name.json" || bad "no boxes in $name.json"
    expect 0 "$tundra" import "$file" -o "$name.safetensors"; says "${pair#*:}"
    expect 0 "$tundra" inspect "$name.safetensors"; says "320 pixels on the long side"
    expect 0 "$tundra" detect scenes/images -o copy.json --model "$name.safetensors" -q
    cmp -s <(images "$name.json") <(images copy.json) || bad "the copy of $name finds other boxes"
    rm -f copy.json
    expect 0 "$tundra" eval "$file" scenes/annotations.json --part all; says "mAP50"
    for i in 1 2; do expect 0 "$tundra" detect scenes/images -o "part$i.json" --model "$file" --shard $i/2 -q; done
    expect 0 "$tundra" merge part1.json part2.json -o merged.json
    cmp -s <(images "$name.json") <(images merged.json) || bad "the shards of $name find other boxes"
    rm -f part?.json merged.json
    expect 2 "$tundra" train scenes --task detect -o run --init "$file" --epochs 1
    says "which can only detect; training starts from a YOLOv5"; one_line; [ ! -e run ] || bad "train left a folder"
done
for kind in yolo11_tiny_best yolov9c_cedar_tiny; do
    model=$golden/$kind/model.pt
    for option in --tta "--tile --tile-size 128" "--tta --tile --tile-size 128"; do
        # shellcheck disable=SC2086
        expect 0 "$tundra" detect scenes/images -o more.json --model "$model" $option -q
        cmp -s <(images $kind.json) <(images more.json) && bad "$option changes nothing"
        rm -f more.json
    done
    expect 0 "$tundra" detect scenes/images -o cut.json --model "$model" --crops crops --render boxes -q
    cmp -s <(images $kind.json) <(images cut.json) || bad "crops change the boxes of $kind"
    [ "$(find crops -name '*.jpg' | wc -l)" -gt 12 ] || bad "no crops of $kind"
    [ "$(find boxes -name '*.jpg' | wc -l)" = 12 ] || bad "not every image of $kind is drawn"
    find scenes/images -name '*.jpg' | sort | head -5 >some.txt
    expect 0 "$tundra" detect @some.txt --base scenes/images -o some.json --model "$model" -q
    expect 0 "$tundra" detect scenes/images --update some.json -o updated.json --model "$model" -q
    cmp -s <(images $kind.json) <(images updated.json) || bad "--update finds other boxes with $kind"
    rm -rf cut.json crops boxes some.json updated.json
done
model=$golden/yolo11_tiny_best/model.pt

# A killed run continues.
for try in 1 2 3; do
    "$tundra" detect scenes/images -o killed.json --model "$model" -q & pid=$!
    sleep 0.$((try * 2)); kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null
done
expect 0 "$tundra" detect scenes/images -o killed.json --model "$model" -q
cmp -s <(images yolo11_tiny_best.json) <(images killed.json) || bad "the killed run found other boxes"

# A survey and its repeated boxes.
expect 0 "$tundra" survey scenes/images -o season --detector "$model" -q
grep -q '"conf"' season/results.json || bad "the survey has no boxes"
expect 0 "$tundra" tidy yolo11_tiny_best.json -o tidy.json --days 0 --hours 0 --occurrences 2
# Names of one file: nothing is trained on them.
cp -r scenes/images linked; mapfile -t files < <(find linked -type f | sort); ln -f "${files[0]}" "${files[1]}"
expect 0 "$tundra" tidy yolo11_tiny_best.json -o tidy.json --images linked --occurrences 2

# Bad files.
size=$(stat -c %s "$model")
head -c $((size / 2)) "$model" >half.pt
{ head -c 700000 "$model"; printf X; tail -c +700002 "$model"; } >damaged.pt
echo "see the other file" >text.pt
printf '\x08\x08\x12\x07pytorch\x1a\x052.7.1:\x10graph' >onnx.pt
for bad in half damaged text onnx; do
    for command in "detect scenes/images -o x.json --model" "survey scenes/images -o x.survey --detector" \
        "import -o x.safetensors" "eval --part all -o x.json"; do
        # shellcheck disable=SC2086
        case $command in
            eval*) expect 4 "$tundra" $command $bad.pt scenes/annotations.json ;;
            *) expect 4 "$tundra" $command $bad.pt ;;
        esac
        one_line; says "$bad.pt: "
        ls -d x.* >/dev/null 2>&1 && { bad "$command wrote $(ls -d x.*)"; rm -rf x.*; }
    done
done
# Files of other networks, and of this one with other strides.
for name in yolov10 stride; do
    file=$sources/tests/fuzz/corpus/detector/${name}_refused.pt
    for command in "detect scenes/images -o x.json --model" "import -o x.safetensors"; do
        expect 2 "$tundra" $command "$file"; one_line; says "${name}_refused.pt: "
        ls -d x.* >/dev/null 2>&1 && { bad "$command wrote $(ls -d x.*)"; rm -rf x.*; }
    done
    expect 0 "$tundra" inspect "$file"
done
expect 0 "$tundra" inspect "$sources/tests/fuzz/corpus/detector/stride_refused.pt"; says "note: it cannot detect: "

# A YOLOv5 that states no image size: a note, unless the user gives one; and a description that cannot be.
five=$sources/tests/golden/yolo/yolov5_p6_tiny/model.pt
expect 0 "$tundra" inspect "$five"; says "note: states no image size and runs at 1280 pixels, as in MegaDetector"
"$tundra" detect @some.txt --base scenes/images -o five.json --model "$five" --image-size 320 -q 2>err || bad "detect at 320"
grep -q "states no image size" err && bad "a note about an image size that was given"
"$tundra" detect @some.txt --base scenes/images -o assumed.json --model "$five" -q 2>err || bad "detect at 1280"
grep -q "note: model.pt: states no image size and runs at 1280 pixels" err || bad "no note about the image size"
expect 0 "$tundra" import "$five" -o five.safetensors
expect 0 "$tundra" inspect five.safetensors; says "states no image size"; says '"model_type":"yolov5"'

[ $failures = 0 ] && echo "all is as it should be" || { echo "$failures failures"; exit 1; }
