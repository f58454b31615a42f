#!/usr/bin/env bash
# What a survey costs per image beside its parts, in turns of the same minutes, as whole processes; what starting costs (the same
# commands on one image) is taken off.
#   survey     one pass: detector, quality model, species model
#   parts      detect alone + classify of the survey's crops alone (goal: survey <= 1.10 and 1.15 of these)
#   in a row   detect --crops, classify of the crops, classify of the images (goal: at least twice the survey)
# Wall clock and processor time (of all threads; other programs disturb it less); medians of the rounds.
# usage: bench/survey.sh TUNDRA IMAGES DETECTOR QUALITY SPECIES [ROUNDS] [BOX_THRESHOLD]
set -euo pipefail
tundra=$(realpath "$1") images=$(realpath "$2") detector=$(realpath "$3") quality=$(realpath "$4") species=$(realpath "$5")
rounds=${6:-3} threshold=${7:-0.2}
unset OMP_WAIT_POLICY
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir one
cp "$(find "$images" -type f -iname '*.jpg' | sort | head -1)" one/
TIMEFORMAT='%R %U %S'
timed() {  # timed NAME COMMAND...: adds its seconds, wall clock and of the processors, to the file NAME
    local name=$1; shift
    { time "$@" >/dev/null 2>"$name.err"; } 2>time || { cat "$name.err"; exit 1; }
    awk '{ print $1, $2 + $3 }' time >>"$name.time"
}
round() {  # round PREFIX IMAGES
    rm -rf s cut ./*.json ./*.csv
    timed "$1survey" "$tundra" survey "$2" --out s --detector "$detector" --quality "$quality" --species "$species" \
        --box-threshold "$threshold" -q
    timed "$1detect" "$tundra" detect "$2" -o plain.json --model "$detector" -q
    timed "$1detect_crops" "$tundra" detect "$2" -o boxes.json --model "$detector" --crops cut --render-threshold "$threshold" -q
    [ -d cut ] || { mkdir cut && cp one/* cut/; }  # a single image without a box
    timed "$1crops" "$tundra" classify cut --model "$species" -o crops.csv -q
    timed "$1images" "$tundra" classify "$2" --model "$quality" -o images.csv -q
}
for _ in $(seq "$rounds"); do
    round one_ one
    round "" "$images"
done
classified=$(grep -o '"species":.*"file"' s/survey.journal | grep -o '\],\|\]\]' | wc -l)
written=$(($(wc -l <crops.csv) - 1))
pictures=$(($(wc -l <s/images.csv) - 1))
echo "$pictures images, $classified crops classified (animals), $written written by --crops (all boxes), $rounds rounds; ms per image:"
# Crops that the survey does not classify do not count: the time of all is scaled.
paste -d ' ' survey.time detect.time crops.time detect_crops.time images.time one_survey.time one_detect.time one_crops.time \
    one_detect_crops.time one_images.time | awk -v share="$(awk "BEGIN { print $classified / $written }")" -v n="$pictures" '
    function median(list, n,    i, j, t) {
        for (i = 1; i <= n; ++i) for (j = i + 1; j <= n; ++j) if (list[j] < list[i]) { t = list[i]; list[i] = list[j]; list[j] = t }
        return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
    }
    { for (k = 1; k <= 2; ++k) for (q = 0; q < 5; ++q) v[k, q, NR] = 1000 * ($(k + 2 * q) - $(k + 2 * q + 10)) / (n - 1) }
    END {
        for (k = 1; k <= 2; ++k) {
            for (r = 1; r <= NR; ++r) {
                s[r] = v[k, 0, r]; d[r] = v[k, 1, r]; c[r] = share * v[k, 2, r]; w[r] = v[k, 3, r]; i[r] = v[k, 4, r]
                goal[r] = s[r] / (1.10 * d[r] + 1.15 * c[r]); row[r] = (w[r] + c[r] + i[r]) / s[r]
            }
            printf "%s: survey %.0f; detect %.0f, its crops %.0f: %.2f of 1.10 and 1.15 of them; detect --crops %.0f, images %.0f: in a row %.2f times the survey\n",
                k == 1 ? "wall clock" : "processors", median(s, NR), median(d, NR), median(c, NR), median(goal, NR), median(w, NR), median(i, NR), median(row, NR)
        }
    }'
