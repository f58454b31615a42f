#!/usr/bin/env bash
# The binary from outside: help, exit codes, messages, and every command on a tiny data set.
# Arguments: the binary, the folder of the sources.
set -uo pipefail
tundra=$(realpath "$1") sources=$(realpath "$2")
. "$(dirname "$0")/expect.sh"
export COLUMNS=100

# Help: fits a screen, has examples, and every option has a text.
expect 0 "$tundra" -h; says "Exit codes"; says "tundra train"
[ "$(wc -l <out)" -le 40 ] || bad "tundra -h has more than 40 lines"
for command in $(sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' out); do
    expect 0 "$tundra" "$command" -h; says "Examples:"
    [ "$(wc -l <out)" -le 40 ] || bad "tundra $command -h has more than 40 lines"
    [ "$(wc -L <out)" -le 100 ] || bad "tundra $command -h is wider than 100 columns"
    expect 0 "$tundra" "$command" --help
    grep -qE '^  (-[a-z], )?--[a-z-]+( [A-Za-z=]+)?$' out && [ "$(grep -cE '^ {20,}' out)" = 0 ] && bad "an option of $command has no text"
done
expect 0 env COLUMNS=80 "$tundra" train --help; says "--[no-]decay-norm-and-bias"
tr -s ' \n' ' ' <out | grep -qF '[0.05; detect 0.01; adam 0.001; adamw 0.001]' || bad "train --help has another default of --lr"
[ "$(wc -L <out)" -le 80 ] || bad "train --help is wider than 80 columns"

while read -r code; do
    grep -q "^| $code |" "$sources/docs/reference.md" || bad "docs/reference.md does not explain exit code $code"
done < <("$tundra" -h | sed -n '/^Exit codes/,$p' | grep -oE '(^|  ) +[0-9]+  ' | tr -d ' ')
[ "$(grep -cE '^\| [0-9]+ \|' "$sources/docs/reference.md")" = 11 ] || bad "docs/reference.md has not 11 exit codes"

# Usage errors.
expect 2 "$tundra"
expect 2 "$tundra" trian; says "did you mean 'train'?"; one_line
expect 2 "$tundra" train shots --out run --ephocs 3; says "did you mean --epochs?"; one_line
expect 2 "$tundra" train shots --out run --image_size 3; says "did you mean --image-size?"
expect 2 "$tundra" train shots; says "--out"; one_line
expect 2 "$tundra" train shots --out run --epochs many; says "--epochs"; says "whole number"; one_line
expect 2 "$tundra" detect nowhere -o x.json --iou nan; says "--iou nan: is not a number"; one_line
expect 2 "$tundra" eval nowhere --min-accuracy NaN; says "is not a number"
expect 2 "$tundra" train shots --out run --optimizer sdg; says "did you mean 'sgd'?"
expect 2 "$tundra" train nowhere --out run; says "nowhere"; one_line
expect 2 "$tundra" train nowhere --out run --device gpu; says "gpu"
printf 'epochs = 2\nbach = 8\n' >settings
expect 2 "$tundra" train nowhere --out run --config settings; says "settings:2"; says "did you mean 'batch'?"
expect 2 "$tundra" version extra; says "extra"
expect 2 "$tundra" classify nowhere --model run --out out.csv; says "nowhere"
expect 2 "$tundra" inspect nowhere; says "nowhere"
expect 2 "$tundra" review nowhere; says "nowhere: does not exist"; one_line
mkdir none && expect 2 "$tundra" review none; says "none: is no survey"; one_line
expect 2 "$tundra" train shots --corrections none --out run; says "none: is no survey"; one_line
expect 2 "$tundra" train --corrections none --labels boxes --out run; says "add --task detect"; one_line
expect 2 "$tundra" train --corrections none --out run; says "none: is no survey"; one_line
expect 0 "$tundra" version; says "tundra "
expect 0 "$tundra" version --json; says '"commit"'
expect 0 "$tundra" --version

# Damaged files.
head -c 1000 /dev/urandom >broken.safetensors
expect 4 "$tundra" inspect broken.safetensors; says "broken.safetensors"; one_line

# A data set, a plan, a run.
expect 0 "$tundra" synth shots --images 40 --size 96x64 --cameras 4 --seed 3; says "40 images"
expect 2 "$tundra" synth more --size 96; says "640x480"
expect 2 "$tundra" synth shots; says "is not empty"; one_line
expect 2 "$tundra" train shots --out "$(dirname "$(find shots -name '*.jpg' | head -1)")"; says "holds images; name another folder"; one_line
settings="--image-size 32 --epochs 4 --batch 8 --lr 0.01 --seed 5"
expect 0 "$tundra" train shots --out run $settings --plan
says "2: bad, good"; says "parameters"; says "memory"; says "disk"; says "time"
[ ! -e run ] || bad "--plan made the run folder"
expect 0 "$tundra" train shots --out run $settings; says "epoch   4/4"; says "model.safetensors"
grep -q $'\r\|\x1b' out err && bad "control characters without a terminal"
for file in config run.json log.jsonl metrics.csv model.safetensors evaluation.json bad_files.csv; do
    [ -s "run/$file" ] || bad "the run left no $file"
done
expect 0 "$tundra" train shots --out run $settings; says "--fresh"
expect 2 "$tundra" train shots --out run $settings --lr 0.5; says "lr: 0.01 -> 0.5"; one_line
cp run/model.safetensors first.safetensors

# On a terminal: a bar that is drawn over, and lines that stay whole.
if command -v script >/dev/null; then
    TERM=xterm script -qec "stty cols 100; env -u COLUMNS '$tundra' train shots --out terminal $settings" typed >/dev/null 2>&1 </dev/null
    tr '\r' '\n' <typed >out; : >err
    says "images/s  loss"; says " left"; says "[#"; says "epoch   4/4"
    [ "$(grep 'images/s  loss' out | sed 's/\x1b\[K//g' | wc -L)" -le 100 ] || bad "a line of progress is wider than the terminal"
    rm -rf terminal
fi

# Stopped by a signal, then the same command again: the same bits.
expect 0 "$tundra" train --config run/config --out quiet --quiet; [ ! -s out ] || bad "--quiet is not"
cmp -s first.safetensors quiet/model.safetensors || bad "the same configuration gave other bits"
rm -rf quiet
for signal in TERM INT; do
    for attempt in 1 2 3 4 5; do  # on a busy machine a run may end before the signal comes
        rm -f run/log.jsonl
        (trap - INT; exec "$tundra" train shots --out run $settings --fresh) >out 2>err &
        pid=$!
        until grep -q '"step"' run/log.jsonl 2>/dev/null || ! kill -0 $pid 2>/dev/null; do sleep 0.05; done
        kill -$signal $pid 2>/dev/null
        wait $pid; code=$?
        [ $code = 0 ] || break
    done
    [ $code = $([ $signal = TERM ] && echo 143 || echo 130) ] || bad "SIG$signal gave exit code $code"
    expect 0 "$tundra" train shots --out run $settings; says "resumed at step"
    cmp -s first.safetensors run/model.safetensors || bad "the resumed run gave other bits after SIG$signal"
done
# Killed without warning, three times.
for delay in 1 2 3; do
    "$tundra" train shots --out killed $settings --save-minutes 0.001 >out 2>err &
    pid=$!
    while kill -0 $pid 2>/dev/null && [ "$(cat killed/log.jsonl 2>/dev/null | wc -l)" -le $((delay * 3)) ]; do sleep 0.05; done
    kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null
done
expect 0 "$tundra" train shots --out killed $settings
cmp -s first.safetensors killed/model.safetensors || bad "the killed run gave other bits"
rm -rf killed

# Eval.
expect 0 "$tundra" eval run; says "accuracy"; says "precision"; says "Confusion"; says "Confidence"
expect 0 "$tundra" eval run --part all -o figures.json; says "40 images (all)"
[ "$(grep -c '"file"' figures.json)" = 40 ] || bad "figures.json has not 40 predictions"
expect 0 "$tundra" eval run --part all --json old.json --precision fp32 -q; [ ! -s out ] || bad "-q is not quiet"
cmp -s figures.json old.json || bad "--json is not what --out is"
expect 2 "$tundra" eval run --device cpu --precision fp16; says "fp32 or bf16"; one_line
expect 1 "$tundra" eval run --part all --min-accuracy 1.0; says "--min-accuracy"; one_line
expect 2 "$tundra" eval first.safetensors; says "DATA"
expect 0 "$tundra" eval run --normalize unit -o input.json; says "not imagenet"; grep -q '"input": "32 x 32.*unit' input.json || bad "input.json does not say the input"
expect 0 "$tundra" eval first.safetensors shots/test
expect 2 "$tundra" eval run --part tset; one_line
mkdir -p other/x other/y && cp shots/test/bad/*.jpg other/x && cp shots/test/good/*.jpg other/y
expect 2 "$tundra" eval run other; says "bad, good"

# Classify: names and broken files of every kind.
mkdir -p "new/a b" new/directory.jpg
cp "$(ls shots/test/good/*.jpg | head -1)" "new/a b/ünï cödé, \"q\".jpg"
cp "$(ls shots/test/bad/*.jpg | head -1)" new/z.jpg
cp "$(ls shots/test/bad/*.jpg | head -1)" $'new/line\nbreak\e[31m.jpg'
: >new/empty.jpg
head -c 700 new/z.jpg >new/short.jpg
echo text >new/text.jpg
expect 0 "$tundra" classify new --model run --out new.csv; says "6 images, 3 failed"
grep -q $'\e' out err && bad "a file name reached the terminal unescaped"
[ "$(head -1 new.csv)" = "path,predicted,confidence,p_bad,p_good,reason,detail" ] || bad "new.csv has another first line"
[ "$(grep -cE ',(good|bad),[01]\.[0-9]{6},[01]\.[0-9]{6},[01]\.[0-9]{6},,$' new.csv)" = 3 ] || bad "new.csv has not 3 answers"
grep -q '^new/empty.jpg,,,,,empty_file,' new.csv || bad "new.csv: empty.jpg"
grep -q '^new/text.jpg,,,,,not_a_picture,' new.csv || bad "new.csv: text.jpg"
grep -q '^new/short.jpg,,,,,' new.csv || bad "new.csv: short.jpg"
grep -qF '"new/a b/ünï cödé, ""q"".jpg",' new.csv || bad "new.csv: the name with a comma"
expect 3 "$tundra" classify new --model run --out new.csv --max-failures 2; says "--max-failures"; one_line
expect 0 "$tundra" classify new --model run --out new.csv --max-failures 3
printf '\xef\xbb\xbfnew/z.jpg\r\nnew/gone.jpg\n\nnew/directory.jpg\nnew/z.jpg\n' >list.txt
for list in @list.txt list.txt; do
    expect 0 "$tundra" classify $list --model first.safetensors --out list.jsonl --batch 3; says "3 images, 2 failed"; says "count once"
    [ "$(sed -E 's/.*"path":"([^"]*)".*/\1/' list.jsonl | paste -sd' ')" = "new/z.jpg new/gone.jpg new/directory.jpg" ] ||
        bad "list.jsonl has another order"
    sed -n 2p list.jsonl | grep -q '"reason":"missing"' || bad "list.jsonl: the missing one"
    sed -n 3p list.jsonl | grep -q '"reason":"unreadable"' || bad "list.jsonl: the folder"
done
expect 0 "$tundra" classify new/z.jpg --model run --out one.csv --threshold bad=1.0 --quiet; [ ! -s out ] || bad "--quiet is not"
grep -q '^new/z.jpg,good,' one.csv || bad "--threshold is not kept"
expect 2 "$tundra" classify new --model run --out new.csv --threshold bda=0.9; says "bad, good"
expect 2 "$tundra" classify new --model run --out new.csv --threshold bad=2
expect 2 "$tundra" classify new --model run --out new.txt; says ".jsonl"
expect 0 "$tundra" classify 'new/*.jpg' "new/a b" --model run -o pattern.csv --threads 0; says "6 images, 3 failed"
expect 2 "$tundra" classify 'new/*.png' --model run -o pattern.csv; says "no image matches"; one_line
: >clip.mp4; expect 2 "$tundra" classify clip.mp4 --model run -o pattern.csv; says "1 videos are skipped"; one_line
expect 0 "$tundra" classify clip.mp4 "$(find shots -name '*.jpg' | sort | head -1)" --model run -o mixed.csv; says "1 images"
expect 2 "$tundra" classify new --model nothing --out new.csv; says "nothing"
expect 4 "$tundra" classify new --model broken.safetensors --out new.csv
# What the options say of the input and of the classes, and what is said of another program's file.
expect 0 "$tundra" classify new/z.jpg --model run -o input.csv --image-size 64 --normalize caffe; says "as --image-size says, not 32"; says "as --normalize says, not imagenet"
expect 0 "$tundra" classify new/z.jpg --model run -o input.csv --classes worse,better -q; says "not bad, good"; head -1 input.csv | grep -q p_better || bad "--classes"
expect 2 "$tundra" classify new/z.jpg --model run -o input.csv --classes a,b,c; says "names 3 classes"; says "has 2"; one_line
expect 2 "$tundra" classify new/z.jpg --model run -o input.csv --normalize 1/0; says "MEAN/DEVIATION"; one_line
expect 2 "$tundra" classify new/z.jpg --model run -o input.csv --resize 300; says "--fit crop"; one_line
expect 0 "$tundra" import run/model.safetensors -o again.safetensors --normalize tf --classes b,a
expect 0 "$tundra" inspect again.safetensors; says "x / 127.5 - 1"; says '["b","a"]'
expect 0 "$tundra" classify new/z.jpg --model again.safetensors -o input.csv -q; [ ! -s err ] || bad "an imported file needs words"
mkdir empty; expect 2 "$tundra" classify empty --model run --out new.csv; says "no images"
# Classify: stopped by a signal, killed at random moments, then the same command again: the same file.
for copy in 1 2 3 4 5; do mkdir -p many/$copy; cp $(find shots -name '*.jpg') many/$copy; done
find many -name '*.jpg' | sort >many.txt; printf 'new/gone.jpg\nnew/short.jpg\n' >>many.txt
many="classify many.txt --model run --threads 1 --batch"
expect 0 "$tundra" $many 2 --out whole.jsonl; says "202 images, 2 failed"
[ ! -e whole.jsonl.journal ] || bad "the journal was left behind"
RANDOM=5; kills=0; resumed=0
for try in $(seq 60); do
    [ ! -e killed.jsonl ] || break
    lines=$(cat killed.jsonl.journal 2>/dev/null | wc -l)
    [ "$lines" -lt 2 ] || resumed=$((resumed + 1))
    "$tundra" $many 2 --out killed.jsonl >out 2>err &
    pid=$!
    until [ "$(cat killed.jsonl.journal 2>/dev/null | wc -l)" -ge $((lines + try % 3)) ] || ! kill -0 $pid 2>/dev/null; do sleep 0.01; done
    sleep 0.0$((RANDOM % 10))
    if [ $try = 4 ]; then
        kill -TERM $pid 2>/dev/null; wait $pid; code=$?
        [ $code = 143 ] || bad "SIGTERM gave exit code $code"
        says "run the same command again to resume"
        expect 2 "$tundra" $many 3 --out killed.jsonl; says "batch: 2 -> 3"; one_line
        expect 2 "$tundra" $many 2 --out killed.jsonl --normalize unit; says "input: "; one_line
        expect 2 "$tundra" classify list.txt --model run --batch 2 --out killed.jsonl; says "pictures: 202 -> 3"
    else
        kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null; [ $? != 137 ] || kills=$((kills + 1))
    fi
    [ "$(cat killed.jsonl.journal 2>/dev/null | wc -l)" -ge "$lines" ] || [ -e killed.jsonl ] || bad "the journal lost lines"
    [ $((try % 2)) = 0 ] || [ ! -s killed.jsonl.journal ] || printf '0123456789abcdef [["",' >>killed.jsonl.journal  # within a write
done
expect 0 "$tundra" $many 2 --out killed.jsonl
cmp -s whole.jsonl killed.jsonl || bad "the killed run gave another file"
[ ! -e killed.jsonl.journal ] || bad "the journal was left behind"
[ $kills -ge 3 ] && [ $resumed -ge 3 ] || bad "$kills kills and $resumed resumed runs show nothing"

[ "$(id -u)" = 0 ] || { mkdir locked; chmod 500 locked; expect 75 "$tundra" classify new --model run --out locked/new.csv; }

# A detector: labels that are none, a run, its figures, its use.
expect 0 "$tundra" synth scenes --task detect --pictures 30 --size 96x64 --cameras 4 --seed 3
small="--task detect --model yolov5n --image-size 64 --batch 8 --epochs 2 --seed 5"
echo '{"detection_categories": {}, "images": []}' >found.json
expect 2 "$tundra" train found.json --out boxes $small; says "results of a detector, not labels"; one_line
expect 2 "$tundra" train scenes --out boxes --model yolov5n; says "--task detect"; one_line
expect 2 "$tundra" train scenes --out boxes $small --class-weights balanced; says "class_weights"; one_line
expect 0 "$tundra" train scenes --out boxes $small --plan; says "3: animal, person, vehicle"; says "boxes to train on"
expect 0 "$tundra" train scenes --out boxes $small; says "validation map50"; says "model.safetensors"
expect 0 "$tundra" train scenes --out boxes $small; says "--fresh"
[ -s boxes/report.html ] || bad "no report of the detector"
expect 0 "$tundra" inspect boxes; says "YOLOv5n"
expect 0 "$tundra" eval boxes; says "mAP50"; says "the best F1"; says "true positive"
expect 0 "$tundra" eval boxes scenes/annotations.json --part all; says "30 images (all)"
[ ! -s err ] || bad "eval prints notes about training"
[ "$(wc -l <out)" -le 20 ] || bad "eval of a detector does not fit a screen"
expect 1 "$tundra" eval boxes scenes/annotations.json --part all --min-map50 1; says "--min-map50"; one_line
expect 2 "$tundra" eval boxes --min-accuracy 0.5; says "--min-map50"; one_line
expect 0 "$tundra" detect scenes/images -o boxes.json --model boxes; says "30 images"
expect 0 "$tundra" detect 'scenes/images/*.jpg' -o quiet.json --model boxes --threads 0 --overlap 0.45 -q; [ ! -s out ] || bad "-q is not quiet"
cmp -s <(grep '"file"' boxes.json) <(grep '"file"' quiet.json) || bad "a pattern and a folder give different results"
"$tundra" detect --help | grep -q -- '--overlap' && bad "an old spelling is in the help"
for old in --overlap --iou; do expect 2 "$tundra" detect scenes/images -o boxes.json --model boxes $old 2; says --iou; done
expect 2 "$tundra" detect scenes/images -o boxes.json --model empty; says "holds no model"; one_line
expect 2 "$tundra" eval nothing; says "nothing: no such file or folder"; one_line

# Inspect, lr-find, doctor.
expect 0 "$tundra" inspect run; says "finished"; says "conv1.weight"
expect 0 "$tundra" inspect first.safetensors; says "resnet50"
# A name with control characters and marks that turn the direction of writing: U+202E, U+009B (CSI), U+2066.
header='{"__metadata__":{"k\u001b]0;x":"v\u202e"},"a\u202eb\u009b31mc\u2066":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
printf -v length '\\x%02x' ${#header}
{ printf "$length\\0\\0\\0\\0\\0\\0\\0"; printf %s "$header"; printf '\0\0\0\0'; } >hostile.safetensors
expect 0 "$tundra" inspect hostile.safetensors; says 'a\xe2\x80\xaeb\xc2\x9b31mc\xe2\x81\xa6'; says '\x1b]0;x'
LC_ALL=C grep -q $'\x9b\|\xae\|\x1b' out err && bad "a name in a weight file reached the terminal unescaped"
expect 0 "$tundra" lr-find shots --image-size 32 --batch 4 --steps 50 --last 1 --first 1e-5 --out lr; says "tundra train"; says "valley"
[ -s lr.csv ] && [ -s lr.svg ] || bad "lr-find wrote no curve"
expect 2 "$tundra" lr-find shots --steps 3; says "50"
"$tundra" doctor --json >out 2>err; code=$?
[ $code = 0 ] || [ $code = 75 ] || bad "doctor gave exit code $code"
grep -A1 '"self_test"' out | grep -q '"good": true' || bad "the self-test of doctor failed"

# A loss that is lost, and memory that is not there.
expect 6 "$tundra" train shots --out lost --image-size 32 --batch 8 --epochs 30 --lr 1000 --start-div 1 --weight-decay 1; says "--lr"; one_line
# A sanitizer's shadow memory does not fit under any limit; what runs out first depends on the libraries in the program.
(ulimit -v 1500000; "$tundra" version >/dev/null 2>&1 || exit 0; expect 5 "$tundra" train shots --out large --image-size 512 --batch 64
    grep -Eq '[0-9]{8} MB' out err && bad "no machine has so much memory: $(cat err)"
    named=$(sed -n 's/.*--batch \([0-9]*\) would fit.*/\1/p' err); [ "${named:-1}" -lt 64 ] || bad "batch $named was asked for"
    exit $failures) || failures=$((failures + 1))

[ $failures = 0 ] && echo "all is as it should be" || { echo "$failures failures"; exit 1; }
