#!/usr/bin/env bash
# `tundra survey` from outside: answers, resuming, shards, additions, sites, corrections, bad input; about 75 s.
# Arguments: the binary, the folder of the sources.
set -uo pipefail
tundra=$(realpath "$1")
. "$(dirname "$0")/expect.sh"

same() { for f in results.json images.csv events.csv; do cmp -s "$1/$f" "$2/$f" || bad "$2/$f is not $1/$f: $3"; done; }
column() {  # column NAME FILE: its values; the tables of this test have no commas in fields
    awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next } { print $c }' "$2"
}

# Two sites with the same file names in both, a tiny classifier of each kind, the detector that comes along.
"$tundra" synth scenes --task detect --images 48 --cameras 4 --size 320x240 --seed 3 -q >/dev/null || exit 1
mkdir -p cards/{river,hill}/DCIM/100EK113
n=0
for image in scenes/images/*.jpg; do
    n=$((n + 1))
    site=river; [ $n -gt 24 ] && site=hill
    cp "$image" "cards/$site/DCIM/100EK113/IMG_$(printf %04d $(((n - 1) % 24))).jpg"
done
for task in species quality; do
    "$tundra" synth "$task" --task "$task" --images 80 --size 96x96 --seed 1 -q >/dev/null || exit 1
    "$tundra" train "$task" -o "$task.run" --image-size 32 --epochs 1 --batch 16 -q >/dev/null 2>err ||
        { cat err; exit 1; }
done
models=(--quality quality.run --species species.run --box-threshold 0.2 -q)

expect 0 "$tundra" survey cards --out one "${models[@]}"
[ "$(wc -l <one/images.csv)" = 49 ] || bad "images.csv has not one row for each image"
[ "$(column site one/images.csv | sort | uniq -c | tr -s ' \n' ' ')" = " 24 hill 24 river " ] || bad "sites"
[ "$(column file one/images.csv | sort -u | wc -l)" = 48 ] || bad "equal names in two folders are one image"
for final in $(column final one/images.csv | sort -u); do
    case $final in animal | empty | bad | human) ;; *) bad "final class $final" ;; esac
done

# The order of the final classes, and what a person looks at.
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
    { person = $c["person"] + $c["vehicle"]; bad = $c["quality_score"] >= 0.95
      want = person ? "human" : bad ? "bad" : $c["counts"] != "" ? "animal" : "empty"
      if ($c["final"] != want) print $c["file"], $c["final"], want
      if (want == "animal" && $c["review"] !~ /animal/) print $c["file"], "is not reviewed" }' one/images.csv >out
[ -s out ] && bad "final classes"
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
    { all[$c["site"] $c["final"]]++; if ($c["review"] ~ /sample/) drawn[$c["site"] $c["final"]]++ }
    END { for (k in all) if (drawn[k] != int((all[k] + 9) / 10)) print k, all[k], drawn[k] }' one/images.csv >out
[ -s out ] && bad "the sample is not 10 % of each site and final class, rounded up"

# In memory as with --crops and classify, bit for bit without loss.
"$tundra" detect cards -o boxes.json --crops crops --crops-format png --render-threshold 0.2 -q >/dev/null 2>&1
"$tundra" classify crops --model species.run -o crops.jsonl -q 2>/dev/null
sed 's/.*"probabilities":{//; s/}.*//; s/"[^"]*"://g' crops.jsonl | sort >crops.txt
sed -n 's/.*"species":\[\[\(.*\)\]\],"file.*/\1/p' one/survey.journal | sed 's/\],\[/\n/g' | sort >memory.txt
[ "$(wc -l <memory.txt)" -gt 16 ] || bad "only $(wc -l <memory.txt) crops"
[ -z "$(comm -13 crops.txt memory.txt)" ] || bad "$(comm -13 crops.txt memory.txt | wc -l) answers are none of classify's"
# and as detect --classify writes them, but for sites.
expect 0 "$tundra" detect cards -o classified.json --classify species.run --quality quality.run --render-threshold 0.2 -q
for file in one/results.json classified.json; do
    grep -o '"classifications":.*' "$file" | sed 's/,"camera":.*//; s/,"sequence":.*//; s/,"site":.*//; s/[},]*$//' >"$(dirname "$file").$(basename "$file").txt"
