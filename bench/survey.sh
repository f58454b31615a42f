#!/usr/bin/env bash
# What a survey costs beside its parts, in turns of the same minutes, as whole processes:
#   survey     one pass: detector, quality model, species model
#   parts      detect alone + classify of its crops alone (goal: survey <= 1.10 and 1.15 of these)
#   in a row   detect --crops, classify of the crops, classify of the images (goal: at least twice the survey)
# usage: bench/survey.sh TUNDRA IMAGES DETECTOR QUALITY SPECIES [ROUNDS]
set -euo pipefail
tundra=$(realpath "$1") images=$(realpath "$2") detector=$(realpath "$3") quality=$(realpath "$4") species=$(realpath "$5")
rounds=${6:-3}
unset OMP_WAIT_POLICY
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timed() {  # timed NAME COMMAND...: appends its seconds
    local name=$1 start; shift
    start=$(date +%s.%N)
    "$@" >/dev/null 2>&1
    awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { print b - a }' >>"$name"
}
best() { sort -g "$1" | head -1; }
for _ in $(seq "$rounds"); do
    rm -rf s crops ./*.json ./*.csv
    timed survey "$tundra" survey "$images" --out s --detector "$detector" --quality "$quality" --species "$species" -q
    timed detect "$tundra" detect "$images" -o plain.json --model "$detector" -q
    timed detect_crops "$tundra" detect "$images" -o boxes.json --model "$detector" --crops crops -q
    timed crops "$tundra" classify crops --model "$species" -o crops.csv -q
    timed images "$tundra" classify "$images" --model "$quality" -o images.csv -q
done
awk -v s="$(best survey)" -v d="$(best detect)" -v c="$(best crops)" -v i="$(best images)" -v dc="$(best detect_crops)" 'BEGIN {
    printf "survey %.2f s; detect alone %.2f s, crops alone %.2f s: %.2f of 1.10 and 1.15 of them\n", s, d, c, s / (1.10 * d + 1.15 * c)
    printf "in a row %.2f s (detect --crops %.2f, crops %.2f, images %.2f): %.2f times the survey\n", dc + c + i, dc, c, i, (dc + c + i) / s }'
