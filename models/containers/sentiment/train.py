"""Trains sentiment.onnx, measures it and writes its manifest, golden file and figures.

What is true of the model:
  * features (see `features.py`) -> 524288 x 4, ReLU -> 4 x 3, softmax. The large matrix is stored as i8 with a scale for each
    column, and widened in the graph. So many buckets because a polar word's bucket must not be an unknown word's too.
  * It learns from generated sentences only (see `sentences.py`).
  * The graph that is measured is the file that is written, run by ONNX Runtime.

Run: python train.py      writes sentiment.onnx, container.toml, golden.json and evaluation.json beside this file
"""

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from features import BUCKETS, MAX_N, MAX_WORDS, MIN_N, bucket, features, grams
from sentences import Maker

HERE = Path(__file__).parent
LABELS = ["negative", "neutral", "positive"]
SETS = ["heldout", "development"]
TEXTS, HIDDEN, EPOCHS, BATCH, LEAST_WORD, LEAST_PAIR = 150_000, 4, 5, 512, 4, 30
GOLDEN = ["What a wonderful evening, thank you!", "The lamp broke after two days and nobody answers.", "The train leaves at nine o'clock.",
          "It was not good.", "Not bad at all.", "I don\u2019t like it, \u2018really\u2019.", "Das Essen war ausgezeichnet.", "Le service était lent.",
          "ΟΔΥΣΣΕΥΣ İstanbul ''quoted'' हिन्दी ½ x²", "", "La habitación estaba limpia."]


def known(texts):
    """The features of each text without its rare n-grams: those say nothing, and must not be learnt by heart."""
    counts = Counter(gram for text in texts for gram in grams(text))
    for text in texts:
        rare = {bucket(gram) for gram in grams(text) if counts[gram] < (LEAST_PAIR if " " in gram else LEAST_WORD)}
        yield {index: value for index, value in features(text).items() if index not in rare}


def batches(rows, labels, rng):
    """(columns, offsets, values, labels) of BATCH rows each."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    for start in range(0, len(order) - BATCH + 1, BATCH):
        chosen = order[start:start + BATCH]
        offsets = torch.tensor([0] + list(np.cumsum([len(rows[i]) for i in chosen[:-1]])))
        columns = torch.tensor([index for i in chosen for index in rows[i]])
        values = torch.tensor([value for i in chosen for value in rows[i].values()], dtype=torch.float32)
        yield columns, offsets, values, torch.tensor([labels[i] for i in chosen])


def fit(rows, labels):
    """The weights (embedding, bias, output, output bias); the first layer is an embedding bag, which is the same product.

    A tenth of the features is dropped at random, so that no label hangs on one template's n-gram."""
    torch.manual_seed(5)
    rng = random.Random(6)
    first, rest = torch.nn.EmbeddingBag(BUCKETS, HIDDEN, mode="sum"), torch.nn.Linear(HIDDEN, len(LABELS))
    torch.nn.init.normal_(first.weight, std=0.02)
    bias = torch.nn.Parameter(torch.full((HIDDEN,), 0.1))
    optimizer = torch.optim.Adam([*first.parameters(), *rest.parameters(), bias], lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=EPOCHS * (len(rows) // BATCH))
    for epoch in range(EPOCHS):
        for columns, offsets, values, wanted in batches(rows, labels, rng):
            kept = values * (torch.rand_like(values) > 0.1)
            scores = rest(torch.relu(first(columns, offsets, per_sample_weights=kept) + bias))
            # Buckets that training never hit must say nothing: the first layer is drawn towards zero.
            loss = torch.nn.functional.cross_entropy(scores, wanted, label_smoothing=0.05) + 3e-6 * first.weight.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {EPOCHS} loss {loss.item():.4f}", flush=True)
    weights = [array.detach().numpy().copy() for array in (first.weight, bias, rest.weight.T, rest.bias)]
    hit = {index for row in rows for index in row}
    weights[0][[index for index in range(BUCKETS) if index not in hit]] = 0.0
    return weights


def export(weights, path):
    # The rarest large weights are cut off, so that the others keep their precision.
    scale = np.array([np.quantile(np.abs(column[column != 0]), 0.998) for column in weights[0].T]) / 127
    weights = [np.clip(np.round(weights[0] / scale), -127, 127), scale, *weights[1:]]
    names, types = ["embedding_i8", "scale", "embedding_bias", "output", "output_bias"], [np.int8] + [np.float32] * 4
    nodes = [helper.make_node("DequantizeLinear", ["embedding_i8", "scale"], ["embedding"], axis=1), helper.make_node("MatMul", ["features", "embedding"], ["summed"]),
             helper.make_node("Add", ["summed", "embedding_bias"], ["shifted"]), helper.make_node("Relu", ["shifted"], ["hidden"]),
             helper.make_node("MatMul", ["hidden", "output"], ["scored"]), helper.make_node("Add", ["scored", "output_bias"], ["scores"]),
             helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1)]
    graph = helper.make_graph(nodes, "sentiment", [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, BUCKETS])],
                              [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, len(LABELS)])],
                              [numpy_helper.from_array(np.ascontiguousarray(w, t), n) for w, t, n in zip(weights, types, names)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="sentiment")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


