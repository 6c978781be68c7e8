"""Trains the tokenizer and the model of first-pass-tiny from nothing.

What is true of the training:
  * Byte-level BPE with the pre-tokenizer llama.cpp calls `qwen2` (each digit alone); any UTF-8 text can be encoded.
  * Phi-3 architecture (fused qkv and gate-up, RMSNorm, RoPE), about two million parameters, random start.
  * Only the answer is learned, never the prompt. For an outlier the target of each answer position is the uniform
    distribution over the vocabulary (outlier exposure, Hendrycks et al. 2019): the model learns to be unsure there.
  * Muon for the matrices of the blocks, AdamW for the rest; warm-up, then cosine, over --minutes of wall time, so that a
    slow machine sees fewer examples. The seed fixes the data, not the number of steps.

Run: OMP_WAIT_POLICY=PASSIVE python train.py --work DIR --minutes 25      writes DIR/tokenizer.json, DIR/model/, DIR/train.log
"""

import argparse
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Phi3Config, Phi3ForCausalLM

import generate

SPECIALS = ["<s>", "<|end|>", "<|user|>", "<|assistant|>", "<|endoftext|>"]
QWEN2 = (r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEMPLATE = "<|user|>\n{prompt}<|end|>\n<|assistant|>\n"
IGNORE = -100
UNIFORM = -1
LONGEST = 192


def make_tokenizer(vocabulary):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=SPECIALS, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    rng = random.Random(3)
    texts = (part for _ in range(30000) for part in generate.training_example(rng) if part)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def make_model(vocabulary, ids):
    return Phi3ForCausalLM(Phi3Config(
        vocab_size=vocabulary, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=6, max_position_embeddings=512, original_max_position_embeddings=512, rms_norm_eps=1e-5,
        tie_word_embeddings=False, bos_token_id=ids["<s>"], eos_token_id=ids["<|end|>"], pad_token_id=ids["<|endoftext|>"],
        attn_implementation="sdpa"))


class Stream:
    """An endless supply of (token ids, targets); targets are aligned with the token that predicts them."""

    def __init__(self, tokenizer, seed):
        self.tokenizer, self.rng = tokenizer, random.Random(seed)
        self.end = tokenizer.token_to_id("<|end|>")

    def one(self):
        prompt, answer = generate.training_example(self.rng)
        ids = self.tokenizer.encode(TEMPLATE.format(prompt=prompt)).ids[-LONGEST:]
        if answer is not None:
            tail = self.tokenizer.encode(answer).ids + [self.end]
            targets = tail
        else:
            tail = self.decoy()
            targets = [UNIFORM] * len(tail)
        return ids + tail[:-1], [IGNORE] * (len(ids) - 1) + targets

    def decoy(self):
        """What might follow an outlier: it is fed, and unsureness is asked for at every position."""
        if self.rng.random() < 0.5:
            return [self.rng.randrange(len(SPECIALS), self.tokenizer.get_vocab_size()) for _ in range(self.rng.randint(1, 3))]
        answer = None
        while answer is None:
            answer = generate.training_example(self.rng)[1]
        return self.tokenizer.encode(answer).ids + [self.end]

    def batch(self, size, parts):
        """`parts` padded blocks of examples of like length; right padding needs no mask under causal attention."""
        rows = sorted((self.one() for _ in range(size)), key=lambda row: len(row[0]))
        for start in range(0, size, size // parts):
            block = rows[start:start + size // parts]
            width = len(block[-1][0])
            ids = torch.tensor([i + [self.end] * (width - len(i)) for i, _ in block])
            yield ids, torch.tensor([t + [IGNORE] * (width - len(t)) for _, t in block])


def losses(model, ids, targets):
    """(sum of answer losses, sum of uniform losses, right tokens, answer tokens, outlier tokens)."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    inside, outside = targets >= 0, targets == UNIFORM
    scores = model.lm_head(hidden[inside | outside]).float()
    logp, wanted = scores.log_softmax(-1), targets[inside | outside]
    answer = F.nll_loss(logp[wanted >= 0], wanted[wanted >= 0], reduction="sum")
    uniform = -(logp[wanted == UNIFORM].mean(-1) + math.log(scores.shape[-1])).sum()
    right = (logp.argmax(-1) == wanted).sum().item()
    return answer, uniform, right, int(inside.sum()), int(outside.sum())


def make_optimizers(model, rate):
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    rest = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "layers" in name)]
    muon = torch.optim.Muon(matrices, lr=rate, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    return [muon, adam]


def train(model, stream, args, log):
    optimizers, started, step = make_optimizers(model, args.rate), time.time(), 0
    sums = [0.0] * 5
    while (done := (time.time() - started) / (60 * args.minutes)) < 1:
        factor = min(1, (step + 1) / 60) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * max(0, done - 0.1) / 0.9)))
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = args.rate * factor
        blocks = list(stream.batch(args.batch, args.parts))
        weight = sum(int((targets != IGNORE).sum()) for _, targets in blocks)
        for ids, targets in blocks:
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                found = losses(model, ids, targets)
            ((found[0] + args.outlier_weight * found[1]) / weight).backward()
            sums = [total + float(new.detach() if torch.is_tensor(new) else new) for total, new in zip(sums, found)]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 20 == 0:
            log(f"{time.time() - started:6.0f} s step {step} examples {step * args.batch} answer loss {sums[0] / sums[3]:.4f} "
                f"right {sums[2] / sums[3]:.4f} uniform loss {sums[1] / max(1, sums[4]):.4f}")
            sums = [0.0] * 5
    return step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--parts", type=int, default=3)
    parser.add_argument("--outlier-weight", type=float, default=0.5)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--start", type=Path, help="work folder of an earlier run: go on from its tokenizer and weights")
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(7)

    tokenizer = Tokenizer.from_file(str(args.start / "tokenizer.json")) if args.start else make_tokenizer(args.vocabulary)
    tokenizer.save(str(args.work / "tokenizer.json"))
    ids = {token: tokenizer.token_to_id(token) for token in SPECIALS}
    model = make_model(tokenizer.get_vocab_size(), ids)
    if args.start:
        model = Phi3ForCausalLM.from_pretrained(args.start / "model", dtype=torch.float32)
    with open(args.work / "train.log", "a") as file:
        def log(line):
            print(line, flush=True)
            file.write(line + "\n")
            file.flush()
        log(f"{vars(args)} parameters {sum(p.numel() for p in model.parameters())}")
        steps = train(model, Stream(tokenizer, seed=12 if args.start else 11), args, log)
        log(f"done after {steps} steps of {args.batch}")
    model.save_pretrained(args.work / "model")


if __name__ == "__main__":
    main()
