#!/bin/bash
# The demo's classifier in float32 and in bf16 on the device cpu, three seeds each: accuracy on the test images, peak memory.
#   scripts/bf16_accuracy.sh TUNDRA FOLDER [IMAGES=3000] [EPOCHS=9] [SIZE=64]
set -eu
tundra=$1 folder=$2 images=${3:-3000} epochs=${4:-9} size=${5:-64}
mkdir -p "$folder"
[ -d "$folder/images" ] || "$tundra" synth "$folder/images" --images "$images" --cameras 24 --size 320x240 --seed 1
echo "precision  seed  accuracy, validation  test    check of bf16  peak memory"
for seed in 1 2 3; do
    for precision in fp32 bf16; do
        run=$folder/$precision-$seed
        "$tundra" train "$folder/images" -o "$run" --image-size "$size" --batch 32 --epochs "$epochs" --optimizer adam --lr 0.001 \
            --test 0.2 --seed "$seed" --device cpu --precision $precision -q 2>"$run.notes" || cat "$run.notes"
        python3 - "$run" $precision $seed <<'PYTHON'
import json, struct, sys
run, precision, seed = sys.argv[1:]
parts = json.load(open(f"{run}/evaluation.json"))["parts"]
accuracy = lambda part: parts[part]["metrics"]["accuracy"]
with open(f"{run}/model.safetensors", "rb") as file:
    header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
check = json.loads(header["__metadata__"].get("tundra.bf16", "{}"))
memory = json.load(open(f"{run}/run.json"))["sessions"][-1]["peak_memory_bytes"]
said = "passed" if check.get("passed") else "failed" if check else "too few images"
print(f"{precision:9}  {seed:>4}  {accuracy('validation'):>20.4f}  {accuracy('test'):.4f}  {said:<13}  {memory / 1e9:.2f} GB")
PYTHON
    done
done
