"""Trains digits.onnx, measures it and writes its manifest, sample images, golden file and figures.

What is true of the model:
  * `image_gray` (see `features.py`) -> two 3 x 3 convolutions of 32 channels -> 64 rectified units -> 10, softmax.
  * It learns from the first 1,297 of scikit-learn's digits, each redrawn larger, turned, slanted, scaled, thickened or thinned,
    and noisy; then through the same pre-processor as any image. The last 500 are held out, as they are.
  * The graph that is measured is the file that is written, run by ONNX Runtime.

Run: python train.py      writes digits.onnx, container.toml, samples/, golden.json and evaluation.json beside this file
"""

import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

from drawings import drawings
from features import HEIGHT, MARGIN, SCALE, THRESHOLD, WIDTH, features, gray

HERE = Path(__file__).parent
HELD_OUT, COPIES, EPOCHS, BATCH, CHANNELS, HIDDEN = 500, 24, 8, 128, 32, 64
SAMPLES = ["font-DejaVuSerif-2", "strokes-4", "strokes-7"]


def redrawn(image, rng):
    """One of scikit-learn's 8 x 8 images as another hand might have drawn it, 48 x 48."""
    large = Image.fromarray((image * 255).astype(np.uint8)).resize((32, 32), Image.BICUBIC)
    paper = Image.new("L", (48, 48))
    paper.paste(large, (8, 8))
    turn, slant = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.25, 0.25)
    wide, high = rng.uniform(0.75, 1.3), rng.uniform(0.85, 1.15)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.array([[wide, slant], [0, high]])
    shift = np.array([24, 24]) - matrix @ np.array([24, 24]) + rng.uniform(-2, 2, 2)
    paper = paper.transform((48, 48), Image.AFFINE, (*matrix[0], shift[0], *matrix[1], shift[1]), Image.BILINEAR)
    how = rng.random()
    if how < 0.35:
        paper = paper.filter(ImageFilter.MaxFilter(3))
    elif how < 0.6:
        paper = paper.filter(ImageFilter.MinFilter(3))
    values = np.asarray(paper, float) / 255
    if rng.random() < 0.4:
        values = np.clip((values - 0.35) * 3, 0, 1)
    ring = np.zeros_like(values, bool)
    ring[1:-1, 1:-1] = True
    noisy = np.clip(values + rng.normal(0, rng.uniform(0, 0.05), values.shape), 0, 1) * ring
    return noisy if noisy.max() > 0.3 else np.asarray(Image.fromarray((image * 255).astype(np.uint8)).resize((48, 48)), float) / 255


def plain(image):
    """One of scikit-learn's images with an empty ring about it, as a person would crop it."""
    return np.pad(image, 2)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Conv2d(1, CHANNELS, 3, padding=1), torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
                                           torch.nn.Linear(CHANNELS * WIDTH * HEIGHT, HIDDEN), torch.nn.Linear(HIDDEN, 10)])
        self.drop = torch.nn.Dropout(0.3)

    def forward(self, x):
        first, second, third, last = self.layers
        return last(self.drop(torch.relu(third(self.drop(torch.relu(second(torch.relu(first(x)))).flatten(1))))))


def fit(images, labels):
    torch.manual_seed(7)
    net, steps = Net(), EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    images, labels = torch.tensor(np.stack(images))[:, None], torch.tensor(labels)
    for step in range(steps):
        chosen = torch.randint(len(images), (BATCH,))
        loss = torch.nn.functional.cross_entropy(net(images[chosen]), labels[chosen], label_smoothing=0.03)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 400 == 0:
            print(f"step {step} of {steps} loss {loss.item():.4f}", flush=True)
    return [p.detach().numpy() for layer in net.layers for p in (layer.weight, layer.bias)]


