#!/usr/bin/env bash
# A YOLO11 or YOLOv8 that was trained with ultralytics 8.4.0 to 8.4.120 is another network under the same names: its
# weights load without an error into every other release, and find other boxes there.
#
# Packages: ultralytics 8.3.145, 8.4.14, 8.4.120 and 8.4.190, PyTorch 2.15.
# Input:    the network of yolo11n.yaml as 8.4.14 builds it, random weights; its state_dict, loaded with strict=True
#           into the networks that the four releases build from their own yolo11n.yaml; the same random image.
# Guess:    SPPF (the block of pools) begins with convolution, normalization and SiLU, as in YOLOv5, YOLOv8 and YOLO11
#           since 2020, in every release. All four give the same numbers.
# What it does: 8.4.14 and 8.4.120 build SPPF's first convolution without its SiLU, for all networks that have the
#           block, also the old ones; 8.3.145 and 8.4.190 build it with SiLU. Names, shapes and types of all tensors
#           are equal, the load succeeds, and boxes differ. Only the pickled module in a .pt file says which network it
#           is (Identity or SiLU at model.9.cv1.act); a state_dict, a safetensors copy or a network rebuilt from the
#           yaml does not.
# Ends with 0 while this is so, with 1 when it has changed. Needs Python 3.10 to 3.13; downloads about 3 GB, nearly all
# of it PyTorch, or 100 MB where TORCH_SITE names the site-packages of the same Python with PyTorch and torchvision.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
if [ -n "${TORCH_SITE:-}" ]; then
    "$folder/python/bin/python" -c 'import sys, sysconfig; open(sysconfig.get_path("purelib") + "/torch.pth", "w").write(sys.argv[1])' "$TORCH_SITE"
else
    "$folder/python/bin/pip" -q install torch==2.15.0 torchvision==0.29.2
fi
"$folder/python/bin/pip" -q install opencv-python-headless==4.12.0.88 pillow pyyaml requests psutil matplotlib tqdm py-cpuinfo \
    pandas polars scipy
releases="8.3.145 8.4.14 8.4.120 8.4.190"
for release in $releases; do
    "$folder/python/bin/pip" -q install --no-deps --target "$folder/$release" "ultralytics==$release"
done
cat > "$folder/try.py" <<'PYTHON'
import os
import sys

sys.path.insert(0, sys.argv[1])
import torch
from ultralytics.nn.tasks import DetectionModel

file = sys.argv[2]
torch.manual_seed(0)
network = DetectionModel('yolo11n.yaml', nc=3, verbose=False)
image = torch.rand(2, 3, 320, 320, generator=torch.Generator().manual_seed(1))
if not os.path.exists(file):
    for layer in network.modules():  # statistics of this image: signals of random layers do not fade then
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    network.train()(image)
    torch.save(network.state_dict(), file)
network.load_state_dict(torch.load(file), strict=True)
network.eval()
with torch.no_grad():
    y = network(image)
y = y[0] if isinstance(y, (tuple, list)) else y
print(type(network.model[9].cv1.act).__name__, f'{y.double().abs().sum().item():.3f}')
PYTHON
export YOLO_CONFIG_DIR=$folder YOLO_VERBOSE=False YOLO_AUTOINSTALL=false
answer() { "$folder/python/bin/python" "$folder/try.py" "$folder/$1" "$folder/weights.pt" 2>/dev/null | tail -1; }
answer 8.4.14 > "$folder/first"
for release in $releases; do echo "$release $(answer "$release")" | tee -a "$folder/seen"; done
awk '{act[$1] = $2; sum[$1] = $3 + 0}
    END {
        same = act["8.4.14"] == "Identity" && act["8.4.120"] == "Identity" && act["8.3.145"] == "SiLU" && act["8.4.190"] == "SiLU"
        apart = sum["8.4.14"] - sum["8.4.190"]
        without = sum["8.4.14"] - sum["8.4.120"]
        with = sum["8.3.145"] - sum["8.4.190"]
        exit !(same && apart * apart > 1e-4 && without * without < 1e-4 && with * with < 1e-4)
    }' "$folder/seen"
