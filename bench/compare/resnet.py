#!/usr/bin/env python3
"""ResNet-50 steps of Tundra beside PyTorch (eager NCHW, channels_last, torch.compile) and ONNX Runtime, in turns.

    python3 -m venv peers && peers/bin/pip install torch torchvision onnxruntime onnx
    cmake --build build --target tundra bench_step
    peers/bin/python bench/compare/resnet.py [--work train:224:8 train:64:32 infer:224:1 infer:224:16] [--out bench/results/NAME.json]

Training: forward, cross-entropy over 1000 classes, backward, SGD with momentum and weight decay on every parameter, float32.
Both start from the same weights and the same 8-bit images in memory, which they normalise in the step. Before timing, three
training steps must give the same losses (each block starts as the identity: other random weights amplify rounding), and
inference the same probabilities.
"""
import io

import common

args = common.options(__doc__, work=["train:224:8", "train:64:32", "infer:224:1", "infer:224:16"])

import numpy  # noqa: E402  (after the number of threads)
import torch  # noqa: E402
import torchvision  # noqa: E402

torch.set_num_threads(args.threads)
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255


def weights(training):
    """Random. Inference: with statistics of real activations, otherwise they overflow after 50 layers."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50(num_classes=1000, zero_init_residual=training)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.momentum = None  # the mean of all batches
    model.train()
    with torch.no_grad():
        model((torch.from_numpy(common.images(4, 224, 224)).permute(0, 3, 1, 2).float() - MEAN) / DEVIATION)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.momentum = 0.1
    state = model.state_dict()
    path = args.scratch / f"resnet50-{'train' if training else 'infer'}.safetensors"
    common.write_safetensors(path, {n: t.numpy() for n, t in state.items() if t.dtype == torch.float32})
    return state, path


class Normalised(torch.nn.Module):
    """The network from bytes on; inference ends with probabilities."""

    def __init__(self, network, probabilities):
        super().__init__()
        self.network, self.probabilities = network, probabilities
        self.register_buffer("scale", 1 / DEVIATION, persistent=False)
        self.register_buffer("shift", -MEAN / DEVIATION, persistent=False)

    def forward(self, x):
        y = self.network(x.permute(0, 3, 1, 2).float() * self.scale + self.shift)
        return y.softmax(1) if self.probabilities else y


class Torch:
    def __init__(self, state, training, images, channels_last, compiled):
        network = torchvision.models.resnet50(num_classes=1000)
        network.load_state_dict(state)
        if channels_last:
            network = network.to(memory_format=torch.channels_last)
        self.model = Normalised(network, not training).train(training)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        self.images, self.labels, self.training = images, torch.arange(len(images)) % 1000, training
        if compiled and not training:
            torch._inductor.config.freezing = True  # constant weights: folded and packed
        self.run = torch.compile(self.model) if compiled else self.model

    def step(self):
        if not self.training:
            with torch.inference_mode(False), torch.no_grad():
                return self.run(self.images).numpy()
        loss = torch.nn.functional.cross_entropy(self.run(self.images), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def onnx_runtime(state, images):
    import onnxruntime
    network = torchvision.models.resnet50(num_classes=1000)
    network.load_state_dict(state)
    buffer = io.BytesIO()
    torch.onnx.export(Normalised(network, True).eval(), images, buffer, opset_version=17, dynamo=False)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = args.threads
    settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(buffer.getvalue(), settings, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, feed)[0]


for work in args.work:
    kind, size, batch = work.split(":")[0], int(work.split(":")[1]), int(work.split(":")[2])
    training = kind == "train"
    state, path = weights(training)
    images = torch.from_numpy(common.images(batch, size, size))
    modes = {"torch eager NCHW": (False, False), "torch eager channels_last": (True, False)}
    if not args.no_compile:
        modes["torch.compile"] = (training, True)  # inference: Inductor chooses layouts itself when weights are frozen
    steps = {name: Torch(state, training, images, *mode).step for name, mode in modes.items()}
    if not training:
        steps["ONNX Runtime"] = onnx_runtime(state, images)
    tundra = common.Tundra(args, "--size", size, "--batch", batch, "--weights", path, *([] if training else ["--inference"]))
    ours, checks = tundra.result(), []
    for name, step in steps.items():
        theirs = [step() for _ in range(3)] if training else step()
        checks.append(common.check(f"{name}: {'losses of three steps' if training else 'probabilities'}", ours, theirs, 1e-3))
    row = {"row": f"resnet50 {work}", "command": f"bench/compare/resnet.py --work {work}", "checks": checks}
    row |= common.in_turns(args, {"tundra": tundra.run} | {n: common.repeat(s) for n, s in steps.items()}, batch)
    common.report(args, row)
    tundra.close()
    del steps
    torch._dynamo.reset()
