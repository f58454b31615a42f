#!/usr/bin/env python3
"""YOLOv5 inference of Tundra beside ONNX Runtime and PyTorch (eager, channels_last, torch.compile), in turns.

    python3 -m venv peers && peers/bin/pip install torch torchvision onnxruntime onnx
    cmake --build build --target tundra bench_step
    peers/bin/python bench/compare/detect.py [--work s:640x640 x6:960x1280] [--batch 1] [--out bench/results/NAME.json]

The peers' network is bench/compare/yolo_peer.py, with the same weights as Tundra's (a file that it reads), normalization folded.
From bytes to decoded boxes, which must be equal before timing. Tundra's time also holds the selection of boxes.
"""
import io

import common

args = common.options(__doc__, work=["s:640x640", "x6:960x1280"], batch=1)

import onnxruntime  # noqa: E402  (after the number of threads)
import torch  # noqa: E402
import yolo_peer  # noqa: E402

torch.set_num_threads(args.threads)


def onnx_session(model, images, path):
    if not path.exists():
        buffer = io.BytesIO()
        torch.onnx.export(model, images, buffer, opset_version=17, dynamo=False)
        path.write_bytes(buffer.getvalue())
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = args.threads
    settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, feed)[0]


def without_gradients(run, images):
    def step():
        with torch.no_grad():
            return run(images).numpy()
    return step


torch._inductor.config.freezing = True  # constant weights: folded and packed
for work in args.work:
    size, pixels = work.split(":")
    h, w = map(int, pixels.split("x"))
    images = torch.from_numpy(common.images(args.batch, h, w))
    model = yolo_peer.random_yolo(size, images[:1])
    weights = args.scratch / f"yolov5{size}.safetensors"
    common.write_safetensors(weights, *yolo_peer.safetensors(model))
    steps = {"ONNX Runtime": onnx_session(model, images, args.scratch / f"yolov5{size}-{pixels}-{args.batch}.onnx"),
             "torch eager NCHW": without_gradients(model, images)}
    last = yolo_peer.Yolo(size).eval()
    last.load_state_dict(model.state_dict())
    steps["torch eager channels_last"] = without_gradients(last.to(memory_format=torch.channels_last), images)
    if not args.no_compile:
        steps["torch.compile"] = without_gradients(torch.compile(model), images)
    tundra = common.Tundra(args, "--model", "yolov5" + size, "--size", pixels, "--batch", args.batch, "--inference", "--weights", weights)
    ours = tundra.result()
    checks = [common.check(f"{name}: decoded boxes", ours, step(), 1e-3) for name, step in steps.items()]
    row = {"row": f"yolov5{size} {pixels} batch {args.batch}", "command": f"bench/compare/detect.py --work {work} --batch {args.batch}",
           "checks": checks}
    row |= common.in_turns(args, {"tundra": tundra.run} | {n: common.repeat(s) for n, s in steps.items()}, args.batch, warm=1)
    common.report(args, row)
    tundra.close()
    del steps, model, last
    torch._dynamo.reset()
