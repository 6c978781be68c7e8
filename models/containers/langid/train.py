"""Trains langid.onnx, measures it and writes its golden file.

What is true of the model:
  * features (see `features.py`) -> 4096 x 64, ReLU -> 64 x languages, softmax. Nothing else is in the graph.
  * Each language gives the same number of training texts; half of them are cut to a random window, a tenth are several texts
    in a row, so that length says nothing about the language.
  * Figures are for packages that training never saw, and for prose.tsv, three sentences per language written for this purpose.
  * The graph that is measured is the file that is written, run by ONNX Runtime.

Run: python train.py --work DIR      fetches packages into DIR (needs apt), then writes langid.onnx, container.toml,
                                     golden.json and evaluation.json beside this file
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

import corpus
from features import BUCKETS, MAX_CHARS, MAX_N, MIN_N, features

HERE = Path(__file__).parent
LABELS = sorted(corpus.NAMES)
PER_LANGUAGE, HIDDEN, EPOCHS = 6000, 64, 6
GOLDEN = ["The parcel arrived this morning, but nobody was at home.", "Der Zug nach Hamburg hat heute leider zwanzig Minuten Verspätung.",
          "Nous avons marché longtemps sous la pluie avant de trouver l'auberge.", "Vi köpte färska jordgubbar på torget i lördags.",
          "Завтра утром мы поедем к морю всей семьёй.", "今日はとても暑いので、窓を開けてください。", "ΟΔΥΣΣΕΥΣ: πού είναι το σπίτι μου;",
          "İstanbul'da  hava\tbugün çok güzel.", "¿Dónde está la estación de autobuses?", "我们明天下午在图书馆见面吧。"]


def samples(texts, count, rng):
    """Whole texts, windows of texts, and several texts in a row; long texts are preferred to button labels."""
    weights = [min(len(text), 200) for text in texts]
    for text in rng.choices(texts, weights, k=count):
        how = rng.random()
        if how < 0.5 and len(text) > 24:
            width = rng.randint(16, min(len(text), 160))
            start = rng.randint(0, len(text) - width)
            yield text[start:start + width]
        elif how < 0.6:
            yield " ".join([text] + rng.choices(texts, k=3))
        else:
            yield text


def matrix(rows):
    """The feature dictionaries as one sparse tensor."""
    starts = torch.tensor([0] + list(np.cumsum([len(row) for row in rows])))
    columns = torch.tensor([index for row in rows for index in row])
    values = torch.tensor([value for row in rows for value in row.values()], dtype=torch.float32)
    return starts, columns, values


def fit(rows, labels):
    """The weights (embedding, bias, output, output bias); the first layer is an embedding bag, which is the same product."""
    torch.manual_seed(5)
    starts, columns, values = matrix(rows)
    first, rest = torch.nn.EmbeddingBag(BUCKETS, HIDDEN, mode="sum"), torch.nn.Linear(HIDDEN, len(LABELS))
    torch.nn.init.normal_(first.weight, std=0.3)
    bias = torch.nn.Parameter(torch.zeros(HIDDEN))
    optimizer = torch.optim.Adam([*first.parameters(), *rest.parameters(), bias], lr=5e-3)
    labels, batch = torch.tensor(labels), 512
    steps = EPOCHS * len(rows) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for step in range(steps):
        chosen = torch.randint(len(rows), (batch,))
        spans = [torch.arange(starts[i], starts[i + 1]) for i in chosen]
        offsets = torch.tensor([0] + list(np.cumsum([len(span) for span in spans[:-1]])))
        picked = torch.cat(spans)
        scores = rest(torch.relu(first(columns[picked], offsets, per_sample_weights=values[picked]) + bias))
        loss = torch.nn.functional.cross_entropy(scores, labels[chosen], label_smoothing=0.01)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step} of {steps} loss {loss.item():.4f}", flush=True)
    return [array.detach().numpy() for array in (first.weight, bias, rest.weight.T, rest.bias)]


def export(weights, path):
    names = ["embedding", "embedding_bias", "output", "output_bias"]
    nodes = [helper.make_node("MatMul", ["features", "embedding"], ["summed"]), helper.make_node("Add", ["summed", "embedding_bias"], ["shifted"]),
             helper.make_node("Relu", ["shifted"], ["hidden"]), helper.make_node("MatMul", ["hidden", "output"], ["scored"]),
             helper.make_node("Add", ["scored", "output_bias"], ["scores"]), helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1)]
    graph = helper.make_graph(nodes, "langid", [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, BUCKETS])],
                              [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, len(LABELS)])],
                              [numpy_helper.from_array(np.ascontiguousarray(w, np.float32), n) for w, n in zip(weights, names)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="langid")
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
    labels = ",\n".join(f'  {{ id = "{label}", name = "{corpus.NAMES[label]}" }}' for label in LABELS)
    path.write_text(f'''name = "langid"
version = "1.0.0"
summary = "Tells which language a text is written in"
runtime = "onnx"
inputs = [{{ port = "text", media = "text/plain", max_bytes = 1048576 }}]
outputs = [{{ port = "language", media = "application/json" }}]
params = {{}}

[needs]
accelerators = ["cpu"]
memory_bytes = 67108864

[cost]
weights_bytes = {size}
flops_per_input_byte = 500   # 0.5 MFLOP per text whatever its length; hashing is the rest

[tensors.input]
name = "features"
port = "text"
kind = "char_ngrams"           # text -> f32[1, buckets]
lowercase = true
min_n = {MIN_N}
max_n = {MAX_N}
buckets = {BUCKETS}
hash = "fnv1a32"               # over the UTF-8 bytes of each n-gram of Unicode scalar values
weight = "log1p_l2"            # ln(1+count), then L2-normalised
max_chars = {MAX_CHARS}

[tensors.output]
name = "probabilities"
port = "language"
kind = "labels"                # argmax and probabilities -> JSON
key = "language"
labels = [
{labels},
]
''')


def measure(model, held, rng):
    """Accuracy by length over held-out packages (the same number of texts per language) and over prose.tsv."""
    count, right, wrong = {"all": 0, "long": 0}, {"all": 0, "long": 0}, {}
    by_language = {}
    for language in LABELS:
        long = 0, 0
        for text in rng.sample(held[language], min(600, len(held[language]))):
            found = model.label(text)
            for name in ["all", "long"] if len(text) >= 40 else ["all"]:
                count[name] += 1
                right[name] += found == language
            if len(text) >= 40:
                long = long[0] + (found == language), long[1] + 1
                if found != language:
                    wrong[f"{language}>{found}"] = wrong.get(f"{language}>{found}", 0) + 1
        by_language[language] = {"right": long[0], "texts": long[1]}
    prose = [line.split("\t") for line in (HERE / "prose.tsv").read_text().splitlines()]
    missed = [{"expected": language, "found": model.label(text), "text": text} for language, text in prose if model.label(text) != language]
    return {"languages": len(LABELS), "held_out_texts": count["all"], "accuracy": right["all"] / count["all"], "texts_of_40_chars_or_more": count["long"],
            "accuracy_at_40_chars_or_more": right["long"] / count["long"], "prose_sentences": len(prose), "prose_accuracy": 1 - len(missed) / len(prose),
            "prose_missed": missed, "by_language_at_40_chars_or_more": by_language,
            "commonest_confusions_at_40_chars_or_more": dict(sorted(wrong.items(), key=lambda item: -item[1])[:12])}


def golden(model):
    rows = []
    for number, text in enumerate(GOLDEN):
        found = model.probabilities(text)
        order = [int(index) for index in np.argsort(-found)[:3]]
        row = {"text": text, "language": LABELS[order[0]], "confidence": round(float(found[order[0]]), 6),
               "alternatives": [{"language": LABELS[index], "confidence": round(float(found[index]), 6)} for index in order[1:]]}
        if number in (0, 1, 6, 7):
            vector = features(text)
            largest = sorted(vector.items(), key=lambda item: (-item[1], item[0]))[:20]
            row["non_zero"], row["largest_features"] = len(vector), [[index, round(value, 7)] for index, value in largest]
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(9)
    train, held = corpus.load(args.work)
    pairs = [(text, number) for number, language in enumerate(LABELS) for text in samples(train[language], PER_LANGUAGE, rng)]
    weights = fit([features(text) for text, _ in pairs], [number for _, number in pairs])
    path = HERE / "langid.onnx"
    export(weights, path)
    manifest(HERE / "container.toml", path.stat().st_size)
    model = Model(path)
    figures = measure(model, held, rng)
    (HERE / "evaluation.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    (HERE / "golden.json").write_text(json.dumps(golden(model), indent=1, ensure_ascii=False) + "\n")
    print(json.dumps({key: value for key, value in figures.items() if not key.startswith("by_")}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