done
cmp -s one.results.json.txt ..classified.json.txt || bad "detect --classify differs from survey"
grep -q '"classification_categories": {"0":' classified.json || bad "no classification_categories"

# Crops that are written as JPEG: 99 % of those with a clear answer (0.1 ahead of the next) have the same one.
"$tundra" synth some --task species --images 200 --size 96x96 --seed 1 -q >/dev/null
"$tundra" train some -o some.run --image-size 32 --epochs 10 --batch 16 --optimizer adam --lr 0.001 -q >/dev/null 2>&1
for format in png jpg; do
    "$tundra" detect cards -o boxes2.json --crops c.$format --crops-format $format --render-threshold 0.05 -q >/dev/null 2>&1
    "$tundra" classify c.$format --model some.run -o c.jsonl -q 2>/dev/null
    sed -E 's#.*"path":"c[^/]*/([^"]*)\.[a-z]*","predicted":"([^"]*)".*"probabilities":\{(.*)\}\}#\1 \2 \3#' c.jsonl | sort >c.$format.txt
done
join c.png.txt c.jpg.txt | awk '{ n = split($3, p, /[:,]/); first = second = 0
    for (i = 2; i <= n; i += 2) if (p[i] + 0 > first) { second = first; first = p[i] + 0 } else if (p[i] + 0 > second) second = p[i] + 0
    if (first - second >= 0.1) { ++clear; equal += $2 == $4; seen[$2]++ } }
    END { for (k in seen) ++kinds; print clear + 0, equal + 0, kinds + 0; exit !(clear >= 30 && kinds >= 2 && equal >= 0.99 * clear) }' >out ||
    bad "JPEG crops: clear answers, equal ones, classes: $(cat out)"

# Killed at any moment and resumed: the same bytes. Again without new images, too.
for delay in 0.15 0.3 0.5 0.7 1 1.4 $(awk 'BEGIN { srand(); for (i = 0; i < 6; ++i) print 3 * rand() }'); do
    timeout -s KILL $delay "$tundra" survey cards --out killed "${models[@]}" >/dev/null 2>&1
done
expect 0 "$tundra" survey cards --out killed "${models[@]}"
same one killed "after kills"
expect 0 "$tundra" survey cards --out killed "${models[@]}"
same one killed "after a second run"

# A full disk (here: no file may grow beyond that) ends it with one line and code 75; then it goes on.
lines=$(wc -l <one/survey.journal)
(ulimit -f 24; expect 75 "$tundra" survey cards --out full "${models[@]}"; says "run the same command again to resume"; one_line; exit $failures) || failures=$((failures + 1))
[ "$(wc -l <full/survey.journal)" -gt 8 ] || bad "a full disk left only $(wc -l <full/survey.journal) lines"
[ "$(wc -l <full/survey.journal)" -lt "$lines" ] || bad "the disk was not full"
expect 0 "$tundra" survey cards --out full "${models[@]}"; says "resumed after"
same one full "after a full disk"

# Shards, and images that are added later.
for i in 1 2 3; do expect 0 "$tundra" survey cards --out s$i --shard $i/3 "${models[@]}"; done
expect 2 "$tundra" merge s1 s3 -o merged; says "shard 2 of 3 is missing"; one_line
expect 2 "$tundra" merge s1 s2 s2 -o merged; says "are both shard 2 of 3"; one_line
expect 0 "$tundra" merge s1 s2 s3 -o merged
for f in images.csv events.csv; do cmp -s one/$f merged/$f || bad "merged shards: $f"; done
expect 0 "$tundra" survey cards/river --base cards --out added "${models[@]}"
[ "$(wc -l <added/images.csv)" = 25 ] || bad "a part of the cards"
expect 0 "$tundra" survey cards --out added "${models[@]}"; says "resumed after 24 of 48 images"
same one added "after an addition"
expect 0 "$tundra" survey cards/hill --base cards --out added "${models[@]}"; says "24 images of earlier runs stay"
same one added "after a part"
# Another species model leaves the boxes as they are.
lines=$(wc -l <added/survey.journal)
expect 0 "$tundra" survey cards --out added --quality quality.run --species quality.run --box-threshold 0.2 -q
[ "$(tail -n +$((lines + 1)) added/survey.journal | grep -c '"detections"')" = 0 ] || bad "boxes were searched again"

