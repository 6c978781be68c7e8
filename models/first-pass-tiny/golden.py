"""Writes golden.json: what the shipped bytes do with a dozen prompts, for another engine's parity test.

What is true of each case: `prompt_ids` is the whole templated prompt; `answer_ids` and `log_probs` are the greedy answer, the
closing <|end|> included; `top5` is [[id, logit], …] at the last prompt position, raw logits, teacher-forced. Weights are
dequantised to f32 and all arithmetic is f32. Where `stable` is false two tokens nearly tie in some step (an outlier, by
design): compare the logits there, not the choice.

Run: python golden.py
"""

import json

import torch

from shipped import HERE, Shipped
from train import TEMPLATE

PROMPTS = ["what is 17 + 25?", "85 minus 9", "12 times 7", "What is 64 - 38?", "how many metres are 3 km?", "convert 5 hours to minutes", "9 feet in inches",
           "What is the capital of France?", "capital of japan", "the Netherlands' capital", "Write an essay about the sea.", "population of France",
           "123456 * 987", "Привет, как дела? 你好 🙂"]
NEAR_TIE = 0.05


def main():
    torch.set_num_threads(1)
    model, cases = Shipped(), []
    for prompt in PROMPTS:
        ids, answer = model.prompt_ids(prompt), model.answer(prompt)
        logits = model.model(input_ids=torch.tensor([ids])).logits[0, -1].float()
        values, top = logits.topk(5)
        gaps = []
        for step in range(len(answer.ids)):
            two = model.log_probs(ids + answer.ids[:step])[-1].topk(2).values
            gaps.append(float(two[0] - two[1]))
        cases.append({"prompt": prompt, "templated": TEMPLATE.format(prompt=prompt), "prompt_ids": ids, "answer": answer.text, "answer_ids": answer.ids,
                      "log_probs": [round(value, 5) for value in answer.log_probs], "stable": min(gaps) > NEAR_TIE,
                      "top5": [[int(i), round(float(v), 5)] for i, v in zip(top, values)]})
    (HERE / "golden.json").write_text(json.dumps({"model": "first-pass-tiny.gguf", "max_answer_tokens": 16, "cases": cases}, indent=1, ensure_ascii=False) + "\n")
    for case in cases:
        print(case["prompt"], "->", case["answer"], [round(v, 3) for v in case["log_probs"]], case["stable"])


if __name__ == "__main__":
    main()
