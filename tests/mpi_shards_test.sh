#!/usr/bin/env bash
# --shard auto and the scripts for Slurm, with a faked environment; about 12 s.
# Arguments: the binary, the folder of the sources.
set -uo pipefail
tundra=$(realpath "$1") slurm=$(realpath "$2")/scripts/slurm
. "$(dirname "$0")/expect.sh"
unset "${!SLURM_@}" "${!OMPI_@}" "${!PMI_@}"

"$tundra" synth scenes --task detect --images 10 --cameras 2 --size 160x128 --seed 3 -q >/dev/null || exit 1
shard() { sed -n 's/.*"shard": *"\([^"]*\)".*/\1/p' "$1"; }
array() { env SLURM_ARRAY_TASK_ID="$1" SLURM_ARRAY_TASK_MIN="$2" SLURM_ARRAY_TASK_MAX="$3" SLURM_ARRAY_TASK_COUNT="$4" "${@:5}"; }
detect=("$tundra" detect scenes/images -q --threads 1 --image-size 128)

# A whole array counts its shards; a task alone must be told, or finds its earlier result.
for task in 1 2 3; do
    expect 0 array $task 1 3 3 "${detect[@]}" -o 'part-{shard}.json' --shard auto
    [ "$(shard part-$task.json)" = "$task/3" ] || bad "task $task has shard $(shard part-$task.json)"
done
expect 0 "$tundra" merge part-{1,2,3}.json -o all.json
expect 2 array 2 2 2 1 "${detect[@]}" -o new.json --shard auto
says "task 2 cannot know of how many shards it is one"
one_line
expect 0 array 2 2 2 1 "${detect[@]}" -o 'part-{shard}.json' --shard auto
[ "$(shard part-2.json)" = 2/3 ] || bad "submitted again: shard $(shard part-2.json)"
expect 0 array 3 3 3 1 "${detect[@]}" -o 'told-{shard}.json' --shard auto/5
[ "$(shard told-3.json)" = 3/5 ] || bad "auto/5: shard $(shard told-3.json)"
# 1-7:3 is not 1-3, 0-2 does not count from 1, task 6 is none of five.
expect 2 array 4 1 7 3 "${detect[@]}" -o new.json --shard auto
expect 2 array 0 0 2 3 "${detect[@]}" -o new.json --shard auto
says "use --array=1-N"
expect 2 array 6 6 6 1 "${detect[@]}" -o new.json --shard auto/5
expect 2 "${detect[@]}" -o new.json --shard auto
says "neither a task of a Slurm array nor a rank"
expect 2 "${detect[@]}" -o new.json --shard autos
# Ranks, which share one command line.
for rank in 0 1; do
    expect 0 env OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_SIZE=2 "${detect[@]}" -o 'rank-{shard}.json' --shard auto
done
[ "$(shard rank-2.json)" = 2/2 ] || bad "rank 1: shard $(shard rank-2.json)"
expect 2 env OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 "${detect[@]}" -o rank.json --shard auto
says "put {shard} into its name"