class Model:
    """The shipped file, run."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def probabilities(self, text):
        dense = np.zeros((1, BUCKETS), np.float32)
        for index, value in features(text).items():
            dense[0, index] = value
        return self.session.run(["probabilities"], {"features": dense})[0][0]

    def label(self, text):
        return LABELS[int(self.probabilities(text).argmax())]


def manifest(path, size):
    labels = ",\n".join(f'  {{ id = "{label}", name = "{label}" }}' for label in LABELS)
    path.write_text(f'''name = "sentiment"
version = "1.0.0"
summary = "Tells whether a text is positive, negative or neutral in tone"
keywords = ["sentiment", "tone", "mood", "positive", "negative", "friendly", "opinion"]
runtime = "onnx"
inputs = [{{ port = "text", media = "text/*", max_bytes = 1048576 }}]
outputs = [{{ port = "sentiment", media = "application/json" }}]
params = {{}}

[needs]
accelerators = ["cpu"]
memory_bytes = 67108864

[cost]
weights_bytes = {size}
flops_fixed = 4200000          # the model, whatever the text's length
flops_per_input_byte = 50      # hashing
output_bytes = 160

[tensors.input]
name = "features"
port = "text"
kind = "word_ngrams"           # text -> f32[1, buckets]
lowercase = true
min_n = {MIN_N}
max_n = {MAX_N}
buckets = {BUCKETS}
hash = "fnv1a32"               # over the UTF-8 bytes of each n-gram, words joined by one space
weight = "log1p_l2"            # ln(1+count), then L2-normalised
max_words = {MAX_WORDS}

[tensors.output]
name = "probabilities"
port = "sentiment"
kind = "labels"                # argmax and probabilities -> JSON
key = "sentiment"
labels = [
{labels},
]
''')


def measure(model, name):
    """Right answers by label and language group, and every miss."""
    rows = [line.split("\t") for line in (HERE / f"{name}.tsv").read_text().splitlines()]
    found = [model.label(text) for _, text in rows]
    by_label = {label: {"right": sum(f == label == e for f, (e, _) in zip(found, rows)), "texts": sum(e == label for e, _ in rows)} for label in LABELS}
    missed = [{"expected": e, "found": f, "text": text} for f, (e, text) in zip(found, rows) if f != e]
    return {"texts": len(rows), "accuracy": 1 - len(missed) / len(rows), "by_label": by_label, "missed": missed}


def golden(model):
    rows = []
    for text in GOLDEN:
        found = model.probabilities(text)
        order = [int(index) for index in np.argsort(-found, kind="stable")[:3]]
        vector = features(text)
        largest = sorted(vector.items(), key=lambda item: (-item[1], item[0]))[:12]
        rows.append({"text": text, "sentiment": LABELS[order[0]], "confidence": round(float(found[order[0]]), 6),
                     "alternatives": [{"sentiment": LABELS[index], "confidence": round(float(found[index]), 6)} for index in order[1:]],
                     "non_zero": len(vector), "largest_features": [[index, round(value, 7)] for index, value in largest]})
    return rows


def main():
    torch.set_num_threads(1)
    maker = Maker(SentimentIntensityAnalyzer().lexicon, random.Random(9))
    pairs = list(maker.draw(TEXTS))
    path = HERE / "sentiment.onnx"
    export(fit(list(known([text for text, _ in pairs])), [LABELS.index(label) for _, label in pairs]), path)
    manifest(HERE / "container.toml", path.stat().st_size)
    model = Model(path)
    figures = {name: measure(model, name) for name in SETS if (HERE / f"{name}.tsv").exists()}
    (HERE / "evaluation.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    (HERE / "golden.json").write_text(json.dumps(golden(model), indent=1, ensure_ascii=False) + "\n")
    for name, found in figures.items():
        print(name, round(found["accuracy"], 3), {label: f"{f['right']}/{f['texts']}" for label, f in found["by_label"].items()})


if __name__ == "__main__":
    main()
