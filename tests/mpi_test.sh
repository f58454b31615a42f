#!/usr/bin/env bash
# Several processes train one network, over MPI on this machine: equality with one process, resuming with another number,
# signals, and ranks that fail; about 40 s, of which a lost rank takes 20. Three
# lanes of tests run side by side: most of the time goes into starting ranks. Skipped (77) without mpirun or where the build has no MPI.
# Arguments: the binary, the folder of the sources.
set -uo pipefail
tundra=$(realpath "$1")
[ -f "$(dirname "$tundra")/tundra_mpi.so" ] || { echo "skipped: this build has no MPI"; exit 77; }
command -v mpirun >/dev/null || { echo "skipped: no mpirun"; exit 77; }
. "$(dirname "$0")/expect.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
ranks() { local n=$1; shift; mpirun --oversubscribe --bind-to none -n "$n" "$@"; }

# steps KEY RUN: its value of each step, from the log
steps() { grep '"rate"' "$2/log.jsonl" | sed "s/.*\"$1\":\([-0-9.e+]*\).*/\1/"; }
# close LIMIT A B: the largest relative difference of the losses of the steps
close() {
    paste <(steps loss "$2") <(steps loss "$3") |
        awk -v limit="$1" 'NF != 2 { exit 1 } { d = ($1 - $2) / ($1 > 1e-3 ? $1 : 1e-3); if (d < 0) d = -d; if (d > worst) worst = d; n++ }
            END { printf "%d steps, largest difference of a loss %.1e\n", n, worst; exit !(n > 0 && worst <= limit) }' || bad "losses of $2 and $3"
}
newest() { ls "$1/checkpoints" 2>/dev/null | grep "safetensors$" | sed 's/step-//' | sort -n | tail -1; }

"$tundra" synth scenes --task detect --images 26 --cameras 2 --size 160x128 --seed 3 -q >/dev/null || exit 1
"$tundra" synth shots --task quality --images 62 --cameras 3 --size 64x64 --seed 2 -q >/dev/null || exit 1
boxes=("$work/scenes" --task detect --model yolov5n --image-size 64 --epochs 2 --batch 6 --validation 0.3 --lr 0.0001 --augment none --cache off
       --device cpu --threads 1)

slow=("${boxes[@]}" --epochs 2000 --sync-batch-norm)

# Ranks that fail: begun here, looked at below, because it takes 20 s until a silent one is given up.
cat >rank.sh <<'END'
echo $$ >pid.$OMPI_COMM_WORLD_RANK
[ "$OMPI_COMM_WORLD_RANK" = 1 ] && [ -n "${RANK_1_PRELOADS:-}" ] && export LD_PRELOAD=$RANK_1_PRELOADS
exec "$@"
END
# fault NAME COMMAND...: a training by two ranks in the folder NAME; the command runs there behind the first checkpoint
fault() {
    local name=$1; shift
    mkdir "$name"
    (cd "$name" && { ranks 2 sh ../rank.sh "$tundra" train "${slow[@]}" --save-minutes 0.01 -o run -q >out 2>err; echo "$? $SECONDS" >end; }) &
    (
        for _ in $(seq 600); do [ -n "$(newest "$name/run")" ] && break; sleep 0.1; done
        cd "$name" && echo $SECONDS >fault && "$@" >/dev/null 2>&1
    ) &
}
fault full sh -c 'prlimit --fsize=1000:1000 --pid $(cat pid.0)'
fault killed sh -c 'kill -KILL $(cat pid.1)'
fault all sh -c 'sleep 3; kill -KILL $(cat pid.*)'
fault silent sh -c 'kill -STOP $(cat pid.1)'
RANK_1_PRELOADS=$(dirname "$tundra")/libhang.so fault hanging touch hang

same() { cmp "$1/model.safetensors" "$2/model.safetensors" >out 2>&1 || bad "the models of $1 and $2 differ"
         [ "$(steps loss "$1")" = "$(steps loss "$2")" ] || bad "losses of $1 and $2 differ"
         diff <(sed 's/,[^,]*$//' "$1/metrics.csv") <(sed 's/,[^,]*$//' "$2/metrics.csv") >out || bad "metrics of $1 and $2"; }
