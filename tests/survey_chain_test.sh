#!/usr/bin/env bash
# From cards to the exchange format on a drawn season: survey, tidy, review by HTTP, eval, export, training; 20 s.
# Arguments: the binary, the folder of the sources.
set -uo pipefail
command -v curl >/dev/null || exit 77
tundra=$(realpath "$1")
. "$(dirname "$0")/expect.sh"
server=
trap '[ -n "$server" ] && kill -KILL $server 2>/dev/null; rm -rf "$work"' EXIT

value() {  # value FILE COLUMN: of that image in S/images.csv; no field of this test has a comma
    awk -F, -v name="$2" -v file="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next }
        $1 == file { print $c }' S/images.csv
}
sums() { sha256sum S/images.csv S/events.csv S/results.json; }

"$tundra" synth season --task survey --cameras 3 --images 180 --size 320x240 --seed 5 -q >/dev/null || exit 1
for task in quality species; do
    "$tundra" synth $task --task $task --images 80 --size 96x96 --seed 1 -q >/dev/null || exit 1
    "$tundra" train $task -o $task.run --image-size 32 --epochs 1 --batch 16 -q >/dev/null 2>err || { cat err; exit 1; }
done
survey=("$tundra" survey season/images --detector season/detector.json --quality quality.run --species species.run
    --sites season/sites.csv -q)
expect 0 "${survey[@]}" --out S
[ "$(wc -l <S/images.csv)" = 181 ] || bad "images.csv has not one row for each image"

# Rocks: every box that tidy calls a repeat is one, and it leaves the counts of the table at once.
cp S/images.csv before.csv
expect 0 "$tundra" tidy S/results.json
boxes=$(tail -n +2 S/repeats.csv | cut -d, -f2,3 | sort -u | wc -l)
[ "$boxes" -ge 40 ] || bad "only $boxes boxes of rocks"
total() { awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next } { n += $c } END { print n + 0 }' "$2"; }
moved=$(total repeated S/images.csv)
[ "$moved" -gt 20 ] && [ $(($(total animal before.csv) - $(total animal S/images.csv))) = "$moved" ] ||
    bad "$moved repeats left the counts of animals, which went from $(total animal before.csv) to $(total animal S/images.csv)"
groups=$(tail -n +2 S/repeats.csv | cut -d, -f1 | sort -u | wc -l)
looks=$(grep -c ',[a-z|]*repeat[a-z|]*,[^,]*$' S/images.csv)
[ "$looks" -ge 1 ] && [ "$looks" -le "$groups" ] || bad "$looks looks for $groups groups"
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
    $c["final"] == "repeated" && $c["quality_score"] < 0.5 && $c["review"] ~ /doubtful/' S/images.csv >out
[ -s out ] && bad "repeats are still to be looked at one by one"
sums >first
expect 0 "${survey[@]}" --out S
sums | cmp -s - first || bad "a second run is not byte-identical"

# Review: a server of this machine alone, answers on the disk, a kill, an undo.
serve() {
    rm -f address
    "$tundra" review S --reviewer "$1" -q >address 2>review.err &
    server=$!
    for _ in $(seq 200); do [ -s address ] 2>/dev/null && break; sleep 0.05; done
    address=$(cat address); address=${address%/}
}
post() { curl -sS -H 'Content-Type: application/json' -d "$2" "$address/$1"; }
number() { echo $(($(cut -d, -f1 S/images.csv | grep -nxF "$1" | cut -d: -f1) - 2)); }  # from 0, in the table's order
rows() { tail -n +2 S/corrections.csv | wc -l; }
fox=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "final") c = i; next } $c == "animal" { print $1; exit }' S/images.csv)
other=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "final") c = i; next } $c == "empty" { print $1; exit }' S/images.csv)
drawn=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) { if ($i == "final") c = i; if ($i == "animal") a = i }; next }
    $c == "empty" && $a == 0 { last = $1 } END { print last }' S/images.csv)
