#!/bin/bash
# A survey on a Slurm cluster, one part of the images per task. Edit the lines marked here, then
#   sbatch survey_array.sh
# A task that failed, say 4, goes on where it was with
#   sbatch --array=4 survey_array.sh
# When all are done, `tundra merge PARTS/part-* -o SEASON` joins them and refuses if one is missing.
#SBATCH --job-name=tundra-survey
#SBATCH --array=1-8                  # edit: 1 to SHARDS, always from 1
#SBATCH --cpus-per-task=8            # edit; with a GPU also --gres=gpu:1
#SBATCH --mem=16G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=survey-%A_%a.log
set -eu
SHARDS=${SHARDS:-8}                  # edit: stands here and not in --array alone, because a single task cannot know it
IMAGES=${IMAGES:-/data/cards}        # edit
PARTS=${PARTS:-/data/season-parts}   # edit
MODELS=${MODELS:---detector md_v5a.0.0.pt --species runs/species}  # edit

mkdir -p "$PARTS"
# exec: the signals of scancel and of the time limit then reach tundra, which loses nothing of its work. As a child of this
# script it would be killed at once.
# shellcheck disable=SC2086
exec tundra survey "$IMAGES" --out "$PARTS/part-{shard}" --shard "auto/$SHARDS" $MODELS