# classify: what merge joins are the bytes of the whole table; a name with quotes and a line break, files that are no images.
cp -r scenes/images "odd"; cp "$(find odd -name '*.jpg' | sort | head -1)" odd/$'a "b",\nc.jpg'; : >odd/empty.jpg
"$tundra" synth shots --task quality --images 30 --cameras 2 --size 64x64 --seed 2 -q >/dev/null || exit 1
expect 0 "$tundra" train shots -o quality --image-size 32 --epochs 1 --batch 8 --device cpu --threads 1 -q
classify=("$tundra" classify odd --model quality -q --threads 1 --batch 3)
for format in csv jsonl; do
    expect 0 "${classify[@]}" -o whole.$format
    for task in 1 2 3; do expect 0 array $task 1 3 3 "${classify[@]}" -o "class-{shard}.$format" --shard auto; done
    expect 0 "$tundra" merge class-{3,1,2}.$format -o joined.$format
    says "12 images from 3 shards, none missing"
    cmp whole.$format joined.$format || bad "joined.$format is not whole.$format"
    expect 2 "$tundra" merge class-{1,3}.$format -o joined.$format
    says "shard 2 of 3 is missing"
    expect 2 "$tundra" merge class-{1,2,2}.$format -o joined.$format
    says "are both shard 2 of 3"
    expect 2 "$tundra" merge whole.$format -o joined.$format
    says "is no part of a list"
    cmp whole.$format joined.$format || bad "a refused merge changed joined.$format"
    head -c -1 class-2.$format >cut.$format
    expect 4 "$tundra" merge class-1.$format cut.$format class-3.$format -o joined.$format
    sed '$d' class-2.$format >short.$format
    expect 4 "$tundra" merge class-1.$format short.$format class-3.$format -o joined.$format
    says "shard 2 of 3 has 4"
    sed 's/empty/other/' class-2.$format >renamed-2.$format; sed 's/empty/other/' class-1.$format >renamed-1.$format
    sed 's/empty/other/' class-3.$format >renamed-3.$format
    expect 4 "$tundra" merge renamed-{1,2,3}.$format -o joined.$format
    says "are not those of the list"
    expect 0 "${classify[@]}" -o strict.$format --shard 2/3 --threshold good=0.9
    expect 2 "$tundra" merge class-1.$format strict.$format class-3.$format -o joined.$format
    says "with other settings"
    # Submitted again alone, it knows from its table which shard it is.
    expect 0 array 2 2 2 1 "${classify[@]}" -o "class-{shard}.$format" --shard auto
done
for i in $(seq 13); do "${classify[@]}" -o many-$i.csv --shard $i/13 2>err; done  # the last part is empty, one has no good image
expect 0 "$tundra" merge many-*.csv -o joined.csv
cmp whole.csv joined.csv || bad "13 parts of 12 images"
expect 2 "$tundra" merge class-1.csv class-2.jsonl class-3.csv -o joined.csv
expect 2 array 2 2 2 1 "${classify[@]}" -o new.csv --shard auto
says "task 2 cannot know of how many shards it is one"

# The scripts as people start them.
mkdir bin; ln -s "$tundra" bin/tundra
export PATH=$PWD/bin:$PATH
export IMAGES=$PWD/scenes/images PARTS=$PWD/parts SHARDS=2 MODELS="--threads 1 -q"
for task in 1 2; do expect 0 array $task 1 2 2 bash "$slurm/survey_array.sh"; done
expect 0 "$tundra" merge parts/part-1 parts/part-2 -o season
[ "$(wc -l <season/images.csv)" = 11 ] || bad "the merged survey has $(wc -l <season/images.csv) lines"

# train.sh: near the end of its time it saves by SIGUSR1 and asks for a new job; SIGTERM reaches the training, which saves.
cat >bin/scontrol <<'END'
#!/bin/sh
echo "scontrol $*" >>"$CALLS"
END
chmod +x bin/scontrol
export CALLS=$PWD/calls SAVE_SECONDS=1 SLURM_JOB_ID=17 SLURM_CPUS_PER_TASK=1 DATA=$PWD/scenes RUN=$PWD/run LAUNCH=""
export OPTIONS="--task detect --model yolov5n --image-size 64 --batch 2 --validation 0.3 --epochs 5000 --threads 1 --device cpu -q"
bash "$slurm/train.sh" >out 2>err &
job=$!
for _ in $(seq 200); do [ "$(cat run/log.jsonl 2>/dev/null | wc -l)" -ge 2 ] && break; sleep 0.1; done
kill -USR1 $job
for _ in $(seq 100); do grep -q requeue calls 2>/dev/null && break; sleep 0.1; done
grep -q "scontrol requeue 17" calls || bad "no new job was asked for"
[ -n "$(ls run/checkpoints | grep safetensors$)" ] || bad "SIGUSR1 saved nothing"
before=$(ls run/checkpoints)
kill -0 $job 2>/dev/null || bad "SIGUSR1 ended the script"
sleep 0.5
kill -TERM $job
wait $job; code=$?
[ $code = 143 ] || bad "exit code $code instead of 143"
says "the newest checkpoint is $RUN/checkpoints/step-"
[ "$(ls run/checkpoints)" != "$before" ] || bad "SIGTERM saved nothing"
exit $((failures > 0))
