"""Measures first-pass-tiny.gguf: exact match inside the domain, and how well its sureness tells inside from outside.

What is true of the figures:
  * The prompts are heldout.jsonl and outliers.jsonl, none of which occurs in training (see generate.py, outliers_eval.py).
  * Two features of a greedy answer, <|end|> included: the mean and the minimum of its tokens' log-probabilities.
  * AUROC takes a held-out prompt as positive, whether its answer is right or not.
  * The stress test (known facts, frames with words training never shows) counts in neither; its own figures stand beside.
  * The threshold is chosen on other prompts (training rules, another seed): the highest value that keeps 98 % of the rightly
    answered ones, since a wrong answer kept costs more than a right one handed on. It is only applied to the evaluation sets.

Run: OMP_WAIT_POLICY=PASSIVE python evaluate.py        about two minutes; writes evaluation.json
"""

import json
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

import generate
from shipped import Shipped

HERE = Path(__file__).parent
FEATURES = ["mean", "minimum"]
DECISION = "minimum"
VALIDATION = 1500
KEEP = 0.98


def read(name):
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


def choose_threshold(model):
    """On prompts made by the training rules with a seed of their own."""
    rng, good = random.Random(77), []
    for _ in range(VALIDATION):
        prompt, answer = generate.training_example(rng)
        found = model.answer(prompt)
        if found.text == answer:
            good.append(getattr(found, DECISION))
    return round(float(np.quantile(good, 1 - KEEP)), 3)


def grouped(rows, key, value):
    groups = defaultdict(list)
    for row in rows:
        groups[row[key]].append(value(row))
    return {name: round(float(np.mean(values)), 4) for name, values in groups.items()}


def main():
    torch.set_num_threads(2)
    model = Shipped()
    threshold = choose_threshold(model)
    inside, outside = read("heldout.jsonl"), read("outliers.jsonl")
    for row in inside + outside:
        found = model.answer(row["prompt"])
        row |= {"found": found.text, "mean": found.mean, "minimum": found.minimum, "kept": getattr(found, DECISION) >= threshold}
        row["right"] = row.get("answer") == found.text
    stress = [row for row in inside if row["family"].startswith("new words")]
    inside = [row for row in inside if row not in stress]
    truth = [1] * len(inside) + [0] * len(outside)
    auroc = {name: round(float(roc_auc_score(truth, [row[name] for row in inside + outside])), 4) for name in FEATURES}
    per_kind = {kind: round(float(roc_auc_score([1] * len(inside) + [0] * len(rows), [row[DECISION] for row in inside + rows])), 4)
                for kind in dict.fromkeys(row["kind"] for row in outside) if (rows := [row for row in outside if row["kind"] == kind])}
    kept = [row for row in inside if row["kept"]]
    figures = {
        "held_out_prompts": len(inside), "outlier_prompts": len(outside),
        "exact_match": round(sum(row["right"] for row in inside) / len(inside), 4),
        "exact_match_by_family": grouped(inside, "family", lambda row: row["right"]),
        "auroc": auroc, "auroc_of_decision_feature_by_kind": per_kind,
        "decision": {"feature": DECISION, "threshold": threshold, "rule": "keep the answer when the feature >= threshold"},
        "inside_kept": round(len(kept) / len(inside), 4), "right_among_inside_kept": round(sum(row["right"] for row in kept) / max(1, len(kept)), 4),
        "outliers_kept": round(sum(row["kept"] for row in outside) / len(outside), 4), "outliers_kept_by_kind": grouped(outside, "kind", lambda row: row["kept"]),
        "stress_new_words": {family: {"prompts": len(rows), "right": sum(row["right"] for row in rows), "kept": sum(row["kept"] for row in rows),
                                      "kept_and_wrong": sum(row["kept"] and not row["right"] for row in rows)}
                             for family in dict.fromkeys(row["family"] for row in stress) if (rows := [row for row in stress if row["family"] == family])},
        "wrong_inside": [{k: row[k] for k in ("prompt", "answer", "found", "kept")} for row in inside if not row["right"]][:40],
        "outliers_kept_examples": [{k: row[k] for k in ("kind", "prompt", "found")} for row in outside if row["kept"]],
    }
    (HERE / "evaluation.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(figures, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