def export(weights, path):
    names = ["conv1", "conv1_bias", "conv2", "conv2_bias", "dense", "dense_bias", "output", "output_bias"]
    nodes = [helper.make_node("Conv", ["image", "conv1", "conv1_bias"], ["a"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Conv", ["b", "conv2", "conv2_bias"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["d"]),
             helper.make_node("Flatten", ["d"], ["e"]), helper.make_node("Gemm", ["e", "dense", "dense_bias"], ["f"], transB=1),
             helper.make_node("Relu", ["f"], ["g"]), helper.make_node("Gemm", ["g", "output", "output_bias"], ["scores"], transB=1),
             helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1)]
    graph = helper.make_graph(nodes, "digits", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH])],
                              [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 10])],
                              [numpy_helper.from_array(np.ascontiguousarray(w, np.float32), n) for w, n in zip(weights, names)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="digits")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def manifest(path, size):
    labels = ",\n".join(f'  {{ id = "{digit}", name = "{name}" }}' for digit, name in
                        enumerate("zero one two three four five six seven eight nine".split()))
    path.write_text(f'''name = "digits"
version = "1.0.0"
summary = "Recognises the handwritten digit in a small image"
keywords = ["digit", "digits", "handwritten", "handwriting", "which number"]
runtime = "onnx"
inputs = [{{ port = "image", media = "image/png", max_bytes = 1048576 }}]
outputs = [{{ port = "digit", media = "application/json" }}]
params = {{}}

[needs]
accelerators = ["cpu"]
memory_bytes = 268435456       # an image of 4096 x 4096 pixels, decoded

[cost]
weights_bytes = {size}
flops_fixed = 1500000          # the model, whatever the image's size
flops_per_input_byte = 400     # decoding and averaging
output_bytes = 140

[tensors.input]
name = "image"
port = "image"
kind = "image_gray"            # PNG -> f32[1, 1, height, width]
width = {WIDTH}
height = {HEIGHT}
invert = "auto"                # dark on light, by the mean of the border, is inverted
threshold = {THRESHOLD}               # ink that counts for the bounding box
margin = {MARGIN}
scale = {SCALE}

[tensors.output]
name = "probabilities"
port = "digit"
kind = "labels"                # argmax and probabilities -> JSON
key = "digit"
labels = [
{labels},
]
''')


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(3)
    data = load_digits()
    images, labels = data.images / 16, data.target
    cut = len(images) - HELD_OUT
    train = [(features(plain(images[i])), labels[i]) for i in range(cut)]
    train += [(features(redrawn(images[i], rng)), labels[i]) for i in range(cut) for _ in range(COPIES)]
    path = HERE / "digits.onnx"
    export(fit([image for image, _ in train], [label for _, label in train]), path)
    manifest(HERE / "container.toml", path.stat().st_size)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(image):
        return session.run(["probabilities"], {"image": features(image)[None, None]})[0][0]

    right = sum(int(run(plain(image)).argmax()) == label for image, label in zip(images[cut:], labels[cut:]))
    figures, missed, golden = {"held_out": {"images": HELD_OUT, "right": int(right)}}, [], []
    (HERE / "samples").mkdir(exist_ok=True)
    for name, digit, png in drawings():
        image = gray(io.BytesIO(png))
        found = run(image)
        kind = figures.setdefault(name.split("-")[0], {"images": 0, "right": 0})
        kind["images"] += 1
        kind["right"] += int(found.argmax()) == digit
        if int(found.argmax()) != digit:
            missed.append({"image": name, "expected": digit, "found": int(found.argmax()), "confidence": round(float(found.max()), 3)})
        if name in SAMPLES:
            (HERE / "samples" / f"{digit}.png").write_bytes(png)
            golden.append({"image": f"samples/{digit}.png", "digit": str(int(found.argmax())), "confidence": round(float(found.max()), 6),
                           "input": [round(float(v), 5) for v in features(image).flatten()]})
    figures["missed"] = missed
    (HERE / "evaluation.json").write_text(json.dumps(figures, indent=1) + "\n")
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