# lane NAME...: these tests one after the other, each in a folder of its own; 1 if one fails
lane() {
    for test in "$@"; do
        mkdir "$work/$test"; cd "$work/$test" || return 1
        "$test" >log 2>&1
        sed "s/^/$test: /" log
    done
    return $((failures > 0))
}

# A detector with one process and with two and three ranks: rounding alone makes the difference. Its loss divides by the
# matches of the whole batch.
exact() {
    expect 0 "$tundra" train "${boxes[@]}" -o one -q
    for n in 2 3; do
        expect 0 ranks $n "$tundra" train "${boxes[@]}" -o "sync$n" --sync-batch-norm
        says "$n, each with $((6 / n)) of the 6 images of a step"
        says "sums exposed"
        close 2e-5 one "sync$n"
    done
    [ "$(steps pictures one)" = "$(steps pictures sync3)" ] || bad "images of a step"
    [ "$(ls sync3)" = "$(ls one)" ] || bad "files of a run: $(ls sync3)"
    [ "$(grep -c '"rank": ' sync3/run.json)" = 3 ] || bad "run.json does not name the three ranks"
}

# The same bits by one, two and four ranks with micro-batches of the same size, by two ranks of one part each, and by a run that
# four ranks began and one process ended. Without --sync-batch-norm it is another training.
bits() {
    eight=("${boxes[@]}" --epochs 6 --batch 8 --deterministic)
    for n in 1 2 4; do expect 0 ranks $n "$tundra" train "${eight[@]}" --micro-batch 2 -o "parts$n" -q; done
    same parts1 parts2
    same parts1 parts4
    [ "$(grep -c '"rank": ' parts2/run.json)" = 4 ] || bad "run.json does not name the four parts of a batch"
    (ranks 4 sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' sh "$tundra" train "${eight[@]}" -o elastic -q >out 2>err) &
    job=$!
    for _ in $(seq 200); do [ "$(cat elastic/log.jsonl 2>/dev/null | wc -l)" -ge 2 ] && break; sleep 0.1; done
    kill -TERM "$(cat pid.3)"
    wait $job; code=$?
    [ $code = 143 ] || bad "exit code $code instead of 143"
    expect 2 ranks 3 "$tundra" train "${eight[@]}" -o elastic
    says "the 4 of a batch of 8 cannot be dealt evenly to 3 ranks"
    expect 0 "$tundra" train "${boxes[@]}" --epochs 6 --batch 8 -o elastic -q
    same parts1 elastic
    expect 0 ranks 2 "$tundra" train "${boxes[@]}" -o two -q
    expect 0 "$tundra" train "${boxes[@]}" -o halves --micro-batch 3 -q
    same two halves
    [ "$(steps loss two)" = "$(steps loss ../exact/sync2)" ] && bad "--sync-batch-norm changes nothing"
    expect 2 "$tundra" train "${boxes[@]}" --micro-batch 4 -o refused
    says "--micro-batch 4: must divide --batch 6"
    # Six parts: three of each of two ranks, two of each of three.
    for n in 2 3; do expect 0 ranks $n "$tundra" train "${boxes[@]}" --micro-batch 1 -o "sixths$n" -q; done
    same sixths2 sixths3
    expect 2 ranks 4 "$tundra" train "${boxes[@]}" --micro-batch 1 -o refused
    says "the 6 of a batch of 6 cannot be dealt evenly to 4 ranks"
}

# A classifier whose last batch has 8 images of 12.
classes() {
    shots=("$work/shots" --image-size 32 --epochs 1 --batch 12 --lr 0.001 --cache off --no-drop-last --device cpu --threads 1)
    expect 0 "$tundra" train "${shots[@]}" -o class_one -q
    expect 0 ranks 4 "$tundra" train "${shots[@]}" -o class_four --sync-batch-norm -q
    close 2e-5 class_one class_four
    expect 0 ranks 2 "$tundra" train "${shots[@]}" -o class_parts --sync-batch-norm --micro-batch 3 -q
    same class_four class_parts
    [ "$(steps pictures class_one | tail -1)" = 8 ] || bad "the last batch has $(steps pictures class_one | tail -1) images"
    [ "$(steps pictures class_one)" = "$(steps pictures class_four)" ] || bad "images of a step of a classifier"
}

# An image that one rank cannot read is counted and listed once.
unreadable() {
    cp -r "$work/scenes" bad_scenes; : >"$(find bad_scenes -name '*.jpg' | sort | sed -n 5p)"
    for n in 1 3; do expect 0 ranks $n "$tundra" train bad_scenes "${boxes[@]:1}" --epochs 1 -o bad$n --sync-batch-norm -q; done
    [ "$(wc -l <bad1/bad_files.csv)" = 2 ] || bad "bad_files.csv of one process"
    cmp bad1/bad_files.csv bad3/bad_files.csv || bad "bad_files.csv"
    [ "$(steps pictures bad1)" = "$(steps pictures bad3)" ] || bad "images of a step with a bad one"
}

# A disk that takes its time: the training continues until the next checkpoint is due, 6 s later, and then waits for it.
slow_disk() {
    touch slow
    LD_PRELOAD=$(dirname "$tundra")/libhang.so "$tundra" train "${slow[@]}" --save-minutes 0.1 -o run -q >out 2>err &
    job=$!
    for _ in $(seq 600); do [ -e waiting ] && break; sleep 0.1; done
    local before now then
    before=$(steps step run | tail -1) now=0
    for _ in $(seq 60); do now=$(steps step run | tail -1); [ "$now" -gt "$before" ] && break; sleep 0.1; done
    [ "$now" -gt "$before" ] || bad "the training waits for the checkpoint of step $before"
    for _ in $(seq 20); do then=$now; sleep 1; now=$(steps step run | tail -1); [ "$now" = "$then" ] && break; done
    [ "$now" = "$then" ] || bad "no checkpoint since step $before, and it does not wait"
    [ -z "$(newest run)" ] || bad "there is a checkpoint"
    rm slow
    for _ in $(seq 100); do [ -n "$(newest run)" ] && [ "$(steps step run | tail -1)" -gt "$now" ] && break; sleep 0.1; done
    [ -n "$(newest run)" ] && [ "$(steps step run | tail -1)" -gt "$now" ] || bad "it does not continue behind step $now"
    kill -KILL $job
}

# SIGUSR1 on one rank saves and goes on; SIGTERM on one rank stops all; another number of ranks goes on from there.
signals() {
    ranks 2 sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' sh "$tundra" train "${slow[@]}" -o stop -q >out 2>err &
    job=$!
    for _ in $(seq 200); do [ "$(cat stop/log.jsonl 2>/dev/null | wc -l)" -ge 3 ] && break; sleep 0.1; done
    kill -USR1 "$(cat pid.1)"
    for _ in $(seq 100); do [ -n "$(ls stop/checkpoints 2>/dev/null | grep safetensors$)" ] && break; sleep 0.1; done
    saved=$(newest stop)
    [ -n "$saved" ] || bad "SIGUSR1 saved nothing"
    kill -0 $job 2>/dev/null || bad "SIGUSR1 ended the job"
    sleep 0.5
    kill -TERM "$(cat pid.1)"
    wait $job; code=$?
    [ $code = 143 ] || bad "exit code $code instead of 143 after SIGTERM on a rank"
    says "stopped at step"
    stopped=$(newest stop)
    [ "${stopped%.*}" -gt "${saved%.*}" ] || bad "SIGTERM saved nothing: $saved, $stopped"
    # With one process and with three ranks from the same checkpoint: the same steps.
    cp -r stop stop3
    n=$(($(steps step stop | tail -1) + 3))
    for count in 1 3; do
        run=stop; [ $count = 1 ] || run=stop$count
        ranks $count sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' sh "$tundra" train "${slow[@]}" -o $run -q >out 2>err &
        job=$!
        for _ in $(seq 300); do [ "$(steps step $run | tail -1)" -gt $n ] && break; sleep 0.1; done
        kill -TERM "$(cat pid.0)"
        wait $job
    done
    for run in stop stop3; do
        [ "$(steps step $run | tail -1)" -gt $n ] || bad "$run did not go on behind step $stopped"
        [ -z "$(steps step $run | uniq -d)" ] || bad "$run has a step twice"
        mkdir -p "$run.few"; grep '"rate"' $run/log.jsonl | head -$n | tail -3 >"$run.few/log.jsonl"
    done
    close 2e-5 stop.few stop3.few
}

# Errors: one line that names the rank, the code of the error, and no rank waits for ever.
errors() {
    expect 2 timeout 60 mpirun --oversubscribe -n 2 "$tundra" train "${boxes[@]}" --batch 7 -o odd
    says "--batch 7: cannot be split evenly over 2 ranks; 6 or 8 can"
    one_line
    cp -r "$work/scenes" other; printf x >>"$(find other -name '*.jpg' | sort | head -1)"
    echo 'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then data=$2; else data=$1; fi; shift 2; tundra=$1; shift; exec "$tundra" train "$data" "$@"' >data.sh
    expect 2 timeout 60 mpirun --oversubscribe -n 2 sh data.sh "$work/scenes" other "$tundra" "${boxes[@]:1}" -o differ
    says "rank 1 sees other images"
    one_line
    expect 2 timeout 60 mpirun --oversubscribe -n 2 sh data.sh "$work/scenes" nothing "$tundra" "${boxes[@]:1}" -o gone
    says "tundra: rank 1 on $(hostname)"
    one_line
    expect 6 timeout 100 mpirun --oversubscribe -n 2 "$tundra" train "${boxes[@]}" --epochs 100 --lr 1000 -o diverged -q
    says "rank 0 on"
    one_line
    # Processes that do not know each other would write one run.
    expect 2 env PMI_SIZE=2 "$tundra" train "${boxes[@]}" -o copies
    says "the launcher started 2 processes that cannot work together"
    one_line
    [ -e copies ] && bad "refused, but copies was made"
}

lane exact bits & lanes=$!
lane signals classes & lanes="$lanes $!"
(lane slow_disk unreadable errors) || failures=$((failures + 1))
for lane in $lanes; do wait "$lane" || failures=$((failures + 1)); done

# ---- what ranks that fail leave
says_of() { grep -qF -- "$2" "$1/err" || { cp "$1/err" err; bad "$1: no '$2'"; }; }
# ends NAME CODE: within 30 s of its fault; code 1: any but 0
ends() {
    for _ in $(seq 600); do [ -e "$1/end" ] && break; sleep 0.1; done
    [ -e "$1/end" ] || { bad "$1: does not end"; kill -KILL $(cat "$1"/pid.*); return; }
    local code seconds; read -r code seconds <"$1/end"
    cp "$1/err" err
    [ $((seconds - $(cat "$1/fault"))) -le 30 ] || bad "$1: ended after $((seconds - $(cat "$1/fault"))) s"
    [ "$code" = "$2" ] || { [ "$2" = 1 ] && [ "$code" != 0 ]; } || bad "$1: exit code $code"
    [ -n "$(newest "$1/run")" ] || bad "$1: no checkpoint"
}
ends full 75
one_line
says_of full "the last checkpoint is run/checkpoints/step-"
ends killed 1
# What is lost with all of them: two intervals of 0.6 s at most, and the seconds that the disk of this machine takes.
ends all 1
saved=$(newest all/run)
lost=$(grep '"rate"' all/run/log.jsonl | sed 's/.*"seconds":\([0-9.e-]*\).*"step":\([0-9]*\).*/\1 \2/' | awk -v saved="${saved%.*}" '$2 > saved { t += $1 } END { print int(t) }')
[ "$lost" -le 5 ] || bad "$lost s of the training are lost"
ends silent 75
says_of silent "rank 1 on $(hostname) has not answered"
says_of silent "the checkpoints are in run/checkpoints"
ends hanging 75
says_of hanging "rank 1 on $(hostname): has done nothing for"

exit $((failures > 0))
