#!/bin/bash
# A training over several nodes of a Slurm cluster, which goes on in a new job whenever its time is up. Edit the lines marked
# here, then
#   sbatch train.sh
#SBATCH --job-name=tundra-train
#SBATCH --nodes=2                    # edit
#SBATCH --ntasks-per-node=2          # edit: ranks, such as one per socket
#SBATCH --cpus-per-task=16           # edit
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120          # to this script, 120 s before the end
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=train-%j.log
set -u
DATA=${DATA:-/data/shots}            # edit
RUN=${RUN:-/data/runs/quality}       # edit
OPTIONS=${OPTIONS:---batch 128 --device cpu}         # edit; --batch is that of all ranks together
LAUNCH=${LAUNCH-srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=$SLURM_CPUS_PER_TASK}  # or mpirun, with the options at the end of docs/scaling.md

# shellcheck disable=SC2086
$LAUNCH tundra train "$DATA" --out "$RUN" $OPTIONS &
training=$!
requeue() {
    echo "train.sh: the time is nearly up: saving"
    kill -USR1 "$training"  # handed on to all ranks: rank 0 saves, all go on
    sleep "${SAVE_SECONDS:-60}"
    scontrol requeue "$SLURM_JOB_ID" && echo "train.sh: goes on in a new job from $(newest)"
}
newest() { find "$RUN/checkpoints" -name 'step-*.safetensors' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -1 | cut -d' ' -f2-; }
trap requeue USR1
# A script without a trap would die of SIGTERM, and the ranks be killed before they have saved.
trap 'kill -TERM "$training"' TERM

code=0
while :; do  # a signal ends `wait`, not the training
    wait "$training"; code=$?
    kill -0 "$training" 2>/dev/null || break
done
[ $code = 0 ] || echo "train.sh: ended with code $code; the newest checkpoint is $(newest); sbatch again to resume"
exit $code