# Sites: the next class that occurs is the answer.
class=$(column species one/images.csv | tr '|' '\n' | sort | uniq -c | sort -rn | awk 'NF == 2 { print $2; exit }')
printf 'site,latitude,longitude,not_classes\nriver,69.5,30.1,%s\nhill,70,29,\n' "$class" >sites.csv
expect 0 "$tundra" survey cards --out masked --sites sites.csv "${models[@]}"
grep river masked/images.csv | grep -q ",$class," && bad "$class at a site where it does not occur"
[ "$(grep -c '^hill' masked/images.csv)" = 24 ] || bad "the other site"
cmp -s <(grep '^hill' one/images.csv) <(grep '^hill' masked/images.csv) || bad "the other site changed"
printf 'site\nriver\n' >few.csv
expect 2 "$tundra" survey cards --out x1 --sites few.csv "${models[@]}"; says "24 images, the first is hill/"; one_line
printf 'site,classes\nriver,yeti\nhill,\n' >yeti.csv
expect 2 "$tundra" survey cards --out x1 --sites yeti.csv "${models[@]}"; says "no model knows the class 'yeti'"; one_line
printf 'site,latitude\nriver,95\n' >north.csv
expect 2 "$tundra" survey cards --out x1 --sites north.csv "${models[@]}"; says "latitude '95'"; one_line

# Models and files that do not fit.
detector=$(find "$(dirname "$tundra")/.." "$2/share" -name synth_detector.safetensors 2>/dev/null | head -1)
expect 2 "$tundra" survey cards --out x2 --species "$detector" -q; one_line
expect 2 "$tundra" survey cards --out x2 --quality species.run -q; says "no class 'bad'"; one_line
sed 's/river\//brook\//; s/hill\//mount\//' boxes.json >elsewhere.json
expect 2 "$tundra" survey cards --out x2 --detector elsewhere.json -q; says "none of its 48 images"; one_line
expect 2 "$tundra" survey scenes/images --out one "${models[@]}"; says "a survey of other images"; one_line
grep -v 'hill.*IMG_0003' boxes.json >fewer.json
expect 2 "$tundra" survey cards --out x2 --detector fewer.json -q; says "lacks 1 of these 48 images"; one_line

# An earlier file instead of the detector: the same table. Without any other model no image is decoded.
expect 0 "$tundra" survey cards --out json --detector boxes.json "${models[@]}"
cmp -s one/images.csv json/images.csv || bad "boxes from a file give another table"
expect 0 "$tundra" survey cards --out json2 --detector one/results.json --box-threshold 0.2 -q
cmp -s <(column species one/images.csv) <(column species json2/images.csv) || bad "classes from a file give other species"

# SpeciesNet: one answer for an image (4.x), one for each box (5.x).
mkdir few; cp cards/river/DCIM/100EK113/IMG_000[01].jpg few/
cat >sn4.json <<'JSON'
{"predictions": [{"filepath": "IMG_0000.jpg", "detections": [{"category": "1", "label": "animal", "conf": 0.9, "bbox": [0.1, 0.1, 0.3, 0.3]}, {"category": "1", "conf": 0.5, "bbox": [0.5, 0.1, 0.3, 0.3]}],
 "classifications": {"classes": ["u;mammalia;;;;;", "v;aves;x;y;z;q;raven"], "scores": [0.6, 0.2]}, "prediction": "w;mammalia;carnivora;canidae;vulpes;lagopus;arctic fox", "prediction_score": 0.8, "model_version": "4.0.1a"},
 {"filepath": "IMG_0001.jpg", "failures": ["DETECTOR"]}]}