serve Ann
[ "$(curl -s -o page -w '%{http_code}' "$address/")" = 200 ] && grep -q '<html' page || bad "the page"
[ "$(curl -s -o page -w '%{http_code}' "${address%/*}/wrong/")" = 403 ] || bad "another token is let in"
[ "$(curl -s -o page -w '%{http_code}' -H 'Origin: http://elsewhere' "$address/about")" = 403 ] || bad "another page is let in"
post save "{\"images\": [{\"id\": $(number "$fox"), \"set\": [{\"box\": \"\", \"field\": \"species\", \"value\": \"fox:7\"}]}]}" >out
grep -q '"final":"animal"' out || bad "the answer to a correction"
[ "$(rows)" = 2 ] || bad "a correction is not on the disk: $(rows) rows"
kill -KILL $server; wait $server 2>/dev/null
[ "$(value "$fox" counts)" != 7 ] || bad "the table changed by itself"
serve Bo
post save "{\"images\": [{\"id\": $(number "$other"), \"set\": [{\"box\": \"\", \"field\": \"final\", \"value\": \"bad\"}]}]}" >out
post undo '' >out
post save "{\"images\": [{\"id\": $(number "$other"), \"set\": [{\"box\": \"\", \"field\": \"final\", \"value\": \"human\"}]}]}" >out
post save "{\"images\": [{\"id\": $(number "$fox"), \"set\": [{\"box\": \"1\", \"field\": \"category\", \"value\": \"unicorn\"}]}]}" >out
grep -q 'knows no unicorn' out || bad "a category that the detector lacks"
post save "{\"images\": [{\"id\": $(number "$drawn"), \"set\": [{\"box\": \"+1\", \"field\": \"category\", \"value\": \"animal\"},
    {\"box\": \"+1\", \"field\": \"bbox\", \"value\": \"0.5 0.25 0.25 0.5\"}, {\"box\": \"+1\", \"field\": \"species\", \"value\": \"lynx\"}]}]}" >out
kill -INT $server; wait $server; code=$?; server=
[ $code = 0 ] || bad "the review ended with $code"
[ "$(rows)" = 12 ] || bad "$(rows) rows instead of 12"
[ "$(value "$drawn" final) $(value "$drawn" species) $(value "$drawn" animal) $(value "$drawn" models)" = "animal lynx 1 empty" ] ||
    bad "the box that a person drew"
[ "$(value "$fox" species) $(value "$fox" counts) $(value "$fox" reviewed)" = "fox 7 Ann" ] || bad "the corrected species"
[ "$(value "$other" final) $(value "$other" reviewed)" = "human Bo" ] || bad "the corrected final class"
[ "$(grep -vc ',\(Ann\|Bo\),' S/images.csv)" = 178 ] || bad "other images were reviewed, too"
sums >reviewed
expect 0 "${survey[@]}" --out S
sums | cmp -s - reviewed || bad "tundra survey writes another table than the end of the review"
expect 0 "$tundra" review S --static page.html --images 20 -q
[ "$(wc -c <page.html)" -gt 100000 ] && grep -q corrections.csv page.html || bad "the static page"

# Measured against what the models said, not against the corrected table.
expect 0 "$tundra" eval S --out measures.json; says "survey.html"
grep -q '"reviewed": 3,' measures.json && grep -q '"model": "empty"' measures.json && grep -q '"person": "human"' measures.json ||
    bad "the measures"
grep -q '<html' S/survey.html || bad "survey.html"

# Out: the package has the corrections, and the rocks are no observations of animals.
expect 0 "$tundra" export S --camtrap-dp dp --deployments season/deployments.csv
[ "$(wc -l <dp/media.csv)" = 181 ] || bad "media.csv"
# foxes FOLDER REVIEWER: animals in the observations that are that person's answer
foxes() { awk -F, -v by="$2" '$10 == "fox" && $7 == "media" && $24 == by { n += $11 } END { print n + 0 }' "$1/observations.csv"; }
grep -q ',animal,,lynx,1,,,,,,,,0.5000,0.2500,0.2500,0.5000,human,Bo,' dp/observations.csv || bad "the drawn box in observations.csv"
[ "$(foxes dp Ann)" = 7 ] || bad "Ann's foxes in observations.csv are $(foxes dp Ann)"
expect 0 "$tundra" export S --copies copies --blur person,vehicle
[ "$(find copies -name '*.JPG' | wc -l)" -gt 170 ] || bad "copies"
expect 2 "$tundra" export S --camtrap-dp dp --deployments season/deployments.csv; says "not empty"

# What a static page saved, taken in: once, and with the tables.
printf 'file,box,field,old,new,reviewer,time\n%s,,final,animal,empty,Di,2126-11-30T08:00:00Z\n' "$drawn" >saved.csv
expect 0 "$tundra" review S --add saved.csv; says "1 answers about 1 images"
[ "$(value "$drawn" final) $(value "$drawn" reviewed)" = "empty Di" ] || bad "answers that were added"
expect 0 "$tundra" review S --add saved.csv; says "0 answers"
sed -i 's/^[^,]*,,final/no.jpg,,final/' saved.csv
expect 2 "$tundra" review S --add saved.csv; says "another survey"; one_line

# A row that is newer than the table reaches the package.
printf '%s,,species,,fox:9,Cy,2026-11-30T08:00:00Z\n%s,,fin' "$fox" "$fox" >>S/corrections.csv
expect 0 "$tundra" export S --camtrap-dp dp2 --deployments season/deployments.csv; says "the last row is half written"
[ "$(foxes dp2 Cy)" = 9 ] || bad "Cy's foxes in observations.csv are $(foxes dp2 Cy)"

# Shards give the same tables.
for i in 1 2; do expect 0 "${survey[@]}" --out s$i --shard $i/2; done
expect 0 "$tundra" merge s1 s2 -o merged
cp S/repeats.csv S/corrections.csv merged/
expect 0 "$tundra" export merged --camtrap-dp dp3 --deployments season/deployments.csv
for f in images.csv events.csv; do cmp -s S/$f merged/$f || bad "merged shards: $f"; done

# Training on it: images with answers become labels.
serve Ann
list=$(seq 0 179 | sed 's/.*/{"id": &}/; s/^\(.*[05]\)}/\1, "set": [{"box": "", "field": "final", "value": "bad"}]}/; s/^\(.*[16]\)}/\1, "set": [{"box": "", "field": "species", "value": "fox:1"}]}/' | paste -sd,)
post save "{\"images\": [$list]}" >out
kill -INT $server; wait $server; server=
for labels in quality species; do
    expect 0 "$tundra" train $labels --corrections S --labels $labels -o both.$labels --image-size 32 --epochs 1 --batch 16 -q
    [ "$(wc -l <both.$labels/labels/labels.csv)" -gt 85 ] || bad "$labels of corrections and of other images"
    expect 0 "$tundra" train --corrections S --labels $labels -o again.$labels --image-size 32 --epochs 1 --batch 4 -q
    [ "$(wc -l <again.$labels/labels/labels.csv)" -gt 5 ] || bad "$labels of corrections"
done
[ "$failures" = 0 ] || { echo "$failures failures"; exit 1; }
echo "all good"
