#!/usr/bin/env python3
"""YOLO inference of Tundra beside ONNX Runtime, OpenVINO and PyTorch (eager, channels_last, torch.compile), in turns.

    python3 -m venv peers && peers/bin/pip install torch torchvision onnxruntime onnx openvino
    cmake --build build --target tundra bench_step
    peers/bin/python bench/compare/detect.py [--work yolov5s:640x640 yolo11s:736x960 ...] [--batch 1] [--precision bf16]
        [--out bench/results/NAME.json]

The peers' networks are bench/compare/yolo_peer.py and anchor_free_peer.py, with the same weights as Tundra's (a file that it reads), normalization folded.
From bytes to decoded boxes, which must be equal before timing. Tundra's time also holds the selection of boxes. With --precision bf16 the peers
are OpenVINO and torch.compile, which have such a mode; random weights amplify its rounding, so 0.02 of the largest coordinate and 0.05
of the largest score may differ.
"""
import io

import common

args = common.options(__doc__, work=["yolov5s:640x640", "yolov5x6:960x1280", "yolo11s:736x960", "yolo11l:480x640", "yolov9c:480x640"], batch=1, precision="fp32")
HALF = args.precision == "bf16"

import anchor_free_peer  # noqa: E402  (after the number of threads)
import onnxruntime  # noqa: E402
import openvino  # noqa: E402
import torch  # noqa: E402
import yolo_peer  # noqa: E402

torch.set_num_threads(args.threads)


def export(model, images, path):
    if not path.exists():
        buffer = io.BytesIO()
        torch.onnx.export(model, images, buffer, opset_version=17, dynamo=False)
        path.write_bytes(buffer.getvalue())
    return path


def onnx_session(images, path):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = args.threads
    settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, feed)[0]


def openvino_request(images, path):
    settings = {"INFERENCE_NUM_THREADS": args.threads, "INFERENCE_PRECISION_HINT": "bf16" if HALF else "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return lambda: request.infer([images.numpy()])[0]


def without_gradients(run, images):
    def step():
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=HALF):
            return run(images).float().numpy()
    return step


torch._inductor.config.freezing = True  # constant weights: folded and packed
for work in args.work:
    name, pixels = work.split(":")
    h, w = map(int, pixels.split("x"))
    images = torch.from_numpy(common.images(args.batch, h, w))
    weights = args.scratch / f"{name}.safetensors"
    if name.startswith("yolov5"):
        model = yolo_peer.random_yolo(name[6:], images[:1])
        last = yolo_peer.Yolo(name[6:]).eval()
        common.write_safetensors(weights, *yolo_peer.safetensors(model))
    else:
        model = anchor_free_peer.random_anchor_free(name, images[:1])
        last = anchor_free_peer.AnchorFree(name).eval()
        common.write_safetensors(weights, *anchor_free_peer.safetensors(model, name))
    file = export(model, images, args.scratch / f"{name}-{pixels}-{args.batch}.onnx")
    steps = {"OpenVINO": openvino_request(images, file)}
    last.load_state_dict(model.state_dict())
    if not HALF:
        steps["ONNX Runtime"] = onnx_session(images, file)
        steps["torch eager NCHW"] = without_gradients(model, images)
        steps["torch eager channels_last"] = without_gradients(last.to(memory_format=torch.channels_last), images)
    if not args.no_compile:
        steps["torch.compile"] = without_gradients(torch.compile(model), images)
    tundra = common.Tundra(args, "--model", name, "--size", pixels, "--batch", args.batch, "--inference", "--weights", weights,
                           "--precision", args.precision)
    ours = tundra.result()
    checks = []
    for peer, step in steps.items():
        theirs = step()
        for what, columns, half in (("boxes", slice(0, 4), 0.02), ("objectness", slice(4, 5), 0.05), ("classes", slice(5, None), 0.05)):
            checks.append(common.check(f"{name}, {peer}: {what}", ours.reshape(theirs.shape)[..., columns], theirs[..., columns], half if HALF else 1e-3))
    mode = f" {args.precision}" if HALF else ""
    row = {"row": f"{name} {pixels} batch {args.batch}{mode}", "checks": checks,
           "command": f"bench/compare/detect.py --work {work} --batch {args.batch} --precision {args.precision}"}
    row |= common.in_turns(args, {"tundra": tundra.run} | {n: common.repeat(s) for n, s in steps.items()}, args.batch, warm=1)
    common.report(args, row)
    tundra.close()
    del steps, model, last
    torch._dynamo.reset()