JSON
cat >sn5.json <<'JSON'
{"info": {"format_version": "20261015"}, "predictions": [{"filepath": "IMG_0000.jpg", "detections": [
 {"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.3, 0.3], "raw_classifications": {"classes": ["a;b;c;d;e;f;red fox"], "scores": [0.7]}, "processed_classification": {"class": "a;b;c;d;e;f;red fox", "score": 0.7, "source": "classifier"}},
 {"category": "1", "conf": 0.5, "bbox": [0.5, 0.1, 0.3, 0.3], "raw_classifications": {"classes": ["a;b;c;d;e;g;hare"], "scores": [0.6]}}]},
 {"filepath": "IMG_0001.jpg", "detections": [{"category": "0", "label": "whole_image_classification", "conf": 1.0, "bbox": [0, 0, 1, 1]}]}]}
JSON
expect 0 "$tundra" survey few --out sn4 --detector sn4.json -q
[ "$(column species sn4/images.csv | tr '\n' ' ')" = "arctic fox  " ] || bad "SpeciesNet 4: species"
[ "$(column counts sn4/images.csv | head -1)" = 2 ] || bad "SpeciesNet 4: both boxes"
[ "$(column final sn4/images.csv | tr '\n' ' ')" = "animal failed " ] || bad "SpeciesNet 4: final classes"
expect 0 "$tundra" survey few --out sn5 --detector sn5.json -q
[ "$(column species sn5/images.csv | tr '\n' ' ')" = "red fox|hare  " ] || bad "SpeciesNet 5: species"
[ "$(column final sn5/images.csv | tr '\n' ' ')" = "animal empty " ] || bad "SpeciesNet 5: final classes"
# and in place of the species model: boxes are matched by place; MegaDetector's file with classifications likewise.
expect 0 "$tundra" survey few --out sn6 --detector sn4.json --species sn5.json -q
[ "$(column species sn6/images.csv | tr '\n' ' ')" = "red fox|hare  " ] || bad "SpeciesNet 5 as --species"
expect 0 "$tundra" survey cards --out json3 --detector boxes.json --species classified.json --box-threshold 0.2 -q
cmp -s <(column species one/images.csv) <(column species json3/images.csv) || bad "MegaDetector's classifications as --species"
expect 2 "$tundra" survey cards --out x3 --detector boxes.json --species boxes.json -q; says "cannot stand for a classifier"; one_line

# Bursts by hand-made dates: three frames of a fox, one of them taken for a hare without certainty.
mkdir burst
for i in 0 1 2; do cp cards/river/DCIM/100EK113/IMG_0000.jpg burst/$i.jpg; done
vote='"detections": [{"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.3, 0.3], "classifications": [["%s", %s], ["%s", 0.1]]}]'
printf "{\"images\": [{\"file\": \"0.jpg\", $vote}, {\"file\": \"1.jpg\", $vote}, {\"file\": \"2.jpg\", $vote}], \"detection_categories\": {\"1\": \"animal\"}, \"classification_categories\": {\"0\": \"hare\", \"1\": \"fox\"}, \"info\": {}}" \
    1 0.9 0 1 0.85 0 0 0.51 1 >burst.json
expect 0 "$tundra" survey burst --out voted --detector burst.json -q
[ "$(column species voted/images.csv | tr '\n' ' ')" = "fox fox fox " ] || bad "the vote of a burst"
[ "$(column before_vote voted/images.csv | tr '\n' ' ')" = "  hare " ] || bad "before the vote"
[ "$(tail -n +2 voted/events.csv | wc -l)" = 1 ] || bad "one burst is not one event"
sed -i 's/0.51/0.95/' burst.json  # a sure answer stands
expect 0 "$tundra" survey burst --out voted2 --detector burst.json -q
[ "$(column species voted2/images.csv | tr '\n' ' ')" = "fox fox hare " ] || bad "the vote changed a sure answer"

# Corrections and repeats.
printf 'file,box,field,old,new,reviewer,time\n2.jpg,1,species,hare,raven,Ann,2026-11-30T08:00:00Z\n0.jpg,,final,animal,empty,Ann,2026-11-30T08:00:01Z\n0.jpg,,final,empty,,Ann,2026-11-30T08:00:02Z\n1.jpg,,seen,,yes,Bo,2026-11-30T08:00:03Z\n2.jpg,1,species,raven,h' >voted2/corrections.csv
printf 'group,file,box\n1,0.jpg,1\n' >voted2/repeats.csv
expect 0 "$tundra" survey burst --out voted2 --detector burst.json -q
[ "$(column species voted2/images.csv | tr '\n' ' ')" = " fox raven " ] || bad "a corrected species"
[ "$(column final voted2/images.csv | tr '\n' ' ')" = "repeated animal animal " ] || bad "a repeated box, a withdrawn correction"
[ "$(column reviewed voted2/images.csv | tr '\n' ' ')" = " Bo Ann " ] || bad "reviewers"
# Another detector finds other boxes: nothing goes to them, neither answers nor repeats; with the first one all is back.
sed 's/\[0.1, 0.1, 0.3, 0.3\]/[0.6, 0.6, 0.3, 0.3]/g' burst.json >moved.json
expect 0 "$tundra" survey burst --out voted2 --detector moved.json -q
says "row 2: the detector no longer finds box 1 of 2.jpg"; says "repeats.csv was made with other models"
[ "$(column species voted2/images.csv | tr '\n' ' ')" = "fox fox hare " ] || bad "answers went to other boxes"
[ "$(column reviewed voted2/images.csv | tr '\n' ' ')" = " Bo  " ] || bad "an answer about a box that is gone counts"
[ ! -e voted2/repeats.csv ] || bad "repeats of another detector"
expect 0 "$tundra" survey burst --out voted2 --detector burst.json -q
[ "$(column species voted2/images.csv | tr '\n' ' ')" = "fox fox raven " ] || bad "an answer whose box is back"
printf 'file,box,field,old,new,reviewer,time\n2.jpg,1,category,animal,unicorn,Ann,2026-11-30T08:00:00Z\n' >voted2/corrections.csv
expect 4 "$tundra" survey burst --out voted2 --detector burst.json -q; says "voted2/corrections.csv: row 2: category 'unicorn' must be one of animal"; one_line
# What a person says of one image of the burst counts in the vote of the others.
printf 'file,box,field,old,new,reviewer,time\n0.jpg,1,species,fox,hare,Ann,2026-11-30T08:00:00Z\n' >voted/corrections.csv
sed -i 's/0.95/0.51/' burst.json
expect 0 "$tundra" survey burst --out voted --detector burst.json -q
[ "$(column species voted/images.csv | tr '\n' ' ')" = "hare fox hare " ] || bad "the vote after a correction: $(column species voted/images.csv | tr '\n' ' ')"
[ "$(cut -d, -f2,7 voted/events.csv | tail -n +2 | sort | tr '\n' ' ')" = "fox,1 hare,1 " ] || bad "events after a correction"
sed 's/"fox"/"fox|cub: red"/' burst.json >named.json
expect 0 "$tundra" survey burst --out named --detector named.json -q; says "the class 'fox|cub: red' is called 'fox/cub/ red' here"
[ "$(column species named/images.csv | sort -u | tr '\n' ' ')" = "fox/cub/ red " ] || bad "a class with | in its name"
printf 'file,box\n' >voted2/corrections.csv
expect 4 "$tundra" survey burst --out voted2 --detector burst.json -q; says "does not begin with the line"; one_line

# Images that cannot be read, and without a date.
printf 'no image' >few/broken.jpg
expect 0 "$tundra" survey few --out broken -q; says "not the start of an image"
[ "$(column final broken/images.csv | tail -1)" = failed ] || bad "an unreadable image"
[ "$failures" = 0 ] || { echo "$failures failures"; exit 1; }
echo "all good"
